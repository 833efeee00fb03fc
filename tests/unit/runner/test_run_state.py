"""Following a run: what events mean, also when they come broken, late or unknown."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from snakemake_logger_plugin_snakescope import LogHandler
from snakescope.runner.progress import Bars, Events, Lines, RunState, Silent, display_for


def info(job: int, unit: str | None, rule: str) -> dict[str, Any]:
    return {"event": "job_info", "job": job, "rule": rule, "unit": unit}


def state_after(*events: dict[str, Any]) -> RunState:
    state = RunState()
    for event in events:
        state.take(event)
    return state


PLANNED = {"event": "run_info", "rules": {"deskew": 2, "track": 1, "all": 1, "total": 4}}
BOTH = (PLANNED, info(1, "a", "deskew"), info(2, "b", "deskew"))


def finished(job: int) -> dict[str, Any]:
    return {"event": "job_finished", "job": job}


def failed(job: int) -> dict[str, Any]:
    return {"event": "job_error", "job": job}


def test_planned_jobs_are_those_of_steps_only() -> None:
    assert state_after(PLANNED).planned == {"deskew": 2, "track": 1}


def test_finished_and_failed_jobs_are_counted_by_step() -> None:
    state = state_after(*BOTH, finished(1), failed(2))
    assert (state.done, state.failed) == ({"deskew": 1}, {"deskew": 1})
    assert list(state.failures) == [("b", "deskew")]


def test_a_job_that_fails_at_each_attempt_counts_once() -> None:
    state = state_after(*BOTH, failed(2), info(2, "b", "deskew"), failed(2), failed(2))
    assert (state.done.total(), state.failed) == (0, {"deskew": 1})


def test_a_job_that_succeeds_when_tried_again_has_not_failed() -> None:
    state = state_after(*BOTH, failed(2), info(2, "b", "deskew"), finished(2))
    assert (state.done, dict(state.failures)) == ({"deskew": 1}, {})


def test_a_job_that_is_tried_again_does_not_stand_as_failed_meanwhile() -> None:
    state = state_after(*BOTH, failed(2), info(2, "b", "deskew"))
    assert not state.failed


def test_what_the_executor_says_is_shown_at_once_and_once(capsys: pytest.CaptureFixture[str]) -> None:
    for display in (Lines(["deskew"]), Bars(["deskew"])):
        state = state_after(*BOTH)
        display.show(state)
        state.take({"event": "said", "message": "Slurm does not answer [n1]."})
        display.show(state)
        display.show(state)
        display.close()
        assert capsys.readouterr().err.count("Slurm does not answer [n1].\n") == 1


def test_the_logger_passes_on_what_is_to_be_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SNAKESCOPE_EVENTS", str(tmp_path / "events.jsonl"))
    handler = LogHandler(common_settings=None, settings=None)  # type: ignore[arg-type]
    for extra in ({"said": True}, {}):
        handler.emit(logging.makeLogRecord({"msg": "words", **extra}))
    handler.close()
    assert list(Events(tmp_path / "events.jsonl").new()) == [{"event": "said", "message": "words"}]


def test_the_rule_that_names_targets_is_no_job() -> None:
    state = state_after(*BOTH, info(0, None, "all"), finished(0))
    assert (state.done.total(), dict(state.failures)) == (0, {})


@pytest.mark.parametrize(
    "event",
    [
        {"event": "job_from_the_future", "job": 1},
        {"event": "progress", "done": 1, "total": 9},
        {"event": "job_started", "jobs": [1]},
        finished(99),
        failed(99),
        {"event": "job_finished"},
        {},
    ],
)
def test_events_that_say_nothing_to_us_change_nothing(event: dict[str, Any]) -> None:
    assert state_after(*BOTH, event) == state_after(*BOTH)


def test_errors_of_no_job_are_kept() -> None:
    assert state_after({"event": "error", "message": "no rule"}).messages == ["no rule"]


def test_events_are_read_once_each_as_the_file_grows(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    events = Events(path)
    assert list(events.new()) == []
    path.write_text(json.dumps(PLANNED) + "\n")
    assert list(events.new()) == [PLANNED]
    assert list(events.new()) == []
    with path.open("a") as file:
        file.write(json.dumps(BOTH[1]) + "\n" + json.dumps(BOTH[2]) + "\n")
    assert list(events.new()) == list(BOTH[1:])


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_line_that_is_being_written_waits_for_its_end(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "events.jsonl"
    line = (json.dumps(info(1, "µ-stack", "deskew"), ensure_ascii=False) + "\n").encode()
    events = Events(path)
    path.write_bytes(line[:cut])
    assert list(events.new()) == []
    path.write_bytes(line)
    assert list(events.new()) == [info(1, "µ-stack", "deskew")]


def test_a_letter_that_is_cut_in_two_waits_for_its_end(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    line = (json.dumps(info(1, "µ", "deskew"), ensure_ascii=False) + "\n").encode()
    half = line.index("µ".encode()) + 1
    events = Events(path)
    path.write_bytes(line[:half])
    assert list(events.new()) == []
    path.write_bytes(line)
    assert list(events.new()) == [info(1, "µ", "deskew")]


def test_a_broken_line_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"event": "job_fin\n[1]\n"x"\n\n' + json.dumps(PLANNED) + "\n")
    assert list(Events(path).new()) == [PLANNED]


def test_lines_are_few_and_tell_counts_and_failures(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines(["deskew", "track"], every_s=0)
    for state in (state_after(*BOTH), state_after(*BOTH), state_after(*BOTH, finished(1), failed(2))):
        lines.show(state)
    lines.close()
    assert capsys.readouterr().err == "deskew 0/2, track 0/1\ndeskew 1/2, track 0/1, 1 failed\n"


def test_lines_wait_for_their_time(capsys: pytest.CaptureFixture[str]) -> None:
    Lines(["deskew"], every_s=60).show(state_after(*BOTH))
    assert capsys.readouterr().err == ""


def test_the_display_fits_where_it_is_shown() -> None:
    assert isinstance(display_for(["deskew"], quiet=True), Silent)
    assert isinstance(display_for(["deskew"], quiet=False), Lines)
