"""What a compiled rule and its record cost, against the same rule written by hand without a record.

Both run through plain Snakemake with the same profile, in turn, several times; CPU seconds are those of Snakemake
and all its jobs. The files are tiny, so hashing costs next to nothing; its speed is measured apart and stated.

    .venv/bin/python benchmarks/overhead.py --jobs 200 --rounds 3
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.by_hand import Place, report


def hash_speed() -> float:
    """MB/s at which sha256sum reads 256 MB that are in memory."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(os.urandom(1 << 20) * 256)
        file.flush()
        start = time.perf_counter()
        subprocess.run(["sha256sum", file.name], check=True, stdout=subprocess.DEVNULL)
        return 256 / (time.perf_counter() - start)


def main(argv: Sequence[str] | None = None) -> None:
    """Print CPU added a job, and the wall ratio for jobs of one second."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=200, help="jobs a run for CPU (default: %(default)s)")
    parser.add_argument("--long-jobs", type=int, default=60, help="jobs of one second a run (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each, in turn (default: %(default)s)")
    parser.add_argument("--cores", type=int, default=2, help="jobs at a time (default: %(default)s)")
    args = parser.parse_args(argv)
    report(Place(), args.jobs, args.long_jobs, rounds=args.rounds, cores=args.cores, most_ratio=1.02)
    print(f"sha256sum reads {hash_speed():.0f} MB/s here; a job hashes its outputs and, once, its raw inputs")


if __name__ == "__main__":
    main()
