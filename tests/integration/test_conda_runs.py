"""A tool in an environment of packages from a local channel, without a network: what it gets, what is recorded.

The solver and the packages are real; the command ``conda`` is a stand-in (`deployment.conda_stand_in`).
"""

from __future__ import annotations

from pathlib import Path

import pytest

from deployment.conda import CondaSite
from deployment.studies import ToolStudy, shell_tool

SAY = {
    **shell_tool("shout <{in.image}"),
    "command": ["shout", "{in.image}", "{out.text}"],
    "tool": {"name": "shout", "version": "1", "observe": ["shout", "--version"]},
    "environment": {"conda": "envs/shout.yaml"},
}

pytestmark = [pytest.mark.conda, pytest.mark.network_off, pytest.mark.slow]


@pytest.fixture(scope="module")
def site(conda_site: CondaSite) -> CondaSite:
    conda_site.add_package("letters", "3.1", {"share/upper": "ABCDEFGHIJKLMNOPQRSTUVWXYZ"})
    for version in ("1.4", "1.5"):
        program = f"""#!/bin/sh
if [ "$1" = --version ]; then echo "shout, version {version}"; exit; fi
tr a-z "$(cat "$CONDA_PREFIX/share/upper")" <"$1" >"$2"
"""
        conda_site.add_package("shout", version, {"bin/shout": program}, ["letters >=3"])
    return conda_site


@pytest.fixture
def study(tmp_path: Path, site: CondaSite) -> ToolStudy:
    (tmp_path / "data.txt").write_text("loud\n")
    study = ToolStudy(tmp_path / "study", {"shout": SAY}, {"a": tmp_path / "data.txt"})
    site.write_environment(study.root / "envs/shout.yaml", "shout >=1.4")
    return study


def test_a_tool_runs_in_its_environment_and_the_record_tells_it(
    study: ToolStudy, site: CondaSite, network_off: list[str]
) -> None:
    done = study.run("--sdm", "conda", env=site.environment, before=network_off)
    assert done.returncode == 0, done.stderr
    assert "Tools run in conda environments: shout" in done.stderr
    assert study.result("a", "shout", "out.txt") == b"LOUD\n"
    record = study.record("a", "shout")
    assert record["environment"]["kind"] == "conda"
    assert record["environment"]["file"] == "envs/shout.yaml"
    assert len(record["environment"]["sha256"]) == 64
    assert record["tool_version_observed"] == "shout, version 1.5"


def test_pins_are_used_and_the_digest_is_of_what_is_installed(
    study: ToolStudy, site: CondaSite, network_off: list[str]
) -> None:
    digests, versions = [], []
    for pinned in (None, "1.5", "1.4"):
        if pinned:
            site.pin(study.root / "envs/shout.yaml", f"shout-{pinned}", "letters-3.1")
        done = study.run("--sdm", "conda", env=site.environment, before=network_off)
        assert done.returncode == 0, done.stderr
        record = study.record("a", "shout")
        digests.append(record["environment"]["sha256"])
        versions.append(record["tool_version_observed"].rpartition(" ")[2])
        (study.root / "records/a/shout.json").unlink()
    assert versions == ["1.5", "1.5", "1.4"]
    assert digests[0] == digests[1] != digests[2]


def test_packages_that_do_not_exist_are_one_message_before_any_job(
    study: ToolStudy, site: CondaSite, network_off: list[str]
) -> None:
    site.write_environment(study.root / "envs/shout.yaml", "shout 2.*")
    done = study.run("--sdm", "conda", env=site.environment, before=network_off)
    assert done.returncode == 3
    assert "envs/shout.yaml: conda found no packages that fit together" in done.stderr
    assert "No candidates were found for shout" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((study.root / "logs").glob("*/*"))


def test_a_channel_that_cannot_be_reached_is_one_message(
    study: ToolStudy, site: CondaSite, network_off: list[str]
) -> None:
    text = (study.root / "envs/shout.yaml").read_text()
    (study.root / "envs/shout.yaml").write_text(text.replace(site.url, "https://conda.example.org/channel"))
    done = study.run("--sdm", "conda", env=site.environment, before=network_off)
    assert done.returncode == 3
    assert "envs/shout.yaml: conda could not reach the channel" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_conda_nothing_runs(study: ToolStudy) -> None:
    done = study.run("--sdm", "conda")
    assert done.returncode == 3
    assert "there is no program conda on the PATH" in done.stderr


@pytest.mark.parametrize("sign", ["$(touch owned)", "`touch owned`", "it's", 'a "b"', "back\\slash"])
def test_a_folder_that_conda_cannot_be_told_of_is_refused(sign: str, study: ToolStudy, site: CondaSite) -> None:
    root = study.root.rename(study.root.with_name(f"study {sign}"))
    study.root = root
    done = study.run("--sdm", "conda", env=site.environment)
    assert done.returncode == 3
    assert "which conda cannot be told of" in done.stderr
    assert not list(root.parent.rglob("owned"))
