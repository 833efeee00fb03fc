"""What the engine costs a row on a real Slurm, against the same pipeline as plain, hand-written Snakemake.

Four steps, each one trivial shell command, so that only the engine is seen. Ours is `snakescope run --profile slurm
--grain fanout`. Plain is a Snakefile with the official executor snakemake-executor-plugin-slurm, one job a row and
step; it has an environment of its own (a cache folder), since each installed plugin is imported at every start of
Snakemake. It is run for few rows; its cost a row only grows with more, so the ratios for more rows are lower bounds.

CPU seconds are user and system time of the head with all that it started (getrusage) and of all jobs (TotalCPU of
their steps, as sacct sums it up from the kernel's account of ended processes). Slurm's own daemons are in neither. The
tools declare a minute each, the least there is, and the planner is told to aim at jobs of as many minutes as
`--rows-a-job` rows would take: 100 rows are what fills 20 minutes on two cores if a step takes 6 s.

    engine   CPU seconds and wall seconds a row, by rows
    files    files and folders that a run leaves in the study, and operations on metadata there, a row: everything that
             head and jobs do is traced with strace, calls on paths in the study are counted

    python benchmarks/scale.py [--parts engine files] [--rows 100 400 1000 5000] [--plain-rows 40] [--folder FOLDER]

Needs what tests/slurm_site/up.sh needs, strace for `files`, and a package index for plain, the first time.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import venv
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from snakescope.runner.folder import init

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from slurm_site import SlurmSite, wait_until, why_not

CPUS = 2
STEPS = ("one", "two", "three", "four")
SCRIPT = 'cat "$1" >"$2"; echo "$3" >>"$2"'
PLUGIN = "snakemake-executor-plugin-slurm>=2,<3"
PLAIN = """
rows = [line.split("\\t") for line in open("config/samples.tsv").read().splitlines()[1:]]
paths = dict(rows)

rule all:
    input: expand("results/{{sample}}/four/file.txt", sample=paths)
{rules}"""
PLAIN_RULE = """
rule {step}:
    input: {source}
    output: "results/{{sample}}/{step}/file.txt"
    log: "logs/{{sample}}/{step}.log"
    benchmark: "benchmarks/{{sample}}/{step}.tsv"
    resources: mem_mb=500, runtime=10
    shell: '''sh -c '{script}' {step} {{input:q}} {{output:q}} {step} >{{log:q}} 2>&1'''
"""
# As quick as it can be made without changing what it does: it asks after jobs every few seconds instead of 40.
PLAIN_PROFILE = {
    "executor": "slurm",
    "jobs": 100,
    "scheduler": "greedy",
    "slurm-init-seconds-before-status-checks": 5,
    "default-resources": {"slurm_account": "lab", "slurm_partition": "cpu"},
    "keep-going": True,
}
TRACED = "%file,getdents64,fsync,fdatasync,flock"
GROUPS = {
    "look at": {"stat", "lstat", "newfstatat", "statx", "access", "faccessat", "faccessat2", "readlink", "readlinkat"},
    "open": {"open", "openat"},
    "list": {"getdents64"},
    "rename, link": {"rename", "renameat", "renameat2", "link", "linkat", "symlink", "symlinkat"},
    "remove": {"unlink", "unlinkat", "rmdir"},
    "make folder": {"mkdir", "mkdirat"},
    "change": {"chmod", "fchmodat", "utimensat", "utime", "utimes", "truncate", "fsync", "fdatasync", "flock"},
}
CALL = re.compile(r"^(?:\d+ +)?(\w+)\((.*)$")


@dataclass(frozen=True)
class Cost:
    """What a run took: CPU seconds of the head and of the jobs, wall seconds, jobs in Slurm."""

    rows: int
    head_s: float
    jobs_s: float
    wall_s: float
    jobs: int

    @property
    def row_s(self) -> float:
        """CPU seconds a row."""
        return (self.head_s + self.jobs_s) / self.rows


def tool(step: str) -> dict[str, object]:
    return {
        "schema": 1,
        "id": step,
        "name": step.capitalize(),
        "version": "1.0.0",
        "tool": {"name": "cat", "version": "1"},
        "description": "Copies a file and adds a word.",
        "license": "MIT",
        "inputs": {"file": {"type": "image" if step == STEPS[0] else "file", "description": "Any file."}},
        "outputs": {"file": {"type": "file", "description": "The file.", "file": "file.txt", "format": "txt"}},
        "params": {},
        "command": ["sh", "-c", SCRIPT, step, "{in.file}", "{out.file}", step],
        "resources": {"threads": 1, "mem_mb": 100, "runtime_min": 1},
    }


def write_rows(folder: Path, rows: int) -> None:
    (folder / "data").mkdir(parents=True, exist_ok=True)
    (folder / "config").mkdir(exist_ok=True)
    lines = ["id\tpath"]
    for index in range(rows):
        (folder / f"data/{index}.txt").write_text(f"{index}\n")
        lines.append(f"r{index:05}\tdata/{index}.txt")
    (folder / "config/samples.tsv").write_text("\n".join(lines) + "\n")


def make_ours(folder: Path, rows: int, rows_a_job: int) -> list[str]:
    """A study folder with the pipeline; returns the command that runs it."""
    init(folder)
    steps = {}
    for index, step in enumerate(STEPS):
        path = folder / f"tools/{step}/tool.yaml"
        path.parent.mkdir(parents=True)
        path.write_text(yaml.safe_dump(tool(step)))
        source = f"{STEPS[index - 1]}.file" if index else "sheet.path"
        steps[step] = {"tool": step, "inputs": {"file": source}}
    pipeline = {"schema": 1, "name": "four", "title": "Four steps", "steps": steps}
    (folder / "config/pipelines/four.yaml").write_text(yaml.safe_dump(pipeline, sort_keys=False))
    (folder / "config/config.yaml").write_text("pipeline: four\n")
    change_profile(folder, {"snakescope-poll-s": 1, "latency-wait": 5})
    site = {"target_minutes": rows_a_job * len(STEPS) / CPUS, "cores_per_job": CPUS}
    (folder / "profiles/slurm/site.yaml").write_text(yaml.safe_dump(site))
    write_rows(folder, rows)
    command = [sys.executable, "-m", "snakescope.cli"]
    subprocess.run([*command, "compile"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return [*command, "run", "--profile", "slurm", "--grain", "fanout", "--quiet"]


def change_profile(folder: Path, changes: dict[str, object]) -> None:
    path = folder / "profiles/slurm/config.yaml"
    profile = yaml.safe_load(path.read_text()) | changes
    path.write_text(yaml.safe_dump(profile, sort_keys=False))


def make_plain(folder: Path, rows: int, python: Path) -> list[str]:
    """The same by hand."""
    sources = [
        "lambda wildcards: paths[wildcards.sample]",
        *(f'"results/{{sample}}/{step}/file.txt"' for step in STEPS),
    ]
    rules = [
        PLAIN_RULE.format(step=step, source=source, script=SCRIPT.replace("{", "{{").replace("}", "}}"))
        for step, source in zip(STEPS, sources, strict=False)
    ]
    write_rows(folder, rows)
    (folder / "workflow").mkdir()
    (folder / "workflow/Snakefile").write_text(PLAIN.format(rules="".join(rules)))
    (folder / "profile").mkdir()
    (folder / "profile/config.yaml").write_text(yaml.safe_dump(PLAIN_PROFILE))
    return [str(python), "-m", "snakemake", "--profile", "profile", "--quiet", "rules", "progress"]


def plain_python(cache: Path) -> Path:
    """The Python of an environment that holds Snakemake with the official plugin and nothing else."""
    from importlib.metadata import version

    folder = cache / f"plain-{version('snakemake')}"
    python = folder / "bin/python"
    if not (folder / "ready").exists():
        print(f"installing Snakemake and {PLUGIN} into {folder}", flush=True)
        venv.create(folder, with_pip=True, clear=True)
        wanted = [f"snakemake=={version('snakemake')}", PLUGIN]
        subprocess.run([python, "-m", "pip", "install", "-qq", *wanted], check=True)
        (folder / "ready").touch()
    return python


def environment(site: SlurmSite, folder: Path, python: str) -> dict[str, str]:
    """What the head is started with. The official plugin drops SLURM_CONF before it calls srun, so srun is told."""
    words = folder / "bin/srun"
    words.parent.mkdir(exist_ok=True)
    words.write_text(f'#!/bin/sh\nSLURM_CONF={site.conf} exec {shutil.which("srun")} "$@"\n')
    words.chmod(0o755)
    path = os.pathsep.join([str(words.parent), str(Path(python).parent), os.environ["PATH"]])
    return {**site.env, "PATH": path, "PYTHONDONTWRITEBYTECODE": ""}


def cpu_seconds(text: str) -> float:
    """Seconds of what sacct prints as TotalCPU: [days-][hours:]minutes:seconds."""
    days, _, rest = text.rpartition("-")
    seconds = 0.0
    for part in rest.split(":"):
        seconds = seconds * 60 + float(part or 0)
    return seconds + 86400 * int(days or 0)


def jobs_since(site: SlurmSite, start: str) -> tuple[float, int]:
    """CPU seconds of the steps of all jobs since a time, and the number of jobs, once they all are accounted for."""

    def rows() -> list[list[str]]:
        said = site.run("sacct", "-n", "-P", "-D", f"--starttime={start}", "--format=JobID,State,TotalCPU")
        return [line.split("|") for line in said.splitlines()]

    wait_until(lambda: not site.queue() and not [row for row in rows() if row[1] in ("RUNNING", "PENDING")], 60)
    time.sleep(2)  # the last steps are told a little later than their jobs
    steps = [row for row in rows() if "." in row[0]]
    return sum(cpu_seconds(row[2]) for row in steps), len({row[0].partition(".")[0] for row in steps})


def run(site: SlurmSite, folder: Path, command: list[str], rows: int, prefix: Sequence[str] = ()) -> Cost:
    """Run a pipeline from nothing and say what it took."""
    start = time.strftime("%Y-%m-%dT%H:%M:%S")
    time.sleep(1)
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    with (folder.parent / f"{folder.name}.log").open("w") as log:
        done = subprocess.run(
            [*prefix, *command], cwd=folder, env=environment(site, folder.parent, command[0]), stdout=log, stderr=log,
            stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
    wall, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    made = len(list(folder.glob("results/*/four/file.txt")))
    assert (done.returncode, made) == (0, rows), f"{made} of {rows} rows; see {log.name}"
    head = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    jobs, count = jobs_since(site, start)
    return Cost(rows, head, jobs, wall, count)


@contextmanager
def started(folder: Path, **settings: object) -> Iterator[SlurmSite]:
    site = SlurmSite(folder, settings)
    site.start(owner=os.getpid())
    try:
        yield site
    finally:
        site.stop(now=True)


# ---------------------------------------------------------------------- engine


def show_engine(base: Path, args: argparse.Namespace, python: Path | None) -> None:
    print("\nengine: CPU and wall seconds a row; 4 steps, 3 nodes of 2 CPUs on this machine")
    header = ("", "rows", "Slurm jobs", "head CPU s", "jobs CPU s", "CPU s/row", "wall s", "wall s/row")
    print("{:8}{:>7}{:>12}{:>12}{:>12}{:>12}{:>10}{:>12}".format(*header))
    plain, ours = None, []
    with started(base / "site") as site:
        if python and args.plain_rows:
            folder = base / "plain"
            plain = run(site, folder, make_plain(folder, args.plain_rows, python), args.plain_rows)
            show_cost("plain", plain)
        for count in args.rows:
            folder = base / f"ours-{count}"
            ours.append(run(site, folder, make_ours(folder, count, args.rows_a_job), count))
            show_cost("ours", ours[-1])
            shutil.rmtree(folder)
    show_ratios(plain, ours)


def show_cost(name: str, cost: Cost) -> None:
    line = f"{name:8}{cost.rows:>7}{cost.jobs:>12}{cost.head_s:>12.1f}{cost.jobs_s:>12.1f}{cost.row_s:>12.4f}"
    print(f"{line}{cost.wall_s:>10.1f}{cost.wall_s / cost.rows:>12.3f}", flush=True)


def show_ratios(plain: Cost | None, ours: Sequence[Cost]) -> None:
    if plain:
        print(f"\nplain was stopped at {plain.rows} rows; its CPU s/row there ({plain.row_s:.2f}) is taken for all")
        for cost in ours:
            faster = plain.wall_s / plain.rows / (cost.wall_s / cost.rows)
            print(f"{cost.rows:>7} rows: plain / ours = {plain.row_s / cost.row_s:.0f} (CPU), {faster:.0f} (wall)")
    flat = {cost.rows: cost.row_s for cost in ours if cost.rows >= 400}
    if len(flat) > 1:
        print(f"ours from {min(flat)} to {max(flat)} rows: {flat[max(flat)] / flat[min(flat)]:.2f} times the CPU a row")


# ---------------------------------------------------------------------- files


@dataclass(frozen=True)
class Traces:
    """What a traced run did in the study folder: files that stay and operations, by kind."""

    rows: int
    files: Counter[str]
    operations: Counter[str]


def show_files(base: Path, args: argparse.Namespace, python: Path | None) -> None:
    ours_rows, plain_rows = args.traced_rows
    print(f"\nfiles: what head and jobs do in the study folder, a row (plain: {plain_rows} rows, ours: {ours_rows})")
    found: dict[str, Traces] = {}
    with started(base / "traced-site", NODES=1, CPUS=CPUS) as site:
        if python and plain_rows:
            folder = base / "traced-plain"
            found["plain"] = traced(site, folder, make_plain(folder, plain_rows, python), plain_rows)
        if ours_rows:
            folder = base / "traced-ours"
            found["ours"] = traced(site, folder, make_ours(folder, ours_rows, args.rows_a_job), ours_rows)
    rows = [traces.rows for traces in found.values()]
    show_counts("files and folders that stay, a row", list(found), rows, [traces.files for traces in found.values()])
    show_counts("operations on metadata, a row", list(found), rows, [traces.operations for traces in found.values()])


def show_counts(title: str, names: list[str], rows: list[int], counts: list[Counter[str]]) -> None:
    print(f"\n{title:36}" + "".join(f"{name:>10}" for name in names))
    for key in dict.fromkeys(key for count in counts for key in count):
        show_line(key, [count[key] / number for count, number in zip(counts, rows, strict=True)])
    show_line("all", [sum(count.values()) / number for count, number in zip(counts, rows, strict=True)])


def show_line(name: str, values: list[float]) -> None:
    ratio = f"   plain / ours = {values[0] / values[1]:.1f}" if len(values) > 1 and name == "all" else ""
    print(f"  {name:34}" + "".join(f"{value:>10.2f}" for value in values) + ratio)


def traced(site: SlurmSite, folder: Path, command: list[str], rows: int) -> Traces:
    """Run on a node all of whose processes are traced, as is the head."""
    logs = [folder.parent / f"{folder.name}.{name}.strace" for name in ("jobs", "head")]
    prefix = [["strace", "-f", "--seccomp-bpf", "-qq", "-y", "-e", f"trace={TRACED}", "-o", str(log)] for log in logs]
    before = existing(folder)
    with traced_node(site, prefix[0]):
        run(site, folder, command, rows, prefix[1])
    operations = sum((count_operations(log, folder) for log in logs), Counter[str]())
    return Traces(rows, kinds(existing(folder) - before), operations)


@contextmanager
def traced_node(site: SlurmSite, prefix: Sequence[str]) -> Iterator[None]:
    """Let strace be above the slurmd of n1, and so above all that it starts."""
    site.kill_slurmd("n1")
    daemon = [*prefix, "slurmd", "-D", "-N", "n1", "-f", str(site.conf)]
    with (site.root / "log/slurmd.n1.out").open("a") as out:
        tracer = subprocess.Popen(daemon, env=site.env, stdout=out, stderr=out, stdin=subprocess.DEVNULL)
    (site.root / "run/slurmd.n1.pid").write_text(str(tracer.pid))
    try:
        wait_until(lambda: site.nodes()["n1"] == "idle", 60, "for the traced node")
        yield
    finally:
        for pid in Path(f"/proc/{tracer.pid}/task/{tracer.pid}/children").read_text().split():
            os.kill(int(pid), signal.SIGKILL)
        tracer.wait()


def existing(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def kinds(paths: set[str]) -> Counter[str]:
    """How many files and folders there are, by the first folder."""
    return Counter(path.split("/")[0] + "/" for path in sorted(paths))


def count_operations(log: Path, folder: Path) -> Counter[str]:
    """Calls on paths of the study. A path that is not absolute is one there: every process starts in that folder."""
    counts: Counter[str] = Counter()
    with log.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            call = CALL.match(line)
            if call is None or "resumed>" in line[:40]:
                continue
            group = next((name for name, calls in GROUPS.items() if call[1] in calls), None)
            if group and in_study(call[2], str(folder)):
                counts[group] += 1
    return Counter({name: counts[name] for name in GROUPS})


def in_study(arguments: str, folder: str) -> bool:
    """Whether a call is about something in the study: its first path, with the folder that it starts from."""
    quoted = re.match(r'(?:(?:AT_FDCWD|\d+)(?:<([^>]*)>)?, )?"([^"]*)"', arguments)
    if quoted is None:  # by descriptor alone
        opened = re.match(r"\d+<([^>]*)>", arguments)
        return opened is not None and within(opened[1], folder)
    start, path = quoted[1] or folder, quoted[2]
    if not path:  # of an open file, which asks no server
        return False
    return within(path if path.startswith("/") else os.path.normpath(f"{start}/{path}"), folder)


def within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")


def main(argv: Sequence[str] | None = None) -> None:
    """Print costs and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=["engine", "files"], default=["engine", "files"])
    parser.add_argument("--rows", type=int, nargs="*", default=[100, 400, 1000, 5000], help="of ours")
    parser.add_argument("--rows-a-job", type=int, default=100, help="of ours (default: %(default)s)")
    parser.add_argument("--plain-rows", type=int, default=40, help="of plain, 0: none (default: %(default)s)")
    parser.add_argument("--traced-rows", type=int, nargs=2, default=[50, 4], help="ours, plain (default: 50 4)")
    parser.add_argument("--folder", type=Path, help="where studies and site lie (default: a temporary one)")
    parser.add_argument("--cache", type=Path, default=Path("~/.cache/snakescope-benchmarks"), help="for plain's Python")
    args = parser.parse_args(argv)
    reason = why_not()
    if reason:
        parser.error(reason)
    plain_rows = {"engine": args.plain_rows, "files": args.traced_rows[1]}
    python = plain_python(args.cache.expanduser()) if any(plain_rows[part] for part in args.parts) else None
    with tempfile.TemporaryDirectory(prefix="scale-", dir=args.folder, ignore_cleanup_errors=True) as name:
        base = Path(name).resolve()
        if "engine" in args.parts:
            show_engine(base, args, python)
        if "files" in args.parts:
            show_files(base, args, python)


if __name__ == "__main__":
    main()
