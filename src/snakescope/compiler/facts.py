"""What is compiled beside the rules: the plan that they look things up in, and the constant part of their records."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from snakescope import __version__, layout
from snakescope.compiler.rule import Rule, is_passed, is_shared
from snakescope.pipeline import ColumnValue, FileWire, Pipeline, Step, StepWire
from snakescope.tool.prose import fill


def json_text(value: Any) -> str:
    """JSON as we check it in: indented, unicode as it is, one newline at the end."""
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def facts_text(facts: Mapping[str, Any]) -> str:
    """JSON with one line a key: every job reads it line by line into its record."""
    lines = (f"  {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in facts.items())
    return "{\n" + ",\n".join(lines) + "\n}\n"


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
                mode="json", include={"file", "like", "axes", "dtype", "shape", "voxel_size_um"}, exclude_defaults=True
            )
            for port, output in spec.outputs.items()
        },
        "params": {
            name: {"column": value.column} if isinstance(value, ColumnValue) else value
            for name, value in step.params.items()
        },
        "threads": spec.resources.threads,
        "resources": spec.resources.model_dump(mode="json", exclude={"threads", "gpus"}, exclude_none=True),
        "environment": _plan_environment(step),
    }
    more: dict[str, Any] = {"optional": rule.optional, "gpus": spec.resources.gpus, "temporary": not step.keep}
    return compiled | {key: value for key, value in more.items() if value}


def _plan_environment(step: Step) -> dict[str, Any]:
    """Where a tool can run, and what it needs there; only what is not as usual."""
    spec = step.tool.spec
    environment = spec.environment
    compiled: dict[str, Any] = environment.model_dump(
        mode="json", include={"conda", "container", "apptainer_def"}, exclude_none=True
    )
    compiled |= {"gpu": True} if uses_gpu(step) else {}
    compiled |= {"programs": spec.programs, "program": f"{spec.tool.name} {spec.tool.version}"}
    compiled |= {"homepage": spec.homepage} if spec.homepage else {}
    if environment.models:
        compiled["models"] = [
            {"name": model.name, "path": spec.model_paths[model.name], "sha256": model.sha256}
            | ({"url": model.url} if model.url else {})
            for model in environment.models
        ]
    return compiled


def uses_gpu(step: Step) -> bool:
    """Whether an image is started with the GPUs of its machine."""
    return step.tool.spec.environment.gpu or bool(step.tool.spec.resources.gpus)


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
            "description": " ".join(spec.description.split()),
            "program": spec.tool.model_dump(include={"name", "version"}),
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
        "outputs": {
            port: output.model_dump(include={"type", "format", "tolerance"}, exclude_none=True)
            for port, output in spec.outputs.items()
        },
    }
    if spec.environment.models:
        facts["models"] = [
            model.model_dump(include={"name", "url", "sha256", "licence"}, exclude_none=True)
            for model in spec.environment.models
        ]
    if uses_gpu(step):
        facts["gpu"] = True
    if spec.rembi:
        rembi = spec.rembi.model_dump(include={"kind", "annotation_type", "title"}, exclude_none=True)
        facts["rembi"] = {**rembi, "prose": _prose(spec.rembi.prose, step)}
    return facts


def _prose(prose: str, step: Step) -> str:
    """The method's sentences with the values in them; what rows bring along stays open, as in `tool.prose`."""
    known = {
        name: (value if is_passed(step, name) else None, step.tool.spec.params[name].unit)
        for name, value in step.params.items()
        if not isinstance(value, ColumnValue)
    }
    return fill(prose, known)
