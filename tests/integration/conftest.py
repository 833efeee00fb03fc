"""Fixtures for running whole studies."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from integration_helpers import TinyStudy


@pytest.fixture
def tiny_study(tmp_path: Path) -> Callable[[int], TinyStudy]:
    """Make a tiny study with so many rows."""
    return lambda rows: TinyStudy(tmp_path / "study", rows)
