"""Measure tracks: how far, how fast and in what manner each moved, and how bright its spots are.

Lengths come from the tracks table in micrometres, times from its column t_s. Where a time is unknown every
column that needs it stays empty. Intensities are measured only when the images are given.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from snakescope.errors import problem
from snakescope.program import add_image_facts, run_program
from timeline import Timeline, add_timeline, facts_of

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]

SHELL = (1.5, 2.5)  # the background lies between these multiples of the spot radius
TRACK_COLUMNS = (
    "tree_id", "track_id", "n_spots", "n_gaps", "frame_start", "frame_end", "t_start_s", "t_end_s", "duration_s",
    "path_length_um", "net_displacement_um", "straightness", "mean_speed_um_s", "max_speed_um_s",
    "diffusion_um2_s", "msd_alpha", "mean_intensity", "mean_ball", "mean_ball_corrected",
)  # fmt: skip
SPOT_COLUMNS = (
    "spot_id", "tree_id", "track_id", "frame", "t_s", "z_um", "y_um", "x_um", "step_um", "speed_um_s",
    "intensity", "ball_mean", "ball_max", "ball_background", "ball_corrected",
)  # fmt: skip
BALL_COLUMNS = SPOT_COLUMNS[-4:]


@dataclass(frozen=True)
class MsdSettings:
    """How mean squared displacements are fitted.

    Parameters
    ----------
    lags
        How many lags, from 1 frame, the diffusion coefficient is fitted over.
    least_spots, least_spots_alpha
        Shorter tracks get no diffusion coefficient, no exponent.
    """

    lags: int = 4
    least_spots: int = 5
    least_spots_alpha: int = 8


def mean_squared_displacement(frame: NDArray[np.int64], position_um: Floats, max_lag: int) -> Floats:
    """Average the squared displacement over all pairs of positions that are 1, 2, ... frames apart.

    Parameters
    ----------
    frame
        Shape (n,), rising; may have gaps.
    position_um
        Shape (n, axes).
    max_lag
        Longest lag in frames.

    Returns
    -------
    Shape (max_lag,), square micrometres, lag 1 first; NaN where no pair is that far apart. All overlapping
    pairs count (Qian, Sheetz & Elson 1991, doi:10.1016/S0006-3495(91)82125-7).
    """
    full = np.full((int(frame[-1] - frame[0]) + 1, position_um.shape[1]), np.nan)
    full[frame - frame[0]] = position_um
    msd = np.full(max_lag, np.nan)
    for lag in range(1, min(max_lag, len(full) - 1) + 1):
        squared = ((full[lag:] - full[:-lag]) ** 2).sum(axis=1)
        known = ~np.isnan(squared)
        if known.any():
            msd[lag - 1] = squared[known].mean()
    return msd


def diffusion_coefficient(msd: Floats, axes: int, step_s: float) -> float:
    """Fit MSD = 2 d D t + c over the given lags by least squares and return D in square micrometres per second.

    The constant takes up the localisation error (Michalet 2010, doi:10.1103/PhysRevE.82.041914). A short
    track may give a negative value; it stays as it is, because setting it to 0 would bias the mean over tracks.
    NaN with fewer than two lags.
    """
    lag = np.arange(1, len(msd) + 1)
    known = ~np.isnan(msd)
    if known.sum() < 2:
        return math.nan
    slope = np.polynomial.Polynomial.fit(lag[known] * step_s, msd[known], 1).convert().coef[1]
    return float(slope) / (2 * axes)


def anomalous_exponent(msd: Floats) -> float:
    """Fit MSD ~ t^alpha on logarithmic axes: 1 for free diffusion, 2 for straight movement, less when confined.

    The localisation error is not taken out, so alpha of slow tracks is too low. NaN with fewer than three lags
    or where nothing moved.
    """
    lag = np.arange(1, len(msd) + 1)
    known = ~np.isnan(msd)
    if known.sum() < 3 or not (msd[known] > 0).all():
        return math.nan
    fit = np.polynomial.Polynomial.fit(np.log(lag[known]), np.log(msd[known]), 1)
    return float(fit.convert().coef[1])


def frame_interval(frame: NDArray[np.int64], t_s: Floats) -> float:
    """Return the time between frames in seconds; NaN if unknown, or uneven by more than 1 %."""
    if len(frame) < 2 or np.isnan(t_s).any():
        return math.nan
    each = np.diff(t_s) / np.diff(frame)
    middle = float(np.median(each))
    even = middle > 0 and bool(np.abs(each - middle).max() <= 0.01 * middle)
    return middle if even else math.nan


def measure_track(frame: NDArray[np.int64], t_s: Floats, position_um: Floats, msd: MsdSettings) -> dict[str, float]:
    """Measure one track.

    Parameters
    ----------
    frame
        Shape (n,), rising.
    t_s
        Shape (n,), seconds; NaN where unknown.
    position_um
        Shape (n, axes), micrometres.
    msd
        How the mean squared displacement is fitted.

    Returns
    -------
    The columns of `TRACK_COLUMNS` from n_spots to msd_alpha; NaN where a value cannot be known. Straightness is
    net displacement / path length; mean speed is path length / duration; steps across gaps count as one step.
    """
    step = np.linalg.norm(np.diff(position_um, axis=0), axis=1)
    path, net = float(step.sum()), float(np.linalg.norm(position_um[-1] - position_um[0]))
    duration = float(t_s[-1] - t_s[0])
    speed = _over(step, np.diff(t_s))
    interval, axes = frame_interval(frame, t_s), position_um.shape[1]
    diffusion = alpha = math.nan
    if len(frame) >= msd.least_spots and not math.isnan(interval):
        diffusion = diffusion_coefficient(mean_squared_displacement(frame, position_um, msd.lags), axes, interval)
    if len(frame) >= msd.least_spots_alpha:
        alpha = anomalous_exponent(mean_squared_displacement(frame, position_um, max(4, len(frame) // 4)))
    return {
        "n_spots": len(frame),
        "n_gaps": int((np.diff(frame) > 1).sum()),
        "frame_start": int(frame[0]),
        "frame_end": int(frame[-1]),
        "t_start_s": float(t_s[0]),
        "t_end_s": float(t_s[-1]),
        "duration_s": duration,
        "path_length_um": path,
        "net_displacement_um": net,
        "straightness": net / path if path > 0 else math.nan,
        "mean_speed_um_s": path / duration if duration > 0 else math.nan,
        "max_speed_um_s": math.nan if len(speed) == 0 or np.isnan(speed).any() else float(speed.max()),
        "diffusion_um2_s": diffusion,
        "msd_alpha": alpha,
    }


def measure_ball(volume: NDArray[np.generic], centre_px: Floats, radius_px: Floats) -> tuple[float, float, float]:
    """Mean and maximum inside a ball, and the median of the shell around it.

    Parameters
    ----------
    volume
        Shape (z, y, x) or (y, x), any real dtype.
    centre_px
        One index per axis, need not be whole.
    radius_px
        One radius per axis in voxels: a ball in micrometres is an ellipsoid of voxels.

    Returns
    -------
    In grey levels; of the voxels whose centres lie within the ball (at least the nearest voxel), and between
    `SHELL` times the radius. All NaN if the centre is outside the image; the last alone if no shell is inside.
    """
    nearest = np.rint(centre_px).astype(int)
    if (nearest < 0).any() or (nearest >= volume.shape).any():
        return math.nan, math.nan, math.nan
    reach = np.maximum(SHELL[1] * radius_px, 1)
    low = np.maximum(np.floor(centre_px - reach).astype(int), 0)
    high = np.minimum(np.ceil(centre_px + reach).astype(int) + 1, volume.shape)
    window = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    distance = np.zeros(tuple(high - low))
    for axis, (a, b) in enumerate(zip(low, high, strict=True)):
        along = ((np.arange(a, b) - centre_px[axis]) / radius_px[axis]) ** 2
        distance += along.reshape([-1 if other == axis else 1 for other in range(volume.ndim)])
    inside = distance <= 1
    inside[tuple(nearest - low)] = True
    shell = (distance >= SHELL[0] ** 2) & (distance <= SHELL[1] ** 2)
    grey = volume[window].astype(np.float64)
    background = float(np.median(grey[shell])) if shell.any() else math.nan
    return float(grey[inside].mean()), float(grey[inside].max()), background


def measure_spots(tracks: pd.DataFrame) -> pd.DataFrame:
    """Add to every spot the way and the speed from the spot before it in its track; empty at a track's start.

    Returns
    -------
    `SPOT_COLUMNS`, the last four still empty, and radius_um; ordered by track, then frame.
    """
    spots = tracks.sort_values(["track_id", "frame"], kind="stable", ignore_index=True)
    position = spots[_axes(spots)].to_numpy(dtype=float)
    first = np.ones(len(spots), dtype=bool)
    first[1:] = spots["track_id"].to_numpy()[1:] != spots["track_id"].to_numpy()[:-1]
    step, took = np.full(len(spots), np.nan), np.full(len(spots), np.nan)
    if len(spots) > 1:
        step[1:] = np.linalg.norm(np.diff(position, axis=0), axis=1)
        took[1:] = np.diff(spots["t_s"].to_numpy(dtype=float))
    step[first] = took[first] = np.nan
    spots["step_um"], spots["speed_um_s"] = step, _over(step, took)
    for name in BALL_COLUMNS:
        spots[name] = np.nan
    return spots[[*SPOT_COLUMNS, "radius_um"]]


def measure_tracks(spots: pd.DataFrame, msd: MsdSettings) -> pd.DataFrame:
    """Measure all tracks from the table of `measure_spots`; one row per track, ordered by id."""
    import pandas as pd

    axes, rows = _axes(spots), []
    for track_id, track in spots.groupby("track_id", sort=True):
        frame, t_s = track["frame"].to_numpy(dtype=np.int64), track["t_s"].to_numpy(dtype=float)
        rows.append(
            {
                "tree_id": int(track["tree_id"].iloc[0]),
                "track_id": track_id,
                **measure_track(frame, t_s, track[axes].to_numpy(dtype=float), msd),
                "mean_intensity": track["intensity"].mean(skipna=False),
                "mean_ball": track["ball_mean"].mean(),
                "mean_ball_corrected": track["ball_corrected"].mean(),
            }
        )
    return pd.DataFrame(rows, columns=list(TRACK_COLUMNS))


def check_frames(path: Path, tracks: pd.DataFrame) -> None:
    """Refuse a track that has two spots in one frame: its way and speed would depend on their order."""
    twice = tracks[tracks.duplicated(["track_id", "frame"])]
    if len(twice):
        track, frame = int(twice["track_id"].iloc[0]), int(twice["frame"].iloc[0])
        raise problem(path, f"track {track} has more than one spot in frame {frame}; expected one", "Split the track.")


def add_intensities(spots: pd.DataFrame, timeline: Timeline, radius_um: float | None, path: Path) -> int:
    """Fill in the ball columns from the images, one frame in memory at a time.

    Parameters
    ----------
    spots
        Table of `measure_spots`; changed in place.
    timeline
        Frames numbered as in the table.
    radius_um
        Of the ball; None takes each spot's own from the column radius_um.
    path
        Of the tracks table, for messages.

    Returns
    -------
    How many spots lie outside the images, in space or time; their columns stay empty.
    """
    radius = np.full(len(spots), np.nan if radius_um is None else radius_um)
    if radius_um is None:
        radius = spots["radius_um"].to_numpy(dtype=float)
    if not (radius > 0).all():
        fix = "Give the size of the spots with --radius-um."
        raise problem(f"{path}: radius_um", f"empty or not above 0 in {int((~(radius > 0)).sum())} rows", fix)
    if timeline.has_z and not spots["z_um"].notna().all():
        raise problem(f"{path}: z_um", "is empty but the images have a z axis; expected tracks in 3D")
    axes = ["z_um", "y_um", "x_um"] if timeline.has_z else ["y_um", "x_um"]
    voxel_um = np.array([size for size in timeline.voxel_size_um if size is not None])
    centre_px = spots[axes].to_numpy(dtype=float) / voxel_um
    measured = np.full((len(spots), len(BALL_COLUMNS)), np.nan)
    frames = spots["frame"].to_numpy()
    for frame, volume in timeline.volumes(set(frames.tolist()) & set(timeline.frames)):
        for row in np.flatnonzero(frames == frame):
            mean, brightest, background = measure_ball(volume, centre_px[row], radius[row] / voxel_um)
            measured[row] = mean, brightest, background, mean - background
    spots[list(BALL_COLUMNS)] = measured
    return int(np.isnan(measured[:, 0]).sum())


def main(argv: Sequence[str] | None = None) -> None:
    """Run the program (see ``--help``)."""
    from tables import read_tracks

    given = _parser().parse_args(argv)
    tracks = read_tracks(given.table)
    check_frames(given.table, tracks)
    spots = measure_spots(tracks)
    if given.image:
        timeline = Timeline(given.image, facts_of(given), given.channel)
        outside = add_intensities(spots, timeline, given.radius_um, given.table)
        print(f"{len(spots) - outside} spots measured in {len(timeline.frames)} frames, {outside} outside the images")
    settings = MsdSettings(given.msd_lags, given.least_spots, given.least_spots_alpha)
    measured = measure_tracks(spots, settings)
    unknown = int(spots["t_s"].isna().sum())
    print(f"{len(measured)} tracks, {len(spots)} spots, {unknown} of them without a time")
    print(f"{int(measured['diffusion_um2_s'].notna().sum())} tracks have a diffusion coefficient")
    _write(given.out_tracks, measured)
    _write(given.out_spots, spots[list(SPOT_COLUMNS)])


def _write(path: Path, table: pd.DataFrame) -> None:
    table.to_csv(path, index=False, encoding="utf-8", lineterminator="\n", float_format="%.10g", na_rep="")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", type=Path, required=True, metavar="CSV", help="tracks table")
    parser.add_argument("--image", type=Path, nargs="+", metavar="PATH", help="image files in order of time")
    add_image_facts(parser)
    add_timeline(parser)
    parser.add_argument("--channel", type=int, default=0, help="which channel, from 0")
    parser.add_argument("--radius-um", type=float, default=None, help="radius of the ball; each spot's own if left out")
    parser.add_argument("--msd-lags", type=int, default=4, help="lags the diffusion coefficient is fitted over")
    parser.add_argument("--least-spots", type=int, default=5, help="shorter tracks get no diffusion coefficient")
    parser.add_argument("--least-spots-alpha", type=int, default=8, help="shorter tracks get no exponent")
    parser.add_argument("--out-tracks", type=Path, required=True, metavar="CSV")
    parser.add_argument("--out-spots", type=Path, required=True, metavar="CSV")
    parser.add_argument("--threads", type=int, default=1, help="accepted; one is used")
    return parser


def _over(step: Floats, took: Floats) -> Floats:
    """Divide where the time is known and above 0; NaN elsewhere."""
    speed: Floats = np.divide(step, took, out=np.full(step.shape, np.nan), where=took > 0)
    return speed


def _axes(table: pd.DataFrame) -> list[str]:
    return ["z_um", "y_um", "x_um"] if table["z_um"].notna().any() else ["y_um", "x_um"]


if __name__ == "__main__":
    run_program(main)
