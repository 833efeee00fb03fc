"""Draw a short animated GIF of the xy projections, with time, scale bar and the tracks' tails."""

from __future__ import annotations

import math
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from render_figures import Look
from render_scene import Projections, TrackLines, length_label, line_colors, nice_length

LONGEST_PX = 512
SMALLEST_PX = 128
MOST_PIXELS = 10_000_000  # of all frames together: at most about 9 MB, where all is noise
BAR_PX = 22
GREYS = 112
SHADES = (1.0, 0.7, 0.4)  # of each track colour: the soft edges of its lines on black
SMOOTH = 3  # lines are drawn that much larger, then shrunk


def movie_size(scene: Projections, frames: int) -> tuple[int, int]:
    """Width and height in pixels of the picture area: to scale, and small enough for the number of frames."""
    wide, high = scene.size_um(2), scene.size_um(1)
    side = min(LONGEST_PX, math.sqrt(MOST_PIXELS / frames * max(wide, high) / min(wide, high)))
    scale = max(side, SMALLEST_PX) / max(wide, high)
    return max(round(wide * scale), 16), max(round(high * scale), 16)


def draw_movie(path: Path, scene: Projections, lines: TrackLines, look: Look, *, tail: int, rate_hz: float) -> int:
    """Write the movie.

    Parameters
    ----------
    path
        GIF to write; it repeats for ever.
    scene
        What was projected; one picture for each of its frames.
    lines
        Tracks; may be none.
    look
        Grey range and what colours mean.
    tail
        For how many frames a piece of track stays.
    rate_hz
        Pictures per second; GIF knows hundredths of a second.

    Returns
    -------
    Number of pictures written.
    """
    size = movie_size(scene, len(scene.frames))
    colors = np.rint(255 * line_colors(lines, look.color_by, (scene.frames[0], scene.frames[-1]))).astype(int)
    palette = _palette(colors)
    pictures = [
        _picture(scene, index, size, lines, colors, look.grey, tail).quantize(palette=palette, dither=Image.Dither.NONE)
        for index in range(len(scene.frames))
    ]
    pictures[0].save(
        path, format="GIF", save_all=True, append_images=pictures[1:], loop=0, disposal=1, optimize=False,
        duration=max(20, 10 * round(100 / rate_hz)),
    )  # fmt: skip
    return len(pictures)


def _picture(
    scene: Projections,
    index: int,
    size: tuple[int, int],
    lines: TrackLines,
    colors: NDArray[np.int_],
    grey: tuple[float, float],
    tail: int,
) -> Image.Image:
    width, height = size
    now = scene.frames[index]
    shown = (lines.end_frame <= now) & (lines.end_frame > now - tail)
    picture = _grey_image(scene, scene.xy[index], size, grey)
    if shown.any():
        picture = _with_lines(picture, scene, lines, colors, shown)
    page = Image.new("RGB", (width, height + 2 * BAR_PX))
    page.paste(picture, (0, BAR_PX))
    _bars(ImageDraw.Draw(page), scene, scene.label(now), size)
    return page


def _grey_image(
    scene: Projections, pixels: NDArray[np.float32], size: tuple[int, int], grey: tuple[float, float]
) -> Image.Image:
    """Scale grey levels to 0-255 and the image to `size`, without the part of a block beyond its edge."""
    levels = np.clip((pixels - grey[0]) / (grey[1] - grey[0]), 0, 1) * 255
    wide, high = (scene.shape[axis] / scene.factors[axis] for axis in (2, 1))
    whole = Image.fromarray(np.nan_to_num(levels).astype(np.uint8))
    return whole.resize(size, Image.Resampling.BICUBIC, box=(0, 0, wide, high)).convert("RGB")


def _with_lines(
    picture: Image.Image,
    scene: Projections,
    lines: TrackLines,
    colors: NDArray[np.int_],
    shown: NDArray[np.bool_],
) -> Image.Image:
    """Draw pieces of track with soft edges."""
    width, height = picture.size
    large = picture.resize((width * SMOOTH, height * SMOOTH), Image.Resampling.NEAREST)
    draw = ImageDraw.Draw(large)
    edge = np.array([scene.limits_um(axis)[0] for axis in (2, 1)])
    scale = SMOOTH * np.array([width / scene.size_um(2), height / scene.size_um(1)])
    for piece in np.flatnonzero(shown):
        ends = np.stack([lines.start_um[piece, [2, 1]], lines.end_um[piece, [2, 1]]])
        fill = tuple(colors[piece].tolist())
        draw.line([tuple(end) for end in ((ends - edge) * scale).tolist()], fill=fill, width=2 * SMOOTH)
    return large.reduce(SMOOTH)


def _bars(draw: ImageDraw.ImageDraw, scene: Projections, label: str, size: tuple[int, int]) -> None:
    """Write the time above and the scale bar below the picture, outside the image."""
    width, height = size
    per_um = width / scene.size_um(2)
    fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    # Basic layout: the other one needs a library of the system, and places letters differently where that is missing.
    font = ImageFont.truetype(str(fonts / "DejaVuSans.ttf"), 13, layout_engine=ImageFont.Layout.BASIC)
    draw.rectangle((0, 0, width, BAR_PX - 1), fill=(0, 0, 0))
    draw.rectangle((0, BAR_PX + height, width, 2 * BAR_PX + height), fill=(0, 0, 0))
    draw.text((6, BAR_PX / 2), label, fill=(255, 255, 255), font=font, anchor="lm")
    length = nice_length(scene.size_um(2))
    middle = BAR_PX + height + BAR_PX // 2
    draw.rectangle((6, middle - 2, 6 + round(length * per_um) - 1, middle + 1), fill=(255, 255, 255))
    draw.text((14 + length * per_um, middle), length_label(length), fill=(255, 255, 255), font=font, anchor="lm")


def _palette(colors: NDArray[np.int_]) -> Image.Image:
    """Make one palette for all pictures: greys, and shades of the track colours (evenly chosen if many)."""
    greys = np.rint(np.linspace(0, 255, GREYS)).astype(int)[:, None].repeat(3, axis=1)
    used = np.unique(colors, axis=0) if len(colors) else np.empty((0, 3), int)
    most = (256 - GREYS) // len(SHADES)
    if len(used) > most:
        used = used[np.linspace(0, len(used) - 1, most).astype(int)]
    shades = np.concatenate([np.rint(used * shade).astype(int) for shade in SHADES])
    table = np.zeros((256, 3), dtype=int)
    table[:GREYS], table[GREYS : GREYS + len(shades)] = greys, shades
    image = Image.new("P", (1, 1))
    image.putpalette(table.ravel().tolist())
    return image
