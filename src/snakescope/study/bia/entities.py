"""The entities of the BIA RO-Crate: what the study is, who made it, from what and how. Files are not told here."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from snakescope.study.bia import terms
from snakescope.study.crate.graph import Graph
from snakescope.study.model import RAW, RUN, Association, Author, Biosample, Dataset, Organism, Specimen, Study
from snakescope.study.pagetab.view import annotation_method, annotation_type, merge_organisations

# A study has no accession before it is handed in, and the profile asks for one.
NO_ACCESSION = "unassigned"
# The run crate's metadata beside those of this crate: all that it tells of lies where it says.
RUN_METADATA = "run-ro-crate-metadata.json"
WORKFLOW = "#workflow"
_TABLE = "#file-list-columns"
# What may stand in an address; anything else is written in its escaped form.
_IN_ADDRESS = "!#$%&'()*+,/:;=?@[]~"


class Subjects:
    """Ids of what was imaged and how, for the titles by which rows tell of them.

    The profile has the growth protocol on the biosample, and the titles have it on the specimen; so a biosample is told
    once for every specimen with a growth protocol. The profile's own specimen is one physical thing, of which nothing
    is known here: an image tells its biosample and how that was prepared.
    """

    def __init__(self, study: Study) -> None:
        rows = sorted({row for dataset in study.datasets for row in dataset.associations})
        self.pairs = list(dict.fromkeys((row.biosample, row.specimen) for row in rows))
        self.biosamples = {item.title: item for item in study.biosamples}
        self.specimens = {item.title: item for item in study.specimens}
        self._numbers = {"biosample": _numbers(self.biosamples), "specimen": _numbers(self.specimens)}
        used = {row.acquisition for row in rows}
        self.acquisitions = {
            item.title: f"#acquisition-{index}"
            for index, item in enumerate(study.acquisitions, 1)
            if item.title in used
        }

    def preparation(self, specimen: str) -> str:
        """Id of how a specimen was prepared."""
        return f"#preparation-{self._numbers['specimen'][specimen]}"

    def growth(self, specimen: str) -> str | None:
        """Id of how a specimen was grown; None when nobody says."""
        known = self.specimens[specimen].growth_protocol
        return f"#growth-{self._numbers['specimen'][specimen]}" if known else None

    def biosample(self, biosample: str, specimen: str) -> str:
        """Id of a biosample as it was grown for a specimen."""
        own = f"#biosample-{self._numbers['biosample'][biosample]}"
        return f"{own}-{self._numbers['specimen'][specimen]}" if self.growth(specimen) else own


def dataset_id(dataset: Dataset) -> str:
    """Id of a dataset."""
    return f"#dataset-{quote(dataset.key)}"


def method_id(dataset: Dataset) -> str | None:
    """Id of how the files of a dataset were made; None for raw images and the run's record."""
    return None if dataset.key in (RAW, RUN) else f"#method-{quote(dataset.key)}"


class Entities:
    """Writes all entities.

    Parameters
    ----------
    graph
        The crate.
    study, subjects
        What to write; biosamples, specimens and acquisitions without an image are left out, since the profile has
        nothing that could refer to them.
    """

    def __init__(self, graph: Graph, study: Study, subjects: Subjects) -> None:
        self._graph, self._study, self._subjects = graph, study, subjects

    def write(self) -> None:
        """Write the descriptor, the root and all that they lead to."""
        about = {"conformsTo": {"@id": terms.RO_CRATE}, "about": {"@id": "./"}}
        self._graph.add(terms.METADATA, "CreativeWork", about)
        authors = self._write_people()
        links = self._write_links()
        self._write_root(authors, links)
        for title, name in self._subjects.acquisitions.items():
            self._write_acquisition(title, name)
        for biosample, specimen in self._subjects.pairs:
            sample, prepared = self._subjects.biosamples[biosample], self._subjects.specimens[specimen]
            self._write_biosample(sample, prepared)
            self._write_preparation(prepared)
        for dataset in self._study.datasets:
            self._write_dataset(dataset)
            self._write_method(dataset)
        for index, correlation in enumerate(self._study.correlations, 1):
            told = {
                "name": correlation.title,
                "description": correlation.alignment,
                "fiducialsUsed": correlation.fiducials,
                "transformationMatrix": correlation.transformation,
            }
            self._graph.add(f"#correlation-{index}", terms.CORRELATION, told)
        self._write_file_list()

    def _write_root(self, authors: list[str], links: list[str]) -> None:
        study = self._study
        told = {
            "name": study.title,
            "description": study.description,
            "accessionId": NO_ACCESSION,
            "datePublished": study.release_date.isoformat(),
            "license": terms.LICENCES[study.licence.spdx],
            "keywords": list(study.keywords) or None,
            "acknowledgement": study.acknowledgements,
            "fundingStatement": study.funding_statement,
            "author": _refs(authors),
            "relatedPublication": _refs(self._write_publications()),
            "funding": _refs(self._write_grants()),
            "seeAlso": _refs(links),
            "hasPart": _refs([*map(dataset_id, study.datasets), terms.FILE_LIST]),
        }
        self._graph.add("./", terms.STUDY, told)

    # ------------------------------------------------------------------ people and what they wrote

    def _write_people(self) -> list[str]:
        found, index_of = merge_organisations(author.affiliation for author in self._study.authors)
        homes = []
        for index, home in enumerate(found, 1):
            told = {"name": home.name, "address": home.address}
            homes.append(self._graph.add_once(home.ror or f"#organisation-{index}", terms.AFFILIATION, told))
        authors = zip(self._study.authors, index_of, strict=True)
        return [self._person(number, author, homes[index]) for number, (author, index) in enumerate(authors, 1)]

    def _person(self, number: int, author: Author, home: str) -> str:
        told = {
            "name": author.name,
            "email": author.email,
            "role": [author.role] if author.role else None,
            "memberOf": _refs([home]),
        }
        name = f"https://orcid.org/{author.orcid}" if author.orcid else f"#author-{number}"
        return self._graph.add_once(name, terms.CONTRIBUTOR, told)

    def _write_publications(self) -> list[str]:
        names = []
        for index, paper in enumerate(self._study.publications, 1):
            told = {
                "name": paper.title,
                "authorNames": paper.authors,
                "yearPublished": paper.year,
                "doi": paper.doi,
            }
            names.append(self._graph.add(f"#publication-{index}", terms.PUBLICATION, told))
        return names

    def _write_grants(self) -> list[str]:
        funders: dict[str, str] = {}
        names = []
        for index, grant in enumerate(self._study.grants, 1):
            funder = funders.setdefault(grant.funder, f"#funder-{len(funders) + 1}")
            self._graph.add_once(funder, terms.FUNDING_BODY, {"name": grant.funder})
            told = {"identifier": grant.identifier, "funder": _refs([funder])}
            names.append(self._graph.add(f"#grant-{index}", terms.GRANT, told))
        return names

    def _write_links(self) -> list[str]:
        """Links by address; an address that is an author or organisation here is told already."""
        texts: dict[str, list[str]] = {}
        for link in self._study.links:
            told = texts.setdefault(quote(link.url, safe=_IN_ADDRESS), [])
            told += [link.description] if link.description else []
        free = {url: told for url, told in texts.items() if not self._graph.has(url)}
        for url, told in free.items():
            self._graph.add_once(url, terms.EXTERNAL_REFERENCE, {"description": "; ".join(told) or None})
        return list(free)

    # ------------------------------------------------------------------ what was imaged, and how

    def _write_acquisition(self, title: str, name: str) -> None:
        acquisition = next(item for item in self._study.acquisitions if item.title == title)
        method = acquisition.imaging_method
        told = {
            "name": title,
            "description": acquisition.acquisition_parameters,
            "imagingInstrumentDescription": acquisition.imaging_instrument,
            "imagingMethodName": [method.label],
            "fbbiId": [method.term.url] if method.term.prefix == "FBbi" else None,
        }
        self._graph.add(name, terms.ACQUISITION, told)

    def _write_preparation(self, specimen: Specimen) -> None:
        told = {"name": specimen.title, "description": specimen.sample_preparation}
        self._graph.add_once(self._subjects.preparation(specimen.title), terms.PREPARATION, told)

    def _write_biosample(self, sample: Biosample, specimen: Specimen) -> None:
        growth = self._subjects.growth(specimen.title)
        if growth:
            told = {"name": specimen.title, "description": specimen.growth_protocol}
            self._graph.add_once(growth, terms.PROTOCOL, told)
        about = {
            "name": sample.title,
            "description": ". ".join(filter(None, (sample.biological_entity.rstrip("."), sample.description))),
            "experimentalVariableDescription": list(sample.experimental_variables) or None,
            "extrinsicVariableDescription": list(sample.extrinsic_variables) or None,
            "intrinsicVariableDescription": list(sample.intrinsic_variables) or None,
            "organismClassification": _refs([self._taxon(sample.organism)]),
            "growthProtocol": {"@id": growth} if growth else None,
        }
        self._graph.add_once(self._subjects.biosample(sample.title, specimen.title), terms.BIOSAMPLE, about)

    def _taxon(self, organism: Organism) -> str:
        told = {"scientificName": organism.scientific_name, "commonName": organism.common_name}
        return self._graph.add_once(organism.taxon.url, terms.TAXON, told)

    # ------------------------------------------------------------------ datasets and what made them

    def _write_dataset(self, dataset: Dataset) -> None:
        rows = dataset.associations if dataset.key != RUN else ()
        method = method_id(dataset)
        correlations = range(1, len(self._study.correlations) + 1) if dataset.key == RAW else ()
        key = "associatedAnnotationMethod" if dataset.kind == "annotation" else "associatedProtocol"
        told = {
            "name": dataset.name,
            "description": dataset.description,
            **self._associations(rows),
            key: _refs([method] if method else []),
            "associatedImageAnalysisMethod": _refs([] if dataset.key == RAW else [WORKFLOW]),
            "associatedImageCorrelationMethod": _refs(f"#correlation-{index}" for index in correlations),
        }
        self._graph.add(dataset_id(dataset), terms.DATASET, told)

    def _associations(self, rows: Iterable[Association]) -> dict[str, Any]:
        subjects, rows = self._subjects, sorted(rows)
        return {
            "associatedBiologicalEntity": _refs(subjects.biosample(row.biosample, row.specimen) for row in rows),
            "associatedSpecimenImagingPreparationProtocol": _refs(subjects.preparation(row.specimen) for row in rows),
            "associatedImageAcquisitionProtocol": _refs(subjects.acquisitions[row.acquisition] for row in rows),
        }

    def _write_method(self, dataset: Dataset) -> None:
        """Write how the files of a dataset were made; for the run's record, the workflow as a whole."""
        if dataset.key == RUN:
            where = f"{dataset.description.rstrip('.')}. Its record is {RUN_METADATA}."
            self._graph.add(WORKFLOW, terms.ANALYSIS, {"name": self._study.pipeline_title, "description": where})
        name = method_id(dataset)
        if name is None:
            return
        title = dataset.entry.title if dataset.entry else dataset.name
        told: dict[str, Any] = {"name": title, "description": annotation_method(dataset)}
        if dataset.kind == "annotation":
            told["methodType"] = [annotation_type(dataset)]
        self._graph.add(name, terms.ANNOTATION_METHOD if dataset.kind == "annotation" else terms.PROTOCOL, told)

    def _write_file_list(self) -> None:
        told = {
            "name": "File list",
            "encodingFormat": "text/tab-separated-values",
            "tableSchema": {"@id": _TABLE},
        }
        self._graph.add(terms.FILE_LIST, terms.FILE_LIST_TYPE, told)
        columns = [f"#column-{column.name}" for column in terms.COLUMNS]
        self._graph.add(_TABLE, terms.TABLE_SCHEMA, {"column": _refs(columns)})
        for name, column in zip(columns, terms.COLUMNS, strict=True):
            self._graph.add(name, terms.COLUMN, {"columnName": column.name, "propertyUrl": column.property})


def _refs(names: Iterable[str]) -> list[dict[str, str]] | None:
    """References without repeats, as a list also when there is one; None for none."""
    return [{"@id": name} for name in dict.fromkeys(names)] or None


def _numbers(titles: Iterable[str]) -> dict[str, int]:
    return {title: index for index, title in enumerate(titles, 1)}
