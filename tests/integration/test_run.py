"""Running a study: once, again, after a change, with bad rows, in parts."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable

from integration_helpers import TinyStudy

Make = Callable[[int], TinyStudy]


def test_run_makes_every_result_and_record(tiny_study: Make) -> None:
    study = tiny_study(4)
    done = study.snakescope("run", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["jobs"] == 4 + 4 + 2
    assert study.read("results/s1/gather/all.txt") == "one\nfile 2\none\nfile 3\n"
    assert study.read("results/r3/count/number.txt").strip() == "2"
    assert len(list((study.root / "records").glob("*/*.json"))) == 10


def test_a_second_run_does_nothing(tiny_study: Make) -> None:
    study = tiny_study(2)
    assert study.snakescope("run").returncode == 0
    before = study.times("results/**/*") | study.times("records/**/*.json")
    again = study.snakescope("run")
    assert (again.returncode, again.stdout) == (0, "nothing to do: everything is done already\n")
    assert study.times("results/**/*") | study.times("records/**/*.json") == before


def test_plain_snakemake_runs_the_study_and_agrees_that_it_is_done(tiny_study: Make) -> None:
    study = tiny_study(2)
    study.snakescope("compile")
    command = [sys.executable, "-m", "snakemake", "--profile", "profiles/local", "--cores", "2"]
    first = subprocess.run(command, cwd=study.root, capture_output=True, text=True, check=False)
    assert first.returncode == 0, first.stderr
    assert "nothing to do" in study.snakescope("run").stdout


def test_a_changed_parameter_reruns_only_what_depends_on_it(tiny_study: Make) -> None:
    study = tiny_study(2)
    study.snakescope("run")
    stamped = study.times("results/*/stamp/*")
    study.set_pipeline({"count": {"sleep_s": 0.01}})
    changed = json.loads(study.snakescope("run", "--json").stdout)
    assert changed["jobs"] == 2
    assert study.times("results/*/stamp/*") == stamped
    study.set_pipeline({"count": {"sleep_s": 0.01}, "stamp": {"word": "two"}})
    assert json.loads(study.snakescope("run", "--json").stdout)["jobs"] == 5
    assert study.read("results/s0/gather/all.txt") == "two\nfile 0\ntwo\nfile 1\n"


def test_a_broken_image_fails_its_own_rows_only(tiny_study: Make) -> None:
    study = tiny_study(4)
    study.write("data/1.txt", "broken\n")
    done = study.snakescope("run")
    assert done.returncode == 1
    assert "7 of 10 jobs done" in done.stdout
    assert "  r1  stamp: data/1.txt is broken\n      log: logs/r1/stamp.log" in done.stdout
    assert "2 jobs did not start, since one they need failed" in done.stdout
    assert not (study.root / "results/r1/stamp/stamped.txt").exists()
    facts = json.loads(study.read("logs/r1/stamp.failed.json"))
    assert (facts["status"], facts["exit_code"], facts["inputs"][0]["path"]) == ("failed", 3, "data/1.txt")
    status = json.loads(study.snakescope("status", "--json").stdout)
    assert [(step["step"], step["done"], step["failed"]) for step in status["steps"]] == [
        ("stamp", 3, 1),
        ("count", 3, 0),
        ("gather", 1, 0),
    ]


def test_a_mended_row_is_all_that_runs(tiny_study: Make) -> None:
    study = tiny_study(4)
    study.write("data/1.txt", "broken\n")
    study.snakescope("run")
    study.write("data/1.txt", "mended\n")
    done = json.loads(study.snakescope("run", "--json").stdout)
    assert (done["jobs"], done["exit_code"]) == (3, 0)
    assert study.read("results/s0/gather/all.txt") == "one\nfile 0\none\nmended\n"
    assert not (study.root / "logs/r1/stamp.failed.json").exists()


def test_the_first_rows_are_tried_and_not_made_again(tiny_study: Make) -> None:
    study = tiny_study(6)
    assert json.loads(study.snakescope("run", "--first", "2", "--json").stdout)["jobs"] == 5
    assert json.loads(study.snakescope("run", "--json").stdout)["jobs"] == 10


def test_rows_and_series_are_chosen_by_name(tiny_study: Make) -> None:
    study = tiny_study(6)
    assert json.loads(study.snakescope("run", "--only", "s2", "--json").stdout)["jobs"] == 5
    unknown = study.snakescope("run", "--only", "s9")
    assert unknown.returncode == 2
    assert "there is no row with the id 's9'" in unknown.stderr


def test_a_dry_run_counts_and_makes_nothing(tiny_study: Make) -> None:
    study = tiny_study(2)
    done = study.snakescope("run", "--dry-run")
    assert (done.returncode, done.stdout.split(":")[0]) == (0, "5 jobs to run")
    assert not (study.root / "results").exists()


def test_results_that_are_not_kept_leave_their_record(tiny_study: Make) -> None:
    study = tiny_study(2)
    study.write(
        "config/pipelines/tiny.yaml",
        study.read("config/pipelines/tiny.yaml").replace("stamp:\n", "stamp:\n    keep: false\n", 1),
    )
    assert study.snakescope("run").returncode == 0
    assert not (study.root / "results/r0/stamp/stamped.txt").exists()
    assert json.loads(study.read("records/r0/stamp.json"))["outputs"][0]["sha256"]
    assert "nothing to do" in study.snakescope("run").stdout


def test_a_record_tells_what_the_job_did(tiny_study: Make) -> None:
    study = tiny_study(2)
    study.snakescope("run")
    record = json.loads(study.read("records/s0/gather.json"))
    upstream = json.loads(study.read("records/r1/stamp.json"))["outputs"][0]
    assert record["samples"] == ["r0", "r1"]
    assert record["inputs"][1] == {**upstream, "port": "texts"}
    assert record["argv"][-3:] == [
        "results/s0/gather/all.txt",
        "results/r0/stamp/stamped.txt",
        "results/r1/stamp/stamped.txt",
    ]
    assert record["compiled"]["tool"]["id"] == "gather"
    assert record["snakemake"].startswith("9.")


def test_a_tool_that_writes_nothing_is_a_failure(tiny_study: Make) -> None:
    study = tiny_study(2)
    study.write("tools/count/tool.yaml", study.read("tools/count/tool.yaml").replace('>"$2"', ">/dev/null"))
    done = study.snakescope("run")
    assert done.returncode == 1
    assert "the program ended without an error but did not write number.txt (output number)" in done.stdout


def test_an_option_that_snakemake_does_not_know_is_one_line_and_no_page(tiny_study: Make) -> None:
    study = tiny_study(1)
    done = study.snakescope("run", "--", "--nonsense=3")
    assert done.returncode == 2
    assert done.stderr.splitlines()[1:] == [
        "Snakemake's options: unrecognized arguments: --nonsense=3.",
        "    Options stand in config.yaml of the profile, and after `--` on the command line.",
    ]
