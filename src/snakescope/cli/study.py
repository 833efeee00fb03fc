"""The commands that make, check and run a study."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from snakescope import api
from snakescope.cli.words import add_json, add_quiet, add_sdm, add_study, command_of, count, print_json, print_report
from snakescope.errors import problem
from snakescope.words import many


def add_commands(commands: Any) -> None:
    """Declare them."""
    for add in (_add_init, _add_collect, _add_lint, _add_compile, _add_run, _add_status, _add_demo):
        add(commands)


def _add_init(commands: Any) -> None:
    summary = "make a study folder with a pipeline, its rules, the workflow and profiles"
    command = command_of(commands, "init", _init, summary, "snakescope init mystudy")
    command.add_argument("folder", type=Path, help="folder to make; what is there already stays untouched")
    command.add_argument("--pipeline", default="llsm_tracking", metavar="NAME", help="pipeline (default: %(default)s)")


def _init(arguments: argparse.Namespace) -> int:
    folders = Counter(Path(path).parent for path in api.init(arguments.folder, pipeline=arguments.pipeline))
    for folder, files in folders.items():
        print(f"wrote {arguments.folder / folder}: {many(files, 'file')}")
    there = "" if arguments.folder.resolve() == Path.cwd() else f"cd {shlex.quote(str(arguments.folder))} && "
    print(f"Next: {there}snakescope collect FOLDER_WITH_IMAGES")
    return 0


PATTERN_HELP = (
    "how file names are built, such as '{series}_ch{c}_stack{t}.tif'; {time_ms} gives the time between stacks, other "
    "names in braces become columns, * is any text"
)


def _add_collect(commands: Any) -> None:
    summary = "build or update the sample sheet from a folder of images or from iRODS, reading headers only"
    command = command_of(commands, "collect", _collect, summary, "snakescope collect /data/stacks --yes")
    command.add_argument("folder", help="folder to walk, or irods:///zone/collection")
    add_study(command)
    command.add_argument("--pattern", help=PATTERN_HELP)
    command.add_argument("--yes", action="store_true", help="believe the naming that was recognised")
    command.add_argument("--include", action="append", default=[], metavar="GLOB", help="only files like this")
    command.add_argument("--exclude", action="append", default=[], metavar="GLOB", help="no files like this")
    where = "iRODS: only images with this AVU: 'name=value' or 'name like text%%'; several must all hold"
    command.add_argument("--where", action="append", default=[], metavar="AVU", help=where)
    command.add_argument("--since", metavar="DATE", help="iRODS: only what was changed at this date or later (UTC)")
    command.add_argument("--all-avus", action="store_true", help="iRODS: AVUs that the mapping does not know, too")
    command.add_argument("--no-headers", action="store_true", help="iRODS: do not read the headers of the images")
    command.add_argument("--quay", type=Path, metavar="FILE", help="omero-quay: workbook or manifest with the assays")
    command.add_argument("--dry-run", action="store_true", help="show what would be written, write nothing")
    add_json(command)


def _collect(arguments: argparse.Namespace) -> int:
    from snakescope.catalog import render_report

    report = api.collect(
        arguments.folder,
        study=arguments.study,
        pattern=arguments.pattern,
        yes=arguments.yes,
        include=arguments.include,
        exclude=arguments.exclude,
        where=arguments.where,
        since=arguments.since,
        all_avus=arguments.all_avus,
        no_headers=arguments.no_headers,
        quay=arguments.quay,
        dry_run=arguments.dry_run,
    )
    if arguments.json:
        print_json(report.to_dict())
    else:
        print(render_report(report))
        if report.sheet.rows:
            print(f"{report.sheet.path} {'would hold' if arguments.dry_run else 'holds'} {len(report.sheet.rows)} rows")
    if not report.sheet.rows:
        raise problem(arguments.folder, "no image that can be read was found; nothing was written")
    return 1 if report.unreadable or (report.zone and report.zone.unusable) else 0


def _add_lint(commands: Any) -> None:
    summary = "check pipeline, tools, sheet and every row, before anything runs"
    command = command_of(commands, "lint", _lint, summary, "snakescope lint")
    add_study(command)


def _lint(arguments: argparse.Namespace) -> int:
    print("\n".join(api.lint(study=arguments.study)))
    return 0


def _add_compile(commands: Any) -> None:
    summary = "compile a pipeline into Snakemake rules"
    command = command_of(commands, "compile", _compile, summary, "snakescope compile --check")
    command.add_argument("pipeline", nargs="?", help="name (default: the one in config/config.yaml)")
    command.add_argument("--check", action="store_true", help="write nothing; exit 2 and show a diff when stale")
    add_study(command)


def _compile(arguments: argparse.Namespace) -> int:
    stale = api.compile(arguments.pipeline, study=arguments.study, check=arguments.check)
    for item in stale:
        print(f"{'stale' if arguments.check else 'wrote' if item.diff else 'removed'} {item.path}")
        if arguments.check and item.diff:
            print(item.diff)
    if not stale:
        print("rules are up to date")
    if arguments.check and stale:
        print("Run: snakescope compile", file=sys.stderr)
        return 2
    return 0


def _add_run(commands: Any) -> None:
    summary = "run the pipeline over the sheet; what is done already is not done again"
    command = command_of(commands, "run", _run, summary, "snakescope run --first 3")
    add_study(command)
    command.add_argument(
        "--profile", default="local", metavar="NAME", help="folder in profiles/ (default: %(default)s)"
    )
    told = (
        "where the tools run: apptainer images, conda environments, or none: this machine (default: as in the profile)"
    )
    add_sdm(command, told)
    command.add_argument("--cores", type=count, metavar="N", help="cores to use (default: what the profile says)")
    command.add_argument("--first", type=count, metavar="N", help="only the first N rows of the sheet")
    command.add_argument("--only", default="", metavar="IDS", help="only these rows or series, separated by commas")
    command.add_argument("--retry-failed", action="store_true", help="only what failed before, and what waits for it")
    command.add_argument("--plan", action="store_true", help="on a cluster: show the jobs there would be, run nothing")
    grains = "on a cluster: a job for each row and step, or jobs over many rows (default: whichever fits)"
    command.add_argument("--grain", choices=["auto", "row", "fanout"], help=grains)
    command.add_argument("--dry-run", action="store_true", help="plan and count, run nothing")
    add_quiet(command)
    command.add_argument("snakemake", nargs="*", metavar="ARG", help="after --: further arguments for Snakemake")
    add_json(command)


def _run(arguments: argparse.Namespace) -> int:
    from snakescope.runner.report import run_summary, run_to_dict

    result = api.run(
        study=arguments.study,
        profile=arguments.profile,
        sdm=arguments.sdm,
        cores=arguments.cores,
        first=arguments.first,
        only=[item for item in arguments.only.split(",") if item],
        retry_failed=arguments.retry_failed,
        grain=arguments.grain,
        plan=arguments.plan,
        dry_run=arguments.dry_run,
        quiet=arguments.quiet or arguments.json,
        snakemake=arguments.snakemake,
    )
    if arguments.json:
        print_json(run_to_dict(result))
    else:
        print(run_summary(result, dry_run=arguments.dry_run))
    return result.exit_code


def _add_status(commands: Any) -> None:
    summary = "say what is done, what failed and why, and what is still to do"
    command = command_of(commands, "status", _status, summary, "snakescope status")
    add_study(command)
    add_json(command)


def _status(arguments: argparse.Namespace) -> int:
    from snakescope.runner.report import status_text, status_to_dict

    found = api.status(study=arguments.study)
    print_report(arguments, found, status_text, status_to_dict)
    return 1 if found.failures else 0


def _add_demo(commands: Any) -> None:
    summary = "make a synthetic lattice light-sheet study with known truth, run it, and compare"
    command = command_of(commands, "demo", _demo, summary, "snakescope demo demo")
    command.add_argument("folder", type=Path, nargs="?", default=Path("demo"), help="folder (default: %(default)s)")
    command.add_argument("--cores", type=count, metavar="N", help="cores to use")
    add_json(command)


def _demo(arguments: argparse.Namespace) -> int:
    from snakescope.runner.demo import demo_text

    result = api.demo(arguments.folder, cores=arguments.cores, quiet=arguments.json)
    if arguments.json:
        print_json(result.to_dict())
    else:
        print(demo_text(result))
    return result.exit_code
