"""What all commands share: how a command is declared, options that mean the same everywhere, JSON."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Handler = Callable[[argparse.Namespace], int]


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


def count(text: str) -> int:
    """Read a whole number above 0, as argparse wants it."""
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 10**6):
        raise argparse.ArgumentTypeError(f"found {text!r}; expected a whole number above 0")
    return int(text)


def print_json(value: Any) -> None:
    """Print for scripts."""
    print(json.dumps(value, indent=2, ensure_ascii=False))
