"""Find the images below a folder, and account for everything else that lies there.

Nothing is opened here: a file is an image by its suffix, a folder is one image when it is a Zarr store.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from snakescope.catalog.names import shown, split_suffix
from snakescope.samples.cells import UNFIT

ZARR_MARKS = frozenset({"zarr.json", ".zgroup", ".zattrs", ".zarray"})
STUDY_FOLDERS = frozenset(
    {"config", "rules", "workflow", "profiles", "results", "records", "study", "logs", "benchmarks", "tools", "envs"}
)
NO_SUFFIX = "(no suffix)"


@dataclass
class Leftovers:
    """What lies somewhere and is no image that was read. Paths are relative, with ``/`` between the parts."""

    unreadable: list[tuple[str, str]] = field(default_factory=list)
    other: Counter[str] = field(default_factory=Counter)
    hidden: int = 0
    excluded: Counter[str] = field(default_factory=Counter)
    not_included: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list)


@dataclass
class Found(Leftovers):
    """What a folder holds."""

    images: list[str] = field(default_factory=list)


def walk(folder: Path, *, include: Sequence[str], exclude: Sequence[str], study: Path | None) -> Found:
    """List the images below `folder`, sorted by path.

    Parameters
    ----------
    folder
        Where to look; links are followed, and no folder is walked twice.
    include, exclude
        Globs. One without ``/`` is held against every part of a path, one with ``/`` against the whole.
    study
        Study folder whose own folders (results, records, ...) are left out; so are those of any other study met.
    """
    walker = _Walker(folder, include, exclude, study)
    walker.run()
    walker.found.images.sort()
    walker.found.unreadable.sort()
    return walker.found


def is_zarr(folder: Path) -> bool:
    """Whether a folder is a Zarr store: one image, not a folder to look into."""
    return any((folder / mark).exists() for mark in ZARR_MARKS)


class _Walker:
    def __init__(self, folder: Path, include: Sequence[str], exclude: Sequence[str], study: Path | None) -> None:
        self.found = Found(excluded=Counter(dict.fromkeys(exclude, 0)))
        self._root = os.fspath(folder)
        self._include = include
        self._exclude = exclude
        self._study = os.fspath(study) if study else None
        self._seen: set[tuple[int, int]] = set()
        self._files: set[tuple[int, int]] = set()
        self._folder_links: list[str] = []
        self._file_links: list[str] = []

    def run(self) -> None:
        """Walk real folders first, so that a link to one of them is known as such."""
        self._walk("")
        while self._folder_links:
            links, self._folder_links = sorted(self._folder_links), []
            for relative in links:
                self._walk(relative)
        for relative in sorted(self._file_links):
            self._add_file_link(relative)

    def _walk(self, start: str) -> None:
        pending = [start]
        while pending:
            relative = pending.pop()
            entries = self._list(relative)
            if entries is None:
                continue
            if any(entry.name in ZARR_MARKS for entry in entries):
                if self._is_wanted(relative):
                    self.found.images.append(relative)
                continue
            is_study = self._is_study(relative, entries)
            for entry in entries:
                name = f"{relative}/{entry.name}" if relative else entry.name
                if is_study and entry.name in STUDY_FOLDERS and entry.is_dir():
                    self.found.skipped.append((shown(name), "a folder of a study's own"))
                elif self._add_safely(entry, name):
                    pending.append(name)

    def _list(self, relative: str) -> list[os.DirEntry[str]] | None:
        path = os.path.join(self._root, relative)  # noqa: PTH118 -- Path would cost more than the walk itself
        try:
            status = os.stat(path)  # noqa: PTH116
            if (status.st_dev, status.st_ino) in self._seen:
                self.found.skipped.append((shown(relative), "a link to a folder that is walked already"))
                return None
            self._seen.add((status.st_dev, status.st_ino))
            with os.scandir(path) as listing:
                return sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            self.found.unreadable.append((shown(relative) or ".", f"the folder cannot be listed: {error.strerror}"))
            return None

    def _is_study(self, relative: str, entries: list[os.DirEntry[str]]) -> bool:
        path = os.path.normpath(os.path.join(self._root, relative))  # noqa: PTH118
        if path == self._study:
            return True
        names = {entry.name for entry in entries}
        return "config" in names and os.path.isfile(os.path.join(path, "config", "samples.tsv"))  # noqa: PTH118, PTH113

    def _add_safely(self, entry: os.DirEntry[str], relative: str) -> bool:
        try:
            return self._add(entry, relative)
        except OSError as error:  # a link to itself, a disk that went away
            self.found.unreadable.append((shown(relative), f"cannot be looked at: {error.strerror}"))
            return False

    def _add(self, entry: os.DirEntry[str], relative: str) -> bool:
        """Account for one entry; True when it is a folder to walk now."""
        if entry.name.startswith("."):
            self.found.hidden += 1
            return False
        glob = next((glob for glob in self._exclude if matches(glob, relative)), None)
        if glob is not None:
            self.found.excluded[glob] += 1
            return False
        is_folder = entry.is_dir()
        if is_folder and not entry.name.lower().endswith(".zarr"):
            if entry.is_symlink():
                self._folder_links.append(relative)
            return not entry.is_symlink()
        if not split_suffix(entry.name)[1] and entry.is_file():
            self.found.other[os.path.splitext(entry.name)[1].lower() or NO_SUFFIX] += 1  # noqa: PTH122
        elif self._is_wanted(relative):
            self._add_image(entry, relative, is_folder)
        return False

    def _is_wanted(self, relative: str) -> bool:
        if self._include and not any(matches(glob, relative) for glob in self._include):
            self.found.not_included += 1
            return False
        if UNFIT.search(relative):
            undecodable = any("\udc80" <= character <= "\udcff" for character in relative)
            what = "bytes that are not UTF-8" if undecodable else "a control character"
            self.found.unreadable.append((shown(relative), f"its name holds {what}, which a sheet cannot; rename it"))
            return False
        return True

    def _add_image(self, entry: os.DirEntry[str], relative: str, is_folder: bool) -> None:
        if is_folder:
            self.found.images.append(relative)
        elif not entry.is_file():
            reason = "the link leads nowhere" if entry.is_symlink() else "not a plain file"
            self.found.unreadable.append((relative, reason))
        elif entry.is_symlink():
            self._file_links.append(relative)
        else:
            self._files.add((entry.stat().st_dev, entry.inode()))
            self.found.images.append(relative)

    def _add_file_link(self, relative: str) -> None:
        status = os.stat(os.path.join(self._root, relative))  # noqa: PTH116, PTH118
        if (status.st_dev, status.st_ino) in self._files:
            self.found.skipped.append((relative, "a link to a file that is collected already"))
        else:
            self._files.add((status.st_dev, status.st_ino))
            self.found.images.append(relative)


def matches(glob: str, relative: str) -> bool:
    """Whether a glob fits a path: one without ``/`` any part of it, one with ``/`` the whole."""
    if "/" in glob:
        return fnmatchcase(relative, glob.rstrip("/"))
    return any(fnmatchcase(part, glob) for part in relative.split("/"))
