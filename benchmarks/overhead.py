"""What a compiled rule and its record cost, against the same rule written by hand without a record.

Both run through plain Snakemake with the same profile, in turn, several times; CPU seconds are those of Snakemake
and all its jobs. The files are tiny, so hashing costs next to nothing; its speed is measured apart and stated.

    .venv/bin/python benchmarks/overhead.py --jobs 200 --rounds 3
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
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
    resources: mem_mb=1000, runtime=10
    message: "copy {{wildcards.sample}}"
    shell: """sh -c '{script}' copy {{input.image:q}} {{output.copied:q}} {{params.sleep_s:q}} >{{log:q}} 2>&1"""
'''


def make_study(folder: Path, jobs: int, sleep_s: float) -> None:
    """A study of one step over `jobs` tiny files, compiled by us and written by hand."""
    init(folder)
    (folder / "tools/copy").mkdir(parents=True)
    (folder / "tools/copy/tool.yaml").write_text(yaml.safe_dump(TOOL))
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
    (folder / "by_hand.smk").write_text(BY_HAND.format(sleep_s=sleep_s, script=SCRIPT))


def run(folder: Path, snakefile: str, cores: int, expected: int) -> tuple[float, float]:
    """CPU and wall seconds of one run of a workflow from nothing."""
    for name in ("results", "records", "logs", "benchmarks", ".snakemake"):
        shutil.rmtree(folder / name, ignore_errors=True)
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "-s",
        snakefile,
        "--profile",
        "profiles/local",
        "--quiet",
        "rules",
        "progress",
    ]
    subprocess.run([*command, "--cores", str(cores)], cwd=folder, check=True, stdin=subprocess.DEVNULL)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    made = len(list(folder.glob("results/*/dup/copy.txt")))
    assert made == expected, f"{snakefile} made {made} of {expected} files"
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


def compare(jobs: int, sleep_s: float, rounds: int, cores: int) -> dict[str, list[tuple[float, float]]]:
    """CPU and wall seconds of both workflows in turn."""
    found: dict[str, list[tuple[float, float]]] = {"workflow/Snakefile": [], "by_hand.smk": []}
    with tempfile.TemporaryDirectory(prefix="overhead-") as name:
        folder = Path(name) / "study"
        make_study(folder, jobs, sleep_s)
        for _ in range(rounds):
            for snakefile, results in found.items():
                results.append(run(folder, snakefile, cores, jobs))
    return found


def hash_speed() -> float:
    """MB/s at which sha256sum reads 256 MB that are in memory."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(os.urandom(1 << 20) * 256)
        file.flush()
        start = time.perf_counter()
        subprocess.run(["sha256sum", file.name], check=True, stdout=subprocess.DEVNULL)
        return 256 / (time.perf_counter() - start)


def main(argv: Sequence[str] | None = None) -> None:
    """Print CPU added a job, and the wall ratio for jobs of one second."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=200, help="jobs a run for CPU (default: %(default)s)")
    parser.add_argument("--long-jobs", type=int, default=60, help="jobs of one second a run (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each, in turn (default: %(default)s)")
    parser.add_argument("--cores", type=int, default=2, help="jobs at a time (default: %(default)s)")
    args = parser.parse_args(argv)

    short = compare(args.jobs, 0, args.rounds, args.cores)
    pairs = zip(short["workflow/Snakefile"], short["by_hand.smk"], strict=True)
    added = [1000 * (ours[0] - theirs[0]) / args.jobs for ours, theirs in pairs]
    for name, results in short.items():
        cpu = statistics.median(1000 * cpu / args.jobs for cpu, _ in results)
        wall = statistics.median(1000 * wall / args.jobs for _, wall in results)
        print(f"{name:<20} {cpu:7.1f} CPU-ms a job   {wall:7.1f} ms wall a job")
    print(f"added by compiled rules and records: {statistics.median(added):.1f} CPU-ms a job (to reach: <= 15)")
    print("    each round:", ", ".join(f"{value:.1f}" for value in added))

    long = compare(args.long_jobs, 1, args.rounds, args.cores)
    ratios = [a[1] / b[1] for a, b in zip(long["workflow/Snakefile"], long["by_hand.smk"], strict=True)]
    print(f"wall ratio for jobs of one second: {statistics.median(ratios):.3f} (to reach: <= 1.02)")
    print("    each round:", ", ".join(f"{value:.3f}" for value in ratios))
    print(f"sha256sum reads {hash_speed():.0f} MB/s here; a job hashes its outputs and, once, its raw inputs")


if __name__ == "__main__":
    main()
