"""The record of a job: what it did, to which bytes, where and when (``records/<unit>/<step>.json``).

Jobs write records themselves (``workflow/job.sh``); this module reads them, adds what other files of the
job know, and computes the same digests for whoever checks them. It knows nothing of pipelines or studies.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from snakescope import layout
from snakescope.errors import problem

SCHEMA = 1
# Snakemake puts it into a folder that a rule made, when the job and its record are done.
TIMESTAMP = ".snakemake_timestamp"


@dataclass(frozen=True, slots=True)
class FileFacts:
    """A file that a job read or wrote.

    Parameters
    ----------
    port
        The tool's name for it.
    path
        Relative to the study folder, or an address in iRODS; ``~`` stands for a home folder.
    bytes, sha256
        Size and digest; of a folder, the sum of its files and the digest of their sorted ``sha256sum`` list.
        None when not taken.
    axes, shape, dtype, scale
        What an OME-Zarr says of itself: one size and one scale an axis, in its own units (µm, s). None otherwise.
    record
        Record that holds the digest, when another job took it.
    listing
        Of a folder, its sorted ``sha256sum`` list without the last line end, where this job took the digest. None
        for a list of more than 20,000 characters, and where a name in it is of other than plain letters.
    checksum
        What the catalogue of iRODS says of the object, in its own form. None without one, and for other files.
    staged
        Where the job found its copy of an image that lies in iRODS. None for other files.
    """

    port: str
    path: str
    bytes: int | None = None
    sha256: str | None = None
    axes: str | None = None
    shape: tuple[int, ...] | None = None
    dtype: str | None = None
    scale: tuple[float, ...] | None = None
    record: str | None = None
    listing: str | None = None
    checksum: str | None = None
    staged: str | None = None

    @property
    def here(self) -> str:
        """Where the job read or wrote it: of what lies in iRODS, the copy that was staged."""
        return self.staged or self.path

    @property
    def files(self) -> dict[str, str]:
        """The sha256 of each file in a folder by its path there; empty without a listing."""
        lines = (self.listing or "").splitlines()
        return {name: sha256 for sha256, _, name in (line.partition("  ") for line in lines)}

    @property
    def voxel_size_um(self) -> tuple[float | None, float | None, float | None] | None:
        """Voxel size z, y, x in µm, as the OME-Zarr says; None for other files."""
        if self.axes is None or self.scale is None:
            return None
        by_axis = dict(zip(self.axes, self.scale, strict=False))
        return by_axis.get("z"), by_axis.get("y"), by_axis.get("x")


@dataclass(frozen=True, slots=True)
class JobRecord:
    """What one job did. Times are UTC; unknown is None."""

    path: Path
    status: str
    unit: str
    samples: tuple[str, ...]
    step: str
    snakemake: str | None
    started_at: str
    ended_at: str
    wall_s: float | None
    cpu_s: float | None
    peak_memory_mb: float | None
    exit_code: int
    host: str
    scheduler: dict[str, Any] | None
    environment: dict[str, Any]
    tool_version_observed: str | None
    argv: tuple[str, ...]
    row_parameters: dict[str, str]
    inputs: tuple[FileFacts, ...]
    outputs: tuple[FileFacts, ...]
    compiled: dict[str, Any]

    @property
    def parameters(self) -> list[dict[str, Any]]:
        """Name, value and unit of every parameter, with the values that the row brought along."""
        return [
            {**parameter, "value": self.row_parameters.get(parameter["name"], parameter["value"])}
            for parameter in self.compiled["parameters"]
        ]


def read_record(path: Path, study: Path | None = None) -> JobRecord:
    """Read a record, or the facts of a failure.

    Parameters
    ----------
    path
        The JSON file.
    study
        Study folder; with it, peak memory is taken from the job's benchmark, and what Slurm says of the job from
        ``records/slurm.jsonl``.

    Raises
    ------
    InputError
        If the file is missing or is not such a record.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        found = data.pop("schema")
        if found == SCHEMA:
            return _job_record(path, data, study)
    except FileNotFoundError:
        raise problem(path, "there is no such record") from None
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise problem(path, f"not a record of a job ({error})", "Delete it; the job will run again.") from error
    raise problem(path, f"found a record of schema {found}; expected {SCHEMA}", "Use the snakescope that wrote it.")


def _job_record(path: Path, data: dict[str, Any], study: Path | None) -> JobRecord:
    for key in ("samples", "argv"):
        data[key] = tuple(data[key])
    for key in ("inputs", "outputs"):
        data[key] = tuple(_file(item) for item in data[key])
    data["peak_memory_mb"] = _peak_memory(study / layout.benchmark(data["unit"], data["step"])) if study else None
    if study and data["scheduler"] and data["scheduler"].get("kind") == "slurm":
        data["scheduler"] = _of_slurm(study, data["scheduler"])
    return JobRecord(path=path, **data)


# What a record takes over of a line of ``records/slurm.jsonl``. Of several rows in one Slurm job it speaks of that job.
SLURM_FIELDS = (
    *("state", "node", "submitted_at", "started_at", "ended_at", "queue_s", "elapsed_s", "cpu_s", "max_rss_mb"),
    *("cpus", "mem_mb", "attempt"),
)


def _of_slurm(study: Path, scheduler: dict[str, Any]) -> dict[str, Any]:
    """What a job knew of its Slurm job, with what Slurm said when that had ended; unknown is None."""
    said = slurm_facts(study).get(scheduler.get("job_id") or "", {})
    return scheduler | {key: said.get(key) for key in SLURM_FIELDS}


def slurm_facts(study: Path) -> Mapping[str, dict[str, Any]]:
    """The lines of ``records/slurm.jsonl`` by the id of the job; one that was cut off is passed over."""
    path = study / layout.slurm_facts()
    try:
        told = path.stat()
    except OSError:
        return {}
    return _read_slurm_facts(path, told.st_size, told.st_mtime_ns)


@lru_cache(maxsize=2)
def _read_slurm_facts(path: Path, _size: int, _changed: int) -> Mapping[str, dict[str, Any]]:
    found = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            facts = json.loads(line)
            found[str(facts["job_id"])] = facts
        except (ValueError, KeyError, TypeError):
            continue
    return found


def _file(item: dict[str, Any]) -> FileFacts:
    lists: dict[str, Any] = {key: tuple(item[key]) for key in ("shape", "scale") if key in item}
    return FileFacts(**(item | lists))


def _peak_memory(benchmark: Path) -> float | None:
    """Largest resident memory in MB from Snakemake's benchmark; None when it took none or was killed before."""
    try:
        with benchmark.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
        return max(float(row["max_rss"]) for row in rows)
    except (OSError, ValueError, KeyError, TypeError):  # cut off, too
        return None


def read_records(study: Path) -> Iterator[JobRecord]:
    """All records of a study, in order of their paths."""
    for path in sorted((study / layout.RECORDS).glob("*/*.json")):
        yield read_record(path, study)


def digest(path: Path) -> str:
    """The sha256 that a record gives for a file or folder.

    For a folder (an OME-Zarr) it is the sha256 of the text that ``sha256sum`` prints for its files, one line a
    file, ``digest, two blanks, path``, in byte order of the paths. Snakemake's own mark in a folder is left out.
    """
    if not path.is_dir():
        return _file_digest(path)
    return folder_digest({item.relative_to(path).as_posix(): _file_digest(item) for item in files_of(path)})


def folder_digest(files: Mapping[str, str]) -> str:
    """Digest of a folder, as `digest` defines it, from the digests of its files by name."""
    lines = (sum_line(files[name], name) for name in sorted(files, key=lambda name: os.fsencode(_as_listed(name))))
    return hashlib.sha256(os.fsencode("".join(lines))).hexdigest()


def sum_line(sha256: str, name: str) -> str:
    """The line that ``sha256sum`` prints; a backslash before it tells of one, or a line end, escaped in the name."""
    listed = _as_listed(name)
    return f"{'' if listed == name else chr(92)}{sha256}  {listed}\n"


def _as_listed(name: str) -> str:
    return name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    return sum(item.stat().st_size for item in files_of(path)) if path.is_dir() else path.stat().st_size


def files_of(folder: Path) -> Iterator[Path]:
    """Ordinary files at any depth; links are not followed."""
    found = (item for item in folder.rglob("*") if item.is_file() and not item.is_symlink())
    return (item for item in found if item.name != TIMESTAMP)


def reason(log: Path) -> str:
    """Why a job failed, in one line, from its log.

    That is the last ``error:`` with its indented lines, what ITK or Java say of an exception, else the last line.
    """
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _TAIL))
            text = file.read().decode(errors="replace")
    except OSError:
        return "it left no log"
    lines = [printable(line) for line in text.splitlines() if line.strip()]
    if not lines:
        return f"it said nothing{_ended(log)}"
    starts = [index for index, line in enumerate(lines) if line.lower().startswith(("error:", "error "))]
    if not starts or not lines[starts[-1]].startswith("error: "):  # which is what ours say, and more than the others
        told = _exception(lines)
        if told:
            return told
    return _error(lines, starts[-1]) if starts else lines[-1].strip()


def printable(text: str) -> str:
    """A line of a log without what would change the terminal it is shown on; very long ones are cut."""
    text = text if len(text) <= _LONG else f"{text[:_LONG]} ..."
    return "".join(char if char.isprintable() else " " for char in _COLOURS.sub("", text)).rstrip()


_LONG = 1000
# A program may print gigabytes; why it ended stands at the end.
_TAIL = 4_000_000
_COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def _ended(log: Path) -> str:
    """How a program ended that said nothing, where the facts of its failure are beside its log."""
    try:
        code = json.loads(log.with_suffix(".failed.json").read_text(encoding="utf-8")).get("exit_code")
    except (OSError, ValueError, AttributeError):
        return ""
    return "" if code is None else f" and ended with the exit status {code}"


def _error(lines: Sequence[str], start: int) -> str:
    """The line that begins an error, and those that belong to it."""
    told = [lines[start]]
    following = list(lines[start + 1 :])
    if lines[start].lower() == "error:" and following:
        told.append(following.pop(0).strip())
    for line in following:
        if not line.startswith((" ", "\t")):
            break
        told.append(line.strip())
    return " ".join(told)


_ITK = re.compile(r"Description: ((?:itk::|ITK )ERROR: .*)")
_JAVA = re.compile(r'(?:Exception in thread "[^"]*" |Caused by: )?((?:\w+\.)+\w*(?:Exception|Error)\b.*)')
_JAVA_TRACE = re.compile(r"\s*(?:at [\w.$/<>]+\(.*\)|\.\.\. \d+ more)")


def _exception(lines: Sequence[str]) -> str | None:
    """What ITK says of an exception, without its address in memory; or Java, at the end of a log."""
    described = [match[1] for line in lines if (match := _ITK.match(line))]
    if described:
        return re.sub(r"\(0x[0-9a-f]+\)", "", described[-1])
    if _JAVA_TRACE.fullmatch(lines[-1]):
        heads = [match[1] for line in lines if (match := _JAVA.match(line))]
        return heads[-1] if heads else None
    return None
