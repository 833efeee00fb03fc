"""One time-lapse out of one file with many time points, or of many files with one each.

Reads one volume at a time. This module knows nothing about what is measured or drawn.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray

from snakescope.errors import InputError, Problem, problem
from snakescope.images import ImageHeader, open_image, read_headers


@dataclass(frozen=True)
class Facts:
    """What the sample sheet says about the files where they do not: see ``add_image_facts``."""

    scene: int = 0
    voxel_size_um: tuple[float, float, float] | None = None
    time_step_s: float | None = None
    t_index: tuple[int, ...] | None = None
    stack_axis: Literal["z", "t"] = "z"


class Timeline:
    """The frames of a time-lapse, whichever files they lie in.

    Parameters
    ----------
    paths
        One file or several, in order of time.
    facts
        `t_index` gives the frame number of each file's first time point; None counts on from file to file.
    channel
        Which channel, from 0.

    Attributes
    ----------
    frames
        Frame numbers, rising.
    voxel_size_um
        Along z, y, x; z is None for 2D images.
    time_step_s
        None = unknown.

    Raises
    ------
    InputError
        If files differ in shape or voxel size, two hold the same frame, scene or channel do not exist, or no
        voxel size is known.
    """

    def __init__(self, paths: Sequence[Path], facts: Facts, channel: int = 0) -> None:
        self._facts, self._channel = facts, channel
        headers = [_header(path, facts) for path in paths]
        self.header = headers[0]
        _check_alike(headers, channel, sizes=facts.voxel_size_um is None)
        self._places = _places(headers, facts.t_index)
        self.frames = sorted(self._places)
        step_s = self.header.time_step_s
        self.time_step_s = step_s if facts.time_step_s is None else facts.time_step_s
        self.voxel_size_um = self._voxel_size()

    def _voxel_size(self) -> tuple[float | None, float, float]:
        z_um, y_um, x_um = self._facts.voxel_size_um or self.header.voxel_size_um
        if z_um is None or math.isnan(z_um):  # the flag gave y and x alone
            z_um = self.header.voxel_size_um[0]
        unknown = [axis for axis, size in (("z", z_um), ("y", y_um), ("x", x_um)) if size is None]
        if not self.has_z:
            unknown = [axis for axis in unknown if axis != "z"]
        if unknown or y_um is None or x_um is None:
            raise problem(
                self.header.path,
                f"does not say how large a voxel is along {', '.join(unknown)}",
                "Give it in the sample sheet (column voxel_size_um, as z,y,x in µm) or by --voxel-size-um Z,Y,X.",
            )
        return z_um if self.has_z else None, y_um, x_um

    @property
    def has_z(self) -> bool:
        """Whether volumes are (z, y, x) rather than (y, x)."""
        return "z" in self.header.axes

    def volumes(self, frames: Iterable[int]) -> Iterator[tuple[int, NDArray[Any]]]:
        """Load frames one after another: (z, y, x) or (y, x), the file's own dtype. Each file is opened once."""
        for path, group in groupby(sorted(frames), key=lambda frame: self._places[frame][0]):
            with open_image(path, scene=self._facts.scene, stack_axis=self._facts.stack_axis) as image:
                for frame in group:
                    yield frame, image.volume(self._places[frame][1], self._channel)


def add_timeline(parser: argparse.ArgumentParser) -> None:
    """Add ``--t-index``: the frame number of each image file, as numbers or as one comma list."""
    parser.add_argument(
        "--t-index",
        type=_indices,
        nargs="+",
        metavar="N",
        help="frame number of each image file, in the same order; counted on from 0 if left out",
    )


def facts_of(arguments: argparse.Namespace) -> Facts:
    """Collect the facts from parsed flags (`add_image_facts`, `add_timeline`)."""
    given: list[tuple[int, ...]] | None = arguments.t_index
    t_index = None if given is None else tuple(number for part in given for number in part)
    return Facts(arguments.scene, arguments.voxel_size_um, arguments.time_step_s, t_index, arguments.stack_axis)


def _indices(text: str) -> tuple[int, ...]:
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"found {text!r}; expected whole numbers") from None
    if min(numbers) < 0:
        raise argparse.ArgumentTypeError(f"found {text!r}; expected numbers from 0")
    return numbers


def _header(path: Path, facts: Facts) -> ImageHeader:
    headers, scene = read_headers(path, stack_axis=facts.stack_axis), facts.scene
    if not 0 <= scene < len(headers):
        raise problem(path, f"has {len(headers)} scene(s), numbered from 0; scene {scene} was asked for")
    return headers[scene]


def _check_alike(headers: Sequence[ImageHeader], channel: int, *, sizes: bool) -> None:
    first, problems = headers[0], []
    for header in headers:
        for axis in "zyxc":
            if header.size(axis) != first.size(axis):
                problems.append(
                    Problem(
                        f"{header.path}",
                        f"is {header.size(axis)} along {axis}; expected {first.size(axis)} as in {first.path.name}",
                    )
                )
        if sizes and not _same(header.voxel_size_um, first.voxel_size_um):
            problems.append(
                Problem(
                    f"{header.path}",
                    f"has voxels of {header.voxel_size_um} µm (z, y, x); expected {first.voxel_size_um} as in "
                    f"{first.path.name}",
                )
            )
    if not 0 <= channel < first.size("c"):
        problems.append(
            Problem("--channel", f"found {channel}; {first.path.name} has channels 0 to {first.size('c') - 1}")
        )
    if problems:
        raise InputError(problems)


def _same(one: Sequence[float | None], other: Sequence[float | None]) -> bool:
    pairs = zip(one, other, strict=True)
    return all(a == b if a is None or b is None else math.isclose(a, b, rel_tol=1e-4) for a, b in pairs)


def _places(headers: Sequence[ImageHeader], t_index: Sequence[int] | None) -> dict[int, tuple[Path, int]]:
    """Say for every frame number in which file, and at which time point of it, it lies."""
    if t_index is not None and len(t_index) != len(headers):
        raise problem("--t-index", f"found {len(t_index)} numbers for {len(headers)} image files; expected one each")
    places: dict[int, tuple[Path, int]] = {}
    following = 0
    for index, header in enumerate(headers):
        start = following if t_index is None else t_index[index]
        following = start + header.size("t")
        for t in range(header.size("t")):
            if start + t in places:
                other = places[start + t][0].name
                raise problem(header.path, f"holds frame {start + t}, which {other} holds too; expected it once")
            places[start + t] = header.path, t
    return places
