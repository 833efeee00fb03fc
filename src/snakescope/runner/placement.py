"""Where the jobs of single steps go: the partition that the planner chose for each, as words for Snakemake.

Of shards, the plan itself says it; this is for a job per row and step.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from snakescope.cluster.plan import RunPlan, StepPlan
from snakescope.cluster.site import Site
from snakescope.tool.base import read_yaml

FLAG = "--set-resources"


def place_of(step: StepPlan, site: Site) -> dict[str, str | int]:
    """What a step's jobs are to ask for, as Snakemake names it: their partition, and what `site.yaml` adds there."""
    if step.partition is None:
        return {}
    partition = site.partitions.get(step.partition)
    return {"slurm_partition": step.partition, **(partition.resources if partition else {})}


def placement(made: RunPlan, site: Site, root: Path) -> list[str]:
    """Arguments for Snakemake that send each step's jobs to its partition.

    What the profile sets for a step goes first. All of that is said again, since Snakemake takes the profile's only
    where the command line has none.
    """
    own = _own(root / "profiles" / site.name / "config.yaml")
    chosen = {
        (step.step, name): repr(value) if isinstance(value, str) else str(value)
        for step in made.steps
        for name, value in place_of(step, site).items()
    }
    words = [f"{step}:{name}={value}" for (step, name), value in (chosen | own).items()]
    return [FLAG, *words] if chosen else []


def _own(config: Path) -> dict[tuple[str, str], str]:
    """The resources that a profile sets for single steps, which may be written as a mapping or as a list."""
    found: Any = read_yaml(config).get("set-resources") or {}
    if isinstance(found, Mapping):
        return {(step, name): str(value) for step, named in found.items() for name, value in named.items()}
    parts = (str(item).partition("=") for item in ([found] if isinstance(found, str) else found))
    return {(step, name): value for key, _, value in parts for step, _, name in [key.partition(":")]}
