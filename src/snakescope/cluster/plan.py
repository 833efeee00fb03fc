"""The plan of a run on a cluster: which grain, which jobs, how large, in which order; made, written and read.

Written are ``.snakescope/cluster/plan.json`` and, for each shard, its slice of the sheet and the list of what is to be
made of it. Nothing is asked of the cluster. Starts nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from snakescope import layout
from snakescope.cluster.estimate import Estimate, estimate
from snakescope.cluster.pending import Pending, find_pending, keep_failed, sources
from snakescope.cluster.shards import Packer, Shard
from snakescope.cluster.site import Grain, Site
from snakescope.cluster.slurm import read_run_id, run_id
from snakescope.cluster.stages import Load, Stage, Together, choose_stages, partition_for, unfit
from snakescope.cluster.staging import list_text
from snakescope.errors import InputError, problem
from snakescope.samples import Sheet, sheet_text
from snakescope.window import DEFAULT_SIZE
from snakescope.words import duration, many
from snakescope.workflow import Plan

SCHEMA = 1
# Up to so many jobs of at least a minute are sent one by one; up to so many more if each lasts as long as a shard.
FEW_JOBS, FEW_MINUTES, MANY_JOBS = 50, 1.0, 2000
_DIGEST = re.compile(r"[0-9a-f]{12}")


@dataclass(frozen=True)
class StepPlan:
    """What is to be done of one step.

    Parameters
    ----------
    step
        Its name.
    pending, done
        How many of its jobs are, and are not, to be done.
    cores, gpus, mem_mb
        Of one job; the largest memory.
    minutes, limit_min
        Expected minutes of one on average, and the largest limit. 0 where nothing is to be done.
    core_hours
        Expected of all together.
    ratio, records
        Measured time over limit, and how many records that is from; None, 0: nothing was measured.
    partition
        Where its jobs go in row grain; None: the cluster's own choice.
    """

    step: str
    pending: int
    done: int
    cores: int
    gpus: int
    mem_mb: int
    minutes: float
    limit_min: float
    core_hours: float
    ratio: float | None
    records: int
    partition: str | None = None


@dataclass(frozen=True)
class StagePlan:
    """Steps that share an allocation; `after` are the stages that it takes from, `why` why it stands alone."""

    name: str
    steps: tuple[str, ...]
    after: tuple[str, ...]
    gpus: int
    why: str | None = None


@dataclass(frozen=True)
class ShardPlan:
    """Some rows of the sheet: how many, the first and the last."""

    id: str
    rows: int
    first: str
    last: str


@dataclass(frozen=True)
class Job:
    """One allocation.

    Parameters
    ----------
    stage, shard
        What it does, to which rows.
    pending
        How many pairs of step and unit it is to make.
    cores, mem_mb, runtime_min, gpus, partition, resources
        What to ask for; `mem_mb` with the margin for Snakemake.
    after_jobs
        ``stage/shard`` of the jobs that must be through before.
    expected_min
        How long it is expected to last.
    max_mem_mb, max_runtime_min
        What another try may ask for at most; None where that is not known.
    staged
        How many images are brought from iRODS for it.
    """

    stage: str
    shard: str
    pending: int
    cores: int
    mem_mb: int
    runtime_min: int
    gpus: int
    partition: str | None
    resources: Mapping[str, str | int]
    after_jobs: tuple[str, ...]
    expected_min: float
    max_mem_mb: int | None = None
    max_runtime_min: int | None = None
    staged: int = 0

    @property
    def key(self) -> str:
        """Name of the job within its plan."""
        return f"{self.stage}/{self.shard}"


@dataclass(frozen=True)
class Contents:
    """What the files beside ``plan.json`` hold: by shard, rows; by job, pairs with their state, and rows in iRODS."""

    sheet: Sheet
    rows: Mapping[str, Sequence[int]]
    todo: Mapping[tuple[str, str], Sequence[tuple[str, str]]]
    states: Mapping[str, Mapping[str, str]]
    staging: Mapping[tuple[str, str], Mapping[str, bool]] = field(default_factory=dict)


@dataclass(frozen=True)
class RunPlan:
    """A planned run.

    Parameters
    ----------
    digest
        Names the plan: of what it was made from and what was to be done.
    made_from
        Digest of pipeline, sheet and limits alone: the same after a part of the plan is done.
    pipeline, samples, run_id
        Name of the pipeline, path of the sheet, name of all Slurm jobs of the study folder ("" before it is written).
    grain, why
        ``row`` or ``fanout``, and why, as a sentence without a full stop.
    selection
        ``all`` that is to be done, or what ``failed`` before and what waits for it.
    rows, stale
        Rows of the sheet, and how many pending pairs have a record that no longer holds.
    mem_margin_mb
        The part of each job's memory that is Snakemake's own.
    jobs_at_once, nodes
        What the profile lets into the queue, and how many nodes there are; None where that is not known.
    stage_window
        How many copies of images in iRODS may be here at once, waiting for their jobs; at least those of one job.
    contents
        What the other files hold; None when the plan was read.
    """

    digest: str
    made_from: str
    pipeline: str
    samples: str
    run_id: str
    grain: str
    why: str
    selection: str
    rows: int
    stale: int
    mem_margin_mb: int
    jobs_at_once: int | None
    nodes: int | None
    steps: tuple[StepPlan, ...]
    stages: tuple[StagePlan, ...] = ()
    shards: tuple[ShardPlan, ...] = ()
    jobs: tuple[Job, ...] = ()
    stage_window: int = DEFAULT_SIZE
    contents: Contents | None = field(default=None, repr=False, compare=False)

    @property
    def pending(self) -> int:
        """How many pairs of step and unit are to be made."""
        return sum(step.pending for step in self.steps)

    def json(self) -> dict[str, Any]:
        """The content of ``plan.json``."""
        plain = {item.name: getattr(self, item.name) for item in fields(self) if item.name != "contents"}
        lists = {name: [asdict(item) for item in plain[name]] for name in ("steps", "stages", "shards", "jobs")}
        return {"schema": SCHEMA, **plain, **lists}


def made_from(plan: Plan, site: Site, root: Path, grain: Grain | None = None) -> str:
    """Digest of what a plan is made from: compiled pipeline, rows, limits. Not of what is done already."""
    digest = hashlib.sha256(json.dumps([SCHEMA, grain, plan.compiled], sort_keys=True).encode())
    for step in plan.steps:
        digest.update((root / layout.step_facts_file(plan.compiled["pipeline"], step)).read_bytes())
    digest.update(sheet_text(plan.sheet).encode())
    partitions = {name: partition.model_dump() for name, partition in site.partitions.items()}
    limits = [site.file.model_dump(), partitions, site.partition]
    digest.update(json.dumps(limits, sort_keys=True).encode())
    return digest.hexdigest()[:12]


def make_plan(
    plan: Plan,
    site: Site,
    root: Path,
    *,
    grain: Grain | None = None,
    failed_only: bool = False,
    stage_window: int = DEFAULT_SIZE,
    keep_staged: bool = False,
) -> RunPlan:
    """Plan a run over all that is not done.

    Parameters
    ----------
    plan
        The compiled pipeline and the rows to run over.
    site
        What the profile and the cluster say.
    root
        The study folder; its records are read.
    grain
        Which grain; by default what the site says.
    failed_only
        Only what failed when it ran last, and what waits for it.
    stage_window, keep_staged
        How many copies of images in iRODS may be here at once, and whether they stay when they have been read.

    Raises
    ------
    InputError
        If a step fits into no partition.
    """
    pending = find_pending(plan, root)
    if failed_only:
        pending = keep_failed(pending, plan, root)
    told = estimate(plan, pending)
    chosen, why = _choose_grain(pending, told, site, grain or site.file.grain)
    origin = made_from(plan, site, root, grain)
    made = RunPlan(
        digest=_digest(origin, pending),
        made_from=origin,
        pipeline=plan.compiled["pipeline"],
        samples=_relative(plan.sheet.path, root),
        run_id=read_run_id(root) or "",
        grain=chosen,
        why=why,
        selection="failed" if failed_only else "all",
        rows=len(plan.sheet.rows),
        stale=pending.stale,
        mem_margin_mb=site.file.mem_margin_mb,
        jobs_at_once=site.jobs,
        nodes=site.nodes,
        steps=tuple(_step_plan(step, pending, told) for step in plan.steps),
        stage_window=stage_window,
    )
    if chosen == "row":
        return _in_row_grain(made, told, site)
    return _with_staging(_in_shards(made, plan, pending, told, site), plan, keep=keep_staged)


def _relative(path: Path | None, root: Path) -> str:
    if path is None:
        return layout.SHEET
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


def _digest(origin: str, pending: Pending) -> str:
    digest = hashlib.sha256(origin.encode())
    for step, units in pending.pairs.items():
        digest.update("".join(f"{step}\t{unit}\t{state}\n" for unit, state in units.items()).encode())
    return digest.hexdigest()[:12]


def _choose_grain(pending: Pending, told: Estimate, site: Site, wanted: Grain) -> tuple[str, str]:
    if wanted != "auto":
        return wanted, "it was asked for"
    total = pending.total
    if not total:
        return "fanout", "there is nothing to do"
    minutes = [need.minutes for needs in told.needs.values() for need in needs.values()]
    mean, least, target = sum(minutes) / total, min(minutes), site.file.target_minutes
    if total <= FEW_JOBS and mean >= FEW_MINUTES:
        return "row", f"the {many(total, 'job')} are few enough to be sent one by one"
    if least >= target and total <= MANY_JOBS:
        return "row", f"each of the {many(total, 'job')} is expected to last {duration(target)} or more by itself"
    return "fanout", f"{many(total, 'job')} of {duration(mean)} on average are too many and too short for the queue"


def _step_plan(step: str, pending: Pending, told: Estimate) -> StepPlan:
    needs, source = told.needs[step], told.sources[step]
    if not needs:
        return StepPlan(step, 0, pending.done[step], 1, 0, 0, 0, 0, 0, source.ratio, source.records)
    load = Load.of(step, needs)
    core_hours = load.minutes * load.units * load.cores / 60
    return StepPlan(
        step, load.units, pending.done[step], load.cores, load.gpus, load.mem_mb, load.minutes, load.limit_min,
        core_hours, source.ratio, source.records,
    )  # fmt: skip


def _in_row_grain(made: RunPlan, told: Estimate, site: Site) -> RunPlan:
    """With the partition of each step, or an error where there is none."""
    loads = {step: Load.of(step, needs) for step, needs in told.needs.items() if needs}
    problems = [found for load in loads.values() for found in unfit(load, site)]
    if problems:
        raise InputError(problems)
    rooms = {step: partition_for(load, site) for step, load in loads.items()}
    return replace(made, steps=tuple(replace(step, partition=rooms.get(step.step)) for step in made.steps))


def _in_shards(made: RunPlan, plan: Plan, pending: Pending, told: Estimate, site: Site) -> RunPlan:
    together = Together(plan)
    stages = choose_stages(plan, told.needs, site, together)
    packer = Packer(plan, told.needs, site, together)
    packed = {stage.name: packer.shards(stage) for stage in stages}
    names = _names(packed)
    infos = tuple(
        StagePlan(stage.name, stage.steps, _after(plan, stage, stages), stage.room.gpus, stage.why) for stage in stages
    )
    rows = plan.sheet.rows
    shards = tuple(ShardPlan(name, len(part), rows[part[0]].id, rows[part[-1]].id) for part, name in names.items())
    jobs = tuple(_jobs(stages, infos, packed, names, site, len(rows)))
    todo = {(stage.name, names[shard.rows]): shard.pairs for stage in stages for shard in packed[stage.name]}
    contents = Contents(plan.sheet, {name: part for part, name in names.items()}, todo, pending.pairs)
    return replace(made, stages=infos, shards=shards, jobs=jobs, contents=contents)


def _with_staging(made: RunPlan, plan: Plan, *, keep: bool) -> RunPlan:
    """With the rows in iRODS that each job reads, and which job is the last to read each."""
    if made.contents is None or not plan.remote_rows:
        return made
    raw, readers = set(plan.raw_steps), dict[str, tuple[str, str]]()
    read: dict[tuple[str, str], dict[str, bool]] = {}
    for job in made.jobs:
        place = (job.stage, job.shard)
        pairs = ((step, unit) for step, unit in made.contents.todo[place] if step in raw)
        rows = dict.fromkeys(row.id for step, unit in pairs for row in plan.units(step)[unit] if row.remote)
        if rows:
            read[place] = dict.fromkeys(rows, False)
            readers |= dict.fromkeys(rows, place)
    for row, place in readers.items() if not keep else ():
        read[place][row] = True
    jobs = tuple(replace(job, staged=len(read.get((job.stage, job.shard), ()))) for job in made.jobs)
    return replace(made, jobs=jobs, contents=replace(made.contents, staging=read))


def _names(packed: Mapping[str, Sequence[Shard]]) -> dict[tuple[int, ...], str]:
    """A number for each set of rows; stages over the same rows share it."""
    sets = dict.fromkeys(shard.rows for shards in packed.values() for shard in shards)
    width = max(4, len(str(len(sets))))
    return {rows: f"{number:0{width}}" for number, rows in enumerate(sets, start=1)}


def _after(plan: Plan, stage: Stage, stages: Sequence[Stage]) -> tuple[str, ...]:
    before = {source for step in stage.steps for source in sources(plan, step)}
    return tuple(other.name for other in stages if other is not stage and before & set(other.steps))


def _jobs(
    stages: Sequence[Stage],
    infos: Sequence[StagePlan],
    packed: Mapping[str, Sequence[Shard]],
    names: Mapping[tuple[int, ...], str],
    site: Site,
    rows: int,
) -> Iterator[Job]:
    """All jobs; each after those of the stages before it that share a row with it."""
    job_of_row: dict[str, list[str | None]] = {}
    for stage, info in zip(stages, infos, strict=True):
        here = job_of_row[stage.name] = [None] * rows
        for shard in packed[stage.name]:
            name = names[shard.rows]
            for row in shard.rows:
                here[row] = f"{stage.name}/{name}"
            found = (job_of_row[before][row] for before in info.after for row in shard.rows)
            room = stage.room
            yield Job(
                stage.name, name, len(shard.pairs), shard.cores, shard.mem_mb + site.file.mem_margin_mb,
                shard.runtime_min, room.gpus, room.partition, dict(room.limits.resources),
                tuple(dict.fromkeys(key for key in found if key)), round(shard.minutes, 2),
                room.limits.max_mem_mb, room.limits.max_runtime_min,
            )  # fmt: skip


# ---------------------------------------------------------------------- files


def write_plan(root: Path, made: RunPlan, in_use: Collection[str] = ()) -> RunPlan:
    """Write a plan and its manifests, whole or not at all, and remove the folders of older plans.

    Parameters
    ----------
    root
        The study folder.
    made
        A plan that was made, not read. What came of an earlier run of the very same plan is removed: no job of it
        may be in the queue.
    in_use
        Digests of older plans whose jobs are in the queue; their folders stay.

    Returns
    -------
    The plan with the name of its jobs.
    """
    base = root / layout.CLUSTER
    try:
        base.mkdir(parents=True, exist_ok=True)
        made = replace(made, run_id=run_id(root))
        temporary = base / f".{made.digest}.{os.getpid()}"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        _write_contents(temporary, made)
        _remove_plans(base, in_use)
        folder = root / layout.cluster_folder(made.digest)
        shutil.rmtree(folder, ignore_errors=True)
        temporary.replace(folder)
        _write_json(root / layout.cluster_plan(), made.json())
    except OSError as error:
        raise problem(base, f"cannot be written ({error.strerror})") from error
    return made


def _write_contents(folder: Path, made: RunPlan) -> None:
    contents = made.contents
    if contents is None:
        return
    rows = contents.sheet.rows
    for shard, indices in contents.rows.items():
        part = Sheet(contents.sheet.columns, [rows[index] for index in indices], contents.sheet.path)
        (folder / f"{shard}.tsv").write_text(sheet_text(part), encoding="utf-8")
    for (stage, shard), pairs in contents.todo.items():
        lines = "".join(f"{step}\t{unit}\t{contents.states[step][unit]}\n" for step, unit in pairs)
        (folder / f"{stage}-{shard}.todo").write_text(lines, encoding="utf-8")
    for (stage, shard), remote in contents.staging.items():
        (folder / f"{stage}-{shard}.staging").write_text(list_text(remote), encoding="utf-8")


def _remove_plans(base: Path, in_use: Collection[str]) -> None:
    for folder in base.iterdir():
        if _DIGEST.fullmatch(folder.name) and folder.name not in in_use:
            shutil.rmtree(folder, ignore_errors=True)


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    """One line a job, whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    parts = []
    for key, value in content.items():
        text = json.dumps(value, ensure_ascii=False)
        if isinstance(value, list):
            text = "[\n" + ",\n".join(json.dumps(item, ensure_ascii=False) for item in value) + "\n]"
        parts.append(f"{json.dumps(key)}: {text}")
    with temporary.open("w", encoding="utf-8") as file:
        file.write("{\n" + ",\n".join(parts) + "\n}\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def read_plan(root: Path) -> RunPlan | None:
    """The plan that was written last; None when there is none.

    Raises
    ------
    InputError
        If the file is no plan of this version.
    """
    path = root / layout.cluster_plan()
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        found = data.pop("schema")
        if found == SCHEMA:
            return _plan_from(data)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise problem(path, f"not a plan ({error})", "Delete it; a new one will be made.") from error
    raise problem(path, f"found a plan of schema {found}; expected {SCHEMA}", "Use the snakescope that wrote it.")


def _plan_from(data: dict[str, Any]) -> RunPlan:
    kinds: dict[str, type] = {"steps": StepPlan, "stages": StagePlan, "shards": ShardPlan, "jobs": Job}
    for name, kind in kinds.items():
        data[name] = tuple(
            kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in item.items()})
            for item in data[name]
        )
    return RunPlan(**data)
