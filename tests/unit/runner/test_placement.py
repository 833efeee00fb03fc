"""The partition of each step as words for Snakemake."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cluster_helpers import rows_of, study
from snakescope.cluster.plan import RunPlan, make_plan
from snakescope.cluster.site import Partition, Site
from snakescope.runner.placement import placement, unheeded

STEPS = {
    "shear": {"tool": "shear", "inputs": {"image": "sheet.path"}},
    "train": {"tool": "train", "inputs": {"image": "shear.image"}},
}
SITE = Site(partitions={"cpu": Partition(), "gpu": Partition(gpus=2, resources={"qos": "it's", "nodes": 1})})
CHOSEN = [
    "shear:slurm_partition='cpu'",
    "train:slurm_partition='gpu'",
    'train:qos="it\'s"',
    "train:nodes=1",
]


def made_in(root: Path, config: str, site: Site = SITE) -> RunPlan:
    plan = study(root, rows_of(2), STEPS)
    (root / "profiles/slurm").mkdir(parents=True)
    (root / "profiles/slurm/config.yaml").write_text(config)
    return make_plan(plan, site, root, grain="row")


def test_each_step_is_sent_where_it_fits(tmp_path: Path) -> None:
    made = made_in(tmp_path, "jobs: 5\n")
    assert placement(made, SITE, tmp_path) == ["--set-resources", *CHOSEN]


@pytest.mark.parametrize(
    "config",
    [
        "set-resources: {train: {slurm_partition: big, mem_mb: 7}, other: {gres: \"'gpu:1'\"}}",
        "set-resources: ['train:slurm_partition=big', 'train:mem_mb=7', \"other:gres='gpu:1'\"]",
    ],
)
def test_what_the_profile_says_of_a_step_stays(tmp_path: Path, config: str) -> None:
    words = placement(made_in(tmp_path, config), SITE, tmp_path)
    expected = [*(word.replace("'gpu'", "big") for word in CHOSEN), "train:mem_mb=7", "other:gres='gpu:1'"]
    assert words == ["--set-resources", *expected]


def test_the_command_line_goes_before_the_profile_and_keeps_the_partitions(tmp_path: Path) -> None:
    made = made_in(tmp_path, "set-resources: {train: {mem_mb: 7, runtime: 3}}")
    extra = ["--rerun-incomplete", "--set-resources", "train:mem_mb=9", "shear:gpu=1", "--notemp"]
    words = placement(made, SITE, tmp_path, extra)
    assert words == ["--set-resources", *CHOSEN, "train:mem_mb=9", "train:runtime=3", "shear:gpu=1"]


def test_what_jobs_over_many_rows_do_not_heed_is_told(tmp_path: Path) -> None:
    made_in(tmp_path, "set-resources: {train: {gres: \"'gpu:1'\", gpu: 0}, stage_in: {slurm_partition: x}}")
    told = unheeded(["shear", "train"], SITE, tmp_path, ["--set-resources=shear:mem_mb=9", "--notemp"])
    assert told == (
        "Not heeded by jobs over many rows: set-resources of shear (mem_mb), train (gres, gpu); say it of a partition "
        "in profiles/slurm/site.yaml (resources:), or use --grain row."
    )
    assert unheeded(["other"], SITE, tmp_path, []) is None


def test_where_the_cluster_chooses_nothing_is_said(tmp_path: Path) -> None:
    anywhere = replace(SITE, partitions={})
    assert placement(made_in(tmp_path, "set-resources: {train: {mem_mb: 7}}", anywhere), anywhere, tmp_path) == []
