"""The environments of the shipped tools: each holds just what its tool imports, and its image is made from it."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from snakescope import __version__
from snakescope.environments.definition import definition
from snakescope.tool.library import read_library, read_tool

ROOT = Path(__file__).parents[3]
TOOLS = sorted(name for name, tool in read_library([ROOT / "tools"]).items() if tool.spec.script)
# conda-forge's name of a module, where it is another.
NAMES = {"PIL": "pillow", "matplotlib": "matplotlib-base"}
READERS = {"nd2": "nd2", "lif": "liffile", "czi": "czifile"}


def imported(path: Path) -> Iterator[str]:
    """Modules that a file imports anywhere but for types only."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing = [n for n in ast.walk(tree) if isinstance(n, ast.If) and "TYPE_CHECKING" in ast.unparse(n.test)]
    left_out = {id(node) for block in typing for statement in block.body for node in ast.walk(statement)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import) and id(node) not in left_out:
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and id(node) not in left_out:
            yield str(node.module)


def files_of(module: str) -> list[Path]:
    """Files of ours that stand for a module; a package stands for all of it."""
    if (script := ROOT / f"scripts/{module}.py").is_file():
        return [script]
    base = ROOT / "src" / module.replace(".", "/")
    return sorted(base.glob("*.py")) if base.is_dir() else [base.with_suffix(".py")]


def needed(program: Path) -> set[str]:
    """Modules of others that a program imports, through ours too."""
    waiting, seen, found = [program, ROOT / "src/snakescope/program.py"], set(), set()
    while waiting:
        path = waiting.pop()
        seen.add(path)
        for name in imported(path):
            top = name.split(".")[0]
            if top == "snakescope" or (ROOT / f"scripts/{top}.py").is_file():
                ours = [ROOT / "src/snakescope/__init__.py"] if name == "snakescope" else files_of(name)
                waiting += [file for file in ours if file.is_file() and file not in seen]
            elif top not in sys.stdlib_module_names:
                found.add(top)
    return found


@pytest.mark.parametrize("name", TOOLS)
def test_an_environment_holds_just_what_its_tool_imports(name: str) -> None:
    spec = read_tool(ROOT / "tools" / name).spec
    formats = {item for port in spec.inputs.values() if port.type in ("image", "labels") for item in port.formats}
    modules = needed(ROOT / f"scripts/{spec.script}") - {READERS[f] for f in READERS.keys() - formats}
    data = yaml.safe_load((ROOT / str(spec.environment.conda)).read_text())
    assert data["channels"] == ["conda-forge"]
    pinned = dict(package.partition("=")[::2] for package in data["dependencies"])
    assert pinned.keys() == {"python", "pip", *(NAMES.get(module, module) for module in modules)}
    assert {package for package, text in pinned.items() if not re.fullmatch(r"\d+\.\d+", text)} == {"pip"}


def test_the_versions_are_those_that_this_package_takes() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    taken = {item.name: item.specifier for item in map(Requirement, project["dependencies"])}
    taken["python"] = SpecifierSet(project["requires-python"])
    for file in (ROOT / f"envs/{name}.yaml" for name in TOOLS):
        for package in yaml.safe_load(file.read_text()).get("dependencies", []):
            name, _, text = package.partition("=")
            newest = f"{text}.9999"  # conda's =1.2 is any 1.2.x
            assert not text or newest in taken.get(name, SpecifierSet()), f"{file.name}: {package}"


@pytest.mark.parametrize("name", TOOLS)
def test_what_pip_installs_is_this_snakescope_alone(name: str) -> None:
    text = (ROOT / f"envs/{name}.post-deploy.sh").read_text()
    assert f"--no-deps --no-input snakescope=={__version__}\n" in text
    subprocess.run(["sh", "-n", str(ROOT / f"envs/{name}.post-deploy.sh")], check=True)


@pytest.mark.parametrize("name", TOOLS)
def test_each_tool_names_files_of_its_own(name: str) -> None:
    environment = read_tool(ROOT / "tools" / name).spec.environment
    assert (environment.conda, environment.container, environment.apptainer_def) == (
        f"envs/{name}.yaml",
        f"envs/{name}.sif",
        f"envs/{name}.def",
    )


def test_programs_of_others_come_in_versions_and_their_images_from_the_same_file() -> None:
    library = read_library([ROOT / "tools"])
    conda = {name: tool.spec for name, tool in library.items() if tool.spec.environment.conda and name not in TOOLS}
    assert {"bioformats_convert", "cellpose", "graphicsmagick", "stardist", "trackmate_fiji"} <= conda.keys()
    for name, spec in conda.items():
        packages = yaml.safe_load((ROOT / str(spec.environment.conda)).read_text())["dependencies"]
        versions = {package: text for package, _, text in (item.partition("=") for item in packages)}
        assert all(re.fullmatch(r"\d+(\.\d+)?", text) for package, text in versions.items() if package != "pip"), name
        assert f"envs/{name}.yaml /opt/environment.yaml" in (ROOT / str(spec.environment.apptainer_def)).read_text()


def test_the_launcher_of_fiji_gets_the_name_that_its_makers_gave_it(tmp_path: Path) -> None:
    launcher = tmp_path / "bin/ImageJ"
    launcher.parent.mkdir()
    launcher.write_text("#!/bin/sh\necho started\n")
    launcher.chmod(0o755)
    script = ROOT / "envs/trackmate_fiji.post-deploy.sh"
    for _ in range(2):
        subprocess.run(["sh", "-eu", script], check=True, env={"PATH": f"{launcher.parent}:{os.defpath}"})
    told = subprocess.run([launcher.parent / "ImageJ-linux64"], capture_output=True, text=True, check=True)
    assert told.stdout == "started\n"


def test_a_display_comes_from_debian() -> None:
    text = definition("fiji", "fiji", ["xvfb-run", "xauth", "timeout", "ImageJ-linux64"], pinned=False, after=False)
    assert "    apt-get install -y --no-install-recommends xvfb xauth\n" in text
    assert "apt-get" not in definition("gm", "gm", ["sh", "gm"], pinned=False, after=False)


def test_no_pins_and_no_digests_are_shipped_that_nobody_has_made() -> None:
    assert list((ROOT / "envs").glob("*.pin.txt")) == []
    assert yaml.safe_load((ROOT / "envs/images.lock.yaml").read_text()) == {}


def test_a_definition_is_made_from_the_pins_where_there_are_some() -> None:
    bare = definition("gm", "gm_tool", pinned=False, after=True)
    pinned = definition("gm", "gm_tool", pinned=True, after=False)
    assert "    envs/gm.yaml /opt/environment.yaml\n    envs/gm.post-deploy.sh /opt/post-deploy.sh\n" in bare
    assert "sh -eu /opt/post-deploy.sh" in bare
    assert "--file /opt/environment.yaml" in bare
    assert "    envs/gm.linux-64.pin.txt /opt/environment.txt\n" in pinned
    assert "--file /opt/environment.txt" in pinned
    assert "post-deploy" not in pinned
