"""Link spots or labelled objects over time into tracks: a GEFF graph, a table and a TrackMate file.

Linking is laptrack's linear assignment (the method of Jaqaman et al. 2008, doi:10.1038/nmeth.1237, as in
TrackMate) or trackpy's (Crocker & Grier 1996, doi:10.1006/jcis.1996.0217). All distances are micrometres. This
program does not find spots.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from snakescope.errors import InputError, Problem, problem
from snakescope.program import boolean, run_program, triple
from tables import write_tracks
from track_inputs import image_geometry, join_sources, read_labels_source, read_points_source
from trackmate import write_trackmate

if TYPE_CHECKING:
    import pandas as pd
    from geff._typing import PropDictNpArray

Edges = NDArray[np.int64]


@dataclass(frozen=True)
class LinkOptions:
    """How to link; distances in micrometres, inclusive, None = as `max_distance_um`.

    `gap_frames` is the number of frames in which a track may be missing: trackpy's `memory`, one less than
    TrackMate's MAX_FRAME_GAP and laptrack's `gap_closing_max_frame_count`.
    """

    max_distance_um: float
    method: Literal["laptrack", "trackpy"] = "laptrack"
    gap_frames: int = 0
    gap_distance_um: float | None = None
    splitting: bool = False
    split_distance_um: float | None = None
    merging: bool = False
    merge_distance_um: float | None = None

    def cutoff(self, distance_um: float | None) -> float:
        """Return the squared distance just above the given one: laptrack compares with <."""
        chosen = self.max_distance_um if distance_um is None else distance_um
        return chosen**2 * (1 + 1e-9)


def link(frame: NDArray[np.int64], places_um: NDArray[np.float64], options: LinkOptions) -> Edges:
    """Link spots to each other over time.

    Parameters
    ----------
    frame
        Frame of each spot, shape (n,), ascending.
    places_um
        Positions in micrometres, shape (n, 2) or (n, 3).

    Returns
    -------
    Rows of the earlier and the later spot of each link, shape (links, 2), in ascending order.

    Raises
    ------
    InputError
        If trackpy is asked for what it cannot do, or its problem is too large to solve.
    """
    if options.method == "trackpy":
        _check_trackpy(options)
    if len(frame) < 2 or frame[0] == frame[-1]:
        return np.empty((0, 2), np.int64)
    linker = _link_trackpy if options.method == "trackpy" else _link_laptrack
    edges = linker(frame, places_um, options)
    return edges[np.lexsort((edges[:, 1], edges[:, 0]))]


def _link_laptrack(frame: NDArray[np.int64], places_um: NDArray[np.float64], options: LinkOptions) -> Edges:
    from laptrack import LapTrack

    frames = np.arange(frame[0], frame[-1] + 1)
    first = np.searchsorted(frame, frames)
    tracker = LapTrack(
        cutoff=options.cutoff(None),
        alternative_cost_percentile=100,  # with 90, as in TrackMate, few candidates leave pairs within reach unlinked
        gap_closing_cutoff=options.cutoff(options.gap_distance_um) if options.gap_frames else False,
        gap_closing_max_frame_count=options.gap_frames + 1,
        splitting_cutoff=options.cutoff(options.split_distance_um) if options.splitting else False,
        merging_cutoff=options.cutoff(options.merge_distance_um) if options.merging else False,
    )
    graph = tracker.predict(np.split(places_um, first[1:]))
    pairs = [(first[a] + i, first[b] + j) for (a, i), (b, j) in graph.edges()]
    return np.array(pairs, np.int64).reshape(-1, 2)


def _link_trackpy(frame: NDArray[np.int64], places_um: NDArray[np.float64], options: LinkOptions) -> Edges:
    import trackpy

    trackpy.quiet()
    frames = np.arange(frame[0], frame[-1] + 1)
    coordinates = np.split(places_um, np.searchsorted(frame, frames)[1:])
    try:
        found = trackpy.link_iter(iter(coordinates), options.max_distance_um, memory=options.gap_frames)
        particle = np.concatenate([np.asarray(ids, np.int64) for _, ids in found])
    except trackpy.linking.SubnetOversizeException as error:
        raise problem(
            f"track: max_distance_um = {options.max_distance_um:g}",
            "too many spots lie within reach of each other for trackpy; neighbours in a frame are "
            f"{_neighbour_distance(frame, places_um):.3g} µm apart (median)",
            "Lower max_distance_um below that, or choose method: laptrack.",
        ) from error
    row = np.lexsort((frame, particle))
    same = particle[row[:-1]] == particle[row[1:]]
    return np.stack([row[:-1][same], row[1:][same]], axis=1).astype(np.int64)


def _neighbour_distance(frame: NDArray[np.int64], places_um: NDArray[np.float64]) -> float:
    """Return the median distance to the nearest spot of the same frame."""
    from scipy.spatial import cKDTree

    groups = np.split(places_um, np.flatnonzero(np.diff(frame)) + 1)
    nearest = [cKDTree(group).query(group, k=2)[0][:, 1] for group in groups if len(group) > 1]
    return float(np.median(np.concatenate(nearest))) if nearest else math.nan


def _check_trackpy(options: LinkOptions) -> None:
    """Raise InputError, naming every option that trackpy does not have."""
    asked = {
        "splitting": options.splitting,
        "merging": options.merging,
        "gap_distance_um": options.gap_distance_um not in (None, options.max_distance_um),
    }
    problems = [
        Problem(f"track: {name}", "trackpy cannot do that", "Choose method: laptrack, or leave it out.")
        for name, wanted in asked.items()
        if wanted
    ]
    if problems:
        raise InputError(problems)


def assign_tracks(count: int, edges: Edges) -> tuple[NDArray[np.int64], NDArray[np.int64], list[tuple[int, ...]]]:
    """Cut the graph of links into trees and tracks.

    A tree is a connected component; a track is a longest run of spots without a split or merge. Both are
    numbered from 0 in the order of their first spots.

    Parameters
    ----------
    count
        Number of spots; rows are in the order of time.
    edges
        Rows of the earlier and later spot of each link, shape (links, 2).

    Returns
    -------
    `tree_id` and `track_id` of every spot, shape (count,), and for every track the ids of its parents.
    """
    from_here = np.bincount(edges[:, 0], minlength=count)
    into_here = np.bincount(edges[:, 1], minlength=count)
    inner = (from_here[edges[:, 0]] == 1) & (into_here[edges[:, 1]] == 1)
    track = _components(count, edges[inner])
    parents: list[set[int]] = [set() for _ in range(int(track.max(initial=-1)) + 1)]
    for earlier, later in edges[~inner].tolist():
        parents[track[later]].add(int(track[earlier]))
    return _components(count, edges), track, [tuple(sorted(one)) for one in parents]


def _components(count: int, edges: Edges) -> NDArray[np.int64]:
    """Number the connected components in the order of their first members."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(edges), bool), (edges[:, 0], edges[:, 1])), shape=(count, count))
    _, label = connected_components(graph, directed=False)
    _, first, inverse = np.unique(label, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[inverse]


def build_tracks(spots: pd.DataFrame, options: LinkOptions, min_length: int = 1) -> tuple[pd.DataFrame, Edges]:
    """Link spots and number the tracks.

    Parameters
    ----------
    spots
        A points table, ordered by frame, ids unique; may have further columns.
    min_length
        Trees that span fewer frames, from first to last, are left out with their spots.

    Returns
    -------
    The spots that stay, in order, with `tree_id`, `track_id` and `parent_track_ids`; and the links as rows of it.
    """
    flat = bool(spots["z_um"].isna().all())
    places = spots[["y_um", "x_um"] if flat else ["z_um", "y_um", "x_um"]].to_numpy(float)
    frame = spots["frame"].to_numpy(np.int64)
    edges = link(frame, places, options)
    tree = _components(len(spots), edges)
    first, last = np.full(len(spots), np.iinfo(np.int64).max), np.full(len(spots), -1)
    np.minimum.at(first, tree, frame)
    np.maximum.at(last, tree, frame)
    stays = (last - first)[tree] + 1 >= min_length
    edges = (np.cumsum(stays) - 1)[edges[stays[edges[:, 0]]]]
    tracks = spots[stays].reset_index(drop=True)
    tree_id, track_id, parents = assign_tracks(len(tracks), edges)
    texts = np.array([";".join(map(str, one)) for one in parents], object)
    tracks["tree_id"], tracks["track_id"] = tree_id, track_id
    tracks["parent_track_ids"] = texts[track_id]
    return tracks, edges


def write_geff(path: Path, tracks: pd.DataFrame, edges: Edges) -> None:
    """Write the graph of spots as a GEFF store, by the geff library, which checks the structure as it writes.

    Nodes are the spots under their `spot_id`; axes t (seconds, or frames where the time is unknown), z, y, x
    (micrometres; no z in 2D). Unknown values are marked missing.

    Parameters
    ----------
    tracks
        As `build_tracks` returns them; a column `label` is written too.
    edges
        Rows of `tracks`, shape (links, 2).
    """
    from geff import GeffMetadata
    from geff.core_io import write_arrays

    seconds = bool(len(tracks)) and bool(tracks["t_s"].notna().all())
    flat = bool(tracks["z_um"].isna().all())
    axes = {"t": tracks["t_s" if seconds else "frame"].to_numpy(float)}
    axes |= {name: tracks[f"{name}_um"].to_numpy(float) for name in ("yx" if flat else "zyx")}
    named = ("frame", "track_id", "tree_id", "radius_um", "quality", "intensity", "label")
    columns = {name: tracks[name].to_numpy() for name in named if name in tracks}
    properties = {name: _property(values) for name, values in (axes | columns).items()}
    ids = tracks["spot_id"].to_numpy(np.uint64)
    time = {"name": "t", "type": "time", "unit": "second" if seconds else "frame"}
    metadata = GeffMetadata(
        directed=True,
        axes=[time, *({"name": name, "type": "space", "unit": "micrometer"} for name in list(axes)[1:])],
        node_props_metadata={},
        edge_props_metadata={},
        track_node_props={"tracklet": "track_id", "lineage": "tree_id"},
    )
    write_arrays(path, ids, properties, ids[edges], {}, metadata)


def _property(values: NDArray[Any]) -> PropDictNpArray:
    """Return a GEFF property: the values, and which are missing (None = none is)."""
    missing = np.isnan(values) if np.issubdtype(values.dtype, np.floating) else np.zeros(len(values), bool)
    return {"values": values, "missing": missing if missing.any() else None}


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="track.py", description="Link spots or labelled objects into tracks.")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--points", type=Path, nargs="+", help="points tables (CSV) or TrackMate files (XML)")
    source.add_argument("--labels", type=Path, nargs="+", help="label images")
    parser.add_argument("--t-index", type=int, nargs="+", metavar="I", help="frame at which each file begins")
    parser.add_argument("--time-step-s", type=float, metavar="S", help="time between frames in seconds")
    parser.add_argument("--voxel-size-um", type=triple, metavar="Z,Y,X", help="voxel size of the label images")
    parser.add_argument(
        "--stack-axis", choices=["z", "t"], default="z", help="what the planes of a plain label TIFF are"
    )
    parser.add_argument("--method", choices=("laptrack", "trackpy"), default="laptrack")
    parser.add_argument("--max-distance-um", type=float, required=True, metavar="D")
    parser.add_argument("--gap-frames", type=int, default=0, metavar="N", help="frames a track may be missing")
    parser.add_argument("--gap-distance-um", type=float, metavar="D")
    parser.add_argument("--splitting", type=boolean, default=False)
    parser.add_argument("--split-distance-um", type=float, metavar="D")
    parser.add_argument("--merging", type=boolean, default=False)
    parser.add_argument("--merge-distance-um", type=float, metavar="D")
    parser.add_argument("--min-length", type=int, default=1, metavar="N", help="shortest tree kept, in frames")
    parser.add_argument("--out-tracks", type=Path, required=True, help="GEFF store")
    parser.add_argument("--out-table", type=Path, required=True, help="tracks table, CSV")
    parser.add_argument("--out-trackmate", type=Path, required=True, help="TrackMate XML")
    parser.add_argument("--threads", type=int, default=1, help="taken for uniformity; linking uses one")
    return parser.parse_args(argv)


def check_options(args: argparse.Namespace) -> LinkOptions:
    """Turn the command line into `LinkOptions`; InputError names every value that is out of range."""
    distances = ("max_distance_um", "gap_distance_um", "split_distance_um", "merge_distance_um")
    least = {"gap_frames": 0, "min_length": 1}
    problems = [
        Problem(f"track: {name}", f"found {getattr(args, name):g}; expected a finite number above 0")
        for name in distances
        if getattr(args, name) is not None and not 0 < getattr(args, name) < math.inf
    ]
    problems += [
        Problem(f"track: {name}", f"found {getattr(args, name)}; expected at least {low}")
        for name, low in least.items()
        if getattr(args, name) < low
    ]
    if problems:
        raise InputError(problems)
    names = ("method", "gap_frames", "splitting", "merging", *distances)
    return LinkOptions(**{name: getattr(args, name) for name in names})


def main(argv: Sequence[str] | None = None) -> None:
    """Read the spots, link them, and write the three outputs."""
    args = parse(argv)
    options = check_options(args)
    if args.points:
        sources = [read_points_source(path, args.voxel_size_um) for path in args.points]
    else:
        sources = [read_labels_source(path, args.voxel_size_um, args.stack_axis) for path in args.labels]
    spots = join_sources(sources, args.t_index, args.time_step_s)
    tracks, edges = build_tracks(spots, options, args.min_length)
    write_geff(args.out_tracks, tracks, edges)
    write_tracks(args.out_table, tracks)
    ids = tracks["spot_id"].to_numpy(np.int64)
    write_trackmate(args.out_trackmate, tracks, ids[edges], image_geometry(spots))
    for line in summarise(len(spots), tracks, edges):
        print(line)


def summarise(spots: int, tracks: pd.DataFrame, edges: Edges) -> Iterator[str]:
    """Yield what was done, for the job's log."""
    frames = tracks["frame"].to_numpy()
    gaps = int((np.diff(frames[edges], axis=1) > 1).sum())
    splits = int((np.bincount(edges[:, 0], minlength=1) > 1).sum())
    merges = int((np.bincount(edges[:, 1], minlength=1) > 1).sum())
    yield f"{spots} spots, {len(tracks)} kept, {len(edges)} links ({gaps} over a gap)"
    yield (
        f"{tracks['track_id'].nunique()} tracks in {tracks['tree_id'].nunique()} trees, "
        f"{splits} splits, {merges} merges"
    )


if __name__ == "__main__":
    run_program(main)
