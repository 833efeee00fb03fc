"""Measures of tracks and spots: formulas, what is unknown, and refusals."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile

import measure
from snakescope.errors import InputError
from snakescope.tool.base import parse, read_yaml
from snakescope.tool.spec import ToolSpec

ROOT = Path(__file__).resolve().parents[2]

HEADER = "tree_id,track_id,parent_track_ids,spot_id,frame,t_s,z_um,y_um,x_um,radius_um,quality,intensity"
MSD = measure.MsdSettings()


def line(frames: int, step: tuple[float, ...] = (0.0, 3.0, 4.0)) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    frame = np.arange(frames)
    return frame, frame * 2.0, frame[:, None] * np.array(step)


def run(folder: Path, rows: list[str], *flags: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    table = folder / "tracks.csv"
    table.write_text("\n".join([HEADER, *rows]) + "\n")
    out = folder / "t.csv", folder / "s.csv"
    measure.main(["--table", str(table), *flags, "--out-tracks", str(out[0]), "--out-spots", str(out[1])])
    return pd.read_csv(out[0]), pd.read_csv(out[1])


def test_msd_of_straight_movement_grows_with_the_square_of_the_lag() -> None:
    frame, _, place = line(6)
    assert measure.mean_squared_displacement(frame, place, 3).tolist() == [25, 100, 225]


def test_msd_counts_pairs_by_frames_across_a_gap() -> None:
    frame, place = np.array([0, 1, 4, 5]), np.array([[0.0], [1.0], [7.0], [8.0]])
    msd = measure.mean_squared_displacement(frame, place, 6)
    assert msd[:2].tolist() == [1, pytest.approx(math.nan, nan_ok=True)]
    assert msd[2:5].tolist() == [36, (49 + 49) / 2, 64]
    assert math.isnan(msd[5])


def test_diffusion_coefficient_ignores_a_constant_offset() -> None:
    lag = np.arange(1.0, 5.0)
    msd: measure.Floats = 2 * 3 * 0.05 * lag * 0.5 + 0.04
    assert measure.diffusion_coefficient(msd, 3, 0.5) == pytest.approx(0.05)
    assert math.isnan(measure.diffusion_coefficient(msd[:1], 3, 0.5))


def test_exponent_of_a_track_that_stands_still_is_unknown() -> None:
    assert math.isnan(measure.anomalous_exponent(np.zeros(4)))


def test_uneven_times_give_speeds_and_no_diffusion_coefficient() -> None:
    frame, _, place = line(6)
    t_s = np.array([0.0, 2.0, 4.0, 7.0, 9.0, 11.0])
    found = measure.measure_track(frame, t_s, place, MSD)
    assert found["mean_speed_um_s"] == pytest.approx(25 / 11)
    assert found["max_speed_um_s"] == pytest.approx(2.5)
    assert math.isnan(found["diffusion_um2_s"])


def test_short_tracks_have_no_diffusion_coefficient_and_no_exponent() -> None:
    four, seven = (measure.measure_track(*line(frames), MSD) for frames in (4, 7))
    assert math.isnan(four["diffusion_um2_s"])
    assert not math.isnan(seven["diffusion_um2_s"])
    assert math.isnan(seven["msd_alpha"])


def test_track_of_one_spot_has_no_speed_and_no_straightness(tmp_path: Path) -> None:
    tracks, spots = run(tmp_path, ["0,0,,0,3,6,1,1,1,0.2,1,50"])
    assert tracks.iloc[0][["n_spots", "frame_start", "path_length_um", "mean_intensity"]].to_list() == [1, 3, 0, 50]
    assert tracks[["straightness", "mean_speed_um_s", "max_speed_um_s", "msd_alpha"]].isna().all(axis=None)
    assert spots[["step_um", "speed_um_s"]].isna().all(axis=None)


def test_spots_of_different_tracks_are_not_joined(tmp_path: Path) -> None:
    rows = ["0,0,,0,0,0,,1,1,0.2,1,5", "0,0,,1,1,1,,1,2,0.2,1,7", "1,1,,2,0,0,,9,9,0.2,1,", "1,1,,3,1,1,,9,7,0.2,1,4"]
    tracks, spots = run(tmp_path, rows)
    assert spots["step_um"].tolist() == pytest.approx([math.nan, 1, math.nan, 2], nan_ok=True)
    assert tracks["mean_speed_um_s"].tolist() == [1, 2]
    assert tracks["mean_intensity"].tolist() == pytest.approx([6, math.nan], nan_ok=True)


def test_empty_table_gives_empty_tables_with_headers(tmp_path: Path) -> None:
    tracks, spots = run(tmp_path, [])
    assert (len(tracks), len(spots)) == (0, 0)
    assert tuple(tracks.columns) == measure.TRACK_COLUMNS
    assert tuple(spots.columns) == measure.SPOT_COLUMNS


def test_two_spots_in_one_frame_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="track 4 has more than one spot in frame 2; expected one"):
        run(tmp_path, ["0,4,,0,2,,,1,1,0.2,1,", "0,4,,1,2,,,1,2,0.2,1,"])


def test_ball_is_a_ball_in_micrometres() -> None:
    volume = np.zeros((9, 21, 21))
    volume[4, 10, 10] = 1.0
    mean, brightest, background = measure.measure_ball(volume, np.array([4.0, 10, 10]), np.array([1.0, 3.0, 3.0]))
    # z is three times coarser: the lattice points of (z/1)^2 + (y/3)^2 + (x/3)^2 <= 1 are 29 + 2
    assert mean == pytest.approx(1 / 31)
    assert (brightest, background) == (1, 0)


def test_ball_smaller_than_a_voxel_takes_the_nearest() -> None:
    image = np.arange(25.0).reshape(5, 5)
    assert measure.measure_ball(image, np.array([2.4, 1.6]), np.array([0.1, 0.1]))[:2] == (12, 12)


def test_frames_follow_t_index_and_missing_frames_stay_empty(tmp_path: Path) -> None:
    paths = []
    for level in (10, 20):
        paths.append(tmp_path / f"{level}.tif")
        tifffile.imwrite(paths[-1], np.full((5, 9, 9), level, np.uint16))
    rows = [f"0,0,,{n},{frame},{frame},2,4,4,1,1," for n, frame in enumerate((3, 5, 7))]
    flags = ["--image", *map(str, paths), "--t-index", "7", "3", "--voxel-size-um", "1,1,1"]
    _, spots = run(tmp_path, rows, *flags)
    assert spots["ball_mean"].tolist() == pytest.approx([20, math.nan, 10], nan_ok=True)


def test_images_that_do_not_fit_together_are_all_reported(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.tif", "b.tif", "c.tif")]
    for path, shape in zip(paths, ((7, 9, 9), (7, 9, 8), (6, 9, 9)), strict=True):
        tifffile.imwrite(path, np.zeros(shape, np.uint16))
    with pytest.raises(InputError) as caught:
        run(tmp_path, ["0,0,,0,0,0,2,4,4,1,1,"], "--image", *map(str, paths), "--voxel-size-um", "1,1,1")
    assert [problem.message for problem in caught.value.problems] == [
        "is 8 along x; expected 9 as in a.tif",
        "is 6 along z; expected 7 as in a.tif",
    ]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "does not say how large a voxel is along z, y, x"),
        (["--voxel-size-um", "1,1,1", "--channel", "1"], "has channels 0 to 0"),
        (["--voxel-size-um", "1,1,1", "--t-index", "0", "1"], "found 2 numbers for 1 image files"),
        (["--voxel-size-um", "1,1,1", "--scene", "2"], r"has 1 scene\(s\), numbered from 0; scene 2 was asked for"),
    ],
)
def test_missing_facts_are_asked_for(tmp_path: Path, flags: list[str], message: str) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((5, 9, 9), np.uint16))
    with pytest.raises(InputError, match=message):
        run(tmp_path, ["0,0,,0,0,0,2,4,4,1,1,"], "--image", str(path), *flags)


def test_spots_without_radius_need_one(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((5, 9, 9), np.uint16))
    with pytest.raises(InputError, match="radius_um: empty or not above 0 in 1 rows"):
        run(tmp_path, ["0,0,,0,0,0,2,4,4,,1,"], "--image", str(path), "--voxel-size-um", "1,1,1")


def test_descriptor_and_program_agree_on_the_defaults() -> None:
    descriptor = parse(ToolSpec, read_yaml(ROOT / "tools/measure/tool.yaml"), ROOT / "tools/measure/tool.yaml")
    program = {action.dest: action.default for action in measure._parser()._actions}
    for key, param in descriptor.params.items():
        default = tuple(param.default) if isinstance(param.default, list) else param.default
        assert program[key] == default, key
