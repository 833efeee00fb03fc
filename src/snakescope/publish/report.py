"""Telling people, and scripts, what publishing has done or would do."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator
from typing import Any

from snakescope.publish.publish import PublishReport
from snakescope.words import size_text

SHOWN = 20


def publish_text(report: PublishReport) -> str:
    """The plan as a table, one line a part of the study, and what is to be said beside it."""
    verb = "would publish to" if report.dry_run else "published to"
    lines = [f"{verb} {report.target}: {report.title}", "", *_table(report), ""]
    would = "would be " if report.dry_run else ""
    lines.append(
        f"  {report.put} objects {would}put, {report.replaced} {would}replaced ({size_text(report.put_bytes)}), "
        f"{report.same} there already; {report.annotated} {would}annotated"
    )
    lines += [f"  {text}" for text in _notes(report)]
    lines += _some(
        f"no longer part of their image, {'to be ' if report.dry_run else ''}moved to the trash", report.removed
    )
    lines += _some("no longer part of the study, left as they are", report.gone)
    lines += _some("sources could not be told where their results lie", report.sources_refused)
    lines += _some("void AVUs that you may not remove", report.kept)
    if report.failed:
        lines += ["", f"{len(report.failed)} refused; the rest is done. Publish again to finish:"]
        lines += [f"  {item}" for item in report.failed[:SHOWN]]
        lines += [f"  ... and {len(report.failed) - SHOWN} more"] if len(report.failed) > SHOWN else []
    return "\n".join(lines)


def _table(report: PublishReport) -> Iterator[str]:
    acts = ("put", "replace", "ask for its checksum", "same")
    counts: dict[str, Counter[str]] = {}
    for row in report.rows:
        found = counts.setdefault(row.dataset, Counter())
        found.update(row.files)
        found["items"] += 1
        found["annotate"] += bool(row.annotate)
        found["bytes"] += row.bytes
    width = max((len(name) for name in counts), default=0)
    yield f"  {'':<{width}}  {'items':>7} {'put':>7} {'replace':>7} {'same':>7} {'annotate':>8} {'size':>10}"
    for name, found in counts.items():
        put, replace, ask, same = (found[act] for act in acts)
        yield (
            f"  {name:<{width}}  {found['items']:>7} {put:>7} {replace + ask:>7} {same:>7} {found['annotate']:>8} "
            f"{size_text(found['bytes']):>10}"
        )


def _notes(report: PublishReport) -> Iterator[str]:
    if report.sources:
        yield f"{report.sources} sources {'would be' if report.dry_run else 'were'} told where their results lie"
    if report.one_by_one:
        yield f"{report.one_by_one} were annotated one AVU at a time, since the server refuses several at once"
    if report.others:
        yield f"{report.others} objects there are not ours and were left alone"


def _some(title: str, paths: list[str]) -> list[str]:
    if not paths:
        return []
    more = [f"    ... and {len(paths) - SHOWN} more"] if len(paths) > SHOWN else []
    return [f"  {len(paths)} {title}:", *(f"    {path}" for path in paths[:SHOWN]), *more]


def publish_to_dict(report: PublishReport) -> dict[str, Any]:
    """The same for scripts, with every item."""
    return dataclasses.asdict(report) | {"failed": [str(item) for item in report.failed]}
