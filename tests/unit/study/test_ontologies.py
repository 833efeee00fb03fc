"""Ontology terms: what is found by which name, what is said of a doubtful term, and the full check with an OBO file."""

from __future__ import annotations

import contextlib
import csv
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snakescope.errors import InputError
from snakescope.study.identifiers import TermId, term_id
from snakescope.study.ontologies import TABLE, Ontologies, Term, load
from snakescope.tool.base import read_yaml

ROOT = Path(__file__).parents[3]
WHERE = "config/study.yaml: acquisitions.0.imaging_method"
KNOWN = load()

OBO = r"""format-version: 1.2
ontology: fbbi

[Term]
id: FBbi:00000242
name: obsolete wide field light micrograph
is_obsolete: true
replaced_by: FBbi:00000345

[Term]
id: FBbi:00000250
name: narrow field light micrograph
is_obsolete: true
consider: FBbi:00000251
consider: FBbi:00000345

[Term]
id: FBbi:00000000
name: dummy term
is_obsolete: true

[Term]
id: FBbi:00000251
name: confocal microscopy
alt_id: FBbi:00000999
synonym: "confocal \"laser\" imaging" EXACT []
is_a: FBbi:00000246 ! fluorescence microscopy

[Term]
id: FBbi:00000345
name: light microscopy
synonym: "mode of light microscopy" RELATED []

[Term]
id: FBbi:00000369
name: SPIM
relationship: FBbi:00000346 FBbi:00000364 ! makes_use_of light-sheet illumination

[Term]
id: FBbi:77777777
name: stimulated Raman microscopy
synonym: "SRS" EXACT []

[Term]
id: GO:0008150
name: biological_process
"""


def save(tmp_path: Path, text: str | bytes, name: str = "fbbi.obo") -> Path:
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Ontologies:
    return load(save(tmp_path_factory.mktemp("obo"), OBO))


def found(text: str, prefix: str | None = None, ontologies: Ontologies = KNOWN) -> str | None:
    term = ontologies.find(text, prefix)
    return str(term.id) if term else None


def said(
    text: str, label: str | None = None, prefix: str | None = "FBbi", ontologies: Ontologies = KNOWN
) -> str | None:
    problems = ontologies.check(text, label, WHERE, prefix)
    assert len(problems) < 2
    return str(problems[0]).removeprefix(f"{WHERE}: ") if problems else None


def rows() -> list[list[str]]:
    with TABLE.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def test_the_table_is_three_columns_of_clean_text_sorted_by_ontology() -> None:
    header, *body = rows()
    assert header == ["id", "label", "synonyms"]
    assert {len(row) for row in body} == {3}
    for identifier, label, synonyms in body:
        names = [label, *filter(None, synonyms.split("|"))]
        assert all(name == " ".join(name.split()) != "" for name in names), identifier


def test_each_id_of_the_table_is_well_formed_and_stands_once() -> None:
    ids = [row[0] for row in rows()[1:]]
    assert [str(term_id(text)) for text in ids] == ids
    assert len(set(ids)) == len(ids) == len(list(KNOWN))


def test_a_name_in_the_table_means_one_term_of_its_ontology() -> None:
    names = Counter((term.id.prefix, found(name, term.id.prefix)) for term in KNOWN for name in term.names)
    assert names == Counter((term.id.prefix, str(term.id)) for term in KNOWN for _ in term.names)


def test_a_name_stands_once_with_its_term() -> None:
    for term in KNOWN:
        folded = [name.casefold() for name in term.names]
        assert len(set(folded)) == len(folded), term


def test_the_table_is_large_enough_for_a_facility() -> None:
    sizes = Counter(term.id.prefix for term in KNOWN)
    assert sizes["FBbi"] >= 40
    assert sizes["NCBITaxon"] >= 20
    assert sizes["EDAM"] >= 20


def test_the_table_knows_the_operations_of_all_our_tools() -> None:
    for path in sorted((ROOT / "tools").glob("*/tool.yaml")):
        for operation in read_yaml(path).get("edam", {}).get("operations", []):
            assert found(operation, "EDAM") == f"EDAM:{operation}", path


@pytest.mark.parametrize(
    "text",
    [
        *("FBbi:00000369", "fbbi_00000369", "http://purl.obolibrary.org/obo/FBbi_00000369", "SPIM", "spim"),
        *("light sheet", "Light-Sheet Microscopy", "lattice light-sheet", " LLSM "),
        "selective plane illumination fluorescence microscopy",
    ],
)
def test_a_term_is_found_by_id_label_and_synonym_in_any_case(text: str) -> None:
    assert found(text) == "FBbi:00000369"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("confocal", "FBbi:00000251"),
        ("spinning disc", "FBbi:00000253"),
        ("widefield", "FBbi:00100013"),
        ("TIRF", "FBbi:00000617"),
        ("STED", "FBbi:00000334"),
        ("SIM", "FBbi:00000332"),
        ("STORM", "FBbi:00000336"),
        ("SMLM", "FBbi:00000333"),
        ("FRAP", "FBbi:00000366"),
        ("FLIM", "FBbi:00000368"),
        ("two-photon", "FBbi:00000254"),
        ("DIC", "FBbi:00000245"),
        ("SEM", "FBbi:00000257"),
        ("TEM", "FBbi:00000258"),
        ("cryo-EM", "FBbi:00100014"),
        ("FIB-SEM", "FBbi:00050000"),
        ("SBF-SEM", "FBbi:00000585"),
        ("AFM", "FBbi:00000259"),
        ("optical coherence tomography", "FBbi:00000371"),
    ],
)
def test_the_usual_names_of_imaging_methods(text: str, expected: str) -> None:
    term = KNOWN.imaging_method(text)
    assert term is not None
    assert str(term.id) == expected


@pytest.mark.parametrize(
    ("text", "expected", "label", "common"),
    [
        ("human", 9606, "Homo sapiens", "human"),
        ("Mus musculus", 10090, "Mus musculus", "mouse"),
        ("7955", 7955, "Danio rerio", "zebrafish"),
        ("NCBITaxon:7227", 7227, "Drosophila melanogaster", "fruit fly"),
        ("C. elegans", 6239, "Caenorhabditis elegans", "roundworm"),
        ("fission yeast", 4896, "Schizosaccharomyces pombe", "fission yeast"),
        ("e. coli", 562, "Escherichia coli", None),
        ("Tetrahymena thermophila", 5911, "Tetrahymena thermophila", None),
    ],
)
def test_organisms_are_found_by_either_name_or_taxon(text: str, expected: int, label: str, common: str | None) -> None:
    term = KNOWN.organism(text)
    assert term is not None
    assert (term.id, term.label, term.common_name) == (TermId("NCBITaxon", str(expected)), label, common)


def test_the_common_name_stands_first_among_the_synonyms() -> None:
    named = [term for term in KNOWN if term.common_name]
    assert len(named) > 30
    assert all(term.synonyms[0] == term.common_name for term in named)


def test_an_organism_is_no_imaging_method_and_the_other_way_round() -> None:
    assert KNOWN.organism("light sheet") is None
    assert KNOWN.organism("FBbi:00000369") is None
    assert KNOWN.imaging_method("mouse") is None
    assert KNOWN.imaging_method("9606") is None
    assert KNOWN.organism("") is None


def test_a_name_of_two_ontologies_is_found_in_the_one_asked_for() -> None:
    assert found("electron microscopy") == "FBbi:00000256"
    assert found("electron microscopy", "EDAM") == "EDAM:topic_0611"


@pytest.mark.parametrize(
    ("text", "prefix", "expected"),
    [
        ("confokal", "FBbi", "confocal microscopy"),
        ("light shet", "FBbi", "selective plane illumination fluorescence microscopy"),
        ("spinning-disck confocal", "FBbi", "spinning disk confocal microscopy"),
        ("sted microscop", "FBbi", "stimulated emission depletion (STED)"),
        ("Homo sapien", "NCBITaxon", "Homo sapiens"),
        ("Drosophila melanogastr", "NCBITaxon", "Drosophila melanogaster"),
        ("image analysys", None, "Image analysis"),
    ],
)
def test_a_typing_error_leads_to_the_term(text: str, prefix: str | None, expected: str) -> None:
    assert KNOWN.near(text, prefix)[0].label == expected


@pytest.mark.parametrize(
    "text",
    [
        *("Mus spretus", "Arabidopsis lyrata", "Drosophila virilis", "goat", "horse", "cat", "Raman", "STET", "XEM"),
        *(
            "my own method",
            "two photon confocal",
            "stimulated Raman scattering",
            "n/a",
            "none",
            "",
            "x",
            "a b c",
            "9606",
        ),
    ],
)
def test_nothing_is_suggested_for_something_else(text: str) -> None:
    assert KNOWN.near(text) == []


@given(st.text(max_size=30))
def test_any_text_has_at_most_three_different_suggestions(text: str) -> None:
    near = KNOWN.near(text)
    assert len(set(near)) == len(near) <= 3


@given(st.sampled_from(list(KNOWN)), st.data())
def test_each_form_of_a_known_term_passes(term: Term, data: st.DataObject) -> None:
    text = data.draw(st.sampled_from([term.id.curie, term.id.underscore, term.id.url, *term.names]))
    label = data.draw(st.sampled_from([*term.names, *map(str.upper, term.names), None]))
    assert KNOWN.check(text, label, WHERE, term.id.prefix) == []


def test_a_label_that_does_not_fit_is_reported_with_the_id_that_fits() -> None:
    assert said("FBbi:00000369", "confocal") == (
        "FBbi:00000369 is 'selective plane illumination fluorescence microscopy'; found 'confocal'.\n"
        "    'confocal' is FBbi:00000251 (confocal microscopy)."
    )
    assert said("NCBITaxon:9606", "Mus musculus", "NCBITaxon") == (
        "NCBITaxon:9606 is 'Homo sapiens'; found 'Mus musculus'.\n    'Mus musculus' is NCBITaxon:10090 (Mus musculus)."
    )


def test_a_label_that_fits_nothing_gets_no_suggestion() -> None:
    assert said("FBbi:00000251", "moon") == "FBbi:00000251 is 'confocal microscopy'; found 'moon'."


def test_an_unknown_id_is_reported_with_near_terms_or_where_to_look() -> None:
    assert said("FBbi:99999999", "confocl microscopy") == (
        "found FBbi:99999999, which is not among the common terms known here.\n"
        "    Did you mean FBbi:00000251 (confocal microscopy)?"
    )
    assert said("FBbi_99999999") == (
        "found FBbi:99999999, which is not among the common terms known here.\n"
        "    See whether http://purl.obolibrary.org/obo/FBbi_99999999 is what you mean, "
        "or check it with --ontology FILE.obo."
    )
    assert "not among the common terms" in str(said("NCBITaxon:9796", "Equus caballus", "NCBITaxon"))


def test_an_id_of_another_ontology_than_expected_is_reported() -> None:
    assert said("NCBITaxon:9606") == "found NCBITaxon:9606; expected a term of FBbi."
    assert said("EFO:0000001", "TIRF") == (
        "found EFO:0000001; expected a term of FBbi.\n    'TIRF' is FBbi:00000617 (evanescent wave microscopy)."
    )


def test_a_malformed_id_is_reported_as_such() -> None:
    assert said("FBbi:369") == "found 'FBbi:369'; expected FBbi: and 8 digits, e.g. FBbi:00000369."


def test_an_unknown_name_is_reported() -> None:
    assert said("confokal") == (
        "found 'confokal'; expected a term of FBbi, by id or by a name known here.\n"
        "    Did you mean FBbi:00000251 (confocal microscopy)?"
    )
    assert said("moonlight", prefix=None) == (
        "found 'moonlight'; expected a term, by id or by a name known here.\n    Give the id of the term."
    )


@pytest.mark.parametrize("text", ["EFO:0002067", "CL:0000540", "CVCL_0030", "UBERON:0000955"])
def test_an_id_of_an_ontology_that_is_not_here_passes(text: str) -> None:
    assert said(text, "anything", prefix=None) is None


def test_an_obo_file_adds_its_terms_and_keeps_our_names(full: Ontologies) -> None:
    assert found("SRS", ontologies=full) == "FBbi:77777777"
    spim = full.find("lattice light sheet")
    assert spim is not None
    assert spim.label == "SPIM"
    confocal = full.find("confocal")
    assert confocal is not None
    assert 'confocal "laser" imaging' in confocal.synonyms
    assert "selective plane illumination fluorescence microscopy" in spim.synonyms
    assert said("FBbi:00000369", "selective plane illumination fluorescence microscopy", ontologies=full) is None
    assert full.organism("mouse") == KNOWN.organism("mouse")


def test_with_an_obo_file_an_id_that_is_not_in_it_is_reported(full: Ontologies) -> None:
    assert said("FBbi:88888888", ontologies=full) == "found FBbi:88888888; fbbi.obo has no such term."
    # Known here, and in newer editions than this file.
    assert said("FBbi:00000617", ontologies=full) == "found FBbi:00000617; fbbi.obo has no such term."
    assert said("TIRF", ontologies=full) == "found FBbi:00000617; fbbi.obo has no such term."


def test_a_term_that_is_not_in_the_obo_file_is_not_suggested(full: Ontologies) -> None:
    assert said("FBbi:00000369", "TIRF", ontologies=full) == "FBbi:00000369 is 'SPIM'; found 'TIRF'."


def test_ids_that_an_obo_file_borrows_are_not_held_against_it(full: Ontologies) -> None:
    assert said("GO:0000001", prefix=None, ontologies=full) is None
    assert said("NCBITaxon:9606", prefix="NCBITaxon", ontologies=full) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "FBbi:00000242",
            "found FBbi:00000242 (wide field light micrograph), which is obsolete.\n"
            "    Use FBbi:00000345 (light microscopy) instead.",
        ),
        (
            "FBbi:00000250",
            "found FBbi:00000250 (narrow field light micrograph), which is obsolete.\n"
            "    The ontology says to consider FBbi:00000251 (confocal microscopy) "
            "or FBbi:00000345 (light microscopy).",
        ),
        ("FBbi:00000000", "found FBbi:00000000 (dummy term), which is obsolete."),
        (
            "FBbi:00000999",
            "found FBbi:00000999 (merged into confocal microscopy), which is obsolete.\n"
            "    Use FBbi:00000251 (confocal microscopy) instead.",
        ),
    ],
)
def test_an_obsolete_id_is_reported_with_what_replaces_it(full: Ontologies, text: str, expected: str) -> None:
    assert said(text, ontologies=full) == expected


def test_a_species_of_an_obo_file_has_the_common_name_that_it_gives(tmp_path: Path) -> None:
    text = """ontology: ncbitaxon

[Term]
id: NCBITaxon:9796
name: Equus caballus
synonym: "Equus przewalskii f. caballus" EXACT synonym []
synonym: "horse" EXACT genbank_common_name []

[Term]
id: NCBITaxon:8295
name: Ambystoma
synonym: "mole salamanders" RELATED []
"""
    ontologies = load(save(tmp_path, text))
    horse, genus = ontologies.organism("Equus caballus"), ontologies.organism("Ambystoma")
    assert horse is not None
    assert genus is not None
    assert (horse.common_name, horse.synonyms[0], genus.common_name) == ("horse", "horse", None)
    assert said("NCBITaxon:9606", prefix="NCBITaxon", ontologies=ontologies) is not None


def test_an_ontology_without_a_name_is_the_one_that_most_of_its_terms_are_of(tmp_path: Path) -> None:
    text = OBO.replace("ontology: fbbi", "ontology: some/edition")
    assert (
        said("FBbi:88888888", ontologies=load(save(tmp_path, text)))
        == "found FBbi:88888888; fbbi.obo has no such term."
    )


def test_an_ontology_named_in_its_file_may_borrow_more_than_it_has(tmp_path: Path) -> None:
    text = "ontology: x/fbbi.owl\n"
    for identifier in ("GO:0000002", "GO:0000003", "FBbi:00000004"):
        text += f"\n[Term]\nid: {identifier}\nname: name of {identifier}\n"
    ontologies = load(save(tmp_path, text))
    assert said("FBbi:00000005", ontologies=ontologies) == "found FBbi:00000005; fbbi.obo has no such term."
    assert said("GO:0000001", prefix=None, ontologies=ontologies) is None


def test_a_label_comes_before_the_synonym_of_another_term_and_three_terms_are_near(tmp_path: Path) -> None:
    text = "ontology: x\n"
    for number in range(1, 6):
        text += f'\n[Term]\nid: X:{number}\nname: strange name {number}\nsynonym: "strange name 5" EXACT []\n'
    ontologies = load(save(tmp_path, text))
    assert found("strange name 5", ontologies=ontologies) == "X:5"
    assert len(ontologies.near("strange nam 5", "X")) == 1
    assert len(ontologies.near("strange name", "X")) == 0
    text = text.replace("strange name ", "strangename")
    assert len(load(save(tmp_path, text)).near("strangename", "X")) == 3


def test_an_id_that_is_a_term_and_also_merged_into_another_is_a_term(tmp_path: Path) -> None:
    text = OBO.replace("alt_id: FBbi:00000999", "alt_id: FBbi:00000345")
    assert said("FBbi:00000345", ontologies=load(save(tmp_path, text))) is None


def test_an_empty_file_is_refused_without_a_word_from_the_reader(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(InputError, match="found no terms"):
        load(save(tmp_path, ""))
    assert caplog.records == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "found no terms; expected an OBO file, such as fbbi.obo"),
        ("ontology: fbbi\n", "found no terms"),
        ("<rdf:RDF>\n</rdf:RDF>\n", "found no terms"),
        ("ontology: x\n\n[Term]\nid: FBbi:00000001\n", "found no terms"),
        ("ontology: x\n\n[Term]\nname: no id\n", "is not a well-formed OBO file"),
        ("ontology: x\n\n[Term]\nid: X:1\nname: a\nthis is no tag\n", "is not a well-formed OBO file"),
        ("ontology: x\n\n[Term]\nid: X:1\nname: a\nrelationship: only_one\n", "is not a well-formed OBO file"),
        (b"\x1f\x8b\x08\x00\xff\xfe", "cannot be read"),
    ],
)
def test_what_is_no_obo_file_is_one_clear_error(tmp_path: Path, text: str | bytes, message: str) -> None:
    path = save(tmp_path, text)
    with pytest.raises(InputError) as caught:
        load(path)
    assert len(caught.value.problems) == 1
    assert str(caught.value).startswith(f"{path}: {message}")


def test_a_missing_obo_file_and_a_folder_are_one_clear_error_each(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        load(tmp_path / "none.obo")
    with pytest.raises(InputError, match="cannot be read"):
        load(tmp_path)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_damaged_obo_file_is_read_or_refused_but_never_breaks(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(OBO)))
    until = data.draw(st.integers(at, min(len(OBO), at + 40)))
    text = OBO[:at] + data.draw(st.text(alphabet='[]:!"\\{} \nTermid', max_size=12)) + OBO[until:]
    path = save(tmp_path_factory.mktemp("damaged"), text)
    with contextlib.suppress(InputError):
        assert load(path).organism("mouse") == KNOWN.organism("mouse")
