"""Going on where connections get lost: how long to try again, and threads that share the work.

Every thread has a connection of its own. Knows nothing of what is transferred.
"""

from __future__ import annotations

import errno
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from irods import exception as failures

from snakescope.errors import EnvironmentUnusableError, InputError, Problem, SnakescopeError
from snakescope.zone.address import Address
from snakescope.zone.session import REFUSED, Session, connect

PATIENCE_S = 60.0
LONGEST_PAUSE_S = 10.0
# Of errors that neither the network nor the server can have caused.
TRIES = 6
PERMANENT = tuple(
    getattr(failures, name)
    for name in (
        "DoesNotExist",
        "CAT_NO_ACCESS_PERMISSION",
        "CAT_UNKNOWN_COLLECTION",
        "CAT_UNKNOWN_FILE",
        "OBJ_PATH_DOES_NOT_EXIST",
    )
    if hasattr(failures, name)
)

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class BadBytesError(Exception):
    """What came is not what the catalogue says."""


def patient(address: Address, seconds: float, question: Callable[[Session], Answer]) -> Answer:
    """Ask over a connection of its own, again for so long while the zone cannot be reached."""
    return Patience(address, seconds).ask(question)


class Patience:
    """How long to go on while nothing gets through; shared by the threads of a transfer."""

    def __init__(self, address: Address, seconds: float) -> None:
        self.address, self.seconds = address, seconds
        self._since: float | None = None
        self._lock = threading.Lock()

    def progress(self) -> None:
        """Something got through."""
        with self._lock:
            self._since = None

    def failed(self, error: Exception, times: int) -> None:
        """Wait a little longer each time; raise when it makes no sense to go on."""
        if isinstance(error, (SnakescopeError, OSError, BadBytesError, *PERMANENT)) and not _is_network(error):
            raise _told(error, self.address)
        if times >= TRIES and not _is_network(error) and not isinstance(error, failures.iRODSException):
            lost = f"failed {times} times in the same way: {_in_words(error)}"
            raise EnvironmentUnusableError(str(Problem(str(self.address), lost))) from error
        with self._lock:
            now = time.monotonic()
            self._since = now if self._since is None else self._since
            if now - self._since > self.seconds:
                lost = f"nothing got through for {self.seconds:g} s (last: {_in_words(error)})"
                fix = "Run again: what was fetched is kept."
                raise EnvironmentUnusableError(str(Problem(str(self.address), lost, fix))) from error
        time.sleep(min(0.1 * 2**times, LONGEST_PAUSE_S, self.seconds / 4))

    def ask(self, question: Callable[[Session], Answer]) -> Answer:
        """Ask over a connection of its own, until there is an answer."""
        times = 0
        while True:
            try:
                with connect(self.address) as session:
                    answer = question(session)
                self.progress()
                return answer
            except Exception as error:
                times += 1
                self.failed(error, times)


def _is_network(error: Exception) -> bool:
    if isinstance(error, EnvironmentUnusableError):
        return isinstance(error.__cause__, (failures.NetworkException, OSError)) and not isinstance(
            error.__cause__, REFUSED
        )
    if isinstance(error, OSError) and error.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN):
        return True
    return isinstance(error, (failures.NetworkException, ConnectionError, TimeoutError, EOFError, ssl.SSLError))


def _told(error: Exception, address: Address) -> Exception:
    if isinstance(error, PERMANENT):
        fix = "Check that it is still there and that you may read it (ils -A)."
        return InputError(Problem(str(address), f"cannot be read: {type(error).__name__}", fix))
    return error


def _in_words(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__


class Pool(Generic[Item]):
    """A few threads, each with a connection of its own, that take items until none is left."""

    def __init__(self, address: Address, patience: Patience, connections: int) -> None:
        self.address, self.patience, self.connections = address, patience, connections
        self._items: deque[Item] = deque()
        self._error: BaseException | None = None

    def run(self, items: Iterable[Item], work: Callable[[Session, Item], None]) -> None:
        """Do all items; raise the first error that trying again does not mend."""
        self._items = deque(items)
        count = min(self.connections, len(self._items))
        threads = [threading.Thread(target=self._thread, args=(work,), daemon=True) for _ in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self._error is not None:
            raise self._error
        assert not self._items

    def _thread(self, work: Callable[[Session, Item], None]) -> None:
        times = 0
        while self._error is None and self._items:
            try:
                with connect(self.address) as session:
                    while self._error is None and (item := self._take()) is not None:
                        self._one(session, item, work)
                        times = 0
            except Exception as error:
                times += 1
                try:
                    self.patience.failed(error, times)
                except Exception as final:
                    self._error = self._error or final

    def _take(self) -> Item | None:
        try:
            return self._items.popleft()
        except IndexError:
            return None

    def _one(self, session: Session, item: Item, work: Callable[[Session, Item], None]) -> None:
        try:
            work(session, item)
        except BaseException:
            self._items.appendleft(item)
            raise
        self.patience.progress()
