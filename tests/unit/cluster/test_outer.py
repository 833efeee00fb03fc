"""What the outer workflow looks up of each job."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from snakescope import layout
from snakescope.cluster.outer import OuterPlan, Stage, extra_words
from snakescope.errors import InputError

JOB: dict[str, Any] = {
    "cores": 4,
    "mem_mb": 6400,
    "runtime_min": 35,
    "gpus": 0,
    "partition": None,
    "resources": {},
    "after_jobs": [],
}


def plan(jobs: list[dict[str, Any]], **more: Any) -> OuterPlan:
    names = dict.fromkeys(job["stage"] for job in jobs)
    stages = [{"name": name, "steps": [], "gpus": 2 if name == "gpu" else 0} for name in names]
    return OuterPlan({"digest": "abc", "pipeline": "p", "stages": stages, "jobs": [JOB | job for job in jobs], **more})


def wildcards(shard: str) -> SimpleNamespace:
    return SimpleNamespace(shard=shard)


def stage(**job: Any) -> Stage:
    return plan([{"stage": "s1", "shard": "0001", **job}]).stages[0]


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / layout.cluster_folder("abc")).mkdir(parents=True)
    return tmp_path


def fail(study: Path, **times: int) -> None:
    told = {"kind": "oom", "job_id": "1", "attempt": 1, "times": times}
    (study / layout.cluster_failure("abc", "s1", "0001")).write_text(json.dumps(told))


def test_what_a_job_does_is_told_by_its_steps_and_rows() -> None:
    shards = [
        {"id": "0001", "rows": 3, "first": "a{b}", "last": "c"},
        {"id": "0002", "rows": 1, "first": "d", "last": "d"},
    ]
    jobs = [{"stage": "s1", "shard": shard["id"]} for shard in shards]
    [found] = plan(jobs, shards=shards).stages
    found.steps = ["deskew", "spots"]
    told = [found.about(wildcards(shard)) for shard in ("0001", "0002", "gone")]
    assert told == ["deskew, spots of 3 rows, a{b} to c", "deskew, spots of 1 row, d", "deskew, spots"]


def test_a_site_may_ask_for_gpus_in_words_of_its_own() -> None:
    asked = plan([{"stage": "gpu", "shard": "0001", "resources": {"gres": "gpu:2", "gpu": 0}}]).stages[0].resources()
    assert {name: value(wildcards("0001")) for name, value in asked.items()} == {"gres": "gpu:2", "gpu": 0}


def test_a_job_waits_for_the_jobs_before_it() -> None:
    found = plan(
        [
            {"stage": "s1", "shard": "0001"},
            {"stage": "s1", "shard": "0002"},
            {"stage": "s2", "shard": "0003", "after_jobs": ["s1/0001", "s1/0002"]},
        ]
    )
    assert found.stages[1].inputs(wildcards("0003")) == [
        ".snakescope/cluster/abc/0003.tsv",
        ".snakescope/cluster/abc/s1-0001.done.json",
        ".snakescope/cluster/abc/s1-0002.done.json",
    ]
    assert found.targets() == [
        f".snakescope/cluster/abc/{name}.done.json" for name in ("s1-0001", "s1-0002", "s2-0003")
    ]


def test_a_job_is_told_of_all_that_come_after_it_at_any_distance() -> None:
    found = plan(
        [
            {"stage": "s1", "shard": "1"},
            {"stage": "s2", "shard": "1", "after_jobs": ["s1/1"]},
            {"stage": "s3", "shard": "1", "after_jobs": ["s2/1"]},
        ]
    )
    words = [one.words(wildcards("1")) for one in found.stages]
    common = ["--plan", "abc", "--stage", "s1", "--shard", "1", "--pipeline", "p"]
    assert words[0] == [*common, "--later", "s2/1", "s3/1"]
    assert words[1][8:] == ["--later", "s3/1"]
    assert words[2][8:] == []


def test_a_stage_without_jobs_has_no_rule_and_later_ones_go_first() -> None:
    content = plan([{"stage": "s1", "shard": "1"}, {"stage": "s2", "shard": "1"}]).content
    stages = [*content["stages"], {"name": "s3", "steps": [], "gpus": 0}]
    found = OuterPlan({**content, "stages": stages})
    assert [one.name for one in found.stages] == ["s1", "s2"]
    assert found.stages[1].priority > found.stages[0].priority


def test_a_first_attempt_asks_for_what_was_planned(study: Path) -> None:
    one = stage()
    assert (one.cores(wildcards("0001")), one.mem_mb(wildcards("0001"), 1)) == (4, 6400)
    assert (one.runtime(wildcards("0001"), 1), one.growth(wildcards("0001"), 1)) == (35, 1)


@pytest.mark.parametrize(
    ("times", "mem_mb", "runtime"),
    [
        ({"mem_mb": 1, "runtime_min": 1}, 6400, 35),  # its node was lost
        ({"mem_mb": 2, "runtime_min": 1}, 12800, 35),
        ({"mem_mb": 3, "runtime_min": 1}, 25600, 35),
        ({"mem_mb": 1, "runtime_min": 2}, 6400, 70),
        ({}, 6400, 35),
    ],
)
def test_an_attempt_asks_for_more_of_what_was_too_little(
    study: Path, times: dict[str, int], mem_mb: int, runtime: int
) -> None:
    one = stage()
    fail(study, **times)
    assert (one.mem_mb(wildcards("0001"), 2), one.runtime(wildcards("0001"), 2)) == (mem_mb, runtime)
    assert one.growth(wildcards("0001"), 2) == mem_mb // 6400


def test_no_attempt_asks_for_more_than_the_partition_has(study: Path) -> None:
    one = stage(max_mem_mb=10_000, max_runtime_min=40)
    fail(study, mem_mb=4, runtime_min=4)
    assert (one.mem_mb(wildcards("0001"), 4), one.runtime(wildcards("0001"), 4)) == (10_000, 40)


def test_what_an_earlier_run_has_learned_holds_for_the_first_attempt(study: Path) -> None:
    fail(study, mem_mb=2)
    assert stage().mem_mb(wildcards("0001"), 1) == 12800
    assert stage(shard="0002").mem_mb(wildcards("0002"), 1) == 6400


def test_the_margin_is_not_for_the_tools() -> None:
    content = plan([{"stage": "s1", "shard": "0001"}], mem_margin_mb=400)
    assert content.stages[0].tools_mb(wildcards("0001"), 1) == 6000
    small = plan([{"stage": "s1", "shard": "0001", "mem_mb": 500}], mem_margin_mb=400)
    assert small.stages[0].tools_mb(wildcards("0001"), 1) == 250


def test_gpus_partitions_and_what_the_site_adds_are_asked_for() -> None:
    found = plan([{"stage": "gpu", "shard": "1", "partition": "fast", "resources": {"constraint": "a100"}}]).stages[0]
    asked = found.resources()
    assert {name: value if name == "gpu" else value(wildcards("1")) for name, value in asked.items()} == {
        "constraint": "a100",
        "slurm_partition": "fast",
        "gpu": 2,
    }
    assert "--gpus" in found.words(wildcards("1"))
    assert stage().resources() == {}


def test_without_a_plan_or_with_a_broken_one_it_is_said_what_to_do(study: Path) -> None:
    with pytest.raises(InputError, match=r"plan\.json: there is no plan of a cluster run"):
        OuterPlan.read(study)
    (study / layout.cluster_plan()).write_text('{"schema": 1')
    with pytest.raises(InputError, match=r"plan\.json: not a plan of a cluster run"):
        OuterPlan.read(study)


def test_jobs_find_their_tools_as_the_run_does() -> None:
    nothing: dict[str, Any] = {"conda_prefix": None, "apptainer_prefix": None, "apptainer_args": ""}
    assert extra_words(SimpleNamespace(deployment_method=set(), **nothing)) == []
    given = SimpleNamespace(deployment_method={"APPTAINER"}, **nothing | {"apptainer_args": "--nv --cleanenv"})
    words = ["--software-deployment-method", "apptainer", "--apptainer-args=--nv --cleanenv"]
    assert extra_words(given) == words


def test_images_are_brought_when_the_jobs_before_have_made_room() -> None:
    jobs = [{"stage": "s1", "shard": str(n), "staged": rows} for n, rows in enumerate((3, 3, 2, 0, 9, 1))]
    found = plan(jobs, stage_window=6)
    assert found.staged_after == {
        "s1/0": (),
        "s1/1": (),
        "s1/2": ("s1/0",),
        "s1/4": ("s1/0", "s1/1", "s1/2"),  # more than the window holds: alone
        "s1/5": ("s1/0", "s1/1", "s1/2", "s1/4"),
    }
    asked = SimpleNamespace(stage="s1", shard="2")
    assert found.staging_inputs(asked) == [".snakescope/cluster/abc/s1-0.done.json"]
    assert found.stages[0].inputs(wildcards("2"))[-1] == ".snakescope/cluster/abc/s1-2.staged"
    assert not any(path.endswith(".staged") for path in found.stages[0].inputs(wildcards("3")))


def test_connections_to_irods_are_few() -> None:
    found = plan([{"stage": "s1", "shard": "1", "staged": 1}, {"stage": "s1", "shard": "2", "staged": 50}])
    one, many = (SimpleNamespace(stage="s1", shard=shard) for shard in "12")
    assert (found.staging_connections(one), found.staging_connections(many)) == (2, 4)
    assert found.staging_connections(many, cap=3) == 3
