"""The command line itself: help, examples, documentation, JSON."""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration_helpers import snakescope
from snakescope import __version__
from snakescope.cli import build_parser

ROOT = Path(__file__).resolve().parents[2]


def commands(parser: argparse.ArgumentParser, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command, and every action of a command, as its words."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, below in action.choices.items():
                deeper = list(commands(below, (*words, name)))
                yield from deeper or [(*words, name)]


COMMANDS = list(commands(build_parser()))


def help_of(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        build_parser().parse_args([*words, "--help"])
    assert ended.value.code == 0
    return capsys.readouterr().out


def test_the_commands_are_those_that_scripts_rely_on() -> None:
    assert {" ".join(words) for words in COMMANDS} >= {
        *("init", "collect", "lint", "compile", "run", "status", "demo"),
        *("tool list", "tool show", "tool test", "tool new", "tool run"),
    }


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_shows_an_example_that_parses(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    text = help_of(words, capsys)
    (example,) = [line for line in text.splitlines() if line.startswith("example: ")]
    program, *arguments = shlex.split(example.removeprefix("example: "))
    assert program == "snakescope"
    assert tuple(arguments[: len(words)]) == words
    assert build_parser().parse_args(arguments).handler


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_option_says_what_it_does(words: tuple[str, ...]) -> None:
    parser = build_parser()
    for word in words:
        (actions,) = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
        parser = actions.choices[word]
    silent = [action.option_strings for action in parser._actions if action.option_strings and not action.help]
    assert silent == []


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_is_documented(words: tuple[str, ...]) -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    needle = f"snakescope {' '.join(words)}"
    assert [page.name for page in pages if needle in page.read_text(encoding="utf-8")]


def test_help_and_version_go_to_standard_output(tmp_path: Path) -> None:
    helped, version = snakescope("--help", cwd=tmp_path), snakescope("--version", cwd=tmp_path)
    assert (helped.returncode, helped.stderr, version.returncode) == (0, "", 0)
    assert all(words[0] in helped.stdout for words in COMMANDS)
    assert version.stdout == f"snakescope {__version__}\n"


def test_tools_are_listed_and_shown_as_json(tmp_path: Path) -> None:
    listed = json.loads(snakescope("tool", "list", "--json", cwd=tmp_path).stdout)
    assert [tool["id"] for tool in listed] == sorted(path.parent.name for path in (ROOT / "tools").glob("*/tool.yaml"))
    shown = json.loads(snakescope("tool", "show", "deskew", "--json", cwd=tmp_path).stdout)
    assert shown["params"]["angle_deg"]["unit"] == "deg"
    assert shown["inputs"]["image"]["axes"] == "t?c?zyx"


def test_a_tool_is_shown_with_units_and_defaults(tmp_path: Path) -> None:
    text = snakescope("tool", "show", "deskew", cwd=tmp_path).stdout
    assert "angle_deg          = 31.5 deg" in text
    assert "fill               = not set" in text
    assert "cite https://doi.org/10.1126/science.1257998" in text


def test_a_pipe_that_closes_early_is_no_error(tmp_path: Path) -> None:
    import subprocess
    import sys

    command = f"{shlex.quote(sys.executable)} -m snakescope.cli tool list | head -n 1 >/dev/null"
    done = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
