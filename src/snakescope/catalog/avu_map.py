"""From AVUs to columns: the mapping in ``config/avu_map.yaml``, and what it makes of one object's AVUs.

Knows nothing of how AVUs are read, nor of images.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import translate
from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import Field

from snakescope import layout
from snakescope.errors import InputError, Problem
from snakescope.samples import STANDARD_COLUMNS, CellError, format_number, format_voxel_size, natural_key
from snakescope.samples import cells as parsing
from snakescope.samples.cells import UNFIT
from snakescope.tool.base import Model, parse, read_yaml

FILE = "config/avu_map.yaml"
OWNED = ("id", "path", "format", "scene", "bytes", "sha256", "checksum", "modified_at", "scene_name", "from_avus")
FOREIGN = "avu_"
SEPARATOR = "; "
PREFIX = "snakescope."

Avu = tuple[str, str, str]

_PARTS = {f"voxel_size_um.{axis}": index for index, axis in enumerate("zyx")}
_UM = {"": 1.0, "um": 1.0, "µm": 1.0, "μm": 1.0, "micrometer": 1.0, "micrometre": 1.0, "micron": 1.0, "nm": 1e-3,
       "nanometer": 1e-3, "nanometre": 1e-3, "mm": 1e3, "millimeter": 1e3, "millimetre": 1e3, "m": 1e6}  # fmt: skip
_S = {"": 1.0, "s": 1.0, "sec": 1.0, "second": 1.0, "seconds": 1.0, "ms": 1e-3, "millisecond": 1e-3,
      "milliseconds": 1e-3, "min": 60.0, "minute": 60.0, "minutes": 60.0, "h": 3600.0, "hour": 3600.0}  # fmt: skip
_FACTORS = {"um": _UM, "s": _S}
_CHECKS: dict[str, Callable[[str], object]] = {
    "voxel_size_um": parsing.parse_voxel_size,
    "time_step_s": parsing.parse_time_step,
    "axes": parsing.parse_axes,
    "dtype": parsing.parse_dtype,
    "channels": parsing.parse_channels,
    "sensitive": parsing.parse_sensitive,
    "t": parsing.parse_count,
    "series": parsing.check_id,
}


class AvuRule(Model):
    """What becomes of the AVUs of a name."""

    avu: str
    """Name of the AVU; `*` and `?` as in file names."""
    column: str | None = None
    """Column of the sheet; `*` stands for what the first `*` of the name stands for. None leaves the AVU out."""
    unit: Literal["append", "ignore", "um", "s"] = "append"
    """What the unit means: a part of the value, nothing, a length or a duration."""
    several: Literal["join", "first"] = "join"
    """What to do with several values."""

    @cached_property
    def _regex(self) -> re.Pattern[str]:
        return re.compile(translate(_key(self.avu)))

    def fits(self, name: str) -> bool:
        """Whether it speaks of AVUs of that name."""
        return self._regex.match(_key(name)) is not None

    def column_of(self, name: str) -> str | None:
        """Column for an AVU that fits."""
        if self.column is None or "*" not in self.column:
            return self.column
        before, _, after = self.avu.partition("*")
        rest = name[len(before) : len(name) - len(after) if after and "*" not in after else None]
        column = column_name(self.column.replace("*", rest))
        return f"{FOREIGN}{column}" if column in OWNED else column


class AvuMap(Model):
    """The file `config/avu_map.yaml`."""

    schema_: Literal[1] = Field(alias="schema")
    """Version of this file's form."""
    rules: list[AvuRule] = []
    """What becomes of which AVUs; the first rule that fits decides."""


def _key(name: str) -> str:
    return re.sub("[ _-]", "_", name).casefold()


def column_name(text: str) -> str:
    """Make an AVU's name fit for the header of a sheet: small letters, digits and ``_``."""
    return re.sub(r"[^\w]+", "_", text.casefold()).strip("_") or "unnamed"


@dataclass
class Mapped:
    """Cells that AVUs give, and what there is to say about them."""

    cells: dict[str, str] = field(default_factory=dict)
    several: list[str] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    foreign: set[str] = field(default_factory=set)


class Mapper:
    """Applies a mapping to many objects; each name is looked up once.

    Parameters
    ----------
    avu_map
        The mapping.
    all_avus
        Whether AVUs that it does not know become columns, too.
    prefix
        Of the AVUs that results bear which are published.
    """

    def __init__(self, avu_map: AvuMap, *, all_avus: bool = False, prefix: str = PREFIX) -> None:
        self.map, self._all = avu_map, all_avus
        self._marks = {f"{prefix}step", f"{prefix}run"}
        self._known: dict[str, tuple[int, str | None, AvuRule | None]] = {}

    def is_result(self, avus: Iterable[Avu]) -> bool:
        """Whether these are the AVUs of a result: they say which run or step made it."""
        return any(name in self._marks for name, _, _ in avus)

    def columns(self, avus: Sequence[Avu]) -> Mapped:
        """Cells from the AVUs of one object or collection."""
        found = Mapped()
        groups: dict[str, dict[int, list[tuple[Avu, AvuRule | None]]]] = {}
        for avu in avus:
            rank, column, rule = self._look_up(avu[0])
            if rule is None and column is None:
                found.foreign.add(avu[0])
            elif column is not None:
                groups.setdefault(column, {}).setdefault(rank, []).append((avu, rule))
        parts: list[str] = ["", "", ""]
        for column, ranks in groups.items():
            text = self._cell(column, ranks[min(ranks)], found)
            if column in _PARTS:
                parts[_PARTS[column]] = text
            elif text:
                found.cells[column] = text
        if any(parts):
            found.cells.setdefault("voxel_size_um", ",".join(parts))
        return found

    def _look_up(self, name: str) -> tuple[int, str | None, AvuRule | None]:
        """Place of the rule, column and rule for an AVU's name."""
        if name not in self._known:
            rules = self.map.rules
            rank = next((index for index, rule in enumerate(rules) if rule.fits(name)), len(rules))
            rule = rules[rank] if rank < len(rules) else None
            foreign = FOREIGN + column_name(name) if self._all else None
            self._known[name] = (rank, rule.column_of(name) if rule else foreign, rule)
        return self._known[name]

    def _cell(self, column: str, given: Sequence[tuple[Avu, AvuRule | None]], found: Mapped) -> str:
        ordered = given
        if len(given) > 1:
            ordered = sorted(given, key=lambda item: (natural_key(item[0][2]), natural_key(item[0][1])))
        values = []
        for avu, rule in ordered:
            try:
                values.append(_check(column, _value(avu, rule.unit if rule else "append")))
            except CellError as error:
                found.refused.append((avu[0], error.message))
        values = list(dict.fromkeys(value for value in values if value))
        if len(values) < 2:
            return "".join(values)
        rule = ordered[0][1]
        name = ordered[0][0][0]
        if (rule and rule.several == "first") or column in _CHECKS or column in _PARTS or column == "shape":
            found.several.append(f"{name}: {len(values)} values, the first is taken: {SEPARATOR.join(values)}")
            return values[0]
        found.several.append(f"{name}: {len(values)} values, joined: {SEPARATOR.join(values)}")
        return SEPARATOR.join(values)


def _value(avu: Avu, unit: str) -> str:
    """An AVU's value as a cell's text, with what its unit says."""
    _, value, own = avu
    value = UNFIT.sub(" ", value).strip()
    if unit == "append" and own.strip():
        return f"{value} {UNFIT.sub(' ', own).strip()}"
    if unit not in _FACTORS:
        return value
    factor = _FACTORS[unit].get(own.strip().lower())
    if factor is None:
        raise CellError(f"found the unit {own!r}; expected one of {', '.join(name for name in _FACTORS[unit] if name)}")
    try:
        return ",".join(_converted(part, factor) for part in value.split(","))
    except ValueError:
        raise CellError(f"found {value!r}; expected a number") from None


def _converted(number: str, factor: float) -> str:
    """A number in our unit; of a voxel size an axis may be left open."""
    return format_number(float(f"{float(number) * factor:.12g}")) if number.strip() else ""


def _check(column: str, text: str) -> str:
    """Refuse what the column cannot hold; a voxel size is written as we write it."""
    if not text:
        return ""
    if column == "voxel_size_um":
        return format_voxel_size(parsing.parse_voxel_size(text))
    if column in _PARTS:
        parsing.parse_voxel_size(",".join([text] * 3))
    elif column in _CHECKS:
        _CHECKS[column](text)
    return text


def read_avu_map(study: Path | None = None) -> AvuMap:
    """The study's own mapping if it has one, else the shipped one.

    Raises
    ------
    InputError
        With every rule that is wrong.
    """
    own = study / FILE if study else None
    path = own if own and own.is_file() else layout.assets() / FILE
    found = parse(AvuMap, read_yaml(path), path)
    problems = [
        Problem(f"{path}: rules.{index}.column", f"{rule.column!r} is filled by the catalogue", "Choose another name.")
        for index, rule in enumerate(found.rules)
        if rule.column in OWNED
    ]
    problems += [
        Problem(f"{path}: rules.{index}.column", f"found {rule.column!r}; expected letters, digits and _")
        for index, rule in enumerate(found.rules)
        if rule.column not in (None, *_PARTS, *STANDARD_COLUMNS) and not re.fullmatch(r"[\w*]+", rule.column or "")
    ]
    if problems:
        raise InputError(problems)
    return found
