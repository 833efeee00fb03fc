"""Tools in an image inside jobs of a real Slurm, in both grains: what they make, what they see, what is told before.

One study is run once on this machine's own programs and once in each grain in the image; each test looks at one thing.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from deployment.studies import ToolStudy, make_outside, shell_tool
from slurm_site import SlurmSite
from snakescope.record import JobRecord, read_record

GRAINS = ("fanout", "row")
TOOLS = {
    "copy": shell_tool('cat "$2" >"$1"', tool={"name": "busybox", "version": "1", "observe": ["busybox", "--help"]}),
    "count": shell_tool('wc -c <"$2" >"$1"') | {"inputs": {"image": {"type": "file", "description": "Text."}}},
    "show": shell_tool('env >"$1"; file=$(mktemp); echo "made=$file" >>"$1"; rm "$file"; ls >>"$1"'),
}
STEPS = {
    "copy": {"tool": "copy", "inputs": {"image": "sheet.path"}},
    "count": {"tool": "count", "inputs": {"image": "copy.text"}},
    "show": {"tool": "show", "inputs": {"image": "sheet.path"}},
}

pytestmark = [pytest.mark.slurm, pytest.mark.container, pytest.mark.slow]


@pytest.fixture(scope="module")
def outside() -> Iterator[Path]:
    """A folder that no image sees by itself, and that all nodes do."""
    with make_outside() as folder:
        yield folder


@pytest.fixture(scope="module")
def site(slurm_site_of_session: SlurmSite, outside: Path) -> Iterator[SlurmSite]:
    """The cluster, whose nodes give each job a temporary folder of its own, as many sites do."""
    prolog, conf = outside / "prolog.sh", slurm_site_of_session.conf
    folder = f"{outside}/node tmp/$SLURMD_NODENAME-$SLURM_JOB_ID"
    prolog.write_text(f'#!/bin/sh\nmkdir -p "{folder}" && echo "export TMPDIR={folder}"\n')
    prolog.chmod(0o755)
    before = conf.read_text()
    conf.write_text(f"{before}TaskProlog={prolog}\n")
    slurm_site_of_session.run("scontrol", "reconfigure")
    yield slurm_site_of_session
    conf.write_text(before)
    slurm_site_of_session.run("scontrol", "reconfigure")
    slurm_site_of_session.mend()


def make_study(root: Path, outside: Path, image: Path) -> ToolStudy:
    """Five rows, whose files lie outside; polled fast."""
    rows = {f"r{number}": outside / f"data/r{number}.txt" for number in range(5)}
    for name, path in rows.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"file {name}\n")
    study = ToolStudy(root, TOOLS, rows)
    study.write("config/pipelines/shell.yaml", {"schema": 1, "name": "shell", "title": "Shell", "steps": STEPS})
    study.use_image(image)
    profile = yaml.safe_load((root / "profiles/slurm/config.yaml").read_text())
    study.write("profiles/slurm/config.yaml", profile | {"snakescope-poll-s": 1, "latency-wait": 5})
    return study


@dataclass(frozen=True)
class Ran:
    """A study after a run, and what the run said."""

    study: ToolStudy
    done: subprocess.CompletedProcess[str]

    def records(self, step: str) -> dict[str, JobRecord]:
        """The records of a step by unit, with what Slurm says of their jobs."""
        root = self.study.root
        return {path.parent.name: read_record(path, root) for path in sorted(root.glob(f"records/*/{step}.json"))}


@pytest.fixture(scope="module")
def host(outside: Path, busybox_image: Path, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """On this machine's own programs."""
    study = make_study(tmp_path_factory.mktemp("host") / "study", outside, busybox_image)
    ran = Ran(study, study.run("--sdm", "none", "--cores", "2"))
    assert ran.done.returncode == 0, ran.done.stderr
    return ran


@pytest.fixture(scope="module", params=GRAINS)
def image(
    request: pytest.FixtureRequest,
    site: SlurmSite,
    outside: Path,
    busybox_image: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Ran:
    """In the image, in jobs of Slurm, from a session whose temporary folder is not there on the nodes."""
    study = make_study(tmp_path_factory.mktemp(request.param) / "study", outside, busybox_image)
    told = {**site.env, "TMPDIR": str(outside / "of the login node"), "GITHUB_TOKEN": "hush-token"}
    ran = Ran(study, study.run("--profile", "slurm", "--grain", request.param, "--sdm", "apptainer", env=told))
    assert ran.done.returncode == 0, ran.done.stdout + ran.done.stderr
    return ran


def test_every_result_is_the_same_bytes_as_on_the_host(host: Ran, image: Ran) -> None:
    assert "Tools run in Apptainer images: copy, count, show" in image.done.stderr
    for step in ("copy", "count"):
        native, inside = host.records(step), image.records(step)
        assert len(inside) == 5
        assert {unit: record.outputs for unit, record in inside.items()} == {
            unit: record.outputs for unit, record in native.items()
        }
    assert image.study.result("r3", "count", "out.txt") == b"8\n"


def test_records_tell_the_image_and_the_job(image: Ran, busybox_image: Path) -> None:
    digest = hashlib.sha256(busybox_image.read_bytes()).hexdigest()
    jobs = set()
    for step in STEPS:
        for record in image.records(step).values():
            assert record.environment == {"kind": "apptainer", "image": str(busybox_image), "sha256": digest}
            told = record.scheduler
            assert told is not None
            assert (told["kind"], told["state"], told["partition"]) == ("slurm", "COMPLETED", "cpu")
            assert told["node"] in {"n1", "n2", "n3"}
            assert told["elapsed_s"] >= 1
            assert told["queue_s"] >= 0
            jobs.add(told["job_id"])
    assert str(image.records("copy")["r0"].tool_version_observed).startswith("BusyBox v")
    assert len(jobs) == 15 if "row" in image.done.args else len(jobs) < 5


def test_tools_see_their_node_and_nothing_of_the_session(image: Ran, outside: Path) -> None:
    for unit, record in image.records("show").items():
        shown = image.study.result(unit, "show", "out.txt").decode()
        assert record.scheduler is not None
        own = f"{outside}/node tmp/{record.scheduler['node']}-{record.scheduler['job_id']}"
        assert {f"TMPDIR={own}", f"SLURM_JOB_ID={record.scheduler['job_id']}"} <= set(shown.splitlines())
        assert f"made={own}/" in shown
        assert "hush-" not in shown
        assert "of the login node" not in shown


def test_the_processes_of_a_shard_can_be_told_in_an_image_too(image: Ran) -> None:
    shown = image.study.result("r0", "show", "out.txt").decode()
    assert ("SNAKESCOPE_LEASE=" in shown) == ("fanout" in image.done.args)  # jobs of a row have no lease


def test_status_and_plan_know_that_all_is_done(image: Ran, site: SlurmSite) -> None:
    told = image.study.run("--profile", "slurm", "--sdm", "apptainer", "--plan", env=site.env)
    assert told.returncode == 0, told.stderr
    assert "0 of 15 jobs to do" in told.stdout


def test_the_other_grain_and_this_machine_find_nothing_to_do(image: Ran, site: SlurmSite) -> None:
    before = {path: path.stat().st_mtime_ns for path in image.study.root.glob("records/*/*.json")}
    other = "fanout" if "row" in image.done.args else "row"
    for words in (["--profile", "slurm", "--grain", other], ["--cores", "2"]):
        done = image.study.run(*words, "--sdm", "apptainer", env=site.env)
        assert done.returncode == 0, done.stderr
    assert {path: path.stat().st_mtime_ns for path in image.study.root.glob("records/*/*.json")} == before


def refused(study: ToolStudy, site: SlurmSite, grain: str, **env: str) -> str:
    """What is said when the run is refused, after a look that Slurm was given nothing."""
    last = site.submit("true")
    done = study.run("--profile", "slurm", "--grain", grain, "--sdm", "apptainer", env={**site.env, **env})
    assert done.returncode == 3, done.stdout + done.stderr
    assert int(site.submit("true")) == int(last) + 1
    assert not list((study.root / "logs").glob("*/*"))
    return done.stderr


@pytest.mark.parametrize("grain", GRAINS)
def test_what_is_wrong_with_images_is_told_before_any_job(
    grain: str, site: SlurmSite, outside: Path, busybox_image: Path, tmp_path: Path
) -> None:
    study = make_study(tmp_path / "study", outside, busybox_image)
    study.use_image("images/none.sif")
    assert "images/none.sif (steps: copy, count, show): there is no such image" in refused(study, site, grain)
    study.use_image(busybox_image)
    (study.root / "envs").mkdir(exist_ok=True)
    study.write("envs/images.lock.yaml", {str(busybox_image): {"file_sha256": "0" * 64}})
    assert f"envs/images.lock.yaml says {'0' * 64}" in refused(study, site, grain)
    (study.root / "envs/images.lock.yaml").unlink()
    names = ("apptainer", "singularity")
    folders = [
        folder
        for folder in os.environ["PATH"].split(os.pathsep)
        if not any(shutil.which(name, path=folder) for name in names)
    ]
    said = refused(study, site, grain, PATH=os.pathsep.join(folders))
    assert "there is no program apptainer or singularity on the PATH" in said
