"""Spots and objects that move in known ways, and what is asked of the tracks found."""

# ruff: noqa: ARG001  (every check is given the outputs and the inputs)
from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from snakescope.evaluate import Positions, read_positions, score_edges
from snakescope.images import create_image

HEADER = [
    "spot_id",
    "frame",
    "t_s",
    "z_um",
    "y_um",
    "x_um",
    "z_px",
    "y_px",
    "x_px",
    "radius_um",
    "quality",
    "intensity",
]
TRUTH = "truth.csv"

Row = tuple[int, int, float, float]  # track, frame, y, x


def crossing(folder: Path) -> dict[str, Path]:
    """Two spots on paths that cross at right angles, the second passing the crossing 4 frames after the first."""
    rows = [(0, t, 20.0, 2.0 * t) for t in range(20)] + [(1, t, 2.0 * t - 8.0, 20.0) for t in range(20)]
    return _points(folder, rows, [])


def dividing(folder: Path, *, objects: bool = False) -> dict[str, Path]:
    """One spot at rest that divides at frame 6 into two that part at 1 µm a frame, one of which divides again.

    With `objects`, discs of radius 2 µm in a label image of 0.5 µm pixels, with other ids in every frame.
    """
    rows: list[Row] = [(0, t, 30.0, 30.0) for t in range(6)]
    rows += [(1, t, 30.0 - 3.0 - (t - 6), 30.0) for t in range(6, 12)]
    rows += [(2, t, 30.0 + 3.0 + (t - 6), 30.0) for t in range(6, 18)]
    rows += [(3, t, 22.0, 30.0 - 3.0 - (t - 12)) for t in range(12, 18)]
    rows += [(4, t, 22.0, 30.0 + 3.0 + (t - 12)) for t in range(12, 18)]
    parents = [(1, 0), (2, 0), (3, 1), (4, 1)]
    return _labels(folder, rows, parents) if objects else _points(folder, rows, parents)


def gapped(folder: Path, *, missing: int = 2) -> dict[str, Path]:
    """One steady spot that is missing in `missing` frames in a row, in 3D, among two far ones that are not."""
    rows = [(0, t, 10.0 + 0.5 * t, 10.0) for t in range(15) if not 6 <= t < 6 + missing]
    rows += [(1, t, 40.0, 10.0 + 0.5 * t) for t in range(15)] + [(2, t, 40.0, 60.0) for t in range(15)]
    return _points(folder, rows, [], z_um=5.0)


def brownian(folder: Path, *, particles: int, frames: int, seed: int = 3) -> dict[str, Path]:
    """Particles in Brownian motion, 0.2 µm a frame along each axis, 5 µm apart at the start."""
    rng = np.random.default_rng(seed)
    side = int(np.ceil(np.sqrt(particles)))
    start = np.array([(5.0 * (k // side), 5.0 * (k % side)) for k in range(particles)]) + 10
    places = start + np.cumsum(rng.normal(0, 0.2, (frames, particles, 2)), axis=0)
    rows = [(k, t, float(places[t, k, 0]), float(places[t, k, 1])) for k in range(particles) for t in range(frames)]
    return _points(folder, rows, [])


def nothing(folder: Path) -> dict[str, Path]:
    """A points table without a spot."""
    return _points(folder, [], [])


def _points(
    folder: Path, rows: list[Row], parents: list[tuple[int, int]], z_um: float | None = None
) -> dict[str, Path]:
    """Write a points table, its rows in the order of time, and the truth beside it."""
    ordered = sorted(rows, key=lambda row: (row[1], row[3], row[2]))
    depth = "" if z_um is None else z_um
    path = folder / "points.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, HEADER, restval="")
        writer.writeheader()
        for number, (_, t, y, x) in enumerate(ordered):
            place = {"z_um": depth, "y_um": y, "x_um": x}
            writer.writerow({"spot_id": number, "frame": t, "t_s": 0.5 * t, "radius_um": 1.0, **place})
    _write_truth(folder, ordered, parents, depth)
    return {"points": path}


def _labels(folder: Path, rows: list[Row], parents: list[tuple[int, int]]) -> dict[str, Path]:
    path, frames, step = folder / "labels.ome.zarr", max(row[1] for row in rows) + 1, 0.5
    y, x = np.mgrid[:140, :120] * step
    with create_image(
        path,
        axes="tyx",
        shape=(frames, *y.shape),
        dtype="uint16",
        voxel_size_um=(None, step, step),
        time_step_s=0.5,
        labels=True,
    ) as image:
        for t in range(frames):
            labels = np.zeros(y.shape, np.uint16)
            for number, row in enumerate(row for row in rows if row[1] == t):
                labels[np.hypot(y - row[2], x - row[3]) <= 2.0] = 100 - t - 7 * number
            image.write(labels, t)
    _write_truth(folder, rows, parents, "")
    return {"labels": path}


def _write_truth(folder: Path, rows: list[Row], parents: list[tuple[int, int]], depth: str | float) -> None:
    with (folder / TRUTH).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["track_id", "frame", "z_um", "y_um", "x_um"])
        writer.writerows([track, t, depth, y, x] for track, t, y, x in rows)
    (folder / "parents.csv").write_text("".join(f"{child},{parent}\n" for child, parent in parents))


def edges(outputs: dict[str, Path], inputs: dict[str, Path], *, gate_um: float, measure: str) -> float:
    """Return recall, precision or jaccard of the links found (`snakescope.evaluate.EdgeScore`)."""
    folder = next(iter(inputs.values())).parent
    known = [tuple(map(int, line.split(","))) for line in (folder / "parents.csv").read_text().split()]
    found = read_positions(outputs["table"], id_column="track_id")
    truth = read_positions(folder / TRUTH, id_column="track_id")
    result = score_edges(
        truth, found, gate_um, truth_parents=[(a, b) for a, b in known], found_parents=_parents(outputs["table"])
    )
    return float(getattr(result, measure))


def _parents(table: Path) -> list[tuple[int, int]]:
    pairs = {
        (int(row["track_id"]), int(parent))
        for row in _rows(table)
        for parent in row["parent_track_ids"].split(";")
        if parent
    }
    return sorted(pairs)


def _rows(table: Path) -> Iterator[dict[str, str]]:
    with table.open(newline="") as file:
        yield from csv.DictReader(file)


def count(outputs: dict[str, Path], inputs: dict[str, Path], *, what: str) -> float:
    """Count tracks, trees, spots or branches (children of a track) in the table."""
    rows = list(_rows(outputs["table"]))
    if what == "branches":
        return float(len(_parents(outputs["table"])))
    if what == "spots":
        return float(len(rows))
    return float(len({row[{"tracks": "track_id", "trees": "tree_id"}[what]] for row in rows}))


def graph(outputs: dict[str, Path], inputs: dict[str, Path], *, what: str) -> float:
    """Count nodes, edges or axes of the GEFF graph, after its own library has validated it."""
    from geff.core_io import read_to_memory
    from geff.validate.data import ValidationConfig, validate_data

    found = read_to_memory(outputs["tracks"])
    validate_data(found, ValidationConfig(graph=True, lineage=True, tracklet=True))
    axes = found["metadata"].axes or []
    return float({"nodes": len(found["node_ids"]), "edges": len(found["edge_ids"]), "axes": len(axes)}[what])


def trackmate_edges(outputs: dict[str, Path], inputs: dict[str, Path]) -> float:
    """Count the links in the TrackMate file."""
    return float(outputs["trackmate"].read_text(encoding="utf-8").count("<Edge "))


def position_rms_um(outputs: dict[str, Path], inputs: dict[str, Path]) -> float:
    """Return the root mean square distance of the table's positions from the true ones, spot by spot."""
    found = _sorted(read_positions(outputs["table"], id_column="track_id"))
    truth = _sorted(read_positions(next(iter(inputs.values())).parent / TRUTH, id_column="track_id"))
    return float(np.sqrt(((found - truth) ** 2).sum(axis=1).mean()))


def _sorted(spots: Positions) -> np.ndarray:
    """Return the positions in the order of frame, then place to the nearest µm."""
    key = np.rint(spots.position_um)
    return spots.position_um[np.lexsort((*key.T, spots.frame))]
