"""``rembi.yaml``: the study in REMBI 1.5 with MIFA annotations, in the keys of the package rembi-mifa.

REMBI has one image analysis, one correlation and one object for all annotations: several are put together, each with
its title. It has no place for acknowledgements, and none for which specimen belongs to which component.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from snakescope.study.inventory import Inventory, Job, StudyFile
from snakescope.study.model import (
    Acquisition,
    Author,
    Biosample,
    Correlation,
    Dataset,
    Grant,
    Publication,
    Specimen,
    Study,
)
from snakescope.study.pagetab.files import SOURCES_JOINED_BY
from snakescope.study.pagetab.view import analysis_titles, annotation_method, annotation_type
from snakescope.study.spool import LineFile
from snakescope.study.yaml_text import Value, entries, lines

NAME = "rembi.yaml"
VERSION = "1.5"
HEADER = "# Written by snakescope export; edit config/study.yaml instead and export again."
UNKNOWN = "not known"

Block = dict[str, Value]


class Rembi:
    """A view: writes the study at once, and the annotations' files as they come.

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
        self._types = {dataset.key: annotation_type(dataset) for dataset in study.annotations}
        self._any_file = False
        self._out = LineFile(folder / NAME)
        self._out.write(HEADER)
        for line in lines(rembi(study)):
            self._out.write(line)

    def run_file(self, file: StudyFile) -> None:
        """REMBI knows no files but annotations."""

    def raw(self, file: StudyFile) -> None:
        """REMBI knows no files but annotations."""

    def job(self, job: Job) -> None:
        """Write the annotations that a job made."""
        for file in job.outputs:
            if file.dataset in self._types:
                self._write(file)

    def finish(self) -> None:
        """Write what is left."""
        self._out.flush()

    def _write(self, file: StudyFile) -> None:
        if not self._any_file:
            self._any_file = True
            self._out.write("  file_metadata:")
        for line in entries([_file_metadata(file, self._types[file.dataset])], 4):
            self._out.write(line)


def rembi(study: Study) -> Block:
    """The whole study but for the files of its annotations; these come last in it, so that they can be added."""
    blocks: Block = {
        "study": _study(study),
        "study_components": [{"name": item.name, "description": item.description} for item in study.components],
        "sample": [_sample(item) for item in study.biosamples],
        "specimen": [_specimen(item) for item in study.specimens],
        "image_acquisition": [_acquisition(item) for item in study.acquisitions],
    }
    if study.correlations:
        blocks["image_correlation"] = _correlation(study.correlations)
    if study.analyses:
        titles = analysis_titles(study.analyses)
        told = [(titles[item.key], item.entry.overview) for item in study.analyses if item.entry]
        blocks["image_analysis"] = {"analysis_overview": _together(told)}
    if study.annotations:
        blocks["annotations"] = _annotations(study)
    return blocks


def _known(**values: Value | None) -> Block:
    """What is known of these."""
    return {key: value for key, value in values.items() if value is not None and value != ""}


def _together(told: Iterable[tuple[str, str]]) -> str:
    """Several texts as one, each with its title."""
    return " ".join(f"{title}: {text}{'' if text.endswith(('.', '!', '?')) else '.'}" for title, text in told)


def _study(study: Study) -> Block:
    return _known(
        rembi_version=f"{VERSION}",
        title=study.title,
        description=study.description,
        private_until_date=study.release_date,
        keywords=", ".join(study.keywords),
        license=study.licence.name,
        authors=[_author(author) for author in study.authors],
        funding=_funding(study.funding_statement, study.grants),
        publications=[_publication(item) for item in study.publications] or None,
        links=[_known(link_url=link.url, link_description=link.description) for link in study.links] or None,
    )


def _author(author: Author) -> Block:
    organisation = author.affiliation
    place: Block = {"url": organisation.ror} if organisation.ror else {"address": organisation.address or UNKNOWN}
    return _known(
        last_name=author.last_name,
        first_name=author.first_name,
        email=author.email,
        orcid=author.orcid,
        role=author.role,
        affiliation={"name": organisation.name, **place},
    )


def _funding(statement: str | None, grants: tuple[Grant, ...]) -> Block | None:
    if not statement and not grants:
        return None
    said = statement or "; ".join(f"{grant.funder}: {grant.identifier}" for grant in grants)
    return _known(
        funding_statement=said,
        grant_references=[{"identifier": grant.identifier, "funder": grant.funder} for grant in grants] or None,
    )


def _publication(paper: Publication) -> Block:
    return _known(title=paper.title, authors=paper.authors, doi=paper.doi, year=paper.year)


def _sample(sample: Biosample) -> Block:
    organism = sample.organism
    return _known(
        organism=_known(
            scientific_name=organism.scientific_name,
            common_name=organism.common_name,
            ncbi_taxon=organism.taxon.url,
        ),
        biological_entity=sample.biological_entity,
        description=sample.description,
        intrinsic_variables="; ".join(sample.intrinsic_variables),
        extrinsic_variables="; ".join(sample.extrinsic_variables),
        experimental_variables="; ".join(sample.experimental_variables),
    )


def _specimen(specimen: Specimen) -> Block:
    return _known(sample_preparation=specimen.sample_preparation, growth_protocol=specimen.growth_protocol)


def _acquisition(acquisition: Acquisition) -> Block:
    method = acquisition.imaging_method
    return {
        "imaging_method": {
            "value": method.label,
            "ontology_name": method.term.prefix,
            "ontology_id": method.term.url,
        },
        "imaging_instrument": acquisition.imaging_instrument,
        "image_acquisition_parameters": acquisition.acquisition_parameters,
    }


def _correlation(correlations: tuple[Correlation, ...]) -> Block:
    """REMBI asks for three texts; one that nobody knows says so."""

    def joined(say: Callable[[Correlation], str | None]) -> str:
        told = [(item.title, text) for item in correlations if (text := say(item))]
        if not told:
            return UNKNOWN
        return told[0][1] if len(correlations) == 1 else _together(told)

    return {
        "spatial_and_temporal_alignment": joined(lambda item: item.alignment),
        "fiducials_used": joined(lambda item: item.fiducials),
        "transformations_used": joined(lambda item: item.transformation),
    }


def _annotations(study: Study) -> Block:
    found: tuple[Dataset, ...] = study.annotations
    return {
        "authors": [_author(study.analyst)],
        "annotation_overview": _together((item.name, item.description) for item in found),
        "annotation_type": list(dict.fromkeys(map(annotation_type, found))),
        "annotation_method": _together((item.name, annotation_method(item)) for item in found),
    }


def _file_metadata(file: StudyFile, type_: str) -> Block:
    return _known(
        annotation_id=file.path,
        annotation_type=[type_],
        source_image_id=SOURCES_JOINED_BY.join(file.sources),
        spatial_information=_spatial(file.columns),
        annotation_creation_time=file.created_at,
    )


def _spatial(columns: dict[str, str]) -> str | None:
    """What the file itself says of its axes; None for a table."""
    axes, shape, voxel = (columns.get(name) for name in ("axes", "shape", "voxel_size_um"))
    if not axes:
        return None
    told = [f"axes {axes}", f"shape {shape}" if shape else "", f"voxel size {voxel} µm (z, y, x)" if voxel else ""]
    return "; ".join(filter(None, told))
