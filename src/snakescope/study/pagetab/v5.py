"""The BioImage Archive's template BioImages.v5 as one table, and a check of a submission against it.

The archive's own check asks for known sections, known and required attributes, and references that lead somewhere; its
file list reader asks for a first cell ``Files``. Here the values, the references by title, and every row of the file
lists are looked at too. Nothing here knows how we write a submission.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from snakescope.errors import Problem
from snakescope.study import identifiers
from snakescope.study.pagetab.files import CONTROL, file_name, list_problems, path_problem
from snakescope.study.pagetab.text import Attribute, Section, Submission, parse_json, parse_tsv

# Where the table comes from: the template in EBIBioStudies/submission-tool, frontend/src/templates, and its version.
TEMPLATE = "BioImages.v5"
UPSTREAM = "EBIBioStudies/submission-tool@76b4e3b544b0abfdf49a363d60ab79dc87b53c2a (2026)"
COLLECTION = "BioImages"

JSON, TSV = "submission.json", "submission.tsv"

ANNOTATION_TYPES = (
    *("class_labels", "bounding_boxes", "counts", "derived_annotations", "geometrical_annotations", "graphs"),
    *("point_annotations", "segmentation_mask", "tracks", "weak_annotations", "other"),
)
MIN_TITLE = 25

Check = Callable[[str], object]


@dataclass(frozen=True)
class Field:
    """An attribute of a section.

    Parameters
    ----------
    repeats
        Whether it may stand more than once.
    values
        The only values there may be; None for any text.
    check
        Raises ValueError for what cannot be, and returns the value as it should be written.
    title_of
        Type of the section whose title it repeats.
    accession_of
        Type of the section whose accession it is.
    term
        Whether its qualifiers name a term; of which ontology, or ``*`` for any.
    """

    name: str
    required: bool = False
    repeats: bool = False
    values: tuple[str, ...] | None = None
    check: Check | None = None
    title_of: str | None = None
    accession_of: str | None = None
    term: str | None = None


@dataclass(frozen=True)
class Part:
    """A kind of section: what it may say and hold, and whether one must be there."""

    type: str
    fields: tuple[Field, ...]
    required: bool = False
    parts: tuple[Part, ...] = ()


def _needed(name: str, **more: object) -> Field:
    return Field(name, required=True, **more)  # type: ignore[arg-type]


def _title(text: str) -> str:
    if len(text) < MIN_TITLE:
        raise ValueError(f"found {text!r}, {len(text)} characters; expected {MIN_TITLE} or more")
    return text


def _year(text: str) -> str:
    if not re.fullmatch(r"[0-9]{4}", text):
        raise ValueError(f"found {text!r}; expected a year of four digits")
    return text


STUDY = Part(
    "Study",
    (
        _needed("Title", check=_title),
        _needed("ReleaseDate", check=lambda text: identifiers.release_date(text).isoformat()),
        _needed("Description"),
        _needed("Keywords", repeats=True),
        _needed("License", values=(identifiers.CC0.name, identifiers.CC_BY.name)),
        Field("Acknowledgements"),
        Field("Funding statement"),
    ),
    required=True,
    parts=(
        Part(
            "Author",
            (
                _needed("Name"),
                _needed("Email", check=identifiers.email),
                _needed("Organisation", repeats=True, accession_of="Organization"),
                Field("Role"),
                Field("ORCID", check=identifiers.orcid),
            ),
            required=True,
        ),
        Part(
            "Organization",
            (_needed("Name"), Field("Address"), Field("RORID", check=identifiers.ror)),
            required=True,
        ),
        Part(
            "Publication",
            (
                Field("Pubmed ID"),
                Field("Title"),
                Field("Authors"),
                Field("DOI", check=identifiers.doi),
                Field("Year", check=_year),
            ),
        ),
        Part("Funding", (Field("Agency"), Field("grant_id"))),
        Part(
            "Biosample",
            (
                _needed("Title"),
                _needed("Organism", term="NCBITaxon"),
                _needed("Biological entity"),
                Field("Description"),
                Field("Experimental variable"),
                Field("Extrinsic variable"),
                Field("Intrinsic variable"),
            ),
            required=True,
        ),
        Part(
            "Specimen",
            (_needed("Title"), _needed("Sample preparation protocol"), Field("Growth protocol")),
            required=True,
        ),
        Part(
            "Image acquisition",
            (
                _needed("Title"),
                _needed("Imaging instrument"),
                _needed("Image acquisition parameters"),
                _needed("Imaging method", repeats=True, term="*"),
            ),
            required=True,
        ),
        Part(
            "Image correlation",
            (
                _needed("Title"),
                _needed("Spatial and temporal alignment"),
                Field("Fiducials used"),
                Field("Transformation matrix"),
            ),
        ),
        Part("Image analysis", (_needed("Title"), _needed("Image analysis overview"))),
        Part(
            "Study Component",
            (_needed("Name"), _needed("Description"), _needed("File List", check=file_name)),
            required=True,
            parts=(
                Part(
                    "Associations",
                    (
                        _needed("Biosample", title_of="Biosample"),
                        _needed("Specimen", title_of="Specimen"),
                        _needed("Image acquisition", title_of="Image acquisition"),
                        Field("Image correlation", title_of="Image correlation"),
                        Field("Image analysis", title_of="Image analysis"),
                    ),
                    required=True,
                ),
            ),
        ),
        Part(
            "Annotation",
            (
                _needed("Title"),
                _needed("Annotation Overview"),
                _needed("Annotation Type", repeats=True, values=ANNOTATION_TYPES),
                _needed("Annotation Method"),
                Field("Annotation Confidence Level"),
                Field("Annotation Criteria"),
                Field("Annotation Coverage"),
                _needed("File List", check=file_name),
            ),
        ),
    ),
)
HEAD = Part(
    "Submission",
    (
        _needed("Title"),
        _needed("ReleaseDate"),
        _needed("RootPath"),
        _needed("AttachTo", values=(COLLECTION,)),
        _needed("Template", values=(TEMPLATE,)),
    ),
)
LINK_FIELDS = (Field("Description"),)

# ---------------------------------------------------------------------- the check


def check_submission(folder: Path) -> list[Problem]:
    """Check a submission and its file lists.

    Parameters
    ----------
    folder
        Holds ``submission.json``, ``submission.tsv``, the file lists, and ``run-crate/`` with what they name.

    Returns
    -------
    Everything that is wrong; empty when nothing is.
    """
    problems: list[Problem] = []
    submission = _read(folder, problems)
    if submission is None:
        return problems
    problems += _head_problems(submission)
    problems += _section_problems(submission.section, STUDY, "")
    problems += _reference_problems(submission.section)
    problems += list_problems(folder, submission.section)
    return problems


def _read(folder: Path, problems: list[Problem]) -> Submission | None:
    texts = [_text(folder / name, problems) for name in (JSON, TSV)]
    submission = None if texts[0] is None else parse_json(texts[0], JSON, problems)
    table = None if texts[1] is None else parse_tsv(texts[1], TSV, problems)
    if submission and table:
        problems += _differences(submission, table)
    return submission


def _text(path: Path, problems: list[Problem]) -> str | None:
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        problems.append(Problem(path.name, "there is no such file"))
    except (OSError, UnicodeDecodeError) as error:
        problems.append(Problem(path.name, f"cannot be read as UTF-8 text ({error})"))
    return None


def _differences(submission: Submission, table: Submission) -> Iterator[Problem]:
    """The first fact in which both forms differ; what follows is most often its consequence."""
    for one, other in zip_longest(_facts(submission), _facts(table)):
        if one != other:
            found, expected = (" = ".join(map(str, fact)) if fact else "nothing" for fact in (other, one))
            yield Problem(TSV, f"says another thing than {JSON}: found {found}; expected {expected}")
            return


def _facts(submission: Submission) -> Iterator[tuple[str, str]]:
    yield from _attribute_facts(submission.attributes, "Submission")
    yield from _section_facts(submission.section, "")


def _section_facts(section: Section, above: str) -> Iterator[tuple[str, str]]:
    where = f"{above} > {section.type}" if above else section.type
    yield where, section.accno or ""
    yield from _attribute_facts(section.attributes, where)
    for link in section.links:
        yield f"{where} > Link", link.url
        yield from _attribute_facts(link.attributes, f"{where} > Link")
    for part in section.subsections:
        yield from _section_facts(part, where)


def _attribute_facts(attributes: Iterable[Attribute], where: str) -> Iterator[tuple[str, str]]:
    for attribute in attributes:
        name = f"<{attribute.name}>" if attribute.reference else attribute.name
        yield f"{where}: {name}", attribute.value
        yield from ((f"{where}: {name} [{qualifier}]", value) for qualifier, value in attribute.qualifiers)


# ---------------------------------------------------------------------- sections


def _head_problems(submission: Submission) -> Iterator[Problem]:
    head, study = Section("Submission", None, submission.attributes), submission.section
    yield from _field_problems(head.attributes, HEAD.fields, f"{JSON}: Submission")
    for name in ("Title", "ReleaseDate"):
        told, expected = head.value(name), study.value(name)
        if told and expected and told != expected:
            yield Problem(f"{JSON}: Submission: {name}", f"found {told!r}; the study says {expected!r}")
    root = head.value("RootPath")
    if root and (fault := path_problem(root)):
        yield Problem(f"{JSON}: Submission: RootPath", f"{root!r} {fault}")
    if study.type != STUDY.type:
        yield Problem(f"{JSON}: section", f"found {study.type!r} as the first section; expected {STUDY.type!r}")


def _section_problems(section: Section, part: Part, above: str) -> Iterator[Problem]:
    where = f"{above} > {section.label}" if above else f"{JSON}: {section.label}"
    yield from _field_problems(section.attributes, part.fields, where)
    if section.links and part is not STUDY:
        yield Problem(where, "holds links; only the study may")
    for link in section.links:
        if not re.fullmatch(r"https?://\S+", link.url):
            yield Problem(f"{where}: Link", f"found {link.url!r}; expected an address that starts with https://")
        yield from _field_problems(link.attributes, LINK_FIELDS, f"{where}: Link {link.url!r}")
    known = {kind.type: kind for kind in part.parts}
    for below in section.subsections:
        if below.type in known:
            yield from _section_problems(below, known[below.type], where)
        else:
            expected = ", ".join(known) or "none"
            yield Problem(where, f"found a section {below.type!r}; the template has {expected} here")
    there = {below.type for below in section.subsections}
    for kind in part.parts:
        if kind.required and kind.type not in there:
            yield Problem(where, f"has no section {kind.type!r}; at least one is required")
    yield from _repeated(section, where)


def _repeated(section: Section, where: str) -> Iterator[Problem]:
    """Sections that cannot be told apart: others refer to them by title, and equal rows say nothing new."""
    titles: Counter[tuple[str, str]] = Counter()
    rows: Counter[tuple[tuple[str, str], ...]] = Counter()
    for part in section.subsections:
        title = part.value("Name" if part.type == "Study Component" else "Title")
        if title and part.type not in ("Author", "Organization", "Publication"):
            titles[part.type, title] += 1
        if part.type == "Associations":
            rows[tuple((attribute.name, attribute.value) for attribute in part.attributes)] += 1
    for (type_, title), count in titles.items():
        if count > 1:
            yield Problem(where, f"{count} sections {type_!r} have the title {title!r}; expected different titles")
    for row, count in rows.items():
        if count > 1:
            told = ", ".join(value for _, value in row)
            yield Problem(where, f"the association ({told}) stands {count} times; expected once")


def _field_problems(attributes: list[Attribute], fields: tuple[Field, ...], where: str) -> Iterator[Problem]:
    known = {field.name: field for field in fields}
    count = Counter(attribute.name for attribute in attributes)
    for field in fields:
        if field.required and not count[field.name]:
            yield Problem(where, f"{field.name!r} is missing; it is required")
        if count[field.name] > 1 and not field.repeats:
            yield Problem(where, f"{field.name!r} stands {count[field.name]} times; expected once")
    for attribute in attributes:
        if attribute.name in known:
            yield from _value_problems(attribute, known[attribute.name], f"{where}: {attribute.name}")
        else:
            yield Problem(where, f"found {attribute.name!r}, which the template does not have here")


def _value_problems(attribute: Attribute, field: Field, where: str) -> Iterator[Problem]:
    value = attribute.value
    if not value.strip():
        yield Problem(where, "is empty", "Leave out what is not known.")
    elif value != value.strip() or CONTROL.search(value):
        yield Problem(where, f"found {value!r}; expected one line without blanks around it")
    elif field.values and value not in field.values:
        yield Problem(where, f"found {value!r}; expected one of: {', '.join(field.values)}")
    elif field.check:
        yield from _checked(field.check, value, where)
    if attribute.reference != (field.accession_of is not None):
        found, expected = ("a reference", "a text") if attribute.reference else ("a text", "a reference")
        yield Problem(where, f"found {found}; expected {expected}")
    if field.term:
        yield from _term_problems(attribute, field.term, where)
    if field.name == "License" and field.values and value in field.values:
        address = identifiers.licence(value).url
        if dict(attribute.qualifiers).get("URL") != address:
            yield Problem(where, f"its qualifier URL is not {address}")


def _checked(check: Check, value: str, where: str) -> Iterator[Problem]:
    try:
        expected = check(value)
    except ValueError as error:
        yield Problem(where, str(error))
        return
    if expected != value:
        yield Problem(where, f"found {value!r}; expected it written as {expected!r}")


def _term_problems(attribute: Attribute, ontology: str, where: str) -> Iterator[Problem]:
    told = dict(attribute.qualifiers)
    if "Ontology" not in told or "TermId" not in told:
        yield Problem(where, f"{attribute.value!r} has no term; expected the qualifiers Ontology and TermId")
        return
    try:
        term = identifiers.term_id(told["TermId"])
    except ValueError as error:
        yield Problem(f"{where}: TermId", str(error))
        return
    expected = term.prefix if ontology == "*" else ontology
    if term.underscore != told["TermId"]:
        yield Problem(f"{where}: TermId", f"found {told['TermId']!r}; expected it written as {term.underscore!r}")
    elif {told["Ontology"], term.prefix} != {expected}:
        yield Problem(where, f"found {told['TermId']} of {told['Ontology']}; expected a term of {expected}")


def _reference_problems(study: Section) -> Iterator[Problem]:
    sections = list(_walk(study))
    titles: dict[str, set[str]] = {}
    accessions: dict[str, set[str]] = {}
    count = Counter(section.accno for section in sections if section.accno)
    for section in sections:
        titles.setdefault(section.type, set()).update(section.values("Title"))
        if section.accno:
            accessions.setdefault(section.type, set()).add(section.accno)
    for accno, times in count.items():
        if times > 1:
            yield Problem(JSON, f"{times} sections have the accession {accno!r}; expected different ones")
    fields = {part.type: {field.name: field for field in part.fields} for part in _parts(STUDY)}
    for section in sections:
        for attribute in section.attributes:
            field = fields.get(section.type, {}).get(attribute.name)
            where = f"{JSON}: {section.label}: {attribute.name}"
            if field and field.title_of and attribute.value not in titles.get(field.title_of, ()):
                yield Problem(where, f"there is no {field.title_of} with the title {attribute.value!r}")
            if field and field.accession_of and attribute.value not in accessions.get(field.accession_of, ()):
                yield Problem(where, f"there is no {field.accession_of} with the accession {attribute.value!r}")


def _walk(section: Section) -> Iterator[Section]:
    yield section
    for part in section.subsections:
        yield from _walk(part)


def _parts(part: Part) -> Iterator[Part]:
    yield part
    for below in part.parts:
        yield from _parts(below)
