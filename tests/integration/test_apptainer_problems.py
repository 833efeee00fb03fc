"""What can be wrong with an image or with Apptainer itself: one clear message each, before any job has run."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from deployment import Apptainer, missing
from deployment.images import make_busybox_root
from deployment.studies import ToolStudy, shell_tool
from integration_helpers import snakescope

# Nobody but root mounts images without FUSE and user namespaces, so root plays somebody else.
AS_OTHERS = {"APPTAINER_USERNS": "1"}
WITHOUT_FUSE = ["unshare", "--mount", "sh", "-c", 'mount --bind /dev/null /dev/fuse && exec "$@"', "sh"]
WITHOUT_NAMESPACES = [
    *("unshare", "--user", "--map-root-user", "sh", "-c"),
    *('echo 0 >/proc/sys/user/max_user_namespaces && exec "$@"', "sh"),
]

pytestmark = [pytest.mark.container, pytest.mark.slow]


@pytest.fixture
def study(tmp_path: Path) -> ToolStudy:
    (tmp_path / "data.txt").write_text("data\n")
    return ToolStudy(tmp_path / "study", {"copy": shell_tool('cat "$2" >"$1"')}, {"a": tmp_path / "data.txt"})


def refused(study: ToolStudy, *, env: dict[str, str] | None = None, before: Sequence[str] = ()) -> str:
    """What is said when the run is refused, after a look that nothing has run."""
    done = study.run("--sdm", "apptainer", env=env, before=before)
    assert done.returncode == 3, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert not list((study.root / "logs").glob("*/*"))
    assert not list((study.root / "results").glob("*/*"))
    return done.stderr


def test_an_image_that_is_not_there(apptainer: Apptainer, study: ToolStudy) -> None:
    study.use_image("images/none.sif")
    said = refused(study)
    assert "images/none.sif" in said
    assert "there is no such image" in said
    assert "config/images.yaml" in said


def test_an_image_with_another_digest_than_the_locked_one(study: ToolStudy, busybox_image: Path) -> None:
    study.use_image(busybox_image)
    found = hashlib.sha256(busybox_image.read_bytes()).hexdigest()
    (study.root / "envs").mkdir(exist_ok=True)
    study.write("envs/images.lock.yaml", {str(busybox_image): {"file_sha256": "0" * 64}})
    said = refused(study)
    assert f"its sha256 is {found}" in said
    assert "0" * 64 in said


def test_an_image_folder_is_not_the_image_that_was_locked(study: ToolStudy, tmp_path: Path) -> None:
    study.use_image(make_busybox_root(tmp_path / "image"))
    (study.root / "envs").mkdir(exist_ok=True)
    study.write("envs/images.lock.yaml", {str(tmp_path / "image"): {"file_sha256": "0" * 64}})
    assert "its sha256 is unknown (a folder); envs/images.lock.yaml says" in refused(study)


def test_a_release_does_not_run_in_an_image_folder(study: ToolStudy, tmp_path: Path) -> None:
    study.use_image(make_busybox_root(tmp_path / "image"))
    pipeline = study.root / "config/pipelines/shell.yaml"
    pipeline.write_text(pipeline.read_text() + "release: true\n")
    for done in (study.run("--sdm", "apptainer"), snakescope("lint", cwd=study.root)):
        assert done.returncode == 2
        assert f"the image {tmp_path / 'image'} is a folder, which has no digest, and this is a release" in done.stderr
    assert not list((study.root / "logs").glob("*/*"))


def test_a_file_that_is_no_image_or_only_a_part_of_one(study: ToolStudy, busybox_image: Path) -> None:
    whole = busybox_image.read_bytes()
    for name, content in {"cut.sif": whole[:50_000], "half.sif": whole[: len(whole) // 2], "note.sif": b"no\n"}.items():
        (study.root / name).write_bytes(content)
        study.use_image(name)
        assert f"image {name} (steps: copy): it is no image that apptainer knows" in refused(study)


def test_an_image_without_a_shell(apptainer: Apptainer, study: ToolStudy, tmp_path: Path) -> None:
    root = make_busybox_root(tmp_path / "root")
    for path in (root / "bin").iterdir():
        if path.name in ("sh", "ash", "hush", "bash"):
            path.unlink()
    study.use_image(apptainer.build(root, tmp_path / "shell-less.sif"))
    said = refused(study)
    assert "there is no shell (sh) in the image" in said
    assert "busybox or debian:stable-slim" in said


def test_an_image_without_the_program(study: ToolStudy, busybox_image: Path) -> None:
    study.write_tool("copy", shell_tool('cat "$2" >"$1"') | {"environment": {"programs": ["sh", "elastix"]}})
    study.use_image(busybox_image)
    assert "these programs are not in the image: elastix" in refused(study)


def test_no_apptainer(study: ToolStudy, busybox_image: Path, tmp_path: Path) -> None:
    study.use_image(busybox_image)
    folders = os.environ["PATH"].split(os.pathsep)
    others = [
        folder for folder in folders if not any(Path(folder, name).exists() for name in ("apptainer", "singularity"))
    ]
    said = refused(study, env={"PATH": os.pathsep.join(others)})
    assert "apptainer" in said
    assert "PATH" in said


def test_no_fuse(study: ToolStudy, busybox_image: Path) -> None:
    if os.getuid() != 0:
        missing("only root can hide /dev/fuse")
    study.use_image(busybox_image)
    said = refused(study, env=AS_OTHERS, before=WITHOUT_FUSE)
    assert "FUSE (/dev/fuse) is not there" in said
    assert "build --sandbox" in said


def test_no_user_namespaces(study: ToolStudy, busybox_image: Path) -> None:
    study.use_image(busybox_image)
    said = refused(study, env=AS_OTHERS, before=WITHOUT_NAMESPACES)
    assert "user namespaces are not allowed here" in said
    assert "max_user_namespaces" in said


def test_a_study_folder_that_apptainer_cannot_be_told_of(study: ToolStudy, busybox_image: Path) -> None:
    study.use_image(busybox_image)
    study.root = study.root.rename(study.root.with_name("a, b: it's"))
    assert "which Apptainer cannot be told of" in refused(study)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "there is no file models/copy/net.bin"), (b"other", "the tool's descriptor says")],
)
def test_a_model_that_is_not_the_one(
    content: bytes | None, message: str, study: ToolStudy, busybox_image: Path
) -> None:
    model = {"name": "net.bin", "sha256": hashlib.sha256(b"net").hexdigest(), "licence": "MIT", "env": "NET"}
    model["url"] = "https://models.example.org/net.bin"
    study.write_tool("copy", shell_tool('cat "$NET" >"$1"') | {"environment": {"models": [model]}})
    study.use_image(busybox_image)
    if content is not None:
        (study.root / "models/copy").mkdir(parents=True)
        (study.root / "models/copy/net.bin").write_bytes(content)
    said = refused(study)
    assert message in said
    assert "https://models.example.org/net.bin" in said


def test_everything_that_is_wrong_is_said_at_once(apptainer: Apptainer, study: ToolStudy, tmp_path: Path) -> None:
    other = shell_tool('cat "$2" >"$1"')
    two = ToolStudy(tmp_path / "two", {"first": other, "second": other}, {"a": tmp_path / "data.txt"})
    two.write("config/images.yaml", {"first": "one.sif", "second": "two.sif"})
    said = refused(two)
    assert "one.sif" in said
    assert "two.sif" in said


def test_a_model_that_lies_elsewhere_is_seen_in_the_image(study: ToolStudy, busybox_image: Path, outside: Path) -> None:
    (outside / "net.bin").write_bytes(b"net")
    model = {"name": "net.bin", "path": str(outside / "net.bin"), "licence": "MIT", "env": "NET"}
    model["sha256"] = hashlib.sha256(b"net").hexdigest()
    study.write_tool("copy", shell_tool('cat "$NET" >"$1"') | {"environment": {"models": [model]}})
    study.use_image(busybox_image)
    done = study.run("--sdm", "apptainer")
    assert done.returncode == 0, done.stderr
    assert study.result("a", "copy", "out.txt") == b"net"


def test_an_image_that_is_a_folder_needs_no_fuse(study: ToolStudy, busybox_image: Path, tmp_path: Path) -> None:
    if os.getuid() != 0:
        missing("only root can hide /dev/fuse")
    study.use_image(make_busybox_root(tmp_path / "image"))
    done = study.run("--sdm", "apptainer", env=AS_OTHERS, before=WITHOUT_FUSE)
    assert done.returncode == 0, done.stderr
    assert study.result("a", "copy", "out.txt") == b"data\n"
    assert study.record("a", "copy")["environment"]["image"] == str(tmp_path / "image")
