"""Read TIFF and OME-TIFF files by tifffile: headers without pixels, volumes page by page.

OME-XML itself is read in `ome_xml`. ImageJ's own header and the resolution tags are read here.
"""

from __future__ import annotations

import logging
import math
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from snakescope.errors import SnakescopeError, problem
from snakescope.images.acquisition import Acquisition, ChannelFacts, known, word
from snakescope.images.header import (
    UNKNOWN,
    ImageHeader,
    Triple,
    micrometres,
    positive,
    seconds,
)
from snakescope.images.ome_xml import OmeImage, read_ome_xml
from snakescope.images.source import Index, Layout, Source, layout

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPageSeries

_INCH, _CENTIMETRE = 2, 3
# What drawing programs, cameras and converters write when nobody measured anything, in dots per inch.
_PRINT_DPI = (1, 72, 75, 96, 100, 120, 150, 180, 200, 240, 254, 300, 350, 400, 600, 1200, 2400)
_COPY_AGAIN = "The copy is incomplete or the file is damaged: copy it again from its source."


def read_headers(path: Path, stack_axis: str = "z", file: BinaryIO | None = None) -> list[ImageHeader]:
    """Return one header for each image (series) of the file; pyramid levels are not images.

    `stack_axis` is what the planes are where the file does not name their axis: ``z`` or ``t``. With `file`, that is
    read and `path` is its name only.
    """
    with _opened(path, file) as tif:
        found = _series(path, tif)
        stated = _ome_images(path, tif, found)
        return [_header(path, tif, s, n, stated[n], _layout(path, s, stack_axis)) for n, s in enumerate(found)]


def read_acquisitions(path: Path) -> list[Acquisition]:
    """Return how each image (series) was taken: from OME-XML, or else only the channels ImageJ has labels for.

    The tags of a plain TIFF tell of the program that wrote it, not of the microscope.
    """
    with _opened(path) as tif:
        found = _series(path, tif)
        stated = _ome_images(path, tif, found)
        return [
            ome.acquisition() if ome is not None else Acquisition(channels=_labelled(path, tif, series))
            for series, ome in zip(found, stated, strict=True)
        ]


def open_source(path: Path, scene: int, stack_axis: str = "z") -> Source:
    """Open one image; uncompressed contiguous pixels are mapped, others decoded page by page."""
    import tifffile

    tif = tifffile.TiffFile(path)
    try:
        series = tif.series[scene]
        where = _layout(path, series, stack_axis)
        offset = series.dataoffset
        if offset is not None and series.transform is None:
            dtype = series.dtype.newbyteorder(tif.byteorder)
            return Source(where, np.memmap(path, dtype, "r", offset, series.shape), tif.close)
        return Source(where, _Pages(tif, series), tif.close)
    except BaseException:
        tif.close()
        raise


class _Pages:
    """A series that decodes only the pages it is asked for."""

    def __init__(self, tif: TiffFile, series: TiffPageSeries) -> None:
        self.tif, self.series = tif, series
        page = tuple(series.keyframe.shape)
        self.lead = len(series.shape) - len(page)
        self.paged = self.lead >= 0 and tuple(series.shape[self.lead :]) == page and series.transform is None

    def __getitem__(self, index: Index, /) -> NDArray[Any]:
        if not self.paged:
            return np.asarray(self.series.asarray())[index]
        shape = self.series.shape[: self.lead]
        numbers = np.arange(math.prod(shape)).reshape(shape)[index[: self.lead]]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tifffile opens and closes the other files of a set, and warns of it
            pages = np.asarray(self.tif.asarray(series=self.series, key=[int(n) for n in numbers.flat]))
        pages = pages.reshape((*numbers.shape, *self.series.keyframe.shape))
        whole = (slice(None),) * numbers.ndim
        return np.asarray(pages[(*whole, *index[self.lead :])])


@contextmanager
def _opened(path: Path, file: BinaryIO | None = None) -> Iterator[TiffFile]:
    """Open a TIFF for its header; whatever tifffile complains of as an error becomes ours."""
    import tifffile

    complaints = _Complaints()
    log = tifffile.logger()
    log.addHandler(complaints)
    try:
        with tifffile.TiffFile(path if file is None else file) as tif:
            yield tif
    except SnakescopeError:
        raise
    except (tifffile.TiffFileError, ValueError, IndexError, KeyError, OSError, EOFError) as error:
        raise problem(path, f"cannot be read as TIFF ({_brief(error)})", _COPY_AGAIN) from error
    finally:
        log.removeHandler(complaints)
    if complaints.found:
        raise problem(path, f"is a damaged TIFF ({complaints.found[0]})", _COPY_AGAIN)


class _Complaints(logging.Handler):
    """Keeps what tifffile logs as an error instead of raising it; what other threads read is not its business."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []
        self.thread = threading.get_ident()
        self.addFilter(lambda record: record.thread == self.thread)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one message, without the object's own name in front."""
        message = record.getMessage()
        self.found.append(message.split("> ", 1)[-1])


def _brief(error: BaseException) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__


def _series(path: Path, tif: TiffFile) -> list[TiffPageSeries]:
    """Return the images of the file, after checking that all their samples are in it."""
    found = list(tif.series)
    if not found:
        raise problem(path, "is a TIFF without any image", _COPY_AGAIN)
    for series in found:
        _check_complete(path, tif, series)
    return found


def _check_complete(path: Path, tif: TiffFile, series: TiffPageSeries) -> None:
    """Compare where the samples end with the size of the file."""
    missing = sum(page is None for page in series.pages)
    if missing:
        raise problem(
            path,
            f"lacks {missing} of the {len(series.pages)} planes its metadata lists",
            "Copy it again from its source, with all files of a set that was saved as several files.",
        )
    size = tif.filehandle.size
    ends = [0]
    for page in series.pages:
        if page is None or page.parent is not tif:
            continue  # a plane in another file of the set
        ends += [o + n for o, n in zip(page.dataoffsets, page.databytecounts, strict=False)]
    if series.dataoffset is not None:
        ends.append(series.dataoffset + series.nbytes)
    if max(ends) > size:
        raise problem(path, f"is cut short: it has {size:,} bytes, its pixels end at byte {max(ends):,}", _COPY_AGAIN)


def _layout(path: Path, series: TiffPageSeries, stack_axis: str) -> Layout:
    """Map the axes; one unnamed axis is `stack_axis`, which is z for ImageJ too."""
    axes = series.axes
    unnamed = [a for a in axes if a in "IQR"]
    if len(unnamed) == 1 and stack_axis.upper() not in axes:
        axes = axes.replace(unnamed[0], stack_axis.upper())
    return layout(path, axes, series.shape)


def _header(
    path: Path, tif: TiffFile, series: TiffPageSeries, scene: int, ome: OmeImage | None, where: Layout
) -> ImageHeader:
    if ome is not None:
        size, step, channels, name = ome.voxel_size_um, ome.time_step_s, ome.channels, ome.name
    else:
        size, step = _imagej_facts(tif) if tif.is_imagej else (_resolution(tif, series), None)
        channels, name = _labels(tif, where), None
    z, y, x = size
    return ImageHeader(
        path=path,
        format="ome-tiff" if ome is not None else "tiff",
        axes=where.axes,
        shape=where.shape,
        dtype=np.dtype(series.dtype).newbyteorder("=").name,
        voxel_size_um=(z if "z" in where.axes else None, y, x),
        time_step_s=step if "t" in where.axes else None,
        channels=channels if len(channels) == where.count("c") else (),
        bytes=tif.filehandle.size,
        scene=scene,
        scene_name=name or None,
    )


def _ome_images(path: Path, tif: TiffFile, series: list[TiffPageSeries]) -> list[OmeImage | None]:
    """Return what the OME-XML says of each series: by order, or by name where it lists images without pixels."""
    xml = tif.ome_metadata if tif.is_ome else None
    if xml is None:
        return [None] * len(series)
    if any(s.kind in ("generic", "uniform") for s in series):
        found = "has OME-XML that does not fit its planes, so that its axes are unknown"
        raise problem(path, found, "Give the first or companion file of a set, or write the file again.")
    images = read_ome_xml(path, xml)
    if len(images) == len(series):
        return list(images)
    nothing = OmeImage(None, UNKNOWN, None, ())
    named = {image.name: image for image in images if [i.name for i in images].count(image.name) == 1}
    return [named.get(s.name, nothing) for s in series]


def _imagej_facts(tif: TiffFile) -> tuple[Triple, float | None]:
    """Read voxel size and frame interval as ImageJ writes them: pixels per unit, and ``spacing`` in that unit."""
    facts = tif.imagej_metadata or {}
    unit = str(facts.get("unit", ""))
    x, y = _per_unit(tif, "XResolution"), _per_unit(tif, "YResolution")
    y_unit, z_unit = str(facts.get("yunit", unit)), str(facts.get("zunit", unit))
    size = micrometres(facts.get("spacing"), z_unit), micrometres(y, y_unit), micrometres(x, unit)
    interval = facts.get("finterval")
    time_unit = str(facts.get("tunit", "s"))
    step = seconds(interval, time_unit)
    if step is None and positive(facts.get("fps")) is not None:
        step = 1 / float(facts["fps"])
    return size, step


def _per_unit(tif: TiffFile, tag: str) -> float | None:
    """Return units per pixel from a resolution tag, which holds pixels per unit as a fraction."""
    found = tif.pages.first.tags.get(tag)
    if found is None:
        return None
    try:
        pixels, units = found.value
    except (TypeError, ValueError):
        return None
    return units / pixels if pixels and units else None


def _resolution(tif: TiffFile, series: TiffPageSeries) -> Triple:
    """Read the resolution tags of a plain TIFF where they can be a measured pixel size.

    They count only with a unit (inch or centimetre), and not when they hold a print resolution such as
    72 or 300 dpi, which programs write when they know nothing.
    """
    unit_tag = series.keyframe.tags.get("ResolutionUnit") if hasattr(series.keyframe, "tags") else None
    unit = {_INCH: 25400.0, _CENTIMETRE: 10000.0}.get(int(unit_tag.value) if unit_tag is not None else 0)
    if unit is None:
        return UNKNOWN
    sizes = [_measured(_per_unit(tif, tag), unit) for tag in ("YResolution", "XResolution")]
    return (None, sizes[0], sizes[1])


def _measured(units_per_pixel: float | None, unit_um: float) -> float | None:
    size = positive(units_per_pixel)
    if size is None:
        return None
    dpi = 25400.0 / (size * unit_um)
    placeholder = abs(size - 1) < 1e-9 or any(abs(dpi - known) < 0.005 * known for known in _PRINT_DPI)
    return None if placeholder else float(f"{size * unit_um:.9g}")


def _labels(tif: TiffFile, where: Layout) -> tuple[str, ...]:
    """Return ImageJ's slice labels as channel names where there is one for each channel and nothing else varies."""
    labels = (tif.imagej_metadata or {}).get("Labels") if tif.is_imagej else None
    if not labels or set(where.axes) - set("cyx"):
        return ()
    return tuple(str(label) for label in labels)


def _labelled(path: Path, tif: TiffFile, series: TiffPageSeries) -> tuple[ChannelFacts, ...]:
    where = _layout(path, series, "z")
    labels = _labels(tif, where)
    return known(ChannelFacts(name=word(label)) for label in labels) if len(labels) == where.count("c") else ()
