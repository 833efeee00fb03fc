"""Collect a folder: find the images, read their headers, name them, and bring them into the sheet.

Only headers are read. Nothing is written: the report holds the new sheet.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from snakescope.catalog.consistency import find_problems
from snakescope.catalog.merge import Image, file_of, merge
from snakescope.catalog.names import shown, split_suffix
from snakescope.catalog.patterns import compile_pattern
from snakescope.catalog.proposal import Reading, find_naming, name_series, read_names
from snakescope.catalog.report import CollectReport
from snakescope.catalog.walk import Found, is_zarr, walk
from snakescope.errors import InputError, problem
from snakescope.samples import (
    Row,
    Sheet,
    build_sheet,
    format_number,
    format_voxel_size,
    natural_key,
    read_sheet,
)
from snakescope.samples.cells import UNFIT, CellError, parse_path

if TYPE_CHECKING:
    from snakescope.images import ImageHeader

Reader = Callable[[Path], "list[ImageHeader]"]
Progress = Callable[[int, int], None]
Headers = dict[str, "list[ImageHeader]"]


def collect_folder(
    folder: Path,
    *,
    sheet: Path | None = None,
    pattern: str | None = None,
    accept: bool = False,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    refresh: Collection[str] = (),
    threads: int = 8,
    progress: Progress | None = None,
    read: Reader | None = None,
) -> CollectReport:
    """Describe the images below a folder, one row for each.

    Parameters
    ----------
    folder
        Folder to look through, a Zarr store, or a single image file.
    sheet
        Sheet to bring the rows into, which need not exist. Its folder's parent is the study folder, to which
        paths below it are relative; without a sheet all paths are absolute.
    pattern
        What file names say (see `snakescope.catalog.patterns`); taken as it is.
    accept
        Believe the naming that is recognised when there is no `pattern`.
    include, exclude
        Globs for the file name or a folder's, or, with a ``/``, for the path below `folder`.
    refresh
        Columns in which the files, not the sheet, are right.
    threads
        Headers that are read at a time.
    progress
        Called with the number of files read and of all files, from this thread.
    read
        Reads the headers of a file; `snakescope.images.read_headers` when not given.

    Raises
    ------
    InputError
        If there is no such folder, or the sheet or pattern is wrong. What is wrong with single images is
        in the report.
    """
    given = compile_pattern(pattern) if pattern else None
    old = read_sheet(sheet) if sheet and sheet.exists() else None
    place = _Place.of(folder, sheet)
    found = _find(place, include, exclude)
    headers = _read_all(place, found, threads, progress, read or _default_reader())
    files = sorted(headers, key=natural_key)
    reading = read_names(given, "as given", files) if given else find_naming(files)
    used = reading if reading and reading.z_planes == 1 and (given or accept) else None
    series = _name_series(place, used, old)
    images = [image for name in files for image in _describe(place, name, headers[name], used, series, found)]
    merged = merge(old, images, place.study, refresh)
    report = CollectReport.of(
        folder,
        build_sheet(merged.columns, merged.rows, sheet),
        merged,
        found,
        files=len({image.file for image in images}),
        proposal=reading.proposal(files, accepted=used is not None) if reading else None,
        is_there=lambda row: os.path.lexists(file_of(row, place.study)) if _below(place, row) else None,
    )
    report.problems = find_problems(report.sheet, reading)
    return report


@dataclass(frozen=True)
class _Place:
    """Where things are: `scope` is what was asked for, `root` the folder that relative paths start from."""

    scope: Path
    root: Path
    study: Path
    has_study: bool

    @classmethod
    def of(cls, folder: Path, sheet: Path | None) -> _Place:
        # abspath, not resolve: a study's link to its data is the path that people know.
        scope = Path(os.path.abspath(folder))  # noqa: PTH100
        if not scope.exists():
            raise problem(folder, "there is no such folder", "Give the folder that holds the images.")
        single = not scope.is_dir() or split_suffix(scope.name)[1] != "" or is_zarr(scope)
        study = Path(os.path.abspath(sheet)).parent.parent if sheet else Path("/")  # noqa: PTH100
        return cls(scope, scope.parent if single else scope, study, sheet is not None)

    def path_cell(self, file: str) -> str:
        """Write a file's path as the sheet has it: relative to the study folder when below it, else absolute."""
        inside = os.path.relpath(file, self.study)
        if not self.has_study or inside.startswith(".."):
            return file
        try:
            return parse_path(inside)
        except CellError:  # a name such as "~" that only an absolute path can say
            return file


def _find(place: _Place, include: Sequence[str], exclude: Sequence[str]) -> Found:
    if place.root != place.scope:
        return Found(images=[place.scope.name])
    return walk(place.root, include=include, exclude=exclude, study=place.study if place.has_study else None)


def _default_reader() -> Reader:
    from snakescope.images import read_headers  # with numpy and the format libraries behind it

    return read_headers


def _read_all(place: _Place, found: Found, threads: int, progress: Progress | None, read: Reader) -> Headers:
    """Read the headers of all files; what fails goes to the list of the unreadable, whatever the reason."""

    def attempt(name: str) -> list[ImageHeader] | str:
        try:
            return read(place.root / name) or "it holds no image"
        except InputError as error:
            return " ".join(item.message for item in error.problems)
        except Exception as error:  # a damaged file can break a format library anywhere
            return f"{type(error).__name__}: {error}"

    headers: Headers = {}
    pool = ThreadPoolExecutor(max(1, threads))
    try:
        for done, (name, result) in enumerate(zip(found.images, pool.map(attempt, found.images), strict=True), 1):
            if isinstance(result, str):
                found.unreadable.append((name, shown(result)))
            else:
                headers[name] = result
            if progress:
                progress(done, len(found.images))
    finally:
        pool.shutdown(cancel_futures=True)
    return headers


def _name_series(place: _Place, reading: Reading | None, old: Sheet | None) -> dict[str, str]:
    """Make the series of the file names fit for folders, apart from series of the sheet that lie elsewhere."""
    elsewhere = [row.cell("series") for row in old.rows if not _below(place, row)] if old else []
    return name_series(reading, place.path_cell(os.fspath(place.root / "x")), elsewhere)


def _below(place: _Place, row: Row) -> bool:
    return Path(file_of(row, place.study)).is_relative_to(place.scope)


def _describe(
    place: _Place,
    name: str,
    headers: Sequence[ImageHeader],
    reading: Reading | None,
    series: Mapping[str, str],
    found: Found,
) -> Iterator[Image]:
    """Make the cells of each image of one file; one whose facts no sheet can hold is unreadable."""
    file = os.path.normpath(place.root / name)
    fields = dict(reading.fields.get(name, {})) if reading else {}
    fields.pop("z", None)
    if name in series:
        fields["series"] = series[name]
    step_s = reading.time_steps.get(name, "") if reading else ""
    for header in headers:
        label = split_suffix(name)[0]
        facts = facts_of(header)
        facts["time_step_s"] = facts["time_step_s"] or step_s
        cells = {"path": place.path_cell(file), **facts, **fields}
        if len(headers) > 1:
            label = f"{label}_s{header.scene}"
            cells["scene_name"] = _clean(header.scene_name or "")
            if "series" in fields:
                cells["series"] = f"{fields['series']}_s{header.scene}"
        try:
            build_sheet(["id", *cells], [{"id": "x", **cells}])
        except InputError as error:
            reasons = "; ".join(f"{item.where.rpartition(': ')[2]}: {item.message}" for item in error.problems)
            found.unreadable.append((name, f"scene {header.scene}: {reasons}"))
            continue
        yield Image(file, header.scene, label, {key: value for key, value in cells.items() if value})


def facts_of(header: ImageHeader) -> dict[str, str]:
    """Cells of the facts that a header says; unknown is an empty text."""
    names = [_clean(name).replace(";", ",") for name in header.channels]
    return {
        "format": header.format,
        "scene": str(header.scene),
        "axes": header.axes,
        "shape": ",".join(str(size) for size in header.shape),
        "dtype": header.dtype,
        "voxel_size_um": format_voxel_size(header.voxel_size_um),
        "time_step_s": "" if header.time_step_s is None else format_number(header.time_step_s),
        "channels": ";".join(text or str(index) for index, text in enumerate(names)) if any(names) else "",
        "bytes": str(header.bytes),
    }


def _clean(text: str) -> str:
    return UNFIT.sub(" ", text).strip()
