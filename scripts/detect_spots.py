"""Find bright blobs of one known size in every frame of an image and write them as a points table.

The method and its constants are TrackMate's (Tinevez et al. 2017, doi:10.1016/j.ymeth.2016.09.016): a Laplacian
or a difference of Gaussians with sigma = radius / sqrt(dimensions), local maxima above a quality, refined
between voxels. This program knows nothing about linking.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, spatial

from snakescope.errors import InputError, Problem, problem
from snakescope.program import add_image_facts, boolean, image_facts, run_program
from tables import empty_points, write_points

if TYPE_CHECKING:
    import pandas as pd

    from snakescope.images import ImageHeader

Method = Literal["log", "dog"]
Floats = NDArray[np.float64]

FALSE_SPOTS_PER_FRAME = 0.05
# Median depth of the minima of filtered white noise, in standard deviations: measured, for filters of 1 to 3 voxels.
EXTREMUM_IN_NOISE = {2: 1.5, 3: 1.96}
_SMALLEST_SIGMA_PX = 0.5


def filter_sigmas(radius_um: float, voxel_um: Sequence[float]) -> Floats:
    """Return the sigma in voxels, per axis, of the blob filter for spots of `radius_um` (radius / sqrt(n))."""
    return radius_um / math.sqrt(len(voxel_um)) / np.asarray(voxel_um, float)


def spot_response(volume: NDArray[np.generic], sigma_px: Floats, method: Method) -> NDArray[np.float32]:
    """Filter a volume so that spots of the wanted size become peaks.

    Parameters
    ----------
    volume
        Grey values, shape (z, y, x) or (y, x), any real dtype.
    sigma_px
        Sigma of the filter in voxels, one per axis (see `filter_sigmas`).

    Returns
    -------
    float32, same shape, in grey values: an isolated Gaussian spot of the same sigma has its height above the
    background as peak value. Between voxels it shows less, 5 % at sigma = 1.5 voxels; `dog` shows more, 12 % at
    1.5, 7 % at 2 and 2 % at 4, as it counts the image as blurred already.
    """
    levels = volume.astype(np.float32)
    levels -= np.float32(np.median(_sample(levels)))
    if method == "log":
        response = _negative_laplacian(levels, np.maximum(sigma_px, _SMALLEST_SIGMA_PX))
    else:
        response = _difference_of_gaussians(levels, sigma_px)
    response *= np.float32(1 / matched_gain(volume.ndim, method))
    return response


def matched_gain(ndim: int, method: Method) -> float:
    """Return the raw filter's peak over a Gaussian spot of height 1 and of the filter's own sigma.

    For `log` that is of -sigma^2 Laplacian(G): n/2 * 2^(-n/2); for `dog` of G(0.9 sigma) - G(1.1 sigma).
    TrackMate reports the raw values: its DoG quality is ours times this (0.1000 in 2D, 0.1084 in 3D). Its LoG
    quality (version 6) is 2 / sigma_px^2 times the raw value: ours times 2 / radius_px^2 in 2D.
    """
    if method == "log":
        return float(ndim / 2 * 2 ** (-ndim / 2))
    return float((1 + 0.9**2) ** (-ndim / 2) - (1 + 1.1**2) ** (-ndim / 2))


def _negative_laplacian(levels: NDArray[np.float32], sigma_px: Floats) -> NDArray[np.float32]:
    """Return -sigma^2 times the Laplacian of the Gaussian-smoothed volume, axis by axis in float32.

    Smoothed and differentiated parts share their passes: 7 one-dimensional convolutions in 3D instead of 9.
    """
    smooth, curved = levels, np.zeros((), np.float32)
    for axis, sigma in enumerate(sigma_px):
        gaussian, second = _kernels(float(sigma))
        bent = ndimage.correlate1d(smooth, -second, axis, mode="mirror")
        if curved.ndim:
            bent += ndimage.correlate1d(curved, gaussian, axis, mode="mirror")
        curved = bent
        if axis + 1 < len(sigma_px):
            smooth = ndimage.correlate1d(smooth, gaussian, axis, mode="mirror")
    return curved


def _kernels(sigma: float) -> tuple[Floats, Floats]:
    """Return a sampled Gaussian and sigma^2 times its second derivative, with exact sums 1 and 0.

    The second is scaled to answer 2 sigma^2 to x^2, as the continuous one does: coarse sampling must not
    turn a flat background into a response.
    """
    reach = math.ceil(4 * sigma)
    x = np.arange(-reach, reach + 1, dtype=float)
    gaussian = np.exp(-(x**2) / (2 * sigma**2))
    gaussian /= gaussian.sum()
    second = (x**2 / sigma**2 - 1) * gaussian
    second -= second.sum() * gaussian
    second *= 2 * sigma**2 / (second @ x**2)
    return gaussian, second


def _difference_of_gaussians(levels: NDArray[np.float32], sigma_px: Floats) -> NDArray[np.float32]:
    """Return G(0.9 sigma) - G(1.1 sigma) as TrackMate's DogDetector computes it.

    The image counts as blurred by half a voxel already, and no sigma falls below one voxel
    (imglib2 ``DifferenceOfGaussian.computeSigmas(0.5, 2, ...)``).
    """
    inner = np.maximum(0.9 * sigma_px, 1.0)
    outer = inner * (1.1 / 0.9)
    blurred = [ndimage.gaussian_filter(levels, np.sqrt(sigma**2 - 0.25), mode="mirror") for sigma in (inner, outer)]
    blurred[0] -= blurred[1]
    difference: NDArray[np.float32] = blurred[0]
    return difference


def automatic_threshold(response: NDArray[np.float32], sigma_px: Floats) -> float:
    """Return the quality above which noise alone gives `FALSE_SPOTS_PER_FRAME` maxima in this frame on average.

    The noise is 1.4826 times the median absolute deviation of the response, which spots hardly move, or what the
    median depth of the minima says, if that is twice as much: where much of an image is empty (outside a deskewed
    stack, or emptied by deconvolution) the deviation is next to nothing, but there are no minima there either. White
    noise behind a Laplacian of Gaussian is a smooth Gaussian field; the number of its maxima above u standard
    deviations is, for high u, the Euler characteristic's expectation (Adler 1981; Worsley 1996,
    doi:10.2307/1428008): voxels * sqrt(det L) * (2 pi)^(-(n+1)/2) * He_{n-1}(u) * exp(-u^2/2), with
    L = (n + 4) / (2 n sigma^2) along each axis. u is about 5 for a camera frame and 6.3 for a large stack.
    An image without noise has a floor of a ten-thousandth of its highest response.
    """
    ndim = response.ndim
    sample = _sample(response)
    centre = float(np.median(sample))
    noise = 1.4826 * float(np.median(np.abs(sample - np.float32(centre))))
    extrema = _noise_of_extrema(response)
    noise = extrema if extrema > 2 * noise else noise
    roughness = math.sqrt((ndim + 4) / (2 * ndim)) ** ndim / float(np.prod(sigma_px))
    resels = response.size * roughness * (2 * math.pi) ** (-(ndim + 1) / 2)

    deviations = 5.0
    for _ in range(20):
        polynomial = deviations if ndim == 2 else deviations**2 - 1
        odds = math.log(max(resels * polynomial / FALSE_SPOTS_PER_FRAME, 1))
        deviations = max(math.sqrt(2 * odds), 2.5)  # below, the expectation is no estimate any more
    floor = 1e-4 * float(response.max(initial=0))
    return max(centre + deviations * noise, floor, float(np.finfo(np.float32).tiny))


def _noise_of_extrema(response: NDArray[np.float32]) -> float:
    """Return the noise that the depth of the local minima in the middle of a frame (a few million voxels) speaks of.

    Spots make few minima and shallow ones. 0 where maxima and minima are not about as many: that is no noise.
    """
    share = min(1.0, (4e6 / response.size) ** (1 / response.ndim))
    middle = tuple(slice(int(size * (1 - share) / 2), math.ceil(size * (1 + share) / 2)) for size in response.shape)
    block, tiny = response[middle], float(np.finfo(np.float32).tiny)
    maxima, minima = local_maxima(block, tiny), local_maxima(-block, tiny)
    if not 0.5 < (len(minima) + 1) / (len(maxima) + 1) < 2:
        return 0.0
    depths = -block[tuple(minima.T)]
    return float(np.median(depths)) / EXTREMUM_IN_NOISE[response.ndim] if len(depths) else 0.0


def _sample(volume: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return every k-th voxel along each axis, a few million in all: enough for a median."""
    step = max(1, round((volume.size / 4e6) ** (1 / volume.ndim)))
    return volume[(slice(None, None, step),) * volume.ndim]


def local_maxima(response: NDArray[np.float32], threshold: float) -> NDArray[np.intp]:
    """Return the voxels at least `threshold` high that no neighbour (8 or 26) exceeds, shape (spots, n).

    In raster order; of two equal neighbours the first in raster order counts.
    """
    found = np.argwhere(response >= threshold)
    steps = [step for step in product((-1, 0, 1), repeat=response.ndim) if any(step)]
    for step in steps:
        beside = found + np.array(step)
        inside = ((beside >= 0) & (beside < response.shape)).all(axis=1)
        here = response[tuple(found[inside].T)]
        there = response[tuple(beside[inside].T)]
        kept = np.ones(len(found), bool)
        kept[inside] = here > there if step < (0,) * response.ndim else here >= there
        found = found[kept]
    return found


def refine(response: NDArray[np.float32], peaks: NDArray[np.intp]) -> Floats:
    """Place each peak between voxels: the top of a parabola through the logarithms of three neighbours per axis.

    A Gaussian peak is exactly that. Measured bias on noise-free Gaussian spots of sigma 1.2-3 px is below
    0.01 px, a third of that of a parabola through the values, which is used where a neighbour is not positive.
    """
    places = peaks.astype(float)
    centre = response[tuple(peaks.T)].astype(float)
    for axis, size in enumerate(response.shape):
        before, after = (_beside(response, peaks, axis, size, step) for step in (-1, 1))
        positive = (before > 0) & (after > 0)
        values = [np.log(level, out=level.copy(), where=positive & (level > 0)) for level in (before, centre, after)]
        bend = values[0] - 2 * values[1] + values[2]
        curved = bend < 0
        shift = (values[0] - values[2]) / np.where(curved, 2 * bend, 1)
        places[:, axis] += np.where(curved, np.clip(shift, -0.5, 0.5), 0)
    return places


def _beside(response: NDArray[np.float32], peaks: NDArray[np.intp], axis: int, size: int, step: int) -> Floats:
    """Return the response one voxel further along `axis`, mirrored at the border."""
    beside = peaks.copy()
    along = np.abs(beside[:, axis] + step)
    beside[:, axis] = np.clip(np.where(along >= size, 2 * (size - 1) - along, along), 0, None)
    values: Floats = response[tuple(beside.T)].astype(float)
    return values


def suppress(places_um: Floats, quality: Floats, radius_um: float) -> NDArray[np.bool_]:
    """Say which spots stay when, best first, each removes all worse ones nearer than `radius_um`."""
    order = np.argsort(-quality, kind="stable")
    pairs = spatial.cKDTree(places_um[order]).query_pairs(radius_um, output_type="ndarray")
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
    stays = np.ones(len(order), bool)
    for better, worse in pairs:
        if stays[better]:
            stays[worse] = False
    kept = np.zeros(len(order), bool)
    kept[order[stays]] = True
    return kept


def mean_intensity(volume: NDArray[np.generic], peaks: NDArray[np.intp], radius_px: Floats) -> Floats:
    """Return the mean grey value of the voxels within the radius of each peak's voxel, inside the image."""
    reach = [np.arange(-int(r), int(r) + 1) for r in radius_px]
    offsets = np.stack(np.meshgrid(*reach, indexing="ij"), -1).reshape(-1, len(reach))
    offsets = offsets[((offsets / radius_px) ** 2).sum(axis=1) <= 1]
    total, count = np.zeros(len(peaks)), np.zeros(len(peaks))
    for offset in offsets:
        voxel = peaks + offset
        inside = ((voxel >= 0) & (voxel < volume.shape)).all(axis=1)
        total[inside] += volume[tuple(voxel[inside].T)]
        count[inside] += 1
    return total / np.maximum(count, 1)


def detect_volume(
    volume: NDArray[np.generic],
    voxel_um: Sequence[float],
    radius_um: float,
    *,
    method: Method = "log",
    threshold: float | None = None,
    subpixel: bool = True,
    dark: bool = False,
    max_spots: int | None = None,
) -> tuple[dict[str, Floats], float]:
    """Find the spots of one volume.

    Parameters
    ----------
    volume
        Grey values, shape (z, y, x) or (y, x), any real dtype.
    voxel_um
        Voxel size in micrometres, one per axis of `volume`.
    radius_um
        Radius of a spot; the filter fits a Gaussian of sigma radius / sqrt(n).
    threshold
        Least quality (see `spot_response`); None = `automatic_threshold`.
    dark
        Look for spots darker than their surroundings.
    max_spots
        Keep this many of highest quality; None = all.

    Returns
    -------
    `places_px` of shape (spots, n), `quality` and `intensity`, in raster order of the peaks; and the threshold.
    """
    sigma_px = filter_sigmas(radius_um, voxel_um)
    response = spot_response(volume, sigma_px, method)
    if dark:
        np.negative(response, out=response)
    least = automatic_threshold(response, sigma_px) if threshold is None else threshold
    peaks = local_maxima(response, least)
    quality = response[tuple(peaks.T)].astype(float)
    places = refine(response, peaks) if subpixel else peaks.astype(float)
    kept = suppress(places * np.asarray(voxel_um), quality, radius_um)
    if max_spots is not None:
        best = np.argsort(np.where(kept, -quality, np.inf), kind="stable")[:max_spots]
        kept &= np.isin(np.arange(len(kept)), best)
    intensity = mean_intensity(volume, peaks[kept], radius_um / np.asarray(voxel_um))
    return {"places_px": places[kept], "quality": quality[kept], "intensity": intensity}, least


def points_table(
    frame: int, found: dict[str, Floats], voxel_um: Sequence[float], radius_um: float, time_step_s: float | None
) -> pd.DataFrame:
    """Lay out the spots of one frame as rows of a points table, without ids."""
    import pandas as pd

    places = found["places_px"]
    table = pd.DataFrame({"quality": found["quality"], "intensity": found["intensity"]})
    for column, axis in enumerate("zyx"[-len(voxel_um) :]):
        table[f"{axis}_px"] = places[:, column]
        table[f"{axis}_um"] = places[:, column] * voxel_um[column]
    time_s = math.nan if time_step_s is None else frame * time_step_s
    return table.assign(frame=frame, t_s=time_s, radius_um=radius_um)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="detect_spots.py", description="Find blobs of one size in an image.")
    parser.add_argument("--image", type=Path, required=True)
    add_image_facts(parser)
    parser.add_argument("--radius-um", type=float, required=True, metavar="R", help="radius of a spot")
    parser.add_argument("--method", choices=("log", "dog"), default="log")
    parser.add_argument("--threshold", type=float, metavar="Q", help="least quality; default: from the noise")
    parser.add_argument("--polarity", choices=("bright", "dark"), default="bright")
    parser.add_argument("--channel", type=int, default=0, metavar="N", help="which channel, from 0")
    parser.add_argument("--subpixel", type=boolean, default=True)
    parser.add_argument("--max-spots", type=int, metavar="N", help="keep the N best of each frame")
    parser.add_argument("--out-points", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1, help="taken for uniformity; the filters use one")
    return parser.parse_args(argv)


def check_options(args: argparse.Namespace, header: ImageHeader, voxel_um: Sequence[float]) -> None:
    """Raise InputError, naming every value that cannot work with this image."""
    shape = [header.size(axis) for axis in "zyx"[-len(voxel_um) :]]
    lateral_px = args.radius_um / np.asarray(voxel_um[-2:])
    smallest = _SMALLEST_SIGMA_PX * math.sqrt(len(voxel_um))
    problems = []
    if not 0 < args.radius_um < math.inf:
        problems.append(Problem("detect_spots: radius_um", f"found {args.radius_um:g}; expected a number above 0"))
    elif lateral_px.min() < smallest:
        advice = "Give the radius in micrometres, and check the voxel size."
        found = f"{args.radius_um:g} µm is {lateral_px.min():.2g} pixels; expected at least {smallest:.2g}"
        problems.append(Problem("detect_spots: radius_um", found, advice))
    elif (lateral_px > np.array(shape[-2:]) / 2).any():
        advice = "Give the radius in micrometres, and check the voxel size."
        found = f"{args.radius_um:g} µm is {lateral_px.max():.4g} pixels in an image of {shape[-2]} x {shape[-1]}"
        problems.append(Problem("detect_spots: radius_um", found, advice))
    if not 0 <= args.channel < header.size("c"):
        names = f" ({', '.join(header.channels)})" if header.channels else ""
        found = f"found {args.channel}; {args.image.name} has {header.size('c')} channels{names}, counted from 0"
        problems.append(Problem("detect_spots: channel", found))
    if args.threshold is not None and not args.threshold > 0:
        found = f"found {args.threshold:g}; expected a number above 0, or nothing for the automatic one"
        problems.append(Problem("detect_spots: threshold", found))
    if args.max_spots is not None and args.max_spots < 1:
        problems.append(Problem("detect_spots: max_spots", f"found {args.max_spots}; expected at least 1"))
    if problems:
        raise InputError(problems)


def main(argv: Sequence[str] | None = None) -> None:
    """Find the spots frame by frame, holding one volume at a time, and write them as one table."""
    from snakescope.images import open_image

    args = parse(argv)
    tables_, thresholds = [], []
    with open_image(args.image, **image_facts(args)) as image:
        header = image.header
        voxel_um = image.pixel_size() if header.size("z") == 1 else image.voxel_size()
        check_options(args, header, voxel_um)
        for t in range(header.size("t")):
            volume = image.volume(t, args.channel)
            found, least = detect_volume(
                _checked(args.image, t, volume).reshape(volume.shape[-len(voxel_um) :]),
                voxel_um,
                args.radius_um,
                method=args.method,
                threshold=args.threshold,
                subpixel=args.subpixel,
                dark=args.polarity == "dark",
                max_spots=args.max_spots,
            )
            tables_.append(points_table(t, found, voxel_um, args.radius_um, header.time_step_s))
            thresholds.append(least)
    _write(args.out_points, tables_)
    counts = [len(table) for table in tables_]
    print(f"{sum(counts)} spots in {len(counts)} frames ({min(counts)} to {max(counts)} a frame)")
    print(f"least quality {min(thresholds):.6g} to {max(thresholds):.6g}, method {args.method}")


def _checked(path: Path, t: int, volume: NDArray[np.generic]) -> NDArray[np.generic]:
    if volume.dtype.kind == "f" and not np.isfinite(volume).all():
        raise problem(f"{path}: frame {t}", "holds values that are not finite; expected numbers only")
    return volume


def _write(path: Path, frames: Sequence[pd.DataFrame]) -> None:
    import pandas as pd

    filled = [table for table in frames if len(table)]
    points = pd.concat(filled, ignore_index=True) if filled else empty_points()
    write_points(path, points.assign(spot_id=np.arange(len(points))))


if __name__ == "__main__":
    run_program(main)
