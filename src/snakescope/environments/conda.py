"""Conda environments: whether they can be made here, what a solver's failure means, and files with exact packages."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from snakescope.errors import Problem


def problems(root: Path, files: Mapping[str, str]) -> Iterator[Problem]:
    """Why Snakemake cannot make the environments.

    Parameters
    ----------
    root
        Study folder.
    files
        Environment file of each step, relative to the study.
    """
    if files and not shutil.which("conda"):
        fix = "Install conda (https://conda-forge.org/download), or run without: snakescope run --sdm none"
        yield Problem("--sdm conda", "there is no program conda on the PATH", fix)
    for file in dict.fromkeys(files.values()):
        if not (root / file).is_file():
            steps = ", ".join(step for step, other in files.items() if other == file)
            yield Problem(str(root / file), f"there is no such file (steps: {steps})", "Run: snakescope compile")


_SOLVER = re.compile(
    r"LibMambaUnsatisfiableError|UnsatisfiableError|PackagesNotFoundError|ResolvePackageNotFound|Cannot solve|"
    r"Could not solve|nothing provides|No candidates were found|conflict", re.IGNORECASE,
)  # fmt: skip
_NETWORK = re.compile(r"CondaHTTPError|ConnectionError|name resolution|Network is unreachable|offline|error sending")


def explain(log: str) -> Problem | None:
    """What a log of Snakemake says of an environment or image that could not be had; None when that was not it."""
    made = re.search(r"Could not create conda environment from (\S+):(.*)", log, re.DOTALL)
    if made:
        file, said = made[1].rstrip(":"), made[2]
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        telling = [line for line in lines if _SOLVER.search(line) or line.startswith(("-", "└", "├"))]
        why = " ".join((telling or lines[-3:])[:4])
        if _NETWORK.search(said):
            return Problem(
                file, f"conda could not reach the channel: {why}", "Use a channel that can be reached from here."
            )
        fix = "Loosen the versions in it, or add the channel that has them; then run again."
        return Problem(file, f"conda found no packages that fit together: {why}", fix)
    pulled = re.search(r"Failed to pull singularity image from (\S+?):\s*\n(.*)", log, re.DOTALL)
    if pulled:
        lines = [line.strip() for line in pulled[2].splitlines() if "FATAL" in line or "ERROR" in line] or ["?"]
        fix = "On a machine without the network name a local image in config/images.yaml."
        return Problem(f"image {pulled[1]}", f"it could not be pulled: {lines[-1]}", fix)
    return None
