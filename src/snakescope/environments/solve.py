"""Solves a conda environment with py-rattler, in a process of its own: its threads may not outlive an interpreter.

Called by `environments.conda`: JSON with channels and specs on standard input, JSON with the packages (or with what
went wrong) on standard output. The packages are those for any 64-bit Linux, not for the machine that solves.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

# What the packages may count on, so that every machine finds the same ones.
VIRTUAL = {"__unix": "0", "__linux": "5.10", "__glibc": "2.28"}


async def _solve(channels: list[str], specs: list[str]) -> list[dict[str, Any]]:
    from rattler import BuildString, GenericVirtualPackage, PackageName, Version, solve

    build = BuildString("0")
    virtual = [GenericVirtualPackage(PackageName(name), Version(text), build) for name, text in VIRTUAL.items()]
    found = await solve(sources=channels, specs=specs, platforms=["linux-64", "noarch"], virtual_packages=virtual)
    return [
        {
            "name": record.name.normalized,
            "url": str(record.url),
            "md5": record.md5.hex() if record.md5 else None,
            "depends": list(record.depends),
        }
        for record in found
    ]


def answer(channels: list[str], specs: list[str]) -> dict[str, Any]:
    """The packages, or the kind and text of what went wrong: missing, unsolvable, unreachable or wrong."""
    try:
        from rattler import exceptions
    except ImportError:
        return {"failure": "missing", "text": ""}
    try:
        return {"packages": asyncio.run(_solve(channels, specs))}
    except exceptions.SolverError as error:
        return {"failure": "unsolvable", "text": str(error)}
    except (exceptions.GatewayError, exceptions.FetchRepoDataError) as error:
        return {"failure": "unreachable", "text": str(error)}
    except Exception as error:  # one of many kinds; what it says is told
        return {"failure": "wrong", "text": str(error)}


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    print(json.dumps(answer(asked["channels"], asked["specs"])), flush=True)
    os._exit(0)
