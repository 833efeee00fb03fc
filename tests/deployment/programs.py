"""An image of programs that shipped tools wrap, of this machine's own files: no Python and nothing of ours is in it."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from deployment.apptainer import Apptainer, missing
from deployment.images import link, listed_libraries, make_busybox_root

# What is taken of this machine; what else these start is busybox.
PROGRAMS = (
    *("gm", "elastix", "java", "bfconvert", "imagej", "bash", "timeout", "xvfb-run", "Xvfb", "xkbcomp", "xauth"),
    *("mcookie", "getopt", "dash"),
)
# Read, or opened as libraries, while programs run; where there is none of a kind, it is not needed.
FOLDERS = (
    *("/usr/lib/GraphicsMagick-*", "/usr/share/GraphicsMagick-*", "/usr/share/X11/xkb", "/usr/share/java"),
    *("/usr/share/fonts/truetype/dejavu", "/etc/fonts", "/usr/share/fontconfig", "/usr/lib/locale/C.utf8"),
)
NOT_NEEDED = ("jmods", "man", "legal", "demo", "src.zip", "ct.sym")


def make_programs_root(root: Path) -> Path:
    """The busybox root with the programs at the places that they have here, and what they need."""
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    if absent:
        missing(f"{', '.join(absent)} not on the PATH (as root: PATH=$(tests/deployment/programs.sh PREFIX):$PATH)")
    make_busybox_root(root)
    found = [Path(shutil.which(name) or "") for name in PROGRAMS]
    java = Path(shutil.which("java") or "").resolve().parents[1]
    folders = [java, *(folder for pattern in FOLDERS for folder in sorted(Path("/").glob(pattern[1:])))]
    files = [*found, *_named_by_scripts(found), *(file for folder in folders for file in _files(folder))]
    for file in files:
        _put(root, file)
    (root / "bin/sh").unlink()  # that of busybox starts its own programs before those on the PATH
    (root / "bin/sh").symlink_to("/usr/bin/dash")
    (root / "usr/bin/java").unlink(missing_ok=True)
    (root / "usr/bin/java").symlink_to(java / "bin/java")
    for name in ("bfconvert", *PROGRAMS):  # whatever folder of this machine's PATH holds it
        if not (root / "usr/bin" / name).exists():
            link(Path(shutil.which(name) or ""), root / "usr/bin" / name)
    for library in _libraries(file for file in files if file.is_file() and os.access(file, os.R_OK)):
        _put(root, library)
    (root / ".singularity.d/env").mkdir(parents=True)
    (root / ".singularity.d/env/90-environment.sh").write_text(f"export JAVA_HOME={java}\n")
    return root


def _put(root: Path, file: Path) -> None:
    """Put a file to the place that it has on this machine."""
    target = root / file.relative_to("/")
    if target.is_symlink():
        target.unlink()  # busybox under that name
    link(file, target)


def _files(folder: Path) -> Iterator[Path]:
    """Every file below a folder, links to files included."""
    for path in folder.iterdir():
        if path.name in NOT_NEEDED:
            continue
        if path.is_dir():
            yield from _files(path)
        elif path.is_file():
            yield path


def _named_by_scripts(programs: Iterable[Path]) -> Iterator[Path]:
    """Java archives that start scripts name."""
    for program in programs:
        if program.read_bytes()[:2] == b"#!":
            yield from map(Path, re.findall(r"'(/\S+\.jar)'", program.read_text(errors="replace")))


def _libraries(files: Iterable[Path]) -> set[Path]:
    """The loader and the shared libraries that programs and libraries name."""
    binaries = [file for file in files if _is_binary(file)]
    return {Path(word) for word in re.findall(r"^\s+(?:\S+ => )?(/\S+) \(0x", listed_libraries(binaries), re.MULTILINE)}


def _is_binary(file: Path) -> bool:
    with file.open("rb") as opened:
        return opened.read(4) == b"\x7fELF"


@pytest.fixture(scope="session")
def programs_image(apptainer: Apptainer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """GraphicsMagick, elastix, Bio-Formats and ImageJ with a display, over busybox, as an image file."""
    folder = tmp_path_factory.mktemp("images")
    root = make_programs_root(folder / "programs")
    return apptainer.build(root, folder / "programs.sif", packing="-comp gzip -Xcompression-level 1")
