"""Following Slurm jobs: in each round one question about all of them, and one about those that have ended."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from snakescope.cluster import accounting, slurm
from snakescope.cluster.accounting import JobFacts
from snakescope.errors import EnvironmentUnusableError

SLOWEST_POLL_S = 60.0
# Accounting is behind the controller; for so long it is waited for before the controller itself is asked, ...
BEHIND_S = 20.0
# ... and for so long before what the job left decides. Not less: a controller that crashed may have forgotten a job
# that is at work. Its node ends it when the two have found each other again; slurmdbd may take a minute to catch up.
PATIENCE_S = 120.0
# A job that never began need not be waited for, once the controller has said twice that it knows no such job.
FORGOTTEN_S = 30.0
# The exit code of a job that found another at the same work.
YIELDED = 76
# Why a job waits that will not start by itself: held, or more than a limit lets a single job have.
_STUCK = re.compile(
    "BadConstraints|Partition(TimeLimit|NodeLimit|Config|Down|Inactive)|JobHeld|launch failed requeued held"
    "|InvalidAccount|InvalidQOS|NotAllowed|NotSatisfied|NeverSatisfied|(Assoc|QOS)Max.*PerJob|ReservationDeleted"
)


@dataclass
class Watched:
    """A job that is followed.

    Parameters
    ----------
    id
        Slurm's; another one when another job turns out to do the same.
    key, attempt
        What it is to make, and which try it is.
    job
        Snakemake's job.
    adopted
        Whether it was in the queue before this run.
    gone_since
        When it was found to have left the queue.
    seen
        When it was submitted, or was in the queue last.
    denied
        How many times in a row the controller has said that it knows no such job, not even as one that ended.
    """

    id: str
    key: str
    attempt: int
    job: Any
    adopted: bool = False
    gone_since: float | None = None
    seen: float | None = None
    denied: int = 0


class Watch:
    """The jobs of a run as Slurm sees them.

    Parameters
    ----------
    name
        The run's id.
    folder
        The study folder.
    say
        Told what a person should know.
    clock
        Seconds.
    """

    def __init__(
        self, name: str, folder: Path, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.name, self.folder, self.say, self.clock = name, folder, say, clock
        self.ledger = accounting.Ledger(folder)
        self.calls = 0
        self._accounting = True
        self._remembers_s: float | None = None
        self._away_since: float | None = None
        self._last_change = clock()
        self._told: set[str] = set()

    def pause_s(self, poll_s: float) -> float:
        """How long to wait before the next round: longer when nothing has changed for long."""
        still = self.clock() - self._last_change
        return max(poll_s, min(SLOWEST_POLL_S, still / 20))

    def changed(self) -> None:
        """Something has been submitted or has ended."""
        self._last_change = self.clock()

    def round(self, jobs: Sequence[Watched]) -> list[tuple[Watched, JobFacts]]:
        """Ask about all jobs; returns those that have ended, with what became of them.

        As long as Slurm does not answer nothing has ended. A job that did not do what it should while another of the
        same key is in the queue is followed there.
        """
        queue = self.queue()
        if queue is None:
            return []
        self._tell_stuck([queue[job.id] for job in jobs if _is_in(queue, job)])
        gone = []
        for job in jobs:
            if _is_in(queue, job):
                job.seen = self.clock()
            else:
                job.gone_since = self.clock() if job.gone_since is None else job.gone_since
                gone.append(job)
        found = self._ask(gone)
        ended = [(job, facts) for job in gone if (facts := self._judged(job, found.get(job.id))) is not None]
        self.ledger.add(facts for job, facts in ended if not self._never_began(job))  # its id is given to another
        others = {other.label.key: other for other in queue.values()}
        return [(job, facts) for job, facts in ended if facts.kind == "done" or not self._moved(job, others)]

    def queue(self) -> dict[str, slurm.QueuedJob] | None:
        """The jobs of the run in the queue; None when Slurm does not answer."""
        try:
            self.calls += 1
            found = slurm.queue(self.name, self.folder)
        except EnvironmentUnusableError as error:
            if self._away_since is None:
                self._away_since = self.clock()
                self.say(f"Slurm does not answer ({error}). What runs goes on; asking again.")
            return None
        if self._away_since is not None:
            self.say(f"Slurm answers again after {self.clock() - self._away_since:.0f} s.")
            self._away_since = None
        return found

    def _tell_stuck(self, jobs: Sequence[slurm.QueuedJob]) -> None:
        """Say which jobs wait in vain: a line for each reason, however many there are."""
        by_reason: dict[str, list[slurm.QueuedJob]] = {}
        for job in jobs:
            if job.waits and _STUCK.search(job.reason) and job.id not in self._told:
                self._told.add(job.id)
                by_reason.setdefault(job.reason, []).append(job)
        for reason, (job, *others) in by_reason.items():
            more = f" and {len(others)} more wait" if others else " waits"
            self.say(f"Slurm job {job.id} ({job.label.key}){more} and will not start without help: {reason}")

    def _moved(self, job: Watched, others: dict[str, slurm.QueuedJob]) -> bool:
        """Follow another job that does the same, if there is one."""
        other = others.get(job.key)
        if other is None:
            return False
        self.say(f"Slurm job {job.id} ({job.key}) left the work to job {other.id}, which is followed now.")
        job.id, job.gone_since, job.adopted, job.seen, job.denied = other.id, None, True, self.clock(), 0
        return True

    def _ask(self, jobs: Sequence[Watched]) -> dict[str, JobFacts]:
        found: dict[str, JobFacts] = {}
        if jobs and self._accounting:
            found = self._accounted([job.id for job in jobs])
        late = [job.id for job in jobs if job.id not in found and self._waited(job) >= self._behind_s]
        if late:
            try:
                self.calls += 1
                found |= accounting.remembered(self.name, late)
            except EnvironmentUnusableError:
                pass
        self._ask_whether_known([job for job in jobs if job.id not in found and self._waited(job) >= FORGOTTEN_S])
        return found

    def _ask_whether_known(self, jobs: Sequence[Watched]) -> None:
        """Note whether the controller denies jobs that it would remember if they had ended since they were seen."""
        if not jobs:
            return
        try:
            self.calls += 1
            if self._remembers_s is None:
                self._remembers_s = slurm.remembers_s()
            found = slurm.known(self.name, self.folder)
        except EnvironmentUnusableError:
            return
        for job in jobs:
            remembered = job.seen is not None and self.clock() - job.seen < self._remembers_s
            job.denied = job.denied + 1 if remembered and not _is_in(found, job) else 0

    def _accounted(self, ids: list[str]) -> dict[str, JobFacts]:
        try:
            self.calls += 1
            return accounting.ended(ids)
        except slurm.SlurmAwayError:
            return {}
        except EnvironmentUnusableError as error:
            self._accounting = False
            self.say(f"There is no accounting here ({error}): memory and processor time of jobs stay unknown.")
            return {}

    @property
    def _behind_s(self) -> float:
        return BEHIND_S if self._accounting else 0.0

    def _waited(self, job: Watched) -> float:
        return self.clock() - (job.gone_since if job.gone_since is not None else self.clock())

    def _judged(self, job: Watched, facts: JobFacts | None) -> JobFacts | None:
        """What became of a job that has left the queue; None while that may still be learnt."""
        if facts is None:
            if self._waited(job) < PATIENCE_S and not self._never_began(job):
                return None
            facts = JobFacts(job.id)
        log = accounting.log_of(self.folder, job.key, job.id)
        if facts.kind is None:
            facts = self._by_exit_code(facts, accounting.exit_in_log(log))
        if facts.kind == "failed" and accounting.killed_for_memory(log):
            facts = replace(facts, kind="oom")
        self.changed()
        return replace(facts, key=job.key, attempt=job.attempt)

    def _never_began(self, job: Watched) -> bool:
        """Whether the controller has forgotten a job before its node made the job's log."""
        return job.denied > 1 and not accounting.log_of(self.folder, job.key, job.id).exists()

    @staticmethod
    def _by_exit_code(facts: JobFacts, code: int | None) -> JobFacts:
        """Of a job that nobody knows any more: without an exit code of its own it was lost with its node."""
        if code is None:
            return replace(facts, kind="node")
        return replace(facts, exit_code=code, kind="done" if code == 0 else "failed")


def _is_in(queue: Mapping[str, slurm.QueuedJob], job: Watched) -> bool:
    """Whether a job is there; a controller that has forgotten jobs gives their ids to others."""
    return job.id in queue and queue[job.id].label.key == job.key
