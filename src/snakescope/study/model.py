"""The study as all views see it: gathered, checked, complete. Each view only writes it down.

Titles are unique within their kind, so that parts refer to each other by title. Texts are one line each.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field
from typing import Literal

from snakescope.study.entries import Entry
from snakescope.study.identifiers import Licence, TermId

RAW = "raw-images"
RUN = "workflow-run"
# Column that says where in iRODS an image was acquired to, in file lists and in the sheet that is handed on.
ADDRESS = "irods_address"


@dataclass(frozen=True)
class Origin:
    """Where a field's value comes from.

    Parameters
    ----------
    field
        Such as ``acquisitions.Lattice light-sheet.imaging_instrument``.
    source
        ``images``, ``sheet``, ``study.yaml``, ``records`` or ``pipeline``.
    detail
        More exactly: how many images say so, which column.
    """

    field: str
    source: Literal["images", "sheet", "study.yaml", "records", "pipeline"]
    detail: str


@dataclass(frozen=True)
class Organisation:
    """An organisation; `ror` is the full address of its ROR record."""

    name: str
    ror: str | None = None
    address: str | None = None


@dataclass(frozen=True)
class Author:
    """Somebody who made the study; `orcid` is bare, ``0000-0002-1825-0097``."""

    first_name: str
    last_name: str
    email: str
    orcid: str | None
    role: str | None
    affiliation: Organisation

    @property
    def name(self) -> str:
        """First and last name."""
        return f"{self.first_name} {self.last_name}"


@dataclass(frozen=True)
class Grant:
    """A grant."""

    identifier: str
    funder: str


@dataclass(frozen=True)
class Publication:
    """A paper about the study."""

    title: str
    authors: str | None = None
    doi: str | None = None
    year: int | None = None


@dataclass(frozen=True)
class Link:
    """Something on the web that belongs to the study."""

    url: str
    description: str | None = None


@dataclass(frozen=True)
class Organism:
    """A species."""

    scientific_name: str
    common_name: str | None
    taxon: TermId


@dataclass(frozen=True)
class Biosample:
    """What was studied."""

    title: str
    organism: Organism
    biological_entity: str
    description: str | None = None
    experimental_variables: tuple[str, ...] = ()
    extrinsic_variables: tuple[str, ...] = ()
    intrinsic_variables: tuple[str, ...] = ()


@dataclass(frozen=True)
class Specimen:
    """How it came under the microscope."""

    title: str
    sample_preparation: str
    growth_protocol: str | None = None


@dataclass(frozen=True)
class ImagingMethod:
    """A term for how images were made, of FBbi as a rule."""

    label: str
    term: TermId


@dataclass(frozen=True)
class Acquisition:
    """How it was imaged."""

    title: str
    imaging_instrument: str
    imaging_method: ImagingMethod
    acquisition_parameters: str


@dataclass(frozen=True)
class Correlation:
    """How images of several kinds were brought together."""

    title: str
    alignment: str
    fiducials: str | None = None
    transformation: str | None = None


@dataclass(frozen=True, order=True)
class Association:
    """Titles of the biosample, specimen and acquisition that images belong to."""

    biosample: str
    specimen: str
    acquisition: str


@dataclass(frozen=True)
class Dataset:
    """One study component or annotation: the raw images, what one step made, or the record of the run.

    Parameters
    ----------
    key
        `RAW`, `RUN`, or the name of a step.
    kind
        ``images`` for a REMBI study component, ``annotation`` for a MIFA annotation.
    name
        Unique title.
    description
        What it holds.
    entry
        Analysis that made it; None for raw images and the run's record.
    associations
        What its images belong to, without repeats, sorted; empty only when it has no files.
    files
        How many files (rows of its list) it has.
    """

    key: str
    kind: Literal["images", "annotation"]
    name: str
    description: str
    entry: Entry | None
    associations: tuple[Association, ...]
    files: int

    @property
    def file_list(self) -> str:
        """Name of its file list."""
        return f"file_list_{self.key}.tsv"


@dataclass(frozen=True)
class Study:
    """A study, ready to be written down.

    Parameters
    ----------
    name
        Short name, fit for a folder: of the study folder.
    pipeline_title
        Title of the pipeline that made the results.
    analyst
        Author who ran the analysis.
    datasets
        Raw images first, then one for each step that left something, in the order of the pipeline, then the run.
    origins
        Where each field comes from.
    """

    name: str
    title: str
    description: str
    keywords: tuple[str, ...]
    licence: Licence
    release_date: datetime.date
    authors: tuple[Author, ...]
    analyst: Author
    biosamples: tuple[Biosample, ...]
    specimens: tuple[Specimen, ...]
    acquisitions: tuple[Acquisition, ...]
    datasets: tuple[Dataset, ...]
    pipeline_title: str
    correlations: tuple[Correlation, ...] = ()
    acknowledgements: str | None = None
    funding_statement: str | None = None
    grants: tuple[Grant, ...] = ()
    publications: tuple[Publication, ...] = ()
    links: tuple[Link, ...] = ()
    origins: tuple[Origin, ...] = field(default=(), compare=False)

    @property
    def analyses(self) -> tuple[Dataset, ...]:
        """The datasets that an image analysis made, which are no annotations."""
        return tuple(dataset for dataset in self.datasets if dataset.entry and dataset.kind == "images")

    @property
    def annotations(self) -> tuple[Dataset, ...]:
        """The annotations."""
        return tuple(dataset for dataset in self.datasets if dataset.kind == "annotation")

    @property
    def components(self) -> tuple[Dataset, ...]:
        """The study components: raw images, derived images and tables, the run's record."""
        return tuple(dataset for dataset in self.datasets if dataset.kind == "images")
