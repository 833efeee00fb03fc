"""Slurm: what of it is here, what it offers, and whether it would take a pipeline's jobs. Submits nothing."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping
from typing import Any

from snakescope.cluster.estimate import estimate
from snakescope.cluster.pending import Pending
from snakescope.cluster.preflight import PROGRAMS, offered, refusals
from snakescope.cluster.site import Partition, Site
from snakescope.cluster.slurm import no_slurm, waiting_at_most
from snakescope.cluster.stages import Load, partition_for, unfit
from snakescope.doctor.ask import LIMIT_S, ask
from snakescope.doctor.facts import Fact, Mark, fact
from snakescope.errors import EnvironmentUnusableError, Problem
from snakescope.words import many
from snakescope.workflow import Plan

# Of what Slurm says when it cannot be reached, which may be a paragraph.
MOST_SAID = 160
LOAD_MODULE = "Log in where jobs are submitted, or load the site's Slurm module."


def slurm_facts() -> Iterator[Fact]:
    """Commands, cluster, partitions, accounting."""
    there = [name for name in (*PROGRAMS, "sacct") if shutil.which(name)]
    if not there:
        yield fact("slurm", "commands", "missing", "no sbatch, squeue or sinfo on the PATH", LOAD_MODULE)
        return
    absent = [name for name in PROGRAMS if name not in there]
    told = f"{', '.join(there)}; not there: {', '.join(absent)}" if absent else ", ".join(there)
    yield fact("slurm", "commands", "missing" if absent else "ok", told, LOAD_MODULE if absent else None)
    if "sbatch" in there:
        answer = ask("sbatch", "--version")
        mark: Mark = "missing" if answer.fault else "ok"
        yield fact("slurm", "version", mark, f"sbatch --version {answer.fault}" if answer.fault else answer.first_line)
    yield from _partitions()
    yield from _configured(has_sacct="sacct" in there)


def _partitions() -> Iterator[Fact]:
    try:
        with waiting_at_most(LIMIT_S):
            found, default = offered()
    except EnvironmentUnusableError as error:
        yield fact("slurm", "partitions", "missing", *_parts(error))
        return
    if not found:
        told = "sinfo tells of no partition that is up"
        yield fact("slurm", "partitions", "missing", told, "See what `sinfo` shows.")
    for name, partition in found.items():
        told = _limits(partition) + ("; the default" if name == default else "")
        yield fact("slurm", f"partition {name}", "ok", told, **partition.model_dump(exclude={"resources"}))


def _limits(partition: Partition) -> str:
    time = f"{partition.max_runtime_min} min" if partition.max_runtime_min else "any time"
    parts = [many(partition.nodes, "node") if partition.nodes else "", f"{partition.max_cpus or '?'} cores"]
    parts += [
        f"{partition.max_mem_mb or '?'} MB",
        f"{many(partition.gpus, 'GPU')} a node" if partition.gpus else "",
        time,
    ]
    return ", ".join(part for part in parts if part)


def _configured(*, has_sacct: bool) -> Iterator[Fact]:
    """What the controller says of itself."""
    answer = ask("scontrol", "show", "config")
    told = dict(re.findall(r"^(\w+) *= *(.*?) *$", answer.said, re.MULTILINE))
    if answer.fault or "ClusterName" not in told:
        yield fact("slurm", "cluster", "note", f"not known (scontrol {answer.fault or 'does not tell'})")
        return
    yield fact("slurm", "cluster", "ok", told["ClusterName"])
    kind = told.get("AccountingStorageType", "")
    if kind.rpartition("/")[2] in ("", "none", "(null)") or not has_sacct:
        why = "there is no sacct here" if has_sacct is False else "this cluster keeps none"
        yield fact("slurm", "accounting", "note", f"{why}; memory and times of jobs are told by the controller alone")
    else:
        yield fact("slurm", "accounting", "ok", kind)


def cluster_problems(plan: Plan, site: Site) -> tuple[list[Problem], list[str]]:
    """Why Slurm would not take the jobs of a pipeline, and what would keep them waiting now.

    Parameters
    ----------
    plan
        The pipeline and the rows; without rows, a job as the profile makes it by default is asked about.
    site
        The profile.
    """
    absent = next((name for name in PROGRAMS if shutil.which(name) is None), None)
    try:
        if absent:
            raise no_slurm(absent)
        with waiting_at_most(LIMIT_S):
            found, default = offered()
            site = site.completed(found, default)
            loads = loads_of(plan)
            problems = [problem for load in loads for problem in unfit(load, site)]
            if problems:
                return problems, []
            jobs = [_job(load, site) for load in loads] or [_usual(site)]
            return refusals(jobs, 0, found, default, site=site)
    except EnvironmentUnusableError as error:
        message, fix = _parts(error)
        return [Problem("Slurm", message, fix)], []


def loads_of(plan: Plan) -> list[Load]:
    """What the largest job of each step needs; of steps that have any."""
    pairs = {step: dict.fromkeys(plan.units(step), "new") for step in plan.steps}
    told = estimate(plan, Pending(pairs, dict.fromkeys(plan.steps, 0)))  # type: ignore[arg-type]
    return [Load.of(step, needs) for step, needs in told.needs.items() if needs]


def _job(load: Load, site: Site) -> dict[str, Any]:
    asked = {"mem_mb": load.mem_mb + site.file.mem_margin_mb, "runtime": load.limit_min, "gpu": load.gpus}
    place = {"slurm_partition": partition_for(load, site) or site.partition, "slurm_account": site.account}
    return _known({"name": f"{load.step}/{load.heaviest}", "threads": load.cores} | asked | place)


def _usual(site: Site) -> dict[str, Any]:
    place = {"slurm_partition": site.partition, "slurm_account": site.account}
    return _known({"threads": 1, "mem_mb": 1000, "runtime": 60} | place)


def _known(resources: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in resources.items() if value}


def _parts(error: EnvironmentUnusableError) -> tuple[str, str]:
    message, _, fix = str(error).partition("\n    ")
    message = message.rstrip(".")
    return message if len(message) <= MOST_SAID else f"{message[:MOST_SAID]}...", fix
