"""What people are told after a run and about a study."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from snakescope import layout
from snakescope.runner.folder import compile_study, init, open_study
from snakescope.runner.outcome import Failure, RunResult
from snakescope.runner.report import run_summary, run_to_dict, status, status_text, status_to_dict, tool_text
from snakescope.tool.library import read_tool

ROWS = "id\tpath\tseries\tt\n" + "".join(f"r{i}\tdata/{i}.tif\ts{i // 2}\t{i % 2}\n" for i in range(4))


def failures(count: int) -> list[Failure]:
    return [Failure(f"r{i}", "deskew", f"error: stack {i} is cut", f"logs/r{i}/deskew.log") for i in range(count)]


def test_a_summary_tells_what_failed_why_and_where_to_read_on() -> None:
    result = RunResult(5, 9, failures(1), 3, [], 61.2)
    assert run_summary(result).splitlines() == [
        "5 of 9 jobs done in 1 min 1 s",
        "",
        "1 failed:",
        "  r0  deskew: stack 0 is cut",
        "      log: logs/r0/deskew.log",
        "",
        "3 jobs did not start, since one they need failed",
        "Mend or remove the rows, then run again: only what is missing will run.",
    ]
    assert result.exit_code == 1


def test_many_failures_are_cut_and_counted() -> None:
    text = run_summary(RunResult(0, 30, failures(30)))
    assert text.count("is cut") == 20
    assert "30 failed:" in text
    assert "... and 10 more; all by name: snakescope status --json" in text


def test_a_reason_that_many_rows_share_is_told_once_and_hides_no_other() -> None:
    same = [replace(failure, reason="error: no PSF") for failure in failures(30)]
    lines = run_summary(
        RunResult(0, 31, [*same, Failure("z", "track", "error: empty", "logs/z/track.log")])
    ).splitlines()
    assert lines[2:8] == [
        "31 failed:",
        "  r0 and 29 more  deskew: no PSF",
        "      log: logs/r0/deskew.log",
        "  z  track: empty",
        "      log: logs/z/track.log",
        "  all by name: snakescope status --json",
    ]


@pytest.mark.parametrize(
    ("result", "dry_run", "text"),
    [
        (RunResult(0, 0), False, "nothing to do: everything is done already"),
        (RunResult(0, 0), True, "nothing to do: everything is done already"),
        (RunResult(0, 7), True, "7 jobs to run"),
        (RunResult(0, 7, by_step={"deskew": 4, "track": 3}), True, "7 jobs to run: deskew 4, track 3"),
        (RunResult(7, 7, seconds=0.4), False, "7 of 7 jobs done in 0 s"),
        (RunResult(7, 7, seconds=7260), False, "7 of 7 jobs done in 2 h 1 min"),
    ],
)
def test_a_summary_without_failures_is_one_line(result: RunResult, dry_run: bool, text: str) -> None:
    assert run_summary(result, dry_run=dry_run) == text
    assert run_to_dict(result)["exit_code"] == 0


def test_a_run_is_told_to_scripts_in_full() -> None:
    told = json.loads(json.dumps(run_to_dict(RunResult(1, 3, failures(2)))))
    assert (told["jobs"], told["planned"], told["exit_code"]) == (1, 3, 1)
    assert told["failures"][1] == {
        "unit": "r1",
        "step": "deskew",
        "reason": "error: stack 1 is cut",
        "log": "logs/r1/deskew.log",
    }


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A compiled study of four rows in two series: r0 is deskewed, r1 failed, the rest is untried."""
    init(tmp_path)
    (tmp_path / layout.SHEET).write_text(ROWS)
    for path, text in (
        (layout.record("r0", "deskew"), "{}"),
        (layout.failure("r1", "deskew"), "{}"),
        (layout.log("r1", "deskew"), "reading\nerror: no light\n    turn on the laser\n"),
        (layout.record("s0", "track"), "{}"),
        (layout.failure("s0", "track"), "{}"),
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    return tmp_path


def test_status_counts_jobs_by_step_from_records(study: Path) -> None:
    found = status(open_study(study))
    counts = {step.step: (step.over, step.jobs, step.done, step.failed) for step in found.steps}
    assert counts == {
        "deskew": ("row", 4, 1, 1),
        "deconvolve": ("row", 4, 0, 0),
        "detect": ("row", 4, 0, 0),
        "track": ("series", 2, 1, 0),
        "measure": ("series", 2, 0, 0),
        "render": ("series", 2, 0, 0),
    }
    assert [(f.unit, f.reason) for f in found.failures] == [("r1", "error: no light turn on the laser")]


def test_status_is_a_table_for_people_and_plain_for_scripts(study: Path) -> None:
    found = status(open_study(study))
    lines = status_text(found).splitlines()
    assert lines[0] == "llsm_tracking: 4 rows"
    assert [line.split() for line in lines[3:5]] == [["deskew", "row", "1/4", "1", "1"], ["deconvolve", "row", "0/4"]]
    assert lines[11:13] == ["  r1  deskew: no light turn on the laser", "      log: logs/r1/deskew.log"]
    told = json.loads(json.dumps(status_to_dict(found)))
    assert told["steps"][3] == {
        "step": "track",
        "tool": "track",
        "over": "series",
        "jobs": 2,
        "done": 1,
        "failed": 0,
        "outdated": 1,
    }


def test_results_that_were_removed_are_counted_with_what_to_do(study: Path) -> None:
    found = status(open_study(study))
    gone = [f"results/s0/track/{name}" for name in ("tracks.geff", "tracks.csv", "tracks.xml")]
    assert found.gone == ["results/r0/deskew/image.ome.zarr", *gone]
    assert status_text(found).endswith(
        "4 results of jobs that count as done are not there any more, such as results/r0/deskew/image.ome.zarr.\n"
        "To make it again, remove its record, records/r0/deskew.json, and run."
    )
    for path in found.gone:
        (study / path).mkdir(parents=True)
    assert status(open_study(study)).gone == []


def test_a_pipeline_that_was_edited_since_is_told(study: Path) -> None:
    told = "The pipeline has changed since it ran. What that concerns is told by: snakescope run --dry-run"
    assert told not in status_text(status(open_study(study)))
    pipeline = study / "config/pipelines/llsm_tracking.yaml"
    pipeline.write_text(pipeline.read_text().replace("threshold: 100", "threshold: 200"))
    assert told in status_text(status(open_study(study)))
    pipeline.write_text("nothing: good\n")
    assert told in status_text(status(open_study(study)))


def test_results_that_nobody_keeps_are_not_missed(study: Path) -> None:
    pipeline = study / "config/pipelines/llsm_tracking.yaml"
    pipeline.write_text(pipeline.read_text().replace("    tool: deskew\n", "    tool: deskew\n    keep: false\n"))
    compile_study(open_study(study))
    assert [path.split("/")[2] for path in status(open_study(study)).gone] == ["track"] * 3


def test_a_tool_is_told_with_its_ports_units_and_defaults() -> None:
    text = tool_text(read_tool(layout.assets() / "tools/deconvolve"))
    lines = text.splitlines()
    assert lines[0] == "Deconvolve 1.0.0 (deconvolve)"
    assert [line.split()[:3] for line in lines if line.startswith("  psf_z_um")] == [["psf_z_um", "=", "not"]]
    assert [line.split()[:3] for line in lines if line.startswith("  iterations")] == [["iterations", "=", "10"]]
    assert lines[-1].startswith("cite https://doi.org/10.")
    text = tool_text(read_tool(layout.assets() / "tools/elastix"))
    assert "One of: translation, rigid, affine, bspline." in text
    assert "At least 1 and at most 10000 px. Only if kind == 'bspline'." in text
    assert "(as ome-tiff or tiff, of uint8 or uint16 or int16 or float32)" in text
    assert "runs sh, elastix (--sdm apptainer: envs/elastix.sif)" in text
