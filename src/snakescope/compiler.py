"""From a checked pipeline to the text of its Snakemake rules. Pure: models in, ``{path: text}`` out.

Each step becomes one ordinary rule. What depends on the row is looked up in the plan when Snakemake asks for
it; everything else stands in the rule. Reads no clock, no environment and no file.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from snakescope import __version__, layout
from snakescope.errors import problem
from snakescope.pipeline import ColumnValue, FileWire, Pipeline, SheetWire, Step, StepWire
from snakescope.tool.expressions import ExpressionError, evaluate
from snakescope.tool.spec import placeholders


@dataclass(frozen=True)
class Lookup:
    """A value that the plan gives for each job: the name of a method of `workflow.Plan` and its first arguments."""

    method: str
    arguments: tuple[str | int, ...]


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


def compile_pipeline(pipeline: Pipeline, study: Path) -> dict[str, str]:
    """Compile a pipeline.

    Parameters
    ----------
    pipeline
        A checked pipeline.
    study
        Study folder; programs below it are named relative to it.

    Returns
    -------
    Text of each generated file by its path relative to the study: a rule and the constant part of its
    records for each step, and the plan.
    """
    name = pipeline.spec.name
    rules = [build_rule(pipeline, step, Places(study)) for step in pipeline.steps.values()]
    texts = {layout.rule_file(name, rule.step.name): _rule_text(pipeline, rule) for rule in rules}
    texts |= {
        layout.step_facts_file(name, rule.step.name): facts_text(step_facts(pipeline, rule.step)) for rule in rules
    }
    texts[layout.plan_file(name)] = json_text(plan(pipeline, rules))
    return texts


def json_text(value: Any) -> str:
    """JSON as we check it in: indented, unicode as it is, one newline at the end."""
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def facts_text(facts: Mapping[str, Any]) -> str:
    """JSON with one line a key: every job reads it line by line into its record."""
    lines = (f"  {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in facts.items())
    return "{\n" + ",\n".join(lines) + "\n}\n"


# ---------------------------------------------------------------------------- building a rule


@dataclass(frozen=True)
class Places:
    """How a rule names files that are not its own: as they lie in a study folder, unless said otherwise."""

    study: Path
    job_sh: str = layout.JOB_SH
    facts: str | None = None


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
    program = _own_program(step, places.study)
    if program:
        inputs["program"] = program  # editing it makes the step run again
    command = _Command(step)
    facts = places.facts or layout.step_facts_file(pipeline.spec.name, step.name)
    calls = [*_opening(step, places.job_sh, facts), *(f"job_output {port} {{output.{port}:q}}" for port in ports)]
    calls.append("job_run " + " ".join(command.words))
    params = {**_param_values(step), **_source_params(step), **command.params}
    return Rule(step, inputs, outputs, params, calls, command.optional)


def _input(pipeline: Pipeline, step: Step, port: str) -> str | Lookup:
    wire = step.wires[port]
    if isinstance(wire, StepWire):
        source = pipeline.steps[wire.step]
        if source.over == step.over:
            file = source.tool.spec.outputs[wire.port].file
            return layout.result(f"{{{step.wildcard}}}", wire.step, file)
    return Lookup("inputs" if isinstance(wire, StepWire) else "declared", (step.name, port))


def _own_program(step: Step, study: Path) -> str | None:
    """Path of a script that lies beside its descriptor, in the study or elsewhere; None for the shipped programs."""
    if step.tool.script_sha256 is None:
        return None
    path = step.tool.folder / str(step.tool.spec.script)
    return (path.relative_to(study) if path.is_relative_to(study) else path).as_posix()


def _opening(step: Step, job_sh: str, facts: str) -> Iterator[str]:
    yield f". {brace(shlex.quote(job_sh))}"
    unit = f"{{wildcards.{step.wildcard}:q}}"
    yield f"job_begin {step.name} {unit} {{output.record:q}} {{log:q}} {brace(shlex.quote(facts))}"
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
        elif _is_passed(step, name):
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


def _is_passed(step: Step, name: str) -> bool:
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


def word(value: Any) -> str | int | float:
    """A parameter's value as one word of a command line: true/false for booleans, commas in a list."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ",".join(str(word(item)) for item in value)
    return value  # type: ignore[no-any-return]


class _Command:
    """The words of a step's command as Snakemake text, with the parameters that these words look up."""

    def __init__(self, step: Step) -> None:
        self.step = step
        self.params: dict[str, Any] = {}
        self.optional: list[list[dict[str, Any]]] = []
        self.words = list(self._script() if step.tool.spec.script else self._argv())

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
            if isinstance(value, ColumnValue) or _is_passed(self.step, name):
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
        return all(_is_passed(self.step, name) for name in names) and self.step.wires.keys() >= set(ports)

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
        }[kind]


def _place(step: Step, port: str) -> str:
    """Where the command finds an input. A file name from outside may look like a wildcard, which only params keep."""
    return f"{{input.{port}:q}}" if isinstance(step.wires.get(port), StepWire) else f"{{params.{port}:q}}"


def flag(name: str) -> str:
    """Name of a port or parameter as it stands in a flag."""
    return name.replace("_", "-")


def brace(text: str) -> str:
    """Text in which Snakemake sees no placeholder."""
    return text.replace("{", "{{").replace("}", "}}")


def unbrace(text: str) -> str:
    """Undo the doubling of braces in a descriptor."""
    return text.replace("{{", "{").replace("}}", "}")


# ---------------------------------------------------------------------------- writing it down


def quote_literal(value: Any, lookup_prefix: str = "lambda wildcards: ") -> str:
    """A value as Python text in a rule. The one place where data becomes code.

    A text with braces goes behind a function, since Snakemake would look for wildcards in it.
    """
    if not isinstance(value, str):
        return repr(value)
    text = json.dumps(value, ensure_ascii=False)
    if value.count('"') > value.count("'"):  # as snakefmt has it: the quotes that need fewer backslashes
        body = text[1:-1].replace('\\"', '"').replace("'", "\\'")
        text = f"'{body}'"
    text = text.encode("ascii", "backslashreplace").decode()
    return f"{lookup_prefix}{text}" if "{" in value or "}" in value else text


LINE = 88  # snakefmt's


def _rule_text(pipeline: Pipeline, rule: Rule) -> str:
    step = rule.step
    spec = step.tool.spec
    name = pipeline.spec.name
    unit = f"{{{step.wildcard}}}"
    message = f"{step.name} {{wildcards.{step.wildcard}}}: {brace(spec.name)}"
    lines = [
        f"# GENERATED from {layout.pipeline_file(name)} and tools/{spec.id}/tool.yaml -- do not edit.",
        f"# To change it, edit those files and run: snakescope compile {name}",
        "",
        "",
        f"rule {step.name}:",
        *_section("input", {key: _value(step, value) for key, value in rule.inputs.items()}),
        *_section("output", {key: _output(value) for key, value in rule.outputs.items()}),
        "    log:",
        f"        {quote_literal(layout.log(unit, step.name), '')},",
        "    benchmark:",
        f"        {quote_literal(layout.benchmark(unit, step.name), '')}",
        *(
            [f"    conda:\n        {quote_literal(f'../../{spec.environment.conda}')}"]
            if spec.environment.conda
            else []
        ),
        f"    threads: {spec.resources.threads}",
        *_section("resources", _resources(step)),
        *_section("params", {key: _value(step, value, path=False) for key, value in rule.params.items()}),
        "    message:",
        f"        {quote_literal(message, '')}",
        "    shell:",
        '        """',
        *(f"        {_block(line)}" for line in rule.calls),
        '        """',
    ]
    return "\n".join(lines) + "\n"


def _section(name: str, items: Mapping[str, str]) -> list[str]:
    return [f"    {name}:", *(_item(key, value) for key, value in items.items())] if items else []


def _item(key: str, value: str) -> str:
    """One named value, folded where a line would be too long, as snakefmt folds it."""
    line = f"        {key}={value},"
    head, bracket, rest = value.partition("(")
    if len(line) - 1 <= LINE or not bracket or not rest.endswith(")"):
        return line
    inside = rest[:-1]
    if len(inside) + 12 <= LINE:
        return f"        {key}={head}(\n            {inside}\n        ),"
    arguments = ",\n            ".join(inside.split(", "))
    return f"        {key}={head}(\n            {arguments},\n        ),"


def _value(step: Step, value: Any, *, path: bool = True) -> str:
    if isinstance(value, Lookup):
        arguments = ", ".join(quote_literal(argument, "") for argument in value.arguments)
        return f"lambda wildcards: plan.{value.method}({arguments}, wildcards.{step.wildcard})"
    if path and isinstance(value, str) and value.startswith(f"{layout.RESULTS}/{{{step.wildcard}}}/"):
        return quote_literal(value, "")
    return quote_literal(value)


def _output(output: Output) -> str:
    text = quote_literal(output.pattern, "")
    text = f"directory({text})" if output.directory else text
    return f"temp({text})" if output.temporary else text


def _resources(step: Step) -> dict[str, str]:
    resources = step.tool.spec.resources
    names = {"mem_mb": "mem_mb", "runtime_min": "runtime", "disk_mb": "disk_mb"}
    calls = {
        snakemake_name: f'plan.resource("{step.name}", "{name}", wildcards.{step.wildcard}, attempt)'
        for name, snakemake_name in names.items()
        if getattr(resources, name) is not None
    }
    texts = {name: f"lambda wildcards, attempt: {call}" for name, call in calls.items()}
    return texts | ({"gpu": str(resources.gpus)} if resources.gpus else {})


def _block(line: str) -> str:
    """A shell line inside a triple-quoted Python text; long commands are folded at their flags."""
    escaped = line.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    if len(escaped) < LINE:
        return escaped
    # What stands in quotes is data.
    return re.sub(r"('[^']*'|\"[^\"]*\")| (?=--[a-z])", lambda m: m[1] or " \\\\\n        ", escaped)


def plan(pipeline: Pipeline, rules: list[Rule]) -> dict[str, Any]:
    """The compiled plan: what the rules look up, and the digests of what it was compiled from."""
    tools = {f"tools/{step.tool.spec.id}/tool.yaml": step.tool.sha256 for step in pipeline.steps.values()}
    return {
        "schema": 1,
        "generated": f"by snakescope compile {pipeline.spec.name}; do not edit",
        "pipeline": pipeline.spec.name,
        "title": pipeline.spec.title,
        "sources": {layout.pipeline_file(pipeline.spec.name): pipeline.sha256, **dict(sorted(tools.items()))},
        "steps": {rule.step.name: _plan_step(pipeline, rule) for rule in rules},
    }


def _plan_step(pipeline: Pipeline, rule: Rule) -> dict[str, Any]:
    step, spec = rule.step, rule.step.tool.spec
    compiled: dict[str, Any] = {
        "tool": spec.id,
        "over": list(step.over),
        "primary": _primary(step),
        "inputs": {port: _plan_wire(pipeline, step, port) for port in step.wires},
        "outputs": {
            port: output.model_dump(
                mode="json", include={"like", "axes", "dtype", "shape", "voxel_size_um"}, exclude_defaults=True
            )
            for port, output in spec.outputs.items()
        },
        "params": {
            name: {"column": value.column} if isinstance(value, ColumnValue) else value
            for name, value in step.params.items()
        },
        "threads": spec.resources.threads,
        "resources": spec.resources.model_dump(mode="json", exclude={"threads", "gpus"}, exclude_none=True),
    }
    return compiled | ({"optional": rule.optional} if rule.optional else {})


def _primary(step: Step) -> str | None:
    """The input that plain geometry names speak of: the descriptor's, or the first that is wired."""
    primary = step.tool.spec.primary
    return primary if primary in step.wires else next(iter(step.wires), None)


def _plan_wire(pipeline: Pipeline, step: Step, port: str) -> dict[str, Any]:
    wire = step.wires[port]
    facts = step.tool.spec.inputs[port].facts
    if isinstance(wire, FileWire):
        return {"from": "file", "path": wire.path, "facts": facts}
    if isinstance(wire, StepWire):
        file = pipeline.steps[wire.step].tool.spec.outputs[wire.port].file
        return {"from": "step", "step": wire.step, "port": wire.port, "file": file, "facts": facts}
    compiled: dict[str, Any] = {"from": "sheet", "column": wire.column, "facts": facts}
    first = next(other.name for other in pipeline.steps.values() for found in other.wires.values() if found == wire)
    if not is_shared(wire) and first != step.name:
        compiled["hashed_by"] = first
    return compiled


def step_facts(pipeline: Pipeline, step: Step) -> dict[str, Any]:
    """The part of a step's records that is the same for every job."""
    spec = step.tool.spec
    parameters = [
        {"name": name, "value": None if isinstance(value, ColumnValue) else value, "unit": spec.params[name].unit}
        | ({"column": value.column} if isinstance(value, ColumnValue) else {})
        for name, value in step.params.items()
    ]
    facts: dict[str, Any] = {
        "pipeline": pipeline.spec.name,
        "pipeline_title": pipeline.spec.title,
        "over": list(step.over) or "row",
        "tool": {
            "id": spec.id,
            "name": spec.name,
            "version": spec.version,
            "program": spec.tool.model_dump(),
            "descriptor_sha256": step.tool.sha256,
            "script_sha256": step.tool.script_sha256,
            "license": spec.license,
            "citations": spec.citations,
            "homepage": spec.homepage,
            "edam_operations": spec.edam.operations,
        },
        "snakescope": __version__,
        "parameters": parameters,
        "inputs": {port: {"type": spec.inputs[port].type} for port in step.wires},
        "outputs": {port: {"type": output.type, "format": output.format} for port, output in spec.outputs.items()},
    }
    if spec.rembi:
        facts["rembi"] = {
            "kind": spec.rembi.kind,
            "title": spec.rembi.title,
            "prose": _prose(spec.rembi.prose, step),
        }
    return facts


def _prose(prose: str, step: Step) -> str:
    """The method's sentence with the values in it; a value that rows bring along stays as ``{name}``."""
    return re.sub(r"\{(\w+)\}", lambda match: _told(match, step), prose)


def _told(match: re.Match[str], step: Step) -> str:
    value = step.params[match[1]]
    if isinstance(value, ColumnValue):
        return match[0]
    return "not set" if value is None else str(word(value))
