"""What a cluster job makes of the records and failures that it finds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from snakescope import layout
from snakescope.cluster import shard
from snakescope.cluster.outcome import Outcome, Shelf, assess, upstream
from snakescope.cluster.task import Task, read_todo
from snakescope.workflow import Plan
from tiny_tools import IMAGE, write_pipeline, write_rows, write_rules, write_tools

TABLE = {"type": "file", "description": "A table."}
OUT = {"type": "file", "description": "A table.", "file": "out.txt", "format": "txt"}
TOOLS: dict[str, dict[str, Any]] = {
    "first": {"inputs": {"image": IMAGE}, "outputs": {"made": OUT}, "command": ["p", "{in.image}", "{out.made}"]},
    "next": {"inputs": {"table": TABLE}, "outputs": {"made": OUT}, "command": ["p", "{in.table}", "{out.made}"]},
    "join": {
        "inputs": {"tables": {**TABLE, "many": True}},
        "outputs": {"made": OUT},
        "command": ["p", "{in.tables}", "{out.made}"],
    },
}
STEPS = {
    "one": {"tool": "first", "inputs": {"image": "sheet.path"}},
    "two": {"tool": "next", "inputs": {"table": "one.made"}},
    "every": {"tool": "join", "over": "series", "inputs": {"tables": "two.made"}},
}
PAIRS = [("every", "s"), ("two", "a"), ("two", "b"), ("one", "a"), ("one", "b")]


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    write_tools(tmp_path, TOOLS)
    write_rows(tmp_path, [{"id": name, "path": f"{name}.tif", "series": "s"} for name in "ab"])
    write_rules(tmp_path, write_pipeline(tmp_path, STEPS))
    monkeypatch.chdir(tmp_path)
    for name in "ab":
        Path(f"{name}.tif").touch()
    return Plan.read("test", layout.SHEET)


def leave(state: Mapping[tuple[str, str], int]) -> None:
    """Leave a record for 0, the facts of a failure for any other exit code."""
    for (step, unit), code in state.items():
        path = Path(layout.failure(unit, step) if code else layout.record(unit, step))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"exit_code": code}))


def task(**more: object) -> Task:
    Path(layout.cluster_folder("abc")).mkdir(parents=True, exist_ok=True)
    return Task(**{"digest": "abc", "stage": "s1", "shard": "1", "pipeline": "test", "cores": 1, "mem_mb": 1} | more)  # type: ignore[arg-type]


def test_a_job_takes_from_the_rows_of_its_group(plan: Plan) -> None:
    assert list(upstream(plan, "every", "s")) == [("two", "a"), ("two", "b")]
    assert list(upstream(plan, "one", "a")) == []


def test_what_has_a_record_is_done(plan: Plan) -> None:
    leave(dict.fromkeys(PAIRS, 0))
    found = assess(plan, PAIRS, Shelf())
    assert sorted(found.done) == sorted(PAIRS)
    assert found.is_final


@pytest.mark.parametrize("code", [1, 3, 134, 139, 255])
def test_a_row_that_failed_by_itself_blocks_what_needs_it_at_any_distance(plan: Plan, code: int) -> None:
    leave({("one", "a"): code, ("one", "b"): 0, ("two", "b"): 0})
    found = assess(plan, PAIRS, Shelf())
    assert (found.done, found.failed) == ([("one", "b"), ("two", "b")], [("one", "a")])
    assert found.blocked == [("two", "a"), ("every", "s")]
    assert found.is_final


@pytest.mark.parametrize("code", [129, 130, 137, 143, -9])
def test_what_was_killed_and_all_that_waits_for_it_is_to_be_tried_again(plan: Plan, code: int) -> None:
    leave({("one", "a"): code, ("one", "b"): 0, ("two", "b"): 0})
    found = assess(plan, PAIRS, Shelf())
    assert (found.killed, found.untouched) == ([("one", "a")], [("two", "a"), ("every", "s")])
    assert not found.is_final


def test_what_left_no_trace_is_to_be_tried_again(plan: Plan) -> None:
    leave({("one", "b"): 0})
    found = assess(plan, PAIRS, Shelf())
    assert found.untouched == [("one", "a"), ("two", "a"), ("two", "b"), ("every", "s")]
    assert not found.is_final


def test_a_failure_of_an_earlier_stage_blocks(plan: Plan) -> None:
    leave({("one", "a"): 1, ("one", "b"): 0, ("two", "b"): 0})
    assert assess(plan, [("every", "s"), ("two", "a")], Shelf()).blocked == [("two", "a"), ("every", "s")]


def test_what_is_blocked_or_done_or_has_failed_is_not_asked_for(plan: Plan) -> None:
    leave({("one", "a"): 1, ("one", "b"): 0})
    assert shard._targets(plan, dict.fromkeys(PAIRS, "new")) == [("two", "b")]


def test_what_was_killed_is_asked_for_again(plan: Plan) -> None:
    leave({("one", "a"): 137, ("one", "b"): 0, ("two", "b"): 0})
    assert shard._targets(plan, dict.fromkeys(PAIRS, "new")) == [("one", "a"), ("two", "a"), ("every", "s")]


def test_a_job_begins_once_for_a_list_of_pairs(plan: Plan) -> None:
    one = task()
    one.todo.write_text("one\ta\tstale\none\tb\tnew\n")
    leave({("one", "a"): 0, ("one", "b"): 7})
    todo = read_todo(one.todo)
    assert todo == {("one", "a"): "stale", ("one", "b"): "new"}
    shard._begin(one, todo)
    assert not Path(layout.record("a", "one")).exists()
    assert not Path(layout.failure("b", "one")).exists()
    leave({("one", "a"): 0, ("one", "b"): 7})
    shard._begin(one, todo)  # another try
    assert Path(layout.record("a", "one")).exists()
    assert Path(layout.failure("b", "one")).exists()
    one.todo.write_text("one\ta\tstale\n")
    shard._begin(one, read_todo(one.todo))
    assert not Path(layout.record("a", "one")).exists()


def test_another_try_clears_away_what_killed_jobs_have_left_of_what_is_done(plan: Plan) -> None:
    one = task()
    one.todo.write_text("one\ta\tnew\none\tb\tnew\n")
    shard._begin(one, read_todo(one.todo))
    leave({("one", "a"): 0})
    litter = [Path(f"{path(unit, 'one')}.n1.77") for unit in "ab" for path in (layout.failure, layout.record)]
    for path in [*litter, Path(layout.failure("a", "one"))]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    shard._begin(one, read_todo(one.todo))
    assert [path.exists() for path in litter] == [False, False, True, True]  # b may be alive on a node that is silent
    assert not Path(layout.failure("a", "one")).exists()
    assert Path(layout.record("a", "one")).exists()


def test_a_temporary_file_is_kept_for_a_later_job_alone(plan: Plan, tmp_path: Path) -> None:
    steps = {**STEPS, "two": {**STEPS["two"], "keep": False}}
    write_rules(tmp_path, write_pipeline(tmp_path, steps))
    later = task(stage="s2")
    later.todo.write_text("every\ts\tnew\n")
    targets = [("one", "a"), ("two", "a")]
    assert shard._kept_for_later(task(later=["s2/1"]), plan, targets) == ["results/a/two/out.txt"]
    assert shard._kept_for_later(task(later=[]), plan, targets) == []
    assert shard._kept_for_later(task(later=["s2/1"]), plan, [("one", "a")]) == []


def test_the_done_file_lists_a_thousand_failures_and_counts_all(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    one = task()
    failed = [("one", str(number)) for number in range(1500)]
    assert shard._tell(one, Outcome([("one", "a")], failed, [("two", "a")])) == 0
    told = json.loads(one.done.read_text())
    assert told["failed"] == [["one", str(number)] for number in range(1000)]
    assert {key: told[key] for key in ("done", "failed_count", "blocked", "job_id")} == {
        "done": 1,
        "failed_count": 1500,
        "blocked": 1,
        "job_id": "17",
    }


def test_what_can_be_tried_again_leaves_no_done_file(plan: Plan) -> None:
    assert shard._tell(task(), Outcome(killed=[("one", "a")])) == 75
    assert not task().done.exists()
