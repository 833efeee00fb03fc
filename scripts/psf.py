"""Turn a measured or modelled point-spread function into the transfer function of one image grid.

A PSF comes either as a stack (a bead, or a model) or as a radially averaged transfer function as cudaDecon
writes it. Both are evaluated directly at the spatial frequencies of the image, so a PSF with another voxel
size, an odd or even size, or a centre between voxels needs no interpolation and no shift in voxels.
This module knows nothing about deconvolution, files or command lines.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from snakescope.errors import problem

Triple = tuple[float, float, float]
PsfKind = Literal["auto", "psf", "otf"]


@dataclass(frozen=True)
class PsfStack:
    """A point-spread function on its own grid, without background.

    Parameters
    ----------
    volume
        Shape (z, y, x), float32, not negative; z is 1 for a two-dimensional PSF.
    centre
        Centre of mass in voxels, z, y, x.
    voxel_um
        Voxel size in µm, z, y, x.
    background
        What was subtracted, in the file's grey levels.
    """

    volume: NDArray[np.float32]
    centre: Triple
    voxel_um: Triple
    background: float


@dataclass(frozen=True)
class RadialOtf:
    """A transfer function averaged around the optical axis.

    Parameters
    ----------
    values
        Shape (kr, kz), complex64, 1 at the origin; kr from 0 to the Nyquist frequency, kz in the order of an FFT.
    voxel_um
        Voxel size in µm of the PSF it was made from, z, y, x (y and x alike).
    """

    values: NDArray[np.complex64]
    voxel_um: Triple


def split_complex(array: NDArray[np.generic]) -> NDArray[np.complex64]:
    """Read pairs (real, imaginary) along the last axis as complex numbers."""
    pairs = np.ascontiguousarray(array, dtype=np.float32)
    return pairs.view(np.complex64)


def is_radial_otf(array: NDArray[np.generic]) -> bool:
    """Tell a radial OTF from an image by its content, not by its name.

    A transform of real data is conjugate-symmetric in kz and largest at the origin; no picture of a PSF is.
    """
    if array.ndim != 2 or array.shape[1] % 2 or array.shape[0] < 2 or array.dtype.kind != "f":
        return False
    otf = split_complex(array)
    largest = float(np.abs(otf).max())
    if not np.isfinite(largest) or largest == 0:
        return False
    mirrored = np.conj(np.roll(otf[:, ::-1], 1, axis=1))
    symmetric = float(np.abs(otf - mirrored).max()) < 1e-3 * largest
    return symmetric and float(otf[0, 0].real) > 0.999 * largest


def load_psf(
    array: NDArray[np.generic],
    voxel_um: Triple,
    *,
    kind: PsfKind = "auto",
    background: float | None = None,
    where: str = "psf",
) -> PsfStack | RadialOtf:
    """Prepare what a PSF file holds.

    Parameters
    ----------
    array
        A stack (z, y, x) or plane (y, x), or a radial OTF (kr, kz with real and imaginary parts interleaved).
    voxel_um
        Voxel size in µm, z, y, x; z is not used for a plane.
    kind
        `auto` looks at the content.
    background
        Grey level to subtract from a stack; None estimates it (see `clean_psf`).
    where
        Name for messages, normally the path.

    Raises
    ------
    InputError
        If the values cannot be those of a PSF.
    """
    if array.dtype.kind not in "uif" or array.ndim not in (2, 3):
        raise problem(where, f"found {array.dtype} of shape {array.shape}; expected a plane or stack of real numbers")
    if not np.isfinite(array).all():
        raise problem(where, "the PSF holds values that are not finite (NaN or infinity)")
    if kind == "otf" or (kind == "auto" and is_radial_otf(array)):
        if not is_radial_otf(array):
            message = f"found shape {array.shape}, {array.dtype}; expected a radial OTF as cudaDecon writes it"
            raise problem(where, message, "Rows are kr, columns kz with real and imaginary parts in turn.")
        otf = split_complex(array)
        return RadialOtf(otf / otf[0, 0].real, voxel_um)
    stack = array if array.ndim == 3 else array[None]
    volume, removed = clean_psf(stack.astype(np.float32), background, where)
    return PsfStack(volume, centre_of_mass(volume), voxel_um, removed)


def clean_psf(
    volume: NDArray[np.float32], background: float | None, where: str = "psf"
) -> tuple[NDArray[np.float32], float]:
    """Remove background, noise and neighbours from a PSF stack; returns it and the background removed.

    The background is the median of the four lateral corners (an eighth of each side), the noise their median
    absolute deviation. What does not rise above the noise in its 3 x 3 x 3 neighbourhood, or is not connected
    to the peak, is set to 0. A stack without noise (a model) keeps every positive voxel.
    """
    corners = _lateral_corners(volume)
    peak = float(volume.max())
    if background is None:
        background = float(np.median(corners)) if corners.size else 0.0
        if background > peak / 2:  # the PSF fills its array, so its corners are no background
            background = 0.0
            corners = corners[:0]
    cleaned = volume - np.float32(background)
    noise = 1.4826 * float(np.median(np.abs(corners - background))) if corners.size else 0.0
    if noise > 0:
        _remove_noise(cleaned, noise)
    np.maximum(cleaned, 0, out=cleaned)
    if not float(cleaned.max()) > 0:
        message = f"nothing is left of the PSF above its background of {background:g} (largest value {peak:g})"
        raise problem(where, message, "Check that the file is a PSF, or give the background yourself (0 for none).")
    return cleaned, background


def _lateral_corners(volume: NDArray[np.float32]) -> NDArray[np.float32]:
    """Voxels of the four corners in y and x over all z; none if the PSF is too small to show its background."""
    ny, nx = volume.shape[1:]
    if min(ny, nx) < 8:
        return np.empty(0, np.float32)
    y, x = ny // 8, nx // 8
    rows = np.concatenate([volume[:, :y], volume[:, -y:]], axis=1)
    return np.concatenate([rows[:, :, :x], rows[:, :, -x:]], axis=2).ravel()


def _remove_noise(volume: NDArray[np.float32], noise: float) -> None:
    """Zero, in place, what is not above `noise` locally or not connected to the brightest spot."""
    size = tuple(min(3, n) for n in volume.shape)
    smooth = ndimage.uniform_filter(volume, size)
    signal = smooth > 4 * noise / np.sqrt(np.prod(size))
    parts, _ = ndimage.label(signal, np.ones((3, 3, 3)))
    main = parts[np.unravel_index(int(smooth.argmax()), smooth.shape)]
    volume[parts != main if main else ~signal] = 0


def centre_of_mass(volume: NDArray[np.float32]) -> Triple:
    """Centre of mass in voxels, z, y, x, of a volume that is not negative."""
    z, y, x = (_mean_index(profile) for profile in _profiles(volume))
    return z, y, x


def _profiles(volume: NDArray[np.float32]) -> list[NDArray[np.float64]]:
    axes = ((1, 2), (0, 2), (0, 1))
    return [np.asarray(volume.sum(axis=others, dtype=np.float64)) for others in axes]


def _mean_index(profile: NDArray[np.float64]) -> float:
    return float(np.dot(profile, np.arange(len(profile))) / profile.sum())


def half_width_um(psf: PsfStack | RadialOtf, share: float) -> Triple:
    """Distance in µm from the centre, along z, y and x, within which `share` of the light lies."""
    if isinstance(psf, PsfStack):
        profiles, centres = _profiles(psf.volume), psf.centre
    else:
        along_z = fft.fftshift(fft.ifft(psf.values[0]).real)
        along_r = fft.fftshift(fft.irfft(psf.values[:, 0]))
        profiles = [along_z, along_r, along_r]
        centres = (len(along_z) // 2, len(along_r) // 2, len(along_r) // 2)
    widths = [_half_width(p, c, share) * u for p, c, u in zip(profiles, centres, psf.voxel_um, strict=True)]
    return widths[0], widths[1], widths[2]


def _half_width(profile: NDArray[np.float64], centre: float, share: float) -> float:
    distance = np.abs(np.arange(len(profile)) - centre)
    order = np.argsort(distance, kind="stable")
    inside = np.cumsum(profile[order]) >= share * profile.sum()
    return float(distance[order[int(np.argmax(inside))]])


def check_fits(psf: PsfStack | RadialOtf, shape: tuple[int, ...], voxel_um: Triple, where: str = "psf") -> None:
    """Refuse a PSF that cannot belong to the image by its size: the mark of a voxel size in the wrong unit.

    Too large is one of which 95 % of the light does not fit into the image (wider dim margins are cropped later),
    too small one that lies within a fifth of a voxel along all axes, though it has more than one voxel itself.

    Parameters
    ----------
    shape
        Of the image, (z, y, x); z is 1 for a plane.
    voxel_um
        Of the image in µm, z, y, x.
    """
    widths = half_width_um(psf, 0.95)
    axes = [i for i in range(3) if not (i == 0 and shape[0] == 1 and _is_flat(psf))]
    if 0 < max(widths[i] / voxel_um[i] for i in axes) < 0.2:
        found = ", ".join(f"{'zyx'[i]} {2 * widths[i]:.3g} µm in voxels of {voxel_um[i]:.3g} µm" for i in axes)
        message = f"the PSF is smaller than a voxel of the image: {found}"
        raise problem(where, message, "Check the voxel sizes of PSF and image, in µm.")
    if all(2 * widths[i] <= shape[i] * voxel_um[i] for i in axes):
        return
    needs = ", ".join(f"{'zyx'[i]} {2 * widths[i]:.3g} µm" for i in axes)
    has = ", ".join(f"{'zyx'[i]} {shape[i]} voxels = {shape[i] * voxel_um[i]:.3g} µm" for i in axes)
    message = f"the PSF is larger than the image: 95 % of its light covers {needs}; the image covers {has}"
    raise problem(where, message, "Check the voxel sizes of PSF and image, or use a larger image or a tighter PSF.")


def _is_flat(psf: PsfStack | RadialOtf) -> bool:
    return isinstance(psf, PsfStack) and psf.volume.shape[0] == 1


def transfer_function(
    psf: PsfStack | RadialOtf, shape: tuple[int, int, int], voxel_um: Triple
) -> NDArray[np.complex64]:
    """Evaluate a PSF's transfer function at the frequencies of `scipy.fft.rfftn` on an image grid.

    Parameters
    ----------
    shape
        Of the image grid, (z, y, x), padding included.
    voxel_um
        Of the image in µm, z, y, x.

    Returns
    -------
    Shape (z, y, x // 2 + 1), complex64; 1 at zero frequency, so light is kept.
    """
    if isinstance(psf, PsfStack):
        return _transform_stack(psf, shape, voxel_um)
    return _interpolate_radial(psf, shape, voxel_um)


def _transform_stack(psf: PsfStack, shape: tuple[int, int, int], voxel_um: Triple) -> NDArray[np.complex64]:
    """Fourier transform of the PSF about its centre: an exact sum at each frequency, one plane kz at a time."""
    kept, waves = [], []
    for axis, n in enumerate(shape):
        index = np.arange(psf.volume.shape[axis])
        position = (index - psf.centre[axis]) * psf.voxel_um[axis]
        inside = np.abs(position) <= n * voxel_um[axis] / 2  # beyond, it would come back on the other side
        kept.append(inside if inside.any() else np.abs(position) == np.abs(position).min())
        k = fft.rfftfreq(n, voxel_um[axis]) if axis == 2 else fft.fftfreq(n, voxel_um[axis])
        wave = np.exp(-2j * np.pi * k[:, None] * position[None, kept[axis]])
        if n % 2 == 0:
            wave[n // 2] = wave[n // 2].real  # the Nyquist frequency stands for both signs
        if len(index) > 1:
            wave[np.abs(k) > 0.5 / psf.voxel_um[axis] * (1 + 1e-9)] = 0  # the PSF does not resolve this
        waves.append(wave.astype(np.complex64))
    volume = psf.volume[np.ix_(*kept)]
    volume = volume / np.float32(volume.sum(dtype=np.float64))
    (in_z, in_y), in_x = waves[:2], np.ascontiguousarray(waves[2].T)
    planes = volume.reshape(volume.shape[0], -1)
    otf = np.empty((shape[0], shape[1], shape[2] // 2 + 1), np.complex64)
    for k, wave in enumerate(in_z):
        plane = (wave.real @ planes) + 1j * (wave.imag @ planes)
        otf[k] = in_y @ (plane.reshape(volume.shape[1:]) @ in_x)
    return otf


def _interpolate_radial(otf: RadialOtf, shape: tuple[int, int, int], voxel_um: Triple) -> NDArray[np.complex64]:
    """Sample a radial OTF as cudaDecon does: bilinear in kr and kz, kz wrapping round, 0 beyond the last kr.

    The step of its table is 1 / (2 (rows - 1) dx) in kr and 1 / (columns dz) in kz. At the Nyquist frequency
    of an even z size cudaDecon takes the positive kz, and so does this.
    """
    table = otf.values
    rows, columns = table.shape
    nz, ny, nx = shape
    kz = np.arange(nz) / (nz * voxel_um[0]) * (columns * otf.voxel_um[0])
    kz[nz // 2 + 1 :] -= columns * otf.voxel_um[0] / voxel_um[0]
    beyond = np.abs(kz) > columns / 2 + 1e-6
    low = np.floor(kz).astype(int)
    share = (kz - low).astype(np.float32)
    profiles = table[:, low % columns] * (1 - share) + table[:, (low + 1) % columns] * share
    profiles[:, beyond] = 0  # the PSF's z step does not resolve this
    scale = 2 * (rows - 1) * otf.voxel_um[1]
    kr = np.hypot(fft.fftfreq(ny, voxel_um[1])[:, None], fft.rfftfreq(nx, voxel_um[2])[None]) * scale
    inner = np.minimum(kr.astype(int), rows - 2)
    weight = (kr - inner).astype(np.float32)
    weight_inner = 1 - weight
    weight[kr >= rows - 1] = weight_inner[kr >= rows - 1] = 0
    sampled = np.empty((nz, ny, nx // 2 + 1), np.complex64)
    for k in range(nz):
        profile = np.ascontiguousarray(profiles[:, k], dtype=np.complex64)
        sampled[k] = profile[inner] * weight_inner + profile[inner + 1] * weight
    return sampled
