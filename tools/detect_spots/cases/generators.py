"""Images of spots at known places, and what is asked of the points found in them."""

# ruff: noqa: ARG001  (every check is given the outputs and the inputs)
from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from snakescope.evaluate import read_positions, score_spots
from snakescope.images import create_image


def spot_grid(
    folder: Path,
    *,
    spots: list[int],
    spacing_px: int,
    sigma_um: float,
    voxel_um: list[float],
    height: float,
    background: float = 10.0,
    noise: bool = True,
    frames: int = 1,
    seed: int = 1,
) -> dict[str, Path]:
    """Draw a grid of Gaussian spots, each moved by up to half a voxel; Poisson noise; the truth lies beside it.

    `spots` and `voxel_um` hold one value per axis (z,) y, x; a negative `height` draws dark spots; 0 spots
    along an axis draw an image of noise, one `spacing_px` long there.
    """
    rng = np.random.default_rng(seed)
    ndim = len(spots)
    shape = tuple(max(count, 1) * spacing_px for count in spots)
    nodes = np.stack(np.meshgrid(*(np.arange(n) for n in spots), indexing="ij"), -1).reshape(-1, ndim)
    axes = "zyx"[-ndim:]
    depth = float(voxel_um[0]) if ndim == 3 else None
    path = folder / "image.ome.zarr"
    rows = []
    with create_image(
        path,
        axes="t" + axes,
        shape=(frames, *shape),
        dtype="uint16",
        voxel_size_um=(depth, voxel_um[-2], voxel_um[-1]),
        time_step_s=2.0,
    ) as image:
        for t in range(frames):
            places = nodes * spacing_px + spacing_px // 2 + rng.uniform(-0.5, 0.5, nodes.shape)
            mean = background + height * _blobs(shape, places, sigma_um / np.array(voxel_um))
            image.write((rng.poisson(mean) if noise else np.rint(mean)).astype(np.uint16), t)
            rows += [(t, *place) for place in places * voxel_um]
    _write_truth(folder / "truth.csv", axes, rows)
    return {"image": path}


def _blobs(shape: tuple[int, ...], places: np.ndarray, sigma_px: np.ndarray) -> np.ndarray:
    """Sum unit Gaussians, each as an outer product of its profiles along the axes."""
    total = np.zeros(shape)
    for place in places:
        reach = [slice(max(0, int(p - 5 * s)), int(p + 5 * s) + 2) for p, s in zip(place, sigma_px, strict=True)]
        blob = np.ones(())
        for axis, window in enumerate(reach):
            at = np.arange(shape[axis])[window]
            blob = np.multiply.outer(blob, np.exp(-((at - place[axis]) ** 2) / (2 * sigma_px[axis] ** 2)))
        total[tuple(reach)] += blob
    return total


def _write_truth(path: Path, axes: str, rows: list[tuple[float, ...]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["spot_id", "frame", "z_um", "y_um", "x_um"])
        blank = [""] * (3 - len(axes))
        writer.writerows([number, int(row[0]), *blank, *row[1:]] for number, row in enumerate(rows))


def score(outputs: dict[str, Path], inputs: dict[str, Path], *, gate_um: float, measure: str) -> float:
    """Return a measure of `snakescope.evaluate.SpotScore`, such as recall, precision or rms_error_um."""
    truth = read_positions(inputs["image"].parent / "truth.csv", id_column="spot_id")
    found = read_positions(outputs["points"], id_column="spot_id")
    return float(getattr(score_spots(truth, found, gate_um), measure))


def column(outputs: dict[str, Path], inputs: dict[str, Path], *, name: str, what: str) -> float:
    """Return the count, mean or max of a column of the points table."""
    with outputs["points"].open(newline="") as file:
        values = [float(row[name]) for row in csv.DictReader(file)]
    return {"count": float(len(values)), "mean": float(np.mean(values or 0)), "max": max(values, default=0.0)}[what]
