"""Fixtures of the zone's own tests: a zone in a folder, and sessions on it."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from irods.session import iRODSSession

from irods_zone import Zone

Connect = Callable[..., iRODSSession]


@pytest.fixture
def zone(tmp_path: Path) -> Iterator[Zone]:
    """A running zone in which nothing of its own may fail."""
    with Zone(tmp_path / "zone") as running:
        yield running
    assert running.failures == []


@pytest.fixture
def connect(zone: Zone) -> Iterator[Connect]:
    """Make a session of a user with his password; the administrator's by default."""
    sessions: list[iRODSSession] = []

    def make(user: str = "rods", password: str | None = None) -> iRODSSession:
        session = iRODSSession(
            host=zone.host, port=zone.port, user=user, zone=zone.zone, password=password or user, auto_cleanup=False
        )
        sessions.append(session)
        return session

    yield make
    while sessions:
        sessions.pop().cleanup()
    gc.collect()


@pytest.fixture
def session(connect: Connect) -> iRODSSession:
    """A session of the administrator."""
    return connect()
