"""Whether the tools of a run can run where they are to: told before the first job, and every problem at once."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from snakescope.environments import apptainer, conda
from snakescope.environments.images import LOCK, SITE_IMAGES, State, unlocked
from snakescope.errors import EnvironmentUnusableError, Problem
from snakescope.samples import Sheet
from snakescope.tool.image_names import is_address

# Set by who has checked already, for the Snakemake that it starts.
CHECKED = "SNAKESCOPE_CHECKED"
Trial = Callable[[Path, Sequence[str], str, Path], list[Problem]]


class Plan(Protocol):
    """What is asked of a plan (`workflow.Plan`)."""

    mode: Any
    sheet: Sheet
    root: Path
    steps: Mapping[str, Any]

    @property
    def images(self) -> Mapping[str, str]: ...  # noqa: D102

    @property
    def lock(self) -> Mapping[str, Mapping[str, Any]]: ...  # noqa: D102

    def needs(self, step: str) -> Mapping[str, Any]: ...  # noqa: D102


class NotUsableError(EnvironmentUnusableError):
    """Tools cannot run where they are to; lists every reason."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        super().__init__("\n".join(map(str, problems)))


# Binds that this process has set, and those that stood there before: another run must not be given those of the last.
_binds_set: dict[str, tuple[str, str]] = {}


def use_environments(plan: Plan) -> None:
    """Tell this process, and what it starts, how Apptainer starts images."""
    if plan.mode == "apptainer":
        earlier = {name: before for name, (ours, before) in _binds_set.items() if os.environ.get(name) == ours}
        environ = {**os.environ, **earlier}
        told = apptainer.variables(State.read(plan.root).binds, environ)
        _binds_set.update(
            {name: (value or "", environ.get(name, "")) for name, value in told.items() if name.endswith("_BIND")}
        )
        os.environ.update({name: value for name, value in told.items() if value is not None})
        for name in (name for name, value in told.items() if value is None):
            os.environ.pop(name, None)


def check_environments(plan: Plan) -> None:
    """Check where the tools run, once a run, and say it.

    Raises
    ------
    NotUsableError
        With every reason why a tool cannot run.
    """
    if not os.environ.get(CHECKED):
        require_environments(plan)
        print(said(plan), file=sys.stderr)
    use_environments(plan)


def require_environments(plan: Plan) -> None:
    """Check where the tools run, and leave for the jobs what was found out.

    Raises
    ------
    NotUsableError
        With every reason why a tool cannot run.
    """
    state = State.read(plan.root)
    if plan.mode == "apptainer":
        state.binds = apptainer.binds(plan.root, _files(plan))
        state.write(plan.root)
        use_environments(plan)
    problems = find_problems(plan, state)
    state.keep([*_hashed(plan)])
    state.write(plan.root)
    if problems:
        raise NotUsableError(problems)


def require_host(plan: Plan) -> None:
    """Check that the tools can run on this machine, for a single run outside any study; nothing is left behind.

    Raises
    ------
    NotUsableError
        With every program and model that is missing.
    """
    problems = [problem for step in plan.steps for problem in _program_problems(plan, step)]
    problems += _model_problems(plan, State())
    if problems:
        raise NotUsableError(problems)


def look(plan: Plan, state: State, limit_s: float) -> list[Problem]:
    """Why tools of a plan cannot run where they are to; neither the study nor this process's variables change.

    Parameters
    ----------
    plan
        The plan, with the mode that is asked about.
    state
        What is known of files; digests taken here are added to it.
    limit_s
        How long the start of one image may take.
    """
    if plan.mode != "apptainer":
        return find_problems(plan, state)
    told = apptainer.variables(apptainer.binds(plan.root, _files(plan)), os.environ)
    environ = {
        name: value for name, value in ({**os.environ, **told, **apptainer.LEAVE_NOTHING}).items() if value is not None
    }
    return find_problems(plan, state, partial(apptainer.trial, environ=environ, limit_s=limit_s))


def find_problems(plan: Plan, state: State, trial: Trial = apptainer.trial) -> list[Problem]:
    """Why tools of a plan cannot run where they are to.

    Parameters
    ----------
    plan
        The plan.
    state
        What is known of files; digests taken here are added to it.
    trial
        Starts an image once.
    """
    return [*_problems(plan, state, trial)]


def _problems(plan: Plan, state: State, trial: Trial) -> Iterator[Problem]:
    if plan.mode == "apptainer":
        yield from _image_problems(plan, state, trial)
    elif plan.mode == "conda":
        yield from conda.problems(plan.root, {step: plan.needs(step)["conda"] for step in _in_conda(plan)})
    for step in _on_host(plan):
        yield from _program_problems(plan, step)
    yield from _model_problems(plan, state)


def _in_conda(plan: Plan) -> list[str]:
    return [step for step in plan.steps if plan.mode == "conda" and plan.needs(step).get("conda")]


def _on_host(plan: Plan) -> list[str]:
    elsewhere = plan.images if plan.mode == "apptainer" else _in_conda(plan)
    return [step for step in plan.steps if step not in elsewhere]


def said(plan: Plan) -> str:
    """Where the tools run, in one line."""
    host = _on_host(plan)
    away = [step for step in plan.steps if step not in host]
    if not away:
        return "Tools run from this machine's own programs (no --sdm): " + ", ".join(host)
    kind = "Apptainer images" if plan.mode == "apptainer" else "conda environments"
    rest = f"; from this machine's own programs, having none: {', '.join(host)}" if host else ""
    return f"Tools run in {kind}: {', '.join(away)}{rest}"


# ---------------------------------------------------------------------------- programs and models


def _program_problems(plan: Plan, step: str) -> Iterator[Problem]:
    needs = plan.needs(step)
    own = os.path.dirname(sys.executable)  # noqa: PTH120 - not resolved: a virtual environment is a link
    path = os.pathsep.join([own, os.environ.get("PATH", os.defpath)])
    for name in needs.get("programs", ()):
        if not shutil.which(name, path=path):
            where = f"step {step!r} (tool {plan.steps[step]['tool']})"
            yield Problem(where, f"the program {name!r} is not on the PATH of this machine", _how_to_get(plan, step))


def _how_to_get(plan: Plan, step: str) -> str:
    needs = plan.needs(step)
    page = f" ({needs['homepage']})" if needs.get("homepage") else ""
    ways = [f"--sdm conda ({needs['conda']})"] if needs.get("conda") and plan.mode != "conda" else []
    ways += [f"--sdm apptainer ({plan.images[step]})"] if step in plan.images and plan.mode != "apptainer" else []
    return f"Install {needs.get('program', 'it')}{page}{', or run with ' + ' or '.join(ways) if ways else ''}."


def _models(plan: Plan) -> dict[str, tuple[str, Mapping[str, Any]]]:
    """Models by their path, each with the first step that needs it."""
    found: dict[str, tuple[str, Mapping[str, Any]]] = {}
    for step in plan.steps:
        for model in plan.needs(step).get("models", ()):
            found.setdefault(model["path"], (step, model))
    return found


def _model_problems(plan: Plan, state: State) -> Iterator[Problem]:
    for path, (step, model) in _models(plan).items():
        file = plan.root / path
        where = f"step {step!r}: model {model['name']}"
        source = f" from {model['url']}" if model.get("url") else ""
        if not file.is_file():
            yield Problem(
                where, f"there is no file {path}", f"Get it{source} and put it there; sha256 {model['sha256']}."
            )
            continue
        found = state.sha256(file)
        if found != model["sha256"]:
            message = f"{path} has the sha256 {found}; the tool's descriptor says {model['sha256']}"
            yield Problem(where, message, f"Get it again{source}, or set the digest if this file is meant.")


# ---------------------------------------------------------------------------- images


def _image_problems(plan: Plan, state: State, trial: Trial) -> Iterator[Problem]:
    users: dict[str, list[str]] = {}
    for step, image in plan.images.items():
        users.setdefault(image, []).append(step)
    unfit = apptainer.unfit_study(plan.root)
    if users and unfit:
        yield unfit
    if users and apptainer.program() is None:
        fix = "Install Apptainer (https://apptainer.org), or run without: snakescope run --sdm none"
        yield Problem("--sdm apptainer", "there is no program apptainer or singularity on the PATH", fix)
    for image, steps in users.items():
        if not is_address(image):
            yield from _local_image_problems(plan, state, image, steps, trial)


def _local_image_problems(plan: Plan, state: State, image: str, steps: list[str], trial: Trial) -> Iterator[Problem]:
    file = plan.root / image
    where = f"image {image} (steps: {', '.join(steps)})"
    if not file.exists():
        recipe = next((found for step in steps if (found := plan.needs(step).get("apptainer_def"))), None)
        build = f"Build it: apptainer build {image} {recipe}\n    Or name" if recipe else "Name"
        yield Problem(where, "there is no such image", f"{build} another in {SITE_IMAGES}: {_tool(plan, steps)}: PATH")
        return
    wanted = plan.lock.get(image, {}).get("file_sha256")
    found = state.sha256(file) if file.is_file() else None
    if wanted and found != wanted:
        message = f"its sha256 is {found or 'unknown (a folder)'}; {LOCK} says {wanted}"
        yield Problem(where, message, f"Use the image that was locked, or lock this one: snakescope tool lock {image}")
    elif apptainer.program() and not apptainer.unfit_study(plan.root):
        programs = {name: None for step in steps for name in plan.needs(step).get("programs", ())}
        yield from trial(file, list(programs), where, plan.root)


def _tool(plan: Plan, steps: list[str]) -> str:
    return str(plan.steps[steps[0]]["tool"])


def unlocked_images(plan: Plan, where: str) -> list[Problem]:
    """What a release may not have: steps whose image is not known by a digest."""
    problems = []
    for step in plan.steps:
        image = plan.images.get(step)
        told = f"{where}: steps.{step}"
        if image is None:
            tool = plan.steps[step]["tool"]
            problems.append(Problem(told, f"the tool {tool!r} has no image, and this is a release", "Give it one."))
        elif not is_address(image) and (plan.root / image).is_dir():
            message = f"the image {image} is a folder, which has no digest, and this is a release"
            problems.append(Problem(told, message, f"Pack it: apptainer build {image.rstrip('/')}.sif {image}"))
        elif unlocked(image, plan.lock):
            way = "Name it with @sha256:DIGEST" if is_address(image) else f"Lock it: snakescope tool lock {image}"
            problems.append(Problem(told, f"the image {image} has no digest, and this is a release", f"{way}."))
    return problems


# ---------------------------------------------------------------------------- what jobs read


def _hashed(plan: Plan) -> Iterator[Path]:
    yield from (plan.root / path for path in _models(plan))
    yield from (plan.root / image for image in plan.images.values() if not is_address(image))


def _files(plan: Plan) -> Iterator[str]:
    """Every file from outside that a job may read: rows, columns with files, shared files, models."""
    wires = [wire for step in plan.steps.values() for wire in step["inputs"].values()]
    yield from (wire["path"] for wire in wires if wire["from"] == "file")
    yield from _models(plan)
    columns = sorted({wire["column"] for wire in wires if wire["from"] == "sheet"})
    for row in plan.sheet.rows:
        for column in columns:
            path = row.path if column == "path" else row.cell(column)
            if path and not (column == "path" and row.remote):
                yield path
