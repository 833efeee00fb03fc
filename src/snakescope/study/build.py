"""Put together what was gathered and what was found: the study that all views write down."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

from snakescope import layout
from snakescope.study import remote
from snakescope.study.describe import describe_geometry
from snakescope.study.entries import Entry
from snakescope.study.inventory import Inventory, StepSurvey
from snakescope.study.model import RAW, RUN, Association, Dataset, Origin, Study
from snakescope.study.sources import Gathered
from snakescope.study.spec import DatasetSpec, StudySpec
from snakescope.words import many


def build_study(name: str, gathered: Gathered, inventory: Inventory) -> Study:
    """Make the study; every required field must have been found.

    Parameters
    ----------
    name
        Short name of the study, fit for a folder.
    gathered
        Without missing fields and problems.
    inventory
        Without problems.
    """
    spec = gathered.spec
    datasets = tuple(_unique_names(_datasets(gathered, inventory)))
    return Study(
        name=name,
        title=_given(gathered.title),
        description=_given(gathered.description),
        keywords=gathered.keywords,
        licence=_given(gathered.licence),
        release_date=_given(gathered.release_date),
        authors=gathered.authors,
        analyst=_given(gathered.analyst),
        biosamples=gathered.biosamples,
        specimens=gathered.specimens,
        acquisitions=gathered.acquisitions,
        datasets=datasets,
        pipeline_title=inventory.plan.compiled["title"],
        correlations=gathered.correlations,
        acknowledgements=spec.acknowledgements,
        funding_statement=spec.funding.statement if spec.funding else None,
        grants=gathered.grants,
        publications=gathered.publications,
        links=gathered.links,
        origins=(*gathered.origins, *dataset_origins([dataset.key for dataset in datasets], spec)),
    )


def _given(value: Any) -> Any:
    assert value is not None, "a study is built only when no field is missing"
    return value


def _datasets(gathered: Gathered, inventory: Inventory) -> Iterator[Dataset]:
    raw = inventory.datasets[RAW]
    associations = tuple(sorted(Association(*titles) for titles in raw.associations))
    geometry = describe_geometry(inventory.sheet.rows)
    text = f"Images as acquired. {geometry[:1].upper()}{geometry[1:]}." if geometry else "Images as acquired."
    named = _named(gathered, Dataset(RAW, "images", "Raw images", text, None, associations, raw.files))
    yield dataclasses.replace(named, description=_with_places(named.description, inventory, raw.files))
    for step in inventory.steps.values():
        made = inventory.datasets.get(step.name)
        if made is None:
            continue
        entry = _entry(step)
        own = tuple(sorted(Association(*titles) for titles in made.associations))
        name = entry.title if entry else step.compiled["tool"]["name"]
        text = entry.overview if entry else f"Made by {step.name}."
        dataset = Dataset(step.name, _kind(step), name, text, entry, own, made.files)
        yield _named(gathered, dataset)
    yield Dataset(RUN, "images", "Workflow and run record", _run_text(inventory), None, associations, 0)


def _with_places(text: str, inventory: Inventory, count: int) -> str:
    """A description, and where those raw images lie of which no copy is handed on."""
    found = [file.address for file in inventory.raw_files() if file.by_reference and file.address]
    stop = "" if text.endswith((".", "!", "?")) else "."
    return f"{text}{stop} {remote.in_words(found, count)}" if found else text


def _run_text(inventory: Inventory) -> str:
    counts = (inventory.jobs_done, "done"), (inventory.jobs_failed, "failed"), (inventory.jobs_pending, "not yet run")
    told = ", ".join(f"{many(count, 'job')} {word}" for count, word in counts if count or word == "done")
    return f"The Snakemake workflow that made the results, and the record of its run as an RO-Crate ({told})."


def _kind(step: StepSurvey) -> Any:
    return step.kind


def _named(gathered: Gathered, dataset: Dataset) -> Dataset:
    typed = gathered.spec.datasets.get(dataset.key, DatasetSpec())
    return dataclasses.replace(
        dataset, name=typed.name or dataset.name, description=typed.description or dataset.description
    )


def _entry(step: StepSurvey) -> Entry | None:
    """How a step reads; where its parameters were changed between jobs, all ways with the number of jobs."""
    entries = sorted(step.entries.items(), key=lambda item: (-item[1], item[0].overview))
    if len(entries) < 2:
        return entries[0][0] if entries else None
    overview = " ".join(f"{entry.overview} ({many(count, 'job')})" for entry, count in entries)
    return dataclasses.replace(entries[0][0], overview=overview)


def _unique_names(datasets: Iterator[Dataset]) -> Iterator[Dataset]:
    """Datasets whose names differ: parts of a study refer to each other by name."""
    seen: set[str] = set()
    for dataset in datasets:
        name, number = dataset.name, 2
        while name in seen:
            name, number = f"{dataset.name} ({dataset.key}{'' if number == 2 else f' {number}'})", number + 1
        seen.add(name)
        yield dataclasses.replace(dataset, name=name)


def dataset_origins(keys: Iterable[str], spec: StudySpec) -> Iterator[Origin]:
    """Where the fields of datasets come from: the raw images (`RAW`), what steps made, the run's record (`RUN`)."""
    for key in keys:
        by_jobs = key not in (RAW, RUN)
        typed = spec.datasets.get(key, DatasetSpec())
        for name, told in (("name", typed.name), ("description", typed.description)):
            detail = layout.STUDY_YAML if told else "what its jobs record" if by_jobs else "its rows"
            yield Origin(f"datasets.{key}.{name}", "study.yaml" if told else "records" if by_jobs else "sheet", detail)
        if by_jobs:
            yield Origin(f"datasets.{key}.overview", "records", "what its jobs record")
        yield Origin(f"datasets.{key}.associations", "sheet", "the rows its files were made from")
        files = (
            "what the jobs record that read them" if key == RAW else "what its jobs record" if by_jobs else "what ran"
        )
        yield Origin(f"datasets.{key}.file_list", "records", files)
