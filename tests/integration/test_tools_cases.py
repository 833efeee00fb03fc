"""Every test case of every shipped tool, run as a user's `tool test` runs it; and a tool that was just started."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from deployment.apptainer import missing
from integration_helpers import snakescope
from snakescope.runner.cases import run_case
from snakescope.tool.library import read_tool

ROOT = Path(__file__).resolve().parents[2]
RAN = yaml.safe_load((ROOT / "tools/ran.yaml").read_text(encoding="utf-8"))
CASES = sorted(ROOT.glob("tools/*/cases/*.yaml"))


@pytest.mark.parametrize("path", CASES, ids=lambda path: f"{path.parents[1].name}-{path.stem}")
def test_case_gives_its_numbers(path: Path, tmp_path: Path) -> None:
    result = run_case(read_tool(path.parents[1]), path, tmp_path)
    if result.missing and path.parents[1].name in RAN["automatic"]:
        missing(" ".join(result.missing))
    if result.missing:
        pytest.skip(" ".join(result.missing))
    assert result.problems == []
    expected = yaml.safe_load(path.read_text(encoding="utf-8"))["expect"]
    assert [key.partition(":")[2] for key in result.found] == [item["check"] for item in expected]


@pytest.mark.parametrize("tool", sorted(path.parent.name for path in ROOT.glob("tools/*/tool.yaml")))
def test_every_tool_has_a_case_with_a_number_within_a_tolerance(tool: str) -> None:
    cases = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in CASES if path.parents[1].name == tool]
    numbers = [item for case in cases for item in case["expect"] if {"value", "at_least", "at_most"} & set(item)]
    assert len(numbers) >= 2


def test_a_new_tool_is_sound_and_passes(tmp_path: Path) -> None:
    assert snakescope("tool", "new", "smooth", cwd=tmp_path).returncode == 0
    lint = snakescope("lint", cwd=tmp_path)
    assert (lint.returncode, lint.stdout) == (0, "1 tools of its own are sound\n")
    tested = snakescope("tool", "test", "smooth", cwd=tmp_path)
    assert (tested.returncode, tested.stderr) == (0, "")
    assert tested.stdout.endswith("1 passed, 0 failed\n")


def test_a_number_that_is_off_fails_the_case(tmp_path: Path) -> None:
    snakescope("tool", "new", "smooth", cwd=tmp_path)
    case = tmp_path / "tools/smooth/cases/works.yaml"
    case.write_text(case.read_text().replace("value: 9.947", "value: 9"))
    tested = snakescope("tool", "test", "smooth", cwd=tmp_path)
    assert tested.returncode == 1
    assert "FAILED  smooth/works" in tested.stdout
    assert "peak is 9.9" in tested.stdout
    assert "expected 9 ± 0.05" in tested.stdout
