"""Collect a collection of iRODS: list it, tell the images, map their AVUs, read what headers can be read.

Pixels are never read, and of each object only the few blocks that hold its header. Nothing is written: the report
holds the new sheet.
"""

from __future__ import annotations

import base64
import binascii
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from snakescope.catalog.avu_map import FOREIGN, PREFIX, Mapped, Mapper, column_name, read_avu_map
from snakescope.catalog.consistency import find_problems
from snakescope.catalog.filters import Since, Where
from snakescope.catalog.irods_found import Found, Item, find_items
from snakescope.catalog.irods_headers import read_all
from snakescope.catalog.irods_report import ZoneFindings
from snakescope.catalog.merge import FROM_AVUS, Image, file_of, merge
from snakescope.catalog.names import shown, split_suffix
from snakescope.catalog.patterns import compile_pattern
from snakescope.catalog.proposal import Reading, find_naming, name_series, read_names
from snakescope.catalog.report import CollectReport
from snakescope.errors import InputError, problem
from snakescope.samples import FACT_COLUMNS, ORDER_COLUMNS, Row, Sheet, build_sheet, natural_key, read_sheet
from snakescope.zone.address import Address, is_address
from snakescope.zone.listing import NOT_SHOWN, Avu, Listing, list_tree
from snakescope.zone.session import connect

Progress = Callable[[int, int], None]

_NEEDED = ("axes", "shape", "dtype")
_FACTS = {*FACT_COLUMNS, *ORDER_COLUMNS, "sensitive"} - {"bytes"}

Facts = tuple[tuple[str, str], ...]
Pairs = list[tuple[str, str]]


def collect_irods(
    address: Address,
    *,
    sheet: Path | None = None,
    pattern: str | None = None,
    accept: bool = False,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    where: Sequence[str] = (),
    since: str | None = None,
    all_avus: bool = False,
    headers: bool = True,
    prefix: str = PREFIX,
    sessions: int = 4,
    progress: Progress | None = None,
) -> CollectReport:
    """Describe the images below a collection, one row for each.

    Parameters
    ----------
    address
        Collection to look through, an OME-Zarr collection, or a single data object.
    sheet
        Sheet to bring the rows into, which need not exist. Its folder's parent is the study folder, whose own
        ``config/avu_map.yaml`` goes before the shipped one.
    pattern, accept, include, exclude
        As for `collect_folder`.
    where
        Conditions on AVUs, of the object or of the collections it lies in: ``name=value`` or ``name like text`` with
        ``%`` and ``_``; all must hold.
    since
        Date or time (ISO 8601, UTC unless it says otherwise); what was changed earlier is left out.
    all_avus
        Take AVUs that the mapping does not know, too.
    headers
        Read headers of TIFF and OME-Zarr where AVUs do not say axes, shape and type.
    prefix
        Of the AVUs that published results bear; these are not collected.
    sessions
        Connections for reading headers.
    progress
        Called with the number of headers read and of all, one call at a time.

    Raises
    ------
    InputError
        If there is nothing to be seen at the address, or sheet, mapping, pattern or conditions are wrong.
    EnvironmentUnusableError
        If the zone cannot be reached or the login is refused.
    """
    given = compile_pattern(pattern) if pattern else None
    conditions, earliest = [Where.parse(text) for text in where], Since.parse(since) if since else None
    study = sheet.absolute().parent.parent if sheet else None
    mapper = Mapper(read_avu_map(study), all_avus=all_avus, prefix=prefix)
    old = read_sheet(sheet) if sheet and sheet.exists() else None
    listing = _list(address)
    tree = _Tree(address, listing, mapper, old.columns if old else ())
    found = find_items(listing, include=include, exclude=exclude, is_result=tree.is_result)
    items = _filter(found, tree, conditions, earliest)
    described = [_Described(tree, item) for item in sorted(items, key=lambda item: natural_key(item.relative))]
    _read_headers(address, described, _rows_by_file(old), headers, sessions, progress)

    names = [each.item.relative for each in described]
    reading = read_names(given, "as given", names) if given else find_naming(names)
    used = reading if reading and reading.z_planes == 1 and (given or accept) else None
    series = _name_series(address, used, old)
    checked: dict[Facts, Pairs] = {}
    images = [image for each in described for image in _images(each, used, series, found, checked)]
    merged = merge(old, images, study or Path("/"), _refreshed(images))
    there = {each.path for each in listing.objects} | set(listing.collections)
    report = CollectReport.of(
        address,
        build_sheet(merged.columns, merged.rows, sheet),
        merged,
        found,
        files=len({image.file for image in images}),
        proposal=reading.proposal(names, accepted=used is not None) if reading else None,
        is_there=lambda row: Address.parse(row.path).path in there if _below(address, row) else None,
        zone=_findings(listing, found, described),
    )
    report.problems = find_problems(report.sheet, reading)
    return report


def _list(address: Address) -> Listing:
    with connect(address) as session:
        listing = list_tree(session, address.path)
    if not listing.objects:
        raise problem(address, f"holds no data objects: it is {NOT_SHOWN}", "Check the path and your permissions.")
    return listing


class _Tree:
    """The listing with the AVUs of its collections mapped once each."""

    def __init__(self, address: Address, listing: Listing, mapper: Mapper, columns: Collection[str] = ()) -> None:
        self.address, self.listing, self.mapper, self.columns = address, listing, mapper, columns
        self._mapped: dict[str, Mapped] = {}
        self._results: dict[str, bool] = {}

    def above(self, path: str) -> Iterator[str]:
        """Collections that something lies in, the nearest first."""
        while path.count("/") > 1:
            path = path.rpartition("/")[0]
            if path in self.listing.collections:
                yield path

    def avus(self, item: Item) -> tuple[Avu, ...]:
        """AVUs of the image itself."""
        return item.single.avus if item.single else self.listing.collections.get(item.path, ())

    def is_result(self, path: str, avus: Sequence[Avu]) -> bool:
        """Whether it, or a collection it lies in, was put there as a result."""
        return self.mapper.is_result(avus) or any(self._bears_results(each) for each in self.above(path))

    def _bears_results(self, collection: str) -> bool:
        if collection not in self._results:
            self._results[collection] = self.mapper.is_result(self.listing.collections[collection])
        return self._results[collection]

    def mapped_above(self, path: str) -> Iterator[Mapped]:
        """Cells of the collections that something lies in, the nearest first."""
        for collection in self.above(path):
            if collection not in self._mapped:
                self._mapped[collection] = self.mapper.columns(self.listing.collections[collection])
            yield self._mapped[collection]


@dataclass
class _Described:
    """An image on its way to a row."""

    tree: _Tree
    item: Item
    mapped: Mapped = field(init=False)
    facts: list[dict[str, str]] = field(default_factory=list)
    unknown: str | None = None

    def __post_init__(self) -> None:
        self.mapped = self.tree.mapper.columns(self.tree.avus(self.item))
        cells = dict(self.mapped.cells)
        for above in self.tree.mapped_above(self.item.path):
            for column, text in above.cells.items():
                cells.setdefault(column, text)
        self.mapped.cells = cells

    @cached_property
    def uri(self) -> str:
        """Address, as the sheet has it."""
        return str(self.tree.address.at(self.item.path))

    @property
    def untold(self) -> Collection[str]:
        """Columns whose AVU is there but not taken, or cannot be sent."""
        unread = {path for path, _ in self.tree.listing.unread}
        if unread.intersection((self.item.path, *self.tree.above(self.item.path))):
            return self.tree.columns
        foreign = self.mapped.foreign.union(*(above.foreign for above in self.tree.mapped_above(self.item.path)))
        return tuple(FOREIGN + column_name(name) for name in foreign)

    @cached_property
    def state(self) -> dict[str, str]:
        """What the catalogue says of its content."""
        modified = f"{self.item.modified:%Y-%m-%dT%H:%M:%SZ}"
        state = {"bytes": str(self.item.bytes), "checksum": self.item.checksum or "", "modified_at": modified}
        sha256 = sha256_of(self.item.checksum)
        return state | ({"sha256": sha256} if sha256 else {})


def sha256_of(checksum: str | None) -> str | None:
    """Hexadecimal SHA-256 of a catalogue's checksum, where it is one (``sha2:`` and base64)."""
    if not checksum or not checksum.startswith("sha2:"):
        return None
    try:
        digest = base64.b64decode(checksum.removeprefix("sha2:"), validate=True)
    except binascii.Error:
        return None
    return digest.hex() if len(digest) == 32 else None


def _filter(found: Found, tree: _Tree, where: Sequence[Where], since: Since | None) -> list[Item]:
    kept = []
    for item in found.items:
        sets = [tree.avus(item), *(tree.listing.collections[each] for each in tree.above(item.path))]
        missed = next((each for each in where if not each.holds(sets)), None)
        if missed is not None:
            found.filtered[f"--where {missed.text!r}"] += 1
        elif since is not None and item.modified < since.time:
            found.filtered[f"--since {since.text}"] += 1
        else:
            kept.append(item)
    return kept


# ---------------------------------------------------------------------------- facts


def _rows_by_file(old: Sheet | None) -> dict[str, list[Row]]:
    rows: dict[str, list[Row]] = {}
    for row in old.rows if old else []:
        if is_address(row.path):
            rows.setdefault(file_of(row, Path("/")), []).append(row)
    return rows


def _read_headers(
    address: Address,
    described: Sequence[_Described],
    known: Mapping[str, list[Row]],
    wanted: bool,
    sessions: int,
    progress: Progress | None,
) -> None:
    """Fill the facts of each image from its AVUs, from the sheet where it has not changed, or from its header."""
    to_read: list[_Described] = []
    for each in described:
        rows = known.get(each.uri, [])
        if all(each.mapped.cells.get(name) for name in _NEEDED):
            each.facts = [{"scene": "0", "format": each.item.format or ""}]
        elif rows and all(_is_same(row, each.state) and not _is_emptied(row, each) for row in rows):
            each.facts = [{"scene": str(row.scene), "scene_name": row.cell("scene_name")} for row in rows]
        elif not each.item.readable:
            each.unknown = (
                f"{each.item.suffix} is not read in iRODS; what its header says is unknown until it is staged"
            )
        elif not wanted:
            each.unknown = "its header was not read (--no-headers)"
        else:
            to_read.append(each)
    results = read_all(address, {each.item.path: each.item for each in to_read}, sessions, progress)
    for each in to_read:
        result = results[each.item.path]
        if isinstance(result, str):
            each.unknown = result
        else:
            each.facts = result
    for each in described:
        each.facts = each.facts or [{"scene": "0", "format": each.item.format or ""}]


def _is_same(row: Row, state: Mapping[str, str]) -> bool:
    same = all(row.cell(name) == state[name] for name in ("bytes", "checksum", "modified_at"))
    return same and all(row.cell(name) for name in _NEEDED)


def _is_emptied(row: Row, each: _Described) -> bool:
    """Whether somebody emptied a cell with a fact that an AVU once told: then the header is to be asked."""
    told = set(row.cell(FROM_AVUS).split("; ")) & _FACTS
    return any(not row.cell(name) and name not in each.mapped.cells for name in told)


def _images(
    each: _Described, reading: Reading | None, series: Mapping[str, str], found: Found, checked: dict[Facts, Pairs]
) -> Iterator[Image]:
    """Cells of each image of one object; AVUs go before names, and names before headers."""
    name = each.item.relative
    fields = dict(reading.fields.get(name, {})) if reading else {}
    fields.pop("z", None)
    if name in series:
        fields["series"] = series[name]
    step_s = reading.time_steps.get(name, "") if reading else ""
    for facts in each.facts:
        told = each.mapped.cells | _completed(each.mapped.cells, facts)
        label = split_suffix(each.item.label)[0]
        if "format" in facts:  # the sheet, where it is asked in the header's place, knows the step
            fields["time_step_s"] = facts.get("time_step_s") or step_s
        cells = {"path": each.uri, **facts, **fields, **told, **each.state}
        if len(each.facts) > 1:
            label = f"{label}_s{facts['scene']}"
            if cells.get("series"):
                cells["series"] = f"{cells['series']}_s{facts['scene']}"
        cells, refused = _fitting(cells, {**facts, **fields}, checked)
        each.mapped.refused += refused
        sources = dict.fromkeys(told, "its AVU says")
        kept = {key: text for key, text in cells.items() if text or key == "checksum"}
        yield Image(each.uri, int(facts["scene"]), label, kept, sources, each.untold, facts)
    if each.unknown:
        found.unknown.append((shown(name), each.unknown))


def _completed(told: Mapping[str, str], facts: Mapping[str, str]) -> dict[str, str]:
    """The voxel size of AVUs that leave axes open, with these as the header says."""
    parts, others = (cells.get("voxel_size_um", "").split(",") for cells in (told, facts))
    if len(parts) != len(others) or all(parts):
        return {}
    return {"voxel_size_um": ",".join(one or other for one, other in zip(parts, others, strict=True))}


def _fitting(
    cells: dict[str, str], without: Mapping[str, str], known: dict[Facts, Pairs]
) -> tuple[dict[str, str], Pairs]:
    """Take back what AVUs, or else all, say of the image where no sheet can hold it; equal facts are checked once."""
    facts = {column: text for column, text in cells.items() if column in _FACTS}
    key = tuple(facts.items())
    if key not in known:
        known[key] = []
        try:
            build_sheet(["id", "path", *facts], [{"id": "x", "path": "x", **facts}])
        except InputError as error:
            known[key] = [(item.where.rpartition(": ")[2], item.message) for item in error.problems]
    if not known[key]:
        return cells, []
    rest = {column: text for column, text in cells.items() if column not in _FACTS} | dict(without)
    return (rest, known[key]) if not without else (_fitting(rest, {}, known)[0], known[key])


def _refreshed(images: Sequence[Image]) -> Collection[str]:
    """Columns that AVUs fill and that are no facts of the image: the zone is where they are kept."""
    return {column for image in images for column in image.sources} - _FACTS


# ---------------------------------------------------------------------------- series, and what is to be told


def _name_series(address: Address, reading: Reading | None, old: Sheet | None) -> dict[str, str]:
    """Make the series of the names fit for folders, apart from series of the sheet that lie elsewhere."""
    elsewhere = [row.cell("series") for row in old.rows if not _below(address, row)] if old else []
    return name_series(reading, str(address), elsewhere)


def _below(address: Address, row: Row) -> bool:
    if not is_address(row.path):
        return False
    other = Address.parse(row.path)
    return other.server == address.server and f"{other.path}/".startswith(f"{address.path}/")


def _findings(listing: Listing, found: Found, described: Sequence[_Described]) -> ZoneFindings:
    several = [(shown(each.item.relative), text) for each in described for text in each.mapped.several]
    refused = [
        (shown(each.item.relative), f"{name}: {text}") for each in described for name, text in each.mapped.refused
    ]
    foreign: Counter[str] = Counter(name for each in described for name in each.mapped.foreign)
    return ZoneFindings(
        objects=len(listing.objects),
        collections=len([path for path in listing.collections if path.startswith(listing.root)]),
        unusable=sorted(found.unusable),
        unknown=found.unknown,
        several=several,
        refused=refused,
        foreign=foreign,
        unread=listing.unread,
        filtered=found.filtered,
    )
