"""Draw the montage and the overlay as PNG with matplotlib's objects; the same input gives the same bytes.

Panels are placed in inches from the page's top left corner, so that no text ever lies on another.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import matplotlib
import matplotlib.style
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.text import Text

from render_scene import (
    TIME_COLOR_RANGE,
    TIME_COLORMAP,
    ColorBy,
    Floats,
    Pixels,
    Projections,
    TrackLines,
    grey_range,
    length_label,
    line_colors,
    nice_length,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.backend_bases import RendererBase

DPI = 160
PAGE_IN = 9.6
NARROWEST_IN = 5.6
TALLEST_IN = 11.0
MARGIN_IN = 0.14
GAP_IN = 0.07
LABEL_IN = 0.25  # above every panel of a montage: its time
HEADER_IN = 0.66
FOOTER_IN = 0.4
LEGEND_IN = 0.85
THINNEST_IN = 0.12
MOST_RIMMED = 4000  # pieces of track; beyond, dark rims would hide more than they show
GREYS = LinearSegmentedColormap.from_list("greys", ["black", "white"])
DIM_GREYS = LinearSegmentedColormap.from_list("dim greys", ["black", "0.62"])  # lets coloured lines stand out
TITLE: dict[str, Any] = {"fontsize": 13, "fontweight": "bold", "va": "top"}
CAPTION: dict[str, Any] = {"fontsize": 9, "color": "0.3", "va": "top"}
SMALL: dict[str, Any] = {"fontsize": 8.5, "color": "0.15"}
ON_IMAGE: dict[str, Any] = {
    "fontsize": 9, "fontweight": "bold", "color": "white", "zorder": 4,
    "path_effects": [withStroke(linewidth=2, foreground="black")],
}  # fmt: skip


@dataclass(frozen=True)
class Look:
    """How the pictures are drawn.

    Parameters
    ----------
    title
        Above montage and overlay.
    grey
        Grey levels shown black and white where frames are shown one by one.
    percentiles
        What these are of all pixels shown; the overlay, a maximum over time, finds its own levels by them.
    color_by
        What the colour of a track means.
    """

    title: str
    grey: tuple[float, float]
    percentiles: tuple[float, float] = (1.0, 99.8)
    color_by: ColorBy = "time"


@dataclass(frozen=True)
class Grid:
    """Where the panels lie, in inches; every panel is an xy image with its xz image below."""

    columns: int
    width: float
    tall: float
    flat: float  # height of the xz image, 0 without
    label: float  # height of the text above each panel
    page: tuple[float, float] = (0.0, 0.0)
    left: float = MARGIN_IN

    @property
    def block(self) -> float:
        """From one row of panels to the next."""
        return self.label + self.tall + self.below + GAP_IN

    @property
    def below(self) -> float:
        """Height of the xz image with the gap above it."""
        return self.flat + GAP_IN if self.flat else 0.0

    def place(self, index: int) -> tuple[float, float]:
        """Left and top edge of panel `index`'s xy image, from the page's top left corner."""
        row, column = divmod(index, self.columns)
        return self.left + column * (self.width + GAP_IN), HEADER_IN + self.label + row * self.block


def montage_grid(count: int, scene: Projections) -> Grid:
    """Choose the number of columns that fills a page nearest to 3:2, empty places counted against it."""
    grids = [_grid(columns, count, scene, label=LABEL_IN) for columns in range(1, count + 1)]

    def cost(grid: Grid) -> float:
        empty = math.ceil(count / grid.columns) * grid.columns - count
        return abs(math.log(PAGE_IN / grid.page[1] / 1.5)) + math.log(PAGE_IN / grid.page[0]) + 0.5 * empty / count

    return min(grids, key=cost)


def draw_montage(path: Path, scene: Projections, chosen: tuple[int, ...], look: Look) -> Grid:
    """Draw the projections of some frames side by side, all with the same grey range and scale.

    Parameters
    ----------
    path
        PNG to write.
    scene
        What was projected.
    chosen
        Places in `scene.frames` of the frames to draw.
    look
        Title and grey range.

    Returns
    -------
    Where the panels are.
    """
    grid = montage_grid(len(chosen), scene)
    with matplotlib.style.context("default"):
        figure = _figure(grid.page)
        _header(figure, look.title, _montage_caption(scene, len(chosen)))
        for panel, index in enumerate(chosen):
            left, top = grid.place(panel)
            axes = _image(figure, (left, top, grid.width, grid.tall), scene.xy[index], scene, 1, look.grey)
            _text(figure, left, top - 0.05, scene.label(scene.frames[index]), va="bottom", **SMALL)
            if panel == 0:
                _scale_bar(axes, scene.size_um(2), grid.width)
            if scene.xz is not None:
                below = top + grid.tall + GAP_IN
                _image(figure, (left, below, grid.width, grid.flat), scene.xz[index], scene, 0, look.grey)
        _grey_legend(figure, grid, look.grey, GREYS)
        _save(figure, path)
    return grid


def draw_overlay(path: Path, scene: Projections, lines: TrackLines, look: Look) -> Grid:
    """Draw the maximum over all chosen frames, in xy and xz, and the tracks on top, coloured.

    Pieces that bridge a gap are dotted. Tracks without a z are drawn in xy alone.
    """
    legend = LEGEND_IN if look.color_by == "time" and len(lines.track) else 0.0
    grid, greys = _grid(1, 1, scene, right=legend), DIM_GREYS if lines.count else GREYS
    xy, xz = scene.xy.max(axis=0), None if scene.xz is None else scene.xz.max(axis=0)
    grey = grey_range([xy] if xz is None else [xy, xz], look.percentiles)
    colors = line_colors(lines, look.color_by, (scene.frames[0], scene.frames[-1]))
    with matplotlib.style.context("default"):
        figure = _figure(grid.page)
        _header(figure, look.title, _overlay_caption(scene, lines))
        left, top = grid.place(0)
        axes = _image(figure, (left, top, grid.width, grid.tall), xy, scene, 1, grey, greys)
        _tracks(axes, lines, colors, 1)
        _scale_bar(axes, scene.size_um(2), grid.width)
        if xz is not None:
            _tag(axes, "xy")
            axes = _image(figure, (left, top + grid.tall + GAP_IN, grid.width, grid.flat), xz, scene, 0, grey, greys)
            _tracks(axes, lines, colors, 0)
            _tag(axes, "xz")
        if legend:
            _time_legend(figure, (left + grid.width + 0.12, top, 0.13, grid.tall + grid.below), scene)
        _grey_legend(figure, grid, grey, greys)
        _save(figure, path)
    return grid


def _grid(columns: int, count: int, scene: Projections, *, label: float = 0.0, right: float = 0.0) -> Grid:
    """Lay out `count` panels; on a page too tall for a screen they shrink and the page gets narrower."""
    rows = math.ceil(count / columns)
    sides = 2 * MARGIN_IN + (columns - 1) * GAP_IN + right
    width = (PAGE_IN - sides) / columns
    tall_share, flat_share = scene.size_um(1) / scene.size_um(2), scene.size_um(0) / scene.size_um(2)
    fixed = HEADER_IN + FOOTER_IN + rows * (label + 2 * GAP_IN)
    share = tall_share + (flat_share if scene.xz is not None else 0)
    width = min(width, max(TALLEST_IN - fixed, 2.0) / (rows * share))
    flat = max(width * flat_share, THINNEST_IN) if scene.xz is not None else 0.0
    grid = Grid(columns, width, width * tall_share, flat, label)
    content = sides + columns * width
    page = max(content, NARROWEST_IN), HEADER_IN + rows * grid.block + FOOTER_IN
    return replace(grid, page=page, left=MARGIN_IN + (page[0] - content) / 2)


def _montage_caption(scene: Projections, drawn: int) -> str:
    views = "maximum projections, xy above xz" if scene.xz is not None else "one plane"
    return f"{views} · {_some(drawn, scene.total)} · {_size(scene)}"


def _overlay_caption(scene: Projections, lines: TrackLines) -> str:
    tracks = f"{lines.count or 'no'} track{'' if lines.count == 1 else 's'}"
    dotted = " (dotted across gaps)" if lines.gap.any() else ""
    return f"{tracks}{dotted} · maximum over {_some(len(scene.frames), scene.total)} · {_size(scene)}"


def _some(drawn: int, total: int) -> str:
    of = f"{drawn} of {total}" if drawn < total else f"{total}"
    return f"{of} time point{'' if total == 1 else 's'}"


def _size(scene: Projections) -> str:
    axes = (2, 1, 0) if scene.xz is not None else (2, 1)
    return " × ".join(f"{scene.size_um(axis):.3g}" for axis in axes) + " µm"


def _figure(page: tuple[float, float]) -> Figure:
    figure = Figure(figsize=page, dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _text(figure: Figure, left: float, top: float, text: str, **style: Any) -> Text:
    width, height = figure.get_size_inches()
    return figure.text(left / width, 1 - top / height, text, **style)


def _renderer(figure: Figure) -> RendererBase:
    renderer: RendererBase = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    return renderer


def _axes(figure: Figure, box: tuple[float, float, float, float]) -> Axes:
    """Add axes at (left, top, width, height) in inches from the top left corner."""
    left, top, wide, high = box
    width, height = figure.get_size_inches()
    return figure.add_axes((left / width, 1 - (top + high) / height, wide / width, high / height))


def _header(figure: Figure, title: str, caption: str) -> None:
    """Write title and caption; text wider than the page is set smaller or cut short, never run over the edge."""
    _fit(figure, 0.12, title, TITLE)
    _fit(figure, 0.4, caption, CAPTION)


def _fit(figure: Figure, top: float, text: str, style: dict[str, Any]) -> None:
    room = (figure.get_size_inches()[0] - 2 * MARGIN_IN) * DPI
    written, renderer = _text(figure, MARGIN_IN, top, text, **style), _renderer(figure)
    size = float(style["fontsize"])
    while written.get_window_extent(renderer).width > room:
        if size > 7:
            size -= 0.5
            written.set_fontsize(size)
        else:
            written.set_text(written.get_text().rstrip("…")[:-1] + "…")


def _image(
    figure: Figure,
    box: tuple[float, float, float, float],
    pixels: Pixels,
    scene: Projections,
    vertical: int,
    grey: tuple[float, float],
    greys: LinearSegmentedColormap = GREYS,
) -> Axes:
    """Show a projection to scale, in micrometres: axis `vertical` downwards, x to the right."""
    axes = _axes(figure, box)
    (left, right), (top, bottom) = scene.extent_um(2), scene.extent_um(vertical)
    axes.imshow(
        pixels, cmap=greys, vmin=grey[0], vmax=grey[1], aspect="auto", extent=(left, right, bottom, top),
        interpolation="bicubic" if pixels.shape[1] < box[2] * DPI else "hanning",
    )  # fmt: skip
    axes.set_xlim(*scene.limits_um(2))
    axes.set_ylim(*reversed(scene.limits_um(vertical)))
    axes.set_axis_off()
    return axes


def _tracks(axes: Axes, lines: TrackLines, colors: Floats, vertical: int) -> None:
    """Draw line pieces with a thin dark rim, then a dot where each track ends; small where there are many."""
    pieces = np.stack([lines.start_um[:, [2, vertical]], lines.end_um[:, [2, vertical]]], axis=1)
    there = ~np.any(np.isnan(pieces), axis=(1, 2))
    if not there.any():
        return
    thick = float(np.interp(len(pieces), [100, 5000], [1.6, 0.7]))
    solid, dotted = there & ~lines.gap, there & lines.gap
    if len(pieces) <= MOST_RIMMED:
        _lines(axes, pieces[solid], "black", thick + 1.2, "solid")
    _lines(axes, pieces[dotted], colors[dotted], thick, (0, (1, 1.2)))
    _lines(axes, pieces[solid], colors[solid], thick, "solid")
    order = np.lexsort((lines.end_frame, lines.track))
    last = order[np.append(lines.track[order][1:] != lines.track[order][:-1], True)]
    last = last[there[last]]
    small = float(np.interp(len(last), [100, 1000], [0, 1]))
    axes.scatter(
        pieces[last, 1, 0], pieces[last, 1, 1], s=((3.2 - 1.8 * small) * thick) ** 2, c=colors[last],
        edgecolors="black", linewidths=0.6 * (1 - small), zorder=3,
    )  # fmt: skip


def _lines(axes: Axes, pieces: Floats, colors: Any, width: float, style: Any) -> None:
    cap: Literal["round", "butt"] = "round" if style == "solid" else "butt"
    drawn = LineCollection(list(pieces), colors=colors, linewidths=width, linestyles=[style], capstyle=cap)
    axes.add_collection(drawn, autolim=False)


def _scale_bar(axes: Axes, width_um: float, width_in: float) -> None:
    """Draw a scale bar in the lower right corner, its length above it, rimmed black to show on any grey."""
    length = nice_length(width_um)
    per_in = width_um / width_in
    axes_height_in = axes.get_position().height * axes.figure.get_size_inches()[1]  # type: ignore[union-attr]
    thick_in = min(0.05, 0.1 * axes_height_in)
    inset_in = min(0.12, 0.1 * axes_height_in)
    right, bottom = axes.get_xlim()[1] - inset_in * per_in, axes.get_ylim()[0] - inset_in * per_in
    bar = Rectangle((right - length, bottom - thick_in * per_in), length, thick_in * per_in)
    bar.set(facecolor="white", edgecolor="black", linewidth=0.6, zorder=4)
    axes.add_patch(bar)
    align, at = ("right", right) if length / per_in < 0.55 else ("center", right - length / 2)
    axes.text(at, bottom - (thick_in + 0.04) * per_in, length_label(length), ha=align, va="bottom", **ON_IMAGE)


def _tag(axes: Axes, text: str) -> None:
    axes.annotate(
        text, (0, 1), xytext=(5, -4), xycoords="axes fraction", textcoords="offset points", va="top", **ON_IMAGE
    )


def _grey_legend(figure: Figure, grid: Grid, grey: tuple[float, float], greys: LinearSegmentedColormap) -> None:
    """Show at the foot which grey level is drawn how."""
    middle = grid.page[1] - FOOTER_IN / 2 + 0.02
    digits = min(max(0, 2 - math.floor(math.log10(grey[1] - grey[0]))), 6)
    low, high = (f"{level:.{digits}f}" for level in grey)
    text = _text(figure, MARGIN_IN, middle, f"grey levels  {low}", va="center", **SMALL)
    left = text.get_window_extent(_renderer(figure)).x1 / DPI + 0.08
    ramp = _axes(figure, (left, middle - 0.06, 1.1, 0.12))
    ramp.imshow(np.linspace(0, 1, 256)[None], cmap=greys, aspect="auto")
    ramp.set(xticks=[], yticks=[])
    _text(figure, left + 1.18, middle, high, va="center", **SMALL)


def _time_legend(figure: Figure, box: tuple[float, float, float, float], scene: Projections) -> None:
    """Show which colour is which time, from the first frame (top) to the last."""
    low, high = TIME_COLOR_RANGE
    shades = matplotlib.colormaps[TIME_COLORMAP](np.linspace(low, high, 256))
    ramp = _axes(figure, box)
    ramp.imshow(np.arange(256)[:, None], cmap=LinearSegmentedColormap.from_list("time", shades), aspect="auto")
    ramp.set(xticks=[])
    first, last = scene.frames[0], scene.frames[-1]
    ticks = sorted({first, (first + last) // 2, last}) if box[3] > 0.6 else sorted({first, last})
    ramp.set_yticks([255 * (tick - first) / max(last - first, 1) for tick in ticks], [scene.label(t) for t in ticks])
    ramp.yaxis.tick_right()
    ramp.tick_params(length=2, labelsize=8)


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, format="png", dpi=DPI, metadata={"Software": None})
