"""`tool test --sdm`: a tool's cases in its image or conda environment, as a run would start it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from deployment.conda import CondaSite
from deployment.packs import COUNT_ZEROS, make_study, zeros_tool
from deployment.studies import ToolStudy
from integration_helpers import snakescope

# Not to be had on the host: where no Python is.
ONLY_IN_BUSYBOX = f'if command -v python3 bash; then echo "error: this is no bare busybox"; exit 9; fi; {COUNT_ZEROS}'


@pytest.fixture
def study(busybox_image: Path, tmp_path: Path) -> ToolStudy:
    study = make_study(tmp_path / "a study", tmp_path / "data", zeros_tool(ONLY_IN_BUSYBOX, container="envs/box.sif"))
    shutil.copy(busybox_image, study.root / "envs/box.sif")
    return study


@pytest.mark.container
@pytest.mark.slow
def test_a_case_runs_in_the_image_of_its_tool(study: ToolStudy) -> None:
    tested = snakescope("tool", "test", "zeros", "--sdm", "apptainer", cwd=study.root)
    assert (tested.returncode, tested.stderr) == (0, "")
    assert "passed  zeros/works: " in tested.stdout
    assert "(apptainer: envs/box.sif)" in tested.stdout
    on_host = snakescope("tool", "test", "zeros", cwd=study.root)
    assert on_host.returncode == 1
    assert "this is no bare busybox" in on_host.stdout


@pytest.mark.container
@pytest.mark.slow
def test_a_number_that_is_off_fails_there_too(study: ToolStudy) -> None:
    study.write_tool("zeros", zeros_tool(COUNT_ZEROS.replace("wc -c", "wc -l"), container="envs/box.sif"))
    tested = snakescope("tool", "test", "zeros", "--sdm", "apptainer", "--json", cwd=study.root)
    assert tested.returncode == 1
    (result,) = json.loads(tested.stdout)
    assert result["problems"] == ["zero_bytes is 0; expected at least 1600"]
    assert result["environment"]["kind"] == "apptainer"


@pytest.mark.container
@pytest.mark.slow
def test_a_folder_holds_what_the_tool_wrote_and_no_more(study: ToolStudy) -> None:
    folder = {"type": "directory", "description": "d", "file": "parts", "format": "other"}
    tool = zeros_tool(container="envs/box.sif") | {"outputs": {"text": folder}}
    study.write_tool("zeros", tool | {"command": ["sh", "-c", 'mkdir "$1"; : >"$1/a"', "sh", "{out.text}"]})
    generators = study.root / "tools/zeros/cases/generators.py"
    counted = "def files(outputs, inputs):\n    return len(list(outputs['text'].iterdir()))\n"
    generators.write_text(f"{generators.read_text()}\n\n{counted}")
    case = "description: d\ngenerator: {name: zeros, args: {size: 40}}\nexpect: [{check: files, value: 1}]\n"
    (study.root / "tools/zeros/cases/works.yaml").write_text(case)
    tested = snakescope("tool", "test", "zeros", "--sdm", "apptainer", "--json", cwd=study.root)
    (result,) = json.loads(tested.stdout)
    assert (result["problems"], result["found"]) == ([], {"0:files": 1})


@pytest.mark.container
@pytest.mark.slow
def test_an_image_that_is_not_the_locked_one_is_not_run(study: ToolStudy) -> None:
    assert snakescope("tool", "lock", "envs/box.sif", cwd=study.root).returncode == 0
    with (study.root / "envs/box.sif").open("ab") as image:
        image.write(b"more")
    tested = snakescope("tool", "test", "zeros", "--sdm", "apptainer", cwd=study.root)
    assert tested.returncode == 3
    assert "not run  zeros/works: " in tested.stdout
    assert "envs/images.lock.yaml says" in tested.stdout
    assert tested.stdout.endswith("0 passed, 0 failed, 1 not run: their image is missing\n")


@pytest.mark.container
@pytest.mark.slow
def test_the_cases_of_a_shipped_tool_pass_in_an_image_with_its_python(python_image: Path, tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config/images.yaml").write_text(f"deskew: {python_image}\n")
    tested = snakescope("tool", "test", "deskew", "--sdm", "apptainer", cwd=tmp_path)
    assert (tested.returncode, tested.stderr) == (0, "")
    assert tested.stdout.count(f"(apptainer: {python_image})") == 3
    assert tested.stdout.endswith("3 passed, 0 failed\n")


@pytest.mark.conda
@pytest.mark.slow
def test_a_case_runs_in_the_environment_of_its_tool(conda_site: CondaSite, tmp_path: Path) -> None:
    conda_site.add_package("zeros", "1.0", {"bin/zeros": f"#!/bin/sh\n{COUNT_ZEROS}\n"})
    tool = zeros_tool(conda="envs/zeros.yaml") | {"command": ["zeros", "{out.text}", "{in.image}"]}
    study = make_study(tmp_path / "study", tmp_path / "data", tool)
    conda_site.write_environment(study.root / "envs/zeros.yaml", "zeros 1.*")
    environment = dict(conda_site.environment)
    tested = snakescope("tool", "test", "zeros", "--sdm", "conda", cwd=study.root, env=environment)
    assert (tested.returncode, tested.stderr) == (0, "")
    assert "(conda: envs/zeros.yaml)" in tested.stdout
    made = sorted((study.root / ".snakemake/conda").glob("*/bin/zeros"))
    done = study.run("--sdm", "conda", env=environment)
    assert done.returncode == 0, done.stderr
    assert sorted((study.root / ".snakemake/conda").glob("*/bin/zeros")) == made, "made twice"
    assert study.result("a", "zeros", "out.txt").split()[1] == b"wise"
