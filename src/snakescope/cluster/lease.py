"""A lease on a piece of work: of two cluster jobs that are to do the same, the younger one yields.

A lease is a file that is made with O_EXCL. A dead holder's lease is never removed or written over: whoever takes over
makes the next one (`.lease`, `.lease.1`, `.lease.2`, ...), which only one can, so two takers never both believe that
they hold it. The newest counts. Nothing here needs a lock of the file system.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from snakescope.cluster import processes, slurm
from snakescope.errors import EnvironmentUnusableError

# A holder of whom nothing can be asked counts as dead when it has given no sign of life for so long.
SILENT_S = 300.0
BEAT_S = 60.0
# States of Slurm in which a job's processes may be at work.
_AT_WORK = {"RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT", "CONFIGURING"}


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a lease.

    Parameters
    ----------
    job_id
        Of its Slurm job; None outside of Slurm.
    host, pid, started
        The machine and the process, and when that started (`processes.started_at`).
    token
        A name of this holding alone.
    """

    job_id: str | None
    host: str
    pid: int
    started: int | None
    token: str

    @classmethod
    def here(cls) -> Holder:
        """This process."""
        pid = os.getpid()
        token = uuid.uuid4().hex
        return cls(os.environ.get("SLURM_JOB_ID") or None, _host(), pid, processes.started_at(pid), token)

    def __str__(self) -> str:
        job = f"Slurm job {self.job_id}, " if self.job_id else ""
        return f"{job}process {self.pid} on {self.host}"


@dataclass(frozen=True, slots=True)
class Lease:
    """A lease that is held.

    Parameters
    ----------
    path
        Its file.
    successor
        The file that somebody makes who takes it over.
    before
        Those who held it before.
    """

    path: Path
    successor: Path
    before: tuple[Holder, ...]
    holder: Holder

    def beat(self) -> bool:
        """Give a sign of life; False when somebody has taken over."""
        with contextlib.suppress(OSError):
            os.utime(self.path)
        return not self.successor.exists()

    def release(self) -> None:
        """Give it back. The file stays, so that the next lease gets a number of its own."""
        _replace(self.path, {"released": True, **asdict(self.holder)})


def take(
    path: Path, job_at_work: Callable[[str], bool | None] | None = None, patience_s: float = 30.0
) -> Lease | Holder:
    """Take a lease.

    Parameters
    ----------
    path
        Its (first) file; the folder must be there.
    job_at_work
        Tells whether a Slurm job is at work, None when it cannot be told. By default `squeue` is asked.
    patience_s
        How long to wait for a holder that may be about to end.

    Returns
    -------
    The lease, or who holds it.
    """
    me, end = Holder.here(), time.monotonic() + patience_s
    while True:
        files = list(_files(path))
        holders = [_read(file) for file in files]
        if files and not _is_free(files[-1], holders[-1], me, job_at_work or is_at_work):
            if time.monotonic() >= end:
                return holders[-1] or Holder(None, "an unknown machine", 0, None, "")
            time.sleep(min(2.0, max(0.05, end - time.monotonic())))
        elif _make(_numbered(path, len(files)), me):
            known = tuple(holder for holder in holders if holder)
            return Lease(_numbered(path, len(files)), _numbered(path, len(files) + 1), known, me)


def is_at_work(job_id: str) -> bool | None:
    """Whether a Slurm job is at work, as `squeue` says; None when that cannot be asked here."""
    try:
        states = slurm.call("squeue", "--noheader", "--states=all", f"--jobs={job_id}", "--format=%T")
    except slurm.SlurmRefusedError:  # it knows no such job
        return False
    except EnvironmentUnusableError:
        return None
    return bool(_AT_WORK.intersection(states.split()))


def _is_free(file: Path, holder: Holder | None, me: Holder, job_at_work: Callable[[str], bool | None]) -> bool:
    """Whether a lease was given back, or its holder is dead."""
    if holder is None:  # being written, or by something that died over it
        return not _is_fresh(file)
    if _is_released(file):
        return True
    at_work = None
    if holder.job_id == me.job_id and holder.host != me.host:
        at_work = False if me.job_id else None  # we were requeued, and are elsewhere now
    elif holder.job_id and holder.job_id != me.job_id:
        at_work = job_at_work(holder.job_id)
    if at_work is None and holder.host == me.host:
        at_work = processes.started_at(holder.pid) == holder.started
    return not (_is_fresh(file) if at_work is None else at_work)


def _is_fresh(file: Path) -> bool:
    """Whether a file was written lately, by the clock of the file system that it lies on."""
    probe = file.with_name(f".{file.name}.{uuid.uuid4().hex}")
    try:
        probe.touch()
        age = probe.stat().st_mtime - file.stat().st_mtime
    except OSError:
        return True
    finally:
        probe.unlink(missing_ok=True)
    return age < SILENT_S


def _host() -> str:
    return os.uname().nodename


def _numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}") if number else path


def _files(path: Path) -> Iterator[Path]:
    number = 0
    while _numbered(path, number).exists():
        yield _numbered(path, number)
        number += 1


def _make(file: Path, holder: Holder) -> bool:
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        json.dump(asdict(holder), stream)
        stream.flush()
        os.fsync(stream.fileno())
    return True


def _replace(file: Path, content: dict[str, object]) -> None:
    temporary = file.with_name(f".{file.name}.{uuid.uuid4().hex}")
    with contextlib.suppress(OSError):
        temporary.write_text(json.dumps(content), encoding="utf-8")
        temporary.replace(file)


def _content(file: Path) -> dict[str, object]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _is_released(file: Path) -> bool:
    return bool(_content(file).get("released"))


def _read(file: Path) -> Holder | None:
    content = _content(file)
    content.pop("released", None)
    try:
        return Holder(**content)  # type: ignore[arg-type]
    except TypeError:
        return None
