"""Archives that are damaged, or made to do harm: one message each, and nothing is left."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from snakescope.bundle.archive import write_archive
from snakescope.bundle.manifest import NAME, Manifest, PackedFile
from snakescope.bundle.unpack import unpack
from snakescope.errors import InputError

TEXTS = {"config/config.yaml": b"pipeline: p\n", "tools/a/run.sh": b"echo a\n", "images/a.sif": bytes(range(256)) * 9}
Member = tuple[tarfile.TarInfo, bytes]


def manifest_of(texts: Mapping[str, bytes]) -> Manifest:
    files = [
        PackedFile(
            path=path,
            role="tool",
            size=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
            executable=path.endswith(".sh"),
        )
        for path, data in sorted(texts.items())
    ]
    return Manifest(schema_=1, snakescope="0.1.0", pipeline="p", files=files, tools=[], images=[], models=[])


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A sound pack."""
    (tmp_path / "here").mkdir()
    write_archive(tmp_path / "here/a.tar", manifest_of(TEXTS), TEXTS)
    return tmp_path / "here/a.tar"


def members(archive: Path) -> list[Member]:
    with tarfile.open(archive) as tar:
        return [(member, tar.extractfile(member).read()) for member in tar]  # type: ignore[union-attr]


def rewrite(archive: Path, found: list[Member]) -> None:
    with tarfile.open(archive, "w") as tar:
        for member, data in found:
            tar.addfile(member, io.BytesIO(data))


def added(name: str, data: bytes = b"x", kind: bytes = tarfile.REGTYPE, link: str = "") -> Member:
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.size = kind, link, len(data) if kind == tarfile.REGTYPE else 0
    return member, data


def refused(archive: Path, match: str) -> str:
    """Unpack, see it refused with one message, and see that nothing is left."""
    before = sorted(archive.parent.parent.rglob("*"))
    with pytest.raises(InputError, match=match) as caught:
        unpack(archive, archive.parent / "new")
    assert sorted(archive.parent.parent.rglob("*")) == before
    assert len(caught.value.problems) == 1
    return str(caught.value)


def test_a_sound_one_is_unpacked_as_it_was(archive: Path) -> None:
    report = unpack(archive, archive.parent / "new")
    assert report.exit_code == 0
    for path, data in TEXTS.items():
        assert (archive.parent / "new" / path).read_bytes() == data
    assert os.access(archive.parent / "new/tools/a/run.sh", os.X_OK)
    assert not (archive.parent / "new/config/config.yaml").stat().st_mode & 0o111
    assert sorted(path.name for path in archive.parent.iterdir()) == ["a.tar", "new"]


def test_the_same_files_make_the_same_bytes(archive: Path) -> None:
    other = archive.with_name("b.tar")
    told = write_archive(other, manifest_of(TEXTS), TEXTS)
    assert other.read_bytes() == archive.read_bytes()
    assert told == hashlib.sha256(archive.read_bytes()).hexdigest()


def test_an_empty_folder_is_taken_and_another_is_not(archive: Path) -> None:
    (archive.parent / "new").mkdir()
    unpack(archive, archive.parent / "new")
    refused(archive, "new: is there already and not empty")


def test_a_folder_nowhere_is_refused(archive: Path) -> None:
    with pytest.raises(InputError, match="there is no such folder"):
        unpack(archive, archive.parent / "nowhere/new")
    with pytest.raises(InputError, match="there is no such file"):
        unpack(archive.parent / "none.tar", archive.parent / "new")


OUTSIDE: dict[str, Member] = {
    "absolute": added("/tmp/snakescope-owned"),
    "above": added("../owned"),
    "in the middle": added("tools/../../owned"),
    "not listed": added("tools/a/more.py"),
    "symlink out": added("tools/link", kind=tarfile.SYMTYPE, link="../../owned"),
    "symlink absolute": added("tools/link", kind=tarfile.SYMTYPE, link="/etc"),
    "hard link": added("tools/link", kind=tarfile.LNKTYPE, link="/etc/passwd"),
    "device": added("tools/null", kind=tarfile.CHRTYPE),
    "fifo": added("tools/pipe", kind=tarfile.FIFOTYPE),
    "folder": added("../owned", kind=tarfile.DIRTYPE),
    "twice": added("tools/a/run.sh", TEXTS["tools/a/run.sh"]),
    "manifest twice": added(NAME, b"{}"),
}
SAID = {
    "absolute": "outside the destination|is not listed",
    "above": "outside the destination",
    "in the middle": "outside the destination",
    "not listed": r"tools/a/more.py: is not listed in its snakescope-pack\.json",
    "twice": r"tools/a/run\.sh: is in it twice",
    "manifest twice": r"snakescope-pack\.json: is not listed",
}


@pytest.mark.parametrize("kind", OUTSIDE)
@pytest.mark.parametrize("place", [1, -1], ids=["first", "last"])
def test_a_member_more_is_refused(archive: Path, kind: str, place: int) -> None:
    found = members(archive)
    found.insert(place if place > 0 else len(found), OUTSIDE[kind])
    if kind == "twice" and place > 0:
        found.append(found.pop(1))
    rewrite(archive, found)
    refused(archive, SAID.get(kind, "is a link, a device or a folder; a pack holds files only"))
    assert not Path("/tmp/snakescope-owned").exists()


def test_a_link_in_place_of_a_file_that_is_listed_is_refused(archive: Path) -> None:
    found = [entry for entry in members(archive) if entry[0].name != "images/a.sif"]
    rewrite(archive, [*found, added("images/a.sif", kind=tarfile.SYMTYPE, link="../tools/a/run.sh")])
    refused(archive, r"images/a\.sif: is a link")


def test_a_manifest_that_names_a_place_outside_is_refused(archive: Path) -> None:
    told = manifest_of({"../owned": b"x"}).text().encode()
    rewrite(archive, [added(NAME, told), added("../owned")])
    refused(archive, r"it names '\.\./owned', which is no place inside a folder")


@pytest.mark.parametrize("lost", sorted(TEXTS))
def test_a_member_less_is_refused(archive: Path, lost: str) -> None:
    rewrite(archive, [entry for entry in members(archive) if entry[0].name != lost])
    refused(archive, f"cut off or damaged: not in it, though listed: {lost}")


def test_a_longer_file_is_refused_before_it_is_written(archive: Path) -> None:
    found = members(archive)
    rewrite(archive, [*found[:-1], added(found[-1][0].name, found[-1][1] + b"more")])
    refused(archive, r"has 11 bytes; its snakescope-pack\.json says 7")


def test_every_byte_counts(archive: Path) -> None:
    """One byte changed anywhere is told, or it was in the filling between members, and all files are right."""
    sound = archive.read_bytes()
    filling = set(range(len(sound))) - {at for start, size in spans(archive) for at in range(start, start + size)}
    told = 0
    for at in [*range(0, len(sound), 97), *(start for start, _ in spans(archive))]:
        archive.write_bytes(sound[:at] + bytes([sound[at] ^ 1]) + sound[at + 1 :])
        if at in filling:
            continue
        refused(archive, "damaged|cut off|no pack|sha256|schema|is wrong|no JSON")
        told += 1
    assert told > 40


def spans(archive: Path) -> list[tuple[int, int]]:
    """Where headers and content are."""
    with tarfile.open(archive) as tar:
        found = [(member.offset, 512, member.offset_data, member.size) for member in tar]
    return [pair for offset, head, data, size in found for pair in ((offset, head), (data, size))]


@pytest.mark.parametrize("part", [0, 1, 100, 512, 513, 1500, 2048, 3000, 4096, 5000])
def test_one_that_is_cut_off_is_refused(archive: Path, part: int) -> None:
    archive.write_bytes(archive.read_bytes()[:part])
    refused(archive, "damaged|cut off")


@pytest.mark.parametrize(
    "make",
    [
        lambda path: path.write_text("no tar at all\n" * 100),
        lambda path: path.write_bytes(os.urandom(5000)),
        lambda path: rewrite(path, [added("README", b"hello")]),
        lambda path: rewrite(path, []),
        lambda path: rewrite(path, [added(NAME, kind=tarfile.SYMTYPE, link="a")]),
        lambda path: rewrite(path, [added(NAME, b"[1, 2]")]),
    ],
    ids=["text", "noise", "another tar", "an empty tar", "a link", "another JSON"],
)
def test_what_is_no_pack_is_refused(archive: Path, make: Callable[[Path], None]) -> None:
    make(archive)
    assert "Traceback" not in refused(archive, "no pack|has the schema")


def test_a_file_that_changes_meanwhile_is_told_and_nothing_is_left(tmp_path: Path) -> None:
    for name, data in {"same": b"one", "longer": b"one more", "shorter": b"o", "other": b"two"}.items():
        (tmp_path / name).write_bytes(data)
        told = manifest_of({"a": b"one"})
        if name == "same":
            write_archive(tmp_path / "a.tar", told, {"a": tmp_path / name})
            (tmp_path / "a.tar").unlink()
            continue
        with pytest.raises(InputError, match="was changed while it was packed"):
            write_archive(tmp_path / "a.tar", told, {"a": tmp_path / name})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["longer", "other", "same", "shorter"]


def test_a_disk_without_room_is_told_before_a_byte(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("snakescope.bundle.unpack.shutil.disk_usage", lambda _: type("Usage", (), {"free": 100}))
    refused(archive, "the disk of .* has 0.00 GB left")
