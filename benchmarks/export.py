"""Exporting a study of 1,000, 10,000 and 100,000 job records: time and memory a record should not depend on the count.

The studies are synthetic in the proportions of a lattice light-sheet run: three jobs an image (deskew, deconvolve,
detect) and one that tracks each series of 100 images. Rules are compiled by this package and records have the text
that jobs write; of the data there are sparse files of the recorded sizes, and of image stores their metadata.
Each measurement is a process of its own. In the same run stand

- a floor: every record read and parsed as JSON, once;
- a peer: the run crate alone, with the same entities, put together and written with `rocrate`. It is given the
  entities ready-made, one by one; the time to parse them is left out, and it writes none of the other views.

Start-up (imports) is measured apart. Figures are medians; wall time suffers from neighbours, CPU time less. Nothing is
deleted before the end: on ext4, making many files soon after deleting many can take ten times as long, in CPU time
too, which would be taken for a slow export. With `--folder` in memory (/dev/shm) the disk has no part in it.

    python benchmarks/export.py [--records 1000 10000 100000] [--repeats 3] [--peer-all] [--folder DIR]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

SERIES = 100
PIPELINE = "vesicles"
STEPS = ("deskew", "deconvolve", "detect", "track")
PEER_UP_TO = 20_000
HEADER = ("id", "path", "format", "scene", "axes", "shape", "dtype", "voxel_size_um", "time_step_s", "bytes")
BENCHMARK = (
    "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"
    "6.95\t0:00:06\t{:.2f}\t599.05\t147.40\t152.99\t0.27\t1.10\t33.30\t2.52\n"
)
RAW_BYTES, CSV_BYTES, GEFF_BYTES = 14_417_920, 24_310, 215_371
SHAPE, SCALE = (88, 320, 498), (0.156749569415, 0.104, 0.104)
GEFF_FILES = (
    *(".zattrs", ".zgroup", "edges/.zgroup", "edges/ids/.zarray", "edges/ids/0.0", "nodes/.zgroup"),
    *(
        f"nodes/props/{name}/{file}"
        for name in ("frame", "intensity", "quality", "radius_um", "t", "x", "y", "z")
        for file in (".zattrs", ".zgroup", "values/.zarray", "values/.zattrs", "values/0")
    ),
)

# ---------------------------------------------------------------------- a synthetic study


def make_study(folder: Path, records: int) -> int:
    """Make a study of about that many records; returns how many there are."""
    from snakescope.runner.demo import STUDY
    from snakescope.runner.folder import compile_study, init, open_study

    images = max(1, round(records / (3 + 1 / SERIES)))
    init(folder)
    pipeline = yaml.safe_load((folder / "config/pipelines/llsm_tracking.yaml").read_text())
    pipeline |= {"name": PIPELINE, "steps": {step: pipeline["steps"][step] for step in STEPS}}
    (folder / f"config/pipelines/{PIPELINE}.yaml").write_text(yaml.safe_dump(pipeline, sort_keys=False))
    (folder / "config/config.yaml").write_text(f"pipeline: {PIPELINE}\n")
    (folder / "config/study.yaml").write_text(STUDY)
    _sparse(folder / "config/psf.tif", 14_482)
    (folder / "config/samples.tsv").write_text("".join(_sheet(images)))
    compile_study(open_study(folder))
    writer = Writer(folder)
    for image in range(images):
        writer.image(image)
        if (image + 1) % 5000 == 0:
            say(f"    made {image + 1} of {images} images")
    for series in range(-(-images // SERIES)):
        writer.series(series, range(series * SERIES, min(images, (series + 1) * SERIES)))
    return writer.count


def _sheet(images: int) -> Iterator[str]:
    yield "\t".join((*HEADER, "series", "t", "condition")) + "\n"
    for image in range(images):
        facts = ("tiff", "0", "zyx", "88,320,256", "uint16", "0.3,0.104,0.104", "2", str(RAW_BYTES))
        condition = ("control", "starved")[image // SERIES % 2]
        cells = (name_of(image), raw_of(image), *facts, series_of(image // SERIES), str(image % SERIES), condition)
        yield "\t".join(cells) + "\n"


def series_of(series: int) -> str:
    return f"cell{series:05d}"


def name_of(image: int) -> str:
    return f"{series_of(image // SERIES)}_ch0_stack{image % SERIES:04d}"


def raw_of(image: int) -> str:
    return f"data/raw/{series_of(image // SERIES)}_ch0_stack{image % SERIES:04d}_488nm.tif"


def _sparse(path: Path, size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.truncate(size)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _zarr_json() -> str:
    axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"]
    levels = [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": SCALE}]}]
    ome = {"version": "0.5", "multiscales": [{"name": "image", "axes": axes, "datasets": levels}]}
    attributes = {"ome": ome, "snakescope": {"pixel_files": 1}}
    return json.dumps({"attributes": attributes, "zarr_format": 3, "node_type": "group"}, indent=2)


class Writer:
    """Writes the data and records of one job after the other."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.count = folder, 0
        rules = folder / f"rules/{PIPELINE}"
        self.compiled = {step: (rules / f"{step}.json").read_text() for step in STEPS}
        self.zarr_json = _zarr_json()

    def image(self, image: int) -> None:
        """The three jobs of one image."""
        unit = name_of(image)
        _sparse(self.folder / raw_of(image), RAW_BYTES)
        raw = _file("image", raw_of(image), RAW_BYTES)
        upright, sharp = self._store(unit, "deskew", "uint16"), self._store(unit, "deconvolve", "float32")
        points = _file("points", f"results/{unit}/detect/points.csv", CSV_BYTES)
        _sparse(self.folder / points["path"], CSV_BYTES)
        flags = ["--image", raw["path"], "--voxel-size-um", "0.3,0.104,0.104", "--angle-deg=31.5", "--fill=98"]
        self._record("deskew", unit, [unit], flags, [raw], [upright])
        psf = _file("psf", "config/psf.tif", 14_482)
        flags = ["--image", upright["path"], "--psf", psf["path"], "--iterations=10", "--background=98"]
        self._record("deconvolve", unit, [unit], flags, [_read(upright), psf], [sharp])
        flags = ["--image", sharp["path"], "--radius-um=0.3", "--method=log", "--threshold=100", "--subpixel=true"]
        self._record("detect", unit, [unit], flags, [_read(sharp)], [points])

    def series(self, series: int, images: Iterable[int]) -> None:
        """The job that tracks a series."""
        unit, samples = series_of(series), [name_of(image) for image in images]
        points = [_file("points", f"results/{sample}/detect/points.csv", CSV_BYTES) for sample in samples]
        folder = f"results/{unit}/track"
        tracks = _file("tracks", f"{folder}/tracks.geff", GEFF_BYTES) | {"listing": _listing(unit, GEFF_FILES)}
        (self.folder / tracks["path"]).mkdir(parents=True)
        tables = [_file("table", f"{folder}/tracks.csv", CSV_BYTES), _file("trackmate", f"{folder}/tracks.xml", 98_304)]
        for table in tables:
            _sparse(self.folder / table["path"], table["bytes"])
        flags = ["--points", *(item["path"] for item in points), "--max-distance-um=1.0", "--method=laptrack"]
        self._record("track", unit, samples, flags, points, [tracks, *tables])

    def _store(self, unit: str, step: str, dtype: str) -> dict[str, Any]:
        path = f"results/{unit}/{step}/image.ome.zarr"
        (self.folder / path).mkdir(parents=True)
        (self.folder / path / "zarr.json").write_text(self.zarr_json)
        facts = {"axes": "zyx", "shape": SHAPE, "dtype": dtype, "scale": SCALE}
        listing = _listing(path, ("0/c/0/0/0", "0/zarr.json", "zarr.json"))
        return _file("image", path, 28_047_360) | facts | {"listing": listing}

    def _record(
        self,
        step: str,
        unit: str,
        samples: list[str],
        flags: list[str],
        inputs: list[dict[str, Any]],
        outputs: list[dict[str, Any]],
    ) -> None:
        """The text that a job on a cluster writes, value by value, and Snakemake's benchmark beside it."""
        self.count += 1
        second, argv = self.count % 86_400, ["python", "-m", "snakescope.program", step, *flags, "--threads", "1"]
        day = f"2026-11-{1 + self.count // 86_400:02d}"
        started, ended = (f"{day}T{at // 3600:02d}:{at // 60 % 60:02d}:{at % 60:02d}Z" for at in (second, second + 7))
        slurm = {"kind": "slurm", "job_id": str(4_000_000 + self.count), "partition": "cpu"}
        text = (
            f'{{\n  "schema": 1,\n  "status": "done",\n  "unit": "{unit}",\n  "samples": {json.dumps(samples)},\n'
            f'  "step": "{step}",\n  "snakemake": "9.27.1",\n  "started_at": "{started}",\n  "ended_at": "{ended}",\n'
            f'  "wall_s": {6 + second % 100 / 100:.2f},\n  "cpu_s": {2 + second % 1000 / 1000:.3f},\n'
            f'  "exit_code": 0,\n  "host": "node{self.count % 40:02d}",\n  "scheduler": {json.dumps(slurm)},\n'
            '  "environment": {"kind": "apptainer", "image": "images/snakescope.sif"},\n'
            f'  "tool_version_observed": "0.1.0",\n  "argv": {json.dumps(argv)},\n  "row_parameters": {{}},\n'
            f'  "inputs": [{_items(inputs)}\n  ],\n  "outputs": [{_items(outputs)}\n  ],\n'
            f'  "compiled": {self.compiled[step]}}}\n'
        )
        for path, content in (
            (f"records/{unit}/{step}.json", text),
            (f"benchmarks/{unit}/{step}.tsv", BENCHMARK.format(190 + self.count % 1000 / 100)),
        ):
            (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / path).write_text(content)


def _file(port: str, path: str, size: int) -> dict[str, Any]:
    return {"port": port, "path": path, "bytes": size, "sha256": _sha256(path)}


def _read(output: dict[str, Any]) -> dict[str, Any]:
    """What a job says of an image that another job wrote."""
    return {name: value for name, value in output.items() if name != "listing"} | {"port": "image"}


def _listing(seed: str, names: Iterable[str]) -> str:
    return "\n".join(f"{_sha256(f'{seed}/{name}')}  {name}" for name in names)


def _items(files: list[dict[str, Any]]) -> str:
    return ",".join("\n    " + json.dumps(file) for file in files)


# ---------------------------------------------------------------------- what a process of its own measures


class Stopwatch:
    """Adds up seconds by name."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def timed(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, its time added to those of the name."""

        def timing(*args: Any, **named: Any) -> Any:
            started = time.perf_counter()
            try:
                return call(*args, **named)
            finally:
                self.seconds[name] += time.perf_counter() - started

        return timing

    def view(self, name: str, make: Callable[..., Any]) -> Callable[..., Any]:
        """The same view, its methods timed."""

        def making(*args: Any) -> Any:
            made = self.timed(name, make)(*args)
            for method in ("run_file", "raw", "job", "finish"):
                setattr(made, method, self.timed(name, getattr(made, method)))
            return made

        return making


def measure_export(folder: Path) -> dict[str, float]:
    """Export the study, and say where the time went."""
    started = time.perf_counter()
    from snakescope.study import export as exporting

    start = time.perf_counter() - started
    watch = Stopwatch()
    views = {
        "Tree": "links",
        "FileLists": "file lists",
        "Checksums": "checksums",
        "RunCrate": "crate",
        "PageTab": "PageTab",
        "Rembi": "REMBI",
    }
    parts = {"prepare": "reading and checking", "check_submission": "checking PageTab", "put_in_place": "swapping in"}
    for name, told in views.items():
        setattr(exporting, name, watch.view(told, getattr(exporting, name)))
    for name, told in parts.items():
        setattr(exporting, name, watch.timed(told, getattr(exporting, name)))
    usage, started = _cpu(), time.perf_counter()
    exporting.export(folder, PIPELINE)
    wall, cpu = time.perf_counter() - started, _cpu() - usage
    rest = wall - sum(watch.seconds.values())
    return {"wall_s": wall, "cpu_s": cpu, "start_s": start, **watch.seconds, "second reading, and the rest": rest}


def measure_peer(folder: Path) -> dict[str, float]:
    """Build the crate of an exported study anew with `rocrate`, and write its metadata."""
    from rocrate.model.contextentity import ContextEntity
    from rocrate.model.dataset import Dataset
    from rocrate.model.file import File
    from rocrate.rocrate import ROCrate

    usage, started, parsing = _cpu(), time.perf_counter(), 0.0
    crate, entities = ROCrate(), 0
    for entity, seconds in _entities(folder / "study/run-crate/ro-crate-metadata.json"):
        parsing += seconds
        name, types = entity.pop("@id"), entity["@type"]
        entities += 1
        if name in ("./", "ro-crate-metadata.json"):
            known = crate.root_dataset if name == "./" else crate.metadata
            for key, value in entity.items():
                if key not in ("@type", "hasPart"):
                    known[key] = value
        elif "File" in types or "Dataset" in types:
            make = File if "File" in types else Dataset
            crate.add(make(crate, dest_path=name, properties=entity))
        else:
            crate.add(ContextEntity(crate, name, properties=entity))
    out = folder / "peer"
    out.mkdir(exist_ok=True)
    crate.metadata.write(out)
    wall, cpu = time.perf_counter() - started - parsing, _cpu() - usage - parsing
    return {"wall_s": wall, "cpu_s": cpu, "entities": entities}


def _entities(metadata: Path) -> Iterator[tuple[dict[str, Any], float]]:
    """The entities of our crate, one a line, each with the seconds it took to parse."""
    with metadata.open(encoding="utf-8") as lines:
        for line in lines:
            if line.startswith('{"@id"'):
                started = time.perf_counter()
                entity = json.loads(line.rstrip().removesuffix(","))
                yield entity, time.perf_counter() - started


def measure_floor(folder: Path) -> dict[str, float]:
    """Read and parse every record once."""
    usage, started = _cpu(), time.perf_counter()
    count = sum(bool(json.loads(path.read_bytes())) for path in sorted((folder / "records").glob("*/*.json")))
    return {"wall_s": time.perf_counter() - started, "cpu_s": _cpu() - usage, "records": count}


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


MEASURES = {"export": measure_export, "peer": measure_peer, "floor": measure_floor}

# ---------------------------------------------------------------------- running and printing


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def measure(kind: str, folder: Path) -> dict[str, float]:
    """Measure in a fresh process; its peak memory is added."""
    if kind == "export" and (folder / "study").exists():
        kept = folder / "earlier"
        kept.mkdir(exist_ok=True)
        (folder / "study").rename(kept / str(time.time_ns()))
    argv = [sys.executable, __file__, "--measure", kind, "--folder", str(folder)]
    found: dict[str, float] = json.loads(subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True).stdout)
    say(f"    {kind}: {found['wall_s']:.1f} s, {found['cpu_s']:.1f} CPU s, {found['peak_mb']:.0f} MB")
    return found


def medians(runs: list[dict[str, float]]) -> dict[str, float]:
    return {name: statistics.median(run.get(name, 0.0) for run in runs) for name in runs[0]}


def written(folder: Path) -> int:
    """Bytes of an export, without what its links lead to."""
    return sum(
        (Path(above) / name).lstat().st_size
        for above, _, names in os.walk(folder / "study")
        for name in names
        if not (Path(above) / name).is_symlink()
    )


def study_of(folder: Path, records: int) -> int:
    """Make the study unless an earlier run has; returns the number of its records."""
    mark = folder / "records.count"
    if not mark.is_file():
        say(f"  making a study of {records} records")
        folder.mkdir(parents=True, exist_ok=True)
        mark.write_text(str(make_study(folder, records)))
    return int(mark.read_text())


def compare(root: Path, sizes: list[int], repeats: int, peer_up_to: int) -> dict[int, dict[str, dict[str, float]]]:
    """Medians by number of records and what was measured."""
    found = {}
    for size in sizes:
        folder = root / str(size)
        count = study_of(folder, size)
        kinds = ["floor", "export", *(["peer"] if count <= peer_up_to else [])]
        runs: dict[str, list[dict[str, float]]] = {kind: [] for kind in kinds}
        for number in range(repeats):
            say(f"  {count} records, {number + 1} of {repeats}")
            for kind in kinds:
                runs[kind].append(measure(kind, folder))
        found[count] = {kind: medians(results) for kind, results in runs.items()}
        found[count]["export"]["written_mb"] = written(folder) / 1e6
    return found


def print_export(found: dict[int, dict[str, dict[str, float]]]) -> None:
    """The table of exports, with ratios to the smallest."""
    print(
        f"{'records':>8}{'wall s':>9}{'CPU s':>9}{'wall ms/rec':>19}{'CPU ms/rec':>19}"
        f"{'peak MB':>9}{'written MB':>12}{'floor':>9}"
    )
    first = next(iter(found))
    for count, by_kind in found.items():
        ours, floor, least = by_kind["export"], by_kind["floor"], found[first]["export"]
        cells = [f"{count:8d}{ours['wall_s']:9.2f}{ours['cpu_s']:9.2f}"]
        for name in ("wall_s", "cpu_s"):
            ratio = ours[name] / count / (least[name] / first)
            cells.append(f"{1000 * ours[name] / count:11.3f} ({ratio:4.2f}x)")
        cells.append(f"{ours['peak_mb']:9.0f}{ours['written_mb']:12.1f}{ours['cpu_s'] / floor['cpu_s']:8.1f}x")
        print("".join(cells))
    print("in brackets: to the smallest; floor: CPU time to that of reading and parsing all records once")


def print_parts(found: dict[int, dict[str, dict[str, float]]]) -> None:
    """Where the time went, wall ms a record."""
    told = ("wall_s", "cpu_s", "peak_mb", "written_mb", "start_s")
    names = [name for name in next(iter(found.values()))["export"] if name not in told]
    print(f"\n{'wall ms a record':30}" + "".join(f"{count:>10}" for count in found))
    for name in names:
        values = (1000 * by_kind["export"].get(name, 0) / count for count, by_kind in found.items())
        print(f"{name:30}" + "".join(f"{value:10.3f}" for value in values))
    starts = (by_kind["export"]["start_s"] for by_kind in found.values())
    print(f"{'start-up, s (not in the above)':30}" + "".join(f"{value:10.2f}" for value in starts))


def print_peer(found: dict[int, dict[str, dict[str, float]]]) -> None:
    """The crate of `rocrate` against our crate view, and against the whole export."""
    print(f"\n{'records':>8}{'entities':>10}{'rocrate s':>11}{'to our crate':>14}{'to all of ours':>16}{'its MB':>9}")
    for count, by_kind in found.items():
        if "peer" in by_kind:
            peer, ours = by_kind["peer"], by_kind["export"]
            ratios = peer["wall_s"] / ours["crate"], peer["wall_s"] / ours["wall_s"]
            print(
                f"{count:8d}{peer['entities']:10.0f}{peer['wall_s']:11.2f}{ratios[0]:13.2f}x{ratios[1]:15.2f}x"
                f"{peer['peak_mb']:9.0f} ({peer['peak_mb'] / ours['peak_mb']:.2f}x of ours)"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peer-all", action="store_true", help="rocrate for the largest study too")
    parser.add_argument("--folder", type=Path, help="keep the studies there, and use those that are there")
    parser.add_argument("--measure", choices=MEASURES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        found = MEASURES[options.measure](options.folder)
        print(json.dumps(found | {"peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
        return
    with tempfile.TemporaryDirectory(prefix="export-") as scratch:
        root = options.folder or Path(scratch)
        peer_up_to = sys.maxsize if options.peer_all else PEER_UP_TO
        results = compare(root, sorted(options.records), options.repeats, peer_up_to)
        print_export(results)
        print_parts(results)
        print_peer(results)
        for size in options.records:
            shutil.rmtree(root / str(size) / "earlier", ignore_errors=True)


if __name__ == "__main__":
    main()
