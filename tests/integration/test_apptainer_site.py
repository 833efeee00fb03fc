"""What the tests of containers stand on: a real Apptainer, and a network that is really cut off."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from deployment import Apptainer

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "tests/deployment/apptainer.sh"


@pytest.mark.container
def test_apptainer_on_the_path_is_taken_as_it_is(apptainer: Apptainer, tmp_path: Path) -> None:
    command: list[str | Path] = [SCRIPT, "--selftest", tmp_path / "prefix"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=dict(apptainer.environment))
    assert done.stdout.splitlines() == [str(apptainer.program.parent)], done.stderr
    assert "self-test passed" in done.stderr
    assert not (tmp_path / "prefix").exists()


def run_without_apptainer(folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """Run the script where there are few programs; each of `more` is there, but does nothing."""
    programs = folder / "programs"
    programs.mkdir()
    for name in ("bash", "env", "dirname", "mktemp", "rm", "id", "mkdir", "ls"):
        (programs / name).symlink_to(str(shutil.which(name)))
    for name in more:
        (programs / name).symlink_to(str(shutil.which("true")))
    command = [SCRIPT, folder / "prefix"]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={"PATH": str(programs)})


def test_a_machine_without_debian_packages_is_told_what_to_install(tmp_path: Path) -> None:
    done = run_without_apptainer(tmp_path)
    assert done.returncode == 1
    assert "this is no Debian machine" in done.stderr
    assert "Install Apptainer" in done.stderr


def test_a_prefix_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    mine = tmp_path / "prefix/bin/mine"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    done = run_without_apptainer(tmp_path, "dpkg-deb")
    assert done.returncode == 1
    assert f"{tmp_path / 'prefix'} holds something else" in done.stderr
    assert [path.name for path in (tmp_path / "prefix").iterdir()] == ["bin"]
    assert mine.read_text() == "mine"


@pytest.mark.network_off
def test_no_address_is_reached_with_the_network_cut_off(network_off: list[str]) -> None:
    probe = "import socket; socket.create_connection(('192.0.2.1', 9), timeout=5)"
    done = subprocess.run([*network_off, "python3", "-c", probe], capture_output=True, text=True, check=False)
    assert "Network is unreachable" in done.stderr
    names = subprocess.run([*network_off, "cat", "/proc/net/dev"], capture_output=True, text=True, check=True)
    assert [line.split(":")[0].strip() for line in names.stdout.splitlines()[2:]] == ["lo"]
