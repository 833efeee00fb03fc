"""Whether a tool has written what its descriptor declares: looked at when its test cases run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import isclose
from pathlib import Path

from snakescope.errors import SnakescopeError
from snakescope.images import ImageHeader, read_headers
from snakescope.tool.geometry import Geometry
from snakescope.tool.spec import IMAGE_TYPES, OutputPort, ToolSpec

READABLE = frozenset({"ome-zarr", "ome-tiff", "tiff"})


def misfits(spec: ToolSpec, outputs: Mapping[str, Path], declared: Mapping[str, Geometry]) -> list[str]:
    """What of a tool's outputs is otherwise than its descriptor says, a line each.

    Parameters
    ----------
    spec
        The descriptor.
    outputs
        Path of each output by port.
    declared
        What is known of each output before the job runs; what is unknown there may be anything.
    """
    found = (
        (port, told) for port, output in spec.outputs.items() for told in _told(output, outputs[port], declared[port])
    )
    return [f"tool.yaml: outputs.{port}: the program wrote {told}" for port, told in found]


def _told(output: OutputPort, path: Path, declared: Geometry) -> Iterator[str]:
    if output.type in IMAGE_TYPES and output.format in READABLE:
        frames = declared.axes is not None and "t" in declared.axes and "z" not in declared.axes
        try:
            headers = read_headers(path, stack_axis="t" if frames else "z")
        except SnakescopeError as error:
            yield f"no {output.format} that can be read ({error})"
        else:
            yield from _otherwise(output, headers[0], declared)


def _otherwise(output: OutputPort, header: ImageHeader, declared: Geometry) -> Iterator[str]:
    if header.format != output.format and output.format != "tiff":
        yield f"{header.format}; {output.format} is declared"
    if declared.dtype and header.dtype != declared.dtype:
        yield f"{header.dtype}; {declared.dtype} is declared"
    found = _sizes(header.axes, header.shape)
    if declared.axes and declared.shape:
        wanted = _sizes(declared.axes, declared.shape)
        if found != wanted:
            yield f"an image of {_text(found)}; {_text(wanted)} is declared"
    elif declared.axes and not found.keys() <= set(declared.axes):
        yield f"an image of {_text(found)}; the axes {declared.axes} are declared"
    for axis, size, wanted_um in zip("zyx", header.voxel_size_um, declared.voxel_size_um, strict=True):
        if size is not None and wanted_um is not None and not isclose(size, wanted_um, rel_tol=1e-3):
            yield f"a voxel size of {size:g} um along {axis}; {wanted_um:g} um is declared"


def _sizes(axes: str, shape: tuple[int, ...]) -> dict[str, int]:
    """Size along each axis; one of size 1 is as good as none."""
    return {axis: size for axis, size in zip(axes, shape, strict=True) if size != 1}


def _text(sizes: Mapping[str, int]) -> str:
    return " x ".join(f"{axis} {size}" for axis, size in sizes.items()) or "one sample"
