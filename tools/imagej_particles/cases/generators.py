"""Discs of known size on a grid, and what to read back from the table and the label image."""

# ruff: noqa: ARG001 - every check takes outputs and inputs
from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

Paths = dict[str, Path]
PIXEL_UM = 0.5


def discs(
    folder: Path,
    *,
    side: int = 5,
    radius_px: float = 6.0,
    small_px: float = 0.0,
    slope: float = 0.0,
    dark: bool = False,
    touching: bool = False,
    planes: int = 1,
    name: str = "discs.ome.tif",
) -> Paths:
    """side x side discs of 1000 on 100, 24 px apart, 0.5 um a pixel; uint16.

    With `small_px` every second disc has that radius; `slope` adds so many grey levels a pixel along x; with
    `touching` each disc has a neighbour whose middle is 1.6 radii away; with `planes` each disc lies in one of them.
    """
    size = 24 * side
    y, x = np.mgrid[:size, :size].astype(float)
    stack = np.full((planes, size, size), 100.0)
    for number in range(side * side):
        cy, cx = 24 * (number // side) + 12, 24 * (number % side) + 12
        radius = small_px if small_px and number % 2 else radius_px
        inside = (y - cy) ** 2 + (x - cx) ** 2 <= radius**2
        if touching:
            inside |= (y - cy) ** 2 + (x - cx - 1.6 * radius) ** 2 <= radius**2
        stack[number % planes][inside] = 1000
    image = stack + slope * x
    return _write(folder / name, 1100 - image if dark else image)


def nothing(folder: Path) -> Paths:
    """A plane of one grey level."""
    return _write(folder / "nothing.ome.tif", np.full((1, 64, 64), 100.0))


def _write(path: Path, stack: NDArray[np.float64]) -> Paths:
    planes, axes = (stack, "ZYX") if len(stack) > 1 else (stack[0], "YX")
    metadata = {
        "axes": axes,
        "PhysicalSizeX": PIXEL_UM,
        "PhysicalSizeY": PIXEL_UM,
        **({"PhysicalSizeZ": 1.0} if planes.ndim > 2 else {}),
    }
    tifffile.imwrite(path, planes.astype(np.uint16), ome=True, metadata=metadata)
    return {"image": path}


def _rows(outputs: Paths) -> list[dict[str, float]]:
    with outputs["table"].open(newline="") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def count(outputs: Paths, inputs: Paths) -> float:
    """Number of particles."""
    return float(len(_rows(outputs)))


def median(outputs: Paths, inputs: Paths, *, column: str) -> float:
    """Median of a column."""
    return float(np.median([row[column] for row in _rows(outputs)]))


def off_grid_um(outputs: Paths, inputs: Paths) -> float:
    """Farthest that a particle's centre is from the middle of a disc, in um."""
    middle = np.array([12.5, 12.5]) * PIXEL_UM
    found = np.array([[row["y_um"], row["x_um"]] for row in _rows(outputs)])
    return float(np.abs((found - middle + 6) % 12 - 6).max())


def labels_wrong(outputs: Paths, inputs: Paths) -> float:
    """Rows whose label has not their area in the label image; and labels that no row has."""
    labels = tifffile.imread(outputs["labels"])
    rows = _rows(outputs)
    wrong = sum(abs((labels == row["label"]).sum() * PIXEL_UM**2 - row["area_um2"]) > 1e-3 for row in rows)
    return float(wrong + len(set(np.unique(labels)) - {0} - {row["label"] for row in rows}))
