"""Small time-lapses with marks at known places, and what to read from the pictures.

A panel is found on the white page as the bounding box of what is not white; text is far smaller.
"""

# ruff: noqa: ARG001 - every check takes outputs and inputs
from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

Inputs = dict[str, Path | list[Path]]
Paths = dict[str, Path]
HEADER = "tree_id,track_id,parent_track_ids,spot_id,frame,t_s,z_um,y_um,x_um,radius_um,quality,intensity"


def grey_steps(folder: Path, *, levels: list[int]) -> Inputs:
    """One 2D movie; frame k is black with a square of `levels[k]` in its middle; 0.1 um pixels, 2 s a frame."""
    movie = np.zeros((len(levels), 60, 80), np.uint16)
    movie[:, 20:40, 30:50] = np.array(levels)[:, None, None]
    return {"image": _write(folder / "movie.tif", movie, "TYX")}


def moving_spot(folder: Path, *, frames: int, single: bool, tracks: bool = True) -> Inputs:
    """A 3D spot that moves from left to right at y = 3/4 of the height and z = 1/4 of the depth, and its track.

    12 x 60 x 80 voxels of 0.3 x 0.1 x 0.1 um, 2 s a frame.
    """
    stacks = np.zeros((frames, 12, 60, 80), np.uint16)
    rows = []
    for frame in range(frames):
        x = round(10 + 60 * frame / max(frames - 1, 1))
        stacks[frame, 2:5, 44:47, x - 1 : x + 2] = 1000
        rows.append(f"0,0,,{frame},{frame},{2 * frame},0.9,4.5,{x * 0.1:.3f},0.2,1,1")
    table = folder / "tracks.csv"
    table.write_text("\n".join([HEADER, *(rows if tracks else [])]) + "\n")
    if single:
        return {"image": _write(folder / "movie.tif", stacks, "TZYX"), "table": table}
    paths = [_write(folder / f"t{frame:03d}.tif", stack, "ZYX") for frame, stack in enumerate(stacks)]
    return {"image": list(paths), "table": table}


def flat_movie(folder: Path, *, frames: int) -> Inputs:
    """Many small 2D frames of noise, without tracks."""
    movie = np.random.default_rng(0).poisson(20, (frames, 24, 32)).astype(np.uint16)
    return {"image": _write(folder / "movie.tif", movie, "TYX")}


def wide_plane(folder: Path, *, width: int, height: int) -> Inputs:
    """One large dark plane with a bright line, one pixel wide, across at a quarter of the height."""
    plane = np.full((height, width), 20, np.uint16)
    plane[height // 4] = 900
    return {"image": _write(folder / "plane.tif", plane, "YX")}


def panels(outputs: Paths, inputs: Inputs, *, picture: str) -> float:
    """How many panels a picture has."""
    return float(len(_panels(outputs[picture])))


def panel_grey(outputs: Paths, inputs: Inputs, *, picture: str, panel: int, at: list[float]) -> float:
    """Grey level (0 to 255) of a panel at a place given as shares of its height and width."""
    inside = _panels(outputs[picture])[panel]
    row, column = (round(share * (size - 1)) for share, size in zip(at, inside.shape[:2], strict=True))
    return float(inside[row, column].mean())


def brightest(outputs: Paths, inputs: Inputs, *, picture: str, panel: int) -> float:
    """Grey level (0 to 255) of the brightest row of a panel, averaged along it."""
    return float(_row_means(outputs[picture], panel).max())


def brightest_row(outputs: Paths, inputs: Inputs, *, picture: str, panel: int) -> float:
    """Where the brightest row of a panel is, as a share of its height."""
    rows = _row_means(outputs[picture], panel)
    return (float(rows.argmax()) + 0.5) / len(rows)


def panel_height(outputs: Paths, inputs: Inputs, *, picture: str, panel: int) -> float:
    """Height of a panel over its width."""
    inside = _panels(outputs[picture])[panel]
    return float(inside.shape[0] / inside.shape[1])


def colored_at(outputs: Paths, inputs: Inputs, *, panel: int, axis: int) -> float:
    """Where the coloured pixels of a panel of the overlay lie on average: share of its height (axis 0) or width."""
    inside = _panels(outputs["overlay"])[panel].astype(int)
    colored = np.argwhere(np.ptp(inside, axis=2) > 60)
    return (float(colored[:, axis].mean()) + 0.5) / int(inside.shape[axis])


def colored(outputs: Paths, inputs: Inputs, *, panel: int) -> float:
    """How many pixels of a panel of the overlay are coloured."""
    return float((np.ptp(_panels(outputs["overlay"])[panel].astype(int), axis=2) > 60).sum())


def scale_bar(outputs: Paths, inputs: Inputs, *, width_um: float) -> float:
    """Length of the overlay's scale bar in um: the longest white run in the lower third of its first panel."""
    inside = _panels(outputs["overlay"])[0]
    white = (inside[2 * inside.shape[0] // 3 :].min(axis=2) > 250).sum(axis=1)
    return float(white.max()) * width_um / int(inside.shape[1])


def movie_frames(outputs: Paths, inputs: Inputs) -> float:
    """How many frames the movie has."""
    with Image.open(outputs["movie"]) as movie:
        return float(getattr(movie, "n_frames", 1))


def movie_side(outputs: Paths, inputs: Inputs) -> float:
    """The longer side of the movie in pixels, without the two bars of 22 pixels above and below."""
    with Image.open(outputs["movie"]) as movie:
        return float(max(movie.size[0], movie.size[1] - 44))


def movie_duration(outputs: Paths, inputs: Inputs) -> float:
    """How long a frame of the movie is shown, in milliseconds."""
    with Image.open(outputs["movie"]) as movie:
        return float(movie.info["duration"])


def movie_brightest(outputs: Paths, inputs: Inputs, *, frame: int, axis: int) -> float:
    """Where the brightest pixels of a movie frame lie on average: share of the image's height (axis 0) or width."""
    with Image.open(outputs["movie"]) as movie:
        movie.seek(frame)
        image = np.asarray(movie.convert("L"))[22:-22]
    return (float(np.argwhere(image == image.max())[:, axis].mean()) + 0.5) / int(image.shape[axis])


def kilobytes(outputs: Paths, inputs: Inputs, *, picture: str) -> float:
    """Size of an output file."""
    return outputs[picture].stat().st_size / 1000


def _row_means(path: Path, panel: int) -> NDArray[np.float64]:
    return np.asarray(_panels(path)[panel].mean(axis=(1, 2)))


def _panels(path: Path) -> list[NDArray[np.uint8]]:
    """Cut out the panels, from top left to bottom right: parts at least 70 px wide and high that are not white."""
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    labels, _ = ndimage.label(pixels.min(axis=2) < 250)
    boxes = [box for box in ndimage.find_objects(labels) if all(part.stop - part.start >= 70 for part in box)]
    boxes.sort(key=lambda box: (box[0].start // 20, box[1].start))
    return [pixels[box] for box in boxes]


def _write(path: Path, pixels: NDArray[np.uint16], axes: str) -> Path:
    about: dict[str, Any] = {"axes": axes, "unit": "um", "finterval": 2.0}
    if "Z" in axes:
        about["spacing"] = 0.3
    tifffile.imwrite(path, pixels, imagej=True, resolution=(10, 10), metadata=about)
    return path
