"""What other people's validators let through, and what they do not: nothing of it passes all of our gate.

The gate of a study is `export` (which refuses), the third parties, and `verify`. Each mutation names who must find it.
Checksums are made right again after a mutation of the metadata, so that it is found by what it means.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import third_party
from snakescope import api, layout
from snakescope.errors import InputError
from snakescope.record import digest
from snakescope.runner.demo import STUDY
from snakescope.study.pagetab.v5 import check_submission

pytestmark = pytest.mark.slow

CRATE = "study/run-crate/ro-crate-metadata.json"
Entities = dict[str, dict[str, Any]]
Spec = dict[str, Any]


def edit_crate(root: Path, change: Callable[[Entities], object]) -> None:
    """Change entities of the crate by id, and make its line of the checksums right again."""
    path = root / CRATE
    data = json.loads(path.read_text(encoding="utf-8"))
    entities: Entities = {entity["@id"]: entity for entity in data["@graph"]}
    change(entities)
    data["@graph"] = list(entities.values())
    path.write_text(json.dumps(data), encoding="utf-8")
    seal(root, CRATE.removeprefix("study/"))


def seal(root: Path, name: str) -> None:
    path = root / "study/checksums.sha256"
    text = path.read_text(encoding="utf-8")
    changed = re.sub(rf"^\S+  {re.escape(name)}$", f"{digest(root / 'study' / name)}  {name}", text, flags=re.MULTILINE)
    path.write_text(changed, encoding="utf-8")


def first(entities: Entities, start: str) -> dict[str, Any]:
    return next(entity for id_, entity in entities.items() if id_.startswith(start))


def context_13(root: Path) -> None:
    path = root / CRATE
    text = path.read_text(encoding="utf-8").replace("https://w3id.org/ro/crate/1.1", "https://w3id.org/ro/crate/1.3")
    path.write_text(text, encoding="utf-8")
    seal(root, CRATE.removeprefix("study/"))


CRATES: dict[str, tuple[str, Callable[[Path], object]]] = {
    "a file is not on disk": (
        "both",
        lambda r: (r / "study/run-crate/results/cell1/track/tracks.csv").unlink(),
    ),
    "a step without the tool that carries it out": (
        "third",
        lambda r: edit_crate(r, lambda e: e["#step-deskew"].pop("workExample")),
    ),
    "a job without its tool": ("third", lambda r: edit_crate(r, lambda e: first(e, "#job/").pop("instrument"))),
    "a usage that does not say of what": (
        "third",
        lambda r: edit_crate(r, lambda e: first(e, "#usage/").pop("propertyID")),
    ),
    "a result that is no part": (
        "both",
        lambda r: edit_crate(r, lambda e: e["./"]["hasPart"].remove({"@id": "results/cell1/track/tracks.csv"})),
    ),
    "a newer context": ("third", context_13),
    "a time that is none": (
        "both",
        lambda r: edit_crate(r, lambda e: first(e, "#job/").update(endTime="yesterday")),
    ),
    "a status that is none": (
        "third",
        lambda r: edit_crate(r, lambda e: first(e, "#job/").update(actionStatus="fine")),
    ),
    "a reference to nothing": (
        "ours",
        lambda r: edit_crate(r, lambda e: e["workflow/Snakefile"].update(creator={"@id": "#nobody"})),
    ),
    "a wrong digest": (
        "ours",
        lambda r: edit_crate(r, lambda e: e["results/cell1/track/tracks.csv"].update(sha256="0" * 64)),
    ),
    "a wrong size": (
        "ours",
        lambda r: edit_crate(r, lambda e: e["results/cell1/track/tracks.csv"].update(contentSize="1")),
    ),
    "no engine": ("ours", lambda r: edit_crate(r, lambda e: e.pop("#engine-run"))),
    "a failed job that does not say why": (
        "ours",
        lambda r: edit_crate(
            r, lambda e: first(e, "#job/").update(actionStatus="http://schema.org/FailedActionStatus")
        ),
    ),
}


@pytest.mark.parametrize("name", CRATES)
def test_no_broken_crate_passes(demo_copy: Path, name: str) -> None:
    finder, mutate = CRATES[name]
    mutate(demo_copy)
    ours = api.verify(study=demo_copy, quiet=True)[0].problems
    theirs = third_party.run_crate(demo_copy / "study/run-crate")
    assert bool(theirs) == (finder != "ours"), theirs
    assert bool(ours) == (finder != "third"), ours


def author(**changes: Any) -> Callable[[Spec], object]:
    def change(spec: Spec) -> None:
        spec["authors"][0] = {k: v for k, v in (spec["authors"][0] | changes).items() if v is not None}

    return change


# What rembi-mifa refuses, and what it lets through: export refuses all of it.
STUDIES: dict[str, tuple[Callable[[Spec], object], str]] = {
    "no e-mail": (author(email=None), "email: is missing"),
    "a wrong ORCID": (author(orcid="0000-0002-1825-0096"), "orcid: found"),
    "a wrong ROR": (author(affiliation={"name": "X", "ror": "https://ror.org/05gq02986"}), "ror: found"),
    "no date": (lambda s: s.pop("release_date"), "release_date: is missing"),
    "no such date": (lambda s: s.update(release_date="2027-02-30"), "release_date: found"),
    "no description": (lambda s: s.pop("description"), "description: is missing"),
    "a short title": (lambda s: s.update(title="Vesicles"), "title: found 8 characters"),
    "keywords as a text": (lambda s: s.update(keywords="one, two"), "keywords: found 'one, two'; expected a list"),
    "a misspelt key": (lambda s: s.update(titel="x"), "titel: unknown key"),
    "a misspelt key below": (lambda s: s["biosamples"][0].update(organsim="x"), "organsim: unknown key"),
    "no authors": (lambda s: s.update(authors=[]), "authors: is missing"),
    "no biosamples": (lambda s: s.update(biosamples=[]), "organism: is missing"),
    "no specimens": (lambda s: s.update(specimens=[]), "sample_preparation: is missing"),
    "no acquisitions": (lambda s: s.update(acquisitions=[]), "imaging_method: is missing"),
    "an organism that is none": (lambda s: s["biosamples"][0].update(organism="banana split"), "found 'banana split'"),
    "a taxon that is none": (lambda s: s["biosamples"][0].update(organism="x (NCBITaxon:banana)"), "organism: found"),
    "a licence that the archive refuses": (lambda s: s.update(license="WTFPL"), "CC0 and CC BY 4.0"),
    "a method of another ontology": (
        lambda s: s["acquisitions"][0].update(imaging_method="mouse (NCBITaxon:10090)"),
        "expected one of FBbi",
    ),
}


@pytest.mark.parametrize("name", STUDIES)
def test_no_broken_study_is_exported(demo_study: Path, tmp_path: Path, name: str) -> None:
    change, message = STUDIES[name]
    spec = yaml.safe_load(STUDY)
    spec["release_date"] = str(spec["release_date"])
    change(spec)
    for part in ("config", "rules", "records", "results", "data", "logs", "workflow", "envs", "benchmarks"):
        (tmp_path / part).symlink_to(demo_study / part)
    (tmp_path / "config").unlink()
    shutil.copytree(demo_study / "config", tmp_path / "config")
    (tmp_path / layout.STUDY_YAML).write_text(yaml.safe_dump(spec), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        api.export(study=tmp_path, quiet=True)
    assert len(caught.value.problems) <= 2
    assert message in str(caught.value)
    assert not (tmp_path / "study").exists()


def edit_store(root: Path, change: Callable[[Spec], object], group: str = "zarr.json") -> None:
    """Change the metadata of one store."""
    path = root / layout.result("cell1_ch0_stack0000", "deskew", "image.ome.zarr") / group
    data = json.loads(path.read_text(encoding="utf-8"))
    change(data)
    path.write_text(json.dumps(data), encoding="utf-8")


def image(data: Spec) -> Spec:
    found: Spec = data["attributes"]["ome"]["multiscales"][0]
    return found


def scale(data: Spec, value: list[float]) -> None:
    for level in image(data)["datasets"]:
        level["coordinateTransformations"][0]["scale"] = value


STORES: dict[str, tuple[str, Callable[[Path], object]]] = {
    "a level is not there": (
        "third",
        lambda r: shutil.rmtree(r / layout.result("cell1_ch0_stack0000", "deskew", "image.ome.zarr") / "0"),
    ),
    "a scale too short": ("third", lambda r: edit_store(r, lambda d: scale(d, [0.1, 0.1]))),
    "no scale": (
        "third",
        lambda r: edit_store(r, lambda d: image(d)["datasets"][0].pop("coordinateTransformations")),
    ),
    "axes in the wrong order": ("third", lambda r: edit_store(r, lambda d: image(d)["axes"].reverse())),
    "no version": ("third", lambda r: edit_store(r, lambda d: d["attributes"]["ome"].pop("version"))),
    "no axes": ("third", lambda r: edit_store(r, lambda d: image(d).pop("axes"))),
    "two axes of one name": ("third", lambda r: edit_store(r, lambda d: image(d)["axes"][0].update(name="y"))),
    "names of dimensions that differ": (
        "third",
        lambda r: edit_store(r, lambda d: d.update(dimension_names=["a", "b", "c"]), "0/zarr.json"),
    ),
    "no unit": ("ours", lambda r: edit_store(r, lambda d: [axis.pop("unit", 0) for axis in image(d)["axes"]])),
    "a unit that is none": ("ours", lambda r: edit_store(r, lambda d: image(d)["axes"][0].update(unit="parsnip"))),
    "every scale 1": ("ours", lambda r: edit_store(r, lambda d: scale(d, [1.0, 1.0, 1.0]))),
}


@pytest.mark.parametrize("name", STORES)
def test_no_broken_store_passes(demo_copy: Path, name: str) -> None:
    finder, mutate = STORES[name]
    mutate(demo_copy)
    store = demo_copy / layout.result("cell1_ch0_stack0000", "deskew", "image.ome.zarr")
    if finder == "third":
        assert third_party.ome_zarr(store)
    else:
        with pytest.raises(InputError, match="cell1_ch0_stack0000/deskew/image"):
            api.export(study=demo_copy, quiet=True)
    assert not api.verify(study=demo_copy, quiet=True)[0].sound, "nor is it what was exported"


def test_the_submission_of_the_demonstration_has_no_problem(demo_study: Path) -> None:
    assert check_submission(demo_study / "study") == []
