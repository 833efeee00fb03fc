"""Images made of this machine's own files, for tests without a registry: one of busybox, one of this Python.

A root file system is linked together from files that are there already (hard links, copies across file systems), then
packed by Apptainer. The Python image holds what ``pip install snakescope`` would have brought, from the environment
that runs the tests, at ``/usr/local``; nothing in it leads back to that environment.
"""

from __future__ import annotations

import compileall
import os
import py_compile
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from deployment.apptainer import Apptainer, missing

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("bin", "etc", "tmp", "proc", "sys", "dev", "var/tmp", "usr", "root", "home", "mnt")
FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\n",
    "etc/group": "root:x:0:\n",
    "etc/hosts": "127.0.0.1 localhost\n",
    "etc/resolv.conf": "",
}
NOT_NEEDED = ("test", "tests", "idlelib", "ensurepip", "lib2to3", "tkinter", "site-packages")
SNAKESCOPE = "snakescope"


def link(source: Path, target: Path) -> None:
    """Put a file into an image without copying its bytes where that can be."""
    target.parent.mkdir(parents=True, exist_ok=True)
    source = source.resolve()
    try:
        os.link(source, target)
    except FileExistsError:
        return
    except OSError:
        shutil.copy2(source, target)


def make_busybox_root(root: Path) -> Path:
    """A root file system with busybox under all its names, and nothing else."""
    busybox = shutil.which("busybox")
    if busybox is None or "not a dynamic" not in listed_libraries([Path(busybox)]):
        missing("a busybox that needs no libraries is not here (on Debian: apt-get install busybox-static)")
    for name in FOLDERS:
        (root / name).mkdir(parents=True)
    for name, text in FILES.items():
        (root / name).write_text(text)
    shutil.copy2(busybox, root / "bin/busybox")
    names = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split()
    for name in set(names) - {"busybox"}:
        (root / "bin" / name).symlink_to("busybox")
    return root


def make_python_root(root: Path, wheel: Path) -> Path:
    """The busybox root with this Python, the installed packages that the wheel needs, and the wheel."""
    make_busybox_root(root)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    home = root / "usr/local"
    link(Path(sys.executable), home / "bin" / version)
    for name in ("python", "python3"):
        (home / "bin" / name).symlink_to(version)
    standard, packages = Path(sysconfig.get_path("stdlib")), home / "lib" / version / "site-packages"
    for file in files_below(standard):
        link(file, home / "lib" / version / file.relative_to(standard))
    for file, place in files_of_packages(SNAKESCOPE):
        link(file, packages / place)
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
    # checked neither by time nor by content: the image is never written to
    unchecked = py_compile.PycInvalidationMode.UNCHECKED_HASH
    compileall.compile_dir(packages / SNAKESCOPE, quiet=2, invalidation_mode=unchecked)
    add_libraries(root, home)
    return root


def files_below(folder: Path) -> Iterator[Path]:
    """The files of the standard library that programs need."""
    for path in folder.iterdir():
        if path.name in NOT_NEEDED or path.name.startswith("config-"):
            continue
        if path.is_dir():
            yield from files_below(path)
        elif path.suffix != ".a":
            yield path


def files_of_packages(name: str) -> Iterator[tuple[Path, Path]]:
    """The installed files of what a package needs, not of itself, each with its place below ``site-packages``."""
    for package in needed(name):
        for file in package.files or ():
            wanted = file.suffix != ".a" and ".." not in file.parts and "tests" not in file.parts
            path = Path(str(package.locate_file(file)))
            if wanted and path.is_file():
                yield path, Path(*file.parts)


def needed(name: str) -> list[metadata.Distribution]:
    """What is installed because a package needs it."""
    found: dict[str, metadata.Distribution] = {}
    todo = [Requirement(name)]
    while todo:
        asked = todo.pop()
        key = re.sub(r"[-_.]+", "-", asked.name).lower()
        if key not in found or asked.extras:
            found[key] = metadata.distribution(key)
            wanted = map(Requirement, found[key].requires or ())
            todo += [requirement for requirement in wanted if applies(requirement, asked.extras)]
    del found[name]
    return list(found.values())


def applies(requirement: Requirement, extras: Iterable[str]) -> bool:
    """Whether a package with these extras has that requirement here."""
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras))


def listed_libraries(files: Iterable[Path]) -> str:
    """What ``ldd`` says of some programs and libraries."""
    done = subprocess.run(["ldd", *map(str, files)], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def add_libraries(root: Path, home: Path) -> None:
    """Add the loader and the shared libraries of this machine that the programs and modules below `home` name."""
    modules = [path for path in home.rglob("*") if ".so" in path.name and path.is_file()]
    said = listed_libraries([home / "bin/python", *modules])
    places = {Path(word) for word in re.findall(r"^\s+(?:\S+ => )?(/\S+) \(0x", said, re.MULTILINE)}
    places = {place for place in places if not place.is_relative_to(root)}
    system = next(place.parent for place in places if place.name.startswith("libc.so"))
    for place in sorted(places):
        own = place.name.startswith("ld-linux") or place.parent == system
        link(place, root / (place if own else system / place.name).relative_to("/"))


@pytest.fixture(scope="session")
def busybox_image(apptainer: Apptainer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image of busybox, 1 MB: no bash, no Python."""
    folder = tmp_path_factory.mktemp("images")
    return apptainer.build(make_busybox_root(folder / "root"), folder / "busybox.sif")


@pytest.fixture(scope="session")
def python_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped tools and their Python as a folder, which is an image too."""
    folder = tmp_path_factory.mktemp("images")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return make_python_root(folder / "python", next(folder.glob("*.whl")))


@pytest.fixture(scope="session")
def python_image(apptainer: Apptainer, python_root: Path) -> Path:
    """The shipped tools and their Python as an image file (280 MB, 25 s), packed fast and not small."""
    return apptainer.build(python_root, python_root.with_suffix(".sif"), packing="-comp gzip -Xcompression-level 1")
