"""Shards whose rows lie in iRODS: their images are brought before the job, a window at a time, and go after it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration_helpers import TinyStudy
from irods_zone import Zone
from snakescope.cluster.plan import RunPlan, make_plan, write_plan
from snakescope.cluster.site import Partition, Site, SiteFile
from snakescope.runner.folder import compile_study, open_study
from snakescope.samples import build_sheet, write_sheet
from snakescope.workflow import Plan
from snakescope.zone.address import Address

pytestmark = [pytest.mark.irods, pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")]
# Two cores and limits of ten minutes a job: shards of two rows.
SITE = Site(file=SiteFile(target_minutes=20), partitions={"cpu": Partition(max_runtime_min=60, max_cpus=2)}, jobs=9)
NAMES = ("a b.txt", "it's.txt", "100%.txt", "größe {µ}.txt", "$(x).txt", "tab\there.txt", "g.txt", "h.txt")


@pytest.fixture
def zone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Zone]:
    with Zone(tmp_path / "zone") as served:
        for name, value in served.environment().items():
            monkeypatch.setenv(name, value)
        yield served
        assert served.failures == []


class Remote(TinyStudy):
    """A tiny study whose images lie in a zone."""

    def __init__(self, root: Path, zone: Zone, config: str = "") -> None:
        super().__init__(root, 0)
        self.write("config/config.yaml", f"pipeline: tiny\n{config}")
        rows = []
        for index, name in enumerate(NAMES):
            path = f"{zone.home}/raw/{name}"
            zone.put(path, f"content of {name}\n".encode())
            cells = {"id": f"r{index}", "path": str(Address(path)), "series": f"s{index // 2}", "t": str(index % 2)}
            rows.append(cells)
        write_sheet(root / "config/samples.tsv", build_sheet(["id", "path", "series", "t"], rows))

    def plan(self) -> RunPlan:
        study = open_study(self.root)
        compile_study(study)
        config = study.config
        plan = Plan.read("tiny", config.samples, self.root)
        made = make_plan(
            plan, SITE, self.root,
            grain="fanout", stage_window=config.stage_window, keep_staged=config.keep_staged,
        )  # fmt: skip
        return write_plan(self.root, made)

    def run_shards(self) -> subprocess.CompletedProcess[str]:
        words = ["--snakefile", "workflow/fanout.smk", "--profile", "profiles/local", "--cores", "2"]
        return subprocess.run(
            [sys.executable, "-m", "snakemake", *words], cwd=self.root, capture_output=True, text=True, check=False
        )

    @property
    def copies(self) -> list[str]:
        return sorted(path.name for path in (self.root / "staged").glob("r*"))

    @property
    def stamped(self) -> dict[str, str]:
        return {path.parts[-3]: path.read_text() for path in self.root.glob("results/*/stamp/stamped.txt")}


def expected(but: str = "") -> dict[str, str]:
    return {f"r{index}": f"one\ncontent of {name}\n" for index, name in enumerate(NAMES) if name != but}


def test_images_come_before_their_job_and_go_after_it(tmp_path: Path, zone: Zone) -> None:
    study = Remote(tmp_path / "study", zone)
    made = study.plan()
    assert sum(job.staged for job in made.jobs) == len(NAMES)
    assert len(made.jobs) > 1
    done = study.run_shards()
    assert done.returncode == 0, done.stdout + done.stderr
    assert study.stamped == expected()
    assert study.copies == []


def test_copies_stay_when_asked(tmp_path: Path, zone: Zone) -> None:
    study = Remote(tmp_path / "study", zone, "keep_staged: true\n")
    study.plan()
    done = study.run_shards()
    assert done.returncode == 0, done.stdout + done.stderr
    assert study.copies == [f"r{index}" for index in range(len(NAMES))]
    asked = len(zone.calls)
    for path in study.root.glob("records/*/stamp.json"):
        path.unlink()
    study.plan()
    assert study.run_shards().returncode == 0
    assert len(zone.calls) == asked  # what is here is not fetched again


def test_an_image_without_a_good_replica_fails_its_own_row(tmp_path: Path, zone: Zone) -> None:
    study = Remote(tmp_path / "study", zone)
    zone.set_replica(f"{zone.home}/raw/{NAMES[2]}", 0, status="0")
    study.plan()
    done = study.run_shards()
    assert done.returncode == 0, done.stdout + done.stderr
    assert study.stamped == expected(but=NAMES[2])
    log = study.read("logs/r2/stamp.log")
    assert log.startswith("error: its image was not brought here")
    assert "logs/r2/stage_in.log" in log
    assert study.copies == []


def test_no_more_images_are_here_than_the_window_allows(tmp_path: Path, zone: Zone) -> None:
    study = Remote(tmp_path / "study", zone, "stage_window: 4\n")
    made = study.plan()
    assert [job.staged for job in made.jobs] == [2, 2, 2, 2]
    done = study.run_shards()
    assert done.returncode == 0, done.stdout + done.stderr
    # a job's images are asked for after the jobs are through that must make room for them
    ended, begun = ({job.shard: 0.0 for job in made.jobs} for _ in range(2))
    folder = study.root / ".snakescope/cluster" / made.digest
    for job in made.jobs:
        ended[job.shard] = (folder / f"{job.key.replace('/', '-')}.done.json").stat().st_mtime
        begun[job.shard] = (folder / f"{job.key.replace('/', '-')}.staged").stat().st_mtime
    shards = [job.shard for job in made.jobs]
    assert all(begun[later] > ended[earlier] for earlier, later in zip(shards, shards[2:], strict=False))
