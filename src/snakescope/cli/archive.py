"""The commands that hand a study to an archive and to iRODS."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from snakescope import api
from snakescope.cli.words import add_json, add_quiet, add_study, command_of, count, print_json, print_report


def add_commands(commands: Any) -> None:
    """Declare them."""
    for add in (_add_export, _add_verify, _add_publish):
        add(commands)


def _add_export(commands: Any) -> None:
    summary = "write the study for the archive: REMBI, submission, file lists, run crate, checksums"
    command = command_of(commands, "export", _export, summary, "snakescope export")
    add_study(command)
    command.add_argument("--ontology", type=Path, metavar="FILE.obo", help="check terms against this ontology, too")
    told = "leave out sensitive rows and all that was made from them, instead of refusing"
    command.add_argument("--leave-out-sensitive", action="store_true", help=told)
    command.add_argument("--bia-crate", action="store_true", help="write a BIA RO-Crate, too (its profile is in flux)")
    told = "raw images in iRODS: bring them here first, for the upload (into fetched/; done again, it goes on)"
    command.add_argument("--fetch-raw", action="store_true", help=told)
    command.add_argument("--dry-run", action="store_true", help="check and count, write nothing")
    add_quiet(command)
    add_json(command)


def _export(arguments: argparse.Namespace) -> int:
    from snakescope.study.report import export_text, export_to_dict

    report = api.export(
        study=arguments.study,
        ontology=arguments.ontology,
        leave_out_sensitive=arguments.leave_out_sensitive,
        bia_crate=arguments.bia_crate,
        fetch_raw=arguments.fetch_raw,
        dry_run=arguments.dry_run,
        quiet=arguments.quiet or arguments.json,
    )
    print_report(arguments, report, export_text, export_to_dict)
    return 0


def _add_verify(commands: Any) -> None:
    summary = "check an export: every file there, unchanged and listed once; rerun some rows and compare"
    command = command_of(commands, "verify", _verify, summary, "snakescope verify --rerun 3")
    add_study(command)
    told = "raw images in iRODS: compare size and checksum with what the catalogue says now"
    command.add_argument("--remote", action="store_true", help=told)
    command.add_argument("--rerun", type=count, metavar="N", help="run the jobs of N rows again and compare")
    command.add_argument("--seed", type=int, default=0, metavar="S", help="which rows: same seed, same rows")
    add_quiet(command)
    add_json(command)


def _verify(arguments: argparse.Namespace) -> int:
    from snakescope.study.verify.text import rerun_text, rerun_to_dict, verification_text, verification_to_dict

    quiet = arguments.quiet or arguments.json
    options = {"remote": arguments.remote, "rerun": arguments.rerun, "seed": arguments.seed}
    found, rerun = api.verify(study=arguments.study, quiet=quiet, **options)
    if arguments.json:
        print_json(verification_to_dict(found) | ({"rerun": rerun_to_dict(rerun)} if rerun else {}))
    else:
        print(verification_text(found))
        if rerun:
            print(rerun_text(rerun))
    return 0 if found.sound and (rerun is None or rerun.reproduced) else 1


def _add_publish(commands: Any) -> None:
    summary = "put the last export into iRODS, check it there and annotate it; again, what has changed"
    command = command_of(commands, "publish", _publish, summary, "snakescope publish irods:///zone/home/lab --dry-run")
    told = "collection that gets one with the study's name: irods:///zone/path, or irods://user@host:1247/zone/path"
    command.add_argument("target", nargs="?", metavar="ADDRESS", help=told)
    told = "in place of an address: the deepest collection that all sources in iRODS lie in"
    command.add_argument("--beside", action="store_true", help=told)
    command.add_argument("--pack", action="store_true", help="put every OME-Zarr as one zip file")
    command.add_argument("--dry-run", action="store_true", help="show what would be done, change nothing")
    add_quiet(command)
    add_study(command)
    add_json(command)


def _publish(arguments: argparse.Namespace) -> int:
    from snakescope.publish.report import publish_text, publish_to_dict

    report = api.publish(
        arguments.target,
        study=arguments.study,
        beside=arguments.beside,
        pack=arguments.pack,
        dry_run=arguments.dry_run,
        quiet=arguments.quiet or arguments.json,
    )
    print_report(arguments, report, publish_text, publish_to_dict)
    return 1 if report.failed else 0
