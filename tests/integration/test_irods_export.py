"""Studies whose images lie in iRODS and are gone from here: exported by reference, checked there, fetched on request."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import shutil
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import third_party
from integration_helpers import PIPELINE, STAMP, TinyStudy
from irods_sites import ODD_NAMES, put_store, store_files, tiff_bytes
from irods_zone import Zone
from snakescope import api
from snakescope.record import folder_digest
from snakescope.runner.demo import STUDY
from snakescope.samples import build_sheet, read_sheet, write_sheet
from snakescope.study.pagetab.v5 import check_submission
from snakescope.zone.address import Address

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
