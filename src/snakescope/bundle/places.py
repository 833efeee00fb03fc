"""Where the tools of a pack run: in an image of the pack, or in an environment of its packages.

Collects both; what is missing is a problem. Nothing is fetched here.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from snakescope.bundle.contents import Contents, Remote, tools_of
from snakescope.bundle.manifest import PackedImage, PackedTool
from snakescope.environments import apptainer
from snakescope.environments.images import (
    LOCK,
    SITE_IMAGES,
    State,
    environment_file,
    pin_file,
    read_image_lock,
    read_site_images,
)
from snakescope.errors import Problem
from snakescope.pipeline import Pipeline
from snakescope.tool.image_names import digest_in, is_address, with_digest
from snakescope.tool.library import Tool

IMAGES, PACKAGES = "images", "packages"
_PACKAGE = re.compile(
    r"(?P<url>\S+?/(?P<subdir>[a-z0-9-]+)/(?P<file>[A-Za-z0-9_.+!~-]+\.(?:conda|tar\.bz2)))"
    r"(?:#(?P<digest>(?:sha256:)?[0-9a-f]{64}|[0-9a-f]{32}))?"
)


def collect_places(contents: Contents, root: Path, pipeline: Pipeline, state: State, *, images: bool) -> None:
    """The image or the packages of each tool; with `images` false no images, and tools may have nothing at all."""
    named = _images(root, pipeline) if images else {}
    first = {image: tool for tool, image in reversed(named.items())}
    for image, tool_id in first.items():
        users = [tool for tool, other in named.items() if other == image]
        _add_image(contents, root, image, f"{IMAGES}/{tool_id}.sif", users, state)
    for tool in tools_of(pipeline):
        contents.tools.append(_place(contents, root, tool, named, first, demanded=images))
    if named:
        _add_image_files(contents, named, first)
    kinds = {tool.runs_in for tool in contents.tools}
    if kinds >= {"apptainer", "conda"}:
        told = "Some of the tools have an image and some packages; a run uses one of the two (--sdm)."
        contents.warnings.append(f"{told} The others then run from the machine's own programs.")


def _images(root: Path, pipeline: Pipeline) -> dict[str, str]:
    """The image of each tool that has one; one that has not been built is none."""
    own, lock = read_site_images(root), read_image_lock(root)
    named = {tool.spec.id: own.get(tool.spec.id) or tool.spec.environment.container for tool in tools_of(pipeline)}
    there = {tool: image for tool, image in named.items() if image and (is_address(image) or (root / image).exists())}
    return {tool: with_digest(image, lock.get(image, {}).get("digest")) for tool, image in there.items()}


def _add_image(contents: Contents, root: Path, image: str, path: str, users: list[str], state: State) -> None:
    where = f"image {image} (tools: {', '.join(users)})"
    found = _remote_image(root, image, where) if is_address(image) else _local_image(root, image, where, state)
    if isinstance(found, Problem):
        contents.problems.append(found)
        return
    contents.add(path, "image", found)
    source = image if is_address(image) or not Path(image).is_absolute() else Path(image).name
    sha256 = None if isinstance(found, Remote) else state.sha256(found)
    contents.images[path] = PackedImage(path=path, source=source, sha256=sha256, tools=users)


def _remote_image(root: Path, image: str, where: str) -> Path | Remote | Problem:
    if digest_in(image) is None:
        return Problem(where, "has no digest, so nothing says which one it is", "Name it with @sha256:DIGEST.")
    key = hashlib.md5(image.encode(), usedforsecurity=False).hexdigest()
    kept = root / f".snakemake/singularity/{key}.simg"  # where Snakemake keeps what it has pulled
    if kept.is_file():
        return kept
    if apptainer.program() is None:
        fix = "Install Apptainer, run the pipeline once with --sdm apptainer, or name a .sif in config/images.yaml."
        return Problem(where, "has to be fetched, and there is no program apptainer on the PATH", fix)
    return Remote(image)


def _local_image(root: Path, image: str, where: str, state: State) -> Path | Problem:
    file = root / image
    if not file.is_file():
        fix = f"Build a file of it: apptainer build {image}.sif {image}; and name that."
        return Problem(where, "is a folder; a pack holds image files", fix)
    wanted = read_image_lock(root).get(image, {}).get("file_sha256")
    if wanted and (found := state.sha256(file)) != wanted:
        fix = f"Use the image that was locked, or lock this one: snakescope tool lock {image}"
        return Problem(where, f"its sha256 is {found}; {LOCK} says {wanted}", fix)
    return file


def _add_image_files(contents: Contents, named: dict[str, str], first: dict[str, str]) -> None:
    """Files that say, where the pack is unpacked, which image a tool has; digests are put in when they are known."""
    own = {tool: f"{IMAGES}/{first[image]}.sif" for tool, image in named.items()}
    contents.add(SITE_IMAGES, "config", (json.dumps(own, indent=1) + "\n").encode())
    contents.add(LOCK, "environment", b"")


def lock_text(images: list[PackedImage]) -> bytes:
    """The lock file for the images of a pack."""
    entries = {image.path: {"file_sha256": image.sha256, "built_from": image.source} for image in images}
    return "".join(f"{json.dumps(path)}: {json.dumps(entry)}\n" for path, entry in sorted(entries.items())).encode()


def _place(
    contents: Contents, root: Path, tool: Tool, named: dict[str, str], first: dict[str, str], *, demanded: bool
) -> PackedTool:
    name, conda = tool.spec.id, tool.spec.environment.conda
    cases = len(tool.cases)
    if not cases:
        contents.warnings.append(f"The tool {name!r} has no test case, so nothing is tried where it is unpacked.")
    if name in named:
        return _packed(tool, "apptainer", f"{IMAGES}/{first[named[name]]}.sif")
    pins = environment_file(root, pin_file(Path(conda)).as_posix()) if conda else None
    if conda and pins and pins.is_file():
        _add_packages(contents, pins, pin_file(Path(conda)).as_posix())
        script = Path(conda).with_suffix(".post-deploy.sh")
        contents.warnings += _after(environment_file(root, script.as_posix()), script)
        return _packed(tool, "conda", conda)
    if demanded:
        contents.problems.append(_nowhere(root, tool))
    else:
        contents.warnings.append(f"For the tool {name!r} neither image nor packages go in: the other site has its own.")
    return _packed(tool, "none", None)


def _nowhere(root: Path, tool: Tool) -> Problem:
    """A tool that could not run at the other site."""
    spec, name = tool.spec.environment, tool.spec.id
    image = read_site_images(root).get(name) or spec.container
    built = f"apptainer build {image or f'envs/{name}.sif'} {spec.apptainer_def or 'FILE.def'}"
    ways = [built, *([f"snakescope tool pin {name}"] if spec.conda else [])]
    fix = f"Make one ({' or '.join(ways)}), name a .sif in {SITE_IMAGES}, or pack without: --no-images"
    found = f"its image {image} is not there, and it has" if image else "it has no image and"
    return Problem(f"tool {name!r}", f"{found} no list of exact packages", fix)


def _packed(tool: Tool, runs_in: Any, environment: str | None) -> PackedTool:
    spec = tool.spec
    return PackedTool(id=spec.id, version=spec.version, runs_in=runs_in, environment=environment, cases=len(tool.cases))


def _after(script: Path, name: Path) -> Iterator[str]:
    if script.is_file():
        text = script.read_text(encoding="utf-8", errors="replace")
        told = "calls pip, which" if re.search(r"\bpip3?\b", text) else "may do what"
        yield (
            f"{name} runs when the environment is made, and {told} needs the network: without one the environment "
            "cannot be made. Pack an image of this tool instead."
        )


# ---------------------------------------------------------------------------- packages


def _add_packages(contents: Contents, pins: Path, name: str) -> None:
    """The packages that a pin file names, and the file with their places in the pack."""
    lines = []
    for number, line in enumerate(pins.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip() or line.startswith(("#", "@")):
            lines.append(line)
            continue
        found = _PACKAGE.fullmatch(line.strip())
        if found is None or found["digest"] is None:
            told = "names no package by address" if found is None else "names a package without its digest"
            where = f"{pins}: line {number}"
            contents.problems.append(Problem(where, told, "Expected ADDRESS#MD5 or ADDRESS#SHA256, one a line."))
            continue
        path = f"{PACKAGES}/{found['subdir']}/{found['file']}"
        bare = found["digest"].removeprefix("sha256:")
        digest = f"{'md5' if len(bare) == 32 else 'sha256'}:{bare}"
        _add_package(contents, path, Remote(found["url"], digest), f"{pins}: line {number}")
        lines.append(f"{path}#{found['digest']}")
    contents.add(name, "pin", "".join(f"{line}\n" for line in lines).encode())


def _add_package(contents: Contents, path: str, package: Remote, where: str) -> None:
    if path in contents.packages:
        if contents.packages[path] != package.digest:
            told = f"{Path(path).name} stands in two pin files with different digests"
            contents.problems.append(Problem(where, told, "Take it from one channel in all environments."))
        return
    contents.packages[path] = package.digest or ""
    found = _found(package)
    if isinstance(found, str):
        contents.problems.append(Problem(where, found, "Pin the environment again: snakescope tool pin TOOL"))
    else:
        contents.add(path, "package", found)


def _found(package: Remote) -> Path | Remote | str:
    """Where a package is taken from, or what is wrong with it."""
    local = local_path(package.address)
    if local is None:
        scheme = package.address.partition(":")[0]
        return package if scheme in ("https", "http") else f"packages are not fetched by {scheme}:"
    if not local.is_file():
        return f"there is no file {local}"
    return local if is_digest(local, package.digest or "") else f"{local} is not what the pin file names (its digest)"


def is_digest(file: Path, digest: str) -> bool:
    """Whether a file has a digest, told as ``md5:...`` or ``sha256:...``."""
    kind, _, value = digest.partition(":")
    with file.open("rb") as data:
        return hashlib.file_digest(data, lambda: hashlib.new(kind, usedforsecurity=False)).hexdigest() == value


def local_path(address: str) -> Path | None:
    """The file of a ``file://`` address; None for any other."""
    parts = urlsplit(address)
    return Path(url2pathname(parts.path)) if parts.scheme == "file" else None


def placed_pins(text: str, folder: Path) -> str:
    """A pin file of a pack for the folder that it is unpacked to."""
    base = folder.resolve().as_uri()
    return "".join(f"{base}/{line}\n" if line.startswith(f"{PACKAGES}/") else f"{line}\n" for line in text.splitlines())
