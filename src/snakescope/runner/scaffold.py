"""Starting a new tool: a descriptor, a program and a case that pass as they are."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from snakescope import layout
from snakescope.errors import problem
from snakescope.runner.macros import macro_texts
from snakescope.tool.base import SAFE_NAME

DESCRIPTOR = """\
# yaml-language-server: $schema=../../config/tool.schema.json
schema: 1
id: {name}
name: {title}
version: 0.1.0
tool: {{name: scipy, version: "1.17"}}
description: Smooths an image with a Gaussian.
license: BSD-3-Clause
keywords: []
inputs:
  image:
    type: image
    description: Image to smooth.
    formats: [ome-zarr, ome-tiff, tiff]
    axes: t?c?z?yx
    requires: [pixel_size]
    facts: [voxel_size_um, time_step_s, scene, stack_axis]
outputs:
  image:
    type: image
    description: The smoothed image.
    file: image.ome.zarr
    format: ome-zarr
    like: image
    dtype: float32
params:
  sigma_um:
    type: number
    default: 0.2
    above: 0
    max: 100
    unit: um
    help: Standard deviation of the Gaussian.
script: {name}.py
resources:
  threads: 1
  mem_mb: 300 + 16 * volume / 1e6
  runtime_min: 2 + voxels / 1e9
qc: Compare with the raw image; edges should be softer, the mean the same.
rembi:
  kind: analysis
  title: Smoothing
  prose: Images were smoothed with a Gaussian of {{sigma_um}} standard deviation.
"""

PROGRAM = '''\
"""Smooth an image with a Gaussian. Called by a rule with one flag a port and parameter."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter
from snakescope.images import create_image, open_image
from snakescope.program import add_image_facts, image_facts, run_program


def main(argv: Sequence[str] | None = None) -> None:
    """Read an image, smooth each volume, write a new image."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image", type=Path, required=True)
    parser.add_argument("--sigma-um", type=float, required=True)
    parser.add_argument("--out-image", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    add_image_facts(parser)
    args = parser.parse_args(argv)
    with open_image(args.image, **image_facts(args)) as source:
        header = source.header
        sigma_px = [args.sigma_um / size for size in header.voxel_size_um[-2 - ("z" in header.axes) :]]
        with create_image(
            args.out_image,
            axes=header.axes,
            shape=header.shape,
            dtype=np.float32,
            voxel_size_um=header.voxel_size_um,
            time_step_s=header.time_step_s,
            channels=header.channels,
        ) as target:
            for t in range(header.size("t")):
                for c in range(header.size("c")):
                    target.write(gaussian_filter(source.volume(t, c).astype(np.float32), sigma_px), t, c)


if __name__ == "__main__":
    run_program(main)
'''

GENERATORS = '''\
"""Inputs with a known answer, and the numbers to be found in the outputs."""

from pathlib import Path

import numpy as np
from snakescope.images import open_image, store_image


def point(folder: Path, size: int) -> dict[str, Path]:
    """One bright pixel in the middle of a square image, 0.1 um a pixel."""
    image = np.zeros((size, size), np.float32)
    image[size // 2, size // 2] = 1000
    path = folder / "point.ome.zarr"
    store_image(path, image, axes="yx", voxel_size_um=(None, 0.1, 0.1))
    return {{"image": path}}


def total(outputs: dict[str, Path], inputs: dict[str, Path]) -> float:
    """Sum of the image, which smoothing keeps."""
    with open_image(outputs["image"]) as image:
        return float(image.volume().sum())


def peak(outputs: dict[str, Path], inputs: dict[str, Path]) -> float:
    """Largest value; for a sigma of s pixels, 1000 / (2 pi s^2)."""
    with open_image(outputs["image"]) as image:
        return float(image.volume().max())
'''

CASE = """\
# yaml-language-server: $schema=../../../config/case.schema.json
description: Smoothing keeps the total and lowers the peak as a Gaussian does.
generator: {{name: point, args: {{size: 65}}}}
params: {{sigma_um: 0.4}}
expect:
  - {{check: total, value: 1000, tolerance: 0.5}}
  - {{check: peak, value: 9.947, tolerance: 0.05}}
"""


def new_tool(name: str, study: Path = Path(), *, macro: Path | None = None) -> list[Path]:
    """Write a new tool into ``tools/<name>/`` of a study: it is sound and passes its case as it is.

    Parameters
    ----------
    name
        Id of the tool: lower-case letters, digits and underscores.
    study
        Study folder.
    macro
        An ImageJ macro; the tool then runs it, and takes and gives what the macro itself says.

    Returns
    -------
    The files written.

    Raises
    ------
    InputError
        If the name cannot be an id, there is such a tool already, or the macro does not say what it takes and gives.
    """
    if not re.fullmatch(SAFE_NAME, name) or len(name) > 40:
        raise problem(f"tool new {name!r}", "expected lower-case letters, digits and '_', beginning with a letter")
    folder = study / "tools" / name
    if folder.exists():
        raise problem(folder, "is there already", "Choose another name, or remove the folder.")
    texts = macro_texts(name, macro) if macro else _python_texts(name)
    try:
        (folder / "cases").mkdir(parents=True)
        for path, text in texts.items():
            (folder / path).write_text(text, encoding="utf-8")
        schemas = [*_bring_schemas(study)]
    except OSError as error:
        raise problem(folder, f"cannot be written ({error.strerror})") from error
    return [*(folder / path for path in texts), *schemas]


def _bring_schemas(study: Path) -> Iterator[Path]:
    """Write what the keys of descriptors, cases and pipelines mean, for editors; yields the files that are new."""
    for name in ("tool", "case", "pipeline"):
        source, target = (root / f"config/{name}.schema.json" for root in (layout.assets(), study))
        if not target.exists():
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(source, target)
            yield target


def _python_texts(name: str) -> dict[str, str]:
    texts = {
        "tool.yaml": DESCRIPTOR,
        f"{name}.py": PROGRAM,
        "cases/works.yaml": CASE,
        "cases/generators.py": GENERATORS,
    }
    title = name.replace("_", " ").capitalize()
    return {path: text.format(name=name, title=title) for path, text in texts.items()}
