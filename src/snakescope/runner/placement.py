"""Where the jobs of single steps go: the partition that the planner chose for each, as words for Snakemake.

Of shards, the plan itself says it; this is for a job per row and step.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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


def placement(made: RunPlan, site: Site, root: Path, extra: Sequence[str] = ()) -> list[str]:
    """Arguments for Snakemake, after its others, that send each step's jobs to its partition.

    What the command line (`extra`) sets for a step goes first, then what the profile sets. All of that is said again,
    since Snakemake takes the last of its options alone, and the profile's only where the command line has none.
    """
    own = _own(root / "profiles" / site.name / "config.yaml") | _parts(_after(FLAG, extra))
    chosen = {
        (step.step, name): repr(value) if isinstance(value, str) else str(value)
        for step in made.steps
        for name, value in place_of(step, site).items()
    }
    words = [f"{step}:{name}={value}" for (step, name), value in (chosen | own).items()]
    return [FLAG, *words] if chosen else []


def unheeded(steps: Iterable[str], site: Site, root: Path, extra: Sequence[str]) -> str | None:
    """What is set for single steps in the profile or the command line, which jobs over many rows do not know of."""
    own = [*_own(root / "profiles" / site.name / "config.yaml"), *_parts(_after(FLAG, extra))]
    by_step: dict[str, dict[str, None]] = {}
    for step, name in own:
        by_step.setdefault(step, {})[name] = None
    told = [f"{step} ({', '.join(by_step[step])})" for step in steps if step in by_step]
    if not told:
        return None
    way = f"say it of a partition in {site.where} (resources:), or use --grain row"
    return f"Not heeded by jobs over many rows: set-resources of {', '.join(told)}; {way}."


def _after(flag: str, words: Sequence[str]) -> list[str]:
    """The values of an option that may be given several times, with several values."""
    found, taking = [], False
    for word in words:
        if word.startswith("-"):
            name, equals, value = word.partition("=")
            taking = name == flag
            found += [value] if taking and equals else []
        elif taking:
            found.append(word)
    return found


def _own(config: Path) -> dict[tuple[str, str], str]:
    """The resources that a profile sets for single steps, which may be written as a mapping or as a list."""
    found: Any = read_yaml(config).get("set-resources") or {}
    if isinstance(found, Mapping):
        return {(step, name): str(value) for step, named in found.items() for name, value in named.items()}
    return _parts([found] if isinstance(found, str) else found)


def _parts(words: Iterable[object]) -> dict[tuple[str, str], str]:
    """``step:name=value`` taken apart."""
    parts = (str(item).partition("=") for item in words)
    return {(step, name): value for key, _, value in parts for step, _, name in [key.partition(":")]}
