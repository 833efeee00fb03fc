"""Fetching from the test zone while everything that can go wrong does: whole and right, or not there at all."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from irods_zone import Code, Zone
from snakescope.errors import EnvironmentUnusableError, InputError
from snakescope.zone import checksums, patience, transfer
from snakescope.zone.address import Address
from snakescope.zone.patience import Patience
from snakescope.zone.stage import _slot, main, stage
from snakescope.zone.transfer import DiskFullError, fetch, fetch_collection

# The client library leaves the socket of a lost connection to the garbage collector.
pytestmark = [pytest.mark.irods, pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")]
SOAK = bool(os.environ.get("SNAKESCOPE_SOAK"))
ROUNDS = range(30 if SOAK else 4)
SEGMENT = 64 * 1024
OPEN = 602
_TABLE: dict[str, int] = {}
SIZE = 700_001
HOSTILE = (
    "a b.tif", "it's.tif", 'say "it".tif', "tab\there.tif", "line\nend.tif", "100%.tif", "a_b%c.tif", "a..b.tif",
    "größe µ 細胞.tif", "{braces}.tif", "back\\slash.tif", "-rf.tif", "&;$(x).tif", "`tick`.tif", "#frag?query.tif",
)  # fmt: skip


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zone]:
    with Zone(tmp_path_factory.mktemp("zone")) as zone:
        yield zone


@pytest.fixture
def zone(served: Zone, monkeypatch: pytest.MonkeyPatch) -> Iterator[Zone]:
    for name, value in served.environment().items():
        monkeypatch.setenv(name, value)
    served.faults.clear()
    served.calls.clear()
    yield served
    served.faults.clear()
    assert served.failures == []


def content(seed: int, size: int = SIZE) -> bytes:
    return random.Random(seed).randbytes(size)


@pytest.fixture
def put(zone: Zone, request: pytest.FixtureRequest) -> Callable[..., Address]:
    """Write an object into a collection of the test's own."""
    home = f"{zone.home}/{hashlib.sha256(request.node.name.encode()).hexdigest()[:12]}"

    def write(name: str, data: bytes, *, checksum: bool = True) -> Address:
        zone.put(f"{home}/{name}", data, checksum=checksum)
        return Address(f"{home}/{name}")

    return write


def leftovers(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def changes_while(action: Callable[[], Any], monkeypatch: pytest.MonkeyPatch, at: int = 1) -> None:
    """Do something once, after so many transfers of bytes, while nothing else is transferred."""
    pull, count, lock = transfer._pull, [0], threading.Lock()

    def pulled(part: Any, session: Any, index: int) -> None:
        with lock:
            pull(part, session, index)
            count[0] += 1
            if count[0] == at:
                action()

    monkeypatch.setattr(transfer, "_pull", pulled)


# ---------------------------------------------------------------------------- when all goes well


@pytest.mark.parametrize("connections", [1, 4])
@pytest.mark.parametrize("size", [0, 1, SEGMENT - 1, SEGMENT, SEGMENT + 1, SIZE])
def test_an_object_of_any_size_arrives_whole(
    zone: Zone, put: Callable[..., Address], tmp_path: Path, size: int, connections: int
) -> None:
    data = content(size, size)
    found = fetch(put("a.tif", data), tmp_path / "a.tif", connections=connections, segment=SEGMENT)
    assert (tmp_path / "a.tif").read_bytes() == data
    assert (found.bytes, found.sha256) == (size, hashlib.sha256(data).hexdigest())
    assert leftovers(tmp_path) == ["a.tif"]


@pytest.mark.parametrize("asked", [1, 3])
def test_as_many_connections_are_open_as_were_asked_for(
    zone: Zone, put: Callable[..., Address], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: int
) -> None:
    address = put("a.tif", content(1))
    check_room, pull, met = transfer._check_room, transfer._pull, threading.Barrier(asked)

    def checked(place: Path, needed: int) -> None:
        until_closed(zone)
        zone._server.most_open = 0
        check_room(place, needed)

    def pulled(part: Any, session: Any, index: int) -> None:
        if index < asked:
            met.wait(60)  # each of the first segments is in the hands of another thread
        pull(part, session, index)

    monkeypatch.setattr(transfer, "_check_room", checked)
    monkeypatch.setattr(transfer, "_pull", pulled)
    fetch(address, tmp_path / "a.tif", connections=asked, segment=SEGMENT)
    assert zone.most_connections == asked
    until_closed(zone)


def until_closed(zone: Zone) -> None:
    """The server hears a moment later than the client that a connection is closed."""
    end = time.monotonic() + 60
    while zone.open_connections:
        assert time.monotonic() < end, f"{zone.open_connections} connections stay open"
        time.sleep(0.01)


@pytest.mark.parametrize("name", HOSTILE)
def test_any_name_survives(zone: Zone, put: Callable[..., Address], tmp_path: Path, name: str) -> None:
    address = put(name, b"content")
    stage(str(address), tmp_path / "staged/r1", "r1.tif")
    assert (tmp_path / "staged/r1/r1.tif").read_bytes() == b"content"
    assert (tmp_path / "staged/r1/.source").read_text().splitlines()[0] == f"irods://{quote(address.path)}"


@pytest.mark.parametrize("kind", ["md5", "sha1", "sha256", "sha512"])
def test_checksums_of_every_usual_form_are_compared(
    zone: Zone, put: Callable[..., Address], tmp_path: Path, kind: str
) -> None:
    data = content(2, 1000)
    address = put("a.tif", data)
    zone.set_replica(address.path, checksum=checksums.written(kind, hashlib.new(kind, data).digest()))
    assert fetch(address, tmp_path / "a.tif").unverified == 0
    zone.set_replica(address.path, checksum=checksums.written(kind, hashlib.new(kind, b"other").digest()))
    with pytest.raises(InputError, match=r"what came has the checksum .*; the catalogue says"):
        fetch(address, tmp_path / "b.tif")


@pytest.mark.parametrize("checksum", ["", "adler32:0badcafe"])
def test_an_object_without_a_checksum_that_we_know_is_counted(
    zone: Zone, put: Callable[..., Address], tmp_path: Path, checksum: str
) -> None:
    address = put("a.tif", b"content", checksum=False)
    zone.set_replica(address.path, checksum=checksum)
    assert fetch(address, tmp_path / "a.tif").unverified == 1


def test_a_collection_arrives_whole_with_its_empty_folders(
    zone: Zone, put: Callable[..., Address], tmp_path: Path
) -> None:
    files = {f"s.zarr/0/c/{index}": content(index, 5000 + index) for index in range(20)} | {"s.zarr/zarr.json": b"{}"}
    addresses = [put(name, data) for name, data in files.items()]
    root = addresses[-1].parent
    zone.make_collection(f"{root.path}/labels")
    found = fetch_collection(root, tmp_path / "s.zarr", connections=4)
    assert {
        f"s.zarr/{p.relative_to(tmp_path / 's.zarr')}": p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()
    } == files
    assert (found.files, found.bytes) == (21, sum(map(len, files.values())))
    assert (tmp_path / "s.zarr/labels").is_dir()
    assert leftovers(tmp_path)[0] == "s.zarr"


def test_names_in_a_collection_survive_too(zone: Zone, put: Callable[..., Address], tmp_path: Path) -> None:
    root = [put(f"s.zarr/{name}", name.encode()) for name in HOSTILE].pop().parent
    fetch_collection(root, tmp_path / "s.zarr", connections=2)
    assert {path.name: path.read_bytes() for path in (tmp_path / "s.zarr").iterdir()} == {
        name: name.encode() for name in HOSTILE
    }


def packed(kind: str, names: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(out, "w") as archive:
            for name, data in names.items():
                archive.writestr(name, data)
    else:
        with tarfile.open(fileobj=out, mode="w:gz" if kind == "tgz" else "w:") as archive:
            for name, data in names.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


@pytest.mark.parametrize("top", ["", "inner.zarr/", "./"])
@pytest.mark.parametrize("kind", ["zip", "tar", "tgz"])
def test_a_packed_zarr_is_unpacked(
    zone: Zone, put: Callable[..., Address], tmp_path: Path, kind: str, top: str
) -> None:
    data = packed(kind, {f"{top}zarr.json": b"{}", f"{top}0/zarr.json": b"{}", f"{top}0/c/0/0": b"chunk"})
    stage(str(put(f"a.ome.zarr.{kind}", data)), tmp_path / "staged/r1", "r1.ome.zarr")
    assert (tmp_path / "staged/r1/r1.ome.zarr/0/c/0/0").read_bytes() == b"chunk"
    assert sorted(path.name for path in (tmp_path / "staged/r1").iterdir()) == [".source", "r1.ome.zarr"]
    assert (tmp_path / "staged/r1/.source").read_text().splitlines()[2] == "-"


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"../out": b"", "zarr.json": b"{}"}, "would lie outside of its folder"),
        ({"/out": b"", "zarr.json": b"{}"}, "would lie outside of its folder"),
        ({"readme.txt": b""}, "holds no Zarr"),
        ({"a.zarr/zarr.json": b"{}", "b.zarr/zarr.json": b"{}"}, "holds no Zarr"),
        ({"zarr.json": b"{}", "zarr.json/0": b""}, "cannot be unpacked"),
    ],
)
def test_a_packed_zarr_that_is_none_is_refused(
    zone: Zone, put: Callable[..., Address], tmp_path: Path, names: dict[str, bytes], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        stage(str(put("a.zarr.tar", packed("tar", names))), tmp_path / "staged/r1", "r1.zarr")
    assert not (tmp_path / "staged/r1").exists()
    assert not (tmp_path / "out").exists()


def test_a_broken_archive_is_told(zone: Zone, put: Callable[..., Address], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.zarr\.zip: cannot be unpacked"):
        stage(str(put("a.zarr.zip", b"no archive")), tmp_path / "staged/r1", "r1.zarr")


def test_a_link_in_an_archive_is_refused(zone: Zone, put: Callable[..., Address], tmp_path: Path) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:") as archive:
        link = tarfile.TarInfo("zarr.json")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    with pytest.raises(InputError, match="is a link or a device"):
        stage(str(put("a.zarr.tar", out.getvalue())), tmp_path / "staged/r1", "r1.zarr")


# ---------------------------------------------------------------------------- connections


@pytest.mark.soak
@pytest.mark.parametrize("seed", ROUNDS)
def test_a_connection_cut_at_any_byte_loses_nothing(
    zone: Zone, put: Callable[..., Address], tmp_path: Path, seed: int
) -> None:
    dice, data = random.Random(seed), content(seed)
    address = put("a.tif", data)
    dropped = zone.faults.dropped
    zone.faults.drop_after(dice.randrange(SIZE))
    fetch(address, tmp_path / "a.tif", connections=dice.choice([1, 3]), segment=SEGMENT)
    assert zone.faults.dropped == dropped + 1
    assert (tmp_path / "a.tif").read_bytes() == data
    assert leftovers(tmp_path) == ["a.tif"]


@pytest.mark.soak
@pytest.mark.parametrize("seed", ROUNDS)
def test_a_collection_survives_cut_connections(
    zone: Zone, put: Callable[..., Address], tmp_path: Path, seed: int
) -> None:
    dice = random.Random(seed)
    files = {f"s.zarr/c/{index}": content(index, dice.randrange(3 * SEGMENT)) for index in range(12)}
    root = [put(name, data) for name, data in files.items()].pop().parent.parent
    dropped = zone.faults.dropped
    zone.faults.drop_after(dice.randrange(sum(map(len, files.values()))))
    found = fetch_collection(root, tmp_path / "s.zarr", connections=3, segment=SEGMENT)
    assert {
        str(path.relative_to(tmp_path)): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()
    } == files
    assert (found.files, zone.faults.dropped) == (12, dropped + 1)


@pytest.mark.soak
@pytest.mark.parametrize("seed", ROUNDS)
def test_a_server_that_is_started_again_is_waited_for(
    zone: Zone, put: Callable[..., Address], tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    dice, data = random.Random(seed), content(seed)
    address, starting = put("a.tif", data), list[threading.Timer]()

    def stop() -> None:
        zone.stop(crash=bool(seed % 2))
        starting.append(threading.Timer(dice.uniform(0.0, 1.0), zone.start))
        starting[0].start()

    changes_while(stop, monkeypatch, at=dice.randint(1, 8))
    fetch(address, tmp_path / "a.tif", connections=2, segment=SEGMENT)
    starting[0].join()
    assert (tmp_path / "a.tif").read_bytes() == data


def test_a_server_that_stays_away_is_told_and_what_came_is_kept(
    zone: Zone, put: Callable[..., Address], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = content(5)
    address = put("a.tif", data)
    zone.faults.drop_after(SIZE // 2)
    with monkeypatch.context() as patch:
        patch.setattr(Patience, "failed", _give_up)
        with pytest.raises(EnvironmentUnusableError, match="the connection was lost"):
            fetch(address, tmp_path / "a.tif", segment=SEGMENT)
    assert not (tmp_path / "a.tif").exists()
    zone.faults.clear()
    found = fetch(address, tmp_path / "a.tif", segment=SEGMENT)
    assert SIZE // 3 < found.kept < SIZE
    assert (tmp_path / "a.tif").read_bytes() == data


def _give_up(self: object, error: Exception, times: int) -> None:
    raise error


def test_nobody_waits_for_ever(zone: Zone, put: Callable[..., Address], tmp_path: Path) -> None:
    address = put("a.tif", b"x")
    zone.stop()
    try:
        with pytest.raises(
            EnvironmentUnusableError, match=r"a\.tif: nothing got through for 0\.3 s \(last: .*no answer"
        ):
            fetch(address, tmp_path / "a.tif", patience_s=0.3)
    finally:
        zone.start()
    assert leftovers(tmp_path) == []


def test_an_error_of_neither_network_nor_server_is_told_soon(
    zone: Zone, put: Callable[..., Address], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = put("a.tif", b"x")
    monkeypatch.setattr(patience, "LONGEST_PAUSE_S", 0.01)
    monkeypatch.setattr(transfer, "_pull", lambda *_: _TABLE["lost"])
    with pytest.raises(EnvironmentUnusableError, match="failed 6 times in the same way: KeyError: 'lost'"):
        fetch(address, tmp_path / "a.tif")


def test_a_wrong_password_is_told_at_once(
    zone: Zone, put: Callable[..., Address], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = put("a.tif", b"x")
    from irods import password_obfuscation

    (tmp_path / "secret").write_text(password_obfuscation.encode("wrong"))
    monkeypatch.setenv("IRODS_AUTHENTICATION_FILE", str(tmp_path / "secret"))
    monkeypatch.setattr(patience, "LONGEST_PAUSE_S", None)  # waiting would be an error
    with pytest.raises(EnvironmentUnusableError, match="the login was refused"):
        fetch(address, tmp_path / "a.tif")


# ---------------------------------------------------------------------------- what comes is not what it should be


@pytest.mark.soak
@pytest.mark.parametrize("seed", ROUNDS)
def test_a_replica_that_is_not_good_is_never_read(
    zone: Zone, put: Callable[..., Address], tmp_path: Path, seed: int
) -> None:
    dice, data = random.Random(seed), content(seed, 5000)
    files = [put(f"s.zarr/{index}", data) for index in range(3)]
    for address in files:
        for name in ("second", "third"):
            add_replica(zone, address, name)
        good = dice.randrange(3)
        for number in {0, 1, 2} - {good}:
            zone.corrupt(address.path, number)
            zone.set_replica(address.path, number, status=dice.choice(["0", "0", "2", "3"]))
    fetch(files[0], tmp_path / "a.tif", connections=dice.choice([1, 3]))
    fetch_collection(files[0].parent, tmp_path / "s.zarr", connections=dice.choice([1, 3]))
    assert {path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == {data}
    assert len(leftovers(tmp_path)) == 5


def add_replica(zone: Zone, address: Address, resource: str) -> None:
    if not (zone.folder / f"vault_{resource}").exists():
        zone.add_resource(resource)
    zone.add_replica(address.path, resource)


@pytest.mark.parametrize("status", ["0", "2"])
def test_an_object_without_a_good_replica_is_refused(
    zone: Zone, put: Callable[..., Address], tmp_path: Path, status: str
) -> None:
    address = put("a.tif", b"content")
    zone.set_replica(address.path, 0, status=status)
    with pytest.raises(InputError, match=r"a\.tif: no replica is good"):
        fetch(address, tmp_path / "a.tif")
    assert leftovers(tmp_path) == []


@pytest.mark.soak
@pytest.mark.parametrize("seed", ROUNDS)
def test_a_replica_with_a_wrong_byte_gives_no_file(
    zone: Zone, put: Callable[..., Address], tmp_path: Path, seed: int
) -> None:
    address = put("a.tif", content(seed))
    zone.corrupt(address.path)
    with pytest.raises(InputError, match=r"the catalogue says sha2:.*; it was fetched 3 times\.\n.*ichksum"):
        fetch(address, tmp_path / "a.tif", segment=SEGMENT)
    assert leftovers(tmp_path) == []


def test_a_replica_that_ends_early_gives_no_file(zone: Zone, put: Callable[..., Address], tmp_path: Path) -> None:
    address = put("a.tif", content(7))
    os.truncate(zone.replicas(address.path)[0].file, SIZE - 10)
    with pytest.raises(InputError, match=rf"the replica ends after {SIZE - 10} bytes; the catalogue says {SIZE}"):
        fetch(address, tmp_path / "a.tif", segment=SEGMENT)
    assert leftovers(tmp_path) == []


def test_where_one_good_replica_is_broken_the_other_is_taken(
    zone: Zone, put: Callable[..., Address], tmp_path: Path
) -> None:
    data = content(8)
    address = put("a.tif", data)
    add_replica(zone, address, "third")
    zone.corrupt(address.path, 0)
    fetch(address, tmp_path / "a.tif", segment=SEGMENT)
    assert (tmp_path / "a.tif").read_bytes() == data


def test_an_object_that_changes_meanwhile_arrives_as_it_is_in_the_end(
    zone: Zone, put: Callable[..., Address], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, new = put("a.tif", content(9)), content(10)
    changes_while(lambda: zone.put(address.path, new), monkeypatch)
    fetch(address, tmp_path / "a.tif", segment=SEGMENT)
    assert (tmp_path / "a.tif").read_bytes() == new


def test_a_part_of_what_has_changed_since_is_not_used(
    zone: Zone, put: Callable[..., Address], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, new = put("a.tif", content(11)), content(12)
    zone.faults.drop_after(SIZE // 2)
    with monkeypatch.context() as patch:
        patch.setattr(Patience, "failed", _give_up)
        with pytest.raises(EnvironmentUnusableError):
            fetch(address, tmp_path / "a.tif", segment=SEGMENT)
    zone.faults.clear()
    zone.put(address.path, new)
    assert fetch(address, tmp_path / "a.tif", segment=SEGMENT).kept == 0
    assert (tmp_path / "a.tif").read_bytes() == new


def test_a_collection_that_changes_meanwhile_arrives_as_it_is_in_the_end(
    zone: Zone, put: Callable[..., Address], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = [put(f"s.zarr/{index}", content(index, 100)) for index in range(5)].pop().parent

    def change() -> None:
        zone.put(f"{root.path}/2", b"new")
        zone.put(f"{root.path}/more", b"more")

    changes_while(change, monkeypatch)
    fetch_collection(root, tmp_path / "s.zarr")
    assert (tmp_path / "s.zarr/2").read_bytes() == b"new"
    assert (tmp_path / "s.zarr/more").read_bytes() == b"more"


def test_a_sheet_that_was_made_before_the_object_changed_is_told(
    zone: Zone, put: Callable[..., Address], tmp_path: Path
) -> None:
    old = f"sha2:{base64.b64encode(hashlib.sha256(b'old').digest()).decode()}"
    with pytest.raises(InputError, match=r"has changed since the sheet was made: .*\n    Collect again"):
        fetch(put("a.tif", b"new"), tmp_path / "a.tif", expected=old)


def test_a_checksum_of_the_sheet_of_another_form_is_compared_with_the_bytes(
    zone: Zone, put: Callable[..., Address], tmp_path: Path
) -> None:
    address = put("a.tif", b"new")
    fetch(address, tmp_path / "a.tif", expected=hashlib.md5(b"new").hexdigest())
    with pytest.raises(InputError, match="what came has the checksum"):
        fetch(address, tmp_path / "b.tif", expected=hashlib.md5(b"old").hexdigest())


def test_an_object_that_may_be_seen_but_not_read_is_told_at_once(
    zone: Zone, put: Callable[..., Address], tmp_path: Path
) -> None:
    address = put("a.tif", b"content")
    zone.faults.refuse(OPEN, Code.CAT_NO_ACCESS_PERMISSION)
    with pytest.raises(InputError, match=r"a\.tif: cannot be read: CAT_NO_ACCESS_PERMISSION\.\n.*ils -A"):
        fetch(address, tmp_path / "a.tif")


@pytest.mark.parametrize("path", ["nothing/there.tif", "empty.zarr"])
def test_what_is_not_there_or_may_not_be_seen_is_told(zone: Zone, tmp_path: Path, path: str) -> None:
    zone.make_collection(f"{zone.home}/empty.zarr")
    with pytest.raises(InputError, match="permission to see"):
        stage(f"irods://{zone.home}/{path}", tmp_path / "staged/r1", "r1.tif")


# ---------------------------------------------------------------------------- this machine


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 KiB; skips where none may be mounted."""
    folder = tmp_path / "small"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("a small disk needs the right to mount one")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_disk_without_room_is_told_before_anything_is_fetched(
    zone: Zone, put: Callable[..., Address], small_disk: Path
) -> None:
    address = put("a.tif", content(13))
    with pytest.raises(
        DiskFullError, match=r"is full: it has 700001 bytes \(700001 more bytes are needed, \d+ are free\)"
    ):
        fetch(address, small_disk / "a.tif")
    assert leftovers(small_disk) == []


@pytest.mark.soak
@pytest.mark.parametrize("seed", ROUNDS)
@pytest.mark.parametrize("what", ["object", "collection"])
def test_a_disk_that_fills_up_meanwhile_leaves_nothing(
    zone: Zone, put: Callable[..., Address], small_disk: Path, monkeypatch: pytest.MonkeyPatch, what: str, seed: int
) -> None:
    dice = random.Random(seed)
    sizes = [dice.randrange(20_000, 60_000) for _ in range(6)]
    addresses = [put(f"s.zarr/{index}", content(index, size)) for index, size in enumerate(sizes)]
    whole = put("a.tif", content(seed, sum(sizes)))
    room = shutil.disk_usage(small_disk).free
    changes_while(lambda: (small_disk / "others").write_bytes(bytes(room - dice.randrange(50_000))), monkeypatch)
    monkeypatch.setattr(transfer, "_check_room", lambda *_: None)
    begin = partial(fetch, whole, small_disk / "a.tif", segment=16 * 1024)
    if what == "collection":
        begin = partial(fetch_collection, addresses[0].parent, small_disk / "s.zarr")
    with pytest.raises(DiskFullError, match="No space left"):
        begin()
    assert leftovers(small_disk) == ["others"]


def test_a_file_larger_than_a_process_may_write_leaves_nothing(
    zone: Zone, put: Callable[..., Address], tmp_path: Path
) -> None:
    address = put("a.tif", content(14))
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, old[1]))
    try:
        with pytest.raises(DiskFullError, match="File too large"):
            fetch(address, tmp_path / "a.tif", segment=SEGMENT)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert leftovers(tmp_path) == []


# ---------------------------------------------------------------------------- the program that the rule calls


def program(address: str, folder: Path, name: str, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "snakescope.zone.stage", address, "--to", str(folder), "--name", name, *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def kill_at(zone: Zone, process: subprocess.Popen[str], call: int) -> None:
    """Kill a program once the server has answered so many calls; at its end if it makes less."""
    while len(zone.calls) < call and process.poll() is None:
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.communicate()


@pytest.mark.soak
@pytest.mark.parametrize("seed", ROUNDS)
@pytest.mark.parametrize("what", ["object", "collection", "packed"])
def test_killed_at_any_moment_it_finishes_when_run_again(
    zone: Zone, put: Callable[..., Address], tmp_path: Path, what: str, seed: int
) -> None:
    dice = random.Random(seed)
    files = {"zarr.json": b"{}"} | {f"c/{index}": content(index, 20_000) for index in range(15)}
    if what == "object":
        text, name = str(put("a.tif", content(seed))), "r1.tif"
    elif what == "packed":
        text, name = str(put("a.zarr.zip", packed("zip", files))), "r1.zarr"
    else:
        addresses = [put(f"s.zarr/{each}", data) for each, data in files.items()]
        text, name = str(addresses[0].parent), "r1.zarr"
    folder = tmp_path / "staged/r1"
    for _ in range(2):
        process = program(text, folder, name, "--connections=2")
        kill_at(zone, process, len(zone.calls) + dice.randrange(4, 30))
        if folder.exists():  # it had come to its end, and then all is there
            assert sorted(path.name for path in folder.iterdir()) == [".source", name]
    zone.faults.clear()
    process = program(text, folder, name, "--connections=2")
    told = process.communicate()[0]
    assert process.returncode == 0, told
    found = {
        str(path.relative_to(folder / name)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".source"
    }
    assert found == ({".": content(seed)} if what == "object" else files)
    assert leftovers(tmp_path / "staged/.part") == []


def test_two_processes_that_stage_one_row_take_turns(zone: Zone, put: Callable[..., Address], tmp_path: Path) -> None:
    data, folder = content(15), tmp_path / "staged/r1"
    text = str(put("a.tif", data))
    with _slot(folder):  # another process is at it
        processes = [program(text, folder, "r1.tif") for _ in range(2)]
        told = [read_line(process) for process in processes]
    rest = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], rest
    assert told == ["another process is staging this row; waiting for it\n"] * 2
    assert (folder / "r1.tif").read_bytes() == data
    assert leftovers(tmp_path / "staged") == [".part", "r1", "r1/.source", "r1/r1.tif"]


def read_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def test_the_program_tells_an_error_as_other_programs_do(
    zone: Zone, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main([f"irods://{zone.home}/none.tif", "--to", str(tmp_path / "staged/r1"), "--name", "r1.tif"])
    assert code == 2
    assert capsys.readouterr().out.startswith(f"error: irods://{zone.home}/none.tif: is not there")


def test_the_source_tells_address_checksum_and_digest(
    zone: Zone, put: Callable[..., Address], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    address, digest = put("a b.tif", b"content"), hashlib.sha256(b"content")
    text = f"irods://{address.path}"  # as a person writes it: the blank is no %20
    assert main([text, "--to", str(tmp_path / "staged/r1"), "--name", "r1.tif"]) == 0
    expected = f"{text}\nsha2:{base64.b64encode(digest.digest()).decode()}\n{digest.hexdigest()}\n"
    assert (tmp_path / "staged/r1/.source").read_text() == expected
    assert capsys.readouterr().out.startswith("7 bytes in 1 files; 7 fetched in ")


def test_what_a_process_that_outlived_its_run_has_brought_is_taken_over(
    zone: Zone, put: Callable[..., Address], tmp_path: Path
) -> None:
    text = str(put("a.tif", content(16)))
    stage(text, tmp_path / "staged/r1", "r1.tif")
    zone.calls.clear()
    stage(text, tmp_path / "staged/r1", "r1.tif")
    assert zone.calls == []
