"""The test cases of tools: inputs made by a generator, numbers that must come out."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from traceback import extract_tb
from types import ModuleType
from typing import Any, Literal

from pydantic import Field, model_validator

from snakescope.environments.check import NotUsableError
from snakescope.errors import SnakescopeError, problem
from snakescope.record import printable
from snakescope.runner.declared import misfits
from snakescope.runner.deployed import run_deployed
from snakescope.runner.deployment import Deployment
from snakescope.runner.tools import Facts, ToolFailedError, ToolRun, run_tool
from snakescope.tool.base import Model, near_miss, parse, read_yaml
from snakescope.tool.library import Tool

# How much is shown of the log of a case that failed.
LINES, LINE = 20, 300


class Expectation(Model):
    """One number that a case asserts."""

    check: str
    """Function in ``generators.py`` that measures the outputs: ``check(outputs, inputs, **args) -> float``."""
    args: dict[str, Any] = {}
    """Its further arguments."""
    value: float | None = None
    """Number expected, within the tolerance."""
    tolerance: float = Field(default=0, ge=0)
    """Largest difference from `value`."""
    at_least: float | None = None
    """Smallest number accepted."""
    at_most: float | None = None
    """Largest number accepted."""

    @model_validator(mode="after")
    def _asserts_something(self) -> Expectation:
        if self.value is None and self.at_least is None and self.at_most is None:
            raise ValueError("asserts nothing; expected value, at_least or at_most")
        return self

    def reject(self, found: float) -> str | None:
        """Say why a number is not as expected; None when it is. NaN never is."""
        if self.value is not None and not abs(found - self.value) <= self.tolerance:
            return f"{self.check} is {found:g}; expected {self.value:g} ± {self.tolerance:g}"
        if self.at_least is not None and not found >= self.at_least:
            return f"{self.check} is {found:g}; expected at least {self.at_least:g}"
        if self.at_most is not None and not found <= self.at_most:
            return f"{self.check} is {found:g}; expected at most {self.at_most:g}"
        return None


class Generator(Model):
    """A function that makes a case's inputs."""

    name: str
    """Function in ``generators.py``: ``name(folder, **args) -> {port: path or paths}``."""
    args: dict[str, Any] = {}
    """Its further arguments."""


class CaseFacts(Model):
    """What a bare image file lacks, as for ``tool run``."""

    voxel_size_um: str | None = None
    """z,y,x in µm."""
    time_step_s: float | None = None
    """Seconds between frames."""
    scene: int = Field(default=0, ge=0)
    """Which image of the file, from 0."""
    stack_axis: Literal["z", "t"] | None = None
    """What the planes of a plain TIFF are."""


class Case(Model):
    """A test case of a tool (``tools/<tool>/cases/<case>.yaml``)."""

    description: str
    """The behaviour, as a sentence."""
    generator: Generator
    """What makes the inputs."""
    facts: CaseFacts = CaseFacts()
    """What the input files lack."""
    params: dict[str, Any] = {}
    """Values of parameters."""
    expect: list[Expectation] = Field(min_length=1)
    """Numbers that must come out."""


@dataclass(frozen=True)
class CaseResult:
    """What came of a case: the numbers found by check, and what was wrong.

    `missing` says what is not on this machine, so that the case could not be run: it neither passed nor failed.
    `environment` is what the record says of where the tool ran, empty when it did not; `deployed` says whether it was
    to run in an image or environment.
    """

    tool: str
    case: str
    description: str
    found: dict[str, float]
    problems: list[str]
    missing: list[str] = field(default_factory=list)
    environment: dict[str, Any] = field(default_factory=dict)
    deployed: bool = False

    @property
    def passed(self) -> bool:
        """Whether every number was as expected."""
        return not self.problems and not self.missing

    @property
    def status(self) -> Literal["passed", "failed", "program missing"]:
        """What came of it, in a word or two."""
        return "failed" if self.problems else "program missing" if self.missing else "passed"

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON holds it."""
        return vars(self) | {"passed": self.passed, "status": self.status}


def cases_text(results: Sequence[CaseResult], lacking: str) -> str:
    """How many cases passed and failed; those that could not be run, for what is `lacking`, are no part of either."""
    status = [result.status for result in results]
    missing = status.count("program missing")
    told = f"{status.count('passed')} passed, {status.count('failed')} failed"
    return told + (f", {missing} not run: {lacking} missing" if missing else "")


def run_case(
    tool: Tool, path: Path, folder: Path, *, sdm: Deployment | None = None, study: Path = Path()
) -> CaseResult:
    """Run one test case of a tool.

    Parameters
    ----------
    tool, path
        The tool, and the file of the case.
    folder
        An empty folder.
    sdm
        What the tool runs in: its Apptainer image, its conda environment, or (none, the default) this machine.
    study
        Folder that images and environments belong to.
    """
    case = parse(Case, read_yaml(path), path)
    functions = _load_functions(tool.folder / "cases/generators.py")
    result = partial(CaseResult, tool.spec.id, path.stem, case.description, deployed=sdm in ("apptainer", "conda"))
    try:
        made = _call(functions, case.generator.name, path, folder, **case.generator.args)
        ran = _run(tool, case, made, folder, sdm, study)
    except NotUsableError as error:
        return result({}, [], [str(item) for item in error.problems])
    except ToolFailedError as error:
        return result({}, [error.told, *_last_words(error.log)])
    except SnakescopeError as error:
        return result({}, [str(error)])
    found: dict[str, float] = {}
    problems = misfits(tool.spec, ran.outputs, ran.declared)
    for index, expectation in enumerate(case.expect):
        try:
            number = float(_call(functions, expectation.check, path, ran.outputs, made, **expectation.args))
        except SnakescopeError as error:
            problems.append(str(error))
            continue
        found[f"{index}:{expectation.check}"] = number
        problems += filter(None, [expectation.reject(number)])
    environment = json.loads(ran.record.read_text(encoding="utf-8")).get("environment", {})
    return result(found, problems, environment=environment)


def _last_words(log: Path) -> list[str]:
    """The end of a log, which goes with the folder of its case; nothing where the reason has told all of it."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.is_file() else []
    lines = [printable(line)[:LINE] for line in lines if line.strip()]
    return ["its log ends:", *(f"  {line}" for line in lines[-LINES:])] if len(lines) > 1 else []


def _run(tool: Tool, case: Case, made: Mapping[str, Any], folder: Path, sdm: Deployment | None, study: Path) -> ToolRun:
    inputs = {port: list(found) if isinstance(found, list) else [found] for port, found in made.items()}
    facts = Facts(case.facts.voxel_size_um, case.facts.time_step_s, case.facts.scene, case.facts.stack_axis)
    if sdm in ("apptainer", "conda") or tool.spec.environment.models:  # models lie in the study
        place = folder / ".study"  # generators have all other names for themselves
        return run_deployed(tool, inputs, place, sdm=sdm or "none", study=study, params=case.params, facts=facts)
    return run_tool(tool, inputs, folder / "out", params=case.params, facts=facts)


def _load_functions(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"cases_of_{path.parents[1].name}", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise problem(path, "there is no such file; it holds the functions that the cases name")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _call(functions: ModuleType, name: str, case: Path, /, *arguments: Any, **further: Any) -> Any:
    """What a function of ``generators.py`` returns; a mistake in it is a problem of the case, not of ours."""
    function = _function(functions, name, case)
    try:
        return function(*arguments, **further)
    except Exception as error:
        line = next(
            (at.lineno for at in reversed(extract_tb(error.__traceback__)) if at.filename == functions.__file__), 0
        )
        where = f"{functions.__file__}:{line}" if line else str(case)
        told = f"{name}() ended with {type(error).__name__}: {str(error).strip()}".rstrip(": ")
        raise problem(where, told) from error


def _function(functions: ModuleType, name: str, case: Path) -> Any:
    function = getattr(functions, name, None)
    if not callable(function):
        known = [key for key in vars(functions) if not key.startswith("_")]
        raise problem(case, f"there is no function {name!r} in generators.py", near_miss(name, known))
    return function
