"""Spot detection: the filters' scale, places between voxels, the automatic threshold, and TrackMate's own results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from scipy.spatial import cKDTree

import detect_spots
from detect_spots import (
    Method,
    automatic_threshold,
    detect_volume,
    filter_sigmas,
    local_maxima,
    matched_gain,
    mean_intensity,
    spot_response,
    suppress,
)
from snakescope.errors import InputError
from snakescope.images import create_image
from tables import read_points
from trackmate import read_trackmate

Floats = NDArray[np.float64]


def grid(shape: Sequence[int], step: int, rng: np.random.Generator) -> Floats:
    """Places on a grid, each moved by up to half a voxel."""
    axes = [np.arange(step // 2, size, step) for size in shape]
    nodes = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(shape))
    return nodes + rng.uniform(-0.5, 0.5, nodes.shape)


def draw(shape: Sequence[int], places: Floats, sigma_px: Sequence[float], height: float) -> Floats:
    image = np.zeros(shape)
    at = np.indices(shape).astype(float)
    for place in places:
        window = tuple(slice(max(0, int(p - 5 * s)), int(p + 5 * s) + 2) for p, s in zip(place, sigma_px, strict=True))
        offset = [(at[axis][window] - place[axis]) / sigma_px[axis] for axis in range(len(shape))]
        image[window] += height * np.exp(-sum(d**2 for d in offset) / 2)
    return image


def errors(truth: Floats, found: Floats) -> Floats:
    """Found minus true place of every true spot, which must all be found."""
    distance, nearest = cKDTree(found).query(truth)
    assert distance.max() < 3
    offset: Floats = found[nearest] - truth
    return offset


@pytest.mark.parametrize("method", ["log", "dog"])
@pytest.mark.parametrize(("shape", "sigma"), [((90, 90), (2.0, 2.0)), ((30, 50, 50), (1.5, 3.0, 3.0))])
def test_the_peak_response_is_the_height_of_a_spot_of_the_given_size(
    method: Method, shape: tuple[int, ...], sigma: tuple[float, ...]
) -> None:
    image = draw(shape, np.array([[n // 2 for n in shape]]), sigma, 100.0)
    response = spot_response(image, np.array(sigma), method)
    assert response.dtype == np.float32
    assert response.max() == pytest.approx(100, rel=0.03 if method == "log" else 0.1)


@pytest.mark.parametrize("sigma", [0.5, 0.8, 2.5])
def test_a_sloping_background_gives_no_response(sigma: float) -> None:
    y, x = np.mgrid[:64, :64]
    response = spot_response(1e4 + 20.0 * x + 5.0 * y, np.array([sigma, sigma]), "log")
    assert np.abs(response[20:-20, 20:-20]).max() < 0.05


def test_detection_is_the_same_for_every_sample_type() -> None:
    image = np.rint(draw((60, 60), np.array([[20.3, 30.6]]), (1.5, 1.5), 100) + 10)
    found = [detect_volume(image.astype(kind), (1, 1), 2.1)[0] for kind in ("uint8", ">u2", "int32", "float64")]
    assert [len(one["quality"]) for one in found] == [1, 1, 1, 1]
    np.testing.assert_array_equal(found[0]["places_px"], found[1]["places_px"])
    np.testing.assert_array_equal(found[0]["places_px"], found[3]["places_px"])


@pytest.mark.parametrize("method", ["log", "dog"])
@pytest.mark.parametrize("sigma", [1.2, 1.8, 3.0])
def test_places_of_spots_without_noise_are_right_to_a_hundredth_of_a_pixel(method: Method, sigma: float) -> None:
    rng = np.random.default_rng(0)
    truth = grid((240, 240), 24, rng)
    image = draw((240, 240), truth, (sigma, sigma), 1000)
    found, _ = detect_volume(image, (1, 1), sigma * 2**0.5, method=method)
    assert len(found["quality"]) == 100
    assert np.abs(errors(truth, found["places_px"])).max() < 0.02
    assert np.sqrt((errors(truth, found["places_px"]) ** 2).mean()) < 0.01


def test_places_in_anisotropic_voxels_are_right_along_every_axis() -> None:
    truth = grid((48, 96, 96), 24, np.random.default_rng(0))
    image = draw((48, 96, 96), truth, (0.7, 2.1, 2.1), 1000)
    found, _ = detect_volume(image, (0.3, 0.1, 0.1), 0.21 * 3**0.5)
    rms = np.sqrt((errors(truth, found["places_px"]) ** 2).mean(axis=0))
    assert len(found["quality"]) == len(truth)
    assert rms[0] < 0.03
    assert rms[1:].max() < 0.01


@pytest.mark.parametrize(("snr", "recall", "rms_px"), [(7, 1.0, 0.13), (4, 0.99, 0.23), (2, 0.65, 0.5)])
def test_places_in_noise_by_the_challenges_signal_to_noise(snr: float, recall: float, rms_px: float) -> None:
    """Height A over background 10, Poisson noise; SNR = A / sqrt(A + 10); sigma 1.77 px; error along one axis."""
    height = (snr**2 + (snr**4 + 40 * snr**2) ** 0.5) / 2
    rng = np.random.default_rng(0)
    truth = grid((400, 400), 20, rng)
    image = rng.poisson(draw((400, 400), truth, (1.77, 1.77), height) + 10)
    found, _ = detect_volume(image, (1, 1), 2.5)
    distance, nearest = cKDTree(found["places_px"]).query(truth)
    near = distance < 3
    assert near.mean() >= recall
    assert len(found["quality"]) - len(set(nearest[near])) <= 2  # spots that are none
    assert np.sqrt((distance[near] ** 2).mean() / 2) < rms_px


@pytest.mark.parametrize("shape", [(64, 64), (256, 256), (8, 64, 64), (32, 128, 128)])
def test_the_automatic_threshold_lets_next_to_nothing_through_in_noise(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    counts = [
        len(detect_volume(rng.normal(100, 10, shape), (0.3, 0.1, 0.1)[-len(shape) :], 0.3)[0]["quality"])
        for _ in range(10)
    ]
    assert sum(counts) <= 5


def test_the_automatic_threshold_is_about_five_standard_deviations_in_a_camera_frame() -> None:
    rng = np.random.default_rng(0)
    response = spot_response(rng.normal(0, 1, (512, 512)), np.array([1.5, 1.5]), "log")
    assert automatic_threshold(response, np.array([1.5, 1.5])) / response.std() == pytest.approx(5.3, abs=0.3)


@pytest.mark.parametrize("level", [0, 7, 60000])
def test_an_image_of_one_level_has_no_spots(level: int) -> None:
    found, least = detect_volume(np.full((50, 50), level, np.uint16), (1, 1), 2)
    assert len(found["quality"]) == 0
    assert least > 0


def test_a_plateau_is_one_maximum() -> None:
    response = np.zeros((7, 7), np.float32)
    response[2:4, 2:5] = 5
    response[6, 6] = 3
    assert local_maxima(response, 1).tolist() == [[2, 2], [6, 6]]


def test_a_better_spot_removes_worse_ones_within_the_radius_only() -> None:
    places = np.array([[0.0, 0.0], [0.0, 1.5], [0.0, 3.0], [9.0, 9.0]])
    assert suppress(places, np.array([5.0, 4.0, 3.0, 1.0]), 2.0).tolist() == [True, False, True, True]
    assert suppress(places, np.array([3.0, 4.0, 3.5, 1.0]), 2.0).tolist() == [False, True, False, True]


def test_the_intensity_is_the_mean_within_the_radius_and_within_the_image() -> None:
    image = np.arange(25.0).reshape(5, 5)
    peaks = np.array([[2, 2], [0, 0]])
    found = mean_intensity(image, peaks, np.array([1.0, 1.0]))
    assert found.tolist() == [12.0, pytest.approx((0 + 1 + 5) / 3)]


def test_max_spots_keeps_the_best() -> None:
    places = np.array([[20.0, 20.0], [20.0, 60.0], [60.0, 20.0]])
    image = sum(draw((80, 80), places[[k]], (2, 2), height) for k, height in enumerate((100.0, 300.0, 200.0)))
    found, _ = detect_volume(np.asarray(image), (1, 1), 2.83, max_spots=2)
    assert np.rint(found["places_px"]).tolist() == [[20, 60], [60, 20]]


# --- against TrackMate ------------------------------------------------------------------------------------------


def compare(movie: NDArray[np.uint8], reference: Path, radius: float, method: Method, least: float | None) -> Floats:
    """Distances of TrackMate's spots to ours, ours over TrackMate's quality, and our number of spots."""
    spots = read_trackmate(reference, (1, 1, 1)).spots
    found = [detect_volume(frame, (1, 1), radius, method=method, threshold=least)[0] for frame in movie]
    ours = np.concatenate([np.insert(one["places_px"], 0, 1000 * t, axis=1) for t, one in enumerate(found)])
    theirs = spots[["frame", "y_um", "x_um"]].to_numpy(float) * [1000, 1, 1]
    distance, nearest = cKDTree(ours).query(theirs)
    ratio = np.concatenate([one["quality"] for one in found])[nearest] / spots["quality"].to_numpy()
    return np.stack([distance, ratio, np.full(len(spots), len(ours))])


def test_the_difference_of_gaussians_finds_the_spots_of_trackmate_and_no_others(shared_data: Path) -> None:
    """TrackMate 3.4.2: DoG, radius 2.5 px, threshold 4 on its scale, which is ours times `matched_gain`."""
    folder = shared_data / "faketracks_trackmate"
    movie = tifffile.imread(folder / "FakeTracks.tif")
    gain = matched_gain(2, "dog")
    distance, ratio, count = compare(movie, folder / "FakeTracks_example1.xml", 2.5, "dog", 4 / gain)
    assert count[0] == 243
    assert distance.max() < 0.5
    assert np.sqrt((distance**2).mean()) < 0.08
    np.testing.assert_allclose(ratio * gain, 1, atol=0.003)


def test_the_laplacian_finds_the_spots_of_trackmate_and_no_others(shared_data: Path) -> None:
    """TrackMate 6.0.3: LoG, radius 5 px, quality above 3.7114 on its scale, which is ours times 2 / radius^2."""
    folder = shared_data / "faketracks_trackmate"
    movie = tifffile.imread(folder / "FakeTracks.tif")
    reference = folder / "trackmate_tracks_with_gap_closing.xml"
    distance, ratio, count = compare(movie, reference, 5, "log", 3.711399741568016 * 12.5)
    assert count[0] == 134
    assert np.sqrt((distance**2).mean()) < 0.03
    np.testing.assert_allclose(ratio / 12.5, 1, atol=0.002)


def test_the_automatic_threshold_keeps_the_spots_of_trackmate(shared_data: Path) -> None:
    folder = shared_data / "faketracks_trackmate"
    movie = tifffile.imread(folder / "FakeTracks.tif")
    distance, _, count = compare(movie, folder / "FakeTracks_example1.xml", 2.5, "dog", None)
    assert (distance < 0.5).sum() == 243
    assert count[0] <= 265


# --- the program ------------------------------------------------------------------------------------------------


def image_file(folder: Path, frames: Sequence[NDArray[Any]], axes: str = "tyx", **facts: object) -> Path:
    path = folder / "image.ome.zarr"
    shape = (len(frames), *frames[0].shape)
    given = {"voxel_size_um": (0.3, 0.1, 0.1), "time_step_s": 2.0} | facts
    with create_image(path, axes=axes, shape=shape, dtype="uint16", **given) as image:  # type: ignore[arg-type]
        for number, frame in enumerate(frames):
            image.write(frame.astype(np.uint16), **({"c": number} if axes[0] == "c" else {"t": number}))
    return path


def run(image: Path, *flags: str) -> Path:
    points = image.parent / "points.csv"
    detect_spots.main(["--image", str(image), "--out-points", str(points), "--radius-um", "0.212", *flags])
    return points


def test_positions_are_written_in_voxels_micrometres_and_seconds(tmp_path: Path) -> None:
    frames = [np.zeros((50, 60)), draw((50, 60), np.array([[20.0, 30.2]]), (1.5, 1.5), 1000)]
    table = read_points(run(image_file(tmp_path, frames)))
    spot = table.iloc[0]
    assert len(table) == 1
    assert (spot["spot_id"], spot["frame"], spot["t_s"]) == (0, 1, 2.0)
    assert spot[["y_px", "x_px"]].tolist() == pytest.approx([20, 30.2], abs=0.01)
    assert spot[["y_um", "x_um"]].tolist() == pytest.approx([2.0, 3.02], abs=0.001)
    assert np.isnan(spot["z_um"])
    assert spot["radius_um"] == 0.212
    assert spot["quality"] == pytest.approx(1000, rel=0.05)


def test_spots_of_a_stack_have_a_depth(tmp_path: Path) -> None:
    stack = draw((20, 40, 40), np.array([[10.2, 20.0, 25.0]]), (0.7, 2.0, 2.0), 1000)
    table = read_points(run(image_file(tmp_path, [stack], axes="tzyx"), "--radius-um", "0.35"))
    assert table[["z_px", "z_um"]].iloc[0].tolist() == pytest.approx([10.2, 3.06], abs=0.05)


def test_a_stack_of_one_plane_is_searched_in_2d(tmp_path: Path) -> None:
    plane = draw((50, 60), np.array([[20.0, 30.0]]), (1.5, 1.5), 1000)
    table = read_points(run(image_file(tmp_path, [plane[np.newaxis]], axes="tzyx", voxel_size_um=(None, 0.1, 0.1))))
    assert len(table) == 1
    assert table["z_um"].isna().all()


def test_the_channel_is_the_one_asked_for(tmp_path: Path) -> None:
    channels = [np.zeros((50, 50)), draw((50, 50), np.array([[20.0, 30.0]]), (1.5, 1.5), 1000)]
    image = image_file(tmp_path, channels, axes="cyx", channels=("DAPI", "GFP"))
    assert len(read_points(run(image))) == 0
    assert len(read_points(run(image, "--channel", "1"))) == 1
    with pytest.raises(InputError, match=r"channel: found 2; image.ome.zarr has 2 channels \(DAPI, GFP\)"):
        run(image, "--channel", "2")


def test_an_image_without_spots_gives_a_table_without_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    points = run(image_file(tmp_path, [np.full((40, 40), 5.0)] * 3))
    assert len(read_points(points)) == 0
    assert "0 spots in 3 frames" in capsys.readouterr().out


def test_the_same_image_gives_the_same_bytes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frames = [rng.poisson(draw((80, 80), grid((80, 80), 16, rng), (1.5, 1.5), 60) + 10) for _ in range(3)]
    image = image_file(tmp_path, frames)
    assert run(image).read_bytes() == run(image).read_bytes()


def test_every_value_that_cannot_work_is_named(tmp_path: Path) -> None:
    image = image_file(tmp_path, [np.zeros((40, 40))])
    with pytest.raises(InputError) as error:
        run(image, "--radius-um", "212", "--threshold", "0", "--max-spots", "0", "--channel", "-1")
    text = str(error.value)
    assert len(error.value.problems) == 4
    assert "212 µm is 2120 pixels in an image of 40 x 40" in text
    assert "threshold: found 0; expected a number above 0" in text


def test_a_radius_below_the_pixel_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"0.05 µm is 0.5 pixels; expected at least 0.71"):
        run(image_file(tmp_path, [np.zeros((40, 40))]), "--radius-um", "0.05")


def test_an_image_without_a_pixel_size_needs_the_flag(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "bare.tif", np.zeros((40, 40), np.uint8))
    with pytest.raises(InputError, match="voxel size"):
        run(tmp_path / "bare.tif")
    assert len(read_points(run(tmp_path / "bare.tif", "--voxel-size-um", "1,0.1,0.1"))) == 0


def test_values_that_are_not_finite_are_rejected(tmp_path: Path) -> None:
    image = np.zeros((40, 40), np.float32)
    image[3, 4] = np.nan
    tifffile.imwrite(tmp_path / "holes.tif", image)
    with pytest.raises(InputError, match=r"holes.tif: frame 0: holds values that are not finite"):
        run(tmp_path / "holes.tif", "--voxel-size-um", "1,0.1,0.1")


def test_filter_sigmas_follow_the_voxels() -> None:
    np.testing.assert_allclose(filter_sigmas(0.3 * 3**0.5, (0.3, 0.1, 0.1)), [1, 3, 3])


def test_an_empty_border_does_not_lower_the_automatic_threshold() -> None:
    rng = np.random.default_rng(3)
    volume = np.zeros((24, 96, 96), np.float32)
    volume[:, 30:66, 30:66] = rng.normal(100, 5, (24, 36, 36))
    volume[:, :30] = volume[:, 66:] = volume[:, :, :30] = volume[:, :, 66:] = 100
    response = spot_response(volume, np.array([1.2, 1.5, 1.5]), "log")
    found = local_maxima(response, automatic_threshold(response, np.array([1.2, 1.5, 1.5])))
    assert np.median(np.abs(response)) < 0.05  # the deviation alone would take noise for spots
    assert len(found) <= 1
