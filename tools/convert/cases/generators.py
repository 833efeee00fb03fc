"""Small image files as other programs write them, and what to read back from the converted store's own JSON."""

# ruff: noqa: ARG001 - every check takes outputs and inputs
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from snakescope.images import open_image

Paths = dict[str, Path]
SHAPE = (3, 2, 4, 12, 20)  # t, c, z, y, x


def _samples() -> NDArray[np.uint16]:
    """Every sample differs from its neighbours along every axis: t, c, z, y, x in its decimal digits."""
    t, c, z, y, x = np.indices(SHAPE)
    return np.asarray(10000 * t + 5000 * c + 1000 * z + 20 * y + x, np.uint16)


def ome_tiff(folder: Path, *, images: int = 1) -> dict[str, Path]:
    """OME-TIFF in nm and ms with two named channels; image number i has its samples raised by i."""
    path = folder / "cell {1} $(x) 'a\".ome.tif"
    with tifffile.TiffWriter(path, ome=True) as tif:
        for number in range(images):
            tif.write(
                (_samples() + number).transpose(0, 2, 1, 3, 4),
                compression="zlib",
                metadata={
                    "axes": "TZCYX",
                    "Name": f"image {number}",
                    "PhysicalSizeX": 104.0,
                    "PhysicalSizeXUnit": "nm",
                    "PhysicalSizeY": 104.0,
                    "PhysicalSizeYUnit": "nm",
                    "PhysicalSizeZ": 0.3,
                    "PhysicalSizeZUnit": "µm",
                    "TimeIncrement": 2500.0,
                    "TimeIncrementUnit": "ms",
                    "Channel": {"Name": ["GFP", "mCherry"]},
                },
            )
    return {"image": path}


def imagej(folder: Path) -> dict[str, Path]:
    """ImageJ hyperstack, big-endian, 0.2 µm pixels, 0.5 µm planes, 4 s."""
    path = folder / "stack.tif"
    tifffile.imwrite(
        path,
        _samples().transpose(0, 2, 1, 3, 4),
        imagej=True,
        resolution=(5, 5),
        metadata={"axes": "TZCYX", "unit": "um", "spacing": 0.5, "finterval": 4.0},
    )
    return {"image": path}


def bare_tiff(folder: Path) -> dict[str, Path]:
    """A stack of planes that says nothing of its voxel size but 300 dots per inch."""
    path = folder / "bare.tif"
    with tifffile.TiffWriter(path) as tif:
        for plane in _samples()[0, 0]:
            tif.write(plane, resolution=(300, 300), resolutionunit="INCH", metadata=None)
    return {"image": path}


def bare_series(folder: Path) -> dict[str, Path]:
    """Frames of one plane each, as a plain TIFF whose file does not say that they are frames."""
    path = folder / "series.tif"
    with tifffile.TiffWriter(path) as tif:
        for plane in _samples()[:, 0, 0]:
            tif.write(plane, metadata=None)
    return {"image": path}


def _attributes(store: Path) -> dict[str, Any]:
    if (store / "zarr.json").exists():
        found: dict[str, Any] = json.loads((store / "zarr.json").read_text())["attributes"]["ome"]
        return found
    old: dict[str, Any] = json.loads((store / ".zattrs").read_text())
    return old


def scale(outputs: Paths, inputs: Paths, *, axis: str) -> float:
    """Scale of one axis in the store's metadata, in µm or s; -1 where the axis has not that unit."""
    multiscale = _attributes(outputs["image"])["multiscales"][0]
    names = [a["name"] for a in multiscale["axes"]]
    unit = multiscale["axes"][names.index(axis)].get("unit")
    if unit != ("second" if axis == "t" else "micrometer"):
        return -1
    return float(multiscale["datasets"][0]["coordinateTransformations"][0]["scale"][names.index(axis)])


def samples_changed(outputs: Paths, inputs: Paths, *, raised: int = 0, frames: int = 3, channels: int = 2) -> float:
    """How many samples differ from the generated ones, over frames and channels."""
    truth = _samples() + raised
    with open_image(outputs["image"]) as image:
        assert (image.header.size("t"), image.header.size("c")) == (frames, channels)
        planes = slice(None) if "z" in image.header.axes else 0
        return float(
            sum(np.sum(image.volume(t, c) != truth[t, c, planes]) for t in range(frames) for c in range(channels))
        )


def named_channels(outputs: Paths, inputs: Paths, *, names: list[str]) -> float:
    """How many channels of the store have the name expected of them."""
    found = [channel["label"] for channel in _attributes(outputs["image"])["omero"]["channels"]]
    return float(sum(a == b for a, b in zip(found, names, strict=True)))


def version(outputs: Paths, inputs: Paths) -> float:
    """OME-Zarr version that the store states."""
    attributes = _attributes(outputs["image"])
    return float(attributes.get("version") or attributes["multiscales"][0]["version"])
