"""Where a recorded job can be run again: on this machine, in a conda environment or in an Apptainer image."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from snakescope import layout
from snakescope.environments import apptainer
from snakescope.environments.images import file_sha256
from snakescope.errors import EnvironmentUnusableError
from snakescope.record import JobRecord

# Below it is a folder for each job that is run again.
FOLDER = f"{layout.STATE}/rerun"
# Where `~` stands for a home folder in a record: at the start of a path, as a job writes it.
_HOME = re.compile(r"""(?:^|(?<=^-[A-Za-z])|(?<=[,:;= "'(\[@]))~(?=/|$)""")


class NotHereError(EnvironmentUnusableError):
    """A job cannot be run again here."""


@dataclass(frozen=True)
class Environment:
    """How to start a command: what to set, and what to put around it.

    `wrap` takes the command, the folder it may write to and the folder it runs in. A variable that is None must not
    be set. What the program itself is told goes into variables of the same names with `prefix` before them.
    """

    variables: Mapping[str, str | None]
    wrap: Callable[[Sequence[str], Path, Path], list[str]]
    prefix: str = ""


def environment_of(record: JobRecord, root: Path) -> Environment:
    """The environment that a job ran in.

    Raises
    ------
    NotHereError
        If it is not on this machine.
    """
    kind = record.environment.get("kind")
    if kind == "host":
        return Environment({"PATH": _path()}, lambda argv, _folder, _place: list(argv))
    if kind == "conda":
        return _conda(str(record.environment.get("name")), root)
    if kind == "apptainer":
        return _apptainer(str(record.environment.get("image")), record, root)
    raise NotHereError(f"was run in an environment of an unknown kind ({kind!r})")


def _path(*first: Path) -> str:
    own = os.path.dirname(sys.executable)  # noqa: PTH120 - not resolved: a virtual environment is a link
    return os.pathsep.join([*map(str, first), own, os.environ.get("PATH", os.defpath)])


def _conda(name: str, root: Path) -> Environment:
    prefix = next((path for path in _conda_prefixes(name, root) if (path / "bin").is_dir()), None)
    if prefix is None:
        raise NotHereError(f"was run in the conda environment {name!r}, which is not here")
    variables = {"PATH": _path(prefix / "bin"), "CONDA_PREFIX": str(prefix)}
    return Environment(variables, lambda argv, _folder, _place: list(argv))


def _conda_prefixes(name: str, root: Path) -> list[Path]:
    """Where an environment of this name would be: made by Snakemake, active now, or beside the active one."""
    found = [root / ".snakemake" / "conda" / name]
    active, program = os.environ.get("CONDA_PREFIX"), os.environ.get("CONDA_EXE")
    if active:
        found += [Path(active)] if Path(active).name == name else []
        found += [Path(active) / "envs" / name, Path(active).parent / name]
    if program:
        found.append(Path(program).parents[1] / "envs" / name)
    return found


def _apptainer(recorded: str, record: JobRecord, root: Path) -> Environment:
    """The image, started as a run starts it; of the study, only folders of jobs that run again can be written to."""
    image, program = root / expand_home(recorded), apptainer.program()
    if not image.exists():
        raise NotHereError(f"was run in the image {recorded!r}, which is not here")
    if program is None:
        raise NotHereError(f"was run in the image {recorded!r}; Apptainer, which runs it, is not here")
    unfit = apptainer.unfit_study(root)
    if unfit:
        raise NotHereError(f"was run in the image {recorded!r}, but {unfit.message}")
    digest = record.environment.get("sha256")
    if digest and image.is_file() and _sha256(image, image.stat().st_mtime_ns) != digest:
        raise NotHereError(f"was run in the image {recorded!r}, which is another one now (its sha256 was {digest})")
    (root / FOLDER).mkdir(parents=True, exist_ok=True)
    outside = [bind.replace(":rw", ":ro") for bind in apptainer.binds(root, _read(record))]
    own = root / FOLDER
    told = apptainer.variables([f"{root}:{root}:ro", f"{own}:{own}:rw", *outside], os.environ)

    def wrap(argv: Sequence[str], folder: Path, place: Path) -> list[str]:
        home = folder / "home"
        home.mkdir()
        gpus = ["--nv"] if record.compiled.get("gpu") else []
        return [program, "exec", *gpus, "--home", str(home), "--pwd", str(place), str(image), *argv]

    prefix = "SINGULARITYENV_" if program == "singularity" else "APPTAINERENV_"
    return Environment(told | _proxies_with_password(), wrap, prefix)


def _read(record: JobRecord) -> list[str]:
    """Every file of a job that may lie outside the study."""
    return [expand_home(item.here) for item in record.inputs]


@lru_cache
def _sha256(image: Path, _changed_ns: int) -> str:
    return file_sha256(image)


def _proxies_with_password() -> dict[str, None]:
    """Variables that Apptainer lets in whatever it is told; jobs of a run unset them inside (workflow/job.sh)."""
    return {name: None for name, value in os.environ.items() if name.lower().endswith("_proxy") and "@" in value}


def expand_home(text: str) -> str:
    """A recorded word with this user's home folder in place of ``~``."""
    home = os.environ.get("HOME", "").rstrip("/")
    return _HOME.sub(lambda _: home, text) if home and "~" in text else text
