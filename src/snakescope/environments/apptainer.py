"""Apptainer: what goes into an image of the host, and whether an image can be started here.

Snakemake starts ``apptainer exec --home STUDY ... IMAGE sh -c ...`` for each job. What else Apptainer is told stands
in its variables, so that plain Snakemake, a cluster's job and `snakescope run` all do the same.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from snakescope import layout
from snakescope.errors import Problem

# Variables of the host that a job needs inside; every other one stays outside.
PASSED = (
    "SNAKESCOPE_SNAKEMAKE", "SNAKESCOPE_LEASE", "SLURM_JOB_ID", "SLURM_JOB_PARTITION",
    "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES",
)  # fmt: skip
# Top-level folders of a study that jobs write to.
WRITTEN = (layout.RESULTS, layout.RECORDS, layout.LOGS, layout.BENCHMARKS, layout.STAGED)
# Folders that an image has of its own: of these only single files go in.
_OWN = frozenset(
    {"/", "/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/opt", "/proc", "/root", "/run", "/sbin"}
    | {"/srv", "/sys", "/usr", "/var"}
)
# Apptainer makes a folder in the home folder even to tell its version; with these it leaves nothing there.
LEAVE_NOTHING = {"APPTAINER_CONFIGDIR": "/dev/null", "SINGULARITY_CONFIGDIR": "/dev/null"}
_ALWAYS_THERE = ("/tmp", "/var/tmp")  # noqa: S108 - Apptainer's own binds
MOST_BINDS = 40
START_S = 600
# What the record of a job is written with, see workflow/job.sh.
NEEDED = ("mkdir", "mv", "rm", "sed")
_LOOK = 'for p in "$@"; do command -v "$p" >/dev/null 2>&1 || echo "missing:$p"; done'


def program() -> str | None:
    """The program that Snakemake starts: ``apptainer``, else ``singularity``; None for neither."""
    return next((name for name in ("apptainer", "singularity") if shutil.which(name)), None)


def variables(binds: Sequence[str], environ: Mapping[str, str]) -> dict[str, str | None]:
    """What Apptainer's variables are to be.

    Parameters
    ----------
    binds
        What images must see, as `binds` tells it.
    environ
        The variables as they are; binds that somebody has set there stay.

    Returns
    -------
    Values by name; None for a variable that must not be set.
    """
    prefix = "SINGULARITY" if program() == "singularity" else "APPTAINER"
    own = [item for item in environ.get(f"{prefix}_BIND", "").split(",") if item]
    temporary = environ.get("TMPDIR", "")
    there = [item for item in binds if os.path.exists(item.partition(":")[0])]  # noqa: PTH110
    if temporary.startswith("/") and temporary.rstrip("/") not in _ALWAYS_THERE and os.path.isdir(temporary):  # noqa: PTH112
        there.append(bindable(temporary))
    told: dict[str, str | None] = {
        f"{prefix}_CLEANENV": "1",
        f"{prefix}_BIND": ",".join(dict.fromkeys([*own, *filter(None, there)])) or None,
        f"{prefix}ENV_LANG": "C.UTF-8",
        f"{prefix}ENV_SNAKESCOPE_HOME": environ.get("HOME", ""),
    }
    return told | {f"{prefix}ENV_{name}": environ.get(name) for name in PASSED}


def bindable(folder: str) -> str:
    """The folder, or the nearest one above it whose name Apptainer can take for a bind; empty for none."""
    while set(folder) & set(",:\\\"'\n"):
        folder = os.path.dirname(folder)  # noqa: PTH120
    return "" if folder in ("", "/") else folder


def binds(root: Path, files: Iterable[str]) -> list[str]:
    """Folders outside a study that its jobs see, ordered: those of the files, and where links in the study lead.

    Parameters
    ----------
    root
        Study folder.
    files
        What jobs read, relative to the study or absolute.

    Returns
    -------
    ``FOLDER:FOLDER:ro``, or a file in place of a folder that every image has itself; ``rw`` for those that hold the
    study itself or what jobs write.
    """
    real = os.path.realpath(root)
    written = {os.path.realpath(root / name) for name in WRITTEN if (root / name).is_symlink()}
    read = {place for path in files for place in _places(path, real)} | set(_linked_folders(root))
    folders = {_fit(place) for place in read if not _within(place, real) or place == real} - {""}
    few = _few(sorted(folders | written))
    return [
        f"{place}:{place}:{'rw' if _holds(place, {real, *written}) else 'ro'}"
        for place in few
        if not _within(place, real)
    ]


def _places(path: str, root: str) -> Iterator[str]:
    """The file as it is named, and where it really is: every link on the way must be seen."""
    here = os.path.normpath(os.path.join(root, path))  # noqa: PTH118
    for _ in range(40):
        yield here
        if not os.path.islink(here):  # noqa: PTH114
            break
        here = os.path.normpath(os.path.join(os.path.dirname(here), os.readlink(here)))  # noqa: PTH115, PTH118, PTH120
    folder, name = os.path.split(here)
    yield os.path.join(_real_folder(folder), name)  # noqa: PTH118


_real: dict[str, str] = {}


def _real_folder(folder: str) -> str:
    if folder not in _real:
        _real[folder] = os.path.realpath(folder)
    return _real[folder]


def _linked_folders(root: Path) -> Iterator[str]:
    for entry in os.scandir(root):
        if entry.is_symlink() and entry.is_dir() and entry.name not in WRITTEN:
            yield os.path.join(os.path.realpath(entry.path), ".")  # noqa: PTH118


def _fit(file: str) -> str:
    """What is bound for a file: its folder, or the file alone in a folder that every image has."""
    folder = os.path.dirname(file)  # noqa: PTH120
    fit = bindable(folder)
    return (bindable(file) if fit in _OWN or not fit else fit) if os.path.exists(file) else ""  # noqa: PTH110


def _few(folders: Sequence[str]) -> list[str]:
    """Without those below others; of very many, the folders above them."""
    depth = max((folder.count("/") for folder in folders), default=0)
    while True:
        kept: list[str] = []
        for folder in sorted(folders):
            if not kept or not _within(folder, kept[-1]):
                kept.append(folder)
        if len(kept) <= MOST_BINDS or depth <= 2:
            return kept
        depth -= 1
        folders = ["/".join(folder.split("/")[: depth + 1]) for folder in kept]


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")


def _holds(folder: str, places: Iterable[str]) -> bool:
    return any(_within(place, folder) or _within(folder, place) for place in places)


def unfit_study(root: Path) -> Problem | None:
    """Say why a study's folder cannot be given to Apptainer; None when it can."""
    path = os.path.realpath(root)
    bad = sorted(set(path) & set(":,\\'\"\n"))
    if not bad:
        return None
    message = f"the folder's name holds {bad[0]!r}, which Apptainer cannot be told of"
    return Problem(path, message, "Move the study to a folder with a plain name.")


def trial(
    image: Path,
    wanted: Sequence[str],
    where: str,
    root: Path,
    *,
    environ: Mapping[str, str] | None = None,
    limit_s: float = START_S,
) -> list[Problem]:
    """Start an image once, as jobs will, and look for the programs in it.

    Parameters
    ----------
    image
        A .sif file or an image folder.
    wanted
        Programs that tools need in it.
    where
        What the problems are told of.
    root
        Study folder.
    environ
        Variables that Apptainer sees; by default this process's.
    limit_s
        How long it may take.
    """
    name = program() or "apptainer"
    words = [name, "exec", "--home", os.path.realpath(root), str(image), "sh", "-c", _LOOK, "sh", *NEEDED, *wanted]
    try:
        done = subprocess.run(
            words, cwd=root, capture_output=True, text=True, errors="replace", timeout=limit_s, check=False,
            stdin=subprocess.DEVNULL, env=environ,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return [Problem(where, f"{name} did not start it within {limit_s:g} s")]
    except OSError as error:
        return [Problem(where, f"{name} did not start it ({error})")]
    missing = [line.partition(":")[2] for line in done.stdout.splitlines() if line.startswith("missing:")]
    if missing:
        told = ", ".join(missing)
        return [Problem(where, f"these programs are not in the image: {told}", "Build the image with them.")]
    return [_told(where, name, done.stderr)] if done.returncode != 0 else []


_WHY: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (
        ('"sh": executable file not found', "exec sh failed", "/bin/sh: no such file"),
        "there is no shell (sh) in the image, and Snakemake starts every program through one",
        "Build the image on one that has a shell, such as busybox or debian:stable-slim.",
    ),
    (
        ("image format not recognized", "unknown image format", "not a valid sif", "bad superblock", "no rootfs"),
        "it is no image that {name} knows",
        "Build or copy it again; it may have been cut off.",
    ),
    (
        ("user namespace", "user_namespace", "userns", "unshare", "newuidmap", "clone_newuser"),
        "user namespaces are not allowed here, which {name} needs to start it without root",
        "Ask the administrator for: sysctl user.max_user_namespaces=15000, or for {name} installed with setuid.",
    ),
    (
        ("fuse", "squashfuse", "mount image", "mounting image"),
        "it cannot be mounted: FUSE (/dev/fuse) is not there, or not for this user",
        "Unpack it once (`{name} build --sandbox FOLDER IMAGE`) and name the folder in config/images.yaml, or set "
        "APPTAINER_UNSQUASH=1.",
    ),
    (
        ("exec format error", "architecture"),
        "it was built for another kind of processor",
        "Build it for this machine.",
    ),
)


def _told(where: str, name: str, said: str) -> Problem:
    lower = said.lower()
    for signs, message, fix in _WHY:
        if any(sign in lower for sign in signs):
            return Problem(where, message.format(name=name), fix.format(name=name))
    lines = [line for line in said.splitlines() if line.startswith(("FATAL", "ERROR"))] or said.splitlines() or ["?"]
    return Problem(where, f"{name} cannot start it: {lines[-1].partition(':')[2].strip() or lines[-1].strip()}")
