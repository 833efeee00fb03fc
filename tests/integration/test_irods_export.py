"""Studies whose images lie in iRODS only: exported by reference, checked there, fetched on request."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import shutil
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

import third_party
from integration_helpers import PIPELINE, STAMP, TinyStudy
from irods_sites import ODD_NAMES, put_store, store_files, tiff_bytes
from irods_zone import Zone
from snakescope import api
from snakescope.errors import EnvironmentUnusableError, InputError
from snakescope.record import digest, files_of, folder_digest
from snakescope.runner.demo import STUDY
from snakescope.samples import build_sheet, read_sheet, write_sheet
from snakescope.study.pagetab.v5 import check_submission
from snakescope.study.verify.rerun import rerun
from snakescope.zone.address import Address
from snakescope.zone.stage import stage

pytestmark = [
    pytest.mark.irods,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
]
STORE, PACKED = "a store, 50% & more.ome.zarr", "pack'd.ome.zarr.zip"
NAMES = [*ODD_NAMES, "{braces}.tif", "no suffix", STORE, PACKED]
READS = 'for f in "$1" "$1"/zarr.json; do if [ -f "$f" ]; then wc -c <"$f"; fi; done >"$2"'


class Remote(TinyStudy):
    """A study over the images of a collection, none of which stays here when it has run."""

    def __init__(self, root: Path, zone: Zone, names: list[str]) -> None:
        super().__init__(root, 0)
        self.zone, self.names, self.home = zone, names, f"{zone.home}/raw images"
        self.study = root / "study"
        for index, name in enumerate(names):
            self.put(name, index)
        tool = {**STAMP, "command": ["sh", "-c", READS, "x", "{in.image}", "{out.stamped}"], "params": {}}
        self.write("tools/stamp/tool.yaml", yaml.safe_dump(tool))
        steps = {name: step for name, step in PIPELINE["steps"].items() if name == "stamp"}  # type: ignore[attr-defined]
        self.write("config/pipelines/tiny.yaml", yaml.safe_dump({**PIPELINE, "steps": steps}))
        self.write("config/study.yaml", STUDY)
        self.sheet()

    def put(self, name: str, seed: int) -> None:
        """Put an image of a kind that its name says."""
        if name == STORE:
            put_store(self.zone, f"{self.home}/{name}")
        elif name == PACKED:
            packed = io.BytesIO()
            with zipfile.ZipFile(packed, "w") as archive:
                for path, data in store_files().items():
                    archive.writestr(path, data)
            self.zone.put(f"{self.home}/{name}", packed.getvalue())
        else:
            self.zone.put(f"{self.home}/{name}", tiff_bytes(seed=seed))

    def path(self, name: str) -> str:
        return f"{self.home}/{name}"

    def checksum(self, name: str) -> str:
        return "" if name == STORE else self.zone.replicas(self.path(name))[0].checksum or ""

    def sheet(self, **cells: Callable[[str], str]) -> None:
        """Write the sheet, as collecting does; `cells` say other columns."""
        facts = {"axes": "zyx", "shape": "3,8,16", "dtype": "uint16", "voxel_size_um": "0.3,0.1,0.1"}
        rows = [
            {"id": f"r{index}", "path": str(Address(self.path(name))), **facts, "checksum": self.checksum(name)}
            | {"format": "ome-zarr" if ".zarr" in name else "tiff"}
            | {column: cell(name) for column, cell in cells.items()}
            for index, name in enumerate(self.names)
        ]
        write_sheet(
            self.root / "config/samples.tsv", build_sheet(list(dict.fromkeys(k for r in rows for k in r)), rows)
        )

    def run(self) -> None:
        done = self.snakescope("run", "--quiet", "--cores", "2")
        assert done.returncode == 0, done.stdout + done.stderr
        assert not list(self.root.glob("staged/*/*")), "no copy is kept"

    def raw_list(self) -> dict[str, dict[str, str]]:
        """Rows of the list of raw images by sample."""
        with (self.study / "file_list_raw-images.tsv").open(encoding="utf-8", newline="") as file:
            return {row["sample"]: row for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)}

    def raw_entities(self) -> dict[str, dict[str, Any]]:
        """What the crate tells of raw images, by name."""
        graph = json.loads((self.study / "run-crate/ro-crate-metadata.json").read_text(encoding="utf-8"))["@graph"]
        return {entity["name"]: entity for entity in graph if str(entity.get("name", "")).startswith("raw/")}


def assert_valid(root: Path) -> None:
    """Other people's validators, our checker of submissions and `verify` accept the export."""
    study = root / "study"
    assert third_party.rembi(study / "rembi.yaml") == []
    assert third_party.run_crate(study / "run-crate") == []
    assert check_submission(study) == []
    found = api.verify(study=root, quiet=True)[0]
    assert found.sound, "\n".join(map(str, found.problems))
    sums = subprocess.run(["sha256sum", "-c", "--strict", "--quiet", "checksums.sha256"], cwd=study, check=False)
    assert sums.returncode == 0


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Remote]:
    """A study with images of every kind and name, run; for looking at and copying."""
    folder = tmp_path_factory.mktemp("remote")
    with Zone(folder / "zone") as zone, pytest.MonkeyPatch.context() as patch:
        for name, value in zone.environment().items():
            patch.setenv(name, value)
        found = Remote(folder / "study", zone, NAMES)
        found.run()
        yield found
        assert zone.failures == []


@pytest.fixture
def remote(done: Remote, tmp_path: Path) -> Remote:
    """A copy of it, of which the images must be left as they are."""
    shutil.copytree(done.root, tmp_path / "study", symlinks=True)
    found = Remote.__new__(Remote)
    found.root, found.study, found.zone, found.home = tmp_path / "study", tmp_path / "study/study", done.zone, done.home
    found.names = done.names
    return found


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Remote]:
    """A study and zone of one's own: two files, a store, a packed one; run, and exported."""
    with Zone(tmp_path / "zone") as zone:
        for name, value in zone.environment().items():
            monkeypatch.setenv(name, value)
        found = Remote(tmp_path / "study", zone, ["a b.tif", "ü.tif", STORE, PACKED])
        found.run()
        api.export(study=found.root, quiet=True)
        yield found
        zone.faults.clear()
        assert zone.failures == []


def messages(root: Path, **options: bool) -> list[str]:
    """What export refuses; what was exported before is left as it is."""
    before = {path: path.read_bytes() for path in files_of(root / "study")}
    with pytest.raises(InputError) as caught:
        api.export(study=root, quiet=True, **options)  # type: ignore[arg-type]
    assert {path: path.read_bytes() for path in files_of(root / "study")} == before
    return [str(item) for item in caught.value.problems]


# ---------------------------------------------------------------------------- by reference


def test_images_that_lie_in_irods_are_exported_by_reference(remote: Remote) -> None:
    report = api.export(study=remote.root, quiet=True, bia_crate=True)
    assert_valid(remote.root)
    assert (report.by_reference, report.by_reference_unhashed, report.unhashed) == (len(NAMES), 0, 0)
    listed, told = remote.raw_list(), remote.raw_entities()
    for index, name in enumerate(NAMES):
        row = listed[f"r{index}"]
        entity = told[row["Files"]]
        content = store_files() if ".zarr" in name else {"": tiff_bytes(seed=index)}
        digests = {path: hashlib.sha256(data).hexdigest() for path, data in content.items()}
        sha256, size = digests.get("") or folder_digest(digests), sum(map(len, content.values()))
        assert Address.parse(row["irods_address"]).path == remote.path(name)
        assert (row["sha256"], row["bytes"], row["irods_checksum"]) == (sha256, str(size), remote.checksum(name))
        assert (entity["contentUrl"], entity["sha256"]) == (row["irods_address"], sha256)
        assert (entity["contentSize"], entity["@id"][:5]) == (str(size), "#raw-")
        assert entity["@type"] == ("Dataset" if ".zarr" in name else "File")
        assert not (remote.study / "run-crate" / row["Files"]).exists()
    assert "raw/" not in (remote.study / "checksums.sha256").read_text(encoding="utf-8")
    assert listed[f"r{NAMES.index(PACKED)}"]["Files"].endswith(".ome.zarr"), "the archive gets what jobs read"


def test_every_view_says_where_the_images_are(remote: Remote) -> None:
    api.export(study=remote.root, quiet=True, bia_crate=True)
    place = str(Address(remote.home))
    for name in ("rembi.yaml", "submission.json", "submission.tsv", "bia-crate/ro-crate-metadata.json"):
        assert f"They lie in iRODS, below {place}" in " ".join((remote.study / name).read_text("utf-8").split()), name
    sheet = read_sheet(remote.study / "run-crate/config/samples.tsv")
    assert [Address.parse(row.cell("irods_address")).path for row in sheet.rows] == list(map(remote.path, NAMES))
    assert "lie in iRODS and not here" in (remote.study / "run-crate/README.md").read_text("utf-8")
    done = remote.snakescope("export")
    assert done.returncode == 0, done.stderr
    count = len(NAMES)
    assert f"{count} raw images are in iRODS: fetch them before the upload with: snakescope export --fetch-raw" in (
        done.stdout
    )
    assert f"left out: {count} raw images from the checksums" in done.stdout
    assert json.loads(remote.snakescope("export", "--json").stdout)["by_reference"] == count


def test_exporting_twice_gives_the_same_bytes_and_opens_no_connection(remote: Remote) -> None:
    api.export(study=remote.root, quiet=True)
    before = {path: path.read_bytes() for path in files_of(remote.study)}
    remote.zone.calls.clear()
    api.export(study=remote.root, quiet=True)
    api.verify(study=remote.root, quiet=True)
    assert {path: path.read_bytes() for path in files_of(remote.study)} == before
    assert remote.zone.calls == []


def test_what_the_sheet_knows_stands_in_for_jobs_that_have_not_run(small: Remote) -> None:
    for name in ("records/r1", "records/r2", "results/r1", "results/r2"):
        shutil.rmtree(small.root / name)
    report = api.export(study=small.root, quiet=True)
    assert (report.pending, report.by_reference_unhashed) == (2, 1)
    rows = small.raw_list()
    assert rows["r1"]["sha256"] == hashlib.sha256(tiff_bytes(seed=1)).hexdigest(), "as the catalogue says it"
    assert (rows["r2"]["sha256"], rows["r2"]["bytes"]) == ("", "")
    assert_valid(small.root)
    assert "1 of them are told of without a sha256" in small.snakescope("export").stdout


def test_an_image_that_changed_since_it_was_read_is_refused(small: Remote) -> None:
    small.zone.put(small.path("a b.tif"), tiff_bytes(seed=9))
    small.sheet()
    (told,) = messages(small.root)
    assert "samples.tsv: line 2: irods:///tempZone/home/rods/raw%20images/a%20b.tif has changed since a job" in told
    assert told.endswith("Run again.")
    small.run()
    api.export(study=small.root, quiet=True)
    assert_valid(small.root)
    assert small.raw_list()["r0"]["sha256"] == hashlib.sha256(tiff_bytes(seed=9)).hexdigest()


def test_an_image_whose_size_changed_is_refused_where_there_is_no_checksum(small: Remote) -> None:
    small.sheet(checksum=lambda _: "", bytes=lambda name: "7" if name == "ü.tif" else "")
    (told,) = messages(small.root)
    assert "has changed since a job read it: it had" in told
    assert "has 7" in told


def test_an_image_in_two_rows_is_told_though_it_is_written_in_two_ways(small: Remote) -> None:
    path = small.root / "config/samples.tsv"
    text = path.read_text(encoding="utf-8")
    path.write_text(text + text.splitlines()[1].replace("r0", "r9").replace("%20b.tif", " b.tif") + "\n")
    assert any("stands in an earlier row too" in told for told in messages(small.root))


def test_nothing_of_a_sensitive_image_is_told(small: Remote) -> None:
    small.sheet(sensitive=lambda name: "true" if name == "ü.tif" else "")
    api.export(study=small.root, quiet=True, leave_out_sensitive=True)
    assert_valid(small.root)
    for path in files_of(small.study):
        assert b"%C3%BC" not in path.read_bytes(), path
        assert "ü".encode() not in path.read_bytes(), path


def test_no_user_name_is_handed_on(small: Remote) -> None:
    where = f"irods://{small.zone.user}@127.0.0.1:{small.zone.port}/"
    for path in [small.root / "config/samples.tsv", *(small.root / "records").glob("*/*.json")]:
        path.write_text(path.read_text(encoding="utf-8").replace("irods:///", where), encoding="utf-8")
    api.export(study=small.root, quiet=True)
    assert_valid(small.root)
    assert small.raw_list()["r0"]["irods_address"].startswith(f"irods://127.0.0.1:{small.zone.port}/tempZone/")
    assert not [path for path in files_of(small.study) if f"{small.zone.user}@".encode() in path.read_bytes()]
    assert api.verify(study=small.root, remote=True, quiet=True)[0].sound


def test_an_export_by_reference_is_published_and_its_sources_are_told(small: Remote) -> None:
    api.export(study=small.root, quiet=True)
    report = api.publish(str(Address(small.zone.home)), study=small.root, quiet=True)
    assert report.failed == []
    assert report.sources == 4
    assert not [row.path for row in report.rows if "/raw/" in row.path]


# ---------------------------------------------------------------------------- fetched


def test_fetched_images_make_the_upload_whole(remote: Remote, tmp_path: Path) -> None:
    api.export(study=remote.root, quiet=True)
    names = [row["Files"] for row in remote.raw_list().values()]
    report = api.export(study=remote.root, fetch_raw=True, bia_crate=True, quiet=True)
    assert (report.by_reference, report.unhashed) == (0, 0)
    assert [row["Files"] for row in remote.raw_list().values()] == names
    assert_valid(remote.root)
    judged = third_party.every_image(remote.study / "run-crate")[1]
    assert (judged["ome_zarr"], judged["plain_tiff"]) == (2, len(NAMES) - 3)
    upload = Path(shutil.copytree(remote.study, tmp_path / "upload"))
    listed = remote.raw_list()
    assert all(digest(upload / "run-crate" / row["Files"]) == row["sha256"] for row in listed.values())
    told = remote.raw_entities()
    assert [told[row["Files"]]["contentUrl"] for row in listed.values()] == [
        row["irods_address"] for row in listed.values()
    ]
    before = {path: path.read_bytes() for path in files_of(remote.study)}
    remote.zone.calls.clear()
    api.export(study=remote.root, fetch_raw=True, bia_crate=True, quiet=True)
    assert {path: path.read_bytes() for path in files_of(remote.study)} == before
    assert remote.zone.calls == [], "what is here is not fetched again"


def test_a_dry_run_fetches_nothing(small: Remote) -> None:
    small.zone.calls.clear()
    assert api.export(study=small.root, fetch_raw=True, dry_run=True, quiet=True).by_reference == 4
    assert small.zone.calls == []
    assert not (small.root / "fetched").exists()


def test_an_image_that_cannot_be_fetched_is_told_and_the_others_are_here_then(small: Remote) -> None:
    small.zone.corrupt(small.path("ü.tif"))
    told = messages(small.root, fetch_raw=True)
    assert len(told) == 1
    assert "raw%20images/%C3%BC.tif" in told[0]
    assert sorted(path.name for path in (small.root / "fetched").glob("r*")) == ["r0", "r2", "r3"]
    small.zone.put(small.path("ü.tif"), tiff_bytes(seed=1))
    assert api.export(study=small.root, fetch_raw=True, quiet=True).by_reference == 0
    assert_valid(small.root)


def test_a_lost_zone_leaves_the_old_export_and_what_was_fetched(small: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path: path.read_bytes() for path in files_of(small.study)}
    shutil.copytree(small.root, small.root.parent / "copy", symlinks=True)
    stage(small.raw_list()["r0"]["irods_address"], small.root / "fetched/r0", "r0.tif")
    monkeypatch.setattr("snakescope.zone.stage.stage", partial(stage, patience_s=0.3))
    with monkeypatch.context() as patch:
        patch.setenv("IRODS_ENVIRONMENT_FILE", str(_elsewhere(small.root.parent)))
        with pytest.raises(EnvironmentUnusableError):
            api.export(study=small.root, fetch_raw=True, quiet=True)
    assert {path: path.read_bytes() for path in files_of(small.study)} == before
    small.zone.calls.clear()
    assert api.export(study=small.root, fetch_raw=True, quiet=True).by_reference == 0
    assert not [call for call in small.zone.calls if "a b.tif" in str(call)]


def _elsewhere(folder: Path) -> Path:
    """An environment file that leads to a port at which nobody listens."""
    path = folder / "elsewhere.json"
    told = {"irods_host": "127.0.0.1", "irods_port": 1, "irods_user_name": "rods", "irods_zone_name": "tempZone"}
    path.write_text(json.dumps(told))
    return path


def test_a_fetched_image_that_is_no_longer_the_one_of_the_sheet_is_fetched_anew(small: Remote) -> None:
    api.export(study=small.root, fetch_raw=True, quiet=True)
    small.zone.put(small.path("a b.tif"), tiff_bytes(seed=9))
    small.sheet()
    small.run()
    assert api.export(study=small.root, quiet=True).by_reference == 1
    assert api.export(study=small.root, fetch_raw=True, quiet=True).by_reference == 0
    assert (small.study / "run-crate/raw/r0.tif").read_bytes() == tiff_bytes(seed=9)
    assert_valid(small.root)


def test_staged_copies_are_handed_on_only_where_they_are_kept(small: Remote) -> None:
    stage(str(Address(small.path("a b.tif"))), small.root / "staged/r0", "r0.tif")
    assert api.export(study=small.root, quiet=True).by_reference == 4, "a run would remove it"
    small.write("config/config.yaml", "pipeline: tiny\nkeep_staged: true\n")
    assert api.export(study=small.root, quiet=True).by_reference == 3
    assert (small.study / "run-crate/raw/r0.tif").read_bytes() == tiff_bytes(seed=0)
    assert_valid(small.root)


# ---------------------------------------------------------------------------- verified there, and run again


def test_the_catalogue_is_asked_whether_the_images_are_as_told(small: Remote) -> None:
    found = api.verify(study=small.root, remote=True, quiet=True)[0]
    assert found.sound, found.problems
    assert found.elsewhere == 4
    assert "4 raw images in iRODS, there as told: 4 by checksum, 0 by size, 0 by name only" in found.notes
    done = small.snakescope("verify", "--remote")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "there as told" in done.stdout


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("a b.tif", "content", "has another checksum than is told"),
        ("a b.tif", "size", "bytes; "),
        ("ü.tif", "gone", "is not there, or you have no permission to see it"),
        (STORE, "chunk", "has another checksum than is told"),
        (STORE, "more", "bytes; "),
        (PACKED, "content", "has another checksum than is told"),
    ],
)
def test_what_has_changed_in_the_catalogue_is_told(small: Remote, name: str, change: str, told: str) -> None:
    if change == "gone":
        small.zone.catalogue.execute("delete from r_data_main where data_name = ?", name)
    elif change == "content":
        small.zone.put(small.path(name), small.zone.read(small.path(name))[::-1])
    elif change == "size":
        small.zone.put(small.path(name), b"x")
    elif change == "chunk":
        chunk = small.path(f"{name}/0/c/0/0/0")
        small.zone.put(chunk, bytes(len(small.zone.read(chunk))))
    else:
        small.zone.put(small.path(f"{name}/labels/zarr.json"), b"{}")
    problems = api.verify(study=small.root, remote=True, quiet=True)[0].problems
    assert len(problems) == 1, problems
    assert told in str(problems[0])
    assert str(Address(small.path(name))) in str(problems[0])


def test_jobs_are_run_again_on_images_that_are_staged_again(small: Remote) -> None:
    result = rerun(small.root, 4)
    assert (result.jobs, result.identical) == (4, 4), result
    assert not (small.root / ".snakescope/rerun").exists()
    api.export(study=small.root, fetch_raw=True, quiet=True)
    small.zone.calls.clear()
    assert rerun(small.root, 4).identical == 4
    assert small.zone.calls == [], "fetched ones serve as well"


def test_jobs_whose_images_cannot_be_staged_again_say_so(small: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    small.zone.put(small.path("a b.tif"), tiff_bytes(seed=9))
    result = rerun(small.root, 4)
    assert (result.identical, len(result.changed), len(result.not_rerun)) == (3, 1, 1)
    monkeypatch.setattr("snakescope.zone.stage.stage", partial(stage, patience_s=0.3))
    monkeypatch.setenv("IRODS_ENVIRONMENT_FILE", str(_elsewhere(small.root.parent)))
    result = rerun(small.root, 4)
    assert len(result.not_rerun) == 4
    assert all("cannot be staged again: irods://" in str(item) for item in result.not_rerun)
