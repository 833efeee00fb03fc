"""Read Leica LIF by liffile: each image of the file is a scene, and so is each tile of a mosaic.

Pixels are mapped, so that one (t, c) volume is read even where the scan order is not z, y, x.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snakescope.errors import problem
from snakescope.images.header import ImageHeader, micrometres, named, regular_step, round_off, seconds
from snakescope.images.source import Index, Layout, Source, layout

_DIMENSIONS = {1: "x", 2: "y", 3: "z", 4: "t"}  # DimID of Leica's XML


def read_headers(path: Path) -> list[ImageHeader]:
    """Return one header for each image, or tile of a mosaic, in the order of the file."""
    import liffile

    with liffile.LifFile(path) as file:
        return [_header(path, image, tile, scene) for scene, (image, tile) in enumerate(_scenes(path, file))]


def open_source(path: Path, scene: int) -> Source:
    """Map the memory block of one image."""
    import liffile

    file = liffile.LifFile(path)
    try:
        image, tile = _scenes(path, file)[scene]
        # liffile swaps the colours of a BGR image in its copy of the whole block, so that cannot be mapped
        array = image.asarray() if getattr(image, "_is_bgr", False) else image.asarray(out="memmap")
        return Source(_layout(path, image), _Tile(array, image.dims, tile), file.close)
    except BaseException:
        file.close()
        raise


class _Tile:
    """An image at one position of its mosaic axis."""

    def __init__(self, array: NDArray[Any], dims: tuple[str, ...], tile: int) -> None:
        self.array, self.dims, self.tile = array, dims, tile

    def __getitem__(self, index: Index, /) -> NDArray[Any]:
        at = list(index)
        if "M" in self.dims:
            at.insert(self.dims.index("M"), self.tile)
        return np.array(self.array[tuple(at)])


def _scenes(path: Path, file: Any) -> list[tuple[Any, int]]:
    size = path.stat().st_size
    scenes = []
    for image in file.images:
        try:
            block = image.memory_block
        except KeyError:
            raise _cut_short(path, image.name) from None
        if block.offset + image.nbytes > size:
            raise _cut_short(path, image.name)
        scenes += [(image, tile) for tile in range(image.sizes.get("M", 1))]
    return scenes


def _cut_short(path: Path, name: str) -> Exception:
    found = f"is cut short: the pixels of its image {name!r} are not all in the file"
    return problem(path, found, "The copy is incomplete or the file is damaged: copy it again from its source.")


def _layout(path: Path, image: Any) -> Layout:
    sizes = {axis: n for axis, n in image.sizes.items() if axis != "M"}
    return layout(path, "".join(a if len(a) == 1 else "?" for a in sizes), tuple(sizes.values()), squeeze="tcz")


def _header(path: Path, image: Any, tile: int, scene: int) -> ImageHeader:
    where = _layout(path, image)
    steps = _steps(image)
    names = _channels(image)
    tiles = image.sizes.get("M", 1)
    return ImageHeader(
        path=path,
        format="lif",
        axes=where.axes,
        shape=where.shape,
        dtype=np.dtype(image.dtype).newbyteorder("=").name,
        voxel_size_um=(steps.get("z") if "z" in where.axes else None, steps.get("y"), steps.get("x")),
        time_step_s=(_measured_step(image, where) or steps.get("t")) if "t" in where.axes else None,
        channels=names if len(names) == where.count("c") else (),
        bytes=path.stat().st_size,
        scene=scene,
        scene_name=f"{image.path} tile {tile}" if tiles > 1 else image.path,
    )


def _steps(image: Any) -> Mapping[str, float | None]:
    """Return the step along x, y, z in µm and t in s; Leica's `Length` runs from the first sample to the last."""
    steps: dict[str, float | None] = {}
    for d in image.xml_element.findall("./Data/Image/ImageDescription/Dimensions/DimensionDescription"):
        axis, count = _DIMENSIONS.get(int(d.attrib["DimID"])), int(d.attrib["NumberOfElements"])
        if axis is None or count < 2:
            continue
        step = abs(float(d.attrib["Length"])) / (count - 1)
        steps[axis] = (seconds if axis == "t" else micrometres)(step, d.attrib.get("Unit"))
    return steps


def _measured_step(image: Any, where: Layout) -> float | None:
    """Return the step between the time stamps of the frames, where there is one for each plane and they are regular."""
    stamps = image.timestamps
    frames = where.count("t")
    if stamps is None or frames < 2 or len(stamps) % frames:
        return None
    first = stamps.reshape(frames, -1)[:, 0].astype("datetime64[ms]").astype(np.int64)
    step = regular_step([float(ms) / 1000 for ms in first])
    return round_off(step) if step is not None else None


def _channels(image: Any) -> tuple[str, ...]:
    """Return dye names; the colour of a look-up table, which every file has, says nothing of the channel."""
    channels = image.xml_element.findall("./Data/Image/ImageDescription/Channels/ChannelDescription")
    dyes = []
    for channel in channels:
        properties = {p.findtext("Key"): p.findtext("Value") for p in channel.iterfind("ChannelProperty")}
        dyes.append(properties.get("DyeName"))
    return named(dyes)
