"""Read what is to be linked over time: spots from tables, TrackMate files or label images, on one time axis.

It knows nothing about how they are linked.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from snakescope.errors import InputError, Problem, problem
from tables import POINT_COLUMNS, read_points
from trackmate import Geometry, read_trackmate

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Source:
    """Spots of one input file, frames counted within the file.

    `frames` is how many frames the file covers: for a points table, up to its last frame with a spot.
    """

    path: Path
    spots: pd.DataFrame
    frames: int
    time_step_s: float | None = None


def read_points_source(path: Path, voxel_size_um: tuple[float, float, float] | None) -> Source:
    """Read a points table, or the spots of a TrackMate file (a name that ends in ``.xml``)."""
    is_trackmate = path.suffix.lower() == ".xml"
    spots = read_trackmate(path, voxel_size_um).spots if is_trackmate else read_points(path)
    return Source(path, spots, int(spots["frame"].max()) + 1 if len(spots) else 1)


def read_labels_source(
    path: Path, voxel_size_um: tuple[float, float, float] | None, stack_axis: Literal["z", "t"] = "z"
) -> Source:
    """Read a label image frame by frame; every object of a frame is a spot at its centroid."""
    import pandas as pd

    from snakescope.images import open_image

    found: list[pd.DataFrame] = []
    with open_image(path, voxel_size_um=voxel_size_um, stack_axis=stack_axis) as image:
        header = image.header
        voxel_um = image.pixel_size() if header.size("z") == 1 else image.voxel_size()
        for t in range(header.size("t")):
            labels = image.volume(t)
            if labels.dtype.kind not in "iu":
                raise problem(path, f"holds {labels.dtype}; expected a label image of whole numbers")
            found.append(_label_spots(t, labels.reshape(labels.shape[-len(voxel_um) :]), voxel_um))
    spots = pd.concat(found, ignore_index=True)
    spots["spot_id"] = np.arange(len(spots))
    return Source(path, spots, header.size("t"), header.time_step_s)


def _label_spots(frame: int, labels: NDArray[np.integer], voxel_um: Sequence[float]) -> pd.DataFrame:
    import pandas as pd

    ids, centres, radius = label_objects(labels, voxel_um)
    table = pd.DataFrame({"frame": frame, "radius_um": radius, "label": ids}, index=range(len(ids)))
    for column, axis in enumerate("zyx"[-labels.ndim :]):
        table[f"{axis}_px"] = centres[:, column]
        table[f"{axis}_um"] = centres[:, column] * voxel_um[column]
    return table.reindex(columns=[*POINT_COLUMNS, "label"]).astype({"frame": np.int64})


def join_sources(sources: Sequence[Source], t_index: Sequence[int] | None, time_step_s: float | None) -> pd.DataFrame:
    """Put the spots of several files on one time axis.

    Parameters
    ----------
    t_index
        Frame at which each file begins; None = each begins where the one before ends.
    time_step_s
        Time between frames; None = what the files say, unknown where several files leave it open.

    Returns
    -------
    One points table ordered by frame. The ids of the first file (by time) stay; those of each later one are
    shifted by the number of ids before it.

    Raises
    ------
    InputError
        If two files cover the same frame, or are partly 2D and partly 3D.
    """
    import pandas as pd

    if t_index is None:
        starts = np.concatenate([[0], np.cumsum([source.frames for source in sources])[:-1]]).tolist()
    elif len(t_index) != len(sources):
        raise problem("track: t_index", f"{len(t_index)} numbers for {len(sources)} files; expected one each")
    else:
        starts = list(t_index)
    order = sorted(range(len(sources)), key=lambda one: (starts[one], one))
    sources, starts = [sources[one] for one in order], [starts[one] for one in order]
    _check_sources(sources, starts)
    step = time_step_s if time_step_s is not None else _common_step(sources)
    parts: list[pd.DataFrame] = []
    shift = 0
    for source, start in zip(sources, starts, strict=True):
        part = source.spots.assign(spot_id=source.spots["spot_id"] + shift, frame=source.spots["frame"] + start)
        if step is not None:
            part["t_s"] = part["frame"] * step
        elif len(sources) > 1 or start:
            part["t_s"] = np.nan  # the file counts its own time from its own start
        shift = int(part["spot_id"].max()) + 1 if len(part) else shift
        parts.append(part)
    filled = [part for part in parts if len(part)] or parts[:1]
    return pd.concat(filled, ignore_index=True).sort_values("frame", kind="stable", ignore_index=True)


def _check_sources(sources: Sequence[Source], starts: Sequence[int]) -> None:
    problems: list[Problem] = []
    for k in range(1, len(sources)):
        end = starts[k - 1] + sources[k - 1].frames
        if starts[k] < end:
            problems.append(
                Problem(
                    f"{sources[k].path}: t_index",
                    f"begins at frame {starts[k]}, but {sources[k - 1].path} reaches to frame {end - 1}",
                    "Give each file the frame at which it begins, once.",
                )
            )
    depth = {bool(source.spots["z_um"].notna().any()) for source in sources if len(source.spots)}
    if len(depth) > 1:
        problems.append(Problem("track", "some files have spots in 2D, others in 3D; expected all alike"))
    if problems:
        raise InputError(problems)


def _common_step(sources: Sequence[Source]) -> float | None:
    """Return the time step that all files name, if they agree."""
    steps = {source.time_step_s for source in sources}
    return steps.pop() if len(steps) == 1 else None


def image_geometry(spots: pd.DataFrame) -> Geometry:
    """Work out the voxel size and time step from positions given in both units; None where that is not so."""
    sizes = [_ratio(spots[f"{axis}_um"].to_numpy(float), spots[f"{axis}_px"].to_numpy(float)) for axis in "zyx"]
    step = _ratio(spots["t_s"].to_numpy(float), spots["frame"].to_numpy(float))
    depth, height, width = sizes
    return Geometry(None if height is None or width is None else (depth, height, width), step)


def _ratio(numerator: NDArray[np.float64], denominator: NDArray[np.float64]) -> float | None:
    known = np.isfinite(numerator) & (np.nan_to_num(denominator) > 0)
    if not known.any():
        return None
    best = int(np.argmax(np.where(known, denominator, 0)))
    return float(f"{numerator[best] / denominator[best]:.9g}")


def label_objects(
    labels: NDArray[np.integer], voxel_um: Sequence[float]
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Find the centre and size of every labelled object.

    Parameters
    ----------
    labels
        Object ids, shape (z, y, x) or (y, x), 0 is background.
    voxel_um
        Voxel size in micrometres, one per axis.

    Returns
    -------
    Ids in ascending order, centroids in voxels of shape (objects, n), and radii in micrometres of the circle
    or sphere of the same area or volume.
    """
    planes = labels if labels.ndim == 3 else labels[np.newaxis]
    parts = [_plane_sums(z, plane) for z, plane in enumerate(planes)]  # by planes, to need little memory
    found, count_here, *sums_here = (np.concatenate(column) for column in zip(*parts, strict=True))
    ids, member = np.unique(found, return_inverse=True)
    count = np.bincount(member, count_here, len(ids))
    centres = [np.bincount(member, one, len(ids)) / count for one in sums_here[-labels.ndim :]]
    size = count * float(np.prod(voxel_um))
    radius = np.sqrt(size / math.pi) if labels.ndim == 2 else np.cbrt(size * 3 / (4 * math.pi))
    return ids.astype(np.int64), np.stack(centres, axis=1), radius


def _plane_sums(z: int, plane: NDArray[np.integer]) -> tuple[NDArray[Any], ...]:
    """Return the ids in a plane, how many voxels each has, and the sums of their z, y and x."""
    y, x = np.nonzero(plane)
    ids, member, count = np.unique(plane[y, x], return_inverse=True, return_counts=True)
    return ids, count, z * count, np.bincount(member, y, len(ids)), np.bincount(member, x, len(ids))
