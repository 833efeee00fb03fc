"""Putting files into a zone: a file is there when a good replica has its checksum, and then it is not put again.

Many files go over a few sessions, one a thread. A lost connection is made anew and the file put again; what the server
refuses is told file by file, and the rest goes on.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import threading
import time
import zipfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import irods.keywords as kw
from irods import exception as failures
from irods.api_number import api_number
from irods.message import CollectionRequest, StringStringMap, iRODSMessage
from irods.models import Collection, DataObject

from snakescope.errors import EnvironmentUnusableError, problem
from snakescope.zone import checksums
from snakescope.zone.address import Address
from snakescope.zone.listing import GOOD, Listed
from snakescope.zone.query import equals, select
from snakescope.zone.session import Session, connect

BLOCK = 4 * 2**20
SESSIONS = 4
ATTEMPTS = 5
PAUSE_S = 0.2
LOCKED = tuple(
    getattr(failures, name)
    for name in ("HIERARCHY_ERROR", "LOCKED_DATA_OBJECT_ACCESS", "INTERMEDIATE_REPLICA_ACCESS")
    if hasattr(failures, name)
)
CHANGED = "its content is not what the export tells; run: snakescope verify"
T = TypeVar("T")


# ---------------------------------------------------------------------------- what is there


@dataclass(slots=True)
class Held:
    """A data object as the catalogue has it.

    Parameters
    ----------
    size, checksum
        Of its good replicas, or of the last one where none is good; None where there is none.
    good
        Whether a replica is good, and all that are say the same.
    """

    size: int | None
    checksum: str | None
    good: bool


_FACTS = (DataObject.replica_number, DataObject.replica_status, DataObject.size, DataObject.checksum)
_Facts = tuple[str, int, str | None]


def held(listed: Listed) -> Held:
    """What a listing says of an object."""
    return _held([(each.status, each.size, each.checksum) for each in listed.replicas])


def _held(replicas: Sequence[_Facts]) -> Held:
    good = [replica for replica in replicas if replica[0] == GOOD]
    sizes = {size for _, size, _ in good or replicas[-1:]}
    checksums = {checksum for _, _, checksum in good or replicas[-1:] if checksum}
    return Held(
        size=sizes.pop() if len(sizes) == 1 else None,
        checksum=checksums.pop() if len(checksums) == 1 else None,
        good=bool(good) and len(sizes) == 0 and len(checksums) == 0,
    )


def look(session: Session, path: str) -> Held | None:
    """One object as the catalogue has it now; None if it is not there."""
    collection, _, name = path.rpartition("/")
    criteria = (equals(Collection.name, collection), equals(DataObject.name, name))
    rows = select(session, (Collection.name, DataObject.name, *_FACTS), criteria)
    found = [row[3:] for row in rows if row[:2] == (collection, name)]
    return _held([(status, int(size), checksum or None) for status, size, checksum in found]) if found else None


def is_collection(session: Session, path: str) -> bool:
    """Whether there is such a collection, as far as may be seen."""
    return (path,) in select(session, (Collection.name,), (equals(Collection.name, path),))


# ---------------------------------------------------------------------------- what is put


class Source(Protocol):
    """Bytes to put; `blocks` gives the same ones each time. `size` is None where it is not known before."""

    @property
    def size(self) -> int | None:
        """Bytes."""

    def blocks(self) -> Iterator[bytes]:
        """The bytes, a few megabytes at a time."""


@dataclass(frozen=True, slots=True)
class FileSource:
    """A file."""

    path: Path

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self.path.stat().st_size

    def blocks(self) -> Iterator[bytes]:
        """Read the file."""
        with self.path.open("rb") as file:
            while block := file.read(BLOCK):
                yield block


@dataclass(frozen=True, slots=True)
class BytesSource:
    """Bytes in memory."""

    content: bytes

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.content)

    def blocks(self) -> Iterator[bytes]:
        """All at once."""
        yield self.content


@dataclass(frozen=True, slots=True)
class ZipSource:
    """The files of a folder as one zip file: not compressed, in order, without dates, so that it is the same each time.

    Parameters
    ----------
    folder
        Its path.
    files
        The sha256 of each file by its path within it.
    """

    folder: Path
    files: Mapping[str, str]

    @property
    def size(self) -> None:
        """Not known before it is made."""
        return None

    def blocks(self) -> Iterator[bytes]:
        """Make the zip file, the metadata of an image first; StoreError if a file is not what it should be."""
        out = _Pipe()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
            for name in sorted(self.files, key=lambda name: (name.count("/"), name)):
                info, digest = zipfile.ZipInfo(name), hashlib.sha256()
                info.external_attr = 0o644 << 16
                with archive.open(info, "w", force_zip64=True) as inside:
                    for block in FileSource(self.folder / name).blocks():
                        inside.write(block)
                        digest.update(block)
                        yield from out.full()
                if digest.hexdigest() != self.files[name]:
                    raise StoreError(f"{name}: {CHANGED}")
        yield from out.rest()


class _Pipe(io.RawIOBase):
    """Takes what is written and gives it on in blocks; it cannot be wound back, as the connection cannot."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._held = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        part = bytes(data)
        self._parts.append(part)
        self._held += len(part)
        return len(part)

    def full(self) -> Iterator[bytes]:
        if self._held >= BLOCK:
            yield from self.rest()

    def rest(self) -> Iterator[bytes]:
        if self._parts:
            yield b"".join(self._parts)
            self._parts, self._held = [], 0


def checksum_of(source: Source, like: str) -> str:
    """Checksum of the bytes in the form that another one has.

    Raises
    ------
    StoreError
        If the form is not known.
    """
    algorithm = checksums.algorithm_of(like)
    if algorithm is None:
        raise StoreError(f"its checksum on the server ({like[:20]}...) has a form that is not known")
    digest = hashlib.new(algorithm, usedforsecurity=False)
    for block in source.blocks():
        digest.update(block)
    return checksums.written(algorithm, digest.digest())


def same(there: Held, source: Source, sha256: str | None) -> bool | None:
    """Whether an object is whole and has these bytes; None where it has no checksum.

    Parameters
    ----------
    sha256
        Digest of the bytes, if it is known: they are not read then where the zone uses the same kind.
    """
    if not there.good or (source.size is not None and there.size != source.size):
        return False
    if there.checksum is None:
        return None
    if checksums.algorithm_of(there.checksum) == "sha256" and sha256:
        return checksums.same(there.checksum, checksums.written("sha256", bytes.fromhex(sha256)))
    return checksums.same(there.checksum, checksum_of(source, there.checksum))


class StoreError(Exception):
    """A file could not be put, or is not on the server as it was put."""


def put(session: Session, path: str, source: Source, sha256: str | None = None) -> tuple[str, int]:
    """Put bytes as an object, over what is there, and check what the catalogue says of it.

    Parameters
    ----------
    sha256
        What their digest has to be; None if that is not known.

    Returns
    -------
    Their sha256 and how many they are.

    Raises
    ------
    StoreError
        If they are not the bytes that were expected, or no good replica has their checksum.
    irods.exception.iRODSException
        What the server refuses.
    """
    found, size = _write(session, path, source, sha256)
    there = look(session, path)
    if there is None or not there.good:
        raise StoreError("no good replica came of it")
    if not confirm(session, path, there, source, found):
        raise StoreError("the checksum on the server is not that of the file")
    return found, size


def confirm(session: Session, path: str, there: Held, source: Source, sha256: str | None) -> bool:
    """Whether an object has these bytes; where it has no checksum, the server is asked to take it."""
    if there.checksum is None:
        with session.expecting(there.size or 0):
            there.checksum = session.raw.data_objects.chksum(path)
    return bool(same(there, source, sha256))


def _write(session: Session, path: str, source: Source, sha256: str | None) -> tuple[str, int]:
    """Write and close; what turns out to be other bytes is never closed, so that no good replica comes of it."""
    options = {kw.REG_CHKSUM_KW: ""}
    if source.size is not None:
        options[kw.DATA_SIZE_KW] = str(source.size)
    handle = session.raw.data_objects.open(path, "w", **options)
    raw = handle.raw
    digest, size = hashlib.sha256(), 0
    try:
        for block in source.blocks():
            _send(raw, block)
            digest.update(block)
            size += len(block)
        if sha256 and digest.hexdigest() != sha256:
            raise StoreError(CHANGED)
        with session.expecting(size):
            raw.close()
    except BaseException:
        _abandon(handle)
        raise
    return digest.hexdigest(), size


def _send(raw: Any, block: bytes) -> None:
    rest = memoryview(block)
    while rest:
        rest = rest[raw.write(rest) :]


def _abandon(handle: Any) -> None:
    """Let go of a broken write: the server marks it stale when its connection ends, nothing closes it as if whole."""
    handle.do_close = False
    with contextlib.suppress(Exception):
        handle.raw.conn.release(True)
    io.RawIOBase.close(handle.raw)


def make_collection(session: Session, path: str) -> None:
    """Make a collection and those above it, where they are not there yet."""
    message = CollectionRequest(collName=path, KeyValPair_PI=StringStringMap({kw.RECURSIVE_OPR__KW: ""}))
    with session.raw.pool.get_connection() as connection:
        connection.send(iRODSMessage("RODS_API_REQ", msg=message, int_info=api_number["COLL_CREATE_AN"]))
        connection.recv()


def remove(session: Session, path: str) -> None:
    """Move an object into the trash of the zone; one that is not there has been moved before."""
    try:
        session.raw.data_objects.unlink(path)
    except failures.iRODSException:
        if look(session, path) is not None:
            raise


# ---------------------------------------------------------------------------- over several sessions


@dataclass
class _Task(Generic[T]):
    """Something to do; `lost` counts the connections that were lost over it."""

    what: T
    lost: int = 0


@dataclass
class _Shared(Generic[T]):
    """What the threads share."""

    tasks: deque[_Task[T]]
    total: int
    progress: Callable[[int, int], None] | None
    lock: threading.Lock = field(default_factory=threading.Lock)
    failed: list[tuple[T, str]] = field(default_factory=list)
    broken: EnvironmentUnusableError | None = None
    done: int = 0
    stop: bool = False

    def next(self) -> _Task[T] | None:
        with self.lock:
            return self.tasks.popleft() if self.tasks and not self.stop else None

    def tick(self) -> None:
        with self.lock:
            self.done += 1
            if self.progress:
                self.progress(self.done, self.total)


@contextmanager
def told(where: object) -> Iterator[None]:
    """Tell what a server refuses as a problem of a place; lost connections go on as they are."""
    try:
        yield
    except failures.NetworkException:
        raise
    except failures.iRODSException as error:
        raise problem(where, explain(error)) from error


def in_parallel(
    address: Address,
    tasks: Sequence[T],
    do: Callable[[Session, T], None],
    *,
    sessions: int = SESSIONS,
    progress: Callable[[int, int], None] | None = None,
) -> list[tuple[T, str]]:
    """Do something for every task, over a few sessions at once, each in a thread of its own.

    Parameters
    ----------
    address
        Where to connect to.
    do
        Must be the same when it is done twice: after a lost connection it is.
    progress
        Told how many are done, and how many there are.

    Returns
    -------
    The tasks that were refused, and why; the others are done.

    Raises
    ------
    EnvironmentUnusableError
        If the server cannot be reached any more. What was done is kept.
    """
    shared = _Shared(deque(_Task(task) for task in tasks), len(tasks), progress)
    workers = min(sessions, len(tasks))
    if workers:
        with ThreadPoolExecutor(workers, thread_name_prefix="irods") as pool:
            running = [pool.submit(_work, address, shared, do) for _ in range(workers)]
            try:
                for each in running:
                    each.result()
            except BaseException:
                shared.stop = True
                raise
    if shared.broken:
        raise shared.broken
    return shared.failed


def _work(address: Address, shared: _Shared[T], do: Callable[[Session, T], None]) -> None:
    """Take tasks until there are none; connect anew when the connection is lost."""
    lost = 0
    while not shared.stop:
        task = shared.next()
        if task is None:
            return
        shared.tasks.appendleft(task)
        before = shared.done
        try:
            with connect(address) as session:
                _serve(session, shared, do)
            return
        except EnvironmentUnusableError as error:
            lost = 1 if shared.done > before else lost + 1
            if lost >= ATTEMPTS:
                shared.broken, shared.stop = error, True
                return
            time.sleep(PAUSE_S * 2**lost)


def _serve(session: Session, shared: _Shared[T], do: Callable[[Session, T], None]) -> None:
    while task := shared.next():
        try:
            _try(session, task, do)
        except (failures.NetworkException, ConnectionError, TimeoutError) as error:
            task.lost += 1
            shared.tasks.appendleft(task)
            raise failures.NetworkException(str(error)) from error
        except (failures.iRODSException, StoreError, OSError) as error:
            with shared.lock:
                shared.failed.append((task.what, explain(error)))
        shared.tick()


def _try(session: Session, task: _Task[T], do: Callable[[Session, T], None]) -> None:
    """Do it; after a lost connection the server needs a moment to let go of what we were writing."""
    for attempt in range(ATTEMPTS if task.lost else 1):
        try:
            return do(session, task.what)
        except LOCKED:
            if not task.lost or attempt == ATTEMPTS - 1:
                raise
            time.sleep(PAUSE_S * 2**attempt)


def explain(error: Exception) -> str:
    """Why something was refused, in a sentence."""
    if isinstance(error, StoreError):
        return str(error)
    if isinstance(error, OSError):
        return f"cannot be read here ({error.strerror or error})"
    if isinstance(error, LOCKED):
        told = "is locked: somebody writes it, or did when the server stopped"
        return f"{told}; then an administrator can free it (iadmin modrepl ... replica_status 0)"
    if isinstance(error, failures.CAT_NO_ACCESS_PERMISSION):
        return "you may not change it: that takes modify_object or own"
    return f"the server refuses it ({type(error).__name__})"
