"""File names that say more than a name: series, time point, channel, place on the plate.

A pattern is a file name with fields, ``{series}_ch{c}_stack{t}.tif``. ``{t}``, ``{z}`` and ``{time_ms}`` (milliseconds
on any clock) are digits, so is ``{name:d}``; ``*`` is any text; ``{{`` and ``}}`` are braces. Without a suffix it fits
all image formats. With a ``/`` it is held against the path below the collected folder, where ``{series}`` may span
folders; otherwise against the file name, and the folder goes in front of the series.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from snakescope.catalog.names import split_suffix
from snakescope.errors import InputError, Problem
from snakescope.samples import FACT_COLUMNS, OPTIONAL_COLUMNS

# Files from different places are never one series, so these fields always are a part of it.
PLACES = frozenset({"plate", "well", "row", "col", "column", "field", "site", "position", "pos", "fov", "tile"})
# What tells the images of a series apart.
_ORDER = ("t", "z", "c", "time_ms")
RESERVED = frozenset({"id", "path", *FACT_COLUMNS, *OPTIONAL_COLUMNS})

_PIECE = re.compile(r"(\{\{|\}\}|\{[^{}]*\}|\*|[{}])")
_FIELD = re.compile(r"\{([a-z][a-z0-9_]*)(:d)?\}")


@dataclass(frozen=True)
class Pattern:
    """A checked pattern; make one with `compile_pattern`."""

    text: str
    names: tuple[str, ...]
    regex: re.Pattern[str] = field(repr=False)
    suffix: str = ""
    prefix: str = ""

    @property
    def whole_path(self) -> bool:
        """Whether it is held against the path below the collected folder, not the file name alone."""
        return "/" in self.text

    def parse(self, relative: str) -> dict[str, str] | None:
        """Return the fields of an image's path, or None when the pattern does not fit.

        Numbers in `t`, `z`, `c` and `time_ms` lose their leading zeros; other fields stay as they are written.
        """
        stem, suffix = split_suffix(relative if self.whole_path else relative.rpartition("/")[2])
        if self.suffix and self.suffix.lower() != suffix.lower():
            return None
        match = self.regex.fullmatch(stem)
        if match is None:
            return None
        fields = match.groupdict()
        for name in _ORDER:
            if fields.get(name, "").isdigit():
                fields[name] = str(int(fields[name]))
        return fields

    def series(self, relative: str, fields: Mapping[str, str]) -> str:
        """Name the series of a file, parts joined by ``/``; without `series` all free fields name it together."""
        folder = "" if self.whole_path else relative.rpartition("/")[0]
        free = [name for name in self.names if name not in ("series", *_ORDER)]
        if "series" in fields:
            free = [name for name in free if name in PLACES]
        parts = [folder, fields.get("series", "")]
        parts += [f"{name}{fields[name]}" if fields[name].isdigit() else fields[name] for name in free]
        return "/".join(part for part in parts if part) or self.prefix or "series"


def compile_pattern(text: str) -> Pattern:
    """Check a pattern and make it ready.

    Raises
    ------
    InputError
        All that is wrong with it.
    """
    stem, suffix = split_suffix(text)
    faults: list[tuple[str, str | None]] = []
    pieces = [piece for piece in _PIECE.split(stem) if piece]
    names = [match[1] for piece in pieces if (match := _FIELD.fullmatch(piece))]
    for piece in pieces:
        if piece[0] in "{}" and piece not in ("{{", "}}") and not _FIELD.fullmatch(piece):
            faults.append(
                (
                    f"found {piece!r}; expected a field such as {{t}} or {{well}}, in small letters",
                    "Write braces twice.",
                )
            )
    for name in sorted({name for name in names if names.count(name) > 1}):
        faults.append((f"the field {{{name}}} is there {names.count(name)} times; expected once", None))
    for name in sorted(RESERVED & set(names)):
        faults.append((f"the field {{{name}}} is a column that the image itself fills", "Choose another name."))
    if not names and not faults:
        faults.append(("found no field", "For example {series}_ch{c}_stack{t}.tif"))
    if faults:
        raise InputError(Problem(f"pattern {text!r}", message, fix) for message, fix in faults)
    whole_path = "/" in text
    regex = re.compile("".join(_piece_regex(piece, whole_path) for piece in pieces))
    prefix = re.split(r"[{*]", stem.rpartition("/")[2])[0]
    return Pattern(text, tuple(names), regex, suffix, re.sub(r"[^A-Za-z0-9]+[A-Za-z]*$", "", prefix))


def _piece_regex(piece: str, whole_path: bool) -> str:
    match = _FIELD.fullmatch(piece)
    if match is None:
        return "[^/]*?" if piece == "*" else re.escape(piece[0] if piece in ("{{", "}}") else piece)
    name, digits = match[1], match[2]
    if name in ("t", "z", "time_ms"):
        return f"(?P<{name}>[0-9]+)"
    if digits:
        return f"(?P<{name}>[0-9]+?)"
    if name == "series":  # greedy: what looks like a tag earlier in the name belongs to the series
        return "(?P<series>.+)" if whole_path else "(?P<series>[^/]+)"
    return f"(?P<{name}>[^/]+?)"


@dataclass(frozen=True)
class Naming:
    """A pattern and the microscope or program whose habit it is; it gives way where the pattern `unless` fits."""

    name: str
    text: str
    unless: str = ""


def known_namings() -> Iterator[Naming]:
    """Namings of microscopes that are recognised by themselves, the more telling ones first.

    Taken from the files and manuals of the instruments; the values of a lattice light-sheet name are prefix,
    iteration, camera, channel, stack, laser, time since the start, absolute time and tile.
    """
    for tile in ("{time_ms}msecAbs*", "{time_ms}msecAbs_{tile}z_*t"):
        for when in ("_Iter_{t}{channel}_stack*", "{channel}_stack{t}"):
            for channel in ("_Cam{c}_CAM1", "_Cam{c}", "_ch{c}_CAM1", "_ch{c}"):
                start = when.replace("{channel}", channel)
                yield Naming("lattice light-sheet", f"{{series}}{start}_{{wavelength_nm}}nm_*msec_{tile}")
    yield Naming("lattice light-sheet", "{series}_ch{c}_stack{t}_{wavelength_nm}nm*")
    yield Naming("lattice light-sheet", "{series}_ch{c}_stack{t}")
    yield Naming("Opera Phenix / Operetta", "r{row:d}c{col:d}f{field:d}p{z}-ch{c:d}sk{t}fk*fl*")
    yield Naming("Micro-Manager 2", "img_channel{c}_position{position:d}_time{t}_z{z}")
    yield Naming("Micro-Manager 1.4", "img_{t}_{c}_{z}")
    yield Naming("Yokogawa CellVoyager", "{series}_{well}_T{t}F{field:d}L*A*Z{z}C{c:d}")
    yield Naming("Yokogawa CQ1", "W{well:d}F{field:d}T{t}Z{z}C{c:d}")
    yield Naming("ImageXpress", "{series}_t{t}_{well}_s{site:d}_w{c:d}_z{z}")
    yield Naming("ImageXpress", "{plate}/TimePoint_{t}/{series}_{well}_s{site:d}_w{c:d}*")
    yield Naming("ImageXpress", "TimePoint_{t}/{series}_{well}_s{site:d}_w{c:d}*")
    yield Naming("MetaMorph", "{series}_w{c}_s{position:d}_t{t}")
    yield Naming("MetaMorph", "{series}_w{c}_t{t}", unless="{series}_w{c}_s{position:d}_t{t}")
    yield Naming("MetaMorph", "{series}_w{c}_s{position:d}")


_TAGS = {
    "t": ("t", "T", "time", "Time", "frame", "Frame", "tp", "TP", "timepoint", "Timepoint", "stack"),
    "c": ("c", "C", "ch", "Ch", "CH", "channel", "Channel", "w"),
    "z": ("z", "Z", "slice"),
    "position": ("s", "S", "p", "P", "pos", "Pos", "position", "Position", "xy", "XY", "series"),
    "field": ("f", "F", "field"),
    "tile": ("m", "M", "tile"),
}
_ROLE = {tag: role for role, tags in _TAGS.items() for tag in tags}
_TAG = "|".join(sorted(_ROLE, key=len, reverse=True))
_TOKEN = re.compile(rf"(?:(?<=[_\-. ])|(?<![A-Za-z0-9_\-. ])|(?<=[0-9]))({_TAG})([0-9]+)(?=$|[_\-. ]|(?:{_TAG})[0-9])")


def tagged_namings(stem: str) -> Iterator[Naming]:
    """Read tags such as ``_t001_c1``, ``-t12`` or ``s1t01c1`` in a file name as the fields of a pattern."""
    last = {_ROLE[match[1]]: match for match in _TOKEN.finditer(stem)}
    tokens = sorted(last.values(), key=lambda match: match.start())
    if not {"t", "c", "z"} & last.keys():
        return
    text = "{series}" if tokens[0].start() else ""
    for match, following in zip(tokens, [*tokens[1:], None], strict=True):
        role = _ROLE[match[1]]
        between = stem[match.end() : following.start() if following else match.end()]
        digits = "" if role in ("t", "z") else ":d"
        text += f"{match[1]}{{{role}{digits}}}{_literal(between)}"
    if text.startswith("{series}"):
        # The separator in front of the first tag is a part of the pattern, not of the series.
        start = tokens[0].start()
        separator = stem[start - 1] if start > 1 and stem[start - 1] in "_-. " else ""
        text = "{series}" + separator + text.removeprefix("{series}")
    rest = stem[tokens[-1].end() :]
    yield Naming("tags in the file name", text + _literal(rest))
    if rest:
        yield Naming("tags in the file name", text + "*")


def _literal(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")
