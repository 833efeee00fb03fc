"""Writing a rule down, as snakefmt would have it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from snakescope import layout
from snakescope.compiler.rule import Lookup, Output, Rule
from snakescope.compiler.words import brace, quote_literal
from snakescope.pipeline import Pipeline, Step

LINE = 88  # snakefmt's


def rule_text(pipeline: Pipeline, rule: Rule) -> str:
    """Text of a rule file."""
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
        *_environment(step),
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


def macro_text(pipeline: str, step: Step) -> str:
    """A tool's macro as a step runs it: a shipped one lies nowhere in a study, and no image sees it elsewhere."""
    source = f"tools/{step.tool.spec.id}/{step.tool.spec.macro}"
    head = [
        f"// GENERATED from {source} -- do not edit.",
        f"// To change it, edit that file and run: snakescope compile {pipeline}",
    ]
    return "\n".join([*head, str(step.tool.macro).rstrip("\n")]) + "\n"


def _environment(step: Step) -> list[str]:
    """Where the tool runs: conda's environment and the image are never both there, since Snakemake would nest them."""
    conda = step.tool.spec.environment.conda
    lines = ["    container:", f'        plan.image("{step.name}")']
    if conda:
        file = quote_literal(f"../../{conda}")
        lines = ["    conda:", f'        None if plan.mode == "apptainer" else {file}', *lines]
    return lines


def _section(name: str, items: Mapping[str, str]) -> list[str]:
    lines = [f"        {value}," if key.startswith("**") else _item(key, value) for key, value in items.items()]
    return [f"    {name}:", *lines] if items else []


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
        if not value.tracked:  # Snakemake tracks no parameter whose function takes the outputs
            return f"lambda wildcards, output: plan.{value.method}({arguments})"
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
    shell = {"**shell": f'**plan.shell("{step.name}")'}
    return shell | texts | ({"gpu": str(resources.gpus)} if resources.gpus else {})


def _block(line: str) -> str:
    """A shell line inside a triple-quoted Python text; long commands are folded at their flags."""
    escaped = line.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    if len(escaped) < LINE:
        return escaped
    # What stands in quotes is data.
    return re.sub(r"('[^']*'|\"[^\"]*\")| (?=--[a-z])", lambda m: m[1] or " \\\\\n        ", escaped)
