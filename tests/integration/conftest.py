"""Fixtures for running whole studies."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from integration_helpers import TinyStudy, snakescope


@pytest.fixture
def tiny_study(tmp_path: Path) -> Callable[[int], TinyStudy]:
    """Make a tiny study with so many rows."""
    return lambda rows: TinyStudy(tmp_path / "study", rows)


@pytest.fixture(scope="session")
def demo_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demonstration, run and exported; for looking at only."""
    folder = tmp_path_factory.mktemp("demonstration") / "demo"
    done = snakescope("demo", folder, cwd=folder.parent)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture
def demo_copy(demo_study: Path, tmp_path: Path) -> Path:
    """A copy of the demonstration, to do with as one likes."""
    return Path(shutil.copytree(demo_study, tmp_path / "demo", symlinks=True))
