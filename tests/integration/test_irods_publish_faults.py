"""Publishing while everything goes wrong that can: nothing lost, nothing twice, nothing claimed that is not there."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from irods_zone import Zone
from irods_zone import objects as served
from publish_helpers import (
    Export,
    assert_no_false_claims,
    assert_published,
    avus_below,
    objects,
    publish,
    root_of,
    settle,
    sha256,
    target,
)
from snakescope.errors import EnvironmentUnusableError, InputError
from snakescope.publish.publish import PublishReport
from snakescope.zone import store
from snakescope.zone.address import Address

# A connection that is lost at its login is left unclosed by the client.
pytestmark = [pytest.mark.irods, pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")]
TIMES = 20 if os.environ.get("SNAKESCOPE_SOAK") else 2
WRITE, DISK_FULL = 676, -513028
AGAIN = pytest.mark.parametrize("again", [False, True], ids=["the first time", "over what was there"])


@pytest.fixture
def zone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Zone]:
    """A zone that the environment leads to, in which nothing of its own may fail."""
    with Zone(tmp_path / "zone") as running:
        for name, value in running.environment().items():
            monkeypatch.setenv(name, value)
        yield running
    assert running.failures == []


@pytest.fixture
def export(tmp_path: Path) -> Export:
    """An exported study with two rows."""
    return Export(tmp_path / "tiny")


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connect anew at once."""
    monkeypatch.setattr(store, "PAUSE_S", 0.01)


def change(export: Export, text: str) -> None:
    """Make other tables and images of the same names, and one image file more."""
    export.tables = {row: f"n\n{row} {text}\n" * 3000 for row in export.ids}
    export.odd = (text,)
    export.make()


def begin(zone: Zone, export: Export, index: int, *, again: bool) -> str:
    """A collection for the next round; where it is published `again`, with other results than the export now has."""
    collection = f"lab{index}"
    zone.make_collection(f"{zone.home}/{collection}")
    if again:
        change(export, f"before {index}")
        publish(zone, export, collection)
        change(export, f"after {index}")
    return collection


def traffic(zone: Zone, export: Export, *, again: bool) -> int:
    """Bytes that publishing takes, both ways."""
    collection, huge = begin(zone, export, 1000, again=again), 10**12
    zone.faults.drop_after(huge)
    publish(zone, export, collection)
    left = zone.faults._budget
    zone.faults.clear()
    assert left is not None
    return huge - left


# ---------------------------------------------------------------------------- lost connections, servers, processes


@pytest.mark.soak
@AGAIN
@pytest.mark.parametrize("attempts", [1, 5], ids=["giving up", "trying again"])
def test_connections_that_drop_at_a_random_byte_lose_nothing(
    zone: Zone, export: Export, monkeypatch: pytest.MonkeyPatch, attempts: int, again: bool
) -> None:
    total, chance, ended = traffic(zone, export, again=again), random.Random(attempts), 0
    for index in range(TIMES):
        collection = begin(zone, export, index, again=again)
        zone.faults.drop_after(chance.randrange(total))
        with monkeypatch.context() as patch:
            patch.setattr(store, "ATTEMPTS", attempts)
            try:
                assert publish(zone, export, collection).failed == []
                assert_published(zone, export, root_of(zone, collection))
            except EnvironmentUnusableError:
                ended += 1
        zone.faults.clear()
        assert_no_false_claims(zone, root_of(zone, collection))
        settle(zone, export, collection)
    assert zone.faults.dropped, "not one connection was lost"
    assert ended or attempts > 1


@pytest.mark.soak
@AGAIN
@pytest.mark.parametrize("crash", [False, True], ids=["stopped", "crashed"])
def test_a_server_that_is_restarted_loses_nothing(
    zone: Zone, export: Export, monkeypatch: pytest.MonkeyPatch, crash: bool, again: bool
) -> None:
    chance = random.Random(7)
    for index in range(TIMES):
        collection = begin(zone, export, index, again=again)
        with (
            restarted_at_a_write(zone, chance.randrange(6 if again else 12), monkeypatch, crash=crash),
            contextlib.suppress(EnvironmentUnusableError),
        ):
            publish(zone, export, collection)
        assert_no_false_claims(zone, root_of(zone, collection))
        report = publish(zone, export, collection)
        if report.failed:
            assert crash, report.failed
            unlock(zone, report)
        settle(zone, export, collection)


@contextlib.contextmanager
def restarted_at_a_write(zone: Zone, number: int, monkeypatch: pytest.MonkeyPatch, *, crash: bool) -> Iterator[None]:
    """Restart the server, aside, while the bytes of that many objects are on their way."""
    send, count, threads = store._send, itertools.count(), list[threading.Thread]()

    def sent(raw: Any, block: bytes) -> None:
        if next(count) == number:
            threads.append(threading.Thread(target=zone.restart, kwargs={"crash": crash}))
            threads[0].start()
        send(raw, block)

    with monkeypatch.context() as patch:
        patch.setattr(store, "_send", sent)
        yield
    assert threads, "so many objects were not put"
    threads[0].join()


def unlock(zone: Zone, report: PublishReport) -> None:
    """What an administrator does with objects that a crash has left locked."""
    assert {item.message.partition(":")[0] for item in report.failed} == {"is locked"}
    for item in report.failed:
        zone.set_replica(Address.parse(item.where).path, status="0")


@pytest.mark.soak
@AGAIN
def test_killed_at_a_random_moment_and_run_again_it_finishes(zone: Zone, export: Export, again: bool) -> None:
    chance, killed = random.Random(3), 0
    usual = max(calls_of(zone, export, again=again), 20)
    for index in range(TIMES):
        collection = begin(zone, export, index, again=again)
        zone.calls.clear()
        running = start(zone, export, collection)
        moment = chance.randrange(usual)
        while len(zone.calls) < moment and running.poll() is None:
            time.sleep(0.001)
        running.send_signal(signal.SIGKILL)
        running.communicate()
        killed += running.returncode == -signal.SIGKILL
        assert_no_false_claims(zone, root_of(zone, collection))
        settle(zone, export, collection)
    assert killed


def start(zone: Zone, export: Export, collection: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "snakescope.cli", "publish", "--quiet", target(zone, collection)]
    return subprocess.Popen(command, cwd=export.root, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def calls_of(zone: Zone, export: Export, *, again: bool) -> int:
    """Calls that publishing takes."""
    collection = begin(zone, export, 1000, again=again)
    zone.calls.clear()
    running = start(zone, export, collection)
    assert running.communicate() is not None
    assert running.returncode == 0
    return len(zone.calls)


# ---------------------------------------------------------------------------- what the zone gets wrong


@pytest.mark.soak
def test_stale_replicas_of_any_objects_are_put_again(zone: Zone, export: Export) -> None:
    zone.make_collection(f"{zone.home}/lab")
    publish(zone, export)
    root = root_of(zone)
    for seed in range(TIMES):
        chance = random.Random(seed)
        paths = chance.sample(sorted(objects(zone, root)), chance.randint(1, 6))
        for path in paths:
            zone.set_replica(f"{root}/{path}", status="0")
            if chance.random() < 0.5:
                zone.corrupt(f"{root}/{path}")
        report = publish(zone, export)
        assert (report.put, report.replaced) == (0, len(paths))
        settle(zone, export, "lab")


@pytest.mark.soak
def test_checksums_that_do_not_fit_are_put_again(zone: Zone, export: Export) -> None:
    zone.make_collection(f"{zone.home}/lab")
    publish(zone, export)
    root = root_of(zone)
    for seed in range(TIMES):
        chance = random.Random(seed)
        paths = chance.sample(sorted(objects(zone, root)), chance.randint(1, 6))
        for path in paths:
            zone.corrupt(f"{root}/{path}")
            (replica,) = zone.replicas(f"{root}/{path}")
            zone.set_replica(f"{root}/{path}", checksum=served.checksum_of(replica.file))
        report = publish(zone, export)
        assert (report.put, report.replaced) == (0, len(paths))
        settle(zone, export, "lab")


@pytest.mark.soak
@AGAIN
def test_a_server_that_stores_other_bytes_is_told_and_then_finished(
    zone: Zone, export: Export, monkeypatch: pytest.MonkeyPatch, again: bool
) -> None:
    for index in range(TIMES):
        collection = begin(zone, export, index, again=again)
        victim = random.Random(index).choice(sorted(export.files()))
        wrong, right = export.files()[victim], served.checksum_of
        with monkeypatch.context() as patch:
            patch.setattr(served, "checksum_of", lambda file: spoilt(file, wrong, right))  # noqa: B023
            report = publish(zone, export, collection)
        assert {item.message for item in report.failed} <= {"the checksum on the server is not that of the file"}
        settle(zone, export, collection)


def spoilt(file: Path, victim: bytes, checksum_of: Any) -> str:
    """The server changes a byte of one file as it stores it."""
    content = file.read_bytes()
    if content == victim:
        file.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    return str(checksum_of(file))


@pytest.mark.soak
@AGAIN
def test_a_server_whose_disk_is_full_for_a_while_is_told_and_then_finished(
    zone: Zone, export: Export, again: bool
) -> None:
    for index in range(TIMES):
        collection, chance = begin(zone, export, index, again=again), random.Random(index)
        zone.faults.refuse(WRITE, DISK_FULL, times=chance.randint(1, 8))
        report = publish(zone, export, collection)
        zone.faults.clear()
        assert {item.message for item in report.failed} == {"the server refuses it (UNIX_FILE_WRITE_ERR)"}
        assert_no_false_claims(zone, root_of(zone, collection))
        settle(zone, export, collection)


# ---------------------------------------------------------------------------- an overwrite that is cut off


def cut_off(zone: Zone, export: Export, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Publish; the connection is lost each time when a part of that file is written."""
    content = export.files()[path]
    send = store._send

    def sent(raw: Any, block: bytes) -> None:
        if block != content:
            return send(raw, block)
        send(raw, block[: len(block) // 2])
        zone.drop_connections()
        return send(raw, block[len(block) // 2 :])

    with monkeypatch.context() as patch:
        patch.setattr(store, "_send", sent)
        with pytest.raises(EnvironmentUnusableError):
            publish(zone, export)


@pytest.mark.parametrize(
    "path",
    ["results/r0/measure/table.csv", "results/r1/segment/labels.ome.zarr/odd/after", "ro-crate-metadata.json"],
    ids=["a file", "a part of an image", "the crate"],
)
def test_an_overwrite_that_is_cut_off_claims_nothing_before_it_is_finished(
    zone: Zone, export: Export, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    zone.make_collection(f"{zone.home}/lab")
    change(export, "before")
    export.odd = ("after",)  # of the same name before and after, with other content
    for row in export.ids:
        export.tables[row] = f"before {row}\n" * 3000
    export.make()
    publish(zone, export)
    crate = objects(zone, root_of(zone))["ro-crate-metadata.json"]
    for row in export.ids:
        export.tables[row] = f"after {row}\n" * 3000
    export.make()
    if "labels" in path:
        other(export, path)

    cut_off(zone, export, path, monkeypatch)

    root = root_of(zone)
    assert [each.status for each in zone.replicas(f"{root}/{path}")] == ["0"]
    told = {name: dict(avu[:2] for avu in avus) for name, avus in avus_below(zone, root).items()}
    item = path.partition("/odd/")[0]
    assert not {"snakescope.sha256", "snakescope.run"} & told[f"/{item}"].keys()
    assert told[""]["snakescope.run"] == "unfinished"
    assert "snakescope.crate" not in told[""]
    if path != "ro-crate-metadata.json":
        assert zone.read(f"{root}/ro-crate-metadata.json") == crate, "the new one comes last"
    assert_no_false_claims(zone, root)
    assert publish(zone, export, dry_run=True).replaced >= 1
    settle(zone, export, "lab")
    done = dict(avu[:2] for avu in zone.avus(root))
    assert done["snakescope.run"] == sha256(zone.read(f"{root}/ro-crate-metadata.json"))


def other(export: Export, path: str) -> None:
    """Other content for one file of an image."""
    export.write(path, "other content of a part")
    row = path.split("/")[1]
    export.record(row, f"results/{row}/segment/labels.ome.zarr")
    export.export()


def test_what_is_only_added_to_leaves_the_rest_as_it_is(zone: Zone, export: Export) -> None:
    zone.make_collection(f"{zone.home}/lab")
    publish(zone, export)
    before = avus_below(zone, root_of(zone))
    zone.calls.clear()
    zone.set_replica(f"{root_of(zone)}/README.md", status="0")
    report = publish(zone, export)
    assert (report.put, report.replaced, report.annotated) == (0, 1, 2)
    assert avus_below(zone, root_of(zone)) == before


def test_parts_that_an_image_has_no_more_go_into_the_trash(zone: Zone, export: Export) -> None:
    zone.make_collection(f"{zone.home}/lab")
    change(export, "old")
    publish(zone, export)
    zone.put(f"{root_of(zone)}/results/r0/segment/labels.ome.zarr/0/c/9/9", b"of nobody knows whom")
    zone.put(f"{root_of(zone)}/results/r0/segment/note.txt", b"of somebody else")
    change(export, "new")
    stale = [f"{root_of(zone)}/results/{row}/segment/labels.ome.zarr/odd/old" for row in export.ids]
    stale.append(f"{root_of(zone)}/results/r0/segment/labels.ome.zarr/0/c/9/9")
    assert sorted(publish(zone, export, dry_run=True).removed) == sorted(stale)
    report = publish(zone, export)
    assert (sorted(report.removed), report.gone, report.others) == (sorted(stale), [], 1)
    for path in stale:
        assert zone.replicas(path) == []
        assert zone.read(path.replace("/home/", "/trash/home/", 1)) is not None
    assert zone.read(f"{root_of(zone)}/results/r0/segment/note.txt") == b"of somebody else"
    assert publish(zone, export).removed == []


def test_parts_that_a_cut_off_publication_has_left_are_moved_too(
    zone: Zone, export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    zone.make_collection(f"{zone.home}/lab")
    change(export, "first")
    cut_off(zone, export, "results/r1/measure/table.csv", monkeypatch)
    change(export, "second")
    settle(zone, export, "lab")


def test_an_image_of_somebody_else_with_more_parts_is_refused(zone: Zone, export: Export) -> None:
    path = f"{root_of(zone)}/results/r0/segment/labels.ome.zarr/0/c/9/9"
    zone.put(path, b"of somebody else")
    with pytest.raises(InputError, match=r"0/c/9/9: is no part of the study"):
        publish(zone, export)
    assert zone.read(path) == b"of somebody else"
