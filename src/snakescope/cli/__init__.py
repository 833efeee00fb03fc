"""The command line: arguments in, functions called, errors turned into exit codes. No logic.

Exit codes: 0 done; 1 some rows failed, the rest are finished; 2 bad input or usage; 3 the environment is not usable.
"""

from __future__ import annotations

import argparse
import errno
import sys
from collections.abc import Sequence

from snakescope import __version__
from snakescope.cli import archive, doctor, pack, study, tool
from snakescope.cli.words import Handler
from snakescope.errors import MAKE_ROOM, EnvironmentUnusableError, SnakescopeError


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit code."""
    arguments = build_parser().parse_args(argv)
    handler: Handler = arguments.handler
    try:
        return handler(arguments)
    except SnakescopeError as error:
        print(f"snakescope: {error}" if "\n" not in str(error) else str(error), file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("snakescope: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        where = error.filename or "a file"
        print(f"snakescope: {where} cannot be written ({error.strerror}).\n    {MAKE_ROOM}", file=sys.stderr)
        return EnvironmentUnusableError.exit_code


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(prog="snakescope", description="Batch bioimage analysis on Snakemake.")
    parser.add_argument("--version", action="version", version=f"snakescope {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for part in (study, archive, tool, doctor, pack):
        part.add_commands(commands)
    return parser
