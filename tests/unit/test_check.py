# ruff: noqa: E501 - tables of whole messages
"""The rows of a sheet against a pipeline: every reason why a row cannot go through, with its line and column."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from snakescope.check import check_rows
from snakescope.pipeline import Pipeline, read_pipeline
from snakescope.samples import build_sheet, read_sheet, write_sheet

OUT = {"type": "table", "description": "d", "file": "t.csv", "format": "csv"}
TOOL: dict[str, Any] = {
    "schema": 1, "id": "measure_it", "name": "M", "version": "1.0.0", "tool": {"name": "p", "version": "1"},
    "description": "d", "license": "MIT", "command": ["p"],
    "inputs": {
        "image": {
            "type": "image", "description": "d", "formats": ["ome-zarr", "tiff"], "axes": "t?zyx", "dtype": ["uint16"],
            "requires": ["pixel_size", "time_step"], "many": True,
        },
        "mask": {"type": "mask", "description": "d", "optional": True, "many": True},
    },
    "outputs": {"table": OUT},
    "params": {
        "size_um": {"type": "number", "default": 1, "above": 0, "below": 10, "unit": "um", "help": "h"},
        "rounds": {"type": "integer", "default": 1, "min": 1, "help": "h"},
        "fast": {"type": "boolean", "default": False, "help": "h"},
        "way": {"type": "choice", "choices": ["a", "b"], "default": "a", "help": "h"},
        "range": {"type": "numbers", "default": None, "max": 100, "help": "h"},
        "label": {"type": "text", "default": "", "help": "h"},
    },
}  # fmt: skip
GOOD = {
    "id": "s1", "path": "raw/a.tif", "format": "tiff", "axes": "tzyx", "shape": "3,4,5,6", "dtype": "uint16",
    "voxel_size_um": "0.3,0.1,0.1", "time_step_s": "2", "series": "one", "t": "", "mask_path": "raw/m.tif", "value": "",
}  # fmt: skip


def pipeline(folder: Path, **step: Any) -> Pipeline:
    tool = folder / "tools/measure_it/tool.yaml"
    tool.parent.mkdir(parents=True, exist_ok=True)
    tool.write_text(yaml.safe_dump(TOOL))
    steps = {"m": {"tool": "measure_it", "inputs": {"image": "sheet.path"}, **step}}
    path = folder / "test.yaml"
    path.write_text(yaml.safe_dump({"schema": 1, "name": "test", "title": "T", "steps": steps}))
    return read_pipeline(path, [folder / "tools"])


def found(folder: Path, *rows: dict[str, str], drop: tuple[str, ...] = (), **step: Any) -> list[str]:
    (folder / "raw").mkdir(exist_ok=True)
    for name in ("a.tif", "m.tif"):
        (folder / "raw" / name).touch()
    cells = [{key: value for key, value in {**GOOD, **row}.items() if key not in drop} for row in rows or [{}]]
    problems = check_rows(pipeline(folder, **step), build_sheet(list(cells[0]), cells), folder)
    return [str(item).removeprefix("sample sheet: ").replace(f"{folder}/", "") for item in problems]


def test_a_row_that_fits_has_no_problem(tmp_path: Path) -> None:
    assert found(tmp_path) == []


AXES_FIX = "Axes with a ? may be absent. Take these rows out of the sheet, or use a tool for such images."


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ({"path": "raw/no.tif"}, "row s1: path: there is no file 'raw/no.tif'.\n    Run: snakescope collect"),
        ({"format": "czi"}, "row s1: format: found czi; the tool reads ome-zarr, tiff (step 'm').\n    Put a convert step first."),
        ({"axes": "yx", "shape": "5,6"}, f"row s1: axes: found yx; the tool needs t?zyx (step 'm').\n    {AXES_FIX}"),
        ({"axes": "tczyx", "shape": "1,1,4,5,6"}, f"row s1: axes: found tczyx; the tool needs t?zyx (step 'm').\n    {AXES_FIX}"),
        ({"dtype": "float32"}, "row s1: dtype: found float32; the tool takes uint16 (step 'm')."),
        ({"time_step_s": ""}, "row s1: time_step_s: the time between frames is not known (step 'm').\n    Write it in seconds into time_step_s."),
    ],
)  # fmt: skip
def test_one_misfit_is_one_problem_with_its_column(tmp_path: Path, cells: dict[str, str], message: str) -> None:
    assert found(tmp_path, cells) == [message]


@pytest.mark.parametrize(
    ("size", "axes", "fits"),
    [
        ("", "zyx", False), (",0.1,0.1", "zyx", False), ("0.3,,0.1", "zyx", False), ("0.3,0.1,0.1", "zyx", True),
        (",0.1,0.1", "", False), ("0.3,0.1,0.1", "", True),
    ],
)  # fmt: skip
def test_a_voxel_size_is_needed_for_each_axis_there_is(tmp_path: Path, size: str, axes: str, fits: bool) -> None:
    cells = {"voxel_size_um": size, "axes": axes, "shape": "4,5,6" if axes else ""}
    message = (
        "row s1: voxel_size_um: the voxel size is not known: neither the image nor the sheet says it (step 'm').\n"
        "    Write z,y,x in µm into voxel_size_um, for example 0.3,0.1,0.1."
    )
    assert found(tmp_path, cells) == ([] if fits else [message])


def test_what_the_sheet_does_not_know_is_not_held_against_the_row(tmp_path: Path) -> None:
    assert found(tmp_path, {"format": "", "axes": "", "shape": "", "dtype": ""}) == []


def test_a_missing_column_is_told_with_the_nearest_and_stops_the_rest(tmp_path: Path) -> None:
    assert found(tmp_path, {"path": "raw/no.tif"}, over="serie", params={"size_um": {"column": "valeu"}}) == [
        "the pipeline reads the column 'serie', which is not there.\n    Did you mean 'series'?",
        "the pipeline reads the column 'valeu', which is not there.\n    Did you mean 'value'?",
    ]


def test_a_column_without_a_near_one_is_to_be_added(tmp_path: Path) -> None:
    (message,) = found(tmp_path, over="plate_number")
    assert message.endswith("which is not there.\n    Add the column, or change test.yaml.")


def test_a_shared_file_that_is_not_there_is_told_once_at_the_pipeline(tmp_path: Path) -> None:
    rows = [{"id": "s1"}, {"id": "s2"}]
    assert found(tmp_path, *rows, inputs={"image": "sheet.path", "mask": {"file": "config/m.tif"}}) == [
        "test.yaml: steps.m.inputs.mask: there is no file 'config/m.tif' in the study.\n"
        "    Put it there, or change the path."
    ]


def test_files_of_another_column_are_looked_for_in_every_row(tmp_path: Path) -> None:
    rows = [{"id": "s1"}, {"id": "s2", "mask_path": ""}, {"id": "s3", "mask_path": "raw/none.tif"}]
    assert found(tmp_path, *rows, inputs={"image": "sheet.path", "mask": "sheet.mask_path"}) == [
        "sample sheet: row s2: mask_path: found an empty cell; the pipeline needs a file.".removeprefix(
            "sample sheet: "
        ),
        "row s3: mask_path: there is no file 'raw/none.tif'.",
    ]


@pytest.mark.parametrize(
    ("param", "text", "message"),
    [
        ("size_um", "2.5", None),
        ("size_um", "1e-3", None),
        ("size_um", ".5", None),
        ("size_um", "", "found an empty cell; expected a value"),
        ("size_um", "0", "found 0; expected a number above 0 and below 10 in um"),
        ("size_um", "10", "found 10; expected a number above 0 and below 10 in um"),
        ("size_um", "nan", "found 'nan'; expected a number in um"),
        ("size_um", "inf", "found 'inf'; expected a number in um"),
        ("size_um", "1e999", "found inf; expected a number in um"),
        ("size_um", "1_0", "found '1_0'; expected a number in um"),
        ("size_um", "１", "found '１'; expected a number in um"),
        ("size_um", "0,5", "found '0,5'; expected a number in um"),
        ("size_um", "2 um", "found '2 um' with the unit 'um'; expected a bare number in um"),
        ("size_um", "-", "found '-'; expected a number in um"),
        ("rounds", "3", None),
        ("rounds", "+3", None),
        ("rounds", "3.0", "found 3.0; expected a whole number, without a decimal point"),
        ("rounds", "0", "found 0; expected a whole number at least 1"),
        ("rounds", "9" * 400, f"found '{'9' * 56}...; expected a whole number"),
        ("fast", "true", None),
        ("fast", "TRUE", "found 'TRUE'; expected true or false"),
        ("fast", "1", "found '1'; expected true or false"),
        ("way", "b", None),
        ("way", "c", "found 'c'; expected one of: a, b"),
        ("range", "1,99.5", None),
        ("range", "1,101", "found 101; expected a number at most 100"),
        ("range", "1,", "found '1,'; expected a number"),
        ("range", "1;2", "found '1;2'; expected a number"),
        ("label", "any 'text' {here} $(x)", None),
    ],
)
def test_a_cell_that_sets_a_parameter_is_checked_as_its_value(
    tmp_path: Path, param: str, text: str, message: str | None
) -> None:
    expected = [f"row s1: value: {message}.\n    It sets m.{param}."] if message else []
    assert found(tmp_path, {"value": text}, params={param: {"column": "value"}}) == expected


def test_two_rows_of_a_group_with_the_same_time_point_are_told_with_what_to_do(tmp_path: Path) -> None:
    rows = [
        {"id": "s1", "t": "0", "scene": "0"},
        {"id": "s2", "t": "1", "scene": "1"},
        {"id": "s3", "t": "1", "scene": "2"},
        {"id": "s4", "t": "1", "scene": "0", "series": "two"},
    ]
    assert found(tmp_path, *rows, over="series") == [
        "row s3: t: rows 's2' and 's3' are both time point 1.\n"
        "    Over series run: m. To part them add a column to `over` there, such as c."
    ]


def test_many_rows_of_a_group_with_the_same_time_points_are_one_problem(tmp_path: Path) -> None:
    rows = [{"id": f"s{i}", "t": str(i // 2), "scene": str(i)} for i in range(6)]
    (problem,) = found(tmp_path, *rows, over="series")
    assert problem.startswith("row s1: t: rows 's0' and 's1' are both time point 0; and 2 more rows of this group.\n")


def test_one_image_twice_in_a_group_is_told_and_in_two_groups_is_not(tmp_path: Path) -> None:
    rows = [{"id": "s1", "t": "0"}, {"id": "s2", "t": "1"}, {"id": "s3", "t": "0", "series": "two"}]
    assert found(tmp_path, *rows, over="series") == [
        "row s2: path: rows 's1' and 's2' of one group are the same image, 'raw/a.tif'.\n"
        "    Take one of them out, or give it its own image's path."
    ]


def test_what_is_wrong_alike_in_many_rows_is_one_problem_with_their_lines(tmp_path: Path) -> None:
    (tmp_path / "a.tif").touch()
    columns = [name for name in GOOD if name != "mask_path"]
    cells = {name: "a.tif" if name == "path" else GOOD[name] for name in columns}
    bad = {"voxel_size_um": ""}
    rows = [{**cells, "id": f"s{i}", **({} if i in (3, 4) else bad)} for i in range(7)]
    write_sheet(tmp_path / "s.tsv", build_sheet(columns, [*rows, {**cells, "id": "z", "dtype": "float32"}]))
    problems = check_rows(pipeline(tmp_path), read_sheet(tmp_path / "s.tsv"), tmp_path)
    assert [item.where.removeprefix(f"{tmp_path}/") for item in problems] == [
        "s.tsv: lines 2-4, 7-8: voxel_size_um", "s.tsv: line 9: dtype",
    ]  # fmt: skip


def test_of_many_files_that_are_not_there_the_first_are_named_and_the_rest_counted(tmp_path: Path) -> None:
    problems = found(tmp_path, *({"id": f"s{i}", "path": f"disk/{i}.tif"} for i in range(30)))
    assert len(problems) == 11
    assert problems[-1] == (
        "path: there is no file for 20 more of 30 rows.\n"
        "    Is the disk there, and the folder where it was? Run: snakescope collect"
    )


def test_an_empty_or_unfit_cell_in_a_grouping_column_is_told(tmp_path: Path) -> None:
    first, second = found(tmp_path, {"id": "s1", "series": ""}, {"id": "s2", "series": "a/b"}, over="series")
    assert first.startswith("row s1: series: found an empty cell of series in 1 row grouped over it.")
    assert second.startswith("row s2: series: found 'a/b'; expected letters, digits and . _ - only")


def test_all_misfits_of_all_rows_are_told_at_once(tmp_path: Path) -> None:
    rows = [
        {"id": "s1", "format": "nd2", "dtype": "uint8"},
        {"id": "s2"},
        {"id": "s3", "path": "raw/q.tif", "time_step_s": ""},
    ]
    assert [text.split(":")[0:2] for text in found(tmp_path, *rows)] == [
        ["row s3", " path"], ["row s1", " format"], ["row s1", " dtype"], ["row s3", " time_step_s"],
    ]  # fmt: skip


def test_a_file_read_by_two_steps_is_looked_for_once(tmp_path: Path) -> None:
    made = pipeline(tmp_path)
    data = yaml.safe_load(made.path.read_text())
    wires = {"image": "sheet.path", "mask": "sheet.mask_path"}
    data["steps"] = {name: {"tool": "measure_it", "inputs": wires} for name in ("m", "n")}
    made.path.write_text(yaml.safe_dump(data))
    sheet = build_sheet(list(GOOD), [GOOD])
    problems = check_rows(read_pipeline(made.path, [tmp_path / "tools"]), sheet, tmp_path)
    assert [str(item).split("\n")[0] for item in problems] == [
        "sample sheet: row s1: path: there is no file 'raw/a.tif'.",
        "sample sheet: row s1: mask_path: there is no file 'raw/m.tif'.",
    ]
