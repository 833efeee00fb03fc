"""``snakescope verify``: whether an exported study is complete, unchanged and consistent, file by file.

It reads what stands on disk and shares no code with what writes an export, so that a mistake there does not repeat
itself here. Each byte is read once; what is kept in memory is one name and one digest for each file or image.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from snakescope.errors import Problem, problem
from snakescope.study.verify.crate import check_crate
from snakescope.study.verify.files import CHECKSUMS, CRATE, FOLDER, Files
from snakescope.study.verify.records import check_records, check_sources
from snakescope.words import many

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Verification:
    """What came of checking an export.

    Parameters
    ----------
    files, bytes
        Files whose digest was checked, and how much was read for it.
    unhashed
        Files, or folders that are one image, of which no digest was ever taken; only their presence was checked.
    problems
        Everything that is wrong.
    notes
        What was left out, and why that is right.
    elsewhere
        Raw images that lie in iRODS only.
    """

    files: int
    bytes: int
    unhashed: int
    problems: list[Problem]
    notes: list[str]
    elsewhere: int = 0

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


def verify(root: Path, *, remote: bool = False, progress: Progress | None = None) -> Verification:
    """Check the export of a study: ``study/`` in the study folder.

    Every file that ``checksums.sha256`` names is there with its digest; every file on disk stands in the checksums
    and in one file list; the crate's ids, sizes and digests hold; no job has run since, and nobody has edited
    sheet, pipeline or ``study.yaml``.

    Parameters
    ----------
    root
        Study folder.
    remote
        Compare raw images that lie in iRODS only with what the catalogue says of them; otherwise they are counted.
    progress
        Told the name of the pass, what is done and how much there is.

    Returns
    -------
    What was found; problems with the data are listed there and not raised.

    Raises
    ------
    InputError
        If there is no export.
    EnvironmentUnusableError
        With `remote`, if a zone cannot be reached.
    """
    folder = root / FOLDER
    if not (folder / CRATE).is_dir() and not (folder / CHECKSUMS).is_file():
        raise problem(folder, "there is no export of this study", "Make one with: snakescope export")
    files = Files(folder, progress or _silent)
    files.check()
    crate = check_crate(files)
    problems, notes = check_records(root, files, crate)
    problems += check_sources(root, folder)
    unhashed = len(files.unclaimed)
    if unhashed:
        notes.append(f"{many(unhashed, 'file')} without a recorded digest: only presence and size were checked")
    if remote and files.elsewhere:
        from snakescope.study.verify.remote import check_remote

        more, compared = check_remote(root, files)
        problems, notes = [*problems, *more], [*notes, *compared]
    elif files.elsewhere:
        told = "in iRODS and not here: only what is told was checked (verify --remote asks the catalogue)"
        notes.append(f"{many(len(files.elsewhere), 'raw image')} {told}")
    all_problems = [*files.problems, *crate.problems, *problems]
    return Verification(files.checked, files.bytes, unhashed, all_problems, notes, len(files.elsewhere))


def _silent(_name: str, _done: int, _total: int) -> None:
    """Tell nobody."""
