"""Draw the pictures a person looks at first: a montage over time, the tracks on the image, a short movie.

Frames are read one at a time and kept only as projections. Where a time-lapse has more frames than asked for,
they are chosen at even distances and the pictures say so.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from render_scene import Pixels, Projections, TrackLines, block_max, choose_evenly, grey_range, no_tracks, track_lines
from snakescope.program import add_image_facts, run_program

if TYPE_CHECKING:
    from timeline import Timeline

LARGEST_PX = 1400  # no projection is kept larger; finer pixels would not show


def project(volume: NDArray[Any], factors: tuple[int, int, int]) -> tuple[Pixels, Pixels | None]:
    """Project one frame along z, and along y, and shrink both by whole factors, each block to its maximum.

    Parameters
    ----------
    volume
        Shape (z, y, x) or (y, x), any real dtype.
    factors
        Along z, y, x.

    Returns
    -------
    xy of shape (y, x) and xz of shape (z, x), or None for a 2D image; float32.
    """
    if volume.ndim == 2:
        return block_max(volume, factors[1:]), None
    xy, xz = volume.max(axis=0), volume.max(axis=1)
    return block_max(xy, factors[1:]), block_max(xz, (factors[0], factors[2]))


def project_timeline(timeline: Timeline, most: int) -> Projections:
    """Project at most `most` frames of a time-lapse, evenly chosen."""
    shape = (timeline.header.size("z"), timeline.header.size("y"), timeline.header.size("x"))
    lateral = math.ceil(max(shape[1:]) / LARGEST_PX)
    factors = (math.ceil(shape[0] / LARGEST_PX), lateral, lateral)
    frames = choose_evenly(timeline.frames, most)
    pairs = [project(volume, factors) for _, volume in timeline.volumes(frames)]
    flat = [xz for _, xz in pairs if xz is not None]
    return Projections(
        frames=frames,
        xy=np.stack([xy for xy, _ in pairs]),
        xz=np.stack(flat) if flat else None,
        shape=shape,
        voxel_um=timeline.voxel_size_um,
        factors=factors,
        time_step_s=timeline.time_step_s,
        total=len(timeline.frames),
    )


def percentiles(text: str) -> tuple[float, float]:
    """Read ``low,high`` as two percentages."""
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"found {text!r}; expected two numbers low,high") from None
    if not 0 <= low < high <= 100:
        raise argparse.ArgumentTypeError(f"found {text!r}; expected 0 <= low < high <= 100")
    return low, high


def main(argv: Sequence[str] | None = None) -> None:
    """Run the program (see ``--help``)."""
    from render_figures import Look, draw_montage, draw_overlay
    from render_movie import draw_movie
    from timeline import Timeline, facts_of

    given = _parser().parse_args(argv)
    lines = _read_lines(given.table)
    scene = project_timeline(Timeline(given.image, facts_of(given), given.channel), given.max_frames)
    shown = [scene.xy] if scene.xz is None else [scene.xy, scene.xz]
    grey = grey_range(shown, given.contrast_percentiles)
    look = Look(given.title or "Time-lapse", grey, given.contrast_percentiles, given.color_by)
    chosen = choose_evenly(range(len(scene.frames)), given.panels)
    print(
        f"{len(scene.frames)} of {scene.total} frames, {lines.count} tracks, grey {look.grey[0]:g} to {look.grey[1]:g}"
    )
    draw_montage(given.out_montage, scene, chosen, look)
    draw_overlay(given.out_overlay, scene, lines, look)
    pictures = draw_movie(given.out_movie, scene, lines, look, tail=given.tail_frames, rate_hz=given.rate_hz)
    print(f"montage of {len(chosen)} time points, movie of {pictures}")


def _read_lines(path: Path | None) -> TrackLines:
    if path is None:
        return no_tracks()
    from tables import read_tracks

    return track_lines(read_tracks(path))


def _parser() -> argparse.ArgumentParser:
    from timeline import add_timeline

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image", type=Path, nargs="+", required=True, metavar="PATH", help="image files in order")
    parser.add_argument("--table", type=Path, metavar="CSV", help="tracks table")
    add_image_facts(parser)
    add_timeline(parser)
    parser.add_argument("--channel", type=_from(0), default=0, help="which channel, from 0")
    parser.add_argument("--title", default=None, help="title of montage and overlay")
    parser.add_argument("--contrast-percentiles", type=percentiles, default=(1.0, 99.8), metavar="LOW,HIGH")
    parser.add_argument("--color-by", choices=("time", "track"), default="time", help="meaning of a track's colour")
    parser.add_argument("--panels", type=_from(1), default=8, help="most time points in the montage")
    parser.add_argument("--max-frames", type=_from(1), default=120, help="most time points read at all")
    parser.add_argument("--tail-frames", type=_from(1), default=10, help="how long a track's tail is in the movie")
    parser.add_argument("--rate-hz", type=float, default=6.0, help="pictures per second of the movie")
    parser.add_argument("--out-montage", type=Path, required=True, metavar="PNG")
    parser.add_argument("--out-overlay", type=Path, required=True, metavar="PNG")
    parser.add_argument("--out-movie", type=Path, required=True, metavar="GIF")
    parser.add_argument("--threads", type=int, default=1, help="accepted; one is used")
    return parser


def _from(least: int) -> Any:
    def whole(text: str) -> int:
        if not text.isdigit() or int(text) < least:
            raise argparse.ArgumentTypeError(f"found {text!r}; expected a whole number from {least}")
        return int(text)

    return whole


if __name__ == "__main__":
    run_program(main)
