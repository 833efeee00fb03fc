"""Every test case of every shipped tool, run as a user's `tool test` runs it; and a tool that was just started."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import yaml

from deployment.apptainer import missing
from integration_helpers import snakescope
from snakescope.pipeline import PipelineSpec
from snakescope.runner.cases import run_case
from snakescope.tool.base import parse
from snakescope.tool.library import read_tool

ROOT = Path(__file__).resolve().parents[2]
RAN = yaml.safe_load((ROOT / "tools/ran.yaml").read_text(encoding="utf-8"))
CASES = sorted(ROOT.glob("tools/*/cases/*.yaml"))
# Where there is Apptainer, these run on the machine and in an image (tests/tools/test_*_in_image.py).
TWICE = RAN["automatic"] if shutil.which("apptainer") else []


@pytest.mark.parametrize(
    "path",
    [path for path in CASES if path.parents[1].name not in TWICE],
    ids=lambda path: f"{path.parents[1].name}-{path.stem}",
)
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


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("np.zeros((64, 64), np.uint8)", None),
        ("np.zeros((1, 64, 64), np.uint8)", None),
        ("np.zeros((64, 64), np.float32)", "float32; uint8 is declared"),
        ("np.zeros((3, 64, 64), np.uint8)", "an image of z 3 x y 64 x x 64; y 64 x x 64 is declared"),
        ("np.zeros((64, 32), np.uint8)", "an image of y 64 x x 32; y 64 x x 64 is declared"),
        ("'text'", "no tiff that can be read"),
    ],
)
def test_a_case_fails_whose_output_is_not_the_declared_one(tmp_path: Path, written: str, told: str | None) -> None:
    port = {"type": "image", "description": "d", "format": "tiff"}
    spec = tool_of(
        {"image": {"type": "image", "description": "d"}}, {"image": port | {"file": "o.tif", "like": "image"}}
    )
    tool = tmp_path / "tools/copy"
    (tool / "cases").mkdir(parents=True)
    (tool / "tool.yaml").write_text(yaml.safe_dump(spec | {"id": "copy", "script": "copy.py"}))
    (tool / "copy.py").write_text(WRITES.replace("WRITTEN", written))
    (tool / "cases/one.yaml").write_text("description: d\ngenerator: {name: plane}\nexpect: [{check: one, value: 1}]\n")
    (tool / "cases/generators.py").write_text(PLANE)
    result = run_case(read_tool(tool), tool / "cases/one.yaml", tmp_path / "case")
    assert len(result.problems) == (told is not None)
    if told:
        assert result.problems[0].startswith(f"tool.yaml: outputs.image: the program wrote {told}")


def tool_of(inputs: dict[str, object], outputs: dict[str, object]) -> dict[str, object]:
    head = {"schema": 1, "name": "T", "version": "0.1.0", "tool": {"name": "t", "version": "1"}}
    return head | {"description": "d", "license": "MIT", "inputs": inputs, "outputs": outputs}


WRITES = """\
import sys
import numpy as np, tifffile
path, data = sys.argv[sys.argv.index("--out-image") + 1], WRITTEN
if isinstance(data, str):
    open(path, "w").write(data)
else:
    tifffile.imwrite(path, data, photometric="minisblack")
"""
PLANE = """\
import numpy as np, tifffile
def plane(folder):
    folder.mkdir(exist_ok=True)
    tifffile.imwrite(folder / "i.tif", np.zeros((64, 64), np.uint8))
    return {"image": folder / "i.tif"}
def one(outputs, inputs):
    return 1.0
"""


def test_a_case_that_fails_shows_the_end_of_the_log(tmp_path: Path) -> None:
    tool = make_awk_tool(tmp_path)
    (tool / "lines.awk").write_text('BEGIN { for (i = 0; i < 40; i++) print "line", i > "/dev/stderr"; exit 3 }\n')
    tested = snakescope("tool", "test", "lines", cwd=tmp_path)
    assert tested.returncode == 1
    assert "lines: line 39\n        its log ends:\n          line 20\n" in tested.stdout
    assert "Whole log" not in tested.stdout


def test_a_mistake_in_a_check_fails_its_case_and_says_where(tmp_path: Path) -> None:
    tool = make_awk_tool(tmp_path)
    generators = tool / "cases/generators.py"
    generators.write_text(AWK_GENERATORS.replace('outputs["number"]', 'outputs["nubmer"]'))
    (tool / "cases/two.yaml").write_text(AWK_CASE.replace("name: three", "name: three, args: {size: 4}"))
    tested = snakescope("tool", "test", "lines", cwd=tmp_path)
    assert (tested.returncode, tested.stderr) == (1, "")
    assert "tools/lines/cases/generators.py:7: count() ended with KeyError: 'nubmer'." in tested.stdout
    assert (
        "tools/lines/cases/two.yaml: three() ended with TypeError: three() got an unexpected keyword" in tested.stdout
    )
    assert tested.stdout.endswith("0 passed, 2 failed\n")


def test_the_tool_case_and_pipeline_of_the_documentation_are_sound(tmp_path: Path) -> None:
    """With a stand-in for the program, which labels by scipy."""
    page = (ROOT / "docs/tools-of-your-own.md").read_text(encoding="utf-8")
    descriptor, case, pipeline = (
        next(block for block in re.findall(r"^```yaml\n(.*?)^```", page, re.DOTALL | re.MULTILINE) if begin in block)
        for begin in ("id: threshold", "generator:", "name: objects")
    )
    functions = re.search(r"^```python\nimport(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert functions
    folder = tmp_path / "tools/threshold"
    (folder / "cases").mkdir(parents=True)
    (folder / "tool.yaml").write_text(
        descriptor.replace("[thr, -i", "[python3, thr.py, -i").replace("[thr, ", "[echo, ")
    )
    (folder / "cases/squares.yaml").write_text(case)
    (folder / "cases/generators.py").write_text(f"import{functions[1]}")
    (tmp_path / "thr.py").write_text(THR)
    tested = snakescope("tool", "test", "threshold", cwd=tmp_path)
    assert (tested.stdout[-19:], tested.stderr) == ("1 passed, 0 failed\n", "")
    spec = parse(PipelineSpec, yaml.safe_load(pipeline), "docs")
    assert list(spec.steps) == ["threshold", "again", "overview"]


THR = """\
import os, sys
import numpy as np, tifffile
from scipy.ndimage import label
told = dict(zip(sys.argv[1::2], sys.argv[2::2]))
labels, count = label(tifffile.imread(told["-i"]) >= int(told["-t"]))
tifffile.imwrite(told["-o"], labels.astype(np.uint16))
os.mkdir(told["--parts"])
"""


def test_a_number_that_is_off_fails_the_case(tmp_path: Path) -> None:
    snakescope("tool", "new", "smooth", cwd=tmp_path)
    case = tmp_path / "tools/smooth/cases/works.yaml"
    case.write_text(case.read_text().replace("value: 9.947", "value: 9"))
    tested = snakescope("tool", "test", "smooth", cwd=tmp_path)
    assert tested.returncode == 1
    assert "FAILED  smooth/works" in tested.stdout
    assert "peak is 9.9" in tested.stdout
    assert "expected 9 ± 0.05" in tested.stdout
