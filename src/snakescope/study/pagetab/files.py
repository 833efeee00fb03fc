"""The file lists of a submission: which paths the archive takes, and a check of every row.

The archive's reader wants a first cell ``Files`` and a path in every row; it splits at tabs and knows no quoting.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from snakescope.errors import Problem
from snakescope.study.model import ADDRESS
from snakescope.study.pagetab.text import Section

ROOT = "run-crate"
FILES, SOURCE = "Files", "source_image"
SOURCES_JOINED_BY = "; "

# ---------------------------------------------------------------------- paths

# What the archive's upload takes unchanged; it replaces any other character.
_GOOD = re.compile(r"[A-Za-z0-9!\-_.*'()/ ]+")
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def path_problem(path: str) -> str | None:
    """Say why the archive would not take a path in a file list; None when it would."""
    if not path:
        return "is empty"
    if "\\" in path:
        return "holds a backslash; folders are separated by /"
    parts = path.split("/")
    if "." in parts or ".." in parts:
        return "holds . or .. as a folder"
    if "" in parts:
        return "starts or ends with / or holds two in a row"
    if any(part != part.strip() for part in parts) or "  " in path:
        return "holds a blank at the end of a name, or two blanks in a row"
    if any(part[-1] in ".*" for part in parts[:-1]):
        return "holds a folder whose name ends with . or *"
    if not _GOOD.fullmatch(path):
        bad = sorted({character for character in path if not _GOOD.fullmatch(character)})
        return f"holds {', '.join(map(repr, bad))}; letters of A-Z, digits, blanks and -_.!*'() are taken"
    return None


def file_name(text: str) -> str:
    """Take the name of a file list; ValueError for one with a folder, or of another form."""
    if not re.fullmatch(r"[A-Za-z0-9_.-]+\.tsv", text):
        raise ValueError(f"found {text!r}; expected the plain name of a .tsv file")
    return text


# ---------------------------------------------------------------------- file lists


def list_problems(folder: Path, study: Section) -> Iterator[Problem]:
    """Everything that is wrong with the lists that a study names, and with what lies below ``run-crate/``."""
    named = [(name, part) for part in study.subsections for name in part.values("File List") if _is_name(name)]
    for name, count in Counter(name for name, _ in named).items():
        if count > 1:
            yield Problem(
                "submission.json: File List", f"{name!r} is the file list of {count} sections; expected of one"
            )
    there = {path.name for path in folder.glob("file_list_*.tsv")}
    for name in sorted(there - {name for name, _ in named}):
        yield Problem(name, "belongs to no section of the submission")
    listed: dict[str, str] = {}
    lists = {name: _List(folder, name, part) for name, part in named}
    for one in lists.values():
        yield from one.problems(listed)
    for one in lists.values():
        yield from one.source_problems(listed)
    yield from _unlisted(folder / ROOT, listed)


def _is_name(name: str) -> bool:
    try:
        return bool(file_name(name))
    except ValueError:
        return False


class _List:
    """One file list; read twice, since a source may stand in a later list."""

    def __init__(self, folder: Path, name: str, section: Section) -> None:
        self.path, self.name, self.label = folder / name, name, section.label
        self.root = folder / ROOT
        self.annotation = section.type == "Annotation"
        self.header: list[str] = []
        self.end = ""

    def _rows(self) -> Iterator[tuple[int, list[str]]]:
        with self.path.open(encoding="utf-8", newline="\n") as lines:
            for number, line in enumerate(lines, start=1):
                yield number, line.removesuffix("\n").removesuffix(self.end).split("\t")

    def problems(self, listed: dict[str, str]) -> Iterator[Problem]:
        """What is wrong with the list itself; its files are added to `listed`, which says where each stands."""
        try:
            rows = self._rows()
            self.header = next(rows, (0, [""]))[1]
            if self.header[-1].endswith("\r"):
                yield Problem(self.name, "its lines end as on Windows; expected a line feed alone")
                self.end, self.header[-1] = "\r", self.header[-1].removesuffix("\r")
            yield from self._header_problems()
            number = 1
            for number, cells in rows:
                yield from self._row_problems(number, cells, listed)
            if number == 1:
                yield Problem(self.name, f"names no file; {self.label} needs one at least")
        except FileNotFoundError:
            yield Problem(self.name, f"there is no such file; it is the file list of {self.label}")
        except (OSError, UnicodeDecodeError) as error:
            yield Problem(self.name, f"cannot be read as UTF-8 text ({error})")

    def _header_problems(self) -> Iterator[Problem]:
        where = f"{self.name}: line 1"
        if self.header[0] != FILES:
            yield Problem(where, f"found {self.header[0]!r} as the first cell; expected {FILES!r}")
        if any(not cell.strip() or cell != cell.strip() or CONTROL.search(cell) for cell in self.header):
            yield Problem(where, "a column has no name, or blanks or a line end in it")
        for cell, count in Counter(self.header).items():
            if count > 1:
                yield Problem(where, f"{count} columns are named {cell!r}; expected different names")
        if self.annotation and SOURCE not in self.header:
            yield Problem(where, f"has no column {SOURCE!r}; the list of an annotation needs it")

    def _row_problems(self, number: int, cells: list[str], listed: dict[str, str]) -> Iterator[Problem]:
        where = f"{self.name}: line {number}"
        if not any(cell.strip() for cell in cells):
            yield Problem(where, "is blank")
            return
        if len(cells) != len(self.header):
            yield Problem(where, f"has {len(cells)} cells; the header has {len(self.header)}")
        clean = not any(map(CONTROL.search, cells))
        if not clean:
            yield Problem(where, "holds a line end or another control character")
        path, row = cells[0], dict(zip(self.header, cells, strict=False))
        if fault := path_problem(path):
            yield Problem(where, f"{path!r} {fault}")
        elif path in listed:
            yield Problem(where, f"{path!r} stands in {listed[path]} already; every file stands once")
        else:
            listed[path] = where
            elsewhere = row.get(ADDRESS, "").startswith("irods://")  # it is fetched before the upload
            if not elsewhere and not os.path.exists(f"{self.root}/{path}"):  # noqa: PTH110 - a hundred thousand
                yield Problem(where, f"{path!r} is not there below {ROOT}/")
        if clean:
            yield from _fact_problems(row, where)

    def source_problems(self, listed: dict[str, str]) -> Iterator[Problem]:
        """Sources that are no listed files."""
        if SOURCE not in self.header:
            return
        column = self.header.index(SOURCE)
        for number, cells in self._rows():
            if number == 1 or len(cells) <= column:
                continue
            where = f"{self.name}: line {number}: {SOURCE}"
            if not cells[column].strip():
                if any(cells):
                    yield Problem(where, "is empty; every derived file has a source")
                continue
            for source in cells[column].split(SOURCES_JOINED_BY):
                if source not in listed:
                    yield Problem(where, f"{source!r} stands in no file list")


def _fact_problems(row: dict[str, str], where: str) -> Iterator[Problem]:
    """Columns with a meaning of their own; empty is what is not known."""
    if not re.fullmatch(r"([0-9a-f]{64})?", row.get("sha256", "")):
        yield Problem(f"{where}: sha256", f"found {row['sha256']!r}; expected 64 hexadecimal digits")
    if not re.fullmatch(r"[0-9]*", row.get("bytes", "")):
        yield Problem(f"{where}: bytes", f"found {row['bytes']!r}; expected a number")


def _unlisted(root: Path, listed: dict[str, str]) -> Iterator[Problem]:
    """Files below the root that stand in no list; what lies in a listed folder is listed with it."""
    folders = [""]
    while folders:
        above = folders.pop()
        try:
            entries = sorted(os.scandir(f"{root}/{above}"), key=lambda entry: entry.name)
        except OSError:
            continue
        for entry in entries:
            path = above + entry.name
            if path in listed:
                continue
            if entry.is_dir(follow_symlinks=False):
                folders.append(f"{path}/")
            else:
                yield Problem(f"{ROOT}/{path}", "stands in no file list")
