"""From a collection of iRODS to published results, by the command line alone, held against the known truth."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import tifffile
from numpy.typing import NDArray

from integration_helpers import snakescope
from irods_zone import Zone
from publish_helpers import avus_below, catalogue, objects, sha256
from snakescope.evaluate import Positions, read_positions, score_edges, score_spots
from snakescope.images import store_image
from snakescope.runner.demo import STUDY
from snakescope.synthetic import LlsmDataset, generate_llsm

pytestmark = [pytest.mark.irods, pytest.mark.slow]
SERIES, FRAMES, GATE_UM = ("cell1", "cell2"), 5, 0.4
USER = "ann"
# No copy of a raw image stays: the export names them where they lie.
CONFIG = "stage_window: 4\n"
# What collecting and publishing may do to raw images: nothing but this AVU, where it is allowed.
POINTER = "snakescope.results"


def facts(zone: Zone, root: str) -> dict[str, tuple[object, ...]]:
    """All that the catalogue says of the objects below a collection, and their bytes; without AVUs."""
    sql = (
        "select coll_name || '/' || data_name, d.* from r_data_main d join r_coll_main c using(coll_id) "
        "where substr(coll_name || '/', 1, ?) = ?"
    )
    found = {row[0]: tuple(row[1:]) for row in zone.catalogue.rows(sql, len(root) + 1, f"{root}/")}
    return {path: (*row, sha256(zone.read(path))) for path, row in found.items()}


@dataclass
class Journey:
    """A user, a zone, and what the commands said, in order."""

    zone: Zone
    folder: Path
    data: LlsmDataset
    said: dict[str, subprocess.CompletedProcess[str]] = field(default_factory=dict)
    before: dict[str, tuple[object, ...]] = field(default_factory=dict)
    avus_before: dict[str, list[tuple[str, str, str]]] = field(default_factory=dict)
    states: list[list[list[tuple[object, ...]]]] = field(default_factory=list)

    def type(self, name: str, *words: str, at: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Type a command in the study and remember what it said."""
        env = os.environ | self.zone.environment(USER)
        self.said[name] = done = snakescope(*words, cwd=at or self.study, env=env)
        assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout}\n{done.stderr}"
        return done

    @property
    def study(self) -> Path:
        return self.folder / "vesicles"

    @property
    def raw(self) -> str:
        """The collection with the raw images, which belongs to somebody else."""
        return f"{self.zone.home}/microscope/2026-11"

    @property
    def target(self) -> str:
        return f"{self.zone.home}/published"

    @property
    def root(self) -> str:
        """The collection of the published study."""
        return f"{self.target}/vesicles"

    @property
    def rows(self) -> list[dict[str, str]]:
        with (self.study / "config/samples.tsv").open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file, delimiter="\t"))


def fill(journey: Journey) -> None:
    """Put the stacks of one series as OME-TIFF objects, those of the other as OME-Zarr collections."""
    zone, raw, scope = journey.zone, journey.raw, journey.data.microscope
    for series, paths in journey.data.images.items():
        for path in paths:
            pixels, name = tifffile.imread(path), path.stem
            if series == SERIES[0]:
                zone.put(f"{raw}/{name}.ome.tif", ome_tiff(pixels, scope.voxel_size_um), avus(series, name))
            else:
                store = journey.folder / "stores" / f"{name}.ome.zarr"
                store_image(store, pixels, axes="zyx", voxel_size_um=scope.voxel_size_um)
                for file in sorted(each for each in store.rglob("*") if each.is_file()):
                    zone.put(f"{raw}/{store.name}/{file.relative_to(store).as_posix()}", file.read_bytes())
                for avu in avus(series, name):
                    zone.add_avu(f"{raw}/{store.name}", *avu)
    zone.put(f"{raw}/cell3_ch0_stack0000.ome.tif", ome_tiff(pixels, scope.voxel_size_um), [("quality", "poor", "")])
    zone.put(f"{raw}/notes.txt", b"of the microscope")
    zone.add_avu(raw, "snakescope.time_step_s", "1000", "ms")
    zone.add_avu(raw, "sample_common_name", "synthetic construct")
    zone.add_avu(raw, "facility", "of somebody else")


def avus(series: str, name: str) -> list[tuple[str, str, str]]:
    return [("quality", "good", ""), ("sample", series, ""), ("mgs.imaging.stack", name, "1")]


def ome_tiff(pixels: NDArray[Any], voxel_size_um: tuple[float, float, float]) -> bytes:
    stream = io.BytesIO()
    sizes = {f"PhysicalSize{axis}": size for axis, size in zip("ZYX", voxel_size_um, strict=True)}
    units = {f"{name}Unit": "µm" for name in sizes}
    tifffile.imwrite(stream, pixels, ome=True, photometric="minisblack", metadata={"axes": "ZYX", **sizes, **units})
    return stream.getvalue()


def allow(journey: Journey) -> None:
    """A user who may read the raw images, and tell two of them, one a collection, where their results lie."""
    zone, raw = journey.zone, journey.raw
    zone.make_user(USER, "a secret phrase")
    zone.grant(zone.home, USER, "read")
    zone.grant(raw.rpartition("/")[0], USER, "read", recursive=True)
    for name in pointed():
        zone.grant(f"{raw}/{name}", USER, "create_metadata")
    zone.make_collection(journey.target)
    zone.grant(journey.target, USER, "own")


def pointed() -> list[str]:
    return [f"{SERIES[0]}_ch0_stack0000.ome.tif", f"{SERIES[1]}_ch0_stack0001.ome.zarr"]


@pytest.fixture(scope="module")
def journey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Journey]:
    """All that a user types, from an empty folder to published results."""
    folder = tmp_path_factory.mktemp("journey")
    data = generate_llsm(folder / "generated", series=len(SERIES), frames=FRAMES, metadata="bare")
    with Zone(folder / "zone") as zone:
        found = Journey(zone, folder, data)
        fill(found)
        allow(found)
        found.before, found.avus_before = facts(zone, found.raw), avus_below(zone, found.raw)
        travel(found)
        yield found
        assert zone.failures == []


def travel(journey: Journey) -> None:
    """The commands."""
    address, target = f"irods://{quote(journey.raw)}", f"irods://{quote(journey.target)}"
    journey.type("init", "init", "vesicles", at=journey.folder)
    shutil.copyfile(journey.data.psf, journey.study / "config/psf.tif")
    with (journey.study / "config/config.yaml").open("a", encoding="utf-8") as file:
        file.write(CONFIG)
    (journey.study / "config/study.yaml").write_text(STUDY, encoding="utf-8")
    journey.type("propose", "collect", address, "--where", "quality=good", "--dry-run")
    journey.type("collect", "collect", address, "--where", "quality=good", "--yes")
    journey.type("lint", "lint")
    journey.type("run", "run", "--quiet")
    journey.type("export", "export", "--quiet")
    journey.type("verify", "verify", "--remote", "--quiet")
    for name in ("dry run", "publish", "again"):
        journey.states.append(catalogue(journey.zone))
        journey.type(name, "publish", target, "--quiet", "--json", *(["--dry-run"] if name == "dry run" else []))
    journey.states.append(catalogue(journey.zone))


# ---------------------------------------------------------------------------- the sheet


def test_the_sheet_has_what_names_headers_and_avus_say(journey: Journey) -> None:
    rows = {row["id"]: row for row in journey.rows}
    names = [path.stem for paths in journey.data.images.values() for path in paths]
    assert sorted(rows) == sorted(names), "neither the poor one nor the notes"
    assert "--where 'quality=good': 1" in journey.said["collect"].stdout
    for index, name in enumerate(names):
        row, series = rows[name], SERIES[index // FRAMES]
        kind = "tif" if series == SERIES[0] else "zarr"
        assert row["path"] == f"irods://{journey.raw}/{name}.ome.{kind}"
        assert (row["series"], row["t"], row["c"]) == (series, str(index % FRAMES), "0")
        assert (row["axes"], row["shape"], row["dtype"]) == ("zyx", "40,96,96", "uint16")
        assert (row["voxel_size_um"], row["time_step_s"]) == ("0.3,0.1,0.1", "1")
        assert (row["sample"], row["organism"], row["mgs_imaging_stack"]) == (series, "synthetic construct", name)
        files = {path: row for path, row in journey.before.items() if f"{path}/".startswith(f"{journey.raw}/{name}.")}
        assert int(row["bytes"]) == sum(len(journey.zone.read(path)) for path in files)
        if kind == "tif":
            (path,) = files
            assert row["sha256"] == sha256(journey.zone.read(path))
            assert row["checksum"] == journey.zone.replicas(path)[0].checksum
        else:
            assert row["checksum"] == ""


def test_lint_finds_it_sound_before_anything_is_staged(journey: Journey) -> None:
    assert f"{len(SERIES) * FRAMES} rows" in journey.said["lint"].stdout


# ---------------------------------------------------------------------------- what was found, as it was published


def test_published_tracks_are_the_vesicles_that_there_were(journey: Journey, tmp_path: Path) -> None:
    for series in SERIES:
        table = tmp_path / f"{series}.csv"
        table.write_bytes(journey.zone.read(f"{journey.root}/results/{series}/track/tracks.csv"))
        truth = read_positions(journey.data.truth, id_column="particle_id", series=series)
        found = read_positions(table, id_column="track_id")
        spots, edges = score_spots(truth, found, GATE_UM), score_edges(truth, found, GATE_UM)
        assert spots.truth > 80
        assert min(spots.recall or 0, spots.precision or 0) >= 0.97, spots
        assert min(edges.recall or 0, edges.precision or 0) >= 0.95, edges
        assert (spots.rms_error_um or 1) <= 0.05
        assert times(table) == {frame: float(frame) for frame in range(FRAMES)}, "the AVU said 1000 ms"


def times(table: Path) -> dict[int, float]:
    with table.open(newline="", encoding="utf-8") as file:
        return {int(row["frame"]): float(row["t_s"]) for row in csv.DictReader(file)}


def test_a_series_is_analysed_alike_whether_tiff_or_zarr(journey: Journey, tmp_path: Path) -> None:
    """Both series were made alike, so each finds about as many spots as there are."""
    counts = {}
    for series in SERIES:
        table = journey.study / f"results/{series}/track/tracks.csv"
        found: Positions = read_positions(table, id_column="track_id")
        counts[series] = len(found.frame) / len(
            read_positions(journey.data.truth, id_column="particle_id", series=series).frame
        )
    assert all(0.97 <= ratio <= 1.03 for ratio in counts.values()), counts


def test_every_published_object_is_the_file_that_was_made(journey: Journey) -> None:
    there = objects(journey.zone, journey.root)
    lines = [line.split("  ", 1) for line in there.pop("checksums.sha256").decode().splitlines()]
    listed = {name: digest for digest, name in lines}
    assert listed.keys() == there.keys()
    assert {name: sha256(content) for name, content in there.items()} == listed
    results = {name for name in there if name.startswith("results/")}
    here = {path.relative_to(journey.study).as_posix() for path in (journey.study / "results").rglob("*")}
    assert results
    assert results <= here
    for name in results:
        assert there[name] == (journey.study / name).read_bytes(), name
        (replica,) = journey.zone.replicas(f"{journey.root}/{name}")
        assert replica.checksum.startswith("sha2:")
    assert not [name for name in there if name.startswith("raw/")], "these lie in the zone already"


def test_avus_lead_from_results_to_sources_step_and_crate(journey: Journey) -> None:
    told = {path: dict(avu[:2] for avu in avus) for path, avus in avus_below(journey.zone, journey.root).items()}
    crate = journey.zone.read(f"{journey.root}/ro-crate-metadata.json")
    for series, paths in journey.data.images.items():
        kind = "tif" if series == SERIES[0] else "zarr"
        for path in paths:
            avus = told[f"/results/{path.stem}/deskew/image.ome.zarr"]
            assert avus["snakescope.source"] == f"{journey.raw}/{path.stem}.ome.{kind}"
            assert (avus["snakescope.sample"], avus["snakescope.step"]) == (path.stem, "deskew")
            assert avus["snakescope.run"] == sha256(crate)
            assert avus["snakescope.crate"] == f"{journey.root}/ro-crate-metadata.json"
            assert [float(size) for size in avus["snakescope.voxel_size_um"].split(",")] == pytest.approx(
                journey.data.microscope.deskewed_voxel_size_um, abs=1e-4
            )
        tracks = told[f"/results/{series}/track/tracks.csv"]
        assert tracks["snakescope.source"].count(journey.raw) == FRAMES
    assert told[""]["snakescope.study"] == "vesicles"


def test_no_copy_of_a_raw_image_is_left(journey: Journey) -> None:
    assert not [path for path in (journey.study / "staged").rglob("*") if path.is_file()]


def test_the_crate_names_the_sources_where_they_lie_by_their_digests(journey: Journey) -> None:
    graph = json.loads(journey.zone.read(f"{journey.root}/ro-crate-metadata.json"))["@graph"]
    told = {entity["contentUrl"]: entity for entity in graph if str(entity.get("contentUrl")).startswith("irods:")}
    assert sorted(told) == sorted(row["path"] for row in journey.rows)
    for path in journey.data.images[SERIES[0]]:
        source = f"{journey.raw}/{path.stem}.ome.tif"
        assert told[f"irods://{source}"]["sha256"] == sha256(journey.zone.read(source))


# ---------------------------------------------------------------------------- what was left alone


def test_raw_images_are_untouched_but_for_the_two_that_could_be_told(journey: Journey) -> None:
    assert facts(journey.zone, journey.raw) == journey.before
    avus = avus_below(journey.zone, journey.raw)
    pointer = (POINTER, journey.root, "")
    for name in pointed():
        assert pointer in avus[f"/{name}"]
        avus[f"/{name}"].remove(pointer)
    assert avus == journey.avus_before
    told = json.loads(journey.said["publish"].stdout)
    assert told["sources"] == len(pointed())
    assert len(told["sources_refused"]) == len(SERIES) * FRAMES - len(pointed())


def test_the_dry_run_told_what_was_then_done_and_a_second_time_nothing_is(journey: Journey) -> None:
    would, done, again = (json.loads(journey.said[name].stdout) for name in ("dry run", "publish", "again"))
    assert (would["put"], would["put_bytes"]) == (done["put"], done["put_bytes"])
    assert done["failed"] == again["failed"] == []
    assert (again["put"], again["replaced"], again["annotated"], again["sources"]) == (0, 0, 0, 0)
    assert again["same"] == done["put"] > 50
    before, planned, published, unchanged = journey.states
    assert before == planned
    assert planned != published
    assert published == unchanged


@pytest.mark.parametrize("page", ["README.md", "docs/irods.md"])
def test_the_commands_that_are_documented_are_those_that_were_typed(journey: Journey, page: str) -> None:
    text = (Path(__file__).resolve().parents[2] / page).read_text(encoding="utf-8")
    documented = re.findall(r"^snakescope (.*(?:\n(?!```).*)*irods://[^`]*)", text, re.MULTILINE)[0].splitlines()
    typed = [" ".join(done.args[3:]) for done in journey.said.values()]
    for line in documented:
        words = line.removeprefix("snakescope ").split()
        if words[0] == "cd":
            continue
        names = {"irods:///zone/home/lab/raw": journey.raw, "irods:///zone/home/lab/results": journey.target}
        words = [f"irods://{names[word]}" if word in names else word for word in words]
        words = ["vesicles" if word == "mystudy" else word for word in words]
        assert any(set(words) <= set(each.split()) for each in typed), line


def test_no_secret_is_written_anywhere(journey: Journey) -> None:
    assert not [name for name, done in journey.said.items() if "secret phrase" in done.stdout + done.stderr]
    files = (path for path in journey.study.rglob("*") if path.is_file() and not path.is_symlink())
    assert not [path for path in files if b"secret phrase" in path.read_bytes()]


def test_no_connection_is_left_open(journey: Journey) -> None:
    end = time.monotonic() + 60
    while journey.zone.open_connections:
        assert time.monotonic() < end
        time.sleep(0.01)
