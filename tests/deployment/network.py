"""Commands with the network cut off: a network namespace that holds nothing."""

from __future__ import annotations

import os
import subprocess

import pytest

from deployment.apptainer import missing


@pytest.fixture(scope="session")
def network_off() -> list[str]:
    """What to put before a command so that it reaches no other machine, nor a server on this one."""
    before = ["unshare", "--net", *([] if os.getuid() == 0 else ["--map-current-user"]), "--"]
    done = subprocess.run([*before, "cat", "/proc/net/route"], capture_output=True, text=True, check=False)
    if done.returncode:
        missing(f"no network namespace can be made here: {done.stderr.strip()}")
    assert len(done.stdout.splitlines()) <= 1, f"a route leads out of the namespace:\n{done.stdout}"
    return before
