"""The parts of the pictures: projections, labels, layout, track lines; and that the same input gives the same bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from PIL import Image

import render
import render_scene
from render_figures import MARGIN_IN, PAGE_IN, TALLEST_IN, Look, draw_overlay, montage_grid
from render_movie import MOST_PIXELS, movie_size
from snakescope.errors import InputError
from snakescope.synthetic import generate_llsm
from snakescope.tool.base import parse, read_yaml
from snakescope.tool.spec import ToolSpec

ROOT = Path(__file__).resolve().parents[2]


def scene(
    shape: tuple[int, int, int], frames: int = 1, voxel: tuple[float | None, float, float] = (0.3, 0.1, 0.1)
) -> render_scene.Projections:
    return render_scene.Projections(
        frames=tuple(range(frames)),
        xy=np.zeros((frames, *shape[1:]), np.float32),
        xz=None if voxel[0] is None else np.zeros((frames, shape[0], shape[2]), np.float32),
        shape=shape, voxel_um=voxel, factors=(1, 1, 1), time_step_s=None, total=frames,
    )  # fmt: skip


def tracks(*rows: tuple[int, str, int, float]) -> pd.DataFrame:
    """Rows of (track, parents, frame, x)."""
    table = pd.DataFrame(rows, columns=["track_id", "parent_track_ids", "frame", "x_um"])
    return table.assign(z_um=np.nan, y_um=1.0)


def test_projection_keeps_a_bright_voxel_when_shrunk() -> None:
    volume = np.zeros((5, 10, 11), np.uint16)
    volume[4, 9, 10] = 7
    xy, xz = render.project(volume, (2, 3, 3))
    assert xz is not None
    assert (xy.shape, xz.shape) == ((4, 4), (3, 4))
    assert (xy[3, 3], xz[2, 3], xy.sum(), xz.sum()) == (7, 7, 7, 7)


def test_frames_are_chosen_evenly_with_both_ends() -> None:
    assert render_scene.choose_evenly([10, 20, 30], 5) == (10, 20, 30)
    assert render_scene.choose_evenly(range(101), 5) == (0, 25, 50, 75, 100)
    assert render_scene.choose_evenly(range(9), 1) == (0,)


@pytest.mark.parametrize(
    ("width_um", "label"), [(20.0, "5 µm"), (19.8, "2 µm"), (1.5, "200 nm"), (8000.0, "2 mm"), (4.0, "1 µm")]
)
def test_scale_bar_is_a_round_length_below_a_quarter_of_the_width(width_um: float, label: str) -> None:
    assert render_scene.length_label(render_scene.nice_length(width_um)) == label


@pytest.mark.parametrize(
    ("frame", "step_s", "last", "label"),
    [
        (3, None, 9, "frame 3"),
        (3, 1.0, 9, "3 s"),
        (3, 0.25, 9, "0.75 s"),
        (3, 30.0, 9, "1:30 min"),
        (3, 1200.0, 9, "1:00:00 h"),
        (2, 0.033, 9, "0.066 s"),
    ],
)
def test_time_is_written_in_a_fitting_unit(frame: int, step_s: float | None, last: int, label: str) -> None:
    assert render_scene.time_label(frame, step_s, last) == label


def test_grey_range_of_a_flat_image_is_not_empty() -> None:
    flat = np.full((4, 4), 7, np.float32)
    assert render_scene.grey_range([flat], (1, 99)) == (7, 8)
    assert render_scene.grey_range([flat * np.nan, flat], (1, 99)) == (7, 8)


def test_track_lines_join_spots_and_branches() -> None:
    lines = render_scene.track_lines(
        tracks((5, "", 0, 0.0), (5, "", 1, 1.0), (7, "5", 2, 2.0), (7, "5", 5, 3.0), (9, "5", 2, 4.0))
    )
    pieces = zip(lines.start_um[:, 2], lines.end_um[:, 2], lines.gap, lines.track, strict=True)
    assert [tuple(map(float, piece)) for piece in pieces] == [
        (0, 1, False, 0), (2, 3, True, 1), (1, 2, False, 1), (1, 4, False, 2),
    ]  # fmt: skip
    assert lines.count == 3


def test_colours_follow_time_or_track() -> None:
    lines = render_scene.track_lines(tracks(*((n, "", t, 0.0) for n in range(2) for t in range(3))))
    by_time = render_scene.line_colors(lines, "time", (0, 2))
    by_track = render_scene.line_colors(lines, "track", (0, 2))
    assert np.array_equal(by_time[0], by_time[2])
    assert not np.array_equal(by_time[0], by_time[1])
    assert np.array_equal(by_track[0], by_track[1])
    assert not np.array_equal(by_track[0], by_track[2])


@pytest.mark.parametrize(
    "shape", [(40, 96, 198), (10, 1200, 60), (3, 40, 1500), (64, 512, 512), (200, 30, 30), (2, 2000, 2000)]
)
@pytest.mark.parametrize("count", [1, 5, 8, 60])
def test_panels_never_overlap_and_stay_on_the_page(shape: tuple[int, int, int], count: int) -> None:
    grid = montage_grid(count, scene(shape, count))
    boxes = [(*grid.place(index), grid.width, grid.tall + grid.below) for index in range(count)]
    assert grid.page[0] <= PAGE_IN + 1e-9
    for left, top, width, height in boxes:
        assert left >= MARGIN_IN - 1e-9
        assert left + width <= grid.page[0] - MARGIN_IN + 1e-9
        assert top + height <= grid.page[1]
    for a in boxes[:12]:
        for b in boxes[:12]:
            apart = a[0] + a[2] <= b[0] or b[0] + b[2] <= a[0] or a[1] + a[3] <= b[1] or b[1] + b[3] <= a[1]
            assert a == b or apart
    if shape == (64, 512, 512) and count <= 8:
        assert grid.page[1] <= TALLEST_IN + 0.5


def test_many_tracks_leave_most_of_the_image_to_be_seen(tmp_path: Path) -> None:
    place = np.stack(np.meshgrid([0.0], np.linspace(0.5, 31, 30), np.linspace(0.5, 47, 50)), axis=-1).reshape(-1, 3)
    frame = np.zeros(len(place), np.int64)
    moved = place + np.array([0, 0.2, 0])
    lines = render_scene.TrackLines(place, moved, frame, frame + 1, np.arange(len(place)), len(place))
    draw_overlay(tmp_path / "o.png", scene((20, 320, 480), frames=2), lines, Look("many", (0, 100), (0, 1), "time"))
    pixels = np.asarray(Image.open(tmp_path / "o.png").convert("RGB")).astype(int)
    coloured = np.ptp(pixels, axis=-1) > 60
    assert 0.01 < coloured.mean() < 0.06


def test_montage_of_eight_wide_panels_has_four_columns() -> None:
    assert montage_grid(8, scene((40, 96, 198), 8, (0.157, 0.1, 0.1))).columns == 4


def test_movie_gets_smaller_with_more_frames() -> None:
    assert movie_size(scene((1, 500, 1000)), 1) == (512, 256)
    width, height = movie_size(scene((1, 1000, 1000)), 200)
    assert 0.95 < width * height * 200 / MOST_PIXELS <= 1.01


def test_same_input_gives_the_same_bytes_without_date_or_program_name(tmp_path: Path) -> None:
    made = generate_llsm(tmp_path / "data", series=1, frames=3)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        draw(tmp_path / name, made.images["cell1"])
    for picture in ("montage.png", "overlay.png", "movie.gif"):
        assert (tmp_path / "a" / picture).read_bytes() == (tmp_path / "b" / picture).read_bytes()
    with Image.open(tmp_path / "a" / "montage.png") as montage:
        assert set(montage.info) <= {"dpi"}
        assert montage.width == round(PAGE_IN * 160)


def test_unknown_pixel_size_stops_the_run(tmp_path: Path) -> None:
    path = tmp_path / "plain.tif"
    tifffile.imwrite(path, np.zeros((9, 9), np.uint8))
    with pytest.raises(InputError, match="does not say how large a voxel is along y, x"):
        draw(tmp_path, [path])


def test_bad_percentiles_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        draw(tmp_path, [tmp_path / "none.tif"], "--contrast-percentiles", "99,1")
    assert "found '99,1'; expected 0 <= low < high <= 100" in capsys.readouterr().err


def draw(folder: Path, images: list[Path], *flags: str) -> None:
    outputs = {"montage": "montage.png", "overlay": "overlay.png", "movie": "movie.gif"}
    words = [word for port, name in outputs.items() for word in (f"--out-{port}", str(folder / name))]
    render.main(["--image", *map(str, images), *flags, *words])


def test_descriptor_and_program_agree_on_the_defaults() -> None:
    descriptor = parse(ToolSpec, read_yaml(ROOT / "tools/render/tool.yaml"), ROOT / "tools/render/tool.yaml")
    program = {action.dest: action.default for action in render._parser()._actions}
    for key, param in descriptor.params.items():
        default = tuple(param.default) if isinstance(param.default, list) else param.default
        assert program[key] == default, key
