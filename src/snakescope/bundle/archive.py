"""The archive file itself: a plain tar with the manifest first. The same files make the same bytes.

Written to a temporary name beside its own and renamed; read member by member, each checked against the manifest before
a byte of it is written, and by its digest after.
"""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import IO

from snakescope.bundle.manifest import MOST_BYTES, NAME, Manifest, PackedFile, read_manifest
from snakescope.errors import problem

CHUNK = 2**20
Progress = Callable[[int], None]
_AGAIN = "Get the archive again, or pack it anew."


def nothing(_: int) -> None:
    """No progress."""


class Digesting(io.RawIOBase):
    """Hashes what is written through it."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.sha256 = file, hashlib.sha256()

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        """Write and hash."""
        self.sha256.update(data)
        return self.file.write(data)


def write_archive(
    path: Path, manifest: Manifest, sources: Mapping[str, Path | bytes], progress: Progress = nothing
) -> str:
    """Write a pack, whole or not at all.

    Parameters
    ----------
    path
        Where it goes.
    manifest
        What is in it.
    sources
        Files or texts by their path in the pack.
    progress
        Told of the bytes that have been written.

    Returns
    -------
    The sha256 of the archive.

    Raises
    ------
    InputError
        If it cannot be written, or a file has changed since its digest was taken.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            digesting = Digesting(file)
            with tarfile.open(fileobj=digesting, mode="w|", format=tarfile.PAX_FORMAT) as archive:
                _add(archive, NAME, io.BytesIO(manifest.text().encode()), len(manifest.text().encode()))
                for packed in manifest.files:
                    _add_file(archive, packed, sources[packed.path], progress)
        temporary.replace(path)
    except OSError as error:
        raise problem(path, f"cannot be written ({error.strerror or error})") from error
    finally:
        temporary.unlink(missing_ok=True)
    return digesting.sha256.hexdigest()


def _add(archive: tarfile.TarFile, name: str, data: IO[bytes], size: int, *, executable: bool = False) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o755 if executable else 0o644
    archive.addfile(member, data)


class _Checked(io.RawIOBase):
    """Hashes what is read through it, and tells how much that is."""

    def __init__(self, file: IO[bytes], progress: Progress) -> None:
        self.file, self.progress, self.sha256 = file, progress, hashlib.sha256()

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self.file.read(size)
        self.sha256.update(data)
        self.progress(len(data))
        return data


def _add_file(archive: tarfile.TarFile, packed: PackedFile, source: Path | bytes, progress: Progress) -> None:
    with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as file:
        changed = problem(source, "was changed while it was packed", "Pack again when nothing writes to it.")
        checked = _Checked(file, progress)
        try:
            _add(archive, packed.path, checked, packed.size, executable=packed.executable)  # type: ignore[arg-type]
        except OSError as error:  # tarfile's own, of a file that has become shorter, has no number
            raise (changed if error.errno is None else error) from error
        if checked.sha256.hexdigest() != packed.sha256 or file.read(1):
            raise changed


def read_archive(path: Path, folder: Path, starting: Callable[[Manifest], Progress]) -> Manifest:
    """Unpack into an empty folder, checking every name, size and digest.

    Parameters
    ----------
    path
        The archive.
    folder
        Where to; what is in it when this raises is to be thrown away.
    starting
        Called when the manifest has been read; may raise, and returns what is told of the bytes that were read.

    Raises
    ------
    InputError
        If it is no pack, is cut off, or is not what its manifest says.
    """
    try:
        with path.open("rb") as file, tarfile.open(fileobj=file, mode="r|") as archive:
            manifest = _first(archive, path)
            _extract(archive, manifest, path, folder, starting(manifest))
            return manifest
    except (tarfile.TarError, EOFError) as error:
        raise problem(path, f"is damaged, or no pack ({error})", _AGAIN) from error
    except OSError as error:
        raise problem(path, f"cannot be read or unpacked ({error.strerror or error})") from error


def _first(archive: tarfile.TarFile, path: Path) -> Manifest:
    member = archive.next()
    if member is None or member.name != NAME or not member.isreg():
        raise problem(path, f"is no pack: its first member is no {NAME}", "Give a file that `snakescope pack` wrote.")
    if member.size > MOST_BYTES:
        raise problem(path, f"its {NAME} has {member.size} bytes; at most {MOST_BYTES} are read")
    return read_manifest(_data(archive, member).read(), path)


def _data(archive: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    data = archive.extractfile(member)
    assert data is not None, "a regular file has data"
    return data


def _extract(archive: tarfile.TarFile, manifest: Manifest, path: Path, folder: Path, progress: Progress) -> None:
    wanted = {file.path: file for file in manifest.files}
    while member := archive.next():
        where = f"{path}: {member.name}"
        if not member.isreg():
            raise problem(where, "is a link, a device or a folder; a pack holds files only", _AGAIN)
        tarfile.data_filter(member, str(folder))
        packed = wanted.pop(member.name, None)
        if packed is None:
            twice = any(file.path == member.name for file in manifest.files)
            raise problem(where, "is in it twice" if twice else f"is not listed in its {NAME}", _AGAIN)
        if member.size != packed.size:
            raise problem(where, f"has {member.size} bytes; its {NAME} says {packed.size}", _AGAIN)
        _write(_data(archive, member), packed, folder, where, progress)
    if wanted:
        told = f"{min(wanted)}, and {len(wanted) - 1} more" if len(wanted) > 1 else min(wanted)
        raise problem(path, f"is cut off or damaged: not in it, though listed: {told}", _AGAIN)


def _write(data: IO[bytes], packed: PackedFile, folder: Path, where: str, progress: Progress) -> None:
    target = folder / packed.path
    target.parent.mkdir(parents=True, exist_ok=True)
    sha256 = hashlib.sha256()
    mode = 0o777 if packed.executable else 0o666
    with open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:  # noqa: PTH123
        for chunk in _chunks(data):
            sha256.update(chunk)
            file.write(chunk)
            progress(len(chunk))
    if sha256.hexdigest() != packed.sha256:
        raise problem(where, f"has the sha256 {sha256.hexdigest()}; its {NAME} says {packed.sha256}", _AGAIN)


def _chunks(data: IO[bytes]) -> Iterable[bytes]:
    return iter(lambda: data.read(CHUNK), b"")
