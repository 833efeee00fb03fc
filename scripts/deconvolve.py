"""Deconvolve an image on CPUs: cudaDecon's arithmetic, without its crop and its wrap-around.

The numeric part prepares one volume at a time for `richardson_lucy`: background, edges, grid. `main` reads an
image and a PSF, loops over time and channels, and writes one OME-Zarr of the same shape.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from psf import PsfKind, PsfStack, RadialOtf, Triple, check_fits, half_width_um, load_psf, transfer_function
from richardson_lucy import Blur, Shape, Volume, richardson_lucy
from snakescope.errors import InputError, Problem, problem
from snakescope.images import Image, ImageHeader, ImageWriter, create_image, open_image
from snakescope.program import add_image_facts, image_facts, run_program

Edges = Literal["padded", "periodic"]


@dataclass(frozen=True)
class Frame:
    """How a volume is placed on the grid of the transform.

    Parameters
    ----------
    shape
        Of the volume, (z, y, x); z is 1 for a plane.
    padded
        Of the grid; the volume lies at its origin.
    softening_px
        Width in pixels over which opposite edges in y and x are blended inside the image; 0 for `padded` edges,
        which leave the image as it is.
    """

    shape: Shape
    padded: Shape
    softening_px: int


def plan_frame(
    shape: Shape, voxel_um: Triple, psf: PsfStack | RadialOtf, *, edges: Edges = "padded", softening_px: int = 15
) -> Frame:
    """Choose the grid of the transform.

    With `padded` edges the volume is extended along each axis by the width that holds 90 % of the PSF's light, so
    that one side does not see the other. With `periodic` edges, as in cudaDecon, it is softened over `softening_px`
    pixels and only extended to the next size that transforms fast.
    """
    extra = [0, 0, 0]
    if edges == "padded":
        widths = half_width_um(psf, 0.9)
        extra = [int(np.ceil(2 * width / size)) for width, size in zip(widths, voxel_um, strict=True)]
        extra[0] *= shape[0] > 1
    z, y, x = (n + more for n, more in zip(shape, extra, strict=True))
    padded = (fft.next_fast_len(z), fft.next_fast_len(y), fft.next_fast_len(x, real=True))
    return Frame(shape, padded, softening_px if edges == "periodic" else 0)


def place(volume: NDArray[np.generic], frame: Frame, background: float) -> Volume:
    """Copy a volume onto the grid: soften edges, subtract background, set what is below it to 0, extend.

    Parameters
    ----------
    volume
        Shape `frame.shape`, any real dtype, finite.
    background
        Grey level of no light.
    """
    z, y, x = frame.shape
    placed = np.empty(frame.padded, np.float32)
    inside = placed[:z, :y, :x]
    inside[...] = volume
    _soften_edges(inside, frame.softening_px)
    inside -= np.float32(background)
    np.maximum(inside, 0, out=inside)
    _extend(placed[:z, :y], 2, x)
    _extend(placed[:z], 1, y)
    _extend(placed, 0, z)
    return placed


def _soften_edges(volume: Volume, width: int) -> None:
    """Bring opposite edges in y and x to a common value over `width` pixels, in place, as cudaDecon's `napodize`."""
    for axis in (1, 2):
        lines = np.moveaxis(volume, axis, 0)
        reach = min(width, len(lines) // 2)
        half_jump = (lines[-1] - lines[0]) / 2
        for i in range(reach):
            part = half_jump * np.float32(1 - np.sin((i + 0.5) / width * np.pi / 2))
            lines[i] += part
            lines[-1 - i] -= part


def _extend(volume: Volume, axis: int, size: int) -> None:
    """Fill, in place, what lies beyond `size` along an axis: the mirrored end passing into the mirrored start."""
    lines = np.moveaxis(volume, axis, 0)
    extra = len(lines) - size
    for i in range(extra):
        share = np.float32(0.5 - 0.5 * np.cos(np.pi * (i + 0.5) / extra))
        end, start = _mirror(size + i, size), _mirror(i - extra, size)
        lines[size + i] = lines[end] * (1 - share) + lines[start] * share


def _mirror(index: int, size: int) -> int:
    """Index inside 0 ... size - 1 of a line that is reflected at its ends again and again."""
    index %= 2 * size
    return index if index < size else 2 * size - 1 - index


def deconvolve_volume(
    volume: NDArray[np.generic],
    blur: Blur,
    frame: Frame,
    *,
    iterations: int = 10,
    accelerated: bool = True,
    background: float = 0.0,
) -> Volume:
    """Deconvolve one volume or plane; the result has its shape.

    Parameters
    ----------
    volume
        Shape (z, y, x) or (y, x), any real dtype, finite. Without any voxel above `background` the result is 0.
    blur, frame
        Prepared once for all volumes of an image.

    Returns
    -------
    float32, background removed, not negative.
    """
    placed = place(volume.reshape(frame.shape), frame, background)
    if placed.max() > 0:
        placed = richardson_lucy(placed, blur, iterations, accelerated=accelerated)
    z, y, x = frame.shape
    return np.ascontiguousarray(placed[:z, :y, :x]).reshape(volume.shape)


def prepare(
    shape: Shape,
    voxel_um: Triple,
    psf: PsfStack | RadialOtf,
    *,
    edges: Edges = "padded",
    softening_px: int = 15,
    threads: int = 1,
    where: str = "psf",
) -> tuple[Blur, Frame]:
    """Make what all volumes of an image share: the grid and the transfer function on it.

    Raises
    ------
    InputError
        If the PSF has other dimensions than the image or does not fit into it.
    """
    flat_image = shape[0] == 1
    flat_psf = isinstance(psf, PsfStack) and psf.volume.shape[0] == 1
    if flat_psf and not flat_image:
        message = f"the PSF is a plane, the image a stack of {shape[0]} planes"
        raise problem(where, message, "Give a PSF stack (z, y, x) or a radial OTF.")
    if flat_image and not flat_psf:
        raise problem(where, "the PSF is a stack, the image a plane", "Give the PSF of a plane (y, x).")
    check_fits(psf, shape, voxel_um, where)
    frame = plan_frame(shape, voxel_um, psf, edges=edges, softening_px=softening_px)
    otf = transfer_function(psf, frame.padded, voxel_um)
    return Blur(otf, frame.padded[2], threads), frame


def read_psf(
    path: Path,
    *,
    kind: PsfKind = "auto",
    z_um: float | None = None,
    xy_um: float | None = None,
    background: float | None = None,
    flat: bool = False,
) -> PsfStack | RadialOtf:
    """Read a PSF or OTF file; `z_um` and `xy_um` come before what the file says.

    Parameters
    ----------
    flat
        The image is a plane, so the step along z is not needed.
    """
    with open_image(path) as image:
        header = image.header
        if header.size("t") * header.size("c") != 1:
            message = f"found axes {header.axes} of shape {header.shape}; expected one volume: zyx or yx"
            raise problem(path, message, "Save the PSF alone, with its planes along z.")
        array = image.volume()
    z, y, x = header.voxel_size_um
    _report_difference(path, "z", z, z_um)
    _report_difference(path, "x", x, xy_um)
    sizes = {
        "psf_z_um": z_um or z or (1.0 if flat else None),  # of a plane, z is not used
        "psf_xy_um": xy_um or y,
        "x": xy_um or x,
    }
    missing = [name for name in ("psf_z_um", "psf_xy_um") if sizes[name] is None]
    if missing or sizes["x"] is None:
        names = " and ".join(missing or ["psf_xy_um"])
        raise problem(path, "the file does not say its voxel size", f"Give it by the parameters {names}, in µm.")
    voxel_um = (float(sizes["psf_z_um"] or 0), float(sizes["psf_xy_um"] or 0), float(sizes["x"]))
    return load_psf(array, voxel_um, kind=kind, background=background, where=str(path))


def _report_difference(path: Path, axis: str, in_file: float | None, given: float | None) -> None:
    if in_file and given and abs(in_file - given) > 0.01 * given:
        print(f"note: {path.name} says {in_file:g} µm along {axis}; the parameter's {given:g} µm is used")


def image_voxel_um(header: ImageHeader) -> Triple:
    """Voxel size in µm of an image; 1 along a z axis that does not exist, where it is not used.

    Raises
    ------
    InputError
        If it is unknown or not above 0.
    """
    sizes = dict(zip("zyx", header.voxel_size_um, strict=True))
    if "z" not in header.axes:
        sizes["z"] = 1.0
    missing = [axis for axis, size in sizes.items() if not size or not size > 0]
    if missing:
        message = f"the voxel size along {', '.join(missing)} is unknown"
        raise problem(header.path, message, "Give it in the sample sheet, or by --voxel-size-um Z,Y,X in µm.")
    return float(sizes["z"] or 0), float(sizes["y"] or 0), float(sizes["x"] or 0)


def describe(psf: PsfStack | RadialOtf) -> str:
    """One line for the log."""
    size = " x ".join(f"{u:g}" for u in psf.voxel_um)
    if isinstance(psf, RadialOtf):
        rows, columns = psf.values.shape
        return f"PSF: radial OTF, {rows} kr x {columns} kz, of voxels of {size} µm"
    centre = ", ".join(f"{c:.2f}" for c in psf.centre)
    shape = " x ".join(map(str, psf.volume.shape))
    return f"PSF: {shape} voxels of {size} µm, centre at {centre}, background {psf.background:g} removed"


def build_parser() -> argparse.ArgumentParser:
    """Flags as in tools/deconvolve/tool.yaml."""
    parser = argparse.ArgumentParser(description="Richardson-Lucy deconvolution on CPUs.")
    parser.add_argument("--image", type=Path, required=True)
    parser.add_argument("--psf", type=Path, required=True)
    parser.add_argument("--out-image", type=Path, required=True)
    add_image_facts(parser)
    parser.add_argument("--iterations", type=int, default=10)
    parser.add_argument("--acceleration", choices=("biggs_andrews", "none"), default="biggs_andrews")
    parser.add_argument("--background", type=float, default=0.0)
    parser.add_argument("--edges", choices=("padded", "periodic"), default="padded")
    parser.add_argument("--softening-px", type=int, default=15)
    parser.add_argument("--psf-kind", choices=("auto", "psf", "otf"), default="auto")
    parser.add_argument("--psf-z-um", type=float)
    parser.add_argument("--psf-xy-um", type=float)
    parser.add_argument("--psf-background", type=float)
    parser.add_argument("--threads", type=int, default=1)
    return parser


def check_arguments(args: argparse.Namespace) -> None:
    """Refuse values out of range, all at once."""
    wrong = [
        Problem(f"--{name.replace('_', '-')}", f"found {getattr(args, name)}; expected {expected}")
        for name, expected, valid in (
            ("iterations", "1 or more", args.iterations >= 1),
            ("softening_px", "0 or more", args.softening_px >= 0),
            ("background", "a number", np.isfinite(args.background)),
            ("psf_z_um", "a length above 0", args.psf_z_um is None or args.psf_z_um > 0),
            ("psf_xy_um", "a length above 0", args.psf_xy_um is None or args.psf_xy_um > 0),
            ("threads", "1 or more", args.threads >= 1),
        )
        if not valid
    ]
    if wrong:
        raise InputError(wrong)


def main(argv: Sequence[str] | None = None) -> None:
    """Deconvolve every volume of an image; see tools/deconvolve/tool.yaml."""
    args = build_parser().parse_args(argv)
    check_arguments(args)
    with open_image(args.image, **image_facts(args)) as image:
        header = image.header
        voxel_um = image_voxel_um(header)
        shape = (header.size("z"), header.size("y"), header.size("x"))
        psf = read_psf(
            args.psf,
            kind=args.psf_kind,
            z_um=args.psf_z_um,
            xy_um=args.psf_xy_um,
            background=args.psf_background,
            flat=shape[0] == 1,
        )
        blur, frame = prepare(
            shape,
            voxel_um,
            psf,
            edges=args.edges,
            softening_px=args.softening_px,
            threads=args.threads,
            where=str(args.psf),
        )
        print(describe(psf))
        print(f"image: {shape} voxels of {voxel_um} µm, transformed as {frame.padded}, edges {args.edges}")
        with create_image(
            args.out_image,
            axes=header.axes,
            shape=header.shape,
            dtype=np.dtype(np.float32),
            voxel_size_um=header.voxel_size_um,
            time_step_s=header.time_step_s,
            channels=header.channels,
        ) as writer:
            lit = [
                _deconvolve_one(image, writer, t, c, blur, frame, args)
                for t in range(header.size("t"))
                for c in range(header.size("c"))
            ]
    if not any(lit):
        message = f"no voxel is above the background of {args.background:g}, so nothing could be deconvolved"
        raise problem(args.image, message, "Set `background` to the grey level of no light.")


def _deconvolve_one(
    image: Image, writer: ImageWriter, t: int, c: int, blur: Blur, frame: Frame, args: argparse.Namespace
) -> bool:
    """Deconvolve and write one volume; False if it has no voxel above the background."""
    volume = image.volume(t, c)
    wrong = volume.size - np.count_nonzero(np.isfinite(volume))
    if wrong:
        message = f"t {t}, c {c}: {wrong} voxels are not finite (NaN or infinity); expected numbers"
        raise problem(image.header.path, message, "Replace them before deconvolving.")
    lit = bool(volume.max() > args.background)
    result = deconvolve_volume(
        volume,
        blur,
        frame,
        iterations=args.iterations,
        accelerated=args.acceleration == "biggs_andrews",
        background=args.background,
    )
    writer.write(result, t, c)
    print(f"t {t}, c {c}: {'deconvolved' if lit else 'no voxel above the background, written as 0'}", flush=True)
    return lit


if __name__ == "__main__":
    run_program(main)
