"""Packing: what a pipeline needs, into one archive, or a list of what is missing."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from snakescope import __version__
from snakescope.bundle.archive import write_archive
from snakescope.bundle.contents import (
    Contents,
    Entry,
    Remote,
    collect_environment_files,
    collect_models,
    collect_shared_files,
    collect_texts,
    find_secrets,
)
from snakescope.bundle.fetch import fetch
from snakescope.bundle.manifest import Manifest, PackedFile, PackedImage, PackedModel, PackedTool
from snakescope.bundle.places import collect_places, lock_text
from snakescope.environments.images import LOCK, State, file_sha256
from snakescope.errors import InputError, Problem, problem
from snakescope.runner.folder import Study

# Name of a pass, what is done and how much there is.
Show = Callable[[str, int, int], None]
QUIET_S = 2.0


@dataclass(frozen=True)
class PackReport:
    """What was packed, or would be.

    Parameters
    ----------
    out
        The archive.
    pipeline
        Name of the pipeline.
    files
        Path, role and bytes of each file; None for the bytes of one that has to be fetched.
    sha256
        Digest of the archive; None when nothing was written.
    """

    out: Path
    pipeline: str
    files: list[tuple[str, str, int | None]]
    tools: list[PackedTool]
    images: list[PackedImage]
    models: list[PackedModel]
    warnings: list[str] = field(default_factory=list)
    sha256: str | None = None

    @property
    def size(self) -> int:
        """Bytes of all files, as far as they are known."""
        return sum(size or 0 for _, _, size in self.files)


class Meter:
    """Tells how many MB of a pass are done, when it takes longer than a moment."""

    def __init__(self, show: Show | None, name: str, total: int) -> None:
        self.show, self.name, self.total = show, name, total
        self.done, self.started = 0, time.monotonic()

    def __call__(self, size: int) -> None:
        """So many bytes more are done."""
        self.done += size
        if self.show and time.monotonic() - self.started >= QUIET_S:
            self.show(self.name, self.done // 10**6, max(self.total, self.done) // 10**6)


def pack(
    study: Study,
    out: Path,
    pipeline: str | None = None,
    *,
    images: bool = True,
    dry_run: bool = False,
    progress: Show | None = None,
) -> PackReport:
    """Pack what a pipeline needs at a site without the internet.

    Parameters
    ----------
    study
        The study; its sheet and its images do not go in.
    out
        The archive to write.
    pipeline
        Name of the pipeline; by default the configured one.
    images
        Whether images go in. Without, a tool may have neither image nor packages.
    dry_run
        Say what would go in; fetch nothing, write nothing.
    progress
        Told of passes that take long.

    Raises
    ------
    InputError
        With everything that is missing or wrong.
    EnvironmentUnusableError
        If something cannot be fetched from here.
    """
    contents, name = collect(study, pipeline, images=images)
    problems = [*_unfit_out(out), *contents.problems]
    if problems:
        raise InputError(problems)
    entries = [contents.entries[path] for path in sorted(contents.entries)]
    listed = [(entry.path, str(entry.role), entry.size) for entry in entries]
    packed_images = [contents.images[path] for path in sorted(contents.images)]
    models = [contents.models[path] for path in sorted(contents.models)]
    report = PackReport(out, name, listed, contents.tools, packed_images, models, contents.warnings)
    if dry_run:
        return report
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as folder:
        entries = _fetched(entries, Path(folder), progress)
        return _write(report, entries, progress)


def collect(study: Study, pipeline: str | None, *, images: bool) -> tuple[Contents, str]:
    """All that goes in, with every problem, and the name of the pipeline."""
    checked = study.pipeline(pipeline)
    root, state, contents = study.root.resolve(), State.read(study.root.resolve()), Contents()
    collect_texts(contents, study, checked)
    collect_environment_files(contents, root, checked)
    collect_places(contents, root, checked, state, images=images)
    collect_models(contents, root, checked, state)
    collect_shared_files(contents, root, checked)
    find_secrets(contents)
    return contents, checked.spec.name


def _unfit_out(out: Path) -> list[Problem]:
    if out.exists():
        return [Problem(str(out), "is there already", "Remove it, or choose another name: --out FILE")]
    if not out.absolute().parent.is_dir():
        return [Problem(str(out.parent), "there is no such folder", "Make it, or choose another: --out FILE")]
    return []


def _fetched(entries: list[Entry], folder: Path, progress: Show | None) -> list[Entry]:
    """The same files, all of them on this machine."""
    meter = Meter(progress, "fetching (MB)", 0)
    return [
        replace(entry, source=fetch(entry, entry.source, folder, meter)) if isinstance(entry.source, Remote) else entry
        for entry in entries
    ]


def _write(report: PackReport, entries: list[Entry], progress: Show | None) -> PackReport:
    total = sum(entry.size or 0 for entry in entries)
    free = shutil.disk_usage(report.out.absolute().parent).free
    if total > free:
        raise problem(report.out, f"needs {total / 1e9:.2f} GB; its disk has {free / 1e9:.2f} GB left")
    meter = Meter(progress, "hashing (MB)", total)
    files = {entry.path: _described(entry, meter) for entry in entries}
    images = [image.model_copy(update={"sha256": files[image.path].sha256}) for image in report.images]
    sources = {entry.path: entry.source for entry in entries if not isinstance(entry.source, Remote)}
    if LOCK in files:
        sources[LOCK] = lock_text(images)
        files[LOCK] = _described(Entry(LOCK, "environment", sources[LOCK]), meter)
    manifest = Manifest(
        schema_=1,
        snakescope=__version__,
        pipeline=report.pipeline,
        files=list(files.values()),
        tools=report.tools,
        images=images,
        models=report.models,
        warnings=report.warnings,
    )
    sha256 = write_archive(report.out, manifest, sources, Meter(progress, "writing (MB)", total))
    listed: list[tuple[str, str, int | None]] = [(file.path, file.role, file.size) for file in manifest.files]
    return replace(report, files=listed, images=images, sha256=sha256)


def _described(entry: Entry, meter: Meter) -> PackedFile:
    assert not isinstance(entry.source, Remote)
    source = entry.source
    sha256 = hashlib.sha256(source).hexdigest() if isinstance(source, bytes) else file_sha256(source)
    meter(entry.size or 0)
    return PackedFile(
        path=entry.path, role=entry.role, size=entry.size or 0, sha256=sha256, executable=entry.executable
    )
