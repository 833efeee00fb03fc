# ruff: noqa: E501 - macros of one line
"""Tools made of ImageJ macros in one command: what is read from a macro, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from snakescope.errors import InputError
from snakescope.runner.macros import Told, read_macro
from snakescope.runner.scaffold import new_tool
from snakescope.tool.library import read_tool

FIJI = """\
// Smooths and thresholds.
#@ File (label="Input image", style="open") input
#@ File (style="save") maskFile
#@ Integer (label="Radius, in pixels:", value=3, min=1, max=50, style="slider") radius
#@ Double sigma
#@ String (choices={"Otsu", "Li dark"}, style="listBox") method
#@ java.lang.Boolean (value=true) in
#@ String (visibility=MESSAGE, value="Hello") greeting
#@ LogService log
// @File(style="directory") outFolder
#@output String done
open(input);
saveAs("Tiff", maskFile);
"""


def told(folder: Path, text: str) -> tuple[str, list[Told]]:
    path = folder / "a macro.ijm"
    path.write_text(text)
    _, macro = read_macro(path)
    return macro.style, macro.told


def test_script_parameters_tell_types_bounds_and_which_file_is_which(tmp_path: Path) -> None:
    style, found = told(tmp_path, FIJI)
    assert style == "script"
    assert {item.name: item.kind for item in found} == {
        "input": "in",
        "maskFile": "out",
        "radius": "param",
        "sigma": "param",
        "method": "param",
        "in": "param",
        "outFolder": "out",
    }
    by_name = {item.name: item.more for item in found}
    radius = {"type": "integer", "help": "Radius, in pixels.", "min": 1, "max": 50, "default": 3}
    assert by_name["radius"] == radius
    assert by_name["sigma"] == {"type": "number", "help": "Sigma."}
    assert by_name["method"]["choices"] == ["Otsu", "Li dark"]
    assert by_name["in"] == {"type": "boolean", "help": "In.", "default": True}
    assert by_name["maskFile"]["type"] == "mask"
    assert by_name["outFolder"]["directory"] is True


@pytest.mark.parametrize(
    ("text", "style", "kinds"),
    [
        (
            'arg = getArgument();\na = split(arg, ";");\ninput = a[0]; output = a[1]; n = parseInt(a[2]);\nopen(input);',
            ";",
            {"input": "in", "output": "out", "n": "integer"},
        ),
        (
            'a = split(getArgument(), ",");\nopen(a[0]);\nrun("Median...", "radius=" + parseFloat(a[1]));\nsaveAs("PNG", a[2]);',
            ",",
            {"value_0": "in", "value_1": "number", "value_2": "out"},
        ),
        (
            'List.setList(getArgument());\nopen(List.get("it"));\nr = List.getValue("radius");\nw = List.get("word");\n'
            'saveAs("Tiff", List.get("smooth")); // List.get("no")',
            "list",
            {"it": "in", "radius": "number", "word": "text", "smooth": "out"},
        ),
        (
            'List.setList(getArgument());\nx = List.get("a");\nopen(x);\ny = List.get("b");\nFile.saveString("" + nResults, y);',
            "list",
            {"a": "in", "b": "out"},
        ),
    ],
)
def test_what_a_macro_does_with_its_argument_tells_what_it_is(
    tmp_path: Path, text: str, style: str, kinds: dict[str, str]
) -> None:
    found_style, found = told(tmp_path, text)
    assert found_style == style
    assert {item.name: item.more["type"] if item.kind == "param" else item.kind for item in found} == kinds


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("run('Blobs');", "the macro is told nothing: it has neither #@ nor getArgument()"),
        ("open(getArgument());", "the macro writes no file that it is told of"),
        ('#@ File (style="save") x\n', "the macro reads no file that it is told of"),
        (
            "#@ Dataset image\n#@ File[] files\n",
            r"line 1: found the type Dataset; .*\n.*\n.*line 2: found the type File",
        ),
        ("#@ Integer (value=few) n\n", "line 1: found 'few'; expected a number"),
        ('a = split(getArgument(), " ");\nopen(a[0]); save(a[1]);', "splits its argument at ' '; a file name may hold"),
        ("a = split(getArgument());\nopen(a[0]); save(a[1]);", "splits its argument at 'blanks'"),
        ('a = split(getArgument(), ",");\nopen(a[0]); save(a[2]);', r"the macro does not use a\[1\]"),
    ],
)
def test_a_macro_that_does_not_say_enough_is_refused_and_nothing_written(
    tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "m.ijm").write_text(text)
    with pytest.raises(InputError, match=message):
        new_tool("x", tmp_path, macro=tmp_path / "m.ijm")
    assert [path.name for path in tmp_path.iterdir()] == ["m.ijm"]


def test_the_tool_is_sound_and_keeps_the_macro_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "My cells (2).ijm").write_text(FIJI)
    new_tool("cells", tmp_path, macro=tmp_path / "My cells (2).ijm")
    tool = read_tool(tmp_path / "tools/cells")
    assert tool.macro == FIJI
    spec = tool.spec
    assert (spec.macro, spec.argument_style, spec.programs) == (
        "My_cells__2_.ijm",
        "script",
        ["timeout", "ImageJ-linux64"],
    )
    assert spec.told == {
        "input": "{in.input}",
        "maskFile": "{out.mask_file}",
        "radius": "{param.radius}",
        "sigma": "{param.sigma}",
        "method": "{param.method}",
        "in": "{param.in_1}",
        "outFolder": "{out.out_folder}",
    }
    assert spec.outputs["mask_file"].format == "tiff"
    assert spec.params["method"].default == "Otsu"
    assert spec.rembi is not None
    assert "radius {radius}, sigma {sigma}" in spec.rembi.prose


@pytest.mark.parametrize(
    "text",
    [
        '#@ File input\n#@ File (style="save") output\n#@ Float radius_um\nopen(input); saveAs("tiff", output);\n',
        'List.setList(getArgument());\nr = List.getValue("radius_um");\nopen(List.get("input"));\n'
        'saveAs("tiff", List.get("output"));\n',
    ],
)
def test_a_number_whose_name_says_its_unit_has_it(tmp_path: Path, text: str) -> None:
    (tmp_path / "m.ijm").write_text(text)
    new_tool("m", tmp_path, macro=tmp_path / "m.ijm")
    assert read_tool(tmp_path / "tools/m").spec.params["radius_um"].unit == "um"
