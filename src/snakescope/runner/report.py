"""Telling people how a study stands: after a run, and at any time from its records."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from snakescope import layout
from snakescope.runner.elsewhere import elsewhere_text
from snakescope.runner.folder import Study
from snakescope.runner.outcome import Failure, RunResult
from snakescope.tool.library import Tool
from snakescope.tool.spec import ToolSpec
from snakescope.workflow import Plan

SHOWN = 20


@dataclass(frozen=True)
class StepStatus:
    """How many jobs of a step there are, how many are done, how many failed when last tried."""

    step: str
    tool: str
    over: str
    jobs: int
    done: int
    failed: int


@dataclass(frozen=True)
class StudyStatus:
    """How a study stands, from its records."""

    pipeline: str
    rows: int
    steps: list[StepStatus]
    failures: list[Failure]


def status(study: Study) -> StudyStatus:
    """How the configured pipeline stands over the sample sheet.

    A job is done when its record is there; it has failed when the facts of a failure are.

    Raises
    ------
    InputError
        If the pipeline has not been compiled or the sheet is wrong.
    """
    plan = Plan.read(study.config.pipeline, study.config.samples, study.root)
    done: Counter[str] = Counter()
    failures: list[Failure] = []
    for step, unit, _ in plan.walk_units():
        if (study.root / layout.record(unit, step)).is_file():
            done[step] += 1
        elif (study.root / layout.failure(unit, step)).is_file():
            failures.append(Failure.of(study.root, unit, step))
    failed = Counter(failure.step for failure in failures)
    steps = [
        StepStatus(
            name, step["tool"], " and ".join(step["over"]) or "row", len(plan.units(name)), done[name], failed[name]
        )
        for name, step in plan.steps.items()
    ]
    return StudyStatus(study.config.pipeline, len(plan.sheet.rows), steps, failures)


def status_text(found: StudyStatus) -> str:
    """The status as a table for people."""
    lines = [f"{found.pipeline}: {found.rows} rows", "", f"{'step':<14} {'over':<10} {'done':>12} {'failed':>8}"]
    lines += [f"{s.step:<14} {s.over:<10} {f'{s.done}/{s.jobs}':>12} {s.failed or '':>8}" for s in found.steps]
    return "\n".join([*lines, *_failure_lines(found.failures)])


def status_to_dict(found: StudyStatus) -> dict[str, Any]:
    """The status for scripts."""
    return dataclasses.asdict(found)


def run_summary(result: RunResult, *, dry_run: bool = False) -> str:
    """What came of a run, for people."""
    if result.plan is not None:
        return result.plan.rstrip()
    lines = [*_run_lines(result, dry_run=dry_run), elsewhere_text(result.elsewhere)]
    return "\n".join(filter(None, lines))


def _run_lines(result: RunResult, *, dry_run: bool) -> Iterator[str]:
    if result.planned == 0:
        yield "nothing to do: everything is done already"
        return
    if dry_run:
        yield f"{result.planned} jobs to run"
        return
    yield f"{result.jobs} of {result.planned} jobs done in {_duration(result.seconds)}"
    if result.failures:
        yield "\n".join([*_failure_lines(result.failures), ""])
    if result.blocked:
        yield f"{result.blocked} jobs did not start, since one they need failed"
    if result.failures:
        yield "Mend or remove the rows, then run again: only what is missing will run."


def _failure_lines(failures: list[Failure]) -> Iterator[str]:
    if not failures:
        return
    yield ""
    yield f"{len(failures)} failed:"
    for failure in failures[:SHOWN]:
        yield f"  {failure.unit}  {failure.step}: {failure.reason.removeprefix('error: ')}"
        yield f"      log: {failure.log}"
    if len(failures) > SHOWN:
        yield f"  ... and {len(failures) - SHOWN} more: snakescope status --json"


def run_to_dict(result: RunResult) -> dict[str, Any]:
    """What came of a run, for scripts."""
    return {**dataclasses.asdict(result), "exit_code": result.exit_code}


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def tool_text(tool: Tool) -> str:
    """A descriptor for people."""
    spec = tool.spec
    lines = [f"{spec.name} {spec.version} ({spec.id})", "", spec.description.strip(), "", "inputs"]
    for name, port in spec.inputs.items():
        notes = [port.type, *([port.axes] if port.axes else []), *(["many"] if port.many else [])]
        notes += ["optional"] if port.optional else []
        wanted = [f"as {' or '.join(port.formats)}"] if port.formats else []
        wanted += [f"of {' or '.join(port.dtype)}"] if port.dtype else []
        wanted += [f"with {' and '.join(port.requires).replace('_', ' ')}"] if port.requires else []
        lines.append(f"  {name:<18} {', '.join(notes):<26} {port.description}")
        lines += [f"  {'':<45} ({', '.join(wanted)})"] if wanted else []
    lines.append("outputs")
    lines += [
        f"  {name:<18} {f'{port.type}, {port.format}':<26} {port.description}" for name, port in spec.outputs.items()
    ]
    lines.append("parameters")
    for name, param in spec.params.items():
        default = "required" if param.required else f"= {'not set' if param.default is None else param.default}"
        unit = f" {param.unit}" if param.unit and param.unit != "1" else ""
        allowed = f" One of: {', '.join(param.choices)}." if param.choices else ""
        allowed += f" {param.range_text.capitalize()}{unit}." if param.range_text else ""
        allowed += f" Only if {param.when}." if param.when is not None else ""
        lines.append(f"  {name:<18} {f'{default}{unit}':<26} {param.help}{allowed}")
    lines += ["", f"runs {', '.join(spec.programs) or (spec.command or ['?'])[0]}{_where(spec)}"]
    lines += [f"licence {spec.license}; cases: {', '.join(path.stem for path in tool.cases) or 'none'}"]
    lines += [f"cite https://doi.org/{doi}" for doi in spec.citations]
    return "\n".join(lines)


def _where(spec: ToolSpec) -> str:
    """Where a tool may run beside this machine, and what it needs there."""
    has = spec.environment
    ways = [f"--sdm conda: {has.conda}"] if has.conda else []
    ways += [f"--sdm apptainer: {has.container}"] if has.container else []
    ways += [f"needs the model {path}" for path in spec.model_paths.values()]
    return f" ({'; '.join(ways)})" if ways else ""
