"""What the pictures of a time-lapse have in common: projections, grey range, track lines, colours, labels.

Positions are in micrometres from the centre of the first voxel. This module draws nothing itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from tables import parent_ids

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]
Pixels = NDArray[np.float32]
ColorBy = Literal["time", "track"]

# Okabe & Ito's colours that stand out on black, safe for colour-blind readers (Wong 2011, doi:10.1038/nmeth.1618)
TRACK_COLORS = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#D55E00", "#CC79A7", "#3F8FD2")
TIME_COLORMAP, TIME_COLOR_RANGE = "plasma", (0.25, 0.97)  # its dark and its palest end are lost on a grey image


@dataclass(frozen=True)
class Projections:
    """Maximum projections of the chosen frames, and what the pictures say about them.

    Parameters
    ----------
    frames
        Frame numbers, rising.
    xy
        Shape (n, y, x), projected along z; of a 2D image the image itself.
    xz
        Shape (n, z, x), projected along y; None without a z axis.
    shape, voxel_um
        Of the image itself: voxels and their size in micrometres (z, y, x); 1 and None without a z axis.
    factors
        By how much `xy` and `xz` are shrunk along z, y, x.
    time_step_s
        Between frames; None = unknown.
    total
        How many frames the time-lapse has.
    """

    frames: tuple[int, ...]
    xy: Pixels
    xz: Pixels | None
    shape: tuple[int, int, int]
    voxel_um: tuple[float | None, float, float]
    factors: tuple[int, int, int]
    time_step_s: float | None
    total: int

    def size_um(self, axis: int) -> float:
        """Edge length of the image along an axis; 0 where the voxel size has no meaning."""
        return self.shape[axis] * (self.voxel_um[axis] or 0.0)

    def limits_um(self, axis: int) -> tuple[float, float]:
        """First and last edge of the image along an axis; the centre of the first voxel is 0."""
        voxel = self.voxel_um[axis] or 0.0
        return -0.5 * voxel, (self.shape[axis] - 0.5) * voxel

    def extent_um(self, axis: int) -> tuple[float, float]:
        """First and last edge of the shrunk pixels, which may reach beyond the image by a part of a block."""
        voxel, factor = self.voxel_um[axis] or 0.0, self.factors[axis]
        return -0.5 * voxel, (math.ceil(self.shape[axis] / factor) * factor - 0.5) * voxel

    def label(self, frame: int) -> str:
        """When a frame was taken, for people."""
        return time_label(frame, self.time_step_s, self.frames[-1])


@dataclass(frozen=True)
class TrackLines:
    """Tracks as straight pieces from spot to spot.

    Parameters
    ----------
    start_um, end_um
        Shape (n, 3), z, y, x; z is NaN for flat tracks.
    start_frame, end_frame
        Shape (n,).
    track
        Shape (n,), counts the tracks in the order of their ids.
    count
        Number of tracks, those of a single spot included.
    """

    start_um: Floats
    end_um: Floats
    start_frame: NDArray[np.int64]
    end_frame: NDArray[np.int64]
    track: NDArray[np.int64]
    count: int

    @property
    def gap(self) -> NDArray[np.bool_]:
        """Which pieces bridge a frame without a spot."""
        bridged: NDArray[np.bool_] = self.end_frame - self.start_frame > 1
        return bridged


def track_lines(tracks: pd.DataFrame) -> TrackLines:
    """Turn a tracks table into line pieces, links from a parent's last to a child's first spot included."""
    table = tracks.sort_values(["track_id", "frame"], kind="stable", ignore_index=True)
    ids = table["track_id"].to_numpy(dtype=np.int64)
    known, first, track = np.unique(ids, return_index=True, return_inverse=True)
    last = np.searchsorted(ids, known, side="right") - 1
    rows, same = np.arange(len(table)), ids[1:] == ids[:-1]
    inner = np.stack([rows[:-1][same], rows[1:][same]], axis=1)
    texts: list[str] = table["parent_track_ids"].iloc[first].tolist()
    branches = [
        (int(last[np.searchsorted(known, parent)]), int(row))
        for row, text in zip(first, texts, strict=True)
        for parent in parent_ids(text)
    ]
    pairs = [inner, np.array(branches, dtype=np.int64).reshape(-1, 2)]
    start, end = np.concatenate(pairs).T
    place, frame = table[["z_um", "y_um", "x_um"]].to_numpy(dtype=float), table["frame"].to_numpy(dtype=np.int64)
    return TrackLines(place[start], place[end], frame[start], frame[end], track[end].astype(np.int64), len(known))


def no_tracks() -> TrackLines:
    """Return the lines of no track at all."""
    nowhere, never = np.empty((0, 3)), np.empty(0, dtype=np.int64)
    return TrackLines(nowhere, nowhere, never, never, never, 0)


def choose_evenly(frames: Sequence[int], most: int) -> tuple[int, ...]:
    """Pick at most `most` of the frames at even distances, the first and the last among them (one: the first)."""
    if len(frames) <= most:
        return tuple(frames)
    picks = np.unique(np.rint(np.linspace(0, len(frames) - 1, most)).astype(int))
    return tuple(frames[pick] for pick in picks)


def block_max(image: NDArray[Any], factors: Sequence[int]) -> Pixels:
    """Shrink by whole factors, each block to its maximum; the last block of an axis may be smaller."""
    for axis, factor in enumerate(factors):
        if factor > 1:
            image = np.maximum.reduceat(image, np.arange(0, image.shape[axis], factor), axis=axis)
    return image.astype(np.float32)


def grey_range(images: Sequence[Pixels], percentiles: tuple[float, float]) -> tuple[float, float]:
    """Find the grey levels shown black and white: percentiles of all finite pixels of all images."""
    pixels = np.concatenate([image.ravel() for image in images])
    finite = pixels[np.isfinite(pixels)]
    if not finite.size:
        return 0.0, 1.0
    low, high = np.percentile(finite, percentiles)
    return float(low), float(high if high > low else low + 1)


def nice_length(width_um: float) -> float:
    """Choose a scale bar's length: the 1, 2 or 5 times a power of ten nearest below a quarter of the width."""
    wanted = width_um / 4
    power = 10.0 ** math.floor(math.log10(wanted))
    return max(factor for factor in (1, 2, 5) if factor * power <= wanted * (1 + 1e-9)) * power


def length_label(length_um: float) -> str:
    """Write a length with a fitting unit: 500 nm, 2 µm, 1 mm."""
    if length_um < 1:
        return f"{length_um * 1000:g} nm"
    return f"{length_um:g} µm" if length_um < 1000 else f"{length_um / 1000:g} mm"


def time_label(frame: int, time_step_s: float | None, last_frame: int) -> str:
    """Write when a frame was taken: in seconds, minutes or hours by the last frame's time; its number if unknown."""
    if time_step_s is None:
        return f"frame {frame}"
    t_s, last_s = frame * time_step_s, last_frame * time_step_s
    if last_s < 120:
        decimals = 0 if time_step_s == int(time_step_s) else min(3, max(1, math.ceil(-math.log10(time_step_s)) + 1))
        return f"{t_s:.{decimals}f} s"
    minutes, seconds = divmod(round(t_s), 60)
    if last_s < 7200:
        return f"{minutes}:{seconds:02d} min"
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d} h"


def line_colors(lines: TrackLines, color_by: ColorBy, frames: tuple[int, int]) -> Floats:
    """Colour of each line piece, RGB from 0 to 1, shape (n, 3): by the time it ends, or by its track."""
    import matplotlib
    from matplotlib.colors import to_rgb

    if color_by == "track":
        wheel = np.array([to_rgb(color) for color in TRACK_COLORS])
        return wheel[lines.track % len(wheel)]
    first, last = frames
    share = np.clip((lines.end_frame - first) / max(last - first, 1), 0, 1)
    low, high = TIME_COLOR_RANGE
    colors: Floats = matplotlib.colormaps[TIME_COLORMAP](low + (high - low) * share)[:, :3]
    return colors
