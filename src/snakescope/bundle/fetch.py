"""Fetching what a pack needs and is not on this machine: packages by https, images by Apptainer.

Each package is checked by the digest that its pin file tells; an image by Apptainer, by the one in its address.
"""

from __future__ import annotations

import http.client
import re
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from snakescope.bundle.contents import Entry, Remote
from snakescope.bundle.places import is_digest
from snakescope.environments import apptainer
from snakescope.errors import EnvironmentUnusableError, problem

TIMEOUT_S = 60
CHUNK = 2**20


def fetch(entry: Entry, remote: Remote, folder: Path, progress: Callable[[int], None]) -> Path:
    """Fetch a file into a folder.

    Raises
    ------
    EnvironmentUnusableError
        If it cannot be had from here.
    InputError
        If it is not what its digest says.
    """
    target = folder / entry.path.replace("/", "_")
    if remote.digest is None:
        _pull(remote.address, target)
        return target
    try:
        with urllib.request.urlopen(remote.address, timeout=TIMEOUT_S) as answer, target.open("wb") as file:  # noqa: S310 - https and http only, see places
            while chunk := answer.read(CHUNK):
                file.write(chunk)
                progress(len(chunk))
    except (OSError, http.client.HTTPException) as error:
        why = error.reason if isinstance(error, urllib.error.URLError) else error
        address = re.sub(r"//[^/@]*@", "//...@", remote.address)  # no password in a log
        raise EnvironmentUnusableError(f"{address}: cannot be fetched ({why})") from error
    if not is_digest(target, remote.digest):
        fix = "Try again; if it stays so, the channel has another package now: snakescope tool pin TOOL"
        raise problem(remote.address, f"what was fetched has not the digest {remote.digest}", fix)
    return target


def _pull(address: str, target: Path) -> None:
    name = apptainer.program() or "apptainer"
    done = subprocess.run([name, "pull", str(target), address], capture_output=True, text=True, check=False)
    if done.returncode != 0 or not target.is_file():
        lines = [line for line in done.stderr.splitlines() if line.strip()] or ["?"]
        raise EnvironmentUnusableError(f"image {address}: {name} could not pull it: {lines[-1]}")
