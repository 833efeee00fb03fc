"""The commands around environments: exact packages for a tool, and the digest of an image."""

from __future__ import annotations

from pathlib import Path

from snakescope import layout
from snakescope.environments.conda import pin
from snakescope.environments.images import pin_file, write_lock
from snakescope.errors import problem
from snakescope.tool.library import Tool, read_library


def pin_tool(tool: Tool, study: Path) -> Path:
    """Write the exact packages of a tool's conda environment beside its file.

    Returns
    -------
    The file written.

    Raises
    ------
    InputError
        If the tool has no such environment, or its packages do not fit together.
    EnvironmentUnusableError
        If packages cannot be looked for on this machine.
    """
    conda = tool.spec.environment.conda
    if conda is None:
        raise problem(f"tool {tool.spec.id!r}", "it has no conda environment", "Name one: environment.conda.")
    file = study / conda
    if not file.is_file():
        raise problem(file, "there is no such file", "Run: snakescope compile")
    target = pin_file(file)
    target.write_text(pin(file, conda, tool.spec.id), encoding="utf-8")
    return target


def lock_image(image: str, study: Path) -> str:
    """Write the digest of an image into ``envs/images.lock.yaml``.

    Returns
    -------
    What was written, in a line.

    Raises
    ------
    InputError
        If there is no such image, or no digest is known of it.
    """
    environments = [tool.spec.environment for tool in read_library(layout.tool_roots(study)).values()]
    recipe = next((found.apptainer_def for found in environments if found.container == image), None)
    entry = write_lock(study, image, recipe)
    return f"{image}: {entry.get('digest') or entry['file_sha256']}"
