"""The images that tools run in: which one, by which digest, and whether it is the one that was locked.

Reads ``config/images.yaml`` (a site's own images) and ``envs/images.lock.yaml`` (digests), and remembers digests of
local files, which are taken once. Starts no program. Every job imports it, so it stays light.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from snakescope import layout
from snakescope.errors import InputError, Problem, problem
from snakescope.tool.image_names import digest_in, is_address, unfit_image

SITE_IMAGES = "config/images.yaml"
LOCK = "envs/images.lock.yaml"
STATE = f"{layout.STATE}/environments.json"
# Of the files about an environment; images lie among them, too.
_BESIDE = (".yaml", ".post-deploy.sh", ".def")
_LOCK_KEYS = ("digest", "file_sha256", "built_from", "date")


def read_site_images(root: Path) -> dict[str, str]:
    """Read ``config/images.yaml``: the image that this site uses for a tool; empty when there is no such file.

    Raises
    ------
    InputError
        With every line that names no image.
    """
    data = _read(root / SITE_IMAGES)
    problems = [
        Problem(f"{root / SITE_IMAGES}: {tool}", message)
        for tool, image in data.items()
        if (message := unfit_image(image) if isinstance(image, str) else f"found {image!r}; expected an image")
    ]
    if problems:
        raise InputError(problems)
    return data


def read_image_lock(root: Path) -> dict[str, dict[str, Any]]:
    """Read ``envs/images.lock.yaml``: what is known of each image; empty when there is no such file.

    Raises
    ------
    InputError
        With every entry that is none.
    """
    path = root / LOCK
    data = _read(path)
    problems = [fault for image, entry in data.items() for fault in _faults(f"{path}: {image}", entry)]
    if problems:
        raise InputError(problems)
    return data


def _faults(where: str, entry: Any) -> Iterator[Problem]:
    if not isinstance(entry, dict):
        yield Problem(where, f"found {entry!r}; expected `key: value` lines", f"Keys: {', '.join(_LOCK_KEYS)}.")
        return
    for key, value in entry.items():
        bare = str(value).removeprefix("sha256:") if key == "digest" else str(value)
        if key not in _LOCK_KEYS:
            yield Problem(f"{where}.{key}", "unknown key", f"Known keys: {', '.join(_LOCK_KEYS)}.")
        elif key in ("digest", "file_sha256") and not _is_sha256(bare):
            yield Problem(f"{where}.{key}", f"found {value!r}; expected a sha256 of 64 digits")


def _is_sha256(text: str) -> bool:
    return len(text) == 64 and not set(text) - set("0123456789abcdef")


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    from snakescope.tool.base import read_yaml  # not light, and needed where there is such a file only

    return read_yaml(path)


@dataclass
class State:
    """What was found out before a run, for the jobs: ``.snakescope/environments.json``.

    Parameters
    ----------
    binds
        What images must see outside the study, as Apptainer takes it: ``FOLDER:FOLDER:ro`` or ``:rw``.
    files
        Size, time of the last change and sha256 of files that were hashed, by their absolute path.
    """

    binds: list[str] = field(default_factory=list)
    files: dict[str, tuple[int, int, str]] = field(default_factory=dict)

    @classmethod
    def read(cls, root: Path) -> State:
        """Read it; empty when there is none, or none that can be read."""
        try:
            data = json.loads((root / STATE).read_text(encoding="utf-8"))
            files = {path: (entry[0], entry[1], entry[2]) for path, entry in data["files"].items()}
            return cls(list(data["binds"]), files)
        except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError):
            return cls()

    def write(self, root: Path) -> None:
        """Write it, whole or not at all."""
        path = root / STATE
        path.parent.mkdir(exist_ok=True)
        temporary = path.with_name(f"{path.name}.{os.getpid()}")
        temporary.write_text(json.dumps({"binds": self.binds, "files": self.files}, indent=1) + "\n", encoding="utf-8")
        temporary.replace(path)

    def known(self, path: Path) -> str | None:
        """The sha256 of a file that has not changed since it was hashed; None for others."""
        try:
            found = path.stat()
        except OSError:
            return None
        entry = self.files.get(str(path.absolute()))
        return entry[2] if entry and entry[:2] == (found.st_size, found.st_mtime_ns) else None

    def sha256(self, path: Path) -> str:
        """The sha256 of a file, taken when it is not known."""
        known = self.known(path)
        if known is None:
            found = path.stat()
            known = file_sha256(path)
            self.files[str(path.absolute())] = (found.st_size, found.st_mtime_ns, known)
        return known

    def keep(self, paths: Iterable[Path]) -> None:
        """Forget all files but these."""
        wanted = {str(path.absolute()) for path in paths}
        self.files = {path: entry for path, entry in self.files.items() if path in wanted}


def file_sha256(path: Path) -> str:
    """The sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def image_sha256(image: str, root: Path, state: State) -> str | None:
    """What is known of an image's digest: that in its address, or that of its file; None for an image folder."""
    return digest_in(image) or (None if is_address(image) else state.known(root / image))


def pin_file(file: Path) -> Path:
    """The file beside a conda environment file that holds its exact packages, as Snakemake looks for it."""
    return file.with_suffix(".linux-64.pin.txt")


def environment_file(root: Path, name: str) -> Path:
    """A file about an environment: the study's own, else the one that is shipped."""
    own = root / name
    return own if own.is_file() else layout.assets() / name


def environment_files(root: Path, *names: str | None) -> dict[str, Path]:
    """All files that say how an environment is made, by their path in a study.

    Parameters
    ----------
    names
        Its conda file and its Apptainer definition, as a descriptor names them; None where it has none. What lies
        beside them under the same name belongs to it (packages pinned, a script); an image does not.
    """
    stems = {name.rpartition(".")[0] for name in names if name}
    beside = {f"{stem}{suffix}" for stem in stems for suffix in _BESIDE}
    pinned = {pin_file(Path(f"{stem}.yaml")).as_posix() for stem in stems}
    wanted = sorted({name for name in names if name} | beside | pinned)
    found = {name: environment_file(root, name) for name in wanted}
    return {name: file for name, file in found.items() if file.is_file()}


def unlocked(image: str, lock: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether nothing says which bytes an image is."""
    entry = lock.get(image, {})
    return not (digest_in(image) or entry.get("file_sha256") or (is_address(image) and entry.get("digest")))


def write_lock(root: Path, image: str, built_from: str | None = None) -> dict[str, Any]:
    """Write an image's digest into ``envs/images.lock.yaml``, in place of what stood there.

    Returns
    -------
    The entry.

    Raises
    ------
    InputError
        If there is no such file, or the image is a folder or lies in a registry under a name without a digest.
    """
    entry: dict[str, Any] = {"date": datetime.now(UTC).date().isoformat()}
    if is_address(image):
        found = digest_in(image)
        if unfit_image(image) or found is None:
            message = unfit_image(image) or "has no digest, and nothing is asked of a registry"
            raise problem(f"image {image}", message, "Name it with @sha256:DIGEST, as the registry shows it.")
        entry = {"digest": f"sha256:{found}"} | entry
    elif not (root / image).is_file():
        told = "is a folder, which has no digest" if (root / image).is_dir() else "there is no such image"
        raise problem(root / image, told, "Name a .sif file.")
    else:
        entry = {"file_sha256": file_sha256(root / image)} | ({"built_from": built_from} if built_from else {}) | entry
    path = root / LOCK
    entries = read_image_lock(root) | {image: entry}
    old = path.read_text(encoding="utf-8") if path.is_file() else ""
    head = "".join(f"{line}\n" for line in old.splitlines() if line.startswith("#"))
    lines = [f"{json.dumps(name)}: {json.dumps(entries[name], ensure_ascii=False)}\n" for name in sorted(entries)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(head + "".join(lines), encoding="utf-8")
    return entry
