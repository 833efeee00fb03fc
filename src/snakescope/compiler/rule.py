"""A rule before it is text: built from a step of the pipeline and its tool.

What depends on the row is a `Lookup`, which the plan answers for each job; everything else stands as it is.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from snakescope import layout
from snakescope.compiler.words import brace, flag, unbrace, word
from snakescope.errors import problem
from snakescope.pipeline import ColumnValue, FileWire, Pipeline, SheetWire, Step, StepWire
from snakescope.tool.expressions import ExpressionError, evaluate
from snakescope.tool.spec import placeholders


@dataclass(frozen=True)
class Lookup:
    """A value that the plan gives for each job: the name of a method of `workflow.Plan` and its first arguments.

    With `tracked` false another value does not make a job run again, and the job's unit is no argument.
    """

    method: str
    arguments: tuple[str | int, ...]
    tracked: bool = True


@dataclass(frozen=True)
class Output:
    """A declared output of a rule."""

    pattern: str
    directory: bool = False
    temporary: bool = False


@dataclass(frozen=True)
class Rule:
    """One compiled rule, before it is written as text.

    Parameters
    ----------
    inputs, outputs, params
        Values by name; a `Lookup` is evaluated for each job, anything else stands as it is.
    calls
        Lines of the shell block, with Snakemake's ``{input.x:q}`` placeholders.
    optional
        Optional parts of the command that depend on the row, for the plan.
    """

    step: Step
    inputs: Mapping[str, str | Lookup]
    outputs: Mapping[str, Output]
    params: Mapping[str, Any]
    calls: list[str]
    optional: list[list[dict[str, Any]]] = field(default_factory=list)


@dataclass(frozen=True)
class Places:
    """How a rule names files that are not its own: as they lie in a study folder, unless said otherwise."""

    study: Path
    job_sh: str = layout.JOB_SH
    facts: str | None = None
    macro: str | None = None


def build_rule(pipeline: Pipeline, step: Step, places: Places) -> Rule:
    """Build the rule of one step."""
    unit = f"{{{step.wildcard}}}"
    ports = step.tool.spec.outputs
    outputs = {
        port: Output(layout.result(unit, step.name, spec.file), spec.is_directory, not step.keep)
        for port, spec in ports.items()
    }
    outputs["record"] = Output(layout.record(unit, step.name))
    inputs: dict[str, str | Lookup] = {port: _input(pipeline, step, port) for port in step.wires}
    program = _own_program(pipeline, step, places)
    if program:
        inputs["program"] = program  # editing it makes the step run again
    command = _Command(step)
    facts = places.facts or layout.step_facts_file(pipeline.spec.name, step.name)
    folders = {port: " folder" if spec.is_directory else "" for port, spec in ports.items()}
    calls = [*_opening(step, places.job_sh, facts)]
    calls += [f"job_output {port} {{output.{port}:q}}{folder}" for port, folder in folders.items()]
    calls += [*_surroundings(step), *command.macro]
    calls.append("job_run " + " ".join(command.words))
    params = {**_param_values(step), **_source_params(step), **command.params}
    params["environment"] = Lookup("environment", (step.name,), tracked=False)
    return Rule(step, inputs, outputs, params, calls, command.optional)


def _input(pipeline: Pipeline, step: Step, port: str) -> str | Lookup:
    wire = step.wires[port]
    if isinstance(wire, StepWire):
        source = pipeline.steps[wire.step]
        if source.over == step.over:
            file = source.tool.spec.outputs[wire.port].file
            return layout.result(f"{{{step.wildcard}}}", wire.step, file)
    return Lookup("inputs" if isinstance(wire, StepWire) else "declared", (step.name, port))


def _own_program(pipeline: Pipeline, step: Step, places: Places) -> str | None:
    """Path of a macro, or of a program that lies beside its descriptor, in the study or elsewhere; None for others."""
    study = places.study
    if step.tool.spec.macro:
        return places.macro or layout.macro_file(pipeline.spec.name, step.name)
    if step.tool.script_sha256 is None:
        return None
    path = step.tool.folder / str(step.tool.spec.script)
    return (path.relative_to(study) if path.is_relative_to(study) else path).as_posix()


def _opening(step: Step, job_sh: str, facts: str) -> Iterator[str]:
    yield f". {brace(shlex.quote(job_sh))}"
    unit = f"{{wildcards.{step.wildcard}:q}}"
    yield f"job_begin {step.name} {unit} {{output.record:q}} {{log:q}} {brace(shlex.quote(facts))}"
    yield "job_environment {threads} {resources.tmpdir:q} {params.environment:q}"
    if step.over:
        yield "job_samples {params.samples:q}"
    for port, wire in step.wires.items():
        if isinstance(wire, StepWire):
            yield f"job_upstream {port} {wire.port} {{input.{port}:q}}"
        elif is_shared(wire):
            yield f"job_shared {port} {{params.{port}_key:q}} {{params.{port}:q}}"
        else:
            yield f"job_source {port} {{params.{port}_known:q}} -- {{params.{port}:q}}"
    for name, value in step.params.items():
        if isinstance(value, ColumnValue):
            yield f"job_row {name} {{params.{name}:q}}"


def _surroundings(step: Step) -> Iterator[str]:
    """What the program finds around it, and which version it is; all of it where the job runs."""
    spec = step.tool.spec
    if spec.environment.writable_home or spec.macro:  # ImageJ keeps there how somebody set it up last
        yield "job_home"
    for model in spec.environment.models:
        yield f"job_model {model.env} {brace(shlex.quote(spec.model_paths[model.name]))} {model.sha256}"
    if spec.tool.observe:
        yield f"job_version {brace(shlex.join(spec.tool.observe))}"


def is_shared(wire: Any) -> bool:
    """Whether many rows are likely to read the same file: anything from the sheet but the row's own image."""
    return isinstance(wire, FileWire) or (isinstance(wire, SheetWire) and wire.column != "path")


def _param_values(step: Step) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if step.over:
        values["samples"] = Lookup("samples", (step.name,))
    for name, value in step.params.items():
        if isinstance(value, ColumnValue):
            values[name] = Lookup("value", (step.name, name))
        elif is_passed(step, name):
            values[name] = word(value)
    return values


def _source_params(step: Step) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for port, wire in step.wires.items():
        if not isinstance(wire, StepWire):
            values[port] = Lookup("inputs", (step.name, port))
        if is_shared(wire):
            values[f"{port}_key"] = Lookup("shared_key", (step.name, port))
        elif isinstance(wire, SheetWire):
            values[f"{port}_known"] = Lookup("known", (step.name, port))
    return values


def is_passed(step: Step, name: str) -> bool:
    """Whether a parameter reaches the command line: it has a value, and its condition (if any) is true."""
    if step.params[name] is None:
        return False
    condition = step.tool.spec.params[name].when
    if not isinstance(condition, str):
        return condition is None or bool(condition)
    known = {key: value for key, value in step.params.items() if value is not None}
    try:
        return bool(evaluate(condition, known))
    except ExpressionError:
        return False


class _Command:
    """The words of a step's command as Snakemake text, with the parameters that these words look up."""

    def __init__(self, step: Step) -> None:
        self.step = step
        self.params: dict[str, Any] = {}
        self.optional: list[list[dict[str, Any]]] = []
        spec = step.tool.spec
        self.macro = list(self._macro()) if spec.macro else []
        self.words = list(self._argv() if spec.command else self._start() if spec.macro else self._script())

    def _macro(self) -> Iterator[str]:
        """What the macro is told, a line each."""
        spec = self.step.tool.spec
        yield f"job_macro {shlex.quote(spec.argument_style)} {{input.program:q}} {{resources.runtime}}"
        for name, text in spec.told.items():
            kind = "path" if re.fullmatch(r"\{((in|out)\.\w+|version)\}", text) else "value"
            known = all(self._known(f"{{{item}}}") for item in placeholders(text))
            yield f"job_{kind} {name} {self._word(text)}" if known else f"job_{kind} {name}"

    def _start(self) -> Iterator[str]:
        """ImageJ itself, or Fiji, which knows how to go without a display."""
        spec = self.step.tool.spec
        if "xvfb-run" in spec.programs:
            yield "xvfb-run -a"
        yield 'timeout --foreground -k 10 "$job_limit"'
        if spec.starter == "imagej":
            yield 'java -Xmx{resources.mem_mb}m -jar "${{IMAGEJ_JAR:-/usr/share/java/ij.jar}}" -batch'
        elif "xvfb-run" in spec.programs and spec.argument_style != "script":
            yield f"{spec.starter} --console -batch"
        else:
            yield f"{spec.starter} --headless --console {'--run' if spec.argument_style == 'script' else '-macro'}"
        yield '"$job_macro" "$job_told"'

    def _script(self) -> Iterator[str]:
        spec = self.step.tool.spec
        own = self.step.tool.script_sha256 is not None
        yield "python {input.program:q}" if own else f"python -m snakescope.program {Path(str(spec.script)).stem}"
        for port in self.step.wires:
            yield f"--{flag(port)} {_place(self.step, port)}"
            if spec.inputs[port].facts:
                self.params[f"{port}_facts"] = Lookup("facts", (self.step.name, port))
                yield f"{{params.{port}_facts:q}}"
        for name, value in self.step.params.items():
            if isinstance(value, ColumnValue) or is_passed(self.step, name):
                yield f"--{flag(name)}={{params.{name}:q}}"
        for port in spec.outputs:
            yield f'--out-{flag(port)} "$out_{port}"'
        yield "--threads {threads}"

    def _argv(self) -> Iterator[str]:
        for item in self.step.tool.spec.command or []:
            if not isinstance(item, list):
                yield self._word(str(item))
            elif not all(self._known(str(part)) for part in item):
                continue
            elif any(self._row_dependent(str(part)) for part in item):
                yield self._optional([str(part) for part in item])
            else:
                yield from (self._word(str(part)) for part in item)

    def _known(self, text: str) -> bool:
        names = [name.partition(".")[2] for name in placeholders(text) if name.startswith("param.")]
        ports = [name.split(".")[1] for name in placeholders(text) if name.startswith("in.")]
        return all(is_passed(self.step, name) for name in names) and self.step.wires.keys() >= set(ports)

    def _row_dependent(self, text: str) -> bool:
        return any(name.startswith("in.") and name.count(".") == 2 for name in placeholders(text))

    def _optional(self, parts: list[str]) -> str:
        compiled = []
        for part in parts:
            match = re.fullmatch(r"\{in\.(\w+)\.(\w+)\}", part)
            if not match and placeholders(part):
                where = f"tools/{self.step.tool.spec.id}/tool.yaml: command"
                raise problem(
                    where, f"an optional part holds {part!r} beside a fact; expected plain text and facts only"
                )
            compiled.append({"port": match[1], "fact": match[2]} if match else {"text": unbrace(part)})
        name = f"optional_{len(self.optional)}"
        self.params[name] = Lookup("optional_words", (self.step.name, len(self.optional)))
        self.optional.append(compiled)
        return f"{{params.{name}:q}}"

    def _word(self, text: str) -> str:
        """One word of the descriptor's command; every part of it is quoted on its own and joined."""
        parts = re.split(r"(\{\{|\}\}|\{[^{}]*\})", text)
        return "".join(self._part(part) for part in parts if part) or "''"

    def _part(self, part: str) -> str:
        if not part.startswith("{") or part in ("{{", "}}"):
            return brace(shlex.quote(unbrace(part)))
        kind, _, name = part[1:-1].partition(".")
        if not self._known(part):
            where = f"tools/{self.step.tool.spec.id}/tool.yaml: command"
            raise problem(where, f"{part} has no value in step {self.step.name!r}", "Put it into a nested list.")
        if kind == "in" and "." in name:
            port, _, fact = name.partition(".")
            self.params[f"{port}_{fact}"] = Lookup("fact", (self.step.name, port, fact))
            return f"{{params.{port}_{fact}:q}}"
        return {
            "in": _place(self.step, name),
            "out": f'"$out_{name}"',
            "param": f"{{params.{name}:q}}",
            "threads": "{threads}",
            "python": "python",
            "script": "{input.program:q}",
            "version": '"$job_stage/.version"',
        }[kind]


def _place(step: Step, port: str) -> str:
    """Where the command finds an input. A file name from outside may look like a wildcard, which only params keep."""
    return f"{{input.{port}:q}}" if isinstance(step.wires.get(port), StepWire) else f"{{params.{port}:q}}"
