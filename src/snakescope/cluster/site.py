"""What a site offers: ``profiles/<name>/config.yaml`` (Snakemake's) and ``profiles/<name>/site.yaml`` (ours).

Knows files only. What they leave open can be asked of the cluster by others and put in with `Site.completed`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from snakescope.errors import problem
from snakescope.tool.base import Model, parse, read_yaml

CORES_PER_JOB = 8
SITE_FILE = "site.yaml"
# What Slurm is asked for beside account and partition, and the words for it that no Python could be.
OTHERS = ("qos", "constraint", "reservation", "gres", "nodes", "slurm_extra")
PLAIN = re.compile(r"[\w.,:|&-]+")
Grain = Literal["auto", "row", "fanout"]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


class Partition(Model):
    """What one job may have in a partition. What is left out is not known, and not checked."""

    max_runtime_min: int | None = Field(default=None, ge=1)
    """Longest time of a job in minutes."""
    max_mem_mb: int | None = Field(default=None, ge=1)
    """Memory of a node in MB, as much of it as jobs may ask for."""
    max_cpus: int | None = Field(default=None, ge=1)
    """Cores of a node."""
    gpus: int = Field(default=0, ge=0)
    """GPUs of a node."""
    nodes: int | None = Field(default=None, ge=1)
    """Number of nodes."""
    resources: dict[Name, str | int] = {}
    """More resources for Snakemake that jobs in this partition get, such as ``qos`` or ``constraint``."""


class SiteFile(Model):
    """``profiles/<name>/site.yaml``; every key may be left out."""

    partitions: dict[Name, Partition] = {}
    """Partitions that may be used, the preferred one first. Without any, the profile's or the cluster's own."""
    target_minutes: float = Field(default=20, gt=0, allow_inf_nan=False)
    """How long a job should last at least, where there is enough to do."""
    cores_per_job: int | None = Field(default=None, ge=1)
    """Cores of a job; more where a step has more threads, fewer where no step can use them."""
    mem_margin_mb: int = Field(default=400, ge=0)
    """Memory of a job in MB beside that of the tools: Snakemake itself."""
    max_runtime_min: int | None = Field(default=None, ge=1)
    """Longest time to ask for in minutes, whatever the partition allows."""
    grain: Grain = "auto"
    """One cluster job for each row and step (``row``), shards of rows (``fanout``), or whichever fits (``auto``)."""


@dataclass(frozen=True)
class Site:
    """What is known of a site.

    Parameters
    ----------
    name
        Name of the profile.
    file
        Content of ``site.yaml``, or its defaults.
    partitions
        Partitions that jobs may go to, the preferred one first. Empty: the cluster decides, and no limit is known.
    executor, jobs, retries, account, partition
        What ``config.yaml`` says; None where it does not.
    others
        What else its default resources ask of Slurm for every job, such as ``qos``: what is told in plain words and
        changed for no step.
    """

    name: str = "slurm"
    file: SiteFile = field(default_factory=SiteFile)
    partitions: Mapping[str, Partition] = field(default_factory=dict)
    executor: str | None = None
    jobs: int | None = None
    retries: int = 0
    account: str | None = None
    partition: str | None = None
    others: Mapping[str, str] = field(default_factory=dict)

    @property
    def where(self) -> str:
        """The file to edit, for messages."""
        return f"profiles/{self.name}/{SITE_FILE}"

    @property
    def cores_per_job(self) -> int:
        """Cores of a job where nothing speaks against it."""
        return self.file.cores_per_job or CORES_PER_JOB

    def completed(self, found: Mapping[str, Partition], default: str | None = None) -> Site:
        """The same site with what the cluster says of the partitions; what the files say goes first.

        Parameters
        ----------
        found
            All partitions of the cluster.
        default
            The one that jobs get which name none.
        """
        chosen = self.partition or default
        names = list(self.file.partitions) or ([chosen] if chosen and chosen in found else [])
        return replace(self, partitions={name: self._merged(name, found.get(name)) for name in names})

    def _merged(self, name: str, found: Partition | None) -> Partition:
        written = self.file.partitions.get(name, Partition())
        said = found.model_dump(exclude_unset=True) if found else {}
        return Partition(**(said | written.model_dump(exclude_unset=True)))

    def candidates(self, gpus: int) -> Iterator[tuple[str | None, Partition]]:
        """Partitions for a job with so many GPUs: those without GPUs first for a job that needs none."""
        if not self.partitions:
            yield self.partition, self._capped(Partition(gpus=gpus))
        for name, partition in sorted(self.partitions.items(), key=lambda item: not gpus and item[1].gpus > 0):
            yield name, self._capped(partition)

    def _capped(self, partition: Partition) -> Partition:
        limits = [limit for limit in (partition.max_runtime_min, self.file.max_runtime_min) if limit is not None]
        return partition.model_copy(update={"max_runtime_min": min(limits, default=None)})

    @property
    def nodes(self) -> int | None:
        """Number of nodes, where every partition says it."""
        counts = [partition.nodes for partition in self.partitions.values()]
        return sum(count or 0 for count in counts) if counts and None not in counts else None


def read_site(root: Path, name: str = "slurm") -> Site:
    """Read a profile of a study folder.

    Raises
    ------
    InputError
        If there is no such profile, or something in its files is wrong.
    """
    folder = root / "profiles" / name
    if not folder.is_dir():
        known = sorted(path.name for path in folder.parent.glob("*/"))
        raise problem(folder, "there is no such profile", f"There are: {', '.join(known) or 'none'}.")
    path = folder / SITE_FILE
    file = parse(SiteFile, _mapping(path), path) if path.is_file() else SiteFile()
    config = folder / "config.yaml"
    profile = _mapping(config) if config.is_file() else {}
    defaults = _defaults(profile.get("default-resources"), config)
    return Site(
        name=name,
        file=file,
        partitions=dict(file.partitions),
        executor=profile.get("executor"),
        jobs=_count(profile, "jobs", config),
        retries=_count(profile, "retries", config) or 0,
        account=_text(defaults.get("slurm_account")),
        partition=_text(defaults.get("slurm_partition")),
        others=_others(defaults, profile.get("set-resources")),
    )


def _mapping(path: Path) -> dict[str, Any]:
    """Content of a YAML file; one with comments only is an empty mapping."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    if all(not line.strip() or line.lstrip().startswith("#") for line in lines):
        return {}
    return read_yaml(path)


def _defaults(found: Any, path: Path) -> dict[str, Any]:
    """Snakemake's default resources, which may be written as a mapping or as a list of ``name=value``."""
    if found is None:
        return {}
    if isinstance(found, dict):
        return found
    if isinstance(found, list) and all(isinstance(item, str) and "=" in item for item in found):
        return {name.strip(): value.strip() for name, _, value in (item.partition("=") for item in found)}
    raise problem(f"{path}: default-resources", f"found {found!r}; expected a mapping", "Write: mem_mb: 1000")


def _count(profile: Mapping[str, Any], key: str, path: Path) -> int | None:
    found = profile.get(key)
    if found is None or found == "unlimited":
        return None
    if isinstance(found, bool) or not isinstance(found, int) or found < 0:
        raise problem(f"{path}: {key}", f"found {found!r}; expected a whole number")
    return found


def _others(defaults: Mapping[str, Any], changed: Any) -> dict[str, str]:
    """Plain words only: what looks like an expression Snakemake takes for one, and it may differ from job to job."""
    by_step = list(changed.values()) if isinstance(changed, dict) else [changed] if changed else []
    if not all(isinstance(one, dict) for one in by_step):
        return {}
    steps = {name for one in by_step for name in one}
    found = {name: _text(defaults.get(name)) for name in OTHERS if name not in steps}
    return {
        name: text for name, text in found.items() if text and (PLAIN.fullmatch(text) or _is_quoted(defaults[name]))
    }


def _is_quoted(value: Any) -> bool:
    return isinstance(value, str) and len(value) > 1 and value[0] == value[-1] and value[0] in "'\""


def _text(value: Any) -> str | None:
    """A word of the profile; Snakemake lets people put one more pair of quotes around it."""
    return str(value).strip("'\"") or None if value is not None else None
