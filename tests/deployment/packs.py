"""Studies that can be packed: a tool with a model and a case, over small images, in an image or an environment."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from deployment.studies import ToolStudy

GENERATORS = '''\
"""Inputs with a known answer, and the numbers to be found in the outputs."""

from pathlib import Path

import numpy as np
import tifffile


def zeros(folder: Path, size: int) -> dict[str, Path]:
    """A square image of zeros, a byte a pixel."""
    path = folder / "zeros.tif"
    tifffile.imwrite(path, np.zeros((size, size), np.uint8), photometric="minisblack")
    return {"image": path}


def zero_bytes(outputs: dict[str, Path], inputs: dict[str, Path]) -> int:
    """The number that the tool has written first."""
    return int(outputs["text"].read_text().split()[0])


def is_word(outputs: dict[str, Path], inputs: dict[str, Path], word: str) -> int:
    """Whether the word of the model follows."""
    return int(outputs["text"].read_text().split()[1] == word)
'''
CASE = """\
description: The pixels are counted, and the model is read.
generator: {name: zeros, args: {size: 40}}
expect:
  - {check: zero_bytes, at_least: 1600, at_most: 1900}
  - {check: is_word, args: {word: wise}, value: 1}
"""
MODEL = b"wise\n"
# Counts the bytes that are 0, and says the word in its model; what it calls is in busybox.
COUNT_ZEROS = 'echo "$(tr -cd "\\000" <"$2" | wc -c) $(cat "$WISDOM")" >"$1"'


def zeros_tool(script: str = COUNT_ZEROS, **parts: Any) -> dict[str, Any]:
    """Descriptor of the tool, which needs the model; `parts` go to its environment."""
    model = {"name": "wisdom.txt", "sha256": hashlib.sha256(MODEL).hexdigest(), "licence": "CC0-1.0", "env": "WISDOM"}
    return {
        "inputs": {"image": {"type": "image", "description": "Any image."}},
        "outputs": {"text": {"type": "file", "description": "Text.", "file": "out.txt", "format": "txt"}},
        "command": ["sh", "-c", script.replace("{", "{{").replace("}", "}}"), "tool", "{out.text}", "{in.image}"],
        "environment": {"models": [model | {"path": "models/wisdom.txt"}], **parts},
    }


def make_study(root: Path, images: Path, tool: Mapping[str, Any]) -> ToolStudy:
    """A study of the tool ``zeros`` with its model and case, over two images that are written to another folder."""
    study = ToolStudy(root, {"zeros": tool}, write_images(images, {"a": 30, "b": 50}))
    texts = {"cases/works.yaml": CASE, "cases/generators.py": GENERATORS}
    for path, text in texts.items():
        (root / "tools/zeros" / path).parent.mkdir(exist_ok=True)
        (root / "tools/zeros" / path).write_text(text)
    (root / "models").mkdir()
    (root / "models/wisdom.txt").write_bytes(MODEL)
    return study


def write_images(folder: Path, sizes: Mapping[str, int]) -> dict[str, str | Path]:
    """Square images of zeros by row."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, size in sizes.items():
        tifffile.imwrite(folder / f"{name}.tif", np.zeros((size, size), np.uint8), photometric="minisblack")
    return {name: folder / f"{name}.tif" for name in sizes}
