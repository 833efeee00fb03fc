"""A study folder made of a few small tools, for tests of what is compiled from it."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from snakescope import layout
from snakescope.compiler import compile_pipeline
from snakescope.pipeline import Pipeline, read_pipeline
from snakescope.samples import build_sheet, write_sheet

COMMON = {
    "schema": 1,
    "version": "1.0.0",
    "tool": {"name": "prog", "version": "1"},
    "description": "d",
    "license": "MIT",
}
COLUMNS = (
    *("id", "path", "format", "scene", "axes", "shape", "dtype", "voxel_size_um", "time_step_s"),
    *("bytes", "series", "t", "c", "sha256"),
)
IMAGE = {"type": "image", "description": "An image."}


def write_tools(folder: Path, tools: Mapping[str, Mapping[str, Any]]) -> Path:
    """Write descriptors below `folder`; each needs only what is particular to it."""
    for name, parts in tools.items():
        path = folder / "tools" / name / "tool.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        data = copy.deepcopy({**COMMON, "id": name, "name": name.capitalize(), **parts})
        path.write_text(yaml.safe_dump(data, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return folder / "tools"


def write_pipeline(folder: Path, steps: Mapping[str, Any], name: str = "test") -> Pipeline:
    """Write ``config/pipelines/<name>.yaml`` and read it against the tools of `folder`."""
    path = folder / layout.pipeline_file(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    data = {"schema": 1, "name": name, "title": "A test", "steps": dict(steps)}
    path.write_text(yaml.safe_dump(data, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return read_pipeline(path, [folder / "tools"])


def write_rows(folder: Path, rows: Sequence[Mapping[str, str]], more: Sequence[str] = ()) -> None:
    """Write the sample sheet."""
    (folder / "config").mkdir(parents=True, exist_ok=True)
    write_sheet(folder / layout.SHEET, build_sheet([*COLUMNS, *more], rows))


def write_rules(folder: Path, pipeline: Pipeline) -> dict[str, str]:
    """Compile a pipeline into ``rules/``."""
    texts = compile_pipeline(pipeline, folder.resolve())
    for path, text in texts.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    return texts
