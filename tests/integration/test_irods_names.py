"""Names of any kind, of collections, objects and the study, from the zone into the sheet, through a run and back."""

from __future__ import annotations

import csv
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from integration_helpers import STAMP, TinyStudy
from irods_sites import ODD_NAMES, put_store, store_files, tiff_bytes
from irods_zone import Zone
from publish_helpers import avus_below, catalogue, objects
from snakescope.runner.demo import STUDY
from snakescope.zone.address import Address
from snakescope.zone.avus import path_value

pytestmark = pytest.mark.irods
MORE = [
    "{braces}.tif", "{sample}.tif", "{0}.tif", "$(touch x).tif", "-rf.tif", " blank before.tif", "~.tif",
    "a; b.tif", "e\u0301 and \u00e9.tif", "\u2028.tif", "🔬.tif", "%s %2F %.tif", "CON.tif", "*?[a].tif",
]  # fmt: skip
NAMES = [*ODD_NAMES, *MORE]
COLLECTION = 'it\'s "q" || x && {y}\t%_..\n細 ; `z`'
STORE = "store {s} 'q'\t50% ü.ome.zarr"
# A folder is an image, too; its metadata stands for it.
COMMAND = 'if [ -d "$1" ]; then cat "$1/zarr.json" >"$2"; else cat "$1" >"$2"; fi'


@pytest.fixture
def zone(tmp_path: Path) -> Iterator[Zone]:
    with Zone(tmp_path / "zone") as running:
        yield running
        assert running.failures == []


class Odd(TinyStudy):
    """A study of one step that copies, in a folder with an odd name."""

    def __init__(self, root: Path, zone: Zone) -> None:
        super().__init__(root, 0)
        self.zone = zone
        stamp = {**STAMP, "command": ["sh", "-c", COMMAND, "x", "{in.image}", "{out.stamped}"], "params": {}}
        steps = {"stamp": {"tool": "stamp", "inputs": {"image": "sheet.path"}}}
        self.write("tools/stamp/tool.yaml", yaml.safe_dump(stamp))
        pipeline = {"schema": 1, "name": "tiny", "title": "T", "steps": steps}
        self.write("config/pipelines/tiny.yaml", yaml.safe_dump(pipeline))
        self.write("config/study.yaml", STUDY)
        self.write("config/config.yaml", "pipeline: tiny\n")
        (self.root / "config/samples.tsv").unlink()

    def type(self, *words: str) -> str:
        """Type a command; it has to succeed."""
        command = ["python", "-m", "snakescope.cli", *words]
        env = os.environ | self.zone.environment()
        done = subprocess.run(command, cwd=self.root, capture_output=True, text=True, check=False, env=env)
        assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    @property
    def rows(self) -> dict[str, str]:
        """Logical paths by row."""
        with (self.root / "config/samples.tsv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
        assert [row["note"] for row in rows] == [row["note"] for row in rows if row["note"]]
        return {row["id"]: Address.parse(row["path"]).path for row in rows}


def test_names_of_any_kind_survive_from_collect_to_publish(zone: Zone, tmp_path: Path) -> None:
    root, target = f"{zone.home}/{COLLECTION}", f"{zone.home}/{COLLECTION} 2"
    contents = {f"{root}/{name[:-4]}/{name}": tiff_bytes(seed=index) for index, name in enumerate(NAMES)}
    for path, content in contents.items():
        zone.put(path, content, [("snakescope.note", path[-2600:], "")])
    put_store(zone, f"{root}/{STORE}")
    zone.add_avu(f"{root}/{STORE}", "snakescope.note", STORE)
    contents[f"{root}/{STORE}"] = store_files()["zarr.json"]
    zone.put(f"{zone.home}/{COLLECTION.replace('_', 'x')}/decoy.tif", tiff_bytes())
    zone.make_collection(target)
    study = Odd(tmp_path / "it's a {study} 50% ü", zone)

    study.type("collect", str(Address(root)))
    assert sorted(study.rows.values()) == sorted(contents)
    assert "nothing was written" not in study.type("collect", str(Address(root)))
    study.type("lint")
    study.type("run", "--quiet")
    for row, path in study.rows.items():
        assert (study.root / f"results/{row}/stamp/stamped.txt").read_bytes() == contents[path], path
        (item,) = json.loads(study.read(f"records/{row}/stamp.json"))["inputs"]
        assert Address.parse(item["path"]).path == path
    study.type("export", "--quiet")
    study.type("publish", str(Address(target)), "--quiet")
    check(study, target, contents)
    before = catalogue(zone)
    told = json.loads(study.type("publish", str(Address(target)), "--quiet", "--json"))
    assert (told["put"], told["replaced"], told["annotated"], told["sources"]) == (0, 0, 0, 0)
    assert catalogue(zone) == before


def check(study: Odd, target: str, contents: dict[str, bytes]) -> None:
    """Results, what they say of their source, and what the source says of them."""
    zone = study.zone
    paths = [str(path) for (path,) in zone.catalogue.rows("select coll_name from r_coll_main")]
    (root,) = {path for path in paths if path.rpartition("/")[0] == target}
    there, told = objects(zone, root), avus_below(zone, root)
    for row, path in study.rows.items():
        name = f"results/{row}/stamp/stamped.txt"
        assert there[name] == contents[path]
        assert ("snakescope.source", path_value(path), "") in told[f"/{name}"]
        assert ("snakescope.results", path_value(root), "") in zone.avus(path)
