from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from snakescope.errors import Problem
from snakescope.study.model import RUN, Dataset, Organisation, Study
from snakescope.study.pagetab.lists import FileLists
from snakescope.study.pagetab.text import Attribute, Section, Submission, json_text, parse_json, parse_tsv, tsv_text
from snakescope.study.pagetab.v5 import JSON, TSV, check_submission
from snakescope.study.pagetab.view import PageTab, analysis_titles, merge_organisations
from study_helpers import ELSEWHERE, HOME, HOSTILE, make_entry, make_feed, make_study


def write(folder: Path, study: Study | None = None) -> Submission:
    """Write a whole submission, and read it back."""
    study, feed = study or make_study(), make_feed()
    feed.make_tree(folder)
    feed.show(PageTab(folder, study, feed.inventory), FileLists(folder, study, feed.inventory))
    return read(folder)


def read(folder: Path) -> Submission:
    problems: list[Problem] = []
    submission = parse_json((folder / JSON).read_text(encoding="utf-8"), JSON, problems)
    assert submission is not None, problems
    return submission


def rewrite(folder: Path, submission: Submission) -> None:
    (folder / JSON).write_text(json_text(submission), encoding="utf-8")
    (folder / TSV).write_text(tsv_text(submission), encoding="utf-8")


def parts(submission: Submission, type_: str) -> list[Section]:
    found, todo = [], [submission.section]
    while todo:
        section = todo.pop(0)
        todo += section.subsections
        if section.type == type_:
            found.append(section)
    return found


def attribute(section: Section, name: str) -> Attribute:
    return next(item for item in section.attributes if item.name == name)


# ---------------------------------------------------------------------- what is written


def test_a_written_submission_is_right(tmp_path: Path) -> None:
    write(tmp_path)
    assert check_submission(tmp_path) == []


def test_both_forms_say_the_same(tmp_path: Path) -> None:
    submission = write(tmp_path)
    problems: list[Problem] = []
    assert parse_tsv((tmp_path / TSV).read_text(encoding="utf-8"), TSV, problems) == submission
    assert problems == []


def test_the_head_says_where_the_files_are_and_which_template(tmp_path: Path) -> None:
    head = {item.name: item.value for item in write(tmp_path).attributes}
    assert head == {
        "Title": "Vesicle trafficking in HeLa cells, raw and deconvolved",
        "ReleaseDate": "2027-01-31",
        "AttachTo": "BioImages",
        "Template": "BioImages.v5",
        "RootPath": "vesicle-study",
    }


def test_terms_and_the_licence_are_qualified(tmp_path: Path) -> None:
    submission = write(tmp_path)
    organism = attribute(parts(submission, "Biosample")[0], "Organism")
    assert (organism.value, organism.qualifiers) == (
        "Homo sapiens",
        [("Ontology", "NCBITaxon"), ("TermId", "NCBITaxon_9606")],
    )
    method = attribute(parts(submission, "Image acquisition")[0], "Imaging method")
    assert dict(method.qualifiers)["TermId"] == "FBbi_00000369"
    licence = attribute(submission.section, "License")
    assert dict(licence.qualifiers) == {"URL": "https://creativecommons.org/licenses/by/4.0/legalcode"}
    assert submission.section.values("Keywords") == ["deconvolution", "tracking"]


def test_authors_share_their_organisation(tmp_path: Path) -> None:
    submission = write(tmp_path)
    references = [attribute(author, "Organisation") for author in parts(submission, "Author")]
    assert [item.value for item in references] == ["organization-1", "organization-1", "organization-2"]
    assert all(item.reference for item in references)
    assert [item.value("Name") for item in parts(submission, "Organization")] == [HOME.name, ELSEWHERE.name]


def test_organisations_are_one_by_ror_id_and_else_by_name() -> None:
    bare = Organisation(HOME.name.upper(), None, "Hinxton")
    other = Organisation(HOME.name, "https://ror.org/04twxam07")
    merged, index = merge_organisations([HOME, bare, other, ELSEWHERE, dataclasses.replace(HOME, name="EBI")])
    assert index == [0, 0, 1, 2, 0]
    assert merged[0] == Organisation(HOME.name, HOME.ror, "Hinxton")


def test_each_component_has_one_association_for_each_combination(tmp_path: Path) -> None:
    components = parts(write(tmp_path), "Study Component")
    assert [item.value("Name") for item in components] == [
        "Raw images",
        "Deconvolved images",
        "Workflow and run record",
    ]
    told = [[item.value for item in row.attributes] for row in components[1].subsections]
    assert told == [
        ["Cell line 1", "Live mounting", "Acquisition 1", "Deconvolution"],
        ["Cell line 2", "Live mounting", "Acquisition 2", "Deconvolution"],
    ]
    assert components[0].subsections[0].value("Image analysis") is None


def test_an_annotation_says_its_type_and_method(tmp_path: Path) -> None:
    annotation = parts(write(tmp_path), "Annotation")[0]
    assert {item.name: item.value for item in annotation.attributes} == {
        "Title": "Vesicle tracks",
        "Annotation Overview": "Tracks of vesicles.",
        "Annotation Type": "tracks",
        "Annotation Method": "Spots were linked over at most 1.5 µm, with prog 2.1.",
        "File List": "file_list_track.tsv",
    }


def test_funding_publications_and_links_are_told(tmp_path: Path) -> None:
    submission = write(tmp_path)
    assert parts(submission, "Funding")[0].value("grant_id") == "EX-1"
    assert parts(submission, "Publication")[0].value("Year") == "2021"
    assert [link.url for link in submission.section.links] == ["https://example.org/code#main", "https://example.org"]
    assert parts(submission, "Image correlation")[0].value("Transformation matrix") is None


def test_a_dataset_without_files_is_left_out(tmp_path: Path) -> None:
    study = make_study()
    empty = dataclasses.replace(study.datasets[1], key="nothing", name="Nothing", files=0)
    submission = write(tmp_path, dataclasses.replace(study, datasets=(*study.datasets, empty)))
    assert "Nothing" not in [item.value("Name") for item in parts(submission, "Study Component")]
    assert check_submission(tmp_path) == []


def test_analyses_of_one_title_are_told_apart() -> None:
    first = Dataset("a", "images", "A", "a", make_entry("Deskew", "x"), (), 1)
    others = [dataclasses.replace(first, key=key, name=key) for key in ("b", "c")]
    clash = dataclasses.replace(first, key="d", entry=make_entry("Deskew (a)", "x"))
    titles = analysis_titles([clash, first, *others])
    assert titles == {"d": "Deskew (a)", "a": "Deskew (a) (a)", "b": "Deskew (b)", "c": "Deskew (c)"}


@pytest.mark.parametrize("text", [text for text in HOSTILE if text.isprintable()])
def test_a_hostile_text_reads_back_from_both_forms(tmp_path: Path, text: str) -> None:
    study = make_study(title=f"{text} and so on, at least 25 characters", acknowledgements=text)
    study = dataclasses.replace(
        study, specimens=(dataclasses.replace(study.specimens[0], sample_preparation=text, growth_protocol=text),)
    )
    submission = write(tmp_path, study)
    assert parts(submission, "Specimen")[0].value("Growth protocol") == text
    assert submission.section.value("Acknowledgements") == text
    assert check_submission(tmp_path) == []


def test_the_same_study_gives_the_same_bytes(tmp_path: Path) -> None:
    texts = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write(tmp_path / name)
        texts.append((tmp_path / name / JSON).read_bytes() + (tmp_path / name / TSV).read_bytes())
    assert texts[0] == texts[1]


# ---------------------------------------------------------------------- what the check finds

Change = Callable[[Submission], object]


def change(type_: str, name: str, value: str, index: int = 0) -> Change:
    def act(submission: Submission) -> None:
        attribute(parts(submission, type_)[index], name).value = value

    return act


def drop(type_: str, name: str) -> Change:
    def act(submission: Submission) -> None:
        section = parts(submission, type_)[0]
        section.attributes.remove(attribute(section, name))

    return act


def add(type_: str, name: str, value: str) -> Change:
    return lambda submission: parts(submission, type_)[0].attributes.append(Attribute(name, value))


def both(name: str, value: str) -> Change:
    """Change a value that the head repeats."""

    def act(submission: Submission) -> None:
        for attributes in (submission.attributes, submission.section.attributes):
            next(item for item in attributes if item.name == name).value = value

    return act


def qualify(type_: str, name: str, *qualifiers: tuple[str, str]) -> Change:
    def act(submission: Submission) -> None:
        attribute(parts(submission, type_)[0], name).qualifiers = list(qualifiers)

    return act


def remove(type_: str) -> Change:
    def act(submission: Submission) -> None:
        sections = submission.section.subsections
        submission.section.subsections = [section for section in sections if section.type != type_]

    return act


def nest(section: Section, below: str | None = None) -> Change:
    def act(submission: Submission) -> None:
        parent = parts(submission, below)[0] if below else submission.section
        parent.subsections.append(copy.deepcopy(section))

    return act


def head(name: str, value: str) -> Change:
    def act(submission: Submission) -> None:
        next(item for item in submission.attributes if item.name == name).value = value

    return act


def repeat(type_: str, name: str) -> Change:
    def act(submission: Submission) -> None:
        section = parts(submission, type_)[0]
        section.attributes.append(copy.deepcopy(attribute(section, name)))

    return act


def no_associations(submission: Submission) -> None:
    parts(submission, "Study Component")[0].subsections.clear()


def twice_associated(submission: Submission) -> None:
    component = parts(submission, "Study Component")[0]
    component.subsections.append(copy.deepcopy(component.subsections[0]))
    component.subsections[-1].accno = "associations-99"


def plain_organisation(submission: Submission) -> None:
    attribute(parts(submission, "Author")[0], "Organisation").reference = False


def same_accession(submission: Submission) -> None:
    parts(submission, "Specimen")[0].accno = "biosample-1"


def other_root(submission: Submission) -> None:
    submission.section.type = "Experiment"


def bad_link(submission: Submission) -> None:
    submission.section.links[0].url = "example.org/code"


# What the archive's own check finds, and what it does not; each with the one finding expected here.
MUTATIONS: dict[str, tuple[Change, str]] = {
    "unknown attribute": (add("Study", "Colour", "red"), "found 'Colour', which the template does not have here"),
    "unknown attribute of a component": (add("Study Component", "Rule", "x"), "found 'Rule', which the template"),
    "unknown attribute of a link": (
        lambda submission: submission.section.links[0].attributes.append(Attribute("Type", "x")),
        "found 'Type', which the template does not have here",
    ),
    "missing organism": (drop("Biosample", "Organism"), "'Organism' is missing; it is required"),
    "missing overview": (drop("Image analysis", "Image analysis overview"), "'Image analysis overview' is missing"),
    "missing email": (drop("Author", "Email"), "'Email' is missing"),
    "missing keywords": (
        lambda submission: [drop("Study", "Keywords")(submission) for _ in range(2)],
        "'Keywords' is missing",
    ),
    "missing file list": (drop("Annotation", "File List"), "'File List' is missing"),
    "unknown section": (nest(Section("Annotations", "a")), "found a section 'Annotations'"),
    "unknown section in a component": (
        nest(Section("Biosample", "b"), "Study Component"),
        "found a section 'Biosample'",
    ),
    "reference to no organisation": (change("Author", "Organisation", "o9"), "no Organization with the accession 'o9'"),
    "organisation that is no reference": (plain_organisation, "found a text; expected a reference"),
    "no acquisition left": (
        lambda submission: [remove("Image acquisition")(submission), remove("Study Component")(submission)],
        "has no section 'Image acquisition'",
    ),
    "no author": (remove("Author"), "has no section 'Author'"),
    "no associations": (no_associations, "has no section 'Associations'"),
    "association with no biosample": (
        change("Associations", "Biosample", "Cell"),
        "no Biosample with the title",
    ),
    "association with no acquisition": (
        change("Associations", "Image acquisition", "x"),
        "no Image acquisition with the title 'x'",
    ),
    "association with no analysis": (
        change("Associations", "Image analysis", "x", 2),
        "no Image analysis with the title 'x'",
    ),
    "association twice": (twice_associated, "stands 2 times; expected once"),
    "short title": (both("Title", "Too short"), "9 characters; expected 25 or more"),
    "two titles": (head("Title", "Another title that is long enough"), "the study says 'Vesicle"),
    "date of another form": (both("ReleaseDate", "31.01.2027"), "expected a date as YYYY-MM-DD"),
    "day that does not exist": (both("ReleaseDate", "2027-02-30"), "a day that does not exist"),
    "unknown licence": (change("Study", "License", "WTFPL"), "expected one of: CC0, CC BY 4.0"),
    "licence without its address": (qualify("Study", "License"), "its qualifier URL is not"),
    "address of the other licence": (
        qualify("Study", "License", ("URL", "https://creativecommons.org/publicdomain/zero/1.0/legalcode")),
        "its qualifier URL is not https://creativecommons.org/licenses/by/4.0",
    ),
    "wrong check digit of an ORCID": (
        change("Author", "ORCID", "0000-0002-1825-0098"),
        "last digit does not fit",
    ),
    "ORCID none": (change("Author", "ORCID", "none"), "remove the key when there is no ORCID iD"),
    "ORCID as an address": (
        change("Author", "ORCID", "https://orcid.org/0000-0002-1825-0097"),
        "expected it written as '0000-0002-1825-0097'",
    ),
    "bad email": (change("Author", "Email", "j.carberry(at)example.org"), "expected one e-mail address"),
    "bad ROR id": (change("Organization", "RORID", "https://ror.org/02catss53"), "whose last two digits do not fit"),
    "bad DOI": (change("Publication", "DOI", "Nature 5"), "expected a DOI"),
    "bad year": (change("Publication", "Year", "21"), "expected a year of four digits"),
    "taxon that is none": (
        qualify("Biosample", "Organism", ("Ontology", "NCBITaxon"), ("TermId", "banana")),
        "expected a term id",
    ),
    "organism without a term": (qualify("Biosample", "Organism"), "'Homo sapiens' has no term"),
    "organism of another ontology": (
        qualify("Biosample", "Organism", ("Ontology", "FBbi"), ("TermId", "FBbi_00000369")),
        "expected a term of NCBITaxon",
    ),
    "FBbi id with a digit less": (
        qualify("Image acquisition", "Imaging method", ("Ontology", "FBbi"), ("TermId", "FBbi_0000369")),
        "expected FBbi: and 8 digits",
    ),
    "term written with a colon": (
        qualify("Image acquisition", "Imaging method", ("Ontology", "FBbi"), ("TermId", "FBbi:00000369")),
        "expected it written as 'FBbi_00000369'",
    ),
    "unknown annotation type": (change("Annotation", "Annotation Type", "trails"), "expected one of: class_labels"),
    "empty value": (change("Specimen", "Growth protocol", " "), "is empty"),
    "blank around a value": (change("Specimen", "Growth protocol", "grown "), "expected one line without blanks"),
    "attribute twice": (repeat("Specimen", "Growth protocol"), "stands 2 times; expected once"),
    "two specimens of one title": (
        lambda submission: nest(dataclasses.replace(parts(submission, "Specimen")[0], accno="s2"))(submission),
        "2 sections 'Specimen' have the title 'Live mounting'",
    ),
    "one accession twice": (same_accession, "2 sections have the accession 'biosample-1'"),
    "other template": (head("Template", "BioImages.v4"), "expected one of: BioImages.v5"),
    "other collection": (head("AttachTo", "Bioimages"), "expected one of: BioImages"),
    "root path upwards": (head("RootPath", "../study"), "holds . or .. as a folder"),
    "other first section": (other_root, "expected 'Study'"),
    "link without a scheme": (bad_link, "expected an address that starts with https://"),
    "file list in a folder": (
        change("Annotation", "File List", "lists/x.tsv"),
        "found 'lists/x.tsv'; expected the plain name",
    ),
    "file list missing on disk": (change("Annotation", "File List", "file_list_none.tsv"), "there is no such file"),
    "one file list for two sections": (
        change("Annotation", "File List", "file_list_deconvolve.tsv"),
        "is the file list of 2 sections",
    ),
}
# These leave a list, or the files it names, without their section; that is told as well.
LEAVES_FILES = {
    "no acquisition left",
    "missing file list",
    "file list in a folder",
    "file list missing on disk",
    "one file list for two sections",
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_change_for_the_worse_is_reported_once(tmp_path: Path, name: str) -> None:
    act, message = MUTATIONS[name]
    submission = write(tmp_path)
    act(submission)
    rewrite(tmp_path, submission)
    found = [str(problem) for problem in check_submission(tmp_path)]
    assert any(message in text for text in found), found
    if name not in LEAVES_FILES:
        assert len(found) == 1, found


LISTS: dict[str, tuple[str, Callable[[list[str]], list[str]], str]] = {
    "other first cell": ("track", lambda rows: [rows[0].replace("Files", "Filename"), *rows[1:]], "as the first cell"),
    "first cell in small letters": (
        "track",
        lambda rows: [rows[0].replace("Files", "files"), *rows[1:]],
        "expected 'Files'",
    ),
    "blank line": ("track", lambda rows: [*rows[:2], "", *rows[2:]], "line 3: is blank"),
    "column without a name": ("track", lambda rows: [rows[0].replace("drug", ""), *rows[1:]], "a column has no name"),
    "two columns of one name": (
        "track",
        lambda rows: [rows[0].replace("drug", "sample"), *rows[1:]],
        "2 columns are named 'sample'",
    ),
    "cell too many": ("track", lambda rows: [*rows[:3], rows[3] + "\tx"], "line 4: has 11 cells; the header has 10"),
    "cell too few": ("raw-images", lambda rows: [*rows[:3], rows[3].rpartition("\t")[0]], "line 4: has 6 cells"),
    "file twice in a list": ("track", lambda rows: [*rows, rows[1]], "stands in file_list_track.tsv: line 2 already"),
    "bad digest": ("raw-images", lambda rows: [rows[0], rows[1][:-1], *rows[2:]], "expected 64 hexadecimal digits"),
    "bad size": ("workflow-run", lambda rows: [rows[0], rows[1][:-2] + "1k", *rows[2:]], "expected a number"),
    "one windows line end": ("workflow-run", lambda rows: [*rows[:-1], rows[-1] + "\r"], "another control character"),
    "windows line ends": ("track", lambda rows: [row + "\r" for row in rows], "lines end as on Windows"),
    "annotation without a source": (
        "track",
        lambda rows: [rows[0], rows[1].replace("results/cell1_ch0/deconvolve/stack.ome.zarr", ""), *rows[2:]],
        "line 2: source_image: is empty",
    ),
    "image without a source": (
        "deconvolve",
        lambda rows: [rows[0], rows[1].replace("raw/cell1_ch0.ome.tif", " "), *rows[2:]],
        "line 2: source_image: is empty",
    ),
    "source that is in no list": (
        "deconvolve",
        lambda rows: [rows[0], rows[1].replace("raw/cell1_ch0.ome.tif", "raw/cell9.ome.tif"), *rows[2:]],
        "'raw/cell9.ome.tif' stands in no file list",
    ),
    "second source that is in no list": (
        "deconvolve",
        lambda rows: [rows[0], rows[1].replace("cell1_ch0.ome.tif", "cell1_ch0.ome.tif; raw/x.tif"), *rows[2:]],
        "'raw/x.tif' stands in no file list",
    ),
    "no source column": (
        "track",
        lambda rows: [rows[0].replace("source_image", "source"), *rows[1:]],
        "has no column 'source_image'",
    ),
    "file that is not there": ("workflow-run", lambda rows: [*rows, f"config/x.yaml\t{'0' * 64}\t1"], "is not there"),
    "file of another list": (
        "workflow-run",
        lambda rows: [*rows, f"raw/cell1_ch0.ome.tif\t{'0' * 64}\t1"],
        "stands in file_list_raw-images.tsv: line 2 already",
    ),
    "file left out": (
        "workflow-run",
        lambda rows: rows[:-1],
        "ro-crate-metadata.json: stands in no file list",
    ),
}
BAD_FORMS = {
    "./config/samples.tsv": "holds . or .. as a folder",
    "../run-crate/config/samples.tsv": "holds . or .. as a folder",
    "config/samples.tsv/": "starts or ends with /",
    "/config/samples.tsv": "starts or ends with /",
    "config//samples.tsv": "two in a row",
    "config\\samples.tsv": "holds a backslash",
    "config/samples?.tsv": "holds '?'",
    "config/sämples.tsv": "holds 'ä'",
}


def edit(folder: Path, key: str, act: Callable[[list[str]], list[str]]) -> list[str]:
    path = folder / f"file_list_{key}.tsv"
    rows = path.read_bytes().decode("utf-8").removesuffix("\n").split("\n")
    path.write_bytes(("\n".join(act(rows)) + "\n").encode("utf-8"))
    return [str(problem) for problem in check_submission(folder)]


@pytest.mark.parametrize("name", LISTS)
def test_a_fault_in_a_file_list_is_reported_once(tmp_path: Path, name: str) -> None:
    key, act, message = LISTS[name]
    write(tmp_path)
    found = edit(tmp_path, key, act)
    assert len(found) == 1, found
    assert message in found[0]


@pytest.mark.parametrize("path", BAD_FORMS)
def test_a_bad_form_of_a_path_is_reported(tmp_path: Path, path: str) -> None:
    write(tmp_path)
    found = edit(tmp_path, RUN, lambda rows: [rows[0], rows[1].replace("config/samples.tsv", path), *rows[2:]])
    assert [text for text in found if BAD_FORMS[path] in text and repr(path) in text] == found[:1]
    assert found[1:] == ["run-crate/config/samples.tsv: stands in no file list."]


def test_an_empty_list_and_a_list_of_nobody_are_reported(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "file_list_old.tsv").write_text("Files\n", encoding="utf-8")
    found = edit(tmp_path, "track", lambda rows: rows[:1])
    assert "file_list_old.tsv: belongs to no section of the submission." in found
    assert "file_list_track.tsv: names no file; Annotation 'Vesicle tracks' needs one at least." in found


def test_a_list_that_is_no_text_is_reported(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "file_list_track.tsv").write_bytes(b"Files\tsource_image\n\xff\xfe\n")
    found = [str(problem) for problem in check_submission(tmp_path)]
    assert any("file_list_track.tsv: cannot be read as UTF-8 text" in text for text in found)


def test_what_lies_in_a_listed_folder_is_listed_with_it(tmp_path: Path) -> None:
    write(tmp_path)
    store = tmp_path / "run-crate/results/cell1_ch0/deconvolve/stack.ome.zarr"
    (store / "0").mkdir()
    (store / "0/c").write_text("x", encoding="utf-8")
    assert check_submission(tmp_path) == []
    (store.parent / "stray.txt").symlink_to("nowhere")
    assert [str(problem) for problem in check_submission(tmp_path)] == [
        "run-crate/results/cell1_ch0/deconvolve/stray.txt: stands in no file list."
    ]


def test_a_link_that_leads_nowhere_is_no_file(tmp_path: Path) -> None:
    write(tmp_path)
    raw = tmp_path / "run-crate/raw/cell1_ch0.ome.tif"
    raw.unlink()
    raw.symlink_to("nowhere.tif")
    found = [str(problem) for problem in check_submission(tmp_path)]
    assert found == ["file_list_raw-images.tsv: line 2: 'raw/cell1_ch0.ome.tif' is not there below run-crate/."]


# ---------------------------------------------------------------------- the two forms


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "Name\tAda Byron",
            "Name\tAda Lovelace",
            "Name = Ada Lovelace; expected Study > Author: Name = Ada Byron",
        ),
        ("[TermId]\tFBbi_00000369", "[TermId]\tFBbi_00000370", "[TermId] = FBbi_00000370"),
        ("<Organisation>\torganization-2", "Organisation\torganization-2", "expected Study > Author: <Organisation>"),
        ("\nLink\thttps://example.org\n", "", "expected Study > Link = https://example.org"),
        ("Biosample\tbiosample-2", "Biosample\tbiosample-9", "found Study > Biosample = biosample-9"),
        ("Annotation\tannotation-1\nTitle", "Title", "says another thing than submission.json"),
        ("Submission\n", "Study\n", "found no submission"),
        ("study-component-2\n", "study-component-9\n", "there is no section 'study-component-9' above"),
        ("Keywords\ttracking", "Keywords", "expected a name, a tab, a value"),
    ],
)
def test_a_table_that_says_another_thing_is_reported(tmp_path: Path, old: str, new: str, message: str) -> None:
    write(tmp_path)
    path = tmp_path / TSV
    text = path.read_text(encoding="utf-8")
    changed = text.replace(f"Associations\tassociations-3\t{old}", f"Associations\tassociations-3\t{new}")
    path.write_text(changed if changed != text else text.replace(old, new, 1), encoding="utf-8")
    found = [str(problem) for problem in check_submission(tmp_path)]
    assert len(found) == 1, found
    assert found[0].startswith(TSV)
    assert message in found[0]


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda data: data.pop("section"), "found no submission"),
        (lambda data: data["section"].pop("type"), "section: has no type"),
        (lambda data: data["section"].update(subsections={}), "section.subsections: is no list"),
        (lambda data: data["section"].update(attributes="x"), "section.attributes: is no list"),
        (lambda data: data["section"]["attributes"][0].pop("name"), "attributes[0]: has no name"),
        (lambda data: data["section"]["attributes"][0].pop("value"), "(Title): found no value; expected a text"),
        (lambda data: data["section"]["attributes"][0].update(value=3), "found 3; expected a text"),
        (lambda data: data["section"]["links"][0].pop("url"), "links[0]: has no address"),
        (lambda data: data["section"].update(files=[]), "section.files: is not read by us"),
    ],
)
def test_a_broken_structure_is_reported(tmp_path: Path, act: Callable[[Any], object], message: str) -> None:
    write(tmp_path)
    data = json.loads((tmp_path / JSON).read_text(encoding="utf-8"))
    act(data)
    (tmp_path / JSON).write_text(json.dumps(data), encoding="utf-8")
    found = [str(problem) for problem in check_submission(tmp_path)]
    assert len(found) == 1, found
    assert message in found[0]


def test_missing_and_unreadable_forms_are_reported(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / JSON).write_text("{", encoding="utf-8")
    (tmp_path / TSV).unlink()
    found = [str(problem) for problem in check_submission(tmp_path)]
    assert found[0] == "submission.tsv: there is no such file."
    assert found[1].startswith("submission.json: is not JSON")


def test_sections_in_a_table_of_the_archive_are_read(tmp_path: Path) -> None:
    write(tmp_path)
    data = json.loads((tmp_path / JSON).read_text(encoding="utf-8"))
    data["section"]["subsections"] = [data["section"]["subsections"]]
    (tmp_path / JSON).write_text(json.dumps(data), encoding="utf-8")
    assert check_submission(tmp_path) == []


def test_everything_is_reported_at_once(tmp_path: Path) -> None:
    submission = write(tmp_path)
    for name in ("bad email", "short title", "association twice", "unknown section"):
        MUTATIONS[name][0](submission)
    rewrite(tmp_path, submission)
    assert len(edit(tmp_path, "track", lambda rows: [*rows[:2], "", *rows[2:]])) == 5
