"""Images: their names, a site's own ones, what is locked, and digests that are taken once."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from snakescope.environments import images
from snakescope.environments.images import (
    LOCK,
    SITE_IMAGES,
    STATE,
    State,
    read_image_lock,
    read_site_images,
    write_lock,
)
from snakescope.errors import InputError
from snakescope.tool.image_names import digest_in, unfit_image, with_digest

A, B = "a" * 64, "b" * 64


@pytest.mark.parametrize(
    "text",
    [
        "envs/gm.sif", "/cluster/images/gm-1.3+x=y.sif", "folder/", "gm", "docker://gm", "docker://quay.io/x/gm:1.3",
        f"docker://localhost:5000/x/gm@sha256:{A}", f"oras://reg.example/gm:1@sha256:{A}",
    ],
)  # fmt: skip
def test_a_path_or_an_address_names_an_image(text: str) -> None:
    assert unfit_image(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "", "a b.sif", "a;b.sif", "$(x).sif", "`x`", "a'b", 'a"b', "-x.sif", "~/x.sif", "a\nb", "ä.sif", "x:y", "x@y",
        "library://x", "docker://", "docker://x y", "docker://x@sha256:12", f"docker://x@sha256:{A}0", "docker://x;y",
        "docker://$(x)", "shub://x", "a{b}.sif", "http://x/y.sif", "a\tb",
    ],
)  # fmt: skip
def test_a_name_that_could_mean_something_else_in_a_shell_is_refused(text: str) -> None:
    assert unfit_image(text) is not None


@pytest.mark.parametrize(
    ("image", "digest", "expected"),
    [
        ("envs/x.sif", f"sha256:{A}", "envs/x.sif"),
        ("docker://q.io/x:1.0", f"sha256:{A}", f"docker://q.io/x@sha256:{A}"),
        ("docker://q.io:80/x", A, f"docker://q.io:80/x@sha256:{A}"),
        (f"docker://q.io:80/x:1@sha256:{B}", None, f"docker://q.io:80/x@sha256:{B}"),
        (f"docker://x@sha256:{B}", f"sha256:{A}", f"docker://x@sha256:{B}"),
        ("docker://x:1", None, "docker://x:1"),
    ],
)
def test_a_digest_takes_the_place_of_a_tag(image: str, digest: str | None, expected: str) -> None:
    assert with_digest(image, digest) == expected
    assert unfit_image(expected) is None


def test_a_digest_is_read_from_an_address() -> None:
    assert digest_in(f"docker://x:1@sha256:{A}") == A
    assert digest_in("docker://x:1") is None
    assert digest_in("envs/x.sif") is None


# ---------------------------------------------------------------------------- files of the study


def write(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


def test_no_files_are_no_images(tmp_path: Path) -> None:
    assert read_site_images(tmp_path) == {}
    assert read_image_lock(tmp_path) == {}


def test_every_line_that_names_no_image_is_told(tmp_path: Path) -> None:
    write(tmp_path, SITE_IMAGES, "gm: /x/gm.sif\nspot: a b\nblur: 3\n")
    with pytest.raises(InputError) as caught:
        read_site_images(tmp_path)
    assert [problem.where for problem in caught.value.problems] == [
        f"{tmp_path / SITE_IMAGES}: spot",
        f"{tmp_path / SITE_IMAGES}: blur",
    ]


def test_every_entry_of_a_lock_that_is_none_is_told(tmp_path: Path) -> None:
    write(
        tmp_path,
        LOCK,
        f"a.sif: {{file_sha256: {A}, date: 2026-01-01}}\nb.sif: {{file_sha256: 12}}\nc: x\nd: {{sha: 1}}\n",
    )
    with pytest.raises(InputError) as caught:
        read_image_lock(tmp_path)
    told = [str(problem).removeprefix(f"{tmp_path / LOCK}: ").splitlines()[0] for problem in caught.value.problems]
    assert told == [
        "b.sif.file_sha256: found 12; expected a sha256 of 64 digits.",
        "c: found 'x'; expected `key: value` lines.",
        "d.sha: unknown key.",
    ]


def test_a_lock_is_written_and_read_back_and_keeps_its_head(tmp_path: Path) -> None:
    write(tmp_path, LOCK, "# what it is\n{}\n")
    write(tmp_path, "envs/x.sif", "image")
    write_lock(tmp_path, "envs/x.sif", "envs/x.def")
    write_lock(tmp_path, f"docker://q.io/y@sha256:{A}")
    found = read_image_lock(tmp_path)
    assert found["envs/x.sif"]["file_sha256"] == hashlib.sha256(b"image").hexdigest()
    assert found["envs/x.sif"]["built_from"] == "envs/x.def"
    assert found[f"docker://q.io/y@sha256:{A}"]["digest"] == f"sha256:{A}"
    assert (tmp_path / LOCK).read_text().startswith("# what it is\n")
    write(tmp_path, "envs/x.sif", "other")
    write_lock(tmp_path, "envs/x.sif")
    assert read_image_lock(tmp_path)["envs/x.sif"]["file_sha256"] == hashlib.sha256(b"other").hexdigest()


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ("docker://q.io/y:1", "has no digest, and nothing is asked of a registry"),
        ("envs/none.sif", "there is no such image"),
        ("folder", "is a folder, which has no digest"),
    ],
)
def test_what_has_no_digest_is_not_locked(tmp_path: Path, image: str, message: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=message):
        write_lock(tmp_path, image)
    assert not (tmp_path / LOCK).exists()


def test_only_a_digest_that_can_be_checked_counts_for_a_release() -> None:
    lock = {"a.sif": {"file_sha256": A}, "docker://x": {"digest": f"sha256:{A}"}, "b.sif": {"digest": f"sha256:{A}"}}
    told = ["a.sif", "b.sif", "c.sif", "docker://x", "docker://y", f"docker://y@sha256:{A}"]
    assert [image for image in told if images.unlocked(image, lock)] == ["b.sif", "c.sif", "docker://y"]


# ---------------------------------------------------------------------------- taken once


def test_a_file_is_hashed_once_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[Path] = []
    real = images.file_sha256

    def take(path: Path) -> str:
        taken.append(path)
        return real(path)

    monkeypatch.setattr(images, "file_sha256", take)
    write(tmp_path, "x.sif", "one")
    state = State()
    first = state.sha256(tmp_path / "x.sif")
    state.write(tmp_path)
    again = State.read(tmp_path)
    assert (again.sha256(tmp_path / "x.sif"), again.known(tmp_path / "x.sif"), len(taken)) == (first, first, 1)
    write(tmp_path, "x.sif", "two!")
    assert again.known(tmp_path / "x.sif") is None
    assert again.sha256(tmp_path / "x.sif") == hashlib.sha256(b"two!").hexdigest()
    os.utime(tmp_path / "x.sif", ns=(1, 1))
    assert again.known(tmp_path / "x.sif") is None
    again.keep([])
    assert again.files == {}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"binds": []}', '{"binds": [], "files": {"/x": 1}}', "null"])
def test_a_state_that_cannot_be_read_is_none(tmp_path: Path, text: str) -> None:
    write(tmp_path, STATE, text)
    assert State.read(tmp_path) == State()
