"""What a cluster offers, and whether it will take the jobs of a run: asked before anything is submitted.

Refusals of Slurm are put into words that say what to change. Knows nothing of Snakemake or plans: a job is a mapping of
resources as Snakemake names them.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from snakescope import layout
from snakescope.cluster.accounting import minutes, whole
from snakescope.cluster.site import Partition
from snakescope.cluster.slurm import (
    NODES_BACK_S,
    SlurmAwayError,
    SlurmRefusedError,
    call,
    is_unready,
    no_slurm,
    options,
    test_only,
)
from snakescope.errors import EnvironmentUnusableError, InputError, Problem
from snakescope.tool.base import near_miss

PROGRAMS = ("sbatch", "squeue", "scancel", "sinfo")
PROFILE = "profiles/slurm/config.yaml: default-resources"
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
    problems, remarks = refusals(jobs, margin_mb, found, default, patience_s=NODES_BACK_S)
    if problems:
        raise InputError(problems)
    return remarks


def refusals(
    jobs: Iterable[Mapping[str, Any]],
    margin_mb: int,
    found: Mapping[str, Partition],
    default: str | None,
    *,
    patience_s: float = 0.0,
) -> tuple[list[Problem], list[str]]:
    """Which jobs Slurm would not take, and what keeps others waiting at the moment; nothing is submitted or written.

    The arguments are those of `preflight`. So long in all, nodes that are known but not there are waited for.

    Raises
    ------
    EnvironmentUnusableError
        If Slurm does not answer.
    """
    problems, remarks, back_by = [], [], time.monotonic() + patience_s
    for job in _largest(jobs):
        where = _name_of(job)
        try:
            needs = options(job, int(job.get("threads", 1)), margin_mb)
            known = [*_unknown_partition(needs, found), *_too_long(needs, found, default, where)]
            problems += known
            if not known:
                _try(needs, found, default, back_by)
        except SlurmAwayError as error:
            raise _away(error) from error
        except SlurmRefusedError as error:
            if _FOR_NOW.search(str(error)):
                remarks.append(f"{where}: Slurm says {error}; such jobs will wait.")
            else:
                problems.append(explain(str(error), needs_of(job, margin_mb), where, found, default))
    return list(dict.fromkeys(problems)), list(dict.fromkeys(remarks))


def _try(needs: Sequence[str], found: Mapping[str, Partition], default: str | None, back_by: float) -> None:
    while True:
        try:
            test_only(needs)
            return
        except SlurmRefusedError as error:
            if not (is_unready(str(error)) and _is_held(needs, found, default) and time.monotonic() < back_by):
                raise
            time.sleep(2)


def _is_held(needs: Sequence[str], found: Mapping[str, Partition], default: str | None) -> bool:
    """Whether there are nodes so large, by what `sinfo` tells; unknown when more is asked for than it tells of."""
    sizes = {"--cpus-per-task": "max_cpus", "--mem": "max_mem_mb", "--gpus": "gpus"}
    if any(_option(needs, option) for option in ("--constraint", "--gres", "--nodes", "--nodelist", "--mem-per-cpu")):
        return False
    names = (_option(needs, "--partition") or default or "").split(",")
    asked = {
        size: whole((_option(needs, option) or "").rpartition(":")[2].rstrip("M")) or 0
        for option, size in sizes.items()
    }
    return any(
        all((getattr(found[name], size) or 0) >= count for size, count in asked.items())
        for name in names
        if name in found
    )


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
        fix = "Make room, or ask for a larger quota; see `df`, `df -i` and `quota`. Nothing was submitted."
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


def _option(needs: Sequence[str], option: str) -> str | None:
    return next((word.partition("=")[2] for word in reversed(needs) if word.startswith(f"{option}=")), None)


def _unknown_partition(needs: Sequence[str], found: Mapping[str, Partition]) -> list[Problem]:
    wanted = (_option(needs, "--partition") or "").split(",")
    return [_no_partition(name, found) for name in wanted if name and found and name not in found]


def _no_partition(name: str, found: Mapping[str, Partition] | None) -> Problem:
    there_are = f"There are: {', '.join(found)}." if found else "See what `sinfo` shows."
    fix = f"{near_miss(name, found or ()) or ''} {there_are}".strip()
    return Problem(f"{PROFILE}: slurm_partition", f"the cluster has no partition {name!r} that is up", fix)


def _too_long(
    needs: Sequence[str], found: Mapping[str, Partition], default: str | None, where: str
) -> Iterator[Problem]:
    """A job over the time limit, which many sites take and then let wait for ever."""
    names = [name for name in (_option(needs, "--partition") or default or "").split(",") if name in found]
    limits = [found[name].max_runtime_min for name in names]
    asked = minutes(_option(needs, "--time") or "")
    if asked and limits and None not in limits and asked > (most := max(limit or 0 for limit in limits)):
        message = f"asks for {asked} minutes; partition {' or '.join(names)} allows {most}"
        yield Problem(where, message, _fix_for(where, "runtime"))


def _fix_for(where: str, resource: str) -> str:
    step = where.partition("/")[0].split()[-1] if "/" in where else "STEP"
    return f"Choose another partition, or set it in profiles/slurm/config.yaml: set-resources: {step}: {resource}: ..."


def explain(
    said: str,
    needs: Sequence[str],
    where: str,
    found: Mapping[str, Partition] | None = None,
    default: str | None = None,
) -> Problem:
    """Put a refusal of ``sbatch`` into words that say what to change.

    Parameters
    ----------
    said
        Slurm's own words.
    needs
        What was asked for.
    where
        The job.
    found
        The cluster's partitions, where they are known.
    default
        The one that jobs get which name none.
    """
    text = said.lower()
    if "account" in text and "qos policy" not in text:
        account = _option(needs, "--account")
        return _no_account(account)
    if "partition" in text and ("invalid" in text or "specified" in text):
        return _no_partition(_option(needs, "--partition") or "", found)
    if "qos" in text and "invalid" in text:
        return Problem(
            f"{PROFILE}: qos", f"Slurm refuses the QOS {_option(needs, '--qos')!r}", "See: sacctmgr show qos"
        )
    if "feature" in text:
        message = f"no node has what the constraint asks for ({_option(needs, '--constraint')})"
        return Problem(where, message, "See the features that there are: sinfo -o %f")
    if any(word in text for word in ("node configuration", "memory specification", "processors", "gres", "node count")):
        if is_unready(said) and _is_held(needs, found or {}, default):
            message = f"Slurm has no node for {_in_words(needs)} at the moment, though there are nodes so large"
            return Problem(where, message, "See which are down, and why: sinfo -R. Then try again.")
        message = f"no node has {_in_words(needs)}{_most_of(needs, found)}"
        return Problem(where, message, _fix_for(where, "mem_mb"))
    if "time limit" in text:
        return Problem(where, f"Slurm refuses a time of {_option(needs, '--time')} minutes", _fix_for(where, "runtime"))
    return Problem(where, f"Slurm does not take the job: {said.rstrip('.')}", f"It was asked for {_in_words(needs)}.")


def _no_account(account: str | None) -> Problem:
    known = sorted(set(_accounts()))
    fix = (
        f"{near_miss(account or '', known) or ''} Yours are: {', '.join(known)}." if known else "Ask your site for it."
    )
    found = f"Slurm refuses the account {account!r}" if account else "Slurm wants to be told an account"
    return Problem(f"{PROFILE}: slurm_account", found, fix.strip())


def _accounts() -> list[str]:
    """The user's accounts, where the site's accounting tells them."""
    try:
        user = pwd.getpwuid(os.getuid()).pw_name  # sacctmgr knows no numbers
        said = call("sacctmgr", "--noheader", "--parsable2", "show", "assoc", f"user={user}", "format=account")
    except (KeyError, EnvironmentUnusableError):
        return []
    return [line.strip() for line in said.splitlines() if line.strip()]


def _in_words(needs: Sequence[str]) -> str:
    """What was asked for, as a person says it."""
    parts = {
        "--cpus-per-task": "{} cores",
        "--mem": "{} of memory",
        "--mem-per-cpu": "{} of memory a core",
        "--gpus": "{} GPUs",
        "--gres": "gres {}",
        "--nodes": "{} nodes",
        "--time": "{} minutes",
        "--constraint": "constraint {}",
        "--partition": "in partition {}",
    }
    said = [words.format(value) for option, words in parts.items() if (value := _option(needs, option))]
    return ", ".join(said) or "nothing in particular"


def _most_of(needs: Sequence[str], found: Mapping[str, Partition] | None) -> str:
    names = [name for name in (_option(needs, "--partition") or "").split(",") if name in (found or {})]
    chosen = [found[name] for name in names] if found and names else list((found or {}).values())
    if not chosen:
        return ""
    most = {key: max(getattr(item, key) or 0 for item in chosen) for key in ("max_cpus", "max_mem_mb", "gpus")}
    return f"; the largest there has {most['max_cpus']} cores, {most['max_mem_mb']} MB and {most['gpus']} GPUs"
