"""Cores and memory that this process may use: those of the machine, and what its control group leaves of them."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PROC, GROUPS = Path("/proc"), Path("/sys/fs/cgroup")
_GIB = 2**30


@dataclass(frozen=True)
class Cores:
    """How many, and what holds them down; None for nothing."""

    count: int
    why: str | None = None


@dataclass(frozen=True)
class Memory:
    """Bytes, and what holds them down; None is not known."""

    total: int | None
    free: int | None
    why: str | None = None


def cores(proc: Path = PROC, groups: Path = GROUPS) -> Cores:
    """Cores of the machine, of this process, of its control group: the fewest."""
    all_cores = os.cpu_count() or 1
    mine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else all_cores
    shares = [share for folder in _folders("cpu", proc, groups) if (share := _share(folder)) is not None]
    if shares and min(shares) < mine:
        return Cores(max(1, math.floor(min(shares))), f"a control group allows {min(shares):g} of {all_cores}")
    return Cores(mine, f"this process may use {mine} of {all_cores}" if mine < all_cores else None)


def memory_bytes(proc: Path = PROC, groups: Path = GROUPS) -> Memory:
    """Memory of the machine, or of its control group where that is less."""
    found: dict[str, int] = {}
    with suppress(OSError, ValueError, IndexError):
        for line in (proc / "meminfo").read_text(encoding="utf-8").splitlines():
            found[line.partition(":")[0]] = int(line.split()[1]) * 1024
    total, free = found.get("MemTotal"), found.get("MemAvailable")
    if total is None:
        with suppress(OSError, ValueError, AttributeError):
            total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    files = ("memory.max", "memory.limit_in_bytes")
    given = [
        most for folder in _folders("memory", proc, groups) for name in files if (most := first_number(folder / name))
    ]
    if given and total is not None and min(given) < total:
        most = min(given)
        left = None if free is None else min(free, most)
        return Memory(most, left, f"a control group allows no more of {total / _GIB:.1f} GiB")
    return Memory(total, free)


def _folders(controller: str, proc: Path, groups: Path) -> Iterator[Path]:
    """The control group of this process and those above it, in both layouts."""
    try:
        lines = (proc / "self/cgroup").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        if controllers and controller not in controllers.split(","):
            continue
        base = groups / controller if controllers else groups
        folder = base / path.lstrip("/")
        yield from (place for place in (folder, *folder.parents) if place == base or base in place.parents)


def _share(folder: Path) -> float | None:
    """Cores that a control group grants; None for no limit."""
    with suppress(OSError, ValueError):
        quota, period = (folder / "cpu.max").read_text(encoding="utf-8").split()
        return None if quota == "max" else int(quota) / int(period)
    quota_us, period_us = first_number(folder / "cpu.cfs_quota_us"), first_number(folder / "cpu.cfs_period_us")
    return quota_us / period_us if quota_us and period_us and quota_us > 0 else None


def first_number(file: Path) -> int | None:
    """The number that a file holds; None for none."""
    try:
        return int(file.read_text(encoding="utf-8").split()[0])
    except (OSError, ValueError, IndexError):
        return None
