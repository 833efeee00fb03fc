"""Finding tools in folders: which one is meant, and what is wrong with those asked for."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from snakescope.errors import InputError
from snakescope.tool.library import find_tool, read_library, read_tool, tool_folders

TEXT = """\
schema: 1
id: {id}
name: {name}
version: 1.0.0
tool: {{name: p, version: "1"}}
description: d
license: MIT
inputs: {{}}
outputs:
  file: {{type: file, description: d, file: x.txt, format: txt}}
{run}
"""


def make(root: Path, folder: str, *, id: str | None = None, name: str = "N", run: str = "command: [p]") -> Path:
    path = root / folder / "tool.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(TEXT.format(id=id or folder, name=name, run=run))
    return path.parent


def test_a_tool_carries_the_digest_of_its_descriptor_and_of_its_own_program(tmp_path: Path) -> None:
    folder = make(tmp_path, "blur", run="script: blur.py")
    (folder / "blur.py").write_text("print(1)\n")
    tool = read_tool(folder)
    assert tool.sha256 == hashlib.sha256((folder / "tool.yaml").read_bytes()).hexdigest()
    assert tool.script_sha256 == hashlib.sha256(b"print(1)\n").hexdigest()


def test_a_program_that_lies_elsewhere_has_no_digest_of_its_own(tmp_path: Path) -> None:
    assert read_tool(make(tmp_path, "blur", run="script: blur.py")).script_sha256 is None


def test_a_program_that_a_command_names_lies_beside_the_descriptor(tmp_path: Path) -> None:
    folder = make(tmp_path, "count", run='script: count.R\ncommand: [Rscript, "{script}"]')
    with pytest.raises(InputError, match=r"tool\.yaml: script: there is no file count\.R beside it"):
        read_tool(folder)
    (folder / "count.R").write_text("1\n")
    assert read_tool(folder).script_sha256 == hashlib.sha256(b"1\n").hexdigest()


def test_the_id_is_the_name_of_the_folder(tmp_path: Path) -> None:
    folder = make(tmp_path, "blur", id="blurr")
    with pytest.raises(InputError, match=r"tool\.yaml: id: found 'blurr'; expected the name of its folder, 'blur'\.$"):
        read_tool(folder)


def test_a_tool_of_the_study_hides_the_shipped_one_of_the_same_name(tmp_path: Path) -> None:
    make(tmp_path / "study", "blur", name="Mine")
    make(tmp_path / "shipped", "blur", name="Theirs")
    make(tmp_path / "shipped", "another")
    roots = [tmp_path / "study", tmp_path / "shipped"]
    assert list(tool_folders(roots)) == ["another", "blur"]
    assert find_tool("blur", roots).spec.name == "Mine"


def test_a_tool_can_be_named_by_its_folder(tmp_path: Path) -> None:
    folder = make(tmp_path, "blur")
    assert find_tool(f"{folder}", []).folder == folder


def test_an_unknown_tool_is_told_with_the_nearest_name_or_all_of_them(tmp_path: Path) -> None:
    make(tmp_path, "deskew")
    make(tmp_path, "track")
    with pytest.raises(InputError, match=r"tool 'desqew': there is no such tool\.\n    Did you mean 'deskew'\?"):
        find_tool("desqew", [tmp_path])
    with pytest.raises(InputError, match=r"There are: deskew, track\."):
        find_tool("xyz", [tmp_path])
    with pytest.raises(InputError, match=r"There are: none\."):
        find_tool("xyz", [tmp_path / "nowhere"])


def test_the_problems_of_all_tools_asked_for_are_told_at_once_and_of_no_other(tmp_path: Path) -> None:
    make(tmp_path, "first", name="[1]")
    make(tmp_path, "second", run="command: []")
    make(tmp_path, "third", run="nonsense: 1")
    with pytest.raises(InputError) as caught:
        read_library([tmp_path], ["second", "first", "not_there"])
    assert [(p.where.removeprefix(f"{tmp_path}/"), p.message) for p in caught.value.problems] == [
        ("second/tool.yaml: command", "found an empty list; expected the program and its arguments"),
        ("first/tool.yaml: name", "found [1]; expected text"),
    ]


def test_cases_come_in_the_order_of_their_names(tmp_path: Path) -> None:
    folder = make(tmp_path, "blur")
    (folder / "cases").mkdir()
    for name in ("b.yaml", "a.yaml", "generators.py"):
        (folder / "cases" / name).touch()
    assert [path.name for path in read_tool(folder).cases] == ["a.yaml", "b.yaml"]
