"""The first pass over the records: count, check, and learn names, digests and columns."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from snakescope import layout
from snakescope.errors import InputError, Problem, problem
from snakescope.images import store_axes, unit_problem
from snakescope.record import FileFacts, JobRecord
from snakescope.samples import Row
from snakescope.study import remote
from snakescope.study.entries import rembi_entry
from snakescope.study.inventory import (
    IMAGES,
    DatasetSurvey,
    Inventory,
    Progress,
    RawImage,
    StepSurvey,
    StudyFile,
    image_columns,
    made_by,
)
from snakescope.study.model import RAW, RUN
from snakescope.workflow import Plan, staged_path
from snakescope.zone.address import SCHEME

# What the archive takes in a file name, and what needs quoting nowhere.
_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*")
_SUFFIX = re.compile(r"(\.ome)?\.[A-Za-z0-9]{1,10}$", re.IGNORECASE)


def survey(
    root: Path,
    plan: Plan,
    association_of: Callable[[Row], tuple[str, str, str]],
    *,
    hidden: frozenset[str] = frozenset(),
    leave_out: Iterable[str] = (),
    voxels_of_1_um: bool = False,
    keep_staged: bool = True,
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
    hidden
        Ids of the sensitive rows.
    leave_out
        Steps whose files are not handed in.
    voxels_of_1_um
        The voxels are really of 1 µm.
    keep_staged
        Rows that lie in iRODS: whether copies of them in ``staged/`` stay there, so that they can be handed on.
    progress
        Told the name of the pass, what is done and how much there is.

    Returns
    -------
    The inventory; what is wrong with the data stands in `Inventory.problems`.
    """
    steps = {name: StepSurvey(name, _facts(root, plan, name)) for name in plan.steps}
    found = Inventory(root, plan, steps, {}, association_of, hidden=hidden)
    for name in leave_out:
        if name in steps:
            steps[name].submitted = False
    _name_raw(found, keep_staged)
    _name_shared(found)
    for row in plan.sheet.rows:
        found.problems += _voxel_problems(found, row, voxels_of_1_um)
    jobs = list(plan.walk_units())
    for index, (step, unit, rows) in enumerate(jobs):
        record = _survey_job(found, step, unit)
        if record is not None and steps[step].submitted:
            _survey_files(found, record, rows, voxels_of_1_um)
        if progress:
            progress("reading records", index + 1, len(jobs))
    _survey_raw(found)
    found.problems += _source_problems(found)
    found.stray = _count_stray(found, jobs)
    return found


def _facts(root: Path, plan: Plan, step: str) -> dict[str, Any]:
    path = root / layout.step_facts_file(plan.compiled["pipeline"], step)
    try:
        facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise problem(path, f"cannot be read ({error})", "Run: snakescope compile") from error
    return facts


def _name_raw(found: Inventory, keep_staged: bool) -> None:
    taken: set[tuple[str, int]] = set()
    names: dict[str, str] = {}
    for row in found.sheet.rows:
        try:
            place = remote.told_address(row.path) if row.remote else row.path
        except InputError as error:
            where = f"{found.sheet.where(row)}: path"
            found.problems += [Problem(where, f"{item.where} {item.message}", item.fix) for item in error.problems]
            continue
        if (place, row.scene) in taken:
            where = f"{found.sheet.where(row)}: path"
            found.problems.append(Problem(where, f"{row.path!r}, image {row.scene}, stands in an earlier row too"))
        taken.add((place, row.scene))
        if place not in names:
            raw = _remote_image(found.root, row, place, keep_staged) if place.startswith(SCHEME) else _image(row)
            names[place] = raw.path
            found.raw[raw.path] = raw
        found.names[row.path] = names[place]


def _image(row: Row) -> RawImage:
    suffix = _SUFFIX.search(row.path.rstrip("/"))
    return RawImage(f"raw/{row.id}{suffix[0] if suffix else ''}", row, row.bytes, _sheet_sha256(row), row.path)


def _remote_image(root: Path, row: Row, address: str, keep_staged: bool) -> RawImage:
    """An image in iRODS: the copy that is kept here, else its address. Of a packed one, the folder in it is told."""
    name, checksum = f"raw/{Path(staged_path(row)).name}", row.cell("checksum") or None
    copy = remote.kept_copy(root, row, keep_staged=keep_staged)
    here = copy.path if copy else address
    if remote.is_packed(row):
        return RawImage(name, row, None, None, here, address=address, checksum=checksum)
    sha256 = (copy.sha256 if copy else None) or _sheet_sha256(row) or remote.sha256_of(checksum)
    return RawImage(name, row, row.bytes, sha256, here, address=address, checksum=checksum)


def _sheet_sha256(row: Row) -> str | None:
    return row.cell("sha256").lower() or None


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
    if path in found.names:
        return
    name = path.removeprefix("./")
    if not _SAFE.fullmatch(name):
        suffix = _SUFFIX.search(name)
        name = f"inputs/{hashlib.sha256(path.encode()).hexdigest()[:16]}{suffix[0] if suffix else ''}"
    found.names[path] = name
    folder = (found.root / path).is_dir()
    found.shared[name] = StudyFile(name, path, RUN, folder, None, None, None, None, {}, type="file")


def _survey_job(found: Inventory, step: str, unit: str) -> JobRecord | None:
    """Count a job and learn from its record, which is returned when the job is done."""
    survey_ = found.steps[step]
    record, error = found.read(step, unit, memory=False)
    if record is None:
        survey_.pending += 1
        return None
    if found.tells(record):
        found.left_out += 1
        return None
    if not survey_.done and not survey_.failed:
        survey_.compiled = record.compiled
    found.reads[unit, step] = tuple((found.name(i.path), _is_image(record, i)) for i in record.inputs)
    for item in record.inputs:
        _learn(found, item)
    found.started_at = min(filter(None, (found.started_at, record.started_at)), default=None)
    found.ended_at = max(filter(None, (found.ended_at, record.ended_at)), default=None)
    found.hosts.add(record.host)
    found.snakemake.update(filter(None, [record.snakemake]))
    if error is not None:
        survey_.failed += 1
        found.failed.add((unit, step))
        return None
    survey_.done += 1
    entry = rembi_entry(dataclasses.replace(record, row_parameters=_columns_of(record)))
    if entry:
        survey_.entries[entry] += 1
    return record


def _columns_of(record: JobRecord) -> dict[str, str]:
    """For parameters that rows bring along: the name of their column, in place of one row's value."""
    given = [item for item in record.compiled["parameters"] if "column" in item]
    return {item["name"]: f"as in column {item['column']!r}" for item in given}


def _is_image(record: JobRecord, item: FileFacts) -> bool:
    return record.compiled["inputs"].get(item.port, {}).get("type") in IMAGES


def _learn(found: Inventory, item: FileFacts) -> None:
    """Keep what a record knows of the bytes of a file from outside."""
    name = found.name(item.path)
    raw = found.raw.get(name)
    if raw is not None:
        raw.bytes = item.bytes if item.bytes is not None else raw.bytes
        raw.sha256 = item.sha256 or raw.sha256
        raw.listing = item.listing or raw.listing
        if raw.address:
            raw.checksum = item.checksum or raw.checksum
            raw.facts = raw.facts or image_columns(item)
    elif name in found.shared and item.sha256:
        file = found.shared[name]
        found.shared[name] = dataclasses.replace(file, bytes=item.bytes, sha256=item.sha256, listing=item.listing)


def _survey_files(found: Inventory, record: JobRecord, rows: list[Row], voxels_of_1_um: bool) -> None:
    """Columns of what a job made, and whether it is on disk."""
    where = layout.record(record.unit, record.step)
    associations = {found.association_of(row) for row in rows}
    for file in found.outputs(record, rows):
        dataset = found.datasets.setdefault(file.dataset, DatasetSurvey())
        dataset.add(file)
        dataset.associations |= associations
        found.problems += _disk_problems(found.root, file, where)
        found.problems += _store_problems(found.root, file, voxels_of_1_um)


def _survey_raw(found: Inventory) -> None:
    """The raw images, with what the records know of their bytes."""
    raw = found.datasets[RAW] = DatasetSurvey()
    for file in found.raw_files():
        raw.add(file)
        raw.associations.add(found.association_of(found.raw[file.path].row))
        row = found.raw[file.path].row
        if file.by_reference:
            found.by_reference += 1
            found.by_reference_unhashed += file.sha256 is None
        else:
            found.unhashed += file.sha256 is None
            found.problems += _disk_problems(found.root, file, "config/samples.tsv")
        if file.address:
            found.problems += _change_problems(found.root, row, file, found.sheet.where(row))


def _count_stray(found: Inventory, jobs: list[tuple[str, str, list[Row]]]) -> int:
    """Records that belong to no job of the plan."""
    expected = {layout.record(unit, step) for step, unit, _ in jobs}
    there = (found.root / layout.RECORDS).glob("*/*.json")
    return sum(layout.record(path.parent.name, path.stem) not in expected for path in there)


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


def _source_problems(found: Inventory) -> Iterator[Problem]:
    """Jobs that read what is not part of the study; known once all records have been read."""
    for (unit, step), reads in found.reads.items():
        where = layout.record(unit, step)
        for name, _ in reads:
            maker = made_by(name)
            known = name in found.raw or name in found.shared or (maker in found.reads if maker else False)
            if not known:
                fix = "Bring its row or its record back, or remove this record and run again."
                yield Problem(where, f"it was made from {name!r}, which is not part of the study", fix)
        if reads and (unit, step) not in found.failed and not found.sources(unit, step):
            yield Problem(where, "none of the images of the study is its source")


def _disk_problems(root: Path, file: StudyFile, where: str) -> Iterator[Problem]:
    path = root / file.here
    if file.folder:
        if not path.is_dir():
            yield Problem(where, f"the folder {file.here!r} is not there", "Bring it back, or run again.")
        return
    fix = "Collect again, then run again." if file.dataset == RAW else "Run again."
    try:
        size = path.stat().st_size
    except OSError:
        yield Problem(where, f"the file {file.here!r} is not there", f"Bring it back. {fix}")
        return
    if file.bytes is not None and size != file.bytes:
        yield Problem(where, f"{file.here!r} has {size} bytes; {file.bytes} were recorded", fix)


def _change_problems(root: Path, row: Row, file: StudyFile, where: str) -> Iterator[Problem]:
    """An image in iRODS of which the sheet, or the copy that is here, says something else than the job that read it."""
    now = row.cell("checksum") or None
    copy = None if file.by_reference else remote.kept_copy(root, row, keep_staged=True)
    message = f"{file.address} has changed since a job read it"
    if remote.differs(file.checksum, now):
        yield Problem(where, f"{message}: its checksum was {file.checksum}, is {now}", "Run again.")
    elif row.bytes is not None and file.bytes not in (None, row.bytes) and not remote.is_packed(row):
        yield Problem(where, f"{message}: it had {file.bytes} bytes, has {row.bytes}", "Collect again, then run again.")
    elif copy and not file.folder and copy.path == file.here and copy.sha256 not in (None, file.sha256):
        yield Problem(where, f"{message}: the copy {copy.path!r} has another sha256", "Collect again, then run again.")


def _store_problems(root: Path, file: StudyFile, voxels_of_1_um: bool) -> Iterator[Problem]:
    """What an image store says of its voxels; no validator looks at it."""
    if file.format != "ome-zarr" or not (root / file.here).is_dir():
        return
    try:
        axes = store_axes(root / file.here)
    except InputError as error:
        yield from error.problems
        return
    messages = (unit_problem(name, axis.unit) for name, axis in axes.items())
    yield from (Problem(file.here, message) for message in messages if message)
    spatial = {axis.scale for name, axis in axes.items() if name in "zyx" and axis.scale is not None}
    if spatial == {1.0} and not voxels_of_1_um:
        yield Problem(file.here, "its voxel size is 1 µm along every axis, which programs write when they do not know")
