"""Reading a sample sheet: this package against `csv.DictReader` and pandas on the same file in the same run.

Every cluster job reads the sheet, so what counts is the whole of a fresh process: import, read, check, memory.
The peers only split and, in pandas' case, convert; they check nothing. Each measurement is a process of its own,
the readers take turns, and the best of the repeats is printed with its ratio to `csv.DictReader`.

    python benchmarks/sheet.py [--rows 100000] [--repeats 5]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

COLUMNS = (
    *("id", "path", "format", "scene", "axes", "shape", "dtype", "voxel_size_um", "time_step_s", "channels", "bytes"),
    *("series", "t", "c", "condition"),
)
READERS = {
    "csv.DictReader": """
import csv
imported = time.perf_counter()
with open(path, newline="", encoding="utf-8") as stream:
    rows = list(csv.DictReader(stream, delimiter="\\t"))
""",
    "snakescope": """
from pathlib import Path
from snakescope.samples import read_sheet
imported = time.perf_counter()
rows = read_sheet(Path(path)).rows
""",
    "pandas": """
import pandas
imported = time.perf_counter()
rows = pandas.read_csv(path, sep="\\t", dtype={"id": str, "path": str})
""",
}
PROGRAM = """
import resource, sys, time
path = sys.argv[1]
start = time.perf_counter()
{reader}
done = time.perf_counter()
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print('{{"rows": %d, "import_s": %f, "read_s": %f, "peak_mib": %f}}'
      % (len(rows), imported - start, done - imported, peak))
"""


def write_example(path: Path, rows: int) -> None:
    """Write a sheet of a time-lapse screen: 100 time points a series, different paths and sizes."""
    with path.open("w", encoding="utf-8") as stream:
        stream.write("\t".join(COLUMNS) + "\n")
        for number in range(rows):
            series, t = f"plate1_cell{number // 100:04d}", number % 100
            cells = [f"{series}_t{t:04d}", f"raw/plate1/{series}_ch0_stack{t:04d}_488nm.tif", "tiff", "0", "zyx"]
            cells += ["88,320,256", "uint16", "0.3,0.104,0.104", "", "GFP", str(14417920 + number % 7)]
            stream.write("\t".join([*cells, series, str(t), "0", "control"]) + "\n")


def measure(reader: str, path: Path) -> dict[str, float]:
    """Read the file in a fresh process."""
    program = PROGRAM.format(reader=READERS[reader])
    done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "samples.tsv"
        write_example(path, options.rows)
        runs: dict[str, list[dict[str, float]]] = {name: [] for name in READERS}
        for _ in range(options.repeats):
            for name in READERS:
                runs[name].append(measure(name, path))
    best = {name: {key: min(run[key] for run in results) for key in results[0]} for name, results in runs.items()}
    floor = best["csv.DictReader"]
    print(f"{options.rows} rows, best of {options.repeats}; in brackets the ratio to csv.DictReader")
    print(f"{'reader':16}{'rows/s':>12}{'read s':>16}{'import s':>10}{'peak MiB':>16}")
    for name, found in best.items():
        print(
            f"{name:16}{options.rows / found['read_s']:12.0f}"
            f"{found['read_s']:8.3f} ({found['read_s'] / floor['read_s']:4.2f}x){found['import_s']:10.4f}"
            f"{found['peak_mib']:8.0f} ({found['peak_mib'] / floor['peak_mib']:4.2f}x)"
        )


if __name__ == "__main__":
    main()
