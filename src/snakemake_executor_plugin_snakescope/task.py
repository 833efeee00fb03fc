"""What a job of Snakemake is to Slurm: its label, its script, what it needs, and what is left when it fails."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snakescope.cluster import accounting, slurm
from snakescope.cluster.accounting import JobFacts

_DONE = ".done.json"
# Which resource grows when a job was ended for want of it.
_GROWS = {"oom": "mem_mb", "timeout": "runtime_min"}
_TOLD = {
    "oom": "it needed more memory than it was given",
    "timeout": "it needed more time than it was given",
    "node": "its node was lost or taken away",
    "cancelled": "it was cancelled",
    "failed": "it failed",
}


def is_plain(job: Any) -> bool:
    """Whether the rule's command is the whole script, without a Snakemake around it."""
    return bool(getattr(job.params, "plain", False))


def label_of(job: Any, study: str) -> slurm.Label:
    """The label of a job: ``step/unit``, and a digest of what it does."""
    unit = ",".join(map(str, job.wildcards)) or "all"
    return slurm.Label(study, f"{job.rule.name}/{unit}", _digest(job), job.message or f"{job.rule.name} {unit}")


def _digest(job: Any) -> str:
    """Differs when the command does, or what the step's compiled facts say; of a shard, when its plan does."""
    if is_plain(job):
        parts = [*map(str, job.input), *map(str, job.output)]
    else:
        parts = [job.shellcmd or "", *map(str, job.input), *map(str, job.output)]
        with suppress(OSError, TypeError):
            parts.append(Path(job.rule.snakefile).with_suffix(".json").read_text(encoding="utf-8"))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:10]


def needs_of(job: Any, margin_mb: int) -> list[str]:
    """The words for ``sbatch``; a plain job's memory holds everything already."""
    return slurm.options(job.resources, job.threads, 0 if is_plain(job) else margin_mb)


def failed_by_itself(job: Any, job_id: str) -> bool:
    """Whether the tool itself ended with an error, which another attempt would only repeat.

    `job.sh` leaves the facts of a failure beside the log; one by a signal is no failure of its own.
    """
    for log in job.log:
        try:
            facts = json.loads(Path(log).with_suffix(".failed.json").read_text(encoding="utf-8"))
            if (facts["scheduler"] or {}).get("job_id") == job_id:
                return bool(0 < facts["exit_code"] < 128)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
    return False


@dataclass(frozen=True)
class Failure:
    """The file that tells the next attempt's resources why this one ended; it goes when the job is done."""

    path: Path

    @classmethod
    def of(cls, job: Any) -> Failure | None:
        """Beside the done-file of a shard, else beside the log; None for a job with neither."""
        for output in map(str, job.output):
            if output.endswith(_DONE):
                return cls(Path(output.removesuffix(_DONE) + ".failed.json"))
        return next((cls(Path(log).with_suffix(".slurm.json")) for log in job.log), None)

    def write(self, facts: JobFacts, job: Any, *, again: bool) -> None:
        """Leave what is known, and what the job had asked for.

        Parameters
        ----------
        again
            Whether there was an attempt before whose growth counts on.
        """
        asked = {"mem_mb": job.resources.get("mem_mb"), "runtime_min": job.resources.get("runtime")}
        times: dict[str, int] = (self._times() if again else None) or {"mem_mb": 1, "runtime_min": 1}
        resource = _GROWS.get(facts.kind or "")
        if resource:
            times[resource] = times.get(resource, 1) + 1
        told = {"kind": facts.kind, "job_id": facts.job_id, "attempt": job.attempt, **asked, "times": times}
        with suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}")
            temporary.write_text(json.dumps(told) + "\n", encoding="utf-8")
            temporary.replace(self.path)

    def _times(self) -> dict[str, int] | None:
        try:
            return {name: int(n) for name, n in json.loads(self.path.read_text(encoding="utf-8"))["times"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def remove(self) -> None:
        """The job is done."""
        with suppress(OSError):
            self.path.unlink()


def story(facts: JobFacts) -> str:
    """In a sentence, how a job was ended and what it had been given."""
    told = [facts.state or "nobody knows its state any more"]
    if facts.mem_mb is not None:
        used = f", {facts.max_rss_mb:.0f} MB seen" if facts.max_rss_mb is not None else ""
        told.append(f"memory {facts.mem_mb:.0f} MB{used}")
    if facts.elapsed_s is not None:
        told.append(f"{facts.elapsed_s} s run")
    where = f" on {facts.node}" if facts.node else ""
    return f"Slurm job {facts.job_id}{where}: {_TOLD.get(facts.kind or '', 'it did not end well')} ({', '.join(told)})"


def tell_in_log(job: Any, facts: JobFacts, log: Path) -> None:
    """Say at the end of the step's own log what only Slurm knows, since that is where people look."""
    add_to_log(job, f"error: {story(facts)}\n    see {log}\n")


def add_to_log(job: Any, text: str) -> None:
    """Add to the job's own log, if it has one."""
    for path in map(Path, job.log):
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8") as file:
                file.write(text)
        return


def forget_log(folder: Path, key: str, job_id: str) -> None:
    """Remove what a job that is done printed around its tool: all that matters is in the log of its rule."""
    with suppress(OSError):
        accounting.log_of(folder, key, job_id).unlink()
