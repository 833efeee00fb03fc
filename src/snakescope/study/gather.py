"""Fill the study from three sources: what the images say, what the sheet says, what ``config/study.yaml`` says.

They are asked in this order; a later one overrules an earlier one, which is noted. Every field remembers where its
value comes from. What nobody says is missing, and somebody is named who should know.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from snakescope import layout
from snakescope.errors import InputError, Problem, problem
from snakescope.images import Acquisition as ImageFacts
from snakescope.samples import Row, Sheet
from snakescope.study import identifiers
from snakescope.study.describe import describe_geometry, ordered
from snakescope.study.model import (
    Acquisition,
    Author,
    Biosample,
    Correlation,
    Grant,
    ImagingMethod,
    Link,
    Organisation,
    Organism,
    Origin,
    Publication,
    Specimen,
)
from snakescope.study.ontologies import Ontologies, Term
from snakescope.study.spec import AcquisitionSpec, AuthorSpec, BiosampleSpec, SpecimenSpec, StudySpec
from snakescope.tool.base import parse, read_yaml

MIN_TEXT = 25
# How many images are asked what they say of the microscope; spread evenly over the rows of an acquisition.
ASKED = 12
# More different settings than these are not told one by one.
DIFFERENT = 3

S = TypeVar("S", BiosampleSpec, SpecimenSpec, AcquisitionSpec)
Said = tuple[str, str] | None
"""A value and where exactly it stands; None when nobody says it."""

BIOSAMPLE = ("organism", "biological_entity", "experimental_variables", "extrinsic_variables", "intrinsic_variables")
SPECIMEN = ("sample_preparation", "growth_protocol")
ACQUISITION = ("imaging_instrument", "imaging_method", "acquisition_parameters")

KNOWN_BY = {
    "title": "the principal investigator",
    "description": "the principal investigator",
    "license": "the principal investigator",
    "release_date": "the principal investigator",
    "authors": "the principal investigator",
    "analyst": "who ran the analysis",
    "keywords": "the principal investigator",
    "organism": "who prepared the sample",
    "biological_entity": "who prepared the sample",
    "sample_preparation": "who prepared the sample",
    "imaging_instrument": "who ran the microscope",
    "imaging_method": "who ran the microscope",
    "acquisition_parameters": "who ran the microscope",
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
    _titles: dict[str, dict[tuple[str, ...], str]] = field(default_factory=dict)

    def association_of(self, row: Row) -> tuple[str, str, str]:
        """Titles of the biosample, specimen and acquisition of a row."""
        return (
            self._titles["biosample"][_key(row, "biosample", BIOSAMPLE)],
            self._titles["specimen"][_key(row, "specimen", SPECIMEN)],
            self._titles["acquisition"][_key(row, "acquisition", ACQUISITION)],
        )

    @property
    def automatic(self) -> tuple[int, int]:
        """Fields that nobody had to type into ``config/study.yaml``, and all fields that are filled."""
        return sum(origin.source != "study.yaml" for origin in self.origins), len(self.origins)


def gather(
    spec: StudySpec,
    sheet: Sheet,
    ontologies: Ontologies,
    read_facts: Callable[[Row], ImageFacts | None],
    *,
    title_of_pipeline: str,
    method_titles: Sequence[str] = (),
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
    """
    found = Gathered(spec)
    fill = _Filler(found, sheet)
    _fill_study(fill, spec, title_of_pipeline, method_titles)
    _fill_people(fill, spec)
    biosamples = _entities(fill, "biosample", BIOSAMPLE, spec.biosamples, BiosampleSpec)
    specimens = _entities(fill, "specimen", SPECIMEN, spec.specimens, SpecimenSpec)
    acquisitions = _entities(fill, "acquisition", ACQUISITION, spec.acquisitions, AcquisitionSpec)
    found.biosamples = _kept(_biosample(fill, ontologies, *entity) for entity in biosamples)
    found.specimens = _kept(_specimen(fill, *entity) for entity in specimens)
    found.acquisitions = _kept(_acquisition(fill, ontologies, read_facts, *entity) for entity in acquisitions)
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


def _kept(items: Any) -> Any:
    return tuple(item for item in items if item is not None)


class _Filler:
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


# ---------------------------------------------------------------------------- the study and its people


def _fill_study(fill: _Filler, spec: StudySpec, pipeline: str, methods: Sequence[str]) -> None:
    found = fill.found
    found.title = fill.field("title", sheet=fill.column("study_title"), typed=spec.title)
    found.description = fill.field("description", sheet=fill.column("study_description"), typed=spec.description)
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


def _accepted(fill: _Filler, name: str, check: Callable[[str], V], text: str | None) -> V | None:
    """Check a value that may come from the sheet; what `study.yaml` says has been checked when it was read."""
    try:
        return None if text is None else check(text)
    except ValueError as error:
        fill.problem(f"{fill.sheet.where()}: {name}", str(error))
        return None


def _fill_people(fill: _Filler, spec: StudySpec) -> None:
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


# ---------------------------------------------------------------------------- biosamples, specimens, acquisitions


def _key(row: Row, kind: str, columns: Sequence[str]) -> tuple[str, ...]:
    """What tells the biosample (specimen, acquisition) of a row from others: its title, else what its columns say."""
    title = row.cell(kind)
    return (title,) if title else tuple(row.cell(column) for column in columns)


def _entities(
    fill: _Filler, kind: str, columns: Sequence[str], specs: Sequence[S], model: type[S]
) -> list[tuple[str, S, list[Row]]]:
    """The things of one kind with what is typed of each and its rows: those that the sheet tells apart."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in fill.sheet.rows:
        groups.setdefault(_key(row, kind, columns), []).append(row)
    by_title = {spec.title: spec for spec in specs}
    if len(by_title) < len(specs):
        fill.problem(f"{layout.STUDY_YAML}: {kind}s", "two of them have the same title, or none")
    titles = fill.found._titles[kind] = {}
    found = []
    for key, rows in groups.items():
        spec = _spec_of(fill, kind, specs, by_title, rows) or model()
        title = (key[0] if rows[0].cell(kind) else spec.title) or ", ".join(filter(None, key)) or _default(kind, spec)
        titles[key] = title
        found.append((title, spec, rows))
    unused = [title for title in by_title if title and title not in titles.values()]
    if groups:
        for title in unused:
            fill.problem(f"{layout.STUDY_YAML}: {kind}s", f"no row of the sheet belongs to {title!r}")
    return found


def _default(kind: str, spec: BiosampleSpec | SpecimenSpec | AcquisitionSpec) -> str:
    """Title of the only one of its kind, which nobody has given one."""
    if isinstance(spec, BiosampleSpec):
        return spec.biological_entity or spec.organism or kind.capitalize()
    if isinstance(spec, AcquisitionSpec):
        return spec.imaging_instrument or kind.capitalize()
    return kind.capitalize()


def _spec_of(fill: _Filler, kind: str, specs: Sequence[S], by_title: dict[str | None, S], rows: list[Row]) -> S | None:
    titled = rows[0].cell(kind)
    if titled:
        alone = specs[0] if len(specs) == 1 and specs[0].title is None else None
        return by_title.get(titled, alone)
    if len(specs) > 1:
        where = f"{fill.sheet.where(rows[0])}: {kind}"
        message = (
            f"found nothing; {layout.STUDY_YAML} names {len(specs)} {kind}s, and the row must say which is its own"
        )
        known = ", ".join(repr(spec.title) for spec in specs)
        fill.problem(where, message, f"Give the sheet a column {kind!r} with one of: {known}.")
    return specs[0] if specs else None


def _biosample(
    fill: _Filler, ontologies: Ontologies, title: str, spec: BiosampleSpec, rows: list[Row]
) -> Biosample | None:
    base = f"biosamples.{title}"

    def ask(name: str, typed: str | None, required: bool = False) -> str | None:
        said = fill.column(name, rows, title)
        return fill.field(f"{base}.{name}", sheet=said, typed=typed, required=required)

    organism = ask("organism", spec.organism, required=True)
    entity = ask("biological_entity", spec.biological_entity, required=True)
    variables = [ask(name, "; ".join(getattr(spec, name)) or None) for name in BIOSAMPLE[2:]]
    description = ask("biosample_description", spec.description)
    if organism is None or entity is None:
        return None
    species = _organism(fill, ontologies, organism, base)
    if species is None:
        return None
    lists = [tuple(part.strip() for part in text.split(";")) if text else () for text in variables]
    return Biosample(title, species, entity, description, *lists)


def _organism(fill: _Filler, ontologies: Ontologies, text: str, base: str) -> Organism | None:
    known, label, term_id = _term(fill, ontologies.organism, text, f"{base}.organism", "NCBITaxon")
    if known is not None:
        return Organism(known.label, known.common_name, known.id)
    if label and term_id:
        fill.found.warnings += ontologies.check(term_id.curie, label, f"{base}.organism", "NCBITaxon")
        return Organism(label, None, term_id)
    near = [f"{term.label} ({term.id.curie})" for term in ontologies.near(text, "NCBITaxon")]
    message = f"found {text!r}, a name that is not in our small table"
    fix = "Write its scientific name and taxon, as Homo sapiens (NCBITaxon:9606)."
    fill.problem(f"{base}.organism", message, f"Did you mean {' or '.join(near)}? {fix}" if near else fix)
    return None


def _term(
    fill: _Filler, find: Callable[[str], Term | None], text: str, where: str, prefix: str
) -> tuple[Term | None, str | None, identifiers.TermId | None]:
    """Read ``name``, ``id`` or ``name (id)``: the known term, or the name and id as they stand."""
    if found := find(text):
        return found, None, None
    label, _, rest = text.partition("(")
    label, id_text = label.strip(), rest.rstrip(") ").strip()
    try:
        term_id = identifiers.term_id(id_text) if id_text and rest.rstrip().endswith(")") else None
    except ValueError as error:
        fill.problem(where, str(error))
        return None, None, None
    if term_id is None:
        return find(text), None, None
    if term_id.prefix != prefix:
        fill.problem(where, f"found a term of {term_id.prefix}; expected one of {prefix}")
        return None, None, None
    known = find(term_id.curie)
    return (known if known and known == find(label) else None), label, term_id


def _specimen(fill: _Filler, title: str, spec: SpecimenSpec, rows: list[Row]) -> Specimen | None:
    base = f"specimens.{title}"
    said = {name: fill.column(name, rows, title) for name in SPECIMEN}
    preparation = fill.field(
        f"{base}.sample_preparation", sheet=said["sample_preparation"], typed=spec.sample_preparation
    )
    growth = fill.field(
        f"{base}.growth_protocol", sheet=said["growth_protocol"], typed=spec.growth_protocol, required=False
    )
    return Specimen(title, preparation, growth) if preparation else None


def _acquisition(
    fill: _Filler,
    ontologies: Ontologies,
    read_facts: Callable[[Row], ImageFacts | None],
    title: str,
    spec: AcquisitionSpec,
    rows: list[Row],
) -> Acquisition | None:
    base = f"acquisitions.{title}"
    facts = [fact for fact in map(read_facts, _spread(rows)) if fact is not None]
    instrument = fill.field(
        f"{base}.imaging_instrument",
        images=_told_by_images([fact.instrument for fact in facts], len(rows)),
        sheet=fill.column("imaging_instrument", rows, title),
        typed=spec.imaging_instrument,
    )
    method = fill.field(
        f"{base}.imaging_method",
        images=_told_by_images([_mode(ontologies, fact) for fact in facts], len(rows)),
        sheet=fill.column("imaging_method", rows, title),
        typed=spec.imaging_method,
    )
    parameters = _parameters(fill, base, title, facts, spec, rows)
    term = _imaging_method(fill, ontologies, method, base) if method else None
    return Acquisition(title, instrument, term, parameters) if instrument and term and parameters else None


def _mode(ontologies: Ontologies, facts: ImageFacts) -> str | None:
    """Imaging method by the file's own word for it, where our table knows that word."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", facts.imaging_mode or "")  # LaserScanningConfocalMicroscopy
    term = ontologies.imaging_method(words) if words else None
    return term.label if term else None


def _parameters(
    fill: _Filler, base: str, title: str, facts: list[ImageFacts], spec: AcquisitionSpec, rows: list[Row]
) -> str | None:
    """Settings: what each source says, one after the other, since they speak of different things."""
    summaries = ordered(filter(None, (fact.summary() for fact in facts)))
    column = fill.column("acquisition_parameters", rows, title)
    parts = [
        ("images", " or ".join(summaries) if len(summaries) <= DIFFERENT else None),
        ("images", describe_geometry(rows)),
        ("sheet", column[0] if column else None),
        ("study.yaml", spec.acquisition_parameters),
    ]
    told = [(source, text.strip().rstrip(".;")) for source, text in parts if text]
    if not told:
        return fill.field(f"{base}.acquisition_parameters")
    sources = ordered(source for source, _ in told)
    detail = f"{' and '.join(sources)}; {len(facts)} images asked (of {len(rows)})"
    fill.origin(f"{base}.acquisition_parameters", sources[0], detail)
    return "; ".join(text for _, text in told)


def _told_by_images(values: Sequence[str | None], rows: int) -> Said:
    """What images say; nothing where they disagree, since one acquisition has one microscope."""
    known = ordered(value for value in values if value)
    if len(known) != 1:
        return None
    return known[0], f"{sum(value is not None for value in values)} of {len(values)} images asked (of {rows})"


def _imaging_method(fill: _Filler, ontologies: Ontologies, text: str, base: str) -> ImagingMethod | None:
    where = f"{base}.imaging_method"
    known, label, term_id = _term(fill, ontologies.imaging_method, text, where, "FBbi")
    if known is not None:
        return ImagingMethod(known.label, known.id)
    if label and term_id:
        fill.found.warnings += ontologies.check(term_id.curie, label, where, "FBbi")
        return ImagingMethod(label, term_id)
    near = [f"{term.label} ({term.id.curie})" for term in ontologies.near(text, "FBbi")]
    fix = "Write the term's name and FBbi id, as light sheet (FBbi:00000369)."
    message = f"found {text!r}, a name that is not in our small table"
    fill.problem(where, message, f"Did you mean {' or '.join(near)}? {fix}" if near else fix)
    return None


def _spread(rows: list[Row]) -> list[Row]:
    """A few rows, evenly spread, each file once."""
    files = list({row.path: row for row in rows}.values())
    step = max(1, -(-len(files) // ASKED))
    return files[::step]


def image_facts(root: Path) -> Callable[[Row], ImageFacts | None]:
    """Read what an image says of the microscope; None for one that is not here or cannot be read."""
    from snakescope.images import read_acquisition

    def read(row: Row) -> ImageFacts | None:
        try:
            return read_acquisition(root / row.path, row.scene)
        except (InputError, OSError):
            return None

    return read
