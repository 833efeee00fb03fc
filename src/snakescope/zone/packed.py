"""Unpack an OME-Zarr that is one packed object, zip or tar: nothing but plain files, none outside of its folder."""

from __future__ import annotations

import shutil
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from snakescope.errors import problem

ROOT_FILES = ("zarr.json", ".zgroup", ".zattrs", ".zarray")


def unpack(archive: Path, folder: Path, where: object) -> None:
    """Unpack an archive into a new folder; a single folder around it all is left away.

    Parameters
    ----------
    archive
        The zip or tar file, compressed or not.
    folder
        Is made.
    where
        What to call the archive in a message.

    Raises
    ------
    InputError
        If it is broken, holds no Zarr, or names a place outside of it.
    """
    shutil.rmtree(folder, ignore_errors=True)
    try:
        with zipfile.ZipFile(archive) if zipfile.is_zipfile(archive) else tarfile.open(archive) as opened:
            files = dict(_zip_files(opened) if isinstance(opened, zipfile.ZipFile) else _tar_files(opened))
            for parts, open_file in _below_root(files, where):
                place = folder.joinpath(*parts)
                place.parent.mkdir(parents=True, exist_ok=True)
                with open_file() as source, place.open("xb") as target:
                    shutil.copyfileobj(source, target, 1 << 20)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, FileExistsError, NotADirectoryError) as error:
        raise problem(where, f"cannot be unpacked ({error})", "Pack it anew.") from error


def _zip_files(opened: zipfile.ZipFile) -> Iterator[tuple[str, _Opener]]:
    for info in opened.infolist():
        if stat.S_ISLNK(info.external_attr >> 16):
            raise tarfile.TarError(f"{info.filename!r} is a link")
        if not info.is_dir():
            yield info.filename, _Opener(opened, info)


def _tar_files(opened: tarfile.TarFile) -> Iterator[tuple[str, _Opener]]:
    for info in opened:
        if info.isfile():
            yield info.name, _Opener(opened, info)
        elif not info.isdir():
            raise tarfile.TarError(f"{info.name!r} is a link or a device")


class _Opener:
    """Opens one file of an archive."""

    def __init__(self, archive: zipfile.ZipFile | tarfile.TarFile, info: zipfile.ZipInfo | tarfile.TarInfo) -> None:
        self.archive, self.info = archive, info

    def __call__(self) -> IO[bytes]:
        if isinstance(self.archive, zipfile.ZipFile):
            assert isinstance(self.info, zipfile.ZipInfo)
            return self.archive.open(self.info)
        assert isinstance(self.info, tarfile.TarInfo)
        found = self.archive.extractfile(self.info)
        assert found is not None
        return found


def _below_root(files: dict[str, _Opener], where: object) -> Iterator[tuple[tuple[str, ...], _Opener]]:
    """The files by the parts of their paths below the folder that is the Zarr."""
    found = {}
    for name, open_file in files.items():
        parts = tuple(part for part in PurePosixPath(name).parts if part != ".")
        if not parts or name.startswith("/") or ".." in parts:
            raise problem(where, f"holds a file {name!r}, which would lie outside of its folder", "Pack it anew.")
        found[parts] = open_file
    roots = [parts[:-1] for parts in found if parts[-1] in ROOT_FILES and len(parts) <= 2]
    root = min(roots, key=len, default=None)
    if root is None or any(parts[: len(root)] != root for parts in found):
        raise problem(where, f"holds no Zarr: none of {', '.join(ROOT_FILES)} at its top", "Pack one .zarr folder.")
    for parts, open_file in found.items():
        yield parts[len(root) :], open_file
