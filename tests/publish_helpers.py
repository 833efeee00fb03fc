"""A small study with an export of its own making, and what a zone holds of it, for tests of publishing."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from irods_zone import Zone
from snakescope import api
from snakescope.publish.publish import PublishReport
from snakescope.record import digest, files_of, folder_digest, sum_line
from snakescope.samples import build_sheet, sheet_text
from snakescope.study.verify.files import parse_line

# The calls that only ask: queries, logging in, hints, and what the client needs to say who it is.
ASKING = {702, 10221, 110000, 10215, 801, 703, 704}
HOSTILE = "it's \"q\" `b` & 50% _x_ a  b ü細|胞 \\ 'like' %"
ODD_FILES = (
    "tab\there",
    "line\nend",
    'it\'s "q"',
    "50%_",
    "ü 細胞",
    "back\\slash",
    "a || b && c",
    "`tick`",
    "c\rr",
    "it's || x",
)


class Export:
    """A study folder with two steps over its rows: one makes an image of several files, one a table.

    Parameters
    ----------
    root
        Is made.
    rows
        How many rows; the first one's address, or path, stands in `paths`.
    """

    def __init__(self, root: Path, rows: int = 2, title: str = "Vesicles, tracked") -> None:
        self.root, self.title = root, title
        self.ids = [f"r{index}" for index in range(rows)]
        self.paths = {row: f"data/{row}.tif" for row in self.ids}
        self.tables = {row: f"n\n{row}\n" for row in self.ids}
        self.odd: tuple[str, ...] = ()
        self.write("config/config.yaml", "pipeline: tiny\n")
        for row in self.ids:
            self.write(f"data/{row}.tif", f"pixels of {row}" * 100)
        self.make()

    def write(self, name: str, text: str) -> None:
        """Write a file of the study."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def make(self) -> None:
        """Make results and records, and export them."""
        shutil.rmtree(self.root / "results", ignore_errors=True)
        for row in self.ids:
            store = f"results/{row}/segment/labels.ome.zarr"
            names = ("zarr.json", "0/zarr.json", "0/c/0/0", "0/c/0/1", *(f"odd/{name}" for name in self.odd))
            for name in names:
                self.write(f"{store}/{name}", f"{row} {name}")
            self.write(f"results/{row}/measure/table.csv", self.tables[row])
            self.record(row, store)
        self.write_sheet()
        self.export()

    def write_sheet(self) -> None:
        """Write the sheet."""
        rows = [{"id": row, "path": self.paths[row], "voxel_size_um": "0.3,0.1,0.1"} for row in self.ids]
        self.write("config/samples.tsv", sheet_text(build_sheet(["id", "path", "voxel_size_um"], rows)))

    def record(self, row: str, store: str) -> None:
        """Write the record of the step that made an image."""
        output: dict[str, object] = {
            "port": "labels",
            "path": store,
            "sha256": digest(self.root / store),
            "axes": "zyx",
        }
        output |= {"axes": "zyx", "shape": [1, 2, 3], "scale": [0.5, 0.25, 0.25], "dtype": "uint16"}
        record = {
            **{"schema": 1, "status": "done", "unit": row, "samples": [row], "step": "segment", "snakemake": None},
            **{"started_at": "", "ended_at": "", "wall_s": None, "cpu_s": None, "exit_code": 0, "host": "here"},
            **{"scheduler": None, "environment": {}, "tool_version_observed": None, "argv": [], "row_parameters": {}},
            **{"inputs": [], "outputs": [output], "compiled": {"parameters": []}},
        }
        self.write(f"records/{row}/segment.json", json.dumps(record))

    def export(self) -> None:
        """Write ``study/`` as an export does."""
        study, crate = self.root / "study", self.root / "study/run-crate"
        shutil.rmtree(study, ignore_errors=True)
        lists: dict[str, list[str]] = {"raw-images": ["Files\tsha256"], "workflow-run": ["Files\tsha256"]}
        lists |= {step: ["Files\tsource_image\tsha256"] for step in ("segment", "measure")}
        self.write("study/run-crate/README.md", f"# {self.title}\n")
        rows = [{"id": row, "path": f"raw/{row}.tif"} for row in self.ids]
        self.write("study/run-crate/config/samples.tsv", sheet_text(build_sheet(["id", "path"], rows)))
        for row in self.ids:
            labels, table = f"results/{row}/segment/labels.ome.zarr", f"results/{row}/measure/table.csv"
            self._link(crate / f"raw/{row}.tif", self.root / f"data/{row}.tif")
            lists["raw-images"].append(f"raw/{row}.tif\t-")
            for step, path, source in (("segment", labels, f"raw/{row}.tif"), ("measure", table, labels)):
                self._link(crate / path, self.root / path)
                lists[step].append(f"{path}\t{source}\t-")
        told = json.dumps({path: digest(crate / path) for path in self._named(lists)})
        self.write("study/run-crate/ro-crate-metadata.json", json.dumps({"@graph": told}))
        for name in ("README.md", "config/samples.tsv", "ro-crate-metadata.json"):
            lists["workflow-run"].append(f"{name}\t-")
        for key, lines in lists.items():
            self.write(f"study/file_list_{key}.tsv", "\n".join(lines) + "\n")
        attributes = [{"name": "RootPath", "value": self.root.name}, {"name": "Title", "value": self.title}]
        self.write("study/submission.json", json.dumps({"attributes": attributes}))
        self.write("study/rembi.yaml", f"title: {self.title}\n")
        lines = [sum_line(sha, name) for name, sha in self._digests(study)]
        self.write("study/checksums.sha256", "".join(lines))

    @staticmethod
    def _named(lists: dict[str, list[str]]) -> Iterator[str]:
        yield from (text.split("\t")[0] for lines in lists.values() for text in lines[1:])

    @staticmethod
    def _link(place: Path, target: Path) -> None:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(os.path.relpath(target, place.parent))

    @staticmethod
    def _digests(study: Path) -> Iterator[tuple[str, str]]:
        for folder, _, names in os.walk(study, followlinks=True):
            for name in sorted(names):
                path = Path(folder) / name
                yield path.relative_to(study).as_posix(), digest(path)

    def files(self) -> dict[str, bytes]:
        """What has to lie in the zone below the study's collection, but for the list of checksums."""
        study = self.root / "study"
        found = {path.relative_to(study).as_posix(): path for path in files_of(study)}
        found |= {name: study / name for name, _ in self._digests(study)}
        texts = {name.removeprefix("run-crate/"): path.read_bytes() for name, path in found.items()}
        remote = {f"raw/{row}.tif" for row, path in self.paths.items() if path.startswith("irods:")}
        return {name: text for name, text in texts.items() if name != "checksums.sha256" and name not in remote}


def sha256(content: bytes) -> str:
    """Digest in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def objects(zone: Zone, root: str) -> dict[str, bytes]:
    """Bytes of every object below a collection by its path there; each has one replica, which is good."""
    found = {}
    sql = (
        "select coll_name || '/' || data_name, data_is_dirty, data_path from r_data_main join r_coll_main "
        "using(coll_id) where substr(coll_name || '/', 1, ?) = ?"
    )
    for path, status, file in zone.catalogue.rows(sql, len(root) + 1, f"{root}/"):
        assert status == "1", f"{path!r} has a replica of status {status}"
        name = path[len(root) + 1 :]
        assert name not in found, f"{path!r} has two replicas"
        found[name] = Path(file).read_bytes()
    return found


def avus_below(zone: Zone, root: str) -> dict[str, list[tuple[str, str, str]]]:
    """AVUs of everything at and below a collection."""
    sql = "select coll_name from r_coll_main where substr(coll_name || '/', 1, ?) = ?"
    paths = [path for (path,) in zone.catalogue.rows(sql, len(root) + 1, f"{root}/")]
    sql = "select distinct coll_name || '/' || data_name from r_data_main join r_coll_main using(coll_id)"
    paths += [path for (path,) in zone.catalogue.rows(sql) if path.startswith(f"{root}/")]
    return {path[len(root) :]: zone.avus(path) for path in paths}


def catalogue(zone: Zone) -> list[list[tuple[object, ...]]]:
    """All rows that a change of content or AVUs would change."""
    tables = ("r_coll_main", "r_data_main", "r_meta_main", "r_objt_metamap", "r_objt_access")
    return [zone.catalogue.rows(f"select * from {table} order by 1, 2") for table in tables]


def assert_published(zone: Zone, export: Export, root: str) -> None:
    """Everything is there, whole, once and annotated, and the list of checksums tells of it."""
    found = objects(zone, root)
    listed = found.pop("checksums.sha256").decode()
    expected = export.files()
    assert found.keys() == expected.keys()
    assert found == expected
    assert sorted(listed.splitlines(True)) == sorted(sum_line(sha256(text), name) for name, text in expected.items())
    told = avus_below(zone, root)
    run = sha256(expected["ro-crate-metadata.json"])
    for row in export.ids:
        labels = dict(avu[:2] for avu in told[f"/results/{row}/segment/labels.ome.zarr"])
        table = dict(avu[:2] for avu in told[f"/results/{row}/measure/table.csv"])
        assert labels["snakescope.voxel_size_um"] == "0.5,0.25,0.25"
        assert labels["snakescope.sha256"] == digest(export.root / f"results/{row}/segment/labels.ome.zarr")
        assert table["snakescope.sha256"] == sha256(export.tables[row].encode())
        for avus, step in ((labels, "segment"), (table, "measure")):
            assert avus["snakescope.run"] == run
            assert avus["snakescope.sample"] == row
            assert avus["snakescope.step"] == step
            assert avus["snakescope.crate"] == f"{root}/ro-crate-metadata.json"
    for name in found:
        if ".zarr/" not in name:
            assert ("snakescope.sha256", sha256(expected[name]), "") in told[f"/{name}"]


def assert_no_false_claims(zone: Zone, root: str) -> None:
    """Whatever happened: what AVUs, the collection and its lists tell of bytes is true."""
    found, told = good_objects(zone, root), avus_below(zone, root)
    for path, avus in told.items():
        values = {name: value for name, value, _ in avus}
        if "snakescope.sha256" in values:
            folder = {name: text for name, text in found.items() if f"/{name}".startswith(f"{path}/")}
            inside = {name[len(path) :]: sha256(text) for name, text in folder.items()}
            have = folder_digest(inside) if inside else sha256(found[path[1:]])
            assert values["snakescope.sha256"] == have, path
    run = {value for name, value, _ in told.get("", []) if name == "snakescope.run"} - {"unfinished"}
    if run:
        assert run == {sha256(found["ro-crate-metadata.json"])}
        lines = found["checksums.sha256"].decode().splitlines()
        listed = dict(filter(None, map(parse_line, lines)))
        assert len(listed) == len(lines)
        assert listed.items() <= {name: sha256(text) for name, text in found.items()}.items()


def good_objects(zone: Zone, root: str) -> dict[str, bytes]:
    """As `objects`, without those that have no good replica."""
    sql = (
        "select coll_name || '/' || data_name, data_path from r_data_main join r_coll_main using(coll_id) "
        "where data_is_dirty = '1' and substr(coll_name || '/', 1, ?) = ?"
    )
    rows = zone.catalogue.rows(sql, len(root) + 1, f"{root}/")
    return {path[len(root) + 1 :]: Path(file).read_bytes() for path, file in rows}


# ---------------------------------------------------------------------------- publishing


def target(zone: Zone, collection: str = "lab") -> str:
    """Address of a collection to publish into."""
    return f"irods://{quote(f'{zone.home}/{collection}')}"


def root_of(zone: Zone, collection: str = "lab") -> str:
    """Path of the published study."""
    return f"{zone.home}/{collection}/tiny"


def publish(zone: Zone, export: Export, collection: str = "lab", **options: bool) -> PublishReport:
    """Publish."""
    return api.publish(target(zone, collection), study=export.root, quiet=True, **options)


def changes(zone: Zone) -> list[int]:
    """Calls that are more than asking."""
    return [call.api for call in zone.calls if call.api not in ASKING]


def settle(zone: Zone, export: Export, collection: str) -> None:
    """Publish what is left: everything is there then, and a further time changes nothing."""
    assert publish(zone, export, collection).failed == []
    assert_published(zone, export, root_of(zone, collection))
    assert_no_false_claims(zone, root_of(zone, collection))
    zone.calls.clear()
    publish(zone, export, collection)
    assert changes(zone) == []
