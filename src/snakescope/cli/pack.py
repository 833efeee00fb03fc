"""The commands that take a pipeline to a site without the internet."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from snakescope import api
from snakescope.cli.words import (
    add_json,
    add_quiet,
    add_sdm,
    add_study,
    case_text,
    command_of,
    print_json,
    print_report,
)


def add_commands(commands: Any) -> None:
    """Declare them."""
    _add_pack(commands)
    _add_unpack(commands)


def _add_pack(commands: Any) -> None:
    summary = "pack a pipeline with its tools, images or packages, and models for a site without the internet"
    command = command_of(commands, "pack", _pack, summary, "snakescope pack --dry-run")
    command.add_argument("pipeline", nargs="?", help="name (default: the one in config/config.yaml)")
    add_study(command)
    command.add_argument("--out", type=Path, metavar="FILE", help="archive (default: PIPELINE.snakepack.tar, here)")
    command.add_argument("--dry-run", action="store_true", help="show what goes in and its size, write nothing")
    command.add_argument("--no-images", action="store_true", help="leave images out: the other site has its own")
    add_quiet(command)
    add_json(command)


def _pack(arguments: argparse.Namespace) -> int:
    from snakescope.bundle.report import pack_text, pack_to_dict

    report = api.pack(
        arguments.pipeline,
        study=arguments.study,
        out=arguments.out,
        dry_run=arguments.dry_run,
        no_images=arguments.no_images,
        quiet=arguments.quiet or arguments.json,
    )
    print_report(arguments, report, pack_text, pack_to_dict)
    return 0


def _add_unpack(commands: Any) -> None:
    summary = "unpack what `snakescope pack` wrote: every digest is checked, and the tools' test cases are run"
    command = command_of(commands, "unpack", _unpack, summary, "snakescope unpack llsm.snakepack.tar mystudy")
    command.add_argument("archive", type=Path, help="the archive")
    command.add_argument("folder", type=Path, help="folder to make")
    command.add_argument("--no-test", action="store_true", help="do not run the test cases")
    told = "where the tools run for that (default: in the image or environment that the archive brings for each)"
    add_sdm(command, told)
    add_quiet(command)
    add_json(command)


def _unpack(arguments: argparse.Namespace) -> int:
    from snakescope.bundle.report import unpack_text, unpack_to_dict

    report = api.unpack(
        arguments.archive,
        arguments.folder,
        no_test=arguments.no_test,
        sdm=arguments.sdm,
        quiet=arguments.quiet or arguments.json,
    )
    if arguments.json:
        print_json(unpack_to_dict(report))
    else:
        for result in report.results or ():
            print(case_text(result))
        print(unpack_text(report))
    return report.exit_code
