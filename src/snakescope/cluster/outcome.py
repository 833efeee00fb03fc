"""What became of jobs of a shard, told by their records and by the facts of their failures alone."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from snakescope import layout
from snakescope.cluster.pending import in_order
from snakescope.cluster.task import Pair
from snakescope.workflow import Plan

# Exit codes that say: a signal from outside ended it (HUP, INT, KILL, TERM).
FROM_OUTSIDE = {129, 130, 137, 143}


@dataclass(frozen=True)
class Outcome:
    """What became of the pairs.

    Parameters
    ----------
    done, failed, blocked
        Done; failed by themselves; waiting for one that has failed.
    killed, untouched
        Ended by the system; not begun, or cut off without a trace. Another try may do them.
    """

    done: Sequence[Pair] = ()
    failed: Sequence[Pair] = ()
    blocked: Sequence[Pair] = ()
    killed: Sequence[Pair] = ()
    untouched: Sequence[Pair] = ()

    @property
    def is_final(self) -> bool:
        """Whether another try would change nothing."""
        return not (self.killed or self.untouched)


class Shelf:
    """Which records and failures there are, by one look at each unit's folder."""

    def __init__(self) -> None:
        self._names: dict[str, set[str]] = {}

    def has_record(self, step: str, unit: str) -> bool:
        """Whether a job is done."""
        return self._has(layout.record(unit, step))

    def failure(self, step: str, unit: str) -> int | None:
        """The exit code of a job that failed; None when there is no word of a failure."""
        path = layout.failure(unit, step)
        if not self._has(path):
            return None
        try:
            return int(json.loads(Path(path).read_text(encoding="utf-8"))["exit_code"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def cut_off(self, step: str, unit: str) -> list[str]:
        """Records and facts of failures that were being written when their job was killed."""
        found = []
        for path in (layout.record(unit, step), layout.failure(unit, step)):
            folder, _, name = path.rpartition("/")
            found += [f"{folder}/{other}" for other in self._in(folder) if other.startswith(f"{name}.")]
        return found

    def _has(self, path: str) -> bool:
        folder, _, name = path.rpartition("/")
        return name in self._in(folder)

    def _in(self, folder: str) -> set[str]:
        if folder not in self._names:
            try:
                self._names[folder] = set(os.listdir(folder))  # noqa: PTH208 - names only
            except OSError:
                self._names[folder] = set()
        return self._names[folder]


def failed_by_itself(shelf: Shelf, step: str, unit: str) -> bool:
    """Whether there is word of a failure that was not a signal from outside."""
    code = shelf.failure(step, unit)
    return code is not None and code not in FROM_OUTSIDE and code >= 0


def ordered(plan: Plan, todo: Iterable[Pair]) -> list[Pair]:
    """Pairs with those of earlier steps first."""
    rank = {step: index for index, step in enumerate(in_order(plan))}
    return sorted(todo, key=lambda pair: rank[pair[0]])


def upstream(plan: Plan, step: str, unit: str) -> Iterator[Pair]:
    """The pairs whose outputs a job takes."""
    wires = plan.steps[step]["inputs"]
    for port in [port for port, wire in wires.items() if wire["from"] == "step"]:
        for path in plan.inputs(step, port, unit):
            yield maker(path)


def maker(path: str) -> Pair:
    """The pair that makes a result."""
    _, unit, step, _ = path.split("/", 3)
    return step, unit


def assess(plan: Plan, todo: Iterable[Pair], shelf: Shelf) -> Outcome:
    """Tell by records and failures what became of each pair.

    A pair without a trace is blocked when one that it needs has failed; else the allocation ended before its time.
    """
    found: dict[str, list[Pair]] = {name: [] for name in ("done", "failed", "blocked", "killed", "untouched")}
    state: dict[Pair, str] = {}
    for pair in ordered(plan, todo):
        state[pair] = _state(plan, pair, shelf, state)
        found[state[pair]].append(pair)
    return Outcome(**found)


def _state(plan: Plan, pair: Pair, shelf: Shelf, known: Mapping[Pair, str]) -> str:
    if shelf.has_record(*pair):
        return "done"
    if shelf.failure(*pair) is not None:
        return "failed" if failed_by_itself(shelf, *pair) else "killed"
    needed = {known.get(need) or ("done" if shelf.has_record(*need) else "failed") for need in upstream(plan, *pair)}
    if needed & {"killed", "untouched"}:
        return "untouched"
    return "blocked" if needed & {"failed", "blocked"} else "untouched"
