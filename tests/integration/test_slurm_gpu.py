"""A step with a GPU asks for it, and nothing else holds one: on a real Slurm, whose GPU is only counted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from integration_helpers import COUNT, TinyStudy
from slurm_site import SlurmSite, wait_until
from snakescope.record import read_records

pytestmark = pytest.mark.slurm


def allocated(site: SlurmSite, jobs: set[str]) -> dict[str, str]:
    """What accounting says that jobs were given, by id."""
    words = ("sacct", "-X", "--noheader", "--parsable2", f"--jobs={','.join(sorted(jobs))}", "--format=JobID,AllocTRES")
    return dict(line.split("|", 1) for line in site.run(*words).splitlines())


def jobs_of_steps(root: Path) -> dict[str, set[str]]:
    """The Slurm jobs that each step ran in."""
    found: dict[str, set[str]] = {}
    for record in read_records(root):
        assert record.scheduler is not None
        found.setdefault(record.step, set()).add(record.scheduler["job_id"])
    return found


@pytest.mark.parametrize(("grain", "way"), [("row", "gpu"), ("row", "gres"), ("fanout", "gpu")])
def test_a_gpu_is_held_by_the_step_that_needs_it_alone(
    tiny_study: Callable[[int], TinyStudy], slurm_cluster: SlurmSite, grain: str, way: str
) -> None:
    study = tiny_study(2)
    resources = {"threads": 1, "gpus": 1, "mem_mb": 100, "runtime_min": 1}
    study.write("tools/count/tool.yaml", yaml.safe_dump({**COUNT, "resources": resources}))
    if way == "gres":
        profile = yaml.safe_load(study.read("profiles/slurm/config.yaml"))
        profile["set-resources"] = {"count": {"gres": "'gpu:1'", "gpu": 0}}
        study.write("profiles/slurm/config.yaml", yaml.safe_dump(profile))
    done = study.snakescope("run", "--profile", "slurm", "--grain", grain, "--quiet")
    assert done.returncode == 0, done.stdout + done.stderr
    jobs = jobs_of_steps(study.root)
    assert jobs.keys() == {"stamp", "count", "gather"}
    assert not jobs["count"] & (jobs["stamp"] | jobs["gather"])
    everything = set.union(*jobs.values())
    wait_until(lambda: all(allocated(slurm_cluster, everything).values()))
    given = allocated(slurm_cluster, everything)
    assert {job for job, tres in given.items() if "gres/gpu=1" in tres.split(",")} == jobs["count"], given
