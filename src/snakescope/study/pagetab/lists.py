"""``file_list_<dataset>.tsv``: one row for every file of a dataset, as the archive reads it.

The first column is ``Files``, the path below the submission's root; a folder that is one image is one row. Then comes
``source_image`` for what was made from images. The archive asks for that column in the lists of annotations and says
nothing of several sources; its own tools take the cell as one text. Several are joined by ``"; "`` here, and no path
holds a semicolon. Then come the columns in which files of the dataset differ, and the digest. Cells stand as they
are: the archive's reader splits at tabs and knows no quoting.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from snakescope.errors import InputError, Problem
from snakescope.study.inventory import Inventory, Job, StudyFile
from snakescope.study.model import ADDRESS, RAW, RUN, Dataset, Study
from snakescope.study.pagetab.files import FILES, SOURCE, SOURCES_JOINED_BY, path_problem
from snakescope.study.pagetab.view import annotation_type
from snakescope.study.spool import LineFile

TYPE, CREATED, CHECKSUM = "annotation_type", "annotation_creation_time", "irods_checksum"
# Names that the archive's own tools give columns of theirs; a column of the sheet must not be taken for one.
TAKEN = frozenset(
    (
        *(FILES, SOURCE, TYPE, CREATED, ADDRESS, CHECKSUM),
        *("file", "path", "size", "type", "dataset", "sourceimage", "source image association"),
    )
)
SUFFIX = "_in_sheet"
SHOWN = 100
_BREAKS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class FileLists:
    """A view: writes one list for every dataset that has files.

    Parameters
    ----------
    folder
        The export that is being built.
    study
        Says which datasets there are.
    inventory
        Says in which columns files of a dataset differ.
    """

    def __init__(self, folder: Path, study: Study, inventory: Inventory) -> None:
        self.folder, self.inventory = folder, inventory
        self._datasets = {dataset.key: dataset for dataset in study.datasets}
        self._lists: dict[str, _List] = {}
        self._problems: list[Problem] = []
        self._more = 0

    def run_file(self, file: StudyFile) -> None:
        """List a file of the run's own record."""
        self._write(file)

    def raw(self, file: StudyFile) -> None:
        """List a raw image."""
        self._write(file)

    def job(self, job: Job) -> None:
        """List what a job made."""
        for file in job.outputs:
            self._write(file)

    def finish(self) -> None:
        """Write what is left.

        Raises
        ------
        InputError
            With the paths that the archive would not take.
        """
        for one in self._lists.values():
            one.out.flush()
        if self._more:
            self._problems.append(Problem(str(self.folder), f"and {self._more} more paths that the archive refuses"))
        if self._problems:
            raise InputError(self._problems)

    def _write(self, file: StudyFile) -> None:
        if file.dataset not in self._datasets:
            return
        if file.dataset not in self._lists:
            self._lists[file.dataset] = self._begin(self._datasets[file.dataset])
        one = self._lists[file.dataset]
        path = file.path.rstrip("/")
        if fault := path_problem(path):
            self._report(one.dataset, path, fault)
        one.out.write("\t".join([clean(path), *map(clean, one.cells(file))]))

    def _report(self, dataset: Dataset, path: str, fault: str) -> None:
        if len(self._problems) >= SHOWN:
            self._more += 1
            return
        fix = "Rename the file or the sample; the archive would rename it otherwise."
        self._problems.append(Problem(dataset.file_list, f"{path!r} {fault}", fix))

    def _begin(self, dataset: Dataset) -> _List:
        survey = self.inventory.datasets.get(dataset.key)
        addresses = dataset.key == RAW and self.inventory.any_address
        return _List(self.folder, dataset, survey.varying if survey else [], addresses=addresses)


class _List:
    """The list of one dataset: its columns, and a file's cells for them.

    With `addresses` each row says where in iRODS the image lies, and what is known of it there.
    """

    def __init__(self, folder: Path, dataset: Dataset, varying: list[str], *, addresses: bool = False) -> None:
        self.dataset, self.addresses = dataset, addresses
        self.annotation = dataset.kind == "annotation"
        self.derived = dataset.key not in (RAW, RUN)
        self.type = annotation_type(dataset) if self.annotation else ""
        own = {"created"} if self.annotation else set()
        self.columns = [name for name in varying if name not in own]
        self.columns += [
            name for name in ("sha256", *(("bytes",) if dataset.key == RUN or addresses else ())) if name not in varying
        ]
        self.out = LineFile(folder / dataset.file_list)
        self.out.write("\t".join([FILES, *self._first_columns(), *column_names(self.columns)]))

    def _first_columns(self) -> Iterator[str]:
        if self.derived:
            yield SOURCE
        if self.annotation:
            yield from (TYPE, CREATED)
        if self.addresses:
            yield from (ADDRESS, CHECKSUM)

    def cells(self, file: StudyFile) -> Iterator[str]:
        """Cells of a file after its path; empty for what is not known."""
        if self.derived:
            yield SOURCES_JOINED_BY.join(file.sources)
        if self.annotation:
            yield from (self.type, file.created_at or "")
        if self.addresses:
            yield from (file.address or "", file.checksum or "")
        known = file.columns
        for name in self.columns:
            yield known[name] if name in known else _fact(file, name)


def _fact(file: StudyFile, name: str) -> str:
    value = {"sha256": file.sha256, "bytes": file.bytes}.get(name)
    return "" if value is None else str(value)


def column_names(columns: list[str]) -> list[str]:
    """Names for a header: each once, none that means something to the archive, none empty."""
    names: list[str] = []
    taken = {_plain(name) for name in TAKEN}
    for column in columns:
        name = clean(column).strip() or "column"
        while _plain(name) in taken:
            name += SUFFIX
        taken.add(_plain(name))
        names.append(name)
    return names


def _plain(name: str) -> str:
    return name.casefold().replace("_", " ").strip()


def clean(text: str) -> str:
    """A cell: line ends, tabs and other control characters become blanks."""
    return _BREAKS.sub(" ", text)
