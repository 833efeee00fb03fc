"""Richardson-Lucy iterations on one volume, at the speed of their Fourier transforms.

The arithmetic is cudaDecon's (https://github.com/scopetools/cudadecon), float32 throughout: Richardson 1972
(10.1364/JOSA.62.000055), Lucy 1974 (10.1086/111605), acceleration by Biggs and Andrews 1997 (10.1364/AO.36.001766).
This module knows nothing about edges, backgrounds, PSFs or files.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import fft

Shape = tuple[int, int, int]
Volume = NDArray[np.float32]
Result = TypeVar("Result")

EPSILON = np.float32(np.finfo(np.float32).eps)
LARGEST_RATIO = np.float32(10)  # cudaDecon's limit on measured / predicted, against a background set too high
BLOCK_BYTES = 1024 * 1024  # of spectrum worked on at a time, so that it stays in a core's own cache


class Blur:
    """Convolution with one transfer function on one grid, in place on a single spectrum.

    The transform along z, the product with the transfer function and the transform back run block by block in
    y, and the transforms in y and x plane by plane, so no pass over the volume is made for the product alone.

    Parameters
    ----------
    otf
        Shape (z, y, x // 2 + 1), complex64, as `psf.transfer_function` gives it.
    width
        Size of the grid along x.
    threads
        How many planes or blocks are worked on at once. The result does not depend on it.
    """

    def __init__(self, otf: NDArray[np.complex64], width: int, threads: int = 1) -> None:
        self.otf = otf
        self.plane: tuple[int, int] = (otf.shape[1], width)
        self.shape: Shape = (otf.shape[0], *self.plane)
        self.threads = threads
        self.workers = threads if otf.shape[0] == 1 else 1  # a lone plane is split inside its transform
        self._spectrum = np.empty_like(otf)
        rows = max(1, BLOCK_BYTES // (otf.itemsize * otf.shape[0] * otf.shape[2]))
        self._blocks = [slice(y, y + rows) for y in range(0, otf.shape[1], rows)]

    def forward(self, z: int, plane: Volume) -> None:
        """Put the transform in y and x of plane `z` into the spectrum; may overwrite the plane."""
        self._spectrum[z] = fft.rfft2(plane, workers=self.workers, overwrite_x=True)

    def backward(self, z: int) -> Volume:
        """Plane `z` of the result, as a new array."""
        plane: Volume = fft.irfft2(self._spectrum[z], s=self.plane, workers=self.workers, overwrite_x=True)
        return plane

    def apply(self, pool: ThreadPoolExecutor, *, transposed: bool) -> None:
        """Multiply the spectrum by the transfer function, or by its conjugate for the transposed blur."""

        def block_of_rows(rows: slice) -> None:
            view = self._spectrum[:, rows]
            block = fft.fft(view, axis=0) if self.shape[0] > 1 else view
            otf = self.otf[:, rows]
            np.multiply(block, np.conjugate(otf) if transposed else otf, out=block)
            if self.shape[0] > 1:
                view[...] = fft.ifft(block, axis=0, overwrite_x=True)

        list(pool.map(block_of_rows, self._blocks))

    def each_plane(self, pool: ThreadPoolExecutor, work: Callable[[int], Result]) -> list[Result]:
        """Call `work` for every plane, several at once; results in the order of planes."""
        return list(pool.map(work, range(self.shape[0])))


def richardson_lucy(image: Volume, blur: Blur, iterations: int, *, accelerated: bool = True) -> Volume:
    """Deconvolve one volume that already has the size of the transform.

    Parameters
    ----------
    image
        Shape of `blur`, float32, not negative, not all 0, background removed. Also the first estimate.
    iterations
        1 or more.
    accelerated
        Biggs-Andrews prediction before each iteration from the third on, at the cost of two more volumes.

    Returns
    -------
    Estimate, float32, same shape, not negative and finite.
    """
    run = _iterate_accelerated if accelerated else _iterate
    with ThreadPoolExecutor(blur.threads) as pool:
        return run(image, blur, iterations, pool)


def _correct(image: Volume, blur: Blur, pool: ThreadPoolExecutor) -> None:
    """From the estimate's spectrum to that of the correction: blur, divide the image by it, blur transposed."""
    smallest = np.float32(EPSILON * image.max())

    def ratio(z: int) -> None:
        predicted = blur.backward(z)
        np.maximum(predicted, smallest, out=predicted)
        np.divide(image[z], predicted, out=predicted)
        predicted += EPSILON
        np.minimum(predicted, LARGEST_RATIO, out=predicted)
        blur.forward(z, predicted)

    blur.apply(pool, transposed=False)
    blur.each_plane(pool, ratio)
    blur.apply(pool, transposed=True)


def _iterate(image: Volume, blur: Blur, iterations: int, pool: ThreadPoolExecutor) -> Volume:
    estimate = image.copy()

    def start(z: int) -> None:
        blur.forward(z, estimate[z].copy())

    def update(z: int) -> None:
        correction = blur.backward(z)
        np.maximum(correction, 0, out=correction)
        estimate[z] *= correction
        np.copyto(correction, estimate[z])
        blur.forward(z, correction)

    blur.each_plane(pool, start)
    for _ in range(iterations):
        _correct(image, blur, pool)
        blur.each_plane(pool, update)
    return estimate


def _iterate_accelerated(image: Volume, blur: Blur, iterations: int, pool: ThreadPoolExecutor) -> Volume:
    """Richardson-Lucy from a predicted point y = x + step (x - x before), step = (g . g before) / (g before)^2.

    g is the change that an iteration made to its prediction. Only y, g and the estimate before are stored; the
    estimate itself is y + g.
    """
    predicted, before, change = image.copy(), np.zeros_like(image), np.zeros_like(image)
    step = np.float32(0)

    def predict(z: int) -> None:
        estimate = predicted[z] + change[z]
        np.maximum(estimate, 0, out=estimate)
        if step > 0:
            np.subtract(estimate, before[z], out=predicted[z])
            predicted[z] *= step
            predicted[z] += estimate
            np.maximum(predicted[z], 0, out=predicted[z])
        else:
            predicted[z] = estimate
        before[z] = estimate
        np.copyto(estimate, predicted[z])
        blur.forward(z, estimate)

    def update(z: int) -> tuple[float, float]:
        estimate = blur.backward(z)
        estimate *= predicted[z]
        np.maximum(estimate, 0, out=estimate)
        estimate -= predicted[z]
        along, size = _dot(estimate, change[z]), _dot(estimate, estimate)
        change[z] = estimate
        return along, size

    previous_size = 0.0
    for iteration in range(iterations):
        blur.each_plane(pool, predict)
        _correct(image, blur, pool)
        along, size = np.sum(blur.each_plane(pool, update), axis=0)
        usable = iteration > 0 and previous_size > 0
        step = np.float32(np.clip(along / previous_size, 0, 1) if usable else 0)
        previous_size = size
    predicted += change
    return np.maximum(predicted, 0, out=predicted)


def _dot(a: Volume, b: Volume) -> float:
    """Scalar product of two planes: float32 along a row, float64 over rows."""
    return float(np.einsum("yx,yx->y", a, b).sum(dtype=np.float64))
