"""Read Leica LIF by liffile: each image of the file is a scene, and so is each tile of a mosaic.

Pixels are mapped, so that one (t, c) volume is read even where the scan order is not z, y, x.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

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
from snakescope.images.header import ImageHeader, micrometres, named, regular_step, round_off, seconds
from snakescope.images.source import Index, Layout, Source, layout

_DIMENSIONS = {1: "x", 2: "y", 3: "z", 4: "t"}  # DimID of Leica's XML


def read_headers(path: Path) -> list[ImageHeader]:
    """Return one header for each image, or tile of a mosaic, in the order of the file."""
    import liffile

    with liffile.LifFile(path) as file:
        return [_header(path, image, tile, scene) for scene, (image, tile) in enumerate(_scenes(path, file))]


def read_acquisitions(path: Path) -> list[Acquisition]:
    """Return how each image, or tile of a mosaic, was taken, in the order of the file."""
    import liffile

    with liffile.LifFile(path) as file:
        scenes = _scenes(path, file)
        facts = {id(image): _acquisition(image) for image, tile in scenes if tile == 0}
        return [facts[id(image)] for image, _ in scenes]


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
    return named(_dyes(image))


def _dyes(image: Any) -> list[str | None]:
    """Return the dye named in the description of each channel."""
    channels = image.xml_element.findall("./Data/Image/ImageDescription/Channels/ChannelDescription")
    properties = [{p.findtext("Key"): p.findtext("Value") for p in c.iterfind("ChannelProperty")} for c in channels]
    return [of_channel.get("DyeName") for of_channel in properties]


def _acquisition(image: Any) -> Acquisition:
    """Read the hardware settings as LAS X writes them; older files have them in another form, unknown here."""
    nothing = ElementTree.Element("HardwareSetting")
    hardware = image.xml_element.find("./Data/Image/Attachment[@Name='HardwareSetting']")
    hardware = hardware if hardware is not None else nothing
    confocal, camera = (hardware.find(f"ATL{kind}SettingDefinition") for kind in ("Confocal", "Camera"))
    settings = confocal if confocal is not None else camera if camera is not None else nothing
    magnification, aperture = figure(settings.get("Magnification")), figure(settings.get("NumericalAperture"))
    immersion = word(settings.get("Immersion"))
    return Acquisition(
        instrument=_instrument(hardware, settings),
        objective=objective_name(settings.get("ObjectiveName"), magnification, aperture, immersion),
        magnification=magnification,
        numerical_aperture=aperture,
        immersion=immersion,
        imaging_mode=_imaging_mode(hardware, settings),
        channels=known(_channel_facts(image, settings)),
        acquired_at=_acquired_at(image),
        detector=together(word(d) for d in [_camera(settings), *(d.get("Name") for d in _active_detectors(settings))]),
        software=word(hardware.get("Software")),
    )


def _instrument(hardware: ElementTree.Element, settings: ElementTree.Element) -> str | None:
    """Return system and stand: LAS X, which writes the format, runs Leica microscopes only."""
    system, stand = word(hardware.get("SystemTypeName")), word(settings.get("MicroscopeModel"))
    if system and stand:
        return model_name("Leica", f"{system} ({stand})")
    return model_name("Leica", system or stand) if system or stand else None


def _imaging_mode(hardware: ElementTree.Element, settings: ElementTree.Element) -> str | None:
    """Return the kind of data source, unless it is a camera, which all but confocal microscopes have."""
    if settings.get("IsSTEDActive") == "1":
        return "STED"
    source = word(hardware.get("DataSourceTypeName"))
    return source if source != "Camera" else None


def _active_detectors(settings: ElementTree.Element) -> list[ElementTree.Element]:
    return [d for d in settings.iterfind("DetectorList/Detector") if d.get("IsActive") == "1"]


def _camera(settings: ElementTree.Element) -> str | None:
    configurator = settings.find("WideFieldChannelConfigurator")
    return configurator.get("CameraName") if configurator is not None else None


def _channel_facts(image: Any, settings: ElementTree.Element) -> list[ChannelFacts]:
    """Return what the description, the camera's channels or the detectors say, where they are as many as channels."""
    dyes = [word(dye) for dye in _dyes(image)]
    cameras = settings.findall("WideFieldChannelConfigurator/WideFieldChannelInfo")
    if len(cameras) == len(dyes):
        return [_camera_channel(dye, camera.attrib) for dye, camera in zip(dyes, cameras, strict=True)]
    bands = {b.get("Channel"): word(b.get("DyeName")) for b in settings.iterfind("Spectro/MultiBand")}
    detected = [bands.get(detector.get("Channel")) for detector in _active_detectors(settings)]
    if not any(dyes) and len(detected) == len(dyes):
        dyes = detected
    return [ChannelFacts(fluorophore=dye.removeprefix("Leica/") if dye else None) for dye in dyes]


def _camera_channel(dye: str | None, channel: Mapping[str, str]) -> ChannelFacts:
    """Read one channel of a camera; its exposure is in seconds unless it says ms."""
    exposure = re.fullmatch(r"([\d.eE+-]+) *(\w*)", channel.get("ExposureTime", "").strip())
    number, unit = exposure.groups() if exposure else ("", "")
    return ChannelFacts(
        name=word(channel.get("UserDefName")),
        fluorophore=dye,
        emission_nm=nanometres(channel.get("EmissionWavelength")),
        contrast_method=word(channel.get("ContrastingMethodName")),
        exposure_ms=milliseconds(number, unit or "s"),
    )


def _acquired_at(image: Any) -> str | None:
    """Return the time stamp of the first plane, which is in UTC."""
    stamps = image.timestamps
    if stamps is None or not len(stamps):
        return None
    first = stamps[0].astype("datetime64[s]").item()
    return iso_time(first.replace(tzinfo=UTC)) if isinstance(first, datetime) else None
