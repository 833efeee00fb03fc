"""Read and write the two tables that tools hand to each other: points and tracks, as CSV.

Positions are in micrometres; voxel coordinates count from the centre of the first voxel. An empty cell is
unknown (NaN here). This module knows nothing about how spots are found or linked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snakescope.errors import InputError, Problem, problem

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

POINT_COLUMNS = (
    "spot_id",
    "frame",
    "t_s",
    "z_um",
    "y_um",
    "x_um",
    "z_px",
    "y_px",
    "x_px",
    "radius_um",
    "quality",
    "intensity",
)
TRACK_COLUMNS = (
    "tree_id",
    "track_id",
    "parent_track_ids",
    "spot_id",
    "frame",
    "t_s",
    "z_um",
    "y_um",
    "x_um",
    "radius_um",
    "quality",
    "intensity",
)
_INTEGERS = frozenset({"spot_id", "frame", "tree_id", "track_id"})
_TEXTS = frozenset({"parent_track_ids"})
_NEEDED = frozenset({"y_um", "x_um"})
_FLOAT_FORMAT = "%.10g"  # well below a picometre in a field of a metre


def read_points(path: Path) -> pd.DataFrame:
    """Read a points table.

    Returns
    -------
    The columns of `POINT_COLUMNS` in that order (others in the file are left out), one row per spot in the
    order of the file; ids and frames int64, the rest float64 with NaN for unknown.

    Raises
    ------
    InputError
        If a column is missing, a cell is no number, an id or frame is negative, a spot id comes twice, a
        position is empty, or some spots have a z and others do not.
    """
    table = _read(path, POINT_COLUMNS)
    _check(path, table)
    return table


def write_points(path: Path, table: pd.DataFrame) -> None:
    """Write a points table (see `read_points`); columns that `table` lacks are written empty."""
    _write(path, table, POINT_COLUMNS)


def read_tracks(path: Path) -> pd.DataFrame:
    """Read a tracks table.

    Returns
    -------
    The columns of `TRACK_COLUMNS` in that order; as `read_points`, and `parent_track_ids` as text
    (`parent_ids` takes it apart; empty = the track starts anew).

    Raises
    ------
    InputError
        As `read_points`; also if a parent is not a track of the same table.
    """
    table = _read(path, TRACK_COLUMNS)
    _check(path, table)
    known = set(table["track_id"].tolist())
    lost = sorted({text for text in table["parent_track_ids"] if not _resolves(text, known)})
    if lost:
        raise problem(
            f"{path}: parent_track_ids",
            f"found {', '.join(map(repr, lost[:5]))}; expected ids of tracks in this table, joined by ';'",
        )
    return table


def write_tracks(path: Path, table: pd.DataFrame) -> None:
    """Write a tracks table (see `read_tracks`), ordered by track id, then frame."""
    _write(path, table.sort_values(["track_id", "frame"], kind="stable"), TRACK_COLUMNS)


def parent_ids(text: str) -> tuple[int, ...]:
    """Take apart a cell of `parent_track_ids`: ``"3;4"`` is (3, 4), ``""`` is ()."""
    return tuple(int(part) for part in text.split(";")) if text else ()


def empty_points() -> pd.DataFrame:
    """Return a points table without rows, with the columns' types."""
    return _empty(POINT_COLUMNS)


def _empty(columns: Sequence[str]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame({name: pd.Series(dtype=_dtype(name)) for name in columns})


def _dtype(name: str) -> str:
    if name in _TEXTS:
        return "str"
    return "int64" if name in _INTEGERS else "float64"


def _read(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    import pandas as pd

    try:
        raw = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8", skipinitialspace=True)
    except FileNotFoundError:
        raise problem(path, "the file does not exist") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise problem(path, f"not a CSV table: {error}") from error
    missing = [name for name in columns if name not in raw.columns]
    if missing:
        raise problem(
            path,
            f"lacks the columns {', '.join(missing)}; found {', '.join(raw.columns) or 'none'}",
            f"The header is {','.join(columns)}; leave a cell empty where a value is unknown.",
        )
    problems: list[Problem] = []
    table = pd.DataFrame({name: _column(path, raw[name], problems) for name in columns})
    if problems:
        raise InputError(problems)
    return table


def _column(path: Path, cells: pd.Series[str], problems: list[Problem]) -> NDArray[Any]:
    """Turn one column's text into numbers; a cell that is none becomes a problem with its line."""
    import numpy as np
    import pandas as pd

    name = str(cells.name)
    if name in _TEXTS:
        return cells.to_numpy()
    empty = (cells == "").to_numpy()
    values = np.array(pd.to_numeric(cells.where(~empty), errors="coerce"), dtype=np.float64)
    whole = name in _INTEGERS
    wrong = ~np.isfinite(values) & (whole | ~empty)
    if whole:
        wrong |= (values < 0) | (values != np.floor(values))
    if not wrong.any():
        return values.astype(_dtype(name))
    first = int(np.flatnonzero(wrong)[0])
    expected = "a whole number from 0" if whole else "a number, or nothing where it is unknown"
    more = f" (and {int(wrong.sum()) - 1} more lines)" if wrong.sum() > 1 else ""
    problems.append(
        Problem(f"{path}: line {first + 2}: {name}", f"found {cells.iloc[first]!r}; expected {expected}{more}")
    )
    return values


def _check(path: Path, table: pd.DataFrame) -> None:
    problems = list(_faults(path, table))
    if problems:
        raise InputError(problems)


def _faults(path: Path, table: pd.DataFrame) -> Iterator[Problem]:
    twice = table["spot_id"][table["spot_id"].duplicated()]
    if len(twice):
        yield Problem(f"{path}: spot_id", f"{twice.iloc[0]} comes more than once; expected one row per spot")
    for name in sorted(_NEEDED):
        if table[name].isna().any():
            line = int(table[name].isna().to_numpy().argmax()) + 2
            yield Problem(f"{path}: line {line}: {name}", "the cell is empty; expected a position in µm")
    unknown = table["z_um"].isna()
    if unknown.any() and not unknown.all():
        yield Problem(f"{path}: z_um", f"empty in {int(unknown.sum())} of {len(table)} rows; expected all or none")


def _resolves(text: str, known: set[int]) -> bool:
    try:
        return known.issuperset(parent_ids(text))
    except ValueError:
        return False


def _write(path: Path, table: pd.DataFrame, columns: Sequence[str]) -> None:
    ordered = table.reindex(columns=list(columns))
    ordered.to_csv(path, index=False, encoding="utf-8", lineterminator="\n", float_format=_FLOAT_FORMAT, na_rep="")
