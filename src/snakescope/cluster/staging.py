"""Bring the images of one cluster job here from iRODS, before the job: ``python -m snakescope.cluster.staging``.

It runs where the head runs, or in the partition that a profile names: compute nodes need not reach iRODS. Each image is
brought by `snakescope.zone.stage`, with a log of its own. One that cannot be had fails its own rows, in the job; where
the zone does not answer, nothing is decided, and another try may do.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from snakescope import layout
from snakescope.errors import EnvironmentUnusableError, InputError, SnakescopeError
from snakescope.workflow import Plan

AGAIN = 75
_LAST = "last"


def list_text(rows: Mapping[str, bool]) -> str:
    """Which rows a job reads that lie in iRODS, and of which it is the last reader: a line each."""
    return "".join(f"{row}\t{_LAST if last else 'more'}\n" for row, last in rows.items())


def read_list(path: Path) -> dict[str, bool]:
    """The rows that a job reads which lie in iRODS, and whether it is their last reader; none without a list."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return {}
    return {row: word == _LAST for row, _, word in (line.partition("\t") for line in lines)}


def release(path: Path) -> None:
    """Remove the copies that nobody reads any more."""
    for row, last in read_list(path).items():
        if last:
            shutil.rmtree(layout.staged(row), ignore_errors=True)


def bring(plan: Plan, rows: Sequence[str], connections: int) -> list[str]:
    """Bring the images of some rows here, several at once.

    Parameters
    ----------
    plan
        The pipeline and these rows.
    rows
        Their ids.
    connections
        Connections to open at most, of all of them together.

    Returns
    -------
    The rows that could not be brought since the zone did not answer, or the disk was full.
    """
    missing = [row for row in rows if not Path(layout.staged(row)).is_dir()]
    at_once = max(1, min(connections, len(missing)))
    each = max(1, connections // at_once)
    with ThreadPoolExecutor(at_once) as pool:
        came = pool.map(lambda row: _bring_one(plan, row, each), missing)
        return [row for row, final in zip(missing, came, strict=True) if not final]


def _bring_one(plan: Plan, row: str, connections: int) -> bool:
    """Whether it is settled: here, or known not to be had."""
    from snakescope.zone.stage import stage  # heavy

    address, *options = plan.stage_words(row)
    told = dict(option.removeprefix("--").split("=", 1) for option in options)
    with _logging(row) as log:
        try:
            fetched = stage(
                address, Path(layout.staged(row)), told["name"],
                expected=told.get("checksum"), connections=min(connections, plan.stage_connections(row)),
            )  # fmt: skip
        except SnakescopeError as error:
            log.append(f"error: {error}")
            return isinstance(error, InputError) and not isinstance(error, EnvironmentUnusableError)
        log.append(f"{fetched.bytes} bytes in {fetched.files} files; {fetched.kept} bytes were here already")
    return True


@contextlib.contextmanager
def _logging(row: str) -> Iterator[list[str]]:
    lines: list[str] = []
    yield lines
    path = Path(layout.log(row, layout.STAGE_RULE))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; see the module."""
    parser = argparse.ArgumentParser(prog="python -m snakescope.cluster.staging", description=__doc__)
    for name in ("plan", "stage", "shard", "pipeline"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--connections", type=int, default=1)
    told = parser.parse_args(argv)
    rows = read_list(Path(layout.staging_list(told.plan, told.stage, told.shard)))
    plan = Plan.read(told.pipeline, layout.manifest(told.plan, told.shard))
    left = bring(plan, list(rows), told.connections)
    print(f"{len(rows) - len(left)} of {len(rows)} images settled", flush=True)
    if left:
        print(f"error: {len(left)} images could not be brought here; see {layout.log(left[0], layout.STAGE_RULE)}")
        return AGAIN
    Path(layout.staged_mark(told.plan, told.stage, told.shard)).touch()
    return 0


if __name__ == "__main__":
    sys.exit(main())
