"""What in a sheet will hinder the analysis: series whose files do not fit together, unknown voxel sizes and times."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

from snakescope.catalog.proposal import Reading
from snakescope.errors import Problem
from snakescope.samples import Row, Sheet, format_voxel_size

_NAMED = 5
_LARGE_UM = 50.0


def find_problems(sheet: Sheet, reading: Reading | None) -> list[Problem]:
    """Find them in all rows of the sheet.

    Parameters
    ----------
    sheet
        Rows as they would be written.
    reading
        What a pattern makes of the file names, to tell of names that count planes instead of volumes.
    """
    problems = list(_plane_problems(reading)) if reading else []
    series: dict[str, list[Row]] = defaultdict(list)
    for row in sheet.rows:
        series[row.cell("series")].append(row)
    for name, rows in series.items():
        if name and len(rows) > 1:
            problems += _mixed(name, rows)
            problems += _repeated(name, rows)
            problems += _gaps(name, rows)
    return [*problems, *_unknown_voxel_sizes(sheet), *doubts(sheet)]


def doubts(sheet: Sheet) -> Iterator[Problem]:
    """What a run does not stop at, and its results would suffer from."""
    yield from _unlikely_voxel_sizes(sheet)
    yield from _unknown_time_steps(sheet)


def _plane_problems(reading: Reading) -> Iterator[Problem]:
    if reading.z_planes > 1:
        yield Problem(
            f"naming {reading.pattern.text!r}",
            f"found up to {reading.z_planes} files that differ in z only: one file for each plane, which is not "
            "supported; expected one file for each volume",
            "Save the planes of a volume as one stack first; until then every file is a flat image of its own.",
        )


def _mixed(name: str, rows: Sequence[Row]) -> Iterator[Problem]:
    facts: dict[str, Callable[[Row], str]] = {
        "axes": lambda row: row.axes or "",
        "shape": _shape_without_t,
        "dtype": lambda row: row.dtype or "",
        "voxel_size_um": lambda row: format_voxel_size(row.voxel_size_um),
        "time step": lambda row: row.cell("time_step_s"),
    }
    for fact, read in facts.items():
        counts = Counter(read(row) for row in rows)
        usual, count = counts.most_common(1)[0]
        for value in [value for value in counts if value != usual]:
            odd = [row.id for row in rows if read(row) == value]
            yield Problem(
                f"series {name}: {_some(odd)}",
                f"{fact} is {value or 'unknown'}; expected {usual or 'unknown'} as in the other {count} files",
                "Leave the file out, or give it a series of its own.",
            )


def _shape_without_t(row: Row) -> str:
    if row.axes is None or row.shape is None:
        return ""
    return ",".join(str(size) for axis, size in zip(row.axes, row.shape, strict=True) if axis != "t")


def _repeated(name: str, rows: Sequence[Row]) -> Iterator[Problem]:
    same: dict[tuple[int, str], list[str]] = defaultdict(list)
    for row in rows:
        if row.t is not None:
            same[row.t, row.cell("c")].append(row.id)
    repeated = [ids for ids in same.values() if len(ids) > 1]
    if repeated:
        yield Problem(
            f"series {name}",
            f"{len(repeated)} time points have more than one file, first {_some(repeated[0])}",
            "Name in the pattern what tells them apart, for example {position}.",
        )


def _gaps(name: str, rows: Sequence[Row]) -> Iterator[Problem]:
    """Time points that are missing within a channel, by the smallest step of the series, or in one channel only."""
    channels: dict[str, set[int]] = defaultdict(set)
    for row in rows:
        if row.t is not None:
            channels[row.cell("c")].add(row.t)
    times = sorted(set().union(*channels.values()))
    if len(times) < 2:
        return
    step = min(later - earlier for earlier, later in pairwise(times))
    expected = len(range(times[0], times[-1] + 1, step))
    regular = all((time - times[0]) % step == 0 for time in times)
    # More missing than there: t is a clock, not a count.
    if regular and len(times) < expected <= 2 * len(times):
        there = set(times)
        first = next(time for time in range(times[0], times[-1], step) if time not in there)
        yield Problem(
            f"series {name}", f"{expected - len(times)} of {expected} time points have no file, first t = {first}"
        )
    for channel, found in channels.items():
        missing = [time for time in times if time not in found]
        if missing:
            yield Problem(
                f"series {name}",
                f"channel {channel or '(unnamed)'} has no file at {len(missing)} of {len(times)} time points, "
                f"first t = {missing[0]}",
            )


def _unknown_voxel_sizes(sheet: Sheet) -> Iterator[Problem]:
    unknown = [
        row.id
        for row in sheet.rows
        if None in (row.voxel_size_um if "z" in (row.axes or "z") else row.voxel_size_um[1:])
    ]
    if unknown:
        plain = any(row.id in set(unknown) and row.format == "tiff" and row.axes == "zyx" for row in sheet.rows)
        films = " Planes of a plain TIFF are taken for z: where they are times, write tyx into axes." if plain else ""
        yield Problem(
            f"{sheet.where()}: voxel_size_um",
            f"the voxel size of {len(unknown)} of {len(sheet.rows)} rows is not fully known, such as {_some(unknown)}",
            "Fill the cells (z,y,x in µm, for example 0.3,0.1,0.1); they are kept from then on." + films,
        )


def _unlikely_voxel_sizes(sheet: Sheet) -> Iterator[Problem]:
    """Sizes that no light microscope has: nanometres taken for µm."""
    large = [row for row in sheet.rows if any((size or 0) >= _LARGE_UM for size in row.voxel_size_um)]
    if large:
        yield Problem(
            f"{sheet.where()}: voxel_size_um",
            f"found {_LARGE_UM:g} µm or more in {len(large)} of {len(sheet.rows)} rows, such as "
            f"{format_voxel_size(large[0].voxel_size_um)} in {large[0].id}; expected z,y,x in µm",
            "If they are nanometres, divide by 1000; else leave them.",
        )


def _unknown_time_steps(sheet: Sheet) -> Iterator[Problem]:
    """Rows of films, in one file or in a series of files, of which the time between frames is not known."""
    times: dict[str, set[int | None]] = defaultdict(set)
    for row in sheet.rows:
        times[row.cell("series")].add(row.t)
    films = [row for row in sheet.rows if _frames(row) > 1 or len(times[row.cell("series")] - {None}) > 1]
    unknown = [row.id for row in films if row.time_step_s is None]
    if unknown:
        yield Problem(
            f"{sheet.where()}: time_step_s",
            f"the time between frames is not known of {len(unknown)} of {len(films)} rows of films, "
            f"such as {_some(unknown)}",
            "Fill the cells (seconds, for example 2.5); without it times and speeds stay empty.",
        )


def _frames(row: Row) -> int:
    return dict(zip(row.axes, row.shape, strict=True)).get("t", 1) if row.axes and row.shape else 1


def _some(ids: Sequence[str]) -> str:
    more = len(ids) - _NAMED
    return ", ".join(ids[:_NAMED]) + (f" and {more} more" if more > 0 else "")
