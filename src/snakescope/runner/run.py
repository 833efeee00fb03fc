"""Running a study: compile, check, start Snakemake, follow it, and say what came of it."""

from __future__ import annotations

import ctypes
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from snakescope import layout
from snakescope.environments.check import CHECKED, NotUsableError, require_environments, said
from snakescope.environments.conda import explain
from snakescope.errors import EnvironmentUnusableError, problem
from snakescope.record import reason
from snakescope.runner.folder import Study, compile_study, lint
from snakescope.runner.lock import RunLock, run_lock, snakemake_locks
from snakescope.runner.progress import Display, Events, RunState, display_for
from snakescope.samples import Sheet, write_sheet
from snakescope.tool.base import read_yaml
from snakescope.workflow import Plan

POLL_S = 0.2
Deployment = Literal["apptainer", "conda", "none"]


@dataclass(frozen=True)
class Failure:
    """A job that failed: which rows, which step, why, and where to read on."""

    unit: str
    step: str
    reason: str
    log: str


@dataclass(frozen=True)
class RunResult:
    """What came of a run.

    Parameters
    ----------
    jobs, planned
        Jobs that finished, and jobs that this run set out to do.
    failures
        Jobs that failed.
    blocked
        Jobs that could not start since one before them failed.
    compiled
        Rules that were compiled anew before the run.
    seconds
        Wall time.
    environment
        Where the tools ran, in one line.
    """

    jobs: int
    planned: int
    failures: list[Failure] = field(default_factory=list)
    blocked: int = 0
    compiled: list[str] = field(default_factory=list)
    seconds: float = 0.0
    environment: str = ""

    @property
    def exit_code(self) -> int:
        """0 when everything is done, 1 when some rows failed."""
        return 1 if self.failures or self.blocked else 0


def run(
    study: Study,
    *,
    profile: str = "local",
    sdm: Deployment | None = None,
    cores: int | None = None,
    first: int | None = None,
    only: Sequence[str] = (),
    dry_run: bool = False,
    quiet: bool = False,
    extra: Sequence[str] = (),
) -> RunResult:
    """Run the configured pipeline over the sample sheet.

    Parameters
    ----------
    study
        The study folder.
    profile
        Name of a folder under ``profiles/``.
    sdm
        Where the tools run: in Apptainer images, in conda environments, or (none) as this machine has them. By default
        what the profile says.
    cores
        Cores to use; by default what the profile says.
    first, only
        Run over the first rows of the sheet, or over these ids, only. What they share with a later run over all
        rows is not made twice.
    dry_run
        Plan and count, run nothing.
    quiet
        No progress display.
    extra
        More arguments for Snakemake.

    Raises
    ------
    InputError
        If something is wrong with the pipeline, the sheet or the folder; nothing has been run then.
    EnvironmentUnusableError
        If tools cannot run where they are to, with every reason and before anything has run; or if Snakemake itself
        failed.
    """
    pipeline, sheet = lint(study)
    profile_folder = study.root / "profiles" / profile
    if not profile_folder.is_dir():
        known = sorted(path.name for path in profile_folder.parent.glob("*/"))
        raise problem(profile_folder, "there is no such profile", f"There are: {', '.join(known) or 'none'}.")
    rows = _chosen(sheet, first, only)
    with run_lock(study.root) as lock:
        compiled = [stale.path for stale in compile_study(study)]
        methods = deployment_methods(profile_folder, sdm, extra)
        plan = Plan.read(study.config.pipeline, study.config.samples, study.root, methods=methods)
        if not dry_run:
            _check_environments(plan, quiet=quiet)
        _release_after_crash(study.root, lock)
        arguments = ["--profile", str(profile_folder.relative_to(study.root)), *_sheet_arguments(study, sheet, rows)]
        arguments += deployment_arguments(sdm)
        arguments += ["--cores", str(cores)] if cores else []
        arguments += ["--dry-run"] if dry_run else []
        started = time.monotonic()
        display = display_for([layout.STAGE_RULE, *pipeline.steps], quiet=quiet or dry_run)
        state = _follow(study, [*arguments, *extra], lock, display)
        result = _result(study, state, compiled, time.monotonic() - started, dry_run=dry_run)
        return replace(result, environment=said(plan))


def deployment_arguments(sdm: Deployment | None) -> list[str]:
    """Arguments for Snakemake that say where tools run; none leave it to the profile."""
    # Snakemake knows no word for "nowhere", which the profile might need to hear; no rule of ours has modules.
    return ["--software-deployment-method", "env-modules" if sdm == "none" else sdm] if sdm else []


def deployment_methods(profile: Path, sdm: Deployment | None, extra: Sequence[str]) -> list[str]:
    """Snakemake's deployment methods: those after ``--``, else those asked for, else the profile's."""
    flags = ("--software-deployment-method", "--deployment-method", "--deployment", "--sdm")
    for index, word in enumerate(extra):
        name, equals, value = word.partition("=")
        if name in flags:
            following = itertools.takewhile(lambda text: not text.startswith("-"), extra[index + 1 :])
            return [value] if equals else list(following)
    if sdm:
        return [sdm]
    return _profile_methods(profile)


def _profile_methods(profile: Path) -> list[str]:
    path = next((p for p in (profile / "config.v8+.yaml", profile / "config.yaml") if p.is_file()), None)
    data = read_yaml(path) if path else {}
    keys = ("software-deployment-method", "deployment-method", "deployment", "sdm")
    found: object = next((data[key] for key in keys if data.get(key)), "")
    return [str(item) for item in found] if isinstance(found, list) else str(found).replace(",", " ").split()


def _check_environments(plan: Plan, *, quiet: bool) -> None:
    """Say where the tools run, and stop here when they cannot."""
    require_environments(plan)
    if not quiet:
        print(said(plan), file=sys.stderr)


def _chosen(sheet: Sheet, first: int | None, only: Sequence[str]) -> Sheet:
    """The rows to run over: the first few, or those with an id or a series among `only`."""
    if only:
        wanted = set(only)
        ids = [row.id for row in sheet.rows if row.id in wanted or row.cell("series") in wanted]
        unknown = wanted - {row.id for row in sheet.rows} - {row.cell("series") for row in sheet.rows}
        return sheet.only(ids if not unknown else [*ids, *sorted(unknown)])
    if first is not None and first < len(sheet.rows):
        return sheet.only([row.id for row in sheet.rows[:first]])
    return sheet


def _sheet_arguments(study: Study, sheet: Sheet, rows: Sheet) -> list[str]:
    if rows is sheet:
        return []
    path = f"{layout.STATE}/samples.tsv"
    write_sheet(study.root / path, rows)
    return ["--config", f"samples={path}"]


def _release_after_crash(root: Path, lock: RunLock) -> None:
    """Remove Snakemake's lock when the run that left it was ours and is gone; never another's."""
    locks = snakemake_locks(root)
    if not locks:
        return
    if not lock.crashed:
        fix = "If no other Snakemake runs in this folder, run: snakemake --unlock"
        raise problem(root, "Snakemake has locked the folder, but not through snakescope", fix)
    for path in locks:
        path.unlink(missing_ok=True)


def _follow(study: Study, arguments: Sequence[str], lock: RunLock, display: Display) -> RunState:
    state_folder = study.root / layout.STATE
    events_path, log_path = state_folder / "events.jsonl", state_folder / "snakemake.log"
    events_path.unlink(missing_ok=True)
    events, state = Events(events_path), RunState()
    command = [sys.executable, "-m", "snakemake", "--snakefile", layout.SNAKEFILE, "--logger", "snakescope", *arguments]
    environment = {**os.environ, "SNAKESCOPE_EVENTS": str(events_path.resolve()), CHECKED: "yes"}
    with log_path.open("w", encoding="utf-8") as log:
        process = subprocess.Popen(
            command, cwd=study.root, env=environment, stdout=log, stderr=log, pass_fds=[lock.descriptor],
            stdin=subprocess.DEVNULL, preexec_fn=_end_with_parent,
        )  # fmt: skip
        with _passing_signals_to(process) as received:
            code = _wait(process, events, state, display)
    display.close()
    if code != 0 and (received or not state.failures):
        _explain(code, state, log_path, stopped=bool(received))
    return state


def _wait(process: subprocess.Popen[bytes], events: Events, state: RunState, display: Display) -> int:
    while True:
        code = process.poll()
        for event in events.new():
            state.take(event)
        display.show(state)
        if code is not None:
            return code
        time.sleep(POLL_S)


def _end_with_parent() -> None:
    """Let Snakemake end its jobs and itself when we are killed (Linux only; elsewhere the lock protects).

    SIGINT, since a SIGTERM makes Snakemake wait for jobs whose end it may never hear of. A shell that started us in
    the background may have told us to ignore SIGINT, which Snakemake must not inherit.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGINT)


@contextmanager
def _passing_signals_to(process: subprocess.Popen[bytes]) -> Iterator[list[int]]:
    """Ctrl-C reaches Snakemake through the terminal; a SIGTERM to us is passed on. Both are waited for and told."""
    received: list[int] = []

    def terminate(number: int, _: object) -> None:
        received.append(number)
        process.send_signal(signal.SIGINT)

    old_int = signal.signal(signal.SIGINT, lambda number, _: received.append(number))
    old_term = signal.signal(signal.SIGTERM, terminate)
    try:
        yield received
    finally:
        signal.signal(signal.SIGINT, old_int)
        signal.signal(signal.SIGTERM, old_term)


def _explain(code: int, state: RunState, log_path: Path, *, stopped: bool) -> None:
    """Snakemake was stopped, or ended with an error that no job had."""
    killed = code in (-signal.SIGINT, -signal.SIGTERM, -signal.SIGKILL, 130, 143)
    if stopped or killed or (state.planned and not state.messages):
        raise InterruptedRunError(f"the run was stopped after {state.done.total()} jobs; run it again to go on")
    text = log_path.read_text(encoding="utf-8", errors="replace")
    if found := explain(text):
        raise NotUsableError([found])
    lines = text.strip().splitlines()
    if state.planned:
        told = f"Snakemake ended with an error after {state.done.total()} jobs (whole log: {log_path})"
        raise EnvironmentUnusableError(f"{told}:\n    {lines[-1] if lines else state.messages[-1]}")
    tail = "\n".join(lines[-15:])
    raise EnvironmentUnusableError(f"Snakemake could not run the workflow (whole log: {log_path}):\n{tail}")


class InterruptedRunError(EnvironmentUnusableError):
    """The run was stopped from outside; what is done stays done."""

    exit_code = 1


def _result(study: Study, state: RunState, compiled: list[str], seconds: float, *, dry_run: bool) -> RunResult:
    failures = [
        Failure(unit, step, reason(study.root / layout.log(unit, step)), layout.log(unit, step))
        for unit, step in state.failures
    ]
    planned, done = state.planned.total(), state.done.total()
    blocked = 0 if dry_run else max(0, planned - done - len(failures))
    return RunResult(done, planned, failures, blocked, compiled, seconds)
