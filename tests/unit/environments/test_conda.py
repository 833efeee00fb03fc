"""Conda environments: exact packages from a channel in a folder, and what a failure means."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from snakescope.environments.conda import explain, pin, problems
from snakescope.environments.images import pin_file
from snakescope.errors import EnvironmentUnusableError, InputError


@pytest.fixture(scope="session")
def channel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A channel with a program in two versions; the newer one needs what is not there."""
    rattler_build = pytest.importorskip("rattler_build")
    root = tmp_path_factory.mktemp("channel")
    packages = [("gm", "1.0", ["lib >=2"]), ("gm", "1.1", ["lib >=3"]), ("lib", "2.1", ["deep"]), ("deep", "1.0", [])]
    for name, version, needs in packages:
        folder = root / f"{name}-{version}"
        (folder / "src/share").mkdir(parents=True)
        (folder / "src/share" / name).write_text(version)
        recipe = {
            "package": {"name": name, "version": version}, "source": {"path": "src"},
            "build": {"noarch": "generic", "script": ["cp -R share $PREFIX/"]}, "requirements": {"run": needs},
        }  # fmt: skip
        (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
        for variant in rattler_build.Stage0Recipe.from_file(folder / "recipe.yaml").render(
            rattler_build.VariantConfig()
        ):
            variant.run_build(output_dir=root / "out", channels=[])
    return root / "out"


def write(folder: Path, packages: Sequence[object], channels: Sequence[str]) -> Path:
    file = folder / "gm.yaml"
    file.write_text(yaml.safe_dump({"channels": list(channels), "dependencies": list(packages)}))
    return file


def test_exact_packages_come_each_after_what_it_needs(tmp_path: Path, channel: Path) -> None:
    file = write(tmp_path, ["gm"], [channel.as_uri(), "nodefaults"])
    lines = pin(file, "envs/gm.yaml", "gm").splitlines()
    assert lines[:2] == [
        "# GENERATED from envs/gm.yaml -- do not edit.",
        "# To remake it: snakescope tool pin gm",
    ]
    assert lines[3:5] == ["# platform: linux-64", "@EXPLICIT"]
    names = [line.rpartition("/")[2].rpartition("-")[0] for line in lines[5:]]
    assert names == ["deep-1.0", "lib-2.1", "gm-1.0"]
    assert all(len(line.partition("#")[2]) == 32 for line in lines[5:])
    assert pin(file, "envs/gm.yaml", "gm").splitlines() == lines


@pytest.mark.parametrize("package", ["gm=1.1", "nonesuch"])
def test_packages_that_do_not_fit_together_are_told(tmp_path: Path, channel: Path, package: str) -> None:
    file = write(tmp_path, [package], [channel.as_uri()])
    with pytest.raises(
        InputError, match=r"gm\.yaml: no packages fit together: .*[Nn]o candidates were found"
    ) as caught:
        pin(file, "envs/gm.yaml", "gm")
    assert len(str(caught.value).splitlines()) == 2


def test_a_channel_that_cannot_be_reached_is_told(tmp_path: Path) -> None:
    pytest.importorskip("rattler")
    with pytest.raises(EnvironmentUnusableError, match=r"gm\.yaml: a channel cannot be reached: .*noarch"):
        pin(write(tmp_path, ["gm"], [(tmp_path / "none").as_uri()]), "envs/gm.yaml", "gm")


def crashing_solver(folder: Path, answers: str) -> str:
    """A Python whose solver gives these answers, one a call, and crashes each time."""
    (folder / "answers").write_text(answers)
    program = folder / "python"
    program.write_text(
        f"#!/bin/sh\nread -r line <'{folder}/answers'; echo \"$line\"; sed -i 1d '{folder}/answers'; kill -SEGV $$\n"
    )
    program.chmod(0o755)
    return str(program)


def test_a_solver_that_crashes_after_its_answer_has_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = '{"packages": [{"name": "a", "url": "file:///a", "md5": null, "depends": []}]}'
    monkeypatch.setattr(sys, "executable", crashing_solver(tmp_path, f"\n{answer}\n"))
    (tmp_path / "e.yaml").write_text("channels: [x]\ndependencies: [a]\n")
    assert pin(tmp_path / "e.yaml", "e.yaml", "t").endswith("\n@EXPLICIT\nfile:///a#\n")


def test_a_solver_that_always_crashes_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", crashing_solver(tmp_path, "\n" * 9))
    (tmp_path / "e.yaml").write_text("channels: [x]\ndependencies: [a]\n")
    with pytest.raises(EnvironmentUnusableError, match="the solver ended by signal 11 without an answer"):
        pin(tmp_path / "e.yaml", "e.yaml", "t")
    assert (tmp_path / "answers").read_text() == "\n" * 6


def test_without_a_solver_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rattler.py").write_text("raise ImportError\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(EnvironmentUnusableError, match=r"pip install 'snakescope\[pins\]'"):
        pin(write(tmp_path, ["gm"], ["file:///x"]), "envs/gm.yaml", "gm")


@pytest.mark.parametrize(
    ("packages", "channels", "message"),
    [
        (["gm", {"pip": ["x"]}], ["c"], "found packages of pip, which a list of exact packages cannot hold"),
        ([], ["c"], "expected a list of channels and a list of dependencies"),
        (["gm"], [], "expected a list of channels and a list of dependencies"),
    ],
)
def test_a_file_that_cannot_be_pinned_is_told(
    tmp_path: Path, packages: list[object], channels: list[str], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        pin(write(tmp_path, packages, channels), "envs/gm.yaml", "gm")


def test_pins_that_are_older_than_their_file_are_refused(
    tmp_path: Path, channel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: name)
    file = write(tmp_path, ["gm"], [channel.as_uri()])
    pin_file(file).write_text(pin(file, "envs/gm.yaml", "gm"))
    assert list(problems(tmp_path, {"a": "gm.yaml"})) == []
    write(tmp_path, ["gm=1.0"], [channel.as_uri()])
    (problem,) = problems(tmp_path, {"a": "gm.yaml"})
    assert problem.message == "its packages were found before gm.yaml was changed"
    pin_file(file).write_text("@EXPLICIT\n")  # somebody else's tells nothing
    assert list(problems(tmp_path, {"a": "gm.yaml"})) == []


COULD_NOT = """\
Creating conda environment envs/gm.yaml...
CreateCondaEnvironmentException:
Could not create conda environment from /s/rules/p/../../envs/gm.yaml:
Command:
conda env create --quiet --file "/s/.snakemake/conda/1_.yaml" --prefix "/s/.snakemake/conda/1_"
Output:
"""


@pytest.mark.parametrize(
    ("log", "told"),
    [
        (
            COULD_NOT + "Channels:\n - conda-forge\nPlatform: linux-64\n\nLibMambaUnsatisfiableError: Encountered"
            " problems while solving:\n  - nothing provides requested gm 9.9**\n\nCould not solve for environment"
            " specs\n",
            "envs/gm.yaml: conda found no packages that fit together: LibMambaUnsatisfiableError: Encountered problems"
            " while solving: - nothing provides requested gm 9.9** Could not solve for environment specs",
        ),
        (
            COULD_NOT + "\nPackagesNotFoundError: The following packages are not available from current channels:\n\n"
            "  - gm=9.9*\n\n",
            "envs/gm.yaml: conda found no packages that fit together: PackagesNotFoundError: The following packages are"
            " not available from current channels: - gm=9.9*",
        ),
        (
            COULD_NOT + "CondaHTTPError: HTTP 000 CONNECTION FAILED for url <https://c.example>\n",
            "envs/gm.yaml: conda could not reach the channel: CondaHTTPError: HTTP 000 CONNECTION FAILED for url"
            " <https://c.example>",
        ),
        (
            "WorkflowError:\nFailed to pull singularity image from docker://q.example/x:1:\nINFO: a\nFATAL:   While"
            " making image: no such host\n",
            "image docker://q.example/x:1: it could not be pulled: FATAL:   While making image: no such host",
        ),
    ],
)
def test_what_snakemake_says_of_a_failure_is_one_message(log: str, told: str) -> None:
    assert str(explain(log)).splitlines()[0] == f"{told}."


def test_another_failure_is_not_taken_for_one_of_these() -> None:
    assert explain("WorkflowError:\nAt least one job did not complete successfully.") is None


def test_the_solver_is_not_imported_by_jobs() -> None:
    code = "import sys, snakescope.environments.check; print('rattler' in sys.modules, 'yaml' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"
