"""What goes wrong on request: lost connections, slow replies, refused calls, rows in no order.

A test sets it from its own thread while the server runs. Knows nothing of the protocol but the numbers of its calls.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

from irods_zone.errors import Code, IrodsError

ATOMIC_METADATA = 20002


@dataclass
class _Refusal:
    code: int
    times: int | None


class Faults:
    """Faults of one zone; nothing goes wrong until asked.

    Attributes
    ----------
    latency_s
        Added before every reply, the round trip of a distant server.
    unordered
        Rows come back in random order where the query asks for none, as a database is free to do.
    dropped
        How many connections were cut so far.
    """

    def __init__(self) -> None:
        self.latency_s = 0.0
        self.unordered = False
        self.dropped = 0
        self._lock = threading.Lock()
        self._budget: int | None = None
        self._refusals: dict[int, _Refusal] = {}
        self._delays: dict[int, float] = {}

    def drop_after(self, n_bytes: int) -> None:
        """Cut, once, the connection that carries the byte after the next `n_bytes` of all connections, both ways."""
        with self._lock:
            self._budget = n_bytes

    def delay(self, api: int, seconds: float) -> None:
        """Answer calls of that number late."""
        with self._lock:
            self._delays[api] = seconds

    def refuse(self, api: int, code: int, times: int | None = None) -> None:
        """Answer calls of that number with an error: the next `times`, or all."""
        with self._lock:
            self._refusals[api] = _Refusal(code, times)

    def refuse_atomic(self, code: int = Code.CAT_NO_ACCESS_PERMISSION) -> None:
        """Refuse the call that changes several AVUs at once, as a zone does to ordinary users."""
        self.refuse(ATOMIC_METADATA, code)

    def clear(self) -> None:
        """Nothing goes wrong from here on."""
        with self._lock:
            self.latency_s, self.unordered, self._budget = 0.0, False, None
            self._refusals.clear()
            self._delays.clear()

    def take(self, n_bytes: int) -> int:
        """How many of the next bytes may pass; fewer than asked means that the line is cut there."""
        with self._lock:
            if self._budget is None:
                return n_bytes
            allowed = min(n_bytes, self._budget)
            self._budget -= allowed
            if allowed < n_bytes:
                self._budget = None
                self.dropped += 1
            return allowed

    def before_call(self, api: int) -> None:
        """Wait or raise as asked for that call."""
        with self._lock:
            wait = self._delays.get(api, 0.0)
            refusal = self._refusals.get(api)
            if refusal is not None and refusal.times is not None:
                refusal.times -= 1
                if refusal.times <= 0:
                    del self._refusals[api]
        if wait:
            time.sleep(wait)
        if refusal is not None:
            raise IrodsError(refusal.code, f"call {api} is refused on request")

    def before_reply(self) -> None:
        """Wait for the added latency."""
        if self.latency_s:
            time.sleep(self.latency_s)
