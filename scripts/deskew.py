"""Shear a stage-scanned light-sheet stack upright, as cudaDecon does.

Between two planes of a stage scan the sheet moves along x by `cos(angle) * step`. Shifting each plane back by
linear interpolation along x puts every voxel above its neighbours; planes stay parallel to the sheet, and their
distance becomes `sin(angle) * step`. The numeric part works on one volume; `main` loops over time and channels.

Source: cudaDecon's deskew kernel (https://github.com/scopetools/cudadecon, src/geometryTransform.cu).
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snakescope.errors import InputError, Problem, problem
from snakescope.images import ImageHeader, create_image, open_image
from snakescope.program import add_image_facts, image_facts, run_program


def shift_per_plane_px(angle_deg: float, step_um: float, pixel_um: float) -> float:
    """How far a plane lies from the one before it along x, in pixels; negative for the mirrored scan direction.

    Parameters
    ----------
    angle_deg
        Between the sheet and the stage's direction, 0 < |angle| < 90.
    step_um
        Of the stage, as it travels.
    pixel_um
        Pixel size along x.
    """
    return math.copysign(math.cos(math.radians(angle_deg)) * step_um / pixel_um, angle_deg)


def deskewed_width(width: int, planes: int, angle_deg: float, step_um: float, pixel_um: float) -> int:
    """Width of the sheared stack in pixels: room for every plane, rounded down as in cudaDecon."""
    return width + math.floor(planes * step_um * abs(math.cos(math.radians(angle_deg))) / pixel_um)


def deskew(
    volume: NDArray[np.generic], angle_deg: float, step_um: float, pixel_um: float, *, fill: float
) -> NDArray[np.generic]:
    """Shear one stack upright.

    Parameters
    ----------
    volume
        Shape (z, y, x), any real dtype: one plane per step of the stage.
    angle_deg, step_um, pixel_um
        As for `shift_per_plane_px`.
    fill
        Grey level where the sheet has not been.

    Returns
    -------
    Shape (z, y, wider x), same dtype. Integers are rounded to the nearest (cudaDecon cuts off the fraction).
    """
    planes, height, width = volume.shape
    wider = deskewed_width(width, planes, angle_deg, step_um, pixel_um)
    shift = shift_per_plane_px(angle_deg, step_um, pixel_um)
    sheared = np.empty((planes, height, wider), volume.dtype)
    for z in range(planes):
        start = (width - wider) / 2 - shift * (z - planes / 2)  # x in the input of the first pixel of the output
        _shift_plane(volume[z], start, fill, sheared[z])
    return sheared


def _shift_plane(plane: NDArray[Any], start: float, fill: float, out: NDArray[Any]) -> None:
    """Write plane[:, start + i] to out[:, i] by linear interpolation, `fill` outside the plane."""
    out[...] = fill
    base = math.floor(start)
    share = start - base
    first = max(0, -base)
    last = min(out.shape[1], plane.shape[1] - 1 - base)  # exclusive: needs the pixel to the right as well
    if first >= last:
        return
    exact = np.float32 if plane.dtype.itemsize <= 2 or plane.dtype == np.float32 else np.float64
    left: NDArray[Any] = plane[:, base + first : base + last].astype(exact)
    right: NDArray[Any] = plane[:, base + first + 1 : base + last + 1].astype(exact)
    right -= left
    right *= share
    right += left
    if out.dtype.kind in "iu":
        np.rint(right, out=right)
    out[:, first:last] = right


def estimate_fill(volume: NDArray[np.generic]) -> float:
    """Grey level of the camera's background: the most frequent value of whole numbers, else the lowest tenth's edge.

    A stage scan mostly images dark medium, so its most frequent grey level is the offset of the camera.
    """
    if volume.dtype.kind == "u" and volume.dtype.itemsize <= 2:
        return float(np.bincount(volume.ravel()).argmax())
    return float(np.nanpercentile(volume.astype(np.float32), 10))


def check(header: ImageHeader, angle_deg: float, fill: float | None) -> tuple[float, float]:
    """Stage step and pixel size along x in µm, or every reason why the stack cannot be deskewed."""
    wrong = []
    where = str(header.path)
    z, _, x = header.voxel_size_um
    if "z" not in header.axes or header.size("z") < 2:
        wrong.append(Problem(where, f"found axes {header.axes} of shape {header.shape}; expected a stack of planes"))
    sizes = [("z (the stage step)", z), ("x", x)] if "z" in header.axes else [("x", x)]
    for axis, size in sizes:
        if size is None or not size > 0:
            message = f"the voxel size along {axis} is unknown"
            wrong.append(Problem(where, message, "Give it in the sample sheet, or by --voxel-size-um Z,Y,X in µm."))
    if not 0 < abs(angle_deg) < 90:
        message = f"found {angle_deg:g}; expected an angle between 0 and 90 degrees, or its negative"
        wrong.append(Problem("--angle-deg", message))
    dtype = np.dtype(header.dtype)
    if fill is not None and dtype.kind in "iu" and not np.iinfo(dtype).min <= fill <= np.iinfo(dtype).max:
        wrong.append(Problem("--fill", f"found {fill:g}; expected a grey level that {dtype} can hold"))
    if wrong:
        raise InputError(wrong)
    return float(z or 0), float(x or 0)


def check_width(width: int, wider: int, where: str) -> None:
    """Refuse a shear by more than fifty image widths: then a voxel size has the wrong unit."""
    if wider > 50 * width:
        message = f"deskewing would widen the stack from {width} to {wider} pixels"
        raise problem(where, message, "Check the voxel size: z is the stage step, x the pixel size, both in µm.")


def main(argv: Sequence[str] | None = None) -> None:
    """Deskew every volume of an image; see tools/deskew/tool.yaml."""
    parser = argparse.ArgumentParser(description="Deskew a stage-scanned light-sheet stack.")
    parser.add_argument("--image", type=Path, required=True)
    parser.add_argument("--out-image", type=Path, required=True)
    add_image_facts(parser)
    parser.add_argument("--angle-deg", type=float, default=31.5)
    parser.add_argument("--fill", type=float)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args(argv)
    with open_image(args.image, **image_facts(args)) as image:
        header = image.header
        step_um, pixel_um = check(header, args.angle_deg, args.fill)
        wider = deskewed_width(header.size("x"), header.size("z"), args.angle_deg, step_um, pixel_um)
        check_width(header.size("x"), wider, str(args.image))
        shift = shift_per_plane_px(args.angle_deg, step_um, pixel_um)
        print(f"{shift:.4f} pixels per plane, x {header.size('x')} -> {wider}")
        spacing_um = step_um * abs(math.sin(math.radians(args.angle_deg)))
        with create_image(
            args.out_image,
            axes=header.axes,
            shape=(*header.shape[:-1], wider),
            dtype=np.dtype(header.dtype),
            voxel_size_um=(spacing_um, header.voxel_size_um[1], pixel_um),
            time_step_s=header.time_step_s,
            channels=header.channels,
        ) as writer:
            for c in range(header.size("c")):
                fill = args.fill
                for t in range(header.size("t")):
                    volume = image.volume(t, c)
                    if fill is None:
                        fill = estimate_fill(volume)
                        print(f"c {c}: filled with {fill:g}, estimated from the first volume")
                    writer.write(deskew(volume, args.angle_deg, step_um, pixel_um, fill=fill), t, c)


if __name__ == "__main__":
    run_program(main)
