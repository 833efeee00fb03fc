"""Every command has a Python function with its name and arguments."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Iterator

import pytest

from snakescope import api
from snakescope.cli import build_parser

ONLY_ON_THE_COMMAND_LINE = {"help", "json"}


def commands(parser: argparse.ArgumentParser, prefix: str = "") -> Iterator[tuple[str, set[str]]]:
    """Name (``tool_run``) and argument names of every command."""
    actions = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not actions:
        yield prefix, {action.dest for action in parser._actions} - ONLY_ON_THE_COMMAND_LINE
    for action in actions:
        for name, command in action.choices.items():
            yield from commands(command, f"{prefix}_{name}".lstrip("_"))


@pytest.mark.parametrize(("name", "arguments"), list(commands(build_parser())))
def test_each_command_has_a_function_with_its_arguments(name: str, arguments: set[str]) -> None:
    parameters = set(inspect.signature(getattr(api, name)).parameters)
    assert parameters - {"quiet"} == arguments - {"quiet"}
