"""Serve a zone from a process of its own: ``python -m irods_zone FOLDER``; ends when its input ends."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path

from irods_zone.zone import Zone


def main(argv: list[str] | None = None) -> int:
    """Serve until standard input ends; the first line of output says as JSON where."""
    parser = argparse.ArgumentParser(prog="irods_zone", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency", type=float, default=0.0, metavar="SECONDS", help="added before every reply")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    with Zone(arguments.folder, port=arguments.port) as zone:
        zone.faults.latency_s = arguments.latency
        print(json.dumps({"host": zone.host, "port": zone.port, **zone.environment()}), flush=True)
        sys.stdin.read()
    return 0


if __name__ == "__main__":
    sys.exit(main())
