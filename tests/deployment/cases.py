"""Test cases of tools, run in an image and on this machine."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import yaml

from snakescope.runner.cases import CaseResult, run_case
from snakescope.tool.library import Tool


def make_image_site(folder: Path, tools: Iterable[str], image: Path) -> Path:
    """A study folder whose tools run in an image."""
    (folder / "config").mkdir()
    (folder / "config/images.yaml").write_text(yaml.safe_dump(dict.fromkeys(tools, str(image))))
    return folder


def run_inside_and_outside(tool: Tool, case: Path, study: Path, folder: Path) -> tuple[CaseResult, CaseResult]:
    """What a case finds in the image that the study names, and on this machine."""
    for name in ("inside", "host"):
        (folder / name).mkdir()
    inside = run_case(tool, case, folder / "inside", sdm="apptainer", study=study)
    return inside, run_case(tool, case, folder / "host")
