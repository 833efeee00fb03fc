"""The run crate of small studies whose records are written here."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
import tracemalloc
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rocrate_validator import services

import third_party
from snakescope.study import identifiers
from snakescope.study.crate import terms
from snakescope.study.crate.graph import Graph, Ids
from snakescope.study.crate.plan import Slot, examples
from snakescope.study.crate.view import CRATE, RunCrate
from snakescope.study.crate.words import Scrub, container, media_type, path_id, value
from snakescope.study.inventory import Inventory, StudyFile
from snakescope.study.model import RUN, Author, Organisation, Study
from snakescope.study.survey import survey
from snakescope.workflow import Plan

SHA = "ab" * 32
EBI = Organisation("European Bioinformatics Institute", "https://ror.org/02catss52")
AUTHOR = Author("Josiah", "Carberry", "j@example.org", "0000-0002-1825-0097", None, EBI)
Entity = dict[str, Any]


class Records:
    """A study folder with a plan of three steps and the records that a test writes.

    Steps: `blur` (each row; image and PSF to a store), `spots` (each row; store to a table), `link` (each series).
    """

    def __init__(
        self,
        root: Path,
        *,
        raw: str = "data/{}.tif",
        psf: str = "config/psf.tif",
        tools: dict[str, str] | None = None,
    ) -> None:
        self.root, self.raw, self.psf = root, raw, psf
        self.tools = {"blur": "blur", "spots": "spots", "link": "link"} | (tools or {})
        self.programs = dict.fromkeys(self.tools, "1.5")
        self.values: dict[str, list[Entity]] = {step: [] for step in self.tools}
        self.values["blur"] = [
            {"name": "sigma_um", "value": 1.5, "unit": "um"},
            {"name": "edges", "value": None, "unit": None},
            {"name": "word", "value": None, "unit": None, "column": "word"},
        ]
        for step in self.tools:
            self.write(f"rules/p/{step}.smk", f'rule {step}:\n    conda:\n        "../../envs/e.yaml"\n')
            self.write(f"tools/{self.tools[step]}/tool.yaml", "id: x\n")
        self.write("envs/e.yaml", "channels: []\n")
        self.write("workflow/Snakefile", "rule all:\n")
        self.write("config/config.yaml", "pipeline: p\n")
        self.write("config/pipelines/p.yaml", "name: p\n")
        self.write(psf, "psf")
        rows = [f"r{i}\t{raw.format(f'r{i}')}\ttiff\ts{i // 2}\t{i % 2}\tw{i}" for i in range(4)]
        self.write("config/samples.tsv", "\n".join(["id\tpath\tformat\tseries\tt\tword", *rows]) + "\n")
        for i in range(4):
            path = root / raw.format(f"r{i}")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("raw")

    def write(self, path: str, text: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text, encoding="utf-8")

    def compiled(self, step: str) -> Entity:
        inputs = {"blur": {"image": "image", "psf": "psf"}, "spots": {"image": "image"}, "link": {"points": "points"}}
        outputs = {"blur": ("image", "image", "ome-zarr"), "spots": ("points", "points", "csv")}
        port, type_, format_ = outputs.get(step, ("tracks", "tracks", "csv"))
        return {
            "pipeline": "p",
            "pipeline_title": "Spots",
            "over": ["series"] if step == "link" else "row",
            "tool": {
                "id": self.tools[step],
                "name": self.tools[step].capitalize(),
                "version": "2.0.0",
                "program": {"name": "prog", "version": self.programs[step]},
                "descriptor_sha256": SHA,
                "script_sha256": None,
                "license": "MIT",
                "citations": ["10.1000/(x)<1>"] if step == "spots" else [],
                "homepage": "https://example.org/blur" if step == "blur" else None,
                "edam_operations": ["operation_3443"],
            },
            "snakescope": "0.1.0",
            "parameters": self.values[step],
            "inputs": {name: {"type": type_of} for name, type_of in inputs[step].items()},
            "outputs": {port: {"type": type_, "format": format_}},
        }

    def plan(self) -> None:
        sheet = {"from": "sheet", "column": "path", "facts": []}
        psf = {"from": "file", "path": self.psf, "facts": []}
        store = {"from": "step", "step": "blur", "port": "image", "file": "image.ome.zarr", "facts": []}
        table = {"from": "step", "step": "spots", "port": "points", "file": "points.csv", "facts": []}
        wires: dict[str, Entity] = {
            "blur": {"image": sheet, "psf": psf},
            "spots": {"image": store},
            "link": {"points": table},
        }
        steps = {
            step: {"tool": self.tools[step], "over": ["series"] if step == "link" else [], "inputs": wires[step]}
            for step in self.tools
        }
        plan = {
            "schema": 1,
            "pipeline": "p",
            "title": "Spots",
            "sources": {"config/pipelines/p.yaml": SHA},
            "steps": steps,
        }
        self.write("rules/p/plan.json", json.dumps(plan))
        for step in self.tools:
            self.write(f"rules/p/{step}.json", json.dumps(self.compiled(step)))

    def files(self, step: str, unit: str) -> tuple[list[Entity], list[Entity]]:
        facts = {"bytes": 3, "sha256": SHA}
        store = {"port": "image", "path": f"results/{unit}/blur/image.ome.zarr", **facts}
        if step == "blur":
            raw = {"port": "image", "path": self.raw.format(unit), **facts}
            return [raw, {"port": "psf", "path": self.psf, **facts}], [store]
        if step == "spots":
            return [store], [{"port": "points", "path": f"results/{unit}/spots/points.csv", **facts}]
        rows = [f"r{2 * int(unit[1:]) + i}" for i in range(2)]
        read = [{"port": "points", "path": f"results/{row}/spots/points.csv", **facts} for row in rows]
        return read, [{"port": "tracks", "path": f"results/{unit}/link/tracks.csv", **facts}]

    def job(self, step: str, unit: str, error: str | None = None, **more: Any) -> None:
        """Write the record of a job, or the facts of its failure and a log."""
        inputs, outputs = self.files(step, unit)
        record = {
            "schema": 1,
            "status": "done" if error is None else "failed",
            "unit": unit,
            "samples": [unit],
            "step": step,
            "snakemake": "9.27.1",
            "started_at": "2026-11-20T10:00:00Z",
            "ended_at": "2026-11-20T10:00:07Z",
            "wall_s": 7.25,
            "cpu_s": 6.5,
            "exit_code": 0 if error is None else 3,
            "host": "node7",
            "scheduler": None,
            "environment": {"kind": "host"},
            "tool_version_observed": None,
            "argv": ["prog", "--in", inputs[0]["path"]],
            "row_parameters": {"word": f"w{unit[1:]}"} if step == "blur" else {},
            "inputs": inputs,
            "outputs": outputs if error is None else [],
            "compiled": self.compiled(step),
            **more,
        }
        if error is not None:
            self.write(f"logs/{unit}/{step}.log", error)
            self.write(f"logs/{unit}/{step}.failed.json", json.dumps(record))
            return
        self.write(f"records/{unit}/{step}.json", json.dumps(record))
        for item in outputs:
            name = item["path"] + ("/zarr.json" if item["path"].endswith(".zarr") else "")
            self.write(name, "abc")

    def all_done(self, **more: Any) -> None:
        for unit in ("r0", "r1", "r2", "r3"):
            self.job("blur", unit, **more)
            self.job("spots", unit, **more)
        for unit in ("s0", "s1"):
            self.job("link", unit, **more)

    def inventory(self, leave_out: tuple[str, ...] = ()) -> Inventory:
        self.plan()
        return survey(
            self.root, Plan.read("p", "config/samples.tsv", self.root), lambda _: ("b", "s", "a"), leave_out=leave_out
        )

    def crate(self, out: Path, leave_out: tuple[str, ...] = (), study: Study | None = None) -> Crate:
        """Write the crate into `out`, with links to the files, as an export does."""
        inventory = self.inventory(leave_out)
        (out / CRATE).mkdir(parents=True)
        crate = RunCrate(out, study or a_study(), inventory)
        for file in [*self.own_files(), *inventory.shared_files()]:
            self.put(out, file)
            crate.run_file(file)
        for file in inventory.raw_files():
            self.put(out, file)
            crate.raw(file)
        for job in inventory.jobs():
            for file in job.outputs if inventory.steps[job.record.step].submitted else ():
                self.put(out, file)
            crate.job(job)
        crate.finish()
        return Crate(out / CRATE)

    def own_files(self) -> Iterator[StudyFile]:
        """What an export copies: workflow, rules, tools, environments, configuration."""
        self.write("README.md", "A run.\n")
        names = ["README.md", "config/config.yaml", "config/pipelines/p.yaml", "config/samples.tsv"]
        for part in ("envs", "rules", "tools", "workflow"):
            names += [str(path.relative_to(self.root)) for path in sorted((self.root / part).rglob("*.*"))]
        for name in [*names, "workflow/Snakefile"]:
            text = (self.root / name).read_bytes()
            digest = hashlib.sha256(text).hexdigest()
            yield StudyFile(name, name, RUN, False, None, len(text), digest, None, {}, type="file")

    def put(self, out: Path, file: StudyFile) -> None:
        """Link a file into the crate, as an export does."""
        if file.by_reference:
            return
        target = out / CRATE / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(self.root.resolve() / file.here)


class Crate:
    """A written crate."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.text = (folder / terms.METADATA).read_text(encoding="utf-8")
        self.graph: list[Entity] = json.loads(self.text)["@graph"]
        self.by_id: dict[str, Entity] = {entity["@id"]: entity for entity in self.graph}

    def __getitem__(self, name: str) -> Entity:
        return self.by_id[name]

    def of_type(self, type_: str) -> list[Entity]:
        return [entity for entity in self.graph if type_ in _many(entity["@type"])]

    def dangling(self) -> set[str]:
        """Ids that are referred to and not described; addresses of the web need no description."""
        found = {name for entity in self.graph for name in _references(list(entity.values()))}
        return {name for name in found if name not in self.by_id and not name.startswith("http")}


def _many(item: Any) -> list[Any]:
    return item if isinstance(item, list) else [] if item is None else [item]


def _references(item: Any) -> Iterator[str]:
    if isinstance(item, dict):
        yield from [item["@id"]] if "@id" in item else []
        yield from _references(list(item.values()))
    elif isinstance(item, list):
        for inner in item:
            yield from _references(inner)


def ids(item: Any) -> list[str]:
    """Ids that a property refers to."""
    return [reference["@id"] for reference in _many(item)]


def a_study(**more: Any) -> Study:
    study = Study(
        name="demo",
        title="Spots in blurred images of vesicles",
        description="Vesicles were blurred, found and linked.",
        keywords=("vesicles", "tracking"),
        licence=identifiers.CC_BY,
        release_date=datetime.date(2026, 12, 1),
        authors=(AUTHOR,),
        analyst=AUTHOR,
        biosamples=(),
        specimens=(),
        acquisitions=(),
        datasets=(),
        pipeline_title="Spots",
    )
    return dataclasses.replace(study, **more)


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return Records(tmp_path / "study")


def findings(crate: Crate, profile: str) -> list[str]:
    """Judge a crate by another profile than that of a run."""
    settings = {
        "rocrate_uri": str(crate.folder),
        "profile_identifier": profile,
        "requirement_severity": "RECOMMENDED",
        "offline": True,
        "cache_path": third_party._context_cache(),
    }
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "ConjunctiveGraph is deprecated", DeprecationWarning)
        return [str(issue.message) for issue in services.validate(settings).get_issues()]


def sound(crate: Crate) -> None:
    """What every crate must be, whatever has run."""
    assert crate.dangling() == set()
    assert len(crate.by_id) == len(crate.graph)
    lines = crate.text.splitlines()
    assert [json.loads(line.removesuffix(",")) for line in lines[3:-2]] == crate.graph
    assert not list(crate.folder.parent.glob(".crate-*"))


# ---------------------------------------------------------------------- what the validator says


def test_a_complete_run_is_valid(records: Records, tmp_path: Path) -> None:
    records.all_done()
    crate = records.crate(tmp_path / "out")
    sound(crate)
    assert third_party.run_crate(crate.folder) == []


def test_a_failed_job_and_jobs_to_do_are_valid(records: Records, tmp_path: Path) -> None:
    records.job("blur", "r0")
    records.job("blur", "r1", error="error: out of memory")
    crate = records.crate(tmp_path / "out")
    sound(crate)
    assert third_party.run_crate(crate.folder) == []


def test_a_run_in_which_everything_failed_is_valid(records: Records, tmp_path: Path) -> None:
    records.job("blur", "r1", error="error: out of memory")
    crate = records.crate(tmp_path / "out")
    sound(crate)
    assert third_party.run_crate(crate.folder) == []


def test_a_step_left_out_is_valid(records: Records, tmp_path: Path) -> None:
    records.all_done()
    crate = records.crate(tmp_path / "out", leave_out=("blur",))
    sound(crate)
    assert third_party.run_crate(crate.folder) == []


def test_a_tool_that_serves_two_steps_is_valid(tmp_path: Path) -> None:
    records = Records(tmp_path / "study", tools={"spots": "blur"})
    records.all_done()
    crate = records.crate(tmp_path / "out")
    sound(crate)
    assert third_party.run_crate(crate.folder) == []
    assert {"#tool-blur-2.0.0-blur", "#tool-blur-2.0.0-spots"} <= set(crate.by_id)


def test_a_workflow_that_nobody_has_run_is_a_workflow_crate(records: Records, tmp_path: Path) -> None:
    crate = records.crate(tmp_path / "out")
    sound(crate)
    assert ids(crate["./"]["conformsTo"]) == [terms.WORKFLOW_CRATE.id]
    assert findings(crate, "workflow-ro-crate-1.0") == []


def test_hostile_texts_and_names_are_valid(tmp_path: Path) -> None:
    ugly = "a \"b\" {c} $(d) <e>\u2028\nf\\ µ\x07 </script> '{x}'"
    records = Records(tmp_path / "study", raw="data/µ {{x}} $(y) 'z' #1%20 {}.tif")
    records.values["blur"][0]["value"] = ugly
    records.all_done(argv=["prog", ugly, "-x", "\ud800"], row_parameters={"word": ugly})
    author = dataclasses.replace(AUTHOR, first_name=ugly, orcid=None, affiliation=dataclasses.replace(EBI, name=ugly))
    study = a_study(title=ugly, keywords=(ugly, "b"), authors=(author,), analyst=author, pipeline_title=ugly)
    records.write(f"envs/{'µ {e} 100% #1'}.yaml", "x: y\n")
    crate = records.crate(tmp_path / "out", study=study)
    sound(crate)
    assert third_party.run_crate(crate.folder) == []
    assert crate["./"]["name"] == ugly
    values = [item["value"] for item in crate.of_type("PropertyValue") if item["name"] in ("word", "sigma_um")]
    assert values == [ugly, ugly]
    assert "envs/%C2%B5%20%7Be%7D%20100%25%20%231.yaml" in crate.by_id


def test_raw_images_that_lie_in_irods_are_valid(tmp_path: Path) -> None:
    records = Records(tmp_path / "study", raw="irods:///z/raw%20%C2%B5%25/it's%20{}.tif")
    records.all_done()
    (image, psf), _ = records.files("blur", "r0")
    copy = "staged/r0/r0.tif"
    records.job("blur", "r0", inputs=[{**image, "staged": copy}, psf], argv=["prog", "--in", copy])
    crate = records.crate(tmp_path / "out")
    sound(crate)
    assert third_party.run_crate(crate.folder) == []
    raw = crate["#raw-r0.tif"]
    assert (raw["@type"], raw["name"], raw["sha256"]) == ("File", "raw/r0.tif", SHA)
    assert raw["contentUrl"] == "irods:///z/raw%20%C2%B5%25/it%27s%20r0.tif"
    assert ids(crate["#job/blur/r0"]["object"])[0] == "#raw-r0.tif"
    assert ids(crate["results/r0/blur/image.ome.zarr/"]["isBasedOn"]) == ["#raw-r0.tif"]
    assert not [name for name in ids(crate["./"]["hasPart"]) if "raw" in name]
    assert crate["#job/blur/r0"]["description"] == "prog --in raw/r0.tif"


@pytest.mark.parametrize("kinds", [("File", "Dataset"), ("Dataset", "File")])
def test_a_parameter_is_for_files_or_folders_whichever_came_first(kinds: tuple[str, str]) -> None:
    slot = Slot("#input-a", "a", "An input")
    assert [examples([slot], kind) for kind in (*kinds, kinds[0])] == [{"@id": "#input-a"}, None, {"@id": "#input-a"}]
    assert slot.types == {kinds[0]}


# ---------------------------------------------------------------------- what is told


def test_two_exports_are_the_same_bytes(records: Records, tmp_path: Path) -> None:
    records.all_done()
    records.job("blur", "r1", error="error: out of memory")
    first, second = records.crate(tmp_path / "one"), records.crate(tmp_path / "two")
    assert first.text == second.text
    assert str(tmp_path) not in first.text


def test_a_job_tells_its_times_files_values_and_use(records: Records, tmp_path: Path) -> None:
    records.job("blur", "r0")
    crate = records.crate(tmp_path / "out")
    job = crate["#job/blur/r0"]
    assert job["@type"] == "CreateAction"
    assert (job["startTime"], job["endTime"]) == ("2026-11-20T10:00:00+00:00", "2026-11-20T10:00:07+00:00")
    assert ids(job["agent"]) == ["https://orcid.org/0000-0002-1825-0097"]
    assert ids(job["instrument"]) == ["#tool-blur-2.0.0"]
    assert ids(job["result"]) == ["results/r0/blur/image.ome.zarr/"]
    files, values = ids(job["object"])[:2], [crate[name] for name in ids(job["object"])[2:]]
    assert files == ["raw/r0.tif", "config/psf.tif"]
    assert [(item["name"], item["value"], item.get("unitText")) for item in values] == [
        ("sigma_um", 1.5, "um"),
        ("word", "w0", None),
    ]
    use = {crate[name]["propertyID"]["@id"]: crate[name]["value"] for name in ids(job["resourceUsage"])}
    assert use == {terms.OWN + "wall_s": 7.25, terms.OWN + "cpu_s": 6.5}
    assert job["description"] == "prog --in raw/r0.tif"


def test_peak_memory_is_told_in_the_unit_it_was_measured_in(records: Records, tmp_path: Path) -> None:
    records.job("blur", "r0")
    records.write("benchmarks/r0/blur.tsv", "s\tmax_rss\n1\t512.5\n")
    memory = records.crate(tmp_path / "out")["#usage/blur/r0/peak_memory_mb"]
    assert (memory["value"], memory["unitCode"]) == (512.5, {"@id": "https://qudt.org/vocab/unit/MebiBYTE"})


def test_equal_values_are_one_entity_for_all_jobs(records: Records, tmp_path: Path) -> None:
    records.all_done()
    values = [item for item in records.crate(tmp_path / "out").of_type("PropertyValue") if "exampleOfWork" in item]
    assert sorted((item["name"], item["value"]) for item in values) == [
        ("sigma_um", 1.5),
        *(("word", f"w{i}") for i in range(4)),
    ]


def test_values_that_differ_in_kind_alone_are_two(records: Records, tmp_path: Path) -> None:
    records.job("blur", "r0")
    records.values["blur"][0]["value"] = "1.5"
    records.job("blur", "r1")
    values = [
        item["value"] for item in records.crate(tmp_path / "out").of_type("PropertyValue") if item["name"] == "sigma_um"
    ]
    assert values == [1.5, "1.5"]


def test_a_failed_job_tells_why_and_has_no_result(records: Records, tmp_path: Path) -> None:
    records.job("blur", "r0")
    records.job("blur", "r1", error="error: no memory for data/r1.tif\n  in /opt/site packages/x.py")
    crate = records.crate(tmp_path / "out")
    job = crate["#job/blur/r1"]
    assert (job["@type"], job["actionStatus"]) == ("ActivateAction", terms.FAILED)
    assert job["error"] == "error: no memory for raw/r1.tif in …/site packages/x.py"
    assert "result" not in job
    assert "error" not in crate["#job/blur/r0"]
    run = crate["#workflow-run"]
    assert (run["actionStatus"], run["error"]) == (terms.FAILED, "1 failed")
    assert run["description"] == "Jobs: 1 done, 1 failed, 8 not run yet."
    assert crate["#control-blur"]["description"] == "Jobs: 1 done, 1 failed, 2 not run yet."
    assert run["endTime"] == "2026-11-20T10:00:07+00:00"


def test_a_step_that_has_not_run_is_a_step_of_the_workflow_and_no_more(records: Records, tmp_path: Path) -> None:
    records.job("blur", "r0")
    crate = records.crate(tmp_path / "out")
    workflow = crate["workflow/Snakefile"]
    assert ids(workflow["step"]) == ["#step-blur", "#step-spots", "#step-link"]
    assert ids(workflow["hasPart"]) == ["#tool-blur-2.0.0"]
    assert ids(crate["#step-link"]["workExample"]) == ["#tool-link-2.0.0"]
    assert ids(crate["#engine-run"]["object"]) == ["#control-blur"]
    assert "#input-spots-image" not in crate.by_id


def test_steps_are_wired_as_in_the_plan(records: Records, tmp_path: Path) -> None:
    records.all_done()
    crate = records.crate(tmp_path / "out")
    wires = {
        (item["sourceParameter"]["@id"], item["targetParameter"]["@id"])
        for item in crate.of_type("ParameterConnection")
    }
    assert wires == {
        ("#workflow-input-sheet-path", "#input-blur-image"),
        ("#workflow-input-file-config/psf.tif", "#input-blur-psf"),
        ("#workflow-parameter-blur-sigma_um", "#parameter-blur-sigma_um"),
        ("#workflow-parameter-blur-word", "#parameter-blur-word"),
        ("#output-blur-image", "#input-spots-image"),
        ("#output-spots-points", "#input-link-points"),
        ("#output-blur-image", "#workflow-output-blur-image"),
        ("#output-spots-points", "#workflow-output-spots-points"),
        ("#output-link-tracks", "#workflow-output-link-tracks"),
    }
    assert ids(crate["#step-spots"]["connection"]) == ["#connection-to-input-spots-image"]
    assert [crate[f"#step-{step}"]["position"] for step in ("blur", "spots", "link")] == ["0", "1", "2"]
    assert ids(crate["#step-blur"]["buildInstructions"]) == ["envs/e.yaml"]


def test_a_tool_tells_its_program_and_versions(records: Records, tmp_path: Path) -> None:
    records.job("blur", "r0", tool_version_observed="1.6")
    records.job("spots", "r0")
    crate = records.crate(tmp_path / "out")
    tool = crate["#tool-blur-2.0.0"]
    assert (tool["name"], tool["version"], tool["url"]) == ("Blur", "2.0.0", "https://example.org/blur")
    assert tool["identifier"] == f"sha256:{SHA}"
    assert tool["featureList"] == "http://edamontology.org/operation_3443"
    assert ids(tool["input"]) == [
        "#input-blur-image",
        "#input-blur-psf",
        "#parameter-blur-sigma_um",
        "#parameter-blur-word",
    ]
    program = crate[tool["mainEntity"]["@id"]]
    assert tool["softwareRequirements"] == tool["mainEntity"]
    assert (program["name"], program["version"]) == ("prog", "1.6")
    other = crate["#tool-spots-2.0.0"]
    assert crate[other["mainEntity"]["@id"]]["version"] == "1.5"
    assert ids(other["citation"]) == ["https://doi.org/10.1000/%28x%29%3C1%3E"]


def test_jobs_of_another_version_have_a_tool_of_their_own(records: Records, tmp_path: Path) -> None:
    records.job("blur", "r0", tool_version_observed="1.6")
    records.job("blur", "r1", tool_version_observed="1.7")
    crate = records.crate(tmp_path / "out")
    tools = [crate[ids(crate[f"#job/blur/{unit}"]["instrument"])[0]] for unit in ("r0", "r1")]
    assert [crate[tool["mainEntity"]["@id"]]["version"] for tool in tools] == ["1.6", "1.7"]
    assert ids(crate["#step-blur"]["workExample"]) == [tool["@id"] for tool in tools]
    assert third_party.run_crate(crate.folder) == []


def test_a_descriptor_is_named_only_if_it_is_the_one_that_ran(records: Records, tmp_path: Path) -> None:
    records.job("blur", "r0")
    assert "isBasedOn" not in records.crate(tmp_path / "one")["#tool-blur-2.0.0"]
    compiled = records.compiled("blur")
    [descriptor] = [file for file in records.own_files() if file.path == "tools/blur/tool.yaml"]
    compiled["tool"]["descriptor_sha256"] = descriptor.sha256
    records.job("blur", "r0", compiled=compiled)
    tool = records.crate(tmp_path / "two")["#tool-blur-2.0.0"]
    assert ids(tool["isBasedOn"]) == ["tools/blur/tool.yaml"]


def test_the_homepage_of_a_method_is_no_address_of_our_own_program(records: Records, tmp_path: Path) -> None:
    compiled = records.compiled("blur")
    compiled["tool"]["program"]["name"] = "snakescope"
    records.job("blur", "r0", compiled=compiled)
    crate = records.crate(tmp_path / "out")
    assert crate["#tool-blur-2.0.0"]["url"] == "https://example.org/blur"
    [program] = ids(crate["#tool-blur-2.0.0"]["mainEntity"])
    assert ids(crate[program]["url"]) == ["tools/blur/tool.yaml"]


def test_a_derived_file_names_its_sources(records: Records, tmp_path: Path) -> None:
    records.all_done()
    crate = records.crate(tmp_path / "out")
    assert ids(crate["results/r0/blur/image.ome.zarr/"]["isBasedOn"]) == ["raw/r0.tif"]
    tracks = crate["results/s1/link/tracks.csv"]
    assert ids(tracks["isBasedOn"]) == ["results/r2/blur/image.ome.zarr/", "results/r3/blur/image.ome.zarr/"]
    assert (tracks["sha256"], tracks["contentSize"], tracks["encodingFormat"]) == (SHA, "3", "text/csv")
    assert tracks["dateModified"] == "2026-11-20T10:00:07+00:00"
    assert "isBasedOn" not in crate["raw/r0.tif"]


def test_a_folder_is_a_dataset_and_says_what_its_digest_is(records: Records, tmp_path: Path) -> None:
    records.job("blur", "r0")
    store = records.crate(tmp_path / "out")["results/r0/blur/image.ome.zarr/"]
    assert (store["@type"], store["sha256"]) == ("Dataset", SHA)
    assert "sha256sum" in store["description"]


def test_files_of_a_step_left_out_are_told_and_not_contained(records: Records, tmp_path: Path) -> None:
    records.all_done()
    crate = records.crate(tmp_path / "out", leave_out=("blur",))
    told = crate["#not-included/results/r0/blur/image.ome.zarr"]
    assert (told["@type"], told["sha256"], told["contentSize"]) == ("CreativeWork", SHA, "3")
    assert ids(crate["#job/blur/r0"]["result"]) == ids(crate["#job/spots/r0"]["object"]) == [told["@id"]]
    assert ids(crate["results/r0/spots/points.csv"]["isBasedOn"]) == ["raw/r0.tif"]
    assert not [name for name in ids(crate["./"]["hasPart"]) if "blur/" in name and name.startswith("results")]
    assert not [name for name in ids(crate["#workflow-run"]["result"]) if "not-included" in name]


def test_an_input_that_is_gone_is_told_and_not_contained(records: Records, tmp_path: Path) -> None:
    records.job("spots", "r0", error="error: no such file")
    job = records.crate(tmp_path / "out")["#job/spots/r0"]
    assert ids(job["object"]) == ["#not-included/results/r0/blur/image.ome.zarr"]


def test_the_root_holds_every_file_and_names_every_action(records: Records, tmp_path: Path) -> None:
    records.all_done()
    crate = records.crate(tmp_path / "out")
    root = crate["./"]
    files = {entity["@id"] for type_ in ("File", "Dataset") for entity in crate.of_type(type_)} - {"./"}
    parts = ids(root["hasPart"])
    assert (set(parts), len(parts)) == (files, len(files))
    assert {path for path in files if path.startswith("raw/")} == {f"raw/r{i}.tif" for i in range(4)}
    actions = {entity["@id"] for entity in crate.graph if str(entity["@type"]).endswith("Action")}
    assert set(ids(root["mentions"])) == actions
    assert len(actions) == 10 + 3 + 2
    assert (root["datePublished"], root["keywords"]) == ("2026-12-01", ["vesicles", "tracking"])
    assert ids(root["publisher"]) == ["https://ror.org/02catss52"]
    assert "config/config.yaml" in ids(crate["#workflow-run"]["object"])


def test_a_container_is_told_by_its_address(records: Records, tmp_path: Path) -> None:
    image = f"docker://ghcr.io/lab/blur:1.6@sha256:{SHA}"
    records.all_done(environment={"kind": "apptainer", "image": image})
    crate = records.crate(tmp_path / "out")
    [told] = crate.of_type("ContainerImage")
    assert told == {
        "@id": told["@id"],
        "@type": "ContainerImage",
        "name": "lab/blur",
        "registry": "ghcr.io",
        "tag": "1.6",
        "sha256": SHA,
        "additionalType": {"@id": terms.DOCKER_IMAGE},
    }
    assert ids(crate["#job/link/s0"]["containerImage"]) == [told["@id"]]
    assert third_party.run_crate(crate.folder) == []


def test_a_container_file_is_told_by_its_name_alone(records: Records, tmp_path: Path) -> None:
    records.job("blur", "r0", environment={"kind": "apptainer", "image": "/cluster/secret/blur.sif"})
    crate = records.crate(tmp_path / "out")
    [told] = crate.of_type("ContainerImage")
    assert (told["name"], told.get("registry")) == ("blur.sif", None)
    assert "secret" not in crate.text
    # Nobody knows the registry of a file, and none is made up.
    assert [finding.split()[0] for finding in third_party.run_crate(crate.folder)] == ["process-run-crate-0.5_13.2"]


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({"kind": "host"}, ("execution environment", "host")),
        ({"kind": "conda", "name": "blur_1"}, ("conda environment", "blur_1")),
    ],
)
def test_other_environments_are_told(
    records: Records, tmp_path: Path, environment: Entity, told: tuple[str, str]
) -> None:
    records.all_done(environment=environment)
    crate = records.crate(tmp_path / "out")
    item = crate[crate["#job/link/s0"]["environment"]["@id"]]
    assert (item["name"], item["value"]) == told
    assert third_party.run_crate(crate.folder) == []


def test_slurm_jobs_tell_their_number_and_partition(records: Records, tmp_path: Path) -> None:
    records.all_done(scheduler={"kind": "slurm", "job_id": "4711", "partition": "gpu"})
    crate = records.crate(tmp_path / "out")
    use = {crate[name]["name"]: crate[name]["value"] for name in ids(crate["#job/blur/r0"]["resourceUsage"])}
    assert (use["Slurm job id"], use["Slurm partition"]) == ("4711", "gpu")
    assert third_party.run_crate(crate.folder) == []


def test_what_slurm_says_of_its_job_is_told_once_for_all_its_rows(records: Records, tmp_path: Path) -> None:
    records.all_done(scheduler={"kind": "slurm", "job_id": "4711", "partition": "cpu"})
    facts = {"state": "COMPLETED", "node": "n7", "queue_s": 12, "elapsed_s": 60, "cpu_s": 55.5, "max_rss_mb": None}
    (records.root / "records/slurm.jsonl").write_text(json.dumps({"job_id": "4711", "key": "s1/0001", **facts}) + "\n")
    crate = records.crate(tmp_path / "out")
    names = ids(crate["#job/blur/r0"]["resourceUsage"])
    use = {crate[name]["name"]: crate[name]["value"] for name in names}
    assert use["Slurm state"] == "COMPLETED"
    assert use["Slurm node"] == "n7"
    assert (use["Slurm queue time"], use["Slurm elapsed time"], use["Slurm CPU time"]) == (12, 60, 55.5)
    assert "Slurm peak memory" not in use
    assert "#slurm-4711-slurm_node" in set(names) & set(ids(crate["#job/link/s0"]["resourceUsage"]))
    assert third_party.run_crate(crate.folder) == []


def test_what_is_not_known_is_left_out(records: Records, tmp_path: Path) -> None:
    unknown: Entity = {"wall_s": None, "cpu_s": None, "snakemake": None, "environment": {}, "argv": []}
    records.job("blur", "r0", **unknown, inputs=[{"port": "image", "path": "data/r0.tif"}])
    crate = records.crate(tmp_path / "out")
    job = crate["#job/blur/r0"]
    assert not {"resourceUsage", "environment", "containerImage"} & job.keys()
    assert job["description"] == "blur of r0"
    assert not {"sha256", "contentSize"} & crate["raw/r0.tif"].keys()
    assert "softwareVersion" not in crate[terms.SNAKEMAKE]
    assert "null" not in crate.text


def test_files_outside_the_study_are_told_by_their_names_in_the_crate(tmp_path: Path) -> None:
    records = Records(tmp_path / "study", raw=f"{tmp_path}/disk/my images/{{}}.tif")
    raw = f"{tmp_path}/disk/my images/r0.tif"
    argv = ["prog", raw, f"--in={raw}", f"{tmp_path}/study/results/r0/x", "--psf=/opt/lab/psf.tif", "https://a.org/b/c"]
    records.job("blur", "r0", argv=argv)
    crate = records.crate(tmp_path / "out")
    told = crate["#job/blur/r0"]["description"]
    assert told == "prog raw/r0.tif --in=raw/r0.tif results/r0/x '--psf=…/psf.tif' https://a.org/b/c"
    assert str(tmp_path) not in crate.text


def test_a_shared_file_outside_the_study_is_told_by_its_name_in_the_crate(tmp_path: Path) -> None:
    records = Records(tmp_path / "study", psf=f"{tmp_path}/disk/psf.tif")
    records.all_done(argv=["prog", records.psf])
    crate = records.crate(tmp_path / "out")
    sound(crate)
    psf = ids(crate["#job/blur/r0"]["object"])[1]
    assert psf.startswith("inputs/")
    assert crate["#job/blur/r0"]["description"] == f"prog {psf}"
    assert f"#workflow-input-file-{psf}" in ids(crate[psf]["exampleOfWork"])
    assert str(tmp_path) not in crate.text
    assert third_party.run_crate(crate.folder) == []


def test_a_file_that_the_study_does_not_know_keeps_its_name_alone(records: Records, tmp_path: Path) -> None:
    records.job("blur", "r0", inputs=[{"port": "image", "path": "/disk/secret/other.tif", "sha256": SHA}])
    crate = records.crate(tmp_path / "out")
    sound(crate)
    told = crate[ids(crate["#job/blur/r0"]["object"])[0]]
    assert (told["@type"], told["name"].split("/")[1:], told["sha256"]) == ("CreativeWork", ["other.tif"], SHA)
    assert "secret" not in crate.text


def test_what_one_step_makes_for_another_is_no_input_of_the_run(records: Records, tmp_path: Path) -> None:
    records.all_done()
    read = ids(records.crate(tmp_path / "out")["#workflow-run"]["object"])
    assert [name for name in read if not name.startswith(("#param-", "config/"))] == [f"raw/r{i}.tif" for i in range(4)]
    assert len(read) == len(set(read))


def test_two_authors_may_share_an_organisation(records: Records, tmp_path: Path) -> None:
    other = dataclasses.replace(AUTHOR, first_name="Ada", orcid=None, email="ada@example.org")
    records.job("blur", "r0")
    crate = records.crate(tmp_path / "out", study=a_study(authors=(AUTHOR, other), analyst=other))
    sound(crate)
    people = crate.of_type("Person")
    assert [person["name"] for person in people] == ["Josiah Carberry", "Ada Carberry"]
    assert ids(crate["./"]["author"]) == [person["@id"] for person in people]
    assert ids(crate["#job/blur/r0"]["agent"]) == [people[1]["@id"]]
    assert len(crate.of_type("Organization")) == 1
    assert "ada@example.org" not in crate.text


# ---------------------------------------------------------------------- size


def test_memory_does_not_grow_with_the_files_of_jobs(records: Records, tmp_path: Path) -> None:
    records.job("blur", "r0")
    inventory = records.inventory()
    [job] = inventory.jobs()
    (tmp_path / "out" / CRATE).mkdir(parents=True)
    count = 20_000
    tracemalloc.start()
    crate = RunCrate(tmp_path / "out", a_study(), inventory)
    for index in range(count):
        name = f"r{index:06}"
        output = dataclasses.replace(job.outputs[0], path=f"results/{name}/blur/image.ome.zarr", sources=())
        record = dataclasses.replace(job.record, unit=name, row_parameters={"word": name})
        crate.job(dataclasses.replace(job, record=record, outputs=(output,)))
    crate.finish()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    path = tmp_path / "out" / CRATE / terms.METADATA
    size = path.stat().st_size
    with path.open(encoding="utf-8") as file:
        jobs = sum('"@id": "#job/' in line[:20] for line in file)
    assert jobs == count
    assert size > 40e6
    assert peak < 25e6


# ---------------------------------------------------------------------- parts


@pytest.mark.parametrize("count", [0, 1, 2, 4500])
def test_a_long_list_is_written_compactly(tmp_path: Path, count: int) -> None:
    graph, long = Graph(tmp_path / "g.json", "c"), Ids(tmp_path, "x")
    for index in range(count):
        long.add(f"#{index}")
    graph.add_long("./", "Dataset", {"name": "n", "none": None}, {"hasPart": long})
    graph.close()
    long.close()
    [entity] = json.loads((tmp_path / "g.json").read_text())["@graph"]
    wanted: Any = [{"@id": f"#{index}"} for index in range(count)]
    wanted = wanted if count > 1 else wanted[0] if count else None
    assert entity.get("hasPart") == wanted
    assert [path.name for path in tmp_path.iterdir()] == ["g.json"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("/study", "."),
        ("/study/results/a b", "results/a b"),
        ("/studyx/results/a", "…/a"),
        ("x=/home/me/a.tif,/home/me/b.tif", "x=…/a.tif,…/b.tif"),
        ("file:///home/me/a.tif", "…/a.tif"),
        ("cannot open:/home/me/", "cannot open:…/me"),
        ("a/b/c ./a/b ../a/b ~/a/b", "a/b/c ./a/b ../a/b ~/a/b"),
        ("https://example.org/a/b docker://a/b/c", "https://example.org/a/b docker://a/b/c"),
        ("2>/dev/null", "2>/dev/null"),
        ("s/a/b/ /x", "s/a/b/ /x"),
    ],
)
def test_paths_of_this_machine_are_taken_out(text: str, told: str) -> None:
    assert Scrub(Path("/study")).text(text) == told


@pytest.mark.parametrize(
    ("image", "told"),
    [
        ("docker://python", ("python", "docker.io", None)),
        ("docker://a/b:1", ("a/b", "docker.io", "1")),
        ("docker://localhost:5000/b", ("b", "localhost:5000", None)),
        ("oras://ghcr.io/a/b:1", ("a/b", "ghcr.io", "1")),
        ("library://a/b/c:2", ("a/b/c", None, "2")),
        ("~/images/x.sif", ("x.sif", None, None)),
    ],
)
def test_container_addresses_are_read(image: str, told: tuple[str, str | None, str | None]) -> None:
    facts = container(image)
    assert (facts["name"], facts.get("registry"), facts.get("tag")) == told


def test_values_are_one_literal_each() -> None:
    assert [value(given) for given in (1, 1.5, True, "a", [1.0, 99.8], ["a", "b"], float("inf"))] == [
        *(1, 1.5, True, "a", "1.0,99.8", "a,b", "inf"),
    ]


def test_names_become_ids() -> None:
    assert path_id("a b/µ#1.zarr", folder=True) == "a%20b/%C2%B5%231.zarr/"
    assert [
        media_type(*item) for item in (("a", "geff"), ("a.tif", None), ("a.QQQ", "other"), ("Snakefile", None))
    ] == [
        *("application/vnd.zarr", "image/tiff", "application/octet-stream", "text/plain"),
    ]
