"""What there is to publish: the last export, read from its own lists, and what the study knows beside them.

Reads ``study/`` as it stands; nothing is gathered anew. Knows nothing of the zone.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from snakescope import layout
from snakescope.errors import InputError, problem
from snakescope.publish.quay import analysis_overview, quay_studies
from snakescope.record import digest, files_of, folder_digest, read_record
from snakescope.samples import Row, Sheet, format_voxel_size, read_sheet
from snakescope.study.checksums import NAME as CHECKSUMS
from snakescope.study.export import FOLDER, METADATA
from snakescope.study.inventory import made_by
from snakescope.study.model import RAW, RUN
from snakescope.study.pagetab.files import FILES, SOURCE, SOURCES_JOINED_BY
from snakescope.study.replace import recover
from snakescope.study.tree import CRATE
from snakescope.study.verify.files import parse_line
from snakescope.zone.address import Address

STUDY = "study"
LIST = "file_list_"


@dataclass(slots=True)
class Item:
    """A file, or a folder that is one image.

    Parameters
    ----------
    path
        Its name below the collection of the study.
    here
        Where it lies.
    dataset
        Step that made it, `RAW`, `RUN`, or `STUDY` for what describes the study.
    files
        The sha256 of each file in a folder by its path there; of a file, its own under an empty path.
    sample, step
        Row or group, and step, that made it; None for what no job made.
    sources
        Raw images that it was made from: their addresses in iRODS, or their names in the crate.
    voxel_size_um
        As ``z,y,x``; None where it is unknown or there is none.
    """

    path: str
    here: Path
    dataset: str
    folder: bool = False
    files: dict[str, str] = field(default_factory=dict)
    sample: str | None = None
    step: str | None = None
    sources: tuple[str, ...] = ()
    voxel_size_um: str | None = None

    @property
    def sha256(self) -> str:
        """Digest of the file, or of the folder as a record gives it."""
        return folder_digest(self.files) if self.folder else self.files[""]


@dataclass(frozen=True)
class Content:
    """All that an export hands on.

    Parameters
    ----------
    name, title
        Of the study; the name is fit for a collection.
    run
        What the run is called: the sha256 of its crate.
    items
        In the order of the export.
    remote
        Addresses of the raw images that lie in iRODS already, by their name in the crate, with their rows.
    quay, overview
        Studies of omero-quay that the rows belong to (see `quay_studies`), and how the analysis reads.
    """

    name: str
    title: str
    run: str
    items: list[Item]
    remote: dict[str, tuple[Address, Row]]
    quay: dict[tuple[str, str], str] = field(default_factory=dict)
    overview: str = ""


def read_content(root: Path, sheet_path: str = layout.SHEET) -> Content:
    """Read the last export of a study.

    Raises
    ------
    InputError
        If there is none, or it is not whole.
    """
    folder = root / FOLDER
    recover(folder)
    if not (folder / CHECKSUMS).is_file():
        raise problem(folder, "there is no export to publish", "Run: snakescope export")
    name, title = _name_and_title(folder)
    rows = _rows_of_raw(root, folder, sheet_path)
    remote = {raw: (Address.parse(row.path), row) for raw, row in rows.items() if row.remote}
    listed = {row[FILES]: (key, row) for key, row in _read_lists(folder)}
    items = _items(folder, listed, remote)
    sources = _Sources({path: row.get(SOURCE, "") for path, (_, row) in listed.items()})
    for item in items:
        _describe(root, item, sources, rows, remote)
    run = next((item.sha256 for item in items if item.path == METADATA), None)
    if run is None:
        raise problem(folder / CHECKSUMS, f"does not tell of {CRATE}/{METADATA}", "Run: snakescope export")
    quay = quay_studies(rows.values())
    return Content(name, title, run, items, remote, quay, analysis_overview(root) if quay else "")


def _name_and_title(folder: Path) -> tuple[str, str]:
    path = folder / "submission.json"
    try:
        attributes = json.loads(path.read_text(encoding="utf-8"))["attributes"]
        found = {item["name"]: item["value"] for item in attributes}
        return str(found["RootPath"]), str(found["Title"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise problem(path, f"cannot be read ({error})", "Run: snakescope export") from error


def _read_lists(folder: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Rows of all file lists, with the key of their dataset."""
    for path in sorted(folder.glob(f"{LIST}*.tsv")):
        key = path.stem.removeprefix(LIST)
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
                yield key, row


def _rows_of_raw(root: Path, folder: Path, sheet_path: str) -> dict[str, Row]:
    """Rows of the study's sheet by the name that their image has in the crate."""
    exported, current = _sheet(folder / CRATE / layout.SHEET), _sheet(root / sheet_path)
    if exported is None or current is None:
        return {}
    rows = {row.id: row for row in current.rows}
    found: dict[str, Row] = {}
    for row in exported.rows:
        if row.id in rows:
            found.setdefault(row.path, rows[row.id])
    return found


def _sheet(path: Path) -> Sheet | None:
    return read_sheet(path) if path.is_file() else None


def _items(folder: Path, listed: dict[str, tuple[str, dict[str, str]]], remote: Container[str]) -> list[Item]:
    """The items, with the digests of their files; raw images that lie in iRODS are left out."""
    items: dict[str, Item] = {}
    for name, sha256 in _lines(folder / CHECKSUMS):
        inside = name.removeprefix(f"{CRATE}/")
        path = _item_of(inside, listed) if inside != name else name
        if path in remote:
            continue
        if path not in items:
            dataset = listed[path][0] if inside != name and path in listed else STUDY if inside == name else RUN
            items[path] = Item(path, folder / name[: len(name) - len(inside)] / path, dataset, path != inside)
        items[path].files[inside[len(path) + 1 :] if path != inside else ""] = sha256
    for path, (dataset, _) in listed.items():
        if path not in items and path not in remote:
            items[path] = _read_item(path, folder / CRATE / path, dataset)
    return list(items.values())


def _read_item(path: str, here: Path, dataset: str) -> Item:
    """An item that no checksum is known of yet."""
    if not here.exists():
        raise problem(here, "is not there", "Bring it back, or export again.")
    if not here.is_dir():
        return Item(path, here, dataset, files={"": digest(here)})
    real = here.resolve()
    files = {file.relative_to(real).as_posix(): digest(file) for file in sorted(files_of(real))}
    return Item(path, here, dataset, True, files)


def _item_of(path: str, listed: dict[str, tuple[str, dict[str, str]]]) -> str:
    """The listed file or folder that a file is, or is part of; itself when none is."""
    at = len(path)
    while at > 0:
        if path[:at] in listed:
            return path[:at]
        at = path.rfind("/", 0, at)
    return path


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    problems = []
    with path.open(encoding="utf-8", errors="surrogateescape", newline="\n") as file:
        for number, text in enumerate(file, 1):
            found = parse_line(text.removesuffix("\n"))
            if found is None:
                problems.append(problem(f"{path}: line {number}", f"found {text[:80]!r}, which is no checksum"))
            else:
                yield found
    if problems:
        raise InputError([each.problems[0] for each in problems])


class _Sources:
    """Follows what files were made from down to the raw images."""

    def __init__(self, made_from: dict[str, str]) -> None:
        self._made_from = made_from
        self._known: dict[str, tuple[str, ...]] = {}

    def of(self, path: str) -> tuple[str, ...]:
        """Raw images behind a file, without repeats; empty for one that was made from none."""
        if path not in self._known:
            self._known[path] = ()  # a ring ends here
            found: dict[str, None] = {}
            for source in filter(None, (self._made_from.get(path) or "").split(SOURCES_JOINED_BY)):
                found |= dict.fromkeys(self.of(source) or (source,))
            self._known[path] = tuple(found)
        return self._known[path]


def _describe(
    root: Path, item: Item, sources: _Sources, rows: dict[str, Row], remote: dict[str, tuple[Address, Row]]
) -> None:
    """Say of an item which sample and step it belongs to, what it was made from, and its voxel size."""
    made = made_by(item.path)
    if made:
        item.sample, item.step = made
        item.sources = tuple(remote[raw][0].path if raw in remote else raw for raw in sources.of(item.path))
        item.voxel_size_um = _recorded_voxel_size(root, item)
    elif item.dataset == RAW and item.path in rows:
        row = rows[item.path]
        item.sample = row.id
        item.voxel_size_um = format_voxel_size(row.voxel_size_um) or None


def _recorded_voxel_size(root: Path, item: Item) -> str | None:
    """Voxel size of an image, of the record that tells of these very bytes."""
    if not item.folder:
        return None
    try:
        record = read_record(root / layout.record(item.sample or "", item.step or ""))
    except InputError:
        return None
    for output in record.outputs:
        if output.path == item.path and output.sha256 == item.sha256 and output.voxel_size_um:
            return format_voxel_size(output.voxel_size_um) or None
    return None
