"""Talking to Slurm: submitting, asking, cancelling, and what its answers mean.

Every call is one of Slurm's own commands, asked about all jobs of a run at once. Knows nothing of Snakemake, shards
or rows. Light, since cluster jobs import it, too.
"""

from __future__ import annotations

import math
import os
import re
import secrets
import shlex
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from snakescope import layout
from snakescope.errors import EnvironmentUnusableError

CALL_TIMEOUT_S = 120.0
_patience_s: ContextVar[float] = ContextVar("patience_s", default=CALL_TIMEOUT_S)
# Letters of the study folder's name in that of its jobs.
STUDY_LETTERS = 24
# Jobs that one call names at most; command lines are limited.
BATCH = 500
# What Slurm says when it will answer again by itself; anything else is a refusal.
_AWAY = re.compile(
    "unable to contact slurm|socket timed out|connection refused|connect(ion)? failure|connection timed out"
    "|temporarily unable|temporarily unavailable|zero bytes|transport endpoint|message receive failure"
    "|unexpected message|standby mode|failure during authentication|protocol authentication|munge|try again"
    "|slurmdbd|database connection|no route to host|network is unreachable",
    re.IGNORECASE,
)
_FULL = re.compile(r"(Max|Grp)Submit|(Max|Grp)Jobs|too many jobs|job count limit", re.IGNORECASE)
_LIMIT = re.compile(r"\b(?:Assoc|QOS)(?:Max|Min|Grp)[A-Za-z]+")
# A variable of one of these names stays where the run was started: Slurm keeps the environment of each job in files.
_SECRET = re.compile(r"PASSWORD|PASSWD|PASSPHRASE|SECRET|TOKEN|API_?KEY|PRIVATE_?KEY|CREDENTIAL", re.IGNORECASE)
_PLAIN = "._-/+,:"
# How long nodes may take to report to a controller that has started again, in seconds.
NODES_BACK_S = 30.0


class SlurmAwayError(EnvironmentUnusableError):
    """Slurm does not answer at the moment; nothing is known, and asking again may help."""


class SlurmRefusedError(EnvironmentUnusableError):
    """Slurm understood and refused; asking the same again will not help."""


def call(*command: str, stdin: str | None = None, environment: Mapping[str, str] | None = None) -> str:
    """Run one of Slurm's commands and return what it printed.

    Raises
    ------
    SlurmAwayError
        If Slurm does not answer.
    SlurmRefusedError
        If it refuses, with its own words.
    EnvironmentUnusableError
        If there is no such command here.
    """
    try:
        done = subprocess.run(
            command,
            input=stdin,
            env={**(os.environ if environment is None else environment), "SLURM_TIME_FORMAT": "%s", "LC_ALL": "C"}
            if command[0] != "sbatch"
            else environment,
            stdin=None if stdin is not None else subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_patience_s.get(),
            check=False,
        )
    except FileNotFoundError:
        raise no_slurm(command[0]) from None
    except OSError as error:
        raise SlurmAwayError(f"{command[0]} cannot be started: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise SlurmAwayError(f"{command[0]} did not answer within {_patience_s.get():g} s") from None
    if done.returncode == 0:
        return done.stdout + (done.stderr if "--test-only" in command else "")
    said = " ".join(line.strip() for line in done.stderr.splitlines() if line.strip())
    text = re.sub(rf"{command[0]}: (error: )?", "", said) or f"{command[0]} ended with {done.returncode}"
    raise (SlurmAwayError if _AWAY.search(text) else SlurmRefusedError)(text)


@contextmanager
def waiting_at_most(seconds: float) -> Iterator[None]:
    """Let no call in here take longer."""
    before = _patience_s.set(seconds)
    try:
        yield
    finally:
        _patience_s.reset(before)


def no_slurm(program: str) -> EnvironmentUnusableError:
    """What to say when a command of Slurm is not here."""
    fix = "Start the run where jobs are submitted (a login node), or load the site's Slurm module."
    return EnvironmentUnusableError(f"there is no {program!r} here, so no job can be given to Slurm.\n    {fix}")


# ---------------------------------------------------------------------- what a job is called


def read_run_id(root: Path) -> str | None:
    """The name of all Slurm jobs of a study folder; None before the first run."""
    try:
        return (root / layout.cluster_run_id()).read_text(encoding="utf-8").strip() or None
    except FileNotFoundError:
        return None


def run_id(root: Path) -> str:
    """The name of all Slurm jobs of a study folder, in which a person finds the folder's; made at the first call."""
    path = root / layout.cluster_run_id()
    path.parent.mkdir(parents=True, exist_ok=True)
    study = re.sub(r"[^A-Za-z0-9._-]+", "_", root.resolve().name)[:STUDY_LETTERS]
    mine = f"snk-{study}-{secrets.token_hex(5)}"
    temporary = path.with_name(f"{path.name}.{os.getpid()}.{mine}")
    temporary.write_text(f"{mine}\n", encoding="utf-8")
    try:
        os.link(temporary, path)  # never over another's
    except FileExistsError:
        if read_run_id(root) is None:  # cut off before it was written
            os.replace(temporary, path)  # noqa: PTH105
    finally:
        temporary.unlink(missing_ok=True)
    return read_run_id(root) or ""


@dataclass(frozen=True, slots=True)
class Label:
    """What a job's comment says.

    Parameters
    ----------
    study
        Name of the study folder.
    key
        What the job is to make: ``step/unit`` or ``stage/shard``.
    digest
        Short digest of what it is to do exactly; another one means that it does something else.
    text
        For people.
    """

    study: str
    key: str
    digest: str = "-"
    text: str = ""

    def comment(self) -> str:
        """The words for ``--comment``: any text fits in and comes back; what people read has single blanks."""
        words = (quote(word, safe=_PLAIN) or "-" for word in (self.study, self.key, self.digest))
        return " ".join([*words, quote(" ".join(self.text.split()), safe=_PLAIN + " ")]).strip()

    @classmethod
    def parse(cls, comment: str) -> Label | None:
        """Read a comment; None when it is none of ours."""
        study, key, digest, text = (*comment.split(" ", 3), "", "", "")[:4]
        if not key:
            return None
        return cls(unquote(study), unquote(key), unquote(digest) or "-", unquote(text))


# ---------------------------------------------------------------------- submitting

_OPTIONS = {
    "slurm_partition": "--partition",
    "slurm_account": "--account",
    "qos": "--qos",
    "reservation": "--reservation",
    "clusters": "--clusters",
    "constraint": "--constraint",
    "gres": "--gres",
    "nodes": "--nodes",
}
# What is ours to say; `slurm_extra` may not.
_OURS = (
    *("--job-name", "-J", "--comment", "--output", "-o", "--error", "-e", "--export", "--parsable", "--wrap"),
    *("--requeue", "--no-requeue", "--array", "-a", "--wait", "-W", "--chdir", "-D", "--dependency", "-d"),
)


def options(resources: Mapping[str, Any], threads: int, margin_mb: int = 0) -> list[str]:
    """The words for ``sbatch`` that say what a job needs, from resources as Snakemake names them.

    Parameters
    ----------
    resources
        ``mem_mb`` or ``mem_mb_per_cpu``, ``runtime`` (minutes), ``slurm_partition``, ``slurm_account``, ``qos``,
        ``constraint``, ``gres`` or ``gpu`` with ``gpu_model``, ``cpus_per_task``, ``nodes``, ``slurm_extra``; others
        are not Slurm's.
    threads
        Cores, unless ``cpus_per_task`` says otherwise.
    margin_mb
        Memory on top of ``mem_mb`` for what runs around the tool.

    Raises
    ------
    SlurmRefusedError
        If ``slurm_extra`` sets what is set here.
    """
    given = {name: value for name, value in resources.items() if value not in (None, "", "None")}
    words = [f"{option}={given[name]}" for name, option in _OPTIONS.items() if name in given]
    words += [f"--cpus-per-task={max(1, int(given.get('cpus_per_task', threads)))}"]
    if "mem_mb" in given:
        words += [f"--mem={math.ceil(given['mem_mb']) + margin_mb}M"]
    elif "mem_mb_per_cpu" in given:
        words += [f"--mem-per-cpu={math.ceil(given['mem_mb_per_cpu'])}M"]
    if "runtime" in given:
        words += [f"--time={math.ceil(given['runtime'])}"]
    if given.get("gpu"):
        model = f"{given['gpu_model']}:" if "gpu_model" in given else ""
        words += [f"--gpus={model}{given['gpu']}"]
    return [*words, *_extra(str(given.get("slurm_extra", "")))]


def _extra(text: str) -> list[str]:
    words = shlex.split(text)
    taken = [word for word in words if word.partition("=")[0] in _OURS]
    if taken:
        raise SlurmRefusedError(f"slurm_extra: found {' '.join(taken)}, which is set for each job already")
    return words


def is_full(said: str) -> bool:
    """Whether a refusal only means that no more jobs may be in the queue at once."""
    return bool(_FULL.search(said))


def limit_in(said: str) -> str | None:
    """Slurm's name of the limit of an account or a QOS that a refusal is about, such as ``QOSMaxCpuPerJobLimit``."""
    found = _LIMIT.search(said)
    return found[0] if found else None


def is_unready(said: str) -> bool:
    """Whether a refusal may only mean that nodes have not reported to the controller again after its restart."""
    return "node configuration is not available" in said


def job_environment(extra: Iterable[str] = (), environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment that a job is given: this one without secrets and without a surrounding job's variables.

    Parameters
    ----------
    extra
        Names that are passed on whatever they are.
    """
    given, wanted = os.environ if environment is None else environment, set(extra)

    def is_kept(name: str) -> bool:
        if name in wanted or name in ("SLURM_CONF", "SLURM_CLUSTERS"):
            return True
        return not name.startswith(("SLURM_", "SLURMD_", "PMI", "SNAKESCOPE_EVENTS")) and not _SECRET.search(name)

    return {name: value for name, value in given.items() if is_kept(name)}


def script(body: str, about: str = "") -> str:
    """A job script around some lines of bash: its log ends with their exit code, also after a TERM."""
    about = " ".join(about.split())
    return (
        f'#!/bin/bash\n# {about}\ntrap : TERM INT\n(\n{body}\n)\ncode=$?\necho "snakescope: exit $code"\nexit $code\n'
    )


def submit(
    text: str,
    needs: Sequence[str],
    *,
    name: str,
    comment: str,
    log: str,
    after: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> str:
    """Give a script to Slurm.

    Parameters
    ----------
    text
        The script; it travels through a pipe and lies in no file of ours.
    needs
        Words of `options`.
    name, comment
        The run's id, and `Label.comment`.
    log
        File for what the script prints; its folder must be there. ``%j`` stands for the job's id.
    after
        Jobs whose end it waits for.

    Returns
    -------
    The job's id.
    """
    words = ["sbatch", "--parsable", "--no-requeue", "--export=ALL", f"--job-name={name}", f"--comment={comment}"]
    words += [f"--output={log}", *needs]
    words += [f"--dependency=afterany:{':'.join(after)}"] if after else []
    said = call(*words, stdin=text, environment=job_environment() if environment is None else environment)
    found = [line.split(";")[0].strip() for line in said.splitlines() if line.strip()]
    if not found or not found[-1].isdecimal():
        raise SlurmAwayError(f"sbatch ended well but told no job id ({said.strip()!r})")
    return found[-1]


def test_only(needs: Sequence[str]) -> str:
    """Ask whether such a job could run at all; nothing is submitted.

    Raises
    ------
    SlurmRefusedError
        If it could not.
    """
    return call("sbatch", "--test-only", *needs, stdin="#!/bin/sh\n:\n", environment=job_environment())


def cancel(ids: Sequence[str]) -> None:
    """Cancel jobs; those that have ended are passed over."""
    for part in parts(ids):
        call("scancel", "--quiet", *part)


def parts(ids: Sequence[str]) -> list[list[str]]:
    """Ids in portions that one command line takes."""
    return [list(ids[start : start + BATCH]) for start in range(0, len(ids), BATCH)]


# ---------------------------------------------------------------------- asking


@dataclass(frozen=True, slots=True)
class QueuedJob:
    """A job that waits or runs."""

    id: str
    state: str
    reason: str
    label: Label

    @property
    def waits(self) -> bool:
        """Whether it has not begun."""
        return self.state == "PENDING"


def queue(name: str, folder: Path) -> dict[str, QueuedJob]:
    """The jobs of a run that wait or run, by id, in one call.

    Parameters
    ----------
    name
        The run's id.
    folder
        Folder that they work in; those of a copy of the study elsewhere are not ours.
    """
    return _listed(name, folder)


def known(name: str, folder: Path) -> dict[str, QueuedJob]:
    """As `queue`, with the jobs that have ended and that the controller still remembers."""
    return _listed(name, folder, "--states=all")


def remembers_s() -> float:
    """For how many seconds at least the controller remembers a job that has ended (``MinJobAge``)."""
    found = re.search(r"^MinJobAge\s*=\s*([0-9]+)", call("scontrol", "show", "config"), re.MULTILINE)
    return float(found[1]) if found else 0.0


def _listed(name: str, folder: Path, *words: str) -> dict[str, QueuedJob]:
    said = call("squeue", f"--name={name}", f"--user={os.getuid()}", *words, "--noheader", "--format=%i|%T|%r|%k|%Z")
    found = {}
    for line in said.splitlines():
        fields = line.split("|", 4)
        label = Label.parse(fields[3]) if len(fields) == 5 else None
        if label is not None and same_folder(fields[4], folder):
            found[fields[0]] = QueuedJob(fields[0], fields[1], fields[2], label)
    return found


def same_folder(told: str, folder: Path) -> bool:
    """Whether a working folder that Slurm tells is this one."""
    return os.path.realpath(told) == os.path.realpath(folder)
