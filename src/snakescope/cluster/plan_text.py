"""A planned run as text: what the queue will see of it, and why. Knows nothing of how it was planned."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from snakescope.cluster.plan import Job, RunPlan
from snakescope.words import duration, many


def plan_text(made: RunPlan) -> str:
    """The plan for people: stages, jobs, what they ask for, and why."""
    done = sum(step.done for step in made.steps)
    head = f"{made.pipeline} over {made.samples}: {many(made.rows, 'row')}, "
    head += f"{made.pending:,} of {made.pending + done:,} jobs to do"
    head += f" ({made.stale:,} of them again: what their records tell no longer holds)" if made.stale else ""
    head += "; only what failed and what waits for it" if made.selection == "failed" else ""
    if not made.pending:
        return f"{head}. Nothing to do.\n"
    grain = "one cluster job for each" if made.grain == "row" else "shards of rows"
    table = _step_table(made) if made.grain == "row" else _stage_table(made)
    lines = [f"{head}.", f"Grain: {made.grain} ({grain}), since {made.why}.", "", *_aligned(table), ""]
    lines += [f"{stage.name} stands apart: {stage.why}." for stage in made.stages if stage.why]
    return "\n".join([*lines, *_queue(made), *_times(made)]) + "\n"


def _stage_table(made: RunPlan) -> list[list[str]]:
    rows = [["stage", "steps", "jobs", "rows/job", "cores", "memory", "lasts", "may last", "core-h", "GPU-h"]]
    sizes = {shard.id: shard.rows for shard in made.shards}
    by_stage: dict[str, list[Job]] = defaultdict(list)
    for job in made.jobs:
        by_stage[job.stage].append(job)
    for stage in made.stages:
        jobs = by_stage[stage.name]
        rows.append(
            [
                stage.name,
                ", ".join(stage.steps),
                f"{len(jobs):,}",
                _range([sizes[job.shard] for job in jobs]),
                _range([job.cores for job in jobs]),
                _memory(max(job.mem_mb for job in jobs)),
                duration(sum(job.expected_min for job in jobs) / len(jobs)),
                duration(max(job.runtime_min for job in jobs)),
                *_hours(jobs),
            ]
        )
    total = ["total", "", f"{len(made.jobs):,}", "", "", "", "", "", *_hours(made.jobs)]
    return [*rows, total] if len(made.stages) > 1 else rows


def _hours(jobs: Sequence[Job]) -> tuple[str, str]:
    cores, gpus = (sum(getattr(job, name) * job.expected_min for job in jobs) / 60 for name in ("cores", "gpus"))
    return _number(cores), _number(gpus) if gpus else "-"


def _step_table(made: RunPlan) -> list[list[str]]:
    rows = [["step", "jobs", "cores", "memory", "lasts", "may last", "core-h", "GPU-h", "partition"]]
    for step in made.steps:
        if step.pending:
            gpu_hours = step.gpus * step.minutes * step.pending / 60
            rows.append(
                [
                    step.step,
                    f"{step.pending:,}",
                    str(step.cores),
                    _memory(step.mem_mb + made.mem_margin_mb),
                    duration(step.minutes),
                    duration(step.limit_min),
                    _number(step.core_hours),
                    _number(gpu_hours) if gpu_hours else "-",
                    step.partition or "-",
                ]
            )
    return rows


def _aligned(table: Sequence[Sequence[str]]) -> list[str]:
    """Columns of text to the left, of numbers to the right."""
    columns = list(zip(*table, strict=True))
    widths = [max(map(len, column)) for column in columns]
    left = {index for index, column in enumerate(columns) if column[0] in ("stage", "steps", "step", "partition")}
    lines = (
        "  ".join(cell.ljust(width) if index in left else cell.rjust(width)
                  for index, (cell, width) in enumerate(zip(row, widths, strict=True)))
        for row in table
    )  # fmt: skip
    return [line.rstrip() for line in lines]


def _queue(made: RunPlan) -> list[str]:
    """How the queue will feel it."""
    count = len(made.jobs) if made.grain == "fanout" else made.pending
    at_once = min(count, made.jobs_at_once) if made.jobs_at_once else count
    parts = [f"{many(count, 'job')}, at most {at_once:,} in the queue at once"]
    asked = sum(job.cores * job.runtime_min for job in made.jobs) / 60
    if made.jobs:
        largest = max(made.jobs, key=lambda job: (job.gpus, job.mem_mb, job.cores, job.runtime_min))
        where = f" in {largest.partition}" if largest.partition else ""
        gpus = f", {many(largest.gpus, 'GPU')}" if largest.gpus else ""
        parts.append(
            f"the largest asks for {many(largest.cores, 'core')}, {_memory(largest.mem_mb)}{gpus} and "
            f"{duration(largest.runtime_min)}{where}"
        )
        parts.append(f"{_number(asked)} core-hours asked for in all")
    parts += [f"{many(made.nodes, 'node')} there"] if made.nodes else []
    return [f"Queue: {'; '.join(parts)}."]


def _times(made: RunPlan) -> list[str]:
    """Where the times are from."""
    pending = [step for step in made.steps if step.pending]
    measured = [f"{step.step} {_percent(step.ratio)} (of {step.records:,})" for step in pending if step.ratio]
    guessed = [step.step for step in pending if step.ratio is None]
    lines = []
    if measured:
        lines.append(f"Times as measured, in parts of the tools' limits: {', '.join(measured)}.")
    if guessed:
        hint = "run a few rows or one series first (--first, --only), and jobs fit better"
        lines.append(f"Times by the tools' limits, nothing measured yet: {', '.join(guessed)}; {hint}.")
    return lines


def _percent(ratio: float | None) -> str:
    return f"{ratio:.0%}" if ratio and ratio >= 0.01 else f"{ratio or 0:.1%}"


def _range(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,}-{high:,}"


def _memory(megabytes: int) -> str:
    return f"{megabytes / 1000:.1f} GB" if megabytes >= 1000 else f"{megabytes} MB"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}" if value >= 0.1 else f"{value:.2f}"
