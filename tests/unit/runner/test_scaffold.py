"""A tool that was just started, and names that cannot be one."""

from __future__ import annotations

from pathlib import Path

import pytest

from snakescope.errors import InputError
from snakescope.runner.cases import run_case
from snakescope.runner.scaffold import new_tool
from snakescope.tool.library import read_tool


def test_a_new_tool_is_sound_and_gives_the_numbers_of_its_case(tmp_path: Path) -> None:
    written = new_tool("my_blur2", tmp_path)
    assert sorted(path.relative_to(tmp_path).as_posix() for path in written) == [
        "config/case.schema.json",
        "config/pipeline.schema.json",
        "config/tool.schema.json",
        "tools/my_blur2/cases/generators.py",
        "tools/my_blur2/cases/works.yaml",
        "tools/my_blur2/my_blur2.py",
        "tools/my_blur2/tool.yaml",
    ]
    for text in ("tool.yaml", "cases/works.yaml"):
        path = tmp_path / "tools/my_blur2" / text
        schema = path.read_text().splitlines()[0].removeprefix("# yaml-language-server: $schema=")
        assert (path.parent / schema).is_file()
    tool = read_tool(tmp_path / "tools/my_blur2")
    assert (tool.spec.id, tool.spec.name) == ("my_blur2", "My blur2")
    (case,) = tool.cases
    result = run_case(tool, case, tmp_path)
    assert result.problems == []
    # a point of 1000 under a Gaussian of 4 pixels: 1000 / (2 pi 16)
    assert result.found["1:peak"] == pytest.approx(9.947, abs=0.05)


@pytest.mark.parametrize("name", ["", "Blur", "2d", "a-b", "a b", "a/b", "../a", "é", "_a", "a" * 41])
def test_names_that_cannot_be_ids_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="expected lower-case letters, digits and '_'"):
        new_tool(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_tool_that_is_there_is_left_alone(tmp_path: Path) -> None:
    new_tool("blur", tmp_path)
    (tmp_path / "tools/blur/blur.py").write_text("mine")
    with pytest.raises(InputError, match="tools/blur: is there already"):
        new_tool("blur", tmp_path)
    assert (tmp_path / "tools/blur/blur.py").read_text() == "mine"
