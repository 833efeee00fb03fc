"""What a study holds: its rows, jobs and files, from the sheet, the compiled plan and the records.

Two passes over the records. The first (`survey`) counts, checks, and keeps no more than names and digests; the second
(`Inventory.raw_files`, `Inventory.jobs`) reads each record again and gives it away at once, so that a hundred
thousand records need little memory. Every view of the study is written from this, and names files as this does.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from snakescope import layout
from snakescope.errors import Problem
from snakescope.record import FileFacts, JobRecord, read_record, reason
from snakescope.samples import Row, Sheet, format_number
from snakescope.study.entries import Entry
from snakescope.study.model import RAW
from snakescope.workflow import Plan, row_file

IMAGES = ("image", "labels", "mask")
# Columns of the sheet that say where a file lies or that stand in columns of their own.
_NOT_LISTED = ("id", "path", "bytes", "sha256", "sensitive", "scene", "from_avus")

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class StudyFile:
    """One file, or folder that is one image, of the study.

    Parameters
    ----------
    path
        Its name in everything that is handed on: below the root of the run crate, which is the submission's root.
    here
        Where it lies: relative to the study folder, absolute, or its address in iRODS.
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
    address, checksum
        Of an image that was acquired into iRODS: where it lies there, without a user, and what the catalogue says of
        it, in its own form. None for other files; the checksum also where the catalogue says nothing.
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
    address: str | None = None
    checksum: str | None = None

    @property
    def by_reference(self) -> bool:
        """Whether it is told of, and not here to be handed on: it lies in iRODS, and no copy of it is kept."""
        return self.address is not None and self.here == self.address


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
    """A job that was done or has failed.

    Parameters
    ----------
    error
        Why it failed; None when it is done.
    submitted
        Whether its outputs are part of what is handed on.
    """

    record: JobRecord
    inputs: tuple[Used, ...]
    outputs: tuple[StudyFile, ...]
    error: str | None
    submitted: bool = True

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
            for name in dict.fromkeys((*self.columns, *file.columns)):
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
    hidden
        Ids of the sensitive rows, which nothing that is handed on may tell.
    left_out
        Jobs over other rows too that are left out since they read a sensitive one.
    unhashed
        Raw images that are here, that no job has read and whose digest the sheet does not give.
    by_reference, by_reference_unhashed
        Raw images that lie in iRODS and of which no copy is here, and how many of them nobody knows a digest of.
    stray
        Records that belong to no row or step of the study.
    hosts
        Machines that ran jobs.
    failed
        Unit and step of the jobs that failed.
    """

    root: Path
    plan: Plan
    steps: dict[str, StepSurvey]
    datasets: dict[str, DatasetSurvey]
    association_of: Callable[[Row], tuple[str, str, str]]
    started_at: str | None = None
    ended_at: str | None = None
    hidden: frozenset[str] = frozenset()
    left_out: int = 0
    unhashed: int = 0
    by_reference: int = 0
    by_reference_unhashed: int = 0
    stray: int = 0
    snakemake: set[str] = field(default_factory=set)
    hosts: set[str] = field(default_factory=set)
    failed: set[tuple[str, str]] = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)
    raw: dict[str, RawImage] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    shared: dict[str, StudyFile] = field(default_factory=dict)
    reads: dict[tuple[str, str], tuple[tuple[str, bool], ...]] = field(default_factory=dict)

    @property
    def sheet(self) -> Sheet:
        """The rows that are handed on."""
        return self.plan.sheet

    @property
    def sensitive_rows(self) -> int:
        """Sensitive rows, which are left out."""
        return len(self.hidden)

    @property
    def any_address(self) -> bool:
        """Whether a raw image was acquired into iRODS."""
        return any(raw.address for raw in self.raw.values())

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
        for raw in self.raw.values():
            yield self._raw_file(raw)

    def shared_files(self) -> list[StudyFile]:
        """Files that the pipeline names for all rows, such as a PSF; they are part of the run's record."""
        return list(self.shared.values())

    def jobs(self) -> Iterator[Job]:
        """Every job that is done or has failed, in the order of the steps and of the sheet; each record is read now."""
        for step, unit, rows in self.plan.walk_units():
            record, error = self.read(step, unit)
            if record is not None and not self.tells(record):
                yield self._job(record, rows, error)

    def raw_path(self, row: Row) -> str:
        """Name of a row's image in everything that is handed on."""
        return self.names[row.path]

    # ------------------------------------------------------------------ the second pass

    def read(self, step: str, unit: str, *, memory: bool = True) -> tuple[JobRecord | None, str | None]:
        """Record of a job and why it failed; None when there is none. `memory`: whether its peak is looked up."""
        path, error = self.root / layout.record(unit, step), None
        if not path.is_file():
            path = self.root / layout.failure(unit, step)
            if not path.is_file():
                return None, None
            error = reason(self.root / layout.log(unit, step))
        return read_record(path, self.root if memory else None), error

    def tells(self, record: JobRecord) -> bool:
        """Whether a record speaks of a sensitive row."""
        return bool(self.hidden) and not self.hidden.isdisjoint(record.samples)

    def _job(self, record: JobRecord, rows: list[Row], error: str | None) -> Job:
        inputs = tuple(self._used(record, item) for item in record.inputs)
        outputs = () if error is not None else self.outputs(record, rows, self.sources(record.unit, record.step))
        return Job(record, inputs, outputs, error, self.steps[record.step].submitted)

    def outputs(self, record: JobRecord, rows: list[Row], sources: tuple[str, ...] = ()) -> tuple[StudyFile, ...]:
        """What a job made; its `sources` are known when all records have been read."""
        shared = self._row_columns(rows)
        return tuple(self._output(record, item, shared, sources) for item in record.outputs)

    def _used(self, record: JobRecord, item: FileFacts) -> Used:
        type_ = record.compiled["inputs"].get(item.port, {}).get("type", "file")
        name = self.name(item.path)
        maker = made_by(name)
        submitted = name in self.shared or maker is None or self.steps[maker[1]].submitted
        facts = self.raw.get(name, item)
        return Used(item.port, name, facts.bytes, facts.sha256, type_, submitted)

    def _output(
        self, record: JobRecord, item: FileFacts, shared: dict[str, str], sources: tuple[str, ...]
    ) -> StudyFile:
        port = record.compiled["outputs"][item.port]
        columns = {"sample": record.unit, "output": item.port} | shared
        columns |= record.row_parameters
        columns |= image_columns(item)
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
            sources=sources,
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
        free = self.free_columns
        kept = {name: text for name, text in cells.items() if name in free}
        return kept | own

    @cached_property
    def free_columns(self) -> frozenset[str]:
        """Columns of the sheet that speak of a row and not of its file."""
        facts = ("format", "axes", "shape", "dtype", "voxel_size_um", "time_step_s", "channels")
        return frozenset(self.sheet.columns).difference(_NOT_LISTED, facts)

    def _raw_file(self, raw: RawImage) -> StudyFile:
        cells = {name: text for name, text in raw.row.cells.items() if name not in _NOT_LISTED}
        biosample, specimen, acquisition = self.association_of(raw.row)
        own = {"biosample": biosample, "specimen": specimen, "acquisition": acquisition}
        facts = {name: text for name, text in raw.facts.items() if not cells.get(name)}
        columns = {"sample": raw.row.id, **cells, **facts, **own}
        columns |= {"bytes": _text(raw.bytes), "sha256": raw.sha256 or ""}
        return StudyFile(
            path=raw.path,
            here=raw.here,
            dataset=RAW,
            folder=raw.row.format == "ome-zarr" or row_file(raw.row).rstrip("/").endswith(".zarr"),
            format=raw.row.format,
            bytes=raw.bytes,
            sha256=raw.sha256,
            listing=raw.listing,
            columns=columns,
            address=raw.address,
            checksum=raw.checksum,
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
        reads = self.reads.get((unit, step), ())
        images = [name for name, is_image in reads if is_image]
        for name in images or [name for name, _ in reads]:
            maker = made_by(name)
            if name in self.raw or (images and maker and self.steps[maker[1]].submitted):
                found[name] = None
            elif maker:
                self._collect_sources(*maker, found, seen)

    # ------------------------------------------------------------------ names

    def name(self, recorded: str) -> str:
        """Name under which a recorded path is handed on."""
        known = self.names.get(recorded)
        if known is None:
            plain = recorded.removeprefix("./")
            known = self.names.get(plain) or self.names.get(os.path.expanduser(plain), plain)  # noqa: PTH111
        return known


@dataclass(slots=True)
class RawImage:
    """A raw image: its first row, where it lies, and what records know of the bytes.

    Parameters
    ----------
    here, address, checksum
        As of a `StudyFile`.
    facts
        What a record tells of the axes and the like, by column.
    """

    path: str
    row: Row
    bytes: int | None
    sha256: str | None
    here: str
    listing: str | None = None
    address: str | None = None
    checksum: str | None = None
    facts: dict[str, str] = field(default_factory=dict)


def made_by(name: str) -> tuple[str, str] | None:
    """Unit and step that made a file, by its name."""
    parts = name.split("/")
    return (parts[1], parts[2]) if len(parts) == 4 and parts[0] == layout.RESULTS else None


def image_columns(item: FileFacts) -> dict[str, str]:
    """What a record tells of an OME-Zarr, by column of a file list; empty for other files."""
    if item.axes is None:
        return {}
    shape = ",".join(map(str, item.shape or ()))
    voxel = ",".join("" if size is None else format_number(size) for size in item.voxel_size_um or ())
    return {"axes": item.axes, "shape": shape, "dtype": item.dtype or "", "voxel_size_um": voxel.strip(",")}


def _text(value: int | None) -> str:
    return "" if value is None else str(value)
