"""Which steps share an allocation, and what it holds.

Consecutive steps of like need make a stage. A step starts a new one where the two together would waste what was asked
for: a GPU that waits, cores or memory that stand idle for more than a fifth of the time, or groups so large that the
work before them could not be spread over many jobs any more.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from snakescope.cluster.estimate import Need
from snakescope.cluster.pending import in_order, sources
from snakescope.cluster.site import Partition, Site
from snakescope.errors import InputError, Problem
from snakescope.workflow import Plan

IDLE = 0.2
# Steps whose memory differs by less than this together in a job are alike.
MEMORY_ALIKE_MB = 2000
MEMORY_FACTOR = 2
# Added to what jobs may last, in minutes and as a part: starting, planning, an order of jobs less lucky than ours.
START_MIN, SPARE = 5, 0.1
ROUNDING = 1e-6
Atoms = list[list[int]]


def asked_min(minutes: float, longest: int | None) -> int:
    """Minutes to ask for, for work that may last so long; no more than a job can have."""
    asked = math.ceil(minutes * (1 + SPARE) - ROUNDING) + START_MIN
    return asked if longest is None else min(asked, longest)


def holds_min(longest: int) -> float:
    """Minutes of work for which so many may be asked for."""
    return max(0.0, (longest - START_MIN) / (1 + SPARE))


@dataclass(frozen=True)
class Load:
    """What all pending jobs of a step need together.

    Parameters
    ----------
    units
        How many jobs.
    minutes
        Expected minutes of one, on average.
    limit_min, mem_mb
        The largest limit and memory of one.
    heaviest
        The unit that needs that memory, for messages.
    cores, gpus
        Of one.
    """

    step: str
    units: int
    minutes: float
    limit_min: float
    mem_mb: int
    cores: int
    gpus: int
    heaviest: str

    @classmethod
    def of(cls, step: str, needs: Mapping[str, Need]) -> Load:
        """Sum up what the jobs of a step need."""
        some = next(iter(needs.values()))
        return cls(
            step,
            len(needs),
            sum(need.minutes for need in needs.values()) / len(needs),
            max(need.limit_min for need in needs.values()),
            max(need.mem_mb for need in needs.values()),
            some.cores,
            some.gpus,
            max(needs, key=lambda unit: (needs[unit].mem_mb, needs[unit].limit_min)),
        )


@dataclass(frozen=True)
class Room:
    """An allocation that holds any job of some steps.

    Parameters
    ----------
    partition
        Where; None: the cluster's own choice.
    limits
        What the partition gives one job.
    cores
        Cores that the steps can use.
    slots
        By step, how many of its jobs run side by side.
    gpus
        GPUs of the allocation.
    mem_mb
        Memory that the tools may use together at most; None: as much as the steps want.
    """

    partition: str | None
    limits: Partition
    cores: int
    slots: Mapping[str, int]
    gpus: int
    mem_mb: int | None = None

    def weight(self, step: str) -> float:
        """Cores that one job of a step keeps others from using."""
        return self.cores / self.slots[step]


@dataclass(frozen=True)
class Stage:
    """Steps that share an allocation.

    Parameters
    ----------
    name
        ``s1``, ``s2``, ... in the order of the pipeline.
    steps
        In the order in which they run.
    room
        The largest allocation of its jobs.
    why
        Why it does not share with the stage before it; None for the first.
    """

    name: str
    steps: tuple[str, ...]
    room: Room
    why: str | None = None


class Together:
    """Rows that must stay together, by what the steps of a stage run over and take from."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._atoms: dict[frozenset[tuple[str, ...]], Atoms] = {}
        self._parts: dict[frozenset[tuple[str, ...]], list[int]] = {}

    @cached_property
    def _place(self) -> dict[str, int]:
        return {row.id: index for index, row in enumerate(self.plan.sheet.rows)}

    def atoms(self, steps: Collection[str]) -> Atoms:
        """The smallest sets of rows that hold every group of these steps, and of all before them, whole.

        In the order of the sheet, by the index of the row.
        """
        overs = self._overs(steps)
        if overs not in self._atoms:
            self._atoms[overs] = self._connected(overs)
        return self._atoms[overs]

    def parts(self, steps: Collection[str]) -> list[int]:
        """For each row, the number of the atom that it is in; one more entry says how many atoms there are."""
        overs = self._overs(steps)
        if overs not in self._parts:
            atoms = self.atoms(steps)
            found = [0] * (len(self.plan.sheet.rows) + 1)
            for number, rows in enumerate(atoms):
                for row in rows:
                    found[row] = number
            found[-1] = len(atoms)
            self._parts[overs] = found
        return self._parts[overs]

    def _overs(self, steps: Collection[str]) -> frozenset[tuple[str, ...]]:
        seen, waiting = set[str](), list(steps)
        while waiting:
            step = waiting.pop()
            if step not in seen:
                seen.add(step)
                waiting += sources(self.plan, step)
        return frozenset(tuple(self.plan.steps[step]["over"]) for step in seen) - {()}

    def _connected(self, overs: frozenset[tuple[str, ...]]) -> Atoms:
        leader = list(range(len(self.plan.sheet.rows)))

        def find(row: int) -> int:
            while leader[row] != row:
                leader[row] = leader[leader[row]]
                row = leader[row]
            return row

        for over in sorted(overs):
            step = next(name for name, step in self.plan.steps.items() if tuple(step["over"]) == over)
            for members in self.plan.units(step).values():
                first = find(self._place[members[0].id])
                for member in members[1:]:
                    other = find(self._place[member.id])
                    first, other = min(first, other), max(first, other)
                    leader[other] = first
        atoms: dict[int, list[int]] = {}
        for row in range(len(leader)):
            atoms.setdefault(find(row), []).append(row)
        return list(atoms.values())


def choose_stages(plan: Plan, needs: Mapping[str, Mapping[str, Need]], site: Site, together: Together) -> list[Stage]:
    """Part the steps that have something to do into stages.

    Raises
    ------
    InputError
        Naming every step that no partition can hold.
    """
    loads = [Load.of(step, needs[step]) for step in in_order(plan) if needs[step]]
    problems = [found for load in loads for found in unfit(load, site)]
    if problems:
        raise InputError(problems)
    parts: list[tuple[list[Load], Room, str | None]] = []
    for load in loads:
        if parts:
            part, before, reason = parts[-1]
            found = _join(part, before, load, site, together)
            if isinstance(found, Room):
                parts[-1] = [*part, load], found, reason
                continue
        else:
            found = None
        parts.append(([load], _room([load], site), found))
    return [
        Stage(f"s{number}", tuple(load.step for load in part), room, why)
        for number, (part, room, why) in enumerate(parts, start=1)
    ]


def unfit(load: Load, site: Site) -> Iterator[Problem]:
    """A problem when no partition can hold the jobs of a step."""
    candidates = list(site.candidates(load.gpus))
    if any(_fits(load, partition, site) for _, partition in candidates):
        return
    needs = f"{_cores(load.cores)}, {load.mem_mb + site.file.mem_margin_mb} MB and {math.ceil(load.limit_min)} min"
    needs += f" and {load.gpus} GPU" if load.gpus else ""
    given = "; ".join(f"{name or 'the cluster'}: {_told(partition)}" for name, partition in candidates)
    message = f"needs {needs} for {load.heaviest!r}; no partition gives that ({given})"
    yield Problem(
        f"step {load.step!r}", message, f"Name a larger partition in {site.where}, or lower what the step needs."
    )


def _told(partition: Partition) -> str:
    parts = [_cores(partition.max_cpus)] if partition.max_cpus else []
    parts += [f"{partition.max_mem_mb} MB"] if partition.max_mem_mb else []
    parts += [f"{partition.max_runtime_min} min"] if partition.max_runtime_min else []
    parts += [f"{partition.gpus} GPU"] if partition.gpus else ["no GPU"]
    return ", ".join(parts)


def _cores(count: int) -> str:
    return f"{count} core" if count == 1 else f"{count} cores"


def _fits(load: Load, partition: Partition, site: Site) -> bool:
    needed = (
        (load.cores, partition.max_cpus),
        (load.mem_mb + site.file.mem_margin_mb, partition.max_mem_mb),
        (math.ceil(load.limit_min), partition.max_runtime_min),
    )
    return load.gpus <= partition.gpus and all(limit is None or value <= limit for value, limit in needed)


def partition_for(load: Load, site: Site) -> str | None:
    """The first partition that holds any job of a step; None leaves the choice to the cluster."""
    return _room([load], site).partition


def _room(loads: Sequence[Load], site: Site, most_mb: int | None = None) -> Room:
    """The allocation for some steps, in the first partition that holds them all; of so much memory at most."""
    gpus = max(load.gpus for load in loads)
    fitting = (
        (name, partition)
        for name, partition in site.candidates(gpus)
        if all(_fits(load, partition, site) for load in loads)
    )
    name, limits = next(fitting)
    largest = max(load.cores for load in loads)
    cores = max(largest, min(site.cores_per_job, limits.max_cpus or site.cores_per_job))
    given = None if limits.max_mem_mb is None else limits.max_mem_mb - site.file.mem_margin_mb
    memory = min((limit for limit in (given, most_mb) if limit is not None), default=None)
    slots = {}
    for load in loads:
        side_by_side = [cores // load.cores]
        side_by_side += [memory // load.mem_mb] if memory is not None else []
        side_by_side += [gpus // load.gpus] if load.gpus else []
        slots[load.step] = min(side_by_side)
    used = max(slots[load.step] * load.cores for load in loads)
    return Room(name, limits, used, slots, gpus, memory)


def _join(part: Sequence[Load], before: Room, load: Load, site: Site, together: Together) -> Room | str:
    """The allocation that a step shares with those before it, or why they cannot share one."""
    if load.gpus or part[-1].gpus:
        return "a GPU is held by no other step" if load.gpus else f"{part[-1].step} holds a GPU"
    both = [*part, load]
    if _room([load], site).partition != before.partition:
        return f"{load.step} needs another partition"
    if (room := _room_or_none(both, site, before.mem_mb)) is None:
        return "no partition holds both"
    longest = room.limits.max_runtime_min
    if longest is not None and asked_min(sum(each.limit_min for each in both), None) > longest:
        return f"one after the other they may last longer than {longest} min"
    uneven = _uneven_memory(part, load, room, site, together)
    if uneven:  # it may do with the memory that the others ask for, a few of its jobs at a time
        least = max(_asked_mb(part, before), load.mem_mb)
        room = _room(both, site, least)
        if _uneven_memory(part, load, room, site, together):
            return uneven
    return _too_large(part, both, room, site, together) or _idle_cores(both, room, site, together, uneven) or room


def _asked_mb(loads: Sequence[Load], room: Room) -> int:
    return max(room.slots[load.step] * load.mem_mb for load in loads)


def _room_or_none(loads: Sequence[Load], site: Site, most_mb: int | None) -> Room | None:
    try:
        return _room(loads, site, most_mb if most_mb is None else max(most_mb, *(load.mem_mb for load in loads)))
    except StopIteration:
        return None


def _work(loads: Sequence[Load], room: Room, atoms: int) -> float:
    """Core-minutes of an average atom."""
    return sum(load.units * load.minutes * room.weight(load.step) for load in loads) / atoms


def _too_large(part: Sequence[Load], both: Sequence[Load], room: Room, site: Site, together: Together) -> str | None:
    fine, coarse = (together.atoms([load.step for load in loads]) for loads in (part, both))
    if len(coarse) == len(fine):
        return None
    lasts = _work(both, room, len(coarse)) / room.cores
    if lasts > 2 * site.file.target_minutes:
        return f"whole groups of {both[-1].step} would make jobs of {lasts:.0f} min; the rows before it need none"
    longest = room.limits.max_runtime_min
    rows = max(map(len, coarse)) / len(together.plan.sheet.rows)
    most = rows * sum(load.units * load.limit_min * room.weight(load.step) for load in both) / room.cores
    if longest is not None and most > holds_min(longest):
        return f"whole groups of {both[-1].step} may last {most:.0f} min; no job lasts over {longest} min"
    return None


def _times(loads: Sequence[Load], room: Room, site: Site, together: Together) -> dict[str, tuple[float, float]]:
    """By step, the minutes that it takes of an average full job, and its core-minutes there."""
    atoms = len(together.atoms([load.step for load in loads]))
    chain = sum(load.minutes for load in loads)
    full = room.cores * max(site.file.target_minutes, chain)
    count = max(1, math.ceil(full / _work(loads, room, atoms)))
    found = {}
    for load in loads:
        units = max(1.0, load.units * count / atoms)
        waves = units / min(room.slots[load.step], units)
        found[load.step] = waves * load.minutes, units * load.minutes * load.cores
    return found


def _idle_cores(loads: Sequence[Load], room: Room, site: Site, together: Together, uneven: str | None) -> str | None:
    times = _times(loads, room, site, together)
    total = sum(minutes for minutes, _ in times.values()) * room.cores
    for step, (minutes, work) in times.items():
        idle = (minutes * room.cores - work) / total
        if idle > IDLE:
            return uneven or f"{step} would leave {idle:.0%} of the cores idle"
    return None


def _uneven_memory(part: Sequence[Load], load: Load, room: Room, site: Site, together: Together) -> str | None:
    """Memory that one side asks for and the other leaves unused, when that takes a good part of the time."""
    times = _times([*part, load], room, site, together)
    total = sum(minutes for minutes, _ in times.values())
    asked = {each.step: room.slots[each.step] * each.mem_mb for each in (*part, load)}
    before = max(asked[each.step] for each in part)
    low, high = sorted((before, asked[load.step]))
    new = times[load.step][0] / total
    unused = 1 - new if asked[load.step] == high else new
    if high > MEMORY_FACTOR * low and high - low > MEMORY_ALIKE_MB and unused > IDLE:
        more, less = (load.step, part[-1].step) if asked[load.step] == high else (part[-1].step, load.step)
        return f"{more} needs {high / low:.1f} times the memory of {less}"
    return None
