"""A blurred point and its PSF, and how much sharper the result is."""

# ruff: noqa: ARG001 - every check takes outputs and inputs
from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile

Paths = dict[str, Path]


def point(folder: Path) -> Paths:
    """A Gaussian point of sigma 2 voxels on 80 grey levels, and the same as PSF; 0.1 um voxels."""
    z, y, x = np.mgrid[:64, :64, :64] - 32.0
    blurred = 5000 * np.exp(-(z**2 + y**2 + x**2) / 8)
    pixel = {"axes": "ZYX", "PhysicalSizeX": 0.1, "PhysicalSizeY": 0.1, "PhysicalSizeZ": 0.1}
    paths = {"image": folder / "image.ome.tif", "psf": folder / "psf.tif"}
    tifffile.imwrite(paths["image"], (blurred + 80).astype(np.uint16), ome=True, metadata=pixel)
    tifffile.imwrite(paths["psf"], blurred.astype(np.uint16))
    return paths


def sharpening(outputs: Paths, inputs: Paths) -> float:
    """Highest value of the result over that of the image without its background."""
    return float(tifffile.imread(outputs["image"]).max() / 5000)


def off_place_px(outputs: Paths, inputs: Paths) -> float:
    """Farthest along an axis that the brightest voxel is from where the point was."""
    result = tifffile.imread(outputs["image"])
    return float(np.abs(np.array(np.unravel_index(result.argmax(), result.shape)) - 32).max())
