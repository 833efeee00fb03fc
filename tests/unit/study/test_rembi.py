from __future__ import annotations

import dataclasses
import json
import random
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import yaml

from snakescope.study.model import Correlation, Dataset, Organisation, Study
from snakescope.study.rembi import HEADER, NAME, Rembi
from snakescope.study.yaml_text import entries, lines, scalar
from study_helpers import HOSTILE, LONG, Feed, make_associations, make_entry, make_feed, make_study, replace_output
from third_party import rembi as judge


def write(folder: Path, study: Study, feed: Feed | None = None) -> Path:
    feed = feed or make_feed()
    feed.show(Rembi(folder, study, feed.inventory))
    return folder / NAME


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def test_rembi_mifa_accepts_the_study_and_ignores_no_key(tmp_path: Path) -> None:
    path = write(tmp_path, make_study())
    assert judge(path) == []
    assert path.read_text(encoding="utf-8").splitlines()[0] == HEADER


def test_the_judge_would_see_an_unknown_key(tmp_path: Path) -> None:
    path = write(tmp_path, make_study())
    path.write_text(path.read_text(encoding="utf-8").replace("  keywords:", "  key_words: x\n  keywords:"), "utf-8")
    assert judge(path) == ["study.key_words: ignored key"]


def test_every_fact_with_a_place_in_rembi_is_told(tmp_path: Path) -> None:
    data = read(write(tmp_path, make_study()))
    study = data["study"]
    assert study["keywords"] == "deconvolution, tracking"
    assert study["funding"] == {
        "funding_statement": "Funded by an example grant.",
        "grant_references": [{"identifier": "EX-1", "funder": "Example Funder"}],
    }
    assert study["publications"][0]["doi"] == "10.1038/s41592-021-01166-8"
    assert study["publications"][0]["year"] == 2021
    assert study["links"] == [
        {"link_url": "https://example.org/code#main", "link_description": "Image analysis code"},
        {"link_url": "https://example.org"},
    ]
    assert [author["affiliation"] for author in study["authors"]][1:] == [
        {"name": "EBI", "url": "https://ror.org/02catss52"},
        {"name": "Hospital: Dept. #3", "address": "1 High Street, Newcastle, NE1"},
    ]
    names = [component["name"] for component in data["study_components"]]
    assert names == ["Raw images", "Deconvolved images", "Workflow and run record"]
    assert data["sample"][1]["experimental_variables"] == "drug; time"
    assert data["sample"][0]["organism"]["ncbi_taxon"] == "http://purl.obolibrary.org/obo/NCBITaxon_9606"
    assert data["image_acquisition"][0]["imaging_method"]["ontology_name"] == "FBbi"
    overview = "Deconvolution: Images were deconvolved with 20 iterations, with prog 2.1."
    assert data["image_analysis"] == {"analysis_overview": overview}


def test_annotations_are_one_object_with_a_row_for_each_file(tmp_path: Path) -> None:
    annotations = read(write(tmp_path, make_study()))["annotations"]
    assert annotations["annotation_overview"] == "Vesicle tracks: Tracks of vesicles."
    assert annotations["annotation_type"] == ["tracks"]
    assert annotations["authors"][0]["last_name"] == "Carberry"
    assert annotations["file_metadata"][0] == {
        "annotation_id": "results/cell1_ch0/track/tracks.csv",
        "annotation_type": ["tracks"],
        "source_image_id": "results/cell1_ch0/deconvolve/stack.ome.zarr",
        "annotation_creation_time": "2026-11-20T10:14:00Z",
    }
    assert len(annotations["file_metadata"]) == 3


def test_a_mask_says_its_axes_and_voxels(tmp_path: Path) -> None:
    study, feed = make_study(), make_feed()
    columns = {"axes": "zyx", "shape": "10,20,30", "voxel_size_um": "0.3,0.1,0.1"}
    feed.jobs[3] = replace_output(feed.jobs[3], columns=columns)
    path = write(tmp_path, study, feed)
    told = read(path)["annotations"]["file_metadata"][0]["spatial_information"]
    assert told == "axes zyx; shape 10,20,30; voxel size 0.3,0.1,0.1 µm (z, y, x)"
    assert judge(path) == []


def test_several_annotations_and_sources_are_put_together(tmp_path: Path) -> None:
    study, feed = make_study(), make_feed()
    masks = Dataset(
        "segment",
        "annotation",
        "Cell masks",
        "Masks of cells",
        make_entry("Segmentation", "Cells were segmented.", "segmentation_mask"),
        make_associations(),
        1,
    )
    study = dataclasses.replace(study, datasets=(*study.datasets, masks))
    feed.jobs.append(
        replace_output(feed.jobs[-1], dataset="segment", path="results/all/segment/m.csv", sources=("a", "b"))
    )
    path = write(tmp_path, study, feed)
    annotations = read(path)["annotations"]
    assert annotations["annotation_overview"] == "Vesicle tracks: Tracks of vesicles. Cell masks: Masks of cells."
    assert annotations["annotation_type"] == ["tracks", "segmentation_mask"]
    assert annotations["file_metadata"][-1]["source_image_id"] == "a; b"
    assert annotations["file_metadata"][-1]["annotation_type"] == ["segmentation_mask"]
    assert judge(path) == []


def test_what_is_not_there_is_left_out(tmp_path: Path) -> None:
    study = make_study(correlations=(), publications=(), links=(), grants=(), funding_statement=None)
    study = dataclasses.replace(study, datasets=study.datasets[:1])
    path = write(tmp_path, study, dataclasses.replace(make_feed(), jobs=[]))
    data = read(path)
    assert set(data) == {"study", "study_components", "sample", "specimen", "image_acquisition"}
    assert not {"funding", "publications", "links"} & set(data["study"])
    assert "role" not in data["study"]["authors"][1]
    assert judge(path) == []


def test_a_correlation_says_what_nobody_knows(tmp_path: Path) -> None:
    study = make_study(correlations=(Correlation("A", "by hand"), Correlation("B", "by beads", "beads", "affine")))
    path = write(tmp_path, study)
    assert read(path)["image_correlation"] == {
        "spatial_and_temporal_alignment": "A: by hand. B: by beads.",
        "fiducials_used": "B: beads.",
        "transformations_used": "B: affine.",
    }
    alone = write(tmp_path, make_study(correlations=(Correlation("A", "by hand"),)))
    assert read(alone)["image_correlation"]["fiducials_used"] == "not known"


@pytest.mark.parametrize("text", [*HOSTILE, LONG])
def test_a_hostile_text_reads_back_as_it_was(tmp_path: Path, text: str) -> None:
    title = f"{text} -- and so on, at least 25 characters"
    study = make_study(title=title, description=f"{text} {'and so on ' * 20}{text}", keywords=(text, "b"))
    study = dataclasses.replace(
        study,
        acknowledgements=text,
        authors=(dataclasses.replace(study.analyst, last_name=text, affiliation=Organisation(text, None, text)),),
        specimens=(dataclasses.replace(study.specimens[0], sample_preparation=text),),
    )
    path = write(tmp_path, study)
    data = read(path)
    assert judge(path) == []
    assert data["study"]["title"] == title
    assert data["study"]["description"] == study.description
    assert data["study"]["authors"][0]["last_name"] == text
    assert data["study"]["authors"][0]["affiliation"] == {"name": text, "address": text}
    assert data["specimen"][0]["sample_preparation"] == text


def test_any_text_reads_back_in_every_place() -> None:
    letters = [*"aZ09 .:#-?,'\"\\{}[]&*!|>%@`~=<\t\n\r/µ細🧬", "\x85", "\xa0", "\u2028", "\ufeff", "\x07", "null", ": "]
    source = random.Random(5)
    for _ in range(600):
        text = "".join(source.choices(letters, k=source.choice([1, 2, 3, 8, 40, 160])))
        value: dict[str, Any] = {"a": text, "list": [text, {"b": text, "c": [text]}], "d": {"e": text}}
        written = "\n".join(lines(value))
        assert yaml.safe_load(written) == value, repr(text)
        assert yaml.load(written, yaml.CSafeLoader) == value, repr(text)


def test_long_texts_with_blanks_in_a_row_read_back() -> None:
    source = random.Random(6)
    for _ in range(300):
        text = " ".join(source.choices(["", "", "-", "# a", "word:", "x" * 30], k=60)).strip()
        assert yaml.safe_load("\n".join(lines({"a": {"b": text}}))) == {"a": {"b": text}}


def test_plain_words_and_prose_need_no_quotes() -> None:
    for text in ("Homo sapiens", "http://purl.obolibrary.org/obo/FBbi_00000369", "data analyst", "it's (almost) done."):
        assert scalar(text) == text
    assert scalar("yes") == json.dumps("yes")


def test_long_prose_is_folded_within_the_width() -> None:
    text = " ".join(["Images were deconvolved: 20 iterations, each # times."] * 10)
    told = list(lines({"overview": text}))
    assert told[0] == "overview: >-"
    assert max(map(len, told)) <= 100
    assert yaml.safe_load("\n".join(told)) == {"overview": text}


def test_lists_straight_within_lists_are_refused() -> None:
    with pytest.raises(TypeError, match="list straight within a list"):
        list(entries([["a"]]))


def test_many_annotations_need_little_memory(tmp_path: Path) -> None:
    study, feed = make_study(), make_feed()
    view, job = Rembi(tmp_path, study, feed.inventory), feed.jobs[-1]
    tracemalloc.start()
    try:
        for _ in range(20_000):
            view.job(job)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()
    view.finish()
    assert (tmp_path / NAME).read_text(encoding="utf-8").count("annotation_id:") == 20_000
