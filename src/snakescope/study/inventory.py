"""What a study holds: its rows, jobs and files, from the sheet, the compiled plan and the records.

Two passes over the records. The first (`survey`) counts, checks, and keeps no more than names and digests; the second
(`Inventory.raw_files`, `Inventory.jobs`) reads each record again and gives it away at once, so that a hundred
thousand records need little memory. Every view of the study is written from this, and names files as this does.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from snakescope import layout
from snakescope.errors import InputError, Problem, problem
from snakescope.images import store_scale, store_units, unit_problem
from snakescope.record import FileFacts, JobRecord, read_record, reason
from snakescope.samples import Row, Sheet, format_number
from snakescope.study.entries import Entry, rembi_entry
from snakescope.study.model import RAW, RUN
from snakescope.workflow import Plan

IMAGES = ("image", "labels", "mask")
# What the archive takes in a file name, and what needs quoting nowhere.
_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*")
_SUFFIX = re.compile(r"(\.ome)?\.[A-Za-z0-9]{1,10}$", re.IGNORECASE)
# Columns of the sheet that say where a file lies or that stand in columns of their own.
_NOT_LISTED = ("id", "path", "bytes", "sha256", "sensitive", "scene")

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class StudyFile:
    """One file, or folder that is one image, of the study.

    Parameters
    ----------
    path
        Its name in everything that is handed on: below the root of the run crate, which is the submission's root.
    here
        Where it lies: relative to the study folder, or absolute.
    dataset
        Key of the one dataset it is part of.
    folder
        Whether it is a folder (OME-Zarr, GEFF).
    format
        Name of the format, such as ``ome-zarr``; None when not known.
    bytes, sha256, listing
        As in its record; see `snakescope.record.FileFacts`. None when not known.
    columns
        What its file list may say of it, by column.
    sources
        Paths of the images it was made from; empty for what was acquired.
    type
        Type of the port that wrote it, ``image`` for raw images.
    created_at
        When its job ended, UTC; None for raw images.
    """

    path: str
    here: str
    dataset: str
    folder: bool
    format: str | None
    bytes: int | None
    sha256: str | None
    listing: str | None
    columns: dict[str, str]
    sources: tuple[str, ...] = ()
    type: str = "image"
    port: str | None = None
    created_at: str | None = None


@dataclass(frozen=True, slots=True)
class Used:
    """A file that a job read; `submitted` is whether it is part of what is handed on."""

    port: str
    path: str
    bytes: int | None
    sha256: str | None
    type: str
    submitted: bool


@dataclass(frozen=True, slots=True)
class Job:
    """A job that was done or has failed. `error` says why; None when it is done."""

    record: JobRecord
    inputs: tuple[Used, ...]
    outputs: tuple[StudyFile, ...]
    error: str | None

    @property
    def id(self) -> str:
        """Name that no other job has: ``<step>/<unit>``."""
        return f"{self.record.step}/{self.record.unit}"


@dataclass
class StepSurvey:
    """What the records say of a step.

    Parameters
    ----------
    compiled
        The constant part of its records: of the first one there is, else as compiled now.
    entries
        How the step reads in REMBI, with the number of jobs that were done so; one, unless its parameters were
        changed between jobs.
    """

    name: str
    compiled: dict[str, Any]
    done: int = 0
    failed: int = 0
    pending: int = 0
    submitted: bool = True
    entries: Counter[Entry] = field(default_factory=Counter)

    @property
    def kind(self) -> str:
        """``images`` or ``annotation``: the kind of dataset it makes."""
        return "annotation" if self.compiled.get("rembi", {}).get("kind") == "annotation" else "images"


@dataclass
class DatasetSurvey:
    """What is known of a dataset after the first pass; `varying` are the columns in which two of its files differ."""

    files: int = 0
    associations: set[tuple[str, str, str]] = field(default_factory=set)
    columns: dict[str, str | None] = field(default_factory=dict)

    def add(self, file: StudyFile) -> None:
        """Count a file and compare its columns with those before it."""
        if not self.files:
            self.columns = dict(file.columns)
        else:
            for name in self.columns.keys() | file.columns.keys():
                if self.columns.get(name, "") != file.columns.get(name, ""):
                    self.columns[name] = None
        self.files += 1

    @property
    def varying(self) -> list[str]:
        """Columns in which two files differ, in the order in which they were met."""
        return [name for name, value in self.columns.items() if value is None]


@dataclass
class Inventory:
    """The files and jobs of a study after the first pass.

    Parameters
    ----------
    root
        Study folder.
    plan
        Compiled pipeline over the rows that are handed on.
    steps, datasets
        What the first pass found, by step and by dataset key.
    started_at, ended_at
        First start and last end of a job, UTC; None when no job has run.
    sensitive_rows, left_out
        Sensitive rows left out, and jobs left out since they read one.
    unhashed
        Raw images that no job has read and whose digest the sheet does not give.
    stray
        Records that belong to no row or step of the study.
    hosts
        Machines that ran jobs.
    """

    root: Path
    plan: Plan
    steps: dict[str, StepSurvey]
    datasets: dict[str, DatasetSurvey]
    association_of: Callable[[Row], tuple[str, str, str]]
    started_at: str | None = None
    ended_at: str | None = None
    sensitive_rows: int = 0
    left_out: int = 0
    unhashed: int = 0
    stray: int = 0
    snakemake: set[str] = field(default_factory=set)
    hosts: set[str] = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)
    _raw: dict[str, _Raw] = field(default_factory=dict)
    _names: dict[str, str] = field(default_factory=dict)
    _shared: dict[str, StudyFile] = field(default_factory=dict)
    _reads: dict[tuple[str, str], tuple[tuple[str, bool], ...]] = field(default_factory=dict)

    @property
    def sheet(self) -> Sheet:
        """The rows that are handed on."""
        return self.plan.sheet

    @property
    def jobs_done(self) -> int:
        """Jobs that are done."""
        return sum(step.done for step in self.steps.values())

    @property
    def jobs_failed(self) -> int:
        """Jobs that have failed."""
        return sum(step.failed for step in self.steps.values())

    @property
    def jobs_pending(self) -> int:
        """Jobs that have not run yet."""
        return sum(step.pending for step in self.steps.values())

    def raw_files(self) -> Iterator[StudyFile]:
        """The raw images, in the order of the sheet; a file of several rows once."""
        for raw in self._raw.values():
            yield self._raw_file(raw)

    def shared_files(self) -> list[StudyFile]:
        """Files that the pipeline names for all rows, such as a PSF; they are part of the run's record."""
        return list(self._shared.values())

    def jobs(self) -> Iterator[Job]:
        """Every job that is done or has failed, in the order of the steps and of the sheet; each record is read now."""
        for step, unit, rows in self.plan.walk_units():
            record, error = self._read(step, unit)
            if record is not None:
                yield self._job(record, rows, error)

    def raw_path(self, row: Row) -> str:
        """Name of a row's image in everything that is handed on."""
        return self._names[row.path]

    # ------------------------------------------------------------------ the second pass

    def _read(self, step: str, unit: str) -> tuple[JobRecord | None, str | None]:
        """Record of a job and why it failed; None when there is none."""
        path = self.root / layout.record(unit, step)
        if path.is_file():
            return read_record(path, self.root), None
        path = self.root / layout.failure(unit, step)
        if path.is_file():
            return read_record(path, self.root), reason(self.root / layout.log(unit, step))
        return None, None

    def _job(self, record: JobRecord, rows: list[Row], error: str | None) -> Job:
        inputs = tuple(self._used(record, item) for item in record.inputs)
        outputs = () if error is not None else tuple(self._output(record, item, rows) for item in record.outputs)
        return Job(record, inputs, outputs, error)

    def _used(self, record: JobRecord, item: FileFacts) -> Used:
        type_ = record.compiled["inputs"].get(item.port, {}).get("type", "file")
        name = self._name(item.path)
        made_by = _made_by(name)
        submitted = name in self._shared or made_by is None or self.steps[made_by[1]].submitted
        facts = self._raw[name] if name in self._raw else item
        return Used(item.port, name, facts.bytes, facts.sha256, type_, submitted)

    def _output(self, record: JobRecord, item: FileFacts, rows: list[Row]) -> StudyFile:
        port = record.compiled["outputs"][item.port]
        columns = {"sample": record.unit, "output": item.port} | self._row_columns(rows)
        columns |= {name: value for name, value in record.row_parameters.items()}
        columns |= _image_columns(item)
        columns |= {"bytes": _text(item.bytes), "sha256": item.sha256 or "", "created": record.ended_at or ""}
        return StudyFile(
            path=item.path,
            here=item.path,
            dataset=record.step,
            folder=port["format"] in ("ome-zarr", "geff") or port["type"] == "directory",
            format=port["format"],
            bytes=item.bytes,
            sha256=item.sha256,
            listing=item.listing,
            columns=columns,
            sources=self.sources(record.unit, record.step),
            type=port["type"],
            port=item.port,
            created_at=record.ended_at,
        )

    def _row_columns(self, rows: list[Row]) -> dict[str, str]:
        """Cells that all rows of a unit share."""
        if len(rows) == 1:
            cells = rows[0].cells
        else:
            tables = [row.cells for row in rows]
            cells = {name: text for name, text in tables[0].items() if all(other[name] == text for other in tables)}
        biosample, specimen, acquisition = self.association_of(rows[0])
        own = {"biosample": biosample, "specimen": specimen, "acquisition": acquisition}
        kept = {name: text for name, text in cells.items() if name in self.free_columns}
        return kept | own

    @property
    def free_columns(self) -> frozenset[str]:
        """Columns of the sheet that speak of a row and not of its file."""
        facts = ("format", "axes", "shape", "dtype", "voxel_size_um", "time_step_s", "channels")
        return frozenset(self.sheet.columns).difference(_NOT_LISTED, facts)

    def _raw_file(self, raw: _Raw) -> StudyFile:
        cells = {name: text for name, text in raw.row.cells.items() if name not in _NOT_LISTED}
        biosample, specimen, acquisition = self.association_of(raw.row)
        own = {"biosample": biosample, "specimen": specimen, "acquisition": acquisition}
        columns = {"sample": raw.row.id, **cells, **own, "bytes": _text(raw.bytes), "sha256": raw.sha256 or ""}
        folder = raw.row.format == "ome-zarr" or raw.row.path.rstrip("/").endswith(".zarr")
        return StudyFile(
            path=raw.path,
            here=raw.row.path,
            dataset=RAW,
            folder=folder,
            format=raw.row.format,
            bytes=raw.bytes,
            sha256=raw.sha256,
            listing=raw.listing,
            columns=columns,
        )

    # ------------------------------------------------------------------ which images a file was made from

    def sources(self, unit: str, step: str) -> tuple[str, ...]:
        """The nearest images, among those handed on, that a job worked on; without repeats, in their order."""
        found: dict[str, None] = {}
        self._collect_sources(unit, step, found, set())
        return tuple(found)

    def _collect_sources(self, unit: str, step: str, found: dict[str, None], seen: set[tuple[str, str]]) -> None:
        if (unit, step) in seen:
            return
        seen.add((unit, step))
        reads = self._reads.get((unit, step), ())
        images = [name for name, is_image in reads if is_image]
        for name in images or [name for name, _ in reads]:
            made_by = _made_by(name)
            if name in self._raw or (images and made_by and self.steps[made_by[1]].submitted):
                found[name] = None
            elif made_by:
                self._collect_sources(*made_by, found, seen)

    # ------------------------------------------------------------------ names

    def _name(self, recorded: str) -> str:
        """Name under which a recorded path is handed on."""
        known = self._names.get(recorded)
        if known is None:
            plain = recorded.removeprefix("./")
            known = self._names.get(plain) or self._names.get(os.path.expanduser(plain), plain)  # noqa: PTH111
        return known


@dataclass(slots=True)
class _Raw:
    """A raw image: its first row, and what records know of the bytes."""

    path: str
    row: Row
    bytes: int | None
    sha256: str | None
    listing: str | None = None


def survey(
    root: Path,
    plan: Plan,
    association_of: Callable[[Row], tuple[str, str, str]],
    *,
    leave_out: Iterable[str] = (),
    voxels_of_1_um: bool = False,
    progress: Progress | None = None,
) -> Inventory:
    """Read every record once: count, check, and learn names and digests.

    Parameters
    ----------
    root
        Study folder.
    plan
        The compiled pipeline over the rows to hand on. No sensitive row may be among them.
    association_of
        Titles of the biosample, specimen and acquisition of a row.
    leave_out
        Steps whose files are not handed in.
    voxels_of_1_um
        The voxels are really of 1 µm.
    progress
        Told the name of the pass, what is done and how much there is.

    Returns
    -------
    The inventory; what is wrong with the data stands in `Inventory.problems`.
    """
    steps = {name: StepSurvey(name, _facts(root, plan, name)) for name in plan.steps}
    unknown = [name for name in leave_out if name not in steps]
    found = Inventory(root, plan, steps, {}, association_of)
    found.problems += [Problem("config/study.yaml: leave_out", f"there is no step {name!r}") for name in unknown]
    for name in leave_out:
        if name in steps:
            steps[name].submitted = False
    _name_raw(found)
    _name_shared(found)
    jobs = list(plan.walk_units())
    for index, (step, unit, rows) in enumerate(jobs):
        _survey_job(found, step, unit, rows)
        if progress:
            progress("reading records", index + 1, len(jobs))
    _finish(found, jobs, voxels_of_1_um=voxels_of_1_um)
    return found


def _facts(root: Path, plan: Plan, step: str) -> dict[str, Any]:
    path = root / layout.step_facts_file(plan.compiled["pipeline"], step)
    try:
        facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise problem(path, f"cannot be read ({error})", "Run: snakescope compile") from error
    return facts


def _name_raw(found: Inventory) -> None:
    taken: set[tuple[str, int]] = set()
    for row in found.sheet.rows:
        if (row.path, row.scene) in taken:
            where = f"{found.sheet.where(row)}: path"
            found.problems.append(Problem(where, f"{row.path!r}, image {row.scene}, stands in an earlier row too"))
        taken.add((row.path, row.scene))
        if row.path not in found._names:
            suffix = _SUFFIX.search(row.path.rstrip("/"))
            name = f"raw/{row.id}{suffix[0] if suffix else ''}"
            found._names[row.path] = name
            found._raw[name] = _Raw(name, row, row.bytes, row.cell("sha256").lower() or None)


def _name_shared(found: Inventory) -> None:
    """Files that a pipeline names itself, and those of other columns of the sheet."""
    for step, compiled in found.plan.steps.items():
        for port, wire in compiled["inputs"].items():
            if wire["from"] == "file":
                _share(found, wire["path"])
            elif wire["from"] == "sheet" and wire["column"] != "path":
                for unit in found.plan.units(step):
                    for path in found.plan.inputs(step, port, unit):
                        _share(found, path)


def _share(found: Inventory, path: str) -> None:
    if path in found._names:
        return
    name = path.removeprefix("./")
    if not _SAFE.fullmatch(name):
        suffix = _SUFFIX.search(name)
        name = f"inputs/{hashlib.sha256(path.encode()).hexdigest()[:16]}{suffix[0] if suffix else ''}"
    found._names[path] = name
    folder = (found.root / path).is_dir()
    found._shared[name] = StudyFile(name, path, RUN, folder, None, None, None, None, {}, type="file")


def _survey_job(found: Inventory, step: str, unit: str, rows: list[Row]) -> None:
    survey_ = found.steps[step]
    record, error = found._read(step, unit)
    if record is None:
        survey_.pending += 1
        return
    if not survey_.done and not survey_.failed:
        survey_.compiled = record.compiled
    found._reads[unit, step] = tuple((found._name(i.path), _is_image(record, i)) for i in record.inputs)
    for item in record.inputs:
        _learn(found, item)
    found.started_at = min(filter(None, (found.started_at, record.started_at)), default=None)
    found.ended_at = max(filter(None, (found.ended_at, record.ended_at)), default=None)
    found.hosts.add(record.host)
    found.snakemake.update(filter(None, [record.snakemake]))
    if error is not None:
        survey_.failed += 1
        return
    survey_.done += 1
    entry = rembi_entry(dataclasses.replace(record, row_parameters=_columns_of(record)))
    if entry:
        survey_.entries[entry] += 1


def _columns_of(record: JobRecord) -> dict[str, str]:
    """For parameters that rows bring along: the name of their column, in place of one row's value."""
    given = [item for item in record.compiled["parameters"] if "column" in item]
    return {item["name"]: f"as in column {item['column']!r}" for item in given}


def _is_image(record: JobRecord, item: FileFacts) -> bool:
    return record.compiled["inputs"].get(item.port, {}).get("type") in IMAGES


def _learn(found: Inventory, item: FileFacts) -> None:
    """Keep what a record knows of the bytes of a file from outside."""
    name = found._name(item.path)
    raw = found._raw.get(name)
    if raw is not None:
        raw.bytes = item.bytes if item.bytes is not None else raw.bytes
        raw.sha256 = item.sha256 or raw.sha256
        raw.listing = item.listing or raw.listing
    elif name in found._shared and item.sha256:
        file = found._shared[name]
        found._shared[name] = dataclasses.replace(file, bytes=item.bytes, sha256=item.sha256, listing=item.listing)


def _finish(found: Inventory, jobs: list[tuple[str, str, list[Row]]], *, voxels_of_1_um: bool) -> None:
    """What can be said once all records are known: sources, columns, files on disk."""
    for row in found.sheet.rows:
        found.problems += _voxel_problems(found, row, voxels_of_1_um)
    raw = found.datasets[RAW] = DatasetSurvey()
    for file in found.raw_files():
        raw.add(file)
        raw.associations.add(found.association_of(found._raw[file.path].row))
        found.unhashed += file.sha256 is None
        found.problems += _disk_problems(found.root, file, "config/samples.tsv")
    rows_of = {(step, unit): rows for step, unit, rows in jobs}
    for job in found.jobs():
        found.problems += _source_problems(found, job)
        if not found.steps[job.record.step].submitted:
            continue
        for file in job.outputs:
            dataset = found.datasets.setdefault(file.dataset, DatasetSurvey())
            dataset.add(file)
            dataset.associations.update(found.association_of(row) for row in rows_of[job.record.step, job.record.unit])
            where = layout.record(job.record.unit, job.record.step)
            found.problems += _disk_problems(found.root, file, where)
            found.problems += _store_problems(found.root, file, voxels_of_1_um)
    expected = {layout.record(unit, step) for step, unit, _ in jobs}
    there = (path.relative_to(found.root).as_posix() for path in (found.root / layout.RECORDS).glob("*/*.json"))
    found.stray = sum(path not in expected for path in there)


def _voxel_problems(found: Inventory, row: Row, voxels_of_1_um: bool) -> Iterator[Problem]:
    where = f"{found.sheet.where(row)}: voxel_size_um"
    z, y, x = row.voxel_size_um
    if y is None or x is None or (z is None and "z" in (row.axes or "")):
        yield Problem(where, "the voxel size is not known", "Write it into the sheet as z,y,x in µm.")
    elif {y, x, z or 1.0} == {1.0} and not voxels_of_1_um:
        yield Problem(
            where,
            "found 1 µm along every axis, which programs write when they do not know",
            "Write the true size, or `voxels_of_1_um: true` into config/study.yaml if this is it.",
        )


def _source_problems(found: Inventory, job: Job) -> Iterator[Problem]:
    where = layout.record(job.record.unit, job.record.step)
    for used in job.inputs:
        made_by = _made_by(used.path)
        known = used.path in found._raw or used.path in found._shared or (made_by in found._reads if made_by else False)
        if not known:
            fix = "Bring its row or its record back, or remove this record and run again."
            yield Problem(where, f"it was made from {used.path!r}, which is not part of the study", fix)
    if job.error is None and job.inputs and not found.sources(job.record.unit, job.record.step):
        yield Problem(where, "none of the images of the study is its source")


def _disk_problems(root: Path, file: StudyFile, where: str) -> Iterator[Problem]:
    path = root / file.here
    if file.folder:
        if not path.is_dir():
            yield Problem(where, f"the folder {file.here!r} is not there", "Bring it back, or run again.")
        return
    try:
        size = path.stat().st_size
    except OSError:
        yield Problem(where, f"the file {file.here!r} is not there", "Bring it back, or run again.")
        return
    if file.bytes is not None and size != file.bytes:
        yield Problem(where, f"{file.here!r} has {size} bytes; {file.bytes} were recorded", "Run again.")


def _store_problems(root: Path, file: StudyFile, voxels_of_1_um: bool) -> Iterator[Problem]:
    """What an image store says of its voxels; no validator looks at it."""
    if file.format != "ome-zarr" or not (root / file.here).is_dir():
        return
    try:
        units, scale = store_units(root / file.here), store_scale(root / file.here)
    except InputError as error:
        yield from error.problems
        return
    messages = (unit_problem(axis, unit) for axis, unit in units.items())
    yield from (Problem(file.here, message) for message in messages if message)
    spatial = {scale[axis] for axis in scale if axis in "zyx"}
    if spatial == {1.0} and not voxels_of_1_um:
        yield Problem(file.here, "its voxel size is 1 µm along every axis, which programs write when they do not know")


def _made_by(name: str) -> tuple[str, str] | None:
    """Unit and step that made a file, by its name."""
    parts = name.split("/")
    return (parts[1], parts[2]) if len(parts) == 4 and parts[0] == layout.RESULTS else None


def _image_columns(item: FileFacts) -> dict[str, str]:
    if item.axes is None:
        return {}
    shape = ",".join(map(str, item.shape or ()))
    voxel = ",".join("" if size is None else format_number(size) for size in item.voxel_size_um or ())
    return {"axes": item.axes, "shape": shape, "dtype": item.dtype or "", "voxel_size_um": voxel.strip(",")}


def _text(value: int | None) -> str:
    return "" if value is None else str(value)
