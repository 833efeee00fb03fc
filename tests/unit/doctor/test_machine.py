"""Facts of a machine with programs that hang, fail, print garbage, are old or are not there.

All programs are stand-ins, made here, for what cannot be had on a machine that tests run on: a GPU, an old conda, a
broken Apptainer. What the real ones say is in ``tests/integration/test_doctor.py``.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from snakescope.cluster.preflight import PROGRAMS
from snakescope.doctor import cluster, machine
from snakescope.doctor.facts import Fact
from snakescope.doctor.irods import irods_facts

HANGS, FAILS, GARBAGE = "sleep 8 & wait", "echo broken >&2; exit 1", "printf '\\377\\000\\033[31m<<<\\n'"
STATES = {"hangs": HANGS, "fails": FAILS, "garbage": GARBAGE}
Make = Callable[[str, str], None]


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Make a program of a shell script; no others are on the PATH but a few that scripts need."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sh", "sleep", "cat", "env"):
        (folder / name).symlink_to(str(shutil.which(name)))
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(machine, "LIMIT_S", 0.5)
    monkeypatch.setattr("snakescope.doctor.ask.ask.__kwdefaults__", {"limit_s": 0.5})
    monkeypatch.setattr(cluster, "LIMIT_S", 0.5)
    monkeypatch.setenv("HOME", str(tmp_path))

    def make(name: str, script: str) -> None:
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)

    return make


def by_name(facts: Iterator[Fact]) -> dict[str, Fact]:
    return {item.name: item for item in facts}


def test_without_any_program_each_group_is_a_line(stand_in: Make, tmp_path: Path) -> None:
    facts = machine.machine_facts(tmp_path, connect=True)
    marks = {item.group: item.mark for item in facts if item.group not in ("machine", "disk")}
    assert marks == {"apptainer": "missing", "conda": "missing", "gpu": "note", "slurm": "missing", "irods": "note"}
    assert all(item.fix for item in facts if item.mark == "missing")


@pytest.mark.parametrize("state", STATES)
def test_broken_programs_are_a_line_each_and_hold_nobody_up(stand_in: Make, tmp_path: Path, state: str) -> None:
    programs = ("apptainer", "unshare", "conda", "mamba", "nvidia-smi", "scontrol", "sacct")
    for name in (*programs, *PROGRAMS):
        stand_in(name, STATES[state])
    began = time.monotonic()
    facts = machine.machine_facts(tmp_path, connect=False)
    assert time.monotonic() - began < 6
    assert {item.group for item in facts} == set(machine.GROUPS)
    assert not [item for item in facts if "cannot be looked at" in item.text]
    told = {(item.group, item.name): item for item in facts}
    word = {"hangs": "within 0.5 s", "fails": "broken", "garbage": ""}[state]
    for key in (("apptainer", "apptainer"), ("conda", "conda"), ("gpu", "GPU"), ("slurm", "partitions")):
        assert told[key].mark in ("missing", "note"), key
        assert word in told[key].text, key
    assert all(item.text.isprintable() for item in facts)


def test_an_apptainer_tells_how_it_was_built_and_what_it_may(stand_in: Make, tmp_path: Path) -> None:
    folder = tmp_path / "libexec/apptainer/bin"
    folder.mkdir(parents=True)
    stand_in("apptainer", f'[ "$1" = --version ] && echo apptainer version 1.3.0-rc.1 || cat {tmp_path}/cfg')
    (tmp_path / "cfg").write_text(f"LIBEXECDIR={tmp_path}/libexec\nAPPTAINER_SUID_INSTALL=1\n")
    stand_in("unshare", "echo 'unshare failed: Operation not permitted' >&2; exit 1")
    found = by_name(machine.apptainer_facts())
    assert found["apptainer"].text.startswith("1.3.0-rc.1 (")
    assert found["setuid"].text == "installed without it"  # told to be, but the program is not there
    assert "Operation not permitted" in found["user namespaces"].text
    assert "max_user_namespaces" in str(found["user namespaces"].fix)
    (folder / "starter-suid").touch()
    (folder / "starter-suid").chmod(0o4755)
    found = by_name(machine.apptainer_facts())
    assert found["setuid"].text == "installed with it"
    assert (found["user namespaces"].mark, found["FUSE"].mark) == ("ok", "ok")


def test_an_apptainer_whose_version_fails_is_missing(stand_in: Make) -> None:
    stand_in("apptainer", FAILS)
    (found,) = machine.apptainer_facts()
    assert (found.mark, found.text) == ("missing", "apptainer --version ended with 1: broken")


@pytest.mark.parametrize(
    ("said", "mark", "told"),
    [
        ("conda 24.7.1", "ok", "24.7.1"),
        ("conda 25.1", "ok", "25.1"),
        ("conda 4.14.0", "missing", "4.14.0 is too old: Snakemake wants 24.7.1 or later"),
        ("conda 24.7.0", "missing", "24.7.0 is too old"),
        ("what?", "missing", "says 'what?', which is no version"),
    ],
)
def test_a_conda_is_judged_by_its_version(stand_in: Make, said: str, mark: str, told: str) -> None:
    stand_in(
        "conda", f'[ "$1" = --version ] && echo "{said}" || printf "channel_priority: flexible\\nsolver: classic\\n"'
    )
    found = by_name(machine.conda_facts())
    assert found["conda"].mark == mark
    assert found["conda"].text.startswith(told) or told in found["conda"].text
    assert found["solver"].text == "classic"
    assert found["channel priority"].mark == "note"


def test_mamba_alone_does_not_do(stand_in: Make) -> None:
    stand_in("mamba", "echo 2.0.5")
    (found,) = machine.conda_facts()
    assert found.text == "no conda on the PATH; mamba is, but Snakemake asks conda"


def test_devices_are_told_with_driver_and_memory(stand_in: Make) -> None:
    stand_in(
        "nvidia-smi", "echo '0, NVIDIA A100, 40 GB, 40536, 550.54.15'; echo '1, NVIDIA T4, [N/A], 550.54.15'; echo junk"
    )
    found = [*machine.gpu_facts()]
    assert [item.text for item in found] == ["550.54.15", "NVIDIA A100, 40 GB, 40536 MiB", "NVIDIA T4, [N/A] MiB"]
    assert machine.data_of(found, "gpus") == 2


def test_a_driver_that_is_not_loaded_is_no_gpu(stand_in: Make) -> None:
    stand_in("nvidia-smi", "echo 'NVIDIA-SMI has failed: no driver'; exit 9")
    (found,) = machine.gpu_facts()
    assert (found.mark, found.data["gpus"]) == ("missing", 0)
    assert "has failed: no driver" in found.text


def test_a_disk_without_room_or_files_is_missing_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.statvfs(tmp_path)
    for free, files, mark in ((10**7, 10**6, "ok"), (0, 10**6, "missing"), (10**7, 0, "missing"), (10**7, 500, "note")):

        class Found:
            f_bavail, f_frsize, f_favail, f_files = free, 4096, files, 10**6

        monkeypatch.setattr(os, "statvfs", lambda _, found=Found: found)
        assert machine._room("x", tmp_path).mark == mark, (free, files)
    assert real


def test_a_disk_that_does_not_answer_is_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "LIMIT_S", 0.2)
    monkeypatch.setattr(os, "statvfs", lambda _: time.sleep(2))
    found = machine._room("x", tmp_path)
    assert (found.mark, "no answer within 0.2 s" in found.text) == ("missing", True)


def test_a_folder_that_is_not_there_yet_is_told_with_the_room_above_it(tmp_path: Path) -> None:
    assert "a/b (not there yet): " in machine._room("x", tmp_path / "a/b").text
    odd = machine._room("x", tmp_path / os.fsdecode(b"new\nline\xff\x1b"))
    assert "new\\nline\\udcff\\x1b" in odd.text


def test_proxies_are_told_without_a_login(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://joe:h0use/k@y@proxy.lab:3128")
    monkeypatch.delenv("HTTP_PROXY", raising=False)
    found = by_name(machine.system_facts())["https_proxy"]
    assert found.text == "proxy.lab:3128 (with a login, not shown)"


def test_a_group_that_breaks_leaves_the_others(stand_in: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Iterator[Fact]:
        yield Fact("gpu", "first", "ok", "kept")
        raise RuntimeError("odd")

    monkeypatch.setattr(machine, "gpu_facts", broken)
    facts = machine.machine_facts(tmp_path, connect=False)
    assert [item.text for item in facts if item.group == "gpu"] == ["kept", "cannot be looked at (RuntimeError: odd)"]
    assert {item.group for item in facts} == set(machine.GROUPS)


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"irods_host": 5}', '{"irods_host": "h", "irods_user_name": "u", "irods_port": "x"}']
)
def test_broken_irods_settings_are_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    (tmp_path / "e.json").write_text(text)
    monkeypatch.setenv("IRODS_ENVIRONMENT_FILE", str(tmp_path / "e.json"))
    (found,) = irods_facts(connect=True)
    assert (found.mark, found.fix) == ("missing", "Write them anew with: iinit")


def test_a_cluster_without_accounting_says_so(stand_in: Make) -> None:
    for name in PROGRAMS:
        stand_in(name, "echo 'cpu*|1-00:00:00|4000+|8|2|up|gpu:a100:2'")
    stand_in("scontrol", "echo 'ClusterName = lab'; echo 'AccountingStorageType = accounting_storage/none'")
    found = by_name(cluster.slurm_facts())
    assert found["cluster"].text == "lab"
    assert found["accounting"].mark == "note"
    assert found["partition cpu"].text == "2 nodes, 8 cores, 4000 MB, 2 GPUs a node, 1440 min; the default"
