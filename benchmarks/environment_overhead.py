"""What a compiled rule and its record cost in an image and in a conda environment.

The other side is the same rule written by hand, without a record, in the same image or environment. Both run through
plain Snakemake with the same profile, in turn, several times; CPU seconds are those of Snakemake and all its jobs.
The files are tiny, so hashing costs next to nothing. The image is one of busybox, the packages come from a local
channel by way of a stand-in for conda (`tests/deployment`); both sides start them in the same way.

    .venv/bin/python benchmarks/environment_overhead.py --jobs 200 --rounds 5
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from benchmarks.by_hand import ENVIRONMENT, Place, report

from deployment.apptainer import Apptainer
from deployment.conda import make_conda_site
from deployment.images import make_busybox_root


def make_places(folder: Path, names: Sequence[str]) -> Iterator[Place]:
    """An image, and a channel."""
    if "apptainer" in names:
        found = shutil.which("apptainer")
        if found is None:
            sys.exit("Apptainer is not on the PATH; on Debian as root tests/deployment/apptainer.sh installs it")
        image = Apptainer(Path(found), os.environ).build(make_busybox_root(folder / "root"), folder / "busybox.sif")
        yield Place("apptainer", f'container: "{image}"', ', shell_exec="sh"', image=image)
    if "conda" in names:
        site = make_conda_site(folder / "conda")
        site.add_package("empty", "1.0", {"share/empty": "\n"})
        yield Place("conda", f'conda: "{ENVIRONMENT}"', variables=site.environment, channel=site.url)


def main(argv: Sequence[str] | None = None) -> None:
    """Compare in an image, then in an environment."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=200, help="jobs a run for CPU (default: %(default)s)")
    parser.add_argument("--long-jobs", type=int, default=60, help="jobs of one second a run (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each, in turn (default: %(default)s)")
    parser.add_argument("--cores", type=int, default=2, help="jobs at a time (default: %(default)s)")
    both = ["apptainer", "conda"]
    parser.add_argument("--only", choices=both, help="where to run (default: in both, one after the other)")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="places-") as name:
        for place in make_places(Path(name), [args.only] if args.only else both):
            print(f"== {place.method}", flush=True)
            report(place, args.jobs, args.long_jobs, rounds=args.rounds, cores=args.cores, most_ratio=1.05)


if __name__ == "__main__":
    main()
