"""Read from OME-XML the few facts a header holds: voxel size, time step, channel and image names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from snakescope.errors import problem
from snakescope.images.header import Triple, micrometres, named, positive, regular_step, seconds


@dataclass(frozen=True)
class OmeImage:
    """What OME-XML says of one image; None and empty where it says nothing."""

    name: str | None
    voxel_size_um: Triple
    time_step_s: float | None
    channels: tuple[str, ...]


def read_ome_xml(path: Path, xml: str) -> list[OmeImage]:
    """Return the images of an OME-XML text that have pixels in this file or set, in its order.

    Sizes and times carry a unit attribute; left out it means µm and s (OME 2016-06 schema). A size of
    exactly 1 without a unit is what writers put when they know nothing, and is unknown here.
    """
    try:
        root = ElementTree.fromstring(xml.encode())  # noqa: S314 - expat since 2.4 stops entity bombs itself
    except ElementTree.ParseError as error:
        raise problem(path, f"has OME-XML that cannot be parsed ({error})", "Write the file again.") from error
    return [
        _image(element.get("Name"), pixels)
        for element in root.iterfind("{*}Image")
        for pixels in element.iterfind("{*}Pixels")
    ]


def _image(name: str | None, pixels: ElementTree.Element) -> OmeImage:
    z, y, x = (_size(pixels.attrib, f"PhysicalSize{axis}") for axis in "ZYX")
    channels = [c.get("Name") for c in pixels.iterfind("{*}Channel")]
    return OmeImage(name, (z, y, x), _time_step(pixels), named(channels))


def _size(attributes: Mapping[str, str], key: str) -> float | None:
    unit = attributes.get(f"{key}Unit")
    if unit is None and positive(attributes.get(key)) == 1:
        return None
    return micrometres(attributes.get(key), unit or "µm")


def _time_step(pixels: ElementTree.Element) -> float | None:
    """Return `TimeIncrement`, or else the step between the planes' `DeltaT` where that is regular."""
    stated = seconds(pixels.get("TimeIncrement"), pixels.get("TimeIncrementUnit", "s"))
    if stated is not None:
        return stated
    times: dict[int, float] = {}
    for plane in pixels.iterfind("{*}Plane"):
        if plane.get("TheZ", "0") == "0" and plane.get("TheC", "0") == "0" and plane.get("DeltaT") is not None:
            unit = plane.get("DeltaTUnit", "s")
            at = seconds(plane.get("DeltaT"), unit)
            times[int(plane.get("TheT", "0"))] = at or 0.0
    if sorted(times) != list(range(int(pixels.get("SizeT", "1")))):
        return None
    return regular_step([times[t] for t in sorted(times)])
