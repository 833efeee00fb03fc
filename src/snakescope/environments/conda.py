"""Conda environments: whether they can be made here, what a solver's failure means, and files with exact packages."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from snakescope.errors import EnvironmentUnusableError, Problem, problem

if TYPE_CHECKING:
    from rattler import RepoDataRecord


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


# ---------------------------------------------------------------------------- exact packages

# What the packages may count on, so that every machine finds the same ones.
_VIRTUAL = {"__unix": "0", "__linux": "5.10", "__glibc": "2.28"}
_HEAD = "# GENERATED from {file} -- do not edit.\n# To remake it: snakescope tool pin {tool}\n# platform: linux-64\n"


def pin(file: Path, name: str, tool: str) -> str:
    """Find the exact packages of an environment, for ``conda create --file``.

    Parameters
    ----------
    file
        Environment file.
    name
        Its name in the text.
    tool
        Id of the tool, for the text.

    Raises
    ------
    InputError
        If the file is none, or its packages do not fit together.
    EnvironmentUnusableError
        If py-rattler, which solves, is not installed, or a channel cannot be reached.
    """
    channels, specs = _read_environment(file)
    try:
        from rattler import exceptions
    except ImportError as error:
        fix = "Install it: pip install 'snakescope[pins]'"
        raise EnvironmentUnusableError(f"py-rattler, which finds the packages, is not installed.\n    {fix}") from error
    try:
        records = asyncio.run(_solve(channels, specs))
    except exceptions.SolverError as error:
        fix = "Loosen the versions in it, or add the channel that has them."
        raise problem(file, f"no packages fit together: {' '.join(str(error).split())}", fix) from error
    except (exceptions.GatewayError, exceptions.FetchRepoDataError) as error:
        why = str(error).strip().splitlines()
        told = why[0] if len(why) == 1 else f"{why[0]} ({why[-1].removeprefix('Caused by: ')})"
        raise EnvironmentUnusableError(f"{file}: a channel cannot be reached: {told}") from error
    except (exceptions.InvalidMatchSpecError, exceptions.InvalidChannelError) as error:
        raise problem(file, str(error)) from error
    return _HEAD.format(file=name, tool=tool) + "@EXPLICIT\n" + "".join(f"{line}\n" for line in _in_order(records))


def _read_environment(file: Path) -> tuple[list[str], list[str]]:
    """Channels and packages of an environment file."""
    from snakescope.tool.base import read_yaml  # every job imports this module, and reads no such file

    data = read_yaml(file)
    packages, channels = data.get("dependencies"), data.get("channels")
    if not isinstance(packages, list) or not packages or not isinstance(channels, list) or not channels:
        raise problem(file, "expected a list of channels and a list of dependencies")
    if any(not isinstance(package, str) for package in packages):
        script = file.with_suffix(".post-deploy.sh").name
        fix = f"Install such packages in {script}, which runs in the new environment."
        raise problem(f"{file}: dependencies", "found packages of pip, which a list of exact packages cannot hold", fix)
    return [str(channel) for channel in channels if channel != "nodefaults"], packages


async def _solve(channels: list[str], specs: list[str]) -> list[RepoDataRecord]:
    from rattler import BuildString, GenericVirtualPackage, PackageName, Version, solve

    build = BuildString("0")
    virtual = [GenericVirtualPackage(PackageName(name), Version(text), build) for name, text in _VIRTUAL.items()]
    return await solve(sources=channels, specs=specs, platforms=["linux-64", "noarch"], virtual_packages=virtual)


def _in_order(records: list[RepoDataRecord]) -> list[str]:
    """Addresses with digests, each after those that it needs."""
    by_name = {record.name.normalized: record for record in records}
    needs = {
        name: sorted({spec.split()[0].lower() for spec in record.depends} & (by_name.keys() - {name}))
        for name, record in sorted(by_name.items())
    }
    done: dict[str, None] = {}
    while len(done) < len(needs):
        ready = [name for name, below in needs.items() if name not in done and done.keys() >= set(below)]
        done |= dict.fromkeys(ready or [name for name in needs if name not in done])  # python and pip need each other
    return [f"{by_name[name].url}#{_md5(by_name[name])}" for name in done]


def _md5(record: RepoDataRecord) -> str:
    return record.md5.hex() if record.md5 else ""
