"""Studies of a few shell commands over any files, run as a user runs them: on the host, in conda, in an image."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployment.apptainer import missing
from integration_helpers import snakescope
from snakescope.runner.folder import init
from tiny_tools import write_rows, write_tools

OUTSIDE = ("/srv", "/var/lib", "/opt")


class ToolStudy:
    """A study in which each tool is a step of its own over all rows, named as the tool.

    Parameters
    ----------
    root
        Folder to make.
    tools
        Descriptors, without what is the same for all; each has one input, ``image``.
    rows
        Path of each row by its id.
    """

    def __init__(self, root: Path, tools: Mapping[str, Mapping[str, Any]], rows: Mapping[str, str | Path]) -> None:
        self.root = root
        init(root)
        write_tools(root, tools)
        write_rows(root, [{"id": name, "path": str(path)} for name, path in rows.items()])
        steps = {name: {"tool": name, "inputs": {"image": "sheet.path"}} for name in tools}
        pipeline = {"schema": 1, "name": "shell", "title": "Shell", "steps": steps}
        self.write("config/pipelines/shell.yaml", pipeline)
        self.write("config/config.yaml", {"pipeline": "shell"})

    def write(self, path: str, data: Mapping[str, Any]) -> None:
        """Write a YAML file of the study."""
        (self.root / path).write_text(yaml.safe_dump(dict(data), sort_keys=False, allow_unicode=True))

    def write_tool(self, name: str, parts: Mapping[str, Any]) -> None:
        """Write a descriptor anew."""
        write_tools(self.root, {name: parts})

    def use_image(self, image: Path | str) -> None:
        """Run every tool in this image."""
        tools = [path.name for path in (self.root / "tools").iterdir()]
        self.write("config/images.yaml", dict.fromkeys(tools, str(image)))

    def run(
        self, *arguments: str, env: Mapping[str, str] | None = None, before: Sequence[str] = ()
    ) -> subprocess.CompletedProcess[str]:
        """``snakescope run``, with more variables, and with something before it."""
        return snakescope("run", *arguments, cwd=self.root, env={**os.environ, **(env or {})}, before=before)

    def record(self, unit: str, step: str) -> dict[str, Any]:
        """The record of one job, as it was written."""
        found: dict[str, Any] = json.loads((self.root / f"records/{unit}/{step}.json").read_text())
        return found

    def result(self, unit: str, step: str, name: str) -> bytes:
        """What a job made."""
        return (self.root / f"results/{unit}/{step}/{name}").read_bytes()


def shell_tool(script: str, output: str = "out.txt", **parts: Any) -> dict[str, Any]:
    """Descriptor of a tool that is a shell script; it is given its output as ``$1`` and its input as ``$2``."""
    return {
        "inputs": {"image": {"type": "image", "description": "Any file."}},
        "outputs": {"text": {"type": "file", "description": "Text.", "file": output, "format": "txt"}},
        "command": ["sh", "-c", script.replace("{", "{{").replace("}", "}}"), "tool", "{out.text}", "{in.image}"],
        **parts,
    }


@contextmanager
def make_outside() -> Iterator[Path]:
    """An empty folder that is neither below the temporary folder nor below the checkout: no image sees it by itself."""
    parent = next((folder for folder in OUTSIDE if os.access(folder, os.W_OK)), None)
    if parent is None:
        missing(f"none of these folders can be written to: {', '.join(OUTSIDE)}")
    folder = Path(tempfile.mkdtemp(prefix="snakescope-test-", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def outside() -> Iterator[Path]:
    """A folder as of `make_outside`."""
    with make_outside() as folder:
        yield folder
