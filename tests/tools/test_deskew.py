"""Deskewing: cudaDecon's own output, exact shears, and what is refused."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import tifffile

from deskew import deskew, deskewed_width, estimate_fill, main
from snakescope.errors import InputError
from snakescope.images import open_image


def write_stack(folder: Path, array: np.ndarray, axes: str = "ZYX") -> Path:
    path = folder / "raw.ome.tif"
    tifffile.imwrite(path, array, metadata={"axes": axes}, ome=True)
    return path


def test_deskew_reproduces_cudadecon_to_one_grey_level(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "llsm_cudadecon"
    reference = tifffile.imread(source / "im_deskewed.tif").astype(int)
    out = tmp_path / "out.ome.zarr"
    main(["--image", str(source / "im_raw.tif"), "--voxel-size-um", "0.3,0.1,0.1", "--out-image", str(out)])
    with open_image(out) as image:
        found = image.volume().astype(int)
        assert image.header.voxel_size_um == pytest.approx((0.3 * math.sin(math.radians(31.5)), 0.1, 0.1))
        assert image.header.dtype == "uint16"
    assert found.shape == reference.shape == (88, 320, 481)
    assert np.abs(found - reference).max() <= 1
    # the reference cuts fractions off, this rounds: no bias
    assert 0 <= (found - reference).mean() < 0.5


def test_deskew_shifts_by_whole_pixels_without_interpolating() -> None:
    volume = np.random.default_rng(0).integers(0, 1000, (6, 4, 10)).astype(np.uint16)
    sheared = deskew(volume, 60, 0.2, 0.1, fill=5)  # cos 60 * 0.2 / 0.1 = 1 pixel a plane
    assert sheared.shape == (6, 4, 16)
    for z in range(6):
        first = z  # of the plane in the output: (16 - 10) / 2 + (z - 3)
        np.testing.assert_array_equal(sheared[z, :, first : first + 9], volume[z, :, :9])
        assert (sheared[z, :, :first] == 5).all()
        assert (sheared[z, :, first + 10 :] == 5).all()


def test_deskew_of_negative_angle_is_the_mirror_image() -> None:
    volume = np.random.default_rng(1).random((7, 3, 30)).astype(np.float32)
    there = deskew(volume, 31.5, 0.3, 0.1, fill=np.nan)
    back = deskew(volume[..., ::-1], -31.5, 0.3, 0.1, fill=np.nan)[..., ::-1]
    both = np.isfinite(there) & np.isfinite(back)
    assert both.mean() > 0.5
    np.testing.assert_allclose(there[both], back[both], atol=1e-5)


def test_deskew_interpolates_a_ramp_exactly_and_keeps_float() -> None:
    ramp = np.tile(np.arange(40, dtype=np.float32), (5, 2, 1))
    sheared = deskew(ramp, 31.5, 0.3, 0.1, fill=-1)
    shift = math.cos(math.radians(31.5)) * 3
    x = np.arange(sheared.shape[2])
    for z in range(5):
        expected = x + (40 - sheared.shape[2]) / 2 - shift * (z - 2.5)
        inside = sheared[z, 0] >= 0
        assert 38 <= inside.sum() <= 39
        np.testing.assert_allclose(sheared[z, 0][inside], expected[inside], atol=1e-4)
    assert sheared.dtype == np.float32


def test_deskew_width_follows_cudadecon() -> None:
    assert deskewed_width(256, 88, 31.5, 0.3, 0.1) == 481
    assert deskewed_width(256, 88, -31.5, 0.3, 0.1) == 481
    assert deskewed_width(100, 10, 89.999, 0.3, 0.1) == 100


def test_fill_estimate_is_the_camera_background() -> None:
    rng = np.random.default_rng(2)
    volume = np.rint(rng.normal(98, 3, (4, 50, 50))).astype(np.uint16)
    volume[:, 20:30, 20:30] += 500
    assert abs(estimate_fill(volume) - 98) <= 1


def test_deskew_treats_every_frame_and_channel_alike(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    series = rng.integers(90, 200, (2, 2, 5, 6, 20)).astype(np.uint16)
    out = tmp_path / "out.ome.zarr"
    args = ["--voxel-size-um", "0.3,0.1,0.1", "--time-step-s", "2", "--fill", "90", "--angle-deg", "-45"]
    main(["--image", str(write_stack(tmp_path, series, "TCZYX")), *args, "--out-image", str(out)])
    with open_image(out) as image:
        assert (image.header.axes, image.header.time_step_s) == ("tczyx", 2)
        for t, c in np.ndindex(2, 2):
            np.testing.assert_array_equal(image.volume(t, c), deskew(series[t, c], -45, 0.3, 0.1, fill=90))


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "voxel size along z.*voxel size along x"),
        (["--voxel-size-um", "0.3,0.1,0.1", "--angle-deg", "0"], "found 0; expected an angle between 0 and 90"),
        (["--voxel-size-um", "0.3,0.1,0.1", "--angle-deg", "90"], "found 90; expected an angle"),
        (["--voxel-size-um", "0.3,0.1,0.1", "--fill", "-1"], "a grey level that uint16 can hold"),
        (["--voxel-size-um", "300,0.1,0.1"], "from 20 to 12809 pixels.*Check the voxel size"),
    ],
)
def test_deskew_refuses_what_cannot_be_right(tmp_path: Path, args: list[str], message: str) -> None:
    path = write_stack(tmp_path, np.full((5, 6, 20), 100, np.uint16))
    with pytest.raises(InputError, match=f"(?s){message}"):
        main(["--image", str(path), *args, "--out-image", str(tmp_path / "out.ome.zarr")])
    assert not (tmp_path / "out.ome.zarr").exists()


def test_deskew_refuses_a_plane(tmp_path: Path) -> None:
    path = write_stack(tmp_path, np.full((6, 20), 100, np.uint16), "YX")
    with pytest.raises(InputError, match="expected a stack of planes"):
        main(["--image", str(path), "--voxel-size-um", "1,1,1", "--out-image", str(tmp_path / "out.ome.zarr")])
