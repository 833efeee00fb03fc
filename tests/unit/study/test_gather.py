"""Filling the study from images, sheet and ``config/study.yaml``, in this order, with every field's origin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from snakescope.images import Acquisition as ImageFacts
from snakescope.images import ChannelFacts
from snakescope.samples import Row, build_sheet
from snakescope.study import ontologies
from snakescope.study.gather import gather
from snakescope.study.sources import Gathered
from snakescope.study.spec import StudySpec

AUTHOR = {
    "first_name": "Ada",
    "last_name": "Byron",
    "email": "ada@example.org",
    "affiliation": {"name": "EBI", "ror": "https://ror.org/02catss52"},
}
OTHER = {**AUTHOR, "first_name": "Bea", "email": "bea@example.org"}
COMPLETE: dict[str, Any] = {
    "title": "Vesicles in starved and fed HeLa cells",
    "description": "Time series of vesicles in starved and fed HeLa cells.",
    "license": "CC0",
    "release_date": "2027-01-31",
    "authors": [AUTHOR],
    "biosamples": [{"organism": "human", "biological_entity": "HeLa cells"}],
    "specimens": [{"sample_preparation": "Mounted live."}],
    "acquisitions": [{"imaging_instrument": "Microscope 1", "imaging_method": "light sheet"}],
}
COLUMNS = ("id", "path", "axes", "shape", "voxel_size_um", "time_step_s")
ROW = {"axes": "zyx", "shape": "40,96,96", "voxel_size_um": "0.3,0.1,0.1", "time_step_s": "2"}


def gathered(
    spec: Mapping[str, Any] = COMPLETE,
    rows: Sequence[Mapping[str, str]] = ({"id": "a"}, {"id": "b"}),
    facts: ImageFacts | None = None,
) -> Gathered:
    more = dict.fromkeys(name for row in rows for name in row if name != "id")
    sheet = build_sheet(
        list(dict.fromkeys([*COLUMNS, *more])), [{**ROW, "path": f"{row['id']}.tif", **row} for row in rows]
    )
    typed = StudySpec.model_validate({"schema": 1, **spec})
    return gather(
        typed,
        sheet,
        ontologies.load(),
        lambda _row: facts,
        title_of_pipeline="A pipeline",
        method_titles=["Deconvolution", "Tracking"],
    )


def row_of(found: Gathered, **cells: str) -> Row:
    sheet = build_sheet(["id", "path", *cells], [{"id": "x", "path": "x.tif", **cells}])
    assert found is not None
    return sheet.rows[0]


def origin(found: Gathered, name: str) -> str:
    return next(each.source for each in found.origins if each.field == name)


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in COMPLETE.items() if name != key}


def test_a_complete_study_misses_nothing() -> None:
    found = gathered()
    assert (found.missing, found.problems, found.warnings, found.overruled) == ([], [], [], [])
    assert found.biosamples[0].organism.scientific_name == "Homo sapiens"
    assert found.biosamples[0].organism.taxon.curie == "NCBITaxon:9606"
    assert found.acquisitions[0].imaging_method.term.curie == "FBbi:00000369"
    assert found.analyst is not None
    assert found.analyst.email == "ada@example.org"


def test_settings_are_described_from_the_sheet() -> None:
    text = gathered().acquisitions[0].acquisition_parameters
    assert text == ("images of 40 × 96 × 96 (z, y, x); voxels of 0.3 × 0.1 × 0.1 (z, y, x) µm; 2 s between time points")
    found = gathered()
    assert origin(found, "acquisitions.Microscope 1.acquisition_parameters") == "sheet"


def test_an_image_of_one_plane_has_no_distance_of_planes() -> None:
    rows = [{"id": "a", "axes": "tyx", "shape": "20,64,64", "voxel_size_um": "1,0.35,0.35"}]
    text = gathered(rows=rows).acquisitions[0].acquisition_parameters
    assert text == "images of 20 × 64 × 64 (t, y, x); voxels of 0.35 × 0.35 (y, x) µm; 2 s between time points"


def test_what_images_say_needs_no_typing() -> None:
    facts = ImageFacts(instrument="Zeiss Lattice Lightsheet 7", channels=(ChannelFacts(name="EGFP"),))
    spec = {**COMPLETE, "acquisitions": [{"imaging_method": "light sheet"}]}
    found = gathered(spec, facts=facts)
    acquisition = found.acquisitions[0]
    assert acquisition.imaging_instrument == "Zeiss Lattice Lightsheet 7"
    assert "EGFP" in acquisition.acquisition_parameters
    assert origin(found, f"acquisitions.{acquisition.title}.imaging_instrument") == "images"


def test_what_people_type_overrules_images_and_this_is_noted() -> None:
    found = gathered(facts=ImageFacts(instrument="Zeiss Lattice Lightsheet 7"))
    assert found.acquisitions[0].imaging_instrument == "Microscope 1"
    assert len(found.overruled) == 1
    assert "Zeiss Lattice Lightsheet 7" in found.overruled[0]
    assert "2 of 2 images" in found.overruled[0]


def test_images_that_disagree_say_nothing() -> None:
    seen = iter([ImageFacts(instrument="One"), ImageFacts(instrument="Two")])
    sheet = build_sheet([*COLUMNS], [{**ROW, "id": name, "path": f"{name}.tif"} for name in "ab"])
    spec = StudySpec.model_validate({"schema": 1, **without("acquisitions")})
    found = gather(spec, sheet, ontologies.load(), lambda _row: next(seen), title_of_pipeline="p")
    assert "acquisitions.Acquisition.imaging_instrument" in [item.field for item in found.missing]


def test_at_most_twelve_images_are_opened_and_the_count_is_told() -> None:
    opened: list[str] = []

    def read(row: Row) -> ImageFacts:
        opened.append(row.id)
        return ImageFacts(instrument="One")

    rows = [{**ROW, "id": f"r{n}", "path": f"{n}.tif"} for n in range(100)]
    spec = StudySpec.model_validate({"schema": 1, **without("acquisitions")})
    found = gather(spec, build_sheet([*COLUMNS], rows), ontologies.load(), read, title_of_pipeline="p")
    assert 8 <= len(opened) <= 12
    detail = next(item.detail for item in found.origins if item.field.endswith("imaging_instrument"))
    assert detail == f"{len(opened)} of {len(opened)} images asked (of 100)"


def test_columns_of_the_sheet_tell_biosamples_apart() -> None:
    rows = [
        {"id": "a", "organism": "mouse", "biological_entity": "neurons", "experimental_variables": "time; dose"},
        {"id": "b", "organism": "Danio rerio", "biological_entity": "embryo"},
        {"id": "c", "organism": "mouse", "biological_entity": "neurons", "experimental_variables": "time; dose"},
    ]
    found = gathered(without("biosamples"), rows)
    assert found.problems == []
    assert [(b.organism.scientific_name, b.biological_entity) for b in found.biosamples] == [
        ("Mus musculus", "neurons"),
        ("Danio rerio", "embryo"),
    ]
    assert found.biosamples[0].experimental_variables == ("time", "dose")
    assert origin(found, f"biosamples.{found.biosamples[1].title}.organism") == "sheet"
    first = found.association_of(row_of(found, **{k: v for k, v in rows[2].items() if k != "id"}))
    assert first[0] == found.biosamples[0].title


def test_titles_in_the_sheet_pick_what_people_wrote() -> None:
    spec = {
        **COMPLETE,
        "biosamples": [
            {"title": "starved", "organism": "human", "biological_entity": "HeLa cells"},
            {"title": "fed", "organism": "mouse", "biological_entity": "3T3 cells"},
        ],
    }
    found = gathered(spec, [{"id": "a", "biosample": "fed"}, {"id": "b", "biosample": "starved"}])
    assert found.problems == []
    assert {b.title: b.organism.scientific_name for b in found.biosamples} == {
        "fed": "Mus musculus",
        "starved": "Homo sapiens",
    }
    assert found.association_of(row_of(found, biosample="fed"))[0] == "fed"


def test_several_biosamples_and_no_column_to_tell_them_apart_is_a_problem() -> None:
    spec = {**COMPLETE, "biosamples": [{**COMPLETE["biosamples"][0], "title": name} for name in ("one", "two")]}
    found = gathered(spec)
    assert any("names 2 biosamples" in str(item) and "'one', 'two'" in str(item) for item in found.problems)


def test_each_of_several_biosamples_needs_a_title_of_its_own() -> None:
    other = {"title": "B", "organism": "mouse", "biological_entity": "cells"}
    found = gathered({**COMPLETE, "biosamples": [*COMPLETE["biosamples"], other]})
    told = list(map(str, found.problems))
    assert (
        told[0] == "config/study.yaml: biosamples: one has no title, or that of another; expected each to have its own."
    )
    assert "with one of: 'B'." in told[1]


def test_something_that_no_row_belongs_to_is_a_problem() -> None:
    entry = COMPLETE["biosamples"][0]
    spec = {**COMPLETE, "biosamples": [{**entry, "title": "one"}, {**entry, "title": "two"}]}
    found = gathered(spec, [{"id": "a", "biosample": "one"}])
    assert [str(item) for item in found.problems] == [
        "config/study.yaml: biosamples: no row of the sheet belongs to 'two'."
    ]


def test_rows_of_one_biosample_must_agree() -> None:
    rows = [{"id": "a", "biosample": "x", "organism": "mouse"}, {"id": "b", "biosample": "x", "organism": "human"}]
    found = gathered(without("biosamples"), rows)
    assert any("the rows of x disagree ('mouse', 'human')" in str(item) for item in found.problems)


@pytest.mark.parametrize(
    ("key", "fields"),
    [
        ("title", ["title"]),
        ("license", ["license"]),
        ("release_date", ["release_date"]),
        ("authors", ["authors"]),
        ("biosamples", ["biosamples.Biosample.organism", "biosamples.Biosample.biological_entity"]),
        ("specimens", ["specimens.Specimen.sample_preparation"]),
        (
            "acquisitions",
            ["acquisitions.Acquisition.imaging_instrument", "acquisitions.Acquisition.imaging_method"],
        ),
    ],
)
def test_what_nobody_says_is_missing_and_somebody_should_know(key: str, fields: list[str]) -> None:
    found = gathered(without(key))
    assert [item.field for item in found.missing] == fields
    assert all(item.known_by.startswith(("the ", "who ")) and item.how for item in found.missing)


def test_two_authors_and_no_analyst() -> None:
    found = gathered({**COMPLETE, "authors": [AUTHOR, OTHER]})
    assert [item.field for item in found.missing] == ["analyst"]
    chosen = gathered({**COMPLETE, "authors": [AUTHOR, OTHER], "analyst": "bea@example.org"}).analyst
    assert chosen is not None
    assert chosen.first_name == "Bea"


def test_the_analyst_must_be_an_author() -> None:
    found = gathered({**COMPLETE, "analyst": "nobody@example.org"})
    assert "no author's e-mail" in str(found.problems[0])


def test_keywords_come_from_the_methods_unless_typed() -> None:
    assert gathered().keywords == ("deconvolution", "tracking")
    assert gathered({**COMPLETE, "keywords": ["mine"]}).keywords == ("mine",)


def test_short_titles_are_refused() -> None:
    found = gathered({**COMPLETE, "title": "Short"})
    assert "REMBI asks for 25 or more" in str(found.problems[0])


@pytest.mark.parametrize("text", ["banana", "Mus musculsu"])
def test_an_unknown_organism_is_refused_with_near_ones(text: str) -> None:
    found = gathered({**COMPLETE, "biosamples": [{"organism": text, "biological_entity": "x"}]})
    told = str(found.problems[0])
    assert f"found {text!r}" in told
    assert ("Mus musculus (NCBITaxon:10090)" in told) == text.startswith("Mus")


def test_an_organism_beyond_the_table_is_taken_with_its_taxon_and_doubted() -> None:
    spec = {**COMPLETE, "biosamples": [{"organism": "Hydra vulgaris (NCBITaxon:6087)", "biological_entity": "polyp"}]}
    found = gathered(spec)
    assert found.problems == []
    assert found.biosamples[0].organism.scientific_name == "Hydra vulgaris"
    assert found.biosamples[0].organism.taxon.curie == "NCBITaxon:6087"


def test_a_term_of_the_wrong_ontology_is_refused() -> None:
    spec = {**COMPLETE, "acquisitions": [{"imaging_instrument": "M", "imaging_method": "mouse (NCBITaxon:10090)"}]}
    assert "expected one of FBbi" in str(gathered(spec).problems[0])


@pytest.mark.parametrize(
    ("organism", "method", "told"),
    [
        ("human", "confocal (FBbi:00000369)", "the id that of FBbi:00000369"),
        ("Homo sapiens (NCBITaxon:10090)", "light sheet", "the name is that of NCBITaxon:9606 (Homo sapiens)"),
        ("human", "bright-field (EFO:0000001)", "found a term of EFO; expected one of FBbi"),
        ("Homo sapiens (NCBITaxon:9606x)", "light sheet", "expected NCBITaxon: and a number"),
    ],
)
def test_a_name_and_an_id_that_contradict_each_other_are_refused_once(organism: str, method: str, told: str) -> None:
    biosample = {"organism": organism, "biological_entity": "HeLa cells"}
    acquisition = {"imaging_instrument": "M", "imaging_method": method}
    found = gathered({**COMPLETE, "biosamples": [biosample], "acquisitions": [acquisition]})
    assert len(found.problems) == 1
    assert told in str(found.problems[0])


def test_a_name_that_is_not_known_beside_a_known_id_is_doubted() -> None:
    spec = {**COMPLETE, "acquisitions": [{"imaging_instrument": "M", "imaging_method": "our way (FBbi:00000369)"}]}
    found = gathered(spec)
    assert found.problems == []
    assert len(found.warnings) == 1


def test_what_the_sheet_says_of_the_study_is_checked_like_what_people_type() -> None:
    rows = [{"id": "a", "license": "WTFPL", "release_date": "tomorrow"}]
    found = gathered({k: v for k, v in COMPLETE.items() if k not in ("license", "release_date")}, rows)
    assert [str(item).split(": ")[1] for item in found.problems] == ["license", "release_date"]


def test_hostile_cells_are_only_text() -> None:
    nasty = "$(touch x); `id` {braces} '\"\\ ; ../.."
    rows = [{"id": "a", "organism": "mouse", "biological_entity": nasty, "biosample": nasty}]
    found = gathered(without("biosamples"), rows)
    assert found.biosamples[0].biological_entity == nasty
    assert found.biosamples[0].title == nasty


def test_unknown_operations_of_tools_are_doubted() -> None:
    sheet = build_sheet([*COLUMNS], [{**ROW, "id": "a", "path": "a.tif"}])
    spec = StudySpec.model_validate({"schema": 1, **COMPLETE})
    operations = {"deskew": ["operation_3443"], "track": ["operation_9999"]}
    found = gather(spec, sheet, ontologies.load(), lambda _row: None, title_of_pipeline="p", operations=operations)
    assert [item.where for item in found.warnings] == ["step track: its tool's EDAM operation"]
