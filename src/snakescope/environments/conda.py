"""Conda environments: whether they can be made here, what a solver's failure means, and files with exact packages."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from snakescope.environments.images import file_sha256, pin_file
from snakescope.errors import EnvironmentUnusableError, Problem, SnakescopeError, problem


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
    path = str(root.resolve())
    bad = sorted(set(path) & set("'\"$`\\\n")) if files else []
    if bad:  # Snakemake writes it into a shell's text between quotes of both kinds
        message = f"the folder's name holds {bad[0]!r}, which conda cannot be told of"
        yield Problem(path, message, "Move the study to a folder with a plain name.")
    for file in dict.fromkeys(files.values()):
        if not (root / file).is_file():
            steps = ", ".join(step for step, other in files.items() if other == file)
            yield Problem(str(root / file), f"there is no such file (steps: {steps})", "Run: snakescope compile")
        else:
            yield from _stale_pins(root / file)


def _stale_pins(file: Path) -> Iterator[Problem]:
    """Exact packages that were found for another text of the environment file."""
    pins = pin_file(file)
    made_from = _MADE_FROM.search(pins.read_text(encoding="utf-8")) if pins.is_file() else None
    if made_from and made_from[1] != file_sha256(file):
        message = f"its packages were found before {file.name} was changed"
        yield Problem(str(pins), message, "Run: snakescope tool pin TOOL, or remove it.")


_TELLING = re.compile(
    r"Error\b|Cannot solve|Could not solve|cannot be solved|nothing provides|No candidates|conflict", re.IGNORECASE
)
_NETWORK = re.compile(r"CondaHTTPError|ConnectionError|name resolution|Network is unreachable|offline|error sending")


def explain(log: str) -> Problem | None:
    """What a log of Snakemake says of an environment or image that could not be had; None when that was not it."""
    made = re.search(r"Could not create conda environment from (\S+):(.*)", log, re.DOTALL)
    if made:
        file, said = re.sub(r"^.*/(?=envs/)", "", made[1].rstrip(":")), made[2].partition("Output:\n")[2] or made[2]
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        first = next((index for index, line in enumerate(lines) if _TELLING.search(line)), max(0, len(lines) - 3))
        why = " ".join(lines[first : first + 4]).rstrip(".")
        if _NETWORK.search(said):
            fix = "Use a channel that can be reached from here."
            return Problem(file, f"conda could not reach the channel: {why}", fix)
        fix = "Loosen the versions in it, or add the channel that has them; then run again."
        return Problem(file, f"conda found no packages that fit together: {why}", fix)
    pulled = re.search(r"Failed to pull singularity image from (\S+?):\s*\n(.*)", log, re.DOTALL)
    if pulled:
        lines = [line.strip() for line in pulled[2].splitlines() if "FATAL" in line or "ERROR" in line] or ["?"]
        fix = "On a machine without the network name a local image in config/images.yaml."
        return Problem(f"image {pulled[1]}", f"it could not be pulled: {lines[-1]}", fix)
    return None


# ---------------------------------------------------------------------------- exact packages

SOLVER_TRIES = 3

_HEAD = """\
# GENERATED from {file} -- do not edit.
# To remake it: snakescope tool pin {tool}
# made from: sha256 {sha256}
# platform: linux-64
@EXPLICIT
"""
_MADE_FROM = re.compile(r"^# made from: sha256 ([0-9a-f]{64})$", re.MULTILINE)


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
    found = _solved(file, channels, specs)
    if "failure" in found:
        raise _failure(file, found["failure"], found["text"])
    lines = "".join(f"{line}\n" for line in _in_order(found["packages"]))
    return _HEAD.format(file=name, tool=tool, sha256=file_sha256(file)) + lines


def _solved(file: Path, channels: list[str], specs: list[str]) -> dict[str, Any]:
    """What the solver says; a crash at its end is no matter, and it is asked again after one before its answer."""
    command = [sys.executable, "-m", "snakescope.environments.solve"]
    asked = json.dumps({"channels": channels, "specs": specs})
    for _ in range(SOLVER_TRIES):
        done = subprocess.run(command, input=asked, capture_output=True, text=True, check=False)
        try:
            found: dict[str, Any] = json.loads(done.stdout)
            return found
        except ValueError:
            if done.returncode >= 0:
                break
    told = f" by signal {-done.returncode}" if done.returncode < 0 else ""
    raise EnvironmentUnusableError(f"{file}: the solver ended{told} without an answer:\n{done.stderr}")


def _failure(file: Path, kind: str, text: str) -> SnakescopeError:
    why = [line.strip() for line in text.splitlines() if line.strip()]
    if kind == "missing":
        fix = "Install it: pip install 'snakescope[pins]'"
        return EnvironmentUnusableError(f"py-rattler, which finds the packages, is not installed.\n    {fix}")
    if kind == "unreachable":
        told = why[0] if len(why) == 1 else f"{why[0]} ({why[-1].removeprefix('Caused by: ')})"
        return EnvironmentUnusableError(f"{file}: a channel cannot be reached: {told}")
    if kind == "unsolvable":
        fix = "Loosen the versions in it, or add the channel that has them."
        return problem(file, f"no packages fit together: {' '.join(why)}", fix)
    return problem(file, " ".join(why))


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


def _in_order(packages: list[dict[str, Any]]) -> list[str]:
    """Addresses with digests, each after those that it needs."""
    by_name = {package["name"]: package for package in packages}
    needs = {
        name: {spec.split()[0].lower() for spec in package["depends"]} & (by_name.keys() - {name})
        for name, package in sorted(by_name.items())
    }
    done: dict[str, None] = {}
    while len(done) < len(needs):
        ready = [name for name, below in needs.items() if name not in done and done.keys() >= below]
        done |= dict.fromkeys(ready or [name for name in needs if name not in done])  # some need each other
    return [f"{by_name[name]['url']}#{by_name[name]['md5'] or ''}" for name in done]
