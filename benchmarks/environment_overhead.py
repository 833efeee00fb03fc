"""What a compiled rule and its record cost in an image and in a conda environment.

The other side is the same rule written by hand, without a record, in the same image or environment. Both run through
plain Snakemake with the same profile, in turn, several times; CPU seconds are those of Snakemake and all its jobs.
The files are tiny, so hashing costs next to nothing. The image is one of busybox, the packages come from a local
channel by way of a stand-in for conda (`tests/deployment`); both sides start them in the same way.

    .venv/bin/python benchmarks/environment_overhead.py --jobs 100 --rounds 3
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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from snakescope.runner.folder import compile_study, init, open_study

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from deployment.apptainer import Apptainer
from deployment.conda import make_conda_site
from deployment.images import make_busybox_root

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
    "environment": {"conda": "envs/copy.yaml"},
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
SIDES = ("workflow/Snakefile", "by_hand.smk")


@dataclass(frozen=True)
class Place:
    """Where the jobs run: Snakemake's method, what the rule by hand says of it, and the variables it needs."""

    method: str
    environment: str
    shell: str
    variables: Mapping[str, str]
    image: Path | None = None
    channel: str | None = None


def make_places(folder: Path) -> list[Place]:
    """An image and a channel."""
    found = shutil.which("apptainer")
    if found is None:
        sys.exit("Apptainer is not on the PATH; on Debian as root tests/deployment/apptainer.sh installs it")
    root = make_busybox_root(folder / "root")
    image = Apptainer(Path(found), os.environ).build(root, folder / "busybox.sif")
    site = make_conda_site(folder / "conda")
    site.add_package("empty", "1.0", {"share/empty": "\n"})
    return [
        Place("apptainer", f'container: "{image}"', ', shell_exec="sh"', os.environ, image=image),
        Place("conda", 'conda: "envs/copy.yaml"', "", site.environment, channel=site.url),
    ]


def make_study(folder: Path, place: Place, jobs: int, sleep_s: float) -> None:
    """A study of one step over `jobs` tiny files, compiled by us and written by hand."""
    init(folder)
    (folder / "tools/copy").mkdir(parents=True)
    (folder / "tools/copy/tool.yaml").write_text(yaml.safe_dump(TOOL))
    (folder / "envs").mkdir(exist_ok=True)
    environment = {"channels": [place.channel or "none"], "dependencies": ["empty"]}
    (folder / "envs/copy.yaml").write_text(yaml.safe_dump(environment))
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
    (folder / "by_hand.smk").write_text(text)


def snakemake(folder: Path, snakefile: str, place: Place, *more: str) -> None:
    """Run a workflow quietly."""
    command = [sys.executable, "-m", "snakemake", "-s", snakefile, "--profile", "profiles/local", "--quiet", "all"]
    command += ["--conda-prefix", str(folder.parent / "environments"), *more, "--sdm", place.method]
    done = subprocess.run(command, cwd=folder, env=place.variables, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")


def measure(folder: Path, snakefile: str, place: Place, cores: int, expected: int) -> tuple[float, float]:
    """CPU and wall seconds of one run of a workflow from nothing."""
    for name in ("results", "records", "logs", "benchmarks", ".snakemake"):
        shutil.rmtree(folder / name, ignore_errors=True)
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    snakemake(folder, snakefile, place, "--cores", str(cores))
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    made = len(list(folder.glob("results/*/dup/copy.txt")))
    assert made == expected, f"{snakefile} made {made} of {expected} files"
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


def compare(place: Place, jobs: int, sleep_s: float, args: argparse.Namespace) -> dict[str, list[tuple[float, float]]]:
    """CPU and wall seconds of both sides in turn."""
    found: dict[str, list[tuple[float, float]]] = {side: [] for side in SIDES}
    with tempfile.TemporaryDirectory(prefix="overhead-") as name:
        folder = Path(name) / "study"
        make_study(folder, place, jobs, sleep_s)
        if place.method == "conda":
            snakemake(folder, "by_hand.smk", place, "--conda-create-envs-only")
        for _ in range(args.rounds):
            for side, results in found.items():
                results.append(measure(folder, side, place, args.cores, jobs))
    return found


def report(place: Place, args: argparse.Namespace) -> None:
    """Print CPU added a job, and the wall ratio for jobs of one second."""
    print(f"== {place.method}")
    short = compare(place, args.jobs, 0, args)
    added = [1000 * (ours[0] - theirs[0]) / args.jobs for ours, theirs in zip(*short.values(), strict=True)]
    for side, results in short.items():
        cpu, wall = (statistics.median(1000 * values[index] / args.jobs for values in results) for index in (0, 1))
        print(f"{side:<20} {cpu:7.1f} CPU-ms a job   {wall:7.1f} ms wall a job")
    print(f"added by compiled rules and records: {statistics.median(added):.1f} CPU-ms a job (to reach: <= 15)")
    print("    each round:", ", ".join(f"{value:.1f}" for value in added))
    long = compare(place, args.long_jobs, 1, args)
    ratios = [ours[1] / theirs[1] for ours, theirs in zip(*long.values(), strict=True)]
    print(f"wall ratio for jobs of one second: {statistics.median(ratios):.3f} (to reach: <= 1.05)")
    print("    each round:", ", ".join(f"{value:.3f}" for value in ratios))


def main(argv: Sequence[str] | None = None) -> None:
    """Compare in an image, then in an environment."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=100, help="jobs a run for CPU (default: %(default)s)")
    parser.add_argument("--long-jobs", type=int, default=60, help="jobs of one second a run (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each, in turn (default: %(default)s)")
    parser.add_argument("--cores", type=int, default=2, help="jobs at a time (default: %(default)s)")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="places-") as name:
        for place in make_places(Path(name)):
            report(place, args)


if __name__ == "__main__":
    main()
