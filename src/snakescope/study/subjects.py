"""Biosamples, specimens and acquisitions: told apart by the sheet, described by images, sheet and people."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from snakescope import layout
from snakescope.images import Acquisition as ImageFacts
from snakescope.samples import Row
from snakescope.study import identifiers
from snakescope.study.describe import describe_geometry, ordered
from snakescope.study.model import Acquisition, Biosample, ImagingMethod, Organism, Specimen
from snakescope.study.ontologies import Ontologies, Term
from snakescope.study.sources import ACQUISITION, BIOSAMPLE, SPECIMEN, Filler, Said, row_key
from snakescope.study.spec import AcquisitionSpec, BiosampleSpec, SpecimenSpec

# How many images are asked what they say of the microscope; spread evenly over the rows of an acquisition.
ASKED = 12
# More different settings than these are not told one by one.
DIFFERENT = 3

S = TypeVar("S", BiosampleSpec, SpecimenSpec, AcquisitionSpec)
ReadFacts = Callable[[Row], ImageFacts | None]


def fill_subjects(fill: Filler, ontologies: Ontologies, read_facts: ReadFacts) -> None:
    """Fill the biosamples, specimens and acquisitions."""
    found, spec = fill.found, fill.found.spec
    biosamples = _entities(fill, "biosample", BIOSAMPLE, spec.biosamples, BiosampleSpec)
    found.biosamples = _known(_biosample(fill, ontologies, *entity) for entity in biosamples)
    specimens = _entities(fill, "specimen", SPECIMEN, spec.specimens, SpecimenSpec)
    found.specimens = _known(_specimen(fill, *entity) for entity in specimens)
    acquisitions = _entities(fill, "acquisition", ACQUISITION, spec.acquisitions, AcquisitionSpec)
    found.acquisitions = _known(_acquisition(fill, ontologies, read_facts, *entity) for entity in acquisitions)


T = TypeVar("T")


def _known(items: Iterable[T | None]) -> tuple[T, ...]:
    return tuple(item for item in items if item is not None)


def _entities(
    fill: Filler, kind: str, columns: Sequence[str], specs: Sequence[S], model: type[S]
) -> list[tuple[str, S, list[Row]]]:
    """The things of one kind with what is typed of each and its rows: those that the sheet tells apart."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in fill.sheet.rows:
        groups.setdefault(row_key(row, kind, columns), []).append(row)
    by_title = {spec.title: spec for spec in specs}
    if len(by_title) < len(specs) or (len(specs) > 1 and None in by_title):
        fill.problem(
            f"{layout.STUDY_YAML}: {kind}s", "one has no title, or that of another; expected each to have its own"
        )
    titles = fill.found.titles[kind] = {}
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


def _spec_of(fill: Filler, kind: str, specs: Sequence[S], by_title: dict[str | None, S], rows: list[Row]) -> S | None:
    titled = rows[0].cell(kind)
    if titled:
        alone = specs[0] if len(specs) == 1 and specs[0].title is None else None
        return by_title.get(titled, alone)
    if len(specs) > 1:
        where = f"{fill.sheet.where(rows[0])}: {kind}"
        message = (
            f"found nothing; {layout.STUDY_YAML} names {len(specs)} {kind}s, and the row must say which is its own"
        )
        known = ", ".join(repr(spec.title) for spec in specs if spec.title)
        fill.problem(where, message, f"Give the sheet a column {kind!r} with one of: {known}.")
    return specs[0] if specs else None


def _biosample(
    fill: Filler, ontologies: Ontologies, title: str, spec: BiosampleSpec, rows: list[Row]
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


def _organism(fill: Filler, ontologies: Ontologies, text: str, base: str) -> Organism | None:
    read = _term(fill, ontologies.organism, text, f"{base}.organism", "NCBITaxon")
    if read is None:
        return None
    known, label, term_id = read
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
    fill: Filler, find: Callable[[str], Term | None], text: str, where: str, prefix: str
) -> tuple[Term | None, str | None, identifiers.TermId | None] | None:
    """Read ``name``, ``id`` or ``name (id)``: the known term, or the name and id as they stand; None if told wrong."""
    if found := find(text):
        return found, None, None
    label, _, rest = text.partition("(")
    label, id_text = label.strip(), rest.rstrip(") ").strip()
    try:
        term_id = identifiers.term_id(id_text) if id_text and rest.rstrip().endswith(")") else None
    except ValueError as error:
        fill.problem(where, str(error))
        return None
    if term_id is None:
        return find(text), None, None
    if term_id.prefix != prefix:
        fill.problem(where, f"found a term of {term_id.prefix}; expected one of {prefix}")
        return None
    known, named = find(term_id.curie), find(label)
    if known and named and known != named:
        fill.problem(
            where, f"found {text!r}; the name is that of {named}, the id that of {known}", "Write one of the two."
        )
        return None
    return (known if known == named else None), label, term_id


def _specimen(fill: Filler, title: str, spec: SpecimenSpec, rows: list[Row]) -> Specimen | None:
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
    fill: Filler,
    ontologies: Ontologies,
    read_facts: ReadFacts,
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
    fill: Filler, base: str, title: str, facts: list[ImageFacts], spec: AcquisitionSpec, rows: list[Row]
) -> str | None:
    """Settings: what each source says, one after the other, since they speak of different things."""
    summaries = ordered(filter(None, (fact.summary() for fact in facts)))
    column = fill.column("acquisition_parameters", rows, title)
    parts = [
        ("images", " or ".join(summaries) if len(summaries) <= DIFFERENT else None),
        ("sheet", describe_geometry(rows)),
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


def _imaging_method(fill: Filler, ontologies: Ontologies, text: str, base: str) -> ImagingMethod | None:
    where = f"{base}.imaging_method"
    read = _term(fill, ontologies.imaging_method, text, where, "FBbi")
    if read is None:
        return None
    known, label, term_id = read
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
    """A few rows, evenly spread, each file once: as its first row, for which a copy of it is fetched."""
    first: dict[str, Row] = {}
    for row in rows:
        first.setdefault(row.path, row)
    files = list(first.values())
    step = max(1, -(-len(files) // ASKED))
    return files[::step]
