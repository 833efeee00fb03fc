"""Tracking: what the options mean, the three outputs, and comparison with TrackMate and hand-made lineages."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pytest
import tifffile
from numpy.typing import NDArray
from scipy.spatial import cKDTree

import detect_spots
import track
from detect_spots import detect_volume
from snakescope.errors import InputError
from snakescope.evaluate import Positions, score_tracks
from snakescope.images import create_image
from tables import empty_points, parent_ids, read_tracks, write_points
from track import LinkOptions, assign_tracks, build_tracks, link
from track_inputs import label_objects
from trackmate import read_trackmate

Method = Literal["laptrack", "trackpy"]
METHODS = ("laptrack", "trackpy")


def points(rows: Sequence[tuple[float, ...]]) -> pd.DataFrame:
    """A points table of (frame, y, x) or (frame, z, y, x), ordered by frame."""
    names = ["frame", "z_um", "y_um", "x_um"] if rows and len(rows[0]) == 4 else ["frame", "y_um", "x_um"]
    table = pd.DataFrame(rows, columns=names).sort_values("frame", kind="stable", ignore_index=True)
    return table.assign(spot_id=np.arange(len(table))).reindex(columns=list(empty_points().columns))


def frames_of(table: pd.DataFrame) -> list[list[int]]:
    return [group["frame"].tolist() for _, group in table.groupby("track_id")]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("missing", [1, 2, 3])
def test_a_gap_is_closed_up_to_the_number_of_missing_frames_and_no_further(method: Method, missing: int) -> None:
    spots = points([(t, 0.0, 0.0) for t in (0, 1, 2)] + [(t, 0.0, 0.0) for t in (3 + missing, 4 + missing)])
    closed, _ = build_tracks(spots, LinkOptions(1.0, method, gap_frames=missing))
    open_, _ = build_tracks(spots, LinkOptions(1.0, method, gap_frames=missing - 1))
    assert closed["track_id"].nunique() == 1
    assert open_["track_id"].nunique() == 2


@pytest.mark.parametrize("method", METHODS)
def test_the_largest_distance_is_inclusive(method: Method) -> None:
    spots = points([(0, 0.0, 0.0), (1, 3.0, 4.0)])
    places = spots[["y_um", "x_um"]].to_numpy(float)
    frame = spots["frame"].to_numpy()
    assert link(frame, places, LinkOptions(5.0, method)).tolist() == [[0, 1]]
    assert link(frame, places, LinkOptions(4.99, method)).tolist() == []


def test_a_gap_has_its_own_largest_distance() -> None:
    spots = points([(0, 0.0, 0.0), (1, 0.0, 0.0), (3, 0.0, 4.0), (4, 0.0, 4.0)])
    assert build_tracks(spots, LinkOptions(1.0, gap_frames=1))[0]["track_id"].nunique() == 2
    assert build_tracks(spots, LinkOptions(1.0, gap_frames=1, gap_distance_um=4.0))[0]["track_id"].nunique() == 1


def test_trackpy_names_everything_it_cannot_do() -> None:
    options = LinkOptions(1.0, "trackpy", gap_distance_um=2.0, splitting=True, merging=True)
    with pytest.raises(InputError, match="trackpy cannot do that") as error:
        link(np.array([0, 1]), np.zeros((2, 2)), options)
    assert [item.where for item in error.value.problems] == [
        "track: splitting",
        "track: merging",
        "track: gap_distance_um",
    ]


def test_trackpy_on_crowded_spots_gives_advice() -> None:
    rng = np.random.default_rng(0)
    frame = np.repeat(np.arange(3), 200)
    with pytest.raises(InputError, match=r"max_distance_um = 5(.|\n)*apart \(median\)(.|\n)*method: laptrack"):
        link(frame, rng.uniform(0, 10, (600, 2)), LinkOptions(5.0, "trackpy"))


def test_trees_tracks_and_parents_of_a_graph_with_a_split_and_a_merge() -> None:
    """0-1 splits into 2-4 and 3-5, which merge in 6-7; 8 is alone; 3 frames lie between some of them."""
    edges = np.array([[0, 1], [1, 2], [1, 3], [2, 4], [3, 5], [4, 6], [5, 6], [6, 7]])
    tree, tracks, parents = assign_tracks(9, edges)
    assert tree.tolist() == [0] * 8 + [1]
    assert tracks.tolist() == [0, 0, 1, 2, 1, 2, 3, 3, 4]
    assert parents == [(), (0,), (0,), (1, 2), ()]


def test_short_trees_are_left_out_with_their_spots() -> None:
    spots = points([(t, 0.0, 0.0) for t in range(4)] + [(t, 50.0, 0.0) for t in range(2)] + [(3, 90.0, 0.0)])
    kept, edges = build_tracks(spots, LinkOptions(1.0), min_length=3)
    assert kept["frame"].tolist() == [0, 1, 2, 3]
    assert edges.tolist() == [[0, 1], [1, 2], [2, 3]]
    assert kept["tree_id"].tolist() == [0, 0, 0, 0]


def test_merging_joins_two_tracks() -> None:
    rows = [(t, -4.0 + t, 0.0) for t in range(4)] + [(t, 4.0 - t, 0.0) for t in range(4)]
    rows += [(t, 0.0, 0.0) for t in range(4, 8)]
    table, _ = build_tracks(points(rows), LinkOptions(1.5, merging=True))
    assert sorted(frames_of(table)) == [[0, 1, 2, 3], [0, 1, 2, 3], [4, 5, 6, 7]]
    assert parent_ids(table["parent_track_ids"].iloc[-1]) == (0, 1)


def test_objects_are_placed_at_their_centres_with_the_radius_of_their_size() -> None:
    z, y, x = np.mgrid[:20, :40, :40]
    labels = np.zeros(z.shape, np.uint16)
    labels[(z - 10) ** 2 * 9 + (y - 20) ** 2 + (x - 15) ** 2 <= 100] = 7
    labels[2:4, 2:6, 30:38] = 3
    ids, centres, radius = label_objects(labels, (0.3, 0.1, 0.1))
    assert ids.tolist() == [3, 7]
    assert centres.tolist() == [[2.5, 3.5, 33.5], [10, 20, 15]]
    assert radius[0] == pytest.approx((3 * 64 * 0.003 / (4 * np.pi)) ** (1 / 3))
    assert radius[1] == pytest.approx(1.0, rel=0.02)
    flat = label_objects(labels[10], (0.1, 0.1))
    assert flat[2][0] == pytest.approx(1.0, rel=0.02)


# --- the program ------------------------------------------------------------------------------------------------


def run(folder: Path, *flags: object) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Run the program; return the table and the graph, checked against each other and the TrackMate file."""
    from geff.core_io import read_to_memory
    from geff.validate.data import ValidationConfig, validate_data

    shutil.rmtree(folder / "tracks.geff", ignore_errors=True)
    out = {
        name: folder / file for name, file in (("tracks", "tracks.geff"), ("table", "t.csv"), ("trackmate", "t.xml"))
    }
    track.main([*map(str, flags), *(text for name, path in out.items() for text in (f"--out-{name}", str(path)))])
    graph = read_to_memory(out["tracks"])
    validate_data(graph, ValidationConfig(graph=True, lineage=True, tracklet=True))
    table, session = read_tracks(out["table"]), read_trackmate(out["trackmate"])
    assert sorted(table["spot_id"]) == sorted(session.spots["spot_id"]) == sorted(graph["node_ids"].tolist())
    assert sorted(map(tuple, session.edges.tolist())) == sorted(map(tuple, graph["edge_ids"].tolist()))
    return table, dict(graph)


def csv_file(path: Path, table: pd.DataFrame) -> Path:
    write_points(path, table)
    return path


def test_the_three_outputs_agree_and_carry_units(tmp_path: Path) -> None:
    spots = points([(t, 1.0, float(t), 2.0) for t in range(5)]).assign(t_s=np.arange(5) * 0.5, radius_um=0.25)
    table, graph = run(tmp_path, "--points", csv_file(tmp_path / "p.csv", spots), "--max-distance-um", 2)
    assert [(axis.name, axis.type, axis.unit) for axis in graph["metadata"].axes] == [
        ("t", "time", "second"),
        ("z", "space", "micrometer"),
        ("y", "space", "micrometer"),
        ("x", "space", "micrometer"),
    ]
    assert graph["node_props"]["t"]["values"].tolist() == [0, 0.5, 1, 1.5, 2]
    assert graph["node_props"]["radius_um"]["values"].tolist() == [0.25] * 5
    assert table["y_um"].tolist() == [0, 1, 2, 3, 4]


def test_an_unknown_time_step_gives_frames(tmp_path: Path) -> None:
    spots = csv_file(tmp_path / "p.csv", points([(3, 0.0, 0.0), (4, 0.0, 0.0)]))
    table, graph = run(tmp_path, "--points", spots, "--max-distance-um", 2)
    assert graph["metadata"].axes[0].unit == "frame"
    assert graph["node_props"]["t"]["values"].tolist() == [3, 4]
    assert table["t_s"].isna().all()
    assert run(tmp_path, "--points", spots, "--max-distance-um", 2, "--time-step-s", 2)[0]["t_s"].tolist() == [6, 8]


@pytest.mark.parametrize("method", METHODS)
def test_no_spots_give_empty_valid_outputs(tmp_path: Path, method: str) -> None:
    empty = csv_file(tmp_path / "p.csv", empty_points())
    table, graph = run(tmp_path, "--points", empty, "--max-distance-um", 2, "--method", method)
    assert len(table) == 0
    assert graph["edge_ids"].shape == (0, 2)


@pytest.mark.parametrize("method", METHODS)
def test_frames_without_spots_and_lone_spots_are_no_obstacle(tmp_path: Path, method: str) -> None:
    spots = csv_file(tmp_path / "p.csv", points([(0, 0.0, 0.0), (4, 0.0, 0.0), (4, 9.0, 9.0), (5, 0.0, 0.0)]))
    table, graph = run(tmp_path, "--points", spots, "--max-distance-um", 2, "--method", method)
    assert graph["edge_ids"].tolist() == [[1, 3]]
    assert table["track_id"].nunique() == 3


def test_files_of_single_time_points_are_put_in_their_places(tmp_path: Path) -> None:
    """Three files at frames 0, 1, 3, given out of order; ids are shifted by those of the files before, by time."""
    files = [csv_file(tmp_path / f"t{t}.csv", points([(0, float(t), 0.0), (0, 50.0, 0.0)])) for t in (0, 1, 3)]
    flags = ("--max-distance-um", 3, "--gap-frames", 1, "--time-step-s", 0.5)
    table, _ = run(tmp_path, "--points", files[2], files[0], files[1], "--t-index", 3, 0, 1, *flags)
    assert frames_of(table) == [[0, 1, 3], [0, 1, 3]]
    assert table["spot_id"].tolist() == [0, 2, 4, 1, 3, 5]
    assert table["t_s"].tolist() == [0, 0.5, 1.5] * 2
    assert table["y_um"].tolist() == [0, 1, 3, 50, 50, 50]


def test_files_without_an_index_follow_each_other(tmp_path: Path) -> None:
    files = [csv_file(tmp_path / f"{k}.csv", points([(0, 0.0, 0.0), (1, 0.0, 0.0)])) for k in range(2)]
    table, _ = run(tmp_path, "--points", *files, "--max-distance-um", 1)
    assert frames_of(table) == [[0, 1, 2, 3]]
    assert table["t_s"].isna().all()


def test_a_time_point_without_spots_keeps_its_place(tmp_path: Path) -> None:
    tables = [points([(0, 0.0, 0.0)]), empty_points(), points([(0, 0.0, 0.0)])]
    files = [csv_file(tmp_path / f"{k}.csv", table) for k, table in enumerate(tables)]
    table, _ = run(tmp_path, "--points", *files, "--t-index", 0, 1, 2, "--max-distance-um", 1, "--gap-frames", 1)
    assert frames_of(table) == [[0, 2]]


def test_files_that_cover_the_same_frame_are_rejected(tmp_path: Path) -> None:
    files = [csv_file(tmp_path / f"{k}.csv", points([(0, 0.0, 0.0), (1, 0.0, 0.0)])) for k in range(2)]
    with pytest.raises(InputError, match=r"1.csv: t_index: begins at frame 1, but .*0.csv reaches to frame 1"):
        run(tmp_path, "--points", *files, "--t-index", 0, 1, "--max-distance-um", 1)
    with pytest.raises(InputError, match="t_index: 1 numbers for 2 files; expected one each"):
        run(tmp_path, "--points", *files, "--t-index", 0, "--max-distance-um", 1)


def test_values_out_of_range_are_named_together(tmp_path: Path) -> None:
    flags = ("--max-distance-um", 0, "--gap-frames", -1, "--min-length", 0, "--split-distance-um", -2)
    with pytest.raises(InputError) as error:
        run(tmp_path, "--points", "p.csv", *flags)
    assert len(error.value.problems) == 4
    assert "max_distance_um: found 0; expected a finite number above 0" in str(error.value)


def test_the_same_spots_give_the_same_bytes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [(t, *place) for t in range(8) for place in rng.uniform(0, 30, (20, 2))]
    spots = csv_file(tmp_path / "p.csv", points(rows))
    flags = ("--points", spots, "--max-distance-um", 6, "--gap-frames", 2, "--splitting", "true", "--merging", "true")
    first = [(run(tmp_path, *flags), (tmp_path / name).read_bytes())[1] for name in ("t.csv", "t.xml")]
    assert first == [(tmp_path / name).read_bytes() for name in ("t.csv", "t.xml")]


def movie_file(path: Path, labels: NDArray[Any]) -> Path:
    facts = {"voxel_size_um": (None, 1.0, 1.0), "time_step_s": 300.0, "labels": True}
    with create_image(path, axes="tyx", shape=labels.shape, dtype="uint16", **facts) as image:  # type: ignore[arg-type]
        for t, frame in enumerate(labels):
            image.write(frame.astype(np.uint16), t)
    return path


def test_label_images_of_single_time_points_are_linked_across_files(tmp_path: Path) -> None:
    labels = np.zeros((3, 20, 20), np.uint16)
    for t in range(3):
        labels[t, 4 + t : 8 + t, 5:9] = 9 - t
    files = [movie_file(tmp_path / f"{t}.ome.zarr", labels[t : t + 1]) for t in range(3)]
    table, graph = run(tmp_path, "--labels", *files, "--t-index", 0, 1, 2, "--max-distance-um", 2)
    assert frames_of(table) == [[0, 1, 2]]
    assert table["y_um"].tolist() == [5.5, 6.5, 7.5]
    assert table["t_s"].tolist() == [0, 300, 600]
    assert table["radius_um"].tolist() == pytest.approx([(16 / np.pi) ** 0.5] * 3)
    assert graph["node_props"]["label"]["values"].tolist() == [9, 8, 7]


def test_an_image_of_intensities_is_no_label_image(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "float.tif", np.ones((8, 8), np.float32))
    with pytest.raises(InputError, match=r"float.tif: holds float32; expected a label image"):
        run(tmp_path, "--labels", tmp_path / "float.tif", "--voxel-size-um", "1,1,1", "--max-distance-um", 2)


# --- against other people's results -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "gap_frames", "links"),
    [("trackmate_tracks_with_gap_closing.xml", 1, 128), ("trackmate_tracks_without_gap_closing.xml", 0, 127)],
)
def test_links_are_those_of_trackmate_on_its_own_spots(
    tmp_path: Path, shared_data: Path, file: str, gap_frames: int, links: int
) -> None:
    """TrackMate 6.0.3, LAP tracker, 15 px; its MAX_FRAME_GAP of 2 is one missing frame."""
    path = shared_data / "faketracks_trackmate" / file
    flags = ("--voxel-size-um", "1,1,1", "--max-distance-um", 15, "--gap-frames", gap_frames)
    _, graph = run(tmp_path, "--points", path, *flags)
    theirs = {tuple(edge) for edge in read_trackmate(path, (1, 1, 1)).edges.tolist()}
    assert len(theirs) == links
    assert {tuple(edge) for edge in graph["edge_ids"].tolist()} == theirs


@pytest.mark.parametrize(("merging", "common", "found"), [("true", 230, 232), ("false", 227, 229)])
def test_faketracks_from_the_image_to_tracks_as_trackmate(
    tmp_path: Path, shared_data: Path, merging: str, common: int, found: int
) -> None:
    """TrackMate 3.4.2: DoG 2.5 px, threshold 4 (40 here), 15 px, one missing frame, splitting and merging."""
    folder = shared_data / "faketracks_trackmate"
    movie = movie_file(tmp_path / "movie.ome.zarr", tifffile.imread(folder / "FakeTracks.tif"))
    ours = tmp_path / "points.csv"
    detection = ("--radius-um", "2.5", "--method", "dog", "--threshold", "40")
    detect_spots.main(["--image", str(movie), "--out-points", str(ours), *detection])
    flags = ("--max-distance-um", 15, "--gap-frames", 1, "--splitting", "true", "--merging", merging)
    table, graph = run(tmp_path, "--points", ours, *flags)
    reference = read_trackmate(folder / "FakeTracks_example1.xml", (1, 1, 1))
    scale = [1000, 1, 1]
    theirs = reference.spots[["frame", "y_um", "x_um"]].to_numpy(float) * scale
    _, nearest = cKDTree(table[["frame", "y_um", "x_um"]].to_numpy(float) * scale).query(theirs)
    same = dict(zip(reference.spots["spot_id"].tolist(), table["spot_id"].to_numpy()[nearest].tolist(), strict=True))
    edges = {tuple(edge) for edge in graph["edge_ids"].tolist()}
    assert len(edges) == found
    assert len(edges & {(same[a], same[b]) for a, b in reference.edges.tolist()}) >= common


def ctc_tracks(labels: NDArray[Any], spots: pd.DataFrame) -> tuple[NDArray[np.uint16], list[tuple[int, int, int, int]]]:
    """Relabel masks by track, the Cell Tracking Challenge's way: a track ends at a gap and continues as its child."""
    masks = np.zeros(labels.shape, np.uint16)
    rows: list[tuple[int, int, int, int]] = []
    last: dict[int, int] = {}
    for track_id, one in spots.sort_values(["track_id", "frame"]).groupby("track_id"):
        parent = last[parent_ids(one["parent_track_ids"].iloc[0])[0]] if one["parent_track_ids"].iloc[0] else 0
        pieces = (one["frame"].diff() > 1).cumsum()
        for _, piece in one.groupby(pieces):
            number = len(rows) + 1
            for frame, label in zip(piece["frame"], piece["label"], strict=True):
                masks[frame][labels[frame] == label] = number
            rows.append((number, int(piece["frame"].iloc[0]), int(piece["frame"].iloc[-1]), parent))
            parent = number
        last[int(str(track_id))] = parent
    return masks, rows


def write_ctc(folder: Path, name: str, masks: NDArray[np.uint16], rows: list[tuple[int, int, int, int]]) -> None:
    folder.mkdir(parents=True)
    for t, mask in enumerate(masks):
        tifffile.imwrite(folder / f"{name}{t:03d}.tif", mask)
    lines = "".join(" ".join(map(str, row)) + "\n" for row in rows)
    (folder / f"{'res' if name == 'mask' else 'man'}_track.txt").write_text(lines)


def test_divisions_of_real_cells_are_found_as_by_hand(tmp_path: Path, shared_data: Path) -> None:
    """C2C12, 10 frames: the Cell Tracking Challenge's TRA, and all 4 divisions."""
    from ctc_metrics import evaluate_sequence  # type: ignore[import-untyped]

    folder = shared_data / "c2c12_tracks"
    labels = tifffile.imread(folder / "labels_original.tif")
    flags = ("--max-distance-um", 25, "--split-distance-um", 30, "--splitting", "true", "--gap-frames", 1)
    table, graph = run(tmp_path, "--labels", movie_file(tmp_path / "labels.ome.zarr", labels), *flags)
    label = dict(zip(graph["node_ids"].tolist(), graph["node_props"]["label"]["values"].tolist(), strict=True))
    write_ctc(tmp_path / "res", "mask", *ctc_tracks(labels, table.assign(label=table["spot_id"].map(label))))
    truth = pd.read_csv(folder / "tracks.csv").assign(label=lambda one: one["track_id"])
    truth["parent_track_ids"] = [str(parent) if parent else "" for parent in truth["parent_id"]]
    masks, rows = ctc_tracks(tifffile.imread(folder / "labels_tracked.tif"), truth)
    write_ctc(tmp_path / "gt/TRA", "man_track", masks, rows)
    write_ctc(tmp_path / "gt/SEG", "man_seg", masks, rows)
    score = evaluate_sequence(str(tmp_path / "res"), str(tmp_path / "gt"), metrics=["Valid", "TRA", "BC"], threads=1)
    assert score["Valid"] == 1
    assert score["TRA"] >= 0.99
    assert (score["gt_divisions"], score["tp_div(0)"], score["fp_div(0)"]) == (4, 4, 0)


def test_beads_in_water_diffuse_as_physics_says(shared_data: Path) -> None:
    """1 µm beads in water at 20-25 degrees: D = kT / (6 pi eta r) = 0.43-0.49 µm²/s; within 20 % from 20 frames."""
    movie = tifffile.imread(shared_data / "bulk_water_beads/bulk_water_000-019.tif")
    pixel = 1 / 2.85
    rows = []
    for t, frame in enumerate(movie):
        spots, _ = detect_volume(frame, (pixel, pixel), 1.2, dark=True)
        rows += [(t, *place) for place in spots["places_px"] * pixel]
    table, _ = build_tracks(points(rows), LinkOptions(5 * pixel, "trackpy", gap_frames=3), min_length=15)
    lags = range(1, 7)
    slope, offset = np.polyfit([lag / 24 for lag in lags], [mean_square_step(table, lag) for lag in lags], 1)
    assert table["track_id"].nunique() > 400
    assert slope / 4 == pytest.approx(0.45, rel=0.2)
    assert -0.05 < offset < 0.02  # motion blur lowers it, localisation error raises it


def mean_square_step(table: pd.DataFrame, lag: int) -> float:
    """Mean square displacement over `lag` frames, free of the common drift."""
    later = table.assign(frame=table["frame"] - lag)
    both = table.merge(later, on=["track_id", "frame"], suffixes=("", "_later"))
    step = both[["y_um_later", "x_um_later"]].to_numpy() - both[["y_um", "x_um"]].to_numpy()
    drift = pd.DataFrame(step).groupby(both["frame"].to_numpy()).transform("mean").to_numpy()
    return float(((step - drift) ** 2).sum(axis=1).mean())


@pytest.mark.parametrize("method", METHODS)
def test_brownian_particles_by_the_particle_tracking_challenges_score(method: Method) -> None:
    """20 particles, 30 frames, 200 x 200, SNR 4, 1.5 px a frame along each axis, gate 5 px."""
    movie, truth = brownian_movie(particles=20, frames=30, size=200, snr=4.0)
    rows = []
    for t, frame in enumerate(movie):
        spots, _ = detect_volume(frame, (1, 1), 2.2)
        rows += [(t, *place) for place in spots["places_px"]]
    table, _ = build_tracks(points(rows), LinkOptions(5.0, method, gap_frames=2), min_length=3)
    places = table[["y_um", "x_um"]].to_numpy(float)
    found = Positions(table["track_id"].to_numpy(), table["frame"].to_numpy(), places)
    score = score_tracks(truth, found, 5.0)
    assert (score.alpha or 0) > 0.82
    assert (score.jsc or 0) > 0.8
    assert (score.rmse_um or 9) < 0.5


def brownian_movie(particles: int, frames: int, size: int, snr: float) -> tuple[NDArray[Any], Positions]:
    """Gaussian spots of sigma 1.5 px over a background of 10, Poisson noise; SNR = A / sqrt(A + 10)."""
    rng = np.random.default_rng(0)
    height = (snr**2 + (snr**4 + 40 * snr**2) ** 0.5) / 2
    paths = rng.uniform(10, size - 10, (particles, 1, 2)) + rng.normal(0, 1.5, (particles, frames, 2)).cumsum(axis=1)
    paths = np.abs(size - 1 - np.abs(size - 1 - paths))
    y, x = np.arange(size)[:, None], np.arange(size)[None, :]
    mean = np.full((frames, size, size), 10.0)
    for path in paths:
        for t, (row, column) in enumerate(path):
            mean[t] += height * np.exp(-((y - row) ** 2) / 4.5) * np.exp(-((x - column) ** 2) / 4.5)
    number, frame = np.divmod(np.arange(particles * frames), frames)
    return rng.poisson(mean), Positions(number, frame, paths.reshape(-1, 2))


def test_the_table_is_what_the_contract_says(tmp_path: Path) -> None:
    spots = points([(t, 0.0, float(t)) for t in range(2)]).assign(quality=[1.5, np.nan])
    run(tmp_path, "--points", csv_file(tmp_path / "p.csv", spots), "--max-distance-um", 2)
    with (tmp_path / "t.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[1] == ["0", "0", "", "0", "0", "", "", "0", "0", "", "1.5", ""]
    assert rows[2] == ["0", "0", "", "1", "1", "", "", "0", "1", "", "", ""]
