"""Every command as a Python function, with the command's name and arguments; the command line only prints.

``snakescope run --first 3`` is ``api.run(first=3)``, ``snakescope tool test deskew`` is ``api.tool_test(["deskew"])``.
What they return is data; what is wrong is raised as `snakescope.errors.SnakescopeError`. Each function imports what it
needs when it is called, so that a short command starts quickly.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from snakescope.bundle.pack import PackReport
    from snakescope.bundle.unpack import UnpackReport
    from snakescope.catalog import CollectReport
    from snakescope.cluster.site import Grain
    from snakescope.doctor.report import Report
    from snakescope.publish.publish import PublishReport
    from snakescope.runner.cases import CaseResult
    from snakescope.runner.demo import DemoResult
    from snakescope.runner.folder import Stale
    from snakescope.runner.outcome import RunResult
    from snakescope.runner.report import StudyStatus
    from snakescope.runner.tools import ToolRun
    from snakescope.study.export import ExportReport
    from snakescope.study.verify.check import Verification
    from snakescope.study.verify.rerun import RerunResult
    from snakescope.tool.library import Tool

HERE = Path()


def init(folder: Path, *, pipeline: str = "llsm_tracking") -> list[str]:
    """Make a study folder; see `snakescope.runner.folder.init`."""
    from snakescope.runner import folder as folders

    return folders.init(folder, pipeline)


def collect(
    folder: Path | str,
    *,
    study: Path = HERE,
    pattern: str | None = None,
    yes: bool = False,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    where: Sequence[str] = (),
    since: str | None = None,
    all_avus: bool = False,
    no_headers: bool = False,
    quay: Path | None = None,
    dry_run: bool = False,
) -> CollectReport:
    """Bring the images below a folder, or below ``irods://...``, into the sample sheet.

    See `snakescope.runner.collect.collect`; `where`, `since`, `all_avus` and `no_headers` are for iRODS only.
    """
    from snakescope.runner import collect as collecting

    return collecting.collect(
        folder,
        study=study,
        pattern=pattern,
        yes=yes,
        include=include,
        exclude=exclude,
        dry_run=dry_run,
        options=collecting.ZoneOptions(tuple(where), since, all_avus, not no_headers),
        quay=quay,
    )


def lint(*, study: Path = HERE) -> list[str]:
    """Check everything before anything runs; returns what was found sound, a line each."""
    from snakescope.runner.folder import lint_folder

    return lint_folder(study)


def compile(pipeline: str | None = None, *, study: Path = HERE, check: bool = False) -> list[Stale]:
    """Compile a pipeline; see `snakescope.runner.folder.compile_study`."""
    from snakescope.runner.folder import compile_study, open_study

    return compile_study(open_study(study), pipeline, check=check)


def export(
    *,
    study: Path = HERE,
    ontology: Path | None = None,
    leave_out_sensitive: bool = False,
    bia_crate: bool = False,
    fetch_raw: bool = False,
    dry_run: bool = False,
    quiet: bool = False,
) -> ExportReport:
    """Write the study for the archive; see `snakescope.study.export.export`."""
    from snakescope.runner.folder import open_study, uncompiled
    from snakescope.runner.progress import counting
    from snakescope.study import export as exporting

    opened = open_study(study)
    doubts = uncompiled(opened)
    with counting(quiet=quiet) as progress:
        return exporting.export(
            opened.root,
            opened.config.pipeline,
            opened.config.samples,
            obo=ontology,
            leave_out_sensitive=leave_out_sensitive,
            bia_crate=bia_crate,
            keep_staged=opened.config.keep_staged,
            fetch_raw=fetch_raw,
            dry_run=dry_run,
            doubts=doubts,
            progress=progress,
        )


def verify(
    *, study: Path = HERE, remote: bool = False, rerun: int | None = None, seed: int = 0, quiet: bool = False
) -> tuple[Verification, RerunResult | None]:
    """Check an export against the disk, and rerun some rows; see the modules `check` and `rerun` of the study.

    With `remote`, raw images that lie in iRODS are compared with what the catalogue says of them.
    """
    from snakescope.runner.folder import open_study
    from snakescope.runner.progress import counting
    from snakescope.study.verify import check as verifying
    from snakescope.study.verify import rerun as rerunning

    root = open_study(study).root
    with counting(quiet=quiet) as progress:
        found = verifying.verify(root, remote=remote, progress=progress)
        return found, rerunning.rerun(root, rerun, seed=seed, progress=progress) if rerun else None


def publish(
    target: str | None = None,
    *,
    study: Path = HERE,
    beside: bool = False,
    pack: bool = False,
    dry_run: bool = False,
    quiet: bool = False,
) -> PublishReport:
    """Put the last export into iRODS and annotate it; see `snakescope.publish.publish.publish`."""
    from snakescope.publish import publish as publishing
    from snakescope.runner.folder import open_study
    from snakescope.runner.progress import counting

    opened = open_study(study)
    with counting(quiet=quiet) as progress:
        return publishing.publish(
            opened.root,
            target,
            opened.config.samples,
            beside_sources=beside,
            prefix=opened.config.avu_prefix,
            pack=pack,
            dry_run=dry_run,
            progress=progress,
        )


def run(
    *,
    study: Path = HERE,
    profile: str = "local",
    sdm: Literal["apptainer", "conda", "none"] | None = None,
    cores: int | None = None,
    first: int | None = None,
    only: Sequence[str] = (),
    retry_failed: bool = False,
    grain: Grain | None = None,
    plan: bool = False,
    dry_run: bool = False,
    quiet: bool = False,
    snakemake: Sequence[str] = (),
) -> RunResult:
    """Run the pipeline over the sheet; see `snakescope.runner.run.run`."""
    from snakescope.runner import run as running
    from snakescope.runner.folder import open_study

    return running.run(
        open_study(study),
        profile=profile,
        sdm=sdm,
        cores=cores,
        first=first,
        only=only,
        retry_failed=retry_failed,
        grain=grain,
        plan=plan,
        dry_run=dry_run,
        quiet=quiet,
        extra=snakemake,
    )


def pack(
    pipeline: str | None = None,
    *,
    study: Path = HERE,
    out: Path | None = None,
    dry_run: bool = False,
    no_images: bool = False,
    quiet: bool = False,
) -> PackReport:
    """Pack a pipeline for a site without the internet; see `snakescope.bundle.pack.pack`."""
    from snakescope.bundle import pack as packing
    from snakescope.runner.folder import open_study
    from snakescope.runner.progress import counting

    opened = open_study(study)
    target = out or Path(f"{pipeline or opened.config.pipeline}.snakepack.tar")
    with counting(quiet=quiet) as progress:
        return packing.pack(opened, target, pipeline, images=not no_images, dry_run=dry_run, progress=progress)


def unpack(
    archive: Path,
    folder: Path,
    *,
    no_test: bool = False,
    sdm: Literal["apptainer", "conda", "none"] | None = None,
    quiet: bool = False,
) -> UnpackReport:
    """Unpack what `pack` wrote, check it and try its tools; see `snakescope.bundle.unpack.unpack`."""
    from snakescope.bundle import unpack as unpacking
    from snakescope.runner.progress import counting

    with counting(quiet=quiet) as progress:
        return unpacking.unpack(archive, folder, test=not no_test, sdm=sdm, progress=progress)


def status(*, study: Path = HERE) -> StudyStatus:
    """How a study stands; see `snakescope.runner.report.status`."""
    from snakescope.runner import report
    from snakescope.runner.folder import open_study

    return report.status(open_study(study))


def doctor(
    *,
    study: Path = HERE,
    pipeline: str | None = None,
    profile: str = "local",
    sdm: Literal["apptainer", "conda", "none"] | None = None,
    connect: bool = False,
) -> Report:
    """What this machine can do, and what a pipeline needs of it; see `snakescope.doctor.report.examine`."""
    from snakescope.doctor.needs import Asked
    from snakescope.doctor.report import examine

    return examine(study, Asked(pipeline, profile, sdm), connect=connect)


def demo(folder: Path = Path("demo"), *, cores: int | None = None, quiet: bool = False) -> DemoResult:
    """Make, run and judge the demonstration; see `snakescope.runner.demo.demo`."""
    from snakescope.runner import demo as demonstration

    return demonstration.demo(folder, cores=cores, quiet=quiet)


def tool_list(*, study: Path = HERE) -> Mapping[str, Tool]:
    """All tools by id: the study's own, then the shipped ones."""
    from snakescope import layout
    from snakescope.tool.library import read_library

    return read_library(layout.tool_roots(study))


def tool_show(tool: str, *, study: Path = HERE) -> Tool:
    """One tool; its descriptor is ``.spec``."""
    from snakescope import layout
    from snakescope.tool.library import find_tool

    return find_tool(tool, layout.tool_roots(study))


def tool_test(
    tools: Sequence[str] = (), *, study: Path = HERE, sdm: Literal["apptainer", "conda", "none"] | None = None
) -> Iterator[CaseResult]:
    """Run the test cases of tools (of all by default), one after another as they are asked for.

    `sdm` says where the tools run: see `snakescope.runner.cases.run_case`.
    """
    from snakescope.runner.cases import run_case

    for name in tools or tool_list(study=study):
        tool = tool_show(name, study=study)
        for path in tool.cases:
            with tempfile.TemporaryDirectory(prefix="snakescope-") as folder:
                yield run_case(tool, path, Path(folder), sdm=sdm, study=study)


def tool_new(name: str, *, macro: Path | None = None, study: Path = HERE) -> list[Path]:
    """Start a tool, of an ImageJ macro or else of a Python program; returns the files written."""
    from snakescope.runner.scaffold import new_tool

    return new_tool(name, study, macro=macro)


def tool_pin(tools: Sequence[str], *, study: Path = HERE) -> list[Path]:
    """Write the exact packages of tools' conda environments; see `snakescope.runner.environments.pin_tool`."""
    from snakescope.runner.environments import pin_tool

    return [pin_tool(tool_show(tool, study=study), study) for tool in tools]


def tool_lock(images: Sequence[str], *, study: Path = HERE) -> list[str]:
    """Write images' digests into the lock file; see `snakescope.runner.environments.lock_image`."""
    from snakescope.runner.environments import lock_image

    return [lock_image(image, study) for image in images]


def tool_run(
    tool: str,
    inputs: Mapping[str, Sequence[Path]],
    out: Path,
    *,
    settings: Mapping[str, Any] | None = None,
    voxel_size_um: str | None = None,
    time_step_s: float | None = None,
    scene: int = 0,
    stack_axis: Literal["z", "t"] | None = None,
    threads: int | None = None,
    study: Path = HERE,
) -> ToolRun:
    """Run one tool on one image, record included; see `snakescope.runner.tools.run_tool`."""
    from snakescope.runner.tools import Facts, run_tool

    facts = Facts(voxel_size_um, time_step_s, scene, stack_axis)
    return run_tool(tool_show(tool, study=study), inputs, out, params=settings, facts=facts, threads=threads)
