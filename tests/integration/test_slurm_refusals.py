"""What a real Slurm refuses is told in one message before anything is submitted, and nothing is left of the run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from integration_helpers import STAMP, TinyStudy, snakescope
from slurm_faults import fill, small_disk
from slurm_site import SlurmSite
from snakescope.cluster.slurm import read_run_id

pytestmark = pytest.mark.slurm

Make = Callable[[int], TinyStudy]
DEFAULTS = "profiles/slurm/config.yaml: default-resources"
# What is there before a run begins that is refused: its lock, and what was found out about the tools.
KEPT = {".snakescope", ".snakescope/run.lock", ".snakescope/environments.json", ".snakescope/cluster"}


@pytest.fixture
def study(tiny_study: Make, slurm_cluster: SlurmSite) -> TinyStudy:
    """Two rows, compiled."""
    return compiled(tiny_study(2))


def compiled(study: TinyStudy) -> TinyStudy:
    done = study.snakescope("compile")
    assert done.returncode == 0, done.stderr
    return study


def ask_for(study: TinyStudy, **resources: object) -> None:
    """Set default resources of the profile."""
    path = "profiles/slurm/config.yaml"
    profile = yaml.safe_load(study.read(path))
    profile["default-resources"] |= resources
    study.write(path, yaml.safe_dump(profile))


def refused(study: TinyStudy, *, code: int = 2, path: str | None = None) -> str:
    """Run in both grains; what both said, when they said the same and left nothing."""
    said = set()
    for grain in ("row", "fanout"):
        before, ids = files(study.root), jobs()
        environment = {**os.environ, **({} if path is None else {"PATH": path})}
        words = ("run", "--profile", "slurm", "--quiet", "--grain", grain)
        done = snakescope(*words, cwd=study.root, env=environment)
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        assert files(study.root) - before <= KEPT
        assert jobs() == ids, "something was submitted"
        said.add(done.stderr)
    assert read_run_id(study.root) is None
    [told] = said
    return told


def files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*")}


def jobs() -> str:
    """All jobs that the controller knows."""
    words = ("squeue", "--states=all", "--noheader", "--format=%i")
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def test_an_account_that_is_not_yours_is_refused(study: TinyStudy) -> None:
    ask_for(study, slurm_account="lap")
    assert refused(study) == (
        f"{DEFAULTS}: slurm_account: Slurm refuses the account 'lap'.\n    Did you mean 'lab'? Yours are: lab, root.\n"
    )


def test_your_account_is_taken(study: TinyStudy, slurm_cluster: SlurmSite) -> None:
    ask_for(study, slurm_account="lab")
    done = study.snakescope("run", "--profile", "slurm", "--grain", "fanout", "--quiet")
    assert done.returncode == 0, done.stderr
    assert "lab" in slurm_cluster.run("squeue", "--states=all", "--noheader", "--format=%a").split()


def test_a_partition_that_is_not_there_is_refused(study: TinyStudy) -> None:
    ask_for(study, slurm_partition="gpus")
    told = refused(study)
    assert f"{DEFAULTS}: slurm_partition: the cluster has no partition 'gpus' that is up." in told
    assert "Did you mean 'gpu'? There are: cpu, gpu." in told


def test_a_feature_that_no_node_has_is_refused(study: TinyStudy) -> None:
    ask_for(study, constraint="avx512")
    told = refused(study)
    assert "no node has what the constraint asks for (avx512).\n    See what there is: sinfo -o %f" in told


@pytest.mark.parametrize(
    ("resources", "told"),
    [({"mem_mb": 90_000}, "90400 MB"), ({"threads": 40}, "40 cores"), ({"gpus": 7}, "7 GPU")],
)
def test_a_resource_that_no_node_has_is_refused(study: TinyStudy, resources: dict[str, int], told: str) -> None:
    tool = {**STAMP, "resources": {"threads": 1, "mem_mb": 100, "runtime_min": 1} | resources}
    study.write("tools/stamp/tool.yaml", yaml.safe_dump(tool))
    [line, fix] = refused(compiled(study)).splitlines()
    assert line.startswith("step 'stamp': needs ")
    assert told in line
    assert line.endswith("no partition gives that (cpu: 2 cores, 3000 MB, 1440 min, 1 GPU).")
    assert fix.startswith("    Name a larger partition in profiles/slurm/site.yaml")


def test_where_there_is_no_slurm_it_is_said(study: TinyStudy, tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("sh", "bash", "python3", "mkdir", "mv", "rm", "sed", "cat"):
        (programs / name).symlink_to(shutil.which(name) or name)
    told = refused(study, code=3, path=f"{programs}:{Path(sys.executable).parent}")
    assert "there is no 'sbatch' here, so no job can be given to Slurm.\n    Start the run where jobs are" in told


def test_a_full_disk_is_told_before_anything_is_submitted(slurm_cluster: SlurmSite, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        study = compiled(TinyStudy(disk / "study", 2))
        fill(disk / "filler")
        told = refused(study, code=3)
        assert f"{study.root}: cannot be written (No space left on device)" in told
        assert "Make room, or ask for a larger quota" in told
        # room for the lock, but not for records
        with (disk / "filler").open("r+b") as filler:
            filler.truncate((disk / "filler").stat().st_size - 200_000)
        told = refused(study, code=3)
        assert "cannot be written (No space left on device)" in told
        assert "Nothing was submitted." in told
