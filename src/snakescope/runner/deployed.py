"""Running one tool as a run of a study would: by Snakemake, in the tool's image or conda environment if it is told so.

A study of one step is made for it in a folder of its own, with the images, environments and models of a real one.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from snakescope import layout
from snakescope.compiler import compile_pipeline
from snakescope.environments.check import require_environments
from snakescope.environments.images import LOCK, SITE_IMAGES, State, read_image_lock, read_site_images
from snakescope.pipeline import Pipeline
from snakescope.record import TIMESTAMP
from snakescope.runner.deployment import Deployment, deployment_arguments
from snakescope.runner.follow import follow
from snakescope.runner.lock import run_lock
from snakescope.runner.progress import display_for
from snakescope.runner.tools import Facts, ToolFailedError, ToolRun, prepare_tool
from snakescope.samples import Sheet, write_sheet
from snakescope.tool.image_names import is_address
from snakescope.tool.library import Tool
from snakescope.workflow import Plan


def run_deployed(
    tool: Tool,
    inputs: Mapping[str, Sequence[Path]],
    folder: Path,
    *,
    sdm: Deployment,
    study: Path,
    params: Mapping[str, Any],
    facts: Facts,
) -> ToolRun:
    """Run one tool on one image by the rule that a run would have, with what a study holds.

    Parameters
    ----------
    tool, inputs, params, facts
        As for `runner.tools.run_tool`.
    folder
        Empty folder for the study of one step; outputs, record and log are in it.
    sdm
        What the tool runs in: its image, its conda environment, or (none) this machine.
    study
        Folder that images, environments and models belong to; environments that are made stay in it for other runs.

    Raises
    ------
    InputError
        If the inputs or parameters do not fit the tool.
    NotUsableError
        If the image, the environment or a model is missing or wrong.
    ToolFailedError
        If the program failed.
    """
    pipeline, sheet = prepare_tool(tool, inputs, folder, params=params, facts=facts)
    study = study.resolve()
    _make_study(folder, study, pipeline, sheet)
    (step,) = pipeline.steps.values()
    with run_lock(folder) as lock:
        plan = Plan.read(pipeline.spec.name, layout.SHEET, folder, methods=[sdm])
        _know(folder, study, plan)
        require_environments(plan)
        kept = study / ".snakemake"
        prefixes = ["--conda-prefix", str(kept / "conda"), "--apptainer-prefix", str(kept / "singularity")]
        arguments = ["--profile", "profiles/local", *deployment_arguments(sdm), *prefixes]
        state = follow(folder, arguments, lock, display_for([], quiet=True))
    unit = next(iter(plan.units(step.name)))
    log = folder / layout.log(unit, step.name)
    if state.failures:
        raise ToolFailedError(step.name, log, 1)
    outputs = {port: folder / layout.result(unit, step.name, out.file) for port, out in tool.spec.outputs.items()}
    for path in (path for path in outputs.values() if path.is_dir()):
        (path / TIMESTAMP).unlink(missing_ok=True)  # the tool has not written it
    declared = {port: plan.geometry(step.name, port, unit) for port in outputs}
    return ToolRun(outputs, folder / layout.record(unit, step.name), log, declared)


def _make_study(folder: Path, study: Path, pipeline: Pipeline, sheet: Sheet) -> None:
    """Write the study of one step; what is large is linked."""
    for part in ("workflow", "profiles"):  # not linked: the Snakefile finds its rules from where it lies
        own = study / part
        shutil.copytree(own if own.is_dir() else layout.assets() / part, folder / part)
    (step,) = pipeline.steps.values()
    (folder / "tools").symlink_to(step.tool.folder.resolve().parent)
    (folder / "envs").mkdir()
    for source in (study / "envs", layout.assets() / "envs"):
        for file in sorted(source.glob("*")):
            if not (folder / "envs" / file.name).exists() and file.name != Path(LOCK).name:
                (folder / "envs" / file.name).symlink_to(file.resolve())
    texts = compile_pipeline(pipeline, folder.resolve())
    texts |= {layout.CONFIG: f"pipeline: {pipeline.spec.name}\n", **_image_texts(folder, study, step.tool)}
    for path, text in texts.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    write_sheet(folder / layout.SHEET, sheet)
    for path in step.tool.spec.model_paths.values():
        _link(folder, study, path)


def _image_texts(folder: Path, study: Path, tool: Tool) -> dict[str, str]:
    """Files that say which image the tool has, and its digest."""
    image = read_site_images(study).get(tool.spec.id) or tool.spec.environment.container
    if image is None:
        return {}
    locked = read_image_lock(study).get(image)
    if not is_address(image):
        image = _link(folder, study, image)
    return {
        SITE_IMAGES: json.dumps({tool.spec.id: image}) + "\n",
        LOCK: json.dumps({image: locked} if locked else {}) + "\n",
    }


def _link(folder: Path, study: Path, path: str) -> str:
    """Link a file of the study to the same place, where it has one; returns its path from there."""
    place = Path(path)
    if place.is_absolute() or ".." in place.parts:
        return os.path.normpath(study / place)
    target = folder / place
    if not target.exists() and (study / place).exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to((study / place).resolve())
    return path


def _know(folder: Path, study: Path, plan: Plan) -> None:
    """Take over what the study knows of the digests of its large files."""
    known, state = State.read(study), State()
    for image in plan.images.values():
        if not is_address(image) and known.known(study / image):
            state.files[str((folder / image).absolute())] = known.files[str((study / image).absolute())]
    state.write(folder)
