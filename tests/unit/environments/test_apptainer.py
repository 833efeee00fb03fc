"""Apptainer: what images see of the host, and what a failed start means."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from snakescope.environments import apptainer
from snakescope.environments.apptainer import MOST_BINDS, bindable, binds, trial, unfit_study, variables


@pytest.fixture
def study(tmp_path: Path) -> Path:
    root = tmp_path / "study"
    for name in ("data", "results"):
        (root / name).mkdir(parents=True)
    return root


def make(path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")
    return str(path)


def read_only(*folders: Path) -> list[str]:
    return [f"{folder}:{folder}:ro" for folder in folders]


def test_files_in_the_study_need_no_bind(study: Path) -> None:
    make(study / "data/a.tif")
    assert binds(study, ["data/a.tif", str(study / "data/a.tif"), "./data/../data/a.tif"]) == []


def test_folders_of_files_outside_are_bound_to_be_read(study: Path, tmp_path: Path) -> None:
    files = [make(tmp_path / f"raw/{name}") for name in ("one/a.tif", "one/b.tif", "two x/c.tif", "one/deep/d.tif")]
    assert binds(study, files) == read_only(tmp_path / "raw/one", tmp_path / "raw/two x")


def test_a_relative_path_may_lead_outside(study: Path, tmp_path: Path) -> None:
    make(tmp_path / "raw/a.tif")
    assert binds(study, ["../raw/a.tif"]) == read_only(tmp_path / "raw")


def test_every_link_on_the_way_to_a_file_is_seen(study: Path, tmp_path: Path) -> None:
    make(tmp_path / "far/a.tif")
    for folder in ("near", "middle"):
        (tmp_path / folder).mkdir()
    (tmp_path / "middle/a.tif").symlink_to(tmp_path / "far/a.tif")
    (study / "data/a.tif").symlink_to(tmp_path / "middle/a.tif")
    assert binds(study, ["data/a.tif"]) == read_only(tmp_path / "far", tmp_path / "middle")


def test_a_folder_may_be_a_link_and_is_bound_under_both_names(study: Path, tmp_path: Path) -> None:
    make(tmp_path / "far/raw/a.tif")
    (tmp_path / "named").symlink_to(tmp_path / "far")
    assert binds(study, [str(tmp_path / "named/raw/a.tif")]) == read_only(tmp_path / "far/raw", tmp_path / "named/raw")


def test_links_at_the_top_of_a_study_are_followed_and_results_can_be_written(study: Path, tmp_path: Path) -> None:
    make(tmp_path / "big/raw/a.tif")
    (tmp_path / "scratch").mkdir()
    (study / "results").rmdir()
    (study / "results").symlink_to(tmp_path / "scratch")
    (study / "images").symlink_to(tmp_path / "big/raw")
    scratch = tmp_path / "scratch"
    assert binds(study, ["images/a.tif"]) == [*read_only(tmp_path / "big/raw"), f"{scratch}:{scratch}:rw"]


def test_a_folder_that_holds_the_study_is_not_made_read_only(study: Path, tmp_path: Path) -> None:
    file = make(tmp_path / "a.tif")
    assert binds(study, [file]) == [f"{tmp_path}:{tmp_path}:rw"]


def test_a_file_in_a_folder_that_images_have_themselves_is_bound_alone(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = make(tmp_path / "usr/a.tif")
    monkeypatch.setattr(apptainer, "_OWN", frozenset({str(tmp_path / "usr")}))
    assert binds(study, [file]) == [f"{file}:{file}:ro"]


def test_of_very_many_folders_those_above_are_bound(study: Path, tmp_path: Path) -> None:
    files = [make(tmp_path / f"raw/{a}/{b}/x.tif") for a in range(12) for b in range(12)]
    assert binds(study, files) == read_only(*sorted(tmp_path / f"raw/{a}" for a in range(12)))
    assert len(binds(study, files)) <= MOST_BINDS


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("/a/b c", "/a/b c"),
        ("/a/b,c/d", "/a"),
        ("/a/b:c", "/a"),
        ("/a:b", ""),
        ("/a/'b'/\"c", "/a"),
        ("/a/b\\/c", "/a"),
    ],
)  # fmt: skip
def test_a_name_that_a_bind_cannot_hold_is_reached_from_above(folder: str, expected: str) -> None:
    assert bindable(folder) == expected


def test_what_is_not_there_is_not_bound(study: Path, tmp_path: Path) -> None:
    assert binds(study, [str(tmp_path / "gone/a.tif")]) == []


# ---------------------------------------------------------------------------- variables


def test_the_host_stays_outside_and_what_a_job_needs_goes_in(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "tmp").mkdir()
    told = read_only(tmp_path / "raw", tmp_path / "gone")
    environ = {
        "HOME": "/home/u", "TMPDIR": str(tmp_path / "tmp"), "SLURM_JOB_ID": "7", "SECRET": "hunter2",
        "APPTAINER_BIND": "/site", "CUDA_VISIBLE_DEVICES": "1",
    }  # fmt: skip
    found = variables(told, environ)
    assert found["APPTAINER_CLEANENV"] == "1"
    assert found["APPTAINER_BIND"] == f"/site,{told[0]},{tmp_path / 'tmp'}"
    assert found["APPTAINERENV_SNAKESCOPE_HOME"] == "/home/u"
    assert found["APPTAINERENV_SLURM_JOB_ID"] == "7"
    assert found["APPTAINERENV_CUDA_VISIBLE_DEVICES"] == "1"
    assert found["APPTAINERENV_SLURM_JOB_PARTITION"] is None
    assert "hunter2" not in str(found)


def test_telling_it_twice_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    once = variables(read_only(tmp_path / "raw"), {"HOME": "/h"})
    bind = once["APPTAINER_BIND"]
    assert bind is not None
    assert variables(read_only(tmp_path / "raw"), {"HOME": "/h", "APPTAINER_BIND": bind}) == once


@pytest.mark.parametrize("temporary", ["", "/tmp", "/tmp/", "/var/tmp", "relative", "/not/there"])
def test_a_temporary_folder_that_is_there_anyway_or_not_at_all_is_not_bound(temporary: str) -> None:
    assert variables([], {"TMPDIR": temporary})["APPTAINER_BIND"] is None


def program(folder: Path, name: str, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


def test_singularity_has_variables_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path / "bin", "singularity", "exit 0")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert variables([], {})["SINGULARITY_CLEANENV"] == "1"
    program(tmp_path / "bin", "apptainer", "exit 0")
    assert variables([], {})["APPTAINER_CLEANENV"] == "1"


# ---------------------------------------------------------------------------- starting an image


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ('FATAL:   "sh": executable file not found in $PATH', "there is no shell (sh) in the image"),
        (
            "FATAL:   container creation failed: image driver mount failure: image driver squashfuse_ll instance exited"
            " with error: squashfuse_ll exited: fuse: failed to open /dev/fuse: Permission denied",
            "it cannot be mounted: FUSE (/dev/fuse) is not there",
        ),
        (
            "ERROR  : Failed to create user namespace: maximum number of user namespaces exceeded, check"
            " /proc/sys/user/max_user_namespaces",
            "user namespaces are not allowed here",
        ),
        (
            "FATAL:   container creation failed: mount hook function failure: mount /proc/self/fd/3->/x error: while"
            " mounting image /proc/self/fd/3: kernel reported a bad superblock for squashfs image partition",
            "it is no image that apptainer knows",
        ),
        (
            "FATAL:   While checking container encryption: could not open image /x: image format not recognized",
            "it is no image that apptainer knows",
        ),
        ("INFO: a\nFATAL:   the moon is full\n", "apptainer cannot start it: the moon is full"),
    ],
)
def test_what_apptainer_says_is_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, told: str
) -> None:
    (tmp_path / "said").write_text(said)
    program(tmp_path / "bin", "apptainer", f"cat {tmp_path / 'said'} >&2; exit 255")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    (problem,) = trial(tmp_path / "x.sif", [], "image x.sif", tmp_path)
    assert str(problem).startswith(f"image x.sif: {told}")


def test_programs_that_are_not_in_the_image_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path / "bin", "apptainer", 'while [ "$1" != sh ]; do shift; done; exec "$@"')
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    assert trial(tmp_path / "x.sif", ["cat"], "image x", tmp_path) == []
    (problem,) = trial(tmp_path / "x.sif", ["no-such-gm", "cat", "no-such-vips"], "image x", tmp_path)
    assert problem.message == "these programs are not in the image: no-such-gm, no-such-vips"


def test_a_folder_that_apptainer_cannot_be_told_of_is_refused(tmp_path: Path) -> None:
    assert unfit_study(tmp_path) is None
    for name in ("a:b", "a,b", "it's", 'a"b', "a\\b"):
        (tmp_path / name).mkdir()
        assert "which Apptainer cannot be told of" in str(unfit_study(tmp_path / name))
