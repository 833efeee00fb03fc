"""The files of an export against its file lists and ``checksums.sha256``; it knows nothing of the crate's content."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from snakescope.errors import Problem
from snakescope.record import TIMESTAMP, folder_digest

FOLDER, CRATE, CHECKSUMS = "study", "run-crate", "checksums.sha256"
BIA_CRATE = "bia-crate"
METADATA = f"{CRATE}/ro-crate-metadata.json"
EXPORT_AGAIN = "Run: snakescope export"
_BRING_BACK = "Bring it back from where it was, or run and export again."
_LINE = re.compile(r"(\\?)([0-9a-f]{64}) [ *](.+)", re.DOTALL)
_ESCAPES = {"\\\\": "\\", "\\n": "\n", "\\r": "\r"}
_TOLD_STEP = 100
# Columns that say of an image where in iRODS it lies, and what is known of it there.
ADDRESS, CATALOGUE = "irods_address", "irods_checksum"

Line = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Item:
    """A file of the export, or a folder that is one image: size on disk, and the digest that the checksums give.

    `sha256` is None where they give none, and for what is wrong already, so that it is not told twice.
    """

    bytes: int
    sha256: str | None
    folder: bool


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """An image that is listed and lies in iRODS only; None for what its list does not say.

    `checksum` is the catalogue's, in its own form.
    """

    address: str
    bytes: int | None
    sha256: str | None
    checksum: str | None


@dataclass
class Files:
    """The files of an export while they are checked. Names are relative to ``study/``.

    Parameters
    ----------
    folder
        ``study/``.
    progress
        Told what is done.
    listed
        File list that names a file, by file.
    elsewhere
        What lies in iRODS: first all files that are listed with an address, after the check those that are not here.
    found
        What is there.
    troubled
        What is missing or wrong, so that it is not told again.
    unclaimed
        What is listed and there, and has no line in the checksums.
    checked, bytes
        Files that were read, and their size.
    has_checksums
        Whether ``checksums.sha256`` is there at all.
    """

    folder: Path
    progress: Callable[[str, int, int], None]
    listed: dict[str, str] = field(default_factory=dict)
    elsewhere: dict[str, Elsewhere] = field(default_factory=dict)
    found: dict[str, Item] = field(default_factory=dict)
    troubled: set[str] = field(default_factory=set)
    unclaimed: set[str] = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)
    checked: int = 0
    bytes: int = 0
    has_checksums: bool = True
    _lines: int = 0
    _absent: set[str] = field(default_factory=set)

    def check(self) -> None:
        """Check all lists, lines and files."""
        self._read_lists()
        lines = self._ordered_lines()
        for item, group in groupby(lines, key=lambda line: self.item_of(line[0])):
            self._check_item(item, list(group))
        for item in self.listed:
            if item not in self.found and item not in self.troubled:
                self._check_item(item, [])
        self.elsewhere = {name: told for name, told in self.elsewhere.items() if name in self._absent}
        self._walk(self.folder, "")
        self.progress("checking files", self._lines, self._lines)

    def report(self, name: str, message: str, fix: str | None = None) -> None:
        """Tell what is wrong with a file, which is then trusted in nothing else."""
        self.problems.append(Problem(shown(f"{FOLDER}/{name}"), message, fix))
        self.troubled.add(self.item_of(name))

    def item_of(self, name: str) -> str:
        """The listed file or image that a file is, or is part of; itself when none is."""
        if name in self.listed or not name.startswith(f"{CRATE}/"):
            return name
        for above in _above(name):
            if above in self.listed:
                return above
        links = (above for above in _above(name) if (self.folder / above).is_symlink())
        return next(links, name)

    # ------------------------------------------------------------------ file lists

    def _read_lists(self) -> None:
        lists = sorted(self.folder.glob("file_list_*.tsv"))
        if not lists:
            self.problems.append(Problem(FOLDER, "there are no file lists (file_list_*.tsv)", EXPORT_AGAIN))
        for path in lists:
            header: list[str] = []
            with path.open(encoding="utf-8", errors="surrogateescape", newline="\n") as file:
                for number, line in enumerate(file, 1):
                    cells = line.rstrip("\r\n").split("\t")
                    header = header or cells
                    self._read_row(path.name, number, cells[0])
                    if number > 1 and ADDRESS in header:
                        self._read_address(f"{CRATE}/{cells[0]}", dict(zip(header, cells, strict=False)))
        inside = [name for name in self.listed if any(above in self.listed for above in _above(name))]
        for name in inside:
            where = f"{FOLDER}/{self.listed.pop(name)}"
            self.problems.append(Problem(where, f"{name!r} lies inside a folder that is listed too"))

    def _read_row(self, list_: str, number: int, cell: str) -> None:
        where, name = f"{FOLDER}/{list_}: line {number}", f"{CRATE}/{cell}"
        if number == 1:
            if cell != "Files":
                self.problems.append(Problem(where, f"the first column is {cell!r}; expected 'Files'"))
        elif not is_plain(cell):
            found = f"found {cell!r}" if cell else "found an empty cell"
            self.problems.append(Problem(where, f"{found}; expected the path of a file below {CRATE}/"))
        elif name in self.listed:
            other = "this list" if self.listed[name] == list_ else self.listed[name]
            self.problems.append(Problem(where, f"{cell!r} stands in {other} already; expected it once"))
        else:
            self.listed[name] = list_

    def _read_address(self, name: str, row: dict[str, str]) -> None:
        """Remember of a listed image where in iRODS it lies."""
        if name in self.listed and row[ADDRESS].startswith("irods://"):
            size = row.get("bytes", "")
            self.elsewhere[name] = Elsewhere(
                row[ADDRESS], int(size) if size.isdecimal() else None, row.get("sha256") or None,
                row.get(CATALOGUE) or None,
            )  # fmt: skip

    # ------------------------------------------------------------------ checksums

    def _ordered_lines(self) -> Iterable[Line]:
        """The lines, those of an image one after the other; they are sorted in memory only where they are not."""
        self.has_checksums = (self.folder / CHECKSUMS).is_file()
        if not self.has_checksums:
            self.problems.append(Problem(f"{FOLDER}/{CHECKSUMS}", "is not there", EXPORT_AGAIN))
            return []
        seen: set[str] = set()
        last, scattered = None, False
        for name, _ in self._read_lines(tell=True):
            item = self.item_of(name)
            if item != last:
                scattered |= item in seen
                seen.add(item)
                last = item
            self._lines += 1
        return sorted(self._read_lines(), key=lambda line: self.item_of(line[0])) if scattered else self._read_lines()

    def _read_lines(self, *, tell: bool = False) -> Iterator[Line]:
        with (self.folder / CHECKSUMS).open(encoding="utf-8", errors="surrogateescape", newline="\n") as file:
            for number, text in enumerate(file, 1):
                line = parse_line(text.removesuffix("\n"))
                if line is not None:
                    yield line
                elif tell:
                    where = f"{FOLDER}/{CHECKSUMS}: line {number}"
                    message = f"found {text.strip()[:80]!r}; expected a sha256, two blanks and a path below {FOLDER}/"
                    self.problems.append(Problem(where, message))

    # ------------------------------------------------------------------ files on disk

    def _check_item(self, name: str, lines: list[Line]) -> None:
        path = self.folder / name
        try:
            if name in self.elsewhere and not lines and not os.path.lexists(path):
                self._absent.add(name)
            elif not os.path.lexists(path):
                self.report(name, "is not there", _BRING_BACK)
            elif not path.exists():
                target = os.readlink(path)  # noqa: PTH115 - as it is written
                self.report(name, f"is a link to {target!r}, which is not there", _BRING_BACK)
            elif name.startswith(f"{CRATE}/") and name not in self.listed:
                self.report(name, "no file list names it", EXPORT_AGAIN)
            elif path.is_dir():
                self._check_folder(name, path, lines)
            elif path.is_file():
                self._check_file(name, path, lines)
            else:
                self.report(name, "is no ordinary file", "Move it away.")
        except OSError as error:
            self.report(name, f"cannot be read ({error.strerror})")

    def _check_file(self, name: str, path: Path, lines: list[Line]) -> None:
        claims = [sha256 for line, sha256 in lines if line == name]
        if len(claims) < len(lines):
            self.report(name, f"is a file; by {CHECKSUMS} it is a folder")
            return
        if len(claims) > 1:
            self.report(name, f"stands {len(claims)} times in {CHECKSUMS}; expected once")
            return
        if not claims:
            self.unclaimed.add(name)
            self.found[name] = Item(path.stat().st_size, None, folder=False)
            return
        sha256, size = self._read(path)
        self.found[name] = Item(size, claims[0], folder=False)
        if sha256 != claims[0]:
            self.report(name, f"its {size} bytes are not those that {CHECKSUMS} tells of", _BRING_BACK)

    def _check_folder(self, name: str, path: Path, lines: list[Line]) -> None:
        if name not in self.listed or any(line == name for line, _ in lines):
            self.report(name, f"is a folder; by {CHECKSUMS} it is a file")
            return
        inside, other = _files_in(path)
        if not lines:
            self.unclaimed.add(name)
            self.found[name] = Item(sum(file.stat().st_size for file in inside.values()), None, folder=True)
            return
        claims = {line[len(name) + 1 :]: sha256 for line, sha256 in lines}
        before, changed = self.bytes, []
        for file in sorted(inside.keys() & claims.keys()):
            if self._read(inside[file])[0] != claims[file]:
                changed.append(file)
        self.found[name] = Item(self.bytes - before, folder_digest(claims), folder=True)
        repeated = [line[len(name) + 1 :] for line, count in Counter(line for line, _ in lines).items() if count > 1]
        self._tell_files(name, changed, f"not as {CHECKSUMS} tells", _BRING_BACK)
        self._tell_files(name, sorted(claims.keys() - inside.keys()), "not there", _BRING_BACK)
        self._tell_files(name, sorted(inside.keys() - claims.keys()), f"not in {CHECKSUMS}", EXPORT_AGAIN)
        self._tell_files(name, sorted(other), "no ordinary file", "Put copies in place of links.")
        self._tell_files(name, repeated, f"more than once in {CHECKSUMS}", EXPORT_AGAIN)

    def _tell_files(self, name: str, files: list[str], message: str, fix: str) -> None:
        """One finding for all files of an image that have the same thing wrong."""
        if not files:
            return
        names = ", ".join(shown(file) for file in files[:3]) + (", ..." if len(files) > 3 else "")
        verb = "file of it is" if len(files) == 1 else "files of it are"
        self.report(name, f"{len(files)} {verb} {message} ({names})", fix)

    def _read(self, path: Path) -> tuple[str, int]:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            size = file.tell()
        self.checked += 1
        self.bytes += size
        if self.checked % _TOLD_STEP == 0:
            self.progress("checking files", self.checked, max(self._lines, self.checked))
        return sha256, size

    def _walk(self, folder: Path, prefix: str) -> None:
        """Name what is on disk and has not been met yet."""
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
            name = f"{prefix}{entry.name}"
            if name in self.found or name in self.troubled or name == CHECKSUMS:
                continue
            if entry.is_dir(follow_symlinks=False):
                self._walk(Path(entry.path), f"{name}/")
            elif name.startswith(f"{CRATE}/"):
                self.report(name, "does not belong to the export: no file list names it", "Move it away.")
            elif self.has_checksums and not (name.startswith(f"{BIA_CRATE}/") and _links_to_crate(Path(entry.path))):
                self.report(name, f"does not belong to the export: it is not in {CHECKSUMS}", "Move it away.")


def _links_to_crate(path: Path) -> bool:
    """Whether it is a link of the BIA crate to what is checked where it lies, in the run crate."""
    if not path.is_symlink() or not path.exists():
        return False
    parts = path.readlink().parts
    return parts[:2] == ("..", CRATE) and ".." not in parts[2:]


def parse_line(text: str) -> Line | None:
    """Name and digest of a line as ``sha256sum`` writes it; None for any other line, or a name that leads elsewhere."""
    match = _LINE.fullmatch(text)
    if match is None:
        return None
    escaped, sha256, name = match.groups()
    if escaped:
        name = re.sub(r"\\[\\nr]", lambda found: _ESCAPES[found[0]], name)
    parts = name.split("/")
    return None if "" in parts or "." in parts or ".." in parts or "\0" in name else (name, sha256)


def is_plain(name: str) -> bool:
    """Whether a name of a file list is a path below the crate, and leads nowhere else."""
    parts = name.split("/")
    return name.isprintable() and not {"", ".", ".."} & set(parts) and "\\" not in name


def shown(name: str) -> str:
    """A name as it may be printed: on one line, in letters that every terminal takes."""
    return name if name.isprintable() else repr(name)[1:-1]


def _above(name: str) -> Iterator[str]:
    """The folders that a file of the crate lies in, the highest first; not the crate itself."""
    at = name.find("/", len(CRATE) + 1)
    while at > 0:
        yield name[:at]
        at = name.find("/", at + 1)


def _files_in(folder: Path) -> tuple[dict[str, Path], list[str]]:
    """Ordinary files at any depth by name, and the names of links and the like, which no digest includes."""
    files: dict[str, Path] = {}
    other = []
    folders = [(folder, "")]
    while folders:
        at, prefix = folders.pop()
        for entry in os.scandir(at):
            if entry.is_dir(follow_symlinks=False):
                folders.append((Path(entry.path), f"{prefix}{entry.name}/"))
            elif not entry.is_file(follow_symlinks=False):
                other.append(prefix + entry.name)
            elif entry.name != TIMESTAMP:
                files[prefix + entry.name] = Path(entry.path)
    return files, other
