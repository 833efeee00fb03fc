"""The run crate: a Provenance Run Crate 0.5 on RO-Crate 1.1 in plain JSON, written while jobs go by.

``run-crate/ro-crate-metadata.json`` holds one entity a line. Files and jobs are written as they are shown; what needs
to know all of them (workflow, steps, the root) comes last.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from snakescope import layout
from snakescope.study.crate import terms
from snakescope.study.crate.actions import Actions
from snakescope.study.crate.files import Files
from snakescope.study.crate.graph import Graph, one_or_many, refs
from snakescope.study.crate.plan import Prospect
from snakescope.study.crate.words import local_id
from snakescope.study.inventory import Inventory, Job, StudyFile
from snakescope.study.model import Author, Organisation, Study

CRATE = "run-crate"


class RunCrate:
    """A view: writes the run crate.

    Parameters
    ----------
    folder
        The export that is being built; ``run-crate/`` exists in it.
    study, inventory
        What to write.
    """

    def __init__(self, folder: Path, study: Study, inventory: Inventory) -> None:
        self._study = study
        self._graph = Graph(folder / CRATE / terms.METADATA, terms.CONTEXT)
        conforms = refs([terms.RO_CRATE, terms.WORKFLOW_CRATE.id])
        self._graph.add(terms.METADATA, "CreativeWork", {"about": {"@id": "./"}, "conformsTo": conforms})
        self._authors = [self._person(author) for author in study.authors]
        self._prospect = Prospect(inventory)
        self._files = Files(self._graph, folder)
        agent = self._person(study.analyst)
        self._actions = Actions(self._graph, self._files, self._prospect, folder, inventory, agent)

    def run_file(self, file: StudyFile) -> None:
        """Write a file of the run's own record."""
        self._prospect.run_file(file)
        if file.path in (terms.METADATA, layout.SNAKEFILE):
            return
        more: dict[str, Any] = {"about": {"@id": "./"}} if file.path == terms.README else {}
        if self._prospect.is_environment(file.path):
            page = {"name": "conda environment file", "url": terms.CONDA_FILE}
            more["conformsTo"] = {"@id": self._graph.add_once(terms.CONDA_FILE, "WebPageElement", page)}
        name = self._files.add(file, self._prospect.shared_slots(file), more)
        if file.path.startswith("config/"):
            self._actions.configured_by(name)

    def raw(self, file: StudyFile) -> None:
        """Write a raw image."""
        self._files.add(file, [*self._prospect.raw_slots, *self._prospect.shared_slots(file)])

    def job(self, job: Job) -> None:
        """Write a job with what it read and made."""
        self._actions.job(job)

    def finish(self) -> None:
        """Write workflow, run and root, and close the file."""
        title = self._study.pipeline_title
        self._files.note(layout.SNAKEFILE, layout.SNAKEFILE)
        self._prospect.write(self._graph, title)
        self._actions.finish(layout.SNAKEFILE, title)
        self._write_root()
        self._graph.close()
        self._files.parts.close()
        self._actions.all.close()

    def _write_root(self) -> None:
        study, licence = self._study, self._study.licence
        # A crate of a workflow that nobody has run yet is no run crate.
        profiles = [*(terms.RUN_PROFILES if self._actions.any else ()), terms.WORKFLOW_CRATE]
        for profile in profiles:
            self._graph.add(profile.id, "CreativeWork", {"name": profile.name, "version": profile.version})
        about = terms.LICENCES.get(licence.spdx)
        named = {"name": licence.name, "identifier": licence.spdx, "description": about, "url": licence.url}
        properties = {
            "name": study.title,
            "description": study.description,
            "datePublished": study.release_date.isoformat(),
            "license": {"@id": self._graph.add(licence.url, "CreativeWork", named)},
            "author": refs(self._authors),
            "publisher": refs(self._organisation(author.affiliation) for author in study.authors[:1]),
            "keywords": one_or_many(study.keywords),
            "conformsTo": refs(profile.id for profile in profiles),
            "mainEntity": {"@id": layout.SNAKEFILE},
        }
        lists = {"hasPart": self._files.parts, "mentions": self._actions.all}
        self._graph.add_long("./", "Dataset", properties, lists)

    def _person(self, author: Author) -> str:
        told = (author.name, author.email, author.affiliation.name)
        own = local_id("author", hashlib.sha256("\n".join(told).encode()).hexdigest()[:12])
        properties = {
            "name": author.name,
            "givenName": author.first_name,
            "familyName": author.last_name,
            "affiliation": {"@id": self._organisation(author.affiliation)},
        }
        name = f"https://orcid.org/{author.orcid}" if author.orcid else own
        return self._graph.add_once(name, "Person", properties)

    def _organisation(self, organisation: Organisation) -> str:
        own = local_id("organisation", hashlib.sha256(organisation.name.encode()).hexdigest()[:12])
        properties = {"name": organisation.name, "url": organisation.ror, "address": organisation.address}
        return self._graph.add_once(organisation.ror or own, "Organization", properties)
