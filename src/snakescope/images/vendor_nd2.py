"""Read Nikon ND2 by nd2: each stage position is a scene; planes are read one by one."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snakescope.images.acquisition import (
    Acquisition,
    ChannelFacts,
    figure,
    iso_time,
    known,
    milliseconds,
    nanometres,
    objective_name,
    together,
    word,
)
from snakescope.images.header import ImageHeader, Triple, micrometres, named, positive, regular_step, round_off
from snakescope.images.source import Index, Layout, Source, layout

_IN_A_FRAME = "CYXS"  # axes of what one frame of the file holds, in this order
_TIMES_LOOKED_AT = 200
# Flags of nd2 that name a way of imaging or of contrast; the others name detectors and filters.
_CONTRASTS = ("fluorescence", "brightfield", "phaseContrast", "diContrast")
_MODES = (
    "laserScanConfocal", "spinningDiskConfocal", "sweptFieldConfocalPinhole", "sweptFieldConfocalSlit",
    "dsdConfocal", "RCM", "SIM", "iSIM", "sora", "TIRF", "multiphoton",
)  # fmt: skip
_SCANNED = {"laserScanConfocal", "multiphoton"}
_UNIX_EPOCH_JULIAN_DAY = 2440587.5


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


def read_acquisitions(path: Path) -> list[Acquisition]:
    """Return how each stage position was taken; the file says it once for all of them."""
    import nd2

    with nd2.ND2File(path) as file:
        return [_acquisition(file)] * file.sizes.get("P", 1)


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


def _acquisition(file: Any) -> Acquisition:
    channels = getattr(file.metadata, "channels", None) or ()
    scope: Any = channels[0].microscope if channels else None
    magnification = figure(getattr(scope, "objectiveMagnification", None))
    aperture = figure(getattr(scope, "objectiveNumericalAperture", None))
    settings = _settings(file)
    application = {} if file.is_legacy else file.custom_data.get("AppInfo_V1_0") or {}
    return Acquisition(
        instrument=together(word(_at(s, "DeviceSetting", "MicroscopePhysFullName")) for s in settings),
        objective=objective_name(getattr(scope, "objectiveName", None), magnification, aperture, None),
        magnification=magnification,
        numerical_aperture=aperture,
        imaging_mode=_imaging_mode(file, channels),
        channels=known(_channels(channels, settings)),
        acquired_at=_acquired_at(file),
        detector=together(word(_at(s, "CameraSetting", "CameraUserName")) for s in settings),
        software=word(" ".join(filter(None, (application.get(k) for k in ("SWNameString", "VersionString"))))),
    )


def _settings(file: Any) -> list[Any]:
    """Return the camera and device settings: one for all channels, or one for each; none in files before 2010."""
    if file.is_legacy:
        return []
    raw = file.unstructured_metadata(include={"ImageMetadataSeqLV|0"})
    settings = _at(raw, "ImageMetadataSeqLV|0", "SLxPictureMetadata", "PicturePlanes", "SampleSetting")
    return list(settings.values()) if isinstance(settings, Mapping) else []


def _at(tree: Any, *keys: str) -> Any:
    for key in keys:
        tree = tree.get(key) if isinstance(tree, Mapping) else None
    return tree


def _imaging_mode(file: Any, channels: Any) -> str | None:
    """Return what the flags of the channels say, or else the modalities of the description."""
    flags = together(f for c in channels for f in c.microscope.modalityFlags if f in _MODES)
    described = re.findall(r"^\s*Modality:(.*)$", file.text_info.get("description", ""), re.MULTILINE)
    return flags or together(map(word, described))


def _channels(channels: Any, settings: list[Any]) -> Iterator[ChannelFacts]:
    for number, found in enumerate(channels):
        flags = found.microscope.modalityFlags
        setting = settings[number] if len(settings) == len(channels) else settings[0] if len(settings) == 1 else None
        scanned = not _SCANNED.isdisjoint(flags)  # the exposure of a scanned image is the time for the whole frame
        yield ChannelFacts(
            name=word(found.channel.name),
            excitation_nm=nanometres(found.channel.excitationLambdaNm),
            emission_nm=nanometres(found.channel.emissionLambdaNm),
            contrast_method=together(flag for flag in flags if flag in _CONTRASTS),
            exposure_ms=None if scanned else milliseconds(_at(setting, "ExposureTime"), "ms"),
        )


def _acquired_at(file: Any) -> str | None:
    """Return the time stamp of the first frame, a Julian day in UTC."""
    found = getattr(file.frame_metadata(0), "channels", None)
    day = positive(found[0].time.absoluteJulianDayNumber) if found else None
    if day is None:
        return None
    try:
        return iso_time(datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=day - _UNIX_EPOCH_JULIAN_DAY))
    except OverflowError:
        return None
