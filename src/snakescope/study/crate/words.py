"""Ids, times, values and texts as they stand in the run crate; pure functions."""

from __future__ import annotations

import hashlib
import json
import math
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from snakescope.study.crate import terms

# An absolute path of two names or more that does not go on from a word, an address or another path.
_ABSOLUTE = re.compile(r"(?<![\w/.~%…-])/(?!/|dev/(?:null|std))(?:[^\s/'\"=,;:|<>()]+/)+([^\s/'\"=,;:|<>()]*)")
_FILE_ADDRESS = re.compile(r"file:/+", re.IGNORECASE)


def path_id(path: str, *, folder: bool = False) -> str:
    """Id of a file or folder of the crate."""
    return quote(path) + ("/" if folder and not path.endswith("/") else "")


def local_id(*parts: str) -> str:
    """Id of something that is described here and is no file: ``#a-b``."""
    return "#" + "-".join(_quoted(part, "/") for part in parts)


def nested_id(*parts: str) -> str:
    """Id of one of many things that are described here: ``#job/deskew/r1``."""
    return "#" + "/".join(_quoted(part, "") for part in parts)


@lru_cache(maxsize=1024)
def _quoted(part: str, safe: str) -> str:
    """The names of a step, a unit and a measure come again and again."""
    return quote(part, safe)


def short_digest(value: Any) -> str:
    """Twelve hexadecimal digits that stand for a JSON value."""
    text = json.dumps(value, sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def time(text: str | None) -> str | None:
    """A UTC time in the only form that the profile takes: ``2026-11-21T10:42:40+00:00``."""
    return text and re.sub("Z$", "+00:00", text)


def value(given: Any) -> Any:
    """Value of a parameter as one JSON literal: a list, whose order JSON-LD would lose, becomes text."""
    if isinstance(given, list | tuple):
        return ",".join(json.dumps(item) if not isinstance(item, str) else item for item in given)
    if isinstance(given, dict):
        return json.dumps(given, sort_keys=True)
    return str(given) if isinstance(given, float) and not math.isfinite(given) else given


def value_type(given: Any) -> str:
    """Name of the schema.org data type of what `value` returns."""
    if isinstance(given, bool):
        return "Boolean"
    return "Number" if isinstance(given, int | float) and math.isfinite(given) else "Text"


def unit_code(unit: str | None) -> dict[str, str] | None:
    """QUDT's unit, where there is one."""
    name = terms.UNITS.get(unit or "")
    return {"@id": terms.QUDT + name} if name else None


def media_type(path: str, format_: str | None) -> str:
    """Media type of a file by the name of its format, else by its suffix."""
    known = terms.MEDIA_TYPES.get(format_ or "")
    return known or terms.SUFFIX_TYPES.get(PurePosixPath(path).suffix.lower(), terms.UNKNOWN_MEDIA)


class Scrub:
    """Takes the paths of this machine out of a text.

    Parameters
    ----------
    root
        Study folder: what lies in it is told relative to it.
    """

    def __init__(self, root: Path) -> None:
        roots = {str(root.absolute()), str(root.resolve())} - {"/"}
        inside = "|".join(re.escape(text) for text in sorted(roots, key=len, reverse=True))
        self._root = re.compile(rf"(?<![\w/.-])(?:{inside})(?:/|(?![\w/.-]))") if inside else None

    def text(self, text: str, names: Mapping[str, str] | None = None) -> str:
        """Replace known paths by their names in the crate, and keep only the last part of other absolute ones."""
        if names:
            known = "|".join(re.escape(path) for path in sorted(names, key=len, reverse=True))
            text = re.sub(rf"(?<![\w/.~-])(?:{known})(?![\w/-])", lambda found: names[found[0]], text)
        if "/" not in text:
            return text
        text = _FILE_ADDRESS.sub("/", text)
        if self._root:
            text = self._root.sub(lambda found: "" if found[0].endswith("/") else ".", text)
        return _ABSOLUTE.sub(lambda found: "…/" + (found[1] or found[0].rstrip("/").rpartition("/")[2]), text)

    def command(self, argv: Sequence[str], names: Mapping[str, str]) -> str:
        """Quote a command line, with the names that its files have in the crate."""
        return shlex.join(self._word(word, names) for word in argv)

    def _word(self, word: str, names: Mapping[str, str]) -> str:
        if word in names:
            return names[word]
        flag, equals, rest = word.partition("=")
        if equals and rest in names:
            return f"{flag}={names[rest]}"
        return self.text(word) if "/" in word else word


def container(image: str) -> dict[str, Any]:
    """What the address or path of an image says: name, registry, tag, digest, kind."""
    scheme, separator, rest = image.partition("://")
    if not separator or scheme == "file":
        return {"name": PurePosixPath(image).name or image, "additionalType": {"@id": terms.SIF_IMAGE}}
    rest, _, digest = rest.partition("@sha256:")
    head, _, last = rest.rpartition("/")
    last, _, tag = last.partition(":")
    name = f"{head}/{last}" if head else last
    first, _, inner = name.partition("/")
    at_registry = bool(inner) and ("." in first or ":" in first or first == "localhost")
    registry = first if at_registry else terms.DOCKER_HUB if scheme == "docker" else None
    kind = terms.DOCKER_IMAGE if scheme == "docker" else terms.SIF_IMAGE
    return {
        "name": inner if at_registry else name,
        "registry": registry,
        "tag": tag or None,
        "sha256": digest or None,
        "additionalType": {"@id": kind},
    }


def counted(counts: Iterable[tuple[int, str]]) -> str:
    """Counts that are not zero as words: ``7 jobs done, 1 failed``."""
    return ", ".join(f"{count} {what}" for count, what in counts if count)
