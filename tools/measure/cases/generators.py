"""Tracks and images whose measures are known, and what to read from the tables."""

# ruff: noqa: ARG001 - every check takes outputs and inputs
from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

Inputs = dict[str, Path | list[Path]]
Paths = dict[str, Path]
HEADER = "tree_id,track_id,parent_track_ids,spot_id,frame,t_s,z_um,y_um,x_um,radius_um,quality,intensity"


def straight(
    folder: Path, *, step_um: list[float], step_s: float | None, frames: int = 10, gap_at: int | None = None
) -> Inputs:
    """One track with the same step from each frame to the next; `gap_at` leaves one frame out."""
    shown = [frame for frame in range(frames) if frame != gap_at]
    places = [[5 + frame * along for along in step_um] for frame in shown]
    return {"table": _table(folder, [(0, frame, place) for frame, place in zip(shown, places, strict=True)], step_s)}


def brownian(
    folder: Path, *, diffusion_um2_s: float, error_um: float, step_s: float, tracks: int, frames: int
) -> Inputs:
    """Draw 3D random walks with normal steps of variance 2 D dt along each axis, seen with a localisation error."""
    rng = np.random.default_rng(4)
    steps = rng.normal(scale=np.sqrt(2 * diffusion_um2_s * step_s), size=(tracks, frames, 3))
    seen = steps.cumsum(axis=1) + rng.normal(scale=error_um, size=steps.shape)
    rows = [(track, frame, seen[track, frame].tolist()) for track in range(tracks) for frame in range(frames)]
    return {"table": _table(folder, rows, step_s)}


def bright_balls(
    folder: Path, *, voxel_um: list[float], radius_um: float, level: int, background: int, slope: int = 0
) -> Inputs:
    """Draw two balls in each of three single files, brighter from frame to frame, on a flat or sloping background.

    Ball and background are `level` and `background` grey levels in frame 0; the balls gain 100 a frame. `slope`
    is what the background gains along x per voxel. The second spot of frame 2 lies outside the image.
    """
    shape = 24, 40, 48
    centres_px = [(10, 12, 12), (12, 26, 34)]
    coords = np.indices(shape)
    paths, rows = [], []
    for frame in range(3):
        image: NDArray[np.float64] = background + slope * coords[2].astype(float)
        for track, centre in enumerate(centres_px):
            offsets = [(coords[axis] - centre[axis]) * voxel_um[axis] for axis in range(3)]
            distance = np.sqrt(sum(offset**2 for offset in offsets))
            image[distance <= radius_um] += level - background + 100 * frame
            place = [at * size for at, size in zip(centre, voxel_um, strict=True)]
            outside = frame == 2 and track == 1
            rows.append((track, frame, [*place[:2], 99.0] if outside else place))
        paths.append(folder / f"frame{frame}.tif")
        resolution = (1 / voxel_um[2], 1 / voxel_um[1])
        about = {"axes": "ZYX", "spacing": voxel_um[0], "unit": "um"}
        tifffile.imwrite(paths[-1], image.astype(np.uint16), imagej=True, resolution=resolution, metadata=about)
    return {"table": _table(folder, rows, 1.0, radius_um=radius_um), "image": list(paths)}


def mean_of(outputs: Paths, inputs: Inputs, *, table: str, column: str) -> float:
    """Mean of the cells of a column that are not empty."""
    return float(np.mean(_column(outputs[table], column)))


def median_of(outputs: Paths, inputs: Inputs, *, table: str, column: str) -> float:
    """Median of the cells of a column that are not empty."""
    return float(np.median(_column(outputs[table], column)))


def known(outputs: Paths, inputs: Inputs, *, table: str, column: str) -> float:
    """How many cells of a column are not empty."""
    return float(len(_column(outputs[table], column)))


def cell(outputs: Paths, inputs: Inputs, *, table: str, column: str, row: int) -> float:
    """One cell."""
    return float(_rows(outputs[table])[row][column])


def _rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def _column(path: Path, name: str) -> list[float]:
    return [float(row[name]) for row in _rows(path) if row[name]]


def _table(
    folder: Path,
    rows: Iterable[tuple[int, int, Sequence[float]]],
    step_s: float | None,
    *,
    radius_um: float = 0.3,
) -> Path:
    """Write (track, frame, z y x or y x) rows as a tracks table."""
    lines = [HEADER]
    for spot, (track, frame, place) in enumerate(sorted(rows, key=lambda row: row[:2])):
        at = ",".join(["", *map(repr, place)] if len(place) == 2 else map(repr, place))
        time = "" if step_s is None else repr(frame * step_s)
        lines.append(f"{track},{track},,{spot},{frame},{time},{at},{radius_um},1,1000")
    path = folder / "tracks.csv"
    path.write_text("\n".join(lines) + "\n")
    return path
