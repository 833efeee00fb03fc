"""How far two files are apart that should be the same: tables cell by cell, images volume by volume.

A tolerance is relative: to the range of the original's grey values, or of the column a number stands in. It knows
nothing of jobs or records.
"""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snakescope.errors import SnakescopeError
from snakescope.record import files_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from snakescope.images import Image

IMAGES = ("ome-zarr", "ome-tiff", "tiff")
TABLES = {"csv": ",", "tsv": "\t"}
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Distance:
    """How far two files are apart.

    Parameters
    ----------
    relative
        Largest difference relative to the range; infinite when they differ in more than numbers.
    told
        Where and by how much, for people.
    """

    relative: float
    told: str


def distance(original: Path, other: Path, format_: str | None) -> Distance:
    """Compare two files or folders of one format.

    Parameters
    ----------
    original
        What the other should be equal to; ranges are taken from it.
    other
        The file in question.
    format_
        Format of both: images and tables are compared by their numbers, others byte by byte.
    """
    try:
        if format_ in IMAGES:
            return _images_apart(original, other)
        if format_ in TABLES:
            return _tables_apart(original, other, TABLES[format_])
    except (SnakescopeError, csv.Error, UnicodeDecodeError, OSError) as error:
        return Distance(math.inf, f"cannot be compared by content ({str(error).splitlines()[0]})")
    return Distance(math.inf, _bytes_apart(original, other))


# ---------------------------------------------------------------------- tables


def _tables_apart(original: Path, other: Path, delimiter: str) -> Distance:
    ranges = _ranges(original, delimiter)
    header: list[str] = []
    worst = Distance(0.0, "the numbers are the same, only written in another way")
    for number, (before, now) in enumerate(zip_longest(_rows(original, delimiter), _rows(other, delimiter)), 1):
        if before is None or now is None:
            return Distance(
                math.inf, f"has {'more' if before is None else 'fewer'} rows: {_row_counts(original, other, delimiter)}"
            )
        if number == 1:
            header = before
            if before != now:
                return Distance(math.inf, f"has the columns {_brief(now)}; {_brief(before)} before")
        elif len(before) != len(now):
            return Distance(math.inf, f"row {number - 1} has {len(now)} cells; {len(before)} before")
        elif before != now:
            found = _row_apart(number - 1, header, before, now, ranges)
            if math.isinf(found.relative):
                return found
            worst = max(worst, found, key=lambda item: item.relative)
    return worst


def _rows(path: Path, delimiter: str) -> Iterator[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        yield from csv.reader(file, delimiter=delimiter)


def _row_counts(original: Path, other: Path, delimiter: str) -> str:
    before, now = (sum(1 for _ in _rows(path, delimiter)) - 1 for path in (original, other))
    return f"{now}; {before} before"


def _ranges(path: Path, delimiter: str) -> list[float]:
    """Largest less smallest number of each column; 0 for columns without numbers."""
    low: dict[int, float] = {}
    high: dict[int, float] = {}
    width = 0
    for row in _rows(path, delimiter):
        width = max(width, len(row))
        for column, cell in enumerate(row):
            value = _number(cell)
            if value is not None and math.isfinite(value):
                low[column] = min(low.get(column, value), value)
                high[column] = max(high.get(column, value), value)
    return [high.get(column, 0.0) - low.get(column, 0.0) for column in range(width)]


def _row_apart(number: int, header: list[str], before: list[str], now: list[str], ranges: list[float]) -> Distance:
    """The worst cell of a row; text that differs is infinitely far apart."""
    worst = Distance(0.0, "the numbers are the same, only written in another way")
    for column, (old, new) in enumerate(zip(before, now, strict=True)):
        if old == new:
            continue
        name = header[column] if column < len(header) else str(column + 1)
        told = f"row {number}, column {name!r}: {new!r}; {old!r} before"
        a, b = _number(old), _number(new)
        if a is None or b is None or math.isnan(a) != math.isnan(b):
            return Distance(math.inf, told)
        relative = _relative(0.0 if a == b or math.isnan(a) else abs(b - a), ranges[column])
        if relative > worst.relative:
            worst = Distance(relative, f"{told} ({_share(relative)} of the column's range)")
    return worst


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _brief(names: list[str]) -> str:
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")


# ---------------------------------------------------------------------- images


def _images_apart(original: Path, other: Path) -> Distance:
    from snakescope.images import open_image, read_headers

    scenes, now = len(read_headers(original)), len(read_headers(other))
    if scenes != now:
        return Distance(math.inf, f"holds {now} images; {scenes} before")
    worst = Distance(0.0, "all grey values are the same, other bytes are not")
    for scene in range(scenes):
        with open_image(original, scene=scene) as a, open_image(other, scene=scene) as b:
            found = _headers_apart(a, b) or _scene_apart(a, b)
        if found.relative > worst.relative:
            worst = found
    return worst


def _headers_apart(a: Image, b: Image) -> Distance | None:
    """What differs between the headers; voxels of another size are as bad as other pixels."""
    for key in ("axes", "shape", "dtype", "voxel_size_um", "time_step_s", "channels"):
        before, now = getattr(a.header, key), getattr(b.header, key)
        if before != now:
            return Distance(math.inf, f"{key} is {now}; {before} before")
    return None


def _scene_apart(a: Image, b: Image) -> Distance:
    """Largest difference of two images of one shape, relative to the range of the first."""
    import numpy as np

    low, high, most, place = math.inf, -math.inf, 0.0, ""
    for t in range(a.header.size("t")):
        for c in range(a.header.size("c")):
            one, two = a.volume(t, c), b.volume(t, c)
            for z in range(len(one) if one.ndim == 3 else 1):
                plane, other = (one[z], two[z]) if one.ndim == 3 else (one, two)
                finite = plane[np.isfinite(plane)]
                if finite.size:
                    low, high = min(low, float(finite.min())), max(high, float(finite.max()))
                found, y, x = _plane_apart(plane, other)
                if found > most:
                    most, place = found, f"t={t}, c={c}, z={z}, y={y}, x={x}"
    if math.isinf(most):
        return Distance(math.inf, f"not a number or infinite on one side only, first at {place}")
    relative = _relative(most, high - low)
    told = f"grey values differ by up to {most:g}, {_share(relative)} of their range, most at {place}"
    return Distance(relative, told if most else "all grey values are the same, other bytes are not")


def _plane_apart(plane: NDArray[Any], other: NDArray[Any]) -> tuple[float, int, int]:
    """Largest difference in a plane and where; infinite where one alone is not finite."""
    import numpy as np

    one, two = plane.astype(np.float64), other.astype(np.float64)
    same = (one == two) | (np.isnan(one) & np.isnan(two))
    with np.errstate(invalid="ignore"):
        apart = np.where(same, 0.0, np.abs(one - two))
    apart[np.isnan(apart)] = np.inf
    y, x = np.unravel_index(int(apart.argmax()), apart.shape)
    return float(apart[y, x]), int(y), int(x)


def _relative(difference: float, range_: float) -> float:
    if difference == 0:
        return 0.0
    return difference / range_ if range_ > 0 and math.isfinite(difference) else math.inf


def _share(relative: float) -> str:
    return "more than all" if math.isinf(relative) else f"{relative:.2g}"


# ---------------------------------------------------------------------- anything else


def _bytes_apart(original: Path, other: Path) -> str:
    if original.is_dir() != other.is_dir():
        return f"is a {'folder' if other.is_dir() else 'file'} now"
    if not original.is_dir():
        return _first_byte(original, other)
    before, now = (
        {os.fspath(path.relative_to(folder)): path for path in files_of(folder)} for folder in (original, other)
    )
    for name in sorted(before.keys() | now.keys()):
        if name not in before or name not in now:
            return f"its file {name!r} is {'new' if name in now else 'not there'}"
        if before[name].read_bytes() != now[name].read_bytes():
            return f"its file {name!r}: {_first_byte(before[name], now[name])}"
    return "the same files"


def _first_byte(original: Path, other: Path) -> str:
    """Where two files begin to differ."""
    sizes = f"{other.stat().st_size} bytes; {original.stat().st_size} before"
    at = 0
    with original.open("rb") as a, other.open("rb") as b:
        while True:
            one, two = a.read(_CHUNK), b.read(_CHUNK)
            if one != two or not one:
                break
            at += len(one)
    if one == two:
        return f"the same {at} bytes"
    step = next((i for i, (x, y) in enumerate(zip(one, two, strict=False)) if x != y), min(len(one), len(two)))
    return f"{sizes}, different from byte {at + step + 1} on"
