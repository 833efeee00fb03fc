"""omero-quay's ISA sheet as a source of the sample sheet: its Excel workbook, or its manifest as YAML or JSON.

An assay says where its images lie and what they show. The rows of the sample sheet that lie there get that as columns.
Names of sheets, columns and keys are those of omero-quay 1.2.0.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse
from zipfile import BadZipFile

from openpyxl import load_workbook
from openpyxl.utils.exceptions import InvalidFileException

from snakescope.catalog.merge import file_of
from snakescope.errors import InputError, Problem, problem
from snakescope.samples import Row, Sheet, build_sheet
from snakescope.tool.base import read_yaml
from snakescope.zone.address import Address, is_address

SHEETS = ("Investigation", "Study", "Assay")
# Keys of an assay, in small letters without blanks, and the column that they fill.
COLUMNS = {
    "specimensamplepreparation": "sample_preparation",
    "specimengrowthprotocol": "growth_protocol",
    "organismscientificname": "organism",
    "organismcommonname": "organism_common_name",
    "biosamplebiologicalentity": "biological_entity",
    "organismdescription": "biosample_description",
    "intrinsicvariables": "intrinsic_variables",
    "extrinsicvariables": "extrinsic_variables",
    "experimentalvariables": "experimental_variables",
    "imagingmethodvalue": "imaging_method",
    "imaginginstrument": "imaging_instrument",
    "imageacquisitionparameters": "acquisition_parameters",
    "imageanalysisoverview": "quay_image_analysis",
    "imagecorrelationspatialandtemporalalignment": "quay_correlation_alignment",
    "imagecorrelationfiducialsused": "quay_correlation_fiducials",
    "imagecorrelationtransformationmatrix": "quay_correlation_transformation",
}
TAXON, METHOD_ID, METHOD_ONTOLOGY = "organismncbitaxon", "imagingmethodontologyid", "imagingmethodontologyname"
_QUOTES = "' «»“”’\""
_UNFIT = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


@dataclass(frozen=True)
class Assay:
    """An assay: images that belong together.

    Parameters
    ----------
    name, study, investigation
        Its name and those of what it is part of.
    paths
        Where its images lie: folders, absolute or below a root that is not known, or addresses.
    pairs
        Its keys as they are written, with their values.
    """

    name: str
    study: str
    investigation: str
    owner: str = ""
    description: str = ""
    tags: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    pairs: Mapping[str, str] = field(default_factory=dict)

    @property
    def cells(self) -> dict[str, str]:
        """What it says of its rows, by column of the sample sheet."""
        found = {plain(key): clean(value) for key, value in self.pairs.items()}
        cells = {column: found.get(key, "") for key, column in COLUMNS.items()}
        taxon = re.search(r"([0-9]+)\W*$", found.get(TAXON, ""))
        if cells["organism"] and taxon and "(" not in cells["organism"]:
            cells["organism"] += f" (NCBITaxon:{taxon[1]})"
        term = _term(found.get(METHOD_ID, ""), found.get(METHOD_ONTOLOGY, ""))
        if cells["imaging_method"] and term and "(" not in cells["imaging_method"]:
            cells["imaging_method"] += f" ({term})"
        own = {"investigation": self.investigation, "study": self.study, "assay": self.name, "owner": self.owner}
        cells |= {f"quay_{key}": clean(value) for key, value in own.items()}
        cells["quay_tags"] = clean("; ".join(self.tags))
        return {column: text for column, text in cells.items() if text}


def plain(key: str) -> str:
    """A key in small letters, without blanks and the like: people write them in several ways."""
    return re.sub(r"[^a-z0-9]", "", key.casefold())


def clean(text: str) -> str:
    """A value on one line, without quotes around it."""
    return _UNFIT.sub(" ", text).strip(_QUOTES)


def _term(text: str, ontology: str) -> str:
    """A term as ``FBbi:00000369``; empty for what is none."""
    match = re.search(r"(?:([A-Za-z]+)[:_])?([0-9]+)\W*$", text)
    name = (match[1] if match else None) or (ontology if re.fullmatch("[A-Za-z]+", ontology) else "")
    return f"{name}:{match[2]}" if match and name else ""


# ---------------------------------------------------------------------------- reading


def read_assays(path: Path) -> list[Assay]:
    """Read the assays of a workbook, or of a manifest.

    Raises
    ------
    InputError
        With everything that is wrong: missing sheets or columns, parents that are not there, assays without a name.
    """
    if path.suffix.lower() == ".xlsx":
        return _from_tables(_read_workbook(path), path)
    if path.suffix.lower() in (".yml", ".yaml", ".json"):
        return _from_manifest(read_yaml(path), path)
    raise problem(path, "expected omero-quay's workbook (.xlsx) or manifest (.yml, .yaml, .json)")


Table = list[tuple[int, dict[str, str]]]
"""Rows with their line, by column; an empty cell is an empty text."""


def _read_workbook(path: Path) -> dict[str, Table]:
    try:
        book = load_workbook(path, read_only=True, data_only=True)
    except FileNotFoundError:
        raise problem(path, "there is no such file") from None
    except (OSError, BadZipFile, InvalidFileException, KeyError, ValueError) as error:
        raise problem(path, f"is no Excel workbook ({error})") from error
    try:
        missing = [name for name in SHEETS if name not in book.sheetnames]
        if missing:
            raise problem(path, f"has no sheet {', '.join(missing)}; expected {', '.join(SHEETS)}")
        return {name: _table(book[name].iter_rows(values_only=True)) for name in SHEETS}
    finally:
        book.close()


def _table(rows: Iterable[Sequence[Any]]) -> Table:
    lines = [["" if cell is None else clean(_text(cell)) for cell in row] for row in rows]
    if not lines:
        return []
    columns = lines[0]
    told = [(number, dict(zip(columns, line, strict=False))) for number, line in enumerate(lines[1:], 2)]
    return [(number, row) for number, row in told if any(row.values())]


def _text(cell: object) -> str:
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell)


def _from_tables(tables: Mapping[str, Table], path: Path) -> list[Assay]:
    problems: list[Problem] = []
    for name, needed in (("Investigation", {"name"}), ("Study", {"name", "parent"}), ("Assay", {"name", "parent"})):
        lacking = needed - {column for _, row in tables[name] for column in row}
        if tables[name] and lacking:
            problems.append(Problem(f"{path}: {name}", f"has no column {', '.join(sorted(lacking))}"))
    if problems:
        raise InputError(problems)
    investigations = {row["name"] for _, row in tables["Investigation"]}
    studies = {row["name"]: row["parent"] for _, row in tables["Study"]}
    for number, row in tables["Study"]:
        if row["parent"] not in investigations:
            problems.append(_orphan(path, "Study", number, row["parent"], investigations))
    merged: dict[tuple[str, str], Assay] = {}
    for number, row in tables["Assay"]:
        if row["parent"] not in studies:
            problems.append(_orphan(path, "Assay", number, row["parent"], studies))
        elif not row["name"]:
            problems.append(Problem(f"{path}: Assay: line {number}", "has no name"))
        else:
            assay = _assay(row, studies[row["parent"]])
            earlier = merged.get((assay.study, assay.name))
            merged[assay.study, assay.name] = _joined(earlier, assay) if earlier else assay
    if problems:
        raise InputError(problems)
    return list(merged.values())


def _orphan(path: Path, sheet: str, number: int, parent: str, known: Iterable[str]) -> Problem:
    where = f"{path}: {sheet}: line {number}: parent"
    return Problem(where, f"found {parent!r}; expected one of {', '.join(map(repr, known)) or 'none'}")


def _assay(row: Mapping[str, str], investigation: str) -> Assay:
    own = ("name", "parent", "owner", "description", "tags", "path")
    return Assay(
        name=row["name"],
        study=row["parent"],
        investigation=investigation,
        owner=row.get("owner", ""),
        description=row.get("description", ""),
        tags=tuple(tag.strip() for tag in row.get("tags", "").split(",") if tag.strip()),
        paths=(row["path"],) if row.get("path") else (),
        pairs={key: value for key, value in row.items() if key not in own and value},
    )


def _joined(one: Assay, other: Assay) -> Assay:
    """An assay that stands in two lines: it has two paths."""
    return Assay(
        one.name, one.study, one.investigation, one.owner, one.description,
        tuple(dict.fromkeys(one.tags + other.tags)), one.paths + other.paths, {**other.pairs, **one.pairs},
    )  # fmt: skip


def _from_manifest(data: Mapping[str, Any], path: Path) -> list[Assay]:
    try:
        annotations = {item["id"]: item for item in data.get("quay_annotations") or []}
        above = {item["id"]: item for key in ("investigations", "studies") for item in data.get(key) or []}
        return [_manifest_assay(item, above, annotations) for item in data.get("assays") or []]
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        fix = "Make it with omero-quay 1.2, or use its workbook."
        raise problem(path, f"is no manifest of omero-quay ({type(error).__name__}: {error})", fix) from error


def _manifest_assay(item: Mapping[str, Any], above: Mapping[str, Any], annotations: Mapping[str, Any]) -> Assay:
    study = above[item["parents"][0]]
    told = [annotations[key] for key in item.get("quay_annotations") or []]
    pairs = {pair["key"]: str(pair["value"]) for each in told for pair in each.get("kv_pairs") or []}
    return Assay(
        name=str(item["name"]),
        study=str(study["name"]),
        investigation=str(above[study["parents"][0]]["name"]),
        owner=str(item.get("owner") or ""),
        description=str(item.get("description") or ""),
        tags=tuple(str(each["value"]) for each in told if each.get("value")),
        paths=tuple(str(link["srce_url"]) for link in item.get("importlinks") or []),
        pairs={key: value for key, value in pairs.items() if value},
    )


# ---------------------------------------------------------------------------- giving it to rows


@dataclass
class Described:
    """A sheet whose rows know their assays.

    Parameters
    ----------
    rows
        How many rows lie in an assay.
    disagreements
        Where the sheet says something else already; it was kept.
    problems
        Rows that lie in no assay or in several, and assays without a row.
    """

    sheet: Sheet
    rows: int = 0
    disagreements: list[Problem] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def describe(sheet: Sheet, assays: Sequence[Assay], study: Path, source: Path) -> Described:
    """Give the rows that lie in an assay what it says; cells that are filled stay.

    Parameters
    ----------
    study
        Folder that paths of the sheet are relative to.
    source
        The workbook or manifest, for messages.
    """
    found = Described(sheet)
    used: set[tuple[str, str]] = set()
    rows, outside = [], []
    for row in sheet.rows:
        fitting = _fitting(row, assays, study)
        cells = dict(row.cells)
        if len(fitting) == 1:
            assay = fitting[0]
            used.add((assay.study, assay.name))
            found.rows += 1
            found.disagreements += _fill(cells, assay, sheet.where(row))
        elif fitting:
            names = ", ".join(f"{each.study}/{each.name}" for each in fitting)
            found.problems.append(Problem(f"{sheet.where(row)}: path", f"lies in several assays of {source}: {names}"))
        else:
            outside.append(row.id)
        rows.append(cells)
    columns = dict.fromkeys([*sheet.columns, *(column for cells in rows for column in cells)])
    found.sheet = build_sheet(list(columns), rows, sheet.path)
    if outside:
        told = ", ".join(outside[:5]) + (", ..." if len(outside) > 5 else "")
        found.problems.append(Problem(str(source), f"no assay has the path of {len(outside)} rows ({told})"))
    unused = [f"{each.study}/{each.name}" for each in assays if (each.study, each.name) not in used]
    found.problems += [Problem(str(source), f"the assay {name} has no row in the sheet") for name in unused]
    return found


def _fill(cells: dict[str, str], assay: Assay, where: str) -> Iterator[Problem]:
    for column, text in assay.cells.items():
        if not cells.get(column):
            cells[column] = text
        elif cells[column] != text:
            yield Problem(f"{where}: {column}", f"found {cells[column]!r}, which was kept; its assay says {text!r}")


def _fitting(row: Row, assays: Sequence[Assay], study: Path) -> list[Assay]:
    """The assays whose path a row lies below most deeply."""
    place = file_of(row, study.absolute())
    parts = (Address.parse(place).path if is_address(place) else place).split("/")
    depths = [(max((_depth(parts, path) for path in _paths(assay)), default=0), assay) for assay in assays]
    deepest = max((depth for depth, _ in depths), default=0)
    return [assay for depth, assay in depths if depth == deepest and depth]


def _paths(assay: Assay) -> Iterator[list[str]]:
    """Where its images may lie, in parts; an absolute path begins with an empty one. In iRODS it is its own place."""
    yield [assay.investigation, assay.study, assay.name]
    for path in assay.paths:
        text = path.replace("\\", "/")
        if "://" in text:
            text = unquote(urlparse(text).path)
        parts = text.rstrip("/").split("/")
        yield parts if text.startswith("/") else [part for part in parts if part not in ("", ".")]


def _depth(parts: list[str], path: list[str]) -> int:
    """How many parts of a row's place an assay's path fits; 0 where it does not."""
    if not any(path):
        return 0
    if path[0] == "":
        return len(path) if parts[: len(path)] == path else 0
    return len(path) if any(parts[start : start + len(path)] == path for start in range(len(parts))) else 0
