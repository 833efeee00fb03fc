"""What is known of an image without opening it: axes, shape, dtype and the size of a voxel.

Taken from the sample sheet for raw images and carried through each step by the descriptor's rules, so that
resources, conditions and the facts that a program needs are known before a job starts. Unknown is None.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

from snakescope.tool.expressions import ExpressionError, UnknownValueError, evaluate_number

AXES = "tczyx"
ITEMSIZE = {
    **dict.fromkeys(("bool", "int8", "uint8"), 1),
    **dict.fromkeys(("int16", "uint16", "float16"), 2),
    **dict.fromkeys(("int32", "uint32", "float32"), 4),
    **dict.fromkeys(("int64", "uint64", "float64", "complex64"), 8),
}


@dataclass(frozen=True, slots=True)
class Geometry:
    """Axes in the order tczyx, one size an axis, numpy dtype name, voxel size in µm (z, y, x), seconds a frame."""

    axes: str | None = None
    shape: tuple[int, ...] | None = None
    dtype: str | None = None
    voxel_size_um: tuple[float | None, float | None, float | None] = (None, None, None)
    time_step_s: float | None = None
    bytes: int | None = None

    def size(self, axis: str) -> int | None:
        """Number of samples along an axis; 1 for an axis that the image does not have."""
        if self.axes is None or self.shape is None:
            return None
        return self.shape[self.axes.index(axis)] if axis in self.axes else 1

    def names(self) -> dict[str, Any]:
        """The names under which an expression reads this geometry."""
        shape = {axis: self.size(axis) for axis in AXES}
        known = None not in shape.values()
        sizes = [size or 0 for size in shape.values()]
        itemsize = ITEMSIZE.get(self.dtype or "")
        size_in_memory = math.prod(sizes) * itemsize if known and itemsize else None
        return {
            "shape": shape,
            "voxels": math.prod(sizes) if known else None,
            "volume": math.prod(sizes[2:]) if known else None,
            "voxel_size_um": dict(zip("zyx", self.voxel_size_um, strict=True)),
            "time_step_s": self.time_step_s,
            "itemsize": itemsize,
            "bytes": size_in_memory if self.bytes is None else self.bytes,
        }


def derive(
    source: Geometry,
    names: Mapping[str, Any],
    *,
    dtype: str | None,
    shape: Mapping[str, Any],
    voxel_size_um: Mapping[str, Any],
    axes: str | None = None,
) -> Geometry:
    """Geometry of an output that is like an input but for what its descriptor says.

    Parameters
    ----------
    source
        The input that the output is like.
    names
        Values for the expressions: geometry names and parameters.
    dtype, shape, voxel_size_um
        What the descriptor overrides; shape and voxel size by axis, as expressions.
    axes
        Pattern of the axes that the output has, where it does not keep all of the input's.
    """
    kept = source.axes if axes is None or source.axes is None else _kept(source.axes, axes)
    sizes = None
    if kept is not None and source.shape is not None:
        values = [_value(shape[axis], names) if axis in shape else source.size(axis) for axis in kept]
        sizes = None if any(value is None or value < 1 for value in values) else tuple(int(v or 0) for v in values)
    z, y, x = (
        _value(voxel_size_um[axis], names) if axis in voxel_size_um else old
        for axis, old in zip("zyx", source.voxel_size_um, strict=True)
    )
    z, y, x = (value if value is not None and value > 0 else None for value in (z, y, x))
    return Geometry(kept, sizes, dtype or source.dtype, (z, y, x), source.time_step_s)


def _kept(axes: str, pattern: str) -> str:
    """The axes of an input that an output has: those of the pattern, but for optional ones that the input lacks."""
    optional = {axis for axis, mark in re.findall(r"([tczyx])(\??)", pattern) if mark}
    return "".join(axis for axis in AXES if axis in pattern and (axis in axes or axis not in optional))


def _value(expression: str | float, names: Mapping[str, Any]) -> float | None:
    try:
        return evaluate_number(expression, names)
    except (UnknownValueError, ExpressionError):
        return None


def axes_choices(pattern: str) -> frozenset[str]:
    """All axes strings that a pattern such as ``t?c?zyx`` allows.

    Raises
    ------
    ValueError
        If the pattern holds another axis, an axis twice, or not the order tczyx.
    """
    if not re.fullmatch(r"(t\??)?(c\??)?(z\??)?(y\??)?(x\??)?", pattern) or not pattern:
        raise ValueError(f"found {pattern!r}; expected axes in the order tczyx, each with `?` if it may be absent")
    parts = re.findall(r"([tczyx])(\??)", pattern)
    options = [(axis, "") if mark else (axis,) for axis, mark in parts]
    return frozenset("".join(choice) for choice in product(*options)) - {""}
