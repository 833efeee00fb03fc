"""Spots that move in straight lines, and what TrackMate made of them."""

# ruff: noqa: ARG001 - every check takes outputs and inputs
from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import tifffile

Paths = dict[str, Path]


def lines(folder: Path, *, spots: int, frames: int) -> Paths:
    """Gaussian spots of sigma 2 px, 20 px apart along y, that move 2 px a frame along x; 0.1 um pixels, 1 s a frame."""
    y, x = np.mgrid[: 20 * spots + 20, : 2 * frames + 40]
    movie = np.full((frames, *y.shape), 100.0)
    for t in range(frames):
        for spot in range(spots):
            movie[t] += 1000 * np.exp(-((y - 20 * spot - 20) ** 2 + (x - 20 - 2 * t) ** 2) / 8)
    path = folder / "lines.tif"
    metadata = {"axes": "TYX", "unit": "um", "finterval": 1.0}
    tifffile.imwrite(path, movie.astype(np.uint16), imagej=True, resolution=(10, 10), metadata=metadata)
    return {"image": path}


def _found(outputs: Paths, what: str) -> list[ET.Element]:
    return ET.parse(outputs["tracks"]).findall(f".//AllTracks/{what}")  # noqa: S314 - written a moment ago


def tracks(outputs: Paths, inputs: Paths) -> float:
    """Number of tracks."""
    return float(len(_found(outputs, "Track")))


def links(outputs: Paths, inputs: Paths) -> float:
    """Number of links in all tracks."""
    return float(len(_found(outputs, "Track/Edge")))
