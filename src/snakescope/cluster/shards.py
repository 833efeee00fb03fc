"""Rows into shards: the jobs of one stage, balanced, no group split, long enough and never too long.

Pure arithmetic over what the jobs need. A shard is a list of rows; what it holds of a stage is made in one allocation.
"""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from snakescope.cluster.estimate import Need
from snakescope.cluster.pending import sources
from snakescope.cluster.site import Site
from snakescope.cluster.stages import ROUNDING, Stage, Together, asked_min, holds_min
from snakescope.errors import InputError, Problem
from snakescope.workflow import Plan

# Jobs that one Snakemake inside an allocation is given at most: it takes about 20 ms and 20 KB for each.
MOST_PAIRS = 10_000
# Where there is less than one full shard to do, jobs may be this part of the target long.
LEAST_PART = 0.25
# Rows that belong together in a later stage stay together where that makes shards no more uneven than this.
COARSE_PART = 0.25
# How much smaller than the others a job may be where none may last as long as it should.
LESS = 0.8
SHOWN = 20
Pair = tuple[str, str]


@dataclass(frozen=True)
class Shard:
    """One job of a stage.

    Parameters
    ----------
    rows
        Indices of its rows in the sheet, rising.
    pairs
        Step and unit of everything it is to make, in the order of the stage's steps.
    cores, mem_mb
        What its tools may use together, without the margin for Snakemake.
    minutes
        How long it is expected to last.
    runtime_min
        How long it may last.
    """

    rows: tuple[int, ...]
    pairs: tuple[Pair, ...]
    cores: int
    mem_mb: int
    minutes: float
    runtime_min: int


@dataclass(frozen=True, slots=True)
class _Atom:
    """Rows that stay together, and what is to be done with them."""

    rows: Sequence[int]
    pairs: Sequence[Pair]
    cost: float
    limit: float


class Packer:
    """Makes the shards of one stage after the other.

    Parameters
    ----------
    plan, needs, site
        The pipeline and its rows, what each pending pair needs, and what the site offers.
    together
        Rows that stay together.
    """

    def __init__(self, plan: Plan, needs: Mapping[str, Mapping[str, Need]], site: Site, together: Together) -> None:
        self.plan, self.needs, self.site, self.together = plan, needs, site, together
        self._place = {row.id: index for index, row in enumerate(plan.sheet.rows)}

    def shards(self, stage: Stage) -> list[Shard]:
        """The jobs of a stage: every pending pair of its steps in exactly one.

        Raises
        ------
        InputError
            Naming the groups that no partition gives the time for.
        """
        work = _StageWork(self, stage)
        made: list[Shard] = []
        problems: list[Problem] = []
        for clumps in self._parted(work):
            made += work.finished([atom for clump in clumps for atom in clump.atoms], problems)
        if problems:
            more = [Problem("and", f"{len(problems) - SHOWN} more such groups")] if len(problems) > SHOWN else []
            raise InputError(problems[:SHOWN] + more)
        return made

    def _parted(self, work: _StageWork) -> list[list[_Clump]]:
        """The clumps of each shard. Rows of one later group are parted where shards were too uneven otherwise."""
        coarse = work.clumps()
        fine = [_Clump.of([atom]) for clump in coarse for atom in clump.atoms]
        count, least = self._goal(work, fine)
        best: list[list[_Clump]] = []
        for clumps, number in ((coarse, count), (fine, count), (fine, count + 1)):
            parts = _fill(clumps, number, least, work.longest)
            if len(parts) <= number and min(map(_cost, parts)) >= least * (1 - ROUNDING):
                return parts
            if not best or _evenness(parts) > _evenness(best):
                best = parts
        return best

    def _goal(self, work: _StageWork, clumps: Sequence[_Clump]) -> tuple[int, float]:
        """How many shards, and the core-minutes of each at least."""
        total, target, cores = _cost(clumps), self.site.file.target_minutes, work.room.cores
        chain = sum(_mean(self.needs[step]) for step in work.stage.steps)
        least = cores * max(target, chain)
        count = math.floor(total / least + ROUNDING)
        if not count:
            least = cores * max(target * LEAST_PART, chain)
            places = [places for places in (self.site.nodes, self.site.jobs) if places]
            count = max(1, min(math.floor(total / least + ROUNDING), *places, len(clumps)))
        longest = work.longest
        needed = math.ceil(sum(clump.limit for clump in clumps) / longest) if longest else len(clumps)
        needed = max(needed, math.ceil(sum(clump.pairs for clump in clumps) / MOST_PAIRS))
        return (count, least) if needed <= count else (min(needed, len(clumps)), total / needed * LESS)


def _cost(clumps: Sequence[_Clump]) -> float:
    return sum(clump.cost for clump in clumps)


def _evenness(parts: Sequence[Sequence[_Clump]]) -> float:
    costs = [_cost(part) for part in parts]
    return min(costs) / max(costs)


def _mean(needs: Mapping[str, Need]) -> float:
    return sum(need.minutes for need in needs.values()) / len(needs) if needs else 0.0


@dataclass(frozen=True, slots=True)
class _Clump:
    """Neighbouring atoms that are packed as one."""

    atoms: Sequence[_Atom]
    cost: float
    limit: float
    pairs: int

    @classmethod
    def of(cls, atoms: Sequence[_Atom]) -> _Clump:
        cost, limit = sum(atom.cost for atom in atoms), sum(atom.limit for atom in atoms)
        return cls(atoms, cost, limit, sum(len(atom.pairs) for atom in atoms))


class _StageWork:
    """What is to be done in one stage, and how long that takes."""

    def __init__(self, packer: Packer, stage: Stage) -> None:
        self.plan, self.needs, self.site = packer.plan, packer.needs, packer.site
        self.stage, self.room, self._place = stage, stage.room, packer._place
        self._together = packer.together
        self._known: dict[tuple[object, ...], float] = {}
        self._before = {
            step: [source for source in sources(self.plan, step) if source in stage.steps] for step in stage.steps
        }

    @cached_property
    def longest(self) -> float:
        """Core-minutes, by the limits, that the partition's longest job is sure to hold."""
        most = self.room.limits.max_runtime_min
        if most is None:
            return math.inf
        chain = sum(max(need.limit_min for need in self.needs[step].values()) for step in self.stage.steps)
        return max(0.0, holds_min(most) - chain) * self.room.cores

    def clumps(self) -> list[_Clump]:
        """The atoms with something to do; those of one group of any step as one clump where that is small."""
        steps = self.plan.steps
        levels = [self._together.parts(tuple(steps)), *(self._together.parts([step]) for step in steps)]
        levels.sort(key=lambda level: level[-1])  # the largest groups first
        return list(self._split(list(self._atoms().values()), levels))

    def _split(self, atoms: list[_Atom], levels: Sequence[Sequence[int]]) -> Iterator[_Clump]:
        clump = _Clump.of(atoms)
        full = self.room.cores * self.site.file.target_minutes
        small = clump.cost <= COARSE_PART * full and clump.limit <= self.longest and clump.pairs <= MOST_PAIRS / 4
        if small or len(atoms) == 1:
            yield clump
        elif not levels:
            yield from (_Clump.of([atom]) for atom in atoms)
        else:
            parts: dict[int, list[_Atom]] = defaultdict(list)
            for atom in atoms:
                parts[levels[0][atom.rows[0]]].append(atom)
            for part in parts.values():
                yield from self._split(part, levels[1:])

    def _atoms(self) -> dict[int, _Atom]:
        """The atoms with something to do, by the first of their rows."""
        at: dict[int, list[tuple[str, str, Need]]] = defaultdict(list)
        for step in self.stage.steps:
            units = self.plan.units(step)
            for unit, need in self.needs[step].items():
                at[self._place[units[unit][0].id]].append((step, unit, need))
        weights = {step: self.room.weight(step) for step in self.stage.steps}
        atoms = {}
        for rows in self._together.atoms(self.stage.steps):
            found = [item for row in rows for item in at.get(row, ())]
            if found:
                cost = sum(need.minutes * weights[step] for step, _, need in found)
                limit = sum(need.among_many_min * weights[step] for step, _, need in found)
                atoms[rows[0]] = _Atom(rows, [(step, unit) for step, unit, _ in found], cost, limit)
        return atoms

    def finished(self, atoms: Sequence[_Atom], problems: list[Problem]) -> Iterator[Shard]:
        """The shard of some atoms; two or more when one would last longer than jobs may."""
        order = {step: number for number, step in enumerate(self.stage.steps)}
        pairs = sorted((pair for atom in atoms for pair in atom.pairs), key=lambda pair: order[pair[0]])
        rows = sorted(row for atom in atoms for row in atom.rows)
        cores = self._cores(pairs, sum(atom.cost for atom in atoms), sum(atom.limit for atom in atoms))
        mem_mb = self._memory(pairs, cores)
        graph = self._graph(pairs)
        slowest = max(self.needs[step][unit].limit_min for step, unit in pairs)
        limit = max(slowest, self._lasts(graph, pairs, cores, mem_mb, limits=True))
        longest = self.room.limits.max_runtime_min
        if longest is not None and limit > longest:
            if len(atoms) > 1:
                yield from self.finished(atoms[: len(atoms) // 2], problems)
                yield from self.finished(atoms[len(atoms) // 2 :], problems)
                return
            problems.append(self._too_long(pairs, limit, longest))
        minutes = self._lasts(graph, pairs, cores, mem_mb, limits=False)
        yield Shard(tuple(rows), tuple(pairs), cores, mem_mb, minutes, asked_min(limit, longest))

    def _too_long(self, pairs: Sequence[Pair], limit: float, longest: int) -> Problem:
        step, unit = max(pairs, key=lambda pair: self.needs[pair[0]][pair[1]].limit_min)
        message = f"what must be done together for {unit!r} may last {limit:.0f} min; no job lasts over {longest} min"
        return Problem(f"step {step!r}", message, f"Name a partition with longer jobs in {self.site.where}.")

    def _cores(self, pairs: Sequence[Pair], cost: float, limit: float) -> int:
        """All cores of the room where there is enough to do for them; else as many as are kept busy."""
        wide: dict[str, int] = defaultdict(int)
        for step, unit in pairs:
            wide[step] += self.needs[step][unit].cores
        largest = max(self.needs[step][unit].cores for step, unit in pairs)
        if cost < self.room.cores * self.site.file.target_minutes:
            lasts = max(self.site.file.target_minutes * LEAST_PART, self._chain(pairs))
            busy = math.ceil(cost / lasts - ROUNDING)
            in_time = math.ceil(limit / self.longest * self.room.cores - ROUNDING) if self.longest else self.room.cores
            return max(largest, min(self.room.cores, max(wide.values()), max(busy, in_time)))
        return max(largest, min(self.room.cores, max(wide.values())))

    def _chain(self, pairs: Sequence[Pair]) -> float:
        """Minutes of one unit after the other through all steps, the longest of each."""
        longest: dict[str, float] = defaultdict(float)
        for step, unit in pairs:
            longest[step] = max(longest[step], self.needs[step][unit].minutes)
        return sum(longest.values())

    def _memory(self, pairs: Sequence[Pair], cores: int) -> int:
        """Enough for as many jobs side by side as the cores allow, as far as the partition has it."""
        counts: dict[str, int] = defaultdict(int)
        largest: dict[str, int] = defaultdict(int)
        for step, unit in pairs:
            counts[step] += 1
            largest[step] = max(largest[step], self.needs[step][unit].mem_mb)
        wanted = max(
            largest[step] * min(counts[step], max(1, cores // next(iter(self.needs[step].values())).cores))
            for step in counts
        )
        return wanted if self.room.mem_mb is None else min(wanted, self.room.mem_mb)

    def _graph(self, pairs: Sequence[Pair]) -> list[tuple[int, ...]]:
        """For each pair, the numbers of those that wait for it."""
        at: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
        after: list[set[int]] = [set() for _ in pairs]
        for number, (step, unit) in enumerate(pairs):
            rows = [row.id for row in self.plan.units(step)[unit]]
            for before in self._before[step]:
                for row in rows:
                    for earlier in at[before].get(row, ()):
                        after[earlier].add(number)
            for row in rows:
                at[step][row].append(number)
        return [tuple(sorted(numbers)) for numbers in after]

    def _lasts(
        self, graph: list[tuple[int, ...]], pairs: Sequence[Pair], cores: int, mem_mb: int, *, limits: bool
    ) -> float:
        needs = [self.needs[step][unit] for step, unit in pairs]
        jobs = [(need.among_many_min if limits else need.minutes, need.cores, need.mem_mb, need.gpus) for need in needs]
        key = (tuple(jobs), tuple(graph), cores, mem_mb)
        number = hash(key), len(jobs), cores, mem_mb
        if number not in self._known:
            self._known[number] = makespan(jobs, graph, cores, mem_mb, self.room.gpus)
        return self._known[number]


def makespan(
    jobs: Sequence[tuple[float, int, int, int]],
    after: Sequence[Sequence[int]],
    cores: int,
    mem_mb: int,
    gpus: int = 0,
) -> float:
    """Minutes that jobs take together when each starts as soon as it may and there is room.

    Parameters
    ----------
    jobs
        Minutes, cores, memory in MB and GPUs of each; any of them fits alone.
    after
        For each job, those that wait for it.
    cores, mem_mb, gpus
        What they share.
    """
    waits = [0] * len(jobs)
    for numbers in after:
        for number in numbers:
            waits[number] += 1
    ready: dict[tuple[int, int, int], list[int]] = defaultdict(list)
    for number, job in enumerate(jobs):
        if not waits[number]:
            heapq.heappush(ready[job[1:]], number)
    running: list[tuple[float, int]] = []
    now = 0.0
    free = [cores, mem_mb, gpus]
    while ready or running:
        while (kind := _next_kind(ready, free)) is not None:
            number = heapq.heappop(ready[kind])
            if not ready[kind]:
                del ready[kind]
            for index, part in enumerate(kind):
                free[index] -= part
            heapq.heappush(running, (now + jobs[number][0], number))
        if not running:
            raise ValueError("a job does not fit into the allocation")
        now, number = heapq.heappop(running)
        for index, part in enumerate(jobs[number][1:]):
            free[index] += part
        for other in after[number]:
            waits[other] -= 1
            if not waits[other]:
                heapq.heappush(ready[jobs[other][1:]], other)
    return now


def _next_kind(ready: Mapping[tuple[int, int, int], list[int]], free: Sequence[int]) -> tuple[int, int, int] | None:
    """The kind of the first ready job that there is room for."""
    best = None
    for kind, numbers in ready.items():
        fits = kind[0] <= free[0] and kind[1] <= free[1] and kind[2] <= free[2]
        if fits and (best is None or numbers[0] < ready[best][0]):
            best = kind
    return best


def _fill(clumps: Sequence[_Clump], count: int, least: float, longest: float) -> list[list[_Clump]]:
    """Cut a row of clumps into as many parts as wanted, of equal cost, each of the least cost if there is enough."""
    rest, start, parts = _cost(clumps), 0, list[list[_Clump]]()
    while start < len(clumps):
        target = rest / max(1, count - len(parts))
        end, cost, limit, pairs = start, 0.0, 0.0, 0
        while end < len(clumps):
            clump = clumps[end]
            if end > start and (limit + clump.limit > longest or pairs + clump.pairs > MOST_PAIRS):
                break
            if end > start and cost >= least * (1 - ROUNDING) and cost + clump.cost / 2 > target:
                break
            end, cost, limit, pairs = end + 1, cost + clump.cost, limit + clump.limit, pairs + clump.pairs
        parts.append(list(clumps[start:end]))
        start, rest = end, rest - cost
    return _merged(parts, least, longest)


def _merged(parts: list[list[_Clump]], least: float, longest: float) -> list[list[_Clump]]:
    """With a last part that is too small put to the one before it, where that may be."""
    if len(parts) > 1 and _cost(parts[-1]) < least * (1 - ROUNDING):
        both = parts[-2] + parts[-1]
        if sum(clump.limit for clump in both) <= longest and sum(clump.pairs for clump in both) <= MOST_PAIRS:
            return [*parts[:-2], both]
    return parts
