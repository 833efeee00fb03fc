"""Fixtures that many tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real microscopy sets; skips where they are not at hand."""
    folder = Path(os.environ.get("SNAKESCOPE_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("the real data sets are not here (set SNAKESCOPE_SHARED_DATA to their folder)")
    return folder


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--fix``."""
    parser.addoption("--fix", action="store_true", help="rewrite golden files that differ instead of failing")
