"""Shards: a study made in few jobs is file by file the one that is made row by row, whatever happens on the way."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from integration_helpers import COUNT, GATHER, STAMP, TinyStudy
from snakescope import layout
from snakescope.cluster import processes
from snakescope.record import read_record
from snakescope.runner.folder import compile_study, open_study
from snakescope.samples import Sheet, write_sheet
from snakescope.workflow import Plan

DIGEST = "0123456789ab"
STAGES = (("stamp", "count"), ("gather",))
ROUNDS = 30 if os.environ.get("SNAKESCOPE_SOAK") else 4
Make = Callable[..., "ShardStudy"]


class ShardStudy(TinyStudy):
    """A tiny study whose tools say in ``starts.txt`` when they start; planned by hand."""

    def __init__(self, root: Path, rows: int, keep: bool = True) -> None:
        super().__init__(root, rows)
        for tool in (STAMP, COUNT, GATHER):
            script = tool["command"][2]  # type: ignore[index]
            files = '"$2"' if tool is STAMP else '"$2"' if tool is COUNT else '"$1"'
            command: list[Any] = list(tool["command"])  # type: ignore[call-overload]
            command[2] = f'echo "{tool["id"]} "{files} | sed "s|/[.]stage-.*||" >>starts.txt; {script}'
            self.write(f"tools/{tool['id']}/tool.yaml", yaml.safe_dump({**tool, "command": command}))
        self.keep = keep
        self.set_pipeline({})

    def set_pipeline(self, params: dict[str, dict[str, object]]) -> None:
        super().set_pipeline(params)
        if not getattr(self, "keep", True):
            text = yaml.safe_load(self.read("config/pipelines/tiny.yaml"))
            text["steps"]["stamp"]["keep"] = False
            self.write("config/pipelines/tiny.yaml", yaml.safe_dump(text, sort_keys=False))
        if (self.root / "tools/gather/tool.yaml").exists():
            compile_study(open_study(self.root))

    def starts(self) -> Counter[str]:
        """How often each job's tool was started."""
        path = self.root / "starts.txt"
        return Counter(path.read_text().splitlines()) if path.exists() else Counter()

    def shards(
        self,
        size: int = 4,
        *,
        stages: Sequence[Sequence[str]] = STAGES,
        rows: slice = slice(None),
        state: str = "new",
        todo: Mapping[str, Sequence[str]] | None = None,
    ) -> list[str]:
        """Write a plan by hand over all that has no record, or over `todo`; return the keys of its jobs."""
        plan = Plan.read("tiny", layout.SHEET, self.root)
        folder = self.root / layout.cluster_folder(DIGEST)
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.iterdir():
            old.unlink()
        ids = [row.id for row in plan.sheet.rows][rows]
        jobs: list[dict[str, Any]] = []
        for number, at in enumerate(range(0, len(ids), size), start=1):
            jobs += self._jobs(plan, plan.sheet.only(ids[at : at + size]), f"{number:04}", stages, state, todo)
        named = [{"name": f"s{n}", "steps": list(steps), "gpus": 0} for n, steps in enumerate(stages, start=1)]
        content = {"schema": 1, "digest": DIGEST, "pipeline": "tiny", "stages": named, "jobs": jobs}
        self.write(layout.cluster_plan(), json.dumps(content))
        return [f"{job['stage']}/{job['shard']}" for job in jobs]

    def _jobs(
        self,
        plan: Plan,
        rows: Sheet,
        shard: str,
        stages: Sequence[Sequence[str]],
        state: str,
        todo: Mapping[str, Sequence[str]] | None,
    ) -> list[dict[str, Any]]:
        write_sheet(self.root / layout.manifest(DIGEST, shard), rows)
        part, jobs, before = Plan(plan.compiled, rows), list[dict[str, Any]](), list[str]()
        for number, steps in enumerate(stages, start=1):
            pairs = [(step, unit) for step in steps for unit in part.units(step) if self._is_open(step, unit, todo)]
            if pairs:
                text = "".join(f"{step}\t{unit}\t{state}\n" for step, unit in pairs)
                self.write(layout.todo_file(DIGEST, f"s{number}", shard), text)
                job = {"stage": f"s{number}", "shard": shard, "cores": 2, "mem_mb": 4000, "runtime_min": 10}
                jobs.append({**job, "resources": {}, "after_jobs": list(before)})
                before.append(f"s{number}/{shard}")
        return jobs

    def _is_open(self, step: str, unit: str, todo: Mapping[str, Sequence[str]] | None) -> bool:
        if todo is not None:
            return unit in todo.get(step, ())
        return not (self.root / layout.record(unit, step)).exists()

    def outer(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the outer workflow on this machine."""
        command = [sys.executable, "-m", "snakemake", "-s", "workflow/fanout.smk", "--cores", "2", *arguments]
        return subprocess.run(command, cwd=self.root, capture_output=True, text=True, check=False)

    def start(self, stage: str, shard: str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """Start one job's program."""
        command = [sys.executable, "-m", "snakescope.cluster.shard", "--plan", DIGEST, "--stage", stage]
        command += ["--shard", shard, "--pipeline", "tiny", "--cores", "2", "--mem-mb", "4000", "--patience-s", "0"]
        return subprocess.Popen(
            [*command, *arguments], cwd=self.root, env={**os.environ, **environment}, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip

    def shard(self, stage: str, shard: str, *arguments: str) -> tuple[int, str]:
        """Run one job's program: its exit code and what it said."""
        process = self.start(stage, shard, *arguments)
        told, _ = process.communicate(timeout=120)
        return process.returncode, told

    def done(self, stage: str, shard: str) -> dict[str, Any]:
        """What a job left when it was done."""
        return dict(json.loads(self.read(layout.done_file(DIGEST, stage, shard))))

    def files(self) -> set[str]:
        """Every file that a run has made, but for what Snakemake and we keep for ourselves."""
        found = (path.relative_to(self.root) for path in self.root.rglob("*") if path.is_file())
        return {path.as_posix() for path in found if path.parts[0] in ("results", "records", "logs", "benchmarks")}


@pytest.fixture
def shard_study(tmp_path: Path) -> Make:
    """Make a study."""
    return lambda rows, name="study", **named: ShardStudy(tmp_path / name, rows, **named)


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def once(study: ShardStudy) -> bool:
    return set(study.starts().values()) == {1}


# ---------------------------------------------------------------------- what is made


def test_shards_make_file_by_file_what_rows_make(shard_study: Make) -> None:
    by_row, by_shard = shard_study(6, "row"), shard_study(6, "shard")
    assert by_row.snakescope("run", "--quiet").returncode == 0
    assert by_shard.shards(4) == ["s1/0001", "s2/0001", "s1/0002", "s2/0002"]
    done = by_shard.outer()
    assert done.returncode == 0, done.stderr
    assert by_shard.files() == by_row.files()
    assert by_shard.results() == by_row.results()
    for path in (by_row.root / "records").glob("*/*.json"):
        one, other = (
            json.loads((study.root / path.relative_to(by_row.root)).read_text()) for study in (by_row, by_shard)
        )
        for key in ("started_at", "ended_at", "wall_s", "cpu_s"):
            del one[key], other[key]
        assert other == one
    assert by_shard.done("s1", "0001") == {"done": 8, "failed": [], "failed_count": 0, "blocked": 0, "job_id": None}
    assert once(by_shard)


def test_a_job_leaves_nothing_but_the_rows_files(shard_study: Make) -> None:
    study = shard_study(2)
    study.shards()
    before = {path for path in study.root.rglob("*") if "__pycache__" not in path.parts}
    assert study.shard("s1", "0001")[0] == 0
    after = {path for path in study.root.rglob("*") if "__pycache__" not in path.parts}
    made = {path.relative_to(study.root).as_posix() for path in after - before if path.is_file()}
    own = {f"{layout.cluster_folder(DIGEST)}/s1-0001.{kind}" for kind in ("done.json", "lease", "begun")}
    assert made - own - {"starts.txt"} == study.files()
    assert own <= made
    assert len(study.files()) == 2 * 2 * 4  # result, record, log and benchmark of two steps over two rows


def test_names_from_outside_reach_the_tools_unharmed(shard_study: Make) -> None:
    study = shard_study(0)
    names = [
        "a b.txt",
        "it's.txt",
        "{sample}.txt",
        "$(touch hacked).txt",
        "-n.txt",
        "µ;&|.txt",
        'q"uote.txt',
        "%s %%.txt",
    ]
    lines = ["id\tpath\tseries\tt"]
    for number, name in enumerate(names):
        study.write(f"data/{name}", f"{name}\n")
        lines.append(f"r.{number}-_x\tdata/{name}\ts.{number // 2}\t{number % 2}")
    study.write("config/samples.tsv", "\n".join(lines) + "\n")
    study.shards(4)
    done = study.outer()
    assert done.returncode == 0, done.stderr
    for number, name in enumerate(names):
        assert study.read(f"results/r.{number}-_x/stamp/stamped.txt") == f"one\n{name}\n"
    assert not (study.root / "hacked").exists()
    assert study.snakescope("run", "--quiet").returncode == 0
    assert once(study)


def test_temporary_files_live_until_the_last_stage_that_reads_them(shard_study: Make) -> None:
    study = shard_study(4, keep=False)
    study.shards(2, stages=(("stamp",), ("count",), ("gather",)))
    done = study.outer(*(layout.done_file(DIGEST, "s2", shard) for shard in ("0001", "0002")))
    assert done.returncode == 0, done.stderr
    assert not (study.root / "records/s0/gather.json").exists()
    assert (study.root / "results/r0/stamp/stamped.txt").exists()
    assert study.outer().returncode == 0
    assert not list(study.root.glob("results/*/stamp/stamped.txt"))
    assert study.read("results/s0/gather/all.txt") == "one\nfile 0\none\nfile 1\n"
    assert once(study)


# ---------------------------------------------------------------------- switching grain


def test_rows_first_then_shards_then_rows_run_nothing_twice(shard_study: Make) -> None:
    study = shard_study(8)
    assert study.snakescope("run", "--quiet", "--first", "4").returncode == 0
    assert (
        study.shards(2) == ["s1/0001", "s2/0001", "s1/0002", "s2/0002", "s1/0003", "s2/0003", "s1/0004", "s2/0004"][4:]
    )
    assert study.outer().returncode == 0
    assert study.snakescope("run", "--quiet").returncode == 0
    assert len(study.starts()) == 8 + 8 + 4
    assert once(study)


def test_shards_first_then_rows_run_nothing_twice(shard_study: Make) -> None:
    study = shard_study(8)
    study.shards(4, rows=slice(0, 4))
    assert study.outer().returncode == 0
    assert len(study.starts()) == 10
    assert study.snakescope("run", "--quiet").returncode == 0
    assert len(study.starts()) == 20
    assert once(study)


def test_rows_do_not_remake_what_shards_made_with_new_parameters(shard_study: Make) -> None:
    study = shard_study(4)
    assert study.snakescope("run", "--quiet").returncode == 0
    study.set_pipeline({"stamp": {"word": "two"}})
    units = {"stamp": [f"r{n}" for n in range(4)], "count": [f"r{n}" for n in range(4)], "gather": ["s0", "s1"]}
    study.shards(2, state="stale", todo=units)
    assert study.outer().returncode == 0
    assert set(study.starts().values()) == {2}
    assert study.read("results/r3/stamp/stamped.txt") == "two\nfile 3\n"
    assert study.snakescope("run", "--quiet").returncode == 0
    assert set(study.starts().values()) == {2}


def test_shards_clear_what_a_killed_run_by_rows_has_left_as_begun(shard_study: Make) -> None:
    study = shard_study(4)
    study.set_pipeline({"stamp": {"sleep_s": 2}})
    command = [sys.executable, "-m", "snakescope.cli", "run", "--quiet"]
    process = subprocess.Popen(command, cwd=study.root, start_new_session=True)
    wait_until(lambda: len(study.starts()) == 2)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    study.shards(4)
    assert study.outer("--nolock").returncode == 0
    before = study.starts()
    assert not [path for path in (study.root / ".snakemake/incomplete").rglob("*") if path.is_file()]
    done = study.snakescope("run", "--quiet")
    assert done.returncode == 0, done.stderr
    assert study.starts() == before


# ---------------------------------------------------------------------- rows that fail


def test_a_row_fails_alone_and_what_needs_it_is_blocked(shard_study: Make) -> None:
    study = shard_study(4)
    study.write("data/1.txt", "broken\n")
    study.shards()
    done = study.outer()
    assert done.returncode == 0, done.stderr
    told = study.done("s1", "0001")
    assert (told["done"], told["failed"], told["failed_count"], told["blocked"]) == (6, [["stamp", "r1"]], 1, 1)
    assert study.done("s2", "0001")["blocked"] == 1
    assert json.loads(study.read("logs/r1/stamp.failed.json"))["exit_code"] == 3
    assert once(study)


def test_a_failed_row_runs_again_when_it_is_planned_again(shard_study: Make) -> None:
    study = shard_study(2)
    study.write("data/1.txt", "broken\n")
    study.shards()
    assert study.outer().returncode == 0
    study.write("data/1.txt", "mended\n")
    assert study.shards() == ["s1/0001", "s2/0001"]
    assert study.outer().returncode == 0
    assert study.done("s1", "0001")["done"] == 2
    assert not (study.root / "logs/r1/stamp.failed.json").exists()
    assert study.starts() == {"stamp results/r0/stamp": 1, "stamp results/r1/stamp": 2, "count results/r0/count": 1,
                              "count results/r1/count": 1, "gather results/s0/gather": 1}  # fmt: skip


def test_an_image_that_is_gone_fails_its_row_alone(shard_study: Make) -> None:
    study = shard_study(4)
    study.shards()
    (study.root / "data/2.txt").unlink()
    code, _ = study.shard("s1", "0001")
    assert code == 0
    assert study.done("s1", "0001")["failed"] == [["stamp", "r2"]]
    assert study.read("logs/r2/stamp.log") == "error: data/2.txt: there is no such file\n"
    facts = json.loads(study.read("logs/r2/stamp.failed.json"))
    assert (facts["status"], facts["step"], facts["samples"]) == ("failed", "stamp", ["r2"])


def test_a_row_in_irods_is_made_from_its_staged_copy_alone(shard_study: Make) -> None:
    study = shard_study(2)
    text = study.read("config/samples.tsv").replace("data/0.txt", "irods://host/zone/0.txt")
    study.write("config/samples.tsv", text.replace("data/1.txt", "irods://host/zone/1.txt"))
    study.write("staged/r0/r0.txt", "file 0\n")
    study.shards()
    code, said = study.shard("s1", "0001")
    assert code == 0, said
    assert study.done("s1", "0001")["failed"] == [["stamp", "r1"]]
    assert study.read("logs/r1/stamp.log").startswith("error: its image was not brought here: ")
    assert study.read("results/r0/stamp/stamped.txt") == "one\nfile 0\n"
    assert study.read("staged/r0/r0.txt") == "file 0\n"


KILLED = '[ -e spared ] || case "$1" in */1.txt) kill -9 $$ ;; esac; '


def killing(study: ShardStudy) -> None:
    """Have the tool of row r1 be killed as long as there is no file `spared`."""
    tool = yaml.safe_load(study.read("tools/stamp/tool.yaml"))
    tool["command"][2] = KILLED + tool["command"][2]
    study.write("tools/stamp/tool.yaml", yaml.safe_dump(tool))
    study.set_pipeline({})


def test_what_the_system_kills_is_tried_again_and_the_rest_is_done(shard_study: Make) -> None:
    study = shard_study(4)
    killing(study)
    study.shards()
    code, said = study.shard("s1", "0001")
    assert code == 75
    assert "s1/0001: 6 done, 0 failed, 0 blocked; 1 killed by the system, 1 not begun or cut off" in said
    assert not (study.root / layout.done_file(DIGEST, "s1", "0001")).exists()
    study.write("spared", "")
    assert study.shard("s1", "0001") == (0, "s1/0001: 8 done, 0 failed, 0 blocked\n")
    assert once(study)


def test_what_is_killed_in_the_last_try_has_failed(shard_study: Make) -> None:
    study = shard_study(4)
    killing(study)
    study.shards()
    done = study.outer("--retries", "1")
    assert done.returncode == 0, done.stderr
    told = study.done("s1", "0001")
    assert (told["done"], told["failed"], told["blocked"]) == (6, [["stamp", "r1"]], 1)
    assert study.done("s2", "0001")["done"] == 1
    assert json.loads(study.read("logs/r1/stamp.failed.json"))["exit_code"] == 137


def test_what_keeps_snakemake_from_starting_is_said(shard_study: Make) -> None:
    study = shard_study(2)
    study.shards()
    study.write("rules/tiny/count.smk", study.read("rules/tiny/count.smk") + "rule broken(:\n")
    code, said = study.shard("s1", "0001")
    assert code == 75
    assert "SyntaxError in file" in said
    assert "0 done, 0 failed, 0 blocked; 0 killed by the system, 4 not begun or cut off: to be tried again" in said


def test_a_node_without_apptainer_is_told_for_each_row(shard_study: Make, tmp_path: Path) -> None:
    study = shard_study(2)
    study.shards()
    empty = tmp_path / "bin"
    empty.mkdir()
    for program in ("sh", "sed", "mkdir", "mv", "rm", "date", "hostname", "id"):
        (empty / program).symlink_to(str(shutil.which(program)))
    words = ("--extra", "--software-deployment-method", "apptainer")
    process = study.start("s1", "0001", "--final", "1", *words, PATH=str(empty))
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert (study.done("s1", "0001")["failed"], study.starts()) == ([["stamp", "r0"], ["stamp", "r1"]], {})
    assert study.read("logs/r0/stamp.log").endswith("has no apptainer on the PATH of its jobs\n")


# ---------------------------------------------------------------------- being stopped, killed, started twice


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_job_that_is_told_to_end_ends_at_once_and_goes_on_later(shard_study: Make, number: signal.Signals) -> None:
    study = shard_study(4)
    study.set_pipeline({"count": {"sleep_s": 30}})
    study.shards()
    process = study.start("s1", "0001")
    wait_until(lambda: any("count" in line for line in study.starts()))
    began = time.monotonic()
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == 75
    assert time.monotonic() - began < 15
    assert not list(study.root.glob("logs/*/*.failed.json"))
    assert not list(study.root.glob("results/*/*/.stage-*"))
    done = [path.parent.name for path in study.root.glob("records/*/stamp.json")]
    study.set_pipeline({})
    assert study.shard("s1", "0001")[0] == 0
    assert done
    assert {study.starts()[f"stamp results/{unit}/stamp"] for unit in done} == {1}


def test_of_two_jobs_that_do_the_same_the_younger_yields(shard_study: Make) -> None:
    study = shard_study(2)
    study.set_pipeline({"stamp": {"sleep_s": 3}})
    study.shards()
    first = study.start("s1", "0001")
    wait_until(lambda: bool(study.starts()))
    code, said = study.shard("s1", "0001")
    assert code == 76
    assert f"process {first.pid} on {os.uname().nodename} is at work on s1/0001; this job yields" in said
    first.communicate()
    assert first.returncode == 0
    assert study.shard("s1", "0001")[0] == 0
    assert once(study)


def test_jobs_that_are_started_at_the_very_same_time_run_nothing_twice(shard_study: Make) -> None:
    study = shard_study(4)
    study.shards()
    jobs = [study.start("s1", "0001", "--patience-s", "60") for _ in range(3)]
    for job in jobs:
        job.communicate(timeout=120)
    assert [job.returncode for job in jobs] == [0, 0, 0]
    assert once(study)


def test_what_a_killed_job_has_left_running_is_ended_before_its_rows_run_again(shard_study: Make) -> None:
    study = shard_study(2)
    study.set_pipeline({"stamp": {"sleep_s": 300}})
    study.shards()
    process = study.start("s1", "0001")
    wait_until(lambda: len(study.starts()) == 2)
    process.kill()  # it alone
    process.wait()
    assert process.stdout is not None
    process.stdout.close()
    token = json.loads(study.read(layout.lease_file(DIGEST, "s1", "0001")))["token"]
    assert processes.with_variable("SNAKESCOPE_LEASE", [token])
    study.set_pipeline({})
    assert study.shard("s1", "0001")[0] == 0
    assert not processes.with_variable("SNAKESCOPE_LEASE", [token])


def test_what_a_tool_that_outlived_its_snakemake_took_is_unknown(shard_study: Make) -> None:
    study = shard_study(2)
    study.set_pipeline({"stamp": {"sleep_s": 2}})
    study.shards()
    study.write(layout.benchmark("r0", "stamp"), "s\tmax_rss\n1\t999\n")  # of an earlier run
    process = study.start("s1", "0001")
    wait_until(lambda: len(study.starts()) == 2)
    process.kill()  # it alone
    process.communicate()
    records = [study.root / layout.record(row, "stamp") for row in ("r0", "r1")]
    wait_until(lambda: all(path.exists() for path in records))
    assert study.shard("s1", "0001")[0] == 0
    assert once(study)
    assert [read_record(path, study.root).peak_memory_mb for path in records] == [None, None]


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(ROUNDS))
def test_a_job_that_is_killed_at_any_moment_loses_nothing(shard_study: Make, seed: int) -> None:
    whole, study = shard_study(4, "whole"), shard_study(4)
    for one in (whole, study):
        one.set_pipeline({"stamp": {"sleep_s": 0.3}, "count": {"sleep_s": 0.3}})
        one.shards()
    assert whole.outer().returncode == 0
    dice = random.Random(seed)
    for _ in range(2):
        process = study.start("s1", "0001")
        time.sleep(dice.uniform(0.5, 6.0))
        if seed % 2:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()  # what it has started goes on
        process.communicate()
    done = study.outer()
    assert done.returncode == 0, done.stderr
    assert study.results() == whole.results()
    # a tool that outlives the Snakemake that measures it leaves all but the measure
    assert {path for path in whole.files() - study.files() if not path.startswith("benchmarks/")} == set()
    assert study.files() <= whole.files()
    assert study.done("s1", "0001")["done"] == 8


def test_the_outer_workflow_is_read_and_planned_fast_with_thousands_of_jobs(shard_study: Make) -> None:
    study = shard_study(2)
    study.shards()
    content = json.loads(study.read(layout.cluster_plan()))
    jobs = []
    for number in range(2500):
        shard = f"{number:04}"
        study.write(layout.manifest(DIGEST, shard), "id\tpath\n")
        one = {"shard": shard, "cores": 2, "mem_mb": 4000, "runtime_min": 10, "resources": {}}
        jobs += [{"stage": "s1", **one, "after_jobs": []}, {"stage": "s2", **one, "after_jobs": [f"s1/{shard}"]}]
    study.write(layout.cluster_plan(), json.dumps({**content, "jobs": jobs}))
    began = os.times()
    done = study.outer("--dry-run", "--quiet", "all")
    ended = os.times()
    assert done.returncode == 0, done.stderr
    assert ended.children_user + ended.children_system - began.children_user - began.children_system < 30
