"""``snakescope export``: all that is handed on, written from the records into ``study/``, whole or not at all."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from snakescope import layout
from snakescope.cluster.pending import find_pending
from snakescope.errors import InputError, Problem, problem
from snakescope.record import digest
from snakescope.samples import Sheet
from snakescope.study import ontologies, remote
from snakescope.study.build import build_study
from snakescope.study.checksums import Checksums
from snakescope.study.crate.view import RunCrate
from snakescope.study.gather import gather, image_facts, read_spec
from snakescope.study.inventory import Inventory, Job, Progress, StudyFile
from snakescope.study.model import RUN, Study
from snakescope.study.pagetab.lists import FileLists
from snakescope.study.pagetab.v5 import check_submission
from snakescope.study.pagetab.view import PageTab
from snakescope.study.rembi import Rembi
from snakescope.study.replace import building_site, put_in_place, recover
from snakescope.study.sources import Gathered
from snakescope.study.spec import StudySpec, unknown_steps
from snakescope.study.survey import survey
from snakescope.study.tree import CRATE, Tree, copy_workflow, run_file
from snakescope.words import many
from snakescope.workflow import Plan

FOLDER = "study"
METADATA = "ro-crate-metadata.json"
ORIGINS = "origins.tsv"
SHOWN = 50


class View(Protocol):
    """Something that is written from the files and jobs of a study, which are shown to it one by one."""

    def run_file(self, file: StudyFile) -> None:
        """Take a file of the run's own record."""

    def raw(self, file: StudyFile) -> None:
        """Take a raw image."""

    def job(self, job: Job) -> None:
        """Take a job that is done or has failed."""

    def finish(self) -> None:
        """Write what comes last."""


@dataclass(frozen=True)
class ExportReport:
    """What came of an export.

    Parameters
    ----------
    folder
        Where it stands; None after a dry run.
    datasets
        Name and number of files of each study component and annotation.
    done, failed, pending
        Jobs.
    sensitive_rows, left_out
        Sensitive rows left out, and jobs left out because they read one.
    unhashed
        Raw images without a digest: no job has read them, and the sheet gives none.
    by_reference, by_reference_unhashed
        Raw images that lie in iRODS and of which no copy is here, and how many of them nobody knows a digest of.
    stray
        Records of rows or steps that are no longer part of the study.
    automatic, fields
        Fields that nobody had to type into ``config/study.yaml``, of all fields.
    overruled
        Where one source says something else than the one that was believed.
    warnings
        What is doubtful but does not stand in the way.
    """

    folder: Path | None
    title: str
    datasets: tuple[tuple[str, int], ...]
    done: int
    failed: int
    pending: int
    sensitive_rows: int
    left_out: int
    unhashed: int
    by_reference: int
    by_reference_unhashed: int
    stray: int
    automatic: int
    fields: int
    seconds: float
    overruled: tuple[str, ...] = ()
    warnings: tuple[Problem, ...] = field(default=())


def export(
    root: Path,
    pipeline: str,
    sheet_path: str = layout.SHEET,
    *,
    obo: Path | None = None,
    leave_out_sensitive: bool = False,
    bia_crate: bool = False,
    keep_staged: bool = True,
    fetch_raw: bool = False,
    dry_run: bool = False,
    doubts: Sequence[Problem] = (),
    progress: Progress | None = None,
) -> ExportReport:
    """Write the study: REMBI, the archive submission, the run crate, checksums.

    Parameters
    ----------
    root
        Study folder.
    pipeline, sheet_path
        Name of the pipeline, and path of the sheet relative to the study folder.
    obo
        An ontology to check terms against.
    leave_out_sensitive
        Leave out sensitive rows and all that was made from them, instead of refusing to export.
    bia_crate
        Write ``bia-crate/`` too.
    keep_staged
        Rows that lie in iRODS: whether copies of them in ``staged/`` stay there, so that they can be handed on.
    fetch_raw
        Bring raw images that lie in iRODS, and of which no copy is here, into ``fetched/`` first.
    dry_run
        Check and count, write and fetch nothing.
    doubts
        More that is doubtful, for the report.
    progress
        Told the name of the pass, what is done and how much there is.

    Raises
    ------
    InputError
        With everything that is missing or wrong; nothing has been changed then.
    """
    started = time.monotonic()
    final = root / FOLDER
    recover(final)
    asked = (root, pipeline, sheet_path, obo, leave_out_sensitive, keep_staged, progress)
    gathered, inventory = prepare(*asked)
    _refuse_foreign(final)
    if fetch_raw and inventory.by_reference and not dry_run:
        remote.fetch(root, [raw.row for raw in inventory.raw.values() if raw.here == raw.address], progress)
        gathered, inventory = prepare(*asked)
    study = build_study(_folder_name(root), gathered, inventory)
    if not dry_run:
        site = building_site(final)
        try:
            _write_views(site, final, study, inventory, progress, bia_crate=bia_crate)
            put_in_place(site, final)
        finally:
            shutil.rmtree(site, ignore_errors=True)
    automatic = sum(origin.source != "study.yaml" for origin in study.origins)
    return ExportReport(
        folder=None if dry_run else final,
        title=study.title,
        datasets=tuple((dataset.name, dataset.files) for dataset in study.datasets if dataset.key != RUN),
        done=inventory.jobs_done,
        failed=inventory.jobs_failed,
        pending=inventory.jobs_pending,
        sensitive_rows=inventory.sensitive_rows,
        left_out=inventory.left_out,
        unhashed=inventory.unhashed,
        by_reference=inventory.by_reference,
        by_reference_unhashed=inventory.by_reference_unhashed,
        stray=inventory.stray,
        automatic=automatic,
        fields=len(study.origins),
        seconds=time.monotonic() - started,
        overruled=tuple(gathered.overruled),
        warnings=(*doubts, *gathered.warnings),
    )


def prepare(
    root: Path,
    pipeline: str,
    sheet_path: str = layout.SHEET,
    obo: Path | None = None,
    leave_out_sensitive: bool = False,
    keep_staged: bool = True,
    progress: Progress | None = None,
) -> tuple[Gathered, Inventory]:
    """Gather the study and look through its records.

    Raises
    ------
    InputError
        With everything that is missing or wrong.
    """
    problems: list[Problem] = []
    typed = _collect(problems, lambda: read_spec(root))
    spec = typed or StudySpec.model_validate({"schema": 1})
    plan = Plan.read(pipeline, sheet_path, root)
    sheet = plan.sheet
    open_rows = [row for row in sheet.rows if not row.sensitive]
    sensitive = len(sheet.rows) - len(open_rows)
    if sensitive and not leave_out_sensitive:
        fix = "Nothing of them may leave. Export the others with: snakescope export --leave-out-sensitive"
        problems.append(Problem(f"{sheet.where()}: sensitive", f"{sensitive} rows are marked sensitive", fix))
    hidden = frozenset(row.id for row in sheet.rows if row.sensitive)
    shared = Plan(plan.compiled, Sheet(sheet.columns, open_rows, sheet.path))
    known = ontologies.load(obo)
    facts = _step_facts(root, shared)
    gathered = gather(
        spec,
        shared.sheet,
        known,
        image_facts(root, keep_staged=keep_staged),
        title_of_pipeline=shared.compiled["title"],
        method_titles=[fact["rembi"]["title"] for fact in facts.values() if "rembi" in fact],
        operations={step: fact["tool"]["edam_operations"] for step, fact in facts.items()},
    )
    if typed:  # what a file that cannot be read leaves open is not missing
        problems += [*gathered.problems, *_missing(gathered)]
    gathered.warnings += _outdated(root, plan)
    problems += unknown_steps(spec, plan.steps)
    inventory = survey(
        root,
        shared,
        gathered.association_of,
        hidden=hidden,
        leave_out=spec.leave_out,
        voxels_of_1_um=spec.voxels_of_1_um,
        keep_staged=keep_staged,
        progress=progress,
    )
    problems += inventory.problems
    if not problems and not inventory.jobs_done + inventory.jobs_failed:
        problems.append(
            Problem(str(root), "no job has run yet, so that there is nothing to tell", "Run: snakescope run")
        )
    if problems:
        raise InputError(_capped(problems, root))
    return gathered, inventory


def _outdated(root: Path, plan: Plan) -> Iterator[Problem]:
    """Jobs that ran with another sheet, pipeline or tool than there is now, which is what the crate gets."""
    found = find_pending(plan, root)
    stale = [
        f"{step} {unit}" for step, units in found.pairs.items() for unit, state in units.items() if state == "stale"
    ]
    if stale:
        message = (
            f"{many(len(stale), 'job')} ran with other parameters, images, facts of them or tools than there are now"
        )
        fix = "Run: snakescope run, and export again. Else the sheet and the pipeline tell of other results than these."
        yield Problem(f"records, such as {stale[0]}", message, fix)


def _missing(gathered: Gathered) -> list[Problem]:
    return [
        Problem(f"{layout.STUDY_YAML}: {item.field}", f"is missing; {item.known_by} should know", item.how)
        for item in gathered.missing
    ]


def _collect(problems: list[Problem], read: Callable[[], StudySpec]) -> StudySpec | None:
    try:
        return read()
    except InputError as error:
        problems += error.problems
        return None


def _capped(problems: Sequence[Problem], root: Path) -> Iterator[Problem]:
    yield from problems[:SHOWN]
    if len(problems) > SHOWN:
        yield Problem(str(root), f"and {len(problems) - SHOWN} more problems")


def _step_facts(root: Path, plan: Plan) -> dict[str, dict[str, Any]]:
    """The constant part of the records of each step, as it is compiled now."""
    paths = {step: root / layout.step_facts_file(plan.compiled["pipeline"], step) for step in plan.steps}
    return {step: json.loads(path.read_text(encoding="utf-8")) for step, path in paths.items() if path.is_file()}


def _folder_name(root: Path) -> str:
    """Name of the study folder, with what a folder of the archive may not hold as ``-``."""
    name = root.resolve().name
    return re.sub(r"[^A-Za-z0-9._-]", "-", name).strip("-.") or "study"


def _refuse_foreign(final: Path) -> None:
    """Refuse to replace a folder that holds anything an export did not write."""
    own = {"rembi.yaml", "submission.json", "submission.tsv", ORIGINS, "checksums.sha256", CRATE, "bia-crate"}
    if not final.exists():
        return
    if not final.is_dir():
        raise problem(final, "stands where the export belongs and is no folder", "Move it away.")
    foreign = [p.name for p in sorted(final.iterdir()) if p.name not in own and not p.name.startswith("file_list_")]
    if foreign:
        names = ", ".join(map(repr, foreign[:5])) + (", ..." if len(foreign) > 5 else "")
        raise problem(final, f"holds what an export did not write ({names}) and would be replaced", "Move it away.")


def _write_views(
    site: Path, final: Path, study: Study, inventory: Inventory, progress: Progress | None, *, bia_crate: bool
) -> None:
    """Show every file and job once to all views; the crate is finished before what lists it."""
    tree = Tree(site, inventory.root, final)
    lists, checksums = FileLists(site, study, inventory), Checksums(site, inventory)
    crate = RunCrate(site, study, inventory)
    views: list[View] = [tree, lists, checksums, crate, PageTab(site, study, inventory), Rembi(site, study, inventory)]
    if bia_crate:
        from snakescope.study.bia.view import BiaCrate

        views.append(BiaCrate(site, study, inventory))
    _write_origins(site / ORIGINS, study, inventory)
    for file in [*copy_workflow(site, study, inventory), *inventory.shared_files()]:
        for view in views:
            view.run_file(file)
    for file in inventory.raw_files():
        for view in views:
            view.raw(file)
    total = inventory.jobs_done + inventory.jobs_failed
    for index, job in enumerate(inventory.jobs()):
        for view in views:
            view.job(job)
        if progress:
            progress("writing the study", index + 1, total)
    crate.finish()
    metadata = run_file(site / CRATE, METADATA)
    lists.run_file(metadata)
    checksums.run_file(metadata)
    for view in views:
        if view is not crate and view is not checksums:
            view.finish()
    checksums.finish()
    found = check_submission(site)
    if found:
        raise InputError(_capped(found, final))


def _write_origins(path: Path, study: Study, inventory: Inventory) -> None:
    """Where each field comes from, and digests of the files that were asked, by which a later change is seen."""
    root, sheet = inventory.root, inventory.sheet.path
    lines = ["field\tsource\tdetail", *(f"{o.field}\t{o.source}\t{o.detail}" for o in study.origins)]
    asked = [root / layout.STUDY_YAML, root / layout.pipeline_file(inventory.plan.compiled["pipeline"])]
    for file in (*asked, *([sheet] if sheet and sheet.is_relative_to(root) else [])):
        if file.is_file():
            lines.append(f"{file.relative_to(root).as_posix()}\tfile\tsha256:{digest(file)}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def completeness(
    root: Path,
    sheet: Sheet,
    title_of_pipeline: str,
    method_titles: Sequence[str],
    operations: Mapping[str, Sequence[str]],
) -> Gathered:
    """What is known of a study before anything has run; its problems and missing fields are in the result.

    Raises
    ------
    InputError
        If ``config/study.yaml`` is wrong.
    """
    rows = [row for row in sheet.rows if not row.sensitive]
    return gather(
        read_spec(root),
        Sheet(sheet.columns, rows, sheet.path),
        ontologies.load(),
        image_facts(root),
        title_of_pipeline=title_of_pipeline,
        method_titles=method_titles,
        operations=operations,
    )
