"""The command line: arguments in, functions called, errors turned into exit codes. No logic.

Exit codes: 0 done; 1 some rows failed, the rest are finished; 2 bad input or usage; 3 the environment is not usable.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from snakescope import __version__, api
from snakescope.errors import SnakescopeError, problem

Handler = Callable[[argparse.Namespace], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit code."""
    arguments = build_parser().parse_args(argv)
    handler: Handler = arguments.handler
    try:
        return handler(arguments)
    except SnakescopeError as error:
        print(f"snakescope: {error}" if "\n" not in str(error) else str(error), file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("snakescope: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 0


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(prog="snakescope", description="Batch bioimage analysis on Snakemake.")
    parser.add_argument("--version", action="version", version=f"snakescope {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for add in (_add_init, _add_collect, _add_lint, _add_compile, _add_run, _add_status):
        add(commands)
    for add in (_add_export, _add_verify, _add_publish, _add_tool, _add_demo):
        add(commands)
    return parser


def _command(commands: Any, name: str, handler: Handler, summary: str, example: str) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[:1].upper()}{summary[1:]}.",
        epilog=f"example: {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(handler=handler)
    return command


def _add_study(command: argparse.ArgumentParser) -> None:
    command.add_argument("--study", type=Path, default=Path(), metavar="DIR", help="study folder (default: here)")


def _add_json(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="print JSON for scripts")


def _count(text: str) -> int:
    """Read a whole number above 0, as argparse wants it."""
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 10**6):
        raise argparse.ArgumentTypeError(f"found {text!r}; expected a whole number above 0")
    return int(text)


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


# ---------------------------------------------------------------------------- study


def _add_init(commands: Any) -> None:
    summary = "make a study folder with a pipeline, its rules, the workflow and profiles"
    command = _command(commands, "init", _init, summary, "snakescope init mystudy")
    command.add_argument("folder", type=Path, help="folder to make; what is there already stays untouched")
    command.add_argument("--pipeline", default="llsm_tracking", metavar="NAME", help="pipeline (default: %(default)s)")


def _init(arguments: argparse.Namespace) -> int:
    for path in api.init(arguments.folder, pipeline=arguments.pipeline):
        print(f"wrote {arguments.folder / path}")
    print(f"Next: cd {arguments.folder} && snakescope collect FOLDER_WITH_IMAGES")
    return 0


def _add_collect(commands: Any) -> None:
    summary = "build or update the sample sheet from a folder of images or from iRODS, reading headers only"
    command = _command(commands, "collect", _collect, summary, "snakescope collect /data/stacks --yes")
    command.add_argument("folder", help="folder to walk, or irods:///zone/collection")
    _add_study(command)
    command.add_argument("--pattern", help="how file names are built, such as '{series}_ch{c}_stack{t}.tif'")
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
    _add_json(command)


def _add_lint(commands: Any) -> None:
    summary = "check pipeline, tools, sheet and every row, before anything runs"
    command = _command(commands, "lint", _lint, summary, "snakescope lint")
    _add_study(command)


def _lint(arguments: argparse.Namespace) -> int:
    print("\n".join(api.lint(study=arguments.study)))
    return 0


def _add_compile(commands: Any) -> None:
    summary = "compile a pipeline into Snakemake rules"
    command = _command(commands, "compile", _compile, summary, "snakescope compile --check")
    command.add_argument("pipeline", nargs="?", help="name (default: the one in config/config.yaml)")
    command.add_argument("--check", action="store_true", help="write nothing; exit 2 and show a diff when stale")
    _add_study(command)


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
    command = _command(commands, "run", _run, summary, "snakescope run --first 3")
    _add_study(command)
    command.add_argument(
        "--profile", default="local", metavar="NAME", help="folder in profiles/ (default: %(default)s)"
    )
    told = (
        "where the tools run: apptainer images, conda environments, or none: this machine (default: as in the profile)"
    )
    command.add_argument("--sdm", choices=["apptainer", "conda", "none"], help=told)
    command.add_argument("--cores", type=_count, metavar="N", help="cores to use (default: what the profile says)")
    command.add_argument("--first", type=_count, metavar="N", help="only the first N rows of the sheet")
    command.add_argument("--only", default="", metavar="IDS", help="only these rows or series, separated by commas")
    command.add_argument("--retry-failed", action="store_true", help="only what failed before, and what waits for it")
    command.add_argument("--plan", action="store_true", help="on a cluster: show the jobs there would be, run nothing")
    grains = "on a cluster: a job for each row and step, or jobs over many rows (default: whichever fits)"
    command.add_argument("--grain", choices=["auto", "row", "fanout"], help=grains)
    command.add_argument("--dry-run", action="store_true", help="plan and count, run nothing")
    command.add_argument("--quiet", action="store_true", help="no progress display")
    command.add_argument("snakemake", nargs="*", metavar="ARG", help="after --: further arguments for Snakemake")
    _add_json(command)


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
        _print_json(run_to_dict(result))
    else:
        print(run_summary(result, dry_run=arguments.dry_run))
    return result.exit_code


def _add_status(commands: Any) -> None:
    summary = "say what is done, what failed and why, and what is still to do"
    command = _command(commands, "status", _status, summary, "snakescope status")
    _add_study(command)
    _add_json(command)


def _status(arguments: argparse.Namespace) -> int:
    from snakescope.runner.report import status_text, status_to_dict

    found = api.status(study=arguments.study)
    if arguments.json:
        _print_json(status_to_dict(found))
    else:
        print(status_text(found))
    return 1 if found.failures else 0


def _add_export(commands: Any) -> None:
    summary = "write the study for the archive: REMBI, submission, file lists, run crate, checksums"
    command = _command(commands, "export", _export, summary, "snakescope export")
    _add_study(command)
    command.add_argument("--ontology", type=Path, metavar="FILE.obo", help="check terms against this ontology, too")
    told = "leave out sensitive rows and all that was made from them, instead of refusing"
    command.add_argument("--leave-out-sensitive", action="store_true", help=told)
    command.add_argument("--bia-crate", action="store_true", help="write a BIA RO-Crate, too (its profile is in flux)")
    told = "raw images in iRODS: bring them here first, for the upload (into fetched/; done again, it goes on)"
    command.add_argument("--fetch-raw", action="store_true", help=told)
    command.add_argument("--dry-run", action="store_true", help="check and count, write nothing")
    command.add_argument("--quiet", action="store_true", help="no progress display")
    _add_json(command)


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
    if arguments.json:
        _print_json(export_to_dict(report))
    else:
        print(export_text(report))
    return 0


def _add_verify(commands: Any) -> None:
    summary = "check an export: every file there, unchanged and listed once; rerun some rows and compare"
    command = _command(commands, "verify", _verify, summary, "snakescope verify --rerun 3")
    _add_study(command)
    told = "raw images in iRODS: compare size and checksum with what the catalogue says now"
    command.add_argument("--remote", action="store_true", help=told)
    command.add_argument("--rerun", type=_count, metavar="N", help="run the jobs of N rows again and compare")
    command.add_argument("--seed", type=int, default=0, metavar="S", help="which rows: same seed, same rows")
    command.add_argument("--quiet", action="store_true", help="no progress display")
    _add_json(command)


def _verify(arguments: argparse.Namespace) -> int:
    from snakescope.study.verify.text import rerun_text, rerun_to_dict, verification_text, verification_to_dict

    quiet = arguments.quiet or arguments.json
    options = {"remote": arguments.remote, "rerun": arguments.rerun, "seed": arguments.seed}
    found, rerun = api.verify(study=arguments.study, quiet=quiet, **options)
    if arguments.json:
        _print_json(verification_to_dict(found) | ({"rerun": rerun_to_dict(rerun)} if rerun else {}))
    else:
        print(verification_text(found))
        if rerun:
            print(rerun_text(rerun))
    return 0 if found.sound and (rerun is None or rerun.reproduced) else 1


def _add_publish(commands: Any) -> None:
    summary = "put the last export into iRODS, check it there and annotate it; again, what has changed"
    command = _command(commands, "publish", _publish, summary, "snakescope publish irods:///zone/home/lab --dry-run")
    told = "collection that gets one with the study's name: irods:///zone/path, or irods://user@host:1247/zone/path"
    command.add_argument("target", nargs="?", metavar="ADDRESS", help=told)
    told = "in place of an address: the deepest collection that all sources in iRODS lie in"
    command.add_argument("--beside", action="store_true", help=told)
    command.add_argument("--pack", action="store_true", help="put every OME-Zarr as one zip file")
    command.add_argument("--dry-run", action="store_true", help="show what would be done, change nothing")
    command.add_argument("--quiet", action="store_true", help="no progress display")
    _add_study(command)
    _add_json(command)


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
    if arguments.json:
        _print_json(publish_to_dict(report))
    else:
        print(publish_text(report))
    return 1 if report.failed else 0


def _add_demo(commands: Any) -> None:
    summary = "make a synthetic lattice light-sheet study with known truth, run it, and compare"
    command = _command(commands, "demo", _demo, summary, "snakescope demo demo")
    command.add_argument("folder", type=Path, nargs="?", default=Path("demo"), help="folder (default: %(default)s)")
    command.add_argument("--cores", type=_count, metavar="N", help="cores to use")
    _add_json(command)


def _demo(arguments: argparse.Namespace) -> int:
    from snakescope.runner.demo import demo_text

    result = api.demo(arguments.folder, cores=arguments.cores, quiet=arguments.json)
    if arguments.json:
        _print_json(result.to_dict())
    else:
        print(demo_text(result))
    return result.exit_code


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
        _print_json(report.to_dict())
    else:
        print(render_report(report))
        if report.sheet.rows:
            print(f"{report.sheet.path} {'would hold' if arguments.dry_run else 'holds'} {len(report.sheet.rows)} rows")
    if not report.sheet.rows:
        raise problem(arguments.folder, "no image that can be read was found; nothing was written")
    return 1 if report.unreadable or (report.zone and report.zone.unusable) else 0


# ---------------------------------------------------------------------------- tool


def _add_tool(commands: Any) -> None:
    tool = commands.add_parser("tool", help="list, show, test, make and run tools", description="Wrapped tools.")
    actions = tool.add_subparsers(title="actions", metavar="ACTION", required=True)
    listing = _command(actions, "list", _tool_list, "list the tools there are", "snakescope tool list")
    _add_study(listing)
    _add_json(listing)
    show = _command(actions, "show", _tool_show, "show what a tool takes and gives", "snakescope tool show deskew")
    show.add_argument("tool")
    _add_study(show)
    _add_json(show)
    test = _command(actions, "test", _tool_test, "run the test cases of tools", "snakescope tool test deskew")
    test.add_argument("tools", nargs="*", metavar="TOOL", help="default: all")
    _add_study(test)
    _add_json(test)
    new = _command(actions, "new", _tool_new, "start a tool that already passes its test", "snakescope tool new blur")
    new.add_argument("name")
    told = "an ImageJ macro to make it of; what it takes and gives is read from its #@ lines or its getArgument()"
    new.add_argument("--macro", type=Path, metavar="FILE.ijm", help=told)
    _add_study(new)
    _add_tool_environments(actions)
    _add_tool_run(actions)


def _add_tool_environments(actions: Any) -> None:
    summary = "find the exact packages of a tool's conda environment and write them beside its file"
    pin = _command(actions, "pin", _tool_pin, summary, "snakescope tool pin deskew")
    pin.add_argument("tools", nargs="+", metavar="TOOL")
    _add_study(pin)
    summary = "write the digest of an image into envs/images.lock.yaml"
    lock = _command(actions, "lock", _tool_lock, summary, "snakescope tool lock envs/deskew.sif")
    lock.add_argument("images", nargs="+", metavar="IMAGE", help="as tools or config/images.yaml name it")
    _add_study(lock)


def _add_tool_run(actions: Any) -> None:
    example = "snakescope tool run deconvolve --in image=a.tif --in psf=psf.tif --set iterations=10 --out out/"
    command = _command(actions, "run", _tool_run, "run one tool on one image, record included", example)
    command.add_argument("tool")
    command.add_argument("--in", dest="inputs", action="append", default=[], metavar="PORT=PATH", help="an input")
    command.add_argument(
        "--set", dest="settings", action="append", default=[], metavar="NAME=VALUE", help="a parameter"
    )
    command.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for outputs, record and log")
    command.add_argument("--voxel-size-um", metavar="Z,Y,X", help="voxel size in µm, where the file does not say it")
    command.add_argument("--time-step-s", type=float, metavar="S", help="seconds between frames, likewise")
    command.add_argument("--scene", type=int, default=0, metavar="N", help="which image of the file, from 0")
    told = "what the planes of a plain TIFF are (default: t with --time-step-s where the tool can do without z, else z)"
    command.add_argument("--stack-axis", choices=["z", "t"], help=told)
    command.add_argument("--threads", type=_count, metavar="N", help="threads (default: what the tool says)")
    _add_study(command)
    _add_json(command)


def _tool_list(arguments: argparse.Namespace) -> int:
    tools = api.tool_list(study=arguments.study)
    if arguments.json:
        _print_json([{"id": t.spec.id, "name": t.spec.name, "description": t.spec.description} for t in tools.values()])
        return 0
    for tool in tools.values():
        print(f"{tool.spec.id:<14} {tool.spec.version:<8} {tool.spec.description}")
    return 0


def _tool_show(arguments: argparse.Namespace) -> int:
    from snakescope.runner.report import tool_text

    tool = api.tool_show(arguments.tool, study=arguments.study)
    if arguments.json:
        _print_json(tool.spec.model_dump(mode="json", by_alias=True))
    else:
        print(tool_text(tool))
    return 0


def _tool_test(arguments: argparse.Namespace) -> int:
    results = []
    for result in api.tool_test(arguments.tools, study=arguments.study):
        results.append(result)
        if not arguments.json:
            status = "FAILED" if result.status == "failed" else result.status
            print(f"{status:<6}  {result.tool}/{result.case}: {result.description}")
            for text in [*result.problems, *result.missing]:
                print(f"        {text}")
    if arguments.json:
        _print_json([vars(result) | {"passed": result.passed, "status": result.status} for result in results])
    else:
        print(_counted([result.status for result in results]))
    return 0 if all(result.passed for result in results) else 3 if not any(r.problems for r in results) else 1


def _counted(statuses: Sequence[str]) -> str:
    """How many cases passed and failed; those that could not be run are no part of either."""
    told = f"{statuses.count('passed')} passed, {statuses.count('failed')} failed"
    missing = statuses.count("program missing")
    return told + (f", {missing} not run: their program is missing" if missing else "")


def _tool_pin(arguments: argparse.Namespace) -> int:
    for path in api.tool_pin(arguments.tools, study=arguments.study):
        print(f"wrote {path}")
    return 0


def _tool_lock(arguments: argparse.Namespace) -> int:
    for told in api.tool_lock(arguments.images, study=arguments.study):
        print(f"locked {told}")
    return 0


def _tool_new(arguments: argparse.Namespace) -> int:
    for path in api.tool_new(arguments.name, macro=arguments.macro, study=arguments.study):
        print(f"wrote {path}")
    print(f"Next: edit them, then run: snakescope tool test {arguments.name}")
    return 0


def _tool_run(arguments: argparse.Namespace) -> int:
    from snakescope.runner.tools import parse_inputs, parse_settings

    done = api.tool_run(
        arguments.tool,
        parse_inputs(arguments.inputs),
        arguments.out,
        settings=parse_settings(api.tool_show(arguments.tool, study=arguments.study), arguments.settings),
        voxel_size_um=arguments.voxel_size_um,
        time_step_s=arguments.time_step_s,
        scene=arguments.scene,
        stack_axis=arguments.stack_axis,
        threads=arguments.threads,
        study=arguments.study,
    )
    if arguments.json:
        outputs = {port: str(path) for port, path in done.outputs.items()}
        _print_json({"outputs": outputs, "record": str(done.record), "log": str(done.log)})
    else:
        print("\n".join(f"{port:<12} {path}" for port, path in done.outputs.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
