"""Each step's jobs go to the partition that it needs, in both grains, and those of a GPU step alone get a GPU."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from deployment.studies import ToolStudy, shell_tool
from slurm_site import SlurmSite
from snakescope.record import read_record, slurm_facts

TOOLS = {
    "copy": shell_tool('cat "$2" >"$1"'),
    "train": shell_tool('env >"$1"', resources={"threads": 1, "mem_mb": 100, "runtime_min": 1, "gpus": 1}),
}
# The test cluster's `cpu` holds the node with the GPU, too.
PARTITIONS = {"cpu": {"gpus": 0}, "gpu": {"gpus": 1, "resources": {"slurm_extra": "'--nice=7'"}}}

pytestmark = pytest.mark.slurm


@pytest.fixture
def study(slurm_cluster: SlurmSite, tmp_path: Path) -> ToolStudy:
    """Two rows, two steps of unlike needs."""
    rows = {f"r{number}": tmp_path / f"r{number}.txt" for number in range(2)}
    for name, path in rows.items():
        path.write_text(f"{name}\n")
    study = ToolStudy(tmp_path / "study", TOOLS, rows)
    set_profile(study, {"snakescope-poll-s": 1, "latency-wait": 5})
    study.write("profiles/slurm/site.yaml", {"partitions": PARTITIONS})
    return study


def set_profile(study: ToolStudy, changes: dict[str, object]) -> None:
    profile = yaml.safe_load((study.root / "profiles/slurm/config.yaml").read_text())
    study.write("profiles/slurm/config.yaml", profile | changes)


def partitions(study: ToolStudy, step: str) -> set[str]:
    """Where the jobs of a step ran."""
    records = [read_record(path, study.root) for path in study.root.glob(f"records/*/{step}.json")]
    assert len(records) == 2
    return {str((record.scheduler or {}).get("partition")) for record in records}


def asked(study: ToolStudy, site: SlurmSite) -> dict[str, str]:
    """What was given to each job, by its key."""
    return {
        facts["key"]: site.run("sacct", "-n", "-P", "-X", f"--jobs={job}", "--format=ReqTRES").strip()
        for job, facts in slurm_facts(study.root).items()
    }


@pytest.mark.parametrize("grain", ["row", "fanout"])
def test_steps_go_where_what_they_need_is(grain: str, study: ToolStudy, slurm_cluster: SlurmSite) -> None:
    done = study.run("--profile", "slurm", "--grain", grain)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (partitions(study, "copy"), partitions(study, "train")) == ({"cpu"}, {"gpu"})
    given = asked(study, slurm_cluster)
    assert len(given) == (4 if grain == "row" else 2)
    with_gpu = {key for key, tres in given.items() if "gres/gpu=1" in tres}
    assert {key.partition("/")[0] for key in with_gpu} == ({"train"} if grain == "row" else {"s2"})
    assert "SLURM_GPUS=1" in study.result("r0", "train", "out.txt").decode()


def test_what_the_profile_sets_for_a_step_goes_before_the_planner(study: ToolStudy, slurm_cluster: SlurmSite) -> None:
    own = {"train": {"gres": "'gpu:1'", "gpu": 0}, "copy": {"slurm_partition": "gpu", "mem_mb": 150}}
    set_profile(study, {"set-resources": own})
    done = study.run("--profile", "slurm", "--grain", "row")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (partitions(study, "copy"), partitions(study, "train")) == ({"gpu"}, {"gpu"})
    given = asked(study, slurm_cluster)
    assert "mem=550M" in given["copy/r0"]
    assert "gres/gpu=1" in given["train/r1"]
