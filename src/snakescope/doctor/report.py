"""The whole report, as text for people and as JSON for scripts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snakescope import layout
from snakescope.doctor.facts import Fact, clean
from snakescope.doctor.machine import machine_facts
from snakescope.doctor.needs import Asked, Needs, Way, needs_of, shipped
from snakescope.errors import Problem
from snakescope.runner.folder import open_study

TITLES = {"disk": "disk", "machine": "this machine", "apptainer": "Apptainer", "gpu": "GPU", "slurm": "Slurm"}
TITLES |= {"irods": "iRODS", "conda": "conda"}
_MOST = 3


@dataclass(frozen=True)
class Report:
    """What was found.

    Parameters
    ----------
    study
        The study folder; None outside any.
    facts
        What is known of this machine.
    needs
        What the pipeline needs; None where none was asked about.
    """

    study: Path | None
    facts: tuple[Fact, ...]
    needs: Needs | None

    @property
    def exit_code(self) -> int:
        """3 when the study's pipeline cannot run as it was asked about, else 0."""
        return 3 if self.study and self.needs and self.needs.asked.problems else 0

    def json(self) -> dict[str, Any]:
        """For scripts: the same facts as the text holds."""
        told: dict[str, Any] = {"study": clean(str(self.study)) if self.study else None}
        told["machine"] = [item.json() for item in self.facts]
        told["pipeline"] = _needs_json(self.needs) if self.needs else None
        return told | {"exit_code": self.exit_code}


def examine(root: Path, asked: Asked, *, connect: bool = False) -> Report:
    """Look at this machine, and at what a pipeline needs of it.

    Parameters
    ----------
    root
        The study folder. In a folder that is none only the machine is told, or a shipped pipeline that is asked about.
    asked
        Which pipeline, profile and way.
    connect
        Whether to log in to iRODS.

    Raises
    ------
    InputError
        If the study's configuration is wrong, or there is no such pipeline or profile.
    """
    is_study = (root / layout.CONFIG).is_file()
    study = open_study(root) if is_study else shipped() if asked.pipeline else None
    facts = machine_facts(root, connect=connect)
    needs = needs_of(study, asked, facts) if study else None
    return Report(root if is_study else None, tuple(facts), needs)


def _needs_json(needs: Needs) -> dict[str, Any]:
    return {
        "name": needs.pipeline,
        "needs": [item.json() for item in needs.facts],
        "ways": [
            {
                "name": way.name,
                "asked": way.asked,
                "can_run": not way.problems,
                "problems": [{"where": p.where, "message": p.message, "fix": p.fix} for p in way.problems],
                "remarks": list(way.remarks),
            }
            for way in needs.ways
        ],
    }


def report_text(report: Report) -> str:
    """For people: what the pipeline lacks first, whether it can run last."""
    blocks = [*_missing(report.needs), *_needed(report.needs)] if report.needs else []
    for group in dict.fromkeys(item.group for item in report.facts):
        blocks.append([TITLES.get(group, group), *_lines(item for item in report.facts if item.group == group)])
    blocks.append([*_summary(report)])
    return "\n\n".join("\n".join(block) for block in blocks)


def _missing(needs: Needs) -> Iterator[list[str]]:
    """What keeps the pipeline from running as asked for, then what keeps it from other ways alone."""
    if needs.asked.problems:
        yield [f"missing for {needs.pipeline} ({needs.asked.name})", *_lines(map(_as_fact, needs.asked.problems))]
    others: dict[Problem, list[str]] = {}
    for way in needs.ways:
        for item in way.problems:
            if item not in needs.asked.problems:
                others.setdefault(item, []).append(way.name)
    if others:
        lines = _lines(_as_fact(item, f"for {', '.join(ways)}: ") for item, ways in others.items())
        yield [f"missing for other ways to run {needs.pipeline}", *lines]


def _as_fact(item: Problem, before: str = "") -> Fact:
    fix = None if item.fix is None else "\n".join(item.fix.splitlines())
    return Fact("", "", "missing", f"{before}{item.where}: {item.message}", fix)


def _needed(needs: Needs) -> Iterator[list[str]]:
    if needs.facts:
        yield [f"what {needs.pipeline} needs", *_lines(needs.facts)]


def _lines(facts: Iterable[Fact]) -> Iterator[str]:
    """One line a fact, and one for how to get what is missing."""
    found = [*facts]
    width = max((len(item.name) for item in found), default=0)
    for item in found:
        name = f"{item.name:<{width}}  " if width else ""
        yield f"  {item.mark:<7}  {name}{item.text}"
        if item.fix and item.mark != "ok":
            yield from (f"  {'':<7}  {'':<{len(name)}}-> {line}" for line in item.fix.splitlines())


def _summary(report: Report) -> Iterator[str]:
    if report.needs is None:
        yield "No pipeline was looked at: this is no study folder. Ask about a shipped one with --pipeline NAME."
        return
    yield f"This machine can run {report.needs.pipeline}:"
    names = [f"{way.name} (asked for)" if way.asked else way.name for way in report.needs.ways]
    width = max(map(len, names))
    for name, way in zip(names, report.needs.ways, strict=True):
        yield f"  {name:<{width}}  {_verdict(way)}"


def _verdict(way: Way) -> str:
    if not way.problems:
        return "yes" + (f". {'. '.join(way.remarks)}" if way.remarks else "")
    told = [_in_short(way, item) for item in way.problems[:_MOST]]
    more = f"; and {len(way.problems) - _MOST} more" if len(way.problems) > _MOST else ""
    return f"no, because {'; '.join(told)}{more}"


def _in_short(way: Way, item: Problem) -> str:
    message = item.message.rstrip(".")
    return message if item.where in (way.name, "Slurm") else f"{item.where}: {message}"
