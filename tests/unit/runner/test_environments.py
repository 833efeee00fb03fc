"""Where tools run, as `snakescope run` and `lint` hear it; pins and locks as commands."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from integration_helpers import TinyStudy
from snakescope import api
from snakescope.environments.images import LOCK
from snakescope.errors import InputError
from snakescope.runner.deployment import deployment_arguments, deployment_methods


@pytest.mark.parametrize(
    ("profile", "sdm", "extra", "expected"),
    [
        ("cores: 1", None, [], []),
        ("software-deployment-method: apptainer", None, [], ["apptainer"]),
        ("software-deployment-method: [conda, apptainer]", None, [], ["conda", "apptainer"]),
        ("sdm: conda", None, [], ["conda"]),
        ("sdm: conda", "apptainer", [], ["apptainer"]),
        ("sdm: conda", "none", [], ["none"]),
        ("sdm: conda", None, ["--sdm", "apptainer", "--verbose"], ["apptainer"]),
        ("sdm: conda", "none", ["-p", "--software-deployment-method=apptainer"], ["apptainer"]),
        ("sdm: conda", None, ["-p", "--sdm", "conda", "apptainer"], ["conda", "apptainer"]),
    ],
)
def test_the_command_line_goes_before_the_profile(
    tmp_path: Path, profile: str, sdm: str | None, extra: list[str], expected: list[str]
) -> None:
    (tmp_path / "config.yaml").write_text(f"{profile}\n")
    assert deployment_methods(tmp_path, sdm, extra) == expected  # type: ignore[arg-type]


def test_a_profile_for_this_snakemake_goes_before_the_common_one(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("sdm: conda\n")
    (tmp_path / "config.v8+.yaml").write_text("sdm: apptainer\n")
    assert deployment_methods(tmp_path, None, []) == ["apptainer"]


def test_nowhere_is_told_to_snakemake_so_that_the_profile_is_not_heard() -> None:
    assert deployment_arguments(None) == []
    assert deployment_arguments("conda") == ["--software-deployment-method", "conda"]
    assert deployment_arguments("none") == ["--software-deployment-method", "env-modules"]


@pytest.fixture
def study(tmp_path: Path) -> TinyStudy:
    return TinyStudy(tmp_path / "study", 2)


def test_a_program_that_is_missing_stops_the_run_before_it_begins(study: TinyStudy) -> None:
    study.write("tools/count/tool.yaml", study.read("tools/count/tool.yaml").replace("- sh\n", "- no-such-wc\n", 1))
    done = study.snakescope("run")
    assert (done.returncode, done.stdout) == (3, "")
    assert "step 'count' (tool count): the program 'no-such-wc' is not on the PATH of this machine." in done.stderr
    assert "Install sh 1." in done.stderr
    assert not (study.root / "results").exists()
    assert study.snakescope("run", "--dry-run").returncode == 0


def test_a_run_says_where_its_tools_run(study: TinyStudy) -> None:
    done = study.snakescope("run")
    assert (done.returncode, done.stderr) == (
        0,
        "Tools run from this machine's own programs (no --sdm): stamp, count, gather\n",
    )


def test_lint_refuses_a_release_whose_images_have_no_digest(study: TinyStudy) -> None:
    assert study.snakescope("lint").returncode == 0
    study.write("config/pipelines/tiny.yaml", study.read("config/pipelines/tiny.yaml") + "release: true\n")
    study.write("config/images.yaml", "stamp: envs/all.sif\ncount: envs/all.sif\ngather: envs/all.sif\n")
    study.write("envs/all.sif", "image")
    with pytest.raises(InputError) as caught:
        api.lint(study=study.root)
    assert [problem.message for problem in caught.value.problems] == [
        "the image envs/all.sif has no digest, and this is a release"
    ] * 3
    assert study.snakescope("tool", "lock", "envs/all.sif").stdout == (
        f"locked envs/all.sif: {hashlib.sha256(b'image').hexdigest()}\n"
    )
    assert study.snakescope("lint").returncode == 0


def test_lint_tells_of_files_about_images_that_are_wrong(study: TinyStudy) -> None:
    study.write("config/images.yaml", "stamp: a b\n")
    with pytest.raises(InputError, match=r"images\.yaml: stamp: found 'a b'"):
        api.lint(study=study.root)


def test_compiling_brings_the_environments_of_shipped_tools_that_an_old_study_lacks(study: TinyStudy) -> None:
    shipped = {path.name: path.read_bytes() for path in (study.root / "envs").iterdir()}
    assert {"deskew.yaml", "deskew.def", "deskew.post-deploy.sh", "images.lock.yaml"} <= shipped.keys()
    for path in (study.root / "envs").iterdir():
        path.unlink()
    (study.root / "envs/track.yaml").write_text("mine: too\n")
    api.compile("llsm_tracking", study=study.root)
    assert (study.root / "envs/deskew.yaml").read_bytes() == shipped["deskew.yaml"]
    assert (study.root / "envs/deskew.def").read_bytes() == shipped["deskew.def"]
    assert (study.root / "envs/track.yaml").read_text() == "mine: too\n"


def test_a_study_keeps_the_shell_of_gpu_tools_executable(study: TinyStudy) -> None:
    assert (study.root / "workflow/nv/sh").stat().st_mode & 0o111


def test_a_digest_is_kept_with_what_the_image_was_built_from(study: TinyStudy) -> None:
    study.write("envs/deskew.sif", "image")
    api.tool_lock(["envs/deskew.sif"], study=study.root)
    assert '"built_from": "envs/deskew.def"' in study.read(LOCK)


def test_a_tool_without_an_environment_is_not_pinned(study: TinyStudy) -> None:
    with pytest.raises(InputError, match="tool 'stamp': it has no conda environment"):
        api.tool_pin(["stamp"], study=study.root)
