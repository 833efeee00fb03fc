"""What a pack says of itself, and what is refused in it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from snakescope.bundle.manifest import Manifest, PackedFile, is_inside, read_manifest
from snakescope.errors import InputError

DIGEST = "0" * 64


def manifest(**parts: Any) -> dict[str, Any]:
    file = {"path": "tools/a/tool.yaml", "role": "tool", "size": 3, "sha256": DIGEST}
    empty: dict[str, Any] = {"tools": [], "images": [], "models": []}
    return {"schema": 1, "snakescope": "0.1.0", "pipeline": "p", "files": [file], **empty, **parts}


def read(data: Any) -> Manifest:
    return read_manifest(json.dumps(data).encode(), "a.tar")


def file(path: str) -> dict[str, Any]:
    return {"path": path, "role": "tool", "size": 1, "sha256": DIGEST}


def test_what_is_written_is_read_again() -> None:
    told = read(manifest())
    assert read_manifest(told.text().encode(), "a.tar") == told
    assert told.size == 3


@pytest.mark.parametrize("schema", [2, "1", None, 0])
def test_another_schema_is_refused_by_its_number(schema: object) -> None:
    with pytest.raises(InputError, match=rf"has the schema {schema!r}; this version of snakescope reads 1"):
        read(manifest(schema=schema))


def test_no_schema_at_all_is_refused() -> None:
    with pytest.raises(InputError, match="has the schema None"):
        read([])


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", b"a: b"])
def test_no_json_is_refused(data: bytes) -> None:
    with pytest.raises(InputError, match="is no JSON"):
        read_manifest(data, "a.tar")


def test_unknown_keys_and_wrong_digests_are_refused() -> None:
    with pytest.raises(InputError, match="more: Extra inputs are not permitted"):
        read(manifest(more=1))
    with pytest.raises(InputError, match=r"files\.0\.sha256"):
        read(manifest(files=[file("a") | {"sha256": "00"}]))


@pytest.mark.parametrize(
    "path",
    [
        *("/etc/passwd", "../a", "a/../../b", "a/..", "..", ".", "", "a//b", "./a", "a/", "a\\b", "a\nb", "a\0b"),
        *("snakescope-pack.json", "~/../a"),
    ],
)
def test_a_place_outside_the_folder_is_refused(path: str) -> None:
    assert not is_inside(path)
    with pytest.raises(InputError, match="no place inside a folder"):
        read(manifest(files=[file(path)]))


@pytest.mark.parametrize("path", ["a", "a/b c", "a/..b", "über/日本.tif", "a/.hidden", "~a", "-a", "a:b"])
def test_a_plain_place_is_taken(path: str) -> None:
    assert is_inside(path)
    assert read(manifest(files=[file(path)])).files[0] == PackedFile.model_validate(file(path))


def test_a_place_that_is_named_twice_or_below_a_file_is_refused() -> None:
    with pytest.raises(InputError, match="it names 'a' twice"):
        read(manifest(files=[file("a"), file("a")]))
    with pytest.raises(InputError, match="it names 'a/b/c' below a file"):
        read(manifest(files=[file("a/b/c"), file("a")]))


@pytest.mark.parametrize("digest", [DIGEST, "1" * 64])
def test_an_image_or_model_must_be_among_the_files_with_its_digest(digest: str) -> None:
    image = {"path": "images/a.sif", "source": "a.sif", "sha256": digest, "tools": ["a"]}
    files = [file("images/a.sif")] if digest != DIGEST else []
    with pytest.raises(InputError, match=r"speaks of 'images/a.sif', which is not among its files with that digest"):
        read(manifest(images=[image], files=files))
    model = {"path": "m", "name": "m", "licence": "MIT", "sha256": digest, "tools": ["a"]}
    with pytest.raises(InputError, match="speaks of 'm'"):
        read(manifest(models=[model], files=files))
