"""Plain tiles of known grey levels, and what of them is in the contact sheet."""

# ruff: noqa: ARG001 - every check takes outputs and inputs
from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tifffile import imwrite

Paths = dict[str, Path]


def tiles(folder: Path, *, count: int, size: list[int], odd: bool = False) -> dict[str, list[Path]]:
    """Tiles of 16 bits, number n of grey level 1000 n, with a second plane that is white; `odd` for file names."""
    paths = []
    for number in range(count):
        name = f"|touch {number} '%d' @x:é [{number}].ome.tif" if odd else f"tile{number}.ome.tif"
        planes = np.stack([np.full(size, 1000 * number, np.uint16), np.full(size, 65535, np.uint16)])
        imwrite(folder / name, planes, ome=True, metadata={"axes": "ZYX"})
        paths.append(folder / name)
    return {"image": paths}


def _sheet(outputs: Paths) -> NDArray[np.float64]:
    with Image.open(outputs["sheet"]) as image:
        return np.asarray(image.convert("L"), np.float64)


def width(outputs: Paths, inputs: Paths) -> float:
    """Width of the sheet in pixels."""
    return float(_sheet(outputs).shape[1])


def height(outputs: Paths, inputs: Paths) -> float:
    """Height of the sheet in pixels."""
    return float(_sheet(outputs).shape[0])


def grey_in(outputs: Paths, inputs: Paths, *, line: int, column: int, cell: list[int]) -> float:
    """Grey level in the middle of a cell of the sheet (height, width), of 255."""
    y, x = int((line + 0.5) * cell[0]), int((column + 0.5) * cell[1])
    return float(np.median(_sheet(outputs)[y - 4 : y + 4, x - 4 : x + 4]))
