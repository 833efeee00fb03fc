"""What each job of a pipeline needs: minutes, memory, cores, GPUs.

The tools' resource expressions are limits. Where jobs of a step have run, their times tell what to expect. Evaluated
once for all jobs that the expressions cannot tell apart, so that a hundred thousand rows cost as much as their
different kinds.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from snakescope.cluster.pending import Pending, in_order
from snakescope.samples import Row
from snakescope.workflow import Plan

# What one job inside an allocation takes around its tool, in minutes: Snakemake's work, shell, digests, record.
ENGINE_MIN = 0.02 / 60
# No tool is so quick that its time is nothing.
LEAST_MIN = 0.01 / 60
# Times of a step are counted on when they were measured so often; then so many times slower is allowed for.
MEASURED, SLOWER = 3, 4


@dataclass(frozen=True, slots=True)
class Need:
    """What one job needs.

    Parameters
    ----------
    minutes
        How long it is expected to last.
    limit_min
        How long it may last.
    mem_mb, cores, gpus
        What it needs side by side with others.
    measured
        Whether what is expected was measured often enough to count on it.
    """

    minutes: float
    limit_min: float
    mem_mb: int
    cores: int
    gpus: int = 0
    measured: bool = False

    @property
    def among_many_min(self) -> float:
        """How long it may last as one of many in a job: they are not all as slow as the limit allows."""
        return min(self.limit_min, SLOWER * self.minutes) if self.measured else self.limit_min


@dataclass(frozen=True)
class Source:
    """Where the expected times of a step are from.

    Parameters
    ----------
    ratio
        Median of measured time over limit; None where nothing was measured: the limit itself is expected.
    records
        How many records it is from.
    """

    ratio: float | None = None
    records: int = 0


@dataclass(frozen=True)
class Estimate:
    """What all jobs need, by step and unit, and where the times of each step are from."""

    needs: Mapping[str, Mapping[str, Need]]
    sources: Mapping[str, Source]


def estimate(plan: Plan, pending: Pending) -> Estimate:
    """Estimate what each pending job needs; times are scaled by the records that `pending` has read."""
    kinds = _Kinds(plan)
    needs: dict[str, dict[str, Need]] = {}
    sources: dict[str, Source] = {}
    for step in in_order(plan):
        kinds.add(step)
        limits: dict[int, Need] = {}
        source = sources[step] = _source(plan, step, pending, kinds, limits)
        scaled = {}
        needs[step] = {}
        for unit in pending.pairs[step]:
            kind = kinds.of[step][unit]
            if kind not in scaled:
                scaled[kind] = _scaled(_limit(plan, step, unit, kind, limits), source)
            needs[step][unit] = scaled[kind]
    return Estimate({step: needs[step] for step in plan.steps}, sources)


def _source(plan: Plan, step: str, pending: Pending, kinds: _Kinds, limits: dict[int, Need]) -> Source:
    walls = [(unit, wall_s) for unit, wall_s in pending.wall_s.get(step, ()) if unit in kinds.of[step]]
    ratios = [wall_s / 60 / _limit(plan, step, unit, kinds.of[step][unit], limits).limit_min for unit, wall_s in walls]
    return Source(statistics.median(ratios), len(ratios)) if ratios else Source()


def _limit(plan: Plan, step: str, unit: str, kind: int, limits: dict[int, Need]) -> Need:
    if kind not in limits:
        compiled = plan.steps[step]
        # not rounded up to a minute, which many short jobs in one would all be taken for
        minutes = max(LEAST_MIN, plan.amount(step, "runtime_min", unit, 1))
        limits[kind] = Need(
            minutes + ENGINE_MIN,
            minutes,
            plan.resource(step, "mem_mb", unit, 1),
            compiled["threads"],
            compiled.get("gpus", 0),
        )
    return limits[kind]


def _scaled(need: Need, source: Source) -> Need:
    """Expected minutes; a limit below twice of what is expected is none."""
    if source.ratio is None:
        return need
    minutes = need.limit_min * source.ratio
    limit = max(need.limit_min, 2 * minutes)
    return replace(need, minutes=minutes + ENGINE_MIN, limit_min=limit, measured=source.records >= MEASURED)


class _Kinds:
    """Numbers the jobs of a step so that equal numbers mean equal values of every resource expression.

    An expression sees the facts of a group's first row, the number of rows, outputs of earlier steps, and parameters
    that the row brings along.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.of: dict[str, dict[str, int]] = {}
        self._numbers: dict[tuple[Any, ...], int] = {}
        self._first: dict[str, dict[str, str]] = {}
        words = set().union(*(_words(step) for step in plan.steps.values()))
        self._bytes = "bytes" in words
        self._columns = {
            step: [name for name, value in compiled["params"].items() if isinstance(value, dict) and name in words]
            for step, compiled in plan.steps.items()
        }

    def add(self, step: str) -> None:
        """Number the jobs of a step; those of the steps before it are numbered."""
        compiled = self.plan.steps[step]
        wires = compiled["inputs"].values()
        before = list(dict.fromkeys(wire["step"] for wire in wires if wire["from"] == "step"))
        raw = any(wire["from"] == "sheet" and wire["column"] == "path" for wire in wires)
        columns = self._columns[step]
        numbers = self._numbers
        found = self.of[step] = {}
        for unit, rows in self.plan.units(step).items():
            first = rows[0]
            key: tuple[Any, ...] = (step, len(rows))
            if raw:
                size = first.bytes if self._bytes else None
                key += (first.axes, first.shape, first.dtype, first.voxel_size_um, first.time_step_s, size)
            for name in before:
                key += (self.of[name][self._unit_with(name, first)],)
            if columns:
                key += tuple(self.plan.value(step, name, unit) for name in columns)
            found[unit] = numbers.setdefault(key, len(numbers))

    def _unit_with(self, step: str, row: Row) -> str:
        """The unit of a step that a row is in."""
        if not self.plan.steps[step]["over"]:
            return row.id
        if step not in self._first:
            units = self.plan.units(step).items()
            self._first[step] = {member.id: unit for unit, rows in units for member in rows}
        return self._first[step][row.id]


def _words(step: Mapping[str, Any]) -> set[str]:
    """Every name in the expressions of a step: its resources and the geometry of its outputs."""
    texts: list[Any] = list(step["resources"].values())
    for output in step["outputs"].values():
        texts += [*output.get("shape", {}).values(), *output.get("voxel_size_um", {}).values()]
    return set(re.findall(r"\w+", " ".join(_strings(texts))))


def _strings(texts: Sequence[Any]) -> list[str]:
    return [text for text in texts if isinstance(text, str)]
