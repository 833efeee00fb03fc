"""How far two files are apart, and the environment that a job ran in."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from snakescope.images import create_image
from snakescope.study.verify.compare import distance
from snakescope.study.verify.environment import expand_home

TABLE = "name,x,y\na,0,1\nb,10,1\nc,5,1\n"


def tables(folder: Path, other: str, original: str = TABLE) -> tuple[float, str]:
    (folder / "a.csv").write_text(original)
    (folder / "b.csv").write_text(other)
    found = distance(folder / "a.csv", folder / "b.csv", "csv")
    return found.relative, found.told


@pytest.mark.parametrize(
    ("old", "new", "relative", "told"),
    [
        ("c,5,1", "c,5.0,1", 0, "the numbers are the same, only written in another way"),
        ("c,5,1", "c,5.1,1", 0.01, "row 3, column 'x': '5.1'; '5' before (0.01 of the column's range)"),
        ("b,10,1", "b,8,1", 0.2, "row 2, column 'x': '8'; '10' before (0.2 of the column's range)"),
        ("c,5,1", "c,5,1.5", math.inf, "row 3, column 'y': '1.5'; '1' before (more than all of the column's range)"),
        ("c,5,1", "d,5,1", math.inf, "row 3, column 'name': 'd'; 'c' before"),
        ("c,5,1", "c,nan,1", math.inf, "row 3, column 'x': 'nan'; '5' before"),
        ("c,5,1", "c,,1", math.inf, "row 3, column 'x': ''; '5' before"),
        ("c,5,1\n", "", math.inf, "has fewer rows: 2; 3 before"),
        ("c,5,1\n", "c,5,1\nd,5,1\n", math.inf, "has more rows: 4; 3 before"),
        ("c,5,1", "c,5", math.inf, "row 3 has 2 cells; 3 before"),
        ("name,x", "name,z", math.inf, "has the columns name, z, y; name, x, y before"),
    ],
)
def test_tables_are_compared_cell_by_cell(tmp_path: Path, old: str, new: str, relative: float, told: str) -> None:
    found = tables(tmp_path, TABLE.replace(old, new))
    assert found[0] == pytest.approx(relative)
    assert found[1] == told


def test_the_worst_cell_of_a_table_is_told(tmp_path: Path) -> None:
    relative, told = tables(tmp_path, "name,x,y\na,0.1,1\nb,12,1\nc,5.5,1\n")
    assert relative == pytest.approx(0.2)
    assert told.startswith("row 2, column 'x'")


def test_not_a_number_is_equal_to_itself(tmp_path: Path) -> None:
    assert tables(tmp_path, TABLE.replace("c,5", "c,nan"), TABLE.replace("c,5", "c,NaN"))[0] == 0


def stack(folder: Path, name: str, change: Any = None, **options: Any) -> Path:
    """A tzyx image of 2 volumes as OME-Zarr; grey values 0 to 47."""
    data = np.arange(48, dtype=np.float32).reshape(2, 2, 3, 4)
    if change:
        change(data)
    axes, voxel = options.get("axes", "tzyx"), options.get("voxel", (0.3, 0.1, 0.1))
    path = folder / f"{name}.ome.zarr"
    with create_image(path, axes=axes, shape=data.shape, dtype="float32", voxel_size_um=voxel) as image:
        for t, volume in enumerate(data):
            image.write(volume, t=t)
    return path


def images(folder: Path, change: Any = None, **options: Any) -> tuple[float, str]:
    found = distance(stack(folder, "a"), stack(folder, "b", change, **options), "ome-zarr")
    return found.relative, found.told


def put(value: float, *at: int) -> Any:
    return lambda data: data.__setitem__(at, value)


def test_images_are_compared_by_their_grey_values(tmp_path: Path) -> None:
    relative, told = images(tmp_path, put(2.35, 0, 0, 0, 0))
    assert relative == pytest.approx(0.05)
    assert told == "grey values differ by up to 2.35, 0.05 of their range, most at t=0, c=0, z=0, y=0, x=0"


def test_the_last_volume_counts_too(tmp_path: Path) -> None:
    relative, told = images(tmp_path, put(0, 1, 1, 2, 3))
    assert relative == pytest.approx(1)
    assert told.endswith("most at t=1, c=0, z=1, y=2, x=3")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_no_small_difference(tmp_path: Path, value: float) -> None:
    assert images(tmp_path, put(value, 0, 1, 1, 1))[0] == math.inf


def test_equal_grey_values_in_other_bytes_are_equal(tmp_path: Path) -> None:
    assert images(tmp_path) == (0, "all grey values are the same, other bytes are not")


def test_voxels_of_another_size_are_a_difference(tmp_path: Path) -> None:
    relative, told = images(tmp_path, voxel=(0.3, 0.1, 0.2))
    assert (relative, told) == (math.inf, "voxel_size_um is (0.3, 0.1, 0.2); (0.3, 0.1, 0.1) before")


def test_flat_tiffs_are_compared_as_well(tmp_path: Path) -> None:
    data = np.arange(12, dtype=np.uint8).reshape(3, 4)
    tifffile.imwrite(tmp_path / "a.tif", data)
    data[2, 3] -= 11
    tifffile.imwrite(tmp_path / "b.tif", data)
    found = distance(tmp_path / "a.tif", tmp_path / "b.tif", "tiff")
    assert (found.relative, found.told[:36]) == (1.0, "grey values differ by up to 11, 1 of")


def test_other_files_differ_from_a_byte_on(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("abcdef")
    (tmp_path / "b").write_text("abcxe")
    found = distance(tmp_path / "a", tmp_path / "b", "png")
    assert (found.relative, found.told) == (math.inf, "5 bytes; 6 before, different from byte 4 on")


def test_other_folders_differ_in_a_file(tmp_path: Path) -> None:
    for name in ("a/x", "a/y", "b/x", "b/y"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name[2])
    assert distance(tmp_path / "a", tmp_path / "b", "geff").told == "the same files"
    (tmp_path / "b/y").write_text("z")
    assert distance(tmp_path / "a", tmp_path / "b", "geff").told.startswith(
        "its file 'y': 1 bytes; 1 before, different"
    )
    (tmp_path / "b/y").unlink()
    assert distance(tmp_path / "a", tmp_path / "b", "geff").told == "its file 'y' is not there"


@pytest.mark.parametrize("format_", ["ome-zarr", "tiff", "csv"])
def test_what_cannot_be_read_is_different(tmp_path: Path, format_: str) -> None:
    for name in "ab":
        (tmp_path / name).write_bytes(b"\xff\xfe" + name.encode())
    found = distance(tmp_path / "a", tmp_path / "b", format_)
    assert (found.relative, found.told[:30]) == (math.inf, "cannot be compared by content ")


@pytest.mark.parametrize(
    ("recorded", "expanded"),
    [
        ("~/x.tif", "/home/me/x.tif"),
        ("--in=~/x.tif", "--in=/home/me/x.tif"),
        ("-I~/include", "-I/home/me/include"),
        ("~/a:~/b", "/home/me/a:/home/me/b"),
        ("~", "/home/me"),
        ("y ~ x", "y ~ x"),
        ("file~", "file~"),
        ("a~/b", "a~/b"),
        ("data/x.tif", "data/x.tif"),
    ],
)
def test_the_home_folder_is_put_back(monkeypatch: pytest.MonkeyPatch, recorded: str, expanded: str) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert expand_home(recorded) == expanded
