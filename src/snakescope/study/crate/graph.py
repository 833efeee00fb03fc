"""Writing a flat JSON-LD graph as a stream: one entity a line, lists of any length, no entity twice.

Knows JSON-LD and files; nothing of studies.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

Entity = dict[str, Any]
# Ids or pieces of text that are held back before they go to a file.
_IN_MEMORY = 2000
_JSON = json.JSONEncoder(ensure_ascii=False, allow_nan=False, check_circular=False).encode
_LINE_ENDS = {ord(end): f"\\u{ord(end):04x}" for end in "\x85\u2028\u2029"}


def _encode(value: Any) -> str:
    """JSON on one line, also for readers that end lines where Unicode does."""
    text = _JSON(value)
    return text if text.isascii() else text.translate(_LINE_ENDS)


def refs(ids: Iterable[str]) -> Any:
    """References to entities without repeats: one as it is, several as a list, none as None."""
    found = [{"@id": name} for name in dict.fromkeys(ids)]
    return found if len(found) > 1 else found[0] if found else None


def one_or_many(values: Iterable[Any]) -> Any:
    """One value as it is, several as a list, none as None: the compact form of RO-Crate 1.1."""
    found = list(values)
    return found if len(found) > 1 else found[0] if found else None


class Ids:
    """A list of ids that may be too long for memory; a long one is kept in a file until it is closed.

    Parameters
    ----------
    folder
        Where such a file may stand.
    name
        Told apart from those of other lists by it.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._path = folder / f".crate-{name}.ids"
        self._latest: list[str] = []
        self.count = 0

    def add(self, name: str) -> None:
        """Add one; ids hold no line ends."""
        self._latest.append(name)
        self.count += 1
        if len(self._latest) >= _IN_MEMORY:
            with self._path.open("a", encoding="utf-8", newline="\n") as file:
                file.write("\n".join(self._latest) + "\n")
            self._latest.clear()

    def __iter__(self) -> Iterator[str]:
        if self.count > len(self._latest):
            with self._path.open(encoding="utf-8", newline="\n") as file:
                for line in file:
                    yield line[:-1]
        yield from self._latest

    def close(self) -> None:
        """Give the list up."""
        self._path.unlink(missing_ok=True)
        self._latest, self.count = [], 0


class Graph:
    """The file of the crate, written in portions: what is stopped half-way leaves no file open.

    Parameters
    ----------
    path
        The file to write; made anew.
    context
        What stands under ``@context``.
    """

    def __init__(self, path: Path, context: Any) -> None:
        self._path = path
        self._latest: list[str] = []
        self._once: set[str] = set()
        self._first = True
        path.write_text(f'{{\n"@context": {_encode(context)},\n"@graph": [', encoding="utf-8", newline="\n")

    def _write(self, text: str) -> None:
        self._latest.append(text)
        if len(self._latest) >= _IN_MEMORY:
            self._flush()

    def _flush(self) -> None:
        # Halves of surrogate pairs, which JSON may hold and UTF-8 may not, become question marks.
        with self._path.open("a", encoding="utf-8", errors="replace", newline="\n") as file:
            file.write("".join(self._latest))
        self._latest.clear()

    def add(self, name: str, type_: str | list[str], properties: Mapping[str, Any]) -> str:
        """Write an entity and return its id; properties that are None are left out."""
        self._start(_encode(_entity(name, type_, properties)))
        return name

    def _start(self, text: str) -> None:
        self._write(("\n" if self._first else ",\n") + text)
        self._first = False

    def add_once(self, name: str, type_: str | list[str], properties: Mapping[str, Any]) -> str:
        """Write an entity, unless one of this id was written here before."""
        if name not in self._once:
            self._once.add(name)
            self.add(name, type_, properties)
        return name

    def has(self, name: str) -> bool:
        """Whether `add_once` has written it."""
        return name in self._once

    def add_long(
        self, name: str, type_: str | list[str], properties: Mapping[str, Any], lists: Mapping[str, Ids]
    ) -> str:
        """Write an entity that refers to more others than fit into memory."""
        self._start(_encode(_entity(name, type_, properties))[:-1])
        for key, ids in lists.items():
            if ids.count:
                many = ids.count > 1
                self._write(f", {_encode(key)}: {'[' if many else ''}")
                for index, item in enumerate(ids):
                    self._write((", " if index else "") + '{"@id": ' + _encode(item) + "}")
                self._write("]" if many else "")
        self._write("}")
        return name

    def close(self) -> None:
        """End the file."""
        self._write("\n]\n}\n")
        self._flush()


def _entity(name: str, type_: str | list[str], properties: Mapping[str, Any]) -> Entity:
    entity: Entity = {"@id": name, "@type": type_}
    entity.update((key, value) for key, value in properties.items() if value is not None)
    return entity
