"""The commands about wrapped tools."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from snakescope import api
from snakescope.cli.words import add_json, add_sdm, add_study, case_text, command_of, count, print_json

_ABOUT = """Tools are programs that pipelines call by what tools/NAME/tool.yaml says of them. `new` starts one that
works, `test` runs its cases, `show` says how it reads, `run` tries it on an image, and `snakescope lint` tells every
mistake."""


def add_commands(commands: Any) -> None:
    """Declare them."""
    _add_tool(commands)


def _add_tool(commands: Any) -> None:
    tool = commands.add_parser("tool", help="list, show, test, make and run tools", description=_ABOUT)
    actions = tool.add_subparsers(title="actions", metavar="ACTION", required=True)
    listing = command_of(actions, "list", _tool_list, "list the tools there are", "snakescope tool list")
    add_study(listing)
    add_json(listing)
    show = command_of(actions, "show", _tool_show, "show what a tool takes and gives", "snakescope tool show deskew")
    show.add_argument("tool")
    add_study(show)
    add_json(show)
    test = command_of(actions, "test", _tool_test, "run the test cases of tools", "snakescope tool test deskew")
    test.add_argument("tools", nargs="*", metavar="TOOL", help="default: all")
    told = "where the tools run: in their apptainer images, in their conda environments, or none: this machine"
    add_sdm(test, f"{told} (default)")
    add_study(test)
    add_json(test)
    new = command_of(actions, "new", _tool_new, "start a tool that already passes its test", "snakescope tool new blur")
    new.add_argument("name")
    told = "an ImageJ macro to make it of; what it takes and gives is read from its #@ lines or its getArgument()"
    new.add_argument("--macro", type=Path, metavar="FILE.ijm", help=told)
    add_study(new)
    _add_tool_environments(actions)
    _add_tool_run(actions)


def _add_tool_environments(actions: Any) -> None:
    summary = "find the exact packages of a tool's conda environment and write them beside its file"
    pin = command_of(actions, "pin", _tool_pin, summary, "snakescope tool pin deskew")
    pin.add_argument("tools", nargs="+", metavar="TOOL")
    add_study(pin)
    summary = "write the digest of an image into envs/images.lock.yaml"
    lock = command_of(actions, "lock", _tool_lock, summary, "snakescope tool lock envs/deskew.sif")
    lock.add_argument("images", nargs="+", metavar="IMAGE", help="as tools or config/images.yaml name it")
    add_study(lock)


def _add_tool_run(actions: Any) -> None:
    example = "snakescope tool run deconvolve --in image=a.tif --in psf=psf.tif --set iterations=10 --out out/"
    command = command_of(actions, "run", _tool_run, "run one tool on one image, record included", example)
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
    command.add_argument("--threads", type=count, metavar="N", help="threads (default: what the tool says)")
    add_study(command)
    add_json(command)


def _tool_list(arguments: argparse.Namespace) -> int:
    tools = api.tool_list(study=arguments.study)
    if arguments.json:
        print_json([{"id": t.spec.id, "name": t.spec.name, "description": t.spec.description} for t in tools.values()])
        return 0
    for tool in tools.values():
        print(f"{tool.spec.id:<14} {tool.spec.version:<8} {tool.spec.description}")
    return 0


def _tool_show(arguments: argparse.Namespace) -> int:
    from snakescope.runner.report import tool_text

    tool = api.tool_show(arguments.tool, study=arguments.study)
    if arguments.json:
        print_json(tool.spec.model_dump(mode="json", by_alias=True))
    else:
        print(tool_text(tool))
    return 0


def _tool_test(arguments: argparse.Namespace) -> int:
    from snakescope.runner.cases import cases_text

    results = []
    for result in api.tool_test(arguments.tools, study=arguments.study, sdm=arguments.sdm):
        results.append(result)
        if not arguments.json:
            print(case_text(result))
    if arguments.json:
        print_json([result.to_dict() for result in results])
    else:
        wanting = {"apptainer": "image", "conda": "environment"}.get(arguments.sdm or "", "program")
        print(cases_text(results, f"their {wanting} is"))
    return 0 if all(result.passed for result in results) else 3 if not any(r.problems for r in results) else 1


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
    print(f"Next: edit them, then run: snakescope lint && snakescope tool test {arguments.name}")
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
        print_json({"outputs": outputs, "record": str(done.record), "log": str(done.log)})
    else:
        print("\n".join(f"{port:<12} {path}" for port, path in done.outputs.items()))
    return 0
