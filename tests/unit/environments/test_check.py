"""Whether tools can run where they are to: every reason, before anything runs."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from snakescope.environments import apptainer
from snakescope.environments.check import (
    CHECKED,
    NotUsableError,
    check_environments,
    require_environments,
    said,
    unlocked_images,
    use_environments,
)
from snakescope.environments.images import LOCK, SITE_IMAGES, STATE, State
from snakescope.workflow import Plan
from tiny_tools import IMAGE, write_pipeline, write_rows, write_rules, write_tools

OUT = {"o": {"type": "file", "description": "d", "file": "o", "format": "other"}}
TOOL: dict[str, Any] = {"inputs": {"image": IMAGE}, "outputs": OUT, "homepage": "https://gm.example"}
NO_PROGRAM = "no-such-program-gm"
A, B = "a" * 64, "b" * 64


def plan_of(root: Path, mode: str, **tools: dict[str, Any]) -> Plan:
    write_tools(root, {name: {**TOOL, "command": ["sh"], **parts} for name, parts in tools.items()})
    steps = {name: {"tool": name, "inputs": {"image": "sheet.path"}} for name in tools}
    write_rules(root, write_pipeline(root, steps))
    (root / "raw.tif").write_text("raw")
    write_rows(root, [{"id": "r", "path": "raw.tif"}])
    return Plan.read("test", "config/samples.tsv", root, methods=[mode])


def problems(plan: Plan) -> list[str]:
    with pytest.raises(NotUsableError) as caught:
        require_environments(plan)
    assert caught.value.exit_code == 3
    assert str(caught.value) == "\n".join(map(str, caught.value.problems))
    return [str(problem) for problem in caught.value.problems]


def on_path(monkeypatch: pytest.MonkeyPatch, root: Path, **programs: str) -> None:
    """Leave only these programs, and the shell's, on the PATH."""
    (root / "bin").mkdir(exist_ok=True)
    for name, text in programs.items():
        (root / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
        (root / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{root / 'bin'}:/usr/bin:/bin")


@pytest.fixture(autouse=True)
def variables_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test sets for Apptainer goes away with it."""
    monkeypatch.delenv(CHECKED, raising=False)
    for name in apptainer.variables([], {}):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


# ---------------------------------------------------------------------------- this machine


def test_a_missing_program_is_told_with_what_to_install(tmp_path: Path) -> None:
    environment = {"programs": ["sh", NO_PROGRAM], "conda": "envs/gm.yaml", "container": "envs/gm.sif"}
    plan = plan_of(tmp_path, "none", gm={"environment": environment}, plain={"command": [NO_PROGRAM]}, fine={})
    assert problems(plan) == [
        f"step 'gm' (tool gm): the program '{NO_PROGRAM}' is not on the PATH of this machine.\n"
        "    Install prog 1 (https://gm.example), or run with --sdm conda (envs/gm.yaml) or "
        "--sdm apptainer (envs/gm.sif).",
        f"step 'plain' (tool plain): the program '{NO_PROGRAM}' is not on the PATH of this machine.\n"
        "    Install prog 1 (https://gm.example).",
    ]


def test_a_program_beside_this_python_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    name = Path(sys.executable).name
    require_environments(plan_of(tmp_path, "none", a={"environment": {"programs": [name]}}))


def test_where_the_tools_run_is_one_line(tmp_path: Path) -> None:
    tools = {"a": {"environment": {"conda": "envs/a.yaml", "container": "a.sif"}}, "b": {}}
    told = [said(plan_of(tmp_path, mode, **tools)) for mode in ("none", "conda", "apptainer")]
    assert told == [
        "Tools run from this machine's own programs (no --sdm): a, b",
        "Tools run in conda environments: a; from this machine's own programs, having none: b",
        "Tools run in Apptainer images: a; from this machine's own programs, having none: b",
    ]


def test_plain_snakemake_says_it_and_our_own_run_has_said_it_already(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = plan_of(tmp_path, "none", a={"command": [NO_PROGRAM]}, b={})
    monkeypatch.setenv(CHECKED, "yes")
    check_environments(plan)
    assert capsys.readouterr().err == ""
    monkeypatch.delenv(CHECKED)
    with pytest.raises(NotUsableError):
        check_environments(plan)
    check_environments(plan_of(tmp_path, "none", b={}))
    assert capsys.readouterr().err == "Tools run from this machine's own programs (no --sdm): b\n"


# ---------------------------------------------------------------------------- models


def model(**parts: Any) -> dict[str, Any]:
    base = {"name": "net.pt", "path": "models/net.pt", "sha256": A, "licence": "MIT", "env": "NET"}
    return {"environment": {"models": [base | parts]}}


@pytest.mark.parametrize("mode", ["none", "conda", "apptainer"])
def test_a_model_that_is_absent_or_another_is_told_in_every_mode(tmp_path: Path, mode: str) -> None:
    assert problems(plan_of(tmp_path, mode, a=model(url="https://models.example/net.pt"))) == [
        "step 'a': model net.pt: there is no file models/net.pt.\n"
        f"    Get it from https://models.example/net.pt and put it there; sha256 {A}."
    ]
    (tmp_path / "models").mkdir()
    (tmp_path / "models/net.pt").write_text("other")
    digest = hashlib.sha256(b"other").hexdigest()
    assert problems(plan_of(tmp_path, mode, a=model())) == [
        f"step 'a': model net.pt: models/net.pt has the sha256 {digest}; the tool's descriptor says {A}.\n"
        "    Get it again, or set the digest if this file is meant."
    ]
    require_environments(plan_of(tmp_path, mode, a=model(sha256=digest)))


# ---------------------------------------------------------------------------- conda


def test_a_missing_conda_and_a_missing_file_are_told_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_path(monkeypatch, tmp_path)
    tool = {"environment": {"conda": "envs/gm.yaml", "programs": [NO_PROGRAM]}}
    first, second = problems(plan_of(tmp_path, "conda", a=tool, b=tool))
    assert first.startswith("--sdm conda: there is no program conda on the PATH.\n    Install conda")
    assert second.startswith(f"{tmp_path}/envs/gm.yaml: there is no such file (steps: a, b).")


def test_a_program_in_the_environment_need_not_be_on_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_path(monkeypatch, tmp_path, conda="exit 0")
    (tmp_path / "envs").mkdir()
    (tmp_path / "envs/gm.yaml").write_text("channels: []\n")
    tools = {"a": {"environment": {"conda": "envs/gm.yaml", "programs": [NO_PROGRAM]}}}
    require_environments(plan_of(tmp_path, "conda", **tools))
    told = problems(plan_of(tmp_path, "conda", **tools, b={"command": [NO_PROGRAM]}))
    assert [text.split(":")[0] for text in told] == ["step 'b' (tool b)"]


# ---------------------------------------------------------------------------- images


def test_no_apptainer_and_no_image_are_told_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_path(monkeypatch, tmp_path)
    environment = {"container": "envs/a.sif", "apptainer_def": "envs/a.def"}
    first, second = problems(plan_of(tmp_path, "apptainer", a={"environment": environment}))
    assert first.startswith("--sdm apptainer: there is no program apptainer or singularity on the PATH.")
    assert second == (
        "image envs/a.sif (steps: a): there is no such image.\n"
        "    Build it: apptainer build envs/a.sif envs/a.def\n"
        "    Or name another in config/images.yaml: a: PATH"
    )


def test_an_image_with_another_digest_is_told_and_not_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_path(monkeypatch, tmp_path, apptainer=f"touch {tmp_path}/started")
    (tmp_path / "envs").mkdir()
    (tmp_path / "envs/a.sif").write_text("image")
    digest = hashlib.sha256(b"image").hexdigest()
    (tmp_path / LOCK).write_text(f"envs/a.sif: {{file_sha256: {A}}}\n")
    tool = {"environment": {"container": "envs/a.sif"}}
    (told,) = problems(plan_of(tmp_path, "apptainer", a=tool))
    assert told.startswith(f"image envs/a.sif (steps: a): its sha256 is {digest}; {LOCK} says {A}.")
    assert not (tmp_path / "started").exists()
    (tmp_path / LOCK).write_text(f"envs/a.sif: {{file_sha256: {digest}}}\n")
    require_environments(plan_of(tmp_path, "apptainer", a=tool))
    assert (tmp_path / "started").exists()


def test_an_image_of_several_steps_is_started_once_with_all_their_programs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_path(monkeypatch, tmp_path, apptainer=f'echo "$@" >>{tmp_path}/started')
    (tmp_path / "one.sif").write_text("image")
    tools = {name: {"environment": {"programs": [f"prog_{name}"]}} for name in "ab"}
    (tmp_path / "config").mkdir()
    (tmp_path / SITE_IMAGES).write_text("a: one.sif\nb: one.sif\n")
    require_environments(plan_of(tmp_path, "apptainer", **tools))
    (line,) = (tmp_path / "started").read_text().splitlines()
    assert line.endswith("sh mkdir mv rm sed prog_a prog_b")


def test_an_image_in_a_registry_is_left_to_the_pull(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_path(monkeypatch, tmp_path, apptainer="exit 1")
    require_environments(plan_of(tmp_path, "apptainer", a={"environment": {"container": "docker://q.example/a:1"}}))


def test_what_was_found_is_left_for_the_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "study"
    (tmp_path / "far").mkdir()
    (tmp_path / "far/net.pt").write_text("net")
    digest = hashlib.sha256(b"net").hexdigest()
    plan = plan_of(root, "apptainer", a=model(path="../far/net.pt", sha256=digest))
    require_environments(plan)
    state = State.read(root)
    assert state.binds == [f"{tmp_path}/far:{tmp_path}/far:ro"]
    assert [Path(path).name for path in state.files] == ["net.pt"]
    assert os.environ["APPTAINER_BIND"] == state.binds[0]
    monkeypatch.setenv("APPTAINER_BIND", "")
    use_environments(Plan.read("test", "config/samples.tsv", root, methods=["apptainer"]))
    assert os.environ["APPTAINER_BIND"] == state.binds[0]


def test_another_run_in_the_same_process_is_not_given_the_binds_of_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APPTAINER_BIND", "/mine")
    for name in ("one", "two"):
        (tmp_path / f"far_{name}").mkdir()
        (tmp_path / f"far_{name}/net.pt").write_text("net")
        digest = hashlib.sha256(b"net").hexdigest()
        require_environments(
            plan_of(tmp_path / name, "apptainer", a=model(path=f"../far_{name}/net.pt", sha256=digest))
        )
        far = tmp_path / f"far_{name}"
        assert os.environ["APPTAINER_BIND"] == f"/mine,{far}:{far}:ro"


def test_on_the_host_nothing_is_told_to_apptainer(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "none", a={})
    require_environments(plan)
    use_environments(plan)
    assert "APPTAINER_CLEANENV" not in os.environ
    assert (tmp_path / STATE).is_file()


def test_a_release_has_no_image_folder_whatever_the_lock_says(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "none", a={"environment": {"container": "box"}})
    (tmp_path / "box").mkdir()
    (tmp_path / "envs").mkdir()
    (tmp_path / LOCK).write_text(f"box: {{file_sha256: {A}}}\n")
    assert [str(problem).replace("\n    ", " ") for problem in unlocked_images(plan, "p.yaml")] == [
        "p.yaml: steps.a: the image box is a folder, which has no digest, and this is a release. "
        "Pack it: apptainer build box.sif box"
    ]


def test_a_release_names_every_image_by_its_digest(tmp_path: Path) -> None:
    images = {"a": f"docker://q.example/a@sha256:{A}", "b": "docker://q.example/b:1", "c": "c.sif", "d": "d.sif"}
    tools = {name: {"environment": {"container": image}} for name, image in images.items()}
    plan = plan_of(tmp_path, "none", **tools, e={})
    (tmp_path / "envs").mkdir()
    (tmp_path / LOCK).write_text(f"c.sif: {{file_sha256: {A}}}\n")
    assert [str(problem).replace("\n    ", " ") for problem in unlocked_images(plan, "p.yaml")] == [
        "p.yaml: steps.b: the image docker://q.example/b:1 has no digest, and this is a release. "
        "Name it with @sha256:DIGEST.",
        "p.yaml: steps.d: the image d.sif has no digest, and this is a release. Lock it: snakescope tool lock d.sif.",
        "p.yaml: steps.e: the tool 'e' has no image, and this is a release. Give it one.",
    ]
    again = Plan.read("test", "config/samples.tsv", tmp_path)
    (tmp_path / LOCK).write_text(f"docker://q.example/b:1: {{digest: 'sha256:{B}'}}\n")
    assert again.images["b"] == f"docker://q.example/b@sha256:{B}"
