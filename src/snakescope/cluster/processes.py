"""Processes of this machine as Linux tells of them: whose child, since when, started under which lease.

Elsewhere than on Linux nothing is known of them, and nothing is done to them.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from pathlib import Path

_PROC = Path("/proc")


def started_at(pid: int) -> int | None:
    """When a process started, in ticks since the machine did; None when there is no such process."""
    fields = _stat(pid)
    return int(fields[19]) if fields else None


def descendants(pid: int) -> list[int]:
    """Every process that a process has started, and those that these have, parents before children."""
    known = _children()
    found = list(known.get(pid, ()))
    for other in found:
        found += known.get(other, ())
    return found


def children(pid: int) -> list[int]:
    """The processes that a process itself has started."""
    return _children().get(pid, [])


def _children() -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for other in _all():
        fields = _stat(other)
        if fields:
            found.setdefault(int(fields[1]), []).append(other)
    return found


def with_variable(name: str, values: Iterable[str]) -> list[int]:
    """The processes that were started with one of these values in a variable of their environment."""
    wanted = {f"{name}={value}".encode() for value in values}
    found = []
    for pid in _all() if wanted else ():
        try:
            environment = (_PROC / str(pid) / "environ").read_bytes().split(b"\0")
        except OSError:  # another user's, or gone
            continue
        if wanted.intersection(environment):
            found.append(pid)
    return found


def end(pids: Iterable[int], number: signal.Signals) -> None:
    """Send a signal to processes; those that are gone do not matter."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except OSError:
            continue


def _all() -> list[int]:
    try:
        return [int(name) for name in os.listdir(_PROC) if name.isdigit()]  # noqa: PTH208 - names only
    except OSError:
        return []


def _stat(pid: int) -> list[str]:
    """The fields of a process from its state on; empty for one that is gone or only waits to be forgotten."""
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    fields = text.rpartition(")")[2].split()
    return [] if fields[:1] == ["Z"] else fields
