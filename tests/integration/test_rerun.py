"""Running jobs again from their records: what comes out the same, what does not, and what cannot be told."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from integration_helpers import COUNT, PIPELINE, TinyStudy
from snakescope.errors import InputError
from snakescope.study.verify.rerun import RerunResult, rerun
from snakescope.study.verify.text import rerun_text

NOISE = {
    **COUNT,
    "id": "noise",
    "name": "Noise",
    "description": "Writes a table that differs a little each time.",
    "inputs": {"text": {"type": "file", "description": "Any text."}},
    "outputs": {"table": {"type": "table", "description": "Numbers.", "file": "table.csv", "format": "csv"}},
    "params": {},
    "command": [
        "python",
        "-c",
        "import random, sys; "
        "print('name,value\\na,0\\nb,100\\nc,', 50 + random.random() / 10, sep='', file=open(sys.argv[1], 'w'))",
        "{out.table}",
        "{in.text}",
    ],
}
OWN = {
    "schema": 1,
    "id": "own",
    "name": "Own",
    "version": "1.0.0",
    "tool": {"name": "own", "version": "1"},
    "description": "A script of the study.",
    "license": "MIT",
    "inputs": {"text": {"type": "file", "description": "Any text."}},
    "outputs": {"upper": {"type": "file", "description": "Capitals.", "file": "upper.txt", "format": "txt"}},
    "script": "own.py",
}
SCRIPT = """import argparse, os
parser = argparse.ArgumentParser()
for name in ("text", "out-upper", "threads"):
    parser.add_argument(f"--{name}")
args = parser.parse_args()
open(os.environ["SNAKESCOPE_VERSION_FILE"], "w").write("7\\n")
open(args.out_upper, "w").write(open(args.text).read().upper() + os.environ["OMP_NUM_THREADS"])
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> TinyStudy:
    """A study of four rows in two series, of which one row has failed, run for real; tests change copies of it."""
    study = TinyStudy(tmp_path_factory.mktemp("finished") / "a study", 4)
    study.write("tools/noise/tool.yaml", yaml.safe_dump(NOISE))
    study.write("tools/own/tool.yaml", yaml.safe_dump(OWN))
    study.write("tools/own/own.py", SCRIPT)
    more = {name: {"tool": name, "inputs": {"text": "stamp.stamped"}} for name in ("noise", "own")}
    pipeline = {**PIPELINE, "steps": {**PIPELINE["steps"], **more}}  # type: ignore[dict-item]
    study.write("config/pipelines/tiny.yaml", yaml.safe_dump(pipeline, sort_keys=False))
    study.write("data/3.txt", "broken\n")
    study.write("../outside.txt", "file 0\n")
    study.write("config/samples.tsv", study.read("config/samples.tsv").replace("data/0.txt", "../outside.txt"))
    done = study.snakescope("run")
    assert done.returncode == 1, done.stdout + done.stderr
    return study


@pytest.fixture
def study(finished: TinyStudy, tmp_path: Path) -> Iterator[TinyStudy]:
    """A copy of the finished study, whose jobs cannot know of the original."""
    root = tmp_path / "a study"
    shutil.copytree(finished.root, root, symlinks=True)
    shutil.copy(finished.root.parent / "outside.txt", tmp_path)
    copy = TinyStudy.__new__(TinyStudy)
    copy.root = root
    before = listing(root)
    yield copy
    assert listing(root).keys() - before.keys() == set(), "something was written into the study"


def listing(root: Path) -> dict[str, bytes]:
    """Every file but those of the state folder."""
    paths = (path for path in root.rglob("*") if path.is_file() and ".snakescope" not in path.parts)
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}


def edit(study: TinyStudy, path: str, change: Any) -> None:
    """Change a record."""
    record = json.loads(study.read(path))
    change(record)
    study.write(path, json.dumps(record))


def told(problems: list[Any]) -> str:
    return "\n".join(str(problem) for problem in problems)


def kept(study: TinyStudy) -> list[Path]:
    return sorted((study.root / ".snakescope/rerun").glob("*"))


SURE = ("stamp", "count", "gather", "own")


def again(study: TinyStudy, count: int = 9, steps: tuple[str, ...] = SURE, seed: int = 0) -> RerunResult:
    return rerun(study.root, count, steps=steps, seed=seed)


def test_every_done_job_of_the_rows_comes_out_identical(study: TinyStudy) -> None:
    before = listing(study.root)
    result = again(study)
    assert told([*result.different, *result.changed, *result.not_rerun]) == ""
    # Row 3 has failed, and with it the group of rows 2 and 3.
    assert sorted(result.rows) == ["r0", "r1", "r2"]
    assert (result.jobs, result.identical, result.notes) == (3 * 3 + 1, 10, [])
    assert result.reproduced
    assert listing(study.root) == before
    assert kept(study) == []


def test_a_sample_of_rows_is_the_same_for_the_same_seed(study: TinyStudy) -> None:
    samples = [again(study, 1, ("stamp",), seed) for seed in (1, 1, 2, 3, 4, 5)]
    assert samples[0].rows == samples[1].rows
    assert len({sample.rows for sample in samples}) > 1
    assert {sample.jobs for sample in samples} == {1}


def test_group_jobs_of_a_row_are_run_with_all_their_rows(study: TinyStudy) -> None:
    result = next(found for seed in range(20) if (found := again(study, 1, SURE, seed)).rows[0] in ("r0", "r1"))
    assert (result.jobs, result.identical) == (4, 4)


def test_an_output_that_is_gone_is_compared_by_its_digest(study: TinyStudy) -> None:
    for path in study.root.glob("results/*/count/number.txt"):
        path.unlink()
    result = again(study)
    assert (result.identical, result.reproduced) == (10, True)


def test_an_output_that_was_tampered_with_is_found(study: TinyStudy) -> None:
    study.write("results/r1/count/number.txt", "17\n")
    result = again(study)
    assert (result.identical, result.different_jobs, result.not_rerun) == (9, 1, [])
    (found,) = result.different
    assert found.where == "records/r1/count.json"
    assert "'results/r1/count/number.txt': the file in the study is no longer what its record says" in found.message
    (folder,) = kept(study)
    assert found.fix == f"Kept in .snakescope/rerun/{folder.name}"
    assert (folder / "study/results/r1/count/number.txt").read_text() == "2\n"


def test_an_input_that_has_changed_is_told_once_and_its_jobs_are_not_run(study: TinyStudy) -> None:
    study.write("results/r1/stamp/stamped.txt", "other\n")
    result = again(study)
    assert [problem.where for problem in result.changed] == ["results/r1/stamp/stamped.txt"]
    assert result.changed[0].message == "the input is no longer what was read"
    not_run = {"records/r1/count.json", "records/s0/gather.json", "records/r1/own.json"}
    assert {problem.where for problem in result.not_rerun} == not_run
    assert {problem.where for problem in result.different} == {"records/r1/stamp.json"}
    assert (result.jobs, result.identical, result.different_jobs, len(result.not_rerun)) == (10, 6, 1, 3)


def test_an_input_that_is_gone_is_told(study: TinyStudy) -> None:
    (study.root / "data/1.txt").unlink()
    result = again(study, steps=("stamp",))
    assert told(result.not_rerun) == "records/r1/stamp.json: its input 'data/1.txt' is not there."


def test_a_tool_that_came_to_something_else_is_told_by_how_much(study: TinyStudy) -> None:
    result = again(study, steps=("noise",))
    assert (result.jobs, result.different_jobs, len(result.different)) == (3, 3, 3)
    assert "'results/r0/noise/table.csv' came out different: row 3, column 'value': '50.0" in told(result.different)
    assert "of the column's range)" in told(result.different)
    assert len(kept(study)) == 3


@pytest.mark.parametrize(("tolerance", "within"), [(0.001, 3), (1e-9, 0)])
def test_a_declared_tolerance_counts(study: TinyStudy, tolerance: float, within: int) -> None:
    for row in range(3):
        edit(
            study,
            f"records/r{row}/noise.json",
            lambda record: record["compiled"]["outputs"]["table"].update(tolerance=tolerance),
        )
    result = again(study, steps=("noise",))
    assert (result.within_tolerance, result.different_jobs) == (within, 3 - within)
    assert len(kept(study)) == 3 - within
    assert ("the tool's tolerance is 1e-09" in told(result.different)) == (within == 0)


def test_what_came_out_different_needs_the_original_to_be_measured(study: TinyStudy) -> None:
    (study.root / "results/r0/noise/table.csv").unlink()
    study.write("results/r1/noise/table.csv", "name,value\n")
    text = told(again(study, steps=("noise",)).different)
    assert "'results/r0/noise/table.csv' came out different; the one in the study is gone" in text
    assert "'results/r1/noise/table.csv' came out different; the one in the study is no longer what was rec" in text


def test_a_job_that_fails_now_is_different(study: TinyStudy) -> None:
    edit(study, "records/r0/count.json", lambda record: record.update(argv=["sh", "-c", "echo error: no; exit 4"]))
    edit(study, "records/r1/count.json", lambda record: record.update(argv=["no-such-tool"]))
    edit(study, "records/r2/count.json", lambda record: record.update(argv=["true"]))
    text = told(again(study, steps=("count",)).different)
    assert "records/r0/count.json: failed with exit status 4: error: no.\n    Whole log: .snakescope/rerun/" in text
    assert "failed with exit status 127: error: no-such-tool cannot be started (No such file or directory)" in text
    assert "records/r2/count.json: 'results/r2/count/number.txt' was not written this time" in text


def test_a_program_that_has_changed_is_told(study: TinyStudy) -> None:
    study.write("tools/own/own.py", SCRIPT + "\n")
    result = again(study, steps=("own",))
    assert len(result.not_rerun) == 3
    assert "its program 'tools/own/own.py' is no longer what ran" in told(result.not_rerun)


def test_other_versions_are_noted(study: TinyStudy) -> None:
    edit(study, "records/r0/own.json", lambda record: record.update(tool_version_observed="6"))
    edit(study, "records/r1/own.json", lambda record: record["compiled"].update(snakescope="0.0.1"))
    notes = again(study, steps=("own",)).notes
    assert "the tool of step 'own' was 6, is 7 now, in 1 job" in notes
    assert any(note.startswith("snakescope was 0.0.1, is ") for note in notes)
    assert len(notes) == 2


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"kind": "conda", "name": "abc_"}, "was run in the conda environment 'abc_', which is not here"),
        ({"kind": "apptainer", "image": "~/no.sif"}, "was run in the image '~/no.sif', which is not here"),
        ({"kind": "vm"}, "was run in an environment of an unknown kind ('vm')"),
    ],
)
def test_a_job_of_an_environment_that_is_not_here_never_passes(
    study: TinyStudy, environment: dict[str, str], expected: str
) -> None:
    edit(study, "records/r0/count.json", lambda record: record.update(environment=environment))
    result = again(study, steps=("count",))
    assert told(result.not_rerun) == f"records/r0/count.json: {expected}."
    assert (result.identical, result.reproduced) == (2, False)


def test_jobs_run_in_their_environment(study: TinyStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    log, image = study.root.parent / "log", study.root.parent / "i.sif"
    shell = f"#!/bin/sh\necho conda >>'{log}'\nexec /bin/sh \"$@\"\n"
    apptainer = (
        f'#!/bin/sh\necho "$@" >>\'{log}\'\nwhile case $1 in *.sif) false ;; esac; do shift; done\nshift\nexec "$@"\n'
    )
    for path, text in (
        (study.root / ".snakemake/conda/abc_/bin/sh", shell),
        (study.root.parent / "bin/apptainer", apptainer),
    ):
        path.parent.mkdir(parents=True)
        path.write_text(text)
        path.chmod(0o755)
    image.touch()
    monkeypatch.setenv("PATH", f"{study.root.parent}/bin:/usr/bin:/bin")
    edit(study, "records/r0/count.json", lambda r: r.update(environment={"kind": "conda", "name": "abc_"}))
    inside = {"kind": "apptainer", "image": str(image)}
    edit(study, "records/r1/count.json", lambda r: r.update(environment=inside))
    result = again(study, steps=("count",))
    assert (result.identical, result.reproduced) == (3, True), told([*result.different, *result.not_rerun])
    assert "conda\n" in log.read_text()
    assert f"exec --home {study.root}/.snakescope/rerun/count-" in log.read_text()
    shutil.rmtree(study.root / ".snakemake/conda")
    edit(study, "records/r1/count.json", lambda r: r["compiled"].update(gpu=True))
    again(study, steps=("count",))
    assert f"exec --nv --home {study.root}/.snakescope/rerun/count-" in log.read_text()


def test_a_path_that_leads_out_of_the_study_is_not_followed(study: TinyStudy) -> None:
    edit(study, "records/r0/count.json", lambda r: r["outputs"][0].update(path="../../../evil.txt"))
    result = again(study, steps=("count",))
    assert "records/r0/count.json: the path '../../../evil.txt' leads out of the study" in told(result.not_rerun)
    assert kept(study) == []


def test_bad_wishes_are_told(study: TinyStudy) -> None:
    with pytest.raises(InputError, match="--rerun: found 0; expected a number of rows above 0"):
        rerun(study.root, 0)
    with pytest.raises(
        InputError, match=r"no job of a step 'stmap' is done \(done are: count, gather, noise, own, stamp\)"
    ):
        rerun(study.root, 1, steps=["stmap"])
    shutil.rmtree(study.root / "records")
    with pytest.raises(InputError, match=r"no job of a row of the sheet is done"):
        rerun(study.root, 1)


def test_people_read_counts_first(study: TinyStudy) -> None:
    study.write("results/r1/stamp/stamped.txt", "other\n")
    lines = rerun_text(again(study)).splitlines()
    assert lines[0] == (
        "7 of 10 jobs of 3 rows run again: 6 identical to the last bit, 0 within the tool's tolerance, 1 different; "
        "3 not run again."
    )
    assert [line for line in lines if line.endswith(":")] == [
        "Different:",
        "Inputs that have changed:",
        "Not run again:",
    ]
