"""YAML for people to read: blocks, one key a line, long texts folded; every value reads back as it was.

Strings go through one quoting function, `scalar`. Knows mappings, lists, texts, whole numbers and dates.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Iterator, Mapping, Sequence

WIDTH = 100
# A text that stands as it is: starts with a letter, and holds nothing that means something in YAML. No sign is both
# within and between its words, so that a match takes no more steps than there are signs.
_INNER = r"[^\s:#\[\]{}\"'`&*!|>%\\]"
_PLAIN = re.compile(rf"[A-Za-z]{_INNER}*(?:[ :']{_INNER}+)*")
# Words that YAML, of one version or another, takes for something else than a text.
_WORDS = frozenset(["null", "true", "false", "yes", "no", "on", "off", "y", "n"])

Value = str | int | datetime.date | Sequence["Value"] | Mapping[str, "Value"]


def scalar(value: str | int | datetime.date) -> str:
    """Write one value so that it reads back as it was: plain where that is safe, else in quotes."""
    if not isinstance(value, str):
        return value.isoformat() if isinstance(value, datetime.date) else str(value)
    if _PLAIN.fullmatch(value) and value.casefold() not in _WORDS and value.isprintable():
        return value
    return "".join(map(_escaped, json.dumps(value, ensure_ascii=False)))


def _escaped(character: str) -> str:
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def lines(value: Mapping[str, Value], indent: int = 0) -> Iterator[str]:
    """Lines of a mapping; empty lists and mappings are left out.

    Parameters
    ----------
    value
        Its keys are plain words.
    indent
        Blanks before each line.
    """
    blank = " " * indent
    for key, item in value.items():
        if isinstance(item, str):
            yield from _text(f"{blank}{key}:", item, indent + 2)
        elif isinstance(item, int | datetime.date):
            yield f"{blank}{key}: {scalar(item)}"
        elif item:
            yield f"{blank}{key}:"
            yield from lines(item, indent + 2) if isinstance(item, Mapping) else entries(item, indent + 2)


def entries(values: Sequence[Value], indent: int = 0) -> Iterator[str]:
    """Lines of a list."""
    blank = " " * indent
    for value in values:
        if isinstance(value, Mapping):
            first, *rest = lines(value, indent + 2)
            yield f"{blank}- {first[indent + 2 :]}"
            yield from rest
        elif isinstance(value, str):
            yield from _text(f"{blank}-", value, indent + 2)
        elif isinstance(value, int | datetime.date):
            yield f"{blank}- {scalar(value)}"
        else:
            raise TypeError("a list straight within a list is not written")


def _text(head: str, text: str, indent: int) -> Iterator[str]:
    """A text after its key; a long one as a folded block, which needs no quoting."""
    if len(head) + len(text) < WIDTH or not _folds(text):
        yield f"{head} {scalar(text)}"
        return
    yield f"{head} >-"
    line = ""
    for word in text.split(" "):
        if line and indent + len(line) + len(word) >= WIDTH:
            yield " " * indent + line
            line = word
        else:
            line = f"{line} {word}" if line else word
    yield " " * indent + line


def _folds(text: str) -> bool:
    """Whether line breaks at its blanks read back as these blanks."""
    return text.isprintable() and text == text.strip() and "  " not in text
