"""Read parts of data objects: a file object for readers that want a header only, and sessions in parallel."""

from __future__ import annotations

import io
import os
import queue
import threading
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from irods import exception as failures

from snakescope.errors import SnakescopeError
from snakescope.zone.address import Address
from snakescope.zone.session import Session, connect

BLOCK = 64 * 1024
MOST_BLOCKS = 128
ATTEMPTS = 2
CONNECT_ATTEMPTS = 3

Key = TypeVar("Key")
Result = TypeVar("Result")


class ScatteredError(OSError):
    """More of a file is wanted than a header can be."""


class RemoteFile(io.RawIOBase):
    """A data object as a file that can be read and sought; fetched in blocks, of which there is a limit.

    Parameters
    ----------
    session
        Of the calling thread.
    path
        Logical path.
    size
        Its size in bytes, as the catalogue has it.
    most_blocks
        Blocks of `BLOCK` bytes that may be fetched; None for no limit.
    """

    def __init__(self, session: Session, path: str, size: int, most_blocks: int | None = MOST_BLOCKS) -> None:
        super().__init__()
        self.name, self._size, self._most = path, size, most_blocks
        self._blocks: dict[int, bytes] = {}
        self._at = 0
        self._handle: Any = session.raw.data_objects.open(path, "r", auto_close=False)
        self._reached = 0

    def readable(self) -> bool:
        """Say yes."""
        return True

    def seekable(self) -> bool:
        """Say yes."""
        return True

    def tell(self) -> int:
        """Return the current place."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move; nothing is sent to the server."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer as far as the block at the current place reaches."""
        if self._at >= self._size or not len(buffer):
            return 0
        number, inside = divmod(self._at, BLOCK)
        part = self._block(number)[inside : inside + len(buffer)]
        buffer[: len(part)] = part
        self._at += len(part)
        return len(part)

    def _block(self, number: int) -> bytes:
        if number not in self._blocks:
            if self._most is not None and len(self._blocks) >= self._most:
                raise ScatteredError(f"its header is spread over more than {self._most} blocks of {BLOCK} bytes")
            self._blocks[number] = self._fetch(number * BLOCK, min(BLOCK, self._size - number * BLOCK))
        return self._blocks[number]

    def _fetch(self, start: int, wanted: int) -> bytes:
        """Ask the server, past the client's own small buffer."""
        if start != self._reached:
            self._handle.raw.seek(start)
        data = bytearray()
        while len(data) < wanted:
            part = self._handle.raw.read(wanted - len(data))
            if not part:
                raise OSError(f"it ends at byte {start + len(data)}; the catalogue says {self._size}")
            data += part
        self._reached = start + wanted
        return bytes(data)

    def close(self) -> None:
        """Close the object on the server, too."""
        if not self.closed:
            handle, self._handle = self._handle, None
            super().close()
            handle.close()


def read_object(session: Session, path: str, size: int) -> bytes:
    """All bytes of a small data object."""
    with io.BufferedReader(RemoteFile(session, path, size, None), BLOCK) as file:
        return file.read()


def in_sessions(
    address: Address,
    tasks: Mapping[Key, Callable[[Session], Result]],
    *,
    sessions: int,
    progress: Callable[[int, int], None] | None = None,
) -> dict[Key, Result | Exception]:
    """Do tasks in a few sessions at a time, each in a thread of its own.

    Parameters
    ----------
    address
        Of the zone.
    tasks
        What to do, by any key; each is given a session that it must not keep.
    sessions
        How many connections to the server.
    progress
        Called with the number of tasks done and of all, from any thread, one at a time.

    Returns
    -------
    What each task gave or raised. A lost connection is made anew, and its task tried once more; where none can be made
    any more, what is left of the tasks has that error.
    """
    work = _Work(address, tasks, progress)
    threads = [threading.Thread(target=work.run, name=f"irods-{n}") for n in range(min(sessions, len(tasks)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return work.results


class _Work(Generic[Key, Result]):
    """Tasks that wait, and what came of those that are done; shared by threads."""

    def __init__(
        self,
        address: Address,
        tasks: Mapping[Key, Callable[[Session], Result]],
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self.results: dict[Key, Result | Exception] = {}
        self._address, self._tasks, self._progress = address, tasks, progress
        self._lock = threading.Lock()
        self._waiting: queue.SimpleQueue[tuple[Key, int]] = queue.SimpleQueue()
        for key in tasks:
            self._waiting.put((key, 1))

    def run(self) -> None:
        """Connect and work, as often as the connection is lost."""
        in_vain = 0
        while in_vain < CONNECT_ATTEMPTS:
            try:
                with connect(self._address) as session:
                    in_vain = 0
                    if self._serve(session):
                        return
            except SnakescopeError as error:
                in_vain += 1
                last = error
        while waiting := self._next():
            self._finish(waiting[0], last)

    def _next(self) -> tuple[Key, int] | None:
        try:
            return self._waiting.get_nowait()
        except queue.Empty:
            return None

    def _serve(self, session: Session) -> bool:
        """Work until nothing waits (True) or the connection is lost."""
        while waiting := self._next():
            key, attempt = waiting
            try:
                self._finish(key, self._tasks[key](session))
            except failures.NetworkException as error:
                if attempt < ATTEMPTS:
                    self._waiting.put((key, attempt + 1))
                else:
                    self._finish(key, error)
                return False
            except Exception as error:  # whatever it is, it is this task's
                self._finish(key, error)
        return True

    def _finish(self, key: Key, result: Result | Exception) -> None:
        with self._lock:
            self.results[key] = result
            if self._progress:
                self._progress(len(self.results), len(self._tasks))
