from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from snakescope.errors import InputError
from snakescope.study.model import RAW, RUN
from snakescope.study.pagetab import files as pagetab_files
from snakescope.study.pagetab.lists import FileLists, column_names
from study_helpers import HOSTILE, UNITS, Feed, make_feed, make_study, replace_output, sha256_of


def write(folder: Path, feed: Feed | None = None) -> None:
    feed = feed or make_feed()
    feed.show(FileLists(folder, make_study(), feed.inventory))


def table(folder: Path, key: str) -> list[list[str]]:
    text = (folder / f"file_list_{key}.tsv").read_bytes().decode("utf-8")
    assert text.endswith("\n")
    return [line.split("\t") for line in text[:-1].split("\n")]


def column(folder: Path, key: str, name: str) -> list[str]:
    header, *rows = table(folder, key)
    return [row[header.index(name)] for row in rows]


def test_raw_images_have_their_varying_columns_and_no_source(tmp_path: Path) -> None:
    write(tmp_path)
    header, *rows = table(tmp_path, RAW)
    assert header == ["Files", "sample", "drug", "type_in_sheet", "biosample", "acquisition", "sha256"]
    path = "raw/cell1_ch0.ome.tif"
    assert rows[0] == [path, "cell1_ch0", "DMSO", "0", "Cell line 1", "Acquisition 1", sha256_of(path)]
    assert len(rows) == len(UNITS)


def test_a_derived_image_names_its_source_and_a_folder_is_one_row(tmp_path: Path) -> None:
    write(tmp_path)
    header, *rows = table(tmp_path, "deconvolve")
    assert header[:2] == ["Files", "source_image"]
    assert rows[0][:2] == ["results/cell1_ch0/deconvolve/stack.ome.zarr", "raw/cell1_ch0.ome.tif"]
    assert len(rows) == len(UNITS)


def test_constant_columns_are_left_out(tmp_path: Path) -> None:
    write(tmp_path)
    header = table(tmp_path, "deconvolve")[0]
    assert not {"output", "specimen", "axes", "shape", "bytes"} & set(header)


def test_annotations_have_type_and_time_even_where_all_are_alike(tmp_path: Path) -> None:
    feed = make_feed(drugs=("DMSO", "DMSO", "DMSO"))
    write(tmp_path, feed)
    header = table(tmp_path, "track")[0]
    assert header[:4] == ["Files", "source_image", "annotation_type", "annotation_creation_time"]
    assert "created" not in header
    assert column(tmp_path, "track", "annotation_type") == ["tracks"] * 3
    assert column(tmp_path, "track", "annotation_creation_time") == ["2026-11-20T10:14:00Z"] * 3


def test_the_run_has_paths_digests_and_sizes_only(tmp_path: Path) -> None:
    write(tmp_path)
    header, *rows = table(tmp_path, RUN)
    assert header == ["Files", "sha256", "bytes"]
    assert rows[1] == ["workflow/Snakefile", sha256_of("workflow/Snakefile"), "12"]


def test_the_digest_is_there_even_when_all_are_alike_or_unknown(tmp_path: Path) -> None:
    feed = make_feed()
    feed.raw_files = [
        dataclasses.replace(file, sha256=None, columns={**file.columns, "sha256": ""}) for file in feed.raw_files
    ]
    write(tmp_path, feed)
    assert column(tmp_path, RAW, "sha256") == ["", "", ""]


def test_several_sources_are_joined(tmp_path: Path) -> None:
    feed = make_feed()
    sources = tuple(file.path for file in feed.raw_files)
    feed.jobs[0] = replace_output(feed.jobs[0], sources=sources)
    write(tmp_path, feed)
    assert column(tmp_path, "deconvolve", "source_image")[0].split(pagetab_files.SOURCES_JOINED_BY) == list(sources)


def test_files_of_steps_that_are_not_handed_in_are_in_no_list(tmp_path: Path) -> None:
    feed, study = make_feed(), make_study()
    kept = tuple(dataset for dataset in study.datasets if dataset.key != "deconvolve")
    feed.show(FileLists(tmp_path, dataclasses.replace(study, datasets=kept), feed.inventory))
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [f"file_list_{key}.tsv" for key in (RAW, "track", RUN)]


@pytest.mark.parametrize("text", [text for text in HOSTILE if text.isprintable()])
def test_a_hostile_cell_stands_as_it_is(tmp_path: Path, text: str) -> None:
    write(tmp_path, make_feed(drugs=(text, "b", "c")))
    assert column(tmp_path, RAW, "drug") == [text, "b", "c"]


def test_line_ends_and_tabs_become_blanks(tmp_path: Path) -> None:
    write(tmp_path, make_feed(drugs=("a\tb\nc\r\nd\u2028e\x85f\x00g", "b", "c")))
    assert column(tmp_path, RAW, "drug") == ["a b c  d e f g", "b", "c"]


def test_a_column_that_means_something_to_the_archive_gets_a_suffix() -> None:
    names = ["Files", "source_image", "Source Image", "Path", "size", "dataset", "drug", "Drug", " ", "a\tb"]
    assert column_names(names) == [
        "Files_in_sheet",
        "source_image_in_sheet",
        "Source Image_in_sheet_in_sheet",
        "Path_in_sheet",
        "size_in_sheet",
        "dataset_in_sheet",
        "drug",
        "Drug_in_sheet",
        "column",
        "a b",
    ]


BAD_PATHS = {
    "raw/a:b.tif": "holds ':'",
    "raw/a&b;c.tif": "holds '&', ';'",
    "raw/café.tif": "holds 'é'",
    "raw/a#.tif": "holds '#'",
    "../a.tif": r"holds \. or \.\. as a folder",
    "./a.tif": r"holds \. or \.\. as a folder",
    "/raw/a.tif": "starts or ends with /",
    "raw//a.tif": "two in a row",
    "raw\\a.tif": "holds a backslash",
    "raw/a  b.tif": "two blanks in a row",
    "raw /a.tif": "a blank at the end of a name",
    "raw./a.tif": r"ends with \. or \*",
    "": "is empty",
}


@pytest.mark.parametrize(("path", "message"), BAD_PATHS.items())
def test_a_path_that_the_archive_refuses_is_named(tmp_path: Path, path: str, message: str) -> None:
    feed = make_feed()
    feed.raw_files[1] = dataclasses.replace(feed.raw_files[1], path=path)
    with pytest.raises(InputError, match=message) as caught:
        write(tmp_path, feed)
    assert str(caught.value).startswith(f"file_list_raw-images.tsv: {path!r}")


def test_all_refused_paths_are_told_at_once_and_the_rest_counted(tmp_path: Path) -> None:
    feed = make_feed()
    feed.raw_files = [dataclasses.replace(feed.raw_files[0], path=f"raw/{index}:.tif") for index in range(105)]
    with pytest.raises(InputError, match="and 5 more paths") as caught:
        write(tmp_path, feed)
    assert len(caught.value.problems) == 101


def test_good_paths_are_taken() -> None:
    for path in ("a", "raw/a-b_c.ome.tif", "results/x/y/it's (1)!.csv", "a/.hidden", "a.b/c"):
        assert pagetab_files.path_problem(path) is None


def test_a_trailing_slash_of_a_folder_is_taken_off(tmp_path: Path) -> None:
    feed = make_feed()
    feed.jobs[0] = replace_output(feed.jobs[0], path="results/cell1_ch0/deconvolve/stack.ome.zarr/")
    write(tmp_path, feed)
    assert table(tmp_path, "deconvolve")[1][0] == "results/cell1_ch0/deconvolve/stack.ome.zarr"


def test_long_lists_are_written_whole_and_the_same_again(tmp_path: Path) -> None:
    feed = make_feed()
    feed.raw_files = [dataclasses.replace(feed.raw_files[0], path=f"raw/{index}.tif") for index in range(4500)]
    texts = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write(tmp_path / name, feed)
        texts.append((tmp_path / name / "file_list_raw-images.tsv").read_bytes())
    assert texts[0] == texts[1]
    assert [row[0] for row in table(tmp_path / "a", RAW)[1:]] == [file.path for file in feed.raw_files]
