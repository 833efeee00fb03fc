"""What the programs in ``scripts/`` share: their common flags, one-line errors, and their version.

A program is a plain argparse command. It knows nothing about Snakemake, sheets or records; a rule
calls it with file names and values, and reads its exit status. The shipped programs are run by name:
``python -m snakescope.program deskew --image ...``.
"""

from __future__ import annotations

import argparse
import math
import os
import runpy
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from snakescope import __version__, layout
from snakescope.errors import SnakescopeError


def add_image_facts(parser: argparse.ArgumentParser) -> None:
    """Add the flags that give what a bare image file lacks; `image_facts` reads them."""
    parser.add_argument(
        "--voxel-size-um", type=triple, metavar="Z,Y,X", help="voxel size in µm; overrides what the file says"
    )
    parser.add_argument("--time-step-s", type=float, metavar="S", help="time between frames in seconds")
    parser.add_argument("--scene", type=int, default=0, metavar="N", help="which image of the file, from 0")
    parser.add_argument(
        "--stack-axis", choices=["z", "t"], default="z", help="what the planes of a plain TIFF are (default: z)"
    )


def image_facts(args: argparse.Namespace) -> dict[str, Any]:
    """What the flags of `add_image_facts` say, as arguments for `snakescope.images.open_image`."""
    return {
        "scene": args.scene,
        "voxel_size_um": args.voxel_size_um,
        "time_step_s": args.time_step_s,
        "stack_axis": args.stack_axis,
    }


def triple(text: str) -> tuple[float, float, float]:
    """Read ``z,y,x`` as three numbers above 0; ``y,x``, for images without a z axis, gives NaN for z."""
    parts = text.split(",")
    try:
        sizes = [float(part) for part in parts]
    except ValueError:
        sizes = []
    if len(sizes) not in (2, 3) or not all(0 < size < math.inf for size in sizes):
        raise argparse.ArgumentTypeError(f"found {text!r}; expected three numbers above 0, z,y,x")
    z, y, x = sizes if len(sizes) == 3 else (math.nan, *sizes)
    return z, y, x


def boolean(text: str) -> bool:
    """Read ``true`` or ``false``."""
    if text not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"found {text!r}; expected true or false")
    return text == "true"


def run_program(main: Callable[[Sequence[str] | None], None]) -> None:
    """Run a program's `main` as a job does: a user's mistake is one line and exit status 2.

    The version is left where the record picks it up: the file named by ``SNAKESCOPE_VERSION_FILE``, if any.
    """
    version_file = os.environ.get("SNAKESCOPE_VERSION_FILE")
    if version_file:
        Path(version_file).write_text(f"{__version__}\n")
    try:
        main(None)
    except SnakescopeError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except MemoryError as error:
        print(f"error: out of memory: {error}", file=sys.stderr)
        sys.exit(1)


def run_shipped(name: str) -> None:
    """Run one of the shipped programs as if its file had been given to Python; the arguments are the process's."""
    path = layout.assets() / "scripts" / f"{name}.py"
    if not path.is_file():
        print(f"error: snakescope ships no program {name!r}", file=sys.stderr)
        sys.exit(2)
    sys.argv = [str(path), *sys.argv[2:]]
    sys.path[0] = str(path.parent)
    runpy.run_path(str(path), run_name="__main__")


if __name__ == "__main__":
    run_shipped(sys.argv[1] if len(sys.argv) > 1 else "")
