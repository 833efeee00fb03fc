"""Raw images in iRODS as an export tells of them, without a zone: names, sentences, copies, lists, crate, checks."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from snakescope.samples import Row, build_sheet
from snakescope.study import remote
from snakescope.study.bia.view import BiaCrate
from snakescope.study.checksums import Checksums
from snakescope.study.inventory import RawImage
from snakescope.study.model import RAW
from snakescope.study.pagetab.lists import FileLists
from snakescope.study.pagetab.v5 import check_submission
from snakescope.study.pagetab.view import PageTab
from snakescope.study.survey import survey
from snakescope.study.verify.files import Files
from snakescope.workflow import Plan
from study_helpers import Feed, make_feed, make_study

SHA = hashlib.sha256(b"pixels").hexdigest()
CHECKSUM = "sha2:" + base64.b64encode(bytes.fromhex(SHA)).decode()
OTHER = "sha2:" + base64.b64encode(hashlib.sha256(b"others").digest()).decode()
ADDRESS = "irods:///z/home/a%20b.tif"


def row(path: str = ADDRESS, **cells: str) -> Row:
    return build_sheet(["id", "path", *cells], [{"id": "r0", "path": path, **cells}]).rows[0]


# ---------------------------------------------------------------------------- addresses and checksums


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("irods:///z/a b%25.tif", "irods:///z/a%20b%25.tif"),
        ("irods://me%23other@host:1250/z/µ", "irods://host:1250/z/%C2%B5"),
        ("irods://host/z/a/", "irods://host/z/a"),
    ],
)
def test_addresses_are_told_encoded_and_without_a_user(path: str, told: str) -> None:
    assert remote.told_address(path) == told


@pytest.mark.parametrize(
    ("checksum", "sha256"),
    [(CHECKSUM, SHA), (hashlib.md5(b"").hexdigest(), None), ("sha2:xx", None), ("sha2:AAAA", None), (None, None)],
)
def test_a_catalogue_that_keeps_sha256_says_it(checksum: str | None, sha256: str | None) -> None:
    assert remote.sha256_of(checksum) == sha256


def test_checksums_differ_only_where_they_can_be_compared() -> None:
    assert remote.differs(CHECKSUM, OTHER)
    assert not remote.differs(CHECKSUM, CHECKSUM)
    assert not remote.differs(CHECKSUM, hashlib.md5(b"").hexdigest())
    assert not remote.differs("odd:1", "odd:2")
    assert not remote.differs(None, OTHER)


@pytest.mark.parametrize(
    ("name", "packed"),
    [("a.ome.zarr.zip", True), ("a.zarr.tar.gz", True), ("a.ome.zarr", False), ("a.tif", False), ("a.zip", False)],
)
def test_packed_stores_are_known_by_their_names(name: str, packed: bool) -> None:
    assert remote.is_packed(row(f"irods:///z/{name}")) == packed


def test_where_images_lie_is_one_sentence() -> None:
    one, two = "irods:///z/a/b/1.tif", "irods:///z/a/c%20d/2.tif"
    assert remote.in_words([one], 1) == "They lie in iRODS, below irods:///z/a/b; the file list says where each."
    assert remote.in_words([one, two], 3).startswith("2 of them lie in iRODS, below irods:///z/a; ")
    zones = [f"irods://h{index}/z/x" for index in range(5)]
    assert "below irods://h0/z, irods://h1/z, irods://h2/z and 2 more zones;" in remote.in_words(zones, 5)


# ---------------------------------------------------------------------------- copies


def put_copy(root: Path, folder: str, source: str = f"{ADDRESS}\n{CHECKSUM}\n{SHA}\n") -> None:
    (root / folder / "r0").mkdir(parents=True)
    (root / folder / "r0/r0.tif").write_text("pixels")
    (root / folder / "r0/.source").write_text(source)


def test_a_fetched_copy_goes_before_a_staged_one_and_tells_its_digest(tmp_path: Path) -> None:
    assert remote.kept_copy(tmp_path, row(), keep_staged=True) is None
    put_copy(tmp_path, "staged")
    assert remote.kept_copy(tmp_path, row(), keep_staged=False) is None
    assert remote.kept_copy(tmp_path, row(), keep_staged=True) == remote.Copy("staged/r0/r0.tif", SHA)
    put_copy(tmp_path, "fetched")
    assert remote.kept_copy(tmp_path, row(), keep_staged=True) == remote.Copy("fetched/r0/r0.tif", SHA)


@pytest.mark.parametrize("source", ["", "irods:///z/other.tif\n-\n-\n", f"{ADDRESS}\n{OTHER}\n{SHA}\n", f"{ADDRESS}\n"])
def test_a_copy_of_something_else_is_none(tmp_path: Path, source: str) -> None:
    put_copy(tmp_path, "fetched", source)
    assert remote.kept_copy(tmp_path, row(checksum=CHECKSUM), keep_staged=True) is None


# ---------------------------------------------------------------------------- what the first pass finds


def study_of(root: Path, rows: list[dict[str, str]], read: dict[str, Any] | None = None) -> Any:
    """What the first pass finds in a study of one step; its job of ``r0`` has read what `read` says."""
    sheet = build_sheet(list(dict.fromkeys(key for cells in rows for key in cells)), rows)
    wire = {"from": "sheet", "column": "path", "facts": []}
    tool = {"name": "t", "id": "t", "version": "1", "citations": [], "program": {"name": "p", "version": "1"}}
    facts = {"parameters": [], "tool": tool, "inputs": {"image": {"type": "image"}}, "outputs": {}}
    (root / "rules/p").mkdir(parents=True)
    (root / "rules/p/count.json").write_text(json.dumps(facts))
    if read:
        (root / "records/r0").mkdir(parents=True)
        record: dict[str, Any] = {
            **{"schema": 1, "status": "done", "unit": "r0", "samples": ["r0"], "step": "count", "snakemake": None},
            **{"started_at": "", "ended_at": "", "wall_s": None, "cpu_s": None, "exit_code": 0, "host": "here"},
            **{"scheduler": None, "environment": {}, "tool_version_observed": None, "argv": [], "row_parameters": {}},
            **{"inputs": [{"port": "image", **read}], "outputs": [], "compiled": facts},
        }
        (root / "records/r0/count.json").write_text(json.dumps(record))
    steps = {"count": {"tool": "t", "over": [], "inputs": {"image": wire}}}
    plan = Plan({"pipeline": "p", "title": "P", "sources": {}, "steps": steps}, sheet)
    return survey(root, plan, lambda _: ("b", "s", "a"))


def cells(**more: str) -> dict[str, str]:
    return {"id": "r0", "path": ADDRESS, "voxel_size_um": "1,0.1,0.1", "bytes": "6", **more}


def test_facts_of_an_image_come_from_the_sheet_where_no_job_has_read_it(tmp_path: Path) -> None:
    found = study_of(tmp_path, [cells(checksum=CHECKSUM, shape="1,2,3", axes="zyx")])
    (file,) = found.raw_files()
    assert (file.path, file.here, file.address, file.by_reference) == ("raw/r0.tif", ADDRESS, ADDRESS, True)
    assert (file.bytes, file.sha256, file.checksum) == (6, SHA, CHECKSUM)
    assert (file.columns["axes"], file.columns["shape"]) == ("zyx", "1,2,3")
    assert (found.by_reference, found.by_reference_unhashed, found.unhashed, found.problems) == (1, 0, 0, [])


def test_facts_of_an_image_come_from_the_job_that_read_it(tmp_path: Path) -> None:
    path = "irods:///z/home/a.ome.zarr"
    own = {"axes": "zyx", "shape": [1, 2, 3], "dtype": "uint8", "scale": [1, 0.5, 0.5]}
    read = {"path": path, "bytes": 60, "sha256": "ab" * 32, "staged": "staged/r0/r0.ome.zarr", **own}
    found = study_of(tmp_path, [cells(path=path, bytes="", dtype="uint16")], read)
    (file,) = found.raw_files()
    assert (file.path, file.folder, file.bytes, file.sha256) == ("raw/r0.ome.zarr", True, 60, "ab" * 32)
    assert (file.columns["axes"], file.columns["shape"], file.columns["dtype"]) == ("zyx", "1,2,3", "uint16")


def test_of_a_packed_store_the_folder_is_told(tmp_path: Path) -> None:
    path = "irods:///z/a.ome.zarr.zip"
    found = study_of(tmp_path, [cells(path=path, checksum=CHECKSUM)])
    (file,) = found.raw_files()
    assert (file.path, file.folder, file.bytes, file.sha256) == ("raw/r0.ome.zarr", True, None, None)
    assert (file.checksum, found.by_reference_unhashed) == (CHECKSUM, 1)


def test_a_bad_address_is_told_without_its_password(tmp_path: Path) -> None:
    found = study_of(tmp_path, [cells(path="irods://me:secret@host/z/a.tif"), cells(id="r1")])
    (told,) = [item for item in found.problems if "password" in str(item)]
    assert "secret" not in str(told)
    assert "row r0: path: irods://me@host/z/a.tif holds a password" in str(told)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"checksum": OTHER}, f"its checksum was {CHECKSUM}, is {OTHER}"),
        ({"checksum": CHECKSUM}, None),
        ({"checksum": hashlib.md5(b"").hexdigest()}, None),
        ({"bytes": "7"}, "it had 6 bytes, has 7"),
        ({"bytes": ""}, None),
    ],
)
def test_what_changed_after_a_job_read_it_is_a_problem(tmp_path: Path, more: dict[str, str], told: str | None) -> None:
    read = {"path": ADDRESS, "bytes": 6, "sha256": SHA, "checksum": CHECKSUM, "staged": "staged/r0/r0.tif"}
    messages = [item.message for item in study_of(tmp_path, [cells(**more)], read).problems]
    assert messages == ([f"{ADDRESS} has changed since a job read it: {told}"] if told else [])


def test_a_copy_that_is_not_what_a_job_read_is_a_problem(tmp_path: Path) -> None:
    put_copy(tmp_path, "fetched", f"{ADDRESS}\n-\n{'0' * 64}\n")
    read = {"path": ADDRESS, "bytes": 6, "sha256": SHA, "staged": "staged/r0/r0.tif"}
    (told,) = study_of(tmp_path, [cells()], read).problems
    assert "the copy 'fetched/r0/r0.tif' has another sha256" in told.message


# ---------------------------------------------------------------------------- what views write, and their checks


def by_reference(feed: Feed) -> Feed:
    """The same, with the raw images but the first in iRODS."""
    addresses = [f"irods:///z/raw/{index}%20%C2%B5.tif" for index in range(3)]
    feed.raw_files = [
        dataclasses.replace(file, here=address if index else file.here, address=address, checksum=CHECKSUM)
        for index, (file, address) in enumerate(zip(feed.raw_files, addresses, strict=True))
    ]
    return feed


class Written:
    """Lists, submission and checksums of a study with raw images in iRODS, as an export leaves them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.feed = folder, by_reference(make_feed())
        here = dataclasses.replace(self.feed, raw_files=[file for file in self.feed.raw_files if not file.by_reference])
        here.make_tree(folder)
        inventory = self.feed.inventory
        for file in self.feed.raw_files:
            image = RawImage(file.path, row(), file.bytes, file.sha256, file.here, address=file.address)
            inventory.raw[file.path] = image
        study = make_study()
        views = [FileLists(folder, study, inventory), PageTab(folder, study, inventory), Checksums(folder, inventory)]
        views.append(BiaCrate(folder, make_study(), inventory))
        self.feed.show(*views)

    def change(self, name: str, change: Callable[[str], str]) -> None:
        path = self.folder / name
        path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")


@pytest.fixture
def written(tmp_path: Path) -> Written:
    return Written(tmp_path)


def test_the_list_says_where_each_image_is(written: Written) -> None:
    text = (written.folder / f"file_list_{RAW}.tsv").read_text(encoding="utf-8").splitlines()
    header, *rows = (line.split("\t") for line in text)
    assert header[:3] == ["Files", "irods_address", "irods_checksum"]
    assert header[-2:] == ["sha256", "bytes"]
    assert [cells[1] for cells in rows] == [file.address for file in written.feed.raw_files]
    assert "irods_address" not in (written.folder / "file_list_deconvolve.tsv").read_text(encoding="utf-8")


def test_the_submission_counts_images_that_are_fetched_before_the_upload(written: Written) -> None:
    assert check_submission(written.folder) == []


def test_a_missing_image_without_an_address_is_still_missing(written: Written) -> None:
    written.change(f"file_list_{RAW}.tsv", lambda text: text.replace("irods:///z/raw/1%20%C2%B5.tif", ""))
    assert [str(item) for item in check_submission(written.folder)] == [
        "file_list_raw-images.tsv: line 3: 'raw/cell1_ch1.ome.tif' is not there below run-crate/."
    ]


def test_checksums_leave_out_what_is_not_here(written: Written) -> None:
    text = (written.folder / "checksums.sha256").read_text(encoding="utf-8")
    assert "raw/cell1_ch0.ome.tif" in text
    assert "raw/cell1_ch1.ome.tif" not in text


def test_the_bia_crate_has_no_link_that_leads_nowhere(tmp_path: Path) -> None:
    written = Written(tmp_path / "some")
    assert (written.folder / "bia-crate/raw").exists()
    feed = by_reference(make_feed())
    feed.raw_files = feed.raw_files[1:]
    dataclasses.replace(feed, raw_files=[]).make_tree(tmp_path / "none")
    feed.show(BiaCrate(tmp_path / "none", make_study(), feed.inventory))
    links = [path for path in (tmp_path / "none/bia-crate").iterdir() if path.is_symlink()]
    assert links
    assert all(path.exists() for path in links)
    assert "raw/cell2_ch0.ome.tif" in (tmp_path / "none/bia-crate/file_list.tsv").read_text(encoding="utf-8")


def checked(folder: Path) -> Files:
    files = Files(folder, lambda *_: None)
    files.check()
    return files


def test_what_lies_in_irods_is_not_missing(written: Written) -> None:
    files = checked(written.folder)
    assert {name.removeprefix("run-crate/") for name in files.elsewhere} == {
        file.path for file in written.feed.raw_files[1:]
    }
    told = files.elsewhere["run-crate/raw/cell2_ch0.ome.tif"]
    assert (told.address, told.bytes, told.checksum) == ("irods:///z/raw/2%20%C2%B5.tif", 1000, CHECKSUM)
    assert not [item for item in files.problems if "raw/" in item.where and "is not there" in item.message]


def test_what_the_checksums_tell_of_must_be_here(written: Written) -> None:
    name = "run-crate/raw/cell2_ch0.ome.tif"
    written.change("checksums.sha256", lambda text: f"{text}{SHA}  {name}\n")
    files = checked(written.folder)
    assert name not in files.elsewhere
    assert [str(item) for item in files.problems if item.where == f"study/{name}"] == [
        f"study/{name}: is not there.\n    Bring it back from where it was, or run and export again."
    ]


def test_an_image_that_came_here_is_checked_as_any_other(written: Written) -> None:
    name = "run-crate/raw/cell2_ch0.ome.tif"
    (written.folder / name).write_text("pixels")
    written.change("checksums.sha256", lambda text: f"{text}{SHA}  {name}\n")
    assert name in checked(written.folder).found
    (written.folder / name).write_text("others")
    assert any("are not those that checksums" in item.message for item in checked(written.folder).problems)


def test_an_image_taken_away_from_the_upload_is_missing(written: Written) -> None:
    name = "raw/cell1_ch0.ome.tif"
    (written.folder / "run-crate" / name).unlink()
    assert any("is not there" in item.message and name in item.where for item in checked(written.folder).problems)
