"""Results of another environment: which are, and how they are told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from snakescope.environments.images import State
from snakescope.runner.elsewhere import elsewhere_text, made_elsewhere
from snakescope.samples import build_sheet
from snakescope.workflow import Mode, Plan

A, B = "a" * 64, "b" * 64
HOST = {"kind": "host"}
CONDA = {"kind": "conda", "name": "0_", "file": "envs/x.yaml", "sha256": A}
IMAGE = {"kind": "apptainer", "image": "x.sif", "sha256": A}


def plan_of(root: Path, mode: Mode, environment: dict[str, Any] | None) -> Plan:
    """A plan of one step over one row, whose job ran in that environment; with the image that it would have now."""
    step = {"over": [], "tool": "x", "environment": {"conda": "envs/x.yaml", "container": "x.sif"}}
    (root / "x.sif").write_text("image")
    state = State()
    state.files[str((root / "x.sif").absolute())] = (5, (root / "x.sif").stat().st_mtime_ns, A)
    state.write(root)
    if environment is not None:
        (root / "records/r0").mkdir(parents=True)
        samples = json.dumps([f"row {index}" for index in range(2000)])  # a long head
        text = f'{{\n  "samples": {samples},\n  "environment": {json.dumps(environment)},\n  "argv": []\n}}\n'
        (root / "records/r0/x.json").write_text(text)
    sheet = build_sheet(["id", "path"], [{"id": "r0", "path": "p"}])
    return Plan({"pipeline": "p", "steps": {"x": step}}, sheet, mode=mode, root=root)


@pytest.mark.parametrize(
    ("mode", "environment"),
    [
        ("host", None),
        ("host", HOST),
        ("host", {"kind": "conda", "name": "active on the host"}),
        ("conda", CONDA),
        ("conda", {**CONDA, "sha256": B}),
        ("apptainer", IMAGE),
        ("apptainer", {**IMAGE, "image": "/elsewhere/x.sif"}),
        ("apptainer", {**IMAGE, "sha256": None}),
    ],
)
def test_results_of_the_same_environment_are_not_counted(
    mode: Mode, environment: dict[str, Any] | None, tmp_path: Path
) -> None:
    assert made_elsewhere(plan_of(tmp_path, mode, environment)) == {}


@pytest.mark.parametrize(
    ("mode", "environment", "told"),
    [
        ("host", CONDA, "the conda environment of envs/x.yaml"),
        ("host", IMAGE, "the image x.sif"),
        ("conda", HOST, "a machine's own programs"),
        ("conda", {**CONDA, "file": "envs/y.yaml"}, "the conda environment of envs/y.yaml"),
        ("apptainer", HOST, "a machine's own programs"),
        ("apptainer", {**IMAGE, "sha256": B}, "the image x.sif"),
        ("apptainer", {"kind": "apptainer", "image": "y.sif", "sha256": None}, "the image y.sif"),
    ],
)
def test_results_of_another_environment_are_counted(
    mode: Mode, environment: dict[str, Any], told: str, tmp_path: Path
) -> None:
    assert made_elsewhere(plan_of(tmp_path, mode, environment)) == {told: 1}


def test_few_environments_are_named() -> None:
    assert elsewhere_text({}) == ""
    assert elsewhere_text({"one": 3, "two": 1}).startswith(
        "4 results that count as done were made elsewhere: 3 in one, 1 in"
    )
    assert "1 in d, and 2 more. To make them anew, remove" in elsewhere_text(dict.fromkeys("abcdef", 1))
