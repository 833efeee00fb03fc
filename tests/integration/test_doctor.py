"""`snakescope doctor` on real Apptainer, Slurm and iRODS: the right facts, nothing left behind, no secret shown."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployment import Apptainer
from deployment.conda import CondaSite
from deployment.studies import ToolStudy, shell_tool
from integration_helpers import snakescope
from irods_sites import running_zone
from irods_zone import Zone
from slurm_site import SlurmSite

COPY = shell_tool('cat "$2" >"$1"')
WITHOUT_NAMESPACES = [
    *("unshare", "--user", "--map-root-user", "sh", "-c"),
    *('echo 0 >/proc/sys/user/max_user_namespaces && exec "$@"', "sh"),
]
ODD = "odd 'name' \"x\" $(touch gone) {y} µ\n\x1b[31m"


def files_below(*folders: Path) -> dict[str, tuple[int, int]]:
    """Every file and folder with its size and time."""
    found = [path for folder in folders for path in (folder, *folder.rglob("*"))]
    return {str(path): (path.lstat().st_size, path.lstat().st_mtime_ns) for path in found}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder and a TMPDIR of its own, both empty."""
    for name, variable in (("home", "HOME"), ("tmp", "TMPDIR")):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(variable, str(tmp_path / name))
    return tmp_path / "home"


@pytest.fixture
def study(tmp_path: Path, home: Path) -> ToolStudy:
    (tmp_path / "data.txt").write_text("data\n")
    return ToolStudy(tmp_path / "study", {"copy": COPY}, {"a": tmp_path / "data.txt"})


def doctor(
    study: ToolStudy, *arguments: str, env: Mapping[str, str] | None = None, before: Sequence[str] = ()
) -> tuple[int, str, dict[str, Any]]:
    """Exit status, text, and JSON; the study and the home folder stay as they were."""
    folders = (study.root, study.root.parent / "home", study.root.parent / "tmp")
    was, environ = files_below(*folders), {**os.environ, **(env or {})}
    text = snakescope("doctor", *arguments, cwd=study.root, env=environ, before=before)
    data = snakescope("doctor", "--json", *arguments, cwd=study.root, env=environ, before=before)
    assert files_below(*folders) == was
    assert (text.stderr, data.stderr) == ("", "")
    assert text.returncode == data.returncode
    return text.returncode, text.stdout, json.loads(data.stdout)


def facts(data: Mapping[str, Any], group: str) -> dict[str, dict[str, Any]]:
    """Facts of the machine by name."""
    return {item["name"]: item for item in data["machine"] if item["group"] == group}


def way(data: Mapping[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(item for item in data["pipeline"]["ways"] if item["name"] == name)
    return found


# ---------------------------------------------------------------------------- any machine


def test_a_study_that_can_run_says_so(study: ToolStudy) -> None:
    code, text, data = doctor(study)
    assert code == 0
    assert "This machine can run shell:" in text
    (line,) = [line for line in text.splitlines() if "profile local (asked for)" in line]
    assert "  yes. Tools run from this machine's own programs" in line
    assert way(data, "profile local")["can_run"]
    assert {"machine", "disk", "apptainer", "conda", "gpu", "slurm", "irods"} == {g["group"] for g in data["machine"]}
    assert all(item["text"] in text for item in data["machine"] if item["name"] != "memory" and item["group"] != "disk")


def test_outside_a_study_only_the_machine_is_told_and_all_is_well(tmp_path: Path, home: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = snakescope("doctor", cwd=tmp_path / "empty")
    assert (done.returncode, done.stderr) == (0, "")
    assert "this is no study folder" in done.stdout
    asked = snakescope("doctor", "--pipeline", "llsm_tracking", "--sdm", "conda", "--json", cwd=tmp_path / "empty")
    found = json.loads(asked.stdout)
    assert (asked.returncode, found["pipeline"]["name"], found["study"]) == (0, "llsm_tracking", None)
    assert {"step deskew", "step track"} <= {item["name"] for item in found["pipeline"]["needs"]}
    assert [*(tmp_path / "empty").iterdir()] == [*home.iterdir()] == []


def test_names_that_are_not_there_are_refused(study: ToolStudy) -> None:
    for flag, name, near in (("--profile", "lcal", "local"), ("--pipeline", "shel", "shell")):
        done = snakescope("doctor", flag, name, cwd=study.root)
        assert (done.returncode, done.stdout) == (2, "")
        assert f"'{near}'" in done.stderr


def test_a_program_that_is_missing_comes_first_with_how_to_get_it(study: ToolStudy) -> None:
    study.write_tool("copy", {**COPY, "environment": {"programs": ["no-such-gm"]}, "homepage": "https://gm.example/"})
    code, text, data = doctor(study)
    assert code == 3
    first = text.splitlines()[:3]
    assert first[0] == "missing for shell (profile local)"
    assert first[1].startswith("  missing  step 'copy' (tool copy): the program 'no-such-gm' is not on the PATH")
    assert "-> Install prog 1 (https://gm.example/)." in first[2]
    assert not way(data, "profile local")["can_run"]
    assert data["pipeline"]["needs"][0]["mark"] == "missing"


def test_a_model_that_is_missing_or_another_says_where_it_is_from_and_its_licence(study: ToolStudy) -> None:
    good = hashlib.sha256(b"weights").hexdigest()
    path = "models/odd 'n' $(x) {y} µ.pt"
    model = {"name": "cyto.pt", "path": path, "url": "https://models.example/cyto.pt", "sha256": good}
    study.write_tool("copy", {**COPY, "environment": {"models": [{**model, "licence": "CC-BY-NC-4.0", "env": "CYTO"}]}})
    code, text, _ = doctor(study)
    assert code == 3
    assert f"step 'copy': model cyto.pt: there is no file {path}" in text
    assert "https://models.example/cyto.pt" in text
    assert "CC-BY-NC-4.0" in text
    (study.root / "models").mkdir()
    (study.root / path).write_bytes(b"others")
    code, text, _ = doctor(study)
    assert (code, "has the sha256" in text) == (3, True)
    (study.root / path).write_bytes(b"weights")
    assert doctor(study)[0] == 0


def test_a_gpu_that_is_missing_keeps_this_machine_from_it(study: ToolStudy) -> None:
    study.write_tool("copy", {**COPY, "resources": {"gpus": 1}})
    code, text, _ = doctor(study, env={"PATH": _without("nvidia-smi", study.root.parent)})
    assert code == 3
    assert "it needs 1 GPU, and this machine shows 0" in text


def _without(program: str, folder: Path) -> str:
    """A PATH on which a program fails; a stand-in for a machine that has none."""
    (folder / "none").mkdir()
    (folder / "none" / program).write_text("#!/bin/sh\nexit 127\n")
    (folder / "none" / program).chmod(0o755)
    return f"{folder / 'none'}{os.pathsep}{os.environ['PATH']}"


def test_a_pipeline_that_is_broken_leaves_the_facts_of_the_machine(study: ToolStudy) -> None:
    study.write(
        "config/pipelines/shell.yaml", {"schema": 1, "name": "shell", "title": "S", "steps": {"a": {"tool": "copi"}}}
    )
    code, text, data = doctor(study)
    assert code == 3
    assert "copi" in text
    assert facts(data, "machine")["snakescope"]["mark"] == "ok"


def test_names_with_odd_signs_stay_on_their_line(tmp_path: Path, home: Path) -> None:
    (tmp_path / "data.txt").write_text("x")
    odd = tmp_path / ODD
    odd.mkdir()
    study = ToolStudy(odd / "study", {"copy": COPY}, {"a": tmp_path / "data.txt"})
    done = snakescope("doctor", cwd=study.root)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    assert "µ\\n\\x1b[31m/study: " in done.stdout
    study.use_image(tmp_path / "none.sif")
    done = snakescope("doctor", "--sdm", "apptainer", cwd=study.root)
    assert (done.returncode, "Move the study to a folder with a plain name." in done.stdout) == (3, True)
    study.use_image("images/it's_{a}_$(touch_gone).sif")
    done = snakescope("doctor", cwd=study.root)
    assert (done.returncode, "it's_{a}_$(touch_gone).sif" in done.stdout) == (3, True)
    assert not [*tmp_path.rglob("*gone")]


def test_a_password_in_a_proxy_or_a_token_is_not_shown(study: ToolStudy) -> None:
    secret = {"https_proxy": "http://joe:h0rse-pw@proxy.example:3128", "MY_API_KEY": "kkk-999-kkk"}
    folder = study.root.parent / "bin"
    folder.mkdir()
    (folder / "nvidia-smi").write_text("#!/bin/sh\nenv >&2; echo $MY_API_KEY $https_proxy >&2; exit 1\n")
    (folder / "nvidia-smi").chmod(0o755)
    code, text, data = doctor(study, env={**secret, "PATH": f"{folder}:{os.environ['PATH']}"})
    assert code == 0
    assert "proxy.example:3128 (with a login, not shown)" in text
    for hidden in ("h0rse-pw", "kkk-999-kkk"):
        assert hidden not in text
        assert hidden not in json.dumps(data)
    assert facts(data, "gpu")["GPU"]["text"].startswith("nvidia-smi ended with 1: ***")


# ---------------------------------------------------------------------------- Apptainer


@pytest.mark.container
def test_this_apptainer_is_told_as_it_is(apptainer: Apptainer, study: ToolStudy, busybox_image: Path) -> None:
    study.use_image(busybox_image)
    code, text, data = doctor(study, "--sdm", "apptainer")
    assert code == 0, text
    told = facts(data, "apptainer")
    assert f"apptainer version {told['apptainer']['data']['version']}" == apptainer.run("--version").strip()
    assert told["user namespaces"]["mark"] == "ok"
    suid = "APPTAINER_SUID_INSTALL=1" in apptainer.run("buildcfg")
    assert told["setuid"]["text"] == ("installed with it" if suid else "installed without it")
    assert way(data, "profile local") == way(data, "profile local") | {"can_run": True, "asked": True}
    assert "Tools run in Apptainer images: copy" in text


@pytest.mark.container
def test_images_that_cannot_be_used_are_told(apptainer: Apptainer, study: ToolStudy, busybox_image: Path) -> None:
    study.use_image("images/none.sif")
    code, text, data = doctor(study, "--sdm", "apptainer")
    assert (code, "image images/none.sif (steps: copy): there is no such image" in text) == (3, True)
    assert way(data, "--sdm none")["can_run"]
    study.use_image(busybox_image)
    study.write("envs/images.lock.yaml", {str(busybox_image): {"file_sha256": "0" * 64}})
    code, text, _ = doctor(study, "--sdm", "apptainer")
    assert (code, "snakescope tool lock" in text) == (3, True)
    (study.root / "envs/images.lock.yaml").unlink()
    study.write_tool("copy", {**COPY, "environment": {"programs": ["no-such-gm"]}})
    code, text, _ = doctor(study, "--sdm", "apptainer")
    assert (code, "these programs are not in the image: no-such-gm" in text) == (3, True)


@pytest.mark.container
def test_no_user_namespaces_are_told(apptainer: Apptainer, study: ToolStudy, busybox_image: Path) -> None:
    study.use_image(busybox_image)
    code, text, data = doctor(study, "--sdm", "apptainer", env={"APPTAINER_USERNS": "1"}, before=WITHOUT_NAMESPACES)
    assert (code, "user namespaces are not allowed here" in text) == (3, True)
    assert "not allowed" in facts(data, "apptainer")["user namespaces"]["text"]
    assert facts(data, "apptainer")["user namespaces"]["mark"] != "ok"


# ---------------------------------------------------------------------------- conda


@pytest.mark.conda
def test_conda_is_told_by_a_stand_in(study: ToolStudy, conda_site: CondaSite) -> None:
    study.write_tool("copy", {**COPY, "environment": {"conda": "envs/copy.yaml"}})
    env = {"PATH": conda_site.environment["PATH"]}
    code, text, data = doctor(study, "--sdm", "conda", env=env)
    assert (code, "envs/copy.yaml: there is no such file (steps: copy)" in text) == (3, True)
    conda_site.write_environment(study.root / "envs/copy.yaml", "x")
    code, text, data = doctor(study, "--sdm", "conda", env=env)
    assert code == 0
    assert facts(data, "conda")["conda"]["data"]["version"] == "24.7.1"
    assert "this call is not known here" in facts(data, "conda")["solver"]["text"]  # only a real one tells it


# ---------------------------------------------------------------------------- Slurm


def set_profile(study: ToolStudy, **defaults: str) -> None:
    path = study.root / "profiles/slurm/config.yaml"
    data = yaml.safe_load(path.read_text())
    data["default-resources"] |= defaults
    path.write_text(yaml.safe_dump(data))


@pytest.mark.slurm
def test_this_cluster_is_told_and_takes_the_jobs(study: ToolStudy, slurm_cluster: SlurmSite) -> None:
    set_profile(study, slurm_account="lab")
    before = slurm_cluster.run("sacct", "--allusers", "-X", "--noheader", "--starttime=now-1hours")
    code, text, data = doctor(study, "--profile", "slurm")
    told = facts(data, "slurm")
    asked = dict(
        line.split("=", 1)
        for line in slurm_cluster.run("scontrol", "show", "config").replace(" = ", "=").splitlines()
        if "=" in line
    )
    names = slurm_cluster.run("sinfo", "--noheader", "--format=%R").split()
    assert told["cluster"]["text"] == next(
        value.strip() for key, value in asked.items() if key.strip() == "ClusterName"
    )
    assert {f"partition {name}" for name in names} == {name for name in told if name.startswith("partition")}
    assert told["partition gpu"]["data"]["gpus"] == 1
    assert told["accounting"]["mark"] == "ok"
    assert code == 0, text
    assert way(data, "profile slurm")["can_run"]
    assert slurm_cluster.queue() == []
    assert slurm_cluster.run("sacct", "--allusers", "-X", "--noheader", "--starttime=now-1hours") == before


@pytest.mark.slurm
def test_what_the_cluster_refuses_is_told(study: ToolStudy, slurm_cluster: SlurmSite) -> None:
    study.write_tool("copy", {**COPY, "resources": {"mem_mb": 2900, "threads": 2}})
    assert doctor(study, "--profile", "slurm")[0] == 3  # Snakemake's own memory comes on top
    study.write_tool("copy", {**COPY, "resources": {"mem_mb": 99_000}})
    code, text, data = doctor(study, "--profile", "slurm")
    assert (code, "no partition gives that" in text) == (3, True), text
    study.write_tool("copy", COPY)
    set_profile(study, slurm_partition="nopart")
    code, text, data = doctor(study, "--profile", "slurm")
    assert (code, "the cluster has no partition 'nopart' that is up" in text) == (3, True), text
    assert "There are: cpu, gpu." in text
    assert way(data, "profile local")["can_run"]
    assert doctor(study)[0] == 0


@pytest.mark.slurm
def test_a_cluster_that_does_not_answer_holds_nobody_up(study: ToolStudy, slurm_cluster: SlurmSite) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        text = slurm_cluster.conf.read_text()
        lines = [
            f"SlurmctldPort={silent.getsockname()[1]}" if line.startswith("SlurmctldPort") else line
            for line in text.splitlines()
        ]
        assert lines != text.splitlines()
        (study.root.parent / "slurm.conf").write_text("\n".join(lines) + "\n")
        began = time.monotonic()
        code, text, _ = doctor(study, "--profile", "slurm", env={"SLURM_CONF": str(study.root.parent / "slurm.conf")})
    assert (code, "Slurm does not answer" in text) == (3, True)
    assert time.monotonic() - began < 60
    assert "Traceback" not in text


# ---------------------------------------------------------------------------- iRODS


@pytest.fixture
def zone(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Zone]:
    with running_zone(tmp_path, monkeypatch) as running:
        yield running


@pytest.mark.irods
def test_a_login_is_tried_when_it_is_asked_for(study: ToolStudy, zone: Zone) -> None:
    _, text, data = doctor(study)
    told = facts(data, "irods")
    assert told["server"]["text"] == f"{zone.host}:{zone.port}, native login"
    assert told["user"]["text"] == f"{zone.user}#{zone.zone}"
    assert "not tried" in told["login"]["text"]
    code, text, data = doctor(study, "--connect")
    assert (code, facts(data, "irods")["login"]["mark"]) == (0, "ok"), text
    assert facts(data, "irods")["login"]["text"].startswith("works; the server is iRODS ")


@pytest.mark.irods
def test_a_refused_login_is_told_and_no_secret_is(
    study: ToolStudy, zone: Zone, monkeypatch: pytest.MonkeyPatch
) -> None:
    from irods.password_obfuscation import encode

    settings = json.loads(Path(os.environ["IRODS_ENVIRONMENT_FILE"]).read_text())
    settings |= {"irods_password": "s3cret-in-settings", "irods_ssl_key_password": "s3cret-key"}
    (study.root.parent / "env.json").write_text(json.dumps(settings))
    scrambled = encode("wr0ng-password")
    (study.root.parent / "auth").write_text(scrambled)
    monkeypatch.setenv("IRODS_ENVIRONMENT_FILE", str(study.root.parent / "env.json"))
    monkeypatch.setenv("IRODS_AUTHENTICATION_FILE", str(study.root.parent / "auth"))
    code, text, data = doctor(study, "--connect")
    assert code == 0
    login = facts(data, "irods")["login"]
    assert (login["mark"], "the login was refused" in login["text"], "iinit" in login["fix"]) == ("missing", True, True)
    for hidden in ("s3cret-in-settings", "s3cret-key", "wr0ng-password", scrambled.strip()):
        assert hidden not in text
        assert hidden not in json.dumps(data)


@pytest.mark.irods
def test_a_server_that_never_answers_is_given_up(study: ToolStudy, zone: Zone, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = json.loads(Path(os.environ["IRODS_ENVIRONMENT_FILE"]).read_text())
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(0.2)
        settings |= {"irods_host": "127.0.0.1", "irods_port": silent.getsockname()[1]}
        (study.root.parent / "env.json").write_text(json.dumps(settings))
        monkeypatch.setenv("IRODS_ENVIRONMENT_FILE", str(study.root.parent / "env.json"))
        doctor(study)
        with pytest.raises(TimeoutError):  # nobody has come
            silent.accept()
        began = time.monotonic()
        done = snakescope("doctor", "--connect", cwd=study.root)
        assert time.monotonic() - began < 20
        silent.accept()[0].close()
    assert done.returncode == 0
    assert "the server gave no answer within 8 s" in done.stdout
