"""Studies whose images lie in iRODS: staged, run, and nothing lost whatever happens to zone, disk or run."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from integration_helpers import STAMP, TinyStudy
from irods_zone import Zone
from snakescope.samples import build_sheet, write_sheet
from snakescope.study.survey import survey
from snakescope.study.verify.rerun import rerun
from snakescope.workflow import Plan
from snakescope.zone.address import Address

pytestmark = [pytest.mark.irods, pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")]
ROUNDS = range(20 if os.environ.get("SNAKESCOPE_SOAK") else 2)
HOSTILE = (
    "a b.txt", "it's.txt", 'say "it".txt', "tab\there.txt", "line\nend.txt", "100%.txt", "a_b%c.txt", "a..b.txt",
    "größe µ 細胞.txt", "{braces}.txt", "{sample}.txt", "back\\slash.txt", "-rf.txt", "&;$(x).txt",
    "#f?q.txt", "no suffix",
)  # fmt: skip


@pytest.fixture
def zone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Zone]:
    with Zone(tmp_path / "zone") as served:
        for name, value in served.environment().items():
            monkeypatch.setenv(name, value)
        yield served
        served.faults.clear()
        assert served.failures == []


class Remote(TinyStudy):
    """A tiny study whose images lie in a zone; two rows a series."""

    def __init__(self, root: Path, zone: Zone, names: list[str], config: str = "stage_window: 3\n") -> None:
        super().__init__(root, 0)
        self.zone, self.names = zone, names
        self.home = f"{zone.home}/raw"
        self.contents = {name: f"content of {name}\n" * 200 for name in names}
        for name, text in self.contents.items():
            zone.put(f"{self.home}/{name}", text.encode())
        self.config(config)
        self.sheet()

    def config(self, text: str) -> None:
        self.write("config/config.yaml", f"pipeline: tiny\n{text}")

    def sheet(self, **columns: Callable[[str], str]) -> None:
        rows = [
            {
                "id": f"r{index}",
                "path": str(Address(f"{self.home}/{name}")),
                "series": f"s{index // 2}",
                "t": str(index % 2),
            }
            | {column: cell(name) for column, cell in columns.items()}
            for index, name in enumerate(self.names)
        ]
        write_sheet(self.root / "config/samples.tsv", build_sheet(["id", "path", "series", "t", *columns], rows))

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.snakescope("run", "--quiet", *arguments)

    @property
    def expected(self) -> dict[str, str]:
        """What a complete run leaves in ``results/``."""
        stamped = {f"r{i}": f"one\n{self.contents[name]}" for i, name in enumerate(self.names)}
        found = {f"results/{row}/stamp/stamped.txt": text for row, text in stamped.items()}
        for row, text in stamped.items():
            found[f"results/{row}/count/number.txt"] = f"{text.count(chr(10))}\n"
            key = f"results/s{int(row[1:]) // 2}/gather/all.txt"
            found[key] = found.get(key, "") + text
        return found

    def record(self, unit: str, step: str = "stamp") -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.read(f"records/{unit}/{step}.json"))
        return found

    @property
    def copies(self) -> list[str]:
        """Staged copies and what is left of those on their way."""
        folder = self.root / "staged"
        return sorted(str(path.relative_to(folder)) for path in folder.glob("*/*")) if folder.exists() else []


@pytest.fixture
def study(tmp_path: Path, zone: Zone) -> Callable[..., Remote]:
    def make(rows: int | tuple[str, ...], config: str = "stage_window: 3\n") -> Remote:
        names = [f"{index}.txt" for index in range(rows)] if isinstance(rows, int) else list(rows)
        return Remote(tmp_path / "study", zone, names, config)

    return make


class Watch:
    """Counts, many times a second, the copies of rows whose first step has neither a record nor failed."""

    def __init__(self, root: Path, step: str = "stamp") -> None:
        self.root, self.step, self.most, self._end = root, step, 0, threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._end.wait(0.01):
            there = [path.name for path in self.root.glob("staged/r*")]
            open_ = [
                row for row in there
                if not (self.root / f"records/{row}/{self.step}.json").exists()
                and not (self.root / f"logs/{row}/{self.step}.failed.json").exists()
            ]  # fmt: skip
            self.most = max(self.most, len(open_))


# ---------------------------------------------------------------------------- when all goes well


def test_a_study_in_a_zone_runs_as_one_on_the_disk_does(study: Callable[..., Remote], zone: Zone) -> None:
    found = study(8)
    found.set_pipeline({"stamp": {"sleep_s": 0.5}})  # long enough for a copy to be seen
    with Watch(found.root) as watch:
        done = found.run()
    assert done.returncode == 0, done.stdout + done.stderr
    assert found.results() == found.expected
    assert found.copies == []
    assert 0 < watch.most <= 3
    assert "nothing to do" in found.run().stdout


def test_the_first_rows_only(study: Callable[..., Remote], zone: Zone) -> None:
    found = study(8)
    assert found.run("--first", "3").returncode == 0
    assert {path.parent.name for path in found.root.glob("records/r*/stamp.json")} == {"r0", "r1", "r2"}
    assert found.run().returncode == 0
    assert found.results() == found.expected


def test_a_plan_opens_no_connection_and_makes_no_folder(study: Callable[..., Remote], zone: Zone) -> None:
    found = study(4)
    done = found.run("--dry-run")
    assert "14 jobs to run" in done.stdout, done.stdout + done.stderr
    assert zone.calls == []
    assert not (found.root / "staged").exists()


def test_records_tell_the_source_and_not_the_copy(study: Callable[..., Remote], zone: Zone) -> None:
    found = study(2)
    found.run()
    path = f"{found.home}/0.txt"
    (item,) = found.record("r0")["inputs"]
    assert item == {
        "port": "image", "path": f"irods://{path}", "bytes": len(found.contents["0.txt"]),
        "sha256": hashlib.sha256(found.contents["0.txt"].encode()).hexdigest(),
        "checksum": zone.replicas(path)[0].checksum, "staged": "staged/r0/r0.txt",
    }  # fmt: skip


@pytest.mark.parametrize("cores", ["1", "3"])
def test_names_of_any_kind_survive_to_the_results_and_records(
    study: Callable[..., Remote], zone: Zone, cores: str
) -> None:
    found = study(HOSTILE)
    done = found.run("--cores", cores)
    assert done.returncode == 0, done.stdout + done.stderr
    assert found.results() == found.expected
    told = [found.record(f"r{index}")["inputs"][0]["path"] for index in range(len(HOSTILE))]
    assert [Address.parse(path).path for path in told] == [f"{found.home}/{name}" for name in HOSTILE]


def test_copies_are_kept_when_asked(study: Callable[..., Remote], zone: Zone) -> None:
    found = study(2, "keep_staged: true\n")
    assert found.run().returncode == 0
    assert found.copies == [
        "r0/.snakemake_timestamp",
        "r0/.source",
        "r0/r0.txt",
        "r1/.snakemake_timestamp",
        "r1/.source",
        "r1/r1.txt",
    ]


def test_a_collection_and_a_packed_one_reach_a_step_as_folders(tmp_path: Path, zone: Zone) -> None:
    found = Remote(tmp_path / "study", zone, ["0.txt"])
    tool = {
        **STAMP,
        "command": ["sh", "-c", 'cat "$1"/zarr.json "$1"/c/* >"$2"', "x", "{in.image}", "{out.stamped}"],
        "params": {},
    }
    found.write("tools/stamp/tool.yaml", yaml.safe_dump(tool))
    files = {"zarr.json": b"{}\n"} | {f"c/{index}": f"chunk {index}\n".encode() for index in range(9)}
    for name, data in files.items():
        zone.put(f"{zone.home}/a b.ome.zarr/{name}", data)
    packed = tmp_path / "packed.zip"
    subprocess.run([sys.executable, "-c", _PACK, str(packed), repr(files)], check=True)
    zone.put(f"{zone.home}/c.ome.zarr.zip", packed.read_bytes())
    rows = [
        {"id": f"r{index}", "path": str(Address(f"{zone.home}/{name}")), "series": "s", "t": str(index)}
        for index, name in enumerate(("a b.ome.zarr", "c.ome.zarr.zip"))
    ]
    write_sheet(found.root / "config/samples.tsv", build_sheet(["id", "path", "series", "t"], rows))
    done = found.run()
    assert done.returncode == 0, done.stdout + done.stderr
    expected = b"".join(files.values()).decode()
    assert [found.read(f"results/r{index}/stamp/stamped.txt") for index in range(2)] == [expected] * 2
    items = [found.record(f"r{index}")["inputs"][0] for index in range(2)]
    assert items[0]["sha256"] == items[1]["sha256"] is not None
    assert "checksum" not in items[0]
    assert items[1]["checksum"] == zone.replicas(f"{zone.home}/c.ome.zarr.zip")[0].checksum


_PACK = """
import sys, zipfile
with zipfile.ZipFile(sys.argv[1], "w") as archive:
    for name, data in eval(sys.argv[2]).items():
        archive.writestr(name, data)
"""


def test_connections_of_all_jobs_together_keep_to_the_cap(study: Callable[..., Remote], zone: Zone) -> None:
    found = study(8, "stage_window: 8\n")
    zone._server.most_open = 0
    done = found.run("--cores", "4", "--", "--resources", "irods=2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert zone.most_connections <= 2


def test_an_object_that_changed_and_was_collected_again_runs_again(study: Callable[..., Remote], zone: Zone) -> None:
    found = study(2)
    checksum: Callable[[str], str] = lambda name: zone.replicas(f"{found.home}/{name}")[0].checksum  # noqa: E731
    found.sheet(checksum=checksum)
    assert found.run().returncode == 0
    zone.put(f"{found.home}/1.txt", b"new\n")
    found.contents["1.txt"] = "new\n"
    found.sheet(checksum=checksum)
    done = found.run()
    assert done.returncode == 0, done.stdout + done.stderr
    assert found.results() == found.expected
    assert "nothing to do" in found.run().stdout


def test_an_object_that_changed_since_is_told(study: Callable[..., Remote], zone: Zone) -> None:
    found = study(2)
    found.sheet(checksum=lambda name: zone.replicas(f"{found.home}/{name}")[0].checksum)
    zone.put(f"{found.home}/1.txt", b"new\n")
    done = found.run()
    assert done.returncode == 1
    assert "r1  stage_in: " in done.stdout
    assert "has changed since the sheet was made" in done.stdout


@pytest.mark.parametrize("keep", [True, False])
def test_a_job_is_run_again_from_its_record_on_its_copy_or_a_new_one(
    study: Callable[..., Remote], zone: Zone, keep: bool
) -> None:
    found = study(2, f"keep_staged: {str(keep).lower()}\n")
    found.run()
    zone.calls.clear()
    result = rerun(found.root, 2, steps=["stamp"])
    assert (result.jobs, result.identical) == (2, 2)
    assert bool(zone.calls) != keep


def test_an_export_names_raw_images_by_their_rows_and_knows_their_digests(
    study: Callable[..., Remote], zone: Zone
) -> None:
    found = study(2, "keep_staged: true\n")
    found.run()
    plan = Plan.read("tiny", "config/samples.tsv", found.root)
    inventory = survey(found.root, plan, lambda row: ("", "", ""))
    assert [(raw.path, raw.here, raw.bytes) for raw in inventory.raw_files()] == [
        ("raw/r0.txt", "staged/r0/r0.txt", 3400), ("raw/r1.txt", "staged/r1/r1.txt", 3400),
    ]  # fmt: skip
    assert all(raw.sha256 for raw in inventory.raw_files())
    assert inventory.sources("r0", "stamp") == ("raw/r0.txt",)
    assert {item.message for item in inventory.problems} == {"the voxel size is not known"}
    assert [job.inputs[0].path for job in inventory.jobs() if job.record.step == "stamp"] == [
        "raw/r0.txt",
        "raw/r1.txt",
    ]


# ---------------------------------------------------------------------------- what lint says


def test_lint_says_that_rows_are_in_a_zone_that_nobody_has_logged_in_to(
    study: Callable[..., Remote], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = study(4)
    monkeypatch.setenv("IRODS_ENVIRONMENT_FILE", str(tmp_path / "none.json"))
    done = found.snakescope("lint")
    assert done.returncode == 2
    assert "samples.tsv: 4 rows lie in iRODS (irods:///tempZone): there is no environment file" in done.stderr
    assert "iinit" in done.stderr


def test_lint_says_which_group_is_larger_than_the_window(study: Callable[..., Remote]) -> None:
    found = study(4, "stage_window: 1\n")
    steps = {"gather": {"tool": "gather", "over": "series", "inputs": {"texts": "sheet.path"}}}
    found.write(
        "tools/gather/tool.yaml", found.read("tools/gather/tool.yaml").replace("type: file\n", "type: image\n", 1)
    )
    found.write(
        "config/pipelines/tiny.yaml", yaml.safe_dump({"schema": 1, "name": "tiny", "title": "T", "steps": steps})
    )
    done = found.snakescope("lint")
    assert "stage_window: step 'gather' reads 2 staged images of 's0' at once; at most 1 may wait" in done.stderr


def test_lint_says_what_is_wrong_with_an_address(study: Callable[..., Remote]) -> None:
    found = study(2)
    text = found.read("config/samples.tsv").replace("irods:///", "irods://me:secret@host/", 1)
    found.write("config/samples.tsv", text)
    done = found.snakescope("lint")
    assert "holds a password" in done.stderr
    assert "secret" not in done.stderr + done.stdout


# ---------------------------------------------------------------------------- rows that fail


@pytest.mark.parametrize("cores", ["1", "4"])
def test_rows_that_fail_hold_nobody_up_and_leave_no_copies(
    study: Callable[..., Remote], zone: Zone, cores: str
) -> None:
    found = study(12, "stage_window: 2\n")
    for index in (0, 1, 2, 5):
        zone.put(f"{found.home}/{index}.txt", b"broken\n")
    for index in (6, 7):
        zone.corrupt(f"{found.home}/{index}.txt")
    with Watch(found.root) as watch:
        done = found.run("--cores", cores)
    assert done.returncode == 1
    failed = {line.split()[0] for line in done.stdout.splitlines() if line.startswith("  r")}
    assert failed == {"r0", "r1", "r2", "r5", "r6", "r7"}, done.stdout
    assert {path.parent.name for path in found.root.glob("records/r*/stamp.json")} == {
        "r3",
        "r4",
        "r8",
        "r9",
        "r10",
        "r11",
    }
    assert found.copies == []
    assert watch.most <= 2
    for index in (0, 1, 2, 5, 6, 7):
        zone.put(f"{found.home}/{index}.txt", found.contents[f"{index}.txt"].encode())
    done = found.run()
    assert done.returncode == 0, done.stdout
    assert found.results() == found.expected


def test_a_step_over_a_group_starts_though_the_window_is_small(study: Callable[..., Remote], zone: Zone) -> None:
    found = study(8, "stage_window: 2\n")
    steps = {
        "gather": {"tool": "gather", "over": "series", "inputs": {"texts": "sheet.path"}},
        "stamp": {"tool": "stamp", "inputs": {"image": "sheet.path"}},
    }
    found.write(
        "tools/gather/tool.yaml", found.read("tools/gather/tool.yaml").replace("type: file\n", "type: image\n", 1)
    )
    found.write(
        "config/pipelines/tiny.yaml", yaml.safe_dump({"schema": 1, "name": "tiny", "title": "T", "steps": steps})
    )
    done = found.run("--cores", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert found.read("results/s3/gather/all.txt") == found.contents["6.txt"] + found.contents["7.txt"]
    assert found.record("r6")["inputs"][0]["record"] == "records/s3/gather.json"


# ---------------------------------------------------------------------------- faults, in whole runs


def finish(found: Remote) -> None:
    """Run until the study is done; a Snakemake that outlived its runner must end first."""
    end = time.monotonic() + 300
    while time.monotonic() < end:
        done = found.run()
        if done.returncode == 0:
            break
        assert "another run is at work here" in done.stderr, done.stderr + done.stdout
        time.sleep(0.3)
    assert found.results() == found.expected
    assert found.copies == []


@pytest.mark.soak
@pytest.mark.parametrize("seed", ROUNDS)
def test_a_run_survives_lost_connections_and_a_server_that_starts_again(
    study: Callable[..., Remote], zone: Zone, seed: int
) -> None:
    dice, found, stop, troubles = random.Random(seed), study(6), threading.Event(), [0]

    def trouble() -> None:
        """Every few calls, so that however slow all is, something gets through between."""
        call = dice.randrange(10, 60)
        while not stop.wait(0.002):
            if len(zone.calls) < call:
                continue
            troubles[0] += 1
            if dice.random() < 0.3:
                zone.restart(crash=True)
            else:
                zone.faults.drop_after(dice.randrange(6000))
            call = len(zone.calls) + dice.randrange(20, 60)

    thread = threading.Thread(target=trouble)
    thread.start()
    try:
        done = found.run()
    finally:
        stop.set()
        thread.join()
    zone.faults.clear()
    assert troubles[0] > 0
    assert done.returncode == 0, done.stdout + done.stderr
    assert found.results() == found.expected
    assert found.copies == []


@pytest.mark.soak
@pytest.mark.parametrize("seed", ROUNDS)
def test_a_run_killed_at_any_moment_loses_nothing(study: Callable[..., Remote], zone: Zone, seed: int) -> None:
    dice, found = random.Random(seed), study(6)
    found.set_pipeline({"stamp": {"sleep_s": 0.3}})
    command = [sys.executable, "-m", "snakescope.cli", "run", "--quiet"]
    process = subprocess.Popen(
        command, cwd=found.root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    moment, stamps = dice.randrange(80), dice.randrange(5)  # of the six that there are, so that it never is at its end
    while len(zone.calls) < moment or len(list(found.root.glob("records/r*/stamp.json"))) < stamps:
        assert process.poll() is None
        time.sleep(0.01)
    if seed % 2:
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()
    with Watch(found.root) as watch:
        finish(found)
    assert watch.most <= 3


@pytest.mark.soak
@pytest.mark.parametrize("seed", ROUNDS)
def test_a_full_disk_fails_rows_and_nothing_else(
    study: Callable[..., Remote], zone: Zone, tmp_path: Path, seed: int
) -> None:
    found = study(4)
    (found.root / "staged").mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(found.root / "staged")]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small disk needs the right to mount one")
    try:
        large = random.Random(seed).randrange(4)
        zone.put(f"{found.home}/{large}.txt", b"x\n" * 50_000)
        done = found.run("--cores", "1")
        assert done.returncode == 1
        assert f"r{large}  stage_in: irods://" in done.stdout
        assert "is full: it has 100000 bytes" in done.stdout
        assert len(list(found.root.glob("records/r*/stamp.json"))) == 3
        assert found.copies == []
    finally:
        subprocess.run(["umount", str(found.root / "staged")], check=True)
    found.contents[f"{large}.txt"] = "x\n" * 50_000
    finish(found)


@pytest.mark.soak
@pytest.mark.parametrize("seed", ROUNDS)
@pytest.mark.parametrize("what", ["stale", "other bytes"])
def test_rows_whose_replicas_are_not_what_they_should_be_fail_and_nothing_else(
    study: Callable[..., Remote], zone: Zone, what: str, seed: int
) -> None:
    dice, found = random.Random(seed), study(6)
    bad = dice.sample(range(6), 2)
    for index in bad:
        path = f"{found.home}/{index}.txt"
        zone.set_replica(path, status=dice.choice(["0", "2"])) if what == "stale" else zone.corrupt(path)
    done = found.run()
    assert done.returncode == 1
    reason = "no replica is good" if what == "stale" else "what came has the checksum"
    assert {line.split()[0] for line in done.stdout.splitlines() if reason in line} == {f"r{index}" for index in bad}
    good = {f"r{index}" for index in range(6)} - {f"r{index}" for index in bad}
    assert {path.parent.name for path in found.root.glob("records/r*/stamp.json")} == good
    assert found.copies == []
    for index in bad:
        zone.set_replica(f"{found.home}/{index}.txt", status="0")
        zone.put(f"{found.home}/{index}.txt", found.contents[f"{index}.txt"].encode())
    finish(found)


@pytest.mark.parametrize(
    ("more", "local"), [((), "{'stage_in'}"), (("--set-resources", "stage_in:slurm_partition=transfer"), "set()")]
)
def test_staging_runs_where_snakemake_does_unless_a_profile_names_a_partition(
    study: Callable[..., Remote], zone: Zone, more: tuple[str, ...], local: str
) -> None:
    found = study(1)
    found.snakescope("compile")
    found.write("workflow/Snakefile", found.read("workflow/Snakefile") + "\n\nprint(workflow._localrules)\n")
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "1", "--dry-run", "staged/r0", *more],
        cwd=found.root, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert local in (done.stdout + done.stderr).splitlines()
    assert zone.calls == []


def test_a_plain_snakemake_keeps_to_the_window_too(study: Callable[..., Remote], zone: Zone) -> None:
    found = study(6, "stage_window: 2\n")
    found.set_pipeline({"stamp": {"sleep_s": 0.5}})
    found.snakescope("compile")
    with Watch(found.root) as watch:
        done = subprocess.run(
            [sys.executable, "-m", "snakemake", "--cores", "2", "--quiet"],
            cwd=found.root, capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert found.results() == found.expected
    assert 0 < watch.most <= 2
