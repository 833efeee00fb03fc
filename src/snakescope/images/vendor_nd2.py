"""Read Nikon ND2 by nd2: each stage position is a scene; planes are read one by one."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snakescope.images.header import ImageHeader, Triple, micrometres, named, positive, regular_step, round_off
from snakescope.images.source import Index, Layout, Source, layout

_IN_A_FRAME = "CYXS"  # axes of what one frame of the file holds, in this order
_TIMES_LOOKED_AT = 200


def read_headers(path: Path) -> list[ImageHeader]:
    """Return one header for each stage position."""
    import nd2

    with nd2.ND2File(path) as file:
        where = _layout(path, file)
        step = _time_step(file) if "t" in where.axes else None
        z, y, x = _voxel_size(file)
        channels = named(c.channel.name for c in getattr(file.metadata, "channels", None) or ())
        return [
            ImageHeader(
                path=path,
                format="nd2",
                axes=where.axes,
                shape=where.shape,
                dtype=np.dtype(file.dtype).newbyteorder("=").name,
                voxel_size_um=(z if "z" in where.axes else None, y, x),
                time_step_s=step,
                channels=channels if len(channels) == where.count("c") else (),
                bytes=path.stat().st_size,
                scene=scene,
                scene_name=_position_name(file, scene),
            )
            for scene in range(file.sizes.get("P", 1))
        ]


def open_source(path: Path, scene: int) -> Source:
    """Open one stage position."""
    import nd2

    file = nd2.ND2File(path)
    try:
        return Source(_layout(path, file), _Frames(file, scene), file.close)
    except BaseException:
        file.close()
        raise


class _Frames:
    """The frames of one stage position, read when asked for."""

    def __init__(self, file: Any, scene: int) -> None:
        self.file = file
        self.sizes = {a: n for a, n in file.sizes.items() if a != "P"}
        self.loops = [a for a in self.sizes if a not in _IN_A_FRAME]
        self.frame = [n for a, n in self.sizes.items() if a in _IN_A_FRAME]
        loops = [a for a in file.sizes if a not in _IN_A_FRAME]
        numbers = np.arange(math.prod(file.sizes[a] for a in loops)).reshape([file.sizes[a] for a in loops])
        self.numbers = numbers.take(scene, loops.index("P")) if "P" in loops else numbers

    def __getitem__(self, index: Index, /) -> NDArray[Any]:
        loops = len(self.loops)
        numbers = np.asarray(self.numbers[index[:loops]])
        frames = [self.file.read_frame(int(n)).reshape(self.frame)[index[loops:]] for n in numbers.flat]
        return np.stack(frames).reshape((*numbers.shape, *frames[0].shape))


def _layout(path: Path, file: Any) -> Layout:
    sizes = {a: n for a, n in file.sizes.items() if a != "P"}
    return layout(path, "".join(sizes), tuple(sizes.values()), squeeze="tcz")


def _voxel_size(file: Any) -> Triple:
    """Return z, y, x in µm: the lateral calibration where the file says it is one, z from the stack's step."""
    channels = getattr(file.metadata, "channels", None) or ()
    x = y = z = None
    if channels:
        volume = channels[0].volume
        x, y, z = (
            micrometres(size, "µm") if calibrated else None
            for size, calibrated in zip(volume.axesCalibration, volume.axesCalibrated, strict=False)
        )
    for loop in file.experiment:
        if loop.type == "ZStackLoop":
            z = positive(abs(loop.parameters.stepUm or 0)) or z
    return z, y, x


def _time_step(file: Any) -> float | None:
    """Return the step between the time stamps of the frames, or else the planned period."""
    loops = [a for a in file.sizes if a not in _IN_A_FRAME]
    first = np.arange(math.prod(file.sizes[a] for a in loops)).reshape([file.sizes[a] for a in loops])
    first = first[tuple(slice(None) if a == "T" else 0 for a in loops)][:_TIMES_LOOKED_AT]
    times = [_time_ms(file, int(n)) for n in first]
    known = [ms / 1000 for ms in times if ms is not None]
    if len(known) == len(times) and any(known):
        return regular_step(known)
    for loop in file.experiment:
        if loop.type == "TimeLoop" and positive(loop.parameters.periodMs) is not None:
            return round_off(loop.parameters.periodMs / 1000)
    return None


def _time_ms(file: Any, frame: int) -> float | None:
    channels = getattr(file.frame_metadata(frame), "channels", None)
    time: float | None = channels[0].time.relativeTimeMs if channels else None
    return time


def _position_name(file: Any, scene: int) -> str | None:
    for loop in file.experiment:
        if loop.type == "XYPosLoop":
            points: Any = loop.parameters.points
            name = points[scene].name if scene < len(points) else None
            return str(name) if name else None
    return None
