"""A study whose tools tell what they did, and what a fault must not change: the ground of tests that break things.

The tools write outside the study which job they were started for, and hold a lock for as long as any process of theirs
lives, so that the same job running twice at once is seen however briefly it did.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from integration_helpers import GATHER, STAMP, TinyStudy
from slurm_site import wait_until

SOAK = bool(os.environ.get("SNAKESCOPE_SOAK"))
ROUNDS = 10 if SOAK else 2
# of a crash of slurmctld, which takes minutes: turns, and the studies that each hits at once
CRASHES = (4, 3)
RUN = (sys.executable, "-m", "snakescope.cli", "run", "--profile", "slurm", "--grain", "fanout", "--quiet")
WORK_SH = """\
# work.sh IN OUT: what the steps do. What they do besides stands in ../trace, so that all studies look the same.
set -eu
key=${2#results/} && key=${key%/*/*} && key=$(echo "$key" | tr / +)
exec 9>"../trace/$key.lock"
flock -n 9 || echo "$key" >>../trace/twice
echo "$key" >>../trace/starts
echo half >"$2"
if [ -e "../trace/hungry $key" ]; then python3 -c 'import time; kept = bytearray(b"x") * 700_000_000; time.sleep(3)'; fi
if rmdir "../trace/stuck $key" 2>/dev/null; then
    echo "$SLURMD_NODENAME $SLURM_JOB_ID" >../trace/hangs
    sleep 900
fi
sleep "$(cat ../trace/seconds)"
{ cat "$1"; echo "$key"; } >"$2"
echo "$key" >>../trace/ends
"""
WORK: dict[str, Any] = {
    **STAMP,
    "id": "work",
    "name": "Work",
    "description": "Copies a file and adds its own name.",
    "outputs": {"file": {"type": "file", "description": "The file.", "file": "file.txt", "format": "txt"}},
    "params": {},
    "command": ["sh", "work.sh", "{in.image}", "{out.file}"],
    "resources": {"threads": 1, "mem_mb": 100, "runtime_min": 1},
}
MORE = {**WORK, "id": "more", "name": "More", "inputs": {"image": {"type": "file", "description": "Any file."}}}
# a GPU makes it a stage of its own
GATHERING = {**GATHER, "resources": {"threads": 1, "gpus": 1, "mem_mb": 100, "runtime_min": 1}}
PIPELINE = {
    "schema": 1,
    "name": "tiny",
    "title": "Tiny",
    "steps": {
        "first": {"tool": "work", "inputs": {"image": "sheet.path"}},
        "second": {"tool": "more", "inputs": {"image": "first.file"}},
        "gather": {"tool": "gather", "over": "series", "inputs": {"texts": "second.file"}},
    },
}
SITE = {"target_minutes": 3, "cores_per_job": 2, "mem_margin_mb": 300}
PROFILE = {"snakescope-poll-s": 1, "latency-wait": 5}
# What may differ between two runs that did the same.
VARYING = {"started_at", "ended_at", "wall_s", "cpu_s", "max_rss_mb", "host", "scheduler", "slurm"}
ROWS = 8
STEPS_OF_ROW = ("first", "second")


@dataclass
class Verdict:
    """What is not as it would be had nothing happened, a line each."""

    lost: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    half: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return "\n".join(f"{name}: {line}" for name in ("lost", "twice", "half") for line in getattr(self, name))


class FaultStudy(TinyStudy):
    """A study of eight rows and three steps, in shards of four rows and two stages: four cluster jobs.

    Parameters
    ----------
    root
        The study folder; ``trace/`` beside it is where the tools tell what they did.
    hungry, stuck
        A job (``r1+first``) that takes 700 MB, one that hangs the first time.
    seconds
        How long a tool takes.
    """

    def __init__(self, root: Path, *, hungry: str = "", stuck: str = "", seconds: float = 0.3) -> None:
        super().__init__(root, ROWS)
        self.processes: list[subprocess.Popen[str]] = []
        self.verdict: Verdict | None = None
        self.trace = root.parent / "trace"
        self.trace.mkdir()
        (self.trace / "seconds").write_text(str(seconds))
        for name in (f"hungry {hungry}", f"stuck {stuck}"):
            (self.trace / name).mkdir()
        self.write("work.sh", WORK_SH)
        for tool in (WORK, MORE, GATHERING):
            self.write(f"tools/{tool['id']}/tool.yaml", yaml.safe_dump(tool))
        self.write("config/pipelines/tiny.yaml", yaml.safe_dump(PIPELINE, sort_keys=False))
        self.write("profiles/slurm/site.yaml", yaml.safe_dump(SITE))
        self.change_profile(**PROFILE)

    def change_profile(self, **changes: object) -> None:
        """Change values of the profile."""
        profile = yaml.safe_load(self.read("profiles/slurm/config.yaml"))
        self.write("profiles/slurm/config.yaml", yaml.safe_dump(profile | changes))

    # ------------------------------------------------------------------ running

    def start(self) -> subprocess.Popen[str]:
        """Start a run in a process group of its own; what it prints is added to ``head.log`` beside the study."""
        with (self.root.parent / "head.log").open("a") as log:
            process = subprocess.Popen(
                RUN, cwd=self.root, stdout=log, stderr=log, stdin=subprocess.DEVNULL, text=True, start_new_session=True
            )
        self.processes.append(process)
        return process

    def close(self) -> None:
        """Kill all that was started and still runs, so that a test that failed does not disturb the next."""
        for process in self.processes:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def wait_for_hang(self) -> tuple[str, str]:
        """Wait until the job that hangs once does; returns its node and its Slurm job."""
        path = self.trace / "hangs"
        wait_until(lambda: path.exists() and path.read_text().endswith("\n"), 120, f"for {path}: {self.told()}")
        node, job = path.read_text().split()
        return node, job

    def told(self) -> str:
        """What all runs printed."""
        return (self.root.parent / "head.log").read_text(encoding="utf-8")

    def finish(self, seconds: float = 240, may_fail: int = 0) -> None:
        """Run until all is done; a Snakemake that outlived its runner may be in the way for a while.

        So many runs may end with failed rows, whose jobs the fault has met in a way that looks like their own.
        """
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            before = len(self.told()) if (self.root.parent / "head.log").exists() else 0
            process = self.start()
            code = process.wait(timeout=end - time.monotonic())
            if code == 0:
                return
            if code == 1 and may_fail:
                may_fail -= 1
                continue
            assert "another run is at work here" in self.told()[before:], self.told()
            time.sleep(0.5)
        raise AssertionError(f"the study was not done in {seconds} s: {self.told()}")

    @property
    def run_id(self) -> str:
        """The name of the run's jobs in Slurm; empty before it has one."""
        path = self.root / ".snakescope/cluster/run-id"
        return path.read_text().strip() if path.exists() else ""

    # ------------------------------------------------------------------ what the tools told

    def tally(self, name: str) -> Counter[str]:
        """How often each job is in a list of the tools: ``starts``, ``ends``, ``twice``."""
        path = self.trace / name
        return Counter(path.read_text().splitlines() if path.exists() else ())

    def wait_for_starts(self, count: int, seconds: float = 90) -> None:
        """Wait until so many tools have been started."""
        wait_until(lambda: self.tally("starts").total() >= count, seconds, f"for {count} starts: {self.trace}")

    # ------------------------------------------------------------------ what is there

    def whole(self) -> dict[str, object]:
        """All that a run leaves and that must not depend on what happened to it."""
        files = {path: digest(self.root / path) for path in listing(self.root, ("results",))}
        records = listing(self.root, ("records",)) - {"records/slurm.jsonl"}
        told = {path: without_times(self.root / path) for path in records if path.endswith(".json")}
        others = listing(self.root, ("logs", "benchmarks"))
        return {**files, **told, "files": sorted(others | records | files.keys())}

    def unsound(self) -> list[str]:
        """What stands there and is not what its record says: half-written, or without a record."""
        found, known = [], set()
        for path in listing(self.root, ("records",)) - {"records/slurm.jsonl"}:
            for output in json.loads(self.read(path))["outputs"] if path.endswith(".json") else ():
                known.add(output["path"])
                if digest(self.root / output["path"]) != output["sha256"]:
                    found.append(f"{output['path']} is not what {path} says: {output}")
        return found

    def facts(self) -> list[dict[str, Any]]:
        """What was written down of the cluster's jobs."""
        path = self.root / "records/slurm.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def kinds(self) -> Counter[str]:
        """How the cluster's jobs ended."""
        return Counter(facts["kind"] for facts in self.facts())

    def check(self, undisturbed: dict[str, object], *, may_be_unknown: str = "", once: bool = False) -> None:
        """Nothing lost, nothing twice, nothing half; each job of the cluster written down once.

        What `may_be_unknown` names may be null in records: what could not be measured in the end. With `once` no tool
        may have been started again either.
        """
        self.verdict = self._judge(undisturbed, may_be_unknown, once=once)
        assert not str(self.verdict), f"{self.verdict}\n{self.told()}"

    def _judge(self, undisturbed: dict[str, object], may_be_unknown: str, *, once: bool) -> Verdict:
        expected = {f"r{row}+{step}" for row in range(ROWS) for step in STEPS_OF_ROW}
        ids = Counter(facts["job_id"] for facts in self.facts())
        verdict = differences(self.whole(), undisturbed, may_be_unknown)
        verdict.half += self.unsound()
        verdict.twice += [f"ran twice at once: {job}" for job in self.tally("twice")]
        verdict.twice += [f"was started {n} times: {job}" for job, n in self.tally("starts").items() if once and n > 1]
        verdict.twice += [f"written down {count} times: Slurm job {job}" for job, count in ids.items() if count > 1]
        verdict.lost += [f"was never ended: {job}" for job in expected - self.tally("ends").keys()]
        verdict.lost += [f"nobody knows how it ended: {facts}" for facts in self.facts() if facts["kind"] is None]
        return verdict


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A disk of 16 MB."""
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def fill(path: Path) -> None:
    """Write until nothing more fits on the disk."""
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))


def figures(name: str, studies: Sequence[FaultStudy]) -> str:
    """What came of the rounds of a fault, in a line."""
    told = [study.verdict for study in studies if study.verdict is not None]
    counts = ", ".join(f"{sum(len(getattr(one, what)) for one in told)} {what}" for what in ("lost", "twice", "half"))
    ended = f"{len(told)} of {len(studies)} rounds compared with an undisturbed run"
    return f"{name}: {ended}: {counts}; {sum(len(study.processes) for study in studies)} heads"


def differences(found: dict[str, Any], expected: dict[str, Any], may_be_unknown: str = "") -> Verdict:
    """What is not as it should be."""
    half = [f"more: {path}" for path in found["files"] if path not in expected["files"]]
    # a job killed between its record and its end is done, and what it took was not written down
    less = [path for path in expected["files"] if path not in found["files"]]
    lost = [f"less: {path}" for path in less if not path.startswith("benchmarks/")]
    for path in sorted(found.keys() & expected.keys() - {"files"}):
        if not alike(found[path], expected[path], may_be_unknown):
            half.append(f"{path}: {found[path]}; expected {expected[path]}")
    return Verdict(lost=lost, half=half)


def alike(found: Any, expected: Any, may_be_unknown: str) -> bool:
    """Whether two records say the same."""
    if isinstance(found, dict) and isinstance(expected, dict):
        keys = [key for key in found if key != may_be_unknown or found[key] is not None]
        return found.keys() == expected.keys() and all(alike(found[key], expected[key], may_be_unknown) for key in keys)
    if isinstance(found, list) and isinstance(expected, list) and len(found) == len(expected):
        return all(alike(one, other, may_be_unknown) for one, other in zip(found, expected, strict=True))
    return bool(found == expected)


def listing(root: Path, folders: Iterable[str]) -> set[str]:
    """Every file below some folders, hidden ones too, and what is not a file (a staging folder, a broken link)."""
    found = set()
    for folder in folders:
        for path in (root / folder).rglob("*"):
            if not path.is_dir() or path.name.startswith("."):
                found.add(str(path.relative_to(root)))
    return {path for path in found if not path.startswith("logs/slurm/") and "/.slurm" not in path}


def digest(path: Path) -> str:
    """sha256 of a file; what else it is, otherwise."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else f"no file: {path.exists()}"


def without_times(path: Path) -> object:
    """A record without what differs from run to run."""
    text = re.sub(r"process \d+|\.stage-[\w.-]+", "…", path.read_text(encoding="utf-8"))
    return {key: value for key, value in json.loads(text).items() if key not in VARYING}
