"""Scores of spots, links and tracks on cases whose answer is worked out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from snakescope.errors import InputError
from snakescope.evaluate import (
    EdgeScore,
    Positions,
    SpotScore,
    TrackScore,
    match_spots,
    read_positions,
    score_edges,
    score_spots,
    score_tracks,
    track_edges,
)
from snakescope.synthetic import generate_llsm

GATE = 1.0


def tracks(*rows: tuple[int, int, float, float, float]) -> Positions:
    """Rows of (track, frame, z, y, x)."""
    table = np.array(rows, dtype=float).reshape(-1, 5)
    return Positions(table[:, 0].astype(np.int64), table[:, 1].astype(np.int64), table[:, 2:])


def two_lines(frames: int = 10, shift: float = 0.0) -> Positions:
    """Two particles 100 um apart that move along x."""
    return tracks(*((one, t, 0.0, 100.0 * one + shift, 2.0 * t) for one in (0, 1) for t in range(frames)))


def all_scores(truth: Positions, found: Positions) -> tuple[SpotScore, EdgeScore, TrackScore]:
    return score_spots(truth, found, GATE), score_edges(truth, found, GATE), score_tracks(truth, found, GATE)


def test_identity_scores_one_everywhere() -> None:
    truth = two_lines()
    spots, edges, result = all_scores(truth, truth)
    assert (spots.recall, spots.precision, spots.jaccard, spots.rms_error_um) == (1, 1, 1, 0)
    assert (edges.truth, edges.matched, edges.recall, edges.precision) == (18, 18, 1, 1)
    assert (result.alpha, result.beta, result.jsc, result.jsc_theta, result.rmse_um) == (1, 1, 1, 1, 0)


def test_constant_shift_lowers_alpha_by_its_share_of_the_gate() -> None:
    truth, found = two_lines(), two_lines(shift=0.25)
    spots, result = score_spots(truth, found, GATE), score_tracks(truth, found, GATE)
    assert spots.rms_error_um == pytest.approx(0.25)
    assert spots.bias_um == pytest.approx((0, 0.25, 0))
    assert (result.alpha, result.beta) == pytest.approx((0.75, 0.75))
    assert (result.jsc, result.jsc_theta, result.rmse_um) == pytest.approx((1, 1, 0.25))


def test_shift_beyond_the_gate_finds_nothing() -> None:
    truth, found = two_lines(), two_lines(shift=1.5)
    spots, edges, result = all_scores(truth, found)
    assert (spots.matched, spots.recall, spots.precision, spots.rms_error_um) == (0, 0, 0, None)
    assert (edges.matched, edges.recall) == (0, 0)
    assert (result.alpha, result.beta, result.jsc, result.jsc_theta, result.rmse_um) == (0, 0, 0, 0, None)
    assert (result.paired, result.missed, result.spurious) == (0, 2, 2)


def test_missing_track_halves_recall_and_alpha_but_not_precision() -> None:
    truth = two_lines()
    found = tracks(*((0, t, 0.0, 0.0, 2.0 * t) for t in range(10)))
    spots, edges, result = all_scores(truth, found)
    assert (spots.recall, spots.precision, spots.jaccard) == (0.5, 1, 0.5)
    assert (edges.recall, edges.precision, edges.jaccard) == (0.5, 1, 0.5)
    assert (result.alpha, result.beta, result.jsc, result.jsc_theta) == (0.5, 0.5, 0.5, 0.5)


def test_spurious_track_lowers_beta_and_not_alpha() -> None:
    found = two_lines()
    truth = tracks(*((0, t, 0.0, 0.0, 2.0 * t) for t in range(10)))
    spots, result = score_spots(truth, found, GATE), score_tracks(truth, found, GATE)
    assert (spots.recall, spots.precision) == (1, 0.5)
    assert (result.alpha, result.beta, result.jsc, result.jsc_theta) == (1, 0.5, 0.5, 0.5)


def test_track_split_in_two_loses_one_link_and_half_its_positions() -> None:
    truth = tracks(*((0, t, 0.0, 0.0, 2.0 * t) for t in range(10)))
    found = tracks(*((int(t >= 5), t, 0.0, 0.0, 2.0 * t) for t in range(10)))
    edges, result = score_edges(truth, found, GATE), score_tracks(truth, found, GATE)
    assert (edges.matched, edges.recall, edges.precision) == (8, 8 / 9, 1)
    # one half is paired (5 of 10 positions), the other is a spurious track of 5 positions
    assert (result.alpha, result.beta) == pytest.approx((5 / 10, 5 / 15))
    assert (result.jsc, result.jsc_theta) == pytest.approx((5 / 15, 1 / 2))


def test_found_positions_beyond_the_true_track_cost_one_gate_each() -> None:
    truth = tracks(*((0, t, 0.0, 0.0, 0.0) for t in range(4)))
    found = tracks(*((0, t, 0.0, 0.0, 0.0) for t in range(6)))
    result = score_tracks(truth, found, GATE)
    assert (result.alpha, result.jsc) == pytest.approx((1 - 2 / 4, 4 / 6))


def test_pair_that_costs_more_than_none_is_no_pair() -> None:
    truth = tracks((0, 0, 0.0, 0.0, 0.0))
    found = tracks(*((0, t, 0.0, 0.0, 0.0) for t in range(3)))  # one hit, two positions too many
    result = score_tracks(truth, found, GATE)
    assert (result.paired, result.alpha, result.jsc) == (0, 0, 0)


def test_swapped_identities_keep_all_spots_and_lose_the_crossing_links() -> None:
    truth = two_lines(frames=4)
    found = Positions(np.where(truth.frame >= 2, 1 - truth.track_id, truth.track_id), truth.frame, truth.position_um)
    assert score_spots(truth, found, GATE).jaccard == 1
    edges = score_edges(truth, found, GATE)
    assert (edges.truth, edges.found, edges.matched) == (6, 6, 4)


def test_assignment_is_optimal_and_not_greedy() -> None:
    truth = tracks((0, 0, 0, 0, 0.0), (1, 0, 0, 0, 1.0))
    found = tracks((0, 0, 0, 0, 0.6), (1, 0, 0, 0, 1.5))  # greedy takes 0.6 -> 1.0 and leaves 1.5 with nothing
    left, right = match_spots(truth, found, GATE)
    assert list(zip(left.tolist(), right.tolist(), strict=True)) == [(0, 0), (1, 1)]


def test_spots_of_different_frames_are_never_paired() -> None:
    assert score_spots(tracks((0, 0, 0, 0, 0)), tracks((0, 1, 0, 0, 0)), GATE).matched == 0


def test_link_across_a_gap_is_not_a_true_link() -> None:
    truth = tracks(*((0, t, 0.0, 0.0, 0.0) for t in range(3)))
    found = tracks((0, 0, 0.0, 0.0, 0.0), (0, 2, 0.0, 0.0, 0.0))
    edges = score_edges(truth, found, GATE)
    assert (edges.truth, edges.found, edges.matched) == (2, 1, 0)


def test_branch_links_the_last_spot_of_the_parent_to_the_first_of_the_child() -> None:
    both = tracks((0, 1, 0, 0, 0), (0, 0, 0, 0, 0), (1, 2, 0, 0, 1), (2, 2, 0, 0, -1))
    assert sorted(map(tuple, track_edges(both, [(1, 0), (2, 0)]).tolist())) == [(0, 2), (0, 3), (1, 0)]
    assert score_edges(both, both, GATE, truth_parents=[(1, 0), (2, 0)], found_parents=[(1, 0)]).recall == 2 / 3


def test_nothing_found_gives_zero_recall_and_no_precision() -> None:
    nothing = Positions(np.empty(0, np.int64), np.empty(0, np.int64), np.empty((0, 3)))
    spots, edges, result = all_scores(two_lines(), nothing)
    assert (spots.recall, spots.precision, spots.rms_error_um) == (0, None, None)
    assert (edges.recall, edges.precision) == (0, None)
    assert (result.alpha, result.beta, result.jsc, result.rmse_um) == (0, 0, 0, None)
    assert score_tracks(nothing, nothing, GATE).alpha is None


def test_track_with_two_positions_in_a_frame_is_refused() -> None:
    twice = tracks((7, 3, 0, 0, 0), (7, 3, 0, 0, 1))
    with pytest.raises(InputError, match="track 7 has 2 positions in frame 3; expected one"):
        score_tracks(twice, twice, GATE)


def test_gate_and_dimensions_are_checked() -> None:
    truth = two_lines()
    with pytest.raises(InputError, match="gate_um: found 0; expected a distance above 0"):
        score_spots(truth, truth, 0)
    flat = Positions(truth.track_id, truth.frame, truth.position_um[:, 1:])
    with pytest.raises(InputError, match="truth has 3 coordinates and found 2"):
        score_spots(truth, flat, GATE)
    assert score_spots(flat, flat, GATE).recall == 1


def test_truth_file_reads_back_as_the_truth_of_its_series(tmp_path: Path) -> None:
    made = generate_llsm(tmp_path, series=2, frames=3)
    read = read_positions(made.truth, id_column="particle_id", series="cell2")
    truth = made.truths["cell2"]
    as_made = Positions(truth.particle_id, truth.frame, truth.position_um)
    score = score_tracks(as_made, read, GATE)
    assert score.paired == 24
    assert score.alpha == pytest.approx(1, abs=1e-4)


def test_table_without_z_reads_as_flat_and_bad_table_is_explained(tmp_path: Path) -> None:
    path = tmp_path / "tracks.csv"
    path.write_text("track_id,frame,z_um,y_um,x_um\n0,0,,1.5,2.5\n")
    assert read_positions(path, id_column="track_id").position_um.tolist() == [[1.5, 2.5]]
    path.write_text("track_id,frame,y_um\n")
    with pytest.raises(InputError, match=r"tracks.csv: lacks the columns x_um, z_um"):
        read_positions(path, id_column="track_id")
    path.write_text("track_id,frame,z_um,y_um,x_um\n0,0,,one,2.5\n")
    with pytest.raises(InputError, match="could not convert string to float: 'one'"):
        read_positions(path, id_column="track_id")
    with pytest.raises(InputError, match=r"none.csv: cannot be read: No such file"):
        read_positions(tmp_path / "none.csv", id_column="track_id")
