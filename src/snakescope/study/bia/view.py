"""``bia-crate/``: the study as an RO-Crate of the BioImage Archive (BIA), by the profile of its own validator.

This is the form in which the archive passes studies on, not one that it takes submissions in: what is handed in is
``submission.json``. ``file_list.tsv`` has a row for every file of all datasets, by the paths of ``run-crate/``, which
are reached from here by links, so that no data lie here twice. Three things differ from the other views:

- The archive gives an accession when a study is handed in, and the profile asks for one. Until then it is the word
  ``unassigned``, which is no accession of anybody's; put in the real one by hand, or leave it to the archive.
- ``ro-crate-metadata.json`` is this crate's own; that of the run crate is listed as ``run-ro-crate-metadata.json``. It
  is right from here, too, since all paths are the same.
- Images and annotations have a type, and the path as their name, by which others refer to them; tables and figures of
  an analysis are files without a type, since the profile has none for them.
"""

from __future__ import annotations

from pathlib import Path

from snakescope.errors import problem
from snakescope.study.bia import terms
from snakescope.study.bia.entities import RUN_METADATA, Entities, Subjects, dataset_id, method_id
from snakescope.study.crate.graph import Graph
from snakescope.study.inventory import IMAGES, Inventory, Job, StudyFile
from snakescope.study.model import RAW, RUN, Dataset, Study
from snakescope.study.spool import LineFile
from snakescope.study.tree import CRATE


class BiaCrate:
    """A view: writes the file list while files go by, and the metadata at the end.

    Parameters
    ----------
    folder
        The export that is being built; ``run-crate/`` is complete in it when `finish` is called.
    study
        What to write.
    inventory
        Not needed here; every view is made alike.
    """

    def __init__(self, folder: Path, study: Study, inventory: Inventory) -> None:  # noqa: ARG002
        self._run_crate, self.folder, self._study = folder / CRATE, folder / terms.FOLDER, study
        self._datasets = {dataset.key: dataset for dataset in study.datasets}
        self._subjects = Subjects(study)
        self._links: dict[str, str] = {}
        self.folder.mkdir()
        self._list = LineFile(self.folder / terms.FILE_LIST)
        self._list.write("\t".join(column.name for column in terms.COLUMNS))

    def run_file(self, file: StudyFile) -> None:
        """List a file of the run's own record; the run crate's metadata come last."""
        if file.path != terms.METADATA:
            self._write(file)

    def raw(self, file: StudyFile) -> None:
        """List a raw image with what was imaged, and how."""
        self._write(file)

    def job(self, job: Job) -> None:
        """List what a job made, with what it was made from, and how."""
        for file in job.outputs:
            self._write(file)

    def finish(self) -> None:
        """Write the metadata, and the links through which the listed paths exist.

        Raises
        ------
        InputError
            If a file of the study has the name of one of the crate's own.
        """
        metadata = self._run_crate / terms.METADATA
        if metadata.is_file() and RUN in self._datasets:
            self._row(RUN_METADATA, metadata.stat().st_size, self._datasets[RUN])
            self._links[RUN_METADATA] = terms.METADATA
        self._list.flush()
        graph = Graph(self.folder / terms.METADATA, terms.CONTEXT)
        Entities(graph, self._study, self._subjects).write()
        graph.close()
        for name, target in sorted(self._links.items()):
            if (self._run_crate / target).exists():  # raw images that lie in iRODS may all be somewhere else
                (self.folder / name).symlink_to(Path("..", CRATE, target))

    def _write(self, file: StudyFile) -> None:
        """List a file of a dataset that is handed on."""
        dataset = self._datasets.get(file.dataset)
        if dataset is None:
            return
        path = file.path.rstrip("/")
        top = path.partition("/")[0]
        if top in (terms.FILE_LIST, RUN_METADATA):
            raise problem(path, f"has the name of a file of {terms.FOLDER}/", "Rename it.")
        self._links[top] = top
        kind = _kind(file, dataset)
        sources = terms.JOINED_BY.join(file.sources)
        self._row(path, file.bytes, dataset, kind, path if kind else "", sources, *self._made(file, dataset))

    def _row(self, path: str, size: int | None, dataset: Dataset, *cells: str) -> None:
        first = (path, "" if size is None else str(size), dataset_id(dataset))
        empty = [""] * (len(terms.COLUMNS) - len(first) - len(cells))
        self._list.write("\t".join([*first, *cells, *empty]))

    def _made(self, file: StudyFile, dataset: Dataset) -> tuple[str, ...]:
        """What was imaged, and how; protocol or annotation method of what was derived."""
        if dataset.key == RAW:
            subjects, told = self._subjects, file.columns
            biosample = subjects.biosample(told["biosample"], told["specimen"])
            return biosample, subjects.preparation(told["specimen"]), subjects.acquisitions[told["acquisition"]]
        method = method_id(dataset) or ""
        return ("", "", "", "", method) if dataset.kind == "annotation" else ("", "", "", method)


def _kind(file: StudyFile, dataset: Dataset) -> str:
    """Type of a row, empty for a file that is neither an image nor an annotation."""
    if dataset.key == RUN:
        return ""
    if file.type in IMAGES:
        return terms.IMAGE
    return terms.ANNOTATION_DATA if dataset.kind == "annotation" else ""
