"""The wheel alone: what is in it, and that it works in an empty environment, outside any checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from snakescope.synthetic import Microscope, Vesicles, generate_llsm

ROOT = Path(__file__).resolve().parents[2]
CARRIED = ("tools", "scripts", "workflow", "profiles", "envs", "rules", "config")
UNREACHABLE = (
    "Temporary failure in name resolution",
    "Failed to establish a new connection",
    "Connection refused",
    "Network is unreachable",
    "ReadTimeoutError",
    "ConnectTimeoutError",
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def command(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command `snakescope` of a new environment that holds the wheel and what it needs, nothing else."""
    folder = tmp_path_factory.mktemp("env")
    venv.create(folder, with_pip=True)
    pip = [str(folder / "bin/python"), "-m", "pip", "install", "--quiet", str(wheel)]
    done = subprocess.run(pip, cwd=folder, capture_output=True, text=True, check=False, env=clean())
    if done.returncode != 0 and any(text in done.stderr for text in UNREACHABLE):
        pytest.skip(f"the package index cannot be reached: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    return folder / "bin/snakescope"


def clean() -> dict[str, str]:
    """The environment without anything that could lead back to the checkout; pip's own settings stay."""
    dropped = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    path = os.pathsep.join(part for part in os.environ["PATH"].split(os.pathsep) if not part.startswith(str(ROOT)))
    return {**{key: value for key, value in os.environ.items() if key not in dropped}, "PATH": path}


def call(command: Path, *arguments: str | Path, cwd: Path) -> str:
    argv = [str(command), *map(str, arguments)]
    done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, check=False, env=clean())
    assert done.returncode == 0, done.stderr
    return done.stdout


def tracked(folder: str) -> set[str]:
    """Files of a folder that belong to the project: no caches, nothing hidden."""
    paths = (path for path in (ROOT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(ROOT).as_posix() for path in paths}


def test_wheel_carries_what_a_study_needs_and_no_tests(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder in CARRIED:
        inside = {name.removeprefix("snakescope/assets/") for name in names if f"assets/{folder}/" in name}
        assert inside == tracked(folder), folder
    modules = {path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src").rglob("*.py")}
    assert {name for name in names if name.endswith(".py") and "/assets/" not in name} == modules
    tops = {name.partition("/")[0].partition("-")[0] for name in names}
    assert tops == {"snakescope", "snakemake_logger_plugin_snakescope", "snakemake_executor_plugin_snakescope"}
    assert not [name for name in names if "test" in name.rpartition("/")[2] and name.endswith(".py")]
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc")]


def test_installed_tools_are_those_of_the_checkout(command: Path, tmp_path: Path) -> None:
    here = json.loads(call(Path(sys.executable).with_name("snakescope"), "tool", "list", "--json", cwd=ROOT))
    assert json.loads(call(command, "tool", "list", "--json", cwd=tmp_path)) == here
    assert len(here) >= 7


def test_installed_tool_runs_on_an_image(command: Path, tmp_path: Path) -> None:
    scope = Microscope(shape=(24, 48, 48))
    made = generate_llsm(tmp_path / "data", series=1, frames=1, microscope=scope, vesicles=Vesicles(count=3))
    flags = ("--in", f"image={made.images['cell1'][0]}", "--out", "out", "--json")
    told = json.loads(call(command, "tool", "run", "deskew", *flags, cwd=tmp_path))
    record = json.loads((tmp_path / told["record"]).read_text())
    assert record["outputs"][0]["shape"] == list(scope.deskewed_shape)
    assert record["outputs"][0]["scale"] == pytest.approx(list(scope.deskewed_voxel_size_um))


def test_installed_package_makes_a_study_that_is_sound(command: Path, tmp_path: Path) -> None:
    scope = Microscope(shape=(24, 48, 48))
    made = generate_llsm(tmp_path / "data", series=1, frames=2, microscope=scope, vesicles=Vesicles(count=3))
    call(command, "init", "study", cwd=tmp_path)
    study = tmp_path / "study"
    (study / "config/psf.tif").write_bytes(made.psf.read_bytes())
    call(command, "collect", tmp_path / "data/raw", "--yes", cwd=study)
    assert "2 rows, every one fits" in call(command, "lint", cwd=study)
    assert call(command, "run", "--dry-run", cwd=study).startswith("9 jobs to run: ")
    leads_back = [str(path) for path in study.rglob("*") if path.is_file() and str(ROOT).encode() in path.read_bytes()]
    assert leads_back == []
