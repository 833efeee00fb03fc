"""Asking sources for a field: what is known of a study so far, where each value comes from, and what is missing."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from snakescope import layout
from snakescope.errors import Problem
from snakescope.samples import Row, Sheet
from snakescope.study import identifiers
from snakescope.study.describe import ordered
from snakescope.study.model import (
    Acquisition,
    Author,
    Biosample,
    Correlation,
    Grant,
    Link,
    Origin,
    Publication,
    Specimen,
)
from snakescope.study.spec import StudySpec

Said = tuple[str, str] | None
"""A value and where exactly it stands; None when nobody says it."""

BIOSAMPLE = ("organism", "biological_entity", "experimental_variables", "extrinsic_variables", "intrinsic_variables")
SPECIMEN = ("sample_preparation", "growth_protocol")
ACQUISITION = ("imaging_instrument", "imaging_method", "acquisition_parameters")
# Who should know; everything else, the principal investigator.
KNOWN_BY = {
    "analyst": "who ran the analysis",
    **dict.fromkeys(("organism", "biological_entity", "sample_preparation"), "who prepared the sample"),
    **dict.fromkeys(ACQUISITION, "who ran the microscope"),
}


@dataclass(frozen=True)
class Missing:
    """A required REMBI field that nobody fills; `known_by` is who should know."""

    field: str
    known_by: str
    how: str


@dataclass
class Gathered:
    """What is known of a study apart from its files. Fields are None where `missing` names them."""

    spec: StudySpec
    title: str | None = None
    description: str | None = None
    keywords: tuple[str, ...] = ()
    licence: identifiers.Licence | None = None
    release_date: datetime.date | None = None
    authors: tuple[Author, ...] = ()
    analyst: Author | None = None
    biosamples: tuple[Biosample, ...] = ()
    specimens: tuple[Specimen, ...] = ()
    acquisitions: tuple[Acquisition, ...] = ()
    correlations: tuple[Correlation, ...] = ()
    grants: tuple[Grant, ...] = ()
    publications: tuple[Publication, ...] = ()
    links: tuple[Link, ...] = ()
    origins: list[Origin] = field(default_factory=list)
    missing: list[Missing] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    overruled: list[str] = field(default_factory=list)
    titles: dict[str, dict[tuple[str, ...], str]] = field(default_factory=dict)

    def association_of(self, row: Row) -> tuple[str, str, str]:
        """Titles of the biosample, specimen and acquisition of a row."""
        return (
            self.titles["biosample"][row_key(row, "biosample", BIOSAMPLE)],
            self.titles["specimen"][row_key(row, "specimen", SPECIMEN)],
            self.titles["acquisition"][row_key(row, "acquisition", ACQUISITION)],
        )


def row_key(row: Row, kind: str, columns: Sequence[str]) -> tuple[str, ...]:
    """What tells the biosample (specimen, acquisition) of a row from others: its title, else what its columns say."""
    title = row.cell(kind)
    return (title,) if title else tuple(row.cell(column) for column in columns)


class Filler:
    """Asks the sources for one field after the other and keeps the books."""

    def __init__(self, found: Gathered, sheet: Sheet) -> None:
        self.found, self.sheet = found, sheet

    def field(
        self,
        name: str,
        *,
        images: Said = None,
        sheet: Said = None,
        typed: str | None = None,
        required: bool = True,
        how: str | None = None,
    ) -> str | None:
        """Value of a field: of the last source that says it."""
        said = [("images", images), ("sheet", sheet), ("study.yaml", (typed, layout.STUDY_YAML) if typed else None)]
        told = [(source, value) for source, value in said if value and value[0].strip()]
        short = name.rpartition(".")[2]
        if not told:
            if required:
                key = how or f"Write {short}: into {layout.STUDY_YAML}, or give the sheet a column {short!r}."
                self.found.missing.append(Missing(name, KNOWN_BY.get(short, "the principal investigator"), key))
            return None
        source, (value, detail) = told[-1]
        for other, (else_, where) in told[:-1]:
            if else_ != value:
                who = where if other == "images" else other
                self.found.overruled.append(f"{name}: {who}: {else_!r}; {source}: {value!r}, which is used")
        self.origin(name, source, detail)
        return value

    def origin(self, name: str, source: Any, detail: str) -> None:
        """Remember where a field comes from."""
        self.found.origins.append(Origin(name, source, detail))

    def column(self, name: str, rows: Sequence[Row] | None = None, of: str = "the study") -> Said:
        """What a column of the sheet says for some rows, which must agree."""
        if name not in self.sheet.columns:
            return None
        values = ordered(row.cell(name) for row in (self.sheet.rows if rows is None else rows) if row.cell(name))
        if len(values) > 1:
            shown = ", ".join(map(repr, values[:3])) + (", ..." if len(values) > 3 else "")
            self.problem(f"{self.sheet.where()}: {name}", f"the rows of {of} disagree ({shown})")
            return None
        return (values[0], f"column {name!r}") if values else None

    def problem(self, where: str, message: str, fix: str | None = None) -> None:
        """Note something wrong."""
        self.found.problems.append(Problem(where, message, fix))
