"""Deconvolution: cudaDecon's own output, known truth, exact transfer functions, and what is refused."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from scipy import fft

from deconvolve import deconvolve_volume, main, place, plan_frame, prepare
from psf import PsfStack, RadialOtf, half_width_um, is_radial_otf, load_psf, transfer_function
from richardson_lucy import richardson_lucy
from snakescope.errors import InputError
from snakescope.images import open_image

LLSM_UM = (0.3, 0.1, 0.1)
OTF_UM = (0.1, 0.1, 0.1)
UNIT = (1.0, 1.0, 1.0)


def gaussian(shape: tuple[int, ...], centre: tuple[float, ...], sigma: tuple[float, ...]) -> NDArray[np.float32]:
    spot: NDArray[np.float64] = np.ones(())
    for n, c, s in zip(shape, centre, sigma, strict=True):
        spot = spot[..., None] * np.exp(-0.5 * ((np.arange(n) - c) / s) ** 2)
    return (1000 * spot).astype(np.float32)


def likeness(found: NDArray[Any], reference: NDArray[Any], border: int) -> tuple[float, float, float]:
    """NCC, and RMS of the difference over the reference's RMS and over its range, inside a border on all axes."""
    inside = tuple(slice(border, n - border) for n in reference.shape)
    a, b = found[inside].astype(float), reference[inside].astype(float)
    error = float(np.sqrt(np.mean((a - b) ** 2)))
    ncc = float(np.corrcoef(a.ravel(), b.ravel())[0, 1])
    return ncc, error / float(np.sqrt(np.mean(b**2))), error / float(np.ptp(b))


def write(path: Path, array: NDArray[Any], axes: str = "ZYX") -> str:
    tifffile.imwrite(path, array, metadata={"axes": axes}, ome=True)
    return str(path)


# cudaDecon


def test_padded_result_of_the_whole_stack_is_cudadecons_inside_the_border(shared_data: Path, tmp_path: Path) -> None:
    source, out = shared_data / "llsm_cudadecon", tmp_path / "out.ome.zarr"
    args = ["--image", str(source / "im_deskewed.tif"), "--psf", str(source / "otf.tif"), "--out-image", str(out)]
    facts = ["--voxel-size-um", "0.3,0.1,0.1", "--psf-z-um", "0.1", "--psf-xy-um", "0.1"]
    main([*args, *facts, "--background", "98", "--iterations", "10", "--softening-px", "15", "--threads", "2"])
    with open_image(out) as image:
        result = image.volume()
        assert image.header.voxel_size_um == pytest.approx(LLSM_UM)
    assert result.shape == (88, 320, 481)
    assert result.dtype == np.float32
    assert result.min() >= 0
    ncc, over_rms, over_range = likeness(result[:84, :, :480], tifffile.imread(source / "im_decon.tif"), 20)
    assert ncc >= 0.99998
    assert over_rms <= 0.0065
    assert over_range <= 0.00015


def test_periodic_result_of_cudadecons_crop_is_cudadecons_everywhere(shared_data: Path) -> None:
    source = shared_data / "llsm_cudadecon"
    image = tifffile.imread(source / "im_deskewed.tif")[:84, :, :480]  # the sizes that cudaDecon cut it to
    otf = load_psf(tifffile.imread(source / "otf.tif"), OTF_UM)
    blur, frame = prepare(image.shape, LLSM_UM, otf, edges="periodic", threads=2)
    assert frame.padded == image.shape
    result = deconvolve_volume(image, blur, frame, iterations=10, background=98)
    ncc, over_rms, _ = likeness(result, tifffile.imread(source / "im_decon.tif"), 0)
    assert ncc >= 0.9999999
    assert over_rms <= 1e-5


def test_measured_psf_comes_close_to_the_radial_otf_made_from_it(shared_data: Path) -> None:
    source = shared_data / "llsm_cudadecon"
    stack = load_psf(tifffile.imread(source / "psf.tif"), OTF_UM)
    assert isinstance(stack, PsfStack)
    assert stack.background == 142
    image = tifffile.imread(source / "im_deskewed.tif")[:84, :, :480]
    blur, frame = prepare(image.shape, LLSM_UM, stack, edges="periodic", threads=2)
    result = deconvolve_volume(image, blur, frame, iterations=10, background=98)
    # without removing its background and noise the same PSF gives 0.09
    assert likeness(result, tifffile.imread(source / "im_decon.tif"), 20)[0] >= 0.975


# known truth


@pytest.mark.parametrize(
    ("accelerated", "iterations", "at_least"),
    [(False, 10, 27.4), (False, 30, 28.5), (False, 100, 29.4), (False, 200, 29.8), (True, 10, 28.1), (True, 30, 29.2)],
)
def test_bars_come_closer_to_the_truth(shared_data: Path, accelerated: bool, iterations: int, at_least: float) -> None:
    source = shared_data / "bars_deconvolutionlab2"
    truth, data, kernel = (tifffile.imread(source / f"{name}.tif") for name in ("actual", "data", "kernel"))

    def psnr(estimate: NDArray[Any]) -> float:
        scaled = estimate * float((estimate * truth).sum() / (estimate * estimate).sum())
        return float(20 * np.log10(np.ptp(truth) / np.sqrt(np.mean((scaled - truth) ** 2))))

    blur, frame = prepare(data.shape, LLSM_UM, load_psf(kernel, LLSM_UM), threads=2)
    assert psnr(data) == pytest.approx(26.2, abs=0.05)
    assert psnr(deconvolve_volume(data, blur, frame, iterations=iterations, accelerated=accelerated)) >= at_least


@pytest.mark.parametrize("psf_shape", [(13, 15, 17), (14, 16, 18), (16, 15, 14)])
@pytest.mark.parametrize("offset", [(0.0, 0.0, 0.0), (0.4, -0.3, 0.25)])
@pytest.mark.parametrize("accelerated", [True, False])
def test_point_stays_in_place(
    psf_shape: tuple[int, int, int], offset: tuple[float, float, float], accelerated: bool
) -> None:
    sigma, shape, at = (1.5, 1.3, 1.3), (22, 35, 28), (10.3, 18.6, 13.0)
    middle = tuple(n // 2 + o for n, o in zip(psf_shape, offset, strict=True))
    blur, frame = prepare(shape, UNIT, load_psf(gaussian(psf_shape, middle, sigma), UNIT))
    result = deconvolve_volume(gaussian(shape, at, sigma), blur, frame, iterations=10, accelerated=accelerated)
    for axis, expected in enumerate(at):
        profile = result.sum(axis=tuple(i for i in range(3) if i != axis), dtype=float)
        assert np.dot(profile, np.arange(len(profile))) / profile.sum() == pytest.approx(expected, abs=0.01)
    assert result.sum(dtype=float) == pytest.approx(gaussian(shape, at, sigma).sum(dtype=float), rel=1e-3)


@pytest.mark.parametrize("at", [(1, 20, 24), (12, 1, 24), (12, 20, 46), (0, 0, 0)])
def test_point_at_a_face_leaves_no_ghost_at_the_other(at: tuple[int, int, int]) -> None:
    sigma, shape = (2.0, 1.5, 1.5), (24, 40, 48)
    blur, frame = prepare(shape, UNIT, load_psf(gaussian((17, 17, 17), (8, 8, 8), sigma), UNIT))
    result = deconvolve_volume(gaussian(shape, at, sigma), blur, frame, iterations=30)
    distance = np.sqrt(sum((np.indices(shape)[i] - at[i]) ** 2 for i in range(3)))
    assert result[distance > 14].max() <= 1e-4 * result.max()


def test_even_light_stays_even_up_to_the_border() -> None:
    blur, frame = prepare((9, 30, 31), UNIT, load_psf(gaussian((9, 9, 9), (4, 4, 4), (1, 1.5, 1.5)), UNIT))
    result = deconvolve_volume(np.full((9, 30, 31), 50, np.uint16), blur, frame, iterations=50)
    np.testing.assert_allclose(result, 50, rtol=1e-4)


def test_result_is_finite_and_not_negative_for_hard_images() -> None:
    rng = np.random.default_rng(0)
    blur, frame = prepare((8, 24, 24), UNIT, load_psf(gaussian((7, 9, 9), (3, 4, 4), (1, 1.5, 1.5)), UNIT))
    lone = np.zeros((8, 24, 24), np.float32)
    lone[4, 12, 12] = 6e4
    for image in (lone, lone * 1e-9, rng.poisson(0.02, lone.shape), -np.ones(lone.shape), np.zeros(lone.shape)):
        for accelerated in (True, False):
            result = deconvolve_volume(image, blur, frame, iterations=100, accelerated=accelerated)
            assert result.dtype == np.float32
            assert np.isfinite(result).all()
            assert result.min() >= 0
    assert result.max() == 0  # nothing above the background gives nothing


def test_result_does_not_depend_on_scale_or_threads() -> None:
    image = np.random.default_rng(1).poisson(gaussian((10, 40, 37), (5, 20, 18), (3, 5, 5)) + 5).astype(np.float32)
    psf = load_psf(gaussian((9, 9, 9), (4, 4, 4), (1.2, 1.5, 1.5)), UNIT)
    results = []
    for threads in (1, 3):
        blur, frame = prepare(image.shape, UNIT, psf, threads=threads)
        results.append(deconvolve_volume(image, blur, frame))
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_allclose(deconvolve_volume(image * 2.0**-20, blur, frame) * 2.0**20, results[0], rtol=1e-3)


def test_memory_stays_below_seven_volumes_of_the_transform() -> None:
    image = np.random.default_rng(2).random((48, 160, 160)).astype(np.float32)
    blur, frame = prepare(image.shape, UNIT, load_psf(gaussian((9, 9, 9), (4, 4, 4), (1.2, 1.5, 1.5)), UNIT))
    placed = place(image, frame, 0)
    tracemalloc.start()
    richardson_lucy(placed, blur, 4)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    own = placed.nbytes + 2 * blur.otf.nbytes  # image, transfer function, spectrum: made before
    assert (own + peak) / placed.nbytes <= 7


# PSF


def test_transfer_function_is_the_transform_of_the_psf_whatever_its_grid() -> None:
    sigma_um, shape, voxel_um = (0.4, 0.2, 0.2), (24, 40, 45), (0.3, 0.1, 0.12)
    k = np.meshgrid(fft.fftfreq(24, 0.3), fft.fftfreq(40, 0.1), fft.rfftfreq(45, 0.12), indexing="ij", sparse=True)
    expected = np.exp(-2 * np.pi**2 * sum((f * s) ** 2 for f, s in zip(k, sigma_um, strict=True)))
    for psf_um, psf_shape in (((0.1, 0.1, 0.1), (41, 22, 23)), ((0.15, 0.08, 0.08), (32, 31, 30))):
        sigma = tuple(s / u for s, u in zip(sigma_um, psf_um, strict=True))
        centre = tuple(n / 2 - 0.3 for n in psf_shape)
        found = transfer_function(load_psf(gaussian(psf_shape, centre, sigma), psf_um), shape, voxel_um)
        assert found.dtype == np.complex64
        assert np.abs(found - expected).max() < 2e-3


def test_psf_background_noise_and_neighbour_are_removed() -> None:
    rng = np.random.default_rng(4)
    bead = 5 * gaussian((31, 40, 40), (15.3, 19.6, 20.2), (3, 2, 2))
    neighbour = 2 * gaussian((31, 40, 40), (15, 19, 39), (3, 2, 2))
    psf = load_psf(rng.normal(100 + bead + neighbour, 6), UNIT)
    assert isinstance(psf, PsfStack)
    assert psf.background == pytest.approx(100, abs=0.5)
    assert psf.centre == pytest.approx((15.3, 19.6, 20.2), abs=0.05)
    assert psf.volume.sum() == pytest.approx(bead.sum(), rel=0.05)


def test_radial_otf_is_recognised_by_its_content(shared_data: Path) -> None:
    source = shared_data / "llsm_cudadecon"
    otf = tifffile.imread(source / "otf.tif")
    assert is_radial_otf(otf)
    assert isinstance(load_psf(otf, OTF_UM), RadialOtf)
    for other in (tifffile.imread(source / "psf.tif")[30], gaussian((64, 122), (32, 61), (3, 3)), np.ones((65, 122))):
        assert not is_radial_otf(np.asarray(other, dtype=np.float32))
    with pytest.raises(InputError, match="expected a radial OTF as cudaDecon writes it"):
        load_psf(np.ones((65, 122), np.float32), OTF_UM, kind="otf")


def test_width_of_a_psf_is_that_of_its_light() -> None:
    psf = load_psf(gaussian((33, 41, 41), (16, 20, 20), (3, 2, 2)), (0.2, 0.1, 0.1))
    assert half_width_um(psf, 0.9) == pytest.approx((1.645 * 0.6, 0.33, 0.33), abs=0.15)


def test_padding_is_at_least_as_wide_as_the_psf_and_fast() -> None:
    psf = load_psf(gaussian((33, 41, 41), (16, 20, 20), (3, 5, 2)), UNIT)
    assert plan_frame((23, 101, 509), UNIT, psf).padded == (33, 120, 540)
    assert plan_frame((23, 101, 509), UNIT, psf, edges="periodic").padded == (24, 105, 512)


# the program


def arguments(tmp_path: Path, image: NDArray[Any], psf: NDArray[Any], *extra: str) -> list[str]:
    files = ["--image", write(tmp_path / "i.ome.tif", image, "TCZYX"[-image.ndim :])]
    files += ["--psf", write(tmp_path / "p.ome.tif", psf, "ZYX"[-psf.ndim :])]
    return [*files, "--out-image", str(tmp_path / "out.ome.zarr"), *extra]


FACTS = ("--voxel-size-um", "1,1,1", "--psf-z-um", "1", "--psf-xy-um", "1")
IMAGE = gaussian((12, 24, 26), (6, 12, 13), (1.5, 2, 2)) + 100
PSF = gaussian((9, 11, 11), (4, 5, 5), (1.5, 2, 2))


def test_program_treats_every_frame_and_channel_alike(tmp_path: Path) -> None:
    series = np.stack([[IMAGE, 2 * IMAGE], [3 * IMAGE, IMAGE]]).astype(np.uint16)
    main(arguments(tmp_path, series, PSF, *FACTS, "--background", "100", "--time-step-s", "3"))
    blur, frame = prepare(IMAGE.shape, UNIT, load_psf(PSF, UNIT))
    with open_image(tmp_path / "out.ome.zarr") as image:
        assert image.header.time_step_s == 3
        for t, c in np.ndindex(2, 2):
            expected = deconvolve_volume(series[t, c], blur, frame, background=100)
            np.testing.assert_array_equal(image.volume(t, c), expected)


def test_program_writes_an_empty_frame_as_zero_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    series = np.stack([IMAGE, np.full_like(IMAGE, 90)])[:, None].astype(np.uint16)
    main(arguments(tmp_path, series, PSF, *FACTS, "--background", "100"))
    with open_image(tmp_path / "out.ome.zarr") as image:
        assert image.volume(0, 0).max() > 1000
        assert image.volume(1, 0).max() == 0
    assert "t 1, c 0: no voxel above the background, written as 0" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("image", "psf", "extra", "message"),
    [
        (IMAGE, PSF, (), "voxel size along z, y, x is unknown"),
        (IMAGE, PSF, ("--voxel-size-um", "1,1,1"), "does not say its voxel size.*psf_z_um and psf_xy_um"),
        (IMAGE, np.zeros_like(PSF), FACTS, "nothing is left of the PSF"),
        (IMAGE, -PSF, FACTS, "nothing is left of the PSF"),
        (IMAGE, PSF * np.nan, FACTS, "PSF holds values that are not finite"),
        (IMAGE[:3], PSF, FACTS, "PSF is larger than the image.*z 3 voxels = 3 µm"),
        (IMAGE[:, :6, :6], PSF, FACTS, "PSF is larger than the image.*larger image or a tighter PSF"),
        (IMAGE, PSF, ("--voxel-size-um", "100,100,100", *FACTS[2:]), "PSF is smaller than a voxel of the image"),
        (IMAGE, PSF[4], FACTS, "the PSF is a plane, the image a stack of 12 planes"),
        (IMAGE[6], PSF, FACTS, "the PSF is a stack, the image a plane"),
        (np.where(IMAGE > 1000, np.nan, IMAGE), PSF, FACTS, "t 0, c 0: 1 voxels are not finite"),
        (IMAGE, PSF, (*FACTS, "--background", "5000"), "no voxel is above the background of 5000"),
        (IMAGE, PSF, (*FACTS, "--iterations", "0", "--psf-z-um", "-1"), "--iterations: .*--psf-z-um: found -1"),
    ],
)
def test_program_refuses_bad_input(
    tmp_path: Path, image: NDArray[Any], psf: NDArray[Any], extra: tuple[str, ...], message: str
) -> None:
    with pytest.raises(InputError, match=f"(?s){message}"):
        main(arguments(tmp_path, image, psf, *extra))
