"""What came of a run."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from snakescope import layout
from snakescope.record import reason


@dataclass(frozen=True)
class Failure:
    """A job that failed: which rows, which step, why, and where to read on."""

    unit: str
    step: str
    reason: str
    log: str

    @classmethod
    def of(cls, root: Path, unit: str, step: str) -> Self:
        """The failure of a row's job, with the reason that its log gives."""
        log = layout.log(unit, step)
        return cls(unit, step, reason(root / log), log)


@dataclass(frozen=True)
class RunResult:
    """What came of a run.

    Parameters
    ----------
    jobs, planned
        Jobs that finished, and jobs that this run set out to do.
    failures
        Jobs that failed.
    blocked
        Jobs that could not start since one before them failed.
    compiled
        Rules that were compiled anew before the run.
    seconds
        Wall time.
    plan
        What was planned for a cluster, for people; None elsewhere.
    environment
        Where the tools ran, in one line.
    elsewhere
        How many done jobs ran in another environment, by environment.
    gone
        Results that are not there any more though their jobs are done; nothing on a cluster, where only `status` looks
        for each of very many files.
    by_step
        Jobs that this run set out to do, by step; nothing on a cluster.
    """

    jobs: int
    planned: int
    failures: list[Failure] = field(default_factory=list)
    blocked: int = 0
    compiled: list[str] = field(default_factory=list)
    seconds: float = 0.0
    plan: str | None = None
    environment: str = ""
    elsewhere: dict[str, int] = field(default_factory=dict)
    gone: list[str] = field(default_factory=list)
    by_step: dict[str, int] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """0 when everything is done, 1 when some rows failed."""
        return 1 if self.failures or self.blocked else 0
