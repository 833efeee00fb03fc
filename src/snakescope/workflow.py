"""What compiled rules look up while Snakemake runs: files of a group, facts of an image, resources.

Reads the compiled plan (``rules/<pipeline>/plan.json``) and the sample sheet, and of a job that is tried again why it
has to be; nothing else: no image, no network, no folder. Every job of a cluster imports it, so it stays light.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote

from snakescope import layout
from snakescope.environments.images import (
    State,
    image_sha256,
    read_image_lock,
    read_site_images,
)
from snakescope.errors import InputError, Problem, problem
from snakescope.samples import Row, Sheet, format_number, read_sheet
from snakescope.tool.expressions import ExpressionError, UnknownValueError, evaluate_number
from snakescope.tool.geometry import Geometry, derive
from snakescope.tool.image_names import with_digest

# Used when a resource depends on something that the sheet does not tell.
UNKNOWN_RESOURCE = {"mem_mb": 4000, "runtime_min": 60, "disk_mb": 10_000}
FACT_FLAGS = {
    "voxel_size_um": "--voxel-size-um",
    "time_step_s": "--time-step-s",
    "scene": "--scene",
    "t_index": "--t-index",
    "stack_axis": "--stack-axis",
}


# What the name of a staged copy keeps of its source; an OME-Zarr that is packed as one object is unpacked.
_SUFFIX = re.compile(r"((?:\.ome)?\.[A-Za-z0-9]{1,10})$", re.IGNORECASE)
_PACKED = re.compile(r"((?:\.ome)?\.zarr)\.(zip|tar|tar\.gz|tgz)$", re.IGNORECASE)
# Connections to a zone that one staging job opens at most, and the bytes that are worth one more.
CONNECTIONS = 4
BYTES_A_CONNECTION = 32 * 2**20


Mode = Literal["host", "conda", "apptainer"]
# The host's shell of a job whose tool uses a GPU: it starts Apptainer with --nv. In the image, `sh` is meant by both.
GPU_SHELL = "workflow/nv/sh"


def mode_of(methods: Iterable[object]) -> Mode:
    """Where tools run, from Snakemake's deployment methods: an image goes before an environment."""
    names = {getattr(method, "name", str(method)).lower() for method in methods}
    return "apptainer" if "apptainer" in names else "conda" if "conda" in names else "host"


class Plan:
    """A compiled pipeline together with the rows it runs over.

    Parameters
    ----------
    compiled
        Content of ``plan.json``.
    sheet
        The sample sheet, or the part of it that this run is about.
    mode
        Where the tools run: on this machine, in conda environments, or in Apptainer images.
    root
        Study folder.
    """

    def __init__(self, compiled: Mapping[str, Any], sheet: Sheet, *, mode: Mode = "host", root: Path = Path()) -> None:
        self.compiled, self.sheet, self.mode, self.root = compiled, sheet, mode, root
        self.steps: Mapping[str, Any] = compiled["steps"]
        self._groups: dict[tuple[str, ...], dict[str, list[Row]]] = {}
        self._geometry: dict[tuple[str, str, str], Geometry] = {}

    @classmethod
    def read(cls, pipeline: str, sheet: str | Sheet, root: Path = Path(), *, methods: Iterable[object] = ()) -> Plan:
        """Read the compiled plan of a pipeline and a sample sheet, both relative to the study folder `root`.

        A sheet that has been read already is taken as it is. `methods` are the deployment methods that Snakemake was
        given.
        """
        path = root / layout.plan_file(pipeline)
        if not path.is_file():
            fix = f"Run: snakescope compile {pipeline}"
            raise problem(path, "the pipeline has not been compiled", fix)
        compiled = json.loads(path.read_text(encoding="utf-8"))
        read = sheet if isinstance(sheet, Sheet) else read_sheet(root / sheet)
        return cls(compiled, read, mode=mode_of(methods), root=root)

    @property
    def rule_files(self) -> list[str]:
        """The rule files of the steps, in order, relative to the study folder."""
        return [layout.rule_file(self.compiled["pipeline"], step) for step in self.steps]

    @property
    def wildcards(self) -> list[str]:
        """Names of the wildcards of all rules."""
        return list(dict.fromkeys("_".join(step["over"]) or "sample" for step in self.steps.values()))

    def targets(self) -> list[str]:
        """Every record of every step: what a complete run has made."""
        return [layout.record(unit, step) for step in self.steps for unit in self.units(step)]

    def units(self, step: str) -> Mapping[str, list[Row]]:
        """The rows that each job of a step works on, by the unit's id."""
        return self._grouped(tuple(self.steps[step]["over"]))

    def _grouped(self, over: tuple[str, ...]) -> dict[str, list[Row]]:
        if over not in self._groups:
            rows = self.sheet.groups(over, unique_t=True) if over else {row.id: [row] for row in self.sheet.rows}
            self._groups[over] = rows
        return self._groups[over]

    @cached_property
    def _unit_of_row(self) -> Callable[[tuple[str, ...], str], str]:
        tables: dict[tuple[str, ...], dict[str, str]] = {}

        def look_up(over: tuple[str, ...], row_id: str) -> str:
            if over not in tables:
                tables[over] = {row.id: unit for unit, rows in self._grouped(over).items() for row in rows}
            return tables[over][row_id]

        return look_up

    def samples(self, step: str, unit: str) -> list[str]:
        """Ids of the rows that a job works on."""
        return [row.id for row in self.units(step)[unit]]

    def inputs(self, step: str, port: str, unit: str) -> list[str]:
        """The files wired to an input, in the order of their time points; never to be taken for a flag."""
        return [f"./{path}" if path.startswith("-") else path for path in self._paths(step, port, unit)]

    def _paths(self, step: str, port: str, unit: str) -> list[str]:
        wire = self.steps[step]["inputs"][port]
        if wire["from"] == "file":
            return [wire["path"]]
        rows = self.units(step)[unit]
        if wire["from"] == "sheet":
            if wire["column"] == "path":
                return [row_file(row) for row in rows]
            return [self._cell(row, wire["column"]) for row in rows]
        return [layout.result(source, wire["step"], wire["file"]) for source in self._upstream_units(wire, rows)]

    def declared(self, step: str, port: str, unit: str) -> list[str]:
        """The files of an input that comes from outside, as far as Snakemake can be told of them.

        It may take a brace in a file name for a wildcard, so such a file is not declared: it is read, recorded and
        checked all the same, but a new date on it does not make the job run again. Of a staged copy it is its folder.
        """
        paths = self._paths(step, port, unit)
        wire = self.steps[step]["inputs"][port]
        if wire["from"] == "sheet" and wire["column"] == "path":
            rows = self.units(step)[unit]
            paths = [layout.staged(row.id) if row.remote else row.path for row in rows]
        return [path for path in paths if "{" not in path]

    def _upstream_units(self, wire: Mapping[str, Any], rows: Sequence[Row]) -> list[str]:
        over = tuple(self.steps[wire["step"]]["over"])
        return list(dict.fromkeys(self._unit_of_row(over, row.id) for row in rows))

    def _cell(self, row: Row, column: str) -> str:
        value = row.path if column == "path" else row.cell(column)
        if not value:
            where = f"{self.sheet.where(row)}: {column}"
            raise problem(where, "found an empty cell; the pipeline needs it", f"Fill the column {column!r}.")
        return value

    def value(self, step: str, param: str, unit: str) -> str:
        """A parameter that the row brings along; all rows of a group must agree."""
        column = self.steps[step]["params"][param]["column"]
        values = {self._cell(row, column) for row in self.units(step)[unit]}
        if len(values) > 1:
            found = ", ".join(sorted(values)[:3])
            raise problem(f"{self.sheet.where()}: {column}", f"the rows of {unit!r} disagree ({found})")
        return values.pop()

    def known(self, step: str, port: str, unit: str) -> list[str]:
        """Where the digest of each sheet input comes from: the sheet, another job's record, or ``-`` (take it now)."""
        first = self.steps[step]["inputs"][port].get("hashed_by")
        if first:
            over = tuple(self.steps[first]["over"])
            return [layout.record(self._unit_of_row(over, row.id), first) for row in self.units(step)[unit]]
        return [_known_digest(row) for row in self.units(step)[unit]]

    def shared_key(self, step: str, port: str, unit: str) -> list[str]:
        """Names under which the digests of shared inputs are kept, one for each file."""
        return [hashlib.sha256(path.encode()).hexdigest()[:16] for path in self.inputs(step, port, unit)]

    def facts(self, step: str, port: str, unit: str) -> list[str]:
        """Flags and values for what the sheet knows of an input; unknown facts are left out."""
        wanted = self.steps[step]["inputs"][port]["facts"]
        pairs = ((FACT_FLAGS[fact], self.fact(step, port, fact, unit)) for fact in wanted)
        return [word for flag, values in pairs if values for word in (flag, *values)]

    def fact(self, step: str, port: str, fact: str, unit: str) -> list[str]:
        """One fact of an input as words for a command line; empty when it is not known."""
        rows = self.units(step)[unit]
        if fact == "t_index":
            times = [row.t for row in rows]
            return [str(t) for t in times] if None not in times else []
        if fact == "time_step_s":
            step_s = _agreed([row.time_step_s for row in rows])
            return [format_number(step_s)] if step_s is not None else []
        if self.steps[step]["inputs"][port]["from"] != "sheet":
            return []
        if fact == "stack_axis":  # a plain TIFF does not say; the sheet's axes do
            return (
                ["t"]
                if all(r.format == "tiff" and "t" in (r.axes or "") and "z" not in (r.axes or "") for r in rows)
                else []
            )
        if fact == "scene":
            scene = _agreed([row.scene for row in rows])
            return [str(scene)] if scene else []
        z, y, x = _agreed([row.voxel_size_um for row in rows]) or (None, None, None)
        if y is None or x is None:
            return []
        return [",".join(format_number(size) for size in ((y, x) if z is None else (z, y, x)))]

    def optional_words(self, step: str, index: int, unit: str) -> list[str]:
        """An optional part of a command: its words, or nothing when a value in it is not known."""
        words: list[str] = []
        for part in self.steps[step]["optional"][index]:
            found = [part["text"]] if "text" in part else self.fact(step, part["port"], part["fact"], unit)
            if not found:
                return []
            words += found
        return words

    def geometry(self, step: str, port: str, unit: str) -> Geometry:
        """What is known, before any job runs, of an output (or, for a file from the sheet, of that file)."""
        key = (step, port, unit)
        if key not in self._geometry:
            self._geometry[key] = self._output_geometry(step, port, unit)
        return self._geometry[key]

    def _output_geometry(self, step: str, port: str, unit: str) -> Geometry:
        output = self.steps[step]["outputs"][port]
        if not output.get("like"):
            return Geometry(output.get("axes"), None, output.get("dtype"))
        source = self.input_geometry(step, output["like"], unit)
        return derive(
            source,
            self._names(step, unit),
            dtype=output.get("dtype"),
            shape=output.get("shape", {}),
            voxel_size_um=output.get("voxel_size_um", {}),
            axes=output.get("axes"),
        )

    def input_geometry(self, step: str, port: str, unit: str) -> Geometry:
        """What is known of an input; of the first file where there are several."""
        wire = self.steps[step]["inputs"].get(port)
        rows = self.units(step)[unit]
        if wire is None or wire["from"] == "file" or (wire["from"] == "sheet" and wire["column"] != "path"):
            return Geometry()
        if wire["from"] == "sheet":
            row = rows[0]
            return Geometry(row.axes, row.shape, row.dtype, row.voxel_size_um, row.time_step_s, row.bytes)
        return self.geometry(wire["step"], wire["port"], self._upstream_units(wire, rows)[0])

    def _names(self, step: str, unit: str) -> dict[str, Any]:
        """Names for the expressions of a step."""
        compiled = self.steps[step]
        inputs = {port: self.input_geometry(step, port, unit).names() for port in compiled["inputs"]}
        primary = inputs.get(compiled["primary"]) or Geometry().names()
        params = {name: self._param(step, name, value, unit) for name, value in compiled["params"].items()}
        return {
            **primary,
            **inputs,
            **params,
            "inputs": inputs,
            "rows": len(self.units(step)[unit]),
            "threads": compiled["threads"],
        }

    def _param(self, step: str, name: str, value: Any, unit: str) -> Any:
        if not isinstance(value, dict):
            return value
        text = self.value(step, name, unit)
        if text in ("true", "false"):
            return text == "true"
        try:
            return float(text)
        except ValueError:
            return text

    def resource(self, step: str, name: str, unit: str, attempt: int) -> int:
        """A resource of one job, rounded up to whole megabytes or minutes; grows as `amount` does."""
        return max(1, math.ceil(self.amount(step, name, unit, attempt)))

    def amount(self, step: str, name: str, unit: str, attempt: int) -> float:
        """A resource of one job as its expression says; grows with each attempt as the last one's end asks for.

        An expression that speaks of ``attempt`` says itself how it grows.
        """
        times = 1 if attempt == 1 else growth(layout.slurm_failure(unit, step), name, attempt)
        expression = self.steps[step]["resources"][name]
        if not isinstance(expression, str):
            return float(expression) * times
        try:
            value = evaluate_number(expression, {**self._names(step, unit), "attempt": times})
        except (UnknownValueError, ExpressionError):
            value = UNKNOWN_RESOURCE[name]
        return float(value if "attempt" in expression else value * times)

    # ------------------------------------------------------------------ where the tools run

    def image(self, step: str) -> str | None:
        """The image that a step runs in, as Snakemake wants it: the site's own, else the tool's; None for no image."""
        return self.images.get(step) if self.mode == "apptainer" else None

    @cached_property
    def images(self) -> dict[str, str]:
        """The image of each step that has one, whatever the mode: a digest in the lock file goes with the address."""
        found = {}
        for step, compiled in self.steps.items():
            image = self._site_images.get(compiled["tool"]) or self.needs(step).get("container")
            if image:
                found[step] = with_digest(image, self.lock.get(image, {}).get("digest"))
        return found

    @cached_property
    def _site_images(self) -> Mapping[str, str]:
        return read_site_images(self.root)

    @cached_property
    def lock(self) -> Mapping[str, Mapping[str, Any]]:
        """What ``envs/images.lock.yaml`` says of each image."""
        return read_image_lock(self.root)

    def needs(self, step: str) -> Mapping[str, Any]:
        """What the tool of a step needs around it, as compiled."""
        found: Mapping[str, Any] = self.steps[step].get("environment", {})
        return found

    def shell(self, step: str) -> dict[str, str]:
        """Resources of a rule: the shell in an image has the name of the host's, and many images have sh only."""
        if not self.image(step):
            return {}
        return {"shell_exec": GPU_SHELL if self.needs(step).get("gpu") else "sh"}

    def environment(self, step: str) -> list[str]:
        """What a job is told of where it runs: kind, image and its sha256 or -; or kind and environment file."""
        image, conda = self.image(step), self.needs(step).get("conda")
        if image:
            return ["apptainer", image, image_sha256(image, self.root, State.read(self.root)) or "-"]
        if self.mode == "conda" and conda:
            return ["conda", conda]
        return ["host"]

    # ------------------------------------------------------------------ rows that lie in iRODS

    @cached_property
    def remote_rows(self) -> dict[str, Row]:
        """The rows whose image lies in iRODS, by id, in the order of the sheet."""
        return {row.id: row for row in self.sheet.rows if row.remote}

    def stage_words(self, row_id: str) -> list[str]:
        """What the staging program is told of a row; a change in it makes the row be staged, and run, again."""
        row = self.remote_rows[row_id]
        words = [row.path, f"--name={Path(staged_path(row)).name}"]
        checksum = row.cell("checksum")
        return words + ([f"--checksum={checksum}"] if checksum else [])

    def stage_connections(self, row_id: str, cap: int | None = None) -> int:
        """How many connections staging a row opens: more for a large object, or for one of unknown size."""
        row = self.remote_rows[row_id]
        wanted = CONNECTIONS
        if row.bytes is not None and not staged_path(row).lower().endswith(".zarr"):
            wanted = min(wanted, 1 + row.bytes // BYTES_A_CONNECTION)
        return max(1, min(wanted, cap or wanted))

    def stage_disk_mb(self, row_id: str) -> int:
        """Room that staging a row needs; a packed one for a moment twice."""
        row = self.remote_rows[row_id]
        if row.bytes is None:
            return UNKNOWN_RESOURCE["disk_mb"]
        return 1 + math.ceil(row.bytes / 1e6) * (2 if _PACKED.search(unquote(row.path)) else 1)

    def window_problems(self, window: int) -> list[Problem]:
        """Jobs that read more staged copies at once than may lie on the disk."""
        found = []
        for step in self.raw_steps:
            for unit, rows in self.units(step).items():
                count = sum(row.remote for row in rows)
                if count > window:
                    message = f"step {step!r} reads {count} images of {unit!r} at once; at most {window} are staged"
                    fix = f"Set stage_window in {layout.CONFIG} to {count} or more."
                    found.append(Problem(self.sheet.where(), message, fix))
        return found

    def require_window(self, window: int) -> None:
        """Raise all `window_problems`."""
        problems = self.window_problems(window)
        if problems:
            raise InputError(problems)

    @property
    def raw_steps(self) -> list[str]:
        """The steps that read the rows' images, in order."""
        return [name for name, step in self.steps.items() if any(map(_reads_path, step["inputs"].values()))]

    def walk_units(self) -> Iterator[tuple[str, str, list[Row]]]:
        """Every job there is: step, unit, rows."""
        for step in self.steps:
            for unit, rows in self.units(step).items():
                yield step, unit, rows


def growth(failure: str | Path, name: str, attempt: int) -> int:
    """How many times its first value a resource is at an attempt.

    Parameters
    ----------
    failure
        What the executor left of the attempt before: a job that was killed for memory gets more memory, one that ran
        out of time more time, one whose node was lost the same. Without it everything grows with each attempt.
    name
        ``mem_mb``, ``runtime_min`` or another resource.
    """
    try:
        told = json.loads(Path(failure).read_text(encoding="utf-8"))
        return int(told["times"].get(name, 1))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return attempt


def prepare_jobs(snakemake_version: str, scheduler: type | None = None) -> None:
    """Tell the jobs of this process what no rule says, so that moving an installation makes nothing run again.

    A tool's ``python`` is the one that runs Snakemake, unless conda or an image brings its own; the version of
    Snakemake goes into the records.

    Parameters
    ----------
    snakemake_version
        Version of the Snakemake that reads the workflow.
    scheduler
        Its `JobScheduler`. Up to 9.27 each finished job starts a timer that looks over all ready jobs once a second
        from then on and never ends; after some hundred jobs that takes a whole core. One timer at a time does the
        same. See docs/design/scheduling.md.
    """
    own = os.path.dirname(sys.executable)  # noqa: PTH120 - not resolved: a virtual environment is a link
    os.environ["PATH"] = os.pathsep.join([own, os.environ.get("PATH", os.defpath)])
    os.environ["SNAKESCOPE_SNAKEMAKE"] = snakemake_version
    if hasattr(scheduler, "_schedule_reevalutation"):
        scheduler._schedule_reevalutation = _one_timer  # type: ignore[union-attr]


def _one_timer(scheduler: Any, delay: float) -> None:
    """Wake the scheduler after a delay, unless it is going to be woken anyway."""
    pending: threading.Timer | None = getattr(scheduler, "_pending_timer", None)
    if pending is None or not pending.is_alive() or pending is threading.current_thread():
        pending = threading.Timer(delay, scheduler._open_jobs.release)
        pending.daemon = True  # the end of a run does not wait for it
        scheduler._pending_timer = pending
        pending.start()


def staged_path(row: Row) -> str:
    """Where a row's image is read that lies in iRODS."""
    name = unquote(row.path.rstrip("/"))
    match = _PACKED.search(name) or _SUFFIX.search(name)
    return f"{layout.staged(row.id)}/{row.id}{match[1] if match else ''}"


def row_file(row: Row) -> str:
    """Where a row's image is read: its path, or the staged copy of what lies in iRODS."""
    return staged_path(row) if row.remote else row.path


def _reads_path(wire: Mapping[str, Any]) -> bool:
    return bool(wire["from"] == "sheet" and wire["column"] == "path")


def _known_digest(row: Row) -> str:
    """The digest of a row's image; that of a packed one is not that of the folder which is read.

    A job takes a staged copy's digest from where it was staged. The catalogue's checksum stands for it here, so that
    another one makes the job run again.
    """
    if row.remote and (_PACKED.search(unquote(row.path)) or not row.cell("sha256")):
        return "".join(row.cell("checksum").split()) or "-"
    return row.cell("sha256").lower() or "-"


def _agreed(values: Sequence[Any]) -> Any:
    """The value that all rows share, None where they differ."""
    return values[0] if all(value == values[0] for value in values) else None
