"""Fill the study from three sources: what the images say, what the sheet says, what ``config/study.yaml`` says.

They are asked in this order; a later one overrules an earlier one, which is noted. Every field remembers where its
value comes from. What nobody says is missing, and somebody is named who should know.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from snakescope import layout
from snakescope.errors import InputError, problem
from snakescope.images import Acquisition as ImageFacts
from snakescope.images import read_acquisition
from snakescope.samples import Row, Sheet
from snakescope.study import identifiers
from snakescope.study.describe import ordered
from snakescope.study.model import Author, Correlation, Grant, Link, Organisation, Publication
from snakescope.study.ontologies import Ontologies
from snakescope.study.remote import kept_copy
from snakescope.study.sources import Filler, Gathered
from snakescope.study.spec import AuthorSpec, StudySpec
from snakescope.study.subjects import ReadFacts, fill_subjects
from snakescope.tool.base import parse, read_yaml

MIN_TEXT = 25


def gather(
    spec: StudySpec,
    sheet: Sheet,
    ontologies: Ontologies,
    read_facts: ReadFacts,
    *,
    title_of_pipeline: str,
    method_titles: Sequence[str] = (),
    operations: Mapping[str, Sequence[str]] | None = None,
) -> Gathered:
    """Fill everything but the datasets.

    Parameters
    ----------
    spec
        What people say.
    sheet
        The rows to hand on.
    ontologies
        Known terms.
    read_facts
        What an image says of the microscope; None when it is not at hand.
    title_of_pipeline, method_titles
        Title of the pipeline and of its methods, for keywords.
    operations
        EDAM operations of the tool of each step.
    """
    found = Gathered(spec)
    fill = Filler(found, sheet)
    _fill_study(fill, spec, title_of_pipeline, method_titles)
    _fill_people(fill, spec)
    fill_subjects(fill, ontologies, read_facts)
    for step, terms in (operations or {}).items():
        for term in terms:
            found.warnings += ontologies.check(term, None, f"step {step}: its tool's EDAM operation", "EDAM")
    found.correlations = tuple(
        Correlation(each.title, each.alignment, each.fiducials, each.transformation) for each in spec.correlations
    )
    return found


def read_spec(root: Path) -> StudySpec:
    """Read ``config/study.yaml``.

    Raises
    ------
    InputError
        If it is missing, or with every key that is wrong.
    """
    path = root / layout.STUDY_YAML
    if not path.is_file():
        raise problem(path, "there is no such file", "snakescope init writes one with comments; what is there stays.")
    return parse(StudySpec, read_yaml(path), path)


def _fill_study(fill: Filler, spec: StudySpec, pipeline: str, methods: Sequence[str]) -> None:
    found = fill.found
    for name, typed in (("title", spec.title), ("description", spec.description)):
        how = f"Write {name}: into {layout.STUDY_YAML}, or give the sheet a column 'study_{name}'."
        setattr(found, name, fill.field(name, sheet=fill.column(f"study_{name}"), typed=typed, how=how))
    for name in ("title", "description"):
        text = getattr(found, name)
        if text is not None and len(text) < MIN_TEXT:
            message = f"found {len(text)} characters ({text!r}); REMBI asks for {MIN_TEXT} or more"
            fill.problem(f"{layout.STUDY_YAML}: {name}", message)
    licence = fill.field("license", sheet=fill.column("license"), typed=spec.license)
    found.licence = _accepted(fill, "license", identifiers.licence, licence)
    typed_date = spec.release_date.isoformat() if spec.release_date else None
    date = fill.field("release_date", sheet=fill.column("release_date"), typed=typed_date)
    found.release_date = _accepted(fill, "release_date", identifiers.release_date, date)
    derived = ordered(method.lower() for method in methods)
    if spec.keywords:
        fill.origin("keywords", "study.yaml", layout.STUDY_YAML)
    elif derived:
        fill.origin("keywords", "pipeline", f"methods of {pipeline!r}")
    else:
        fill.field("keywords")
    found.keywords = tuple(spec.keywords or derived)
    for name in ("acknowledgements", "funding", "publications", "links", "correlations"):
        if getattr(spec, name):
            fill.origin(name, "study.yaml", layout.STUDY_YAML)
    found.grants = tuple(Grant(g.identifier, g.funder) for g in spec.funding.grants) if spec.funding else ()
    found.publications = tuple(Publication(p.title, p.authors, p.doi, p.year) for p in spec.publications)
    found.links = tuple(Link(link.url, link.description) for link in spec.links)


V = TypeVar("V")


def _accepted(fill: Filler, name: str, check: Callable[[str], V], text: str | None) -> V | None:
    """Check a value that may come from the sheet; what `study.yaml` says has been checked when it was read."""
    try:
        return None if text is None else check(text)
    except ValueError as error:
        fill.problem(f"{fill.sheet.where()}: {name}", str(error))
        return None


def _fill_people(fill: Filler, spec: StudySpec) -> None:
    found = fill.found
    found.authors = tuple(map(_author, spec.authors))
    if not found.authors:
        fill.field("authors", how=f"Write authors: into {layout.STUDY_YAML}.")
        return
    fill.origin("authors", "study.yaml", layout.STUDY_YAML)
    for author in found.authors:
        if not author.affiliation.ror and not author.affiliation.address:
            where = f"{layout.STUDY_YAML}: authors: {author.name}: affiliation"
            fill.problem(where, "has neither a ROR id nor an address", "Find the ROR id on https://ror.org.")
    by_email = {author.email: author for author in found.authors}
    if spec.analyst:
        found.analyst = by_email.get(spec.analyst)
        fill.origin("analyst", "study.yaml", layout.STUDY_YAML)
        if found.analyst is None:
            fill.problem(
                f"{layout.STUDY_YAML}: analyst", f"found {spec.analyst!r}, which is no author's e-mail address"
            )
    elif len(found.authors) == 1:
        found.analyst = found.authors[0]
    else:
        how = f"Write analyst: into {layout.STUDY_YAML}, the e-mail address of the author who ran the analysis."
        fill.field("analyst", how=how)


def _author(spec: AuthorSpec) -> Author:
    organisation = Organisation(spec.affiliation.name, spec.affiliation.ror, spec.affiliation.address)
    return Author(spec.first_name, spec.last_name, spec.email, spec.orcid, spec.role, organisation)


def image_facts(root: Path, *, keep_staged: bool = True) -> ReadFacts:
    """Read what an image says of the microscope; None for one that is not here or cannot be read.

    Of an image that lies in iRODS, a copy that was fetched is read, or with `keep_staged` one that was staged.
    """

    def read(row: Row) -> ImageFacts | None:
        try:
            copy = kept_copy(root, row, keep_staged=keep_staged) if row.remote else None
            path = row.path if not row.remote else copy.path if copy else None
            return read_acquisition(root / path, row.scene) if path else None
        except (InputError, OSError):
            return None

    return read
