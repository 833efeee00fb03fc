"""Words for what the sheet knows of images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from snakescope.samples import Row, format_number

NAMES = {"t": "time points", "c": "channels", "z": "planes"}


def ordered(values: Iterable[str]) -> list[str]:
    """The values without repeats, in the order in which they come."""
    return list(dict.fromkeys(values))


def describe_geometry(rows: Sequence[Row]) -> str | None:
    """Size, voxel size and time step of images, such as ``40 x 96 x 96 voxels (z, y, x) of 0.3 x 0.1 x 0.1 µm``."""
    parts = [_size(rows), _voxels(rows), _time_step(rows)]
    told = [part for part in parts if part]
    return "; ".join(told) if told else None


def _size(rows: Sequence[Row]) -> str | None:
    axes = ordered(row.axes for row in rows if row.axes)
    shapes = {row.shape for row in rows if row.shape}
    if len(axes) != 1 or not shapes:
        return None
    low, high = map(min, zip(*shapes, strict=True)), map(max, zip(*shapes, strict=True))
    sizes = [str(a) if a == b else f"{a} to {b}" for a, b in zip(low, high, strict=True)]
    return f"images of {' × '.join(sizes)} ({', '.join(axes[0])})"


def _voxels(rows: Sequence[Row]) -> str | None:
    sizes = ordered(_voxel(row) for row in rows if row.voxel_size_um[2] is not None)
    if not sizes or len(sizes) > 3:
        return f"{len(sizes)} different voxel sizes" if sizes else None
    return f"voxels of {' or '.join(sizes)} µm"


def _voxel(row: Row) -> str:
    """Sizes along the axes that the image has: a distance of planes says nothing of an image of one plane."""
    known = [
        (a, s) for a, s in zip("zyx", row.voxel_size_um, strict=True) if s is not None and a in (row.axes or "zyx")
    ]
    axes, sizes = zip(*known, strict=True)
    return f"{' × '.join(map(format_number, sizes))} ({', '.join(axes)})"


def _time_step(rows: Sequence[Row]) -> str | None:
    steps = ordered(format_number(row.time_step_s) for row in rows if row.time_step_s is not None)
    return f"{' or '.join(steps)} s between time points" if 0 < len(steps) <= 3 else None
