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
    assert (lint.returncode, lint.stdout) == (0, "1 tool of its own is sound\n")
    tested = snakescope("tool", "test", "smooth", cwd=tmp_path)
    assert (tested.returncode, tested.stderr) == (0, "")
    assert tested.stdout.endswith("1 passed, 0 failed\n")


AWK_TOOL = """\
schema: 1
id: lines
name: Lines
version: 0.1.0
tool: {name: awk, version: "1"}
description: Counts lines.
license: MIT
inputs: {table: {type: table, description: A table.}}
outputs: {number: {type: file, description: The count., file: count.txt, format: txt}}
params: {factor: {type: number, default: 1, help: A factor.}}
script: lines.awk
command: [sh, -c, 'awk -f "$1" -v f="$2" "$3" >"$4"', sh, "{script}", "{param.factor}", "{in.table}", "{out.number}"]
"""
AWK_CASE = """\
description: Three lines are counted.
generator: {name: three}
params: {factor: 2}
expect: [{check: count, value: 6}]
"""
AWK_GENERATORS = """\
def three(folder):
    (folder / "t.csv").write_text("a" + 2 * chr(10) + "b" + chr(10))
    return {"table": folder / "t.csv"}


def count(outputs, inputs):
    return float(outputs["number"].read_text())
"""


def make_awk_tool(root: Path, descriptor: str = AWK_TOOL) -> Path:
    folder = root / "tools/lines"
    (folder / "cases").mkdir(parents=True)
    texts = {"tool.yaml": descriptor, "lines.awk": "END { print NR * f }\n", "cases/three.yaml": AWK_CASE}
    for name, text in (texts | {"cases/generators.py": AWK_GENERATORS}).items():
        (folder / name).write_text(text)
    return folder


def test_a_program_of_any_kind_lies_beside_its_descriptor(tmp_path: Path) -> None:
    make_awk_tool(tmp_path / "study")
    tested = snakescope("tool", "test", "lines", "--study", "study", cwd=tmp_path)
    assert (tested.returncode, tested.stderr) == (0, "")
    assert tested.stdout.endswith("1 passed, 0 failed\n")


def test_lint_tells_what_a_program_is_never_told_and_a_program_that_is_not_there(tmp_path: Path) -> None:
    tool = make_awk_tool(tmp_path, AWK_TOOL.replace('"{param.factor}", "{in.table}", ', "")) / "tool.yaml"
    lint = snakescope("lint", cwd=tmp_path)
    assert lint.returncode == 2
    assert "tools/lines/tool.yaml: inputs.table: the `command` does not name it" in lint.stderr
    assert "tools/lines/tool.yaml: params.factor: the `command` does not name it" in lint.stderr
    text = AWK_TOOL.partition("script:")[0]
    tool.write_text(f"{text}script: linse.py\n")
    assert (
        "tools/lines/tool.yaml: script: there is no file linse.py beside it" in snakescope("lint", cwd=tmp_path).stderr
    )


def test_a_number_that_is_off_fails_the_case(tmp_path: Path) -> None:
    snakescope("tool", "new", "smooth", cwd=tmp_path)
    case = tmp_path / "tools/smooth/cases/works.yaml"
    case.write_text(case.read_text().replace("value: 9.947", "value: 9"))
    tested = snakescope("tool", "test", "smooth", cwd=tmp_path)
    assert tested.returncode == 1
    assert "FAILED  smooth/works" in tested.stdout
    assert "peak is 9.9" in tested.stdout
    assert "expected 9 ± 0.05" in tested.stdout
