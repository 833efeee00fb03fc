"""Unpacking: every digest checked, then the tools tried where they are now."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from snakescope import __version__
from snakescope.bundle.archive import read_archive
from snakescope.bundle.manifest import Manifest, Means
from snakescope.bundle.pack import Meter, Show
from snakescope.bundle.places import placed_pins
from snakescope.environments.images import State
from snakescope.errors import problem
from snakescope.runner.cases import CaseResult, run_case
from snakescope.tool.library import find_tool


@dataclass(frozen=True)
class UnpackReport:
    """What was unpacked, and what came of the tools' cases.

    Parameters
    ----------
    folder
        Where everything is now: a study folder without a sheet.
    manifest
        What the archive said of itself.
    results
        Of each case; None when none was to be run.
    warnings
        What to know of this pack at this site.
    """

    folder: Path
    manifest: Manifest
    results: list[CaseResult] | None = None
    warnings: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0 when all cases passed or none was to be run; 1 when one failed; 3 when one could not be run."""
        results = self.results or []
        return 1 if any(result.problems for result in results) else 3 if any(r.missing for r in results) else 0


def unpack(
    archive: Path, folder: Path, *, test: bool = True, sdm: Means | None = None, progress: Show | None = None
) -> UnpackReport:
    """Unpack an archive, check every digest in it, and run its tools' test cases.

    Parameters
    ----------
    archive
        What `pack` wrote.
    folder
        Folder to make; it may be there when it is empty.
    test
        Whether the cases are run.
    sdm
        What the tools run in for that; by default what the pack brings for each.
    progress
        Told of passes that take long.

    Raises
    ------
    InputError
        If it is no pack or is damaged, or the folder holds something; nothing is left then.
    """
    _require(archive, folder)
    parent = folder.absolute().parent
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=parent))
    try:
        manifest = read_archive(archive, temporary, lambda found: _start(archive, found, parent, progress))
        _settle(temporary, folder, manifest)
        temporary.chmod(0o777 & ~_umask())
        temporary.replace(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    warnings = list(manifest.warnings)
    if manifest.snakescope != __version__:
        told = f"It was packed by snakescope {manifest.snakescope}; this is {__version__}"
        warnings.append(f"{told}, which will compile the rules anew.")
    return UnpackReport(folder, manifest, _tried(folder, manifest, sdm, progress) if test else None, warnings)


def _require(archive: Path, folder: Path) -> None:
    if not archive.is_file():
        raise problem(archive, "there is no such file")
    if not folder.absolute().parent.is_dir():
        raise problem(folder.parent, "there is no such folder", "Make it, or choose another.")
    if folder.is_symlink() or (folder.exists() and (not folder.is_dir() or any(folder.iterdir()))):
        raise problem(folder, "is there already and not empty", "Choose a new folder.")


def _start(archive: Path, manifest: Manifest, parent: Path, progress: Show | None) -> Meter:
    free = shutil.disk_usage(parent).free
    if manifest.size > free:
        told = f"holds {manifest.size / 1e9:.2f} GB; the disk of {parent} has {free / 1e9:.2f} GB left"
        raise problem(archive, told, "Unpack it elsewhere.")
    return Meter(progress, "unpacking (MB)", manifest.size)


def _settle(temporary: Path, folder: Path, manifest: Manifest) -> None:
    """Let pin files name the packages where they will lie, and remember the digests of large files."""
    state = State()
    for file in manifest.files:
        path = temporary / file.path
        if file.role == "pin":
            path.write_text(placed_pins(path.read_text(encoding="utf-8"), folder), encoding="utf-8")
        elif file.role in ("image", "model"):
            found = path.stat()
            state.files[str(folder.resolve() / file.path)] = (found.st_size, found.st_mtime_ns, file.sha256)
    state.write(temporary)


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def _tried(folder: Path, manifest: Manifest, sdm: Means | None, progress: Show | None) -> list[CaseResult]:
    """Run the cases of every tool, with what the pack brings for it."""
    results = []
    count = sum(tool.cases for tool in manifest.tools)
    for packed in manifest.tools:
        tool = find_tool(packed.id, [folder.resolve() / "tools"])
        for case in tool.cases:
            with tempfile.TemporaryDirectory(prefix="snakescope-") as place:
                results.append(run_case(tool, case, Path(place), sdm=sdm or packed.runs_in, study=folder))
            if progress:
                progress("testing", len(results), count)
    return results
