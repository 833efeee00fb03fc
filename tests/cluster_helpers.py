"""A study of small tools for tests of what is planned for a cluster; records as jobs write them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from snakescope import layout
from snakescope.workflow import Plan
from tiny_tools import IMAGE, write_pipeline, write_rows, write_rules, write_tools

POINTS = {"type": "points", "description": "d", "file": "p.csv", "format": "csv"}
TABLE = {"type": "table", "description": "d", "file": "t.csv", "format": "csv"}
TOOLS: dict[str, dict[str, Any]] = {
    "shear": {
        "inputs": {"image": IMAGE, "psf": {"type": "psf", "description": "d", "optional": True}},
        "outputs": {"image": {**IMAGE, "file": "i.ome.zarr", "format": "ome-zarr", "like": "image"}},
        "params": {"width": {"type": "number", "default": 2, "help": "h"}},
        "command": ["shear", "{in.image}", "{param.width}"],
        "resources": {"threads": 1, "mem_mb": "100 + voxels / 1e6", "runtime_min": "1 + voxels / 1e6"},
    },
    "look": {
        "inputs": {"image": IMAGE},
        "outputs": {"points": POINTS},
        "params": {"word": {"type": "text", "default": None, "help": "h"}},
        "command": ["look", ["{param.word}"]],
        "resources": {"threads": 2, "mem_mb": 200, "runtime_min": 3},
    },
    "link": {
        "inputs": {"points": {"type": "points", "description": "d", "many": True}},
        "outputs": {"table": TABLE},
        "command": ["link"],
        "resources": {"mem_mb": "100 * rows", "runtime_min": "rows"},
    },
    "judge": {
        "inputs": {"table": {"type": "table", "description": "d"}, "image": IMAGE},
        "outputs": {"table": TABLE},
        "command": ["judge"],
        "resources": {"mem_mb": 150, "runtime_min": 2},
    },
    "train": {
        "inputs": {"image": IMAGE},
        "outputs": {"image": {**IMAGE, "file": "n.ome.zarr", "format": "ome-zarr", "like": "image"}},
        "command": ["train"],
        "resources": {"threads": 2, "gpus": 1, "mem_mb": 4000, "runtime_min": 5},
    },
}
STEPS: dict[str, Any] = {
    "shear": {"tool": "shear", "inputs": {"image": "sheet.path", "psf": {"file": "config/p.tif"}}},
    "look": {"tool": "look", "inputs": {"image": "shear.image"}},
    "link": {"tool": "link", "over": "series", "inputs": {"points": "look.points"}},
    "judge": {"tool": "judge", "inputs": {"table": "link.table", "image": "sheet.path"}},
}


def rows_of(count: int, series: int = 3, shape: str = "1,10,1000,1000") -> list[dict[str, str]]:
    """So many rows, the first few of each series one after the other."""
    facts = {"axes": "tzyx", "shape": shape, "dtype": "uint16", "voxel_size_um": "0.4,0.1,0.1"}
    return [
        {"id": f"r{n:03}", "path": f"raw/r{n:03}.tif", "series": f"c{n // series}", "t": str(n % series), **facts}
        for n in range(count)
    ]


def study(
    folder: Path,
    rows: list[dict[str, str]] | None = None,
    steps: Mapping[str, Any] = STEPS,
    tools: Mapping[str, Any] = TOOLS,
) -> Plan:
    """Write a study folder with compiled rules and read its plan."""
    write_tools(folder, tools)
    write_rules(folder, write_pipeline(folder, steps))
    write_rows(folder, rows_of(6) if rows is None else rows, ("word",))
    return Plan.read("test", layout.SHEET, folder)


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def write_record(
    folder: Path, plan: Plan, step: str, unit: str, made: str = "", wall_s: float | None = 6.0, status: str = "done"
) -> Path:
    """A record of a job whose outputs hold what `made` stands for, written line by line as `job.sh` does."""
    compiled = (folder / layout.step_facts_file("test", step)).read_text(encoding="utf-8").rstrip()
    inputs = [
        {"port": port, "path": path, "bytes": 7, "sha256": _digest_at(folder, path)}
        for port in plan.steps[step]["inputs"]
        for path in plan.inputs(step, port, unit)
    ]
    tool = TOOLS[plan.steps[step]["tool"]]
    outputs = [
        {"port": port, "path": layout.result(unit, step, output["file"]), "bytes": 9, "sha256": sha256(f"{unit}{made}")}
        for port, output in tool["outputs"].items()
    ]
    columns = {
        name: plan.value(step, name, unit)
        for name, value in plan.steps[step]["params"].items()
        if isinstance(value, dict)
    }
    head = {"schema": 1, "status": status, "unit": unit, "samples": plan.samples(step, unit), "step": step}
    head |= {"wall_s": wall_s, "exit_code": 0, "argv": ['odd "words"', "[]"], "row_parameters": columns}
    lines = [f"  {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in head.items()]
    for name, entries in (("inputs", inputs), ("outputs", outputs)):
        shown = ",\n".join(f"    {json.dumps(entry, ensure_ascii=False)}" for entry in entries)
        lines.append(f'  "{name}": [\n{shown}\n  ]')
    path = folder / layout.record(unit, step)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{\n" + ",\n".join([*lines, f'  "compiled": {compiled}']) + "\n}\n", encoding="utf-8")
    return path


def _digest_at(folder: Path, path: str) -> str:
    """What the record of the job that made a file says of it."""
    parts = path.split("/")
    record = folder / layout.record(parts[1], parts[2]) if parts[0] == "results" else None
    if record is None or not record.is_file():
        return sha256(path)
    outputs = json.loads(record.read_text(encoding="utf-8"))["outputs"]
    return next(str(item["sha256"]) for item in outputs if item["path"] == path)


def write_all(folder: Path, plan: Plan, steps: list[str] | None = None) -> None:
    """A record for every job of these steps, or of all."""
    for step in steps or list(plan.steps):
        for unit in plan.units(step):
            write_record(folder, plan, step, unit)
