"""Refusals of Slurm in words that say what to change. Asks nothing but the user's accounts, and submits nothing."""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping, Sequence

from snakescope.cluster.accounting import whole
from snakescope.cluster.site import Partition
from snakescope.cluster.slurm import call, is_unready, limit_in
from snakescope.errors import EnvironmentUnusableError, Problem
from snakescope.tool.base import near_miss

# What the name of a job over a shard begins with, in messages: what it asks for follows from site.yaml.
SHARD_JOB = "job "
_NO_SUCH_NODE = ("node configuration", "memory specification", "processors", "gres", "node count")


def explain(
    said: str,
    needs: Sequence[str],
    where: str,
    found: Mapping[str, Partition] | None = None,
    default: str | None = None,
    profile: str = "slurm",
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
    profile
        Name of the profile, whose files are to be edited.
    """
    text, settings = said.lower(), f"profiles/{profile}/config.yaml: default-resources"
    if "qos policy" in text or limit_in(said):
        message = f"a limit of your account or QOS does not allow it ({limit_in(said) or said.rstrip('.')})"
        fix = f"It asks for {in_words(needs)}. See: sacctmgr show qos, and sacctmgr show assoc user={_user() or 'YOU'}"
        return Problem(where, message, fix)
    if "account" in text:
        return _no_account(option(needs, "--account"), settings)
    if "partition" in text and ("invalid" in text or "specified" in text):
        return no_partition(option(needs, "--partition") or "", found, f"{settings}: slurm_partition")
    if "qos" in text and "invalid" in text:
        message = f"Slurm refuses the QOS {option(needs, '--qos')!r}"
        return Problem(f"{settings}: qos", message, "See: sacctmgr show qos")
    if "feature" in text:
        message = f"no node has what the constraint asks for ({option(needs, '--constraint')})"
        return Problem(f"profiles/{profile}/config.yaml: constraint", message, "See what there is: sinfo -o %f")
    if any(word in text for word in _NO_SUCH_NODE):
        if is_unready(said) and is_held(needs, found or {}, default):
            message = f"Slurm has no node for {in_words(needs)} at the moment, though there are nodes so large"
            return Problem(where, message, "See which are down, and why: sinfo -R. Then try again.")
        message = f"no node has {in_words(needs)}{_most_of(needs, found)}"
        return Problem(where, message, fix_for(where, "mem_mb", profile))
    if "time limit" in text:
        message = f"Slurm refuses a time of {option(needs, '--time')} minutes"
        return Problem(where, message, fix_for(where, "runtime", profile))
    return Problem(where, f"Slurm does not take the job: {said.rstrip('.')}", f"It was asked for {in_words(needs)}.")


def fix_for(where: str, resource: str, profile: str = "slurm") -> str:
    """What to change so that a job asks for less of something."""
    if where.startswith(SHARD_JOB):
        limits = "max_cpus, max_mem_mb, max_runtime_min, gpus"
        return f"Say in profiles/{profile}/site.yaml what the partition has ({limits})."
    step = where.partition("/")[0].split()[-1] if "/" in where or where.startswith("step ") else "STEP"
    file = f"profiles/{profile}/config.yaml"
    return f"Choose another partition, or set it in {file}: set-resources: {step}: {resource}: ..."


def no_partition(name: str, found: Mapping[str, Partition] | None, where: str) -> Problem:
    """There is no such partition; `where` is the key that names it."""
    there_are = f"There are: {', '.join(found)}." if found else "See what `sinfo` shows."
    fix = f"{near_miss(name, found or ()) or ''} {there_are}".strip()
    return Problem(where, f"the cluster has no partition {name!r} that is up", fix)


def is_held(needs: Sequence[str], found: Mapping[str, Partition], default: str | None) -> bool:
    """Whether there are nodes so large, by what `sinfo` tells; unknown when more is asked for than it tells of."""
    sizes = {"--cpus-per-task": "max_cpus", "--mem": "max_mem_mb", "--gpus": "gpus"}
    if any(option(needs, name) for name in ("--constraint", "--gres", "--nodes", "--nodelist", "--mem-per-cpu")):
        return False
    names = (option(needs, "--partition") or default or "").split(",")
    asked = {
        size: whole((option(needs, name) or "").rpartition(":")[2].rstrip("M")) or 0 for name, size in sizes.items()
    }
    return any(
        all((getattr(found[name], size) or 0) >= count for size, count in asked.items())
        for name in names
        if name in found
    )


def option(needs: Sequence[str], name: str) -> str | None:
    """The value of an option among words for ``sbatch``, the last one said."""
    return next((word.partition("=")[2] for word in reversed(needs) if word.startswith(f"{name}=")), None)


def in_words(needs: Sequence[str]) -> str:
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
    said = [words.format(value) for name, words in parts.items() if (value := option(needs, name))]
    return ", ".join(said) or "nothing in particular"


def _most_of(needs: Sequence[str], found: Mapping[str, Partition] | None) -> str:
    names = [name for name in (option(needs, "--partition") or "").split(",") if name in (found or {})]
    chosen = [found[name] for name in names] if found and names else list((found or {}).values())
    if not chosen:
        return ""
    most = {key: max(getattr(item, key) or 0 for item in chosen) for key in ("max_cpus", "max_mem_mb", "gpus")}
    return f"; the largest there has {most['max_cpus']} cores, {most['max_mem_mb']} MB and {most['gpus']} GPUs"


def _no_account(account: str | None, settings: str) -> Problem:
    known = sorted(set(_accounts()))
    fix = (
        f"{near_miss(account or '', known) or ''} Yours are: {', '.join(known)}." if known else "Ask your site for it."
    )
    found = f"Slurm refuses the account {account!r}" if account else "Slurm wants to be told an account"
    return Problem(f"{settings}: slurm_account", found, fix.strip())


def _accounts() -> list[str]:
    """The user's accounts, where the site's accounting tells them."""
    user = _user()  # sacctmgr knows no numbers
    if user is None:
        return []
    try:
        said = call("sacctmgr", "--noheader", "--parsable2", "show", "assoc", f"user={user}", "format=account")
    except EnvironmentUnusableError:
        return []
    return [line.strip() for line in said.splitlines() if line.strip()]


def _user() -> str | None:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return None
