"""Stage-scanned stacks whose upright form is known, and what to measure in it."""

# ruff: noqa: ARG001 - every check takes outputs and inputs
from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from snakescope.images import open_image

Paths = dict[str, Path]
STEP_UM, PIXEL_UM = 0.3, 0.1


def tilted_line(folder: Path, *, angle_deg: float, background: int = 100, frames: int = 1) -> Paths:
    """A line that stands upright in the specimen: on each plane it lies one shift of the sheet further along x.

    20 planes of 12 x 60 pixels, uint16. On the middle plane the line is at x = 30; it is a Gaussian of sigma
    2 pixels, 800 high. Each frame is 1 grey level brighter than the one before.
    """
    shift = math.copysign(math.cos(math.radians(angle_deg)) * STEP_UM / PIXEL_UM, angle_deg)
    z, x = np.arange(20)[:, None], np.arange(60)[None]
    line = 800 * np.exp(-0.5 * ((x - 30 + shift * (z - 10)) / 2) ** 2)
    stack = np.repeat(np.rint(line + background)[:, None], 12, axis=1).astype(np.uint16)
    path = folder / "raw.ome.tif"
    series = np.stack([stack + np.uint16(frame) for frame in range(frames)])
    tifffile.imwrite(path, series, metadata={"axes": "TZYX"}, ome=True)
    return {"image": path}


def _planes(outputs: Paths, frame: int = 0) -> NDArray[np.float64]:
    with open_image(outputs["image"]) as image:
        return image.volume(frame, 0).astype(np.float64)


def _line_positions(outputs: Paths, background: float) -> NDArray[np.float64]:
    """x of the line on planes 5 to 14, where it lies well inside the scanned region."""
    profile = np.maximum(_planes(outputs)[5:15].mean(axis=1) - background - 8, 0)
    return np.asarray((profile * np.arange(profile.shape[1])).sum(axis=1) / profile.sum(axis=1))


def line_slope(outputs: Paths, inputs: Paths, *, background: float = 100) -> float:
    """How far the line moves along x from plane to plane, in pixels."""
    positions = _line_positions(outputs, background)
    return float(np.polyfit(np.arange(len(positions)), positions, 1)[0])


def line_x(outputs: Paths, inputs: Paths, *, background: float = 100) -> float:
    """Mean x of the line in pixels of the output."""
    return float(_line_positions(outputs, background).mean())


def size(outputs: Paths, inputs: Paths, *, axis: str) -> float:
    """Number of voxels along an axis of the output."""
    with open_image(outputs["image"]) as image:
        return float(image.header.size(axis))


def voxel_size(outputs: Paths, inputs: Paths, *, axis: str) -> float:
    """Voxel size of the output along an axis in µm."""
    with open_image(outputs["image"]) as image:
        return float(image.header.voxel_size_um["zyx".index(axis)] or math.nan)


def voxel(outputs: Paths, inputs: Paths, *, at: list[int], frame: int = 0) -> float:
    """Grey level at z, y, x of one frame of the output."""
    return float(_planes(outputs, frame)[tuple(at)])


def dtype_kept(outputs: Paths, inputs: Paths, **_: Any) -> float:
    """1 if the output has the input's sample type."""
    with open_image(outputs["image"]) as image:
        return float(image.header.dtype == tifffile.imread(inputs["image"]).dtype.name)
