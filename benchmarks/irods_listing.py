"""Listing 100,000 data objects with 5 AVUs each: our collect against what a script with python-irodsclient does.

The zone is the one of the tests: a server of its own process that answers over TCP, without and with an added latency
for every call. Measured in fresh processes: calls (as the server counts them), seconds, peak memory of the client.

    collect         `collect_irods` to a complete sheet in memory, AVUs as columns, no headers read
    list_tree       the listing alone, by GenQuery2 and, as older servers need it, by GenQuery1
    metadata.items  the listing by one query, then what `metadata.items()` of an object asks, one call each; measured
                    for a part of the objects, its slope taken for the rest
    walk            `collection.walk()`: no AVUs, no checksums, no counts

Ratios are what to look at; the seconds are those of this machine and of a server written for tests.

    python benchmarks/irods_listing.py [--objects 100000] [--latency-ms 0 20] [--part 200]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

SERVER = """
import sys
from pathlib import Path
from irods_zone import Zone

with Zone(Path(sys.argv[1])) as zone:
    plan = zone.populate(f"{zone.home}/tree", int(sys.argv[2]), 5)
    print(zone.environment_file(), plan.root, flush=True)
    for line in sys.stdin:
        word, _, value = line.strip().partition(" ")
        if word == "latency":
            zone.faults.latency_s = float(value)
            zone.calls.clear()
        print(len(zone.calls), flush=True)
"""
START = """
import json, resource, sys, time
root, part = sys.argv[1], int(sys.argv[2])
from snakescope.zone.address import Address
from snakescope.zone.session import connect
address = Address(root)
extra = {}
usage = resource.getrusage(resource.RUSAGE_SELF)
before = usage.ru_utime + usage.ru_stime
"""
END = """
seconds = time.perf_counter() - start
usage = resource.getrusage(resource.RUSAGE_SELF)
cpu, peak = usage.ru_utime + usage.ru_stime - before, usage.ru_maxrss / 1024
print(json.dumps({"objects": found, "seconds": seconds, "cpu_s": cpu, "peak_mib": peak, **extra}))
"""
LIST = """
from snakescope.zone.listing import list_tree
start = time.perf_counter()
with connect(address) as session:
    listing = list_tree(session, root, genquery2=%s)
found = len(listing.objects)
assert all(len(each.avus) == 5 for each in listing.objects)
"""
CONTENDERS = {
    "collect": """
from snakescope.catalog.irods_tree import collect_irods
start = time.perf_counter()
found = len(collect_irods(address, headers=False, all_avus=True).sheet.rows)
""",
    "list_tree, GenQuery2": LIST % True,
    "list_tree, GenQuery1": LIST % False,
    "metadata.items": """
from irods.column import Like
from irods.models import Collection, DataObject
start = time.perf_counter()
with connect(address) as session:
    raw = session.raw
    query = raw.query(Collection.name, DataObject.name).filter(Like(Collection.name, root + "%"))
    paths = [f"{row[Collection.name]}/{row[DataObject.name]}" for row in query]
    found, listed, cpu_listed = len(paths), time.perf_counter(), time.process_time()
    for path in paths[:part]:
        assert len(raw.metadata.get(DataObject, path)) == 5  # what metadata.items() of an object asks
extra = {"per_object": (time.perf_counter() - listed) / part, "measured": part}
extra["cpu_per_object"] = (time.process_time() - cpu_listed) / part
""",
    "walk": """
start = time.perf_counter()
with connect(address) as session:
    found = sum(len(objects) for _, _, objects in session.raw.collections.get(root).walk())
""",
}


@dataclass(frozen=True)
class Measured:
    """One contender: calls to the server, seconds in all and of the client's CPU, memory, objects really done."""

    objects: int
    calls: float
    seconds: float
    cpu_s: float
    peak_mib: float
    measured: int


class Server:
    """The zone in a process of its own, so that its work is not counted as the client's."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        environment, self.root = self._answer().split()
        self.environment = {
            "IRODS_ENVIRONMENT_FILE": environment,
            "IRODS_AUTHENTICATION_FILE": str(Path(environment).with_name(".irodsA")),
        }

    def reset(self, latency_ms: float) -> None:
        """Count calls anew, with that latency."""
        self._ask(f"latency {latency_ms / 1000}")

    def calls(self) -> int:
        """Calls answered since."""
        return int(self._ask("calls"))

    def _ask(self, text: str) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{text}\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


@contextmanager
def serving(folder: Path, objects: int) -> Iterator[Server]:
    """Start the zone with its objects."""
    path = os.pathsep.join([str(Path(__file__).resolve().parents[1] / "tests"), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-c", SERVER, str(folder / "zone"), str(objects)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": path}
    ) as process:
        try:
            yield Server(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()


def measure(server: Server, name: str, latency_ms: float, part: int) -> Measured:
    """Run one contender in a fresh process."""
    server.reset(latency_ms)
    program = START + CONTENDERS[name] + END
    done = subprocess.run(
        [sys.executable, "-c", program, server.root, str(part)],
        capture_output=True, text=True, check=False, env=os.environ | server.environment,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout)
    calls, seconds, cpu_s = float(server.calls()), found["seconds"], found["cpu_s"]
    measured = found.get("measured", found["objects"])
    if "per_object" in found:
        rest = found["objects"] - measured
        seconds += found["per_object"] * rest
        cpu_s += found["cpu_per_object"] * rest
        calls += rest
    return Measured(found["objects"], calls, seconds, cpu_s, found["peak_mib"], measured)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, default=100_000)
    parser.add_argument("--latency-ms", type=float, nargs="+", default=[0.0, 20.0])
    parser.add_argument("--part", type=int, default=200, help="objects for which metadata.items() is really called")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder), arguments.objects) as server:
        for latency_ms in arguments.latency_ms:
            print(f"{arguments.objects:,} objects x 5 AVUs in 111 collections, {latency_ms:g} ms added to each call")
            results = {name: measure(server, name, latency_ms, arguments.part) for name in CONTENDERS}
            ours = results["collect"]
            for name, each in results.items():
                note = "" if each.measured == each.objects else f"  extrapolated from {each.measured}"
                rows = f"{each.objects * (1 if name == 'walk' else 6) / each.calls:,.1f}"
                print(
                    f"  {name:22} {each.calls:10,.0f} calls {rows:>9} rows/call {each.seconds:9,.1f} s "
                    f"{each.seconds / ours.seconds:7.2f} x {each.cpu_s:8,.1f} s CPU {each.peak_mib:6,.0f} MiB{note}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
