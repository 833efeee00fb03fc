"""The BIA RO-Crate: what its profile asks for, and that nothing in it leads nowhere.

The archive's own validator runs on Python 3.13 only; docs/design/bia-crate.md says how these crates were judged by it.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import tracemalloc
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import rocrate
from rocrate_validator.models import Validator

import third_party
from snakescope.errors import InputError
from snakescope.study.bia import terms
from snakescope.study.bia.entities import NO_ACCESSION, RUN_METADATA
from snakescope.study.bia.view import BiaCrate
from snakescope.study.identifiers import CC0, TermId
from snakescope.study.inventory import StudyFile
from snakescope.study.model import RAW, RUN, Association, Link, Publication, Specimen, Study
from snakescope.study.verify.files import Files
from study_helpers import HOSTILE, LONG, Feed, make_feed, make_study, replace_output

Entity = dict[str, Any]


REFERRING = ("dataset", "biosample", "preparation", "acquisition", "protocol", "annotation_method")
# All classes and properties that bia-ro-crate-validator 0.3.1 knows.
CLASSES = """
    Affiliation AnnotationData AnnotationMethod BioSample Contributor CreationProcess Dataset ExternalReference FileList
    FundingBody Grant Image ImageAcquisitionProtocol ImageAnalysisMethod ImageCorrelationMethod Protocol Publication
    SignalChannel Specimen SpecimenImagingPreparationProtocol Study Taxon
"""
PROPERTIES = """
    accessionId acknowledgement annotationCoverage annotationCriteria annotationMethod annotationMethodType
    annotationSourceIndicator associatedAnalysisMethod associatedAnnotationMethod associatedBiologicalEntity
    associatedCorrelationMethod associatedCreationProcess associatedImageAcquisitionProtocol
    associatedImagingPreparationProtocol associatedProtocol associatedSourceImage associatedSubject authorNames
    channelBiologicalEntity channelContentDescription doi experimentalVariableDescription extrinsicVariableDescription
    fbbiId featuresAnalysed fiducialsUsed filePath fundingStatement growthProtocol imageAcquisitionProtocol
    imagingInstrumentDescription imagingMethodName imagingPreparationProtocol inputImage intrinsicVariableDescription
    protocol pubmedId relatedPublication resultOf role sampleOf signalChannelInformation
    signalContrastMechanismDescription sizeInBytes spatialInformation subject transformationDescription
    transformationMatrix website yearPublished
"""


class Crate:
    """A BIA crate that was written, and what its readers see."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / terms.FOLDER
        self.text = (self.folder / terms.METADATA).read_text(encoding="utf-8")
        document = json.loads(self.text)
        self.context, self.graph = document["@context"], document["@graph"]
        self.by_id: dict[str, Entity] = {entity["@id"]: entity for entity in self.graph}
        with (self.folder / terms.FILE_LIST).open(encoding="utf-8", newline="") as file:
            self.rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE, strict=True))
        self.by_path = {row["file_path"]: row for row in self.rows}

    def all(self, type_: str) -> list[Entity]:
        """Entities of one of the profile's types."""
        return [entity for entity in self.graph if f"bia:{type_}" in entity["@type"]]

    def named(self, type_: str, name: str) -> Entity:
        """The one entity of a type and name."""
        [found] = [entity for entity in self.all(type_) if entity.get("name") == name]
        return found

    def follow(self, entity: Entity, key: str) -> list[Entity]:
        """What an entity refers to."""
        found = entity.get(key, [])
        return [self.by_id[item["@id"]] for item in (found if isinstance(found, list) else [found])]


def write(folder: Path, study: Study | None = None, feed: Feed | None = None) -> Crate:
    """Write the crate of a study, with the files that it tells of."""
    feed = feed or make_feed()
    feed.make_tree(folder)
    feed.show(BiaCrate(folder, study or make_study(), feed.inventory))
    return Crate(folder)


@pytest.fixture
def crate(tmp_path: Path) -> Crate:
    return write(tmp_path)


def references(crate: Crate) -> set[str]:
    """Ids that entities refer to; cells are another matter, since the archive's validator wants both."""
    found = set()
    for entity in crate.graph:
        for value in entity.values():
            for item in value if isinstance(value, list) else [value]:
                if isinstance(item, dict):
                    found.add(item["@id"])
    return found


def context_of_ro_crate() -> set[str]:
    """Terms of RO-Crate 1.1."""
    text = (Path(rocrate.__file__).parent / "data/ro-crate.jsonld").read_text(encoding="utf-8")
    return set(json.loads(text)["@context"])


def faults(crate: Crate) -> list[str]:
    """What the archive's validator would find: its rules in few words."""
    found = [
        f"{name} is told {count} times" for name, count in Counter(e["@id"] for e in crate.graph).items() if count > 1
    ]
    used = references(crate)
    found += [f"{name} is not there" for name in used if name not in crate.by_id and name != terms.RO_CRATE]
    found += [f"nothing refers to {name}" for name in crate.by_id if name not in used and name != terms.METADATA]
    known = context_of_ro_crate() | set(crate.context[1])
    for entity in crate.graph:
        found += [f"{key} has no term" for key in entity if key not in known and not key.startswith("@")]
        own = [type_ for type_ in entity["@type"] if type_.startswith(("bia:", "csvw:"))]
        if len([type_ for type_ in own if type_ != "csvw:Table"]) != 1 and entity["@id"] != terms.METADATA:
            found.append(f"{entity['@id']} has the types {entity['@type']}")
        found += [
            f"{type_} is no class" for type_ in own if type_.startswith("bia:") and type_[4:] not in CLASSES.split()
        ]
    addresses = [*crate.context[1].values(), *(entity.get("propertyUrl", "") for entity in crate.graph)]
    own = [address.removeprefix(terms.BIA) for address in addresses if address.startswith(terms.BIA)]
    found += [f"{name} is no property" for name in own if name and name not in PROPERTIES.split()]
    images = {row["name"] for row in crate.rows if row["type"] == terms.IMAGE}
    for row in crate.rows:
        found += [f"{row[key]} is not there" for key in REFERRING if row[key] and row[key] not in crate.by_id]
        found += [f"{name} is no image" for name in filter(None, row["source_image"].split(",")) if name not in images]
        if not (crate.folder / row["file_path"]).exists():
            found.append(f"{row['file_path']} is not on disk")
    found += [
        f"{path} is listed twice" for path, count in Counter(r["file_path"] for r in crate.rows).items() if count > 1
    ]
    return found


# ---------------------------------------------------------------------- what the profile asks for


def test_nothing_is_missing_and_nothing_leads_nowhere(crate: Crate) -> None:
    assert faults(crate) == []
    root = crate.by_id["./"]
    for key in ("name", "author", "description", "license", "datePublished", "hasPart", "accessionId"):
        assert root[key], key
    required = {
        "Contributor": {"name"},
        "Affiliation": {"name"},
        "Dataset": {"name"},
        "BioSample": {"description"},
        "Protocol": {"name", "description"},
        "SpecimenImagingPreparationProtocol": {"name", "description"},
        "ImageAcquisitionProtocol": {"name", "description", "imagingInstrumentDescription"},
        "AnnotationMethod": {"name", "description"},
        "ImageAnalysisMethod": {"name", "description"},
        "ImageCorrelationMethod": {"name", "description"},
    }
    for type_, keys in required.items():
        assert crate.all(type_), type_
        assert all(keys <= set(entity) for entity in crate.all(type_)), type_


def test_a_general_validator_accepts_the_crate(crate: Crate) -> None:
    settings = {
        "rocrate_uri": None,
        "profile_identifier": "ro-crate-1.1",
        "requirement_severity": "REQUIRED",
        "offline": True,
        "cache_path": third_party._context_cache(),
    }
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "ConjunctiveGraph is deprecated", DeprecationWarning)
        result = Validator(settings).validate(crate.folder)
    assert [issue.message for issue in result.get_issues()] == []
    assert not result.skipped_checks


def test_the_study_is_told_with_the_archives_names(crate: Crate) -> None:
    root = crate.by_id["./"]
    assert root["datePublished"] == "2027-01-31"
    assert root["license"] == "https://creativecommons.org/licenses/by/4.0/"
    assert root["fundingStatement"] == "Funded by an example grant."
    assert [item["@id"] for item in root["author"]] == [
        "https://orcid.org/0000-0002-1825-0097",
        "#author-2",
        "#author-3",
    ]
    assert [crate.follow(author, "memberOf")[0]["name"] for author in crate.follow(root, "author")] == [
        "European Bioinformatics Institute",
        "European Bioinformatics Institute",
        "Hospital: Dept. #3",
    ]
    [grant] = crate.follow(root, "funding")
    assert (grant["identifier"], crate.follow(grant, "funder")[0]["name"]) == ("EX-1", "Example Funder")
    [paper] = crate.follow(root, "relatedPublication")
    assert (paper["doi"], paper["yearPublished"]) == ("10.1038/s41592-021-01166-8", 2021)
    links = crate.follow(root, "seeAlso")
    assert {link["@id"]: link.get("description") for link in links} == {
        "https://example.org/code#main": "Image analysis code",
        "https://example.org": None,
    }


def test_each_licence_is_written_as_the_archive_writes_it(tmp_path: Path) -> None:
    crate = write(tmp_path, make_study(licence=CC0))
    assert crate.by_id["./"]["license"] == "https://creativecommons.org/publicdomain/zero/1.0/"


def test_a_study_that_was_not_handed_in_has_no_accession(crate: Crate) -> None:
    accession = crate.by_id["./"]["accessionId"]
    assert accession == NO_ACCESSION == "unassigned"
    assert not accession.startswith("S-")


# ---------------------------------------------------------------------- what was imaged, and how


def test_a_raw_image_tells_what_was_imaged_and_how(crate: Crate) -> None:
    row = crate.by_path["raw/cell2_ch0.ome.tif"]
    assert (row["type"], row["name"], row["size_in_bytes"]) == (terms.IMAGE, "raw/cell2_ch0.ome.tif", "1000")
    assert (row["source_image"], row["protocol"], row["annotation_method"]) == ("", "", "")
    biosample = crate.by_id[row["biosample"]]
    assert biosample["name"] == "Cell line 2"
    assert biosample["description"] == "HeLa cells, clone 2. Cells with a vesicle marker"
    assert biosample["experimentalVariableDescription"] == ["drug", "time"]
    assert "intrinsicVariableDescription" not in biosample
    [taxon] = crate.follow(biosample, "organismClassification")
    assert (taxon["@id"], taxon["scientificName"]) == (TermId("NCBITaxon", "9606").url, "Homo sapiens")
    assert crate.follow(biosample, "growthProtocol")[0]["description"] == "Grown on coverslips at 37 °C."
    assert crate.by_id[row["preparation"]]["description"] == "Stained and mounted live."
    acquisition = crate.by_id[row["acquisition"]]
    assert acquisition["imagingInstrumentDescription"] == "Lattice light-sheet microscope 2"
    assert (acquisition["imagingMethodName"], acquisition["fbbiId"]) == (["SPIM"], [TermId("FBbi", "00000369").url])


def test_a_derived_image_tells_its_source_and_protocol(crate: Crate) -> None:
    row = crate.by_path["results/cell1_ch1/deconvolve/stack.ome.zarr"]
    assert (row["type"], row["source_image"]) == (terms.IMAGE, "raw/cell1_ch1.ome.tif")
    assert (row["biosample"], row["preparation"], row["acquisition"], row["annotation_method"]) == ("", "", "", "")
    assert crate.by_id[row["protocol"]]["description"].startswith("Images were deconvolved with 20 iterations")


def test_an_annotation_tells_its_source_and_method(crate: Crate) -> None:
    row = crate.by_path["results/cell1_ch1/track/tracks.csv"]
    assert (row["type"], row["protocol"]) == (terms.ANNOTATION_DATA, "")
    assert row["source_image"] == "results/cell1_ch1/deconvolve/stack.ome.zarr"
    method = crate.by_id[row["annotation_method"]]
    assert (method["@type"], method["name"], method["methodType"]) == (["bia:AnnotationMethod"], "Tracking", ["tracks"])


def test_labels_are_images_and_tables_of_an_analysis_have_no_type(tmp_path: Path) -> None:
    feed = make_feed()
    feed.jobs[0] = replace_output(feed.jobs[0], type="table")
    feed.jobs[3] = replace_output(feed.jobs[3], type="labels")
    feed.jobs[4] = replace_output(feed.jobs[4], sources=())
    crate = write(tmp_path, feed=feed)
    table, labels = (crate.by_path[feed.jobs[index].outputs[0].path] for index in (0, 3))
    assert (table["type"], table["name"], table["protocol"]) == ("", "", "#method-deconvolve")
    assert (labels["type"], labels["annotation_method"]) == (terms.IMAGE, "#method-track")


def test_several_sources_stand_in_one_cell(tmp_path: Path) -> None:
    feed = make_feed()
    sources = tuple(file.path for file in feed.raw_files)
    feed.jobs[3] = replace_output(feed.jobs[3], sources=sources)
    crate = write(tmp_path, feed=feed)
    assert crate.by_path[feed.jobs[3].outputs[0].path]["source_image"] == ",".join(sources)
    assert faults(crate) == []


def test_a_biosample_that_was_grown_in_two_ways_is_told_twice(tmp_path: Path) -> None:
    specimens = (
        Specimen("On glass", "Mounted.", "Grown on glass."),
        Specimen("In gel", "Cleared.", "Grown in gel."),
        Specimen("As it came", "Sliced."),
        Specimen("Never imaged", "Lost."),
    )
    rows = tuple(Association("Cell line 1", item.title, "Acquisition 1") for item in specimens[:3])
    study = make_study(specimens=specimens)
    raw = dataclasses.replace(study.datasets[0], associations=rows)
    run = dataclasses.replace(study.datasets[-1], associations=rows)
    study = dataclasses.replace(study, datasets=(raw, run))
    feed = make_feed()
    feed.jobs.clear()
    for index, row in enumerate(rows):
        columns = {"biosample": row.biosample, "specimen": row.specimen, "acquisition": row.acquisition}
        feed.raw_files[index] = dataclasses.replace(feed.raw_files[index], columns=columns)
    crate = write(tmp_path, study, feed)
    assert faults(crate) == []
    samples = [crate.by_id[crate.by_path[f.path]["biosample"]] for f in feed.raw_files]
    assert [sample["name"] for sample in samples] == ["Cell line 1"] * 3
    grown = [[text["description"] for text in crate.follow(sample, "growthProtocol")] for sample in samples]
    assert grown == [["Grown on glass."], ["Grown in gel."], []]
    assert len(crate.all("BioSample")) == 3
    assert "Never imaged" not in crate.text
    assert len(crate.named("Dataset", "Raw images")["associatedSpecimenImagingPreparationProtocol"]) == 3


def test_datasets_tell_what_they_belong_to(crate: Crate) -> None:
    raw, derived = crate.named("Dataset", "Raw images"), crate.named("Dataset", "Deconvolved images")
    for dataset in (raw, derived):
        assert len(dataset["associatedBiologicalEntity"]) == len(dataset["associatedImageAcquisitionProtocol"]) == 2
    assert crate.follow(raw, "associatedImageCorrelationMethod")[0]["fiducialsUsed"] == "Beads"
    assert "associatedImageAnalysisMethod" not in raw
    assert crate.follow(derived, "associatedImageAnalysisMethod")[0]["name"] == "Deconvolve and track"
    assert crate.follow(derived, "associatedProtocol")[0]["name"] == "Deconvolution"


# ---------------------------------------------------------------------- files


def test_every_file_of_the_study_is_listed_once_and_reached(crate: Crate) -> None:
    feed = make_feed()
    expected = {file.path for file in feed.files()} - {terms.METADATA} | {RUN_METADATA}
    assert set(crate.by_path) == expected
    assert {path.name for path in crate.folder.iterdir() if path.is_symlink()} == {
        "config",
        "raw",
        "results",
        "workflow",
        RUN_METADATA,
    }
    assert all(not path.readlink().is_absolute() for path in crate.folder.iterdir() if path.is_symlink())
    assert (crate.folder / RUN_METADATA).read_text() == "ro-crate-metadata.json"
    assert crate.by_path[RUN_METADATA]["size_in_bytes"] == "22"
    assert {row["dataset"] for row in crate.rows if not row["type"]} == {"#dataset-workflow-run"}


def test_steps_that_are_left_out_are_not_listed(tmp_path: Path) -> None:
    study = make_study()
    study = dataclasses.replace(study, datasets=tuple(item for item in study.datasets if item.key != "track"))
    crate = write(tmp_path, study)
    assert not [path for path in crate.by_path if "/track/" in path]
    assert "tracks" not in {row["type"] for row in crate.rows}
    assert faults(crate) == []


def test_without_results_no_link_leads_nowhere(tmp_path: Path) -> None:
    study, feed = make_study(), make_feed()
    study = dataclasses.replace(study, datasets=tuple(item for item in study.datasets if item.key in (RAW, RUN)))
    feed.jobs.clear()
    crate = write(tmp_path, study, feed)
    assert not (crate.folder / "results").is_symlink()
    assert faults(crate) == []


def test_an_unknown_size_is_left_empty(tmp_path: Path) -> None:
    feed = make_feed()
    feed.raw_files[0] = dataclasses.replace(feed.raw_files[0], bytes=None)
    assert write(tmp_path, feed=feed).by_path[feed.raw_files[0].path]["size_in_bytes"] == ""


def test_a_shared_file_with_the_name_of_the_list_is_refused(tmp_path: Path) -> None:
    feed = make_feed()
    feed.run_files.append(StudyFile("file_list.tsv", "file_list.tsv", RUN, False, None, 1, None, None, {}))
    with pytest.raises(InputError, match="has the name of a file of bia-crate/"):
        write(tmp_path, feed=feed)


def test_the_columns_mean_what_the_archive_looks_for(crate: Crate) -> None:
    columns = crate.follow(crate.follow(crate.by_id[terms.FILE_LIST], "tableSchema")[0], "column")
    assert [column["columnName"] for column in columns] == list(crate.rows[0])
    meaning = {column["columnName"]: column["propertyUrl"] for column in columns}
    assert meaning["file_path"] == "http://bia/filePath"
    assert meaning["dataset"] == "http://schema.org/isPartOf"
    assert meaning["type"] == "http://www.w3.org/1999/02/22-rdf-syntax-ns#type"
    assert meaning["name"] == "http://schema.org/name"
    assert meaning["source_image"] == "http://bia/associatedSourceImage"


# ---------------------------------------------------------------------- texts


@pytest.mark.parametrize("text", [*HOSTILE, LONG, "\ud800 half a pair"])
def test_any_text_is_kept(tmp_path: Path, text: str) -> None:
    study = make_study()
    study = dataclasses.replace(
        study,
        title=text,
        keywords=(text,),
        pipeline_title=text,
        authors=(dataclasses.replace(study.authors[2], first_name=text),),
        specimens=(dataclasses.replace(study.specimens[0], sample_preparation=text, growth_protocol=text),),
        datasets=tuple(
            dataclasses.replace(item, name=f"{text} {item.key}", description=text) for item in study.datasets
        ),
        publications=(Publication(text),),
    )
    crate = write(tmp_path, study)
    assert faults(crate) == []
    kept = text.replace("\ud800", "?")
    assert crate.by_id["./"]["name"] == kept
    assert crate.by_id["./"]["keywords"] == [kept]
    assert crate.named("Dataset", f"{kept} raw-images")["description"] == kept
    assert crate.all("SpecimenImagingPreparationProtocol")[0]["description"] == kept


def test_links_are_addresses_and_told_once(tmp_path: Path) -> None:
    links = (
        Link('https://example.org/a<b>"c"{d}|e\\f^g`h/%20/µ', "one"),
        Link("https://example.org/twice", "first"),
        Link("https://example.org/twice", "second"),
        Link("https://orcid.org/0000-0002-1825-0097", "the author"),
    )
    crate = write(tmp_path, make_study(links=links))
    assert faults(crate) == []
    found = crate.follow(crate.by_id["./"], "seeAlso")
    assert [(link["@id"], link["description"]) for link in found] == [
        ("https://example.org/a%3Cb%3E%22c%22%7Bd%7D%7Ce%5Cf%5Eg%60h/%20/%C2%B5", "one"),
        ("https://example.org/twice", "first; second"),
    ]


def test_what_nobody_told_is_left_out(tmp_path: Path) -> None:
    nothing: dict[str, Any] = {"keywords": (), "correlations": (), "grants": (), "publications": (), "links": ()}
    study = make_study(**nothing, acknowledgements=None, funding_statement=None)
    crate = write(tmp_path, study)
    assert faults(crate) == []
    assert not [key for entity in crate.graph for key, value in entity.items() if value in (None, [], "")]


# ---------------------------------------------------------------------- bytes, memory, checks


def test_equal_studies_give_equal_bytes(tmp_path: Path) -> None:
    crates = [write(tmp_path / name) for name in ("one", "two")]
    for name in (terms.METADATA, terms.FILE_LIST):
        assert len({(crate.folder / name).read_bytes() for crate in crates}) == 1
    assert str(tmp_path) not in crates[0].text + (crates[0].folder / terms.FILE_LIST).read_text()


def test_memory_does_not_grow_with_the_jobs(tmp_path: Path) -> None:
    feed, count = make_feed(), 20_000
    job = feed.jobs[-1]
    (tmp_path / "run-crate").mkdir()
    view = BiaCrate(tmp_path, make_study(), feed.inventory)
    tracemalloc.start()
    for index in range(count):
        view.job(replace_output(job, path=f"results/cell{index:06}/track/tracks.csv"))
    view.finish()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    listed = (tmp_path / terms.FOLDER / terms.FILE_LIST).read_bytes()
    assert listed.count(b"\n") == count + 1
    assert len(listed) > 2e6
    assert peak < 2e6


def test_verify_takes_its_links_and_no_others(tmp_path: Path) -> None:
    crate = write(tmp_path)
    (tmp_path / "checksums.sha256").write_text("")
    (tmp_path / "file_list_x.tsv").write_text("Files\n")

    def doubtful() -> list[str]:
        files = Files(tmp_path, lambda *_: None)
        files.check()
        found = [str(item.where) for item in files.problems]
        return sorted(name.removeprefix("study/bia-crate/") for name in found if "bia-crate" in name)

    own = sorted([terms.METADATA, terms.FILE_LIST])
    assert doubtful() == sorted(own)
    (crate.folder / "raw").unlink()
    (crate.folder / "raw").symlink_to("../file_list_x.tsv")
    (crate.folder / "more").symlink_to("../run-crate/../..")
    (crate.folder / "gone").symlink_to("../run-crate/gone")
    assert doubtful() == sorted([*own, "gone", "more", "raw"])


def test_the_version_of_the_names_is_told() -> None:
    assert terms.VERSION == "0.3.1"
    text = Path(__file__).parents[3].joinpath("docs/design/bia-crate.md").read_text(encoding="utf-8")
    assert f"{terms.VALIDATOR} {terms.VERSION}" in text
