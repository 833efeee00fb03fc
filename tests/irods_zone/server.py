"""The listening side: accepts connections, gives each an agent in a thread of its own, and counts what they do."""

from __future__ import annotations

import logging
import socket
import threading
from dataclasses import dataclass, field
from pathlib import Path

from irods_zone.agent import Agent
from irods_zone.catalogue import Actor
from irods_zone.faults import Faults
from irods_zone.objects import Tokens
from irods_zone.wire import Channel

logger = logging.getLogger("irods_zone")
JOIN_SECONDS = 30.0


@dataclass(frozen=True)
class Call:
    """One answered call: on which connection, its number, by whom, with which status."""

    connection: int
    api: int
    user: str
    status: int


@dataclass
class Server:
    """Listens on a port of this machine while it runs."""

    host: str
    port: int
    catalogue_file: Path
    faults: Faults
    calls: list[Call] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    tokens: Tokens = field(default_factory=Tokens)
    most_open: int = 0
    connections: int = 0

    def __post_init__(self) -> None:
        self._agents: dict[int, tuple[Agent, threading.Thread]] = {}
        self._lock = threading.Lock()
        self._listener: socket.socket | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Listen; a port of 0 becomes one that was free."""
        listener = socket.create_server((self.host, self.port), backlog=128)
        self.port = listener.getsockname()[1]
        self._listener = listener
        self._thread = threading.Thread(target=self._accept, args=(listener,), name="irods-zone", daemon=True)
        self._thread.start()

    def stop(self, crash: bool = False) -> None:
        """Cut all connections and wait for their agents.

        Parameters
        ----------
        crash
            Agents do not settle what they were writing: it stays locked, as after a power cut.
        """
        if self._listener is None or self._thread is None:
            return
        listener, self._listener = self._listener, None
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        self._thread.join(JOIN_SECONDS)
        self.drop_all(crash)

    def drop_all(self, crash: bool = False) -> None:
        """Cut all connections that are open now."""
        with self._lock:
            agents = list(self._agents.values())
        for agent, _ in agents:
            agent.abandon = crash
            agent.wake()
        for _, thread in agents:
            thread.join(JOIN_SECONDS)

    @property
    def open_connections(self) -> int:
        with self._lock:
            return self._open()

    def _open(self) -> int:
        """Connections that clients hold: an agent notices a moment later than its client that it is gone."""
        return sum(not agent.is_left() for agent, _ in self._agents.values())

    def note(self, connection: int, api: int, actor: Actor | None, status: int) -> None:
        """Count a call."""
        self.calls.append(Call(connection, api, actor.name if actor else "", status))

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            self._welcome(sock)

    def _welcome(self, sock: socket.socket) -> None:
        with self._lock:
            self.connections += 1
            number = self.connections
            agent = Agent(self, Channel(sock, self.faults), number)
            thread = threading.Thread(
                target=self._serve, args=(number, agent), name=f"irods-agent-{number}", daemon=True
            )
            self._agents[number] = (agent, thread)
            self.most_open = max(self.most_open, self._open())
            thread.start()  # within the lock: who finds an agent may wait for its thread

    def _serve(self, number: int, agent: Agent) -> None:
        try:
            agent.run()
        except Exception as error:
            logger.exception("connection %d ends inside the test zone", number)
            self.failures.append(f"connection {number}: {error!r}")
        finally:
            with self._lock:
                del self._agents[number]
