"""Telling people how complete a study is, and what an export has written."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from snakescope import layout
from snakescope.errors import InputError
from snakescope.samples import Sheet
from snakescope.study.build import dataset_origins
from snakescope.study.export import ExportReport, completeness
from snakescope.study.model import RAW, RUN
from snakescope.study.remote import FETCH
from snakescope.study.sources import Gathered
from snakescope.study.spec import unknown_steps
from snakescope.words import many

SHOWN = 20


def rembi_lines(
    root: Path,
    sheet: Sheet,
    title_of_pipeline: str,
    methods: Mapping[str, str],
    operations: Mapping[str, Sequence[str]],
) -> list[str]:
    """What of the study is known before an export, what is missing, and who should know it.

    Parameters
    ----------
    root, sheet
        Study folder and its sheet.
    title_of_pipeline, methods
        Title of the pipeline, and of the method of each step.
    operations
        EDAM operations of the tool of each step.

    Raises
    ------
    InputError
        If ``config/study.yaml`` or a column of the sheet says something that cannot be.
    """
    gathered = completeness(root, sheet, title_of_pipeline, list(methods.values()), operations)
    problems = [*gathered.problems, *unknown_steps(gathered.spec, operations)]
    if problems:
        raise InputError(problems)
    origins = [*gathered.origins, *dataset_origins([RAW, *methods, RUN], gathered.spec)]
    automatic = sum(origin.source != "study.yaml" for origin in origins)
    fields = len(origins) + len(gathered.missing)
    line = (
        f"REMBI: {_share(automatic, fields)} of {fields} fields fill themselves, {len(origins) - automatic} are typed"
    )
    if not gathered.missing:
        return [f"{line}, none is missing", *_doubts(gathered)]
    lines = [f"{line}, {len(gathered.missing)} {'is' if len(gathered.missing) == 1 else 'are'} missing:"]
    width = max(len(item.field) for item in gathered.missing)
    lines += [f"  {item.field:<{width}}  {item.known_by} should know" for item in gathered.missing]
    lines.append(f"  Write them into {layout.STUDY_YAML} before you export; a run needs none of them.")
    return [*lines, *_doubts(gathered)]


def _doubts(gathered: Gathered) -> Iterator[str]:
    yield from (f"  note: {text}" for text in gathered.overruled)
    yield from (f"  doubtful: {problem}" for problem in gathered.warnings)


def _share(part: int, whole: int) -> str:
    return f"{part} ({100 * part / whole:.0f} %)" if whole else "0"


def export_text(report: ExportReport) -> str:
    """What an export has written, or would write, for people."""
    verb = "wrote" if report.folder else "would write"
    where = f" {report.folder}" if report.folder else ""
    lines = [f"{verb}{where}: {report.title}", ""]
    width = max(len(name) for name, _ in report.datasets)
    lines += [f"  {name:<{width}}  {files:>8,} {'file' if files == 1 else 'files'}" for name, files in report.datasets]
    told = [f"{many(report.done, 'job')} done", f"{report.failed} failed", f"{report.pending} not run yet"]
    lines += ["", "  " + ", ".join(text for text in told if not text.startswith("0 ") or text.endswith("done"))]
    lines.append(f"  {_share(report.automatic, report.fields)} of {report.fields} fields were filled by themselves")
    lines += [f"  left out: {text}" for text in _left_out(report)]
    lines += list(_elsewhere(report))
    lines += [f"  note: {text}" for text in report.overruled[:SHOWN]]
    lines += [f"  doubtful: {problem}" for problem in report.warnings[:SHOWN]]
    more = len(report.overruled[SHOWN:]) + len(report.warnings[SHOWN:])
    lines += [f"  ... and {more} more notes: snakescope export --json"] if more else []
    if report.folder:
        lines += ["", "Next: snakescope verify"]
    return "\n".join(lines)


def _left_out(report: ExportReport) -> Iterator[str]:
    if report.sensitive_rows:
        rows, jobs = many(report.sensitive_rows, "sensitive row"), many(report.left_out, "job")
        yield f"{rows}, and {jobs} over other rows too that read one"
    if report.unhashed:
        yield f"{many(report.unhashed, 'raw image')} from the checksums, since no job has read them yet"
    if report.by_reference:
        yield f"{many(report.by_reference, 'raw image')} from the checksums, not here but in iRODS"
    if report.stray:
        yield f"{many(report.stray, 'record')} of rows or steps that the study no longer has"


def _elsewhere(report: ExportReport) -> Iterator[str]:
    if report.by_reference:
        are = "is in iRODS: fetch it" if report.by_reference == 1 else "are in iRODS: fetch them"
        yield f"  {many(report.by_reference, 'raw image')} {are} before the upload with: {FETCH}"
    if report.by_reference_unhashed:
        why = "no job has read them, and the catalogue does not say"
        yield f"  {report.by_reference_unhashed} of them are told of without a sha256: {why}"


def export_to_dict(report: ExportReport) -> dict[str, Any]:
    """What an export has written, for scripts."""
    data = dataclasses.asdict(report)
    data["folder"] = str(report.folder) if report.folder else None
    data["datasets"] = dict(report.datasets)
    data["warnings"] = [str(problem) for problem in report.warnings]
    return data
