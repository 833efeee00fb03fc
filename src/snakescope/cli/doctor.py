"""The command that looks at this machine."""

from __future__ import annotations

import argparse
from typing import Any

from snakescope import api
from snakescope.cli.words import add_json, add_sdm, add_study, command_of, print_json


def add_commands(commands: Any) -> None:
    """Declare it."""
    summary = "tell what this machine can do, what the pipeline needs, what is missing and how to get it"
    command = command_of(commands, "doctor", _doctor, summary, "snakescope doctor --profile slurm --sdm apptainer")
    add_study(command)
    command.add_argument("--pipeline", metavar="NAME", help="pipeline (default: the study's; outside a study, none)")
    command.add_argument("--profile", default="local", metavar="NAME", help="as for run (default: %(default)s)")
    told = "where the tools are to run, as for run (default: what the profile says)"
    add_sdm(command, told)
    command.add_argument("--connect", action="store_true", help="log in to iRODS, too; else nothing is asked of it")
    add_json(command)


def _doctor(arguments: argparse.Namespace) -> int:
    from snakescope.doctor.report import report_text

    report = api.doctor(
        study=arguments.study,
        pipeline=arguments.pipeline,
        profile=arguments.profile,
        sdm=arguments.sdm,
        connect=arguments.connect,
    )
    if arguments.json:
        print_json(report.json())
    else:
        print(report_text(report))
    return report.exit_code
