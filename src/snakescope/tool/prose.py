"""The prose of a method: sentences in which the parameters of a tool stand for their values.

====================================  ==============================================================================
in the text                           reads as
====================================  ==============================================================================
``{name}``                            the value and its unit
``{name|value=text|value=text}``      the text of the value that the parameter has, or nothing; ``null`` = not given
``[text with {name}]``                the text, or nothing where a value in it is not given or reads as nothing
``{{``, ``}}``, ``[[``, ``]]``        a plain brace or bracket
====================================  ==============================================================================

Prose can be filled in twice: what holds for a whole step when it is compiled, what a row brings along when its
record is read. Braces and brackets in a value are doubled on the way, so that they stay what they are.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from snakescope.tool.base import near_miss, short

Value = tuple[Any, str | None]
"""A value and its unit; None for a value that is not given."""

_PIECE = re.compile(
    r"\{\{|\}\}|\[\[|\]\]"  # plain ones
    r"|\{[^{}\[\]]*\}"  # a value
    r"|\[(?:\[\[|\]\]|[^\[\]])*+\]"  # a part that may be left out
    r"|[\[\]{}]"  # what belongs to no pair
    r"|[^\[\]{}]+"
)
_UNITS = {None: "", "1": "", "um": " µm", "deg": "°", "%": "%"}


def fill(prose: str, values: Mapping[str, Value]) -> str:
    """Put values into prose; what is not among `values` stays open for another time."""
    return "".join(_filled(piece, values) for piece in _PIECE.findall(prose))


def finish(prose: str, values: Mapping[str, Value]) -> str:
    """Put the last values into prose and make it plain text."""
    text = fill(prose, values)
    for char in "{}[]":
        text = text.replace(char * 2, char)
    return text


def with_unit(value: Any, unit: str | None) -> str:
    """A value as people print it: ``0.3 µm``, ``31.5°``, ``1 and 99.8%``. Text that is no number has no unit."""
    if isinstance(value, str) and not re.match(r"[-+]?\.?[0-9]", value):
        return value
    return f"{_words(value)}{_UNITS.get(unit, f' {unit}')}"


def _words(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        *others, last = map(_words, value)
        return f"{', '.join(others)} and {last}" if others else last
    return str(value)


def _filled(piece: str, values: Mapping[str, Value]) -> str:
    if piece.startswith("[") and piece != "[[":
        return _filled_part(_PIECE.findall(piece[1:-1]), values)
    return _said(piece, values) if _is_value(piece) else piece


def _filled_part(pieces: list[str], values: Mapping[str, Value]) -> str:
    text = ""
    for piece in pieces:
        filled = _filled(piece, values)
        if _is_value(piece) and not filled:
            return ""
        text += filled
    is_open = any(_is_value(piece) and _name(piece) not in values for piece in pieces)
    return f"[{text}]" if is_open else text


def _said(piece: str, values: Mapping[str, Value]) -> str:
    """What a value reads as, its own braces and brackets doubled; nothing where it is not given."""
    if _name(piece) not in values:
        return piece
    value, unit = values[_name(piece)]
    if "|" in piece:
        text = _texts(piece).get("null" if value is None else _words(value), "")
    else:
        text = "" if value in (None, "") else with_unit(value, unit)
    return re.sub(r"[{}\[\]]", r"\g<0>\g<0>", text)


def _is_value(piece: str) -> bool:
    return piece.startswith("{") and piece.endswith("}") and len(piece) > 1


def _name(piece: str) -> str:
    return piece[1:-1].partition("|")[0]


def _texts(piece: str) -> dict[str, str]:
    pairs = (option.partition("=") for option in piece[1:-1].split("|")[1:])
    return {value: text for value, _, text in pairs}


def mistakes(
    prose: str, values: Mapping[str, Sequence[str]], optional: Collection[str]
) -> Iterator[tuple[str, str | None]]:
    """What is wrong with the prose of a descriptor, and what to do about it.

    Parameters
    ----------
    values
        Every parameter with the words that its value may be; none for numbers and free text.
    optional
        Parameters that may not be given.
    """
    pieces = _PIECE.findall(prose)
    inner = {piece: _PIECE.findall(piece[1:-1]) for piece in pieces if piece[0] == "[" and len(piece) > 2}
    everything = [*pieces, *(piece for part in inner.values() for piece in part)]
    for kind, pair in (("brace", "{}"), ("bracket", "[]")):
        if set(pair) & set(everything):
            fix = "Double it to have it in the text." + (" Parts in brackets do not nest." * (kind == "bracket"))
            yield f"found a single {kind} in {short(prose)}; expected pairs", fix
    for piece in dict.fromkeys(filter(_is_value, everything)):
        yield from _bad_value(piece, values, optional)
    for name in sorted({_name(piece) for piece in pieces if _is_value(piece) and "|" not in piece} & set(optional)):
        yield f"{{{name}}} may have no value", f"Put it into square brackets with its words: [, with {{{name}}}]."
    for piece, part in inner.items():
        if not any(map(_is_value, part)):
            yield f"found {piece} without a parameter in it", "Double the brackets to have them in the text."


def _bad_value(
    piece: str, values: Mapping[str, Sequence[str]], optional: Collection[str]
) -> Iterator[tuple[str, str | None]]:
    name = _name(piece)
    if name not in values:
        yield f"{{{name}}} is not a parameter", near_miss(name, values)
        return
    known = [*values[name], *(["null"] if name in optional else [])]
    for option in piece[1:-1].split("|")[1:]:
        value, equals, _ = option.partition("=")
        if not equals:
            yield f"found {option!r} in {short(piece)}; expected value=text", None
        elif value not in known:
            there_are = f"There are: {', '.join(known)}." if known else f"Write {{{name}}} only."
            yield f"the parameter {name!r} is never {value!r}", near_miss(value, known) or there_are
