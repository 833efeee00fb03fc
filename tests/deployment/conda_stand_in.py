"""A stand-in for the command ``conda``, for tests: it is NOT conda.

It answers just what Snakemake asks of conda, and solves, fetches and links packages for real, by py-rattler. It knows
environment files without a ``pip:`` section, and pin files; no named environments, no configuration, no cache.
Where it does not know something it says so and fails.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import url2pathname

if TYPE_CHECKING:
    from rattler import RepoDataRecord

ROOT = Path(__file__).resolve().parents[1]  # it is installed as <root>/bin/conda
VERSION = "24.7.1"  # the oldest conda that Snakemake takes
PLATFORM = "linux-64"
PINNED = re.compile(r"(?P<address>file:///\S+\.(conda|tar\.bz2))#(sha256:)?(?P<digest>[0-9a-f]+)")


@dataclass(frozen=True)
class Wanted:
    """What an environment is to hold: solved from channels, or just the package files of a pin file."""

    channels: Sequence[str] = ()
    specs: Sequence[str] = ()
    files: Sequence[tuple[Path, str]] = ()


def read_wanted(text: str) -> Wanted:
    """Read an environment file or a pin file."""
    if "@EXPLICIT" in text:
        return read_pins(line for line in text.splitlines() if line and line[0] not in "#@")
    import yaml

    data = yaml.safe_load(text)
    odd = [entry for entry in data["dependencies"] if not isinstance(entry, str)]
    if odd:
        sys.exit(f"conda stand-in: a pip: section is not known here: {odd}")
    return Wanted(data["channels"], data["dependencies"])


def read_pins(lines: Iterable[str]) -> Wanted:
    """Read the addresses of a pin file."""
    files = []
    for line in lines:
        found = PINNED.fullmatch(line)
        if found is None:
            sys.exit(f"conda stand-in: not an address of a package file with its digest: {line}")
        files.append((Path(url2pathname(urlsplit(found["address"]).path)), found["digest"]))
    return Wanted(files=files)


async def make_environment(wanted: Wanted, prefix: str) -> None:
    """Fetch and link."""
    from rattler import install

    records = await read_packages(wanted.files) if wanted.files else await solved(wanted)
    await install(records, target_prefix=prefix, cache_dir=ROOT / "pkgs", show_progress=False)


async def read_packages(files: Iterable[tuple[Path, str]]) -> list[RepoDataRecord]:
    """The packages of a pin file: as they are, without a look at a channel's list, as conda does it."""
    from rattler import RepoDataRecord

    for file, digest in files:
        kind = "md5" if len(digest) == 32 else "sha256"
        if not file.is_file() or hashlib.new(kind, file.read_bytes()).hexdigest() != digest:
            sys.exit(f"conda stand-in: the channel does not hold just what the pin file names: {file}")
    return [await RepoDataRecord.from_package_archive(file) for file, _ in files]


async def solved(wanted: Wanted) -> list[RepoDataRecord]:
    """Packages that fit together."""
    from rattler import Gateway, VirtualPackage, solve
    from rattler.exceptions import SolverError

    try:
        return await solve(
            sources=wanted.channels,
            specs=wanted.specs,
            gateway=Gateway(cache_dir=ROOT / "pkgs"),
            platforms=["linux-64", "noarch"],
            virtual_packages=VirtualPackage.detect(),
        )
    except SolverError as error:
        sys.exit(f"conda stand-in: the environment cannot be solved: {error}")


def create(arguments: Sequence[str]) -> None:
    """``conda env create`` and ``conda create``."""
    parser = argparse.ArgumentParser(prog="conda stand-in")
    for flag in ("--quiet", "--yes", "--no-default-packages"):
        parser.add_argument(flag, action="store_true")
    parser.add_argument("--file", type=Path, required=True)
    parser.add_argument("--prefix", required=True)
    args = parser.parse_args(arguments)
    asyncio.run(make_environment(read_wanted(args.file.read_text()), args.prefix))


def installed(prefix: Path) -> list[str]:
    """Name, version and build of each package of an environment."""
    packages = [json.loads(path.read_text()) for path in sorted(prefix.glob("conda-meta/*.json"))]
    return [f"{package['name']}={package['version']}={package['build']}" for package in packages]


def main(argv: Sequence[str]) -> None:
    """Answer one call."""
    match list(argv):
        case ["--version"]:
            print("conda", VERSION)
        case ["info", "--json"]:
            print(json.dumps({"conda_prefix": str(ROOT), "platform": PLATFORM, "conda_version": VERSION}))
        case ["config", "--get", "channel_priority", "--json"]:
            print(json.dumps({"get": {"channel_priority": "strict"}}))
        case ["env", "create", *arguments] | ["create", *arguments]:
            create(arguments)
        case ["env", "export", "--prefix", prefix]:
            print(json.dumps({"channels": [], "dependencies": installed(Path(prefix))}))
        case ["clean", *_]:
            pass
        case other:
            sys.exit(f"conda stand-in: this call is not known here: {' '.join(other)}")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
        status = 0
    except SystemExit as end:
        print(end.code, file=sys.stderr)
        status = 1
    sys.stdout.flush()
    os._exit(status)  # threads of py-rattler that still run when Python ends can crash it
