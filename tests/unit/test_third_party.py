"""Other people's validators accept valid documents and reject broken ones; and what they let pass is written down.

Where a test of the second kind fails, upstream has begun to catch something: move its row to the first table.
"""

from __future__ import annotations

import copy
import hashlib
import json
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import yaml
import zarr

import third_party
from third_party import CRATE_CONTEXT

Document = dict[str, Any]
Change = Callable[[Document], object]

# --- a small run crate ------------------------------------------------------------------------------------------

TERMS = "https://w3id.org/ro/terms/workflow-run#"
OWN_TERMS = (
    "ParameterConnection connection sourceParameter targetParameter environment containerImage ContainerImage "
    "registry tag sha256 resourceUsage"
)
PROFILES = ("wfrun/process/0.5", "wfrun/workflow/0.5", "wfrun/provenance/0.5")
WORKFLOW_CRATE = "https://w3id.org/workflowhub/workflow-ro-crate/1.0"
BIOSCHEMAS = "https://bioschemas.org/profiles/"
COMPLETED, FAILED = (f"http://schema.org/{status}ActionStatus" for status in ("Completed", "Failed"))
TOOL, ORCID, SNAKEMAKE = "https://example.org/blur", "https://orcid.org/0000-0002-1825-0097", "https://snakemake.io/"
CONDA_FILE = "https://docs.conda.io/environment-file"
TIMES = {"startTime": "2026-11-20T10:00:00+00:00", "endTime": "2026-11-20T10:12:00+00:00"}


def ref(*ids: str) -> Any:
    """References to entities; a single one stands alone, as RO-Crate 1.1 recommends."""
    return {"@id": ids[0]} if len(ids) == 1 else [{"@id": name} for name in ids]


def contextual_entities() -> Document:
    """What is the same in every crate: the profiles, the licence, the people and the programs."""
    profiles = {f"https://w3id.org/ro/{name}": name.split("/") for name in PROFILES}
    bioschemas = {f"{BIOSCHEMAS}{name}/1.0-RELEASE": name for name in ("ComputationalWorkflow", "FormalParameter")}
    program = {"@type": "SoftwareApplication", "softwareVersion": "1.0.0", "description": "A program"}
    return {
        **{k: {"@type": "CreativeWork", "name": v[1], "version": v[2]} for k, v in profiles.items()},
        **{k: {"@type": "CreativeWork", "name": v, "version": "1.0-RELEASE"} for k, v in bioschemas.items()},
        WORKFLOW_CRATE: {"@type": "CreativeWork", "name": "Workflow RO-Crate", "version": "1.0"},
        "https://spdx.org/licenses/CC0-1.0": {"@type": "CreativeWork", "name": "CC0", "description": "Public domain"},
        ORCID: {"@type": "Person", "name": "Ada Lovelace", "affiliation": ref("https://ror.org/02catss52")},
        "https://ror.org/02catss52": {"@type": "Organization", "name": "An institute", "url": "https://example.org"},
        CONDA_FILE: {"@type": "WebPageElement", "name": "Conda environment file"},
        SNAKEMAKE: {**program, "name": "Snakemake", "url": SNAKEMAKE},
        "#snakemake": {"@type": "ComputerLanguage", "name": "Snakemake", "url": ref(SNAKEMAKE), "version": "9.0"},
        TOOL: {**program, "name": "blur", "url": TOOL, "input": ref("#in"), "output": ref("#out")},
    }


def workflow_entities() -> Document:
    """One workflow of one step, its parameters and how they hang together."""
    workflow = {
        "@type": ["File", "SoftwareSourceCode", "ComputationalWorkflow", "HowTo"],
        "name": "Blur",
        "description": "Blurs every image",
        "conformsTo": ref(f"{BIOSCHEMAS}ComputationalWorkflow/1.0-RELEASE"),
        "programmingLanguage": ref("#snakemake"),
        **{
            "version": "0.1.0",
            "url": "https://example.org/workflow",
            "license": ref("https://spdx.org/licenses/CC0-1.0"),
        },
        **{"creator": ref(ORCID), "encodingFormat": "text/plain", "contentSize": "4", "connection": ref("#link-out")},
        "buildInstructions": ref("env.yaml"),
        **{"hasPart": ref(TOOL), "step": ref("#step"), "input": ref("#wf-in"), "output": ref("#wf-out")},
    }
    parameter = {"@type": "FormalParameter", "additionalType": "File", "description": "An image", "valueRequired": True}
    parameter |= {"conformsTo": ref(f"{BIOSCHEMAS}FormalParameter/1.0-RELEASE"), "encodingFormat": "image/tiff"}
    links = {"#link-in": ("#wf-in", "#in"), "#link-out": ("#out", "#wf-out")}
    return {
        "Snakefile": workflow,
        **{name: {**parameter, "name": name[1:]} for name in ("#wf-in", "#wf-out", "#in", "#out")},
        "#step": {"@type": "HowToStep", "name": "blur", "workExample": ref(TOOL), "connection": ref("#link-in")},
        **{
            name: {"@type": "ParameterConnection", "sourceParameter": ref(a), "targetParameter": ref(b)}
            for name, (a, b) in links.items()
        },
    }


def job_entities(number: int) -> Document:
    """One job: its action, the files it read and wrote, what it used."""
    source, made = f"data/{number}.tif", f"results/{number}.tif"
    file = {"@type": "File", "encodingFormat": "image/tiff", "contentSize": "4"}
    file["sha256"] = hashlib.sha256(b"data").hexdigest()
    action = {"@type": "CreateAction", "name": f"blur {number}", "description": "blur", "agent": ref(ORCID), **TIMES}
    action |= {"instrument": ref(TOOL), "object": ref(source), "result": ref(made), "actionStatus": COMPLETED}
    used = {
        "@type": "PropertyValue",
        "name": "elapsed",
        "propertyID": "https://example.org/slurm#Elapsed",
        "value": "4",
    }
    return {
        source: {**file, "name": f"Image {number}", "exampleOfWork": ref("#wf-in", "#in")},
        made: {**file, "name": f"Blurred {number}", "exampleOfWork": ref("#wf-out", "#out")},
        f"#use-{number}": {**used, "unitCode": ref("https://qudt.org/vocab/unit/SEC")},
        f"#job-{number}": {**action, "containerImage": ref("#image"), "resourceUsage": ref(f"#use-{number}")},
    }


def make_crate(jobs: int = 1) -> Document:
    """Entities of a run crate that meets everything required and recommended, by their id."""
    numbers = range(1, jobs + 1)
    files = [f"{folder}/{number}.tif" for number in numbers for folder in ("data", "results")]
    actions = [f"#job-{number}" for number in numbers]
    done = {"agent": ref(ORCID), "actionStatus": COMPLETED, "description": "a run", **TIMES}
    run = {"@type": "CreateAction", "name": "run", "instrument": ref("Snakefile"), "object": ref(*files[::2])}
    profiles = (*(f"https://w3id.org/ro/{name}" for name in PROFILES), WORKFLOW_CRATE)
    root = {"@type": "Dataset", "name": "A run", "description": "Images blurred", "datePublished": "2026-11-20"}
    root |= {"license": ref("https://spdx.org/licenses/CC0-1.0"), "author": ref(ORCID), "mainEntity": ref("Snakefile")}
    root |= {"publisher": ref("https://ror.org/02catss52"), "conformsTo": ref(*profiles)}
    root |= {"hasPart": ref("Snakefile", "env.yaml", "README.md", *files), "mentions": ref("#engine", "#run", *actions)}
    image = {"@type": "ContainerImage", "name": "blur", "registry": "quay.io", "tag": "1", "sha256": "0" * 64}
    environment = {"@type": "File", "name": "Environment", "encodingFormat": "text/yaml", "conformsTo": ref(CONDA_FILE)}
    descriptor = {"@type": "CreativeWork", "about": ref("./")}
    return {
        "ro-crate-metadata.json": {**descriptor, "conformsTo": ref("https://w3id.org/ro/crate/1.1", WORKFLOW_CRATE)},
        "./": root,
        **contextual_entities(),
        **workflow_entities(),
        "env.yaml": {**environment, "contentSize": "4"},
        "README.md": {"@type": "File", "name": "Readme", "encodingFormat": "text/markdown", "about": ref("./")},
        "#image": {**image, "additionalType": ref(f"{TERMS}DockerImage")},
        **{key: entity for number in numbers for key, entity in job_entities(number).items()},
        "#run": {**run, "result": ref(*files[1::2]), **done},
        "#control": {"@type": "ControlAction", "name": "control", "instrument": ref("#step"), "object": ref(*actions)},
        "#engine": {
            **{"@type": "OrganizeAction", "name": "engine", "instrument": ref(SNAKEMAKE), **done},
            **{"object": ref("#control"), "result": ref("#run")},
        },
    }


def write_crate(folder: Path, entities: Document) -> Path:
    """Write the crate and a file of four bytes for each file that it names."""
    for name, entity in entities.items():
        if "File" in entity["@type"] and ":" not in name:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text("data")
    graph = [{"@id": name, **entity} for name, entity in entities.items()]
    own = {"buildInstructions": "https://codemeta.github.io/terms/buildInstructions"}
    own |= {term: TERMS + term for term in OWN_TERMS.split()}
    document = {"@context": [CRATE_CONTEXT, own], "@graph": graph}
    (folder / "ro-crate-metadata.json").write_text(json.dumps(document, indent=1))
    return folder


def crate_findings(folder: Path, change: Change | None = None) -> list[str]:
    entities = make_crate()
    if change:
        change(entities)
    return third_party.run_crate(write_crate(folder, entities))


def test_a_run_crate_is_valid(tmp_path: Path) -> None:
    assert crate_findings(tmp_path) == []


def test_a_run_crate_is_judged_without_the_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def refuse(*address: object, **_: object) -> None:
        asked.append(address)
        raise OSError("the network is cut off")

    third_party._crate_validator.cache_clear()
    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    for name in ("getaddrinfo", "create_connection"):
        monkeypatch.setattr(socket, name, refuse)
    assert crate_findings(tmp_path) == []
    assert asked == []


def test_a_context_that_is_not_at_hand_is_a_finding_and_not_fetched(tmp_path: Path) -> None:
    write_crate(tmp_path, make_crate())
    metadata = tmp_path / "ro-crate-metadata.json"
    metadata.write_text(metadata.read_text().replace(CRATE_CONTEXT, f"{CRATE_CONTEXT}.jsonld"))
    assert any("ro-crate-1.1_3." in finding for finding in third_party.run_crate(tmp_path))


def test_a_later_ro_crate_is_rejected(tmp_path: Path) -> None:
    later = ref("https://w3id.org/ro/crate/1.3", WORKFLOW_CRATE)
    findings = crate_findings(tmp_path, lambda e: e["ro-crate-metadata.json"].update(conformsTo=later))
    assert any("REQUIRED" in finding for finding in findings)


# What is wrong, the change that does it to a crate of two steps and ten jobs, the check that finds it, and where.
CRATE_CAUGHT: dict[str, tuple[Change, str, str]] = {
    "a step without a tool": (lambda e: e["#step-2"].pop("workExample"), "provenance-run-crate-0.5_4.2", "./#step-2"),
    "a step of which no job ran": (lambda e: e["#idle"].pop("object"), "provenance-run-crate-0.5_7.2", "./#idle"),
    "a connection on no step": (
        lambda e: e["#step"].pop("connection"),
        "provenance-run-crate-0.5_17.0",
        "./#link-in",
    ),
    "a file among the engine's steps": (
        lambda e: e["#engine"].update(object=ref("#control", "#idle", "env.yaml")),
        "provenance-run-crate-0.5_8.3",
        "./#engine",
    ),
    "a container image without a registry": (
        lambda e: e["#image"].pop("registry"),
        "process-run-crate-0.5_13.2",
        "./#image",
    ),
    "an environment file of no kind": (
        lambda e: e["env.yaml"].pop("conformsTo"),
        "provenance-run-crate-0.5_19.2",
        "./env.yaml",
    ),
    "no author": (lambda e: e["./"].pop("author"), "ro-crate-1.1_22.2", "./"),
    "a job without a tool": (lambda e: e["#job-1"].pop("instrument"), "process-run-crate-0.5_1.1", "./#job-1"),
    "a use without a property": (lambda e: e["#use-1"].pop("propertyID"), "provenance-run-crate-0.5_10.1", "./#use-1"),
    "a use without a unit": (lambda e: e["#use-2"].pop("unitCode"), "provenance-run-crate-0.5_20.1", "./#use-2"),
    "an input that nobody describes": (
        lambda e: e["#job-2"].update(object=ref("data/2.tif", "#nobody")),
        "process-run-crate-0.5_10.1",
        "./#job-2",
    ),
    "a status as a reference": (
        lambda e: e["#job-3"].update(actionStatus=ref(COMPLETED)),
        "process-run-crate-0.5_8.7",
        "./#job-3",
    ),
    "a failed job without a result": (
        lambda e: [e["#job-4"].update(actionStatus=FAILED, error="exit 1"), e["#job-4"].pop("result")],
        "process-run-crate-0.5_11.1",
        "./#job-4",
    ),
    "a time in Zulu": (
        lambda e: e["#job-5"].update(endTime="2026-11-20T10:12:00Z"),
        "process-run-crate-0.5_8.4",
        "./#job-5",
    ),
    "no description": (lambda e: e["#job-6"].pop("description"), "process-run-crate-0.5_8.3", "./#job-6"),
    "nobody who did it": (lambda e: e["#job-7"].pop("agent"), "process-run-crate-0.5_8.6", "./#job-7"),
    "a job that the root does not mention": (
        lambda e: e["./"]["mentions"].remove(ref("#job-8")),
        "process-run-crate-0.5_8.1",
        "./#job-8",
    ),
    "a result that is no part": (
        lambda e: e["./"]["hasPart"].remove(ref("results/9.tif")),
        "ro-crate-1.1_14.1",
        "./results/9.tif",
    ),
    "a list of one": (lambda e: e["#job-9"].update(agent=[ref(ORCID)]), "ro-crate-1.1_24.1", "#job-9"),
    "a file that is not there": (lambda e: None, "ro-crate-1.1_12.1", "results/10.tif"),
    "a key without a term": (lambda e: e["#job-10"].update(wildcards="x"), "ro-crate-1.1_3.1", "wildcards"),
}
CRATE_MISSED: dict[str, Change] = {
    "an id that nothing has": lambda e: e["#job-1"].update(subjectOf=ref("#nobody")),
    "an example of a parameter that nothing has": lambda e: e["results/1.tif"]["exampleOfWork"].append(ref("#nobody")),
    "a wrong digest": lambda e: e["results/2.tif"].update(sha256="0" * 64),
    "a failed job without an error": lambda e: e["#job-2"].update(actionStatus=FAILED),
    "no engine": lambda e: (e.pop("#engine"), e.pop("#control"), e["./"]["mentions"].remove(ref("#engine"))),
}


@pytest.fixture(scope="module")
def broken_crate(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Findings on one crate with every change of the table."""
    entities, folder = make_crate(10), tmp_path_factory.mktemp("broken")
    entities["#step-2"] = {**entities["#step"]}
    entities["Snakefile"]["step"] = ref("#step", "#step-2")
    entities["#idle"] = {**entities["#control"], "instrument": ref("#step-2")}
    entities["#engine"]["object"] = ref("#control", "#idle")
    for change, _, _ in CRATE_CAUGHT.values():
        change(entities)
    write_crate(folder, entities)
    (folder / "results/10.tif").unlink()
    return third_party.run_crate(folder)


@pytest.mark.parametrize(("check", "where"), [row[1:] for row in CRATE_CAUGHT.values()], ids=CRATE_CAUGHT)
def test_what_is_wrong_with_a_run_crate_is_found(check: str, where: str, broken_crate: list[str]) -> None:
    found = [finding for finding in broken_crate if finding.startswith(check)]
    assert any(f"[{where}]" in finding or f"'{where}'" in finding or f'"{where}"' in finding for finding in found)


def test_nothing_is_found_where_nothing_was_changed(broken_crate: list[str]) -> None:
    assert len(broken_crate) == len(CRATE_CAUGHT)


def test_what_is_wrong_with_a_run_crate_and_nobody_notices(tmp_path: Path) -> None:
    entities = make_crate(2)
    for change in CRATE_MISSED.values():
        change(entities)
    assert third_party.run_crate(write_crate(tmp_path, entities)) == []


# --- a small REMBI study ----------------------------------------------------------------------------------------

REMBI_STUDY = """
study:
  title: Vesicles in cells of one line, raw and blurred
  description: A time series of vesicles, and the same images blurred.
  private_until_date: 2027-01-31
  keywords: vesicle, blur
  license: CC0
  authors:
    - {last_name: Lovelace, first_name: Ada, email: ada@example.org, orcid: 0000-0002-1825-0097,
       affiliation: {name: An institute, url: "https://ror.org/02catss52"}}
study_components: [{name: Raw images, description: As acquired.}]
sample:
  - biological_entity: HeLa cells
    organism: {scientific_name: Homo sapiens, common_name: human,
               ncbi_taxon: "http://purl.obolibrary.org/obo/NCBITaxon_9606"}
specimen: [{sample_preparation: Mounted live.}]
image_acquisition:
  - imaging_method: {value: light sheet fluorescence microscopy, ontology_name: FBbi,
                     ontology_id: "http://purl.obolibrary.org/obo/FBbi_00000369"}
    imaging_instrument: A light-sheet microscope
    image_acquisition_parameters: 100 planes every 2 s
image_analysis: {analysis_overview: Blurred by a Gaussian of 0.2 um.}
annotations: {annotation_overview: Tracks, annotation_type: [tracks], annotation_method: Linked by distance.}
"""


def rembi_findings(folder: Path, change: Change | None = None) -> list[str]:
    document = yaml.safe_load(REMBI_STUDY)
    if change:
        change(document)
    (folder / "rembi.yaml").write_text(yaml.safe_dump(document))
    return third_party.rembi(folder / "rembi.yaml")


def author(document: Document) -> Document:
    found: Document = document["study"]["authors"][0]
    return found


def test_a_rembi_study_is_valid(tmp_path: Path) -> None:
    assert rembi_findings(tmp_path) == []


REMBI_CAUGHT: dict[str, tuple[Change, str]] = {
    "no e-mail": (lambda d: author(d).pop("email"), "study.authors.0.email: Field required"),
    "a bad e-mail": (lambda d: author(d).update(email="ada at example"), "study.authors.0.email: value is not a valid"),
    "a wrong check digit": (lambda d: author(d).update(orcid="0000-0002-1825-0098"), "study.authors.0.orcid: "),
    "no date": (lambda d: d["study"].pop("private_until_date"), "study.private_until_date: Field required"),
    "no day": (lambda d: d["study"].update(private_until_date="soon"), "study.private_until_date: Input should be"),
    "no description": (lambda d: d["study"].pop("description"), "study.description: Field required"),
    "a short title": (lambda d: d["study"].update(title="Cells"), "study.title: String should have at least 25"),
    "keywords as a list": (lambda d: d["study"].update(keywords=["a"]), "study.keywords: Input should be a valid str"),
    "an unknown annotation": (lambda d: d["annotations"].update(annotation_type=["x"]), "annotations.annotation_type"),
    "analyses as a list": (lambda d: d.update(image_analysis=[d["image_analysis"]]), "image_analysis: Input should be"),
    "no organism": (lambda d: d["sample"][0].pop("organism"), "sample.0.organism: Field required"),
    "no instrument": (lambda d: d["image_acquisition"][0].pop("imaging_instrument"), "image_acquisition.0.imaging_ins"),
    "no components": (lambda d: d.pop("study_components"), "study_components: Field required"),
}


@pytest.mark.parametrize(("change", "finding"), REMBI_CAUGHT.values(), ids=REMBI_CAUGHT)
def test_a_broken_rembi_study_is_rejected(change: Change, finding: str, tmp_path: Path) -> None:
    assert any(found.startswith(finding) for found in rembi_findings(tmp_path, change))


def test_text_that_is_not_yaml_is_a_finding(tmp_path: Path) -> None:
    (tmp_path / "rembi.yaml").write_text("study: [")
    (finding,) = third_party.rembi(tmp_path / "rembi.yaml")
    assert finding.startswith("not YAML")


REMBI_MISSED: dict[str, tuple[Change, list[str]]] = {
    "a misspelt key": (lambda d: d["study"].update(publication=[]), ["study.publication: ignored key"]),
    "a misspelt key without a value": (lambda d: d.update(analysis=None), ["analysis: ignored key"]),
    "a misspelt key far down": (
        lambda d: d["sample"][0]["organism"].update(taxon_id=9606),
        ["sample.0.organism.taxon_id: ignored key"],
    ),
    "nothing in the lists": (lambda d: d.update({k: [] for k, v in d.items() if isinstance(v, list)}), []),
    "nobody": (lambda d: d["study"].update(authors=[]), []),
    "organism banana": (lambda d: d["sample"][0]["organism"].update(ncbi_taxon="http://example.org/banana"), []),
    "licence WTFPL": (lambda d: d["study"].update(license="WTFPL"), []),
}


@pytest.mark.parametrize(("change", "ours"), REMBI_MISSED.values(), ids=REMBI_MISSED)
def test_a_broken_rembi_study_that_the_model_accepts(change: Change, ours: list[str], tmp_path: Path) -> None:
    """A key that the model reads over is named by `third_party`, not by the model."""
    assert rembi_findings(tmp_path, change) == ours


# --- a small OME-Zarr -------------------------------------------------------------------------------------------


def make_store(folder: Path) -> Path:
    """An image of two levels with one label image of two levels, OME-Zarr 0.5."""
    write_multiscale(folder, "uint16")
    zarr.open_group(folder / "labels", mode="w").attrs["ome"] = {"version": "0.5", "labels": ["nuclei"]}
    write_multiscale(folder / "labels/nuclei", "uint8", {"image-label": {"source": {"image": "../../"}}})
    return folder


def write_multiscale(folder: Path, dtype: str, more: Document | None = None) -> None:
    axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in "yx"]
    levels: list[Any] = [{"path": str(n), "coordinateTransformations": [scale(0.1 * 2**n)]} for n in range(2)]
    group = zarr.open_group(folder, mode="w")
    image: Document = {"name": "image", "axes": axes, "datasets": levels}
    group.attrs["ome"] = {"version": "0.5", "multiscales": [image], **(more or {})}
    for n in range(2):
        shape = (8 >> n, 8 >> n)
        group.create_array(str(n), shape=shape, chunks=shape, dtype=dtype, dimension_names=["y", "x"])[:] = 1


def scale(*sizes: float) -> Document:
    return {"type": "scale", "scale": [*sizes, *sizes] if len(sizes) == 1 else list(sizes)}


def edit(file: Path, change: Change) -> None:
    document = json.loads(file.read_text())
    change(document)
    file.write_text(json.dumps(document))


def multiscale(document: Document) -> Document:
    found: Document = document["attributes"]["ome"]["multiscales"][0]
    return found


def zarr_findings(store: Path, change: Change, at: str = ".") -> list[str]:
    edit(make_store(store) / at / "zarr.json", change)
    return third_party.ome_zarr(store)


def test_an_ome_zarr_is_valid(tmp_path: Path) -> None:
    assert third_party.ome_zarr(make_store(tmp_path / "a.ome.zarr")) == []


BOTH = ("yaozarrs", "ome-zarr-models")
ZARR_CAUGHT: dict[str, tuple[str, Change, tuple[str, ...]]] = {
    "a level that is not there": (".", lambda d: multiscale(d)["datasets"][1].update(path="7"), BOTH),
    "a scale of three": (
        ".",
        lambda d: multiscale(d)["datasets"][0].update(coordinateTransformations=[scale(1, 1, 1)]),
        BOTH,
    ),
    "no scale": (".", lambda d: multiscale(d)["datasets"][0].pop("coordinateTransformations"), BOTH),
    "time behind space": (".", lambda d: multiscale(d)["axes"][1].update(name="t", type="time"), BOTH),
    "an axis twice": (".", lambda d: multiscale(d)["axes"][1].update(name="y"), BOTH),
    "no axes": (".", lambda d: multiscale(d).pop("axes"), BOTH),
    "no levels": (".", lambda d: multiscale(d).update(datasets=[]), BOTH),
    "no version": (".", lambda d: d["attributes"]["ome"].pop("version"), BOTH),
    "nothing of OME": (".", lambda d: d.update(attributes={}), BOTH),
    "names of other dimensions": ("0", lambda d: d.update(dimension_names=["x", "y"]), BOTH),
    "an absent label image": ("labels", lambda d: d["attributes"]["ome"].update(labels=["cells"]), BOTH),
    "labels without a version": ("labels", lambda d: d["attributes"]["ome"].pop("version"), BOTH[1:]),
    "a label level that is not there": (
        "labels/nuclei",
        lambda d: multiscale(d)["datasets"][1].update(path="7"),
        BOTH[1:],
    ),
    "labels of floats": ("labels/nuclei/0", lambda d: d.update(data_type="float32", fill_value=0.0), BOTH),
}


@pytest.mark.parametrize(("at", "change", "by"), ZARR_CAUGHT.values(), ids=ZARR_CAUGHT)
def test_a_broken_ome_zarr_is_rejected(at: str, change: Change, by: tuple[str, ...], tmp_path: Path) -> None:
    findings = zarr_findings(tmp_path / "a.ome.zarr", change, at)
    assert tuple(finding.split(":")[0] for finding in findings) == by, findings


ZARR_MISSED: dict[str, tuple[str, Change]] = {
    "no unit": (".", lambda d: [axis.pop("unit") for axis in multiscale(d)["axes"]]),
    "a pixel of size one": (
        ".",
        lambda d: [level.update(coordinateTransformations=[scale(1.0)]) for level in multiscale(d)["datasets"]],
    ),
}


@pytest.mark.parametrize(("at", "change"), ZARR_MISSED.values(), ids=ZARR_MISSED)
def test_a_broken_ome_zarr_that_nobody_notices(at: str, change: Change, tmp_path: Path) -> None:
    assert zarr_findings(tmp_path / "a.ome.zarr", change, at) == []


ZARR_WARNED: dict[str, tuple[str, Change]] = {
    "unit parsnip": (".", lambda d: multiscale(d)["axes"][0].update(unit="parsnip")),
    "labels that do not say so": ("labels/nuclei", lambda d: d["attributes"]["ome"].pop("image-label")),
}


@pytest.mark.parametrize(("at", "change"), ZARR_WARNED.values(), ids=ZARR_WARNED)
def test_a_warning_is_a_finding_although_the_store_is_accepted(at: str, change: Change, tmp_path: Path) -> None:
    (finding,) = zarr_findings(tmp_path / "a.ome.zarr", change, at)
    assert finding.startswith("yaozarrs: StorageValidationWarning")


# --- a small OME-TIFF -------------------------------------------------------------------------------------------


def make_tiff(path: Path, old: str = "", new: str = "") -> Path:
    """An OME-TIFF of two channels, with a piece of its OME-XML replaced."""
    metadata = {"axes": "CYX", "PhysicalSizeX": 0.1, "PhysicalSizeXUnit": "µm", "Channel": {"Name": ["a", "b"]}}
    tifffile.imwrite(path, np.ones((2, 9, 8), "uint16"), photometric="minisblack", metadata=metadata)
    xml = tifffile.tiffcomment(path)
    assert isinstance(xml, str)
    assert old in xml
    tifffile.tiffcomment(path, xml.replace(old, new, 1).encode())
    return path


def test_an_ome_tiff_is_valid(tmp_path: Path) -> None:
    assert third_party.ome_tiff(make_tiff(tmp_path / "a.ome.tif")) == []


TIFF_CAUGHT = {
    "an unknown attribute": ('SizeX="8"', 'SizeX="8" Voxel="1"'),
    "no width": ('SizeX="8"', ""),
    "no pixels in x": ('SizeX="8"', 'SizeX="0"'),
    "no order of dimensions": (" DimensionOrder=", " Name="),
    "an unknown type": ('Type="uint16"', 'Type="uint17"'),
    "an unknown unit": ('PhysicalSizeXUnit="µm"', 'PhysicalSizeXUnit="parsnip"'),
    "a size below zero": ('PhysicalSizeX="0.1"', 'PhysicalSizeX="-0.1"'),
    "a size in words": ('PhysicalSizeX="0.1"', 'PhysicalSizeX="small"'),
    "an id of another kind": ('ID="Pixels:0"', 'ID="Plane:0"'),
    "an unknown element": ("<TiffData", "<Data/><TiffData"),
    "a channel without an id": ('<Channel ID="Channel:0:0"', "<Channel"),
    "text that is not XML": ("</OME>", ""),
    "a foreign schema": ("Schemas/OME/2016-06", "Schemas/OME/2099-01"),
}


@pytest.mark.parametrize(("old", "new"), TIFF_CAUGHT.values(), ids=TIFF_CAUGHT)
def test_a_broken_ome_tiff_is_rejected(old: str, new: str, tmp_path: Path) -> None:
    (finding,) = third_party.ome_tiff(make_tiff(tmp_path / "a.ome.tif", old, new))
    assert finding.startswith("ome-types: ")


def test_a_tiff_without_ome_xml_and_a_file_that_is_none_are_rejected(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "plain.ome.tif", np.ones((4, 4), "uint8"), ome=False, metadata=None)
    (tmp_path / "text.ome.tif").write_text("no image")
    assert all(third_party.ome_tiff(path) for path in tmp_path.iterdir())


TIFF_MISSED = {
    "no pixel size": ('PhysicalSizeX="0.1"', ""),
    "a pixel of size one": ('PhysicalSizeX="0.1"', 'PhysicalSizeX="1.0"'),
    "a width that is not the image's": ('SizeX="8"', 'SizeX="7"'),
}


@pytest.mark.parametrize(("old", "new"), TIFF_MISSED.values(), ids=TIFF_MISSED)
def test_a_broken_ome_tiff_that_nobody_notices(old: str, new: str, tmp_path: Path) -> None:
    assert third_party.ome_tiff(make_tiff(tmp_path / "a.ome.tif", old, new)) == []


# --- a small graph of tracks ------------------------------------------------------------------------------------


def make_graph(store: Path) -> Path:
    """Three spots in one track, with the track and its tree on each spot."""
    root = zarr.open_group(store, mode="w")
    axes = [{"name": "t", "type": "time", "unit": "second"}, {"name": "x", "type": "space", "unit": "micrometer"}]
    columns = {"t": np.arange(3.0), "x": np.arange(3.0), "track": np.ones(3, "int64"), "tree": np.ones(3, "int64")}
    root.attrs["geff"] = {
        "geff_version": "1.1.0",
        "directed": True,
        "axes": axes,
        "node_props_metadata": {k: {"identifier": k, "dtype": str(v.dtype)} for k, v in columns.items()},
        "edge_props_metadata": {},
        "track_node_props": {"tracklet": "track", "lineage": "tree"},
    }
    root.create_array("nodes/ids", data=np.arange(3, dtype="uint64"))
    root.create_array("edges/ids", data=np.array([[0, 1], [1, 2]], dtype="uint64"))
    for name, values in columns.items():
        root.create_array(f"nodes/props/{name}/values", data=values)
    return store


def test_a_graph_of_tracks_is_valid(tmp_path: Path) -> None:
    assert third_party.geff(make_graph(tmp_path / "a.geff")) == []


def metadata(change: Change) -> Callable[[zarr.Group], object]:
    def apply(root: zarr.Group) -> None:
        document: Document = copy.deepcopy(root.attrs.asdict())
        change(document["geff"])
        root.attrs.update(document)

    return apply


def replace(name: str, values: Any, dtype: str) -> Callable[[zarr.Group], object]:
    return lambda root: root.create_array(name, data=np.array(values, dtype), overwrite=True)


GRAPH_CAUGHT: dict[str, Callable[[zarr.Group], object]] = {
    "no metadata": lambda root: root.attrs.clear(),
    "a version in words": metadata(lambda d: d.update(geff_version="latest")),
    "a direction in words": metadata(lambda d: d.update(directed="perhaps")),
    "an axis without values": metadata(lambda d: d["axes"][1].update(name="z")),
    "an axis twice": metadata(lambda d: d["axes"][1].update(name="t")),
    "a column that is not there": metadata(
        lambda d: d["node_props_metadata"].update(r={"identifier": "r", "dtype": "float64"})
    ),
    "a column of another type": metadata(lambda d: d["node_props_metadata"]["track"].update(dtype="float32")),
    "a track column that is not there": metadata(lambda d: d["track_node_props"].update(tracklet="line")),
    "no nodes": lambda root: root.__delitem__("nodes"),
    "too few values": replace("nodes/props/x/values", [0, 1], "float64"),
    "an axis value missing": replace("nodes/props/x/missing", [0, 0, 1], "bool"),
    "links of three": replace("edges/ids", [[0, 1, 2]], "uint64"),
    "a link to nobody": replace("edges/ids", [[0, 1], [1, 9]], "uint64"),
    "a link to itself": replace("edges/ids", [[0, 1], [1, 1]], "uint64"),
    "a link twice": replace("edges/ids", [[0, 1], [0, 1], [1, 2]], "uint64"),
    "a spot twice": replace("nodes/ids", [0, 1, 1], "uint64"),
    "a track torn apart": replace("edges/ids", [[0, 1]], "uint64"),
}


@pytest.mark.parametrize("change", GRAPH_CAUGHT.values(), ids=GRAPH_CAUGHT)
def test_a_broken_graph_of_tracks_is_rejected(change: Callable[[zarr.Group], object], tmp_path: Path) -> None:
    store = make_graph(tmp_path / "a.geff")
    change(zarr.open_group(store, mode="r+"))
    (finding,) = third_party.geff(store)
    assert finding.startswith("geff: ")


# --- a folder of results ----------------------------------------------------------------------------------------


def make_results(root: Path) -> Path:
    make_store(root / "a/blur/image.ome.zarr")
    make_store(root / "b/blur/image.ome.zarr")
    make_graph(root / "a/track/tracks.geff")
    make_tiff(root / "a/image.ome.tif")
    tifffile.imwrite(root / "a/plain.tif", np.ones((4, 4), "uint8"), metadata=None)
    (root / "a/table.csv").write_text("t,x\n")
    return root


def test_every_image_of_a_folder_is_judged_and_counted(tmp_path: Path) -> None:
    findings, judged = third_party.every_image(make_results(tmp_path))
    assert findings == []
    assert judged == {"ome_zarr": 2, "geff": 1, "ome_tiff": 1, "plain_tiff": 1}


def test_a_folder_is_judged_through_a_link_and_once(tmp_path: Path) -> None:
    make_results(tmp_path / "results")
    (tmp_path / "study").mkdir()
    (tmp_path / "study/results").symlink_to("../results")
    (tmp_path / "results/again").symlink_to(".")
    assert third_party.every_image(tmp_path / "study")[1] == {"ome_zarr": 2, "geff": 1, "ome_tiff": 1, "plain_tiff": 1}


def test_each_broken_image_of_a_folder_is_found_with_its_path(tmp_path: Path) -> None:
    make_results(tmp_path)
    edit(tmp_path / "b/blur/image.ome.zarr/zarr.json", lambda d: multiscale(d).pop("axes"))
    shutil.rmtree(tmp_path / "a/track/tracks.geff/edges")
    (tmp_path / "a/image.ome.tif").write_text("no image")
    (tmp_path / "a/plain.tif").write_text("no image")
    (tmp_path / "empty.ome.zarr").mkdir()
    (tmp_path / "gone.ome.zarr").symlink_to("nowhere")
    (tmp_path / "gone.tif").symlink_to("nowhere")
    findings, judged = third_party.every_image(tmp_path)
    names = {finding.split(": ")[0] for finding in findings}
    broken = "b/blur/image.ome.zarr a/track/tracks.geff a/image.ome.tif a/plain.tif"
    assert names == {*broken.split(), "empty.ome.zarr", "gone.ome.zarr", "gone.tif"}
    assert judged == {"ome_zarr": 4, "geff": 1, "ome_tiff": 3}
