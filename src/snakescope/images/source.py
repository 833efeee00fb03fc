"""From a file's own axes to `tczyx`: which of them an image keeps, and how one volume is cut out of it.

Every reader hands over an array-like that can be cut (a memory map, a Zarr array, pages read on demand)
and the names of its axes; nothing here knows a file format.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from snakescope.errors import problem
from snakescope.images.header import AXES

Index = tuple[int | slice, ...]


class Cuttable(Protocol):
    """An array on disk: whole numbers and whole slices cut it."""

    def __getitem__(self, index: Index, /) -> object:
        """Return the samples of `index`."""


@dataclass(frozen=True)
class Layout:
    """How the axes of a file map onto `tczyx`.

    Parameters
    ----------
    source
        One letter for each axis of the file: ``tczyx``, ``s`` for the samples of a colour pixel (they
        become channels, the last to vary), and any other letter for an axis of one sample, which is dropped.
    source_shape
        Samples along each of them.
    """

    source: str
    source_shape: tuple[int, ...]

    def _size(self, axis: str) -> int:
        return self.source_shape[self.source.index(axis)] if axis in self.source else 1

    @property
    def axes(self) -> str:
        """Axes of the image: those of the file, always with y and x, samples of a colour pixel as c."""
        colour = self._size("s") > 1
        return "".join(a for a in AXES if a in self.source or a in "yx" or (a == "c" and colour))

    @property
    def shape(self) -> tuple[int, ...]:
        """Samples along each of `axes`."""
        return tuple(self._size(a) * (self._size("s") if a == "c" else 1) for a in self.axes)

    def count(self, axis: str) -> int:
        """Return the samples of the image along one of `tczyx`; 1 where it does not have the axis."""
        return self.shape[self.axes.index(axis)] if axis in self.axes else 1

    def cut(self, array: Cuttable, t: int, c: int) -> NDArray[np.generic]:
        """Read one volume, (z, y, x) or (y, x), in native byte order."""
        channel, sample = divmod(c, self._size("s"))
        fixed = {"t": t, "c": channel, "s": sample}
        index: Index = tuple(slice(None) if a in "zyx" else fixed.get(a, 0) for a in self.source)
        volume = np.asarray(array[index])
        kept = [a for a in self.source if a in "zyx"]
        volume = volume.transpose([kept.index(a) for a in "zyx" if a in kept])
        volume = volume.reshape([self._size(a) for a in self.axes if a in "zyx"])
        mapped = isinstance(array, np.memmap)  # what is handed out must outlive the file, and be writable
        return np.array(volume, volume.dtype.newbyteorder("="), order="C", copy=True if mapped else None)


def layout(path: Path, axes: str, shape: tuple[int, ...], *, squeeze: str = "") -> Layout:
    """Map a file's axes, refusing those that have more than one sample and no place in `tczyx`.

    Parameters
    ----------
    path
        Named in the error.
    axes, shape
        One letter and one size for each axis of the file.
    squeeze
        Axes that are dropped when they hold one sample, though `tczyx` has them.
    """
    letters = axes.lower()
    odd = [f"{a}={n}" for a, n in zip(axes, shape, strict=True) if a.lower() not in AXES + "s" and n > 1]
    if odd or any(letters.count(a) > 1 for a in AXES + "s"):
        found = ", ".join(f"{a}={n}" for a, n in zip(axes, shape, strict=True))
        raise problem(
            path,
            f"has the axes {found}; expected only t, c, z, y and x",
            "Save it as OME-TIFF or OME-Zarr with its axes named.",
        )
    drop = [a for a, n in zip(letters, shape, strict=True) if n == 1 and (a in squeeze or a not in AXES + "s")]
    return Layout("".join("_" if a in drop else a for a in letters), tuple(shape))


@dataclass
class Source:
    """An open image: what cuts volumes out of it, and what closes it."""

    layout: Layout
    array: Cuttable
    close: Callable[[], None]

    def volume(self, t: int, c: int) -> NDArray[np.generic]:
        """Read one volume, (z, y, x) or (y, x), in native byte order."""
        return self.layout.cut(self.array, t, c)
