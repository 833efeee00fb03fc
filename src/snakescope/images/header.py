"""What is known of an image before a pixel is read: its axes, size, voxel size, time step, channels.

This module knows nothing about any file format.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

AXES = "tczyx"

Triple = tuple[float | None, float | None, float | None]
UNKNOWN: Triple = (None, None, None)

# Length units as the formats write them, in micrometres: lower case, in NFKC form (one kind of µ and of Å).
_MICROMETRES = {
    "m": 1e6, "meter": 1e6, "metre": 1e6,
    "dm": 1e5, "decimeter": 1e5,
    "cm": 1e4, "centimeter": 1e4, "centimetre": 1e4,
    "mm": 1e3, "millimeter": 1e3, "millimetre": 1e3,
    "um": 1.0, "μm": 1.0, "\\u00b5m": 1.0, "micron": 1.0, "microns": 1.0, "micrometer": 1.0,
    "micrometre": 1.0,
    "nm": 1e-3, "nanometer": 1e-3, "nanometre": 1e-3,
    "pm": 1e-6, "picometer": 1e-6, "picometre": 1e-6,
    "å": 1e-4, "angstrom": 1e-4, "ångström": 1e-4,
    "inch": 25400.0, "in": 25400.0, "foot": 304800.0, "ft": 304800.0,
}  # fmt: skip

_SECONDS = {
    "ns": 1e-9, "nanosecond": 1e-9,
    "us": 1e-6, "μs": 1e-6, "microsecond": 1e-6,
    "ms": 1e-3, "msec": 1e-3, "millisecond": 1e-3,
    "s": 1.0, "sec": 1.0, "second": 1.0, "seconds": 1.0,
    "min": 60.0, "minute": 60.0, "minutes": 60.0,
    "h": 3600.0, "hr": 3600.0, "hour": 3600.0, "hours": 3600.0,
    "d": 86400.0, "day": 86400.0, "days": 86400.0,
}  # fmt: skip


@dataclass(frozen=True)
class ImageHeader:
    """One image of a file, without its pixels.

    Parameters
    ----------
    path
        The file, or the folder of an OME-Zarr store.
    format
        ``ome-zarr``, ``ome-tiff``, ``tiff``, ``nd2``, ``lif`` or ``czi``.
    axes
        The axes the image has, in the order of `AXES`.
    shape
        Samples along each of `axes`.
    dtype
        Numpy's name of the sample type, for example ``uint16``.
    voxel_size_um
        z, y, x in micrometres; None where the file does not say, and for an axis the image does not have.
    time_step_s
        Seconds between frames; None where the file does not say.
    channels
        Channel names as the file gives them; empty where it gives none.
    bytes
        Size on disk of the whole file, or of all files of a store.
    scene, scene_name
        Which image of the file this is, from 0, and its name if it has one.
    """

    path: Path
    format: str
    axes: str
    shape: tuple[int, ...]
    dtype: str
    voxel_size_um: Triple
    time_step_s: float | None
    channels: tuple[str, ...]
    bytes: int
    scene: int = 0
    scene_name: str | None = None

    def size(self, axis: str) -> int:
        """Return the samples along `axis`; 1 where the image does not have it."""
        return self.shape[self.axes.index(axis)] if axis in self.axes else 1


def micrometres(value: object, unit: str | None) -> float | None:
    """Return a length in µm, or None when it is not one: no number, not above 0, no unit of length."""
    return _convert(value, unit, _MICROMETRES)


def seconds(value: object, unit: str | None) -> float | None:
    """Return a duration in s, or None when it is not one: no number, not above 0, no unit of time."""
    return _convert(value, unit, _SECONDS)


def _convert(value: object, unit: str | None, units: Mapping[str, float]) -> float | None:
    factor = units.get(unicodedata.normalize("NFKC", unit or "").strip().lower())
    number = positive(value)
    return None if factor is None or number is None else round_off(number * factor)


def positive(value: object) -> float | None:
    """Return `value` as a finite number above 0, or None."""
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) and number > 0 else None


def round_off(number: float) -> float:
    """Drop the noise of a unit conversion (1.4e-07 m becomes 0.14 µm, not 0.13999999999999999)."""
    return float(f"{number:.12g}")


def regular_step(times: Sequence[float], tolerance: float = 0.1) -> float | None:
    """Return the mean step of rising `times`, or None if there is none or one differs from it by over `tolerance`.

    Irregular frames have no single time step; saying a mean would make every derived speed wrong.
    """
    steps = [after - before for before, after in pairwise(times)]
    if not steps:
        return None
    mean = sum(steps) / len(steps)
    if not (math.isfinite(mean) and mean > 0 and all(abs(step - mean) <= tolerance * mean for step in steps)):
        return None
    return round_off(mean)


def disagreements(
    header: ImageHeader, voxel_size_um: Triple | None, time_step_s: float | None, tolerance: float = 1e-3
) -> list[str]:
    """Say where given values differ from what the file says, by more than `tolerance` of it.

    Returns
    -------
    One line for each, such as ``voxel size x: the file says 0.1 µm, 0.2 µm was given``; none for what either does
    not know.
    """
    given = dict(zip(("z", "y", "x"), voxel_size_um or UNKNOWN, strict=True))
    pairs = [(f"voxel size {a}", own, given[a], "µm") for a, own in zip("zyx", header.voxel_size_um, strict=True)]
    pairs.append(("time step", header.time_step_s, time_step_s, "s"))
    return [
        f"{what}: the file says {own:g} {unit}, {other:g} {unit} was given"
        for what, own, other, unit in pairs
        if own is not None and other is not None and abs(own - other) > tolerance * own
    ]


def named(channels: Iterable[str | None]) -> tuple[str, ...]:
    """Return channel names; empty when none is given, ``channel N`` for the odd one that is missing."""
    names = [(name or "").strip() for name in channels]
    return tuple(name or f"channel {i}" for i, name in enumerate(names)) if any(names) else ()
