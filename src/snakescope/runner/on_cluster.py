"""Running a study on a cluster: plan or take the plan of the run before up again, ask whether Slurm would take it, run.

A job per row and step is run by the ordinary workflow; shards by the outer one (``workflow/fanout.smk``). Jobs that an
earlier run has left in the queue go on: with the same plan they are taken over, else waited for.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snakescope import layout
from snakescope.cluster import accounting
from snakescope.cluster.pending import find_pending, keep_failed
from snakescope.cluster.plan import RunPlan, made_from, make_plan, read_plan, write_plan
from snakescope.cluster.plan_text import plan_text
from snakescope.cluster.preflight import offered, preflight
from snakescope.cluster.refusal import SHARD_JOB
from snakescope.cluster.site import Grain, Site
from snakescope.cluster.slurm import QueuedJob, queue, read_run_id, waiting_at_most
from snakescope.errors import EnvironmentUnusableError, SnakescopeError
from snakescope.record import reason
from snakescope.runner.folder import Study
from snakescope.runner.follow import follow
from snakescope.runner.lock import RunLock
from snakescope.runner.outcome import Failure
from snakescope.runner.placement import place_of, placement, unheeded
from snakescope.runner.progress import RunState, display_for
from snakescope.samples import Sheet
from snakescope.words import many
from snakescope.workflow import Plan

SNAKEFILE = "workflow/fanout.smk"
WAIT_S = 10.0
# How long showing a plan waits for Slurm, which may not be here at all.
ASK_S = 10.0


@dataclass(frozen=True)
class Wanted:
    """What the user asked for.

    Parameters
    ----------
    samples
        Path of the sheet to run over, relative to the study folder.
    grain
        None: as the site says.
    failed_only
        Only what failed before, and what waits for it.
    quiet
        No progress display.
    extra
        More arguments for Snakemake.
    """

    samples: str
    grain: Grain | None = None
    failed_only: bool = False
    quiet: bool = False
    extra: Sequence[str] = ()


@dataclass(frozen=True)
class ShardResult:
    """What came of the shards of a run: jobs done and blocked, and what failed."""

    done: int
    blocked: int
    failures: list[Failure]


def plan_for(study: Study, plan: Plan, site: Site, wanted: Wanted) -> RunPlan:
    """The plan of a run as it would be now; nothing is written."""
    return make_plan(
        plan, site, study.root,
        grain=wanted.grain, failed_only=wanted.failed_only,
        stage_window=study.config.stage_window, keep_staged=study.config.keep_staged,
    )  # fmt: skip


def plan_shown(study: Study, plan: Plan, site: Site, wanted: Wanted) -> tuple[RunPlan, str]:
    """The plan of a run as it would be now, and that as text; what partitions hold is asked of Slurm where it is."""
    lines = []
    try:
        with waiting_at_most(ASK_S):
            site = site.completed(*offered())
    except EnvironmentUnusableError as error:
        why = str(error).partition("\n")[0].rstrip(".")
        lines.append(f"Slurm was not asked what nodes have ({why}); the run asks, and makes jobs that fit.")
    made = plan_for(study, plan, site, wanted)
    lines += filter(None, [_unheeded(study, made, site, wanted)])
    return made, plan_text(made) + "".join(f"{line}\n" for line in lines if made.pending)


def _unheeded(study: Study, made: RunPlan, site: Site, wanted: Wanted) -> str | None:
    steps = [step.step for step in made.steps if step.pending]
    return unheeded(steps, site, study.root, wanted.extra) if made.grain == "fanout" else None


def rows_of_failures(plan: Plan, root: Path) -> list[str]:
    """Ids of the rows whose jobs failed when they ran last, with the rest of each group that a step runs over."""
    failed = keep_failed(find_pending(plan, root), plan, root)
    chosen = {row.id for step, units in failed.pairs.items() for unit in units for row in plan.units(step)[unit]}
    before = -1
    while before != len(chosen):  # a group shares rows with groups of other steps
        before = len(chosen)
        for step in plan.steps:
            for members in plan.units(step).values():
                ids = {row.id for row in members}
                if not ids.isdisjoint(chosen):
                    chosen |= ids
    return [row.id for row in plan.sheet.rows if row.id in chosen]


def run_on_cluster(study: Study, plan: Plan, site: Site, wanted: Wanted, lock: RunLock) -> tuple[RunPlan, RunState]:
    """Run through Slurm.

    Returns
    -------
    The plan, and what Snakemake told; of shards, `shard_result` tells more.

    Raises
    ------
    EnvironmentUnusableError
        If there is no Slurm, or it does not answer.
    InputError
        If Slurm would not take the jobs, or a step fits into no partition.
    """
    found, default = offered()
    accounting.catch_up(study.root)  # of jobs that ended when no head was there
    site = site.completed(found, default)
    made = _to_take_up(study.root, plan, site, wanted)
    if made is None:
        made = plan_for(study, plan, site, wanted)
        if not made.pending:
            return made, RunState()
        for remark in preflight(study.root, _asked(made, site), found=found, default=default, site=site):
            _say(remark, wanted)
        made = write_plan(study.root, made)
        for line in filter(None, [_unheeded(study, made, site, wanted), _begun(made)]):
            _say(line, wanted)
    return made, _follow(study, made, site, wanted, lock)


def _to_take_up(root: Path, plan: Plan, site: Site, wanted: Wanted) -> RunPlan | None:
    """The plan whose jobs are in the queue, if a new one would be made from the same; others are waited for."""
    name = read_run_id(root)
    jobs = queue(name, root) if name else {}
    old = read_plan(root) if jobs else None
    selection = "failed" if wanted.failed_only else "all"
    if old and old.made_from == made_from(plan, site, root, wanted.grain) and old.selection == selection:
        _say(f"{len(jobs)} jobs of the run before are in the queue; they are taken over", wanted)
        return old
    if name and jobs:
        _wait_for(root, name, jobs, wanted)
    return None


def _wait_for(root: Path, name: str, jobs: Mapping[str, QueuedJob], wanted: Wanted) -> None:
    """Let jobs of another plan end, so that no row runs twice at once."""
    said = f"{len(jobs)} jobs of an earlier run, planned otherwise, are in the queue; waiting for them to end"
    _say(f"{said} (to stop them instead: scancel --name={name})", wanted)
    while jobs:
        time.sleep(WAIT_S)
        jobs = queue(name, root)


def _say(text: str, wanted: Wanted) -> None:
    if not wanted.quiet:
        print(text, file=sys.stderr, flush=True)


def _begun(made: RunPlan) -> str:
    """What is sent, under which name."""
    stages = "; ".join(f"{stage.name}: {', '.join(stage.steps)}" for stage in made.stages)
    what = f" ({stages})" if stages else ", one for each row and step"
    return f"{many(len(made.jobs) or made.pending, 'Slurm job')}{what}. To see them: squeue --name={made.run_id}"


def _asked(made: RunPlan, site: Site) -> Iterator[dict[str, Any]]:
    """What the jobs ask for, as Snakemake names it."""
    common = {**site.others, "slurm_account": site.account, "slurm_partition": site.partition}
    if made.grain == "row":
        for step in (step for step in made.steps if step.pending):
            asked = {"mem_mb": step.mem_mb + made.mem_margin_mb, "runtime": step.limit_min, "gpu": step.gpus}
            yield _known(common | asked | {"name": f"step {step.step}", "threads": step.cores} | place_of(step, site))
    for job in made.jobs:
        asked = {"mem_mb": job.mem_mb, "runtime": job.runtime_min, "gpu": job.gpus, "threads": job.cores}
        place = {"name": f"{SHARD_JOB}{job.key}", "slurm_partition": job.partition or site.partition}
        yield _known(common | asked | place | dict(job.resources))


def _known(resources: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in resources.items() if value}


def _follow(study: Study, made: RunPlan, site: Site, wanted: Wanted, lock: RunLock) -> RunState:
    arguments, where = ["--profile", f"profiles/{site.name}"], list[str]()
    if made.grain == "row":
        arguments += ["--config", f"samples={wanted.samples}"]
        where = placement(made, site, study.root, wanted.extra)
        names, snakefile = [layout.STAGE_RULE, *(step.step for step in made.steps)], layout.SNAKEFILE
    else:
        names, snakefile = [layout.STAGE_RULE, *(stage.name for stage in made.stages)], SNAKEFILE
    display = display_for(names, quiet=wanted.quiet)
    return follow(study.root, [*arguments, *wanted.extra, *where], lock, display, snakefile=snakefile)


# ---------------------------------------------------------------------- what came of shards


def shard_result(root: Path, made: RunPlan) -> ShardResult:
    """What came of the jobs of a plan, from what they have left."""
    done = blocked = 0
    failures: list[Failure] = []
    for job in made.jobs:
        told = _told(root / layout.done_file(made.digest, job.stage, job.shard))
        if told is None:
            failures.append(_lost(root, made, job.stage, job.shard))
            continue
        done, blocked = done + told["done"], blocked + told["blocked"]
        failures += [Failure.of(root, unit, step) for step, unit in told["failed"]]
    return ShardResult(done, blocked, failures)


def _told(path: Path) -> dict[str, Any] | None:
    try:
        told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise SnakescopeError(f"{path}: cannot be read ({error})") from error
    return told


def _lost(root: Path, made: RunPlan, stage: str, shard: str) -> Failure:
    """A shard that no job could bring to an end."""
    log = f"{layout.cluster_folder(made.digest)}/{stage}-{shard}.log"
    if not (root / log).exists() and (root / layout.staging_list(made.digest, stage, shard)).exists():
        log = f"{layout.cluster_folder(made.digest)}/{stage}-{shard}.staging.log"
    rows = next((f"{info.rows} rows, {info.first} to {info.last}" for info in made.shards if info.id == shard), "")
    return Failure(f"shard {shard} ({rows})", stage, reason(root / log), log)


def rows_to_run(sheet: Sheet, ids: Sequence[str]) -> Sheet:
    """The sheet, or its rows with these ids when they are not all."""
    return sheet if len(ids) == len(sheet.rows) else sheet.only(list(ids))
