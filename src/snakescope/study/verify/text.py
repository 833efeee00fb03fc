"""What people read of `verify` and `rerun`: counts first, then findings, few of each."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from snakescope.errors import Problem
from snakescope.study.verify.check import Verification
from snakescope.study.verify.rerun import RerunResult
from snakescope.words import many, size_text

SHOWN = 20


def verification_text(result: Verification) -> str:
    """Tell what came of checking an export."""
    read = f"{many(result.files, 'file')} read ({size_text(result.bytes)})"
    if result.sound:
        first = f"The export is sound: {read}, all as exported."
    else:
        first = f"The export is not sound: {many(len(result.problems), 'problem')}; {read}."
    return "\n".join([first, *(f"{note[:1].upper()}{note[1:]}." for note in result.notes), *_told(result.problems)])


def rerun_text(result: RerunResult) -> str:
    """Tell what came of running jobs again."""
    done = result.identical + result.within_tolerance + result.different_jobs
    first = f"{done} of {many(result.jobs, 'job')} of {many(len(result.rows), 'row')} run again: "
    first += f"{result.identical} identical to the last bit, {result.within_tolerance} within the tool's tolerance, "
    first += f"{result.different_jobs} different; {len(result.not_rerun)} not run again."
    lines = [first, *(f"{note[:1].upper()}{note[1:]}." for note in result.notes)]
    for title, problems in (
        ("Different", result.different),
        ("Inputs that have changed", result.changed),
        ("Not run again", result.not_rerun),
    ):
        lines += [f"{title}:", *_told(problems)] if problems else []
    return "\n".join(lines)


def verification_to_dict(result: Verification) -> dict[str, Any]:
    """What came of checking an export, for scripts."""
    return {**dataclasses.asdict(result), "sound": result.sound, "problems": [str(item) for item in result.problems]}


def rerun_to_dict(result: RerunResult) -> dict[str, Any]:
    """What came of running jobs again, for scripts."""
    told = {name: [str(item) for item in getattr(result, name)] for name in ("different", "changed", "not_rerun")}
    return {**dataclasses.asdict(result), **told, "reproduced": result.reproduced}


def _told(problems: Sequence[Problem]) -> Iterator[str]:
    yield from (f"  {str(item).replace(chr(10), chr(10) + '  ')}" for item in problems[:SHOWN])
    if len(problems) > SHOWN:
        yield f"  ... and {len(problems) - SHOWN:,} more"
