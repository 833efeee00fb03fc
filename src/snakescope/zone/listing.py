"""List all that lies below a collection, with replicas, checksums and AVUs, in few calls and with nothing lost.

Servers from 4.3.2 on answer GenQuery2, read in pages that start at the last id seen. Older ones answer GenQuery1, whose
pages live in one server agent: all of a query's pages are fetched over one connection, at once. Either way the number
of replicas is held against a count by the server. Knows nothing of images.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

from irods import exception as failures
from irods.column import Between, Column, Criterion
from irods.message import STR_PI, GenQuery2Request
from irods.models import Collection as CollectionModel
from irods.models import CollectionMeta, DataObject, DataObjectMeta
from irods.query import Query

from snakescope.errors import EnvironmentUnusableError, InputError, Problem
from snakescope.zone.query import below, call, equals, is_below, is_plain, read, select, wild
from snakescope.zone.session import Session

PAGE = 50_000
ATTEMPTS = 3
GOOD = "1"
GENQUERY2_SINCE = (4, 3, 2)
# From here on rows repeat unless asked not to; before, the word was not known and they never did.
DISTINCT_SINCE = (5, 0, 0)
NOT_SHOWN = "empty, or you have no permission to see what is in it"

_OBJECT = (
    "DATA_ID", "COLL_NAME", "DATA_NAME", "DATA_REPL_NUM", "DATA_REPL_STATUS", "DATA_SIZE", "DATA_CHECKSUM",
    "DATA_MODIFY_TIME",
)  # fmt: skip
_OBJECT_1 = (
    DataObject.id, CollectionModel.name, DataObject.name, DataObject.replica_number, DataObject.replica_status,
    DataObject.size, DataObject.checksum, DataObject.modify_time,
)  # fmt: skip
_DATA_AVU = ("DATA_ID", "META_DATA_ATTR_NAME", "META_DATA_ATTR_VALUE", "META_DATA_ATTR_UNITS")
_DATA_AVU_1 = (DataObject.id, DataObjectMeta.name, DataObjectMeta.value, DataObjectMeta.units)
_COLL_AVU = ("COLL_ID", "COLL_NAME", "META_COLL_ATTR_NAME", "META_COLL_ATTR_VALUE", "META_COLL_ATTR_UNITS")
_COLL_AVU_1 = (CollectionModel.id, CollectionMeta.name, CollectionMeta.value, CollectionMeta.units)

Avu = tuple[str, str, str]
"""Name, value and unit; the unit may be empty."""
Line = tuple[str, ...]
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Replica:
    """One copy of a data object, as the catalogue has it; `status` '1' is good, anything else is not."""

    number: int
    status: str
    size: int
    checksum: str | None
    modified: datetime


@dataclass(slots=True)
class Listed:
    """A data object."""

    id: int
    collection: str
    name: str
    replicas: list[Replica] = field(default_factory=list)
    avus: tuple[Avu, ...] = ()

    @property
    def path(self) -> str:
        """Logical path."""
        return f"{self.collection}/{self.name}"

    @property
    def good(self) -> Replica | None:
        """The first good replica; None when there is none, or when the good ones contradict each other."""
        if len(self.replicas) == 1 and self.replicas[0].status == GOOD:
            return self.replicas[0]
        return None if self.unusable else next(each for each in self.replicas if each.status == GOOD)

    @property
    def unusable(self) -> str | None:
        """Why its content cannot be trusted; None when it can."""
        if len(self.replicas) == 1 and self.replicas[0].status == GOOD:
            return None
        good = [each for each in self.replicas if each.status == GOOD]
        if not good:
            found = ", ".join(f"{each.number}: {_STATUS.get(each.status, each.status)}" for each in self.replicas)
            return f"no replica is good ({found})"
        if len({each.size for each in good}) > 1:
            return "its good replicas differ in size"
        schemes: dict[str, set[str]] = {}
        for each in good:
            if each.checksum:
                schemes.setdefault(each.checksum.rpartition(":")[0], set()).add(each.checksum)
        return "its good replicas differ in their checksums" if any(len(s) > 1 for s in schemes.values()) else None


_STATUS = {"0": "stale", "2": "being written", "3": "read-locked", "4": "write-locked"}


@dataclass
class Listing:
    """What lies below `root`, itself included; AVUs of collections also for those above it.

    Attributes
    ----------
    root
        Logical path; of a data object when that was asked for.
    objects
        In the order of their paths.
    collections
        AVUs by logical path; a collection that may not be seen is not there.
    unread
        Path and reason of objects and collections whose AVUs the server could not send.
    """

    root: str
    objects: list[Listed]
    collections: dict[str, tuple[Avu, ...]]
    unread: list[tuple[str, str]] = field(default_factory=list)


def list_tree(session: Session, path: str, *, genquery2: bool | None = None) -> Listing:
    """List a collection with all below it, or a single data object.

    Parameters
    ----------
    session
        Of the calling thread.
    path
        Logical path.
    genquery2
        Which query to use; what the server knows when not given.

    Raises
    ------
    InputError
        If there is nothing of that path that the user may see.
    EnvironmentUnusableError
        If the catalogue changes under every attempt.
    """
    if genquery2 is None:
        genquery2 = session.server_version >= GENQUERY2_SINCE
    if genquery2:
        try:
            return _list(_GenQuery2(session, path))
        except failures.iRODSException:
            pass  # switched off by the site, or spoken there in another way
    try:
        return _list(_GenQuery1(session, path))
    except failures.iRODSException as error:
        message = f"the server refuses to list it: {type(error).__name__}"
        raise EnvironmentUnusableError(str(Problem(str(session.address.at(path)), message))) from error


def _list(asked: _Asked) -> Listing:
    path = asked.path
    collections = {name: avus for name, avus in asked.collections().items() if _is_near(name, path)}
    asked.is_collection = path in collections
    objects = _counted(asked)
    if not asked.is_collection and not objects:
        fix = asked.session.hint(path)
        message = "is not there, or you have no permission to see it"
        raise InputError(Problem(str(asked.session.address.at(path)), message, fix))
    for key, avus in asked.avus(objects).items():
        objects[key].avus = avus
    ordered = sorted(objects.values(), key=lambda each: (each.collection, each.name))
    return Listing(path, ordered, collections, asked.unread)


def _counted(asked: _Asked) -> dict[int, Listed]:
    """Objects of the tree; their replicas are as many as the server counts."""
    for _ in range(ATTEMPTS):
        objects = asked.objects()
        found, expected = sum(len(each.replicas) for each in objects.values()), asked.count()
        if found == expected:
            return {key: each for key, each in objects.items() if _within(each, asked.path)}
    where, fix = str(asked.session.address.at(asked.path)), "Collect it when nothing is written there."
    message = f"{found} replicas were listed, the server counts {expected}: it changes while it is read"
    raise EnvironmentUnusableError(str(Problem(where, message, fix)))


def _within(listed: Listed, path: str) -> bool:
    """Whether it is or lies below what was asked for: to LIKE, ``_`` and ``%`` in a name are any text."""
    return listed.path == path or is_below(listed.collection, path)


def _is_near(collection: str, path: str) -> bool:
    return is_below(collection, path) or is_below(path, collection)


def _above(path: str) -> list[str]:
    """The collections above a path, the zone's own first."""
    parts = path.split("/")
    return ["/".join(parts[:end]) for end in range(2, len(parts))]


class _Asked:
    """Questions about one tree, answered by either kind of query."""

    def __init__(self, session: Session, path: str) -> None:
        self.session, self.path = session, path
        self.zone = path.split("/")[1]
        self.is_collection = True
        self.unread: list[tuple[str, str]] = []
        self._texts: dict[str, str] = {}

    def object_lines(self) -> Iterator[Line]:
        raise NotImplementedError

    def collection_lines(self) -> Iterator[Line]:
        raise NotImplementedError

    def avu_lines(self, paths: dict[int, str]) -> Iterator[Line]:
        raise NotImplementedError

    def objects(self) -> dict[int, Listed]:
        """Objects by id, each replica once however often its line comes."""
        found: dict[int, Listed] = {}
        seen: set[tuple[int, int]] = set()
        for key, collection, name, number, status, size, checksum, modified in self.object_lines():
            id_, number_ = int(key), int(number)
            if (id_, number_) in seen:
                continue
            seen.add((id_, number_))
            listed = found.get(id_)
            if listed is None:
                listed = found[id_] = Listed(id_, self._once(collection), name)
            when = datetime.fromtimestamp(int(modified), UTC)
            listed.replicas.append(Replica(number_, status, int(size), checksum or None, when))
        for listed in found.values():
            listed.replicas.sort(key=lambda each: each.number)
        return found

    def count(self) -> int:
        """Replicas of all data objects that the conditions fit, counted by the server: both kinds know this one."""
        asked = _GenQuery1(self.session, self.path)
        asked.is_collection = self.is_collection
        return asked.count_lines()

    def collections(self) -> dict[str, tuple[Avu, ...]]:
        """AVUs by path."""
        found: dict[str, set[Avu]] = {}
        for _, path, name, value, unit in self.collection_lines():
            avus = found.setdefault(path, set())
            if name:
                avus.add((self._once(name), self._once(value), self._once(unit)))
        return {path: tuple(sorted(avus)) for path, avus in found.items()}

    def avus(self, objects: dict[int, Listed]) -> dict[int, tuple[Avu, ...]]:
        """AVUs of each object that has any, in a fixed order."""
        found: dict[int, set[Avu]] = {}
        if objects:
            paths = {key: each.path for key, each in objects.items()}
            for key, name, value, unit in self.avu_lines(paths):
                if name and int(key) in objects:
                    found.setdefault(int(key), set()).add((self._once(name), self._once(value), self._once(unit)))
        return {key: tuple(sorted(avus)) for key, avus in found.items()}

    def _once(self, text: str) -> str:
        """The same text in memory once; AVUs repeat a lot."""
        return self._texts.setdefault(text, text)


class _GenQuery2(_Asked):
    def _select(self, columns: Sequence[str], condition: str) -> Iterator[Line]:
        """All lines, page after page from the last id seen; the lines of that id are asked for again, whole."""
        distinct = "distinct " if self.session.server_version >= DISTINCT_SINCE else ""
        key, start, limit = columns[0], "0", PAGE
        while True:
            where = f"({condition}) and {key} >= '{start}'"
            lines = self._run(f"select {distinct}{', '.join(columns)} where {where} order by {key} limit {limit}")
            if len(lines) < limit:
                yield from lines
                return
            last = lines[-1][0]
            if lines[0][0] == last:
                limit *= 4  # one object fills the page
                continue
            yield from (line for line in lines if line[0] != last)
            start, limit = last, PAGE

    def _run(self, text: str) -> list[Line]:
        request = GenQuery2Request()
        request.query_string, request.zone, request.sql_only, request.column_mappings = text, self.zone, 0, 0
        with self.session.raw.pool.get_connection() as connection:
            found = call(self.session, connection, "GENQUERY2_AN", request, _text)
        return [tuple(line) for line in json.loads(found)]

    def _tree(self) -> str:
        return f"{_equals('COLL_NAME', self.path)} or COLL_NAME like '{wild(self.path)}/%'"

    def _scope(self) -> str:
        parent, _, name = self.path.rpartition("/")
        single = f"{_equals('COLL_NAME', parent)} and {_equals('DATA_NAME', name)}"
        return self._tree() if self.is_collection else single

    def object_lines(self) -> Iterator[Line]:
        return self._select(_OBJECT, self._scope())

    def collection_lines(self) -> Iterator[Line]:
        above = [_equals("COLL_NAME", name) for name in _above(self.path)]
        return self._select(_COLL_AVU, " or ".join([*above, self._tree()]))

    def avu_lines(self, paths: dict[int, str]) -> Iterator[Line]:  # noqa: ARG002 -- GenQuery2 can send any value
        return self._select(_DATA_AVU, self._scope())


def _text(reply: Any) -> str:
    return str(reply.get_main_message(STR_PI).myStr)


def _equals(column: str, text: str) -> str:
    """The same condition as the older query's, so that both kinds find, and count, the same."""
    return f"{column} {'=' if is_plain(text) else 'like'} '{wild(text)}'"


class _GenQuery1(_Asked):
    def _select(self, columns: Sequence[Column], criteria: Sequence[Criterion]) -> list[Line]:
        return select(self.session, columns, criteria)

    def _scope(self) -> list[Criterion]:
        if self.is_collection:
            return [below(self.path)]
        parent, _, name = self.path.rpartition("/")
        return [equals(CollectionModel.name, parent), equals(DataObject.name, name)]

    def object_lines(self) -> Iterator[Line]:
        yield from self._select(_OBJECT_1, self._scope())

    def count_lines(self) -> int:
        lines = read(self.session, Query(self.session.raw).count(DataObject.id), self._scope())
        return int(lines[0][0]) if lines else 0

    def collection_lines(self) -> Iterator[Line]:
        scopes = [*([equals(CollectionModel.name, name)] for name in _above(self.path)), [below(self.path)]]
        columns = (CollectionModel.id, CollectionModel.name)
        paths = {int(key): path for scope in scopes for key, path in self._select(columns, scope)}
        for path in paths.values():
            yield ("", path, "", "", "")
        for key, *avu in self._avu_lines(_COLL_AVU_1, scopes, paths):
            if int(key) in paths:
                yield (key, paths[int(key)], *avu)

    def avu_lines(self, paths: dict[int, str]) -> Iterator[Line]:
        return self._avu_lines(_DATA_AVU_1, [self._scope()], paths)

    def _avu_lines(
        self, columns: Sequence[Column], scopes: list[list[Criterion]], paths: dict[int, str]
    ) -> Iterator[Line]:
        try:
            yield from [line for scope in scopes for line in self._select(columns, scope)]
        except failures.CAT_GET_ROW_ERR:
            yield from self._by_halves(columns, scopes, paths, sorted(paths))

    def _by_halves(
        self, columns: Sequence[Column], scopes: list[list[Criterion]], paths: dict[int, str], ids: list[int]
    ) -> Iterator[Line]:
        """Halve the ids until those are found whose AVUs cannot be sent: a value there is longer than 2,700 bytes."""
        span = Between(columns[0], (ids[0], ids[-1]))
        try:
            yield from [line for scope in scopes for line in self._select(columns, [*scope, span])]
        except failures.CAT_GET_ROW_ERR:
            if len(ids) == 1:
                self.unread.append((paths[ids[0]], "has an AVU of over 2,700 bytes, which this server cannot send"))
                return
            middle = len(ids) // 2
            yield from self._by_halves(columns, scopes, paths, ids[:middle])
            yield from self._by_halves(columns, scopes, paths, ids[middle:])
