"""The generated time-lapse: its geometry, its noise, its movement and what it writes."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from snakescope.errors import InputError
from snakescope.synthetic import (
    Microscope,
    Truth,
    Vesicles,
    expected_photons,
    expose,
    generate_llsm,
    sample_psf,
    simulate_motion,
)

SCOPE = Microscope()


def shear_upright(raw: NDArray[np.float64], scope: Microscope) -> NDArray[np.float64]:
    """Deskew as cudaDecon does, written out a second time: linear interpolation along x."""
    nz, ny, nx = raw.shape
    angle = np.deg2rad(scope.angle_deg)
    f = np.cos(angle) * scope.voxel_size_um[0] / scope.voxel_size_um[2]
    width = int(np.floor(nx + f * nz))
    upright = np.zeros((nz, ny, width))
    for z in range(nz):
        x_in = (np.arange(width) - width / 2) - f * (z - nz / 2) + nx / 2
        for y in range(ny):
            upright[z, y] = np.interp(x_in, np.arange(nx), raw[z, y], left=0, right=0)
    return upright


def still(position_um: list[list[float]], photons: float = 1000.0) -> Truth:
    count = len(position_um)
    return Truth(
        particle_id=np.arange(count),
        frame=np.zeros(count, dtype=np.int64),
        position_um=np.array(position_um, dtype=float).reshape(count, 3),
        photons=np.full(count, photons),
        motion=np.zeros(count, dtype=np.int64),
    )


def test_upright_volume_has_the_width_of_the_real_data_set() -> None:
    real = Microscope(shape=(88, 320, 256), voxel_size_um=(0.3, 0.1, 0.1), angle_deg=31.5)
    assert real.deskewed_shape == (88, 320, 481)
    assert real.shear == pytest.approx(2.5579, abs=1e-4)
    assert real.deskewed_voxel_size_um == pytest.approx((0.15675, 0.1, 0.1), abs=1e-5)


def test_deskewed_vesicle_lies_where_the_truth_says() -> None:
    place = [3.217, 4.843, 9.961]
    truth = still([place])
    raw = expected_photons(SCOPE, truth.position_um, truth.photons)
    upright = shear_upright(raw, SCOPE)
    voxel = SCOPE.deskewed_voxel_size_um
    centroid = [
        float((np.arange(size) * voxel[axis] * upright.sum(axis=tuple({0, 1, 2} - {axis}))).sum() / upright.sum())
        for axis, size in enumerate(upright.shape)
    ]
    assert centroid == pytest.approx(place, abs=0.002)


def test_vesicle_on_a_voxel_has_the_asked_peak_and_width() -> None:
    scope = replace(SCOPE, angle_deg=60.0, side_lobe=0.0)  # shear 1.5: every even plane falls on whole voxels
    voxel = np.array(scope.deskewed_voxel_size_um)
    raw_place = np.array([20.0, 48.0, 40.0])
    upright_x = scope.upright_x(raw_place[2:], raw_place[:1])[0]
    raw = expected_photons(scope, np.array([[20.0, 48.0, upright_x]]) * voxel, np.array([500.0]))
    assert raw[20, 48, 40] == pytest.approx(500.0)
    assert raw[20, 49, 40] == pytest.approx(500 * np.exp(-0.5 * (0.1 / 0.12) ** 2))
    assert raw[22, 48, 40 - 3] == pytest.approx(500 * np.exp(-0.5 * (2 * voxel[0] / 0.2) ** 2))


def test_side_lobes_stand_at_their_distance_with_their_height() -> None:
    psf, voxel = sample_psf(SCOPE)
    middle = tuple(size // 2 for size in psf.shape)
    assert all(size % 2 for size in psf.shape)
    assert voxel == (0.1, 0.1, 0.1)
    assert psf[middle] == psf.max() == 60000
    lobe = psf[middle[0] + 9, middle[1], middle[2]]
    assert lobe / psf[middle] == pytest.approx(0.1, rel=0.01)
    assert np.array_equal(psf, psf[::-1, ::-1, ::-1])


def test_noise_is_offset_plus_shot_noise_plus_read_noise() -> None:
    scope = replace(SCOPE, haze=50.0, read_noise=3.0)
    stack = expose(scope, still([]), 0, np.random.default_rng(1)).astype(float)
    assert stack.mean() == pytest.approx(145.0, abs=0.1)
    assert stack.var() == pytest.approx(50 + 9 + 1 / 12, rel=0.01)


def test_bright_light_saturates_instead_of_wrapping_round() -> None:
    truth = still([[3.0, 4.8, 9.9]], photons=1e6)
    assert expose(SCOPE, truth, 0, np.random.default_rng(1)).max() == 65535


def test_brownian_vesicles_diffuse_at_the_asked_rate() -> None:
    truth = movie(diffusion_um2_s=0.02)
    step = displacement(truth, motion=2, lag=1)
    assert (step**2).sum(axis=1).mean() == pytest.approx(6 * 0.02, rel=0.05)


def test_directed_vesicles_keep_their_speed() -> None:
    truth = movie(speed_um_s=0.4, directed_diffusion_um2_s=0.0)
    step = np.linalg.norm(displacement(truth, motion=1, lag=1), axis=1)
    assert np.median(step) == pytest.approx(0.4, rel=1e-6)


def test_confined_vesicles_stay_within_their_cage() -> None:
    truth = movie(confinement_um=0.1)
    far = displacement(truth, motion=0, lag=15)
    # variance of the difference of two independent samples of an Ornstein-Uhlenbeck process
    assert (far**2).mean() == pytest.approx(2 * 0.1**2, rel=0.1)


def test_vesicles_stay_inside_the_scanned_volume() -> None:
    truth = movie(diffusion_um2_s=0.5, speed_um_s=2.0)
    place = truth.position_um / np.array(SCOPE.deskewed_voxel_size_um)
    raw_x = SCOPE.raw_x(place[:, 2], place[:, 0])
    assert place[:, 0].min() >= 5.1
    assert place[:, 0].max() <= 33.9
    assert raw_x.min() >= 4.8
    assert raw_x.max() <= 95 - 4.8


def test_some_vesicles_appear_and_some_vanish() -> None:
    truth = simulate_motion(SCOPE, Vesicles(count=20, transient_fraction=0.2), 8, np.random.default_rng(0))
    first = [int(truth.frame[truth.particle_id == one].min()) for one in range(20)]
    last = [int(truth.frame[truth.particle_id == one].max()) for one in range(20)]
    assert sum(frame > 0 for frame in first) == 2
    assert sum(frame < 7 for frame in last) == 2


def test_vesicles_start_apart() -> None:
    truth = simulate_motion(SCOPE, Vesicles(min_separation_um=1.2), 1, np.random.default_rng(3))
    gaps = np.linalg.norm(truth.position_um[:, None] - truth.position_um[None], axis=2)
    assert gaps[~np.eye(24, dtype=bool)].min() >= 1.2


def test_files_carry_sizes_and_truth_names_every_vesicle(tmp_path: Path) -> None:
    made = generate_llsm(tmp_path, series=2, frames=3)
    assert [path.name for path in made.images["cell2"]] == [f"cell2_ch0_stack000{n}.tif" for n in range(3)]
    with tifffile.TiffFile(made.images["cell1"][0]) as file:
        about = file.imagej_metadata or {}
        assert file.series[0].shape == (40, 96, 96)
        assert file.series[0].dtype == np.uint16
        assert (about["spacing"], about["unit"], about["finterval"]) == (0.3, "um", 1.0)
        assert file.pages.first.tags["XResolution"].value == (10, 1)
    rows = list(csv.DictReader(made.truth.read_text().splitlines()))
    assert len(rows) == 2 * 24 * 3
    assert {row["series"] for row in rows} == {"cell1", "cell2"}
    assert len({row["particle_id"] for row in rows}) == 48
    assert [float(rows[1][name]) for name in ("z_um", "y_um", "x_um")] == pytest.approx(
        made.truths["cell1"].position_um[1], abs=6e-5
    )


def test_same_seed_gives_the_same_bytes_and_another_seed_does_not(tmp_path: Path) -> None:
    one, two, other = (
        generate_llsm(tmp_path / name, seed=seed, series=1, frames=2) for name, seed in (("a", 5), ("b", 5), ("c", 6))
    )
    for path in (one.images["cell1"][1], one.psf, one.truth):
        assert path.read_bytes() == (two.folder / path.relative_to(one.folder)).read_bytes()
    assert one.truth.read_bytes() != other.truth.read_bytes()


def test_single_file_holds_all_frames_and_bare_file_holds_no_sizes(tmp_path: Path) -> None:
    files = generate_llsm(tmp_path / "files", series=1, frames=2)
    single = generate_llsm(tmp_path / "single", series=1, frames=2, layout="single")
    bare = generate_llsm(tmp_path / "bare", series=1, frames=2, metadata="bare")
    movie_pixels = tifffile.imread(single.images["cell1"][0])
    assert movie_pixels.shape == (2, 40, 96, 96)
    assert np.array_equal(movie_pixels[1], tifffile.imread(files.images["cell1"][1]))
    assert np.array_equal(movie_pixels[1], tifffile.imread(bare.images["cell1"][1]))
    with tifffile.TiffFile(bare.images["cell1"][0]) as file:
        assert file.imagej_metadata is None


def test_impossible_microscope_is_refused() -> None:
    with pytest.raises(InputError, match="an angle between 0 and 90"):
        Microscope(angle_deg=0)


def movie(**how: float) -> Truth:
    still_life = Vesicles(count=300, transient_fraction=0.0, min_separation_um=0.0)
    vesicles = replace(still_life, **how)  # type: ignore[arg-type]
    return simulate_motion(SCOPE, vesicles, 31, np.random.default_rng(7))


def displacement(truth: Truth, motion: int, lag: int) -> NDArray[np.float64]:
    """Steps (n, 3) of the vesicles of one kind that stay away from the border, where they turn back."""
    steps = []
    for one in np.unique(truth.particle_id[truth.motion == motion]):
        track = truth.position_um[truth.particle_id == one]
        place = track / np.array(SCOPE.deskewed_voxel_size_um)
        raw_x = SCOPE.raw_x(place[:, 2], place[:, 0])
        free = np.stack([place[:, 0], place[:, 1], raw_x], axis=1)
        clear = np.all((free > 10) & (free < np.array(SCOPE.shape) - 11), axis=1)
        steps.append((track[lag:] - track[:-lag])[clear[:-lag]] if motion else track[lag:] - track[:-lag])
    return np.concatenate(steps)
