"""The collect command: walk, show, write the sheet."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from snakescope import layout
from snakescope.catalog import CollectReport, collect_folder
from snakescope.errors import InputError, problem
from snakescope.runner.folder import open_study
from snakescope.samples import write_sheet


def collect(
    folder: Path,
    *,
    study: Path = Path(),
    pattern: str | None = None,
    yes: bool = False,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    dry_run: bool = False,
) -> CollectReport:
    """Bring the images below a folder into a study's sample sheet.

    Parameters
    ----------
    folder
        Folder to walk.
    study
        Study folder; without ``config/config.yaml`` the sheet goes to its usual place all the same.
    pattern, yes
        How file names are built, or consent to what is recognised.
    include, exclude
        Globs.
    dry_run
        Describe, write nothing.

    Returns
    -------
    What was found. A sheet without rows is not written.

    Raises
    ------
    InputError
        If the folder, the pattern or the sheet that is there is wrong.
    """
    try:
        sheet = open_study(study).sheet_path
    except InputError:
        if (study / layout.CONFIG).exists():
            raise
        sheet = study / layout.SHEET
    report = _collect(folder, sheet, pattern, yes, include, exclude)
    if report.sheet.rows and not dry_run:
        try:
            sheet.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise problem(
                sheet.parent, f"cannot be written ({error.strerror})", "Choose a folder of your own."
            ) from error
        write_sheet(sheet, report.sheet)
    return report


def _collect(
    folder: Path, sheet: Path, pattern: str | None, yes: bool, include: Sequence[str], exclude: Sequence[str]
) -> CollectReport:
    with _counting() as progress:
        return collect_folder(
            folder, sheet=sheet, pattern=pattern, accept=yes, include=include, exclude=exclude, progress=progress
        )


@contextmanager
def _counting() -> Iterator[Callable[[int, int], None] | None]:
    """Show how many headers are read, on a terminal; a disabled bar of rich 13 writes a line into logs."""
    if not sys.stderr.isatty():
        yield None
        return
    with Progress(console=Console(file=sys.stderr), transient=True) as bar:
        task = bar.add_task("reading headers", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
