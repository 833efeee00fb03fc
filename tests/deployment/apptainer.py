"""The Apptainer of this machine, as tests use it. It knows nothing of snakescope, nor of what is in an image."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest

INSTALL = 'PATH="$(tests/deployment/apptainer.sh PREFIX):$PATH"'


@dataclass(frozen=True)
class Apptainer:
    """A program that works, and the environment in which other programs find it."""

    program: Path
    environment: Mapping[str, str]

    def run(self, *arguments: str | Path, env: Mapping[str, str] | None = None) -> str:
        """What a command of Apptainer prints; raises with its messages when it fails."""
        command = [str(self.program), "--silent", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=env or self.environment)
        if done.returncode:
            raise AssertionError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
        return done.stdout

    def build(self, root: Path, image: Path, packing: str = "") -> Path:
        """Make an image file of a root file system; `packing` are arguments for ``mksquashfs``."""
        self.run("build", "--mksquashfs-args", packing, image, root)
        return image


def missing(reason: str) -> NoReturn:
    """Skip a test for want of something, except where everything must be there."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def apptainer() -> Apptainer:
    """Apptainer, which must be on the PATH."""
    found = shutil.which("apptainer")
    if found is None:
        missing(f"Apptainer is not on the PATH (on Debian as root: {INSTALL})")
    version = subprocess.run([found, "--version"], capture_output=True, text=True, check=False)
    if version.returncode:
        missing(f"{found} does not run: {version.stderr.strip()}")
    return Apptainer(Path(found), dict(os.environ))
