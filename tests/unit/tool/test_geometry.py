"""What is known of an image before it is opened, and how a step changes it."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from snakescope.tool.geometry import AXES, Geometry, axes_choices, derive

RAW = Geometry("tczyx", (3, 2, 10, 20, 30), "uint16", (0.4, 0.1, 0.2), 1.5, 72_512)


def derived(source: Geometry, **changes: Any) -> Geometry:
    changes = {"dtype": None, "shape": {}, "voxel_size_um": {}, **changes}
    return derive(source, {**source.names(), "angle_deg": 30, "unknown": None, "word": "a"}, **changes)


@pytest.mark.parametrize(
    ("pattern", "choices"),
    [
        ("zyx", {"zyx"}),
        ("t?zyx", {"tzyx", "zyx"}),
        ("t?c?z?yx", {"tczyx", "tcyx", "tzyx", "tyx", "czyx", "cyx", "zyx", "yx"}),
        ("t", {"t"}),
        ("x?", {"x"}),
    ],
)
def test_a_pattern_allows_each_way_of_leaving_out_its_optional_axes(pattern: str, choices: set[str]) -> None:
    assert axes_choices(pattern) == choices


def test_every_set_of_axes_in_order_is_a_pattern_that_allows_itself() -> None:
    for length in range(1, 6):
        for axes in itertools.combinations(AXES, length):
            assert axes_choices("".join(axes)) == {"".join(axes)}


@pytest.mark.parametrize("pattern", ["", "xyz", "zzyx", "?zyx", "z??yx", "zyx ", "ZYX", "zyxs", "z yx", "t?c?zyx\n"])
def test_a_pattern_with_other_axes_or_another_order_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="expected axes in the order tczyx, each with `\\?` if it may be absent"):
        axes_choices(pattern)


def test_names_count_voxels_volume_and_bytes() -> None:
    names = RAW.names()
    assert names["shape"] == {"t": 3, "c": 2, "z": 10, "y": 20, "x": 30}
    assert (names["voxels"], names["volume"], names["itemsize"], names["bytes"]) == (36_000, 6_000, 2, 72_512)
    assert names["voxel_size_um"] == {"z": 0.4, "y": 0.1, "x": 0.2}


def test_bytes_are_those_in_memory_when_no_file_is_known() -> None:
    assert Geometry("yx", (4, 5), "float32").names()["bytes"] == 80


@pytest.mark.parametrize("geometry", [Geometry(), Geometry("zyx"), Geometry(None, None, "uint8")])
def test_what_is_not_known_is_none_and_not_zero(geometry: Geometry) -> None:
    names = geometry.names()
    assert (names["voxels"], names["volume"], names["bytes"], names["time_step_s"]) == (None, None, None, None)
    assert set(names["shape"].values()) == {None}


def test_an_absent_axis_has_the_size_one() -> None:
    assert [Geometry("yx", (4, 5)).size(axis) for axis in AXES] == [1, 1, 1, 4, 5]


def test_an_output_like_its_input_keeps_all_but_the_bytes_of_the_file() -> None:
    assert derived(RAW) == Geometry("tczyx", (3, 2, 10, 20, 30), "uint16", (0.4, 0.1, 0.2), 1.5, None)


def test_shape_voxel_size_and_dtype_follow_the_descriptor() -> None:
    found = derived(
        RAW,
        dtype="float32",
        shape={"x": "ceil(shape.x * sin(radians(angle_deg))) + shape.z"},
        voxel_size_um={"z": "voxel_size_um.z / 2", "x": 0.05},
    )
    assert found.shape == (3, 2, 10, 20, 25)
    assert found.dtype == "float32"
    assert found.voxel_size_um == pytest.approx((0.2, 0.1, 0.05))


@pytest.mark.parametrize(
    "expression", ["unknown", "word", "1 / 0", "sqrt(-1)", "1e308 * 10", "-5", "0", "0.4", "1e308 * 10 - 1e308 * 10"]
)
def test_a_size_that_has_no_sound_value_leaves_the_shape_unknown(expression: str) -> None:
    assert derived(RAW, shape={"x": expression}).shape is None


@pytest.mark.parametrize("expression", ["unknown", "1 / 0", "0", "-0.1", "1e308 * 10", "word"])
def test_a_voxel_size_that_has_no_sound_value_is_unknown(expression: str) -> None:
    assert derived(RAW, voxel_size_um={"y": expression}).voxel_size_um == (0.4, None, 0.2)


def test_sizes_of_axes_that_the_image_does_not_have_are_left_out() -> None:
    assert derived(Geometry("yx", (4, 5)), shape={"z": 9, "x": 6}).shape == (4, 6)


@pytest.mark.parametrize(
    ("axes", "kept", "shape"),
    [
        ("yx", "yx", (20, 30)),
        ("t?yx", "tyx", (3, 20, 30)),
        ("t?c?zyx", "tczyx", (3, 2, 10, 20, 30)),
    ],
)
def test_an_output_can_have_fewer_axes_than_the_input_it_is_like(axes: str, kept: str, shape: tuple[int, ...]) -> None:
    found = derived(RAW, axes=axes)
    assert (found.axes, found.shape) == (kept, shape)


def test_an_optional_axis_stays_away_where_the_input_lacks_it_and_another_is_added_with_its_size() -> None:
    found = derived(Geometry("yx", (4, 5)), axes="t?zyx", shape={"z": 7})
    assert (found.axes, found.shape) == ("zyx", (7, 4, 5))


def test_what_is_like_an_unknown_image_is_unknown() -> None:
    assert derived(Geometry(), shape={"z": 3}) == Geometry()
