"""The pipeline file: steps, their tools, and how they are wired.

Reads ``config/pipelines/<name>.yaml``, checks every connection against the descriptors of the tools, and
puts the steps in order. Knows nothing of sheets, images or Snakemake.
"""

from __future__ import annotations

import hashlib
import keyword
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from snakescope.errors import InputError, Problem
from snakescope.tool.base import Model, near_miss, parse, read_yaml
from snakescope.tool.geometry import axes_choices
from snakescope.tool.library import Tool, read_tool, tool_folders
from snakescope.tool.spec import UNFIT_FOR_RULES, InputPort, Name, OutputPort, unfit_text

SHEET_FORMATS = frozenset({"ome-zarr", "ome-tiff", "tiff", "nd2", "lif", "czi"})
ACCEPTS: Mapping[str, frozenset[str]] = {
    "psf": frozenset({"psf", "image"}),
    "mask": frozenset({"mask", "labels"}),
    "table": frozenset({"table", "points", "tracks"}),
    "file": frozenset({"file", "points", "tracks", "table", "transform", "psf", "model"}),
}
Column = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]
RULE_NAMES_TAKEN = frozenset({"all", "sheet", "plan", "row", "stage_in"})


class FileInput(Model):
    """A file that every row shares."""

    file: str
    """Path relative to the study folder."""


class ColumnValue(Model):
    """A parameter that each row brings along."""

    column: Column
    """Column of the sample sheet that holds the value."""


class StepSpec(Model):
    """One step: a tool, what it reads, what it is set to."""

    tool: str
    """Id of the tool."""
    over: Column | list[Column] = "row"
    """What one job works on: ``row``, or the column (or columns) of the sheet that group rows, such as ``series``."""
    inputs: dict[Name, str | FileInput] = {}
    """Where each input comes from: ``step.output``, ``sheet.column``, or ``{file: path}``."""
    params: dict[Name, Any] = {}
    """Values of parameters; ``{column: name}`` takes a row's own value from the sheet."""
    keep: bool = True
    """Keep the results. With false they are deleted once no step needs them; the record, with digests, stays."""


class PipelineSpec(Model):
    """A pipeline (``config/pipelines/<name>.yaml``)."""

    schema_: Literal[1] = Field(alias="schema")
    """Version of this format."""
    name: Name
    """Name of the file."""
    title: str
    """One line for people."""
    description: str = ""
    """What the pipeline is for."""
    release: bool = False
    """Whether others are to repeat it as it is: every image must then be known by its digest."""
    steps: dict[Name, StepSpec] = Field(min_length=1)
    """The steps, in any order."""


@dataclass(frozen=True)
class SheetWire:
    """An input that comes from a column of the sample sheet."""

    column: str


@dataclass(frozen=True)
class FileWire:
    """An input that is one file for all rows; the path is relative to the study folder."""

    path: str


@dataclass(frozen=True)
class StepWire:
    """An input that is the output of another step."""

    step: str
    port: str


Wire = SheetWire | FileWire | StepWire


@dataclass(frozen=True)
class Step:
    """A step with its tool and its wiring resolved.

    Parameters
    ----------
    name
        Name in the pipeline; the name of its rule.
    tool
        The tool it runs.
    over
        Columns that group rows; empty when the step runs over single rows.
    wires
        Where each wired input comes from, in the descriptor's order.
    params
        The value of every parameter, defaults filled in; a `ColumnValue` is looked up for each row.
    keep
        Whether results stay when no step needs them any more.
    """

    name: str
    tool: Tool
    over: tuple[str, ...]
    wires: Mapping[str, Wire]
    params: Mapping[str, Any]
    keep: bool

    @property
    def wildcard(self) -> str:
        """Name of the rule's wildcard: ``sample`` over rows, else the grouping columns."""
        return "_".join(self.over) or "sample"


@dataclass(frozen=True)
class Pipeline:
    """A checked pipeline with its steps in an order in which they can run."""

    spec: PipelineSpec
    path: Path
    sha256: str
    steps: Mapping[str, Step]

    @cached_property
    def columns(self) -> list[str]:
        """Columns of the sheet that the pipeline reads, beyond those that every sheet has."""
        return sorted(
            {column for step in self.steps.values() for column in step.over}
            | {
                wire.column
                for step in self.steps.values()
                for wire in step.wires.values()
                if isinstance(wire, SheetWire)
            }
            | {v.column for step in self.steps.values() for v in step.params.values() if isinstance(v, ColumnValue)}
        )


def read_pipeline(path: Path, tool_roots: Sequence[Path]) -> Pipeline:
    """Read a pipeline, check its wiring, and order its steps.

    Raises
    ------
    InputError
        With every problem of the file and of the descriptors it uses.
    """
    spec = parse(PipelineSpec, read_yaml(path), path)
    folders = tool_folders(tool_roots)
    tools, problems = _read_tools(spec, folders)
    problems += _Checker(spec, path, tools, list(folders)).problems()
    if problems:
        raise InputError(problems)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    steps = {name: _resolve(name, spec.steps[name], tools[spec.steps[name].tool]) for name in _in_order(spec)}
    return Pipeline(spec, path, sha256, steps)


def _read_tools(spec: PipelineSpec, folders: Mapping[str, Path]) -> tuple[dict[str, Tool], list[Problem]]:
    """The tools of a pipeline that are there and sound, and what is wrong with the others' descriptors."""
    tools: dict[str, Tool] = {}
    problems: list[Problem] = []
    for name in dict.fromkeys(step.tool for step in spec.steps.values() if step.tool in folders):
        try:
            tools[name] = read_tool(folders[name])
        except InputError as error:
            problems += error.problems
    return tools, problems


def parse_wire(source: str | FileInput) -> Wire | None:
    """Read ``step.port``, ``sheet.column`` or a file; None when the text is neither."""
    if isinstance(source, FileInput):
        return FileWire(source.file)
    head, dot, tail = source.partition(".")
    if not dot or not head or not tail or "." in tail:
        return None
    return SheetWire(tail) if head == "sheet" else StepWire(head, tail)


def parse_param(value: Any) -> Any:
    """A `ColumnValue` for ``{column: name}``, else the value as it is."""
    if isinstance(value, dict) and set(value) == {"column"} and isinstance(value["column"], str):
        return ColumnValue(column=value["column"])
    return value


def columns_of(step: StepSpec) -> tuple[str, ...]:
    """The grouping columns of a step; empty over rows."""
    if step.over == "row":
        return ()
    return tuple(step.over) if isinstance(step.over, list) else (step.over,)


def _dependencies(spec: PipelineSpec) -> dict[str, list[str]]:
    wires = {name: [parse_wire(source) for source in step.inputs.values()] for name, step in spec.steps.items()}
    return {
        name: [w.step for w in found if isinstance(w, StepWire) and w.step in spec.steps]
        for name, found in wires.items()
    }


def _in_order(spec: PipelineSpec) -> list[str]:
    """Names of the steps, each after those it needs; otherwise as in the file. There is no ring."""
    needs = _dependencies(spec)
    done: list[str] = []
    while len(done) < len(spec.steps):
        done.append(next(name for name in spec.steps if name not in done and all(need in done for need in needs[name])))
    return done


def _resolve(name: str, step: StepSpec, tool: Tool) -> Step:
    found = {port: parse_wire(source) for port, source in step.inputs.items()}
    wires = {port: wire for port in tool.spec.inputs if (wire := found.get(port)) is not None}
    params = {
        key: parse_param(step.params[key]) if key in step.params else param.default
        for key, param in tool.spec.params.items()
    }
    return Step(name, tool, columns_of(step), wires, params, step.keep)


class _Checker:
    """Finds every problem in the wiring of one pipeline."""

    def __init__(self, spec: PipelineSpec, path: Path, tools: Mapping[str, Tool], known: list[str]) -> None:
        self.spec, self.path, self.tools, self.known = spec, path, tools, known
        self._axes: dict[tuple[str, str], frozenset[str] | None] = {}

    def problems(self) -> Iterator[Problem]:
        if self.spec.name != self.path.stem:
            yield Problem(
                f"{self.path}: name", f"found {self.spec.name!r}; expected the file's name {self.path.stem!r}"
            )
        yield from self._cycle()
        for name, step in self.spec.steps.items():
            where = f"{self.path}: steps.{name}"
            if name in RULE_NAMES_TAKEN or keyword.iskeyword(name):
                yield Problem(where, f"the name {name!r} is taken by the workflow itself", "Call the step otherwise.")
            yield from _check_over(f"{where}.over", step)
            if step.tool not in self.known:
                fix = near_miss(step.tool, self.known) or f"There are: {', '.join(self.known) or 'none'}."
                yield Problem(f"{where}.tool", f"there is no tool {step.tool!r}", fix)
            if step.tool not in self.tools:
                continue
            yield from self._check_inputs(where, name, step)
            yield from check_params(where, self.tools[step.tool], step.params)

    def _cycle(self) -> Iterator[Problem]:
        try:
            TopologicalSorter(_dependencies(self.spec)).prepare()
        except CycleError as error:
            ring = " <- ".join(error.args[1])
            yield Problem(f"{self.path}: steps", f"the steps wait for each other in a ring: {ring}", "Remove one wire.")

    def _check_inputs(self, where: str, name: str, step: StepSpec) -> Iterator[Problem]:
        spec = self.tools[step.tool].spec
        for port in step.inputs:
            if port not in spec.inputs:
                fix = near_miss(port, spec.inputs)
                message = f"the tool {spec.id!r} has no input {port!r} (it has: {', '.join(spec.inputs)})"
                yield Problem(f"{where}.inputs.{port}", message, fix)
        for port, need in spec.inputs.items():
            if port in step.inputs:
                yield from self._check_wire(f"{where}.inputs.{port}", name, step, port, need)
            elif not need.optional:
                yield Problem(f"{where}.inputs.{port}", f"is missing ({need.type}: {need.description.rstrip('.')})")
        for group in spec.one_of:
            given = [port for port in group if port in step.inputs]
            if len(given) != 1:
                found = ", ".join(given) or "none"
                yield Problem(f"{where}.inputs", f"found {found}; expected exactly one of: {', '.join(group)}")

    def _check_wire(self, where: str, name: str, step: StepSpec, port: str, need: InputPort) -> Iterator[Problem]:
        wire = parse_wire(step.inputs[port])
        if wire is None:
            yield Problem(where, f"found {step.inputs[port]!r}; expected step.output, sheet.column or {{file: path}}")
        elif isinstance(wire, FileWire):
            yield from self._check_file(where, wire)
        elif isinstance(wire, SheetWire):
            if columns_of(step) and not need.many:
                over = ", ".join(columns_of(step))
                yield Problem(where, f"takes one file, but a job over {over} has one for each row", "Use `over: row`.")
        else:
            yield from self._check_upstream(where, name, step, wire, need)

    def _check_file(self, where: str, wire: FileWire) -> Iterator[Problem]:
        if not wire.path:
            yield Problem(where, "found an empty path; expected a file name")
        elif message := unfit_text(wire.path):
            yield Problem(where, message)

    def _check_upstream(
        self, where: str, name: str, step: StepSpec, wire: StepWire, need: InputPort
    ) -> Iterator[Problem]:
        source = self.spec.steps.get(wire.step)
        if source is None:
            fix = near_miss(wire.step, ["sheet", *self.spec.steps])
            yield Problem(where, f"there is no step {wire.step!r} (there are: {', '.join(self.spec.steps)})", fix)
            return
        if source.tool not in self.tools:
            return
        outputs = self.tools[source.tool].spec.outputs
        if wire.port not in outputs:
            fix = near_miss(wire.port, outputs)
            message = f"step {wire.step!r} has no output {wire.port!r} (it has: {', '.join(outputs)})"
            yield Problem(where, message, fix)
            return
        yield from self._check_fit(where, wire, outputs[wire.port], need)
        if not need.many and self._gathers(step, source):
            message = (
                f"takes one file, but a job over {_over(step)} gathers several from {wire.step!r} over {_over(source)}"
            )
            yield Problem(where, message, f"Let {name!r} and {wire.step!r} run over the same.")

    @staticmethod
    def _gathers(step: StepSpec, source: StepSpec) -> bool:
        mine, theirs = columns_of(step), columns_of(source)
        return bool(mine) and mine != theirs

    def _check_fit(self, where: str, wire: StepWire, output: OutputPort, need: InputPort) -> Iterator[Problem]:
        label = f"{wire.step}.{wire.port}"
        if output.type != need.type and output.type not in ACCEPTS.get(need.type, ()):
            yield Problem(where, f"found {output.type} ({label}); expected {need.type}")
            return
        if need.formats and output.format not in need.formats:
            yield Problem(where, f"{label} is {output.format}; the tool reads {', '.join(need.formats)}")
        axes = self._possible_axes(wire.step, wire.port)
        if need.axes and axes is not None and not axes & axes_choices(need.axes):
            yield Problem(where, f"{label} has the axes {' or '.join(sorted(axes))}; the tool needs {need.axes}")
        dtype = self._dtype(wire.step, wire.port)
        if need.dtype and dtype is not None and dtype not in need.dtype:
            yield Problem(where, f"{label} holds {dtype}; the tool takes {', '.join(need.dtype)}")

    def _possible_axes(self, name: str, port: str, seen: frozenset[str] = frozenset()) -> frozenset[str] | None:
        """Axes that an output can have, as far as the wiring tells; None when it does not."""
        if name in seen or name not in self.spec.steps or self.spec.steps[name].tool not in self.tools:
            return None
        step = self.spec.steps[name]
        spec = self.tools[step.tool].spec
        output = spec.outputs.get(port)
        if output is None or output.axes or not output.like:
            return axes_choices(output.axes) if output and output.axes else None
        accepted = spec.inputs[output.like].axes
        own = axes_choices(accepted) if accepted else None
        wire = parse_wire(step.inputs.get(output.like, ""))
        above = self._possible_axes(wire.step, wire.port, seen | {name}) if isinstance(wire, StepWire) else None
        if own is None or above is None:
            return own or above
        return own & above or None  # nothing in common is told where that wire is

    def _dtype(self, name: str, port: str, seen: frozenset[str] = frozenset()) -> str | None:
        if name in seen or name not in self.spec.steps or self.spec.steps[name].tool not in self.tools:
            return None
        step = self.spec.steps[name]
        output = self.tools[step.tool].spec.outputs.get(port)
        if output is None or output.dtype or not output.like:
            return output.dtype if output else None
        wire = parse_wire(step.inputs.get(output.like, ""))
        return self._dtype(wire.step, wire.port, seen | {name}) if isinstance(wire, StepWire) else None


def _check_over(where: str, step: StepSpec) -> Iterator[Problem]:
    columns = columns_of(step)
    if step.over == []:
        yield Problem(where, "found an empty list; expected columns of the sheet", "Leave `over` out to run over rows.")
    if isinstance(step.over, list) and "row" in step.over:
        yield Problem(where, "found 'row' in a list; expected columns of the sheet", "Write `over: row`.")
    for column in sorted({column for column in columns if columns.count(column) > 1}):
        yield Problem(where, f"the column {column!r} stands twice")
    for name in sorted(UNFIT_FOR_RULES.intersection([*columns, "_".join(columns)])):
        yield Problem(where, f"Snakemake takes no wildcard {name!r}", "Call the column of the sheet otherwise.")


def _over(step: StepSpec) -> str:
    return " and ".join(columns_of(step)) or "row"


def check_params(where: str, tool: Tool, given: Mapping[str, Any]) -> Iterator[Problem]:
    """Every problem in the values given for a tool's parameters."""
    params = tool.spec.params
    for key, raw in given.items():
        if key not in params:
            fix = near_miss(key, params) or f"It has: {', '.join(params) or 'none'}."
            yield Problem(f"{where}.params.{key}", f"the tool {tool.spec.id!r} has no parameter {key!r}", fix)
            continue
        value = parse_param(raw)
        message = None if isinstance(value, ColumnValue) else params[key].reject(value)
        if message:
            yield Problem(f"{where}.params.{key}", message, params[key].help)
    for key, param in params.items():
        if param.required and key not in given:
            yield Problem(f"{where}.params.{key}", "is missing and has no default", param.help)
