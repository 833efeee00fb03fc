"""Smooth random images that are moved by a known amount, and what of it elastix found."""

# ruff: noqa: ARG001 - every check takes outputs and inputs
from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray
from scipy.ndimage import affine_transform, gaussian_filter

Paths = dict[str, Path]


def moved(
    folder: Path, *, shape: list[int], shift_px: list[float], angle_deg: float = 0.0, inverted: bool = False
) -> Paths:
    """A texture of grey levels and the same moved by a shift (z, y, x or y, x) and turned about its middle; uint16.

    With `inverted` the moved one has bright for dark.
    """
    texture = gaussian_filter(np.random.default_rng(1).random(shape), 3)
    texture = 4000 * (texture - texture.min()) / np.ptp(texture)
    turn = np.eye(len(shape))
    angle = np.radians(angle_deg)
    turn[-2:, -2:] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    middle = (np.array(shape) - 1) / 2
    image = affine_transform(texture, turn, middle - turn @ (middle + np.array(shift_px)), mode="nearest")
    pair = {"fixed": texture, "image": 4000 - image if inverted else image}
    return {name: _write(folder / f"{name}.ome.tif", array) for name, array in pair.items()}


def _write(path: Path, array: NDArray[np.float64]) -> Path:
    tifffile.imwrite(path, array.clip(0, 65535).astype(np.uint16), ome=True, metadata={"axes": "ZYX"[-array.ndim :]})
    return path


def with_file(folder: Path, *, shape: list[int], shift_px: list[float]) -> Paths:
    """As `moved`, with a parameter file that allows a translation at two resolutions."""
    path = folder / "my parameters.txt"
    path.write_text(
        '(Registration "MultiResolutionRegistration")\n(Transform "TranslationTransform")\n'
        '(Metric "AdvancedMeanSquares")\n(Optimizer "AdaptiveStochasticGradientDescent")\n(NumberOfResolutions 2)\n'
        '(ImageSampler "Random")\n(NumberOfSpatialSamples 3000)\n(AutomaticScalesEstimation "true")\n'
        "(MaximumNumberOfIterations 200)\n"
        '(FixedImagePyramid "FixedSmoothingImagePyramid")\n(MovingImagePyramid "MovingSmoothingImagePyramid")\n'
        '(Interpolator "LinearInterpolator")\n(ResampleInterpolator "FinalBSplineInterpolator")\n'
        '(Resampler "DefaultResampler")\n(ResultImageFormat "tif")\n(ResultImagePixelType "float")\n'
    )
    return {**moved(folder, shape=shape, shift_px=shift_px), "parameters": path}


def parameter(outputs: Paths, inputs: Paths, *, index: int) -> float:
    """One number of the transform: the shift along x, y(, z) comes last, angles in radians before it."""
    match = re.search(r"\(TransformParameters ([^)]*)\)", outputs["transform"].read_text())
    assert match
    return float(match[1].split()[index])


def likeness(outputs: Paths, inputs: Paths, *, margin: int = 8) -> float:
    """Correlation of the registered with the fixed image, without a margin."""
    inside = slice(margin, -margin)
    found, fixed = (tifffile.imread(path)[..., inside, inside] for path in (outputs["image"], inputs["fixed"]))
    middle = slice(len(found) // 4, -(len(found) // 4) or None) if found.ndim == 3 else slice(None)
    return float(np.corrcoef(found[middle].ravel(), fixed[middle].ravel())[0, 1])


def kind_is(outputs: Paths, inputs: Paths, *, word: str) -> float:
    """Whether the transform is of a kind."""
    return float(f'(Transform "{word}")' in outputs["transform"].read_text())
