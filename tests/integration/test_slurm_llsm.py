"""The main job on a real Slurm: what shards make of the lattice light-sheet demonstration is what one machine makes."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from deployment.studies import make_outside
from integration_helpers import snakescope
from slurm_site import SlurmSite
from slurm_site.fixtures import need_slurm
from snakescope.record import read_record

pytestmark = pytest.mark.slurm
MADE = ("results", "records", "logs", "benchmarks", "study", ".snakemake", ".snakescope")
ROOT = Path(__file__).resolve().parents[2]
SERIES = "cell1"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlurmSite]:
    """Nodes with the memory that the tools ask for."""
    need_slurm()
    site = SlurmSite(tmp_path / "site", {"MEM_MB": 8000, "NODES": 2})
    site.start(owner=os.getpid())
    monkeypatch.setenv("SLURM_CONF", str(site.conf))
    yield site
    site.stop(now=True)


def copied(demo_study: Path, root: Path) -> Path:
    """The demonstration without what was made in it, for this cluster."""
    shutil.copytree(demo_study, root, ignore=shutil.ignore_patterns(*MADE), symlinks=True)
    profile = root / "profiles/slurm/config.yaml"
    changes = {"snakescope-poll-s": 1, "latency-wait": 5}
    profile.write_text(yaml.safe_dump(yaml.safe_load(profile.read_text()) | changes))
    return root


def made_by(root: Path, units: str = "*") -> dict[str, str]:
    """Digest of every output by its path, as the records tell them."""
    records = [json.loads(path.read_text()) for path in (root / "records").glob(f"{units}/*.json")]
    return {output["path"]: output["sha256"] for record in records for output in record["outputs"]}


def test_the_demonstration_in_shards_is_the_demonstration(site: SlurmSite, demo_study: Path, tmp_path: Path) -> None:
    root = copied(demo_study, tmp_path / "demo")
    done = snakescope("run", "--profile", "slurm", "--grain", "fanout", "--quiet", cwd=root)
    assert done.returncode == 0, done.stdout + done.stderr
    assert made_by(root) == made_by(demo_study)
    facts = [json.loads(line) for line in (root / "records/slurm.jsonl").read_text().splitlines()]
    assert {job["kind"] for job in facts} == {"done"}
    assert len(facts) < len(list((root / "records").glob("*/*.json"))) / 4
    assert snakescope("export", cwd=root).returncode == 0
    assert snakescope("verify", cwd=root).returncode == 0


@pytest.mark.container
@pytest.mark.slow
def test_a_series_of_it_with_its_tools_in_an_image(
    site: SlurmSite, demo_study: Path, python_image: Path, tmp_path: Path
) -> None:
    root = copied(demo_study, tmp_path / "demo")
    tools = sorted(path.parent.name for path in ROOT.glob("tools/*/tool.yaml"))
    (root / "config/images.yaml").write_text(yaml.safe_dump(dict.fromkeys(tools, str(python_image))))
    with make_outside() as outside:
        shutil.move(root / "data/raw", outside / "raw")
        sheet = root / "config/samples.tsv"
        sheet.write_text(sheet.read_text().replace("\tdata/raw/", f"\t{outside}/raw/"))
        words = ("--profile", "slurm", "--grain", "fanout", "--sdm", "apptainer", "--only", SERIES)
        done = snakescope("run", *words, cwd=root)
        assert done.returncode == 0, done.stdout + done.stderr
    made = made_by(root)
    assert len(made) > 24
    assert made == made_by(demo_study, f"{SERIES}*")
    digest = hashlib.sha256(python_image.read_bytes()).hexdigest()
    for path in (root / "records").glob("*/*.json"):
        record = read_record(path, root)
        assert record.environment == {"kind": "apptainer", "image": str(python_image), "sha256": digest}
        assert record.scheduler is not None
        assert record.scheduler["state"] == "COMPLETED"
