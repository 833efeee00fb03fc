"""A study folder: making one, opening one, and compiling its pipelines."""

from __future__ import annotations

import difflib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from snakescope import layout
from snakescope.check import check_rows
from snakescope.compiler import Places, build_rule, compile_pipeline, plan
from snakescope.environments.check import unlocked_images
from snakescope.errors import InputError, Problem, problem
from snakescope.pipeline import Pipeline, read_pipeline
from snakescope.runner.remote import check_remote
from snakescope.samples import Sheet, read_sheet
from snakescope.tool.base import Model, near_miss, parse, read_yaml
from snakescope.tool.library import Tool, read_library
from snakescope.window import DEFAULT_SIZE
from snakescope.words import many
from snakescope.workflow import Mode, Plan


class StudyConfig(Model):
    """``config/config.yaml``."""

    pipeline: str
    """Name of the pipeline that runs."""
    samples: str = layout.SHEET
    """Path of the sample sheet, relative to the study folder."""
    avu_prefix: str = "snakescope."
    """What the names of AVUs begin with that publishing writes."""
    stage_window: int = Field(DEFAULT_SIZE, ge=1)
    """Rows that lie in iRODS: how many staged copies may wait at once for the first step that reads them."""
    keep_staged: bool = False
    """Rows that lie in iRODS: whether their staged copies stay when every step has read them."""


@dataclass(frozen=True)
class Study:
    """An opened study folder."""

    root: Path
    config: StudyConfig

    @property
    def sheet_path(self) -> Path:
        """Path of the sample sheet."""
        return self.root / self.config.samples

    def pipeline(self, name: str | None = None) -> Pipeline:
        """Read and check a pipeline; the configured one by default."""
        path = self.root / layout.pipeline_file(name or self.config.pipeline)
        if not path.is_file():
            known = sorted(item.stem for item in path.parent.glob("*.yaml"))
            fix = near_miss(path.stem, known) or f"There are: {', '.join(known) or 'none'}."
            raise problem(path, "there is no such pipeline", fix)
        return read_pipeline(path, layout.tool_roots(self.root))

    def sheet(self) -> Sheet:
        """Read the sample sheet."""
        if not self.sheet_path.is_file():
            raise problem(self.sheet_path, "there is no sample sheet", "Make one with: snakescope collect FOLDER")
        return read_sheet(self.sheet_path)


def open_study(root: Path) -> Study:
    """Open a study folder.

    Raises
    ------
    InputError
        If `root` is no study folder or its configuration is wrong.
    """
    path = root / layout.CONFIG
    if not path.is_file():
        raise problem(
            root, f"not a study folder: there is no {layout.CONFIG}", f"Make one with: snakescope init {root}"
        )
    return Study(root, parse(StudyConfig, read_yaml(path), path))


def init(folder: Path, pipeline: str = "llsm_tracking") -> list[str]:
    """Make a study folder: configuration, what people say of the study, pipeline, compiled rules, workflow, profiles.

    Nothing that is there already is touched.

    Returns
    -------
    Paths of the files written, relative to the folder.

    Raises
    ------
    InputError
        If there is no such pipeline or the folder cannot be written.
    """
    assets = layout.assets()
    known = sorted(path.stem for path in (assets / "config/pipelines").glob("*.yaml"))
    if pipeline not in known:
        fix = near_miss(pipeline, known) or f"There are: {', '.join(known)}."
        raise problem(f"pipeline {pipeline!r}", "there is no such pipeline", fix)
    written = []
    try:
        for source, target in _files_of(assets, pipeline):
            if not (folder / target).exists():
                (folder / target).parent.mkdir(parents=True, exist_ok=True)
                _copy(source, folder / target, pipeline)
                written.append(target)
    except OSError as error:
        raise problem(folder, f"cannot be written ({error.strerror})", "Choose a folder of your own.") from error
    return written


def _files_of(assets: Path, pipeline: str) -> Iterator[tuple[Path, str]]:
    wanted = [
        layout.CONFIG,
        layout.STUDY_YAML,
        layout.pipeline_file(pipeline),
        *(
            str(p.relative_to(assets))
            for part in ("workflow", "profiles", "envs", f"rules/{pipeline}")
            for p in _walk(assets / part)
        ),
    ]
    for target in wanted:
        yield assets / target, target


def _walk(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)


def _copy(source: Path, target: Path, pipeline: str) -> None:
    if target.name == "config.yaml" and target.parent.name == "config":
        text = source.read_text(encoding="utf-8").replace("pipeline: llsm_tracking", f"pipeline: {pipeline}")
        target.write_text(text, encoding="utf-8")
    else:
        shutil.copy(source, target)  # with its mode: a shell must stay one


@dataclass(frozen=True)
class Stale:
    """A generated file that is not what its sources say; `diff` is empty for a file that should go."""

    path: str
    diff: str


def compile_study(study: Study, name: str | None = None, *, check: bool = False) -> list[Stale]:
    """Compile a pipeline into ``rules/<name>/``; only files that change are written.

    Parameters
    ----------
    study
        The study folder.
    name
        The pipeline; by default the configured one.
    check
        Write nothing, only say what is stale.

    Returns
    -------
    The files that were stale.
    """
    pipeline = study.pipeline(name)
    texts = compile_pipeline(pipeline, study.root.resolve())
    stale = list(_compare(study.root, texts))
    folder = study.root / layout.RULES / pipeline.spec.name
    leftover = [path for path in sorted(folder.glob("*")) if f"{path.relative_to(study.root)}" not in texts]
    if not check:
        _bring_environments(study.root, pipeline)
        _write(study.root, {path: texts[path] for path in (item.path for item in stale)}, leftover)
    return stale + [Stale(str(path.relative_to(study.root)), "") for path in leftover]


def uncompiled(study: Study) -> list[Problem]:
    """Say that rules are not what their pipeline and tools say now; a warning for who hands both on."""
    where = layout.pipeline_file(study.config.pipeline)
    fix = "Run: snakescope run, and export again. Else it tells of other results than these."
    try:
        stale = compile_study(study, check=True)
    except InputError as error:
        return [Problem(where, f"cannot be compiled any more ({error.problems[0].message})", fix)]
    return (
        [Problem(where, "it, or a tool of it, has changed since it was compiled for the last run", fix)]
        if stale
        else []
    )


def _bring_environments(root: Path, pipeline: Pipeline) -> None:
    """Copy what shipped tools need of ``envs/`` and is not in the study; Snakemake looks for it in every mode."""
    names = {step.tool.spec.environment.conda for step in pipeline.steps.values()}
    names |= {step.tool.spec.environment.apptainer_def for step in pipeline.steps.values()}
    shipped = layout.assets() / "envs"
    for name in sorted(Path(name).stem for name in names if name):
        for source in sorted(shipped.glob(f"{name}.*")):
            target = root / "envs" / source.name
            if not target.exists():
                target.parent.mkdir(exist_ok=True)
                shutil.copy(source, target)


def _compare(root: Path, texts: dict[str, str]) -> Iterator[Stale]:
    for path, text in texts.items():
        old = (root / path).read_text(encoding="utf-8") if (root / path).is_file() else ""
        if old != text:
            lines = difflib.unified_diff(
                old.splitlines(), text.splitlines(), path, f"{path} (compiled now)", lineterm=""
            )
            yield Stale(path, "\n".join(lines))


def _write(root: Path, texts: dict[str, str], leftover: list[Path]) -> None:
    try:
        for path, text in texts.items():
            target = root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = target.with_name(f".{target.name}.{os.getpid()}")
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(target)
        for old in leftover:
            old.unlink()
    except OSError as error:
        raise problem(root / layout.RULES, f"cannot be written ({error.strerror})") from error


def lint_folder(root: Path) -> list[str]:
    """Check a folder's own tools and, if it is a study, everything that a run needs.

    Returns
    -------
    What was found sound, a line each.

    Raises
    ------
    InputError
        With every problem found.
    """
    from snakescope.catalog.consistency import doubts

    own = root / "tools"
    told: list[str] = []
    problems: list[Problem] = []
    try:
        tools = read_library([own]) if own.is_dir() else {}
        problems += [item for tool in tools.values() for item in _unfit_program(tool)]
        if tools and not problems:
            told.append(f"{many(len(tools), 'tool')} of its own {'is' if len(tools) == 1 else 'are'} sound")
    except InputError as error:
        problems += error.problems
    if (root / layout.CONFIG).is_file() or not (told or problems):
        try:
            pipeline, sheet = lint(open_study(root))
            told.append(f"pipeline {pipeline.spec.name}: {len(pipeline.steps)} steps, wired soundly")
            told.append(f"{sheet.where()}: {len(sheet.rows)} rows, every one fits")
            told += [f"note: {note}" for note in doubts(sheet)]
            told += _rembi(root, pipeline, sheet)
        except InputError as error:  # the pipeline tells again of those of the tools that it uses
            problems += [item for item in error.problems if not item.where.startswith(f"{own.resolve()}/")]
            problems += _spec_problems(root, problems)
    if problems:
        raise InputError(problems)
    return told


def _unfit_program(tool: Tool) -> Iterator[Problem]:
    """What keeps a tool from doing what its descriptor says, though the descriptor is well-formed."""
    path = tool.folder / "tool.yaml"
    yield from (Problem(f"{path}: {key}", message, fix) for key, message, fix in tool.spec.untold())
    script = tool.spec.script
    if script and tool.script_sha256 is None and not (layout.assets() / "scripts" / script).is_file():
        yield Problem(f"{path}: script", f"there is no file {script} beside it", "Put it there, or mend the name.")


def _spec_problems(root: Path, known: list[Problem]) -> list[Problem]:
    """What is wrong in ``config/study.yaml``, told also when the sheet or the pipeline cannot be read."""
    from snakescope.study.gather import read_spec

    try:
        if (root / layout.STUDY_YAML).is_file():
            read_spec(root)
    except InputError as error:
        return [item for item in error.problems if item not in known]
    return []


def _rembi(root: Path, pipeline: Pipeline, sheet: Sheet) -> list[str]:
    """How complete the study's metadata are; what is missing keeps nobody from a run."""
    if not (root / layout.STUDY_YAML).is_file():
        return [f"REMBI: there is no {layout.STUDY_YAML}; `snakescope init {root}` writes one"]
    from snakescope.study.report import rembi_lines  # its libraries are needed for nothing else here

    specs = {name: step.tool.spec for name, step in pipeline.steps.items()}
    methods = {name: spec.rembi.title if spec.rembi else spec.name for name, spec in specs.items()}
    operations = {name: spec.edam.operations for name, spec in specs.items()}
    return rembi_lines(root, sheet, pipeline.spec.title, methods, operations)


def plan_of(pipeline: Pipeline, sheet: Sheet, root: Path, mode: Mode = "host") -> Plan:
    """The plan of a pipeline as it would be compiled now; nothing is written."""
    rules = [build_rule(pipeline, step, Places(root)) for step in pipeline.steps.values()]
    return Plan(plan(pipeline, rules), sheet, mode=mode, root=root)


def _release_problems(pipeline: Pipeline, sheet: Sheet, root: Path) -> list[Problem]:
    """What a pipeline that says `release: true` may not have; wrong files about images, in any pipeline."""
    try:
        found = unlocked_images(plan_of(pipeline, sheet, root), str(pipeline.path))
    except InputError as error:
        return error.problems
    return found if pipeline.spec.release else []


def lint(study: Study) -> tuple[Pipeline, Sheet]:
    """Check everything that a run needs: pipeline, tools, sheet, and whether every row fits.

    Raises
    ------
    InputError
        With every problem found.
    """
    problems: list[Problem] = []
    pipeline, sheet = None, None
    try:
        pipeline = study.pipeline()
    except InputError as error:
        problems += error.problems
    try:
        sheet = study.sheet()
    except InputError as error:
        problems += error.problems
    if pipeline and sheet:
        problems += check_rows(pipeline, sheet, study.root)
        problems += check_remote(pipeline, sheet, study.config.stage_window)
        problems += _release_problems(pipeline, sheet, study.root)
    if problems or pipeline is None or sheet is None:
        raise InputError(problems)
    return pipeline, sheet
