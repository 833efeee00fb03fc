"""Where the tools of a run run: as the user says, else as the profile says; checked before the first job."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from snakescope.environments.check import require_environments, said
from snakescope.tool.base import read_yaml
from snakescope.workflow import Plan

Deployment = Literal["apptainer", "conda", "none"]


def deployment_arguments(sdm: Deployment | None) -> list[str]:
    """Arguments for Snakemake that say where tools run; none leave it to the profile."""
    # Snakemake knows no word for "nowhere", which the profile might need to hear; no rule of ours has modules.
    return ["--software-deployment-method", "env-modules" if sdm == "none" else sdm] if sdm else []


def deployment_methods(profile: Path, sdm: Deployment | None, extra: Sequence[str]) -> list[str]:
    """Snakemake's deployment methods: those after ``--``, else those asked for, else the profile's."""
    flags = ("--software-deployment-method", "--deployment-method", "--deployment", "--sdm")
    for index, word in enumerate(extra):
        name, equals, value = word.partition("=")
        if name in flags:
            following = itertools.takewhile(lambda text: not text.startswith("-"), extra[index + 1 :])
            return [value] if equals else list(following)
    if sdm:
        return [sdm]
    return _profile_methods(profile)


def _profile_methods(profile: Path) -> list[str]:
    path = next((p for p in (profile / "config.v8+.yaml", profile / "config.yaml") if p.is_file()), None)
    data = read_yaml(path) if path else {}
    keys = ("software-deployment-method", "deployment-method", "deployment", "sdm")
    found: object = next((data[key] for key in keys if data.get(key)), "")
    return [str(item) for item in found] if isinstance(found, list) else str(found).replace(",", " ").split()


def check_deployment(plan: Plan, *, quiet: bool) -> None:
    """Say where the tools run, and stop here when they cannot."""
    require_environments(plan)
    if not quiet:
        print(said(plan), file=sys.stderr)
