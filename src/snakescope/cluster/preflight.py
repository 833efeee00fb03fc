"""What a cluster offers, and whether it will take the jobs of a run: asked before anything is submitted.

Knows nothing of Snakemake or plans: a job is a mapping of resources as Snakemake names them. What a refusal of Slurm
means is in `refusal`.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from snakescope import layout
from snakescope.cluster.accounting import minutes, whole
from snakescope.cluster.refusal import SHARD_JOB, explain, fix_for, in_words, is_held, no_partition, option
from snakescope.cluster.site import Partition, Site
from snakescope.cluster.slurm import (
    NODES_BACK_S,
    SlurmAwayError,
    SlurmRefusedError,
    call,
    is_full,
    is_unready,
    limit_in,
    no_slurm,
    options,
    test_only,
)
from snakescope.errors import MAKE_ROOM, EnvironmentUnusableError, InputError, Problem

PROGRAMS = ("sbatch", "squeue", "scancel", "sinfo")
# Room that must be left for records and logs, in bytes.
PROBE = 1 << 20
# Refusals that pass by themselves: nodes that are busy, reserved or down at the moment.
_FOR_NOW = re.compile(r"busy|reserved|down, drained|required for job are|not available now", re.IGNORECASE)
_GPUS = re.compile(r"(?:^|,)gpu(?::[A-Za-z][^:,(]*)*:([0-9]+)")


def preflight(
    root: Path,
    jobs: Iterable[Mapping[str, Any]],
    margin_mb: int = 0,
    *,
    found: Mapping[str, Partition] | None = None,
    default: str | None = None,
    site: Site | None = None,
) -> list[str]:
    """Check that Slurm is here and would take these jobs; nothing is submitted.

    Parameters
    ----------
    root
        The study folder; that it can be written is tried with a small file.
    jobs
        Resources of the jobs, ``threads`` among them, defaults of the profile included; many alike cost nothing.
    margin_mb
        Memory that each gets on top.
    found, default
        What `offered` has told, where it was asked already.
    site
        The profile, whose files are named in messages.

    Returns
    -------
    What keeps jobs waiting at the moment, in sentences.

    Raises
    ------
    EnvironmentUnusableError
        If there is no Slurm here, it does not answer, or the disk or the quota is full.
    InputError
        With every account, partition or resource that is refused.
    """
    _need_programs()
    _try_disk(root)
    if found is None:
        found, default = offered()
    problems, remarks = refusals(jobs, margin_mb, found, default, site=site, patience_s=NODES_BACK_S)
    if problems:
        raise InputError(problems)
    return remarks


def refusals(
    jobs: Iterable[Mapping[str, Any]],
    margin_mb: int,
    found: Mapping[str, Partition],
    default: str | None,
    *,
    site: Site | None = None,
    patience_s: float = 0.0,
) -> tuple[list[Problem], list[str]]:
    """Which jobs Slurm would not take, and what keeps others waiting at the moment; nothing is submitted or written.

    The arguments are those of `preflight`. So long in all, nodes that are known but not there are waited for.

    Raises
    ------
    EnvironmentUnusableError
        If Slurm does not answer.
    """
    problems, remarks, back_by, site = [], [], time.monotonic() + patience_s, site or Site()
    for job in _largest(jobs):
        where = _name_of(job)
        try:
            needs = options(job, int(job.get("threads", 1)), margin_mb)
            known = [*_unknown_partition(needs, found, site), *_too_long(needs, found, default, where, site)]
            problems += known
            if not known:
                _try(needs, found, default, back_by)
        except SlurmAwayError as error:
            raise _away(error) from error
        except SlurmRefusedError as error:
            needs = needs_of(job, margin_mb)
            remark = _passing(str(error), needs, where, found, default)
            if remark:
                remarks.append(remark)
            else:
                problems.append(explain(str(error), needs, where, found, default, site.name))
    return _once(problems), list(dict.fromkeys(remarks))


def _passing(
    said: str, needs: Sequence[str], where: str, found: Mapping[str, Partition], default: str | None
) -> str | None:
    """What keeps jobs waiting, if a refusal passes by itself."""
    if is_full(said):
        return f"Slurm takes no more jobs of yours for now ({limit_in(said) or said}); they are sent as others end."
    if is_unready(said) and is_held(needs, found, default):
        asked = f"no node for {in_words(needs)} at the moment, though there are nodes so large"
        return f"{where}: Slurm has {asked}; such jobs will wait. Which are down, and why: sinfo -R"
    return f"{where}: Slurm says {said}; such jobs will wait." if _FOR_NOW.search(said) else None


def _once(problems: Sequence[Problem]) -> list[Problem]:
    """Of jobs over shards that are refused alike the first stands for all."""
    alike = {("" if one.where.startswith(SHARD_JOB) else one.where, one.message): one for one in reversed(problems)}
    return [one for one in dict.fromkeys(problems) if one in alike.values()]


def _try(needs: Sequence[str], found: Mapping[str, Partition], default: str | None, back_by: float) -> None:
    while True:
        try:
            test_only(needs)
            return
        except SlurmRefusedError as error:
            if not (is_unready(str(error)) and is_held(needs, found, default) and time.monotonic() < back_by):
                raise
            time.sleep(2)


def needs_of(job: Mapping[str, Any], margin_mb: int) -> list[str]:
    """Words for ``sbatch``; none where `slurm_extra` cannot be used."""
    try:
        return options(job, int(job.get("threads", 1)), margin_mb)
    except SlurmRefusedError:
        return []


def offered() -> tuple[dict[str, Partition], str | None]:
    """The partitions of the cluster that are up, for `Site.completed`, and the one that jobs get which name none.

    Raises
    ------
    EnvironmentUnusableError
        If there is no Slurm here or it does not answer.
    """
    _need_programs()
    try:
        said = call("sinfo", "--noheader", "--format=%P|%l|%m|%c|%D|%a|%G")
    except (SlurmAwayError, SlurmRefusedError) as error:
        raise _away(error) from error
    found: dict[str, Partition] = {}
    default = None
    for fields in (line.split("|", 6) for line in said.splitlines()):
        if len(fields) == 7 and fields[5] == "up":
            name = fields[0].rstrip("*")
            default = name if fields[0].endswith("*") else default
            found[name] = _merged(found.get(name), _partition(fields))
    return found, default


def _need_programs() -> None:
    for program in PROGRAMS:
        if shutil.which(program) is None:
            raise no_slurm(program)


def _partition(fields: Sequence[str]) -> Partition:
    _, limit, memory, cpus, nodes, _, gres = fields
    return Partition(
        max_runtime_min=minutes(limit),
        max_mem_mb=whole(memory.rstrip("+")) or None,
        max_cpus=whole(cpus.rstrip("+")) or None,
        gpus=sum(int(count) for count in _GPUS.findall(gres)),
        nodes=whole(nodes) or None,
    )


def _merged(one: Partition | None, other: Partition) -> Partition:
    """Of several kinds of nodes the most."""
    if one is None:
        return other
    most = {
        key: max((value for value in (getattr(one, key), getattr(other, key)) if value is not None), default=None)
        for key in ("max_mem_mb", "max_cpus", "gpus")
    }
    return one.model_copy(update={**most, "nodes": (one.nodes or 0) + (other.nodes or 0) or None})


def _away(error: Exception) -> EnvironmentUnusableError:
    fix = "See whether `sinfo` answers, or try again later. Nothing was submitted."
    return EnvironmentUnusableError(f"Slurm does not answer ({error}).\n    {fix}")


def _try_disk(root: Path) -> None:
    folder = root / layout.CLUSTER
    probe = folder / f".room.{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with probe.open("wb") as file:
            file.write(b"\0" * PROBE)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        fix = f"{MAKE_ROOM} Nothing was submitted."
        raise EnvironmentUnusableError(f"{root.resolve()}: cannot be written ({error.strerror}).\n    {fix}") from error
    finally:
        with suppress(OSError):
            probe.unlink()


def _largest(jobs: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Of jobs that go to the same place those with the most memory, cores, time and GPUs."""
    measures = ("mem_mb", "mem_mb_per_cpu", "threads", "runtime", "gpu")
    kinds: dict[tuple[str, ...], dict[str, Mapping[str, Any]]] = {}
    for job in jobs:
        kind = tuple(f"{name}={value}" for name, value in sorted(job.items()) if name not in (*measures, "name"))
        largest = kinds.setdefault(kind, {})
        for measure in measures:
            if (job.get(measure) or 0) > (largest.get(measure, {}).get(measure) or 0):
                largest[measure] = job
    for largest in kinds.values():
        yield from {id(job): job for job in largest.values()}.values()


def _name_of(job: Mapping[str, Any]) -> str:
    return str(job.get("name", "a job"))


def _unknown_partition(needs: Sequence[str], found: Mapping[str, Partition], site: Site) -> list[Problem]:
    wanted = (option(needs, "--partition") or "").split(",")
    settings = f"profiles/{site.name}/config.yaml: default-resources: slurm_partition"
    return [
        no_partition(name, found, f"{site.where}: partitions" if name in site.file.partitions else settings)
        for name in wanted
        if name and found and name not in found
    ]


def _too_long(
    needs: Sequence[str], found: Mapping[str, Partition], default: str | None, where: str, site: Site
) -> Iterator[Problem]:
    """A job over the time limit, which many sites take and then let wait for ever."""
    names = [name for name in (option(needs, "--partition") or default or "").split(",") if name in found]
    limits = [found[name].max_runtime_min for name in names]
    asked = minutes(option(needs, "--time") or "")
    if asked and limits and None not in limits and asked > (most := max(limit or 0 for limit in limits)):
        message = f"asks for {asked} minutes; partition {' or '.join(names)} allows {most}"
        yield Problem(where, message, fix_for(where, "runtime", site.name))
