"""Where things lie in a study."""

from __future__ import annotations

from pathlib import Path

from snakescope import layout


def test_every_path_of_a_job_is_below_its_kind_unit_and_step() -> None:
    assert layout.result("s1", "deskew", "image.ome.zarr") == "results/s1/deskew/image.ome.zarr"
    assert layout.record("s1", "deskew") == "records/s1/deskew.json"
    assert layout.log("s1", "deskew") == "logs/s1/deskew.log"
    assert layout.failure("s1", "deskew") == "logs/s1/deskew.failed.json"
    assert layout.benchmark("s1", "deskew") == "benchmarks/s1/deskew.tsv"


def test_every_compiled_file_is_below_its_pipeline() -> None:
    assert layout.rule_file("p", "deskew") == "rules/p/deskew.smk"
    assert layout.step_facts_file("p", "deskew") == "rules/p/deskew.json"
    assert layout.plan_file("p") == "rules/p/plan.json"
    assert layout.pipeline_file("p") == "config/pipelines/p.yaml"


def test_what_a_cluster_run_leaves_is_below_the_digest_of_its_plan() -> None:
    assert layout.cluster_plan() == ".snakescope/cluster/plan.json"
    assert layout.cluster_run_id() == ".snakescope/cluster/run-id"
    assert layout.manifest("ab", "0001") == ".snakescope/cluster/ab/0001.tsv"
    assert layout.todo_file("ab", "s1", "0001") == ".snakescope/cluster/ab/s1-0001.todo"
    assert layout.done_file("ab", "s1", "0001") == ".snakescope/cluster/ab/s1-0001.done.json"
    assert layout.lease_file("ab", "s1", "0001") == ".snakescope/cluster/ab/s1-0001.lease"
    assert layout.cluster_failure("ab", "s1", "0001") == ".snakescope/cluster/ab/s1-0001.failed.json"


def test_the_shipped_files_are_found() -> None:
    assert (layout.assets() / layout.JOB_SH).is_file()
    assert (layout.assets() / layout.SNAKEFILE).is_file()


def test_tools_of_a_study_come_before_the_shipped_ones(tmp_path: Path) -> None:
    assert layout.tool_roots(tmp_path) == [(layout.assets() / "tools").resolve()]
    (tmp_path / "tools").mkdir()
    assert layout.tool_roots(tmp_path) == [(tmp_path / "tools").resolve(), (layout.assets() / "tools").resolve()]
    assert len(layout.tool_roots(layout.assets())) == 1
