"""Fetch a data object or a collection: whole, as the catalogue has it, or not at all.

What was fetched before a connection was lost, or the program killed, is not fetched again. Nothing stands under the
name asked for before its size and checksum are those of the catalogue. Every connection belongs to one thread.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from irods import keywords
from irods.api_number import api_number
from irods.message import FileOpenRequest, StringStringMap, iRODSMessage

from snakescope.errors import EnvironmentUnusableError, Problem, problem
from snakescope.zone import checksums
from snakescope.zone.address import Address
from snakescope.zone.listing import GOOD, Listed, Replica, list_tree
from snakescope.zone.patience import PATIENCE_S, BadBytesError, Patience, Pool
from snakescope.zone.session import Session

SEGMENT = 32 * 2**20
READ = 4 * 2**20
# How often a transfer begins anew since what came was not what the catalogue says, or the catalogue said otherwise.
RESTARTS = 3
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class Fetched:
    """What was fetched.

    Parameters
    ----------
    path
        Where it lies.
    bytes, files
        How much it is.
    sha256
        Digest of an object; None for a collection.
    checksum
        What the catalogue says of an object; None for a collection, and where the catalogue says nothing.
    kept
        Bytes that were here already, from an attempt before.
    unverified
        Objects of which the catalogue holds no checksum of a known form: only their size was compared.
    """

    path: Path
    bytes: int
    files: int = 1
    sha256: str | None = None
    checksum: str | None = None
    kept: int = 0
    unverified: int = 0


class DiskFullError(EnvironmentUnusableError):
    """There is no room here for what was to be fetched."""


class _ChangedError(Exception):
    """The catalogue says something else than when the transfer began."""


# ---------------------------------------------------------------------------- one object


def fetch(
    address: Address,
    target: Path,
    *,
    connections: int = 1,
    expected: str | None = None,
    listed: Listed | None = None,
    patience_s: float = PATIENCE_S,
    segment: int = SEGMENT,
) -> Fetched:
    """Fetch a data object.

    Parameters
    ----------
    address
        Of the object.
    target
        Path of the file; what is fetched so far lies beside it as ``.part``.
    connections
        How many connections to open at most.
    expected
        Checksum that the object must have, as when the sheet was made.
    listed
        What the catalogue says of it, where that was just asked for.
    patience_s
        How long to try again while nothing gets through.
    segment
        Bytes that are fetched again after a lost connection, at most, for each connection.

    Raises
    ------
    InputError
        If it is not there, is not what is expected, or does not have the catalogue's checksum.
    EnvironmentUnusableError
        If the zone cannot be reached any more; what was fetched is kept. `DiskFullError`: nothing is.
    """
    patience = Patience(address, patience_s)
    wrong = ""
    for attempt in range(RESTARTS):
        listed = listed or patience.ask(_look_up)
        replica = _usable(address, listed, attempt)
        _check_expected(address, replica, expected)
        try:
            part = _Part(target, listed, replica, segment)
            _check_room(target, replica.size - part.kept)
            pool: Pool[int] = Pool(address, patience, connections)
            pool.run(part.missing(), partial(_pull, part))
            fetched = _verified(part, expected)
            _check_same(part, patience.ask(_look_up))
        except (BadBytesError, _ChangedError) as error:
            part.discard()
            wrong, listed = str(error), None
            continue
        except OSError as error:
            if error.errno not in FULL:
                raise
            _discard(target)
            raise _no_room(address, target, replica.size, error) from error
        part.finish()
        return fetched
    fix = "Ask those who run the zone to check the replica (ichksum -K), then run again."
    raise problem(address, f"{wrong}; it was fetched {RESTARTS} times", fix)


def _look_up(session: Session) -> Listed:
    path = session.address.path
    found = next((each for each in list_tree(session, path).objects if each.path == path), None)
    if found is None:
        raise problem(session.address, "is a collection; expected a data object")
    return found


def _usable(address: Address, listed: Listed, attempt: int) -> Replica:
    """A good replica, another one at each attempt."""
    if listed.unusable:
        fix = "Ask those who run the zone to repair it, or take the row out of the sheet."
        raise problem(address.at(listed.path), listed.unusable, fix)
    good = [each for each in listed.replicas if each.status == GOOD]
    return good[attempt % len(good)]


def _check_expected(address: Address, replica: Replica, expected: str | None) -> None:
    found = replica.checksum
    if not expected or not found or checksums.algorithm_of(found) != checksums.algorithm_of(expected):
        return  # of another kind: it is taken of the bytes
    if not checksums.same(found, expected):
        message = f"has changed since the sheet was made: its checksum was {expected}, is {found}"
        raise problem(address, message, "Collect again, then run again.")


def _check_room(place: Path, needed: int) -> None:
    free = shutil.disk_usage(place.parent).free
    if needed > free:
        raise OSError(errno.ENOSPC, f"{needed} more bytes are needed, {free} are free")


def _no_room(address: Address, place: Path, size: int, error: OSError) -> DiskFullError:
    message = f"the disk of {place.parent} is full: it has {size} bytes ({error.strerror})"
    fix = "Make room, or set a smaller stage_window. What was begun is removed."
    return DiskFullError(str(Problem(str(address), message, fix)))


def _discard(target: Path) -> None:
    for suffix in (".part", ".state"):
        target.with_name(f"{target.name}{suffix}").unlink(missing_ok=True)


def _verified(part: _Part, expected: str | None) -> Fetched:
    """Compare size and checksums."""
    size = part.path.stat().st_size
    if size != part.size:
        raise BadBytesError(f"{size} bytes came; the catalogue says {part.size}")
    wanted = [each for each in (part.checksum, expected) if each and checksums.algorithm_of(each)]
    algorithms = {"sha256", *(str(checksums.algorithm_of(each)) for each in wanted)}
    found = checksums.digests(part.path, algorithms)
    for each in wanted:
        algorithm = str(checksums.algorithm_of(each))
        if not checksums.same(checksums.written(algorithm, found[algorithm]), each):
            told = checksums.written(algorithm, found[algorithm])
            raise BadBytesError(f"what came has the checksum {told}; the catalogue says {each}")
    verified = part.checksum is not None and checksums.algorithm_of(part.checksum) is not None
    return Fetched(part.target, size, 1, found["sha256"].hex(), part.checksum, part.found, int(not verified))


def _check_same(part: _Part, now: Listed) -> None:
    if not any(part.header == part.header_of(now, each) for each in now.replicas if each.status == GOOD):
        raise _ChangedError("the object changed while it was fetched")


def _pull(part: _Part, session: Session, index: int) -> None:
    """Read one segment."""
    start, end = part.span(index)
    buffer = memoryview(bytearray(min(READ, end - start)))
    with _opened(session, part.source, part.replica) as (connection, descriptor):
        if start:
            connection.seek_file(descriptor, start, os.SEEK_SET)
        while start < end:
            came = connection.read_file(descriptor, buffer=buffer[: min(len(buffer), end - start)])
            if not came:
                raise BadBytesError(f"the replica ends after {start} bytes; the catalogue says {part.size}")
            part.write(start, came)
            start += len(came)
    part.done(index)


@contextmanager
def _opened(session: Session, path: str, replica: int) -> Iterator[tuple[Any, int]]:
    """Open one replica for reading: the connection and the descriptor.

    The client library's own file object would talk to a lost connection again when it is thrown away.
    """
    connection = session.raw.pool.get_connection()
    options = StringStringMap({keywords.REPL_NUM_KW: str(replica)})
    request = FileOpenRequest(
        objPath=path, createMode=0, openFlags=0, offset=0, dataSize=-1, numThreads=0, oprType=0, KeyValPair_PI=options
    )
    connection.send(iRODSMessage("RODS_API_REQ", msg=request, int_info=api_number["DATA_OBJ_OPEN_AN"]))
    descriptor = connection.recv().int_info
    yield connection, descriptor  # after an error the session is closed, and with it the connection
    connection.close_file(descriptor)
    connection.release()


class _Part:
    """What is here of an object: the file, and beside it which segments are whole.

    An object of one segment needs no list of them. The list begins with what the catalogue said; where that is no
    longer so, everything begins anew.
    """

    def __init__(self, target: Path, listed: Listed, replica: Replica, segment: int) -> None:
        self.target, self.source, self.replica = target, listed.path, replica.number
        self.size, self.checksum, self.segment = replica.size, replica.checksum, segment
        self.path, self.state = target.with_name(f"{target.name}.part"), target.with_name(f"{target.name}.state")
        self.header = self.header_of(listed, replica)
        self._lock = threading.Lock()
        self._done = self._read_state()
        if self._done is None:
            self._done = set(range(self._count)) if self._is_whole() else set()
            self._begin()
        self.found = self.kept

    def header_of(self, listed: Listed, replica: Replica) -> dict[str, Any]:
        """What the transfer relies on."""
        told = {"checksum": replica.checksum} if replica.checksum else {"modified": replica.modified.isoformat()}
        return {"source": listed.path, "id": listed.id, "size": replica.size, "segment": self.segment, **told}

    @property
    def _count(self) -> int:
        return -(-self.size // self.segment)

    @property
    def kept(self) -> int:
        """Bytes in whole segments."""
        assert self._done is not None
        return sum(end - start for start, end in map(self.span, self._done))

    def span(self, index: int) -> tuple[int, int]:
        """First byte of a segment, and the one after it."""
        return index * self.segment, min((index + 1) * self.segment, self.size)

    def missing(self) -> list[int]:
        """Segments to be fetched."""
        assert self._done is not None
        return [index for index in range(self._count) if index not in self._done]

    def _read_state(self) -> set[int] | None:
        try:
            header, *lines = self.state.read_text(encoding="utf-8").split("\n")
            size = self.path.stat().st_size
            if json.loads(header) != self.header:
                return None
        except (OSError, ValueError):
            return None
        done = {int(line) for line in lines[:-1] if line.isdigit() and int(line) < self._count}
        return {index for index in done if self.span(index)[1] <= size}

    def _is_whole(self) -> bool:
        """Whether an earlier run had come to its end; the checksum is compared again in any case."""
        if self.checksum is None or not self.target.is_file() or self.target.stat().st_size != self.size:
            return False
        self.target.replace(self.path)
        return True

    def _begin(self) -> None:
        self.target.unlink(missing_ok=True)
        if not self._done:
            self.path.write_bytes(b"")
        self.state.unlink(missing_ok=True)
        if self._count > 1:
            self.state.write_text(json.dumps(self.header) + "\n", encoding="utf-8")
            for index in self._done or ():
                self.done(index)

    def write(self, offset: int, data: memoryview) -> None:
        """Put bytes where they belong."""
        with self.path.open("r+b", buffering=0) as file:
            while data:
                count = os.pwrite(file.fileno(), data, offset)
                data, offset = data[count:], offset + count

    def done(self, index: int) -> None:
        """Remember that a segment is whole."""
        with self._lock:
            assert self._done is not None
            self._done.add(index)
            if self._count > 1:
                with self.state.open("a", encoding="utf-8") as file:
                    file.write(f"{index}\n")

    def discard(self) -> None:
        """Remove everything."""
        _discard(self.target)

    def finish(self) -> None:
        """Give the file its name, once its bytes are on the disk."""
        with self.path.open("rb") as file:
            os.fsync(file.fileno())
        self.path.replace(self.target)
        self.state.unlink(missing_ok=True)


# ---------------------------------------------------------------------------- a collection


def fetch_collection(
    address: Address, target: Path, *, connections: int = 1, patience_s: float = PATIENCE_S, segment: int = SEGMENT
) -> Fetched:
    """Fetch a collection with all below it, such as an OME-Zarr; see `fetch`.

    What is fetched so far lies in ``<target>.part``. The collection is listed again at the end: what changed in it
    meanwhile is fetched anew.
    """
    patience = Patience(address, patience_s)
    work = target.with_name(f"{target.name}.part")
    kept, wrong = 0, ""
    for attempt in range(RESTARTS):
        tree = _Tree(address, patience.ask(lambda session: list_tree(session, address.path)), work, segment, attempt)
        if attempt == 0:
            kept = tree.kept
        try:
            work.mkdir(parents=True, exist_ok=True)
            _check_room(work, tree.bytes - tree.kept)
            pool: Pool[str] = Pool(address, patience, connections)
            pool.run(tree.missing(), tree.pull)
            tree.tidy()
        except BadBytesError as error:
            wrong = str(error)
            continue
        except OSError as error:
            if error.errno not in FULL:
                raise
            for folder in (work, tree.aside):
                shutil.rmtree(folder, ignore_errors=True)
            raise _no_room(address, target, tree.bytes, error) from error
        now = patience.ask(lambda session: list_tree(session, address.path))
        if tree.is_same(now):
            work.replace(target)
            return Fetched(target, tree.bytes, len(tree.objects), None, None, kept, tree.unverified)
        wrong = "the collection changed while it was fetched"
    fix = "Wait until nobody writes there, or ask those who run the zone to check it, then run again."
    raise problem(address, f"{wrong}; it was fetched {RESTARTS} times", fix)


class _Tree:
    """The objects of a collection and their places below a folder."""

    def __init__(self, address: Address, listing: Any, work: Path, segment: int, attempt: int) -> None:
        self.address, self.work, self.segment = address, work, segment
        self.aside = work.with_name(f"{work.name}.files")  # where no name in the tree can be in the way of a part
        self.objects: dict[str, Listed] = {each.path: each for each in listing.objects}
        self.folders = [path for path in listing.collections if path.startswith(f"{address.path}/")]
        self.replicas = {path: _usable(address, each, attempt) for path, each in self.objects.items()}
        self.places = {path: self._place(path) for path in (*self.objects, *self.folders)}
        self.bytes = sum(each.size for each in self.replicas.values())
        self.unverified = sum(not _is_verifiable(each) for each in self.replicas.values())
        self._here = {path for path in self.objects if self._is_here(path)}

    def _place(self, path: str) -> Path:
        parts = path[len(self.address.path) + 1 :].split("/")
        if any(part in ("", ".", "..") or "\0" in part for part in parts):
            raise problem(self.address.at(path), "has a name that no file can have")
        return self.work.joinpath(*parts)

    def _is_here(self, path: str) -> bool:
        """Whether a file was fetched before; without a checksum nobody knows."""
        replica, place = self.replicas[path], self.places[path]
        algorithm = checksums.algorithm_of(replica.checksum or "")
        if algorithm is None or not place.is_file() or place.stat().st_size != replica.size:
            return False
        found = checksums.digests(place, [algorithm])[algorithm]
        return checksums.same(checksums.written(algorithm, found), replica.checksum or "")

    @property
    def kept(self) -> int:
        """Bytes of the files that are here."""
        return sum(self.replicas[path].size for path in self._here)

    def missing(self) -> list[str]:
        """Objects to be fetched; their folders are made."""
        for path in self.folders:
            self.places[path].mkdir(parents=True, exist_ok=True)
        for path in self.objects:
            if path not in self._here:
                self.places[path].parent.mkdir(parents=True, exist_ok=True)
        return [path for path in self.objects if path not in self._here]

    def pull(self, session: Session, path: str) -> None:
        """Fetch one object."""
        self.aside.mkdir(exist_ok=True)
        part = _Part(self.aside / str(self.objects[path].id), self.objects[path], self.replicas[path], self.segment)
        for index in part.missing():
            _pull(part, session, index)
        try:
            _verified(part, None)
        except BadBytesError as error:
            part.discard()
            raise BadBytesError(f"{path}: {error}") from error
        part.path.replace(self.places[path])
        part.state.unlink(missing_ok=True)

    def tidy(self) -> None:
        """Remove what is no longer in the collection."""
        shutil.rmtree(self.aside, ignore_errors=True)
        known = {self.places[path] for path in self.objects}
        for place in [place for place in self.work.rglob("*") if not place.is_dir() and place not in known]:
            place.unlink()

    def is_same(self, now: Any) -> bool:
        """Whether a new listing says the same."""
        return self._facts(self.objects.values()) == self._facts(now.objects)

    @staticmethod
    def _facts(objects: Iterable[Listed]) -> dict[str, list[dict[str, Any]]]:
        return {each.path: [asdict(replica) for replica in each.replicas] for each in objects}


def _is_verifiable(replica: Replica) -> bool:
    return replica.checksum is not None and checksums.algorithm_of(replica.checksum) is not None
