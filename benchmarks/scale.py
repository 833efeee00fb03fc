"""What the engine costs a row on a real Slurm, against the same pipeline as plain, hand-written Snakemake.

Four steps, each one trivial shell command, so that only the engine is seen. Ours is `snakescope run --profile slurm
--grain fanout`. Plain is a Snakefile with the official executor snakemake-executor-plugin-slurm, one job a row and
step; it has an environment of its own (a cache folder), since each installed plugin is imported at every start of
Snakemake. It is run for few rows; its cost a row only grows with more, so the ratios for more rows are lower bounds.

CPU seconds are user and system time of the head with all that it started (getrusage) and of all jobs (TotalCPU of
their steps, as sacct sums it up from the kernel's account of ended processes). Slurm's own daemons are in neither.

How many rows go into a job is the planner's own choice, at its default of 20 minutes a job, on jobs of two cores. It
depends on what the tools say of themselves: by default they declare 6 s each as their limit (`--tool-minutes`), which
makes 100 rows a job before anything was measured. `measured` is the same study after three rows have run on this
machine, as a user would do it: the planner then knows that the tools take next to no time. `--rows-a-job` sets the
planner's target so that it comes to that many.

    engine     CPU seconds and wall seconds a row, by rows; exit 1 when plain costs less than 100 times ours at 1,000
               rows, or ours differs by more than 1.3 times between 400 and 5,000 rows
    measured   the same after a trial of three rows
    files      files and folders that a run leaves in the study, and operations on metadata there, a row: everything
               that head and jobs do is traced with strace, calls on paths in the study are counted

    python benchmarks/scale.py [--parts engine measured files] [--rows 100 400 1000 5000] [--plain-rows 100]
                               [--results FILE] [--folder FOLDER]

All of it takes about 20 minutes on two quiet cores, 13 of them for plain. With `--results`, each run is kept in that
file when it has ended, and is not repeated by the next start. Needs what tests/slurm_site/up.sh needs, strace for
`files`, and a package index for plain, the first time.
"""

from __future__ import annotations

import argparse
import json
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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
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
# What must hold: plain over ours at 1,000 rows, and ours over ours from 400 rows on.
LEAST_TIMES, MOST_TIMES = 100, 1.3
CALL = re.compile(r"^(?:\d+ +)?(\w+)\((.*)$")


@dataclass(frozen=True)
class Cost:
    """What a run took: CPU seconds of the head and of the jobs, wall seconds, jobs in Slurm, rows in each at most."""

    rows: int
    rows_a_job: int
    head_s: float
    jobs_s: float
    wall_s: float
    jobs: int

    @property
    def row_s(self) -> float:
        """CPU seconds a row."""
        return (self.head_s + self.jobs_s) / self.rows


def tool(step: str, minutes: float) -> dict[str, object]:
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
        "resources": {"threads": 1, "mem_mb": 100, "runtime_min": minutes},
    }


def write_rows(folder: Path, rows: int) -> None:
    (folder / "data").mkdir(parents=True, exist_ok=True)
    (folder / "config").mkdir(exist_ok=True)
    lines = ["id\tpath"]
    for index in range(rows):
        (folder / f"data/{index}.txt").write_text(f"{index}\n")
        lines.append(f"r{index:05}\tdata/{index}.txt")
    (folder / "config/samples.tsv").write_text("\n".join(lines) + "\n")


@dataclass(frozen=True)
class Ours:
    """How our study is made: limit of each tool, rows a job (None: the planner's choice), a trial before."""

    tool_minutes: float
    rows_a_job: int | None = None
    trial: bool = False

    @property
    def site(self) -> dict[str, object]:
        """Content of ``site.yaml``."""
        target = {"target_minutes": (self.rows_a_job or 0) * len(STEPS) * self.tool_minutes / CPUS}
        return {"cores_per_job": CPUS, **(target if self.rows_a_job else {})}


def make_ours(folder: Path, rows: int, how: Ours) -> list[str]:
    """A study folder with the pipeline; returns the command that runs it."""
    init(folder)
    steps = {}
    for index, step in enumerate(STEPS):
        path = folder / f"tools/{step}/tool.yaml"
        path.parent.mkdir(parents=True)
        path.write_text(yaml.safe_dump(tool(step, how.tool_minutes)))
        source = f"{STEPS[index - 1]}.file" if index else "sheet.path"
        steps[step] = {"tool": step, "inputs": {"file": source}}
    pipeline = {"schema": 1, "name": "four", "title": "Four steps", "steps": steps}
    (folder / "config/pipelines/four.yaml").write_text(yaml.safe_dump(pipeline, sort_keys=False))
    (folder / "config/config.yaml").write_text("pipeline: four\n")
    change_profile(folder, {"snakescope-poll-s": 1, "latency-wait": 5})
    (folder / "profiles/slurm/site.yaml").write_text(yaml.safe_dump(how.site))
    write_rows(folder, rows)
    command = [sys.executable, "-m", "snakescope.cli"]
    before = ["run", "--first", "3", "--quiet"] if how.trial else ["compile"]
    subprocess.run([*command, *before], cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return [*command, "run", "--profile", "slurm", "--grain", "fanout", "--quiet"]


def rows_of_jobs(folder: Path) -> int:
    """Rows of the largest job; 1 where there are no shards."""
    path = folder / ".snakescope/cluster/plan.json"
    return max(shard["rows"] for shard in json.loads(path.read_text())["shards"]) if path.exists() else 1


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
    return Cost(rows, rows_of_jobs(folder), head, jobs, wall, count)


@contextmanager
def started(folder: Path, **settings: object) -> Iterator[SlurmSite]:
    site = SlurmSite(folder, settings)
    site.start(owner=os.getpid())
    try:
        yield site
    finally:
        site.stop(now=True)


# ---------------------------------------------------------------------- engine


class Results:
    """What runs took, by name and rows; kept in a file if one is given."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.known: dict[tuple[str, int], Cost] = {}
        if path and path.exists():
            for line in path.read_text().splitlines():
                told = json.loads(line)
                self.known[told["name"], told["cost"]["rows"]] = Cost(**told["cost"])

    def get(self, name: str, rows: int, measure: Callable[[], Cost]) -> Cost:
        """What a run took, which is not repeated when it is known; printed."""
        if (name, rows) not in self.known:
            self.known[name, rows] = measure()
            if self.path:
                with self.path.open("a") as out:
                    out.write(json.dumps({"name": name, "cost": asdict(self.known[name, rows])}) + "\n")
        show_cost(name, self.known[name, rows])
        return self.known[name, rows]


def show_engine(base: Path, args: argparse.Namespace, python: Path | None, results: Results) -> bool:
    """Print what runs cost; whether the limits hold that could be looked at."""
    print("\nengine: CPU and wall seconds a row; 4 steps, 3 nodes of 2 CPUs on this machine")
    header = ("", "rows", "rows/job", "Slurm jobs", "head CPU s", "jobs CPU s", "CPU s/row", "wall s", "wall s/row")
    print("{:9}{:>7}{:>10}{:>12}{:>12}{:>12}{:>12}{:>10}{:>12}".format(*header))
    plain, ours = None, []
    with started(base / "site") as site:

        def measure(make: Callable[[Path], list[str]], rows: int) -> Cost:
            folder = base / "study"
            try:
                return run(site, folder, make(folder), rows)
            finally:
                shutil.rmtree(folder)

        def plain_cost(rows: int, python: Path) -> Cost:
            return results.get("plain", rows, lambda: measure(lambda folder: make_plain(folder, rows, python), rows))

        def our_cost(name: str, rows: int, how: Ours) -> Cost:
            return results.get(name, rows, lambda: measure(lambda folder: make_ours(folder, rows, how), rows))

        if python and args.plain_rows:
            plain = plain_cost(args.plain_rows, python)
        if "engine" in args.parts:
            ours = [our_cost("ours", rows, Ours(args.tool_minutes, args.rows_a_job)) for rows in args.rows]
        measured = Ours(args.tool_minutes, args.rows_a_job, trial=True)
        rest = [our_cost("measured", rows, measured) for rows in args.measured_rows if "measured" in args.parts]
    return show_ratios(plain, ours, rest)


def show_cost(name: str, cost: Cost) -> None:
    line = f"{name:9}{cost.rows:>7}{cost.rows_a_job:>10}{cost.jobs:>12}{cost.head_s:>12.1f}{cost.jobs_s:>12.1f}"
    print(f"{line}{cost.row_s:>12.4f}{cost.wall_s:>10.1f}{cost.wall_s / cost.rows:>12.3f}", flush=True)


def show_ratios(plain: Cost | None, ours: Sequence[Cost], measured: Sequence[Cost]) -> bool:
    holds = []
    if plain:
        print(
            f"\nplain was stopped at {plain.rows} rows; its cost a row there ({plain.row_s:.2f} CPU s) is taken for all"
        )
        for name, cost in [*(("ours", cost) for cost in ours), *(("measured", cost) for cost in measured)]:
            times, faster = plain.row_s / cost.row_s, plain.wall_s / plain.rows / (cost.wall_s / cost.rows)
            wanted = f"; {LEAST_TIMES} wanted" if cost.rows == 1000 else ""
            told = f"{times:.0f} (CPU{wanted}), {faster:.0f} (wall)"
            print(f"{name:9}{cost.rows:>7} rows, {cost.rows_a_job} a job: plain / ours = {told}")
            holds += [times >= LEAST_TIMES] if wanted else []
    flat = {cost.rows: cost.row_s for cost in ours if cost.rows >= 400}
    if len(flat) > 1:
        most, least = max(flat.values()), min(flat.values())
        span = f"from {min(flat)} to {max(flat)} rows"
        print(f"ours {span}: the dearest row costs {most / least:.2f} times the cheapest (at most {MOST_TIMES} wanted)")
        holds.append(most / least <= MOST_TIMES)
    return all(holds)


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
            found["ours"] = traced(
                site, folder, make_ours(folder, ours_rows, Ours(args.tool_minutes, args.rows_a_job)), ours_rows
            )
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


def main(argv: Sequence[str] | None = None) -> int:
    """Print costs and ratios; 1 when a limit does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = ["engine", "measured", "files"]
    parser.add_argument("--parts", nargs="+", choices=parts, default=parts)
    parser.add_argument("--rows", type=int, nargs="*", default=[100, 400, 1000, 5000], help="of ours")
    parser.add_argument("--measured-rows", type=int, nargs="*", default=[1000], help="of ours after a trial")
    parser.add_argument("--tool-minutes", type=float, default=0.1, help="limit of each tool (default: %(default)s)")
    parser.add_argument("--rows-a-job", type=int, help="of ours (default: the planner's choice)")
    parser.add_argument("--plain-rows", type=int, default=100, help="of plain, 0: none (default: %(default)s)")
    parser.add_argument("--traced-rows", type=int, nargs=2, default=[100, 4], help="ours, plain (default: 100 4)")
    parser.add_argument("--results", type=Path, help="keeps what was measured; what it holds is not measured again")
    parser.add_argument("--folder", type=Path, help="where studies and site lie (default: a temporary one)")
    parser.add_argument("--cache", type=Path, default=Path("~/.cache/snakescope-benchmarks"), help="for plain's Python")
    args = parser.parse_args(argv)
    reason = why_not()
    if reason:
        parser.error(reason)
    engine, files = {"engine", "measured"} & set(args.parts), "files" in args.parts
    python = None
    if (engine and args.plain_rows) or (files and args.traced_rows[1]):
        python = plain_python(args.cache.expanduser())
    holds = True
    if args.folder:
        args.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="scale-", dir=args.folder, ignore_cleanup_errors=True) as name:
        base = Path(name).resolve()
        if engine:
            holds = show_engine(base, args, python, Results(args.results))
        if files:
            show_files(base, args, python)
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
