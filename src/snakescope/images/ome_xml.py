"""Read from OME-XML the few facts a header holds (voxel size, time step, names), and how the image was taken."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

from snakescope.errors import problem
from snakescope.images.acquisition import (
    Acquisition,
    ChannelFacts,
    figure,
    iso_time,
    known,
    milliseconds,
    model_name,
    nanometres,
    objective_name,
    together,
    word,
)
from snakescope.images.header import Triple, micrometres, named, positive, regular_step, seconds


@dataclass(frozen=True)
class OmeImage:
    """What OME-XML says of one image; None and empty where it says nothing.

    `acquisition` looks up how it was taken, which a header does not need.
    """

    name: str | None
    voxel_size_um: Triple
    time_step_s: float | None
    channels: tuple[str, ...]
    acquisition: Callable[[], Acquisition] = Acquisition


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
        _image(element.get("Name"), pixels, partial(_acquisition, root, element, pixels))
        for element in root.iterfind("{*}Image")
        for pixels in element.iterfind("{*}Pixels")
    ]


def _image(name: str | None, pixels: ElementTree.Element, acquisition: Callable[[], Acquisition]) -> OmeImage:
    z, y, x = (_size(pixels.attrib, f"PhysicalSize{axis}") for axis in "ZYX")
    channels = [c.get("Name") for c in pixels.iterfind("{*}Channel")]
    return OmeImage(name, (z, y, x), _time_step(pixels), named(channels), acquisition)


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


def _acquisition(root: ElementTree.Element, image: ElementTree.Element, pixels: ElementTree.Element) -> Acquisition:
    """Follow the references of one image to the instrument, objective and detectors that it was taken with."""
    instrument = _instrument(root, image)
    objective = _referred(instrument, "Objective", image.find("{*}ObjectiveSettings"))
    microscope = instrument.find("{*}Microscope")
    scope = microscope.attrib if microscope is not None else {}
    magnification, aperture = figure(objective.get("NominalMagnification")), figure(objective.get("LensNA"))
    immersion = word(objective.get("Immersion"))
    channels = pixels.findall("{*}Channel")
    detectors = [_referred(instrument, "Detector", channel.find("{*}DetectorSettings")) for channel in channels]
    return Acquisition(
        instrument=model_name(scope.get("Manufacturer"), scope.get("Model")),
        objective=objective_name(objective.get("Model"), magnification, aperture, immersion),
        magnification=magnification,
        numerical_aperture=aperture,
        immersion=immersion,
        imaging_mode=together(word(channel.get("AcquisitionMode")) for channel in channels),
        channels=known(_channels(pixels, channels)),
        acquired_at=iso_time(image.findtext("{*}AcquisitionDate")),
        detector=together(model_name(detector.get("Manufacturer"), detector.get("Model")) for detector in detectors),
        software=word(root.get("Creator")),
    )


def _instrument(root: ElementTree.Element, image: ElementTree.Element) -> ElementTree.Element:
    """Return the instrument that an image refers to; without a reference, the only one of the file."""
    instruments = root.findall("{*}Instrument")
    reference = image.find("{*}InstrumentRef")
    if reference is not None:
        instruments = [i for i in instruments if i.get("ID") == reference.get("ID")]
    return instruments[0] if len(instruments) == 1 else ElementTree.Element("Instrument")


def _referred(instrument: ElementTree.Element, kind: str, settings: ElementTree.Element | None) -> Mapping[str, str]:
    """Return the attributes of the part of an instrument that settings refer to; empty when they refer to none."""
    wanted = settings.get("ID") if settings is not None else None
    parts = (part.attrib for part in instrument.iterfind(f"{{*}}{kind}") if part.get("ID") == wanted)
    return next(parts, {}) if wanted else {}


def _channels(pixels: ElementTree.Element, channels: list[ElementTree.Element]) -> Iterator[ChannelFacts]:
    exposures: dict[str, list[float | None]] = {}
    for plane in pixels.iterfind("{*}Plane"):
        exposure = milliseconds(plane.get("ExposureTime"), plane.get("ExposureTimeUnit", "s"))
        exposures.setdefault(plane.get("TheC", "0"), []).append(exposure)
    for number, channel in enumerate(channels):
        yield ChannelFacts(
            name=word(channel.get("Name")),
            fluorophore=word(channel.get("Fluor")),
            excitation_nm=_wavelength(channel, "ExcitationWavelength"),
            emission_nm=_wavelength(channel, "EmissionWavelength"),
            contrast_method=word(channel.get("ContrastMethod")),
            exposure_ms=_common(exposures.get(str(number), [])),
        )


def _wavelength(channel: ElementTree.Element, key: str) -> float | None:
    return nanometres(channel.get(key), channel.get(f"{key}Unit", "nm"))


def _common(values: list[float | None], tolerance: float = 0.01) -> float | None:
    """Return the first known value if all others are the same within `tolerance` of it, as clocks are not exact."""
    found = [value for value in values if value is not None]
    return found[0] if found and all(abs(v - found[0]) <= tolerance * found[0] for v in found) else None
