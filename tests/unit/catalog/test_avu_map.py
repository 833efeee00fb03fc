"""AVUs become columns by the mapping: the shipped one and a study's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from snakescope.catalog.avu_map import Mapper, read_avu_map
from snakescope.catalog.filters import Since, Where
from snakescope.errors import InputError

Avu = tuple[str, str, str]


def cells(*avus: Avu, all_avus: bool = False) -> dict[str, str]:
    return Mapper(read_avu_map(), all_avus=all_avus).columns(avus).cells


def mapper(text: str, tmp_path: Path) -> Mapper:
    path = tmp_path / "config/avu_map.yaml"
    path.parent.mkdir()
    path.write_text(f"schema: 1\nrules:\n{text}")
    return Mapper(read_avu_map(tmp_path))


@pytest.mark.parametrize(
    ("avu", "column", "value"),
    [
        (("snakescope.organism", "yeast", ""), "organism", "yeast"),
        (("snakescope.voxel_size_um", "0.30,0.1,0.1", ""), "voxel_size_um", "0.3,0.1,0.1"),
        (("snakescope.voxel_size_um", "300,104,104", "nm"), "voxel_size_um", "0.3,0.104,0.104"),
        (("snakescope.voxel_size_um", ",0.1,0.1", "µm"), "voxel_size_um", ",0.1,0.1"),
        (("snakescope.voxel_size_x", "104", "nm"), "voxel_size_um", ",,0.104"),
        (("snakescope.time_step_s", "500", "ms"), "time_step_s", "0.5"),
        (("snakescope.axes", "zyx", ""), "axes", "zyx"),
        (("snakescope.temperature", "37", "°C"), "temperature", "37 °C"),
        (("mgs.microscope.objective.NA", "1.4", "1"), "mgs_microscope_objective_na", "1.4"),
        (("sample_common_name", "Homo sapiens", ""), "organism", "Homo sapiens"),
        (("dcterms:creator", "lab", ""), "creator", "lab"),
        (("Organism Scientific Name", "Danio rerio", ""), "organism", "Danio rerio"),
        (("Biosample Extrinsic Variables", "heat", ""), "extrinsic_variables", "heat"),
        (("quay_id", "ass_1", ""), "quay_id", "ass_1"),
        (("snakescope.note", "tab\there\nline", ""), "note", "tab here line"),
        (("snakescope.id", "x", ""), "avu_id", "x"),
        (("snakescope.sha256", "x", ""), "avu_sha256", "x"),
    ],
)
def test_shipped_mapping(avu: Avu, column: str, value: str) -> None:
    assert cells(avu) == {column: value}


@pytest.mark.parametrize("name", ["md5", "type", "irods_id", "dcterms:modified", "mgs.micro.__version__"])
def test_known_avus_without_a_column_are_left_out_even_when_all_are_asked_for(name: str) -> None:
    assert cells((name, "x", ""), all_avus=True) == {}


def test_foreign_avus_are_left_out_and_counted_unless_asked_for() -> None:
    found = Mapper(read_avu_map()).columns([("Lab:Foo bar", "1", "kg")])
    assert (found.cells, found.foreign) == ({}, {"Lab:Foo bar"})
    assert cells(("Lab:Foo bar", "1", "kg"), all_avus=True) == {"avu_lab_foo_bar": "1 kg"}


def test_several_values_are_joined_in_the_order_of_their_index_and_reported() -> None:
    avus = [("mgs.m.dye", "DAPI", "10"), ("mgs.m.dye", "GFP", "2"), ("mgs.m.dye", "Cy5", "1")]
    found = Mapper(read_avu_map()).columns(avus)
    assert found.cells == {"mgs_m_dye": "Cy5; GFP; DAPI"}
    assert found.several == ["mgs.m.dye: 3 values, joined: Cy5; GFP; DAPI"]


def test_of_several_values_of_a_fact_the_first_is_taken_and_reported() -> None:
    found = Mapper(read_avu_map()).columns([("snakescope.axes", "zyx", ""), ("snakescope.axes", "tzyx", "")])
    assert found.cells == {"axes": "tzyx"}
    assert "the first is taken" in found.several[0]


def test_an_earlier_rule_fills_a_column_before_a_later_one() -> None:
    avus = [("organism_scientific_name", "late", ""), ("sample_common_name", "early", "")]
    assert cells(*avus) == {"organism": "early"}
    assert cells(*avus, ("snakescope.organism", "first", "")) == {"organism": "first"}


@pytest.mark.parametrize(
    ("avu", "message"),
    [
        (("snakescope.voxel_size_um", "tiny", ""), "expected a number"),
        (("snakescope.voxel_size_um", "0.3,0.1", ""), "expected three numbers"),
        (("snakescope.voxel_size_um", "3,1,1", "px"), "found the unit 'px'"),
        (("snakescope.voxel_size_x", "0", "um"), "expected a number above 0"),
        (("snakescope.voxel_size_x", "1", "furlong"), "found the unit 'furlong'"),
        (("snakescope.voxel_size_x", "one", "um"), "expected a number"),
        (("snakescope.axes", "xyz", ""), "found 'xyz'"),
        (("snakescope.t", "-1", ""), "expected a whole number"),
    ],
)
def test_values_that_no_sheet_can_hold_are_refused_and_told(avu: Avu, message: str) -> None:
    found = Mapper(read_avu_map()).columns([avu])
    assert found.cells == {}
    assert found.refused[0][0] == avu[0]
    assert message in found.refused[0][1]


def test_a_study_has_its_own_mapping(tmp_path: Path) -> None:
    own = mapper('  - {avu: "lab:*:name", column: "lab_*", several: first}\n  - {avu: "x?", column: x}\n', tmp_path)
    found = own.columns([("lab:one:name", "b", ""), ("lab:one:name", "a", ""), ("x1", "v", "u"), ("x12", "w", "")])
    assert found.cells == {"lab_one": "a", "x": "v u"}
    assert found.foreign == {"x12"}


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("{avu: a, column: id}", "is filled by the catalogue"),
        ("{avu: a, column: checksum}", "is filled by the catalogue"),
        ('{avu: a, column: "two words"}', "expected letters, digits and _"),
        ("{avu: a, column: b, unit: kg}", "kg"),
        ("{name: a}", "name"),
    ],
)
def test_a_wrong_rule_is_refused_with_its_place(tmp_path: Path, rule: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        mapper(f"  - {rule}\n", tmp_path)
    assert message in str(caught.value)
    assert "avu_map.yaml" in str(caught.value)


def test_results_are_told_by_the_prefix() -> None:
    assert Mapper(read_avu_map()).is_result([("snakescope.step", "track", "")])
    assert not Mapper(read_avu_map()).is_result([("snakescope.organism", "yeast", "")])
    assert Mapper(read_avu_map(), prefix="lab:").is_result([("lab:run", "1", "")])


@pytest.mark.parametrize(
    ("text", "value", "holds"),
    [
        ("study=A", "A", True),
        ("study = A", "A", True),
        ("study=a", "A", False),
        ("study='A b'", "A b", True),
        ("study=a=b", "a=b", True),
        ("study like A%", "ABC", True),
        ("study LIKE 'A_C'", "ABC", True),
        ("study like A_", "ABC", False),
        (r"study like 50\%", "50%", True),
        (r"study like 50\%", "50x", False),
        ("study like %b=c%", "ab=cd", True),
        ("study=", "", True),
    ],
)
def test_conditions(text: str, value: str, holds: bool) -> None:
    assert Where.parse(text).holds([[("other", value, "")], [("study", value, "u")]]) is holds


def test_a_condition_that_is_none_is_refused() -> None:
    with pytest.raises(InputError, match="expected 'name=value' or 'name like text%'"):
        Where.parse("study")


def test_a_date_without_a_zone_is_utc() -> None:
    assert Since.parse("2026-01-02").time.isoformat() == "2026-01-02T00:00:00+00:00"
    assert Since.parse("2026-01-02T03:00+01:00").time.isoformat() == "2026-01-02T03:00:00+01:00"
    with pytest.raises(InputError, match="found no date"):
        Since.parse("yesterday")
