"""One run at a time in a study folder, and tidying up after one that was killed.

The lock is held by the operating system for as long as our process or the Snakemake it started lives, so
nothing is left behind by a kill and nobody has to remove it.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from snakescope import layout
from snakescope.errors import MAKE_ROOM, EnvironmentUnusableError, problem


@dataclass(frozen=True)
class RunLock:
    """A held lock: its descriptor goes to Snakemake; `crashed` tells that the run before did not end by itself."""

    descriptor: int
    crashed: bool


@contextmanager
def run_lock(root: Path) -> Iterator[RunLock]:
    """Hold the study's run lock.

    Raises
    ------
    InputError
        If another run is at work in the folder, or the folder cannot be written.
    EnvironmentUnusableError
        If the disk or the quota is full.
    """
    path, where = root / layout.STATE / "run.lock", root.resolve()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise problem(where, f"cannot be written ({error.strerror})", "Choose a folder of your own.") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            owner = os.pread(descriptor, 100, 0).decode(errors="replace").strip()
            raise problem(where, f"another run is at work here ({owner})", "Wait for it to end, or stop it.") from None
        crashed = bool(os.pread(descriptor, 1, 0))
        os.ftruncate(descriptor, 0)
        _tell(root, descriptor, f"process {os.getpid()} on {os.uname().nodename}\n")
        yield RunLock(descriptor, crashed)
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def _tell(root: Path, descriptor: int, text: str) -> None:
    try:
        os.pwrite(descriptor, text.encode(), 0)
    except OSError as error:
        fix = f"{MAKE_ROOM} Nothing was started."
        raise EnvironmentUnusableError(f"{root.resolve()}: cannot be written ({error.strerror}).\n    {fix}") from error


def snakemake_locks(root: Path) -> list[Path]:
    """Snakemake's own lock files in a folder; one is there while it runs, or when it was killed."""
    return sorted((root / ".snakemake/locks").glob("*.lock"))
