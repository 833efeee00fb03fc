"""Fixtures that many tests share."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from slurm_site.fixtures import slurm_cluster, slurm_site_of_session  # noqa: F401

ROOT = Path(__file__).resolve().parents[1]
pytest_plugins = [f"deployment.{name}" for name in ("apptainer", "conda", "images", "network", "programs", "studies")]

# A shell that starts the tests in the background has them ignore Ctrl-C, and so every program that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


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
