"""The collect command: walk, show, write the sheet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from snakescope import layout
from snakescope.catalog import CollectReport, collect_folder
from snakescope.errors import InputError, problem
from snakescope.runner.folder import open_study
from snakescope.runner.progress import counting
from snakescope.samples import write_sheet
from snakescope.zone.address import Address, is_address


@dataclass(frozen=True)
class ZoneOptions:
    """What can be asked of a collection of iRODS only; see `snakescope.catalog.irods_tree.collect_irods`."""

    where: tuple[str, ...] = ()
    since: str | None = None
    all_avus: bool = False
    headers: bool = True


def collect(
    folder: Path | str,
    *,
    study: Path = Path(),
    pattern: str | None = None,
    yes: bool = False,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    dry_run: bool = False,
    options: ZoneOptions | None = None,
    quay: Path | None = None,
) -> CollectReport:
    """Bring the images below a folder, or below a collection of iRODS, into a study's sample sheet.

    Parameters
    ----------
    folder
        Folder to walk, or an address such as ``irods:///zone/home/collection``.
    study
        Study folder; without ``config/config.yaml`` the sheet goes to its usual place all the same.
    pattern, yes
        How file names are built, or consent to what is recognised.
    include, exclude
        Globs.
    dry_run
        Describe, write nothing.
    options
        Only with an address.
    quay
        Workbook or manifest of omero-quay that tells of the images.

    Returns
    -------
    What was found. A sheet without rows is not written.

    Raises
    ------
    InputError
        If the folder, the pattern or the sheet that is there is wrong.
    """
    try:
        opened = open_study(study)
        sheet, prefix = opened.sheet_path, opened.config.avu_prefix
    except InputError:
        if (study / layout.CONFIG).exists():
            raise
        sheet, prefix = study / layout.SHEET, None
    address = Address.parse(str(folder)) if is_address(str(folder)) else None
    if address is None and options not in (None, ZoneOptions()):
        message = "is a folder; --where, --since, --all-avus and --no-headers are for a collection of iRODS"
        raise problem(folder, message, "Leave them out, or give an address such as irods:///zone/home/collection")
    if address is None:
        report = _collect_folder(Path(folder), sheet, pattern, yes, include, exclude)
    else:
        report = _collect_irods(address, sheet, pattern, yes, include, exclude, options or ZoneOptions(), prefix)
    if quay is not None and report.sheet.rows:
        _add_assays(report, quay, study)
    if report.sheet.rows and not dry_run:
        try:
            sheet.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise problem(
                sheet.parent, f"cannot be written ({error.strerror})", "Choose a folder of your own."
            ) from error
        write_sheet(sheet, report.sheet)
    return report


def _collect_folder(
    folder: Path, sheet: Path, pattern: str | None, yes: bool, include: Sequence[str], exclude: Sequence[str]
) -> CollectReport:
    with counting(quiet=False) as show:
        progress = partial(show, "reading headers") if show else None
        return collect_folder(
            folder, sheet=sheet, pattern=pattern, accept=yes, include=include, exclude=exclude, progress=progress
        )


def _collect_irods(
    address: Address,
    sheet: Path,
    pattern: str | None,
    yes: bool,
    include: Sequence[str],
    exclude: Sequence[str],
    options: ZoneOptions,
    prefix: str | None,
) -> CollectReport:
    from snakescope.catalog.avu_map import PREFIX
    from snakescope.catalog.irods_tree import collect_irods  # with the client library behind it

    with counting(quiet=False) as show:
        progress = partial(show, "listing, then reading headers") if show else None
        return collect_irods(
            address,
            sheet=sheet,
            pattern=pattern,
            accept=yes,
            include=include,
            exclude=exclude,
            where=options.where,
            since=options.since,
            all_avus=options.all_avus,
            headers=options.headers,
            prefix=PREFIX if prefix is None else prefix,
            progress=progress,
        )


def _add_assays(report: CollectReport, quay: Path, study: Path) -> None:
    """Give the rows what the assays of omero-quay say of them."""
    from snakescope.catalog.omero_quay import describe, read_assays

    found = describe(report.sheet, read_assays(quay), study, quay)
    report.sheet = found.sheet
    report.disagreements += found.disagreements
    report.problems += found.problems
