"""One run at a time, and no lock left behind."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from snakescope import layout
from snakescope.errors import EnvironmentUnusableError, InputError
from snakescope.runner.lock import run_lock, snakemake_locks


def lock_file(root: Path) -> Path:
    return root / layout.STATE / "run.lock"


def test_a_lock_names_its_holder_and_is_empty_afterwards(tmp_path: Path) -> None:
    with run_lock(tmp_path) as lock:
        assert not lock.crashed
        assert lock_file(tmp_path).read_text() == f"process {os.getpid()} on {os.uname().nodename}\n"
    assert lock_file(tmp_path).read_text() == ""


def test_a_second_lock_is_refused_and_leaves_the_first(tmp_path: Path) -> None:
    with run_lock(tmp_path):
        with (
            pytest.raises(InputError, match=rf"^{tmp_path}: another run is at work here \(process {os.getpid()} on"),
            run_lock(tmp_path),
        ):
            pass
        assert str(os.getpid()) in lock_file(tmp_path).read_text()
    with run_lock(tmp_path) as lock:
        assert not lock.crashed


def test_a_full_disk_is_told_with_its_folder_and_leaves_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    with (
        pytest.raises(EnvironmentUnusableError, match=rf"{tmp_path}: cannot be written \(No space left on device\)"),
        run_lock(tmp_path),
    ):
        pass
    monkeypatch.undo()
    with run_lock(tmp_path) as lock:
        assert not lock.crashed


def test_a_run_that_was_killed_is_noticed_and_blocks_nobody(tmp_path: Path) -> None:
    script = f"""
import os, pathlib, snakescope.runner.lock
with snakescope.runner.lock.run_lock(pathlib.Path({str(tmp_path)!r})):
    os._exit(9)
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 9
    with run_lock(tmp_path) as lock:
        assert lock.crashed
    with run_lock(tmp_path) as lock:
        assert not lock.crashed


def test_an_error_within_a_run_counts_as_a_crash(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), run_lock(tmp_path):
        raise ZeroDivisionError
    with run_lock(tmp_path) as lock:
        assert lock.crashed


def test_the_lock_lives_as_long_as_whoever_inherited_it(tmp_path: Path) -> None:
    with run_lock(tmp_path) as lock:
        child = subprocess.Popen(
            [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[lock.descriptor], text=True
        )
    with pytest.raises(InputError, match="another run is at work here"), run_lock(tmp_path):
        pass
    child.communicate("\n")
    with run_lock(tmp_path):
        pass


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / layout.STATE).write_text("")
    with pytest.raises(InputError, match="cannot be written"), run_lock(tmp_path):
        pass


def test_locks_of_snakemake_are_found(tmp_path: Path) -> None:
    assert snakemake_locks(tmp_path) == []
    folder = tmp_path / ".snakemake/locks"
    folder.mkdir(parents=True)
    for name in ("1.output.lock", "0.input.lock", "notes.txt"):
        (folder / name).write_text("")
    assert [path.name for path in snakemake_locks(tmp_path)] == ["0.input.lock", "1.output.lock"]
