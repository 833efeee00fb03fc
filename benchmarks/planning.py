"""Planning a run on a cluster: seconds and memory by the number of rows, and reading what is done already.

The shipped pipeline llsm_tracking (6 steps, three of them over series of 100 rows) is planned from the sheet to the
plan and manifests on the disk, each size in a process of its own. Then records as jobs write them are made for as many
jobs as asked for, and what is pending is told from them.

    python benchmarks/planning.py [--rows 1000 10000 100000] [--records 400000] [--folder FOLDER]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from snakescope import layout
from snakescope.cluster.pending import find_pending
from snakescope.cluster.plan import make_plan, write_plan
from snakescope.cluster.site import Partition, Site
from snakescope.workflow import Plan

PIPELINE = "llsm_tracking"
PARTITIONS = {"cpu": Partition(max_runtime_min=2880, max_mem_mb=128_000, max_cpus=32, nodes=20)}
SHA256 = "0123456789abcdef" * 4
LISTING = "\\n".join(f"{SHA256}  {name}" for name in ("0/c/0/0/0", "0/zarr.json", "zarr.json"))


def write_sheet(path: Path, rows: int) -> None:
    """Series of 100 time points, a file each."""
    columns = ("id", "path", "format", "axes", "shape", "dtype", "voxel_size_um", "bytes", "series", "t")
    with path.open("w", encoding="utf-8") as stream:
        stream.write("\t".join(columns) + "\n")
        for number in range(rows):
            series, t = f"plate1_cell{number // 100:04d}", number % 100
            cells = [f"{series}_t{t:04d}", f"raw/plate1/{series}_ch0_stack{t:04d}_488nm.tif", "tiff", "zyx"]
            cells += ["88,320,256", "uint16", "0.3,0.104,0.104", str(14417920 + number % 7), series, str(t)]
            stream.write("\t".join(cells) + "\n")


def write_study(folder: Path, rows: int) -> None:
    """A study folder with a sheet and compiled rules, no images."""
    (folder / "config").mkdir(parents=True)
    write_sheet(folder / layout.SHEET, rows)
    shutil.copytree(layout.assets() / layout.RULES, folder / layout.RULES)


def write_records(folder: Path, plan: Plan) -> int:
    """A record for every job, as ``workflow/job.sh`` would have written it."""
    count = 0
    for step in plan.steps:
        compiled = (folder / layout.step_facts_file(PIPELINE, step)).read_text(encoding="utf-8").rstrip()
        for unit in plan.units(step):
            path = folder / layout.record(unit, step)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(record_text(plan, step, unit, compiled), encoding="utf-8")
            count += 1
    return count


def record_text(plan: Plan, step: str, unit: str, compiled: str) -> str:
    inputs = [
        f'    {{"port": "{port}", "path": {json.dumps(path)}, "bytes": 14417920, "sha256": "{SHA256}"}}'
        for port in plan.steps[step]["inputs"]
        for path in plan.inputs(step, port, unit)
    ]
    wires = [(wire["port"], wire["file"]) for other in plan.steps.values() for wire in other["inputs"].values()
             if wire["from"] == "step" and wire["step"] == step]  # fmt: skip
    outputs = [
        f'    {{"port": "{port}", "path": "{layout.result(unit, step, file)}", "bytes": 650942, "sha256": "{SHA256}", '
        f'"listing": "{LISTING}"}}'
        for port, file in dict.fromkeys(wires)
    ]
    columns = {name: plan.value(step, name, unit) for name, value in plan.steps[step]["params"].items()
               if isinstance(value, dict)}  # fmt: skip
    head = {"schema": 1, "status": "done", "unit": unit, "samples": plan.samples(step, unit), "step": step}
    head |= {"snakemake": "9.27.1", "started_at": "2026-01-01T00:00:00Z", "ended_at": "2026-01-01T00:00:02Z"}
    head |= {"wall_s": 2.41, "cpu_s": 2.2, "exit_code": 0, "host": "n1", "scheduler": None}
    head |= {"environment": {"kind": "host"}, "tool_version_observed": "0.1.0", "argv": ["python", step]}
    lines = [f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in (head | {"row_parameters": columns}).items()]
    for name, entries in (("inputs", inputs), ("outputs", outputs)):
        lines.append(f'  "{name}": [\n' + ",\n".join(entries) + "\n  ]")
    return "{\n" + ",\n".join([*lines, f'  "compiled": {compiled}']) + "\n}\n"


def child(what: str, folder: Path) -> None:
    """Do one thing and print what it took."""
    started, cpu = time.perf_counter(), time.process_time()
    plan = Plan.read(PIPELINE, layout.SHEET, folder)
    if what == "plan":
        site = Site(jobs=200).completed(PARTITIONS, "cpu")
        made = write_plan(folder, make_plan(plan, site, folder))
        found = {"jobs": len(made.jobs), "pairs": made.pending}
    else:
        pending = find_pending(plan, folder)
        found = {"pending": pending.total, "done": sum(pending.done.values())}
    seconds, cpu_s = time.perf_counter() - started, time.process_time() - cpu
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    print(json.dumps({"seconds": seconds, "cpu_s": cpu_s, "peak_mb": peak_mb, **found}))


def measure(what: str, folder: Path) -> dict[str, float]:
    command = [sys.executable, __file__, "--child", what, "--folder", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def show_planning(base: Path, sizes: list[int]) -> None:
    print(f"{'rows':>8}{'jobs':>8}{'wall s':>9}{'CPU s':>8}{'peak MB':>9}{'CPU ms/row':>12}{'ratio':>7}")
    first = 0.0
    for rows in sizes:
        write_study(base / f"rows-{rows}", rows)
        found = measure("plan", base / f"rows-{rows}")
        each = found["cpu_s"] / rows * 1000
        first = first or each
        print(
            f"{rows:8,}{found['jobs']:8,.0f}{found['seconds']:9.2f}{found['cpu_s']:8.2f}{found['peak_mb']:9.0f}"
            f"{each:12.3f}{each / first:7.2f}",
            flush=True,
        )


def show_pending(base: Path, records: int) -> None:
    folder = base / "records"
    write_study(folder, int(records / 3.03))
    count = write_records(folder, Plan.read(PIPELINE, layout.SHEET, folder))
    found = measure("pending", folder)
    print(
        f"pending over {count:,} records: {found['seconds']:.1f} s wall, {found['cpu_s']:.1f} s CPU, "
        f"{found['peak_mb']:.0f} MB; {found['done']:,} done, {found['pending']:,} pending"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="*", default=[1000, 10_000, 100_000])
    parser.add_argument("--records", type=int, default=400_000)
    parser.add_argument("--folder", type=Path, help="where to put the studies; by default a temporary folder")
    parser.add_argument("--child", choices=("plan", "pending"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child, options.folder)
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        print(f"load of the machine before: {os.getloadavg()[0]:.1f}")
        show_planning(Path(folder), options.rows)
        if options.records:
            show_pending(Path(folder), options.records)


if __name__ == "__main__":
    main()
