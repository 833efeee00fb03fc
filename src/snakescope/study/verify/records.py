"""An export against the study of today: what has changed since, what was left out, what belongs nowhere."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from snakescope import layout
from snakescope.errors import InputError, Problem
from snakescope.record import TIMESTAMP, digest
from snakescope.study.verify.crate import Crate
from snakescope.study.verify.files import CRATE, EXPORT_AGAIN, FOLDER, Files, is_plain, shown
from snakescope.tool.base import read_yaml
from snakescope.words import many
from snakescope.workflow import Plan

ORIGINS = "origins.tsv"
_TOLD_STEP = 1000


@dataclass
class _Found:
    """What the records of today say.

    Parameters
    ----------
    ends
        As `snakescope.study.verify.crate.Crate.ends`, less what has been met in the records.
    new
        Jobs that the export does not know.
    newer, not_handed_in, sensitive
        Paths of results: of such jobs, of steps that are left out, and made from sensitive rows.
    """

    ends: Counter[tuple[bool, str | None]]
    new: int = 0
    stray: int = 0
    newer: set[str] = field(default_factory=set)
    not_handed_in: set[str] = field(default_factory=set)
    sensitive: set[str] = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)


def check_records(root: Path, files: Files, crate: Crate) -> tuple[list[Problem], list[str]]:
    """Compare an export with ``records/`` and ``results/``.

    Returns
    -------
    Problems, and notes on what was left out of the export as it should.
    """
    found = _Found(Counter(crate.ends))
    _read_records(root, files, found, believe=not crate.readable)
    problems = [*found.problems, *(_changes(found) if crate.readable else [])]
    left_out: Counter[str] = Counter()
    for path in _result_paths(root):
        kind = _kind(path, files, found)
        left_out[kind] += 1
        if kind == "stray":
            message = "does not belong to the export: no job of the study made it"
            problems.append(Problem(shown(path), message, "Move it away, or bring its record back and export again."))
    return problems, list(_notes(left_out, found))


def _read_records(root: Path, files: Files, found: _Found, *, believe: bool) -> None:
    """Tell the records apart; with `believe`, each of them is taken for one that the export knows."""
    known, hidden = _plan(root)
    paths = [*_records(root), *_failures(root)]
    for index, path in enumerate(paths):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            results = {str(item["path"]) for item in record["outputs"]}
            key = record["status"] == "failed", record["ended_at"]
            step, unit, samples = record["step"], record["unit"], record["samples"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            where = path.relative_to(root).as_posix()
            found.problems.append(Problem(shown(where), f"not a record of a job ({error})"))
            continue
        if known is not None and (step, unit) not in known:
            found.stray += 1
        elif not hidden.isdisjoint(samples):
            found.sensitive |= results
        elif believe or found.ends[key] > 0:
            found.ends[key] -= not believe
            if not (files.folder / f"file_list_{step}.tsv").exists():
                found.not_handed_in |= results
        else:
            found.new += 1
            found.newer |= results
        if index % _TOLD_STEP == 0:
            files.progress("comparing records", index, len(paths))


def check_sources(root: Path, folder: Path) -> list[Problem]:
    """Compare what people have written with the digests that the export has kept of it."""
    try:
        lines = (folder / ORIGINS).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):  # that it is not there or broken, the checksums tell
        return []
    told = (line.split("\t") for line in lines)
    kept = {cells[0]: cells[2] for cells in told if len(cells) == 3 and cells[1] == "file" and is_plain(cells[0])}
    return [
        Problem(shown(name), "has changed since the study was exported", EXPORT_AGAIN)
        for name, found in kept.items()
        if not (root / name).is_file() or f"sha256:{digest(root / name)}" != found
    ]


def _plan(root: Path) -> tuple[set[tuple[str, str]] | None, frozenset[str]]:
    """Step and unit of every job of the study, and ids of its sensitive rows; None where the study does not say."""
    try:
        config: dict[str, Any] = read_yaml(root / layout.CONFIG)
        plan = Plan.read(str(config["pipeline"]), str(config.get("samples", layout.SHEET)), root)
        hidden = frozenset(row.id for row in plan.sheet.rows if row.sensitive)
        return {(step, unit) for step, unit, _ in plan.walk_units()}, hidden
    except (InputError, KeyError, ValueError):
        return None, frozenset()


def _records(root: Path) -> list[Path]:
    return sorted((root / layout.RECORDS).glob("*/*.json"))


def _failures(root: Path) -> list[Path]:
    """Facts of jobs that have failed and have not been done since."""
    found = sorted((root / layout.LOGS).glob("*/*.failed.json"))
    return [
        path
        for path in found
        if not (root / layout.record(path.parent.name, path.name.removesuffix(".failed.json"))).is_file()
    ]


def _changes(found: _Found) -> Iterator[Problem]:
    """One finding for all that has happened since the export."""
    gone = found.ends.total()
    told = [f"{many(found.new, 'job')} ended or failed since" if found.new else ""]
    told.append(f"records of {many(gone, 'job')} in it are gone or were replaced" if gone else "")
    if any(told):
        yield Problem(
            FOLDER, f"the study has changed since it was exported: {', '.join(filter(None, told))}", EXPORT_AGAIN
        )


def _result_paths(root: Path) -> Iterator[str]:
    """What lies in ``results/<unit>/<step>/``, and files above it, relative to the study folder."""
    folders = [(root / layout.RESULTS, layout.RESULTS)]
    while folders:
        folder, name = folders.pop()
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name, reverse=True)
        except OSError:
            continue
        for entry in entries:
            path = f"{name}/{entry.name}"
            if entry.is_dir(follow_symlinks=False) and path.count("/") < 3:
                folders.append((Path(entry.path), path))
            elif entry.name != TIMESTAMP and (not entry.is_dir(follow_symlinks=False) or _holds_files(entry.path)):
                yield path


def _holds_files(folder: str) -> bool:
    return any(files for _, _, files in os.walk(folder))


def _kind(path: str, files: Files, found: _Found) -> str:
    name = f"{CRATE}/{path}"
    if name in files.found or name in files.troubled or name in files.listed:
        return "exported"
    for kind in ("newer", "not_handed_in", "sensitive"):
        if path in getattr(found, kind):
            return kind
    return "stray"


def _notes(counts: Counter[str], found: _Found) -> Iterator[str]:
    for kind, why in (("not_handed_in", "of steps that are not handed in"), ("sensitive", "made from sensitive rows")):
        if counts[kind]:
            yield f"{many(counts[kind], 'result')} {why} left out"
    if found.stray:
        yield f"{many(found.stray, 'record')} of no row or step of the study, which the export does not hold"
