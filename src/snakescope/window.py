"""How many staged copies lie on the disk at once: rows are let in as those before them are done with or have failed.

Snakemake's scheduler asks for the jobs that are ready; a staging job is not told to it before there is room. So nothing
waits inside a job, where it would hold a core, and what has failed is known as soon as the scheduler knows it. See
docs/design/staging.md. Knows nothing of iRODS; reads no sheet.
"""

from __future__ import annotations

import shutil
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from snakescope import layout
from snakescope.errors import EnvironmentUnusableError

DEFAULT_SIZE = 50


def hold_window(scheduler: Any, size: int, rows: Iterable[str], steps: Sequence[str], *, keep: bool = False) -> None:
    """Let a scheduler see no more staging jobs than there is room for.

    Parameters
    ----------
    scheduler
        Snakemake's class `JobScheduler`.
    size
        How many staged copies may wait for the step that reads them first.
    rows
        Ids of the rows to be staged, in the order in which they are let in.
    steps
        The steps that read staged copies, in order.
    keep
        Leave copies on the disk whose steps have failed.

    Raises
    ------
    EnvironmentUnusableError
        If this Snakemake cannot be held back: rather no run than a full disk.
    """
    ready = getattr(scheduler, "_snakescope_ready", None) or getattr(scheduler, "open_jobs", None)
    if not isinstance(ready, property) or ready.fget is None:
        message = "this Snakemake does not tell which jobs are ready, so stage_window cannot be kept"
        raise EnvironmentUnusableError(f"{message}.\n    Use Snakemake 9.20 to 9.27.")
    all_ready: Callable[[Any], list[Any]] = ready.fget
    window = Window(size, rows, steps, keep=keep)
    scheduler._snakescope_ready = ready
    scheduler.open_jobs = property(lambda self: window.open(self, all_ready(self)))


class Window:
    """The staged copies of a run; see `hold_window`.

    A copy counts from the start of its staging until no step has to read it any more, but for steps that themselves
    wait for rows which are not let in yet: else a step over many rows would wait for its own copies to go.
    """

    def __init__(self, size: int, rows: Iterable[str], steps: Sequence[str], *, keep: bool = False) -> None:
        self.size, self.keep = size, keep
        self._order = {step: index for index, step in enumerate(steps)}
        self._waiting: dict[str, None] = dict.fromkeys(rows)
        self._stage: dict[str, Any] | None = None
        self._let_in: set[str] = set()
        self._copies: dict[str, None] = {}
        self._dead: set[Any] = set()
        self._known_failures = 0
        self._memo: dict[Any, bool] = {}
        self._parts: deque[str] = deque()
        self._removals: list[threading.Thread] = []

    def open(self, scheduler: Any, ready: list[Any]) -> list[Any]:
        """The ready jobs without those staging jobs for which there is no room.

        Parameters
        ----------
        scheduler
            Snakemake's; its graph, its failed and its running jobs are looked at.
        ready
            All jobs that are ready.
        """
        if scheduler.dryrun or not scheduler.workflow.is_main_process:
            return ready
        self._dag, self._failed = scheduler.workflow.dag, scheduler.failed
        if self._stage is None:
            self._begin()
        self._memo = {}
        self._mark_dead()
        self._settle()
        self._admit(idle=not scheduler.running and all(_row(job) is not None for job in ready))
        return [job for job in ready if (row := _row(job)) is None or row in self._let_in]

    def _begin(self) -> None:
        """Find the staging jobs of the graph, and the copies that an earlier run has left."""
        self._stage = {row: job for job in self._dag.jobs if (row := _row(job)) is not None}
        self._waiting = dict.fromkeys([*(row for row in self._waiting if row in self._stage), *self._stage])
        for row, job in self._stage.items():
            if not self._dag.needrun(job):
                del self._waiting[row]
                self._let_in.add(row)
                if Path(layout.staged(row)).exists():
                    self._copies[row] = None

    # ------------------------------------------------------------------ what is known of jobs

    def _mark_dead(self) -> None:
        """Jobs that need the output of a failed one never run."""
        if len(self._failed) == self._known_failures:
            return
        self._known_failures = len(self._failed)
        front = [job for job in self._failed if job not in self._dead]
        while front:
            job = front.pop()
            if job not in self._dead:
                self._dead.add(job)
                front += self._dag.depending.get(job, ())

    def _is_live(self, job: Any) -> bool:
        return self._dag.needrun(job) and not self._dag.finished(job) and job not in self._dead

    def _readers(self, row: str) -> list[Any]:
        """Jobs that still have to read a copy, that of the first step first."""
        assert self._stage is not None
        found = [job for job in self._dag.depending.get(self._stage[row], ()) if self._is_live(job)]
        return sorted(found, key=lambda job: self._order.get(job.rule.name, len(self._order)))

    def _needs(self, job: Any) -> Iterator[Any]:
        return (other for other in self._dag.dependencies.get(job, ()) if self._is_live(other))

    def _waits(self, job: Any) -> bool:
        """Whether a job needs, at any distance, a row that is not let in."""
        known = self._memo.get(job)
        if known is None:
            row = _row(job)
            known = row not in self._let_in if row is not None else any(map(self._waits, self._needs(job)))
            self._memo[job] = known
        return known

    # ------------------------------------------------------------------ letting rows in and out

    def _settle(self) -> None:
        """Forget the copies that nobody has to read any more.

        Snakemake removes a copy whose readers are done; not one that a failed reader, or none in this run, would read.
        """
        assert self._stage is not None
        for row in [row for row in self._copies if not self._readers(row)]:
            del self._copies[row]
            readers = list(self._dag.depending.get(self._stage[row], ()))
            left = not any(map(self._dag.needrun, readers)) or any(job in self._dead for job in readers)
            if self._stage[row] in self._failed:
                self._keep_part(row)
            elif left and readers and not self.keep:
                self._remove(layout.staged(row))

    def _keep_part(self, row: str) -> None:
        """What came of a row before its staging failed is of use to the next run, but only so much of it stays."""
        self._parts.append(row)
        if len(self._parts) > self.size:
            self._remove(layout.staged_part(self._parts.popleft()))

    def _remove(self, folder: str) -> None:
        """Remove a folder aside from the scheduler, which a large one would hold up."""
        self._removals = [thread for thread in self._removals if thread.is_alive()]
        thread = threading.Thread(target=shutil.rmtree, args=(folder,), kwargs={"ignore_errors": True})
        thread.start()
        self._removals.append(thread)

    def _used(self) -> int:
        return sum(any(not self._waits(job) for job in self._readers(row)) for row in self._copies)

    def _admit(self, *, idle: bool) -> None:
        used = self._used()
        for row in list(self._waiting):
            if used >= self.size:
                return
            rows = self._unit(row)
            if not rows:
                continue
            if used and used + len(rows) > self.size:
                return
            used += len(rows)
            self._let(rows)
        if idle and not self._copies:
            self._let([row for row in self._waiting if self._readers(row)][:1])  # rather one too many than an end

    def _unit(self, row: str) -> list[str]:
        """A row with those that its first reader needs beside it; none where it has to wait for others, or is dead."""
        assert self._stage is not None
        if row not in self._waiting:
            return []
        if self._stage[row] in self._dead:
            del self._waiting[row]
            return []
        readers = self._readers(row)
        if not readers:
            if not self._dag.depending.get(self._stage[row]):
                return [row]  # asked for by itself
            del self._waiting[row]
            return []
        needs = list(self._needs(readers[0]))
        if any(self._waits(job) for job in needs if _row(job) is None):
            return []
        return [other for job in needs if (other := _row(job)) is not None and other in self._waiting]

    def _let(self, rows: Iterable[str]) -> None:
        for row in rows:
            del self._waiting[row]
            self._let_in.add(row)
            self._copies[row] = None


def _row(job: Any) -> str | None:
    """The row that a staging job stages; None for any other job."""
    if job.is_group() or job.rule.name != layout.STAGE_RULE:
        return None
    wildcards: Mapping[str, str] = job.wildcards_dict
    return wildcards["sample"]
