"""The sample sheet: what is read, what is refused and with which words, and that writing gives it back."""

from __future__ import annotations

import contextlib
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from snakescope.errors import InputError
from snakescope.samples import (
    STANDARD_COLUMNS,
    Sheet,
    SheetError,
    build_sheet,
    format_number,
    format_voxel_size,
    natural_key,
    read_sheet,
    sheet_text,
    write_sheet,
)

HEADER = "id path format scene axes shape dtype voxel_size_um time_step_s channels bytes series t c condition"
COLUMNS = HEADER.split()


def save(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "samples.tsv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def table(*rows: dict[str, str], columns: list[str] = COLUMNS) -> str:
    full = {"path": "raw/a.tif", **dict.fromkeys(columns[2:], "")}
    lines = ["\t".join({**full, **row}[name] for name in columns) for row in rows]
    return "\n".join(["\t".join(columns), *lines]) + "\n"


def failure(tmp_path: Path, text: str | bytes) -> SheetError:
    with pytest.raises(InputError) as caught:
        read_sheet(save(tmp_path, text))
    return caught.value  # type: ignore[return-value]


def only_problem(tmp_path: Path, **cells: str) -> str:
    found = failure(tmp_path, table({"id": "s1", **cells}))
    assert len(found.problems) == 1
    return str(found.problems[0]).replace(f"{tmp_path}/", "")


def test_a_full_row_is_read_with_numbers(tmp_path: Path) -> None:
    path = save(
        tmp_path,
        table(
            {
                "id": "cell-1_t0.a",
                "path": "raw/cell 1 (ä) $(x) {b}'s.ome.tif",
                "format": "ome-tiff",
                "scene": "2",
                "axes": "tczyx",
                "shape": "5,2,88,320,256",
                "dtype": "uint16",
                "voxel_size_um": "0.3,0.1,0.104",
                "time_step_s": "2.5",
                "channels": "GFP;mCherry 2",
                "bytes": "721000000",
                "series": "cell-1",
                "t": "007",
                "c": "0",
                "condition": "drug, 5 µM",
            }
        ),
    )
    (row,) = read_sheet(path).rows
    assert row.id == "cell-1_t0.a"
    assert row.path == "raw/cell 1 (ä) $(x) {b}'s.ome.tif"
    assert (row.format, row.scene, row.axes, row.dtype) == ("ome-tiff", 2, "tczyx", "uint16")
    assert row.shape == (5, 2, 88, 320, 256)
    assert row.voxel_size_um == (0.3, 0.1, 0.104)
    assert row.time_step_s == 2.5
    assert row.channels == ("GFP", "mCherry 2")
    assert row.bytes == 721_000_000
    assert row.t == 7
    assert row.sensitive is False
    assert row.cells["condition"] == row.cell("condition") == "drug, 5 µM"
    assert row.cells["t"] == "007"
    assert [row.size(axis) for axis in "tczyx"] == [5, 2, 88, 320, 256]


def test_unknown_cells_are_none_and_never_one(tmp_path: Path) -> None:
    (row,) = read_sheet(save(tmp_path, "id\tpath\ns1\ta.tif\n")).rows
    assert (row.format, row.axes, row.shape, row.dtype) == (None, None, None, None)
    assert (row.voxel_size_um, row.time_step_s) == ((None, None, None), None)
    assert (row.bytes, row.t, row.channels, row.scene) == (None, None, (), 0)
    assert row.cell("condition") == ""
    with pytest.raises(InputError, match=r"row s1: its axes and shape are unknown"):
        row.size("z")


def test_an_absent_axis_has_size_one_and_a_wrong_letter_is_refused(tmp_path: Path) -> None:
    (row,) = read_sheet(save(tmp_path, table({"id": "s1", "axes": "yx", "shape": "30,40"}))).rows
    assert (row.size("z"), row.size("y"), row.size("x")) == (1, 30, 40)
    with pytest.raises(ValueError, match="found axis 'q'"):
        row.size("q")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.3,0.1,0.1", (0.3, 0.1, 0.1)),
        (",0.1,0.1", (None, 0.1, 0.1)),
        ("0.3,,", (0.3, None, None)),
        ("0.3, 0.1, 1e-1", (0.3, 0.1, 0.1)),
        ("1,.5,2.", (1.0, 0.5, 2.0)),
    ],
)
def test_voxel_sizes_are_read(tmp_path: Path, text: str, expected: tuple[float | None, ...]) -> None:
    (row,) = read_sheet(save(tmp_path, table({"id": "s1", "voxel_size_um": text}))).rows
    assert row.voxel_size_um == expected


@pytest.mark.parametrize(
    ("column", "text", "message"),
    [
        ("voxel_size_um", "0.1 mm", "found '0.1 mm'; expected a number without a unit (µm).\n    Write 100."),
        ("voxel_size_um", "100 nm", "Write 0.1."),
        ("voxel_size_um", "100nm,100nm,100nm", "found '100nm'; expected a number without a unit (µm).\n    Write 0.1."),
        ("voxel_size_um", "0.3 µm,0.1,0.1", "found '0.3 µm'; expected a number without a unit (µm).\n    Write 0.3."),
        ("voxel_size_um", "0.1", "expected three numbers in µm, z,y,x"),
        ("voxel_size_um", "0,3;0,1;0,1", "expected three numbers in µm, z,y,x, with decimal points"),
        ("voxel_size_um", "0,0.1,0.1", "found 0; expected a number above 0 (µm).\n    Leave it empty"),
        ("voxel_size_um", "-0.3,0.1,0.1", "found -0.3; expected a number above 0"),
        ("voxel_size_um", "nan,0.1,0.1", "found 'nan'; expected a number (µm)"),
        ("voxel_size_um", "inf,0.1,0.1", "found 'inf'; expected a number (µm)"),
        ("voxel_size_um", "1e999,0.1,0.1", "found 1e999; expected a number above 0"),
        ("voxel_size_um", "0.3,0.1,1_0", "found '1_0'; expected a number"),
        ("voxel_size_um", "0.3 bananas,1,1", "found '0.3 bananas'; expected a number (µm)"),
        ("time_step_s", "2 min", "found '2 min'; expected a number without a unit (s).\n    Write 120."),
        ("time_step_s", "500 ms", "Write 0.5."),
        ("time_step_s", "0", "found 0; expected a number above 0 (s)"),
        ("time_step_s", "1,5", "found '1,5'; expected a number (s) with a decimal point"),
        ("axes", "xyz", "found 'xyz'; expected letters of 'tczyx' in that order"),
        ("axes", "zz", "expected letters of 'tczyx'"),
        ("axes", "ZYX", "found 'ZYX'; expected letters"),
        ("shape", "3,4", "found '3,4' without axes"),
        ("dtype", "uint12", "found 'uint12'; expected a numpy name"),
        ("scene", "-1", "found '-1'; expected a whole number, 0 or more"),
        ("scene", "1.0", "found '1.0'; expected a whole number"),
        ("bytes", "12 MB", "found '12 MB'; expected a whole number"),
        ("bytes", "9" * 5000, "expected a whole number"),
        ("t", "first", "found 'first'; expected a whole number"),
        ("t", "١٢", "expected a whole number"),
        ("channels", "GFP;;RFP", "found 'GFP;;RFP'; expected channel names joined by ';', none of them empty"),
        ("path", "C:\\data\\a.tif", "expected a path on this machine"),
        ("path", "\\\\server\\share\\a.tif", "expected a path on this machine"),
        ("path", "https://example.org/a.tif", "expected a path on this machine"),
        ("path", "~/a.tif", "'~' is not expanded in a sheet.\n    Write the full path."),
        ("path", "raw/..", "expected the path of an image file"),
        ("path", "/", "expected the path of an image file"),
        ("path", "", "path: found an empty cell; expected a value in every row"),
    ],
)
def test_a_bad_cell_is_refused_with_its_place(tmp_path: Path, column: str, text: str, message: str) -> None:
    found = only_problem(tmp_path, **{column: text})
    assert found.startswith(f"samples.tsv: line 2: {column}: ")
    assert message in found


def test_shape_must_fit_the_axes(tmp_path: Path) -> None:
    assert "found 2 numbers (320,256); expected 3, one for each axis of 'zyx'" in only_problem(
        tmp_path, axes="zyx", shape="320,256"
    )
    assert "found '88,0,256'; expected whole numbers above 0" in only_problem(tmp_path, axes="zyx", shape="88,0,256")
    assert "found '88x320x256'; expected whole numbers" in only_problem(tmp_path, axes="zyx", shape="88x320x256")


@pytest.mark.parametrize(
    "name", ["../up", "a/b", ".hidden", "-rf", "a b", "a..b", "ä", "a$", "a\u202eb", "CON:", "a*", "a;b"]
)
def test_an_id_must_be_fit_for_a_folder(tmp_path: Path, name: str) -> None:
    assert "expected letters, digits and . _ - only" in only_problem(tmp_path, id=name)


def test_an_id_has_at_most_120_characters(tmp_path: Path) -> None:
    assert len(read_sheet(save(tmp_path, table({"id": "a" * 120}))).rows) == 1
    assert "found 121 characters" in only_problem(tmp_path, id="a" * 121)


def test_ids_must_differ_in_more_than_capitals(tmp_path: Path) -> None:
    found = failure(tmp_path, table({"id": "s1"}, {"id": "b"}, {"id": "S1"}, {"id": "s1"}, {"id": ""}))
    text = [str(item).replace(f"{tmp_path}/", "") for item in found.problems]
    assert len(text) == 3
    assert text[0].startswith("samples.tsv: line 4: id: 'S1' differs from 's1' on line 2 in capitals only")
    assert text[1].startswith("samples.tsv: line 5: id: 's1' is there already on line 2.")
    assert text[2].startswith("samples.tsv: line 6: id: found an empty cell")


@pytest.mark.parametrize(
    "path",
    [
        "../../raw/a.tif",
        "/abs/a b.tif",
        "a.ome.zarr/",
        'in "quotes".tif',
        "$(rm -rf ~).tif",
        "{id}.tif",
        "日本.tif",
        " x.tif",
    ],
)
def test_hostile_paths_are_kept_as_they_are(tmp_path: Path, path: str) -> None:
    sheet = build_sheet(COLUMNS, [{"id": "s1", "path": path}])
    write_sheet(tmp_path / "samples.tsv", sheet)
    assert read_sheet(tmp_path / "samples.tsv").rows[0].path == path


def test_every_problem_is_told_at_once_and_the_list_is_capped(tmp_path: Path) -> None:
    rows = [{"id": f"s{number}", "voxel_size_um": "0.1 mm", "bytes": "?"} for number in range(60)]
    found = failure(tmp_path, table(*rows))
    assert len(found.problems) == 120
    lines = [line for line in str(found).splitlines() if not line.startswith("    ")]
    assert len(lines) == 51
    assert lines[-1].endswith("samples.tsv: and 70 more problems.")


def test_what_a_spreadsheet_writes_is_read(tmp_path: Path) -> None:
    text = (
        "\ufeffid\tpath\tvoxel_size_um\tnote\t\r\n"
        's1\t"raw/a, ""b"".tif"\t"0.3,0.1,0.1"\t"x"\t\t\r\n'
        "\t\t\t\r\n"
        "s2\traw/b.tif\r\n"
    )
    sheet = read_sheet(save(tmp_path, text))
    assert sheet.columns == ("id", "path", "voxel_size_um", "note")
    assert [row.id for row in sheet.rows] == ["s1", "s2"]
    assert sheet.rows[0].path == 'raw/a, "b".tif'
    assert sheet.rows[0].voxel_size_um == (0.3, 0.1, 0.1)
    assert sheet.column("note") == ["x", ""]
    assert sheet.rows[1].line == 4


def test_a_quote_that_does_not_close_is_refused(tmp_path: Path) -> None:
    found = failure(tmp_path, 'id\tpath\tnote\ns1\ta.tif\t"two\nlines"\ns2\tb.tif\t"x"y"\n')
    assert [item.where.rpartition(": ")[2] for item in found.problems[:1]] == ["line 2"]
    assert "must end with one" in str(found.problems[0])
    assert found.problems[-1].where.endswith("line 4")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the sheet is empty"),
        ("id\tpath\n", "found a header and no rows"),
        ("s1\traw/a.tif\ns2\traw/b.tif\n", "line 1: found no header; expected a line of column names"),
        ("id,path,format\ns1,a.tif,tiff\n", "line 1: found one column with commas or semicolons; expected tabs"),
        ("id\tformat\ns1\ttiff\n", "line 1: the column 'path' is missing"),
        ("ID\tpath\ns1\ta.tif\n", "the column 'id' is missing (found 'ID': write it in small letters"),
        ("id\tpath\tx\tx\ns1\ta.tif\t1\t2\n", "the column 'x' is there 2 times; expected once"),
        ("id\tpath\t\tx\ns1\ta.tif\t1\t2\n", "found the column name ''"),
        ("id\tpath\t x\ns1\ta.tif\t1\n", "found the column name ' x'; expected text without outer blanks"),
        ('id\tpath\t"x\ns1\ta.tif\t1\n', "line 1: found '\"x'; a cell that begins with a double quote"),
        ("id\tpath\ns1\ta.tif\textra\n", "line 2: found 3 cells; expected 2, as in the header"),
        ("id\tpath\tbytes\ns1\ta.tif\t1\ns2\tb.t", "line 3: the file ends in the middle of a row"),
        ("id\tpath\ns1\ta\x00.tif\n", "line 2: found the control character '\\x00' in a cell"),
        ("id\tpath\ns1\ta\u2028.tif\n", "line 2: found the control character '\\u2028'"),
        ("id\tpath\rs1\ta.tif\r", "line 1: found the control character '\\r'"),
        (b"id\tpath\ns1\ta\xe4.tif\n", "line 2: found the byte 0xe4; expected UTF-8 text"),
        ("id\tpath\ns1\ta.tif\n".encode("utf-16"), "found UTF-16 text; expected UTF-8"),
        ("id\tpath\tsensitive\ns1\ta.tif\tyes\n", "sensitive: found 'yes'; expected true or false"),
        ("id\tpath\tsha256\ns1\ta.tif\tabc\n", "sha256: found 'abc'; expected a SHA-256 digest"),
    ],
)
def test_a_bad_file_is_refused(tmp_path: Path, text: str | bytes, message: str) -> None:
    assert message in str(failure(tmp_path, text))


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no such file; expected a sample sheet"):
        read_sheet(tmp_path / "none.tsv")
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        read_sheet(tmp_path)


def test_sensitive_rows_are_known(tmp_path: Path) -> None:
    sheet = read_sheet(save(tmp_path, "id\tpath\tsensitive\na\ta\tTRUE\nb\tb\tfalse\nc\tc\t\n"))
    assert [row.sensitive for row in sheet.rows] == [True, False, False]


def grouped(tmp_path: Path, *rows: tuple[str, str, str]) -> Sheet:
    return read_sheet(save(tmp_path, table(*[{"id": i, "path": f"{i}.tif", "series": s, "t": t} for i, s, t in rows])))


def test_groups_are_ordered_by_t(tmp_path: Path) -> None:
    sheet = grouped(tmp_path, ("a", "two", "10"), ("b", "one", "1"), ("c", "two", "9"), ("d", "one", "0"))
    groups = sheet.groups(["series"], unique_t=True)
    assert list(groups) == ["two", "one"]
    assert [row.id for row in groups["two"]] == ["c", "a"]
    assert [row.t for row in groups["one"]] == [0, 1]


def test_groups_without_t_are_in_natural_order(tmp_path: Path) -> None:
    sheet = grouped(tmp_path, ("s10", "x", ""), ("s9", "x", ""), ("s100", "x", ""))
    assert [row.id for row in sheet.groups(["series"], unique_t=True)["x"]] == ["s9", "s10", "s100"]


def test_groups_over_two_columns_are_named_by_both(tmp_path: Path) -> None:
    sheet = read_sheet(
        save(tmp_path, table({"id": "a", "series": "x", "c": "0"}, {"id": "b", "series": "x", "c": "1"}))
    )
    assert {key: [row.id for row in rows] for key, rows in sheet.groups(["series", "c"]).items()} == {
        "x_0": ["a"],
        "x_1": ["b"],
    }


def test_two_rows_of_one_time_point_are_refused_where_asked(tmp_path: Path) -> None:
    sheet = grouped(tmp_path, ("a", "x", "1"), ("b", "x", "01"), ("c", "x", ""))
    assert len(sheet.groups(["series"])["x"]) == 3
    with pytest.raises(InputError) as caught:
        sheet.groups(["series"], unique_t=True)
    assert len(caught.value.problems) == 2
    assert "line 4: t: found an empty cell; expected a time point as in its group" in str(caught.value)
    assert "line 3: t: rows 'a' and 'b' are both time point 1." in str(caught.value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("../../etc", "found '../../etc'; expected letters, digits"),
        ("..", "expected letters, digits"),
        ("", "line 2: series: found an empty cell of series in 1 row grouped over it"),
        ("a b", "found 'a b'"),
    ],
)
def test_a_group_name_obeys_the_rule_for_ids(tmp_path: Path, value: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        grouped(tmp_path, ("s1", value, "")).groups(["series"])
    assert message in str(caught.value)


def test_two_groups_must_not_share_a_name(tmp_path: Path) -> None:
    rows = [
        {"id": "a", "series": "x_1", "c": "2"},
        {"id": "b", "series": "x", "c": "1_2"},
        {"id": "c", "series": "X", "c": "1_2"},
    ]
    with pytest.raises(InputError) as caught:
        read_sheet(save(tmp_path, table(*rows))).groups(["series", "c"])
    assert len(caught.value.problems) == 2
    assert "groups ('x_1', '2') and ('x', '1_2') would share the folder 'x_1_2'" in str(caught.value)


def test_an_unknown_column_is_told_with_those_there_are(tmp_path: Path) -> None:
    sheet = read_sheet(save(tmp_path, "id\tpath\ns1\ta.tif\n"))
    with pytest.raises(InputError, match=r"there is no column 'well' \(it has: id, path\)"):
        sheet.groups(["well"])
    with pytest.raises(InputError, match="no column 'well'"):
        sheet.column("well")


def test_a_subset_keeps_the_order_of_the_sheet_and_unknown_ids_are_all_named(tmp_path: Path) -> None:
    sheet = grouped(tmp_path, ("a", "x", ""), ("b", "x", ""), ("c", "x", ""))
    assert [row.id for row in sheet.only(["c", "a"]).rows] == ["a", "c"]
    with pytest.raises(InputError) as caught:
        sheet.only(["a", "q", "p"])
    assert [item.message for item in caught.value.problems] == [
        "there is no row with the id 'p'",
        "there is no row with the id 'q'",
    ]


def test_reading_and_writing_gives_the_same_bytes(tmp_path: Path) -> None:
    path = save(tmp_path, table({"id": "a", "voxel_size_um": "0.30,0.10,0.10"}, {"id": "b", "condition": "x  "}))
    before = path.read_bytes()
    write_sheet(path, read_sheet(path))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_write_leaves_the_old_sheet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path, table({"id": "a"}))
    sheet = read_sheet(path)
    before = path.read_bytes()

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(InputError, match="cannot be written: No space left on device"):
        write_sheet(path, sheet)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_writing_keeps_the_mode_and_follows_a_link(tmp_path: Path) -> None:
    path = save(tmp_path, table({"id": "a"}))
    path.chmod(0o640)
    link = tmp_path / "link.tsv"
    link.symlink_to(path)
    write_sheet(link, read_sheet(path))
    assert link.is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_sheet_without_rows_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there are no rows to write"):
        write_sheet(tmp_path / "s.tsv", build_sheet(STANDARD_COLUMNS, []))
    assert not (tmp_path / "s.tsv").exists()


@pytest.mark.parametrize("text", ["a\tb", "a\nb", "a\x7fb", "a\udce4b", "a\u2029b"])
def test_text_that_does_not_fit_in_a_cell_is_refused_when_built(text: str) -> None:
    with pytest.raises(InputError, match=r"sample sheet: row s1: path: found "):
        build_sheet(["id", "path"], [{"id": "s1", "path": text}])
    with pytest.raises(ValueError, match="found cells for"):
        build_sheet(["id", "path"], [{"id": "s1", "path": "a", "more": text}])


def test_a_built_sheet_is_checked_like_a_read_one() -> None:
    with pytest.raises(InputError) as caught:
        build_sheet(["id", "path", "bytes"], [{"id": "a", "path": "x"}, {"id": "A", "path": "", "bytes": "-1"}])
    assert [item.where for item in caught.value.problems] == [
        "sample sheet: row A: path",
        "sample sheet: row A: bytes",
        "sample sheet: row A: id",
    ]


def test_numbers_are_written_short_and_exactly() -> None:
    assert [format_number(value) for value in (0.1, 2.0, 0.10833333333333334, 1e-07)] == [
        "0.1",
        "2",
        "0.10833333333333334",
        "1e-07",
    ]
    assert format_voxel_size((None, 0.1, 0.1)) == ",0.1,0.1"
    assert format_voxel_size((None, None, None)) == ""
    assert sorted(["t10", "T2", "t2", "t1b3"], key=natural_key) == ["t1b3", "T2", "t2", "t10"]


_cell = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=20)
_path = st.from_regex(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029/~:\\]{1,12}\.tif", fullmatch=True).filter(
    lambda text: text.encode("utf-8", "ignore").decode() == text
)
_voxel = st.floats(min_value=1e-12, max_value=1e12)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(
    rows=st.lists(st.tuples(_path, _cell, _cell, st.tuples(_voxel, _voxel, _voxel)), min_size=1, max_size=5),
)
def test_any_sheet_that_is_built_comes_back(
    tmp_path: Path, rows: list[tuple[str, str, str, tuple[float, float, float]]]
) -> None:
    columns = ["id", "path", "voxel_size_um", "note one", "{note}"]
    records = [
        {"id": f"s{number}", "path": path, "voxel_size_um": format_voxel_size(size), "note one": one, "{note}": two}
        for number, (path, one, two, size) in enumerate(rows)
    ]
    sheet = build_sheet(columns, records)
    write_sheet(tmp_path / "s.tsv", sheet)
    again = read_sheet(tmp_path / "s.tsv")
    assert again.columns == sheet.columns
    assert again.rows == sheet.rows
    assert [row.voxel_size_um for row in again.rows] == [size for *_, size in rows]
    assert [row.cells for row in again.rows] == records
    assert sheet_text(again) == sheet_text(sheet)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300, deadline=None)
@given(data=st.binary(max_size=60), start=st.sampled_from([b"", b"id\tpath\tvoxel_size_um\n", b"id\tpath\n"]))
def test_no_bytes_cause_anything_but_an_input_error(tmp_path: Path, data: bytes, start: bytes) -> None:
    path = save(tmp_path, start + data)
    with contextlib.suppress(InputError):
        assert read_sheet(path).rows


def test_the_import_takes_no_heavy_library() -> None:
    code = "import sys, snakescope.samples; print({'numpy', 'pandas', 'pydantic', 'csv'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
