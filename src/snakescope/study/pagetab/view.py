"""``submission.json`` and ``submission.tsv``: the study as the BioImage Archive takes it (PageTab, BioImages.v5).

Names of sections and attributes are the template's, see `snakescope.study.pagetab.v5`. The JSON is what to hand in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from snakescope.study.inventory import Inventory, Job, StudyFile
from snakescope.study.model import Association, Author, Dataset, Organisation, Study
from snakescope.study.pagetab import v5 as pagetab_v5
from snakescope.study.pagetab.text import Attribute, Link, Section, Submission, json_text, tsv_text

OTHER = "other"


class PageTab:
    """A view: writes the submission once it knows which datasets have files.

    Parameters
    ----------
    folder
        The export that is being built.
    study
        What is said of the study.
    inventory
        Not needed here; every view is made alike.
    """

    def __init__(self, folder: Path, study: Study, inventory: Inventory) -> None:  # noqa: ARG002
        self.folder, self.study = folder, study
        self._files: Counter[str] = Counter()

    def run_file(self, file: StudyFile) -> None:
        """Count a file of the run's own record."""
        self._files[file.dataset] += 1

    def raw(self, file: StudyFile) -> None:
        """Count a raw image."""
        self._files[file.dataset] += 1

    def job(self, job: Job) -> None:
        """Count what a job made."""
        for file in job.outputs:
            self._files[file.dataset] += 1

    def finish(self) -> None:
        """Write both forms of the submission."""
        submission = _submission(self.study, [item for item in self.study.datasets if self._files[item.key]])
        for name, text in (
            (pagetab_v5.JSON, json_text(submission)),
            (pagetab_v5.TSV, tsv_text(submission)),
        ):
            (self.folder / name).write_text(text, encoding="utf-8", newline="\n")


def annotation_type(dataset: Dataset) -> str:
    """MIFA type of an annotation; ``other`` when its tool does not say."""
    found = dataset.entry.annotation_type if dataset.entry else None
    return found or OTHER


def annotation_method(dataset: Dataset) -> str:
    """How an annotation was made."""
    return dataset.entry.overview if dataset.entry else dataset.description


def analysis_titles(datasets: Iterable[Dataset]) -> dict[str, str]:
    """Title of the analysis behind each study component that has one, by dataset key; no two are alike."""
    analyses = [dataset for dataset in datasets if dataset.entry and dataset.kind == "images"]
    plain = Counter(dataset.entry.title for dataset in analyses if dataset.entry)
    titles: dict[str, str] = {}
    for dataset in analyses:
        title = dataset.entry.title if dataset.entry else dataset.name
        if plain[title] > 1:
            title = f"{title} ({dataset.key})"
        while title in titles.values():
            title = f"{title} ({dataset.key})"
        titles[dataset.key] = title
    return titles


def _submission(study: Study, datasets: list[Dataset]) -> Submission:
    date = study.release_date.isoformat()
    head = _attributes(
        ("Title", study.title),
        ("ReleaseDate", date),
        ("AttachTo", pagetab_v5.COLLECTION),
        ("Template", pagetab_v5.TEMPLATE),
        ("RootPath", study.name),
    )
    root = Section("Study", None, _study_attributes(study, date))
    root.links = [Link(link.url, _attributes(("Description", link.description))) for link in study.links]
    root.subsections = [*_people(study), *_context(study), *_data(datasets)]
    _number([root], Counter())
    return Submission(head, root)


def _number(sections: Iterable[Section], count: Counter[str]) -> None:
    """Give every section an accession: its type and number."""
    for section in sections:
        slug = section.type.lower().replace(" ", "-")
        count[slug] += 1
        section.accno = f"{slug}-{count[slug]}"
        _number(section.subsections, count)


def _attributes(*pairs: tuple[str, str | None]) -> list[Attribute]:
    """Attributes with a value; what is not known is left out."""
    return [Attribute(name, value) for name, value in pairs if value]


def _study_attributes(study: Study, date: str) -> list[Attribute]:
    return [
        *_attributes(("Title", study.title), ("ReleaseDate", date), ("Description", study.description)),
        *_attributes(*(("Keywords", keyword) for keyword in study.keywords)),
        Attribute("License", study.licence.name, qualifiers=[("URL", study.licence.url)]),
        *_attributes(("Acknowledgements", study.acknowledgements), ("Funding statement", study.funding_statement)),
    ]


def _people(study: Study) -> Iterator[Section]:
    organisations, index_of = merge_organisations(author.affiliation for author in study.authors)
    for author, index in zip(study.authors, index_of, strict=True):
        yield Section("Author", None, _author(author, f"organization-{index + 1}"))
    for organisation in organisations:
        facts = ("Name", organisation.name), ("Address", organisation.address), ("RORID", organisation.ror)
        yield Section("Organization", None, _attributes(*facts))
    for paper in study.publications:
        year = str(paper.year) if paper.year is not None else None
        told = ("Title", paper.title), ("Authors", paper.authors), ("DOI", paper.doi), ("Year", year)
        yield Section("Publication", None, _attributes(*told))
    for grant in study.grants:
        yield Section("Funding", None, _attributes(("Agency", grant.funder), ("grant_id", grant.identifier)))


def _author(author: Author, organisation: str) -> list[Attribute]:
    told = ("Name", author.name), ("Email", author.email), ("Role", author.role), ("ORCID", author.orcid)
    return [*_attributes(*told), Attribute("Organisation", organisation, reference=True)]


def merge_organisations(found: Iterable[Organisation]) -> tuple[list[Organisation], list[int]]:
    """Put organisations of one ROR id, or without one of one name, together.

    Returns
    -------
    The organisations that differ, in the order in which they come, and for each one found its index there.
    """
    merged: list[Organisation] = []
    indices = []
    for item in found:
        known = next((index for index, other in enumerate(merged) if _same(item, other)), len(merged))
        if known == len(merged):
            merged.append(item)
        first = merged[known]
        merged[known] = Organisation(first.name, first.ror or item.ror, first.address or item.address)
        indices.append(known)
    return merged, indices


def _same(one: Organisation, other: Organisation) -> bool:
    if one.ror and other.ror:
        return one.ror == other.ror
    return one.name.casefold() == other.name.casefold()


def _context(study: Study) -> Iterator[Section]:
    for sample in study.biosamples:
        organism = sample.organism
        told = [
            *_attributes(("Title", sample.title)),
            _term("Organism", organism.scientific_name, organism.taxon.prefix, organism.taxon.underscore),
            *_attributes(
                ("Biological entity", sample.biological_entity),
                ("Description", sample.description),
                ("Experimental variable", "; ".join(sample.experimental_variables)),
                ("Extrinsic variable", "; ".join(sample.extrinsic_variables)),
                ("Intrinsic variable", "; ".join(sample.intrinsic_variables)),
            ),
        ]
        yield Section("Biosample", None, told)
    for specimen in study.specimens:
        preparation = ("Sample preparation protocol", specimen.sample_preparation)
        growth = ("Growth protocol", specimen.growth_protocol)
        yield Section("Specimen", None, _attributes(("Title", specimen.title), preparation, growth))
    for acquisition in study.acquisitions:
        method = acquisition.imaging_method
        told = [
            *_attributes(
                ("Title", acquisition.title),
                ("Imaging instrument", acquisition.imaging_instrument),
                ("Image acquisition parameters", acquisition.acquisition_parameters),
            ),
            _term("Imaging method", method.label, method.term.prefix, method.term.underscore),
        ]
        yield Section("Image acquisition", None, told)
    for correlation in study.correlations:
        facts = (
            ("Title", correlation.title),
            ("Spatial and temporal alignment", correlation.alignment),
            ("Fiducials used", correlation.fiducials),
            ("Transformation matrix", correlation.transformation),
        )
        yield Section("Image correlation", None, _attributes(*facts))


def _term(name: str, label: str, ontology: str, term: str) -> Attribute:
    return Attribute(name, label, qualifiers=[("Ontology", ontology), ("TermId", term)])


def _data(datasets: list[Dataset]) -> Iterator[Section]:
    titles = analysis_titles(datasets)
    for dataset in datasets:
        if dataset.key in titles and dataset.entry:
            overview = ("Image analysis overview", dataset.entry.overview)
            yield Section("Image analysis", None, _attributes(("Title", titles[dataset.key]), overview))
    kinds: tuple[tuple[str, Callable[[Dataset], Section]], ...] = (
        ("images", lambda dataset: _component(dataset, titles.get(dataset.key))),
        ("annotation", _annotation),
    )
    for kind, section in kinds:
        yield from (section(dataset) for dataset in datasets if dataset.kind == kind)


def _component(dataset: Dataset, analysis: str | None) -> Section:
    rows = [Section("Associations", None, _association(row, analysis)) for row in dict.fromkeys(dataset.associations)]
    told = ("Name", dataset.name), ("Description", dataset.description), ("File List", dataset.file_list)
    return Section("Study Component", None, _attributes(*told), subsections=rows)


def _association(row: Association, analysis: str | None) -> list[Attribute]:
    return _attributes(
        ("Biosample", row.biosample),
        ("Specimen", row.specimen),
        ("Image acquisition", row.acquisition),
        ("Image analysis", analysis),
    )


def _annotation(dataset: Dataset) -> Section:
    told = (
        ("Title", dataset.name),
        ("Annotation Overview", dataset.description),
        ("Annotation Type", annotation_type(dataset)),
        ("Annotation Method", annotation_method(dataset)),
        ("File List", dataset.file_list),
    )
    return Section("Annotation", None, _attributes(*told))
