"""Cores and memory as control groups leave them, in both layouts. The folders are stand-ins for /proc and /sys."""

from __future__ import annotations

import os
from pathlib import Path

from snakescope.doctor.limits import cores, memory_bytes

GIB = 2**30


def write(root: Path, **files: str) -> tuple[Path, Path]:
    proc, groups = root / "proc", root / "cgroup"
    texts = {"proc/meminfo": f"MemTotal: {64 * 2**20} kB\nMemAvailable: {32 * 2**20} kB\nHugePages_Total: 0\n"}
    for name, text in (texts | {name.replace("__", "/"): text for name, text in files.items()}).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return proc, groups


def put(root: Path, place: str, text: str) -> None:
    (root / place).parent.mkdir(parents=True, exist_ok=True)
    (root / place).write_text(text)


def test_without_a_control_group_it_is_all_of_the_machine(tmp_path: Path) -> None:
    proc, groups = write(tmp_path)
    assert cores(proc, groups).count == len(os.sched_getaffinity(0))
    assert (memory_bytes(proc, groups).total, memory_bytes(proc, groups).why) == (64 * GIB, None)


def test_limits_of_a_group_and_of_those_above_it_hold(tmp_path: Path) -> None:
    proc, groups = write(tmp_path)
    put(tmp_path, "proc/self/cgroup", "0::/user/job\n")
    put(tmp_path, "cgroup/user/job/memory.max", "max\n")
    put(tmp_path, "cgroup/user/memory.max", f"{8 * GIB}\n")
    put(tmp_path, "cgroup/user/cpu.max", "50000 100000\n")
    put(tmp_path, "cgroup/user/job/cpu.max", "max 100000\n")
    memory = memory_bytes(proc, groups)
    assert (memory.total, memory.free) == (8 * GIB, 8 * GIB)
    assert "control group" in str(memory.why)
    assert cores(proc, groups).count == 1
    assert "allows 0.5 of" in str(cores(proc, groups).why)


def test_the_older_layout_is_read_too(tmp_path: Path) -> None:
    proc, groups = write(tmp_path)
    put(tmp_path, "proc/self/cgroup", "4:memory:/slurm/job\n2:cpu,cpuacct:/\nbroken\n")
    put(tmp_path, "cgroup/memory/slurm/job/memory.limit_in_bytes", f"{4 * GIB}\n")
    put(tmp_path, "cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")
    put(tmp_path, "cgroup/cpu/cpu.cfs_quota_us", "-1\n")
    put(tmp_path, "cgroup/cpu/cpu.cfs_period_us", "100000\n")
    assert memory_bytes(proc, groups).total == 4 * GIB
    assert cores(proc, groups).count == len(os.sched_getaffinity(0))


def test_files_that_say_nothing_sensible_limit_nothing(tmp_path: Path) -> None:
    proc, groups = write(tmp_path)
    put(tmp_path, "proc/self/cgroup", "0::/\n")
    put(tmp_path, "cgroup/memory.max", "lots\n")
    put(tmp_path, "cgroup/cpu.max", "")
    assert memory_bytes(proc, groups).total == 64 * GIB
    assert cores(proc, groups).why is None or "this process" in str(cores(proc, groups).why)
