"""The run crate against the files it describes: ids, references, parts, sizes and digests.

The graph is read one entity at a time where the file has one on each line, as exports do.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from snakescope.errors import Problem
from snakescope.study.verify.actions import JOBS, Actions
from snakescope.study.verify.files import CHECKSUMS, CRATE, EXPORT_AGAIN, FOLDER, METADATA, Files, is_plain, shown

_WHERE = f"{FOLDER}/{METADATA}"
_ROOT = "./"
# Ids of things outside of the crate, which nothing in it needs to describe.
_OUTSIDE = re.compile(r"(https?://|urn:)\S+", re.IGNORECASE)
_TOLD_STEP = 1000


@dataclass
class Crate:
    """What the crate says, after all of it has been read.

    Parameters
    ----------
    ends
        How many jobs have ended at a time and so: (failed, end as the record writes it).
    problems
        What is wrong with it.
    readable
        Whether all of it could be read, so that `ends` can be relied on.
    """

    readable: bool = False
    ends: Counter[tuple[bool, str | None]] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)


def check_crate(files: Files) -> Crate:
    """Check ``ro-crate-metadata.json``; what it says of a file that is in trouble already is not told again."""
    return _Check(files).run()


class _Check:
    def __init__(self, files: Files) -> None:
        self.files = files
        self.crate = Crate()
        self.ids: set[str] = set()
        self.pending: dict[str, str] = {}
        self.parts: set[str] = set()
        self.other_parts: set[str] = set()
        self.elsewhere: set[str] = set()
        self.main: str | None = None
        self.shape = Actions()
        self.actions: Counter[tuple[str | None, bool, str | None]] = Counter()

    def run(self) -> Crate:
        path = self.files.folder / METADATA
        if METADATA not in self.files.found:
            if METADATA not in self.files.troubled:
                self._tell("is not there", EXPORT_AGAIN)
            return self.crate
        size = self.files.found[METADATA].bytes
        try:
            done = 0
            for count, (entity, done) in enumerate(_entities(path), 1):
                self._entity(entity)
                if count % _TOLD_STEP == 0:
                    self.files.progress("checking the crate", done, size)
            self._finish()
        except (ValueError, OSError) as error:
            self._tell(f"is no run crate ({shown(str(error))})", EXPORT_AGAIN)
        self.files.progress("checking the crate", size, size)
        return self.crate

    def _tell(self, message: str, fix: str | None = None) -> None:
        self.crate.problems.append(Problem(_WHERE, message, fix))

    def _entity(self, entity: Any) -> None:
        id_ = entity.get("@id") if isinstance(entity, dict) else None
        if not isinstance(id_, str):
            self._tell(f"an entity has no id ({shown(json.dumps(entity)[:80])})", EXPORT_AGAIN)
            return
        if id_ in self.ids:
            self._tell(f"two entities have the id {id_!r}", EXPORT_AGAIN)
            return
        self.ids.add(id_)
        self.pending.pop(id_, None)
        for reference in _references(entity):
            if reference not in self.ids and not _OUTSIDE.fullmatch(reference):
                self.pending.setdefault(reference, id_)
        types = _listed(entity.get("@type"))
        self.shape.take(id_, types, entity)
        if JOBS & set(types):
            failed = "Failed" in str(entity.get("actionStatus"))
            self.actions[_first_id(entity.get("instrument")), failed, _time(entity.get("endTime"))] += 1
        if id_ == _ROOT:
            self.main = _first_id(entity.get("mainEntity"))
        if "Dataset" in types:
            self._collect_parts(id_, entity)
        if {"File", "Dataset"} & set(types):
            self._data(id_, entity, types)

    def _collect_parts(self, id_: str, entity: dict[str, Any]) -> None:
        for part in _listed(entity.get("hasPart")):
            name = self._name(str(part.get("@id"))) if isinstance(part, dict) else None
            if name is None:
                continue
            if id_ != _ROOT:
                self.other_parts.add(name)
            elif name in self.parts:
                self._tell(f"hasPart of the crate names {str(part.get('@id'))!r} twice; expected once", EXPORT_AGAIN)
            self.parts.update([name] if id_ == _ROOT else [])

    def _name(self, id_: str) -> str | None:
        """Name, relative to the export, of the file that an id stands for; None for ids of something else."""
        if id_ == _ROOT or id_.startswith("#") or re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", id_):
            return None
        name = f"{CRATE}/{id_}".removesuffix("/")
        return name if name in self.files.found else f"{CRATE}/{unquote(id_)}".removesuffix("/")

    def _data(self, id_: str, entity: dict[str, Any], types: list[Any]) -> None:
        """A file or folder of the crate: it is there, and what is said of it is so."""
        name = self._name(id_)
        if id_.startswith("#"):
            self._elsewhere(id_, entity)
        if name is None or name == METADATA:
            return
        if not is_plain(name):
            self._tell(f"the id {id_!r} is no path below {CRATE}/", EXPORT_AGAIN)
        elif self.files.item_of(name) in self.files.troubled:
            return
        elif name not in self.files.found:
            if not (self.files.folder / name).exists():
                self._tell(f"{id_!r} is not there", EXPORT_AGAIN)
        else:
            self._facts(id_, name, entity, types)

    def _elsewhere(self, id_: str, entity: dict[str, Any]) -> None:
        """An image that lies in iRODS only: its list says the same of it."""
        name = f"{CRATE}/{entity.get('name')}"
        told = self.files.elsewhere.get(name)
        if told is None:
            if str(entity.get("contentUrl", "")).startswith("irods://"):
                self._tell(f"{id_!r} tells of an image in iRODS that no file list names so", EXPORT_AGAIN)
            return
        self.elsewhere.add(name)
        size = None if told.bytes is None else str(told.bytes)
        for key, listed in (("contentUrl", told.address), ("contentSize", size), ("sha256", told.sha256)):
            if entity.get(key) != listed:
                self._tell(f"{id_!r} has another {key} than its file list says", EXPORT_AGAIN)

    def _facts(self, id_: str, name: str, entity: dict[str, Any], types: list[Any]) -> None:
        item, sha256, size = self.files.found[name], entity.get("sha256"), entity.get("contentSize")
        wrong = []
        if item.folder and "Dataset" not in types:
            wrong.append("is described as a file; it is a folder")
        if size is not None and str(size) != str(item.bytes):
            wrong.append(f"is said to have {size} bytes; it has {item.bytes}")
        if sha256 is not None and item.sha256 is not None and sha256 != item.sha256:
            wrong.append(f"has another sha256 than by {CHECKSUMS}")
        for message in wrong:
            self._tell(f"{id_!r} {message}", EXPORT_AGAIN)
        if sha256 is not None and name in self.files.unclaimed and self.files.has_checksums:
            self.files.unclaimed.remove(name)
            self.files.report(name, f"is not in {CHECKSUMS}", EXPORT_AGAIN)

    def _finish(self) -> None:
        for id_ in ("ro-crate-metadata.json", _ROOT):
            if id_ not in self.ids:
                self._tell(f"there is no entity {id_!r}", EXPORT_AGAIN)
                self.pending.pop(id_, None)
        for reference, referrer in self.pending.items():
            self._tell(f"{referrer!r} refers to {reference!r}, which is not described", EXPORT_AGAIN)
        for message in self.shape.messages(self.main):
            self._tell(message, EXPORT_AGAIN)
        named = self.parts | self.other_parts
        for name in sorted(self.files.found.keys() - named - self.files.troubled - {METADATA}):
            if name.startswith(f"{CRATE}/"):
                self._tell(
                    f"{name.removeprefix(f'{CRATE}/')!r} is not among the parts (hasPart) of the crate", EXPORT_AGAIN
                )
        for name in sorted(self.files.elsewhere.keys() - self.elsewhere - self.files.troubled):
            self._tell(f"nothing tells of the image {name.removeprefix(f'{CRATE}/')!r} in iRODS", EXPORT_AGAIN)
        for (instrument, failed, end), count in self.actions.items():
            if self.main is None or instrument != self.main:  # that one is the run as a whole
                self.crate.ends[failed, end] += count
        self.crate.readable = _ROOT in self.ids  # which says what the run as a whole is


def _entities(path: Path) -> Iterator[tuple[Any, int]]:
    """Entities of the graph, one at a time, with the bytes read so far.

    Raises
    ------
    ValueError
        If the file is not JSON with a graph.
    """
    if _has_an_entity_a_line(path):
        yield from _entities_by_line(path)
        return
    data = json.loads(path.read_bytes())
    graph = data.get("@graph") if isinstance(data, dict) else None
    if not isinstance(graph, list):
        raise ValueError("it has no list '@graph'")
    for entity in graph:
        yield entity, 0


def _has_an_entity_a_line(path: Path) -> bool:
    """Whether the graph is written so, and what is around it is JSON."""
    around, state, comma = [], "before", True
    with path.open("rb") as file:
        for line in file:
            text = line.strip()
            if state == "within" and text.startswith(b"{"):
                if not comma or not text.endswith((b"}", b"},")):
                    return False
                comma = text.endswith(b",")
                continue
            if state == "within":
                state = "after"
            elif state == "before" and text.endswith(b'"@graph": ['):
                state = "within"
            around.append(text)
    try:
        skeleton = json.loads(b"\n".join(around))
    except ValueError:
        return False
    return state == "after" and not comma and isinstance(skeleton, dict) and skeleton.get("@graph") == []


def _entities_by_line(path: Path) -> Iterator[tuple[Any, int]]:
    done, within = 0, False
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            done += len(line)
            text = line.strip()
            if not within:
                within = text.endswith(b'"@graph": [')
            elif not text.startswith(b"{"):
                return
            else:
                try:
                    yield json.loads(text.removesuffix(b",")), done
                except ValueError as error:
                    raise ValueError(f"line {number}: {error}") from error


def _references(value: Any) -> Iterator[str]:
    """Ids that an entity refers to, at any depth."""
    values = value.values() if isinstance(value, dict) else value
    for inner in values:
        if isinstance(inner, dict):
            if isinstance(inner.get("@id"), str):
                yield inner["@id"]
            yield from _references(inner)
        elif isinstance(inner, list):
            yield from _references(inner)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _first_id(value: Any) -> str | None:
    ids = (item.get("@id") for item in _listed(value) if isinstance(item, dict))
    return next(chain(ids, [None]))


def _time(value: Any) -> str | None:
    return value.replace("+00:00", "Z") if isinstance(value, str) else None
