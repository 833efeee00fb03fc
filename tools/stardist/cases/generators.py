"""Discs on a plane, and how many objects were found. The model is that in the variable SNAKESCOPE_TEST_STARDIST."""

# ruff: noqa: ARG001 - every check takes outputs and inputs
from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import tifffile

Paths = dict[str, Path]


def discs(folder: Path) -> Paths:
    """16 soft discs of 12 px radius, 48 px apart, uint16; without a model at hand, a file that is none."""
    y, x = np.mgrid[:192, :192] % 48 - 24.0
    image = 200 + 3000 / (1 + np.exp(np.hypot(y, x) - 12))
    tifffile.imwrite(folder / "discs.tif", image.astype(np.uint16))
    (folder / "none").write_text("no model")
    return {"image": folder / "discs.tif", "model": Path(os.environ.get("SNAKESCOPE_TEST_STARDIST", folder / "none"))}


def objects(outputs: Paths, inputs: Paths) -> float:
    """Number of objects in the label image."""
    return float(len(set(np.unique(tifffile.imread(outputs["labels"]))) - {0}))


def covered(outputs: Paths, inputs: Paths) -> float:
    """Share of the pixels of discs that belong to an object."""
    y, x = np.mgrid[:192, :192] % 48 - 24.0
    return float((tifffile.imread(outputs["labels"])[np.hypot(y, x) < 11] > 0).mean())
