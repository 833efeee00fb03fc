"""The rows of a sheet against a pipeline: can every row go through every step that reads it?

Works on what the sheet says; opens no image.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from snakescope.errors import InputError, Problem
from snakescope.pipeline import ColumnValue, FileWire, Pipeline, SheetWire, Step
from snakescope.samples import Row, Sheet
from snakescope.tool.base import near_miss
from snakescope.tool.geometry import axes_choices
from snakescope.tool.spec import IMAGE_TYPES, InputPort, Param


def check_rows(pipeline: Pipeline, sheet: Sheet, study: Path) -> list[Problem]:
    """Every reason why a row of the sheet cannot go through the pipeline.

    Parameters
    ----------
    pipeline, sheet
        What was read.
    study
        Study folder, against which relative paths are meant.
    """
    missing = list(_missing_columns(pipeline, sheet))
    if missing:
        return missing
    problems = list(_check_files(pipeline, study))
    problems += _check_paths(sheet, study)
    columns = {
        wire.column for step in pipeline.steps.values() for wire in step.wires.values() if isinstance(wire, SheetWire)
    }
    for column in sorted(columns - {"path"}):
        problems += _check_other_files(column, sheet, study)
    for over in dict.fromkeys(step.over for step in pipeline.steps.values() if step.over):
        problems += _check_groups(over, pipeline, sheet)
    for step in pipeline.steps.values():
        problems += _check_params(step, sheet)
        for port, wire in step.wires.items():
            if isinstance(wire, SheetWire):
                problems += _check_port(step, port, wire, sheet)
    return _told_once(problems)


def _told_once(problems: Iterable[Problem]) -> list[Problem]:
    """The problems, those that are alike but for their line in the sheet as one with all the lines."""
    alike: dict[object, Problem] = {}
    lines: dict[object, list[int]] = {}
    for item in problems:
        place = _PLACE.fullmatch(item.where)
        key = (place[1], place[3], item.message, item.fix) if place else item
        alike.setdefault(key, item)
        lines.setdefault(key, []).extend([int(place[2])] if place else [])
    return [
        replace(item, where=_PLACE.sub(rf"\1: lines {_ranges(lines[key])}: \3", item.where))
        if len(lines[key]) > 1
        else item
        for key, item in alike.items()
    ]


_PLACE = re.compile(r"(.+): line ([0-9]+): (.+)")


def _ranges(lines: Iterable[int]) -> str:
    """Numbers as people write them: 2-8, 13."""
    runs: list[list[int]] = []
    for line in sorted(set(lines)):
        if runs and line == runs[-1][1] + 1:
            runs[-1][1] = line
        else:
            runs.append([line, line])
    return ", ".join(f"{first}-{last}" if last > first else f"{first}" for first, last in runs)


def _missing_columns(pipeline: Pipeline, sheet: Sheet) -> Iterator[Problem]:
    for column in pipeline.columns:
        if column not in sheet.columns:
            fix = near_miss(column, sheet.columns) or f"Add the column, or change {pipeline.path}."
            yield Problem(sheet.where(), f"the pipeline reads the column {column!r}, which is not there", fix)


def _check_files(pipeline: Pipeline, study: Path) -> Iterator[Problem]:
    for step in pipeline.steps.values():
        for port, wire in step.wires.items():
            if isinstance(wire, FileWire) and not (study / wire.path).exists():
                where = f"{pipeline.path}: steps.{step.name}.inputs.{port}"
                yield Problem(
                    where, f"there is no file {wire.path!r} in the study", "Put it there, or change the path."
                )


def _check_paths(sheet: Sheet, study: Path) -> Iterator[Problem]:
    absent = [row for row in sheet.rows if not row.remote and not (study / row.path).exists()]
    fix = "Run: snakescope collect"
    for row in absent[:_NAMED]:
        yield Problem(f"{sheet.where(row)}: path", f"there is no file {row.path!r}", fix)
    if len(absent) > _NAMED:
        found = f"there is no file for {len(absent) - _NAMED} more of {len(sheet.rows)} rows"
        yield Problem(f"{sheet.where()}: path", found, "Is the disk there, and the folder where it was? " + fix)


# Files that are not there, named one by one.
_NAMED = 10


def _check_groups(over: tuple[str, ...], pipeline: Pipeline, sheet: Sheet) -> Iterable[Problem]:
    try:
        return [found for rows in sheet.groups(over, unique_t=True).values() for found in _repeated(rows, sheet)]
    except InputError as error:
        steps = ", ".join(name for name, step in pipeline.steps.items() if step.over == over)
        fix = f"Over {', '.join(over)} run: {steps}."
        more = {
            " are both ": " To part them add a column to `over` there, such as c.",
            " empty cell of ": " Fill the cells, or leave the column out of `over`.",
        }
        return [
            Problem(item.where, item.message, item.fix or fix + "".join(more[k] for k in more if k in item.message))
            for item in error.problems
        ]


def _repeated(rows: Iterable[Row], sheet: Sheet) -> Iterator[Problem]:
    """Images that stand in a group twice, and would be counted twice."""
    images: dict[tuple[str, int | None], Row] = {}
    for row in rows:
        same = images.setdefault((row.path, row.scene), row)
        if same is not row:
            found = f"rows {same.id!r} and {row.id!r} of one group are the same image, {row.path!r}"
            yield Problem(f"{sheet.where(row)}: path", found, "Take one of them out, or give it its own image's path.")


def _check_params(step: Step, sheet: Sheet) -> Iterator[Problem]:
    for name, value in step.params.items():
        if isinstance(value, ColumnValue):
            param = step.tool.spec.params[name]
            for row in sheet.rows:
                text = row.cell(value.column)
                if not text and value.column in step.over:
                    continue  # told already: it names no group
                message = param.reject(_cell_value(text, param)) if text else "found an empty cell; expected a value"
                if message:
                    yield Problem(f"{sheet.where(row)}: {value.column}", message, f"It sets {step.name}.{name}.")


def _cell_value(text: str, param: Param) -> object:
    """A cell as the parameter's type would have it; text that does not fit stays text and is then refused."""
    if param.type in ("number", "integer", "numbers"):
        parts = text.split(",") if param.type == "numbers" else [text]
        if not all(_NUMBER.fullmatch(part) for part in parts):
            return text
        values = [int(part) if part.lstrip("+-").isdigit() else float(part) for part in parts]
        return values if param.type == "numbers" else values[0]
    return {"true": True, "false": False}.get(text, text) if param.type == "boolean" else text


_NUMBER = re.compile(r"[+-]?([0-9]{1,300}(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")


def _check_port(step: Step, port: str, wire: SheetWire, sheet: Sheet) -> Iterator[Problem]:
    """The facts of a sheet are those of the files in its column `path`."""
    need = step.tool.spec.inputs[port]
    if wire.column != "path":
        return
    choices = axes_choices(need.axes) if need.axes else None
    for row in sheet.rows:
        for column, message, fix in _misfits(row, need, choices):
            yield Problem(f"{sheet.where(row)}: {column}", f"{message} (step {step.name!r})", fix)


def _check_other_files(column: str, sheet: Sheet, study: Path) -> Iterator[Problem]:
    for row in sheet.rows:
        path = row.cell(column)
        if not path:
            yield Problem(f"{sheet.where(row)}: {column}", "found an empty cell; the pipeline needs a file")
        elif not (study / path).exists():
            yield Problem(f"{sheet.where(row)}: {column}", f"there is no file {path!r}")


def _misfits(row: Row, need: InputPort, choices: frozenset[str] | None) -> Iterator[tuple[str, str, str | None]]:
    if need.formats and row.format is not None and row.format not in need.formats:
        yield "format", f"found {row.format}; the tool reads {', '.join(need.formats)}", "Put a convert step first."
    if choices is not None and row.axes is not None and row.axes not in choices:
        fix = "Axes with a ? may be absent. Take these rows out of the sheet, or use a tool for such images."
        yield "axes", f"found {row.axes}; the tool needs {need.axes}", fix
    if need.dtype and row.dtype is not None and row.dtype not in need.dtype:
        yield "dtype", f"found {row.dtype}; the tool takes {', '.join(need.dtype)}", None
    if "pixel_size" in need.requires and need.type in IMAGE_TYPES and not _has_pixel_size(row):
        fix = "Write z,y,x in µm into voxel_size_um, for example 0.3,0.1,0.1."
        yield "voxel_size_um", "the voxel size is not known: neither the image nor the sheet says it", fix
    if "time_step" in need.requires and row.time_step_s is None:
        yield "time_step_s", "the time between frames is not known", "Write it in seconds into time_step_s."


def _has_pixel_size(row: Row) -> bool:
    z, y, x = row.voxel_size_um
    needs_z = row.axes is None or "z" in row.axes
    return y is not None and x is not None and (z is not None or not needs_z)
