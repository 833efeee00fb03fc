"""``checksums.sha256``: a line for every file of the export, as ``sha256sum -c`` reads it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from snakescope.record import digest, files_of, sum_line
from snakescope.study.inventory import Inventory, Job, StudyFile
from snakescope.study.tree import CRATE

NAME = "checksums.sha256"
BIA_CRATE = "bia-crate"


class Checksums:
    """A view: writes the digests that records hold; nothing is read again but folders without a list of their files.

    Left out are files that lie in iRODS only, and those whose digest nobody has taken yet; the inventory counts both.
    `read` counts the folders that had to be read.
    """

    def __init__(self, folder: Path, inventory: Inventory) -> None:
        self.folder, self.root = folder, inventory.root
        self.read = 0
        self._out = (folder / NAME).open("w", encoding="utf-8", errors="surrogateescape", newline="\n")

    def run_file(self, file: StudyFile) -> None:
        """Write the lines of one file."""
        self._write(file)

    def raw(self, file: StudyFile) -> None:
        """Write the lines of one raw image."""
        self._write(file)

    def job(self, job: Job) -> None:
        """Write the lines of what a job made."""
        for file in job.outputs if job.submitted else ():
            self._write(file)

    def finish(self) -> None:
        """Add the files that describe the study, and close."""
        for folder in (self.folder, self.folder / BIA_CRATE):
            for path in sorted(folder.iterdir()) if folder.is_dir() else ():
                if path.is_file() and not path.is_symlink() and path.name != NAME:
                    self._out.write(sum_line(digest(path), path.relative_to(self.folder).as_posix()))
        self._out.close()

    def _write(self, file: StudyFile) -> None:
        if file.by_reference or file.sha256 is None:
            return
        if not file.folder:
            self._out.write(sum_line(file.sha256, f"{CRATE}/{file.path}"))
        else:
            for name, sha256 in self._inside(file):
                self._out.write(sum_line(sha256, f"{CRATE}/{file.path}/{name}"))

    def _inside(self, file: StudyFile) -> Iterator[tuple[str, str]]:
        """Files of a folder with their digests: of the list that its record keeps, else read now."""
        if file.listing is not None:
            for text in file.listing.splitlines():
                sha256, _, name = text.partition("  ")
                yield name, sha256
            return
        self.read += 1
        folder = self.root / file.here
        for path in sorted(files_of(folder)):
            yield path.relative_to(folder).as_posix(), digest(path)
