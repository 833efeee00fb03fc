"""Results that somebody has removed since their jobs were done. The jobs count as done; this says which results."""

from __future__ import annotations

from collections.abc import Sequence

from snakescope import layout
from snakescope.workflow import Plan


def results_gone(plan: Plan) -> list[str]:
    """Results that are not there though the records of their jobs are; those that nobody asked to keep left out."""
    gone: list[str] = []
    for step, unit, _ in plan.walk_units():
        compiled = plan.steps[step]
        if compiled.get("temporary") or not (plan.root / layout.record(unit, step)).is_file():
            continue
        files = [output["file"] for output in compiled["outputs"].values() if "file" in output]
        paths = [layout.result(unit, step, file) for file in files]
        gone += [path for path in paths if not (plan.root / path).exists()]
    return gone


def gone_text(gone: Sequence[str]) -> str:
    """What people are told of them; empty for none."""
    if not gone:
        return ""
    _, unit, step, _ = gone[0].split("/", 3)
    results = f"{len(gone)} results of jobs that count as done are" if len(gone) > 1 else "A result of a done job is"
    return (
        f"{results} not there any more{', such as' if len(gone) > 1 else ':'} {gone[0]}.\n"
        f"To make it again, remove its record, {layout.record(unit, step)}, and run."
    )
