"""What the tests of conda environments stand on: real packages in a local channel, solved without a network.

No test here meets conda itself: a stand-in answers in its place (`deployment.conda_stand_in`).
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from deployment.conda import CondaSite

SNAKEFILE = """
rule say:
    output: "said.txt"
    conda: "envs/say.yaml"
    shell: "say >{output}"
"""

pytestmark = [pytest.mark.conda, pytest.mark.network_off]


@pytest.fixture(scope="module")
def site(conda_site: CondaSite) -> CondaSite:
    for version in ("1.0", "2.0"):
        conda_site.add_package("say-words", version, {"share/words": f"words {version}\n"})
    for version, needs in (("1.0", []), ("1.2", ["say-words >=1,<2"])):
        program = f'#!/bin/sh\necho "say {version}"\ncat "$CONDA_PREFIX/share/words" 2>/dev/null || echo nothing\n'
        conda_site.add_package("say", version, {"bin/say": program}, needs)
    return conda_site


def run(folder: Path, site: CondaSite, network_off: list[str]) -> subprocess.CompletedProcess[str]:
    (folder / "Snakefile").write_text(SNAKEFILE)
    command = [*network_off, sys.executable, "-m", "snakemake", "--cores", "1", "--sdm", "conda", "--", "said.txt"]
    return subprocess.run(command, cwd=folder, env=site.environment, capture_output=True, text=True, check=False)


def test_newest_package_and_what_it_needs_are_solved(tmp_path: Path, site: CondaSite, network_off: list[str]) -> None:
    site.write_environment(tmp_path / "envs/say.yaml", "say >=1")
    done = run(tmp_path, site, network_off)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "said.txt").read_text() == "say 1.2\nwords 1.0\n"


def test_pin_file_wins_over_the_environment_file(tmp_path: Path, site: CondaSite, network_off: list[str]) -> None:
    environment = site.write_environment(tmp_path / "envs/say.yaml", "say >=1")
    site.pin(environment, "say-1.0")
    done = run(tmp_path, site, network_off)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "said.txt").read_text() == "say 1.0\nnothing\n"


def test_snakemake_goes_on_without_pins_that_do_not_install(
    tmp_path: Path, site: CondaSite, network_off: list[str]
) -> None:
    environment = site.write_environment(tmp_path / "envs/say.yaml", "say >=1")
    pins = site.pin(environment, "say-1.0")
    pins.write_text(pins.read_text()[:-65] + "0" * 64 + "\n")
    done = run(tmp_path, site, network_off)
    assert "the channel does not hold just what the pin file names" in done.stderr
    # so a pin file is no proof of what a job ran in: only the environment itself tells
    assert (tmp_path / "said.txt").read_text() == "say 1.2\nwords 1.0\n"


def test_environment_without_a_solution_is_told(tmp_path: Path, site: CondaSite, network_off: list[str]) -> None:
    site.write_environment(tmp_path / "envs/say.yaml", "say 1.2.*", "say-words >=2")
    done = run(tmp_path, site, network_off)
    assert done.returncode == 1
    assert "the environment cannot be solved" in done.stderr
    assert not (tmp_path / "said.txt").exists()


def test_the_stand_in_says_what_it_is(site: CondaSite) -> None:
    done = subprocess.run(["conda", "install", "x"], env=site.environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "conda stand-in: this call is not known here: install x\n"
