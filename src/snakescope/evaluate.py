"""How well found spots and tracks agree with a known truth.

Plain functions on arrays: positions in micrometres, frames as integers. It knows nothing about how spots
were found or linked; `read_positions` reads any table whose columns are named as in a points or tracks CSV.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from snakescope.errors import problem

_FORBIDDEN = 1e6  # gates; dearer than every pair that is allowed


@dataclass(frozen=True)
class Positions:
    """Positions in time, one row each.

    Parameters
    ----------
    track_id
        Shape (n,), integer: which particle or track a position belongs to. Any numbers will do where only
        spots are compared.
    frame
        Shape (n,), integer, as both sides of a comparison count them.
    position_um
        Shape (n, 3) z, y, x, or (n, 2) y, x.
    """

    track_id: NDArray[np.int64]
    frame: NDArray[np.int64]
    position_um: NDArray[np.float64]

    def __post_init__(self) -> None:
        count = len(self.track_id)
        if len(self.frame) != count or self.position_um.ndim != 2 or len(self.position_um) != count:
            raise problem(
                "positions to compare",
                f"{count} ids, {len(self.frame)} frames, positions of shape {self.position_um.shape}; "
                "expected one of each per row",
            )


@dataclass(frozen=True)
class SpotScore:
    """Agreement of found spots with true ones; a ratio with nothing to count is None."""

    truth: int
    found: int
    matched: int
    recall: float | None
    precision: float | None
    jaccard: float | None
    rms_error_um: float | None
    bias_um: tuple[float, ...] | None


@dataclass(frozen=True)
class EdgeScore:
    """Agreement of found links with true ones; a ratio with nothing to count is None."""

    truth: int
    found: int
    matched: int
    recall: float | None
    precision: float | None
    jaccard: float | None


@dataclass(frozen=True)
class TrackScore:
    """The particle tracking challenge's measures (Chenouard et al. 2014); None where nothing is to be found."""

    alpha: float | None
    beta: float | None
    jsc: float | None
    jsc_theta: float | None
    rmse_um: float | None
    paired: int
    missed: int
    spurious: int


def match_spots(truth: Positions, found: Positions, gate_um: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pair true and found spots frame by frame, each at most once, none farther apart than the gate.

    In each frame as many pairs as possible are made, and of those pairings the one with the least sum of
    distances (optimal assignment: Crouse 2016, doi:10.1109/TAES.2016.140952).

    Returns
    -------
    Row numbers into `truth` and into `found`, of equal length.
    """
    _check(truth, found, gate_um)
    pairs = [
        _match_frame(truth.position_um, found.position_um, rows, others, gate_um)
        for rows, others in _by_frame(truth.frame, found.frame)
    ]
    if not pairs:
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    left, right = (np.concatenate(side) for side in zip(*pairs, strict=True))
    return left, right


def score_spots(truth: Positions, found: Positions, gate_um: float) -> SpotScore:
    """Count the true spots that were found and the found spots that are true.

    Returns
    -------
    Recall = matched / truth, precision = matched / found, jaccard = matched / (truth + found - matched); the
    root mean square of the 3D (or 2D) distance, and the mean of found - true along each axis.
    """
    left, right = match_spots(truth, found, gate_um)
    error = found.position_um[right] - truth.position_um[left]
    n_truth, n_found, matched = len(truth.frame), len(found.frame), len(left)
    return SpotScore(
        truth=n_truth,
        found=n_found,
        matched=matched,
        recall=_ratio(matched, n_truth),
        precision=_ratio(matched, n_found),
        jaccard=_ratio(matched, n_truth + n_found - matched),
        rms_error_um=float(np.sqrt((error**2).sum(axis=1).mean())) if matched else None,
        bias_um=tuple(error.mean(axis=0).tolist()) if matched else None,
    )


def track_edges(tracks: Positions, parents: Iterable[tuple[int, int]] = ()) -> NDArray[np.int64]:
    """List the links of tracks as pairs of row numbers, shape (n, 2), earlier row first.

    Parameters
    ----------
    tracks
        A track links each of its positions to its next one in time, across gaps too.
    parents
        (track, parent track): the parent's last position is linked to the track's first.
    """
    order = np.lexsort((tracks.frame, tracks.track_id))
    same = tracks.track_id[order][1:] == tracks.track_id[order][:-1]
    edges = np.stack([order[:-1][same], order[1:][same]], axis=1)
    ends: dict[int, tuple[int, int]] = {}
    for row in order.tolist():
        one = int(tracks.track_id[row])
        ends[one] = (ends.get(one, (row, row))[0], row)
    branches = [(ends[parent][1], ends[child][0]) for child, parent in parents]
    return np.concatenate([edges, np.array(branches, dtype=np.int64).reshape(-1, 2)]).astype(np.int64)


def score_edges(
    truth: Positions,
    found: Positions,
    gate_um: float,
    *,
    truth_parents: Iterable[tuple[int, int]] = (),
    found_parents: Iterable[tuple[int, int]] = (),
) -> EdgeScore:
    """Count the true links that were found and the found links that are true.

    Spots are paired first (`match_spots`); a found link is true if the partners of its two ends are linked
    in the truth. A link across a gap is therefore true only where the truth has the same gap.
    """
    left, right = match_spots(truth, found, gate_um)
    partner = np.full(len(found.frame), -1, dtype=np.int64)
    partner[right] = left
    real = {(int(a), int(b)) for a, b in track_edges(truth, truth_parents)}
    edges = track_edges(found, found_parents)
    matched = sum((int(partner[a]), int(partner[b])) in real for a, b in edges)
    return EdgeScore(
        truth=len(real),
        found=len(edges),
        matched=matched,
        recall=_ratio(matched, len(real)),
        precision=_ratio(matched, len(edges)),
        jaccard=_ratio(matched, len(real) + len(edges) - matched),
    )


def score_tracks(truth: Positions, found: Positions, gate_um: float) -> TrackScore:
    """Score tracks by the measures of the particle tracking challenge.

    The distance of two tracks is the sum over all frames of the distance of their positions, cut at the
    gate; the gate itself where only one of them has a position. True tracks are paired with found ones, or
    with nothing, so that the total distance d(X, Y) is least. With d(X, 0) that of pairing nothing, and
    d(S, 0) that of the spurious tracks left over:

    - alpha = 1 - d(X, Y) / d(X, 0); 1 for a perfect result, 0 for none;
    - beta = (d(X, 0) - d(X, Y)) / (d(X, 0) + d(S, 0)), alpha with a penalty for spurious tracks;
    - JSC = TP / (TP + FN + FP) over positions: TP lie nearer than the gate in paired tracks;
    - JSC_theta = the same over tracks: TP are paired, FN true tracks without a pair, FP spurious ones;
    - RMSE of the TP positions.

    Source: Chenouard et al. 2014, doi:10.1038/nmeth.2808, Supplementary Note 3.

    Raises
    ------
    InputError
        If a track has two positions in one frame.
    """
    _check(truth, found, gate_um)
    true_ids, true_track = np.unique(truth.track_id, return_inverse=True)
    found_ids, found_track = np.unique(found.track_id, return_inverse=True)
    for what, tracks in (("truth", truth), ("found", found)):
        _check_one_per_frame(what, tracks)
    shape = (len(true_ids), len(found_ids))
    gain, hits, squares = np.zeros(shape), np.zeros(shape, dtype=np.int64), np.zeros(shape)
    both = np.zeros(shape, dtype=np.int64)
    for rows, others in _by_frame(truth.frame, found.frame):
        distance = cdist(truth.position_um[rows], found.position_um[others])
        near = distance < gate_um
        cell = np.ix_(true_track[rows], found_track[others])
        both[cell] += 1
        gain[cell] += np.where(near, gate_um - distance, 0.0)
        hits[cell] += near
        squares[cell] += np.where(near, distance**2, 0.0)

    true_length = np.bincount(true_track, minlength=shape[0])
    found_length = np.bincount(found_track, minlength=shape[1])
    # d(x, y) - d(x, 0): each frame with both costs one gate less than the two alone, and less what they gain
    cost = gate_um * (found_length[None, :] - both) - gain
    left, right = linear_sum_assignment(np.concatenate([cost, np.zeros((shape[0], shape[0]))], axis=1))
    real = right < shape[1]
    left, right = left[real], right[real]
    better = cost[left, right] < 0
    left, right = left[better], right[better]

    nothing = gate_um * len(truth.frame)
    saved = -float(cost[left, right].sum())
    spurious_length = len(found.frame) - int(found_length[right].sum())
    true_positions = int(hits[left, right].sum())
    missed, spurious = shape[0] - len(left), shape[1] - len(right)
    return TrackScore(
        alpha=_ratio(saved, nothing),
        beta=_ratio(saved, nothing + gate_um * spurious_length),
        jsc=_ratio(true_positions, int(true_length.sum()) + len(found.frame) - true_positions),
        jsc_theta=_ratio(len(left), len(left) + missed + spurious),
        rmse_um=math.sqrt(squares[left, right].sum() / true_positions) if true_positions else None,
        paired=len(left),
        missed=missed,
        spurious=spurious,
    )


def read_positions(path: Path, *, id_column: str, series: str | None = None) -> Positions:
    """Read positions from a points, tracks or truth table (CSV).

    Parameters
    ----------
    path
        Has the columns frame, z_um, y_um, x_um; if every z is empty the positions are 2D.
    id_column
        Which column tells tracks apart: track_id, tree_id, particle_id or spot_id.
    series
        Keep only the rows whose column `series` says so; None keeps all.
    """
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            table = csv.DictReader(stream)
            needed = {id_column, "frame", "z_um", "y_um", "x_um"} | ({"series"} if series is not None else set())
            missing = sorted(needed - set(table.fieldnames or ()))
            if missing:
                raise problem(path, f"lacks the columns {', '.join(missing)}")
            rows = [row for row in table if series is None or row["series"] == series]
    except OSError as error:
        raise problem(path, f"cannot be read: {error.strerror}") from error
    axes = ("z_um", "y_um", "x_um") if any(row["z_um"] for row in rows) else ("y_um", "x_um")
    try:
        return Positions(
            track_id=np.array([int(row[id_column]) for row in rows], dtype=np.int64),
            frame=np.array([int(row["frame"]) for row in rows], dtype=np.int64),
            position_um=np.array([[float(row[axis]) for axis in axes] for row in rows]).reshape(-1, len(axes)),
        )
    except ValueError as error:
        raise problem(path, f"{error}; expected numbers in {id_column}, frame, {', '.join(axes)}") from error


def _match_frame(
    truth_um: NDArray[np.float64],
    found_um: NDArray[np.float64],
    rows: NDArray[np.int64],
    others: NDArray[np.int64],
    gate_um: float,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    distance = cdist(truth_um[rows], found_um[others])
    cost = np.where(distance <= gate_um, distance / gate_um, _FORBIDDEN)
    left, right = linear_sum_assignment(cost)
    allowed = cost[left, right] < _FORBIDDEN
    return rows[left[allowed]], others[right[allowed]]


def _by_frame(
    frame: NDArray[np.int64], other: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield the row numbers on both sides for every frame that both have."""
    for shared in np.intersect1d(frame, other):
        yield np.flatnonzero(frame == shared), np.flatnonzero(other == shared)


def _check(truth: Positions, found: Positions, gate_um: float) -> None:
    if not gate_um > 0:
        raise problem("gate_um", f"found {gate_um}; expected a distance above 0")
    dims = truth.position_um.shape[1], found.position_um.shape[1]
    if dims[0] != dims[1] and len(truth.frame) and len(found.frame):
        raise problem(
            "positions to compare", f"truth has {dims[0]} coordinates and found {dims[1]}; expected equal numbers"
        )


def _check_one_per_frame(what: str, tracks: Positions) -> None:
    pairs = np.stack([tracks.track_id, tracks.frame], axis=1)
    seen, count = np.unique(pairs, axis=0, return_counts=True)
    if len(pairs) and count.max() > 1:
        one, frame = seen[int(count.argmax())]
        raise problem(f"{what} tracks", f"track {one} has {count.max()} positions in frame {frame}; expected one")


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None
