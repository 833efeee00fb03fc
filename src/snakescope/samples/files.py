"""Read and write the sheet: UTF-8, tab-separated, one header line.

No csv dialect: a line is split at its tabs. A cell in double quotes is read as spreadsheets write it, and only
a cell that begins with a double quote is ever written so.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter
from pathlib import Path

from snakescope.errors import InputError, Problem, problem
from snakescope.samples import cells
from snakescope.samples.cells import CellError, VoxelSize, check_id
from snakescope.samples.sheet import Row, Sheet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any  # not at run time: it takes as long to import as all of this package

SHOWN = 50

_UNFIT_IN_TEXT = "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]"
_CACHED = ("format", "scene", "axes", "shape", "dtype", "voxel_size_um", "time_step_s", "channels", "sensitive")
_OWN = ("id", "path", "bytes", "t", "sha256")
_MAKE_ONE = "Make one with: snakescope collect FOLDER"

Faults = list[tuple[str, CellError]]
Facts = tuple[
    str | None,
    int,
    str | None,
    tuple[int, ...] | None,
    str | None,
    VoxelSize,
    float | None,
    tuple[str, ...],
    bool,
]


class SheetError(InputError):
    """All problems of a sheet; the text shows the first 50 and counts the rest."""

    def __init__(self, problems: Sequence[Problem], where: str) -> None:
        more = len(problems) - SHOWN
        shown = list(problems[:SHOWN])
        if more > 0:
            shown.append(Problem(where, f"and {more} more problems"))
        super().__init__(shown)
        self.problems = list(problems)


def read_sheet(path: Path) -> Sheet:
    """Read and check a sheet.

    Raises
    ------
    SheetError
        With every problem of the sheet; an `InputError`.
    InputError
        If there is no such file, or it is not UTF-8 text.
    """
    where = str(path)
    text = _read_text(path)
    lines = _split_lines(text, where)
    if not lines:
        raise problem(where, "the sheet is empty; expected a header line and a row for each image", _MAKE_ONE)
    columns = _read_header(lines[0], where)
    table = _Table(columns, where)
    last = 0 if text.endswith("\n") else len(lines)
    for number, line in enumerate(lines[1:], start=2):
        if line and not line.isspace():
            table.add_line(number, line, cut=number == last)
    return Sheet(columns, table.finish(), path)


def build_sheet(columns: Sequence[str], rows: Iterable[Mapping[str, str]], path: Path | None = None) -> Sheet:
    """Make a sheet from cells by column name, checked just as if it had been read; a missing cell is unknown."""
    where = str(path) if path else "sample sheet"
    _check_columns(list(columns), where)
    table = _Table(tuple(columns), where)
    for record in rows:
        if not record.keys() <= set(columns):
            raise ValueError(f"found cells for {sorted(record.keys() - set(columns))}; expected only {columns}")
        table.add_cells([record.get(name, "") for name in columns])
    return Sheet(tuple(columns), table.finish(allow_empty=True), path)


def sheet_text(sheet: Sheet) -> str:
    """Write a sheet as text; equal sheets give equal text."""
    lines = ["\t".join(sheet.columns)]
    problems = []
    for row in sheet.rows:
        line = "\t".join(row.fields)
        if line.count("\t") != len(sheet.columns) - 1 or cells.UNFIT.search(line.replace("\t", "")):
            problems.append(Problem(sheet.where(row), "a cell holds a tab, a line end or a control character"))
        if '"' in line:
            line = "\t".join(_quote(text) for text in row.fields)
        lines.append(line)
    if problems:
        raise SheetError(problems, sheet.where())
    return "\n".join(lines) + "\n"


def write_sheet(path: Path, sheet: Sheet) -> None:
    """Write the sheet whole or not at all: a reader meets the old file or the new one, also after a crash."""
    if not sheet.rows:
        raise problem(path, "there are no rows to write", "Nothing was written.")
    data = sheet_text(sheet).encode()
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        mode = target.stat().st_mode & 0o7777 if target.exists() else None
        _write_synced(temporary, data, mode)
        temporary.replace(target)
        _sync_folder(target.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise problem(path, f"cannot be written: {error.strerror}") from error


def _write_synced(path: Path, data: bytes, mode: int | None) -> None:
    with path.open("wb") as stream:
        if mode is not None:
            os.fchmod(stream.fileno(), mode)
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _read_text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise problem(path, "there is no such file; expected a sample sheet", _MAKE_ONE) from error
    except OSError as error:
        raise problem(path, f"cannot be read: {error.strerror}") from error
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise problem(path, "found UTF-16 text; expected UTF-8", "Save it as tab-separated text in UTF-8.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise problem(
            f"{path}: line {line}", f"found the byte 0x{data[error.start]:02x}; expected UTF-8 text", "Save as UTF-8."
        ) from error


def _split_lines(text: str, where: str) -> list[str]:
    """Split at line ends ``\\n`` or ``\\r\\n``; the empty text after the last one is left out."""
    lines = text.replace("\r\n", "\n").split("\n")
    if not lines[-1]:
        lines.pop()
    if re.search(_UNFIT_IN_TEXT, "\n".join(lines)):
        problems = [
            Problem(f"{where}: line {number}", f"found the control character {found[0]!r} in a cell", "Remove it.")
            for number, line in enumerate(lines, start=1)
            if (found := re.search(_UNFIT_IN_TEXT, line))
        ]
        raise SheetError(problems, where)
    return lines


def _read_header(line: str, where: str) -> tuple[str, ...]:
    try:
        names = [_unquote(text) for text in line.split("\t")]
    except CellError as error:
        raise problem(f"{where}: line 1", error.message, error.fix) from error
    while len(names) > 1 and not names[-1]:
        names.pop()
    if len(names) == 1 and re.search("[,;]", line):
        raise problem(
            f"{where}: line 1",
            "found one column with commas or semicolons; expected tabs between the columns",
            "In a spreadsheet, save it as tab-separated text (Text, tab delimited) in UTF-8.",
        )
    _check_columns(names, where)
    return tuple(names)


def _check_columns(names: list[str], where: str) -> None:
    place = f"{where}: line 1"
    missing = [name for name in ("id", "path") if name not in names]
    if len(missing) == 2 and not {"id", "path"} & {name.strip().lower() for name in names}:
        raise problem(place, "found no header; expected a line of column names with at least id and path")
    problems = []
    for name in missing:
        near = [other for other in names if other.strip().lower() == name]
        found = f" (found {near[0]!r}: write it in small letters, without blanks)" if near else ""
        problems.append(Problem(place, f"the column {name!r} is missing{found}"))
    for name in names:
        if name != name.strip() or not name.isprintable() or not name or name.startswith('"'):
            problems.append(
                Problem(place, f"found the column name {name!r}; expected text without outer blanks and quotes")
            )
    for name in sorted({name for name in names if names.count(name) > 1}):
        problems.append(Problem(place, f"the column {name!r} is there {names.count(name)} times; expected once"))
    if problems:
        raise InputError(problems)


def _unquote(text: str) -> str:
    """Read a cell in double quotes; raise `CellError` when the quotes do not close."""
    if not text.startswith('"'):
        return text
    inner = text[1:-1]
    if len(text) < 2 or not text.endswith('"') or '"' in inner.replace('""', ""):
        raise CellError(
            f"found {text[:60]!r}; a cell that begins with a double quote must end with one, and double those within",
            "A line break or tab inside a cell is not allowed.",
        )
    return inner.replace('""', '"')


def _quote(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if text.startswith('"') else text


class _Table:
    """Check rows one by one and keep all problems.

    Rows of one acquisition repeat the same facts, so each distinct combination of `_CACHED` cells is parsed once.
    """

    def __init__(self, columns: tuple[str, ...], where: str) -> None:
        self._columns = columns
        self._where = where
        self._rows: list[Row] = []
        self._problems: list[Problem] = []
        self._ids: dict[str, int] = {}
        self._facts: dict[tuple[str, ...], tuple[Facts, Faults, tuple[str, ...]]] = {}
        # An absent column points at the empty cell that `add` puts behind the last one for a moment.
        place = {name: index for index, name in enumerate(columns)}
        self._pick_facts = itemgetter(*(place.get(name, len(columns)) for name in _CACHED))
        self._pick_own = itemgetter(*(place.get(name, len(columns)) for name in _OWN))
        self._repeated = [place[name] for name in _CACHED if name in place]

    def add_line(self, number: int, line: str, *, cut: bool) -> None:
        """Split one line and add it; `cut` marks a last line without a line end."""
        fields = line.split("\t")
        width = len(self._columns)
        try:
            if '"' in line:
                fields = [_unquote(text) for text in fields]
            if cut and len(fields) < width:
                raise CellError("the file ends in the middle of a row", "It may be a partial copy.")
            if any(fields[width:]):
                message = f"found {len(fields)} cells; expected {width}, as in the header"
                raise CellError(message, "A cell must not hold a tab.")
        except CellError as error:
            self._report(number, "", [("", error)])
            return
        if len(fields) != width:  # editors and spreadsheets drop or add empty cells at the end of a line
            fields = fields[:width] + [""] * (width - len(fields))
        self.add(number, fields)

    def add_cells(self, fields: list[str]) -> None:
        """Add a row that comes from no file, after the check that a line needs no more."""
        for name, text in zip(self._columns, fields, strict=True):
            if found := cells.UNFIT.search(text):
                self._report(0, fields[0], [(name, CellError(f"found {found[0]!r} in {text!r}", "Remove it."))])
        self.add(0, fields)

    def add(self, number: int, fields: list[str]) -> None:
        """Check one row of as many cells as there are columns; `number` is its line, 0 when it has none."""
        fields.append("")
        key = self._pick_facts(fields)
        name, path, size_text, t_text, sha256 = self._pick_own(fields)
        fields.pop()
        facts = self._facts.get(key)
        if facts is None:
            facts = self._facts[key] = self._parse_facts(key, fields)
        values, shared_faults, texts = facts
        for index, text in zip(self._repeated, texts, strict=True):
            fields[index] = text  # one text in memory for all rows that repeat it
        size = t = None
        try:
            check_id(name)
            cells.parse_path(path)
            if size_text:
                size = cells.parse_count(size_text)
            if t_text:
                t = cells.parse_count(t_text)
            if sha256:
                cells.parse_sha256(sha256)
        except CellError:
            self._report(number, name, _own_faults(name, path, size_text, t_text, sha256))
        if shared_faults:
            self._report(number, name, shared_faults)
        if self._ids.setdefault(name.lower(), len(self._rows)) != len(self._rows) and name:
            self._report_repeated(number, name)
        self._rows.append(Row(name, path, *values, size, t, self._columns, tuple(fields), number))

    def _parse_facts(self, key: tuple[str, ...], fields: list[str]) -> tuple[Facts, Faults, tuple[str, ...]]:
        values, faults = _parse_facts(dict(zip(_CACHED, key, strict=True)))
        return values, faults, tuple(fields[index] for index in self._repeated)

    def finish(self, *, allow_empty: bool = False) -> list[Row]:
        """Return the rows, or raise all problems."""
        if not self._rows and not self._problems and not allow_empty:
            message = "found a header and no rows; expected a row for each image"
            self._problems.append(Problem(self._where, message, _MAKE_ONE))
        if self._problems:
            raise SheetError(self._problems, self._where)
        return self._rows

    def _report_repeated(self, number: int, name: str) -> None:
        first = self._rows[self._ids[name.lower()]]
        at = f" on line {first.line}" if first.line else ""
        same = f"{name!r} is there already{at}"
        if first.id != name:
            same = f"{name!r} differs from {first.id!r}{at} in capitals only, and would share its folder on some disks"
        self._report(number, name, [("id", CellError(same, "Every row needs an id of its own."))])

    def _report(self, number: int, name: str, faults: Faults) -> None:
        place = f"line {number}" if number else f"row {name or '(without id)'}"
        for column, error in faults:
            where = f"{self._where}: {place}" + (f": {column}" if column else "")
            self._problems.append(Problem(where, error.message, error.fix))


def _own_faults(name: str, path: str, size: str, t: str, sha256: str) -> Faults:
    """Name all that is wrong with the `_OWN` cells of a row."""
    faults: Faults = []
    _parse(faults, "id", check_id, name, required=True)
    _parse(faults, "path", cells.parse_path, path, required=True)
    _parse(faults, "bytes", cells.parse_count, size)
    _parse(faults, "t", cells.parse_count, t)
    _parse(faults, "sha256", cells.parse_sha256, sha256)
    return faults


def _parse_facts(text: dict[str, str]) -> tuple[Facts, Faults]:
    """Parse the `_CACHED` cells of a row, in that order, and name what is wrong with them."""
    faults: Faults = []
    axes = _parse(faults, "axes", cells.parse_axes, text["axes"])
    # A fault in axes is said once, not again for the shape that depends on it.
    shape = None if faults else _parse(faults, "shape", lambda cell: cells.parse_shape(cell, axes), text["shape"])
    values: Facts = (
        text["format"] or None,
        _parse(faults, "scene", cells.parse_count, text["scene"]) or 0,
        axes,
        shape,
        _parse(faults, "dtype", cells.parse_dtype, text["dtype"]),
        _parse(faults, "voxel_size_um", cells.parse_voxel_size, text["voxel_size_um"]) or (None, None, None),
        _parse(faults, "time_step_s", cells.parse_time_step, text["time_step_s"]),
        _parse(faults, "channels", cells.parse_channels, text["channels"]) or (),
        _parse(faults, "sensitive", cells.parse_sensitive, text["sensitive"]) or False,
    )
    return values, faults


def _parse(faults: Faults, column: str, parse: Callable[[str], Any], text: str, *, required: bool = False) -> Any:
    if not text:
        if required:
            faults.append((column, CellError("found an empty cell; expected a value in every row")))
        return None
    try:
        return parse(text)
    except CellError as error:
        faults.append((column, error))
        return None
