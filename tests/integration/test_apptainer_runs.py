"""Tools in an image of busybox alone, run by a real Apptainer: what reaches them, what does not, what is recorded.

One study of many small tools is run once in the image and once on the host; each test looks at one tool.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from deployment.studies import ToolStudy, make_outside, shell_tool
from snakescope.study.verify.rerun import rerun

SECRETS = {
    "AWS_SECRET_ACCESS_KEY": "hush-aws",
    "IRODS_PASSWORD": "hush-irods",
    "SNAKEMAKE_STORAGE_S3_SECRET_KEY": "hush-storage",
    "https_proxy": "http://me:hush-proxy@proxy.example:3128",
    "PYTHONPATH": "/hush-python",
    "BASH_ENV": "/hush-bash",
    "GITHUB_TOKEN": "hush-token",
}
TOOLS = {
    "copy": shell_tool('cat "$2" >"$1"', tool={"name": "busybox", "version": "1", "observe": ["busybox", "--help"]}),
    "spoil": shell_tool('echo spoilt >"$2"; echo done >"$1"'),
    "show": shell_tool(
        'env >"$1"; file=$(mktemp); echo "made=$file" >>"$1"; rm "$file"',
        resources={"threads": 2, "mem_mb": 100, "runtime_min": 1},
    ),
    "home": shell_tool(
        'ls -A "$HOME" >"$1"; mkdir -p "$HOME/.config"; echo x >"$HOME/.config/seen"; sleep 1; cat "$2" >>"$1"',
        environment={"writable_home": True},
    ),
    "choose": shell_tool('if grep -q odd "$2"; then echo "error: odd"; exit 7; fi; cat "$2" >"$1"'),
}

pytestmark = [pytest.mark.container, pytest.mark.slow]


@dataclass(frozen=True)
class Ran:
    """The study after a run."""

    study: ToolStudy
    done: subprocess.CompletedProcess[str]
    rows: dict[str, Path]
    temporary: Path


@pytest.fixture(scope="module")
def data() -> Iterator[dict[str, Path]]:
    """Files by row, in places that no image sees by itself."""
    with make_outside() as outside:
        for name in ("data/plain.txt", "data/odd.txt", "it's, a: folder/100% of $HOME.txt", "store/deep/real.txt"):
            (outside / name).parent.mkdir(parents=True, exist_ok=True)
            (outside / name).write_text(f"{name}\n")
        (outside / "links").mkdir()
        (outside / "links/file.txt").symlink_to("../store/deep/real.txt")
        (outside / "mount").symlink_to(outside / "store")
        yield {
            "plain": outside / "data/plain.txt",
            "odd": outside / "data/odd.txt",
            "quoted": outside / "it's, a: folder/100% of $HOME.txt",
            "link": outside / "links/file.txt",
            "folder": outside / "mount/deep/real.txt",
        }


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """Somebody's home folder."""
    with make_outside() as outside:
        (outside / "key.txt").write_text("private\n")
        yield outside


def run(root: Path, mode: str, image: Path, tools: dict[str, Any], rows: dict[str, Path], home: Path) -> Ran:
    """Make the study and run it, as a user with secrets and a temporary folder elsewhere."""
    temporary = rows["plain"].parents[1] / f"temporary {mode}"
    temporary.mkdir()
    study = ToolStudy(root / mode, tools, rows)
    study.use_image(image)
    told = {**SECRETS, "TMPDIR": str(temporary), "HOME": str(home)}
    return Ran(study, study.run("--sdm", mode, "--cores", "2", env=told), rows, temporary)


@pytest.fixture(scope="module")
def host(data: dict[str, Path], home: Path, busybox_image: Path, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """Two of the tools, run on this machine."""
    tools = {name: TOOLS[name] for name in ("copy", "show")}
    ran = run(tmp_path_factory.mktemp("host"), "none", busybox_image, tools, data, home)
    assert ran.done.returncode == 0, ran.done.stderr
    return ran


@pytest.fixture(scope="module")
def image(data: dict[str, Path], home: Path, busybox_image: Path, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """All tools, run in the image; one job fails."""
    hidden = shlex.join(map(str, [home / "key.txt", sys.prefix, Path(__file__).parent]))
    look = f'for path in {hidden}; do if [ -e "$path" ]; then echo "$path"; fi; done >"$1"'
    tools = {**TOOLS, "look": shell_tool(look)}
    ran = run(tmp_path_factory.mktemp("image"), "apptainer", busybox_image, tools, data, home)
    assert ran.done.returncode == 1, ran.done.stderr
    assert "Tools run in Apptainer images: copy" in ran.done.stderr
    return ran


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_images_see_data_that_lies_outside_the_study(image: Ran) -> None:
    for name, path in image.rows.items():
        assert image.study.result(name, "copy", "out.txt") == path.read_bytes(), name
        record = image.study.record(name, "copy")
        assert [(item["path"], item["sha256"]) for item in record["inputs"]] == [(str(path), sha256(path))]


def test_tools_in_an_image_cannot_change_their_input(image: Ran) -> None:
    for name, path in image.rows.items():
        assert "Read-only file system" in (image.study.root / f"logs/{name}/spoil.log").read_text()
        assert "spoilt" not in path.read_text()


def test_record_tells_the_image_and_is_else_that_of_the_host(host: Ran, image: Ran, busybox_image: Path) -> None:
    told = {"kind": "apptainer", "image": str(busybox_image), "sha256": sha256(busybox_image)}
    for name in image.rows:
        native, inside = host.study.record(name, "copy"), image.study.record(name, "copy")
        assert native["environment"] == {"kind": "host"}
        assert inside["environment"] == told
        assert inside["tool_version_observed"].startswith("BusyBox v")
        differ = {key for key in native if native[key] != inside[key]}
        assert differ <= {"environment", "started_at", "ended_at", "wall_s", "cpu_s", "tool_version_observed"}


def test_secrets_of_the_host_do_not_get_in(host: Ran, image: Ran) -> None:
    for name in image.rows:
        assert "hush-aws" in host.study.result(name, "show", "out.txt").decode()
        assert "hush-" not in image.study.result(name, "show", "out.txt").decode()


def test_secrets_of_the_host_stand_in_no_file_of_the_study(host: Ran, image: Ran) -> None:
    for ran in (host, image):
        files = [path for path in ran.study.root.rglob("*") if path.is_file() and path.parent.name != "show"]
        assert len(files) > 50
        assert [path for path in files if b"hush-" in path.read_bytes()] == []


def test_thread_counts_and_the_temporary_folder_get_in(image: Ran) -> None:
    for name in image.rows:
        lines = image.study.result(name, "show", "out.txt").decode().splitlines()
        assert {"OMP_NUM_THREADS=2", "OPENBLAS_NUM_THREADS=2", f"TMPDIR={image.temporary}"} <= set(lines)
        assert lines[-1].startswith(f"made={image.temporary}/")
    assert list(image.temporary.iterdir()) == []


def test_folders_that_no_job_needs_are_not_seen(image: Ran) -> None:
    assert Path(sys.prefix).exists()
    for name in image.rows:
        assert image.study.result(name, "look", "out.txt") == b""


def test_each_job_has_a_home_of_its_own_where_a_tool_wants_one(image: Ran) -> None:
    for name, path in image.rows.items():
        assert image.study.result(name, "home", "out.txt") == path.read_bytes()
    assert list(image.study.root.rglob("*seen*")) == []


def test_a_failure_in_an_image_leaves_its_facts(image: Ran, busybox_image: Path) -> None:
    failed = json.loads((image.study.root / "logs/odd/choose.failed.json").read_text())
    assert failed["exit_code"] == 7
    assert failed["environment"]["sha256"] == sha256(busybox_image)
    assert not (image.study.root / "records/odd/choose.json").exists()
    assert image.study.result("plain", "choose", "out.txt") == b"data/plain.txt\n"


def test_a_second_run_makes_only_what_failed(image: Ran) -> None:
    before = {path: path.stat().st_mtime_ns for path in image.study.root.glob("records/*/*.json")}
    assert len(before) == (len(TOOLS) + 1) * len(image.rows) - 1
    shutil.copyfile(image.rows["plain"], image.rows["odd"])
    done = image.study.run("--sdm", "apptainer")
    assert done.returncode == 0, done.stderr
    after = {path: path.stat().st_mtime_ns for path in image.study.root.glob("records/*/*.json")}
    assert {path.parent.name for path in after if after[path] != before.get(path)} == {"odd"}


def test_jobs_run_again_in_the_image_as_they_ran(
    image: Ran, home: Path, busybox_image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**SECRETS, "TMPDIR": str(image.temporary), "HOME": str(home)}.items():
        monkeypatch.setenv(name, value)
    result = rerun(image.study.root, len(image.rows), steps=["copy", "look", "show", "home"])
    assert [str(item) for item in (*result.changed, *result.not_rerun)] == []
    assert {item.where.rpartition("/")[2] for item in result.different} == {"show.json"}
    assert result.identical == 3 * len(image.rows)
    (again, *_) = image.study.root.glob(".snakescope/rerun/show-plain-*/study/results/plain/show/out.txt")
    lines = again.read_text().splitlines()
    assert "hush-" not in again.read_text()
    assert f"TMPDIR={image.temporary}" in lines


def test_a_job_does_not_run_again_in_another_image(image: Ran, busybox_image: Path, tmp_path: Path) -> None:
    root = tmp_path / "study"
    shutil.copytree(image.study.root, root, symlinks=True)
    other = tmp_path / "other.sif"
    other.write_bytes(busybox_image.read_bytes() + b"more")
    for path in root.glob("records/*/copy.json"):
        path.write_text(path.read_text().replace(str(busybox_image), str(other)))
    result = rerun(root, 1, steps=["copy"])
    assert [str(item) for item in result.not_rerun if "which is another one now" not in str(item)] == []
    assert len(result.not_rerun) == 1


def test_what_was_made_on_the_host_counts_as_done_in_an_image_and_is_told(
    data: dict[str, Path], busybox_image: Path, tmp_path: Path
) -> None:
    study = ToolStudy(tmp_path / "study", {"copy": TOOLS["copy"]}, {"a": data["plain"]})
    study.use_image(busybox_image)
    assert study.run("--sdm", "none").returncode == 0
    before = (study.root / "records/a/copy.json").stat().st_mtime_ns
    told = "1 result that counts as done was made elsewhere: 1 in a machine's own programs."
    for more in ([], ["--dry-run"]):
        done = study.run("--sdm", "apptainer", *more)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(f"nothing to do: everything is done already\n{told}")
    assert (study.root / "records/a/copy.json").stat().st_mtime_ns == before
    (study.root / "records/a/copy.json").unlink()
    done = study.run("--sdm", "apptainer")
    assert "1 of 1 jobs done" in done.stdout
    assert "elsewhere" not in done.stdout
    assert study.record("a", "copy")["environment"]["kind"] == "apptainer"
