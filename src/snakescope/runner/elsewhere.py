"""Results that were made in another environment than a run would use now. They count as done; this says how many.

Only the line of a record that tells the environment is read: there may be a record for each of very many jobs.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any

from snakescope import layout
from snakescope.workflow import Plan

# It stands in the head of a record, after the rows of a group.
_HEAD_BYTES = 4096
_LINE = re.compile(rb'\n  "environment": (\{.*\}),\n')
# Reads under way at once: a shared disk answers late, but many at a time.
_READERS = 8
_CHUNK = 512
_MOST_NAMED = 4


def made_elsewhere(plan: Plan) -> dict[str, int]:
    """Done jobs by the environment that they ran in, of those that would run in another one now."""
    found: Counter[str] = Counter()
    with ThreadPoolExecutor(_READERS) as readers:
        for step in plan.steps:
            wanted = _wanted(plan, step)
            records = [plan.root / layout.record(unit, step) for unit in plan.units(step)]
            some = (records[start : start + _CHUNK] for start in range(0, len(records), _CHUNK))
            for told in chain.from_iterable(readers.map(_environments, some)):
                if told is not None and not _same(told, wanted):
                    found[_named(told)] += 1
    return dict(found.most_common())


def elsewhere_text(found: Mapping[str, int]) -> str:
    """What people are told of them; empty for none."""
    if not found:
        return ""
    named = [f"{count} in {name}" for name, count in list(found.items())[:_MOST_NAMED]]
    rest = len(found) - len(named)
    told = ", ".join(named) + (f", and {rest} more" if rest else "")
    count = sum(found.values())
    if count == 1:
        return f"1 result that counts as done was made elsewhere: {told}. To make it anew, remove its record."
    return f"{count} results that count as done were made elsewhere: {told}. To make them anew, remove their records."


def _wanted(plan: Plan, step: str) -> dict[str, Any]:
    kind, *more = plan.environment(step)
    names = {"apptainer": ("image", "sha256"), "conda": ("file",)}.get(kind, ())
    return {"kind": kind} | {name: value for name, value in zip(names, more, strict=False) if value != "-"}


def _same(told: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether two environments are one, as far as both say; an image is known by its digest wherever it lies."""
    kind = "host" if told.get("kind") == "conda" and "file" not in told else told.get("kind")  # active on the host
    if kind != wanted["kind"]:
        return False
    if kind == "apptainer" and told.get("sha256") and wanted.get("sha256"):
        return bool(told["sha256"] == wanted["sha256"])
    home = os.environ.get("HOME", "").rstrip("/")
    return all(
        told.get(key) == value or (home and str(value).replace(home, "~", 1) == told.get(key))
        for key, value in wanted.items()
        if key in ("image", "file")
    )


def _named(told: Mapping[str, Any]) -> str:
    if told.get("kind") == "apptainer":
        return f"the image {told.get('image')}"
    if told.get("kind") == "conda" and told.get("file"):
        return f"the conda environment of {told['file']}"
    return "a machine's own programs"


def _environments(records: Iterable[Path]) -> list[dict[str, Any] | None]:
    return [_environment(record) for record in records]


def _environment(record: Path) -> dict[str, Any] | None:
    """What a record says of where its job ran; None without a record, or for one that cannot be read."""
    try:
        with record.open("rb") as file:
            head = file.read(_HEAD_BYTES)
            match = _LINE.search(head) or _LINE.search(head + file.read())
        told = json.loads(match[1]) if match else None
    except (OSError, ValueError):
        return None
    return told if isinstance(told, dict) else None
