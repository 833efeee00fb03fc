# ruff: noqa: E501 - tables of whole messages
"""Pipelines: what is wired to what, in which order, and what each mistake in the file is called."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from snakescope import layout
from snakescope.errors import InputError
from snakescope.pipeline import ColumnValue, FileWire, Pipeline, SheetWire, StepWire, read_pipeline

IMAGE_IN = {"type": "image", "description": "An image.", "formats": ["ome-zarr", "tiff"], "axes": "t?zyx"}
IMAGE_OUT = {"type": "image", "description": "d", "file": "i.ome.zarr", "format": "ome-zarr", "like": "image"}
TABLE_OUT = {"type": "table", "description": "d", "file": "t.csv", "format": "csv"}
TOOLS: dict[str, dict[str, Any]] = {
    "smooth": {
        "inputs": {"image": {**IMAGE_IN, "dtype": ["uint16", "float32"]}},
        "outputs": {"image": {**IMAGE_OUT, "dtype": "float32"}},
        "params": {
            "sigma_um": {"type": "number", "above": 0, "max": 9, "unit": "um", "help": "Width."},
            "mode": {"type": "choice", "choices": ["near", "wrap"], "default": "near", "help": "Border."},
        },
    },
    "find": {
        "inputs": {"image": IMAGE_IN, "psf": {"type": "psf", "description": "A spot.", "optional": True}},
        "outputs": {
            "points": {"type": "points", "description": "d", "file": "p.csv", "format": "csv"},
            "table": TABLE_OUT,
        },
    },
    "label": {
        "inputs": {"image": {**IMAGE_IN, "axes": "zyx"}},
        "outputs": {"labels": {**IMAGE_OUT, "type": "labels", "dtype": "uint32"}},
    },
    "flat": {
        "inputs": {"image": {**IMAGE_IN, "axes": "yx", "dtype": ["uint8"], "formats": ["tiff"]}},
        "outputs": {"table": TABLE_OUT},
    },
    "copy_it": {"inputs": {"image": {"type": "image", "description": "d"}}, "outputs": {"image": IMAGE_OUT}},
    "link": {
        "inputs": {
            "points": {"type": "points", "description": "d", "many": True, "optional": True},
            "labels": {"type": "labels", "description": "d", "many": True, "optional": True},
        },
        "outputs": {"tracks": {"type": "tracks", "description": "d", "file": "k.csv", "format": "csv"}},
        "one_of": [["points", "labels"]],
    },
    "sum_up": {"inputs": {"table": {"type": "table", "description": "Rows."}}, "outputs": {"table": TABLE_OUT}},
}


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("tools")
    common = {
        "schema": 1,
        "version": "1.0.0",
        "tool": {"name": "p", "version": "1"},
        "description": "d",
        "license": "MIT",
    }
    for name, parts in TOOLS.items():
        (root / name).mkdir()
        text = yaml.safe_dump({**common, "id": name, "name": name, "command": ["p"], **parts}, sort_keys=False)
        (root / name / "tool.yaml").write_text(text)
    return [root]


FIRST = {"tool": "smooth", "inputs": {"image": "sheet.path"}, "params": {"sigma_um": 1}}


def write(folder: Path, steps: dict[str, Any], **keys: Any) -> Path:
    path = folder / "test.yaml"
    data = {"schema": 1, "name": "test", "title": "T", "steps": steps, **keys}
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    return path


def read(folder: Path, roots: list[Path], steps: dict[str, Any], **keys: Any) -> Pipeline:
    return read_pipeline(write(folder, steps, **keys), roots)


def problems(folder: Path, roots: list[Path], steps: dict[str, Any], **keys: Any) -> list[str]:
    with pytest.raises(InputError) as caught:
        read(folder, roots, steps, **keys)
    return [str(found).removeprefix(f"{folder}/test.yaml: ") for found in caught.value.problems]


def test_steps_are_resolved_with_their_wires_and_values(tmp_path: Path, roots: list[Path]) -> None:
    pipeline = read(
        tmp_path,
        roots,
        {
            "link": {"tool": "link", "over": ["series", "c"], "inputs": {"points": "find.points"}},
            "find": {"tool": "find", "inputs": {"psf": {"file": "config/p.tif"}, "image": "blur.image"}, "keep": False},
            "blur": {"tool": "smooth", "inputs": {"image": "sheet.path"}, "params": {"sigma_um": {"column": "width"}}},
        },
    )
    assert list(pipeline.steps) == ["blur", "find", "link"]
    blur, find, link = pipeline.steps.values()
    assert blur.params == {"sigma_um": ColumnValue(column="width"), "mode": "near"}
    assert list(find.wires.items()) == [("image", StepWire("blur", "image")), ("psf", FileWire("config/p.tif"))]
    assert (blur.wires["image"], find.keep, link.keep) == (SheetWire("path"), False, True)
    assert (blur.over, blur.wildcard, link.over, link.wildcard) == ((), "sample", ("series", "c"), "series_c")
    assert pipeline.columns == ["c", "path", "series", "width"]
    assert pipeline.sha256 == hashlib.sha256(pipeline.path.read_bytes()).hexdigest()


def test_the_example_of_the_docs_is_sound(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs/pipelines.md").read_text(encoding="utf-8")
    example = page.split("```yaml\n")[1].split("```")[0]
    (tmp_path / "films.yaml").write_text(example, encoding="utf-8")
    pipeline = read_pipeline(tmp_path / "films.yaml", layout.tool_roots(tmp_path))
    assert list(pipeline.steps) == ["convert", "detect", "track", "measure", "render"]


def test_the_shipped_pipelines_are_sound() -> None:
    for path in sorted((layout.assets() / "config/pipelines").glob("*.yaml")):
        assert read_pipeline(path, layout.tool_roots(Path())).spec.name == path.stem


STEP = {"tool": "smooth", "inputs": {"image": "sheet.path"}, "params": {"sigma_um": 1}}


@pytest.mark.parametrize(
    ("step", "found"),
    [
        ({"tool": "smoth"}, ["steps.b.tool: there is no tool 'smoth'.\n    Did you mean 'smooth'?"]),
        ({"tool": "zzz"}, ["steps.b.tool: there is no tool 'zzz'.\n    There are: copy_it, find, flat, label, link, smooth, sum_up."]),
        ({"tool": "../smooth"}, ["steps.b.tool: there is no tool '../smooth'.\n    Did you mean 'smooth'?"]),
        ({"inputs": {}}, ["steps.b.inputs.image: is missing (image: An image)."]),
        ({"inputs": {"image": "sheet.path", "imgae": "a.image"}}, ["steps.b.inputs.imgae: the tool 'smooth' has no input 'imgae' (it has: image).\n    Did you mean 'image'?"]),
        ({"inputs": {"image": "aa.image"}}, ["steps.b.inputs.image: there is no step 'aa' (there are: a, b).\n    Did you mean 'a'?"]),
        ({"inputs": {"image": "sheat.path"}}, ["steps.b.inputs.image: there is no step 'sheat' (there are: a, b).\n    Did you mean 'sheet'?"]),
        ({"inputs": {"image": "a.imag"}}, ["steps.b.inputs.image: step 'a' has no output 'imag' (it has: image).\n    Did you mean 'image'?"]),
        ({"inputs": {"image": "a"}}, ["steps.b.inputs.image: found 'a'; expected step.output, sheet.column or {file: path}."]),
        ({"inputs": {"image": "a.image.x"}}, ["steps.b.inputs.image: found 'a.image.x'; expected step.output, sheet.column or {file: path}."]),
        ({"inputs": {"image": ".image"}}, ["steps.b.inputs.image: found '.image'; expected step.output, sheet.column or {file: path}."]),
        ({"inputs": {"image": "raw/a b.tif"}}, ["steps.b.inputs.image: there is no step 'raw/a b' (there are: a, b)."]),
        ({"inputs": {"image": {"file": ""}}}, ["steps.b.inputs.image: found an empty path; expected a file name."]),
        ({"inputs": {"image": {"file": "a\nb"}}}, ["steps.b.inputs.image: found the control character '\\n'; expected one line of text."]),
        ({"inputs": {"image": {"path": "x"}}}, ["steps.b.inputs.image.file: is missing.", "steps.b.inputs.image.path: unknown key.\n    Known keys: file."]),
        ({"inputs": {"image": 5}}, ["steps.b.inputs.image: found 5; expected text or `key: value` lines."]),
        ({"inputs": {"image": ["a.image"]}}, ["steps.b.inputs.image: found ['a.image']; expected text or `key: value` lines."]),
        ({"params": {}}, ["steps.b.params.sigma_um: is missing and has no default.\n    Width."]),
        ({"params": {"sigma_um": None}}, ["steps.b.params.sigma_um: found null; expected a value.\n    Width."]),
        ({"params": {"sigma_um": 10}}, ["steps.b.params.sigma_um: found 10; expected a number at most 9 and above 0 in um.\n    Width."]),
        ({"params": {"sigma_um": "2 px"}}, ["steps.b.params.sigma_um: found '2 px' with the unit 'px'; expected a bare number in um.\n    Width."]),
        ({"params": {"sigma_um": 1, "mode": True}}, ["steps.b.params.mode: found True; expected one of: near, wrap.\n    Border."]),
        ({"params": {"sigma_um": 1, "mod": "wrap"}}, ["steps.b.params.mod: the tool 'smooth' has no parameter 'mod'.\n    Did you mean 'mode'?"]),
        ({"params": {"sigma_um": {"colum": "w"}}}, ["steps.b.params.sigma_um: found {'colum': 'w'}; expected a number in um.\n    Width."]),
        ({"keep": "no"}, ["steps.b.keep: found 'no'; expected true or false."]),
        ({"inptus": {}}, ["steps.b.inptus: unknown key.\n    Did you mean 'inputs'?"]),
        ({"over": 7}, ["steps.b.over: found 7; expected text or a list."]),
        ({"over": "my column"}, ["steps.b.over: found 'my column'; expected text of the form ^[A-Za-z][A-Za-z0-9_]*$."]),
        ({"over": ["a", "b-c"]}, ["steps.b.over.1: found 'b-c'; expected text of the form ^[A-Za-z][A-Za-z0-9_]*$."]),
        ({"over": []}, ["steps.b.over: found an empty list; expected columns of the sheet.\n    Leave `over` out to run over rows."]),
    ],
)  # fmt: skip
def test_one_mistake_in_a_step_is_one_problem_with_its_key(
    tmp_path: Path, roots: list[Path], step: dict[str, Any], found: list[str]
) -> None:
    assert problems(tmp_path, roots, {"a": FIRST, "b": {**STEP, **step}}) == found


@pytest.mark.parametrize(
    ("over", "found"),
    [
        (["row", "series"], "found 'row' in a list; expected columns of the sheet.\n    Write `over: row`."),
        (["series", "c", "series"], "the column 'series' stands twice."),
        ("count", "Snakemake takes no wildcard 'count'.\n    Call the column of the sheet otherwise."),
        ("class", "Snakemake takes no wildcard 'class'.\n    Call the column of the sheet otherwise."),
        (["size", "gb"], "Snakemake takes no wildcard 'size'.\n    Call the column of the sheet otherwise."),
    ],
)
def test_columns_that_cannot_group_rows_are_refused(tmp_path: Path, roots: list[Path], over: Any, found: str) -> None:
    steps = {"link": {"tool": "link", "over": over, "inputs": {"points": "sheet.path"}}}
    assert f"steps.link.over: {found}" in problems(tmp_path, roots, steps)


@pytest.mark.parametrize("name", ["all", "sheet", "plan", "row", "class", "import"])
def test_a_step_cannot_have_a_name_that_the_workflow_uses(tmp_path: Path, roots: list[Path], name: str) -> None:
    assert problems(tmp_path, roots, {name: FIRST}) == [
        f"steps.{name}: the name '{name}' is taken by the workflow itself.\n    Call the step otherwise."
    ]


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        ({"name": "other"}, "name: found 'other'; expected the file's name 'test'."),
        ({"schema": 2}, "schema: found 2; expected 1."),
        ({"titel": "x"}, "titel: unknown key.\n    Did you mean 'title'?"),
        ({"title": None}, "title: found None; expected text."),
        ({"steps": {}}, "steps: found {}; expected one or more."),
        ({"steps": {"A": FIRST}}, "steps.A: found 'A'; expected lower-case letters, digits and '_', a letter first."),
        ({"steps": {1: FIRST}}, "steps.1: found 1; expected text."),
    ],
)
def test_one_mistake_beside_the_steps_is_one_problem(
    tmp_path: Path, roots: list[Path], keys: dict[str, Any], found: str
) -> None:
    assert problems(tmp_path, roots, keys.pop("steps", {"a": FIRST}), **keys) == [found]


def test_types_that_do_not_fit_are_refused_and_those_that_do_are_taken(tmp_path: Path, roots: list[Path]) -> None:
    steps = {
        "a": FIRST,
        "f": {"tool": "find", "inputs": {"image": "a.image", "psf": "a.image"}},
        "s": {"tool": "sum_up", "inputs": {"table": "f.points"}},
        "bad": {"tool": "sum_up", "inputs": {"table": "a.image"}},
        "worse": {"tool": "smooth", "inputs": {"image": "f.table"}, "params": {"sigma_um": 1}},
    }
    assert problems(tmp_path, roots, steps) == [
        "steps.bad.inputs.table: found image (a.image); expected table.",
        "steps.worse.inputs.image: found table (f.table); expected image.",
    ]


def test_format_axes_and_dtype_that_do_not_fit_are_each_told(tmp_path: Path, roots: list[Path]) -> None:
    assert problems(tmp_path, roots, {"a": FIRST, "flat": {"tool": "flat", "inputs": {"image": "a.image"}}}) == [
        "steps.flat.inputs.image: a.image is ome-zarr; the tool reads tiff.",
        "steps.flat.inputs.image: a.image has the axes tzyx or zyx; the tool needs yx.",
        "steps.flat.inputs.image: a.image holds float32; the tool takes uint8.",
    ]


def test_axes_and_dtype_are_followed_through_steps_that_keep_them(tmp_path: Path, roots: list[Path]) -> None:
    steps = {
        "a": FIRST,
        "c": {"tool": "copy_it", "inputs": {"image": "a.image"}},
        "l": {"tool": "label", "inputs": {"image": "c.image"}},
        "d": {"tool": "copy_it", "inputs": {"image": "c.image"}},
        "flat": {"tool": "flat", "inputs": {"image": "d.image"}},
    }
    assert problems(tmp_path, roots, steps)[1:] == [
        "steps.flat.inputs.image: d.image has the axes tzyx or zyx; the tool needs yx.",
        "steps.flat.inputs.image: d.image holds float32; the tool takes uint8.",
    ]


def test_a_misfit_of_axes_is_told_where_it_is_and_not_again_downstream(tmp_path: Path, roots: list[Path]) -> None:
    flat_image = {**TOOLS["flat"]["inputs"]["image"], "dtype": [], "formats": []}
    root = tmp_path / "more"
    (root / "thin").mkdir(parents=True)
    data = yaml.safe_load((roots[0] / "flat/tool.yaml").read_text())
    data |= {"id": "thin", "inputs": {"image": flat_image}, "outputs": {"image": IMAGE_OUT}}
    (root / "thin/tool.yaml").write_text(yaml.safe_dump(data))
    steps = {
        "a": FIRST,
        "thin": {"tool": "thin", "inputs": {"image": "a.image"}},
        "z": {"tool": "smooth", "inputs": {"image": "thin.image"}, "params": {"sigma_um": 1}},
    }
    assert problems(tmp_path, [*roots, root], steps) == [
        "steps.thin.inputs.image: a.image has the axes tzyx or zyx; the tool needs yx."
    ]


def test_steps_in_a_ring_are_named(tmp_path: Path, roots: list[Path]) -> None:
    steps = {
        "a": {**STEP, "inputs": {"image": "c.image"}},
        "b": {**STEP, "inputs": {"image": "a.image"}},
        "c": {**STEP, "inputs": {"image": "b.image"}},
    }
    (found,) = problems(tmp_path, roots, steps)
    ring = found.removeprefix("steps: the steps wait for each other in a ring: ").removesuffix(
        ".\n    Remove one wire."
    )
    assert set(ring.split(" <- ")) == {"a", "b", "c"}
    assert len(ring.split(" <- ")) == 4


def test_a_step_that_waits_for_itself_is_a_ring(tmp_path: Path, roots: list[Path]) -> None:
    assert problems(tmp_path, roots, {"a": {**STEP, "inputs": {"image": "a.image"}}}) == [
        "steps: the steps wait for each other in a ring: a <- a.\n    Remove one wire."
    ]


@pytest.mark.parametrize(
    ("inputs", "found"),
    [
        ({}, "none"),
        ({"points": "find.points", "labels": "label.labels"}, "points, labels"),
    ],
)
def test_exactly_one_of_the_alternative_inputs_is_wired(
    tmp_path: Path, roots: list[Path], inputs: dict[str, str], found: str
) -> None:
    steps = {
        "find": {"tool": "find", "inputs": {"image": "sheet.path"}},
        "label": {"tool": "label", "inputs": {"image": "sheet.path"}},
        "link": {"tool": "link", "over": "series", "inputs": inputs},
    }
    assert problems(tmp_path, roots, steps) == [
        f"steps.link.inputs: found {found}; expected exactly one of: points, labels."
    ]


def test_a_job_over_a_group_needs_a_port_for_many_files(tmp_path: Path, roots: list[Path]) -> None:
    steps = {
        "find": {"tool": "find", "inputs": {"image": "sheet.path"}},
        "all_rows": {"tool": "sum_up", "over": "series", "inputs": {"table": "find.table"}},
        "raw": {"tool": "find", "over": ["plate", "well"], "inputs": {"image": "sheet.path"}},
    }
    assert problems(tmp_path, roots, steps) == [
        "steps.all_rows.inputs.table: takes one file, but a job over series gathers several from 'find' over row.\n"
        "    Let 'all_rows' and 'find' run over the same.",
        "steps.raw.inputs.image: takes one file, but a job over plate, well has one for each row.\n    Use `over: row`.",
    ]


def test_a_row_reads_the_output_of_its_group_and_groups_of_one_kind_read_each_other(
    tmp_path: Path, roots: list[Path]
) -> None:
    steps = {
        "find": {"tool": "find", "inputs": {"image": "sheet.path"}},
        "link": {"tool": "link", "over": "series", "inputs": {"points": "find.points"}},
        "same": {"tool": "sum_up", "over": "series", "inputs": {"table": "link.tracks"}},
        "one_row": {"tool": "sum_up", "inputs": {"table": "link.tracks"}},
    }
    assert list(read(tmp_path, roots, steps).steps) == ["find", "link", "same", "one_row"]


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file(tmp_path: Path, roots: list[Path]) -> None:
    steps = {
        "z": {"tool": "nothing"},
        "y": {"tool": "smooth", "inputs": {"image": "z.image", "x": "y"}, "params": {"sigma_um": -1, "q": 1}},
        "class": {"tool": "link", "over": ["t", "t"]},
        "w": {"tool": "find", "inputs": {"image": "y.q"}},
    }
    found = [text.split(":")[0] for text in problems(tmp_path, roots, steps, name="other")]
    assert found == [
        "name", "steps.z.tool", "steps.y.inputs.x", "steps.y.params.sigma_um", "steps.y.params.q", "steps.class",
        "steps.class.over", "steps.class.inputs", "steps.w.inputs.image",
    ]  # fmt: skip


def test_mistakes_in_a_tool_are_told_together_with_those_of_the_pipeline(tmp_path: Path, roots: list[Path]) -> None:
    (tmp_path / "tools/broken").mkdir(parents=True)
    (tmp_path / "tools/broken/tool.yaml").write_text("schema: 1\n")
    steps = {"a": {"tool": "broken"}, "b": {**STEP, "params": {"sigma_um": 0}}}
    with pytest.raises(InputError) as caught:
        read(tmp_path, [*roots, tmp_path / "tools"], steps)
    places = [p.where.removeprefix(f"{tmp_path}/") for p in caught.value.problems]
    assert places[0] == "tools/broken/tool.yaml: id"
    assert places[-1] == "test.yaml: steps.b.params.sigma_um"
    assert not any("steps.a" in place for place in places)


@settings(max_examples=40, deadline=None)
@given(st.permutations(list("abcdefg")), st.data())
def test_steps_follow_what_they_need_and_otherwise_the_file(
    tmp_path_factory: pytest.TempPathFactory, roots: list[Path], names: list[str], data: st.DataObject
) -> None:
    steps: dict[str, Any] = {}
    for index, name in enumerate(names):
        above = data.draw(st.sampled_from([None, *names[:index]]))
        steps[name] = {**STEP, "inputs": {"image": f"{above}.image" if above else "sheet.path"}}
    file_order = data.draw(st.permutations(names))
    folder = tmp_path_factory.mktemp("order")
    pipeline = read(folder, roots, {name: steps[name] for name in file_order})
    order = list(pipeline.steps)
    needs = {name: steps[name]["inputs"]["image"].partition(".")[0] for name in names}
    for place, name in enumerate(order):
        assert needs[name] == "sheet" or needs[name] in order[:place]
        ready = [n for n in file_order if n not in order[:place] and (needs[n] == "sheet" or needs[n] in order[:place])]
        assert name == ready[0]
    assert list(read_pipeline(pipeline.path, roots).steps) == order
