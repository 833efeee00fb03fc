"""Convert an image of any format to OME-Zarr, with true voxel size, time step and channel names.

Called by a rule as ``python convert.py --image FILE [--voxel-size-um Z,Y,X] [--time-step-s S] [--scene N]
--stack-axis z --ome-zarr-version 0.5 --out-image STORE --threads N``. The samples are copied as they are.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from snakescope.errors import InputError, Problem
from snakescope.images import ImageHeader, StackAxis, create_image, disagreements, open_image, read_headers
from snakescope.program import add_image_facts, image_facts, run_program


def unknown_sizes(header: ImageHeader) -> list[str]:
    """Return the axes among z, y, x that hold more than one sample and have no voxel size."""
    sizes = zip("zyx", header.voxel_size_um, strict=True)
    return [axis for axis, size in sizes if size is None and header.size(axis) > 1]


def check_convertible(header: ImageHeader) -> None:
    """Stop where the store would lack its pixel size, or could not hold the samples.

    Raises
    ------
    InputError
        With what to give, and how.
    """
    problems = []
    unknown = unknown_sizes(header)
    if unknown:
        problems.append(
            Problem(
                str(header.path),
                f"does not say its voxel size along {', '.join(unknown)}",
                "Give it in the sample sheet (column voxel_size_um, as z,y,x in µm) or by --voxel-size-um Z,Y,X.",
            )
        )
    if not header.dtype.startswith(("bool", "int", "uint", "float")):
        problems.append(
            Problem(
                str(header.path),
                f"holds {header.dtype} samples; expected integers or floats",
                "Save it as one of these.",
            )
        )
    if problems:
        raise InputError(problems)


def convert(
    source: Path,
    target: Path,
    *,
    scene: int = 0,
    voxel_size_um: tuple[float, float, float] | None = None,
    time_step_s: float | None = None,
    stack_axis: StackAxis = "z",
    ome_zarr_version: str = "0.5",
) -> ImageHeader:
    """Copy one image to a new OME-Zarr store, one volume in memory at a time.

    Parameters
    ----------
    source, target
        Image file or store, and the store to make.
    scene
        Which image of the file, from 0.
    voxel_size_um, time_step_s
        z, y, x in µm and s between frames; they go before what the file says.
    stack_axis
        What the planes of a plain TIFF are: slices (z) or frames (t).
    ome_zarr_version
        ``0.5`` or ``0.4``.

    Returns
    -------
    The header as it was written.

    Raises
    ------
    InputError
        If the source cannot be read or its voxel size is unknown, or the target exists.
    """
    with open_image(
        source, scene=scene, voxel_size_um=voxel_size_um, time_step_s=time_step_s, stack_axis=stack_axis
    ) as image:
        header = image.header
        check_convertible(header)
        with create_image(
            target,
            axes=header.axes,
            shape=header.shape,
            dtype=header.dtype,
            voxel_size_um=header.voxel_size_um,
            time_step_s=header.time_step_s,
            channels=header.channels,
            name=header.scene_name or source.name,
            ome_zarr_version=ome_zarr_version,
        ) as writer:
            for t in range(header.size("t")):
                for c in range(header.size("c")):
                    writer.write(image.volume(t, c), t, c)
    return header


def describe(header: ImageHeader) -> list[str]:
    """Return what was converted as a few plain lines for the log."""
    sizes = ", ".join(f"{axis}={n}" for axis, n in zip(header.axes, header.shape, strict=True))
    spacing = zip("zyx", header.voxel_size_um, strict=True)
    voxel = ", ".join(
        f"{axis} {'unknown' if um is None else f'{um:g} µm'}" for axis, um in spacing if axis in header.axes
    )
    lines = [f"{header.format}, scene {header.scene}: {sizes}, {header.dtype}", f"voxel size: {voxel}"]
    if "t" in header.axes:
        step = (
            "unknown; axis t is written without a unit" if header.time_step_s is None else f"{header.time_step_s:g} s"
        )
        lines.append(f"time step: {step}")
    if header.channels:
        lines.append(f"channels: {', '.join(header.channels)}")
    return lines


def main(argv: Sequence[str] | None = None) -> None:
    """Convert as the flags say, and print what was found, given and written."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--image", type=Path, required=True, metavar="FILE", help="image of any format")
    add_image_facts(parser)
    parser.add_argument("--ome-zarr-version", choices=["0.5", "0.4"], default="0.5")
    parser.add_argument("--out-image", type=Path, required=True, metavar="STORE", help="OME-Zarr store to make")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args(argv)
    for own in read_headers(args.image, stack_axis=args.stack_axis):
        if own.scene == args.scene:
            for line in disagreements(own, args.voxel_size_um, args.time_step_s):
                print(f"warning: {line}; the given value is used")
    written = convert(
        args.image,
        args.out_image,
        **image_facts(args),
        ome_zarr_version=args.ome_zarr_version,
    )
    print("\n".join(describe(written)))


if __name__ == "__main__":
    run_program(main)
