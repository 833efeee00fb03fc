"""Leases: one holder at a time, whoever dies, whenever it does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from snakescope.cluster import lease, processes, slurm
from snakescope.cluster.lease import Holder, Lease, take

NEVER: Callable[[str], bool | None] = lambda job_id: pytest.fail(f"asked for {job_id}")  # noqa: E731


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "s1-0001.lease"


@pytest.fixture
def other() -> Iterator[Holder]:
    """A process that lives on this machine."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield Holder(None, os.uname().nodename, process.pid, processes.started_at(process.pid), "theirs")
    process.kill()
    process.communicate()


def write(path: Path, holder: Holder, silent_s: float = 0) -> None:
    path.write_text(json.dumps(asdict(holder)))
    then = time.time() - silent_s
    os.utime(path, (then, then))


def held(found: Lease | Holder) -> Lease:
    assert isinstance(found, Lease)
    return found


def test_a_lease_names_its_holder(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    mine = held(take(path, NEVER))
    told = json.loads(path.read_text())
    assert (told["job_id"], told["pid"], told["host"]) == ("17", os.getpid(), os.uname().nodename)
    assert str(mine.holder) == f"Slurm job 17, process {os.getpid()} on {os.uname().nodename}"


def test_who_lives_keeps_its_lease(path: Path, other: Holder) -> None:
    write(path, other, silent_s=10_000)
    assert take(path, NEVER, patience_s=0) == other
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_the_lease_of_a_dead_process_is_taken_over(path: Path, other: Holder) -> None:
    dead = replace(other, started=1)  # another process has its number now
    write(path, dead)
    mine = held(take(path, NEVER, patience_s=0))
    assert mine.path.name == "s1-0001.lease.1"
    assert mine.before == (dead,)


def test_a_lease_that_was_given_back_is_free(path: Path) -> None:
    first = held(take(path, NEVER))
    first.release()
    second = held(take(path, NEVER, patience_s=0))
    assert (first.path, second.path.name) == (path, "s1-0001.lease.1")
    assert not first.beat()
    assert second.beat()


@pytest.mark.parametrize(("at_work", "free"), [(True, False), (False, True)])
def test_slurm_says_whether_a_holder_elsewhere_is_at_work(path: Path, at_work: bool, free: bool) -> None:
    write(path, Holder("18", "far", 1, 1, "theirs"), silent_s=0 if free else 10_000)
    found = take(path, lambda job_id: {"18": at_work}[job_id], patience_s=0)
    assert isinstance(found, Lease) is free


@pytest.mark.parametrize(("silent_s", "free"), [(lease.SILENT_S - 60, False), (lease.SILENT_S + 60, True)])
@pytest.mark.parametrize("job_id", [None, "18"])
def test_of_whom_nothing_can_be_asked_signs_of_life_tell(
    path: Path, job_id: str | None, silent_s: float, free: bool
) -> None:
    write(path, Holder(job_id, "far", 1, 1, "theirs"), silent_s)
    assert isinstance(take(path, lambda _: None, patience_s=0), Lease) is free
    assert not list(path.parent.glob(".*"))


def test_a_beat_is_a_sign_of_life(path: Path) -> None:
    mine = held(take(path, NEVER))
    os.utime(path, (1, 1))
    assert mine.beat()
    assert time.time() - path.stat().st_mtime < 60


def test_a_job_that_was_requeued_elsewhere_takes_its_own_lease_over(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    write(path, Holder("17", "far", 1, 1, "mine before"))
    assert held(take(path, NEVER, patience_s=0)).before[0].token == "mine before"


@pytest.mark.parametrize("text", ["", '{"job_id": "1'])
def test_a_lease_that_is_being_written_is_held(path: Path, text: str) -> None:
    path.write_text(text)
    assert isinstance(take(path, NEVER, patience_s=0), Holder)
    os.utime(path, (1, 1))
    assert isinstance(take(path, NEVER, patience_s=0), Lease)


def test_a_holder_that_is_ending_is_waited_for(path: Path) -> None:
    write(path, Holder("18", "far", 1, 1, "theirs"))
    answers = iter([True, False])
    assert isinstance(take(path, lambda _: next(answers), patience_s=5), Lease)


def test_of_many_that_take_over_at_once_one_does(path: Path) -> None:
    write(path, Holder("18", "far", 1, 1, "dead"))
    found: list[Lease | Holder] = []
    start = threading.Barrier(12)

    def race() -> None:
        start.wait()
        found.append(take(path, lambda job_id: job_id != "18", patience_s=0))

    threads = [threading.Thread(target=race) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(isinstance(one, Lease) for one in found) == 1


@pytest.mark.parametrize(
    ("answer", "at_work"),
    [("RUNNING\n", True), ("COMPLETING\n", True), ("PENDING\n", False), ("COMPLETED\n", False), ("", False)],
)
def test_the_states_of_a_job_say_whether_it_is_at_work(
    monkeypatch: pytest.MonkeyPatch, answer: str, at_work: bool
) -> None:
    monkeypatch.setattr(slurm, "call", lambda *_: answer)
    assert lease.is_at_work("17") is at_work


def test_a_job_that_slurm_does_not_know_is_not_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: str) -> str:
        raise slurm.SlurmRefusedError("slurm_load_jobs error: Invalid job id specified")

    monkeypatch.setattr(slurm, "call", refuse)
    assert lease.is_at_work("17") is False


def test_nothing_is_known_of_a_job_while_slurm_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: str) -> str:
        raise slurm.SlurmAwayError("socket timed out")

    monkeypatch.setattr(slurm, "call", away)
    assert lease.is_at_work("17") is None


def test_processes_are_found_by_whose_children_they_are_and_by_what_they_were_started_with(tmp_path: Path) -> None:
    script = "sleep 60 & echo $!; wait"
    environment = {**os.environ, "SNAKESCOPE_LEASE": "a token of this test"}
    shell = subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, text=True, env=environment)
    assert shell.stdout is not None
    child = int(shell.stdout.readline())
    try:
        assert processes.descendants(shell.pid) == [child]
        assert {shell.pid, child} <= set(processes.descendants(os.getpid()))
        assert set(processes.with_variable("SNAKESCOPE_LEASE", ["a token of this test"])) == {shell.pid, child}
        assert processes.with_variable("SNAKESCOPE_LEASE", []) == []
    finally:
        processes.end([child, shell.pid], signal.SIGKILL)
        shell.communicate()
    assert processes.started_at(shell.pid) is None
