"""Fixtures of the tests of what talks to iRODS."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from irods_sites import running_zone, session_on
from irods_zone import Zone
from snakescope.zone.session import Session


@pytest.fixture
def zone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Zone]:
    """A running zone, its administrator in the environment."""
    with running_zone(tmp_path, monkeypatch) as running:
        yield running


@pytest.fixture
def session(zone: Zone) -> Iterator[Session]:
    """A session of the administrator."""
    with session_on(zone) as opened:
        yield opened
