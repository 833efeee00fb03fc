"""What a cluster job is told to do, and what its exit code tells. Nothing is done here."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from snakescope import layout

# All is done or has failed by itself; try again; another job is at work on the same.
DONE, AGAIN, YIELDED = 0, 75, 76

Pair = tuple[str, str]


@dataclass(frozen=True)
class Task:
    """What one cluster job is told to do; all paths are relative to the study folder, which is the current one."""

    digest: str
    stage: str
    shard: str
    pipeline: str
    cores: int
    mem_mb: int
    gpus: int = 0
    growth: int = 1
    final: int = 0
    patience_s: float = 30.0
    later: Sequence[str] = ()
    extra: Sequence[str] = ()

    @property
    def manifest(self) -> str:
        """The shard's slice of the sheet."""
        return layout.manifest(self.digest, self.shard)

    @property
    def todo(self) -> Path:
        """The pairs of step and unit that are to be made."""
        return Path(layout.todo_file(self.digest, self.stage, self.shard))

    @property
    def done(self) -> Path:
        """What is left when all is done."""
        return Path(layout.done_file(self.digest, self.stage, self.shard))

    @property
    def log(self) -> str:
        """What this job says."""
        return layout.shard_log(self.digest, self.stage, self.shard)

    @property
    def begun(self) -> Path:
        """Which list of pairs has been begun with."""
        return self.todo.with_suffix(".begun")

    @property
    def lease(self) -> Path:
        """The first lease on this work."""
        return Path(layout.lease_file(self.digest, self.stage, self.shard))


def read_todo(path: Path) -> dict[Pair, str]:
    """The pairs of step and unit that a job is to make, with ``new`` or ``stale``."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return {(step, unit): state for step, unit, state in (line.split("\t") for line in lines if line)}


def read_task(argv: Sequence[str] | None = None) -> Task:
    """What the command line tells a job."""
    parser = argparse.ArgumentParser(prog="python -m snakescope.cluster.shard", description="One cluster job.")
    parser.add_argument("--plan", dest="digest", required=True, metavar="DIGEST", help="digest of the plan")
    parser.add_argument("--stage", required=True)
    parser.add_argument("--shard", required=True)
    parser.add_argument("--pipeline", required=True, help="name of the pipeline")
    parser.add_argument("--cores", type=int, required=True)
    parser.add_argument("--mem-mb", type=int, required=True, help="memory that all tools may use together")
    parser.add_argument("--gpus", type=int, default=0)
    parser.add_argument("--growth", type=int, default=1, help="how many times the planned memory that is")
    parser.add_argument("--final", type=int, default=0, help="1 when there will be no further try")
    parser.add_argument("--patience-s", type=float, default=30.0, help="how long to wait for a job that is ending")
    parser.add_argument("--later", nargs="*", default=(), metavar="STAGE/SHARD", help="jobs that run after this one")
    parser.add_argument("--extra", nargs=argparse.REMAINDER, default=(), help="more arguments for Snakemake")
    return Task(**vars(parser.parse_args(argv)))
