"""omero-quay's assays as columns of the sample sheet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from openpyxl import Workbook

from snakescope import api
from snakescope.catalog.omero_quay import Assay, describe, read_assays
from snakescope.errors import InputError
from snakescope.samples import Sheet, build_sheet, read_sheet

INVESTIGATION: list[list[Any]] = [["name", "manager", "owners", "contributors"], ["lab", "boss", "ann,bob", ""]]
STUDY: list[list[Any]] = [
    ["name", "parent", "owner", "description", "tags"],
    ["mitosis", "lab", "ann", "Dividing cells", None],
]
ASSAY_COLUMNS: list[Any] = [
    *("name", "parent", "owner", "description", "tags", "path", "Organism Scientific Name", "Organism Ncbi Taxon"),
    *("Imaging Method Value", "Imaging Method Ontology Name", "Imaging Method Ontology Id", "Experimental Variables"),
    "ImageCorrelation Fiducials Used",
]
FIRST: list[Any] = [
    *("day 1", "mitosis", "ann", "First", "live, HeLa", "shared\\day1", "Homo sapiens", 9606.0),
    *("spinning disk", "FBbi", "00000253", "« drug »", "beads"),
]
SECOND: list[Any] = [
    "day 2",
    "mitosis",
    "bob",
    None,
    None,
    "shared/day2",
    None,
    None,
    None,
    None,
    None,
    "time\nof day",
    None,
]


def write_book(path: Path, assays: list[list[Any]], **sheets: list[list[Any]]) -> Path:
    """Write a workbook as people fill it in."""
    book = Workbook()
    book.remove(book.active)
    tables = {"Investigation": INVESTIGATION, "Study": STUDY, "Assay": [ASSAY_COLUMNS, *assays]} | sheets
    for name, rows in tables.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    book.save(path)
    return path


def sheet_of(*paths: str, **more: str) -> Sheet:
    rows = [{"id": f"r{index}", "path": path, **more} for index, path in enumerate(paths)]
    return build_sheet(["id", "path", *more], rows)


def test_a_workbook_is_read(tmp_path: Path) -> None:
    first, second = read_assays(write_book(tmp_path / "isa.xlsx", [FIRST, [None] * 13, SECOND]))
    assert (first.name, first.study, first.investigation, first.owner) == ("day 1", "mitosis", "lab", "ann")
    assert first.tags == ("live", "HeLa")
    assert first.cells == {
        "organism": "Homo sapiens (NCBITaxon:9606)",
        "imaging_method": "spinning disk (FBbi:00000253)",
        "experimental_variables": "drug",
        "quay_correlation_fiducials": "beads",
        "quay_investigation": "lab",
        "quay_study": "mitosis",
        "quay_assay": "day 1",
        "quay_owner": "ann",
        "quay_tags": "live; HeLa",
    }
    assert second.cells["experimental_variables"] == "time of day"


def test_an_assay_in_two_lines_has_two_paths(tmp_path: Path) -> None:
    more = [*FIRST[:5], "elsewhere/day1", *[None] * 7]
    (assay,) = read_assays(write_book(tmp_path / "isa.xlsx", [FIRST, more]))
    assert assay.paths == ("shared\\day1", "elsewhere/day1")
    assert assay.cells["organism"] == "Homo sapiens (NCBITaxon:9606)"


def test_everything_wrong_is_told_at_once(tmp_path: Path) -> None:
    lost, unnamed = [*FIRST], [*FIRST]
    lost[1], unnamed[0] = "meiosis", None
    study = [STUDY[0], STUDY[1], ["other", "nobody", "ann", "", ""]]
    with pytest.raises(InputError) as caught:
        read_assays(write_book(tmp_path / "isa.xlsx", [lost, unnamed], Study=study))
    told = [str(item).replace(str(tmp_path), "") for item in caught.value.problems]
    assert told == [
        "/isa.xlsx: Study: line 3: parent: found 'nobody'; expected one of 'lab'.",
        "/isa.xlsx: Assay: line 2: parent: found 'meiosis'; expected one of 'mitosis', 'other'.",
        "/isa.xlsx: Assay: line 3: has no name.",
    ]


def test_what_is_no_workbook_is_refused(tmp_path: Path) -> None:
    broken = tmp_path / "isa.xlsx"
    with pytest.raises(InputError, match="there is no such file"):
        read_assays(broken)
    broken.write_text("text")
    with pytest.raises(InputError, match="is no Excel workbook"):
        read_assays(broken)
    book = Workbook()
    book.save(broken)
    with pytest.raises(InputError, match="has no sheet Investigation, Study, Assay"):
        read_assays(broken)
    with pytest.raises(InputError, match="Assay: has no column parent"):
        read_assays(write_book(broken, [], Assay=[["name"], ["x"]]))
    with pytest.raises(InputError, match="expected omero-quay's workbook"):
        read_assays(tmp_path / "isa.ods")


MANIFEST = {
    "id": "m",
    "investigations": [{"id": "i0", "name": "lab", "children": ["s0"]}],
    "studies": [{"id": "s0", "name": "mitosis", "parents": ["i0"], "children": ["a0"]}],
    "assays": [
        {
            **{"id": "a0", "name": "day 1", "owner": "ann", "parents": ["s0"], "quay_annotations": ["n0", "n1"]},
            "importlinks": [{"id": "l0", "srce_url": "irods:///zone/home/ann/day%201"}],
        }
    ],
    "quay_annotations": [
        {"id": "n0", "kv_pairs": [{"key": "Organism Scientific Name", "value": "Danio rerio"}], "namespace": "quay"},
        {"id": "n1", "value": "live", "namespace": "quay"},
    ],
}


def test_a_manifest_is_read(tmp_path: Path) -> None:
    path = tmp_path / "manifest.yml"
    path.write_text(json.dumps(MANIFEST))
    (assay,) = read_assays(path)
    assert assay.paths == ("irods:///zone/home/ann/day%201",)
    assert assay.cells["organism"] == "Danio rerio"
    assert assay.cells["quay_tags"] == "live"
    path.write_text(json.dumps({**MANIFEST, "studies": []}))
    with pytest.raises(InputError, match="is no manifest of omero-quay"):
        read_assays(path)


@pytest.mark.parametrize(
    ("path", "row", "fits"),
    [
        ("shared\\day1", "/mnt/shared/day1/a.tif", True),
        ("shared/day1/", "/mnt/shared/day1/deep/a.tif", True),
        ("shared/day1", "/mnt/shared/day10/a.tif", False),
        ("shared/day1", "/mnt/notshared/day1/a.tif", False),
        ("/mnt/shared/day1", "/mnt/shared/day1/a.tif", True),
        ("/shared/day1", "/mnt/shared/day1/a.tif", False),
        ("file:///mnt/shared/day%201", "/mnt/shared/day 1/a.tif", True),
        ("irods:///zone/home/day%201", "irods:///zone/home/day%201/a.tif", True),
        ("irods:///zone/home/day1", "irods:///zone/home/day2/a.tif", False),
        ("", "irods:///zone/home/lab/mitosis/one/a.tif", True),
        ("", "/elsewhere/a.tif", False),
    ],
)
def test_rows_lie_in_an_assay_by_its_path(path: str, row: str, fits: bool) -> None:
    assay = Assay("one", "mitosis", "lab", paths=(path,) if path else ())
    found = describe(sheet_of(row), [assay], Path("/study"), Path("isa.xlsx"))
    assert found.rows == fits
    assert (found.sheet.rows[0].cell("quay_assay") == "one") == fits
    assert bool(found.problems) != fits


def test_the_deepest_assay_wins_and_two_equal_ones_are_told() -> None:
    whole, part, twin = (Assay(name, "s", "i", paths=(path,)) for name, path in
                         (("whole", "/d"), ("part", "/d/a"), ("twin", "/d/a")))  # fmt: skip
    sheet = sheet_of("/d/a/x.tif", "/d/b/x.tif")
    found = describe(sheet, [whole, part], Path("/study"), Path("isa.xlsx"))
    assert [row.cell("quay_assay") for row in found.sheet.rows] == ["part", "whole"]
    found = describe(sheet, [whole, part, twin], Path("/study"), Path("isa.xlsx"))
    assert [row.cell("quay_assay") for row in found.sheet.rows] == ["", "whole"]
    assert "lies in several assays of isa.xlsx: s/part, s/twin" in str(found.problems[0])


def test_the_sheet_wins_and_differences_are_told() -> None:
    assay = Assay("one", "s", "i", paths=("/d",), pairs={"Organism Scientific Name": "Mus musculus"})
    found = describe(sheet_of("/d/x.tif", organism="Homo sapiens"), [assay], Path("/study"), Path("isa.xlsx"))
    assert found.sheet.rows[0].cell("organism") == "Homo sapiens"
    assert "found 'Homo sapiens', which was kept; its assay says 'Mus musculus'" in str(found.disagreements[0])


def test_rows_and_assays_that_are_alone_are_counted() -> None:
    found = describe(sheet_of("/x/a.tif", "/x/b.tif"), [Assay("one", "s", "i")], Path("/study"), Path("isa.xlsx"))
    assert [item.message for item in found.problems] == [
        "no assay has the path of 2 rows (r0, r1)",
        "the assay s/one has no row in the sheet",
    ]


def test_collect_takes_the_columns_into_the_sheet(tmp_path: Path) -> None:
    folder = tmp_path / "shared/day1"
    folder.mkdir(parents=True)
    tifffile.imwrite(folder / "a.tif", np.zeros((4, 4), np.uint8))
    book = write_book(tmp_path / "isa.xlsx", [FIRST])
    for _ in range(2):
        report = api.collect(tmp_path / "shared", study=tmp_path, quay=book)
        (row,) = read_sheet(tmp_path / "config/samples.tsv").rows
        assert row.cell("organism") == "Homo sapiens (NCBITaxon:9606)"
        assert row.cell("quay_study") == "mitosis"
        assert report.disagreements == []
