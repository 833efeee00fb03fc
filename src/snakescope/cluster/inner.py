"""Snakemake in this process: the compiled rules of some rows, with nothing but results left in the study.

An ordinary local run of the ordinary workflow. What differs is where Snakemake keeps its own books (in memory, and in
a folder of the machine), and that its scheduler does not look over all ready jobs each time one has ended. Every place
where we reach into Snakemake is in here; each is written for 9.20 to 9.27 and does without what is not there.
"""

from __future__ import annotations

import contextlib
import heapq
import os
import shutil
import sys
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from logging import WARNING
from pathlib import Path
from typing import Any

from snakemake import api, benchmark, logging
from snakemake.cli import main
from snakemake.jobs import Job
from snakemake.persistence import PersistenceBase
from snakemake.scheduling.job_scheduler import JobScheduler
from snakemake.shell import shell

from snakescope import layout
from snakescope.workflow import Plan

FIRST_MEASURE_S = 0.1

_BOOKS = Path(".snakemake")
_LONGEST_NAME = 254


@dataclass(frozen=True)
class Work:
    """What Snakemake is to do.

    Parameters
    ----------
    targets
        The files to make.
    sheet
        The slice of the sample sheet that the rules read.
    cores
        Cores to use.
    resources
        What all jobs together may use at once (`mem_mb`, `gpu`). No job asks for more: it then runs alone.
    attempt
        Which attempt the rules' resources are for.
    books
        A folder of this machine for Snakemake's own files.
    extra
        More arguments for Snakemake.
    """

    targets: Sequence[str]
    sheet: str
    cores: int
    resources: Mapping[str, int]
    attempt: int
    books: Path
    extra: Sequence[str] = field(default=())


def run_rules(work: Work, order: Sequence[str], stop: Callable[..., None]) -> bool:
    """Run Snakemake in the study folder, which is the current one.

    Parameters
    ----------
    work
        What to do.
    order
        The steps of the pipeline; of the jobs that are ready, those of later steps go first.
    stop
        What a signal calls that ends the run; it raises `KeyboardInterrupt`.

    Returns
    -------
    Whether Snakemake says that all is done. What it made is told by the records.
    """
    Plan.targets = lambda self: list(work.targets)  # type: ignore[method-assign] # noqa: ARG005
    _keep_books_in(work.books)
    _schedule_lightly(order, work.cores)
    _limit(work.resources)
    _measure_later()
    if not work.extra:  # what activates an environment may be written for bash
        _use_light_shell()
    JobScheduler.exit_gracefully = lambda _, *_arguments: stop()
    try:
        main(list(_arguments(work)))
    except SystemExit as end:
        return not end.code
    except KeyboardInterrupt:
        return False
    return True


def _arguments(work: Work) -> Iterable[str]:
    yield from ("--snakefile", layout.SNAKEFILE, "--profile", "none", "--workflow-profile", "none")
    yield from ("--cores", str(work.cores), "--attempt", str(work.attempt))
    yield from ("--nolock", "--keep-going", "--rerun-triggers", "mtime", "--latency-wait", "5", "--no-hooks")
    yield from ("--scheduler", "greedy", "--scheduler-greedy-omit-prioritize-by-temp-and-input")
    yield from ("--max-jobs-per-timespan", "100000/1s", "--drop-metadata")
    yield from ("--quiet", "progress", "rules", "host", "reason")
    yield from ("--shared-fs-usage", "persistence", "input-output", "software-deployment")
    yield from ("sources", "storage-local-copies", "--config", f"samples={work.sheet}", "keep_staged=true")
    yield f"stage_window={10**9}"
    yield from ("--resources", *(f"{name}={amount}" for name, amount in work.resources.items()))
    yield from work.extra


# ---------------------------------------------------------------------- Snakemake's books


class Books(PersistenceBase):  # type: ignore[misc]
    """What Snakemake knows of the jobs of this run, in memory.

    What another Snakemake has written in the study's own books about files that are made here is forgotten there, or
    it would take them for made with other parameters and make them again.
    """

    folder = Path()

    def __init__(self, *arguments: Any, path: Path | None = None, **named: Any) -> None:
        super().__init__(*arguments, path=path or self.folder, **named)
        if not named.get("conda_prefix"):
            self.conda_env_path = os.path.abspath(_BOOKS / "conda")  # noqa: PTH100 - environments are shared
        if not named.get("singularity_prefix"):
            self.container_img_path = os.path.abspath(_BOOKS / "singularity")  # noqa: PTH100
        self._incomplete: set[str] = set()
        self._known_to_others = _has_entries(_BOOKS / "metadata")

    def started(self, job: Any, external_jobid: str | None = None) -> None:
        """Note that a job has started."""
        super().started(job, external_jobid)
        for file in job.output if self._known_to_others else ():
            with contextlib.suppress(OSError):
                _book_file("metadata", str(file)).unlink()

    def _mark_incomplete(self, key: str, *_: Any) -> None:
        self._incomplete.add(key)

    def _unmark_incomplete(self, key: str) -> None:
        self._incomplete.discard(key)

    def _filter_incomplete_keys(self, keys: Iterable[str]) -> set[str]:
        return self._incomplete.intersection(keys)

    def _nothing(self, *_: Any) -> None:
        return None

    def _none(self, *_: Any) -> tuple[()]:
        return ()

    _read_record = _write_record = _delete_record = _get_recorded_starttime = _clear_cache = _nothing
    _write_locks = _delete_locks = _nothing
    _get_external_jobids = _read_locks = _none


def _keep_books_in(folder: Path) -> None:
    Books.folder = folder
    sys.modules[api.Workflow.__module__].FilePersistence = Books  # type: ignore[attr-defined]
    logging.logger.addFilter(lambda record: record.levelno >= WARNING)  # errors, which --quiet would hide, too
    logging.LoggerManager.setup_logfile = lambda _, *_arguments, **_named: None


def _has_entries(folder: Path) -> bool:
    try:
        with os.scandir(folder) as entries:
            return any(True for _ in entries)
    except OSError:
        return False


def _book_file(kind: str, path: str) -> Path:
    """Where the books of a study have an entry on a file."""
    name = urlsafe_b64encode(path.encode()).decode()
    parts = [name[at : at + _LONGEST_NAME] for at in range(0, len(name), _LONGEST_NAME)]
    return _BOOKS.joinpath(kind, *(f"@{part}" for part in parts[:-1]), parts[-1])


def forget_incomplete(is_whole: Callable[[str], bool]) -> None:
    """Strike out of the study's books what a Snakemake that was killed there has left as begun, and is whole now.

    Parameters
    ----------
    is_whole
        Tells of a file of the study whether the job that makes it is done.
    """
    folder = _BOOKS / "incomplete"
    for path in list(folder.rglob("*")) if _has_entries(folder) else ():
        name = "".join(part.removeprefix("@") for part in path.relative_to(folder).parts)
        with contextlib.suppress(OSError, ValueError):
            if path.is_file() and is_whole(urlsafe_b64decode(name).decode()):
                path.unlink()


# ---------------------------------------------------------------------- Snakemake's scheduler


def _schedule_lightly(order: Sequence[str], cores: int) -> None:
    """Show the scheduler a few of the ready jobs, of later steps first, and nothing that it does not need.

    It works out the resources of all ready jobs anew whenever one has ended, and lists all jobs of the run.
    """
    ready = getattr(JobScheduler, "open_jobs", None)
    rank = {step: index for index, step in enumerate(order)}
    few = 2 * cores + 4

    def open_jobs(self: Any) -> list[Any]:
        jobs: list[Any] = ready.fget(self)  # type: ignore[union-attr]
        if len(jobs) <= few or self._last_job_selection_empty:  # those in front may be too large for what is free
            return jobs
        return heapq.nlargest(few, jobs, key=lambda job: rank.get(job.rule.name, -1))

    if isinstance(ready, property):
        JobScheduler.open_jobs = property(open_jobs)
    if isinstance(getattr(JobScheduler, "remaining_jobs", None), property):
        JobScheduler.remaining_jobs = property(lambda _: ())
    if hasattr(JobScheduler, "update_input_sizes"):  # of all inputs, each time; with the option they are not used
        JobScheduler.update_input_sizes = _nothing_to_wait_for
    if hasattr(Job, "log_info"):
        Job.log_info = lambda _, *_arguments, **_named: None


async def _nothing_to_wait_for(*_: Any) -> None:
    pass


def _use_light_shell() -> None:
    """Have the jobs' shell be one that starts in half the time; `job.sh` is written for any."""
    light = shutil.which("dash")
    if light:
        shell.executable(light)


def _measure_later() -> None:
    """Take a job's first measure when its tool has begun; at once, it is that of a shell which has done nothing yet.

    A job that ends before has no peak memory, which is unknown then, and no small number.
    """

    def start(self: Any) -> None:
        self.bench_record.process_gone = True  # until it is seen
        with self._lock:
            self._stopped = False
            self._timer = benchmark.DaemonTimer(FIRST_MEASURE_S, self._action)
            self._timer.start()

    if all(hasattr(benchmark, name) for name in ("BenchmarkTimer", "DaemonTimer", "ScheduledPeriodicTimer")):
        benchmark.BenchmarkTimer.start = start


def _limit(resources: Mapping[str, int]) -> None:
    """Have no job ask for more than there is, which Snakemake would refuse to run at all."""
    asked = Plan.resource

    def resource(self: Plan, step: str, name: str, unit: str, attempt: int) -> int:
        amount = asked(self, step, name, unit, attempt)
        return min(amount, resources.get(name, amount))

    Plan.resource = resource  # type: ignore[method-assign]
