"""Writing AVUs: what is there already is not written again, and what is not ours is not touched.

The caller names every AVU that is to change; all others stay as they are. Values are cut to what every server can read
back: 2,700 bytes (not characters), no control characters, never empty.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from irods import exception as failures
from irods.meta import AVUOperation, iRODSMeta
from irods.models import Collection, CollectionMeta, DataObject, DataObjectMeta

from snakescope.zone.address import Address
from snakescope.zone.query import below, equals, is_below, select
from snakescope.zone.session import Session

LIMIT_BYTES = 2700
CUT = "..."
# Control characters, line and paragraph ends, surrogates and non-characters: stored by servers, unreadable after.
_UNREADABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]+")


class Kind(Enum):
    """What carries AVUs here."""

    OBJECT = "object"
    COLLECTION = "collection"


MODELS = {Kind.OBJECT: DataObject, Kind.COLLECTION: Collection}


@dataclass(frozen=True, order=True, slots=True)
class Avu:
    """Attribute, value and unit."""

    name: str
    value: str
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """AVUs to add to, and to remove from, one object or collection; false if there are none."""

    add: tuple[Avu, ...] = ()
    remove: tuple[Avu, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.add or self.remove)


@dataclass(frozen=True, slots=True)
class Annotated:
    """How a change went: `atomic` in one call; `kept` are old values that we were not allowed to remove."""

    atomic: bool = True
    kept: tuple[Avu, ...] = ()


def fit(text: str, limit: int = LIMIT_BYTES) -> str:
    """A value that every server takes and gives back: one line, at most `limit` bytes; a cut ends in ``...``."""
    plain = _UNREADABLE.sub(" ", text).strip()
    encoded = plain.encode("utf-8")
    if len(encoded) <= limit:
        return plain
    return encoded[: limit - len(CUT)].decode("utf-8", errors="ignore") + CUT


def fit_list(items: Sequence[str], limit: int = LIMIT_BYTES) -> str:
    """Join with ``"; "``; of what does not fit, the number: ``a; b; ... (120 in all)``."""
    parts = [fit(item, limit) for item in items]
    whole = "; ".join(parts)
    if len(whole.encode("utf-8")) <= limit:
        return whole
    tail = f"; {CUT} ({len(parts)} in all)"
    room, kept = limit - len(tail), list[str]()
    for part in parts:
        room -= len(part.encode("utf-8")) + (2 if kept else 0)
        if room < 0:
            break
        kept.append(part)
    return "; ".join(kept) + tail if kept else fit(parts[0], limit - len(tail)) + tail


def path_value(path: str) -> str:
    """A logical path as a value: as it is, or as an address where a value, or a list of them, would not tell it."""
    return path if fit(path) == path and "; " not in path else str(Address(path))


def difference(have: Iterable[Avu], wanted: Mapping[str, str | None]) -> Change:
    """What makes each wanted name have exactly its value, or none where the value is None or empty.

    Names that are not in `wanted` are somebody else's.
    """
    names = {name: fit(value or "") for name, value in wanted.items()}
    good = {Avu(name, value) for name, value in names.items() if value}
    found = {avu for avu in have if avu.name in names}
    return Change(tuple(sorted(good - found)), tuple(sorted(found - good)))


def addition(have: Iterable[Avu], name: str, value: str) -> Change:
    """What gives a name one value more, if it has not got that one."""
    avu = Avu(name, fit(value))
    return Change() if avu in set(have) else Change(add=(avu,))


def after(have: Iterable[Avu], change: Change) -> tuple[Avu, ...]:
    """What is there when a change is made."""
    return tuple(sorted((set(have) - set(change.remove)) | set(change.add)))


def annotate(session: Session, path: str, kind: Kind, change: Change) -> Annotated:
    """Make a change, in one call if the server lets us, else one by one: first what is new, then what goes.

    Raises
    ------
    irods.exception.iRODSException
        If adding is refused. Then nothing has been removed.
    """
    if not change:
        return Annotated()
    operations = [AVUOperation("remove", _meta(avu)) for avu in change.remove]
    operations += [AVUOperation("add", _meta(avu)) for avu in change.add]
    try:
        session.raw.metadata.apply_atomic_operations(MODELS[kind], path, *operations)
    except failures.NetworkException:
        raise
    except failures.iRODSException:
        return Annotated(False, _one_by_one(session, path, kind, change))
    return Annotated()


def _one_by_one(session: Session, path: str, kind: Kind, change: Change) -> tuple[Avu, ...]:
    metadata, kept = session.raw.metadata, []
    for avu in change.add:
        try:
            metadata.add(MODELS[kind], path, _meta(avu))
        except failures.CATALOG_ALREADY_HAS_ITEM_BY_THAT_NAME:
            continue
    for avu in change.remove:
        try:
            metadata.remove(MODELS[kind], path, _meta(avu))
        except failures.CAT_SUCCESS_BUT_WITH_NO_INFO:
            continue
        except failures.CAT_NO_ACCESS_PERMISSION:
            kept.append(avu)
    return tuple(kept)


def _meta(avu: Avu) -> iRODSMeta:
    return iRODSMeta(avu.name, avu.value, avu.unit or None)


def read_avus(session: Session, root: str, name: str) -> dict[str, list[Avu]]:
    """AVUs of one name, of a collection and all below it, by path.

    Others are not asked for: a value among them that no server can give back does no harm then.
    """
    found: dict[str, list[Avu]] = defaultdict(list)
    for kind in Kind:
        for path, avu in _read(session, root, name, kind):
            found[path].append(avu)
    return dict(found)


def _read(session: Session, root: str, name: str, kind: Kind) -> list[tuple[str, Avu]]:
    model = DataObjectMeta if kind is Kind.OBJECT else CollectionMeta
    place = (Collection.name, DataObject.name) if kind is Kind.OBJECT else (Collection.name,)
    criteria = (below(root), equals(model.name, name))
    rows = select(session, (*place, model.name, model.value, model.units), criteria)
    told = (("/".join(row[: len(place)]), Avu(*row[-3:])) for row in rows)
    return [(path, avu) for path, avu in told if avu.name == name and is_below(path, root)]
