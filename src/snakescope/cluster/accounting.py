"""What became of Slurm jobs: asked of accounting (or of the controller), and kept in ``records/slurm.jsonl``.

One line a finished job, appended by whoever follows the run; `snakescope.record` joins them to the records by the job's
id. Knows nothing of Snakemake.
"""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from snakescope import layout
from snakescope.cluster.slurm import SlurmAwayError, SlurmRefusedError, call, parts, run_id, same_folder
from snakescope.record import slurm_facts

Kind = Literal["done", "oom", "timeout", "node", "cancelled", "failed"]
# Letters of a unit's id in the name of a log.
MAX_NAME = 150
_MB = {"K": 1 / 1024, "": 1.0, "M": 1.0, "G": 1024.0, "T": 1024.0**2, "P": 1024.0**3}
_EXIT_LINE = re.compile(rb"^snakescope: exit ([0-9]+)$", re.MULTILINE)
_ENDED: dict[str, Kind] = {
    "COMPLETED": "done",
    "OUT_OF_MEMORY": "oom",
    "TIMEOUT": "timeout",
    "DEADLINE": "timeout",
    "NODE_FAIL": "node",
    "BOOT_FAIL": "node",
    "LAUNCH_FAILED": "node",
    "RECONFIG_FAIL": "node",
    "PREEMPTED": "node",
    "REVOKED": "node",
    "CANCELLED": "cancelled",
    "FAILED": "failed",
}
_KILLED_FOR_MEMORY = re.compile(r"oom[-_ ]kill|exceeded (job )?memory limit|out[ -]of[ -]memory", re.IGNORECASE)
_MEMORY = re.compile(r"([0-9.]+)([KMGTP]?)([nc]?)")


@dataclass(frozen=True, slots=True)
class JobFacts:
    """What is known of a job that has ended, as it stands in ``records/slurm.jsonl``; unknown is None.

    Parameters
    ----------
    job_id, key, attempt
        Slurm's number, what it was to make, and which try it was.
    state, exit_code, kind
        Slurm's word; the exit code, 128 and more after a signal; and what it means, see `_kind`.
    submitted_at, started_at, ended_at
        UTC.
    queue_s, elapsed_s, cpu_s
        Waiting, running, and time on all its processors, in seconds.
    max_rss_mb, mem_mb, cpus
        Largest resident memory of a step and what was asked for, in MiB; processors.
    """

    job_id: str
    key: str | None = None
    state: str | None = None
    exit_code: int | None = None
    node: str | None = None
    partition: str | None = None
    submitted_at: str | None = None
    started_at: str | None = None
    ended_at: str | None = None
    queue_s: int | None = None
    elapsed_s: int | None = None
    cpu_s: float | None = None
    max_rss_mb: float | None = None
    cpus: int | None = None
    mem_mb: float | None = None
    attempt: int | None = None
    kind: Kind | None = None

    def as_dict(self) -> dict[str, Any]:
        """All fields by name."""
        return asdict(self)


_SACCT = (
    *("JobID", "State", "ExitCode", "NodeList", "Partition", "Submit", "Start", "End", "ElapsedRaw", "TotalCPU"),
    *("MaxRSS", "AllocCPUS", "ReqMem"),
)


@dataclass
class _Lines:
    """The lines of ``sacct`` on one job: the job itself, and its steps."""

    job: dict[str, str] = field(default_factory=dict)
    steps: list[dict[str, str]] = field(default_factory=list)


def ended(ids: Sequence[str]) -> dict[str, JobFacts]:
    """What accounting says of jobs, steps included; those that it does not yet know to have ended are left out.

    Raises
    ------
    SlurmRefusedError, SlurmAwayError
        If there is no accounting, or it does not answer.
    """
    found: dict[str, JobFacts] = {}
    for part in parts(ids):
        said = call("sacct", f"--jobs={','.join(part)}", *_SACCT_WORDS)
        found |= {facts.job_id: facts for facts in _read_sacct(said)}
    return found


_SACCT_WORDS = ("--noheader", "--parsable2", f"--format={','.join(_SACCT)}")


def ended_since(name: str, folder: Path, since: datetime) -> dict[str, JobFacts]:
    """What accounting says of all jobs of a run that were there since some time."""
    start = since.astimezone().strftime("%Y-%m-%dT%H:%M:%S")
    words = (f"--name={name}", f"--user={os.getuid()}", f"--starttime={start}")
    told = call("sacct", "-X", *words, "--noheader", "--parsable2", "--format=JobID,WorkDir")
    pairs = (line.split("|", 1) for line in told.splitlines() if "|" in line)
    return ended([job for job, where in pairs if same_folder(where, folder)])


def _read_sacct(said: str) -> list[JobFacts]:
    jobs: dict[str, _Lines] = {}
    for line in said.splitlines():
        values = line.split("|")
        if len(values) != len(_SACCT):
            continue
        row = dict(zip(_SACCT, values, strict=True))
        job_id, dot, _ = row["JobID"].partition(".")
        lines = jobs.setdefault(job_id, _Lines())
        if dot:
            lines.steps.append(row)
        else:
            lines.job = row
    return [_facts(job_id, lines) for job_id, lines in jobs.items() if _is_whole(lines.job)]


def _is_whole(job: dict[str, str]) -> bool:
    """Whether a job has ended and all of it is known; for a few seconds a short one may be there in part."""
    return _word(job.get("State", "")) in _ENDED and bool(job["Partition"])


def _word(state: str) -> str:
    """``CANCELLED by 1000`` and ``CANCELLED+`` without what comes after."""
    return state.split(" ")[0].rstrip("+")


def _facts(job_id: str, lines: _Lines) -> JobFacts:
    job = lines.job
    cpus = whole(job["AllocCPUS"]) or None
    code, number = _exit(job["ExitCode"])
    memory = [mb for step in lines.steps if (mb := _memory_mb(step["MaxRSS"]))]
    asked, used = _memory_mb(job["ReqMem"], cpus), max(memory, default=None)
    steps = {_word(step["State"]) for step in lines.steps}
    state = _word(job["State"])
    kind = _kind(state, code, number, killed_step="OUT_OF_MEMORY" in steps, near_limit=_is_near(used, asked))
    submitted, started, finished = (whole(job[name]) for name in ("Submit", "Start", "End"))
    return JobFacts(
        job_id=job_id,
        state=state,
        exit_code=_exit_code(state, code, number),
        node=_node(job["NodeList"]),
        partition=job["Partition"] or None,
        submitted_at=_utc(submitted),
        started_at=_utc(started),
        ended_at=_utc(finished),
        queue_s=_span(submitted, started),
        elapsed_s=whole(job["ElapsedRaw"]) if started else None,
        # of a killed process Slurm counts next to nothing
        cpu_s=None if number == signal.SIGKILL else _cpu_s(job["TotalCPU"]),
        max_rss_mb=used,
        cpus=cpus,
        mem_mb=asked,
        kind=kind,
    )


_SQUEUE = (
    *("JobID", "State", "exit_code", "NodeList", "Partition", "SubmitTime", "StartTime", "EndTime", "NumCPUs"),
    *("MinMemory", "Reason"),
)


def remembered(name: str, ids: Sequence[str]) -> dict[str, JobFacts]:
    """What the controller still remembers of jobs that have ended (for ``MinJobAge``, often five minutes).

    It knows neither memory nor processor time, so a job killed for memory is told by `killed_for_memory` alone.
    """
    wanted = set(ids)
    words = ",".join(f"{field}:|" for field in _SQUEUE)
    said = call("squeue", f"--name={name}", f"--user={os.getuid()}", "--states=all", "--noheader", f"--Format={words}")
    rows = (dict(zip(_SQUEUE, line.split("|"), strict=False)) for line in said.splitlines())
    return {row["JobID"]: _remembered(row) for row in rows if row["JobID"] in wanted and row.get("State") in _ENDED}


def _remembered(row: dict[str, str]) -> JobFacts:
    status, state = whole(row["exit_code"]) or 0, row["State"]
    code, number = status >> 8, status & 127
    submitted, started, finished = (whole(row[name]) for name in ("SubmitTime", "StartTime", "EndTime"))
    cpus = whole(row["NumCPUs"]) or None
    return JobFacts(
        job_id=row["JobID"],
        state=state,
        exit_code=_exit_code(state, code, number),
        node=_node(row["NodeList"]),
        partition=row["Partition"] or None,
        submitted_at=_utc(submitted),
        started_at=_utc(started),
        ended_at=_utc(finished),
        queue_s=_span(submitted, started),
        elapsed_s=_span(started, finished),
        cpus=cpus,
        mem_mb=_memory_mb(row["MinMemory"], cpus),
        kind=_kind(state, code, number),
    )


def _kind(
    state: str, code: int | None, number: int | None, *, killed_step: bool = False, near_limit: bool = False
) -> Kind | None:
    """How a job ended; None when it has not, or when the state is not known.

    ``oom`` killed for memory, ``timeout`` for time, ``node`` the node was lost or taken away, ``cancelled`` by
    somebody, ``failed`` by itself, ``done``. The signal 125 is how Slurm says that the kernel killed a process for
    memory.

    Parameters
    ----------
    killed_step
        Slurm says of a step that it was killed for memory; the job itself may only be told to have failed.
    near_limit
        A step had come near the memory that it was given. A job that was killed then was killed for that: where
        nothing but sampling limits memory, Slurm does not say so.
    """
    killed = signal.SIGKILL in (number, (code or 0) - 128)
    if _ENDED.get(state) == "failed" and (number == 125 or killed_step or (near_limit and killed)):
        return "oom"
    return _ENDED.get(state)


def _is_near(used_mb: float | None, asked_mb: float | None) -> bool:
    return used_mb is not None and asked_mb is not None and used_mb >= 0.95 * asked_mb


# ---------------------------------------------------------------------- what a job's log tells


def exit_in_log(log: Path) -> int | None:
    """The exit code at the end of a job's log (see `script`); None when the job was killed before it could say."""
    found = _EXIT_LINE.findall(_tail(log))
    return int(found[-1]) if found else None


def killed_for_memory(log: Path) -> bool:
    """Whether Slurm wrote into a job's log that it killed something for memory."""
    lines = _tail(log).decode(errors="replace").splitlines()
    return any(line.startswith("slurmstepd") and _KILLED_FOR_MEMORY.search(line) for line in lines)


def _tail(log: Path, size: int = 4096) -> bytes:
    try:
        with log.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - size))
            return file.read()
    except OSError:
        return b""


# ---------------------------------------------------------------------- records/slurm.jsonl


class Ledger:
    """The lines of ``records/slurm.jsonl``: each job once, whatever is killed when."""

    def __init__(self, root: Path) -> None:
        self.root, self.path = root, root / layout.slurm_facts()
        self._known = set(slurm_facts(root))

    def __contains__(self, job_id: str) -> bool:
        return job_id in self._known

    def add(self, found: Iterable[JobFacts]) -> int:
        """Append the jobs that are not there yet; returns how many."""
        new = {facts.job_id: facts for facts in found if facts.job_id not in self._known}
        if not new:
            return 0
        lines = "".join(f"{json.dumps(facts.as_dict(), ensure_ascii=False)}\n" for facts in new.values())
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.write(descriptor, f"{_line_end(descriptor)}{lines}".encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self._known.update(new)
        return len(new)


def _line_end(descriptor: int) -> str:
    """What has to come before a new line: the end of one that was cut off."""
    size = os.fstat(descriptor).st_size
    return "\n" if size and os.pread(descriptor, 1, size - 1) != b"\n" else ""


def catch_up(root: Path) -> int:
    """Write down what became of this study's jobs that ended while nobody was looking; returns how many.

    Without accounting nobody knows any more, and their fields stay null.
    """
    id_file, ledger = root / layout.cluster_run_id(), Ledger(root)
    if not id_file.is_file():
        return 0
    since = datetime.fromtimestamp(_last_written(ledger.path, id_file), UTC) - timedelta(days=1)
    try:
        found = ended_since(run_id(root), root, since)
    except (SlurmAwayError, SlurmRefusedError):
        return 0
    missing = [facts for facts in found.values() if facts.job_id not in ledger]
    keys = keys_of_logs(root) if missing else {}
    return ledger.add(replace(facts, key=keys.get(facts.job_id)) for facts in missing)


def _last_written(ledger: Path, id_file: Path) -> float:
    return (ledger if ledger.is_file() else id_file).stat().st_mtime


def log_path(key: str, job_id: str = "%j") -> str:
    """Where a Slurm job prints, relative to the study folder: a folder for each step or stage."""
    step, _, unit = key.partition("/")
    return f"{layout.SLURM_LOGS}/{_file_name(step)}/{_file_name(unit or 'all')}-{job_id}.log"


def log_of(root: Path, key: str, job_id: str) -> Path:
    """The log of a job."""
    return root / log_path(key, job_id)


def _file_name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._,-]", "_", text)[:MAX_NAME] or "_"


def keys_of_logs(root: Path) -> dict[str, str]:
    """What each job was to make, by its id, from the names of the logs that are there."""
    found = {}
    for path in (root / layout.SLURM_LOGS).glob("*/*.log"):
        unit, _, job_id = path.stem.rpartition("-")
        found[job_id] = f"{path.parent.name}/{unit}"
    return found


# ---------------------------------------------------------------------- reading numbers


def minutes(text: str) -> int | None:
    """``1-02:03:04``, ``02:03:04``, ``03:04`` or minutes; None for ``infinite``."""
    seconds = _seconds(text if ":" in text or "-" in text else f"{text}:00")
    return None if seconds is None else int(seconds // 60)


def _seconds(text: str) -> float | None:
    days, _, rest = text.rpartition("-")
    try:
        total = 0.0
        for part in rest.split(":"):
            total = total * 60 + float(part)
        return total + 86400 * int(days or 0)
    except ValueError:
        return None


def _cpu_s(text: str) -> float | None:
    """Processor time; Slurm writes 0 where it took none."""
    return _seconds(text) or None


def _memory_mb(text: str, cpus: int | None = None) -> float | None:
    """``405500K``, ``3G``, or ``200Mc`` for each processor, in MiB; None for nothing."""
    match = _MEMORY.fullmatch(text.strip())
    if not match:
        return None
    each = float(match[1]) * _MB[match[2]] * ((cpus or 1) if match[3] == "c" else 1)
    return round(each, 1) or None


def _exit(text: str) -> tuple[int | None, int | None]:
    """``1:0`` as code and signal."""
    code, _, number = text.partition(":")
    return whole(code), whole(number)


def _exit_code(state: str, code: int | None, number: int | None) -> int | None:
    """The exit code; Slurm writes 0 for a job that was ended before it had one."""
    if number and number < 65:
        return 128 + number
    return code if code or state == "COMPLETED" else None


def whole(text: str) -> int | None:
    """A whole number, or None for other text."""
    return int(text) if text.strip().isdecimal() else None


def _span(start: int | None, end: int | None) -> int | None:
    return max(0, end - start) if start and end else None


def _node(text: str) -> str | None:
    return text if text and text not in ("None assigned", "(null)", "N/A") else None


def _utc(seconds: int | None) -> str | None:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if seconds else None
