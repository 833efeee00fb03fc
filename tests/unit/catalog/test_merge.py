"""Collecting again: what people wrote stays, what files changed is told, nothing is lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from snakescope.catalog import CollectReport, collect_folder, render_report
from snakescope.catalog.merge import Image, merge
from snakescope.samples import Sheet, build_sheet, read_sheet, write_sheet

Make = Callable[..., Path]


class Study:
    """A study with images under ``raw`` that are collected into its sheet."""

    def __init__(self, root: Path, read: Any) -> None:
        self.raw = root / "raw"
        self.sheet = root / "config" / "samples.tsv"
        self.sheet.parent.mkdir(parents=True)
        self.read = read

    def collect(self, folder: Path | None = None, **options: Any) -> CollectReport:
        report = collect_folder(folder or self.raw, sheet=self.sheet, read=self.read, **options)
        write_sheet(self.sheet, report.sheet)
        return report

    def edit(self, row_id: str, **cells: str) -> None:
        sheet = read_sheet(self.sheet)
        columns = [*sheet.columns, *(name for name in cells if name not in sheet.columns)]
        rows = [{**row.cells, **(cells if row.id == row_id else {})} for row in sheet.rows]
        write_sheet(self.sheet, build_sheet(columns, rows))

    def row(self, row_id: str) -> dict[str, str]:
        return read_sheet(self.sheet).only([row_id]).rows[0].cells


@pytest.fixture
def study(tmp_path: Path, fake_reader: Any) -> Study:
    return Study(tmp_path, fake_reader)


def test_collecting_twice_changes_no_byte(study: Study, make_image: Make) -> None:
    for t in range(3):
        make_image(study.raw / f"cell_t{t}.tif")
    study.collect(accept=True)
    before = study.sheet.read_bytes()
    report = study.collect(accept=True)
    assert study.sheet.read_bytes() == before
    assert (len(report.added), len(report.updated), len(report.unchanged)) == (0, 0, 3)
    # Not even when the naming is not accepted this time.
    report = study.collect()
    assert study.sheet.read_bytes() == before
    assert (report.changes, report.disagreements) == ([], [])


def test_hand_made_columns_and_cells_stay(study: Study, make_image: Make) -> None:
    make_image(study.raw / "a.tif", voxel_size_um=[None, None, None])
    make_image(study.raw / "b.tif")
    study.collect()
    study.edit("a", voxel_size_um="0.30,0.10,0.10", drug="dmso", time_step_s="2.0", channels="GFP")
    make_image(study.raw / "c.tif")
    report = study.collect()
    assert (report.added, report.updated, report.unchanged) == (["c"], [], ["a", "b"])
    assert report.disagreements == []
    row = study.row("a")
    assert (row["voxel_size_um"], row["drug"], row["time_step_s"], row["channels"]) == (
        "0.30,0.10,0.10",
        "dmso",
        "2.0",
        "GFP",
    )
    assert study.row("c")["drug"] == ""
    assert list(row)[-1] == "drug"


def test_where_the_file_says_otherwise_the_sheet_is_kept_and_it_is_told(study: Study, make_image: Make) -> None:
    make_image(study.raw / "a.tif", time_step_s=2.0)
    study.collect()
    study.edit("a", voxel_size_um="0.3,0.108,0.108", time_step_s="2.00001", axes="tyx")
    report = study.collect()
    assert (report.changes, report.unchanged) == ([], ["a"])
    assert [str(problem).replace(f"{study.sheet}: ", "") for problem in report.disagreements] == [
        "line 2: axes: the sheet says 'tyx', the file says 'zyx'; the sheet was kept.\n"
        "    Empty the cell to take the file's value.",
        "line 2: voxel_size_um: the sheet says '0.3,0.108,0.108', the file says '0.3,0.1,0.1'; the sheet was kept.\n"
        "    Empty the cell to take the file's value.",
    ]
    assert study.row("a")["voxel_size_um"] == "0.3,0.108,0.108"
    assert "cells differ from the files (2):" in render_report(report)
    study.edit("a", voxel_size_um="")
    assert study.collect().changes[0].new == "0.3,0.1,0.1"


def test_unknown_parts_of_a_voxel_size_are_filled(study: Study, make_image: Make) -> None:
    make_image(study.raw / "a.tif", voxel_size_um=[None, 0.1, 0.1])
    study.collect()
    study.edit("a", voxel_size_um="0.3,,")
    (change,) = study.collect().changes
    assert (change.column, change.old, change.new) == ("voxel_size_um", "0.3,,", "0.3,0.1,0.1")


def test_a_changed_file_is_updated_and_told(study: Study, make_image: Make) -> None:
    make_image(study.raw / "a.tif")
    study.collect()
    study.edit("a", sha256="0" * 64, note="mine")
    make_image(study.raw / "a.tif", shape=[12, 32, 24], bytes=18432, voxel_size_um=[0.2, 0.1, 0.1])
    report = study.collect()
    assert report.updated == ["a"]
    assert {(change.column, change.old, change.new) for change in report.changes} == {
        ("shape", "10,32,24", "12,32,24"),
        ("bytes", "15360", "18432"),
        ("sha256", "0" * 64, ""),
    }
    row = study.row("a")
    assert (row["shape"], row["bytes"], row["sha256"], row["note"]) == ("12,32,24", "18432", "", "mine")
    assert row["voxel_size_um"] == "0.3,0.1,0.1"
    assert len(report.disagreements) == 1


def test_vanished_files_are_told_and_kept(study: Study, make_image: Make, tmp_path: Path) -> None:
    make_image(study.raw / "a.tif")
    make_image(study.raw / "b.tif")
    make_image(study.raw / "c.tif")
    make_image(tmp_path / "other" / "d.tif")
    study.collect()
    study.collect(tmp_path / "other")
    (study.raw / "b.tif").unlink()
    (tmp_path / "other" / "d.tif").unlink()
    report = study.collect(exclude=["c.tif"])
    assert report.vanished == [("b", "raw/b.tif")]
    assert report.not_collected == [("c", "raw/c.tif")]
    assert [row.id for row in read_sheet(study.sheet).rows] == ["a", "b", "c", "d"]
    assert "rows kept though their file is gone (1):\n  b: raw/b.tif" in render_report(report)


def test_ids_given_by_hand_stay_and_are_not_given_again(study: Study, make_image: Make) -> None:
    make_image(study.raw / "a.tif")
    study.collect()
    sheet = read_sheet(study.sheet)
    write_sheet(study.sheet, build_sheet(sheet.columns, [{**sheet.rows[0].cells, "id": "B", "series": "B"}]))
    make_image(study.raw / "b.tif")
    report = study.collect()
    assert report.unchanged == ["B"]
    (added,) = report.added
    assert added.startswith("b-")
    assert study.collect().added == []


def test_a_pattern_accepted_later_fills_the_series(study: Study, make_image: Make) -> None:
    for t in range(3):
        make_image(study.raw / f"cell_t{t}.tif")
    study.collect()
    study.edit("cell_t2", series="other")
    report = study.collect(accept=True)
    rows = read_sheet(study.sheet).rows
    assert [(row.cell("series"), row.t) for row in rows] == [("cell", 0), ("cell", 1), ("other", 2)]
    (disagreement,) = report.disagreements
    assert "series: the sheet says 'other', its name says 'cell'; the sheet was kept" in str(disagreement)


def test_columns_can_be_taken_anew_from_the_files(study: Study, make_image: Make) -> None:
    for t in range(2):
        make_image(study.raw / f"cell_t{t}.tif", voxel_size_um=[None, 0.1, 0.1])
    study.collect(pattern="c{series}_t{t}")
    study.edit("cell_t0", voxel_size_um="0.3,0.2,0.2", dtype="uint8")
    report = study.collect(pattern="{series}_t{t}", refresh=["series", "voxel_size_um"])
    assert {(change.id, change.column, change.old, change.new) for change in report.changes} == {
        ("cell_t0", "series", "ell", "cell"),
        ("cell_t1", "series", "ell", "cell"),
        ("cell_t0", "voxel_size_um", "0.3,0.2,0.2", "0.3,0.1,0.1"),
    }
    assert [problem.where.rpartition(" ")[2] for problem in report.disagreements] == ["dtype"]


def test_a_hand_made_sheet_of_ids_and_paths_is_filled(study: Study, make_image: Make) -> None:
    make_image(study.raw / "a b.tif")
    study.sheet.write_text("drug\tpath\tid\ndmso\t./raw/../raw/a b.tif\tmine\n")
    report = study.collect()
    assert (report.added, report.updated) == ([], ["mine"])
    sheet = read_sheet(study.sheet)
    assert sheet.columns[:3] == ("id", "path", "format")
    assert sheet.columns[-2:] == ("series", "drug")
    (row,) = sheet.rows
    assert (row.path, row.shape, row.cell("series"), row.cell("drug")) == (
        "./raw/../raw/a b.tif",
        (10, 32, 24),
        "mine",
        "dmso",
    )


def test_the_report_for_scripts_is_complete(study: Study, make_image: Make) -> None:
    for t in range(2):
        make_image(study.raw / f"cell_t{t}.tif")
    (study.raw / "bad.tif").write_text("no")
    report = study.collect()
    facts = report.to_dict()
    assert facts["images"] == facts["files"] == 2
    assert facts["rows"][0]["id"] == "cell_t0"
    assert facts["proposal"]["pattern"] == "{series}_t{t}"
    assert facts["proposal"]["accepted"] is False
    assert facts["unreadable"] == [{"path": "bad.tif", "reason": "found no image; expected a TIFF file"}]
    assert facts["added"] == ["cell_t0", "cell_t1"]
    assert isinstance(report.sheet, Sheet)


@pytest.mark.parametrize(
    ("told", "header", "expected"),
    [
        ("0.3,0.1,0.1", "0.3,0.104,0.104", ["its AVU says '0.3,0.1,0.1', the header of the file '0.3,0.104,0.104'"]),
        ("0.3,,", "0.4,0.1,0.1", ["its AVU says '0.3,,', the header of the file '0.4,0.1,0.1'"]),
        ("0.3,,", "0.3,0.1,0.1", []),
        ("0.3,0.1,0.1", "0.30,0.10,0.10", []),
        ("0.3,0.1,0.1", "", []),
    ],
)
def test_an_avu_that_says_other_than_the_header_is_told(
    tmp_path: Path, told: str, header: str, expected: list[str]
) -> None:
    cells = {"path": "irods:///z/a.tif", "voxel_size_um": told}
    image = Image(
        "irods:///z/a.tif", 0, "a", cells, {"voxel_size_um": "its AVU says"}, header={"voxel_size_um": header}
    )
    first = merge(None, [image], tmp_path, ())
    again = merge(build_sheet(first.columns, first.rows), [image], tmp_path, ())
    for merged in (first, again):
        assert [item.message.partition(";")[0] for item in merged.disagreements] == expected
        assert merged.rows[0]["voxel_size_um"] == told
    # A cell that somebody set otherwise is told as such, once.
    by_hand = [{**first.rows[0], "voxel_size_um": "0.5,0.1,0.1"}]
    (problem,) = merge(build_sheet(first.columns, by_hand), [image], tmp_path, ()).disagreements
    assert "the sheet says '0.5,0.1,0.1', its AVU says" in problem.message
