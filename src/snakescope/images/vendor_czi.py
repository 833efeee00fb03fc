"""Read Zeiss CZI: czifile finds the sub-blocks and the XML, this module puts planes together from them.

Only full-resolution sub-blocks count. Each scene (S) is a scene; the tiles of a mosaic are laid where the
stage says they are, later ones over earlier ones. Facts come from the XML and the time stamps.
"""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import product
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
from snakescope.images.header import ImageHeader, Triple, micrometres, named, positive, regular_step, seconds
from snakescope.images.source import Index, Layout, Source, layout

_SEGMENT_HEAD = 32
_ZSTD, _ZSTD_WITH_HEADER = 5, 6
_COPY_AGAIN = "The copy is incomplete or the file is damaged: copy it again from its source."


def read_headers(path: Path) -> list[ImageHeader]:
    """Return one header for each scene."""
    with _opened(path) as file:
        scenes = _scenes(path, file)
        root = _xml(file)
        names = [scene.get("Name") for scene in root.iterfind(".//Dimensions/S/Scenes/Scene")]
        return [
            _header(path, file, root, planes, number, names[number] if number < len(names) else None)
            for number, planes in enumerate(scenes)
        ]


def read_acquisitions(path: Path) -> list[Acquisition]:
    """Return how each scene was taken; the XML says it once for all of them."""
    with _opened(path) as file:
        scenes = _scenes(path, file)
        return [_acquisition(_xml(file))] * len(scenes)


def open_source(path: Path, scene: int) -> Source:
    """Open one scene."""
    import czifile

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file = czifile.CziFile(str(path))
        try:
            planes = _scenes(path, file)[scene]
        except BaseException:
            file.close()
            raise
    return Source(planes.layout(path), planes, file.close)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    import czifile

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what it warns of, missing segments, is checked here
        with czifile.CziFile(str(path)) as file:
            yield file


def _xml(file: Any) -> ElementTree.Element:
    return ElementTree.fromstring(file.metadata().encode())  # noqa: S314 - expat stops entity bombs itself


@dataclass
class _Planes:
    """The sub-blocks of one scene as an array with the axes `axes` and the samples of a colour pixel."""

    blocks: list[tuple[dict[str, tuple[int, int]], Any]]  # {axis: (start, size)}, directory entry
    axes: str
    start: tuple[int, ...]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @cached_property
    def by_volume(self) -> dict[tuple[int, int], list[tuple[dict[str, tuple[int, int]], Any]]]:
        """The sub-blocks of each (t, c), counted from 0: a volume must not search all of a long series."""
        found: dict[tuple[int, int], list[Any]] = {}
        first = dict(zip(self.axes, self.start, strict=True))
        for block in self.blocks:
            (t, nt), (c, nc) = (block[0].get(a, (0, 1)) for a in "TC")
            for at in product(range(nt), range(nc)):
                key = t + at[0] - first.get("T", 0), c + at[1] - first.get("C", 0)
                found.setdefault(key, []).append(block)
        return found

    def layout(self, path: Path) -> Layout:
        return layout(path, self.axes, self.shape, squeeze="tcz")

    def __getitem__(self, index: Index, /) -> NDArray[Any]:
        kept = [n for n, at in zip(self.shape, index, strict=True) if isinstance(at, slice)]
        out = np.zeros(kept, self.dtype)
        at = dict(zip(self.axes, index, strict=True))
        t, c = (int(value) if isinstance(value := at.get(a, 0), int) else 0 for a in "TC")
        for place, entry in self.by_volume.get((t, c), []):
            spots = [
                (place[a][0] - s, place[a][1]) if a in place else (0, n)
                for a, s, n in zip(self.axes, self.start, self.shape, strict=True)
            ]
            if all(isinstance(i, slice) or lo <= i < lo + n for i, (lo, n) in zip(index, spots, strict=True)):
                pixels = _pixels(entry).reshape([n for _, n in spots])
                cut = tuple(i if isinstance(i, slice) else i - lo for i, (lo, _) in zip(index, spots, strict=True))
                where = tuple(
                    slice(lo, lo + n) for i, (lo, n) in zip(index, spots, strict=True) if isinstance(i, slice)
                )
                out[where] = pixels[cut]
        return out

    def missing(self) -> int:
        """Return how many (t, c, z, ...) planes no sub-block covers."""
        loops = [(a, s, n) for a, s, n in zip(self.axes, self.start, self.shape, strict=True) if a not in "XYs"]
        covered = np.zeros([n for _, _, n in loops], bool)
        for place, _ in self.blocks:
            covered[tuple(slice(place[a][0] - s, sum(place[a]) - s) for a, s, _ in loops)] = True
        return int(covered.size - covered.sum())


def _scenes(path: Path, file: Any) -> list[_Planes]:
    """Sort the full-resolution sub-blocks by scene, and check that all of them are in the file."""
    scenes: dict[int, list[Any]] = {}
    for entry in file.subblock_directory:
        place = {d.dimension: (int(d.start), int(d.size)) for d in entry.dimension_entries}
        place.pop("M", None)
        scene, _ = place.pop("S", (0, 1))
        if entry.pyramid_type == 0 and entry.stored_shape == entry.shape:
            scenes.setdefault(scene, []).append((place, entry))
    if not scenes:
        raise problem(path, "is a CZI without any image", _COPY_AGAIN)
    _check_complete(path, file, (entry for blocks in scenes.values() for _, entry in blocks))
    found = [_planes(blocks) for _, blocks in sorted(scenes.items())]
    missing = sum(planes.missing() for planes in found)
    if missing:
        raise problem(path, f"lacks {missing} planes of its time points, channels and slices", _COPY_AGAIN)
    return found


def _planes(blocks: list[Any]) -> _Planes:
    axes = "".join(d.dimension for d in blocks[0][1].dimension_entries if d.dimension not in "MS")
    start = tuple(min(place[a][0] for place, _ in blocks) for a in axes)
    end = tuple(max(sum(place[a]) for place, _ in blocks) for a in axes)
    shape = tuple(e - s for s, e in zip(start, end, strict=True))
    sample = np.dtype(blocks[0][1].dtype)
    if sample.shape:
        axes, start, shape = axes + "s", (*start, 0), (*shape, *sample.shape)
    return _Planes(blocks, axes, start, shape, np.result_type(*{np.dtype(e.dtype).base for _, e in blocks}))


def _check_complete(path: Path, file: Any, entries: Iterable[Any]) -> None:
    """Compare where the last segments end with the size of the file: sub-blocks, directories, XML, attachments."""
    size = path.stat().st_size
    header = file.header
    positions = [header.directory_position, header.metadata_position, header.attachment_directory_position]
    positions.append(max(int(entry.file_position) for entry in entries))
    end = max(_segment_end(path, int(position)) for position in positions if position)
    if end <= size and header.attachment_directory_position:
        ends = [_segment_end(path, int(entry.file_position)) for entry in file.attachment_directory]
        end = max([end, *ends])
    if end > size:
        raise problem(path, f"is cut short: it has {size:,} bytes, its content ends at byte {end:,}", _COPY_AGAIN)


def _segment_end(path: Path, position: int) -> int:
    with path.open("rb") as raw:
        raw.seek(position)
        head = raw.read(_SEGMENT_HEAD)
    if len(head) < _SEGMENT_HEAD:
        return position + _SEGMENT_HEAD
    _, allocated, used = struct.unpack("<16sqq", head)
    return position + _SEGMENT_HEAD + int(used or allocated)


def _pixels(entry: Any) -> NDArray[Any]:
    """Decode one sub-block; Zstandard, which newer microscopes write, is not known to czifile 2019."""
    block = entry.data_segment()
    if entry.compression not in (_ZSTD, _ZSTD_WITH_HEADER):
        return np.asarray(block.data(resize=False))
    import imagecodecs

    raw = block.data(raw=True)
    dtype = np.dtype(entry.dtype)
    packed = False
    if entry.compression == _ZSTD_WITH_HEADER:  # size of the header, then chunk 1: are high and low bytes apart?
        head = raw[0]
        packed = head >= 3 and raw[1] == 1 and bool(raw[2] & 1)
        raw = raw[head:]
    data = imagecodecs.zstd_decode(raw)
    if packed:
        data = np.frombuffer(data, np.uint8).reshape(2, -1).T.tobytes()
    pixels = np.frombuffer(data, dtype.base).reshape(entry.stored_shape)
    return pixels[..., ::-1] if entry.stored_shape[-1] == 3 else pixels


def _header(
    path: Path, file: Any, root: ElementTree.Element, planes: _Planes, scene: int, name: str | None
) -> ImageHeader:
    where = planes.layout(path)
    z, y, x = _voxel_size(root)
    channels = named(c.get("Name") for c in root.iterfind(".//Information/Image/Dimensions/Channels/Channel"))
    return ImageHeader(
        path=path,
        format="czi",
        axes=where.axes,
        shape=where.shape,
        dtype=planes.dtype.newbyteorder("=").name,
        voxel_size_um=(z if "z" in where.axes else None, y, x),
        time_step_s=_time_step(file, root, where.count("t")) if "t" in where.axes else None,
        channels=channels if len(channels) == where.count("c") else (),
        bytes=path.stat().st_size,
        scene=scene,
        scene_name=name,
    )


def _voxel_size(root: ElementTree.Element) -> Triple:
    """Return z, y, x in µm; the XML has metres."""
    values = {d.get("Id"): d.findtext("Value") for d in root.iterfind(".//Scaling/Items/Distance")}
    z, y, x = (micrometres(values.get(axis), "m") for axis in "ZYX")
    return z, y, x


def _time_step(file: Any, root: ElementTree.Element, frames: int) -> float | None:
    """Return the step of the measured time stamps, or else the planned one, where it is regular."""
    for attachment in file.attachments():
        if attachment.attachment_entry.name == "TimeStamps":
            times = [float(t) for t in attachment.data()]
            if len(times) >= frames:
                return regular_step(times[:frames])
    positions = root.find(".//Information/Image/Dimensions/T/Positions")
    if positions is None:
        return None
    offsets = (positions.findtext("List/Offsets") or "").split()
    if len(offsets) >= frames:
        return regular_step([float(t) for t in offsets[:frames]])
    return seconds(positive(positions.findtext("Interval/Increment")), "s")


def _acquisition(root: ElementTree.Element) -> Acquisition:
    """Follow the references of the XML's image to the microscope, objective and detectors it was taken with."""
    empty = ElementTree.Element("Information")
    about = root.find(".//Information")
    about = about if about is not None else empty
    image = about.find("Image")
    image = image if image is not None else empty
    application = [about.findtext(f"Application/{key}") for key in ("Name", "Version")]
    objective = _referred(about, "Objective", image.find("ObjectiveSettings/ObjectiveRef"))
    magnification, aperture = figure(objective.findtext("NominalMagnification")), figure(objective.findtext("LensNA"))
    immersion = word(objective.findtext("Immersion"))
    channels = image.findall("Dimensions/Channels/Channel")
    detectors = [_referred(about, "Detector", channel.find("DetectorSettings/Detector")) for channel in channels]
    return Acquisition(
        instrument=_microscope(_referred(about, "Microscope", image.find("MicroscopeRef")), application[0]),
        objective=objective_name(_name(objective), magnification, aperture, immersion),
        magnification=magnification,
        numerical_aperture=aperture,
        immersion=immersion,
        imaging_mode=together(word(channel.findtext("AcquisitionMode")) for channel in channels),
        channels=known(_channel(channel) for channel in channels),
        acquired_at=iso_time(image.findtext("AcquisitionDateAndTime")),
        detector=together(_name(detector) for detector in detectors),
        software=word(" ".join(filter(None, application))),
    )


def _referred(about: ElementTree.Element, kind: str, reference: ElementTree.Element | None) -> ElementTree.Element:
    """Return the part of the instrument that a reference means; an empty element when there is no reference."""
    wanted = reference.get("Id") if reference is not None else None
    parts = (part for part in about.iterfind(f"Instrument/{kind}s/{kind}") if part.get("Id") == wanted)
    nothing = ElementTree.Element(kind)
    return next(parts, nothing) if wanted else nothing


def _name(part: ElementTree.Element) -> str | None:
    """Return the name of a part; its model is asked second, as it can be an order number."""
    return word(part.get("Name")) or word(part.findtext("Manufacturer/Model"))


def _microscope(microscope: ElementTree.Element, software: str | None) -> str | None:
    """Return manufacturer and model; ZEN, which names no manufacturer, runs Zeiss microscopes only."""
    model = word(microscope.findtext("System")) or _name(microscope)
    maker = microscope.findtext("Manufacturer/Manufacturer")
    if model and not word(maker) and (software or "").upper().startswith("ZEN"):
        maker = "Zeiss"
    return model_name(maker, model)


def _channel(channel: ElementTree.Element) -> ChannelFacts:
    return ChannelFacts(
        name=word(channel.get("Name")),
        fluorophore=word(channel.findtext("Fluor")),
        excitation_nm=nanometres(channel.findtext("ExcitationWavelength")),
        emission_nm=nanometres(channel.findtext("EmissionWavelength")),
        contrast_method=word(channel.findtext("ContrastMethod")),
        exposure_ms=milliseconds(channel.findtext("ExposureTime"), "ns"),
    )
