"""The folder that is uploaded: links to the data, copies of the workflow, each file under its one name."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from snakescope import layout
from snakescope.environments.images import LOCK, environment_files
from snakescope.record import digest
from snakescope.samples import Row, build_sheet, sheet_text
from snakescope.study.inventory import Inventory, Job, StudyFile
from snakescope.study.model import ADDRESS, RUN, Study
from snakescope.words import many
from snakescope.workflow import Plan

CRATE = "run-crate"
README = "README.md"
FORMATS = {
    ".md": "md",
    ".yaml": "yaml",
    ".smk": "smk",
    ".json": "json",
    ".sh": "sh",
    ".tsv": "tsv",
    ".py": "py",
    ".txt": "txt",
}


class Tree:
    """A view: puts every file of the study below ``run-crate/``.

    Parameters
    ----------
    folder
        The export that is being built; it will stand at `final`, which the links are made for.
    root
        Study folder.
    """

    def __init__(self, folder: Path, root: Path, final: Path) -> None:
        self.crate, self.root = folder / CRATE, root
        self.final = final / CRATE
        self._made: set[str] = set()
        self._up = os.path.relpath(root, self.final)
        self.crate.mkdir(parents=True)

    def run_file(self, file: StudyFile) -> None:
        """Copies are there already (`copy_workflow`); what many jobs share is linked."""
        if not (self.crate / file.path).exists():
            self._link(file)

    def raw(self, file: StudyFile) -> None:
        """Link a raw image, unless it is told of only."""
        if not file.by_reference:
            self._link(file)

    def job(self, job: Job) -> None:
        """Link what a job made."""
        for file in job.outputs if job.submitted else ():
            self._link(file)

    def finish(self) -> None:
        """Nothing is left to do."""

    def _link(self, file: StudyFile) -> None:
        folder = file.path.rpartition("/")[0]
        if folder not in self._made:
            (self.crate / folder).mkdir(parents=True, exist_ok=True)
            self._made.add(folder)
        os.symlink(self._target(file), f"{self.crate}/{file.path}")  # noqa: PTH211 - a hundred thousand of them

    def _target(self, file: StudyFile) -> str:
        """Where a link leads, as seen from where it will stand."""
        if file.here.startswith("/"):
            return file.here
        here = os.path.normpath(file.here)
        if here.startswith(".."):  # the way back may be shorter than through the study
            return os.path.relpath(self.root / here, (self.final / file.path).parent)
        return "../" * file.path.count("/") + f"{self._up}/{here}"


def copy_workflow(folder: Path, study: Study, inventory: Inventory) -> Iterator[StudyFile]:
    """Copy what ran into the crate: workflow, rules, pipeline, tools, environments; the sheet by the names used here.

    Yields
    ------
    The files copied, of the dataset `RUN`, in the order of their names.
    """
    crate = folder / CRATE
    (crate / README).write_text(_readme(study, inventory), encoding="utf-8")
    yield run_file(crate, README)
    for name, source in sorted(workflow_files(inventory.root, inventory.plan).items()):
        target = crate / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        yield run_file(crate, name)
    sheet = crate / layout.SHEET
    sheet.parent.mkdir(parents=True, exist_ok=True)
    rows = [_renamed(row, inventory) for row in inventory.sheet.rows]
    columns = dict.fromkeys([*inventory.sheet.columns, *([ADDRESS] if inventory.any_address else [])])
    sheet.write_text(sheet_text(build_sheet(list(columns), rows)), encoding="utf-8")
    yield run_file(crate, layout.SHEET)


def _readme(study: Study, inventory: Inventory) -> str:
    datasets = "\n".join(
        f"- {dataset.name}: {many(dataset.files, 'file')}" for dataset in study.datasets if dataset.files
    )
    return f"""# {study.title}

{study.description}

{datasets}

Images as acquired are in `raw/`, what was made from them in `results/<sample>/<step>/`. How it was made stands in
`ro-crate-metadata.json` (Provenance Run Crate), for people in `rules/{inventory.plan.compiled["pipeline"]}/` and
`config/`: the Snakemake workflow that ran, with the sample sheet by the names that the images have here.

{_elsewhere(inventory)}Licence: {study.licence.name}
"""


def _elsewhere(inventory: Inventory) -> str:
    if not inventory.by_reference:
        return ""
    some = f"{inventory.by_reference} of the" if inventory.by_reference < len(inventory.raw) else "The"
    return f"""{some} images as acquired lie in iRODS and not here. Where each is to be fetched from stands in the
column `{ADDRESS}` of `config/samples.tsv`.

"""


def workflow_files(root: Path, plan: Plan) -> dict[str, Path]:
    """What ran, by its path in the crate: workflow, rules, pipeline, its tools and what says how to set them up.

    Tests of tools stay here, and so do images of containers: they are large, and the records tell which they were.
    """
    pipeline = plan.compiled["pipeline"]
    wanted = [layout.CONFIG, layout.pipeline_file(pipeline), LOCK]
    for part in ("workflow", f"{layout.RULES}/{pipeline}"):
        wanted += [path.relative_to(root).as_posix() for path in _plain_files(root / part)]
    found = {name: root / name for name in wanted if (root / name).is_file()}
    for step in plan.steps.values():
        told = step.get("environment", {})
        found |= environment_files(root, told.get("conda"), told.get("apptainer_def"))
        folders = (tool_root / step["tool"] for tool_root in layout.tool_roots(root))
        folder = next((folder for folder in folders if (folder / "tool.yaml").is_file()), None)
        for path in _plain_files(folder) if folder else ():
            name = path.relative_to(folder or path)
            if name.parts[0] != "cases":
                found[f"tools/{step['tool']}/{name.as_posix()}"] = path
    return found


def _plain_files(folder: Path) -> list[Path]:
    """All files below a folder but hidden ones and what Python has compiled."""
    found = ((path, path.relative_to(folder).parts) for path in folder.rglob("*") if path.is_file())
    return sorted(path for path, parts in found if not any(p == "__pycache__" or p.startswith(".") for p in parts))


def _renamed(row: Row, inventory: Inventory) -> dict[str, str]:
    cells = dict(row.cells)
    cells["path"] = inventory.raw_path(row)
    address = inventory.raw[cells["path"]].address
    return cells | {ADDRESS: address} if address else cells


def run_file(crate: Path, name: str) -> StudyFile:
    """Describe a file of the run's own record."""
    path = crate / name
    return StudyFile(
        path=name,
        here=name,
        dataset=RUN,
        folder=False,
        format=FORMATS.get(path.suffix),
        bytes=path.stat().st_size,
        sha256=digest(path),
        listing=None,
        columns={},
        type="file",
    )
