"""Running a study: compile, check, start Snakemake, follow it, and say what came of it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from snakescope import layout
from snakescope.cluster.plan import RunPlan
from snakescope.cluster.site import Grain, Site, read_site
from snakescope.environments.check import said
from snakescope.errors import problem
from snakescope.runner.deployment import Deployment, check_deployment, deployment_arguments, deployment_methods
from snakescope.runner.elsewhere import made_elsewhere
from snakescope.runner.folder import Study, compile_study, lint
from snakescope.runner.follow import follow
from snakescope.runner.gone import results_gone
from snakescope.runner.lock import RunLock, run_lock, snakemake_locks
from snakescope.runner.on_cluster import Wanted, plan_shown, rows_of_failures, rows_to_run, run_on_cluster, shard_result
from snakescope.runner.outcome import Failure, RunResult
from snakescope.runner.progress import RunState, display_for
from snakescope.samples import Sheet, write_sheet
from snakescope.workflow import Plan

# Executors of Snakemake for which we plan jobs; for any other, each row and step is a job of Snakemake's.
PLANNED = ("snakescope",)


def run(
    study: Study,
    *,
    profile: str = "local",
    sdm: Deployment | None = None,
    cores: int | None = None,
    first: int | None = None,
    only: Sequence[str] = (),
    retry_failed: bool = False,
    grain: Grain | None = None,
    plan: bool = False,
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
        Cores to use on this machine; by default what the profile says.
    first, only
        Run over the first rows of the sheet, or over these ids, only. What they share with a later run over all
        rows is not made twice.
    retry_failed
        Run only what failed when it ran last, and what waits for it.
    grain
        On a cluster, one job for each row and step (``row``) or jobs over many rows (``fanout``); by default what the
        profile says, or else whichever fits.
    plan
        On a cluster, say which jobs there would be; Slurm is asked what its nodes have, nothing is run or submitted.
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
        If tools cannot run where they are to, with every reason and before anything has run; if the cluster cannot be
        used; or if Snakemake itself failed.
    """
    pipeline, sheet = lint(study)
    site = read_site(study.root, profile)
    planned = site.executor in PLANNED
    _check_options(site, planned=planned, cores=cores, grain=grain, plan=plan)
    rows = _chosen(sheet, first, only)
    with run_lock(study.root) as lock:
        started = time.monotonic()
        compiled = [stale.path for stale in compile_study(study)]
        samples, rows = _written(study, sheet, rows)
        methods = deployment_methods(study.root / "profiles" / profile, sdm, extra)
        # of the whole sheet, since jobs that an earlier run has left in a queue see by it what lies outside
        tools = Plan.read(study.config.pipeline, sheet, study.root, methods=methods)
        tasks = tools if rows is sheet else Plan.read(study.config.pipeline, rows, study.root, methods=methods)
        extra = [*deployment_arguments(sdm), *extra]
        wanted = Wanted(samples, grain, retry_failed, quiet, extra)
        if planned and (plan or dry_run):
            made, shown = plan_shown(study, tasks, site, wanted)
            return RunResult(0, made.pending, compiled=compiled, plan=shown)
        if not dry_run:
            check_deployment(tools, quiet=quiet)
        _release_after_crash(study.root, lock)
        if planned:
            made, state = run_on_cluster(study, tasks, site, wanted, lock)
            result = _cluster_result(study, made, state, compiled, time.monotonic() - started)
            return replace(result, environment=said(tools), elsewhere=made_elsewhere(tools))
        if retry_failed:
            rows = rows_to_run(rows, rows_of_failures(tasks, study.root))
            if not rows.rows:
                return RunResult(0, 0, compiled=compiled)
            samples, _ = _written(study, sheet, rows)
        arguments = ["--profile", f"profiles/{profile}", "--config", f"samples={samples}"]
        arguments += ["--cores", str(cores)] if cores else []
        arguments += ["--dry-run"] if dry_run else []
        display = display_for([layout.STAGE_RULE, *pipeline.steps], quiet=quiet or dry_run)
        state = follow(study.root, [*arguments, *extra], lock, display)
        result = _result(study, state, compiled, time.monotonic() - started, dry_run=dry_run)
        return replace(result, environment=said(tools), elsewhere=made_elsewhere(tools), gone=results_gone(tools))


def _check_options(site: Site, *, planned: bool, cores: int | None, grain: Grain | None, plan: bool) -> None:
    if planned and cores:
        fix = f"Set cores_per_job in {site.where}."
        raise problem("--cores", f"has no meaning for the profile {site.name!r}, which runs on a cluster", fix)
    if not planned and (grain or plan):
        flag = "--plan" if plan else "--grain"
        found = f"has no meaning for the profile {site.name!r}, whose executor is {site.executor or 'this machine'}"
        raise problem(flag, found, "Use it with: --profile slurm")


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


def _written(study: Study, sheet: Sheet, rows: Sheet) -> tuple[str, Sheet]:
    """The sheet to run over, its path (in the study folder) first: the study's own, or a file with a part of it."""
    if rows is sheet:
        return study.config.samples, rows
    path = f"{layout.STATE}/samples.tsv"
    write_sheet(study.root / path, rows)
    return path, replace(rows, path=study.root / path)


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
    failures = [Failure.of(study.root, unit, step) for unit, step in state.failures]
    planned, done = state.planned.total(), state.done.total()
    blocked = 0 if dry_run else max(0, planned - done - len(failures))
    by_step = {step: count for step, count in state.planned.items() if count}
    return RunResult(done, planned, failures, blocked, compiled, seconds, by_step=by_step)


def _cluster_result(study: Study, made: RunPlan, state: RunState, compiled: list[str], seconds: float) -> RunResult:
    if made.grain == "row":
        return _result(study, state, compiled, seconds, dry_run=False)
    came = shard_result(study.root, made)
    return RunResult(came.done, made.pending, came.failures, came.blocked, compiled, seconds)
