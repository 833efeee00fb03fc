"""Rows of the sheet in memory, and the groups that steps run over."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from snakescope.errors import InputError, Problem, problem
from snakescope.samples.cells import AXES, REMOTE, CellError, VoxelSize, check_id, natural_key
from snakescope.words import many

FACT_COLUMNS = ("format", "scene", "axes", "shape", "dtype", "voxel_size_um", "time_step_s", "channels", "bytes")
ORDER_COLUMNS = ("series", "t", "c")
OPTIONAL_COLUMNS = ("sha256", "sensitive")
STANDARD_COLUMNS = ("id", "path", *FACT_COLUMNS, *ORDER_COLUMNS, *OPTIONAL_COLUMNS)


@dataclass(frozen=True, slots=True)
class Row:
    """One image of the study. Unknown is None (no channel names: an empty tuple).

    Parameters
    ----------
    id
        Unique name, fit for a folder.
    path
        File or ``.zarr`` folder as the sheet writes it: relative to the study folder, absolute, or ``irods://...``.
    format
        Name of the file format, such as ``ome-tiff``.
    scene
        Index of the image within its file; 0 when the sheet does not say.
    axes
        Some of ``tczyx`` in that order.
    shape
        One size per axis of `axes`, in pixels.
    dtype
        numpy name of the pixel type.
    voxel_size_um
        z, y, x in micrometres, each None where unknown or where there is no such axis.
    time_step_s
        Seconds between the frames of the file.
    channels
        Channel names in the order of the file.
    sensitive
        Whether the row must never leave the site.
    bytes
        Size on disk.
    t
        Place of the file in its time series, where each time point is a file of its own.
    line
        Line of the sheet, for messages; 0 for a row that was not read from a file.
    """

    id: str
    path: str
    format: str | None
    scene: int
    axes: str | None
    shape: tuple[int, ...] | None
    dtype: str | None
    voxel_size_um: VoxelSize
    time_step_s: float | None
    channels: tuple[str, ...]
    sensitive: bool
    bytes: int | None
    t: int | None
    columns: tuple[str, ...] = field(repr=False)
    fields: tuple[str, ...] = field(repr=False)
    line: int = field(default=0, compare=False)

    @property
    def cells(self) -> dict[str, str]:
        """All cells of the row as they are written, by column; unknown is an empty text."""
        return dict(zip(self.columns, self.fields, strict=True))

    @property
    def remote(self) -> bool:
        """Whether the image lies in iRODS and is staged before a step reads it."""
        return self.path.startswith(REMOTE)

    def cell(self, column: str) -> str:
        """Text of one cell; empty when the cell is, or when the sheet has no such column."""
        return self.fields[self.columns.index(column)] if column in self.columns else ""

    def size(self, axis: str) -> int:
        """Pixels along `axis`, 1 when the image has no such axis.

        Raises
        ------
        InputError
            If the sheet does not know the shape.
        """
        if axis not in AXES or len(axis) != 1:
            raise ValueError(f"found axis {axis!r}; expected one of {', '.join(AXES)}")
        if self.axes is None or self.shape is None:
            raise problem(
                f"row {self.id}", "its axes and shape are unknown", "Fill axes and shape, or run snakescope collect."
            )
        return self.shape[self.axes.index(axis)] if axis in self.axes else 1


@dataclass(frozen=True)
class Sheet:
    """The rows of a sheet in their order, with the names of its columns."""

    columns: tuple[str, ...]
    rows: list[Row]
    path: Path | None = None

    def where(self, row: Row | None = None) -> str:
        """Name the sheet, or a row of it, for a message."""
        name = str(self.path) if self.path else "sample sheet"
        if row is None:
            return name
        return f"{name}: line {row.line}" if row.line else f"{name}: row {row.id}"

    def column(self, name: str) -> list[str]:
        """Cells of one column, one per row."""
        index = self._index(name)
        return [row.fields[index] for row in self.rows]

    def only(self, ids: Collection[str]) -> Sheet:
        """Keep the rows with these ids, in the order of the sheet; every id must be there."""
        wanted = set(ids)
        unknown = wanted.difference(row.id for row in self.rows)
        if unknown:
            raise InputError(Problem(self.where(), f"there is no row with the id {name!r}") for name in sorted(unknown))
        return Sheet(self.columns, [row for row in self.rows if row.id in wanted], self.path)

    def groups(self, columns: Sequence[str], *, unique_t: bool = False) -> dict[str, list[Row]]:
        """Put rows with equal cells in `columns` together.

        Parameters
        ----------
        columns
            One or more columns. Their cells, joined by ``_``, name the group; the name obeys the rule for ids.
        unique_t
            Refuse a group in which two rows have the same `t`, or only some rows have one.

        Returns
        -------
        Groups in the order in which the sheet names them first; the rows of each in the order of `t`,
        and in the natural order of their ids where `t` is unknown or equal.

        Raises
        ------
        InputError
            All problems of all groups: no such column, an empty or unfit cell, two groups of one name.
        """
        if isinstance(columns, str) or not columns:
            raise ValueError(f"found {columns!r}; expected the names of one or more columns")
        indices = [self._index(name) for name in columns]
        groups: dict[tuple[str, ...], list[Row]] = {}
        for row in self.rows:
            groups.setdefault(tuple(row.fields[index] for index in indices), []).append(row)
        problems = list(self._group_name_problems(columns, groups))
        if unique_t:
            problems += [found for rows in groups.values() for found in self._order_problems(rows)]
        if problems:
            raise InputError(problems)
        return {"_".join(key): _in_order(rows) for key, rows in groups.items()}

    def _index(self, name: str) -> int:
        if name in self.columns:
            return self.columns.index(name)
        raise problem(self.where(), f"there is no column {name!r} (it has: {', '.join(self.columns)})")

    def _group_name_problems(
        self, columns: Sequence[str], groups: dict[tuple[str, ...], list[Row]]
    ) -> Iterable[Problem]:
        seen: dict[str, tuple[str, ...]] = {}
        for key, rows in groups.items():
            where = f"{self.where(rows[0])}: {', '.join(columns)}"
            if not all(key):
                empty = " and ".join(name for name, text in zip(columns, key, strict=True) if not text)
                yield Problem(where, f"found an empty cell of {empty} in {many(len(rows), 'row')} grouped over it")
                continue
            try:
                name = check_id("_".join(key)).lower()
            except CellError as error:
                yield Problem(where, error.message, error.fix)
                continue
            if name in seen:
                yield Problem(where, f"groups {seen[name]} and {key} would share the folder {'_'.join(key)!r}")
            seen[name] = key

    def _order_problems(self, rows: list[Row]) -> Iterable[Problem]:
        known = [row for row in rows if row.t is not None]
        if known and len(known) < len(rows):
            row = next(row for row in rows if row.t is None)
            yield Problem(f"{self.where(row)}: t", "found an empty cell; expected a time point as in its group")
        first: dict[int | None, Row] = {}
        twice = [row for row in known if first.setdefault(row.t, row) is not row]
        if twice:
            more = f"; and {many(len(twice) - 1, 'more row')} of this group" if len(twice) > 1 else ""
            found = f"rows {first[twice[0].t].id!r} and {twice[0].id!r} are both time point {twice[0].t}{more}"
            yield Problem(f"{self.where(twice[0])}: t", found)


def _in_order(rows: list[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: (row.t is None, row.t or 0, natural_key(row.id)))
