"""What all commands share: how a command is declared, options that mean the same everywhere, JSON."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from snakescope.runner.cases import CaseResult

Handler = Callable[[argparse.Namespace], int]
Report = TypeVar("Report")


def command_of(commands: Any, name: str, handler: Handler, summary: str, example: str) -> argparse.ArgumentParser:
    """A command with its help, which ends with an example."""
    command: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[:1].upper()}{summary[1:]}.",
        epilog=f"example: {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(handler=handler)
    return command


def add_study(command: argparse.ArgumentParser) -> None:
    """``--study``."""
    command.add_argument("--study", type=Path, default=Path(), metavar="DIR", help="study folder (default: here)")


def add_json(command: argparse.ArgumentParser) -> None:
    """``--json``."""
    command.add_argument("--json", action="store_true", help="print JSON for scripts")


def add_quiet(command: argparse.ArgumentParser) -> None:
    """``--quiet``."""
    command.add_argument("--quiet", action="store_true", help="no progress display")


def add_sdm(command: argparse.ArgumentParser, told: str) -> None:
    """``--sdm``, with what it means for this command."""
    command.add_argument("--sdm", choices=["apptainer", "conda", "none"], help=told)


def case_text(result: CaseResult) -> str:
    """What came of a test case of a tool, and where it ran when that was not plainly this machine."""
    word = {"failed": "FAILED", "program missing": "not run" if result.deployed else "program missing"}
    lines = [f"{word.get(result.status, result.status):<6}  {result.tool}/{result.case}: {result.description}"]
    ran_in = result.environment
    if result.deployed and ran_in:
        place = ran_in.get("image") or ran_in.get("file") or "this machine, having no image or environment of its own"
        lines[0] += f" ({ran_in['kind']}: {place})"
    return "\n".join([*lines, *(f"        {text}" for text in [*result.problems, *result.missing])])


def count(text: str) -> int:
    """Read a whole number above 0, as argparse wants it."""
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 10**6):
        raise argparse.ArgumentTypeError(f"found {text!r}; expected a whole number above 0")
    return int(text)


def print_report(
    arguments: argparse.Namespace, report: Report, text: Callable[[Report], str], data: Callable[[Report], Any]
) -> None:
    """Print what a command found, for people or for scripts."""
    if arguments.json:
        print_json(data(report))
    else:
        print(text(report))


def print_json(value: Any) -> None:
    """Print for scripts."""
    print(json.dumps(value, indent=2, ensure_ascii=False))
