"""Running one tool outside any study, exactly as its rule would."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Formatter
from typing import Any, Literal

from snakescope import layout
from snakescope.check import check_rows
from snakescope.compiler import Lookup, Places, build_rule, facts_text, plan, step_facts
from snakescope.environments.check import require_host
from snakescope.errors import InputError, Problem, SnakescopeError, problem
from snakescope.images import read_headers
from snakescope.pipeline import FileWire, Pipeline, PipelineSpec, SheetWire, Step, StepSpec, Wire, check_params
from snakescope.record import reason
from snakescope.samples import Sheet, SheetError, build_sheet, format_number, format_voxel_size
from snakescope.tool.base import near_miss
from snakescope.tool.geometry import Geometry, axes_choices
from snakescope.tool.library import Tool
from snakescope.tool.spec import IMAGE_TYPES
from snakescope.workflow import Plan

UNIT = "image"
RESOURCES = {"mem_mb": "mem_mb", "runtime": "runtime_min"}
_FLAGS = {
    "voxel_size_um": ("--voxel-size-um", "0.3,0.1,0.1 (z,y,x)"),
    "time_step_s": ("--time-step-s", "1.5"),
}


class ToolFailedError(SnakescopeError, RuntimeError):
    """The program itself failed.

    `exit_code` is 2 when the program's own exit status was 2, which programs use for bad input and usage; else 1.
    `told` is what the program said of it, and `log` holds all that it said.
    """

    def __init__(self, step: str, log: Path, status: int) -> None:
        self.told, self.log = f"{step}: {reason(log).removeprefix('error: ')}", log
        super().__init__(f"{self.told}\n    Whole log: {log}")
        self.exit_code = 2 if status == 2 else 1


@dataclass(frozen=True)
class Facts:
    """What a bare image file lacks.

    Parameters
    ----------
    voxel_size_um
        ``z,y,x`` in µm; ``y,x`` for an image without z.
    time_step_s
        Seconds between frames.
    scene
        Which image of the file, from 0.
    stack_axis
        What the planes of a plain TIFF are. None: frames when a time step is given for a single file and the tool
        takes images without z, else slices.
    """

    voxel_size_um: str | None = None
    time_step_s: float | None = None
    scene: int = 0
    stack_axis: Literal["z", "t"] | None = None


@dataclass(frozen=True)
class ToolRun:
    """What came of running a tool: path of each output by port, the record, the log, and what was to be expected."""

    outputs: dict[str, Path]
    record: Path
    log: Path
    declared: dict[str, Geometry]


def run_tool(
    tool: Tool,
    inputs: Mapping[str, Sequence[Path]],
    out: Path,
    *,
    params: Mapping[str, Any] | None = None,
    facts: Facts = Facts(),
    threads: int | None = None,
) -> ToolRun:
    """Run one tool on one image (or one group of files), record included.

    Parameters
    ----------
    tool
        The tool.
    inputs
        Files by port; several for a port that takes many, in the order of their time points.
    out
        Folder for the outputs, the record and the log; made when it is not there.
    params
        Values of parameters; defaults fill the rest.
    facts
        What a bare image file lacks.
    threads
        Threads; by default what the descriptor says, at most the cores there are.

    Raises
    ------
    InputError
        If the inputs or parameters do not fit the tool.
    NotUsableError
        If the program, or a model that it needs, is not on this machine.
    ToolFailedError
        If the program failed.
    """
    pipeline, sheet = prepare_tool(tool, inputs, out, params=params, facts=facts)
    count = min(threads or tool.spec.resources.threads, os.cpu_count() or 1)
    return _execute(pipeline, sheet, out, count)


def prepare_tool(
    tool: Tool, inputs: Mapping[str, Sequence[Path]], out: Path, *, params: Mapping[str, Any] | None, facts: Facts
) -> tuple[Pipeline, Sheet]:
    """The pipeline of one step that runs a tool, and the rows it runs over; parameters as for `run_tool`.

    Raises
    ------
    InputError
        If the inputs or parameters do not fit the tool.
    """
    where = f"tool run {tool.spec.id}"
    problems = [*_bad_inputs(where, tool, inputs), *check_params(where, tool, params or {})]
    problems += _overwritten(where, tool, inputs, out)
    if problems:
        raise InputError(problems)
    wires = _wires(tool, inputs)
    try:
        sheet = _sheet(tool, inputs, wires, facts)
    except SheetError as error:
        raise InputError(_in_terms_of_flags(where, error.problems)) from None
    step = _step(tool, wires, params or {}, len(sheet.rows))
    pipeline = _pipeline(step)
    misfits = check_rows(pipeline, sheet, Path())
    if misfits:
        raise InputError(_in_terms_of_flags(where, misfits))
    return pipeline, sheet


def _bad_inputs(where: str, tool: Tool, inputs: Mapping[str, Sequence[Path]]) -> list[Problem]:
    ports = tool.spec.inputs
    problems = []
    for port, paths in inputs.items():
        if port not in ports:
            fix = near_miss(port, ports) or f"It has: {', '.join(ports)}."
            problems.append(Problem(f"{where}: --in {port}", "the tool has no such input", fix))
        elif len(paths) > 1 and not ports[port].many:
            problems.append(Problem(f"{where}: --in {port}", f"found {len(paths)} files; the tool takes one"))
        absent = [path for path in paths if port in ports and not path.exists()]
        problems += [Problem(f"{where}: --in {port}", f"there is no file {str(path)!r}") for path in absent]
    missing = [port for port, spec in ports.items() if port not in inputs and not spec.optional]
    problems += [Problem(f"{where}: --in {port}", f"is missing ({ports[port].description})") for port in missing]
    for group in tool.spec.one_of:
        given = [port for port in group if port in inputs]
        if len(given) != 1:
            found = ", ".join(given) or "none"
            problems.append(Problem(f"{where}: --in", f"found {found}; expected exactly one of {', '.join(group)}"))
    return problems


def _overwritten(where: str, tool: Tool, inputs: Mapping[str, Sequence[Path]], out: Path) -> list[Problem]:
    """Inputs that an output would replace, or that lie inside one."""
    outputs = [(out / spec.file).resolve() for spec in tool.spec.outputs.values()]
    return [
        Problem(f"{where}: --out {out}", f"an output would replace the input {str(path)!r}", "Choose another folder.")
        for paths in inputs.values()
        for path in paths
        if any(path.resolve().is_relative_to(output) for output in outputs)
    ]


def _wires(tool: Tool, inputs: Mapping[str, Sequence[Path]]) -> dict[str, Wire]:
    """The input that rows are made of comes from the column `path`, other long ones from columns of their own."""
    carrier = _carrier(tool, inputs)
    wires: dict[str, Wire] = {}
    for port in (port for port in tool.spec.inputs if port in inputs):
        if port == carrier:
            wires[port] = SheetWire("path")
        elif tool.spec.inputs[port].many and len(inputs[port]) > 1:
            wires[port] = SheetWire(port)
        else:
            wires[port] = FileWire(str(inputs[port][0]))
    return wires


def _carrier(tool: Tool, inputs: Mapping[str, Sequence[Path]]) -> str:
    long = [port for port in inputs if tool.spec.inputs[port].many]
    images = [port for port in inputs if tool.spec.inputs[port].type in IMAGE_TYPES]
    return next(iter([*(port for port in images if port in long), *images, *long, *inputs]))


def _sheet(tool: Tool, inputs: Mapping[str, Sequence[Path]], wires: Mapping[str, Wire], facts: Facts) -> Sheet:
    carrier = next(port for port, wire in wires.items() if wire == SheetWire("path"))
    others = [port for port, wire in wires.items() if isinstance(wire, SheetWire) and port != carrier]
    count = len(inputs[carrier])
    for port in others:
        if len(inputs[port]) != count:
            raise problem(f"--in {port}", f"found {len(inputs[port])} files; expected {count}, as for {carrier!r}")
    is_image = tool.spec.inputs[carrier].type in IMAGE_TYPES
    stack_axis = facts.stack_axis or _likely_stack_axis(tool, carrier, facts, count)
    rows = []
    for index, path in enumerate(inputs[carrier]):
        cells = _header_cells(path, facts, stack_axis) if is_image else _given_cells(facts)
        cells |= {"id": f"{UNIT}{index}" if count > 1 else UNIT, "path": str(path), "series": UNIT}
        cells |= {"t": str(index)} if count > 1 else {}
        rows.append(cells | {port: str(inputs[port][index]) for port in others})
    columns = ["id", "path", "format", "scene", "axes", "shape", "dtype", "voxel_size_um", "time_step_s"]
    return build_sheet([*columns, "channels", "bytes", "series", "t", *others], rows)


def _likely_stack_axis(tool: Tool, carrier: str, facts: Facts, count: int) -> Literal["z", "t"]:
    axes = tool.spec.inputs[carrier].axes
    fits = axes is not None and "tyx" in axes_choices(axes)
    return "t" if facts.time_step_s is not None and count == 1 and fits else "z"


def _header_cells(path: Path, facts: Facts, stack_axis: Literal["z", "t"]) -> dict[str, str]:
    headers = read_headers(path, stack_axis=stack_axis)
    if not 0 <= facts.scene < len(headers):
        raise problem("--scene", f"found {facts.scene}; {path} holds {len(headers)} images, numbered from 0")
    header = headers[facts.scene]
    step_s = facts.time_step_s if facts.time_step_s is not None else header.time_step_s
    return {
        "format": header.format,
        "scene": str(facts.scene),
        "axes": header.axes,
        "shape": ",".join(map(str, header.shape)),
        "dtype": header.dtype,
        "voxel_size_um": facts.voxel_size_um or format_voxel_size(header.voxel_size_um),
        "time_step_s": "" if step_s is None else format_number(step_s),
        "bytes": str(header.bytes),
    }


def _given_cells(facts: Facts) -> dict[str, str]:
    step_s = facts.time_step_s
    return {
        "voxel_size_um": facts.voxel_size_um or "",
        "time_step_s": "" if step_s is None else format_number(step_s),
    }


def _step(tool: Tool, wires: Mapping[str, Wire], given: Mapping[str, Any], rows: int) -> Step:
    params = {name: given.get(name, param.default) for name, param in tool.spec.params.items()}
    return Step(tool.spec.id, tool, ("series",) if rows > 1 else (), wires, params, keep=True)


def _pipeline(step: Step) -> Pipeline:
    spec = PipelineSpec(
        schema_=1, name="tool_run", title=f"{step.tool.spec.name} alone", steps={step.name: StepSpec(tool=step.name)}
    )
    return Pipeline(spec, Path("tool run"), "", {step.name: step})


def _in_terms_of_flags(where: str, problems: Sequence[Problem]) -> list[Problem]:
    """The same problems for somebody who has no sheet: columns are flags there."""
    told = []
    for item in problems:
        column = item.where.rpartition(": ")[2]
        name, example = _FLAGS.get(column, (column, ""))
        message = item.message.replace(" nor the sheet", " nor the command line")
        fix = item.fix and item.fix.replace("Leave it empty", "Leave it out")
        fix = f"Give it with {name} {example}." if example and "not known" in message else fix
        told.append(Problem(f"{where}: {name}", message, None if column == "axes" else fix))
    return told


def _execute(pipeline: Pipeline, sheet: Sheet, out: Path, threads: int) -> ToolRun:
    (step,) = pipeline.steps.values()
    unit = sheet.rows[0].cell("series") if step.over else sheet.rows[0].id
    outputs = {port: out / spec.file for port, spec in step.tool.spec.outputs.items()}
    record, log = out / "record.json", out / "log.txt"
    _make_folder(out)
    with tempfile.TemporaryDirectory(prefix="snakescope-") as folder:
        facts = Path(folder, "facts.json")
        facts.write_text(facts_text(step_facts(pipeline, step)), encoding="utf-8")
        rule = build_rule(pipeline, step, _places(step, facts))
        looked_up = Plan(plan(pipeline, [rule]), sheet)
        require_host(looked_up)

        def look_up(item: Lookup) -> Any:
            return getattr(looked_up, item.method)(*item.arguments, *([unit] if item.tracked else []))

        def values(raw: Mapping[str, Any]) -> _Namespace:
            return _Namespace({name: look_up(item) if isinstance(item, Lookup) else item for name, item in raw.items()})

        names = {
            "input": values(rule.inputs),
            "params": values(rule.params),
            "output": _Namespace({**{port: str(path) for port, path in outputs.items()}, "record": str(record)}),
            "wildcards": _Namespace({step.wildcard: unit}),
            "log": str(log),
            "threads": threads,
            "resources": _resources(looked_up, step.name, unit),
        }
        script = "\n".join(_ShellFormatter().format(call, **names) for call in rule.calls)
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
        environment = {**os.environ, "PATH": path}
        job = Path(folder, "job.sh")  # one argument may hold 128 kB at most, a file as many inputs as there are
        job.write_text(script, encoding="utf-8", errors="surrogateescape")
        done = subprocess.run(["sh", str(job)], check=False, stdin=subprocess.DEVNULL, env=environment)
    if done.returncode != 0:
        raise ToolFailedError(step.name, log, done.returncode)
    return ToolRun(outputs, record, log, {port: looked_up.geometry(step.name, port, unit) for port in outputs})


def _places(step: Step, facts: Path) -> Places:
    macro = str(step.tool.folder / step.tool.spec.macro) if step.tool.spec.macro else None
    return Places(Path.cwd(), str(layout.assets() / layout.JOB_SH), str(facts), macro)


def _resources(looked_up: Plan, step: str, unit: str) -> _Namespace:
    """What a job of a run would be granted at its first attempt."""
    granted = {name: looked_up.resource(step, key, unit, 1) for name, key in RESOURCES.items()}
    return _Namespace({"tmpdir": tempfile.gettempdir(), **granted})


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise problem(out, f"cannot be written ({error.strerror})", "Choose a folder of your own.") from error


class _Namespace:
    def __init__(self, values: Mapping[str, Any]) -> None:
        self.__dict__.update(values)


class _ShellFormatter(Formatter):
    """Fills ``{input.x:q}`` as Snakemake does: every value a quoted word, a list as several."""

    def format_field(self, value: Any, format_spec: str) -> str:
        words = value if isinstance(value, list) else [value]
        return " ".join(shlex.quote(str(item)) if format_spec == "q" else str(item) for item in words)


def parse_settings(tool: Tool, texts: Sequence[str]) -> dict[str, Any]:
    """Read ``name=value`` texts as parameters of a tool, by their declared types.

    Raises
    ------
    InputError
        For each text without ``=`` and each name given twice; what does not fit the type stays text, for the
        parameter's own check to refuse.
    """
    settings: dict[str, Any] = {}
    problems = []
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            problems.append(Problem(f"--set {text}", "expected NAME=VALUE"))
        elif name in settings:
            problems.append(Problem(f"--set {text}", f"{name!r} is set twice"))
        else:
            settings[name] = _setting(tool, name, value)
    if problems:
        raise InputError(problems)
    return settings


def _setting(tool: Tool, name: str, value: str) -> Any:
    param = tool.spec.params.get(name)
    if value == "null":
        return None
    if param is None or param.type in ("text", "choice"):
        return value
    try:
        return [float(item) for item in value.split(",")] if param.type == "numbers" else json.loads(value)
    except ValueError:
        return value


def parse_inputs(texts: Sequence[str]) -> dict[str, list[Path]]:
    """Read ``port=path`` texts; a port given several times has several files.

    Raises
    ------
    InputError
        For each text without ``=`` or without a path.
    """
    inputs: dict[str, list[Path]] = {}
    problems = []
    for text in texts:
        port, equals, path = text.partition("=")
        if not equals or not path:
            problems.append(Problem(f"--in {text}", "expected PORT=PATH"))
        inputs.setdefault(port, []).append(Path(path))
    if problems:
        raise InputError(problems)
    return inputs
