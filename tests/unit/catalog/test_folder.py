"""A folder of images becomes rows; what lies there besides is counted, what is damaged is named."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from snakescope.catalog import CollectReport, collect_folder, render_report
from snakescope.errors import InputError
from snakescope.samples import read_sheet, write_sheet

Make = Callable[..., Path]


@pytest.fixture
def study(tmp_path: Path) -> Path:
    (tmp_path / "study" / "config").mkdir(parents=True)
    return tmp_path / "study"


@pytest.fixture
def collect(study: Path, fake_reader: Any) -> Callable[..., CollectReport]:
    """Collect ``study/raw`` into the study's sheet."""

    def run(folder: Path | None = None, *, write: bool = False, **options: Any) -> CollectReport:
        sheet = study / "config" / "samples.tsv"
        report = collect_folder(folder or study / "raw", sheet=sheet, read=fake_reader, **options)
        if write:
            write_sheet(sheet, report.sheet)
        return report

    return run


Collect = Callable[..., CollectReport]


def test_each_image_becomes_a_row_with_its_facts(study: Path, make_image: Make, collect: Collect) -> None:
    make_image(study / "raw" / "day 1" / "cell 10.ome.tif", format="ome-tiff", channels=["GFP", "a;b"], bytes=11)
    make_image(
        study / "raw" / "day 1" / "cell 9.tif",
        axes="tyx",
        shape=[5, 32, 24],
        voxel_size_um=[None, 0.1, 0.1],
        time_step_s=2.0,
    )
    make_image(study / "raw" / "x.ome.zarr", format="ome-zarr", voxel_size_um=[None, None, None])
    report = collect()
    assert report.images == report.files == 3
    assert [row.id for row in report.sheet.rows] == ["day_1_cell_9", "day_1_cell_10", "x"]
    first, second, third = report.sheet.rows
    assert first.cells == {
        "id": "day_1_cell_9",
        "path": "raw/day 1/cell 9.tif",
        "format": "tiff",
        "scene": "0",
        "axes": "tyx",
        "shape": "5,32,24",
        "dtype": "uint16",
        "voxel_size_um": ",0.1,0.1",
        "time_step_s": "2",
        "channels": "",
        "bytes": "15360",
        "series": "day_1_cell_9",
    }
    assert second.channels == ("GFP", "a,b")
    assert second.voxel_size_um == (0.3, 0.1, 0.1)
    assert third.path == "raw/x.ome.zarr"
    assert third.cell("voxel_size_um") == ""
    (problem,) = report.problems
    assert "the voxel size of 1 of 3 rows is not fully known, such as x" in str(problem)
    assert "plain TIFF" not in str(problem)


def test_the_time_between_stacks_comes_from_their_names_where_the_images_do_not_say(
    study: Path, make_image: Make, collect: Collect
) -> None:
    for index, time_ms in enumerate((0, 2503, 5005)):
        for channel in (0, 1):
            name = f"cell_ch{channel}_stack{index:04d}_488nm_{time_ms:07d}msec_{time_ms + 77:010d}msecAbs.tif"
            make_image(study / "raw" / name, time_step_s=None if channel == 0 else 2.6)
    report = collect(accept=True, write=True)
    steps = [row.time_step_s for row in report.sheet.rows]
    assert sorted(filter(None, steps)) == [2.502, 2.502, 2.502, 2.6, 2.6, 2.6]
    assert sorted({row.cell("time_ms") for row in report.sheet.rows}, key=int) == ["77", "2580", "5082"]
    again = collect(accept=True)
    assert (again.changes, again.disagreements) == ([], [])
    assert {row.time_step_s for row in collect().sheet.rows} == {2.502, 2.6}, "stays when names are not believed"


def test_voxel_sizes_that_look_like_nanometres_are_told(study: Path, make_image: Make, collect: Collect) -> None:
    for name, size in (("a", [300.0, 100.0, 100.0]), ("b", [2.0, 0.1, 0.1]), ("c", [49.9, 1.0, 1.0])):
        make_image(study / "raw" / f"{name}.tif", voxel_size_um=size)
    (problem,) = collect().problems
    assert problem.message == "found 50 µm or more in 1 of 3 rows, such as 300,100,100 in a; expected z,y,x in µm"


def test_planes_of_a_plain_tiff_without_a_voxel_size_may_be_times_and_that_is_said(
    study: Path, make_image: Make, collect: Collect
) -> None:
    make_image(study / "raw" / "film.tif", axes="zyx", shape=[9, 32, 24], voxel_size_um=[None, None, None])
    (problem,) = collect().problems
    assert "Planes of a plain TIFF are taken for z: where they are times, write tyx into axes." in str(problem)


def test_films_without_a_time_step_are_told_and_stacks_are_not(study: Path, make_image: Make, collect: Collect) -> None:
    for name, step in (("a_t0", None), ("a_t1", None), ("b_t0", 2.0), ("b_t1", 2.0), ("one_t0", None)):
        make_image(study / "raw" / f"{name}.tif", axes="zyx", shape=[5, 32, 24], time_step_s=step)
    make_image(study / "raw" / "film.tif", axes="tyx", shape=[5, 32, 24], voxel_size_um=[None, 0.1, 0.1])
    (problem,) = collect(pattern="{series}_t{t}").problems
    assert problem.message == "the time between frames is not known of 3 of 5 rows of films, such as a_t0, a_t1, film"
    assert problem.fix == "Fill the cells (seconds, for example 2.5); without it times and speeds stay empty."


def test_nothing_is_dropped_without_being_counted(study: Path, make_image: Make, collect: Collect) -> None:
    raw = study / "raw"
    make_image(raw / "good.tif")
    (raw / "cut.tif").write_bytes(b"II*\x00garbage")
    (raw / "notes.txt").write_text("x")
    (raw / "notes2.TXT").write_text("x")
    (raw / "preview.png").write_text("x")
    (raw / "README").write_text("x")
    (raw / "._good.tif").write_text("x")
    (raw / ".git").mkdir()
    (raw / "gone.tif").symlink_to(raw / "nowhere.tif")
    (raw / "loop.tif").symlink_to("loop.tif")
    os.mkfifo(raw / "pipe.tif")
    make_image(raw / "PSF.tif")
    make_image(raw / "calibration" / "flat.tif")
    report = collect(exclude=["PSF*", "calibration", "*.nothing"])
    assert [row.id for row in report.sheet.rows] == ["good"]
    assert dict(report.other) == {".txt": 2, ".png": 1, "(no suffix)": 1}
    assert report.hidden == 2
    assert dict(report.excluded) == {"PSF*": 1, "calibration": 1, "*.nothing": 0}
    reasons = dict(report.unreadable)
    assert reasons["cut.tif"] == "found no image; expected a TIFF file"
    assert reasons["gone.tif"] == "the link leads nowhere"
    assert reasons["pipe.tif"] == "not a plain file"
    assert "loop.tif" in reasons
    assert len(reasons) == 4
    text = render_report(report)
    assert "1 images in 1 files" in text
    assert "could not be read (4):" in text
    assert "image formats that are not read: .png 1" in text
    assert "other files: (no suffix) 1, .txt 2" in text
    assert "excluded by '*.nothing': 0 (it fits nothing)" in text
    assert "hidden files and folders: 2" in text


def test_any_failure_of_a_format_library_is_a_line_of_the_report(
    study: Path, make_image: Make, collect: Collect
) -> None:
    make_image(study / "raw" / "a.tif")
    make_image(study / "raw" / "b.tif", dtype="uint12", shape=[10, 32])
    (study / "raw" / "c.tif").write_text("[1]")
    report = collect()
    assert [row.id for row in report.sheet.rows] == ["a"]
    reasons = dict(report.unreadable)
    assert reasons["c.tif"].startswith("TypeError: ")
    assert "shape: found 2 numbers (10,32); expected 3" in reasons["b.tif"]
    assert "dtype: found 'uint12'" in reasons["b.tif"]


def test_names_that_a_sheet_cannot_hold_are_told(study: Path, make_image: Make, collect: Collect) -> None:
    raw = study / "raw"
    make_image(raw / "good.tif")
    make_image(raw / "a\tb.tif")
    make_image(raw / "new\nline" / "c.tif")
    with open(os.fsencode(raw) + b"/\xe4.tif", "w") as stream:  # noqa: PTH123
        stream.write("[]")
    report = collect()
    assert [row.id for row in report.sheet.rows] == ["good"]
    assert report.unreadable == [
        ("\\udce4.tif", "its name holds bytes that are not UTF-8, which a sheet cannot; rename it"),
        ("a\\tb.tif", "its name holds a control character, which a sheet cannot; rename it"),
        ("new\\nline/c.tif", "its name holds a control character, which a sheet cannot; rename it"),
    ]
    render_report(report).encode()
    json.dumps(report.to_dict()).encode()


@pytest.mark.parametrize(
    "name",
    [
        "$(touch pwned).tif",
        "a 'b' \"c\".tif",
        '"quoted".tif',
        "{id}.tif",
        "~.tif",
        "-rf.tif",
        "日本.tif",
        "C:\\x.tif",
        "a;b|c&d.tif",
    ],
)
def test_hostile_names_survive_in_the_path_and_not_in_the_id(
    study: Path, make_image: Make, collect: Collect, name: str
) -> None:
    make_image(study / "raw" / name)
    collect(write=True)
    (row,) = read_sheet(study / "config" / "samples.tsv").rows
    assert row.path == f"raw/{name}"
    assert set(row.id) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")


def test_a_store_is_one_image_and_is_not_walked_into(study: Path, make_image: Make, collect: Collect) -> None:
    make_image(study / "raw" / "a.zarr")
    make_image(study / "raw" / "a.zarr" / "0" / "c.tif")
    (study / "raw" / "unnamed").mkdir()
    (study / "raw" / "unnamed" / "zarr.json").write_text((study / "raw" / "a.zarr" / "zarr.json").read_text())
    assert [row.path for row in collect().sheet.rows] == ["raw/a.zarr", "raw/unnamed"]
    assert [row.id for row in collect(study / "raw" / "a.zarr").sheet.rows] == ["a"]


def test_links_are_followed_once(study: Path, make_image: Make, collect: Collect, tmp_path: Path) -> None:
    raw = study / "raw"
    make_image(raw / "z" / "a.tif")
    make_image(tmp_path / "store" / "b.tif")
    (raw / "again").symlink_to(raw / "z")
    (raw / "z" / "up").symlink_to(raw)
    (raw / "far").symlink_to(tmp_path / "store")
    (raw / "copy.tif").symlink_to(raw / "z" / "a.tif")
    (raw / "link.tif").symlink_to(make_image(tmp_path / "single.tif"))
    report = collect()
    assert [row.path for row in report.sheet.rows] == ["raw/far/b.tif", "raw/link.tif", "raw/z/a.tif"]
    assert sorted(report.skipped) == [
        ("again", "a link to a folder that is walked already"),
        ("copy.tif", "a link to a file that is collected already"),
        ("z/up", "a link to a folder that is walked already"),
    ]


def test_folders_of_a_study_are_left_out(study: Path, make_image: Make, collect: Collect) -> None:
    make_image(study / "raw" / "a.tif")
    make_image(study / "results" / "a" / "deskew" / "image.ome.zarr")
    make_image(study / "records" / "x.tif")
    other = study / "raw" / "old study"
    make_image(other / "results" / "b.tif")
    make_image(other / "images" / "c.tif")
    make_image(study / "raw" / "results" / "d.tif")
    (other / "config").mkdir()
    (other / "config" / "samples.tsv").write_text("id\tpath\n")
    report = collect(study)
    assert [row.path for row in report.sheet.rows] == [
        "raw/a.tif",
        "raw/old study/images/c.tif",
        "raw/results/d.tif",
    ]
    assert ("results", "a folder of a study's own") in report.skipped


def test_include_keeps_only_what_fits(study: Path, make_image: Make, collect: Collect) -> None:
    for name in ("a/x_raw.tif", "a/x_mip.tif", "b/y_raw.tif"):
        make_image(study / "raw" / name)
    report = collect(include=["*_raw.tif"], exclude=["b/*"])
    assert [row.id for row in report.sheet.rows] == ["a_x_raw"]
    assert report.not_included == 1
    assert dict(report.excluded) == {"b/*": 1}


def test_several_scenes_are_several_rows(study: Path, make_image: Make, collect: Collect) -> None:
    make_image(study / "raw" / "exp.lif", format="lif", scenes=[{"scene_name": "Series 1"}, {"scene_name": "b\tc"}])
    make_image(study / "raw" / "one.lif", format="lif")
    report = collect()
    assert (report.images, report.files) == (3, 2)
    assert [(row.id, row.scene, row.cell("scene_name")) for row in report.sheet.rows] == [
        ("exp_s0", 0, "Series 1"),
        ("exp_s1", 1, "b c"),
        ("one", 0, ""),
    ]


def test_paths_outside_the_study_are_absolute(
    make_image: Make, collect: Collect, tmp_path: Path, fake_reader: Any
) -> None:
    make_image(tmp_path / "elsewhere" / "a.tif")
    assert [row.path for row in collect(tmp_path / "elsewhere").sheet.rows] == [f"{tmp_path}/elsewhere/a.tif"]
    report = collect_folder(tmp_path / "elsewhere", read=fake_reader)
    assert [row.path for row in report.sheet.rows] == [f"{tmp_path}/elsewhere/a.tif"]


def test_no_folder_and_no_images(study: Path, collect: Collect) -> None:
    with pytest.raises(InputError, match="there is no such folder"):
        collect()
    (study / "raw").mkdir()
    report = collect()
    assert (report.images, report.sheet.rows) == (0, [])
    assert "0 images in 0 files" in render_report(report)


def test_progress_counts_every_file(study: Path, make_image: Make, collect: Collect) -> None:
    for number in range(5):
        make_image(study / "raw" / f"{number}.tif")
    seen: list[tuple[int, int]] = []
    collect(progress=lambda done, total: seen.append((done, total)), threads=3)
    assert seen == [(1, 5), (2, 5), (3, 5), (4, 5), (5, 5)]


def test_a_naming_is_proposed_and_used_only_when_accepted(study: Path, make_image: Make, collect: Collect) -> None:
    for t in range(3):
        for c in range(2):
            make_image(study / "raw" / f"cell 1_ch{c}_stack{t:04d}.tif")
    make_image(study / "raw" / "snapshot.tif")
    report = collect()
    assert report.proposal is not None
    assert (report.proposal.pattern, report.proposal.accepted) == ("{series}_ch{c}_stack{t}", False)
    assert {row.cell("series") == row.id for row in report.sheet.rows} == {True}
    assert "t" not in report.sheet.columns
    text = render_report(report)
    assert "fits 6 of 7 files, 1 series" in text
    assert "series=cell 1, c=0, t=0" in text
    assert "does not fit: snapshot.tif" in text
    assert "To accept: --pattern '{series}_ch{c}_stack{t}'   or: --yes" in text
    for options in ({"accept": True}, {"pattern": "{series}_ch{c}_stack{t}.tif"}):
        sheet = collect(**options).sheet
        assert [(row.cell("series"), row.t, row.cell("c")) for row in sheet.rows] == [
            ("cell_1", 0, "0"),
            ("cell_1", 1, "0"),
            ("cell_1", 2, "0"),
            ("cell_1", 0, "1"),
            ("cell_1", 1, "1"),
            ("cell_1", 2, "1"),
            ("snapshot", None, ""),
        ]
        assert [
            len(rows)
            for rows in sheet.only([r.id for r in sheet.rows][:6]).groups(["series", "c"], unique_t=True).values()
        ] == [3, 3]


def test_free_fields_become_columns(study: Path, make_image: Make, collect: Collect) -> None:
    for well in ("A01", "B02"):
        for t in range(2):
            make_image(study / "raw" / f"{well}_dmso 5%_t{t}.tif")
    sheet = collect(pattern="{well}_{drug}_t{t}").sheet
    assert sheet.columns[-4:] == ("series", "t", "well", "drug")
    assert sheet.column("drug") == ["dmso 5%"] * 4
    assert sorted(sheet.groups(["series"], unique_t=True)) == ["A01_dmso_5", "B02_dmso_5"]


def test_one_file_for_each_plane_is_reported_and_not_taken(study: Path, make_image: Make, collect: Collect) -> None:
    for t in range(2):
        for z in range(4):
            make_image(study / "raw" / f"img_channel000_position000_time{t:09d}_z{z:03d}.tif", axes="yx", shape=[4, 4])
    for options in ({"accept": True}, {"pattern": "img_channel{c}_position{position}_time{t}_z{z}.tif"}):
        report = collect(**options)
        assert "found up to 4 files that differ in z only" in str(report.problems[0])
        assert {row.cell("series") == row.id for row in report.sheet.rows} == {True}
        assert "not supported: each file holds one plane" in render_report(report)


def test_files_of_a_series_that_do_not_fit_together_are_told(study: Path, make_image: Make, collect: Collect) -> None:
    for t in range(6):
        make_image(study / "raw" / f"cell_t{t}.tif", shape=[9 if t == 5 else 10, 32, 24], time_step_s=1.0)
    make_image(study / "raw" / "cell_t7.tif", voxel_size_um=[0.3, 0.2, 0.2], dtype="uint8", time_step_s=1.0)
    problems = [str(problem) for problem in collect(accept=True).problems]
    assert len(problems) == 4
    assert problems[0].startswith("series cell: cell_t5: shape is 9,32,24; expected 10,32,24 as in the other 6 files.")
    assert problems[1].startswith("series cell: cell_t7: dtype is uint8; expected uint16 as in the other 6 files.")
    assert problems[2].startswith("series cell: cell_t7: voxel_size_um is 0.3,0.2,0.2; expected 0.3,0.1,0.1")
    assert problems[3] == "series cell: 1 of 8 time points have no file, first t = 6."


def test_two_files_of_one_time_point_are_told(study: Path, make_image: Make, collect: Collect) -> None:
    for side in "ab":
        for t in range(2):
            make_image(study / "raw" / f"cell_{side}_t{t}.tif", time_step_s=1.0)
    (problem,) = collect(pattern="{series}_{side}_t{t}").problems
    assert str(problem).startswith("series cell: 2 time points have more than one file, first cell_a_t0, cell_b_t0.")


def test_a_channel_that_lacks_time_points_is_told(study: Path, make_image: Make, collect: Collect) -> None:
    for t in range(4):
        make_image(study / "raw" / f"cell_c0_t{t}.tif", time_step_s=1.0)
    for t in range(2):
        make_image(study / "raw" / f"cell_c1_t{t}.tif", time_step_s=1.0)
    (problem,) = collect(accept=True).problems
    assert str(problem) == "series cell: channel 1 has no file at 2 of 4 time points, first t = 2."


def test_equal_names_in_two_folders_are_two_series(study: Path, make_image: Make, collect: Collect) -> None:
    for day in ("day1", "day2"):
        for t in range(2):
            make_image(study / "raw" / day / f"cell_t{t}.tif")
    groups = collect(accept=True).sheet.groups(["series"], unique_t=True)
    assert {name: len(rows) for name, rows in groups.items()} == {"day1_cell": 2, "day2_cell": 2}
    collect(study / "raw" / "day1", accept=True, write=True)
    groups = collect(study / "raw" / "day2", accept=True).sheet.groups(["series"], unique_t=True)
    assert [len(rows) for rows in groups.values()] == [2, 2]
    assert next(iter(groups)) == "cell"
