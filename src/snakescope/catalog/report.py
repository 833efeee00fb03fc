"""What collecting found, for people and for scripts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from snakescope.catalog.irods_report import ZoneFindings
from snakescope.catalog.merge import Change, Merged
from snakescope.catalog.names import shown
from snakescope.catalog.proposal import Proposal
from snakescope.catalog.walk import Leftovers
from snakescope.errors import Problem
from snakescope.samples import Row, Sheet
from snakescope.zone.address import Address

_ROWS = 10
_ITEMS = 10
_COLUMNS = ("id", "series", "t", "c", "axes", "shape", "dtype", "voxel_size_um", "time_step_s")
_WIDTH = 40

# Suffixes of images that no reader here opens: worth a word, since they look collected and are not.
UNSUPPORTED = frozenset(
    {
        *(".png", ".jpg", ".jpeg", ".bmp", ".gif", ".jp2", ".jxl", ".lsm", ".stk", ".oib", ".oif", ".oir", ".vsi"),
        *(".ims", ".dv", ".r3d", ".sld", ".sldy", ".flex", ".mvd2", ".h5", ".hdf5", ".n5", ".klb", ".mrc", ".mha"),
        *(".nrrd", ".nii", ".xdce", ".c01", ".ndpi", ".svs", ".scn", ".mrxs"),
    }
)


@dataclass
class CollectReport:
    """Everything a folder held, and the sheet that came of it.

    Parameters
    ----------
    folder
        Where was looked: a folder, or a collection of iRODS.
    sheet
        The new sheet, not yet written.
    files
        Image files that were read.
    added, updated, unchanged
        Ids of rows by what happened to them; rows of other folders are in none.
    vanished
        Id and path of rows below `folder` whose file is gone. They are kept.
    not_collected
        Id and path of rows below `folder` whose file is there but was not read this time. They are kept.
    unreadable
        Path and reason of what looks like an image and could not be read.
    disagreements
        Where sheet and file differ and the sheet was kept.
    problems
        What will hinder the analysis: series that do not fit together, unknown voxel sizes.
    other
        Files that are no images, by suffix.
    zone
        What only a collection of iRODS has to tell; None for a folder.
    """

    folder: Path | Address
    sheet: Sheet
    files: int = 0
    proposal: Proposal | None = None
    added: list[str] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    vanished: list[tuple[str, str]] = field(default_factory=list)
    not_collected: list[tuple[str, str]] = field(default_factory=list)
    disagreements: list[Problem] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    other: Counter[str] = field(default_factory=Counter)
    hidden: int = 0
    excluded: Counter[str] = field(default_factory=Counter)
    not_included: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list)
    zone: ZoneFindings | None = None

    @classmethod
    def of(
        cls,
        folder: Path | Address,
        sheet: Sheet,
        merged: Merged,
        found: Leftovers,
        *,
        files: int,
        proposal: Proposal | None,
        is_there: Callable[[Row], bool | None],
        zone: ZoneFindings | None = None,
    ) -> CollectReport:
        """Put the parts together; `is_there` tells of a row that was not seen, None when it lies elsewhere."""
        absent = [(row, is_there(row)) for row in merged.not_seen]
        return cls(
            folder=folder,
            sheet=sheet,
            files=files,
            proposal=proposal,
            added=merged.added,
            updated=merged.updated,
            unchanged=merged.unchanged,
            changes=merged.changes,
            vanished=[(row.id, row.path) for row, there in absent if there is False],
            not_collected=[(row.id, row.path) for row, there in absent if there],
            disagreements=merged.disagreements,
            unreadable=sorted(found.unreadable),
            other=found.other,
            hidden=found.hidden,
            excluded=found.excluded,
            not_included=found.not_included,
            skipped=found.skipped,
            zone=zone,
        )

    @property
    def images(self) -> int:
        """Images found in the files that were read; a file may hold several."""
        return len(self.added) + len(self.updated) + len(self.unchanged)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, nothing left out."""
        return {
            "folder": str(self.folder),
            "sheet": str(self.sheet.path) if self.sheet.path else None,
            "files": self.files,
            "images": self.images,
            "rows": [row.cells for row in self.sheet.rows],
            "proposal": self.proposal.to_dict() if self.proposal else None,
            "added": self.added,
            "updated": self.updated,
            "unchanged": self.unchanged,
            "changes": [change.__dict__ for change in self.changes],
            "vanished": [{"id": name, "path": path} for name, path in self.vanished],
            "not_collected": [{"id": name, "path": path} for name, path in self.not_collected],
            "disagreements": [problem.__dict__ for problem in self.disagreements],
            "problems": [problem.__dict__ for problem in self.problems],
            "unreadable": [{"path": path, "reason": reason} for path, reason in self.unreadable],
            "other_files": dict(sorted(self.other.items())),
            "hidden": self.hidden,
            "excluded": dict(self.excluded),
            "not_included": self.not_included,
            "skipped": [{"path": path, "reason": reason} for path, reason in self.skipped],
            **({"irods": self.zone.to_dict()} if self.zone else {}),
        }


def render_report(report: CollectReport) -> str:
    """Write the report as text: counts, the first rows, the naming, and all that needs attention."""
    parts = [
        _counts(report),
        _table(report.sheet),
        _naming(report.proposal) if report.proposal else "",
        _listing("could not be read", [f"{path}: {reason}" for path, reason in report.unreadable]),
        *(_listing(title, lines) for title, lines in (report.zone.listings() if report.zone else ())),
        _listing("problems", [str(problem) for problem in report.problems]),
        _listing("cells differ from the files", [str(problem) for problem in report.disagreements]),
        _listing("cells brought up to date", [_change(change) for change in report.changes]),
        _listing("rows kept though their file is gone", [f"{name}: {path}" for name, path in report.vanished]),
        _listing(
            "rows kept that were not collected this time", [f"{name}: {path}" for name, path in report.not_collected]
        ),
        _listing("left out", [f"{path}: {reason}" for path, reason in report.skipped]),
        _leftovers(report),
        report.zone.summary() if report.zone else "",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _counts(report: CollectReport) -> str:
    formats = Counter(report.sheet.column("format"))
    kinds = ", ".join(f"{name or 'unknown format'} {count}" for name, count in sorted(formats.items()))
    rows = len(report.sheet.rows)
    return (
        f"{report.folder}: {report.images} images in {report.files} files\n"
        f"{report.sheet.where()}: {rows} rows ({kinds or 'none'}); {len(report.added)} new, "
        f"{len(report.updated)} updated, {len(report.unchanged)} unchanged"
    )


def _table(sheet: Sheet) -> str:
    if not sheet.rows:
        return ""
    columns = [name for name in _COLUMNS if name in sheet.columns and any(sheet.column(name))]
    lines = [columns] + [[_short(row.cell(name)) for name in columns] for row in sheet.rows[:_ROWS]]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join(text + _rest(len(sheet.rows) - _ROWS, "rows"))


def _short(text: str) -> str:
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH // 2 - 1]}..{text[-_WIDTH // 2 + 1 :]}"


def _naming(proposal: Proposal) -> str:
    fields = ", ".join(f"{name}={value}" for name, value in proposal.fields.items())
    lines = [
        f"naming ({proposal.naming}): {proposal.pattern}",
        f"  fits {proposal.matched} of {proposal.total} files, {proposal.n_series} series",
        f"  {shown(proposal.example)}",
        f"    -> {fields}",
    ]
    lines += [f"  does not fit: {shown(name)}" for name in proposal.unmatched[:3]]
    if not proposal.supported:
        lines.append("  not supported: each file holds one plane of a volume; nothing was taken from it")
    elif not proposal.accepted:
        quoted = "'" + proposal.pattern.replace("'", "'\\''") + "'"
        lines.append(f"  not used yet. To accept: --pattern {quoted}   or: --yes")
    return "\n".join(lines)


def _listing(title: str, items: Sequence[str]) -> str:
    if not items:
        return ""
    return "\n".join(
        [f"{title} ({len(items)}):", *(f"  {item}" for item in items[:_ITEMS]), *_rest(len(items) - _ITEMS)]
    )


def _rest(count: int, what: str = "more") -> list[str]:
    return [f"  ... and {count} more{'' if what == 'more' else f' {what}'}"] if count > 0 else []


def _change(change: Change) -> str:
    return f"{change.id}: {change.column}: {change.old or '(empty)'} -> {change.new or '(empty)'}"


def _leftovers(report: CollectReport) -> str:
    unsupported = {suffix: count for suffix, count in report.other.items() if suffix in UNSUPPORTED}
    plain = {suffix: count for suffix, count in report.other.items() if suffix not in UNSUPPORTED}
    lines = []
    if unsupported:
        lines.append(f"image formats that are not read: {_tally(unsupported.items())}")
    if plain:
        lines.append(f"other files: {_tally(plain.items())}")
    lines += [
        f"excluded by {glob!r}: {count}" + ("" if count else " (it fits nothing)")
        for glob, count in report.excluded.items()
    ]
    if report.not_included:
        lines.append(f"not included: {report.not_included}")
    if report.hidden:
        lines.append(f"hidden files and folders: {report.hidden}")
    return "\n".join(lines)


def _tally(counts: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"{suffix} {count}" for suffix, count in sorted(counts))
