"""Bring what the files say into a sheet that people may have edited: the sheet wins, and differences are told."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from snakescope.catalog.names import unique_ids
from snakescope.errors import Problem
from snakescope.samples import ORDER_COLUMNS, STANDARD_COLUMNS, Row, Sheet
from snakescope.zone.address import Address, is_address

# Facts that only a change of the file explains; the others may have been corrected by hand.
_CONTENT = ("format", "axes", "shape", "dtype", "sha256")
# What the disk or the catalogue knows better than anyone.
_STATE = ("bytes", "checksum", "modified_at")
_SAME = 1e-4
# Which cells of a row were taken from AVUs, so that those of an AVU that is gone can be told from those typed by hand.
FROM_AVUS = "from_avus"
_JOINED_BY = "; "


@dataclass(frozen=True)
class Change:
    """A cell of the sheet that was brought up to date."""

    id: str
    column: str
    old: str
    new: str


@dataclass(frozen=True)
class Image:
    """One image as its file describes it.

    Parameters
    ----------
    file
        Absolute, normal path: what tells it apart, together with `scene`.
    scene
        Index within the file.
    label
        What an id is made from.
    cells
        Cells of its row but for `id`; an unknown one may be missing. An empty `checksum` empties the sheet's.
    sources
        Who says what a cell says, where it is neither the file nor its name: the AVUs of iRODS.
    untold
        Columns of which nothing is known this time; what AVUs once said in them stays.
    header
        What the file's header says, in cells that `sources` fill; empty where it was not read.
    """

    file: str
    scene: int
    label: str
    cells: Mapping[str, str]
    sources: Mapping[str, str] = field(default_factory=dict)
    untold: Collection[str] = ()
    header: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Merged:
    """The rows of the new sheet and how they came about."""

    columns: tuple[str, ...] = ()
    rows: list[dict[str, str]] = field(default_factory=list)
    added: list[str] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    not_seen: list[Row] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    disagreements: list[Problem] = field(default_factory=list)


def file_of(row: Row, study: Path) -> str:
    """Absolute, normal path of a row's file, no link resolved; or its address in iRODS."""
    return str(Address.parse(row.path)) if is_address(row.path) else os.path.normpath(study / row.path)


def merge(sheet: Sheet | None, images: Sequence[Image], study: Path, refresh: Collection[str]) -> Merged:
    """Merge `images` into `sheet`.

    Rows keep their place and id; cells of hand-made columns stay. An empty cell is filled. A filled one stays
    where the file says otherwise, unless its column is in `refresh` or the size of the file shows that it changed.
    """
    merged = Merged()
    by_file: dict[tuple[str, int], Image] = {(image.file, image.scene): image for image in images}
    free = [name for image in images for name in image.cells]
    free += [FROM_AVUS] if any(image.sources for image in images) else []
    merged.columns = _columns([*(sheet.columns if sheet else ()), *dict.fromkeys(free)])
    met: set[tuple[str, int]] = set()
    for row in sheet.rows if sheet else []:
        key = (file_of(row, study), row.scene)
        image = by_file.get(key)
        met.add(key)
        if image is None:
            merged.not_seen.append(row)
            merged.rows.append(row.cells)
        else:
            merged.rows.append(_merge_row(row, image, merged, refresh, sheet.where(row) if sheet else ""))
    _add_new([image for image in images if (image.file, image.scene) not in met], merged)
    return merged


def _columns(names: Sequence[str]) -> tuple[str, ...]:
    always = {"id", "path", *STANDARD_COLUMNS[2:11], "series"}
    standard = [name for name in STANDARD_COLUMNS if name in always or name in names]
    return (*standard, *dict.fromkeys(name for name in names if name not in STANDARD_COLUMNS))


def _add_new(images: Sequence[Image], merged: Merged) -> None:
    keys = {f"{image.cells['path']}\n{image.scene}": image for image in images}
    ids = unique_ids({key: image.label for key, image in keys.items()}, taken=[cells["id"] for cells in merged.rows])
    for key, image in keys.items():
        cells = {"id": ids[key], **image.cells, "series": image.cells.get("series") or ids[key]}
        merged.rows.append(_note_sources(cells, image, ()))
        merged.added.append(ids[key])
        merged.disagreements += _contradictions(ids[key], cells, image)


def _merge_row(row: Row, image: Image, merged: Merged, refresh: Collection[str], where: str) -> dict[str, str]:
    cells = row.cells
    found = dict(image.cells)
    if not found.get("series") and not cells.get("series"):
        found["series"] = row.id
    file_changed = _has_changed(cells, found)
    changes, kept = _drop_untrue(row, image, cells, merged, where)
    for column in [name for name, value in found.items() if (value or name == "checksum") and name != "path"]:
        old, value = cells.get(column, ""), found[column]
        content = column in _STATE or (file_changed and column in _CONTENT)
        new = _choose(column, old, value, row.id, prefer_file=content or column in refresh)
        if new != old:
            changes.append(Change(row.id, column, old, new))
        if not _agree(column, new, value):
            merged.disagreements.append(_disagreement(where, column, new, value, image.sources.get(column)))
        cells[column] = new
    for column in _CONTENT[1:] if file_changed else ():  # what the sheet says of the old file is not true of the new
        if cells.get(column) and not found.get(column):
            changes.append(Change(row.id, column, cells[column], ""))
            cells[column] = ""
    _note_sources(cells, image, kept)
    merged.disagreements += _contradictions(where, cells, image)
    merged.changes += changes
    (merged.updated if changes else merged.unchanged).append(row.id)
    return cells


def _drop_untrue(
    row: Row, image: Image, cells: dict[str, str], merged: Merged, where: str
) -> tuple[list[Change], list[str]]:
    """Empty the cells whose AVU is gone; facts of the image stay, since somebody may have checked them, and are told.

    Returns
    -------
    The changes, and the columns that go on being noted as taken from AVUs.
    """
    changes, kept = [], []
    for column in filter(None, cells.get(FROM_AVUS, "").split(_JOINED_BY)):
        old = cells.get(column, "")
        if image.sources.get(column) and image.cells.get(column):
            continue
        if column in image.untold:
            kept.append(column)
        elif old and column in STANDARD_COLUMNS:
            kept.append(column)
            message = f"the sheet says {old!r}, as an AVU did that is not there any more; the sheet was kept"
            fix = "Empty the cell and collect again to take what the file says."
            merged.disagreements.append(Problem(f"{where}: {column}", message, fix))
        elif old and not image.cells.get(column):
            changes.append(Change(row.id, column, old, ""))
            cells[column] = ""
    return changes, kept


def _note_sources(cells: dict[str, str], image: Image, kept: Sequence[str]) -> dict[str, str]:
    """Write down which cells are as AVUs say."""
    taken = {name for name in image.sources if image.cells.get(name) and _agree(name, cells[name], image.cells[name])}
    if taken or kept or FROM_AVUS in cells:
        cells[FROM_AVUS] = sys.intern(_JOINED_BY.join(sorted(taken.union(kept))))  # the same for most rows
    return cells


def _contradictions(where: str, cells: Mapping[str, str], image: Image) -> Iterator[Problem]:
    """Where an AVU was taken though the header of the file says otherwise."""
    for column, source in image.sources.items():
        header, told = image.header.get(column), image.cells.get(column)
        if header and told and not _agree(column, told, header) and _agree(column, cells[column], told):
            message = f"{source} {told!r}, the header of the file {header!r}; the AVU was taken"
            yield Problem(f"{where}: {column}", message, "Correct the AVU, or the cell.")


def _has_changed(cells: Mapping[str, str], found: Mapping[str, str]) -> bool:
    """Whether the file is another one than the sheet's; without checksums, a new date is reason enough."""
    known = [name for name in ("bytes", "checksum") if name in found]
    if any(cells.get(name, "") not in ("", found[name]) for name in known):
        return True
    dated = "checksum" in found and not (found["checksum"] and cells.get("checksum"))
    return dated and cells.get("modified_at", "") not in ("", found.get("modified_at", ""))


def _choose(column: str, old: str, value: str, row_id: str, *, prefer_file: bool) -> str:
    """Choose the text of a cell: what is unknown on one side is taken from the other, equal values stay as written."""
    if not old or (column == "series" and old == row_id):
        return value
    if column in _STATE:
        return old if _agree(column, old, value) else value
    if column == "voxel_size_um":
        sheet_parts = [part.strip() for part in old.split(",")]
        file_parts = value.split(",")
        first, second = (file_parts, sheet_parts) if prefer_file else (sheet_parts, file_parts)
        value = ",".join(one or other for one, other in zip(first, second, strict=True))
        return old if value.split(",") == sheet_parts else value
    return value if prefer_file and not _agree(column, old, value) else old


def _agree(column: str, old: str, value: str) -> bool:
    if column in ("voxel_size_um", "time_step_s"):
        pairs = zip(old.split(","), value.split(","), strict=True)
        known = ((float(here), float(there)) for here, there in pairs if here.strip() and there.strip())
        return all(math.isclose(here, there, rel_tol=_SAME) for here, there in known)
    if column in ("t", "bytes", "scene", "c") and old.isdigit() and value.isdigit():
        return int(old) == int(value)
    return old.replace(" ", "") == value.replace(" ", "")


def _disagreement(where: str, column: str, old: str, value: str, source: str | None) -> Problem:
    if source is None:
        source = "its name says" if column in ORDER_COLUMNS or column not in STANDARD_COLUMNS else "the file says"
    return Problem(
        f"{where}: {column}",
        f"the sheet says {old!r}, {source} {value!r}; the sheet was kept",
        "Empty the cell to take the file's value.",
    )
