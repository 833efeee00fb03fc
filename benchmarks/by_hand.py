"""One step compiled by us, and the same rule written by hand without a record: a study of both, run in turn.

CPU seconds are those of Snakemake and all its jobs, by resource usage. The sides take turns in going first, so what
else the machine does meets both; medians are over rounds. Used by the programs beside it; no program itself.
"""

from __future__ import annotations

import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from snakescope.runner.folder import compile_study, init, open_study

SCRIPT = 'sleep "$3"; cat "$1" >"$2"'
TOOL = {
    "schema": 1,
    "id": "copy",
    "name": "Copy",
    "version": "1.0.0",
    "tool": {"name": "cat", "version": "1"},
    "description": "Copies a file.",
    "license": "MIT",
    "inputs": {"image": {"type": "image", "description": "Any file."}},
    "outputs": {"copied": {"type": "file", "description": "The same.", "file": "copy.txt", "format": "txt"}},
    "params": {"sleep_s": {"type": "number", "unit": "s", "help": "Time to take."}},
    "command": ["sh", "-c", SCRIPT, "copy", "{in.image}", "{out.copied}", "{param.sleep_s}"],
}
BY_HAND = '''
import csv
# as ours does, or Snakemake's timers would hide everything else (docs/design/scheduling.md)
from snakemake.scheduling.job_scheduler import JobScheduler
from snakescope.workflow import prepare_jobs
prepare_jobs("", JobScheduler)
rows = {{row["id"]: row["path"] for row in csv.DictReader(open("config/samples.tsv"), delimiter="\\t")}}
rule all:
    input: expand("results/{{sample}}/dup/copy.txt", sample=rows)
rule dup:
    input: image=lambda wildcards: rows[wildcards.sample]
    output: copied="results/{{sample}}/dup/copy.txt"
    log: "logs/{{sample}}/dup.log"
    benchmark: "benchmarks/{{sample}}/dup.tsv"
    params: sleep_s={sleep_s}
    threads: 1
    {environment}
    resources: mem_mb=1000, runtime=10{shell}
    message: "copy {{wildcards.sample}}"
    shell: """sh -c '{script}' copy {{input.image:q}} {{output.copied:q}} {{params.sleep_s:q}} >{{log:q}} 2>&1"""
'''
OURS, THEIRS = "workflow/Snakefile", "by_hand.smk"
COPIED = "results/*/dup/copy.txt"
ENVIRONMENT = "envs/copy.yaml"


@dataclass(frozen=True)
class Place:
    """Where the jobs run: Snakemake's method, what the rule by hand says of it, and the variables it needs.

    `channel` is where the packages of an environment come from.
    """

    method: str = ""
    environment: str = ""
    shell: str = ""
    variables: Mapping[str, str] = field(default_factory=lambda: os.environ)
    image: Path | None = None
    channel: str | None = None


@dataclass(frozen=True)
class Cost:
    """CPU and wall seconds of one run."""

    cpu_s: float
    wall_s: float


def make_study(folder: Path, place: Place, jobs: int, sleep_s: float) -> None:
    """A study of one step over `jobs` tiny files, compiled by us and written by hand."""
    init(folder)
    (folder / "tools/copy").mkdir(parents=True)
    tool = TOOL | ({"environment": {"conda": ENVIRONMENT}} if place.channel else {})
    (folder / "tools/copy/tool.yaml").write_text(yaml.safe_dump(tool))
    if place.channel:
        (folder / "envs").mkdir(exist_ok=True)
        packages = {"channels": [place.channel], "dependencies": ["empty"]}
        (folder / ENVIRONMENT).write_text(yaml.safe_dump(packages))
    if place.image:
        (folder / "config/images.yaml").write_text(yaml.safe_dump({"copy": str(place.image)}))
    (folder / "config/config.yaml").write_text("pipeline: one\n")
    step = {"tool": "copy", "inputs": {"image": "sheet.path"}, "params": {"sleep_s": sleep_s}}
    pipeline = {"schema": 1, "name": "one", "title": "One step", "steps": {"dup": step}}
    (folder / "config/pipelines/one.yaml").write_text(yaml.safe_dump(pipeline))
    (folder / "data").mkdir()
    lines = ["id\tpath"]
    for index in range(jobs):
        (folder / f"data/{index}.txt").write_text(f"{index}\n")
        lines.append(f"r{index}\tdata/{index}.txt")
    (folder / "config/samples.tsv").write_text("\n".join(lines) + "\n")
    compile_study(open_study(folder))
    text = BY_HAND.format(sleep_s=sleep_s, script=SCRIPT, environment=place.environment, shell=place.shell)
    (folder / THEIRS).write_text(text)


def snakemake(folder: Path, snakefile: str, place: Place, *more: str) -> None:
    """Run a workflow quietly."""
    command = [sys.executable, "-m", "snakemake", "-s", snakefile, "--profile", "profiles/local", "--quiet", "all"]
    command += ["--conda-prefix", str(folder.parent / "environments"), *more]
    command += ["--sdm", place.method] if place.method else []
    done = subprocess.run(
        command, cwd=folder, env=place.variables, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")


def measure(folder: Path, snakefile: str, place: Place, cores: int, jobs: int) -> Cost:
    """One run of a workflow from nothing."""
    for name in ("results", "records", "logs", "benchmarks", ".snakemake"):
        shutil.rmtree(folder / name, ignore_errors=True)
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    snakemake(folder, snakefile, place, "--cores", str(cores))
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    made = len(list(folder.glob(COPIED)))
    assert made == jobs, f"{snakefile} made {made} of {jobs} files"
    return Cost(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall)


def compare(place: Place, jobs: int, sleep_s: float, *, rounds: int, cores: int) -> list[tuple[Cost, Cost]]:
    """Our cost and theirs, in each round."""
    found = []
    with tempfile.TemporaryDirectory(prefix="overhead-") as name:
        folder = Path(name) / "study"
        make_study(folder, place, jobs, sleep_s)
        if place.method == "conda":
            snakemake(folder, THEIRS, place, "--conda-create-envs-only")
        for index in range(rounds):
            order = (OURS, THEIRS) if index % 2 == 0 else (THEIRS, OURS)
            costs = {side: measure(folder, side, place, cores, jobs) for side in order}
            found.append((costs[OURS], costs[THEIRS]))
    return found


def report(place: Place, jobs: int, long_jobs: int, *, rounds: int, cores: int, most_ratio: float) -> None:
    """Print CPU added a job, and the wall ratio for jobs of one second, whose waiting leaves the CPU to others."""
    short = compare(place, jobs, 0, rounds=rounds, cores=cores)
    for side, costs in zip((OURS, THEIRS), zip(*short, strict=True), strict=True):
        cpu, wall = (
            statistics.median(1000 * getattr(cost, key) / jobs for cost in costs) for key in ("cpu_s", "wall_s")
        )
        print(f"{side:<20} {cpu:7.1f} CPU-ms a job   {wall:7.1f} ms wall a job")
    added = [1000 * (ours.cpu_s - theirs.cpu_s) / jobs for ours, theirs in short]
    print(f"added by compiled rules and records: {statistics.median(added):.1f} CPU-ms a job (to reach: <= 15)")
    print("    each round:", ", ".join(f"{value:.1f}" for value in added))
    least = 1000 * (min(ours.cpu_s for ours, _ in short) - min(theirs.cpu_s for _, theirs in short)) / jobs
    load = os.getloadavg()[0]  # a core that somebody else uses, too, takes more CPU time for the same work
    print(f"    between the cheapest runs: {least:.1f}; load when these ended: {load:.1f}", flush=True)
    long = compare(place, long_jobs, 1, rounds=rounds, cores=cores)
    ratios = [ours.wall_s / theirs.wall_s for ours, theirs in long]
    print(f"wall ratio for jobs of one second: {statistics.median(ratios):.3f} (to reach: <= {most_ratio})")
    print("    each round:", ", ".join(f"{value:.3f}" for value in ratios), flush=True)
