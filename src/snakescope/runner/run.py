"""Running a study: compile, check, start Snakemake, follow it, and say what came of it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from snakescope import layout
from snakescope.errors import problem
from snakescope.record import reason
from snakescope.runner.folder import Study, compile_study, lint
from snakescope.runner.follow import follow
from snakescope.runner.lock import RunLock, run_lock, snakemake_locks
from snakescope.runner.progress import RunState, display_for
from snakescope.samples import Sheet, write_sheet


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
    """

    jobs: int
    planned: int
    failures: list[Failure] = field(default_factory=list)
    blocked: int = 0
    compiled: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def exit_code(self) -> int:
        """0 when everything is done, 1 when some rows failed."""
        return 1 if self.failures or self.blocked else 0


def run(
    study: Study,
    *,
    profile: str = "local",
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
        If Snakemake itself failed.
    """
    pipeline, sheet = lint(study)
    profile_folder = study.root / "profiles" / profile
    if not profile_folder.is_dir():
        known = sorted(path.name for path in profile_folder.parent.glob("*/"))
        raise problem(profile_folder, "there is no such profile", f"There are: {', '.join(known) or 'none'}.")
    rows = _chosen(sheet, first, only)
    with run_lock(study.root) as lock:
        compiled = [stale.path for stale in compile_study(study)]
        _release_after_crash(study.root, lock)
        arguments = ["--profile", str(profile_folder.relative_to(study.root)), *_sheet_arguments(study, sheet, rows)]
        arguments += ["--cores", str(cores)] if cores else []
        arguments += ["--dry-run"] if dry_run else []
        started = time.monotonic()
        display = display_for([layout.STAGE_RULE, *pipeline.steps], quiet=quiet or dry_run)
        state = follow(study.root, [*arguments, *extra], lock, display)
        return _result(study, state, compiled, time.monotonic() - started, dry_run=dry_run)


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


def _result(study: Study, state: RunState, compiled: list[str], seconds: float, *, dry_run: bool) -> RunResult:
    failures = [
        Failure(unit, step, reason(study.root / layout.log(unit, step)), layout.log(unit, step))
        for unit, step in state.failures
    ]
    planned, done = state.planned.total(), state.done.total()
    blocked = 0 if dry_run else max(0, planned - done - len(failures))
    return RunResult(done, planned, failures, blocked, compiled, seconds)
