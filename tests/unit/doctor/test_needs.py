"""What a pipeline needs against what a machine has, and the ways in which it can run. The cluster is a stand-in."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from snakescope.doctor.facts import Fact, fact
from snakescope.doctor.needs import Asked, Needs, Way, needs_of
from snakescope.doctor.report import Report, report_text
from snakescope.errors import Problem
from snakescope.runner.folder import open_study
from tiny_tools import IMAGE, write_pipeline, write_rows, write_tools

TOOL: dict[str, Any] = {
    "inputs": {"image": IMAGE},
    "outputs": {"text": {"type": "file", "description": "d", "file": "t.txt", "format": "txt"}},
    "command": ["sh", "{in.image}", "{out.text}"],
}
MACHINE = [fact("machine", "memory", "ok", "", memory_mb=8000), fact("machine", "cores", "ok", "", cores=2)]
Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Make a study of one step whose tool has these parts; None for rows leaves out the sheet."""

    def study(*, profiles: dict[str, Any] | None = None, rows: int | None = 2, **parts: Any) -> Path:
        write_tools(tmp_path, {"gm": TOOL | parts})
        write_pipeline(tmp_path, {"a": {"tool": "gm", "inputs": {"image": "sheet.path"}}})
        (tmp_path / "config/config.yaml").write_text("pipeline: test\n")
        if rows is not None:
            write_rows(tmp_path, [{"id": f"r{n}", "path": f"{n}.tif"} for n in range(rows)])
        for name, data in ({"local": {"cores": "all"}} | (profiles or {})).items():
            (tmp_path / f"profiles/{name}").mkdir(parents=True)
            (tmp_path / f"profiles/{name}/config.yaml").write_text(
                data if isinstance(data, str) else yaml.safe_dump(data)
            )
        return tmp_path

    return study


def found(root: Path, profile: str = "local", machine: list[Fact] = MACHINE) -> Needs:
    return needs_of(open_study(root), Asked(profile=profile), machine)


def way(needs: Needs, name: str) -> Way:
    return next(way for way in needs.ways if way.name == name)


def told(needs: Needs) -> dict[str, Fact]:
    return {item.name: item for item in needs.facts}


def test_the_largest_job_is_held_against_the_machine(make: Make) -> None:
    needs = found(make(resources={"mem_mb": "9000 * rows", "threads": 4}))
    assert not needs.asked.problems  # the tool says what it needs at most
    assert told(needs)["most memory"].mark == "note"
    assert told(needs)["most memory"].text == "step a: up to 9000 MB; this machine has 8000 MB"
    assert (told(needs)["most cores"].mark, told(needs)["most cores"].text) == ("note", "step a: 4; this machine has 2")
    assert "4 cores, 9000 MB, 10 min at most" in told(needs)["step a"].text


def test_without_a_sheet_sizes_are_not_known_and_the_rest_is(make: Make) -> None:
    needs = found(make(rows=None, environment={"programs": ["no-such-gm"]}))
    assert "there is no config/samples.tsv yet" in told(needs)["sample sheet"].text
    assert "most memory" not in told(needs)
    assert len(needs.asked.problems) == 1


def test_a_gpu_is_needed_or_only_used(make: Make, tmp_path: Path) -> None:
    needs = found(make(environment={"gpu": True}))
    assert ("GPU if there is one" in told(needs)["step a"].text, needs.asked.problems) == (True, ())
    shutil.rmtree(tmp_path / "profiles")
    needs = found(make(resources={"gpus": 2}), machine=[*MACHINE, fact("gpu", "driver", "ok", "", gpus=1)])
    assert [item.message for item in needs.asked.problems] == ["it needs 2 GPU, and this machine shows 1"]
    assert needs_of(open_study(tmp_path), Asked(), [fact("gpu", "driver", "ok", "", gpus=2)]).asked.problems == ()


def test_a_conda_that_is_too_old_keeps_only_from_conda(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make(environment={"conda": "envs/gm.yaml"})
    (root / "envs").mkdir()
    (root / "envs/gm.yaml").write_text("channels: [x]\ndependencies: [gm]\n")
    (tmp_path / "conda").write_text("#!/bin/sh\n")
    (tmp_path / "conda").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    old = fact("conda", "conda", "missing", "4.1.0 is too old", "conda update")
    needs = found(root, machine=[*MACHINE, old])
    assert [str(item) for item in way(needs, "--sdm conda").problems] == ["conda: 4.1.0 is too old.\n    conda update"]
    assert way(needs, "--sdm none").problems == ()


def test_images_of_a_registry_are_named_and_not_asked_for(make: Make) -> None:
    image = f"docker://registry.example/gm@sha256:{'0' * 64}"
    needs = found(make(environment={"container": image}))
    assert told(needs)["image"].mark == "note"
    assert image in told(needs)["image"].text


def cluster(folder: Path, monkeypatch: pytest.MonkeyPatch, refusal: str) -> None:
    folder.mkdir()
    scripts = dict.fromkeys(("squeue", "scancel"), ":")
    scripts["sinfo"] = "echo 'cpu*|1-00:00:00|4000+|8|2|up|(null)'"
    scripts["sacctmgr"] = "echo labs"
    scripts["sbatch"] = f"echo $@ >>{folder}/asked; echo 'sbatch: error: {refusal}' >&2; exit {1 if refusal else 0}"
    for name, script in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/bin:/usr/bin")


SLURM = {"executor": "snakescope", "default-resources": {"slurm_account": "lab", "slurm_partition": "cpu"}}


def test_a_cluster_is_asked_with_the_profiles_account_and_nothing_is_submitted(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster(tmp_path / "bin", monkeypatch, "Invalid account or account/partition combination specified")
    root = make(profiles={"slurm": SLURM}, resources={"mem_mb": 700})
    needs = found(root, "slurm")
    (problem,) = needs.asked.problems
    assert problem.message == "Slurm refuses the account 'lab'"
    assert problem.fix == "Did you mean 'labs'? Yours are: labs."
    assert way(needs, "profile local").problems == ()
    asked = (tmp_path / "bin/asked").read_text().splitlines()
    assert asked
    assert all("--test-only" in line and "--account=lab" in line and "--mem=1100M" in line for line in asked)
    assert not (root / ".snakescope").exists()


def test_without_rows_the_profile_alone_is_asked_about(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster(tmp_path / "bin", monkeypatch, "")
    assert found(make(rows=None, profiles={"slurm": SLURM}), "slurm").asked.problems == ()
    assert "--account=lab" in (tmp_path / "bin/asked").read_text()


def test_gpus_are_asked_of_the_cluster_not_of_this_machine(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster(tmp_path / "bin", monkeypatch, "")
    needs = found(make(profiles={"slurm": SLURM}, resources={"gpus": 1}), "slurm")
    assert "no partition gives that" in needs.asked.problems[0].message
    assert len(needs.asked.problems) == 1


def test_other_executors_and_broken_profiles_are_told(make: Make) -> None:
    needs = found(make(profiles={"lsf": {"executor": "lsf"}, "bad": "jobs: [\n"}))
    assert way(needs, "profile lsf").remarks[-1] == "its executor 'lsf' is not asked"
    assert "profiles/bad/config.yaml" in str(way(needs, "profile bad").problems[0])
    assert needs.asked.problems == ()


def test_a_profile_says_where_tools_run(make: Make) -> None:
    root = make(profiles={"bunker": {"sdm": "apptainer"}}, environment={"container": "envs/none.sif"})
    needs = found(root, "bunker")
    assert "there is no such image" in str(needs.asked.problems[-1])
    assert way(needs, "profile local").problems == ()
    assert needs_of(open_study(root), Asked(profile="bunker", sdm="none"), MACHINE).asked.problems == ()


def test_the_text_begins_with_what_is_missing_and_ends_with_the_ways() -> None:
    first, other = Problem("x", "no gm", "get gm\nor not"), Problem("y", "no image")
    ways = (Way("--sdm none"), Way("--sdm apptainer", (first, other)), Way("profile local", (first,), asked=True))
    report = Report(Path(), (fact("disk", "a", "ok", "b", "unseen"),), Needs("p", (), ways))
    lines = report_text(report).splitlines()
    assert lines[:4] == [
        "missing for p (profile local)",
        "  missing  x: no gm",
        "           -> get gm",
        "           -> or not",
    ]
    assert "  missing  for --sdm apptainer: y: no image" in lines
    assert lines[-3:] == [
        "  --sdm none                 yes",
        "  --sdm apptainer            no, because x: no gm; y: no image",
        "  profile local (asked for)  no, because x: no gm",
    ]
    assert (report.exit_code, Report(None, (), report.needs).exit_code) == (3, 0)
    assert "unseen" not in "".join(lines)
