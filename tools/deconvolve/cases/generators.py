"""Blurred images of known objects with their PSFs, and what to measure in the result."""

# ruff: noqa: ARG001 - every check takes outputs and inputs
from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter
from scipy.signal import fftconvolve

from snakescope.images import open_image

Paths = dict[str, Path]


def _gaussian(shape: list[int], centre: list[float], sigma: list[float]) -> NDArray[np.float64]:
    """A Gaussian of volume 1 on a grid; all in voxels, one value an axis."""
    spot = np.ones(())
    for n, c, s in zip(shape, centre, sigma, strict=True):
        spot = spot[..., None] * np.exp(-0.5 * ((np.arange(n) - c) / s) ** 2) / (s * np.sqrt(2 * np.pi))
    return spot


def _write(path: Path, array: NDArray[np.generic], axes: str) -> Path:
    tifffile.imwrite(path, array, metadata={"axes": axes}, ome=True)
    return path


def point_source(
    folder: Path,
    *,
    shape: list[int],
    at: list[float],
    psf_shape: list[int],
    psf_at: list[float],
    sigma: list[float],
    psf_background: float = 0,
    dtype: str = "float32",
) -> Paths:
    """One blurred point of 1e6 counts on nothing, and its Gaussian PSF anywhere in an array of any size.

    All sizes and places in voxels, one value an axis (z, y, x or y, x).
    """
    axes = "ZYX"[-len(shape) :]
    image = 1e6 * _gaussian(shape, at, sigma)
    psf = 1e4 * _gaussian(psf_shape, psf_at, sigma) + psf_background
    return {
        "image": _write(folder / "image.ome.tif", image.astype(dtype), axes),
        "psf": _write(folder / "psf.ome.tif", psf.astype(np.float32), axes),
    }


def beads(folder: Path, *, seed: int = 1, count: int = 12, offset: float = 100) -> Paths:
    """Points on a dark ground, blurred, with Poisson noise and a camera offset: 2 frames, 2 channels, uint16.

    24 x 48 x 56 voxels of 0.3 x 0.1 x 0.1 µm; the PSF has a plane distance of 0.1 µm. Channel 1 is twice as
    bright as channel 0. The truth is written beside the image as truth.npy, float64, (t, c, z, y, x).
    """
    rng = np.random.default_rng(seed)
    truth = np.zeros((2, 2, 24, 48, 56))
    for t in range(2):
        at = rng.integers([4, 8, 8], [20, 40, 48], size=(count, 3))
        truth[t, 0][tuple(at.T)] = rng.uniform(2e4, 5e4, count)
        truth[t, 1] = 2 * truth[t, 0]
    blur = _gaussian([15, 15, 15], [7, 7, 7], [1.2, 1.8, 1.8])
    clean = np.stack([[fftconvolve(volume, blur, mode="same") for volume in frame] for frame in truth])
    noisy = rng.poisson(np.maximum(clean, 0)) + rng.normal(offset, 1, clean.shape)
    np.save(folder / "truth.npy", truth)
    psf = 1e5 * _gaussian([33, 22, 21], [16.2, 10.4, 10], [3.6, 1.8, 1.8]) + rng.normal(offset, 1, (33, 22, 21))
    return {
        "image": _write(folder / "image.ome.tif", np.rint(noisy).clip(0, 65535).astype(np.uint16), "TCZYX"),
        "psf": _write(folder / "psf.ome.tif", np.rint(psf).astype(np.uint16), "ZYX"),
    }


def _result(outputs: Paths, t: int = 0, c: int = 0) -> NDArray[np.float64]:
    with open_image(outputs["image"]) as image:
        return image.volume(t, c).astype(np.float64)


def centroid(outputs: Paths, inputs: Paths, *, axis: str) -> float:
    """Centre of mass along an axis in voxels."""
    volume = _result(outputs)
    index = "zyx"[-volume.ndim :].index(axis)
    profile = volume.sum(axis=tuple(i for i in range(volume.ndim) if i != index))
    return float(np.dot(profile, np.arange(len(profile))) / profile.sum())


def light(outputs: Paths, inputs: Paths) -> float:
    """Sum of the result."""
    return float(_result(outputs).sum())


def sharpening(outputs: Paths, inputs: Paths) -> float:
    """Highest value of the result over that of the image."""
    return float(_result(outputs).max() / tifffile.imread(inputs["image"]).max())


def lowest(outputs: Paths, inputs: Paths) -> float:
    """Smallest value of the result; not a number if any is not finite."""
    return float(_result(outputs).min())


def far_light(outputs: Paths, inputs: Paths, *, at: list[float], distance: float) -> float:
    """Brightest voxel further than a distance from a place, over the brightest of all."""
    volume = _result(outputs)
    places = np.indices(volume.shape)
    away = np.sqrt(sum((p - a) ** 2 for p, a in zip(places, at, strict=True)))
    return float(volume[away > distance].max() / volume.max())


def likeness_to_truth(outputs: Paths, inputs: Paths, *, t: int, c: int) -> float:
    """Correlation of the result with the truth, both smoothed over the 3 x 3 x 3 neighbourhood."""
    return _likeness(_result(outputs, t, c), inputs, t, c)


def likeness_gained(outputs: Paths, inputs: Paths, *, t: int, c: int) -> float:
    """By how much the result is more like the truth than the image was."""
    with open_image(inputs["image"]) as image:
        blurred = _likeness(image.volume(t, c).astype(np.float64), inputs, t, c)
    return _likeness(_result(outputs, t, c), inputs, t, c) - blurred


def _likeness(volume: NDArray[np.float64], inputs: Paths, t: int, c: int) -> float:
    truth = np.load(inputs["image"].parent / "truth.npy")[t, c]
    return float(np.corrcoef(*(uniform_filter(v, 3).ravel() for v in (volume, truth)))[0, 1])


def channel_ratio(outputs: Paths, inputs: Paths, *, t: int = 0) -> float:
    """Light of channel 1 over that of channel 0."""
    return float(_result(outputs, t, 1).sum() / _result(outputs, t, 0).sum())
