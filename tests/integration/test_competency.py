"""The questions that a run crate is there to answer, asked in SPARQL and compared with the truth.

The queries are ``tests/competency/*.sparql``. The crates come from real runs: a tiny study with one bad image, whose
jobs find themselves in a container and in a Slurm job, and the demonstration. The truth is taken from records, logs
and files, not from the crate.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import warnings
from pathlib import Path
from typing import Any

import pytest
import rdflib
import rocrate

import third_party
from integration_helpers import TinyStudy, snakescope
from snakescope.study import identifiers
from snakescope.study.crate.view import CRATE, RunCrate
from snakescope.study.inventory import StudyFile
from snakescope.study.model import RUN, Author, Organisation, Study
from snakescope.study.survey import survey
from snakescope.workflow import Plan

pytestmark = pytest.mark.slow
QUESTIONS = Path(__file__).parents[1] / "competency"
BASE = "https://crate.example/x/"
Row = tuple[Any, ...]


def load(crate: Path) -> rdflib.Graph:
    """Read a crate as RDF, with the RO-Crate context that the rocrate package carries."""
    data = json.loads((crate / "ro-crate-metadata.json").read_text(encoding="utf-8"))
    context = json.loads((Path(rocrate.__file__).parent / "data/ro-crate.jsonld").read_text(encoding="utf-8"))
    [published, own] = data["@context"]
    assert published == third_party.CRATE_CONTEXT
    data["@context"] = [context["@context"], own]
    graph = rdflib.Graph()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "ConjunctiveGraph is deprecated", DeprecationWarning)
        graph.parse(data=json.dumps(data), format="json-ld", publicID=BASE)
    return graph


def ask(graph: rdflib.Graph, question: str) -> set[Row]:
    """Answers to a question; ids as they stand in the crate."""
    query = (QUESTIONS / f"{question}.sparql").read_text(encoding="utf-8")
    return {tuple(_plain(term) for term in row) for row in graph.query(query)}  # type: ignore[union-attr]


def _plain(term: Any) -> Any:
    if isinstance(term, rdflib.URIRef):
        return str(term).removeprefix(BASE)
    return term if term is None else str(term)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_crate(root: Path, pipeline: str, out: Path) -> Path:
    """Write the crate alone, of a study that would not be complete enough for an archive."""
    plan = Plan.read(pipeline, "config/samples.tsv", root)
    inventory = survey(root, plan, lambda _: ("b", "s", "a"))
    somewhere = Organisation("European Bioinformatics Institute", "https://ror.org/02catss52")
    person = Author("Josiah", "Carberry", "j@example.org", "0000-0002-1825-0097", None, somewhere)
    day = datetime.date(2026, 12, 1)
    study = Study("t", "T", "D", (), identifiers.CC0, day, (person,), person, (), (), (), (), plan.compiled["title"])
    (out / CRATE).mkdir(parents=True)
    crate = RunCrate(out, study, inventory)
    for name in ("config/config.yaml", "config/samples.tsv", "tools/stamp/tool.yaml", "workflow/Snakefile"):
        file = root / name
        crate.run_file(StudyFile(name, name, RUN, False, None, file.stat().st_size, sha256(file), None, {}))
    for image in inventory.raw_files():
        crate.raw(image)
    for job in inventory.jobs():
        crate.job(job)
    crate.finish()
    return out / CRATE


# ---------------------------------------------------------------------- a tiny study with a bad image


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyStudy:
    study = TinyStudy(tmp_path_factory.mktemp("tiny") / "study", 4)
    study.write("data/1.txt", "broken\n")
    study.set_pipeline({"stamp": {"word": "two words"}})
    image = {"APPTAINER_CONTAINER": "docker://ghcr.io/lab/tools:1.2"}
    slurm = {"SLURM_JOB_ID": "4711", "SLURM_JOB_PARTITION": "short"}
    done = snakescope("run", cwd=study.root, env={**os.environ, **image, **slurm})
    assert done.returncode == 1, done.stderr
    return study


@pytest.fixture(scope="module")
def tiny_graph(tiny: TinyStudy, tmp_path_factory: pytest.TempPathFactory) -> rdflib.Graph:
    return load(write_crate(tiny.root, "tiny", tmp_path_factory.mktemp("crate")))


JOBS = [
    *(f"#job/stamp/r{i}" for i in range(4)),
    *("#job/count/r0", "#job/count/r2", "#job/count/r3"),
    "#job/gather/s1",
]


def records(study: TinyStudy) -> dict[str, dict[str, Any]]:
    """What the jobs wrote down, failures too, by id of the action."""
    paths = [*study.root.glob("records/*/*.json"), *study.root.glob("logs/*/*.failed.json")]
    found = [json.loads(path.read_text()) for path in paths]
    return {f"#job/{record['step']}/{record['unit']}": record for record in found}


def test_which_container(tiny_graph: rdflib.Graph) -> None:
    assert ask(tiny_graph, "container") == {(job, "ghcr.io", "lab/tools", "1.2") for job in JOBS}


def test_which_resources(tiny: TinyStudy, tiny_graph: rdflib.Graph) -> None:
    unit = "https://qudt.org/vocab/unit/"
    wanted: set[Row] = set()
    for job, record in records(tiny).items():
        wanted |= {
            (job, "Slurm job id", "4711", unit + "UNITLESS"),
            (job, "Slurm partition", "short", unit + "UNITLESS"),
        }
        wanted |= {(job, "wall time", record["wall_s"], unit + "SEC"), (job, "CPU time", record["cpu_s"], unit + "SEC")}
    found = {row for row in ask(tiny_graph, "resources") if row[1] != "peak memory"}
    assert {(*row[:2], _number(row[2]), row[3]) for row in found} == {(*r[:2], _number(r[2]), r[3]) for r in wanted}


def _number(value: Any) -> Any:
    try:
        return float(value)
    except ValueError:
        return value


def test_which_environment_of_jobs_in_a_container(tiny_graph: rdflib.Graph) -> None:
    assert ask(tiny_graph, "environment") == set()


def test_when_did_each_step_run(tiny: TinyStudy, tiny_graph: rdflib.Graph) -> None:
    wanted = set()
    for step in ("stamp", "count", "gather"):
        own = [record for record in records(tiny).values() if record["step"] == step]
        start, end = min(r["started_at"] for r in own), max(r["ended_at"] for r in own)
        wanted.add((step, start.replace("Z", "+00:00"), end.replace("Z", "+00:00"), str(len(own))))
    assert ask(tiny_graph, "step_times") == wanted


def test_when_did_the_run_happen_and_how_did_it_end(tiny: TinyStudy, tiny_graph: rdflib.Graph) -> None:
    told = records(tiny).values()
    start, end = min(r["started_at"] for r in told), max(r["ended_at"] for r in told)
    status = "http://schema.org/FailedActionStatus"
    assert ask(tiny_graph, "run_times") == {(start.replace("Z", "+00:00"), end.replace("Z", "+00:00"), status)}


def test_what_failed(tiny_graph: rdflib.Graph) -> None:
    assert ask(tiny_graph, "failures") == {("#job/stamp/r1", "stamp", "error: raw/r1.txt is broken")}


def test_which_inputs_gave_which_outputs(tiny: TinyStudy, tiny_graph: rdflib.Graph) -> None:
    def made(job: str, sources: list[tuple[str, str]], output: str) -> set[Row]:
        digest = sha256(tiny.root / output)
        return {(job, name, sha256(tiny.root / path), output, digest) for name, path in sources}

    wanted: set[Row] = set()
    for i in (0, 2, 3):
        stamped = f"results/r{i}/stamp/stamped.txt"
        wanted |= made(f"#job/stamp/r{i}", [(f"raw/r{i}.txt", f"data/{i}.txt")], stamped)
        wanted |= made(f"#job/count/r{i}", [(stamped, stamped)], f"results/r{i}/count/number.txt")
    both = [f"results/r{i}/stamp/stamped.txt" for i in (2, 3)]
    wanted |= made("#job/gather/s1", [(path, path) for path in both], "results/s1/gather/all.txt")
    assert ask(tiny_graph, "lineage") == wanted


def test_where_does_each_result_come_from(tiny_graph: rdflib.Graph) -> None:
    steps = {"stamp": "stamped", "count": "number"}
    wanted = {(f"results/r{i}/{step}/{name}.txt", f"raw/r{i}.txt") for i in (0, 2, 3) for step, name in steps.items()}
    wanted |= {("results/s1/gather/all.txt", f"raw/r{i}.txt") for i in (2, 3)}
    assert ask(tiny_graph, "origin") == wanted


def test_what_went_into_and_came_out_of_the_workflow(tiny: TinyStudy, tiny_graph: rdflib.Graph) -> None:
    read = {f"raw/r{i}.txt" for i in range(4)} | {"config/config.yaml", "config/samples.tsv"}
    made = {str(p.relative_to(tiny.root)) for p in tiny.root.glob("results/*/*/*.txt")}
    assert len(made) == 7
    assert ask(tiny_graph, "workflow_files") == {("input", p) for p in read} | {("output", p) for p in made}


def test_which_configuration(tiny_graph: rdflib.Graph) -> None:
    assert ask(tiny_graph, "configuration") == {("config/config.yaml",), ("config/samples.tsv",)}


def test_which_versions(tiny: TinyStudy, tiny_graph: rdflib.Graph) -> None:
    wanted: set[Row] = {(job, job.split("/")[1].capitalize(), "1.0.0", "sh", "1") for job in JOBS}
    [engine] = {record["snakemake"] for record in records(tiny).values()}
    wanted.add(("#engine-run", "Snakemake", engine, None, None))
    assert ask(tiny_graph, "versions") == wanted


def test_which_parameters(tiny_graph: rdflib.Graph) -> None:
    wanted = {(job, job.split("/")[1], "sleep_s", "0", "s") for job in JOBS if "gather" not in job}
    wanted |= {(f"#job/stamp/r{i}", "stamp", "word", "two words", None) for i in range(4)}  # type: ignore[misc]
    assert ask(tiny_graph, "parameters") == wanted


def test_which_program_is_wrapped(tiny_graph: rdflib.Graph) -> None:
    descriptors = {"stamp": "tools/stamp/tool.yaml"}  # the only one in this crate
    tools = ("stamp", "count", "gather")
    assert ask(tiny_graph, "wrapped") == {(f"#tool-{t}-1.0.0", "sh", "1", descriptors.get(t)) for t in tools}


def test_which_command_and_by_whom(tiny: TinyStudy, tiny_graph: rdflib.Graph) -> None:
    found = {row[0]: row[1:] for row in ask(tiny_graph, "commands")}
    assert set(found) == set(JOBS)
    command, person = found["#job/gather/s1"]
    script = """'out=$1; shift; cat "$@" >"$out"'"""
    files = "results/s1/gather/all.txt results/r2/stamp/stamped.txt results/r3/stamp/stamped.txt"
    assert (command, person) == (f"sh -c {script} gather {files}", "Josiah Carberry")
    assert "stamp raw/r0.txt results/r0/stamp/stamped.txt 'two words' 0" in str(found["#job/stamp/r0"][0])


def test_how_are_steps_connected(tiny_graph: rdflib.Graph) -> None:
    assert ask(tiny_graph, "dataflow") == {
        ("stamp", "stamped", "count", "text"),
        ("stamp", "stamped", "gather", "texts"),
    }


# ---------------------------------------------------------------------- the demonstration


@pytest.fixture(scope="module")
def demo_graph(demo_study: Path) -> rdflib.Graph:
    return load(demo_study / "study" / CRATE)


def test_which_environment_file_of_each_step(demo_graph: rdflib.Graph) -> None:
    steps = {name: name for name in ("deskew", "deconvolve", "track", "measure", "render")} | {"detect": "detect_spots"}
    expected = {(step, f"envs/{tool}.yaml", "application/yaml") for step, tool in steps.items()}
    assert ask(demo_graph, "environment_file") == expected


def test_which_environment_of_jobs_on_the_machine_itself(demo_study: Path, demo_graph: rdflib.Graph) -> None:
    told = {}
    for path in demo_study.glob("records/*/*.json"):
        record = json.loads(path.read_text())
        environment = record["environment"]
        name = "conda environment" if environment["kind"] == "conda" else "execution environment"
        told[f"#job/{record['step']}/{record['unit']}"] = (name, environment.get("name", environment["kind"]))
    assert len(told) > 50
    assert ask(demo_graph, "environment") == {(job, *pair) for job, pair in told.items()}


def test_which_images_does_a_track_come_from(demo_study: Path, demo_graph: rdflib.Graph) -> None:
    stacks = {p.name for p in (demo_study / "study" / CRATE / "raw").iterdir()}
    found = {origin for output, origin in ask(demo_graph, "origin") if output == "results/cell1/track/tracks.geff/"}
    assert found == {f"raw/{name}" for name in stacks if name.startswith("cell1_")}
    assert len(found) == 8


def demo_records(study: Path) -> dict[str, dict[str, Any]]:
    """What the jobs of the demonstration wrote down, by id of the action."""
    found = (json.loads(path.read_text()) for path in study.glob("records/*/*.json"))
    return {f"#job/{record['step']}/{record['unit']}": record for record in found}


def test_the_demonstration_tells_its_resources(demo_study: Path, demo_graph: rdflib.Graph) -> None:
    wanted = {(job, "wall time", float(record["wall_s"])) for job, record in demo_records(demo_study).items()}
    found = {(str(r[0]), str(r[1]), float(str(r[2]))) for r in ask(demo_graph, "resources")}
    assert {row for row in found if row[1] == "wall time"} == wanted
    assert {row[1] for row in found} >= {"CPU time", "peak memory"}


def test_the_demonstration_tells_when_its_steps_ran(demo_study: Path, demo_graph: rdflib.Graph) -> None:
    wanted = set()
    for step in ("deskew", "deconvolve", "detect", "track", "measure", "render"):
        own = [record for record in demo_records(demo_study).values() if record["step"] == step]
        start, end = min(r["started_at"] for r in own), max(r["ended_at"] for r in own)
        wanted.add((step, start.replace("Z", "+00:00"), end.replace("Z", "+00:00"), str(len(own))))
    assert ask(demo_graph, "step_times") == wanted
    assert ask(demo_graph, "failures") == set()


def test_the_demonstration_tells_its_versions_and_parameters(demo_study: Path, demo_graph: rdflib.Graph) -> None:
    versions = {row[0]: row[1:] for row in ask(demo_graph, "versions")}
    parameters = ask(demo_graph, "parameters")
    for job, record in demo_records(demo_study).items():
        tool = record["compiled"]["tool"]
        assert versions[job] == (tool["name"], tool["version"], "snakescope", record["tool_version_observed"])
    assert ("#job/deskew/cell1_ch0_stack0000", "deskew", "angle_deg", "31.5", "deg") in {
        (*row[:3], str(row[3]), row[4]) for row in parameters
    }
    titles = {(row[0], row[3]) for row in parameters if row[2] == "title"}
    assert titles == {("#job/render/cell1", "cell1"), ("#job/render/cell2", "cell2")}


def test_the_demonstration_tells_which_inputs_gave_which_outputs(demo_study: Path, demo_graph: rdflib.Graph) -> None:
    told = {(row[0], row[1], row[3]) for row in ask(demo_graph, "lineage")}
    for job, record in demo_records(demo_study).items():
        read = {Path(item["path"]).name for item in record["inputs"]}
        made = {item["path"] for item in record["outputs"]}
        assert {Path(str(row[1]).rstrip("/")).name for row in told if row[0] == job} == read
        assert {str(row[2]).rstrip("/") for row in told if row[0] == job} == made
