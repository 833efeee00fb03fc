"""What a pack says of itself: its first member, ``snakescope-pack.json``.

Knows names, sizes and digests; reads and writes no archive.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, ValidationError

from snakescope.errors import InputError, Problem, problem
from snakescope.tool.base import Model

NAME = "snakescope-pack.json"
SCHEMA = 1
# A manifest is read whole: a pipeline of a hundred tools with conda packages has some 20 000 files, 4 MB.
MOST_BYTES = 64 * 2**20

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Role = Literal[
    "tool", "pipeline", "rules", "workflow", "profile", "config", "environment", "pin", "package", "image", "model",
    "shared",
]  # fmt: skip
Means = Literal["apptainer", "conda", "none"]


class PackedFile(Model):
    """A file of a pack."""

    path: str
    """Path below the folder that it is unpacked to."""
    role: Role
    """What it is for."""
    size: int = Field(ge=0)
    """Bytes."""
    sha256: Sha256
    """Digest."""
    executable: bool = False
    """Whether it is a program."""


class PackedTool(Model):
    """A tool of a pack."""

    id: str
    """Id."""
    version: str
    """Version of the descriptor."""
    runs_in: Means
    """What the pack brings for it: an image, the packages of a conda environment, or nothing but the tool itself."""
    environment: str | None = None
    """Path of the image, or of the conda environment file."""
    cases: int = Field(ge=0)
    """Number of its test cases."""


class PackedImage(Model):
    """An image of a pack."""

    path: str
    """Path below the folder."""
    source: str
    """What it was called where it was packed, or the address it was fetched from."""
    sha256: Sha256 | None
    """Digest of the file; None before it has been fetched."""
    tools: list[str]
    """Ids of the tools that run in it."""


class PackedModel(Model):
    """A model of a pack."""

    path: str
    """Path below the folder."""
    name: str
    """Name."""
    licence: str
    """Licence, as the tool's descriptor says it."""
    sha256: Sha256
    """Digest of the file."""
    tools: list[str]
    """Ids of the tools that need it."""


class Manifest(Model):
    """All that is in a pack."""

    schema_: Literal[1] = Field(alias="schema")
    """Version of this format."""
    snakescope: str
    """Version of snakescope that wrote it."""
    pipeline: str
    """Name of the pipeline."""
    files: list[PackedFile]
    """Every file, in the order of the archive."""
    tools: list[PackedTool]
    """The pipeline's tools."""
    images: list[PackedImage]
    """The images."""
    models: list[PackedModel]
    """The models."""
    warnings: list[str] = []
    """What whoever packed was told."""

    def text(self) -> str:
        """As it stands in the archive."""
        return json.dumps(self.model_dump(mode="json", by_alias=True), indent=1, ensure_ascii=False) + "\n"

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


def read_manifest(data: bytes, where: object) -> Manifest:
    """Read and check the first member of an archive.

    Raises
    ------
    InputError
        If it is none that this version reads, or names a place outside the folder or one place twice.
    """
    try:
        raw = json.loads(data)
    except ValueError:
        raise problem(where, f"its {NAME} is no JSON", "It is damaged, or no pack; get it again.") from None
    schema = raw.get("schema") if isinstance(raw, dict) else None
    if schema != SCHEMA:
        message = f"its {NAME} has the schema {schema!r}; this version of snakescope reads {SCHEMA}"
        raise problem(where, message, "Unpack it with the version that packed it, or a later one.")
    try:
        manifest = Manifest.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        told = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise problem(where, f"its {NAME} is wrong ({told})", "It is damaged, or no pack; get it again.") from None
    problems = [Problem(str(where), fault) for fault in _faults(manifest)]
    if problems:
        raise InputError(problems[:5])
    return manifest


def _faults(manifest: Manifest) -> Iterator[str]:
    seen: set[str] = set()
    for file in manifest.files:
        if not is_inside(file.path):
            yield f"it names {file.path!r}, which is no place inside a folder"
        elif file.path in seen:
            yield f"it names {file.path!r} twice"
        seen.add(file.path)
    for path in sorted(seen):
        if any(str(parent) in seen for parent in PurePosixPath(path).parents):
            yield f"it names {path!r} below a file"
    digests = {file.path: file.sha256 for file in manifest.files}
    told = [(image.path, image.sha256) for image in manifest.images]
    told += [(model.path, model.sha256) for model in manifest.models]
    for path, sha256 in told:
        if digests.get(path) != sha256:
            yield f"it speaks of {path!r}, which is not among its files with that digest"


def is_inside(path: str) -> bool:
    """Whether a name is a plain place below a folder: relative, no ``..``, nothing that a file system reads anew."""
    pure = PurePosixPath(path)
    odd = any(ord(sign) < 32 or ord(sign) == 127 or sign == "\\" for sign in path)
    plain = bool(pure.parts) and str(pure) == path and path != NAME
    return plain and not odd and not pure.is_absolute() and ".." not in pure.parts
