"""Which jobs of a pipeline are not done, told by the records alone.

A pair of step and unit is done when its record is there and is about the same thing as a job would be now: same tool
and script, same parameters, same inputs, of which it was told the same. Only that is read of a record; it is many times
faster than reading all of its JSON. Knows nothing of clusters.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

from snakescope import layout
from snakescope.errors import problem
from snakescope.workflow import FACT_FLAGS, Plan

State = Literal["new", "stale"]
# Reads under way at once: a shared disk answers late, but many at a time.
READERS = 8
CHUNK = 2048
# Wall times kept for each step.
SAMPLES = 1000

_ENTRY = re.compile(
    rb'^    \{"port": "([^"]*)", "path": ("(?:[^"\\]|\\.)*")'
    rb'(?:, "bytes": [^,}]*)?(?:, "sha256": "([0-9a-f]{64})")?(.*)$',
    re.MULTILINE,
)
_MORE = re.compile(rb'"(checksum|staged)": ("(?:[^"\\]|\\.)*")')
_HEAD = re.compile(rb'\n  "wall_s": ([0-9.]+|null),\n')
_ARGV = re.compile(rb'\n  "argv": \[(.*)\],\n')
_ROWS = re.compile(rb'\n  "row_parameters": (\{.*\}),\n')
_PARTS = (b'\n  "inputs": [', b'\n  "outputs": [', b'\n  "compiled": ')


@dataclass(frozen=True)
class Pending:
    """What is to be done.

    Parameters
    ----------
    pairs
        By step, the units that are not done: ``new`` without a record, ``stale`` with one that no longer holds.
        In the order of the pipeline and the sheet.
    done
        By step, how many units are done.
    wall_s
        By step, units that are done with their wall time in seconds; of the first thousand.
    """

    pairs: Mapping[str, Mapping[str, State]]
    done: Mapping[str, int]
    wall_s: Mapping[str, Sequence[tuple[str, float]]] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """How many pairs are not done."""
        return sum(len(units) for units in self.pairs.values())

    @property
    def stale(self) -> int:
        """How many of them have a record that no longer holds."""
        return sum(state == "stale" for units in self.pairs.values() for state in units.values())


class _Input(NamedTuple):
    path: str
    sha256: str | None
    checksum: str | None
    staged: str | None


@dataclass(frozen=True, slots=True)
class _Facts:
    """What is read of a record."""

    inputs: dict[str, list[_Input]]
    outputs: dict[str, str]
    argv: bytes
    rows: bytes
    compiled: bytes
    wall_s: float | None


def find_pending(plan: Plan, root: Path) -> Pending:
    """Compare all records with what a run would do now.

    Parameters
    ----------
    plan
        The compiled pipeline and the rows.
    root
        The study folder.
    """
    judge = _Judge(plan, root)
    here = _folders(root / layout.RECORDS)
    pairs: dict[str, dict[str, State]] = {}
    done: dict[str, int] = {}
    walls: dict[str, list[tuple[str, float]]] = {}
    with ThreadPoolExecutor(READERS) as readers:
        for step in in_order(plan):
            states: dict[str, State] = {}
            times: list[tuple[str, float]] = []
            for unit, data in _records(plan.units(step), step, root, here, readers):
                facts = judge.facts(step, unit, data)
                if facts is None:
                    states[unit] = "new" if data is None else "stale"
                elif facts.wall_s is not None and len(times) < SAMPLES:
                    times.append((unit, facts.wall_s))
            judge.pending[step] = states
            pairs[step], walls[step] = states, times
            done[step] = len(plan.units(step)) - len(states)
    return Pending({step: pairs[step] for step in plan.steps}, done, walls)


def in_order(plan: Plan) -> list[str]:
    """The steps, each after those that it takes from."""
    ordered: dict[str, None] = {}

    def add(step: str) -> None:
        if step not in ordered:
            for before in sources(plan, step):
                add(before)
            ordered[step] = None

    for step in plan.steps:
        add(step)
    return list(ordered)


def sources(plan: Plan, step: str) -> list[str]:
    """The steps that a step takes from."""
    wires = plan.steps[step]["inputs"].values()
    return list(dict.fromkeys(wire["step"] for wire in wires if wire["from"] == "step"))


def keep_failed(pending: Pending, plan: Plan, root: Path) -> Pending:
    """Only those that failed when they ran last, and those that wait for them."""
    logged = _folders(root / layout.LOGS)
    kept: dict[str, dict[str, State]] = {}
    for step in in_order(plan):
        units = pending.pairs[step]
        failed = {
            unit for unit in units if unit in logged and (root / layout.failure(unit, step)).is_file()
        } | _blocked(plan, step, kept)
        kept[step] = {unit: state for unit, state in units.items() if unit in failed}
    return Pending({step: kept[step] for step in plan.steps}, pending.done, pending.wall_s)


def _blocked(plan: Plan, step: str, kept: Mapping[str, Mapping[str, State]]) -> set[str]:
    """Units of a step that take from one that is kept."""
    rows = {row.id for before in sources(plan, step) for unit in kept[before] for row in plan.units(before)[unit]}
    return (
        {unit for unit, members in plan.units(step).items() if any(row.id in rows for row in members)}
        if rows
        else set()
    )


def _folders(path: Path) -> set[str]:
    try:
        with os.scandir(path) as entries:
            return {entry.name for entry in entries}
    except FileNotFoundError:
        return set()


def _records(
    units: Mapping[str, Any], step: str, root: Path, here: set[str], readers: ThreadPoolExecutor
) -> Iterator[tuple[str, bytes | None]]:
    """The content of each unit's record, None where there is none."""
    names = iter(units)
    base = os.fspath(root / layout.RECORDS)
    read = partial(_read, base, f"{step}.json", here)
    while chunk := list(islice(names, CHUNK)):
        parts = [chunk[i : i + CHUNK // READERS] for i in range(0, len(chunk), CHUNK // READERS)]
        for part, found in zip(parts, readers.map(read, parts), strict=True):
            yield from zip(part, found, strict=True)


def _read(base: str, name: str, here: set[str], units: Sequence[str]) -> list[bytes | None]:
    return [_content(f"{base}/{unit}/{name}") if unit in here else None for unit in units]


def _content(path: str) -> bytes | None:
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise problem(path, f"cannot be read ({error.strerror})") from error
    try:
        data = os.read(handle, 1 << 16)
        while len(data) >= 1 << 16 and (more := os.read(handle, 1 << 20)):
            data += more
        return data
    finally:
        os.close(handle)


class _Judge:
    """Decides on one record after the other, upstream first."""

    def __init__(self, plan: Plan, root: Path) -> None:
        self.plan = plan
        self.pending: dict[str, Mapping[str, State]] = {}
        self._digests: dict[str, str] = {}
        self._now = {step: _step_facts(plan, step, root) for step in plan.steps}
        self._same: dict[tuple[str, bytes], bool] = {}
        wires = [wire for step in plan.steps.values() for wire in step["inputs"].values()]
        self._wired = {(wire["step"], wire["file"]) for wire in wires if wire["from"] == "step"}
        self._checks = {step: list(self._port_checks(step)) for step in plan.steps}
        self._told = {
            step: [(port, fact) for port, wire in compiled["inputs"].items() for fact in wire.get("facts", ())]
            for step, compiled in plan.steps.items()
        }
        self._columns = {
            step: {name for name, value in compiled["params"].items() if isinstance(value, dict)}
            for step, compiled in plan.steps.items()
        }

    def facts(self, step: str, unit: str, data: bytes | None) -> _Facts | None:
        """What a record says; None when the job is not done."""
        found = _parse(data) if data is not None else None
        if found is None or not self._holds(step, unit, found):
            return None
        for path, sha256 in found.outputs.items():
            if (step, path.rpartition("/")[2]) in self._wired:
                self._digests[path] = sha256[:16]
        return found

    def _holds(self, step: str, unit: str, facts: _Facts) -> bool:
        return (
            self._same_tool(step, facts.compiled)
            and self._same_rows(step, unit, facts.rows)
            and all(self._fact_holds(step, port, fact, unit, facts.argv) for port, fact in self._told[step])
            and facts.inputs.keys() == self.plan.steps[step]["inputs"].keys()
            and all(check(unit, facts) for check in self._checks[step])
        )

    def _same_tool(self, step: str, compiled: bytes) -> bool:
        key = step, compiled
        if key not in self._same:
            self._same[key] = _identity(_json(compiled)) == self._now[step]
        return self._same[key]

    def _same_rows(self, step: str, unit: str, rows: bytes) -> bool:
        columns = self._columns[step]
        if not columns:
            return rows == b"{}"
        return bool(_json(rows) == {name: self.plan.value(step, name, unit) for name in columns})

    def _fact_holds(self, step: str, port: str, fact: str, unit: str, argv: bytes) -> bool:
        """Whether the job was told of an image what the sheet says now; a job that is not told by a flag passes."""
        flag = f'"{FACT_FLAGS[fact]}"'
        if flag.encode() not in argv:
            return True
        values = self.plan.fact(step, port, fact, unit)
        return not values or ", ".join([flag, *map(json.dumps, values)]).encode() in argv

    def _port_checks(self, step: str) -> Iterator[Callable[[str, _Facts], bool]]:
        for port, wire in self.plan.steps[step]["inputs"].items():
            if wire["from"] == "step":
                yield partial(self._upstream_holds, step, port, wire["step"])
            elif wire["from"] == "sheet" and wire["column"] == "path":
                yield partial(self._image_holds, step, port)
            else:
                yield partial(self._paths_hold, step, port)

    def _upstream_holds(self, step: str, port: str, source: str, unit: str, facts: _Facts) -> bool:
        paths = self.plan.inputs(step, port, unit)
        inputs = facts.inputs[port]
        if [item.path for item in inputs] != paths:
            return False
        again = self.pending[source]
        for item in inputs:
            if again and item.path.split("/", 2)[1] in again:
                return False
            now = self._digests.get(item.path)
            if item.sha256 and now and item.sha256[:16] != now:
                return False
        return True

    def _paths_hold(self, step: str, port: str, unit: str, facts: _Facts) -> bool:
        paths, inputs = self.plan.inputs(step, port, unit), facts.inputs[port]
        return len(paths) == len(inputs) and all(map(_same_path, (item.path for item in inputs), paths))

    def _image_holds(self, step: str, port: str, unit: str, facts: _Facts) -> bool:
        rows, inputs = self.plan.units(step)[unit], facts.inputs[port]
        paths = self.plan.inputs(step, port, unit)
        if len(rows) != len(inputs):
            return False
        for row, item, path in zip(rows, inputs, paths, strict=True):
            if row.remote:
                checksum = row.cell("checksum")
                same = item.path == row.path and item.staged == path
                if not same or (checksum and item.checksum and item.checksum != checksum):
                    return False
                continue
            known = row.cell("sha256").lower()
            if not _same_path(item.path, path) or (known and item.sha256 and item.sha256 != known):
                return False
        return True


def _same_path(recorded: str, path: str) -> bool:
    """Whether a record means that path; it writes the home folder as ``~``."""
    return recorded == path or (recorded.startswith("~/") and path.startswith("/") and path.endswith(recorded[1:]))


def _step_facts(plan: Plan, step: str, root: Path) -> Any:
    path = root / layout.step_facts_file(plan.compiled["pipeline"], step)
    try:
        return _identity(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        fix = f"Run: snakescope compile {plan.compiled['pipeline']}"
        raise problem(path, "the pipeline has not been compiled", fix) from None


def _identity(compiled: Any) -> Any:
    """What makes a step the same step: tool, script and parameters, of the constant part of a record."""
    try:
        tool = compiled["tool"]
        parameters = {item["name"]: (item["value"], item.get("column")) for item in compiled["parameters"]}
        return tool["id"], tool["descriptor_sha256"], tool["script_sha256"], parameters
    except (KeyError, TypeError):
        return None


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return None


def _parse(data: bytes) -> _Facts | None:
    """Read a record by its lines, as jobs write it; by its JSON when somebody has written it anew."""
    places = [data.find(part) for part in _PARTS]
    head, argv, rows = (pattern.search(data) for pattern in (_HEAD, _ARGV, _ROWS))
    if -1 in places or sorted(places) != places or not (head and argv and rows) or not data.endswith(b"}\n"):
        return _parse_json(data)
    if b'\n  "status": "done",\n' not in data[: places[0]]:
        return None
    inputs: dict[str, list[_Input]] = {}
    for port, item in _entries(data[places[0] : places[1]]):
        inputs.setdefault(port, []).append(item)
    outputs = {item.path: item.sha256 for _, item in _entries(data[places[1] : places[2]]) if item.sha256}
    wall_s = None if head[1] == b"null" else float(head[1])
    return _Facts(inputs, outputs, argv[1], rows[1], data[places[2] + len(_PARTS[2]) : -2].rstrip(), wall_s)


def _entries(data: bytes) -> Iterator[tuple[str, _Input]]:
    for port, path, sha256, rest in _ENTRY.findall(data):
        text = path[1:-1].decode() if b"\\" not in path else str(_json(path))
        if b'"staged": ' in rest:
            more = {name: _json(found) for name, found in _MORE.findall(rest)}
            yield port.decode(), _Input(text, sha256.decode() or None, more.get(b"checksum"), more.get(b"staged"))
        else:
            yield port.decode(), _Input(text, sha256.decode() or None, None, None)


def _parse_json(data: bytes) -> _Facts | None:
    record = _json(data)
    try:
        if record["status"] != "done":
            return None
        inputs: dict[str, list[_Input]] = {}
        for item in record["inputs"]:
            entry = _Input(item["path"], item.get("sha256"), item.get("checksum"), item.get("staged"))
            inputs.setdefault(item["port"], []).append(entry)
        outputs = {item["path"]: item["sha256"] for item in record["outputs"] if item.get("sha256")}
        keys = ("argv", "row_parameters", "compiled")
        argv, rows, compiled = (json.dumps(record[key]).encode() for key in keys)
        return _Facts(inputs, outputs, argv, rows, compiled, record["wall_s"])
    except (KeyError, TypeError, AttributeError):
        return None
