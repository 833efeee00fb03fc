"""What this machine can do: facts, a line each. Nothing of it depends on a pipeline."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from importlib import metadata
from pathlib import Path

from snakescope import __version__, layout
from snakescope.doctor import cluster, irods, limits
from snakescope.doctor.ask import LIMIT_S, Answer, NoAnswerError, ask, within
from snakescope.doctor.facts import Fact, Mark, fact
from snakescope.environments import apptainer

GROUPS = ("machine", "disk", "apptainer", "conda", "gpu", "slurm", "irods")
# Whatever happens, no group holds the others up for longer.
GROUP_S = 45.0
OLDEST_CONDA = (24, 7, 1)
GET_APPTAINER = (
    "conda install -c conda-forge apptainer, apt install apptainer where the distribution has it, or "
    "https://apptainer.org/docs/admin/latest/installation.html"
)
GET_CONDA = "https://conda-forge.org/download"
LOW_BYTES, LOW_FILES = 5 * 10**9, 10_000
_GIB = 2**30


def machine_facts(root: Path, *, connect: bool) -> list[Fact]:
    """All that is known of this machine.

    Parameters
    ----------
    root
        The study folder, or the folder that the user is in.
    connect
        Whether iRODS may be asked.
    """
    looks: dict[str, Callable[[], Iterator[Fact]]] = {
        "machine": system_facts,
        "disk": partial(disk_facts, root),
        "apptainer": apptainer_facts,
        "conda": conda_facts,
        "gpu": gpu_facts,
        "slurm": cluster.slurm_facts,
        "irods": partial(irods.irods_facts, connect=connect),
    }
    found: dict[str, list[Fact]] = {group: [] for group in GROUPS}

    def look(group: str) -> None:
        try:
            within(GROUP_S, lambda: found[group].extend(looks[group]()))
        except Exception as error:  # one thing that cannot be looked at must not hide the rest
            told = f"cannot be looked at ({type(error).__name__}: {error})"
            found[group].append(fact(group, "the rest", "note", told))

    threads = [threading.Thread(target=look, args=(group,)) for group in looks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [item for group in GROUPS for item in found[group]]


# ---------------------------------------------------------------------------- the machine itself


def system_facts() -> Iterator[Fact]:
    """Versions, cores, memory, proxies."""
    yield fact("machine", "system", "ok", f"{platform.system()} {platform.release()}, {platform.machine()}")
    yield fact("machine", "Python", "ok", f"{platform.python_version()} ({sys.executable})")
    yield fact("machine", "snakescope", "ok", __version__)
    yield _snakemake()
    cores, memory = limits.cores(), limits.memory_bytes()
    told = f"{cores.count}; {cores.why}" if cores.why else f"{cores.count}"
    yield fact("machine", "cores", "ok", told, cores=cores.count)
    if memory.total is None:
        yield fact("machine", "memory", "note", "not known here")
    else:
        held = f"; {memory.why}" if memory.why else ""
        free = f", {memory.free / _GIB:.1f} GiB free" if memory.free is not None else ""
        size = f"{memory.total / _GIB:.1f} GiB{free}{held}"
        yield fact("machine", "memory", "ok", size, memory_mb=memory.total // 10**6)
    yield from _proxies()


def _snakemake() -> Fact:
    try:
        found = metadata.version("snakemake")
    except metadata.PackageNotFoundError:
        fix = f"{sys.executable} -m pip install 'snakemake>=9.20,<10'"
        return fact("machine", "Snakemake", "missing", "is not installed beside snakescope", fix)
    return fact("machine", "Snakemake", "ok", found)


def _proxies() -> Iterator[Fact]:
    """Proxies that downloads go through, without a login in their address."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        found = os.environ.get(name) or os.environ.get(name.upper())
        if found:
            login, _, place = found.rpartition("@") if name != "no_proxy" else ("", "", found)
            yield fact("machine", name, "note", place + (" (with a login, not shown)" if login else ""))


# ---------------------------------------------------------------------------- disk


def disk_facts(root: Path) -> Iterator[Fact]:
    """Room where a run writes."""
    name = "study folder" if (root / layout.CONFIG).is_file() else "this folder"
    yield _room(name, root.resolve())
    yield _room("TMPDIR", Path(os.environ.get("TMPDIR") or "/tmp"))  # noqa: S108 - tempfile would write there to see
    yield _room("image cache", image_cache())


def image_cache() -> Path:
    """The folder in which Apptainer keeps what it has pulled."""
    named = os.environ.get("APPTAINER_CACHEDIR") or os.environ.get("SINGULARITY_CACHEDIR")
    return Path(named) if named else Path.home() / ".apptainer/cache"


def _room(name: str, folder: Path) -> Fact:
    try:
        there, free, files, writable = within(LIMIT_S, lambda: _look_at(folder))
    except (OSError, NoAnswerError) as error:
        return fact("disk", name, "missing", f"{folder}: {error}", "See whether the disk is mounted.")
    told = [f"{free / _GIB:.1f} GiB free"]
    told += [f"{files} more files"] if files is not None else []
    where = str(folder) if there == folder else f"{folder} (not there yet)"
    data = {"free_bytes": free, "free_files": files, "path": str(folder).encode("utf-8", "replace").decode()}
    if not writable:
        said = f"{where}: cannot be written; {', '.join(told)}"
        return fact("disk", name, "missing", said, "Choose a folder of your own.", **data)
    full = free == 0 or files == 0
    low = free < LOW_BYTES or (files is not None and files < LOW_FILES)
    fix = "Make room, or choose another folder; see df, df -i and quota." if low else None
    mark: Mark = "missing" if full else "note" if low else "ok"
    return fact("disk", name, mark, f"{where}: {', '.join(told)}", fix, **data)


def _look_at(folder: Path) -> tuple[Path, int, int | None, bool]:
    """The folder or the nearest one above it that is there: free bytes, free files, whether it can be written."""
    there = folder.absolute()
    while not there.exists() and there != there.parent:
        there = there.parent
    found = os.statvfs(there)
    files = found.f_favail if found.f_files else None  # some file systems count none
    return (
        folder if there == folder.absolute() else there,
        found.f_bavail * found.f_frsize,
        files,
        os.access(there, os.W_OK),
    )


# ---------------------------------------------------------------------------- Apptainer


def apptainer_facts() -> Iterator[Fact]:
    """Which Apptainer is here, and how it can start and mount images."""
    name = apptainer.program()
    if name is None:
        yield fact("apptainer", "apptainer", "missing", "no apptainer or singularity on the PATH", GET_APPTAINER)
        return
    answer = ask(name, "--version")
    if answer.fault:
        yield fact("apptainer", name, "missing", f"{name} --version {answer.fault}", GET_APPTAINER)
        return
    version = re.search(r"\d+(\.\d+)+\S*", answer.first_line)
    if version is None:
        told = f"{name} --version says {_short(answer.first_line)!r}, which is no version"
        yield fact("apptainer", name, "note", told, GET_APPTAINER)
    else:
        yield fact("apptainer", name, "ok", f"{version[0]} ({shutil.which(name)})", version=version[0])
    setuid, helpers = _built(ask(name, "buildcfg"))
    namespaces = _namespaces()
    mark: Mark = "ok" if setuid or namespaces is None else "missing" if os.getuid() else "note"
    told = "allowed" if namespaces is None else namespaces
    fix = None if mark == "ok" else "Ask the administrator for: sysctl user.max_user_namespaces=15000"
    yield fact("apptainer", "user namespaces", mark, told, fix)
    how = {True: "installed with it", False: "installed without it", None: "not known"}[setuid]
    yield fact("apptainer", "setuid", "note" if setuid is None else "ok", how)
    yield _fuse(setuid, helpers)


def _built(answer: Answer) -> tuple[bool | None, list[str]]:
    """Whether it was installed with setuid, and where its helpers lie."""
    told = dict(line.split("=", 1) for line in answer.said.splitlines() if "=" in line)
    if answer.fault or "APPTAINER_SUID_INSTALL" not in told:
        return None, []
    folder = Path(told.get("LIBEXECDIR", "/nowhere")) / "apptainer/bin"
    starter = folder / "starter-suid"
    try:
        setuid = told["APPTAINER_SUID_INSTALL"] == "1" and bool(starter.stat().st_mode & 0o4000)
    except OSError:
        setuid = False
    return setuid, [str(folder)]


def _namespaces() -> str | None:
    """Why no user namespace can be made; None when one can."""
    answer = ask("unshare", "--user", "--map-root-user", "true")
    if answer.fault is None:
        return None
    if answer.fault == "is not on the PATH":
        most = limits.first_number(Path("/proc/sys/user/max_user_namespaces"))
        return None if most else "not allowed (user.max_user_namespaces is 0)" if most == 0 else "not known"
    return f"not allowed (unshare {_short(answer.fault)})"


def _fuse(setuid: bool | None, helpers: list[str]) -> Fact:
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), *helpers])
    mounts = [name for name in ("squashfuse_ll", "squashfuse") if shutil.which(name, path=path)]
    device = Path("/dev/fuse")
    usable = device.exists() and os.access(device, os.R_OK | os.W_OK)
    state = "/dev/fuse" if usable else "/dev/fuse is " + ("not for this user" if device.exists() else "not there")
    told = f"{state}; {mounts[0] if mounts else 'no squashfuse'}"
    if (usable and mounts) or setuid:
        return fact("apptainer", "FUSE", "ok", told)
    fix = "apt install squashfuse, and /dev/fuse for all users; or use image folders, or set APPTAINER_UNSQUASH=1"
    return fact("apptainer", "FUSE", "note", told, fix)


# ---------------------------------------------------------------------------- conda


def conda_facts() -> Iterator[Fact]:
    """Which conda is here, and how it solves."""
    if shutil.which("conda") is None:
        others = [name for name in ("mamba", "micromamba") if shutil.which(name)]
        told = f"; {others[0]} is, but Snakemake asks conda" if others else ""
        yield fact("conda", "conda", "missing", f"no conda on the PATH{told}", GET_CONDA)
        return
    yield conda_version(ask("conda", "--version"))
    solver = ask("conda", "config", "--show", "solver", "channel_priority")
    found = dict(re.findall(r"^(solver|channel_priority): *(\S+)", solver.said, re.MULTILINE))
    if solver.fault or "solver" not in found:
        yield fact("conda", "solver", "note", f"not known (conda config {solver.fault or 'does not tell'})")
    else:
        yield fact("conda", "solver", "ok", found["solver"])
    priority = found.get("channel_priority")
    if priority and priority != "strict":
        fix = "conda config --set channel_priority strict"
        yield fact("conda", "channel priority", "note", f"{priority}; strict gives the same packages everywhere", fix)
    for name in ("mamba", "micromamba"):
        if shutil.which(name):
            answer = ask(name, "--version")
            told = f"--version {answer.fault}" if answer.fault else _short(answer.first_line)
            yield fact("conda", name, "note" if answer.fault else "ok", told)


def conda_version(answer: Answer) -> Fact:
    """Whether Snakemake takes this conda."""
    if answer.fault:
        return fact("conda", "conda", "missing", f"conda --version {answer.fault}", GET_CONDA)
    version = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", answer.first_line)
    if version is None:
        told = f"conda --version says {_short(answer.first_line)!r}, which is no version"
        return fact("conda", "conda", "missing", told, GET_CONDA)
    if tuple(int(part or 0) for part in version.groups()) < OLDEST_CONDA:
        told = f"{version[0]} is too old: Snakemake wants {'.'.join(map(str, OLDEST_CONDA))} or later"
        return fact("conda", "conda", "missing", told, "conda update -n base conda", version=version[0])
    return fact("conda", "conda", "ok", f"{version[0]} ({shutil.which('conda')})", version=version[0])


# ---------------------------------------------------------------------------- GPU


def gpu_facts() -> Iterator[Fact]:
    """NVIDIA's devices as the driver tells them."""
    answer = ask("nvidia-smi", "--query-gpu=index,name,memory.total,driver_version", "--format=csv,noheader,nounits")
    if answer.fault == "is not on the PATH":
        yield fact("gpu", "GPU", "note", "no nvidia-smi on the PATH, so no NVIDIA GPU is known", gpus=0)
        return
    devices = [found for line in answer.said.splitlines() if (found := _device(line))]
    if answer.fault or not devices:
        told = answer.fault or f"tells no device ({_short(answer.first_line) or 'prints nothing'})"
        fix = "See whether `nvidia-smi` answers; the driver may not be loaded."
        yield fact("gpu", "GPU", "missing", f"nvidia-smi {told}", fix, gpus=0)
        return
    yield fact("gpu", "driver", "ok", devices[0][3], gpus=len(devices))
    for index, name, memory, _ in devices:
        yield fact("gpu", f"device {index}", "ok", f"{name}, {memory} MiB")


def _device(line: str) -> tuple[str, str, str, str] | None:
    fields = [field.strip() for field in line.split(",")]
    if len(fields) < 4 or not fields[0].isdecimal():
        return None
    return fields[0], ", ".join(fields[1:-2]), fields[-2], fields[-1]


def data_of(facts: Iterable[Fact], key: str) -> int:
    """The number that some fact holds under a key; 0 for none."""
    return int(next((item.data[key] for item in facts if key in item.data), 0))


def _short(text: str) -> str:
    return text if len(text) <= 100 else f"{text[:97]}..."
