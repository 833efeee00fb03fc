"""A planned run: made, written, read and shown."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cluster_helpers import STEPS, rows_of, study, write_all, write_record
from snakescope import layout
from snakescope.cluster.plan import RunPlan, made_from, make_plan, read_plan, write_plan
from snakescope.cluster.plan_text import plan_text
from snakescope.cluster.site import Partition, Site, SiteFile
from snakescope.cluster.slurm import read_run_id, run_id
from snakescope.errors import InputError
from snakescope.samples import read_sheet
from snakescope.workflow import Plan

CPU = Partition(max_runtime_min=600, max_mem_mb=64_000, max_cpus=8, nodes=4, resources={"qos": "q"})
SITE = Site(partitions={"cpu": CPU}, jobs=100)


def made_in(folder: Path, rows: int = 90, **words: Any) -> tuple[Plan, RunPlan]:
    plan = study(folder, rows_of(rows, series=30))
    return plan, make_plan(plan, SITE, folder, **words)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    _, made = made_in(tmp_path)
    written = write_plan(tmp_path, made)
    assert read_plan(tmp_path) == written
    assert written.run_id == read_run_id(tmp_path)
    assert read_plan(tmp_path / "elsewhere") is None


def test_the_file_has_the_form_that_others_read(tmp_path: Path) -> None:
    write_plan(tmp_path, made_in(tmp_path)[1])
    data = json.loads((tmp_path / layout.cluster_plan()).read_text())
    assert data["schema"] == 1
    assert (data["pipeline"], data["samples"], data["grain"]) == ("test", "config/samples.tsv", "fanout")
    assert data["stages"][0] == {"name": "s1", "steps": ["shear", "look"], "after": [], "gpus": 0, "why": None}
    job = data["jobs"][0]
    assert {key: job[key] for key in ("stage", "shard", "gpus", "partition", "resources", "after_jobs")} == {
        "stage": "s1", "shard": "0001", "gpus": 0, "partition": "cpu", "resources": {"qos": "q"}, "after_jobs": [],
    }  # fmt: skip
    assert (job["max_mem_mb"], job["max_runtime_min"]) == (64_000, 600)
    assert {"id", "rows", "first", "last"} == set(data["shards"][0])


def test_manifests_and_lists_hold_every_pair_once(tmp_path: Path) -> None:
    plan, made = made_in(tmp_path)
    write_record(tmp_path, plan, "shear", "r000")
    write_record(tmp_path, plan, "look", "r001")
    made = write_plan(tmp_path, make_plan(plan, SITE, tmp_path))
    found: Counter[tuple[str, ...]] = Counter()
    for job in made.jobs:
        sheet = read_sheet(tmp_path / layout.manifest(made.digest, job.shard))
        lines = (tmp_path / layout.todo_file(made.digest, job.stage, job.shard)).read_text().splitlines()
        assert len(lines) == job.pending
        found.update(tuple(line.split("\t")) for line in lines)
        units = {unit for line in lines for _, unit, _ in [line.split("\t")]}
        assert units <= {row.id for row in sheet.rows} | set(sheet.column("series"))
        info = next(shard for shard in made.shards if shard.id == job.shard)
        assert (info.rows, info.first, info.last) == (len(sheet.rows), sheet.rows[0].id, sheet.rows[-1].id)
    assert sum(found.values()) == made.pending == len(found) == 90 * 3 + 3 - 1
    assert ("look", "r001", "stale") in found
    assert ("look", "r000", "new") in found
    assert not any(step == "shear" and unit == "r000" for step, unit, _ in found)


def test_a_job_waits_for_those_before_it_that_share_its_rows(tmp_path: Path) -> None:
    written = write_plan(tmp_path, made_in(tmp_path)[1])
    rows = {
        shard.id: {row.id for row in read_sheet(tmp_path / layout.manifest(written.digest, shard.id)).rows}
        for shard in written.shards
    }
    assert [stage.after for stage in written.stages] == [(), ("s1",), ("s2",)]
    for stage in written.stages[1:]:
        before = [job for job in written.jobs if job.stage in stage.after]
        for job in (job for job in written.jobs if job.stage == stage.name):
            assert set(job.after_jobs) == {other.key for other in before if rows[other.shard] & rows[job.shard]}
            assert job.after_jobs


def test_a_stage_that_is_done_is_not_waited_for(tmp_path: Path) -> None:
    plan = study(tmp_path, rows_of(90))
    write_all(tmp_path, plan, ["shear", "look"])
    made = make_plan(plan, SITE, tmp_path, grain="fanout")
    assert [stage.steps for stage in made.stages] == [("link", "judge")]
    assert not any(job.after_jobs for job in made.jobs)


def test_memory_of_a_job_holds_the_margin(tmp_path: Path) -> None:
    plan = study(tmp_path, rows_of(90))
    small, large = (
        make_plan(plan, replace(SITE, file=SiteFile(mem_margin_mb=margin)), tmp_path) for margin in (0, 1000)
    )
    assert [job.mem_mb + 1000 for job in small.jobs] == [job.mem_mb for job in large.jobs]


def test_the_same_plan_has_the_same_digest_and_another_sheet_or_limit_has_not(tmp_path: Path) -> None:
    plan, made = made_in(tmp_path)
    again = make_plan(Plan.read("test", layout.SHEET, tmp_path), SITE, tmp_path)
    assert (again.digest, again.made_from) == (made.digest, made.made_from)
    other = replace(SITE, partitions={"cpu": CPU.model_copy(update={"max_mem_mb": 32_000})})
    assert made_from(plan, other, tmp_path) != made.made_from
    assert made_from(plan, replace(SITE, jobs=7), tmp_path) == made.made_from
    assert made_from(study(tmp_path, rows_of(89)), SITE, tmp_path) != made.made_from


def test_what_is_done_meanwhile_changes_the_digest_but_not_what_it_was_made_from(tmp_path: Path) -> None:
    plan, made = made_in(tmp_path)
    write_record(tmp_path, plan, "shear", "r000")
    again = make_plan(plan, SITE, tmp_path)
    assert again.made_from == made.made_from
    assert again.digest != made.digest


def test_older_plans_are_removed_unless_jobs_use_them(tmp_path: Path) -> None:
    plan, made = made_in(tmp_path)
    first = write_plan(tmp_path, made)
    write_record(tmp_path, plan, "shear", "r000")
    second = write_plan(tmp_path, make_plan(plan, SITE, tmp_path), in_use=[first.digest])
    assert {path.name for path in (tmp_path / layout.CLUSTER).iterdir()} == {
        first.digest, second.digest, "plan.json", "run-id",
    }  # fmt: skip
    write_plan(tmp_path, second_again := make_plan(plan, SITE, tmp_path))
    assert {path.name for path in (tmp_path / layout.CLUSTER).iterdir()} == {
        second_again.digest, "plan.json", "run-id",
    }  # fmt: skip


def test_what_came_of_the_same_plan_before_is_gone(tmp_path: Path) -> None:
    made = write_plan(tmp_path, made_in(tmp_path)[1])
    old = tmp_path / layout.done_file(made.digest, "s1", "0001")
    old.write_text("{}")
    write_plan(tmp_path, make_plan(Plan.read("test", layout.SHEET, tmp_path), SITE, tmp_path))
    assert not old.exists()


def test_the_name_of_all_jobs_is_made_once(tmp_path: Path) -> None:
    assert read_run_id(tmp_path) is None
    name = run_id(tmp_path)
    assert name.startswith("snk-")
    assert len(name) == len("snk-") + 24 + len("-0123456789")
    assert run_id(tmp_path) == name
    (tmp_path / layout.cluster_run_id()).write_text("")
    assert run_id(tmp_path) not in ("", name)


def test_only_what_failed_is_planned_again(tmp_path: Path) -> None:
    plan = study(tmp_path, rows_of(90))
    write_all(tmp_path, plan, ["shear"])
    failure = tmp_path / layout.failure("r004", "look")
    failure.parent.mkdir(parents=True)
    failure.write_text("{}")
    made = make_plan(plan, SITE, tmp_path, failed_only=True)
    assert (made.pending, made.selection) == (1 + 1 + 3, "failed")
    assert "only what failed" in plan_text(made)


@pytest.mark.parametrize(
    ("rows", "wall_s", "grain"),
    [(3, None, "row"), (90, None, "fanout"), (3, 0.5, "fanout"), (90, 3600.0, "row")],
)
def test_grain_by_number_and_length_of_the_jobs(tmp_path: Path, rows: int, wall_s: float | None, grain: str) -> None:
    plan = study(tmp_path, rows_of(rows + 3))
    if wall_s is not None:
        for step, unit in (("shear", "r000"), ("shear", "r001"), ("shear", "r002"), ("look", "r000"), ("look", "r001"),
                           ("look", "r002"), ("link", "c0"), ("judge", "r000")):  # fmt: skip
            write_record(tmp_path, plan, step, unit, wall_s=wall_s)
    assert make_plan(plan, SITE, tmp_path).grain == grain
    assert make_plan(plan, SITE, tmp_path, grain="row").grain == "row"
    asked = replace(SITE, file=SiteFile(grain="fanout"))
    assert make_plan(plan, asked, tmp_path).grain == "fanout"


def test_a_trial_of_three_rows_sizes_the_jobs_and_none_grows_without_bounds(tmp_path: Path) -> None:
    steps = {name: STEPS[name] for name in ("shear", "look")}
    plan = study(tmp_path, rows_of(6003), steps)
    before = make_plan(plan, SITE, tmp_path)
    assert max(shard.rows for shard in before.shards) < 20
    assert "nothing measured yet: shear, look; run a few rows" in plan_text(before)
    for step in steps:
        for row in ("r000", "r001", "r002"):
            write_record(tmp_path, plan, step, row, wall_s=0.01)
    after = make_plan(plan, SITE, tmp_path)
    assert "Times as measured, in parts of the tools' limits: shear 0.0% (of 3), look 0.0% (of 3)." in plan_text(after)
    assert [(shard.rows, job.pending) for shard, job in zip(after.shards, after.jobs, strict=True)] == [
        (3000, 6000)
    ] * 2
    assert all(1 < job.expected_min < job.runtime_min < 30 for job in after.jobs)


def test_row_grain_has_a_partition_for_each_step_or_says_what_fits_nowhere(tmp_path: Path) -> None:
    plan, made = made_in(tmp_path, 6, grain="row")
    assert (made.jobs, made.stages, {step.partition for step in made.steps}) == ((), (), {"cpu"})
    text = plan_text(made)
    assert "Grain: row (one cluster job for each), since it was asked for." in text
    assert "Queue: 19 jobs, at most 19 in the queue at once; 4 nodes there." in text
    small = replace(SITE, partitions={"cpu": CPU.model_copy(update={"max_cpus": 1})})
    with pytest.raises(InputError, match="step 'look': needs 2 cores"):
        make_plan(plan, small, tmp_path, grain="row")


def test_nothing_to_do_is_said(tmp_path: Path) -> None:
    plan = study(tmp_path)
    write_all(tmp_path, plan)
    made = write_plan(tmp_path, make_plan(plan, SITE, tmp_path))
    assert (made.pending, made.jobs) == (0, ())
    assert plan_text(made) == "test over config/samples.tsv: 6 rows, 0 of 20 jobs to do. Nothing to do.\n"


def test_the_text_tells_what_the_queue_will_see(tmp_path: Path) -> None:
    plan = study(tmp_path, rows_of(300))
    for unit in ("r000", "r001"):
        write_record(tmp_path, plan, "shear", unit, wall_s=66)
    write_record(tmp_path, plan, "look", "r001", status="failed")
    made = make_plan(plan, SITE, tmp_path)
    lines = plan_text(made).splitlines()
    assert lines[0] == (
        "test over config/samples.tsv: 300 rows, 998 of 1,000 jobs to do "
        "(1 of them again: what their records tell no longer holds)."
    )
    assert lines[1].startswith("Grain: fanout (shards of rows), since 998 jobs of ")
    table = {line.split()[0]: line for line in lines[3:] if line}
    assert "shear, look" in table["s1"]
    assert sum(job.stage == "s1" for job in made.jobs) == int(table["s1"].split("judge")[1].split()[0])
    assert f"{len(made.jobs)} jobs, at most " in table["Queue:"]
    assert "core-hours asked for in all; 4 nodes there." in table["Queue:"]
    assert "Times as measured, in parts of the tools' limits: shear 10% (of 2)." in lines
    assert lines[-1].startswith("Times by the tools' limits, nothing measured yet: look, link, judge; ")


def test_a_plan_of_another_version_or_a_broken_one_is_told(tmp_path: Path) -> None:
    path = tmp_path / layout.cluster_plan()
    path.parent.mkdir(parents=True)
    path.write_text('{"schema": 2}')
    with pytest.raises(InputError, match="found a plan of schema 2; expected 1"):
        read_plan(tmp_path)
    for text in ("{", "[]", '{"schema": 1}'):
        path.write_text(text)
        with pytest.raises(InputError, match="not a plan"):
            read_plan(tmp_path)


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    _, made = made_in(tmp_path)
    (tmp_path / layout.STATE).write_text("a file")
    with pytest.raises(InputError, match="cannot be written"):
        write_plan(tmp_path, made)


def test_planning_writes_nothing(tmp_path: Path) -> None:
    plan = study(tmp_path, rows_of(6), {"shear": STEPS["shear"]})
    before = sorted(tmp_path.rglob("*"))
    plan_text(make_plan(plan, SITE, tmp_path, grain="fanout"))
    assert sorted(tmp_path.rglob("*")) == before
