"""Discs of known size and a pipeline that counts and measures them; numbers from the tables it writes."""

# ruff: noqa: ARG001 - every check takes outputs and inputs
from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

PIPELINE = Path(__file__).with_name("count.cppipe")


def discs(folder: Path, *, counts: list[int], radius_px: float = 6.0) -> dict[str, Any]:
    """An image for each count: so many discs of 3000 on 100, uint16; and the pipeline, under a name with blanks."""
    paths = []
    for number, count in enumerate(counts):
        y, x = np.mgrid[:120, :120]
        image = np.full((120, 120), 100, np.uint16)
        for disc in range(count):
            cy, cx = 24 * (disc // 5) + 12, 24 * (disc % 5) + 12
            image[(y - cy) ** 2 + (x - cx) ** 2 <= radius_px**2] = 3000
        path = folder / f"well {number}.tif"
        tifffile.imwrite(path, image)
        paths.append(path)
    pipeline = folder / "my pipeline.cppipe"
    pipeline.write_text(PIPELINE.read_text())
    return {"image": paths, "pipeline": pipeline}


def _rows(outputs: dict[str, Path], name: str) -> list[dict[str, str]]:
    with (outputs["tables"] / name).open(newline="") as file:
        return list(csv.DictReader(file))


def objects_in(outputs: dict[str, Path], inputs: dict[str, Any], *, image: int) -> float:
    """Number of objects in an image, from 0."""
    return float(_rows(outputs, "Image.csv")[image]["Count_Nuclei"])


def median_area_px(outputs: dict[str, Path], inputs: dict[str, Any]) -> float:
    """Median area of all objects in pixels."""
    return float(np.median([float(row["AreaShape_Area"]) for row in _rows(outputs, "Nuclei.csv")]))
