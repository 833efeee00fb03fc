"""Telling people how a study stands: after a run, and at any time from its records."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from snakescope import layout
from snakescope.cluster.pending import find_pending
from snakescope.runner.elsewhere import elsewhere_text
from snakescope.runner.folder import Study, uncompiled
from snakescope.runner.gone import gone_text, results_gone
from snakescope.runner.outcome import Failure, RunResult
from snakescope.tool.library import Tool
from snakescope.tool.spec import ToolSpec
from snakescope.workflow import Plan

SHOWN = 20


@dataclass(frozen=True)
class StepStatus:
    """How many jobs of a step there are, how many are done, how many failed when last tried.

    Of those done, `outdated` tell of another tool, other parameters or other inputs than a run would take now.
    """

    step: str
    tool: str
    over: str
    jobs: int
    done: int
    failed: int
    outdated: int


@dataclass(frozen=True)
class StudyStatus:
    """How a study stands, from its records.

    `gone` are results that are not there any more; `changed` tells that the rules do not fit the pipeline's file.
    """

    pipeline: str
    rows: int
    steps: list[StepStatus]
    failures: list[Failure]
    gone: list[str] = field(default_factory=list)
    changed: bool = False


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
    pending = find_pending(plan, study.root).pairs
    steps = []
    for name, step in plan.steps.items():
        over, jobs = " and ".join(step["over"]) or "row", len(plan.units(name))
        outdated = sum(state == "stale" for state in pending[name].values())
        steps.append(StepStatus(name, step["tool"], over, jobs, done[name], failed[name], outdated))
    gone, changed = results_gone(plan), bool(uncompiled(study))
    return StudyStatus(study.config.pipeline, len(plan.sheet.rows), steps, failures, gone, changed)


def status_text(found: StudyStatus) -> str:
    """The status as a table for people."""
    lines = [f"{found.pipeline}: {found.rows} rows", ""]
    titles = ["step", "over", "done", "failed", *(["outdated"] if any(step.outdated for step in found.steps) else [])]
    counts = [(s.failed or "", s.outdated or "") for s in found.steps]
    table = [[s.step, s.over, f"{s.done}/{s.jobs}", *map(str, c)] for s, c in zip(found.steps, counts, strict=True)]
    widths = [max(least, *(len(line[i]) for line in (titles, *table))) for i, least in enumerate((14, 10))]
    for cells in (titles, *table):
        step, over, done, *more = cells[: len(titles)]
        line = f"{step:<{widths[0]}} {over:<{widths[1]}} {done:>12}" + "".join(f" {count:>8}" for count in more)
        lines.append(line.rstrip())
    lines += _failure_lines(found.failures)
    if len(titles) > 4:
        lines += ["", "outdated: made with another tool, parameters or inputs than a run would take now"]
    if found.changed:
        lines += ["", "The pipeline has changed since it ran. What that concerns is told by: snakescope run --dry-run"]
    return "\n".join([*lines, *(["", gone_text(found.gone)] if found.gone else [])])


def status_to_dict(found: StudyStatus) -> dict[str, Any]:
    """The status for scripts."""
    return dataclasses.asdict(found)


def run_summary(result: RunResult, *, dry_run: bool = False) -> str:
    """What came of a run, for people."""
    if result.plan is not None:
        return result.plan.rstrip()
    lines = [*_run_lines(result, dry_run=dry_run), elsewhere_text(result.elsewhere), gone_text(result.gone)]
    return "\n".join(filter(None, lines))


def _run_lines(result: RunResult, *, dry_run: bool) -> Iterator[str]:
    if result.planned == 0:
        yield "nothing to do: everything is done already"
        return
    if dry_run:
        steps = ", ".join(f"{step} {count}" for step, count in result.by_step.items())
        yield f"{result.planned} jobs to run{f': {steps}' if steps else ''}"
        return
    yield f"{result.jobs} of {result.planned} jobs done in {_duration(result.seconds)}"
    if result.failures:
        yield "\n".join([*_failure_lines(result.failures), ""])
    if result.blocked:
        yield f"{result.blocked} jobs did not start, since one they need failed"
    if result.failures:
        yield "Mend or remove the rows, then run again: only what is missing will run."


def _failure_lines(failures: list[Failure]) -> Iterator[str]:
    """What failed and why; one reason that many rows of a step share is told once."""
    if not failures:
        return
    yield ""
    yield f"{len(failures)} failed:"
    alike: dict[tuple[str, str], list[Failure]] = {}
    for failure in failures:
        alike.setdefault((failure.step, failure.reason), []).append(failure)
    groups = list(alike.items())
    for (step, reason), (first, *others) in groups[:SHOWN]:
        rows = f"{first.unit} and {len(others)} more" if others else first.unit
        yield f"  {rows}  {step}: {reason.removeprefix('error: ')}"
        yield f"      log: {first.log}"
    rest = sum(len(found) for _, found in groups[SHOWN:])
    if rest or len(groups) < len(failures):
        yield f"  {f'... and {rest} more; all' if rest else 'all'} by name: snakescope status --json"


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
