"""The main job on a real Slurm: what shards make of the lattice light-sheet demonstration is what one machine makes."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from integration_helpers import snakescope
from slurm_site import SlurmSite
from slurm_site.fixtures import need_slurm

pytestmark = pytest.mark.slurm
MADE = ("results", "records", "logs", "benchmarks", "study", ".snakemake", ".snakescope")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlurmSite]:
    """Nodes with the memory that the tools ask for."""
    need_slurm()
    site = SlurmSite(tmp_path / "site", {"MEM_MB": 8000, "NODES": 2})
    site.start(owner=os.getpid())
    monkeypatch.setenv("SLURM_CONF", str(site.conf))
    yield site
    site.stop(now=True)


def made_by(root: Path) -> dict[str, str]:
    """Digest of every output by its path, as the records tell them."""
    records = [json.loads(path.read_text()) for path in (root / "records").glob("*/*.json")]
    return {output["path"]: output["sha256"] for record in records for output in record["outputs"]}


def test_the_demonstration_in_shards_is_the_demonstration(site: SlurmSite, demo_study: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(demo_study, tmp_path / "demo", ignore=shutil.ignore_patterns(*MADE), symlinks=True))
    profile = root / "profiles/slurm/config.yaml"
    changes = {"snakescope-poll-s": 1, "latency-wait": 5}
    profile.write_text(yaml.safe_dump(yaml.safe_load(profile.read_text()) | changes))
    done = snakescope("run", "--profile", "slurm", "--grain", "fanout", "--quiet", cwd=root)
    assert done.returncode == 0, done.stdout + done.stderr
    assert made_by(root) == made_by(demo_study)
    facts = [json.loads(line) for line in (root / "records/slurm.jsonl").read_text().splitlines()]
    assert {job["kind"] for job in facts} == {"done"}
    assert len(facts) < len(list((root / "records").glob("*/*.json"))) / 4
    assert snakescope("export", cwd=root).returncode == 0
    assert snakescope("verify", cwd=root).returncode == 0
