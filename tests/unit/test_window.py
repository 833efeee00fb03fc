"""How many staged copies lie on the disk at once, played with a graph of jobs and a scheduler of our own."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest

from snakescope.errors import EnvironmentUnusableError
from snakescope.window import Window, hold_window

SEEDS = range(200 if os.environ.get("SNAKESCOPE_SOAK") else 8)
# Steps, each over rows or over groups of rows, with what it reads: the staged copy (raw) or other steps.
PIPELINES: dict[str, dict[str, tuple[str, tuple[str, ...]]]] = {
    "one step": {"stamp": ("row", ("raw",))},
    "a group gathers": {"stamp": ("row", ("raw",)), "gather": ("group", ("stamp",))},
    "a group reads first": {"merge": ("group", ("raw",)), "count": ("group", ("merge",))},
    "two steps read": {"segment": ("row", ("raw",)), "measure": ("row", ("raw", "segment"))},
    "a late reader waits for its group": {
        "spot": ("row", ("raw",)),
        "link": ("group", ("spot",)),
        "judge": ("row", ("raw", "link")),
    },
    "a row and a group read": {"stamp": ("row", ("raw",)), "merge": ("group", ("raw", "stamp"))},
}


@dataclass(eq=False)
class Job:
    rule: SimpleNamespace
    unit: str
    rows: list[str]
    needs: set[Job] = field(default_factory=set)

    @property
    def wildcards_dict(self) -> dict[str, str]:
        return {"sample": self.unit}

    def is_group(self) -> bool:
        return False


class Play:
    """A graph, a scheduler with some cores, and jobs that end in any order, some of them badly."""

    def __init__(
        self, steps: dict[str, tuple[str, tuple[str, ...]]], rows: int, group: int, done: frozenset[str]
    ) -> None:
        self.rows = [f"r{index}" for index in range(rows)]
        self.steps = steps
        self.stage = {row: self._job("stage_in", row, [row]) for row in self.rows}
        self.by_step: dict[str, list[Job]] = {}
        for step, (over, reads) in steps.items():
            groups = [
                self.rows[at : at + (group if over == "group" else 1)]
                for at in range(0, rows, group if over == "group" else 1)
            ]
            self.by_step[step] = [self._job(step, part[0], part) for part in groups]
            for job in self.by_step[step]:
                for source in reads:
                    pool = list(self.stage.values()) if source == "raw" else self.by_step[source]
                    job.needs |= {other for other in pool if set(other.rows) & set(job.rows)}
        self.jobs = [*self.stage.values(), *(job for jobs in self.by_step.values() for job in jobs)]
        self.not_needed = {job for job in self.jobs if job.rule.name in done}
        self.finished: set[Job] = set()
        self.scheduler = SimpleNamespace(
            dryrun=False, running=set(), failed=set(),
            workflow=SimpleNamespace(is_main_process=True, dag=self),
        )  # fmt: skip
        self.depending = {job: [other for other in self.jobs if job in other.needs] for job in self.jobs}
        self.dependencies = {job: list(job.needs) for job in self.jobs}
        self.most_first = self.most_all = 0

    @staticmethod
    def _job(step: str, unit: str, rows: list[str]) -> Job:
        return Job(SimpleNamespace(name=step), unit, rows)

    def needrun(self, job: Job) -> bool:
        return job not in self.not_needed

    def finished_(self, job: Job) -> bool:
        return job in self.finished

    def ready(self) -> list[Job]:
        over = self.finished | self.not_needed
        gone = self.scheduler.running | self.scheduler.failed
        return [job for job in self.jobs if job not in over and job not in gone and job.needs <= over]

    def settled(self, job: Job) -> bool:
        over = job in self.finished or job in self.not_needed or job in self.scheduler.failed
        return over or any(self.settled(other) and other not in self.finished | self.not_needed for other in job.needs)

    def note(self) -> None:
        """Count the copies that their first reader, or any, still has to read."""
        here = [row for row in self.rows if self.stage[row] in self.finished | self.scheduler.running]
        first = all_ = 0
        for row in here:
            readers = [job for job in self.depending[self.stage[row]] if job not in self.not_needed]
            first += bool(readers) and not self.settled(readers[0])
            all_ += any(not self.settled(job) for job in readers)
        self.most_first, self.most_all = max(self.most_first, first), max(self.most_all, all_)

    def run(self, window: Window, dice: random.Random, cores: int, fail: float) -> None:
        while True:
            seen = window.open(self.scheduler, self.ready())
            running = self.scheduler.running
            if not seen and not running:
                return
            dice.shuffle(seen)
            running.update(seen[: cores - len(running)])
            self.note()
            job = dice.choice(sorted(running, key=lambda each: (each.rule.name, each.unit)))
            running.remove(job)
            (self.scheduler.failed if dice.random() < fail else self.finished).add(job)

    @property
    def undone(self) -> list[str]:
        return [f"{job.rule.name} {job.unit}" for job in self.jobs if not self.settled(job)]


class Dag:
    """What the window asks of Snakemake's graph."""

    def __init__(self, play: Play) -> None:
        self.jobs, self.depending, self.dependencies = play.jobs, play.depending, play.dependencies
        self.needrun: Callable[[Job], bool] = play.needrun
        self.finished: Callable[[Job], bool] = play.finished_


def play(
    name: str, window: int, seed: int, *, fail: float = 0.0, cores: int = 4, rows: int = 24, group: int = 3,
    done: frozenset[str] = frozenset(), keep: bool = False,
) -> Play:  # fmt: skip
    found = Play(PIPELINES[name], rows, group, done)
    found.scheduler.workflow.dag = Dag(found)
    found.run(Window(window, found.rows, list(found.steps), keep=keep), random.Random(seed), cores, fail)
    return found


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("fail", [0.0, 0.3], ids=["all goes well", "some fail"])
@pytest.mark.parametrize("name", PIPELINES)
def test_no_more_copies_wait_for_their_first_step_than_the_window_and_everything_that_can_be_done_is(
    name: str, fail: float
) -> None:
    for seed in SEEDS:
        for cores in (1, 4):
            found = play(name, 5, seed, fail=fail, cores=cores)
            assert found.undone == []
            assert 0 < found.most_first <= 5, f"seed {seed}, {cores} cores"


@pytest.mark.parametrize("name", ["one step", "two steps read", "a group gathers"])
def test_copies_that_any_step_can_still_read_are_no_more_either(name: str) -> None:
    assert max(play(name, 5, seed, fail=0.1).most_all for seed in SEEDS) <= 5


def test_a_step_that_waits_for_rows_beyond_the_window_holds_nothing_up() -> None:
    found = play("a late reader waits for its group", 3, 1, rows=24, group=12)
    assert found.undone == []
    assert found.most_first <= 3 < found.most_all


def test_a_window_of_one_row_is_enough() -> None:
    found = play("two steps read", 1, 2, fail=0.2)
    assert (found.undone, found.most_first) == ([], 1)


def test_the_window_is_used_in_full() -> None:
    assert play("one step", 5, 3, cores=20).most_first == 5


def test_a_group_that_is_larger_than_the_window_is_let_in_alone_rather_than_never() -> None:
    found = play("a group reads first", 3, 4, rows=8, group=4)
    assert (found.undone, found.most_first) == ([], 4)


def test_a_row_whose_first_step_was_done_before_is_staged_for_the_next(tmp_path: Path) -> None:
    found = play("a late reader waits for its group", 3, 5, done=frozenset({"spot"}), rows=12, group=6)
    assert found.undone == []


def test_rows_are_let_in_in_the_order_of_the_sheet() -> None:
    found = Play(PIPELINES["one step"], 9, 1, frozenset())
    found.scheduler.workflow.dag = Dag(found)
    window = Window(3, reversed(found.rows), ["stamp"])
    assert sorted(job.unit for job in window.open(found.scheduler, found.ready())) == ["r6", "r7", "r8"]


def test_copies_of_an_earlier_run_count(tmp_path: Path) -> None:
    found = Play(PIPELINES["one step"], 9, 1, frozenset())
    found.scheduler.workflow.dag = Dag(found)
    for row in ("r0", "r1"):
        (tmp_path / "staged" / row).mkdir(parents=True)
        found.not_needed.add(found.stage[row])
    seen = Window(3, found.rows, ["stamp"]).open(found.scheduler, found.ready())
    assert sorted((job.rule.name, job.unit) for job in seen) == [("stage_in", "r2"), ("stamp", "r0"), ("stamp", "r1")]


def copies(tmp_path: Path, *, keep: bool) -> set[str]:
    """Folders left when a step over three staged rows has failed on the first."""
    found = Play(PIPELINES["one step"], 3, 1, frozenset())
    found.scheduler.workflow.dag = Dag(found)
    window = Window(3, found.rows, ["stamp"], keep=keep)
    window.open(found.scheduler, found.ready())
    for row in found.rows:
        (tmp_path / "staged" / row).mkdir(parents=True)
        found.finished.add(found.stage[row])
    found.scheduler.failed.add(found.by_step["stamp"][0])
    window.open(found.scheduler, found.ready())
    for thread in window._removals:
        thread.join()
    return {path.name for path in (tmp_path / "staged").iterdir()}


def test_the_copy_of_a_row_that_failed_is_removed(tmp_path: Path) -> None:
    assert copies(tmp_path, keep=False) == {"r1", "r2"}


def test_the_copy_of_a_row_that_failed_stays_when_copies_are_kept(tmp_path: Path) -> None:
    assert copies(tmp_path, keep=True) == {"r0", "r1", "r2"}


@pytest.mark.parametrize(("dryrun", "main"), [(True, True), (False, False)])
def test_a_plan_and_the_jobs_of_a_cluster_see_everything(dryrun: bool, main: bool) -> None:
    found = Play(PIPELINES["one step"], 9, 1, frozenset())
    found.scheduler.dryrun, found.scheduler.workflow.is_main_process = dryrun, main
    assert len(Window(1, found.rows, ["stamp"]).open(found.scheduler, found.ready())) == 9


def test_a_scheduler_is_held_once_however_often_a_workflow_is_read() -> None:
    found = Play(PIPELINES["one step"], 9, 1, frozenset())
    scheduler = type("S", (), {"open_jobs": property(lambda self: found.ready()), **vars(found.scheduler)})
    scheduler.workflow.dag = Dag(found)  # type: ignore[attr-defined]
    for size in (7, 2):
        hold_window(scheduler, size, found.rows, ["stamp"])
    assert len(scheduler().open_jobs) == 2


def test_a_snakemake_that_cannot_be_held_back_is_refused() -> None:
    with pytest.raises(EnvironmentUnusableError, match=r"does not tell which jobs are ready, so stage_window cannot"):
        hold_window(type("S", (), {}), 3, [], [])


def test_of_rows_whose_staging_failed_as_many_parts_stay_as_the_window_has_rows(tmp_path: Path) -> None:
    found = Play(PIPELINES["one step"], 6, 1, frozenset())
    found.scheduler.workflow.dag = Dag(found)
    window = Window(2, found.rows, ["stamp"])
    for row in found.rows:
        window.open(found.scheduler, found.ready())
        (tmp_path / "staged/.part" / row).mkdir(parents=True)
        found.scheduler.failed.add(found.stage[row])
    window.open(found.scheduler, found.ready())
    for thread in window._removals:
        thread.join()
    assert len(list((tmp_path / "staged/.part").iterdir())) == 2
