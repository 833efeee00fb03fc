"""``config/study.yaml``: what only people know of a study.

One strict model of the file. Everything may be left out here, since the images, the sheet and the records may say it;
what is still missing after all have been asked is `snakescope.study.gather`'s to report.
"""

from __future__ import annotations

import datetime
import re
import unicodedata
from collections.abc import Callable, Collection
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

from snakescope import layout
from snakescope.errors import Problem
from snakescope.study import identifiers
from snakescope.tool.base import SAFE_NAME, Model, near_miss

T = TypeVar("T")


def _checked(check: Callable[[str], T]) -> AfterValidator:
    return AfterValidator(check)


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    if not line:
        raise ValueError(f"found {text!r}; expected text")
    if unfit := [sign for sign in line if unicodedata.category(sign) in ("Cc", "Cs")]:
        raise ValueError(f"holds the control character {unfit[0]!r}, which no archive takes; remove it")
    return line


def _url(text: str) -> str:
    if not re.fullmatch(r"https?://[^\s/]+\S*", text):
        raise ValueError(f"found {text!r}; expected an address that begins with http:// or https://")
    return text


def _date(value: Any) -> Any:
    return identifiers.release_date(value) if isinstance(value, str | datetime.date) else value


Text = Annotated[str, AfterValidator(_one_line)]
Email = Annotated[str, _checked(identifiers.email)]
Orcid = Annotated[str, _checked(identifiers.orcid)]
Ror = Annotated[str, _checked(identifiers.ror)]
Doi = Annotated[str, _checked(identifiers.doi)]
LicenceText = Annotated[str, _checked(lambda text: identifiers.licence(text).name)]
Date = Annotated[datetime.date, BeforeValidator(_date)]
Url = Annotated[str, _checked(_url)]


class AffiliationSpec(Model):
    """An organisation."""

    name: Text
    """Name, such as European Bioinformatics Institute."""
    ror: Ror | None = None
    """ROR id of the organisation: https://ror.org/..."""
    address: Text | None = None
    """Postal address; needed only without a ROR id."""


class AuthorSpec(Model):
    """Somebody who made the study."""

    first_name: Text
    """First name."""
    last_name: Text
    """Last name."""
    email: Email
    """E-mail address."""
    orcid: Orcid | None = None
    """ORCID iD."""
    role: Text | None = None
    """What they did, such as `data acquisition`."""
    affiliation: AffiliationSpec
    """Where they work."""


class GrantSpec(Model):
    """A grant."""

    identifier: Text
    """Number of the grant."""
    funder: Text
    """Who gave it."""


class FundingSpec(Model):
    """Who paid."""

    statement: Text
    """One sentence, as it would stand in a paper."""
    grants: list[GrantSpec] = []
    """The grants one by one."""


class PublicationSpec(Model):
    """A paper about the study."""

    title: Text
    """Title."""
    authors: Text | None = None
    """Authors, as one text."""
    doi: Doi | None = None
    """DOI."""
    year: int | None = Field(default=None, ge=1900, le=2200)
    """Year of publication."""


class LinkSpec(Model):
    """Something on the web that belongs to the study."""

    url: Url
    """Address."""
    description: Text | None = None
    """What is there."""


class BiosampleSpec(Model):
    """What was studied."""

    title: Text | None = None
    """Name by which the sheet's column `biosample` refers to it."""
    organism: Text | None = None
    """Scientific or common name, or NCBI taxon: Homo sapiens, mouse, NCBITaxon:7955."""
    biological_entity: Text | None = None
    """What of it: a cell line, tissue, protein ..."""
    description: Text | None = None
    """Anything more."""
    experimental_variables: list[Text] = []
    """What was varied on purpose, such as time or dose."""
    extrinsic_variables: list[Text] = []
    """What was done to it, such as a drug."""
    intrinsic_variables: list[Text] = []
    """What it is by itself, such as a mutation."""


class SpecimenSpec(Model):
    """How it came under the microscope."""

    title: Text | None = None
    """Name by which the sheet's column `specimen` refers to it."""
    sample_preparation: Text | None = None
    """How it was stained, fixed, mounted."""
    growth_protocol: Text | None = None
    """How it was grown."""


class AcquisitionSpec(Model):
    """How it was imaged."""

    title: Text | None = None
    """Name by which the sheet's column `acquisition` refers to it."""
    imaging_instrument: Text | None = None
    """The microscope."""
    imaging_method: Text | None = None
    """FBbi term, by id or name: FBbi:00000369, light sheet."""
    acquisition_parameters: Text | None = None
    """Settings that matter, where the images do not say them."""


class CorrelationSpec(Model):
    """How images of several kinds were brought together."""

    title: Text
    """Name."""
    alignment: Text
    """How they were aligned in space and time."""
    fiducials: Text | None = None
    """Landmarks used."""
    transformation: Text | None = None
    """Transformation used."""


class DatasetSpec(Model):
    """Names of a part of the study, where the derived ones do not please."""

    name: Text | None = None
    """Name of the study component or annotation."""
    description: Text | None = None
    """What it holds."""


StepName = Annotated[str, StringConstraints(pattern=SAFE_NAME)]


class StudySpec(Model):
    """What people say of the study (``config/study.yaml``)."""

    schema_: Literal[1] = Field(alias="schema")
    """Version of this format."""
    title: Text | None = None
    """Title, at least 25 characters."""
    description: Text | None = None
    """What was studied and why, at least 25 characters."""
    keywords: list[Text] = []
    """Words to find it by."""
    license: LicenceText | None = None
    """CC0 or CC BY 4.0: the archive takes no other."""
    release_date: Date | None = None
    """When it may become public: YYYY-MM-DD."""
    acknowledgements: Text | None = None
    """Whom to thank."""
    funding: FundingSpec | None = None
    """Who paid."""
    publications: list[PublicationSpec] = []
    """Papers about it."""
    links: list[LinkSpec] = []
    """Code, other data."""
    authors: list[AuthorSpec] = []
    """Who made it; the first is the contact."""
    analyst: Email | None = None
    """E-mail of the author who ran the analysis; not needed with one author."""
    biosamples: list[BiosampleSpec] = []
    """What was studied."""
    specimens: list[SpecimenSpec] = []
    """How it was prepared."""
    acquisitions: list[AcquisitionSpec] = []
    """How it was imaged."""
    correlations: list[CorrelationSpec] = []
    """How images of several kinds were brought together."""
    datasets: dict[StepName | Literal["raw-images"], DatasetSpec] = {}
    """Names of the raw images (`raw-images`) and of what steps made, by step."""
    leave_out: list[StepName] = []
    """Steps whose files are not handed in; what was made from them refers to what they were made from."""
    voxels_of_1_um: bool = False
    """The voxels are really of 1 µm along every axis, which is otherwise taken for a value that nobody set."""


def unknown_steps(spec: StudySpec, steps: Collection[str]) -> list[Problem]:
    """What the file says of steps that the pipeline does not have."""
    known = f"There are: {', '.join(steps)}."
    named = [("leave_out", name) for name in spec.leave_out]
    named += [("datasets", name) for name in spec.datasets if name != "raw-images"]
    return [
        Problem(f"{layout.STUDY_YAML}: {key}", f"there is no step {name!r}", near_miss(name, steps) or known)
        for key, name in named
        if name not in steps
    ]
