"""Stores of every shape and type come back as they were written, and other programs find them valid."""

from __future__ import annotations

import json
import os
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaozarrs
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from ome_zarr_models import open_ome_zarr

from snakescope.errors import InputError
from snakescope.images import AXES, create_image, open_image, read_headers, store_image

SIZES = {"t": 2, "c": 3, "z": 4, "y": 5, "x": 6}
SUBSETS = ["".join(s) + "yx" for n in range(4) for s in combinations("tcz", n)]
DTYPES = ["bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64"]


def ramp(axes: str, dtype: str = "uint16", sizes: dict[str, int] = SIZES) -> NDArray[Any]:
    shape = [sizes[a] for a in axes]
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


def read_all(path: Path, scene: int = 0) -> NDArray[Any]:
    """Every volume of an image, (t, c, ...)."""
    with open_image(path, scene=scene) as image:
        header = image.header
        return np.array([[image.volume(t, c) for c in range(header.size("c"))] for t in range(header.size("t"))])


def attributes(store: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((store / "zarr.json").read_text())["attributes"]["ome"]
    return found


def files(store: Path) -> list[str]:
    return [name for _, _, names in os.walk(store) for name in names]


@pytest.mark.parametrize("version", ["0.5", "0.4"])
@pytest.mark.parametrize("axes", SUBSETS)
def test_every_subset_of_axes_comes_back(axes: str, version: str, tmp_path: Path) -> None:
    array = ramp(axes)
    channels = ["a", "b", "c"] if "c" in axes else []
    store_image(
        tmp_path / "a.ome.zarr",
        array,
        axes=axes,
        voxel_size_um=(0.3, 0.1, 0.2),
        time_step_s=2.5,
        channels=channels,
        ome_zarr_version=version,
    )
    (header,) = read_headers(tmp_path / "a.ome.zarr")
    assert (header.axes, header.shape, header.dtype) == (axes, array.shape, "uint16")
    assert header.voxel_size_um == (0.3 if "z" in axes else None, 0.1, 0.2)
    assert header.time_step_s == (2.5 if "t" in axes else None)
    assert header.channels == tuple(channels)
    assert np.array_equal(read_all(tmp_path / "a.ome.zarr").reshape(array.shape), array)
    yaozarrs.validate_zarr_store(tmp_path / "a.ome.zarr")
    open_ome_zarr(tmp_path / "a.ome.zarr")


@pytest.mark.parametrize("version", ["0.5", "0.4"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_sample_type_comes_back(dtype: str, version: str, tmp_path: Path) -> None:
    array = ramp("zyx", dtype)
    store_image(tmp_path / "a", array, axes="zyx", voxel_size_um=None, ome_zarr_version=version)
    assert read_headers(tmp_path / "a")[0].dtype == dtype
    found = read_all(tmp_path / "a")[0, 0]
    assert found.dtype == np.dtype(dtype)
    assert np.array_equal(found, array)


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_any_image_comes_back(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    axes = data.draw(st.sampled_from(SUBSETS))
    sizes = {a: data.draw(st.integers(1, 4 if a in "tc" else 40), label=a) for a in AXES}
    size = st.one_of(st.none(), st.floats(1e-4, 1e4))
    z, y, x, step = (data.draw(size) for _ in range(4))
    names = [f"{n} é\"{{}}'$(x)" for n in range(sizes["c"])] if "c" in axes else []
    array = ramp(axes, data.draw(st.sampled_from(DTYPES)), sizes)
    store = tmp_path_factory.mktemp("any") / "image.ome.zarr"
    store_image(store, array, axes=axes, voxel_size_um=(z, y, x), time_step_s=step, channels=names)
    (header,) = read_headers(store)
    expected = [z if "z" in axes else None, y, x, step if "t" in axes else None]
    for found, value in zip([*header.voxel_size_um, header.time_step_s], expected, strict=True):
        assert found == (value if value is None else pytest.approx(value, rel=1e-9))
    assert header.channels == tuple(names)
    assert np.array_equal(read_all(store).reshape(array.shape), array)


@pytest.mark.parametrize("version", ["0.5", "0.4"])
def test_the_name_of_an_only_channel_stays_without_a_channel_axis(version: str, tmp_path: Path) -> None:
    facts: dict[str, Any] = {"voxel_size_um": None, "channels": ["DAPI"], "ome_zarr_version": version}
    store_image(tmp_path / "a", ramp("zyx"), axes="zyx", **facts)
    assert read_headers(tmp_path / "a")[0].channels == ("DAPI",)
    yaozarrs.validate_zarr_store(tmp_path / "a")
    open_ome_zarr(tmp_path / "a")


def test_big_endian_samples_are_stored_in_native_order(tmp_path: Path) -> None:
    store_image(tmp_path / "a", ramp("yx", ">u2"), axes="yx", voxel_size_um=None)
    assert np.array_equal(read_all(tmp_path / "a")[0, 0], ramp("yx"))


def test_unknown_sizes_have_no_unit_and_scale_1(tmp_path: Path) -> None:
    store_image(tmp_path / "a", ramp("tzyx"), axes="tzyx", voxel_size_um=(None, 0.1, None))
    multiscale = attributes(tmp_path / "a")["multiscales"][0]
    assert [axis.get("unit") for axis in multiscale["axes"]] == [None, None, "micrometer", None]
    assert multiscale["datasets"][0]["coordinateTransformations"][0]["scale"] == [1.0, 1.0, 0.1, 1.0]
    assert read_headers(tmp_path / "a")[0].voxel_size_um == (None, 0.1, None)


def test_a_volume_is_one_file(tmp_path: Path) -> None:
    store_image(tmp_path / "a", ramp("tczyx"), axes="tczyx", voxel_size_um=None)
    assert len(files(tmp_path / "a")) == 2 * 3 + 2  # volumes, and zarr.json of group and array
    on_disk = sum(f.stat().st_size for f in (tmp_path / "a").rglob("*") if f.is_file())
    assert read_headers(tmp_path / "a")[0].bytes == on_disk


def test_a_large_volume_is_cut_into_shards_of_whole_planes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("snakescope.images.write.CHUNK_BYTES", 2 * 30 * 2)
    monkeypatch.setattr("snakescope.images.write.SHARD_BYTES", 4 * 30 * 2)
    array = ramp("zyx", "uint16", SIZES | {"z": 11})
    store_image(tmp_path / "a", array, axes="zyx", voxel_size_um=None)
    assert len(files(tmp_path / "a")) == 3 + 2  # planes 0-3, 4-7, 8-10
    assert np.array_equal(read_all(tmp_path / "a")[0, 0], array)


@pytest.mark.parametrize("version", ["0.5", "0.4"])
def test_pyramid_of_means_lies_in_place(version: str, tmp_path: Path) -> None:
    plane = np.zeros((3, 1301), np.uint16)
    plane[:, 400:402] = 1000  # its middle is at 400.5 pixels
    store_image(tmp_path / "a", plane, axes="yx", voxel_size_um=(None, 0.5, 0.5), ome_zarr_version=version)
    import zarr

    half = np.asarray(zarr.open_array(tmp_path / "a" / "1", mode="r")[:])
    assert half.shape == (2, 651)
    group: dict[str, Any] = dict(zarr.open_group(tmp_path / "a", mode="r").attrs)
    multiscale = group.get("ome", group)["multiscales"][0]
    (scale, shift) = multiscale["datasets"][1]["coordinateTransformations"]
    assert (scale["scale"], shift["translation"]) == ([1.0, 1.0], [0.25, 0.25])
    middle_um = np.average(np.arange(651), weights=half[0]) * scale["scale"][1] + shift["translation"][1]
    assert middle_um == pytest.approx(400.5 * 0.5)
    assert half[:, 200].tolist() == [1000, 1000]
    yaozarrs.validate_zarr_store(tmp_path / "a")
    open_ome_zarr(tmp_path / "a")


def test_pyramid_of_labels_holds_only_ids_that_exist(tmp_path: Path) -> None:
    labels = np.arange(2 * 2100, dtype=np.uint32).reshape(2, 2100) % 7 * 1000
    store_image(tmp_path / "a", labels, axes="yx", voxel_size_um=None, labels=True)
    import zarr

    assert np.array_equal(np.asarray(zarr.open_array(tmp_path / "a" / "2", mode="r")[:]), labels[::4, ::4])
    assert len(attributes(tmp_path / "a")["multiscales"][0]["datasets"]) == 3


def test_no_pyramid_up_to_1024(tmp_path: Path) -> None:
    store_image(tmp_path / "a", np.zeros((1024, 1024), np.uint8), axes="yx", voxel_size_um=None)
    assert len(attributes(tmp_path / "a")["multiscales"][0]["datasets"]) == 1


def test_mean_rounds_and_does_not_overflow(tmp_path: Path) -> None:
    store_image(tmp_path / "a", np.full((2, 1026), 65535, np.uint16), axes="yx", voxel_size_um=None)
    import zarr

    assert set(np.asarray(zarr.open_array(tmp_path / "a" / "1", mode="r")[:]).flat) == {65535}


def test_an_existing_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="exists already"):
        create_image(tmp_path, axes="yx", shape=(2, 2), dtype="u1", voxel_size_um=None)


def test_a_store_whose_writing_stopped_is_no_image(tmp_path: Path) -> None:
    writer = create_image(tmp_path / "a", axes="tyx", shape=(2, 2, 2), dtype="u1", voxel_size_um=None)
    writer.write(np.zeros((2, 2), np.uint8))
    writer.__exit__(KeyError, KeyError("x"), None)
    with pytest.raises(InputError, match="its writing was stopped"):
        read_headers(tmp_path / "a")


def test_a_volume_that_was_forgotten_is_reported(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="1 volumes were not written, the first t=1, c=0"),
        create_image(tmp_path / "a", axes="tyx", shape=(2, 2, 2), dtype="u1", voxel_size_um=None) as writer,
    ):
        writer.write(np.zeros((2, 2), np.uint8), t=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"axes": "xy"}, "expected a subset"),
        ({"axes": "zyx"}, "expected 3 numbers"),
        ({"shape": (0, 2)}, "above 0"),
        ({"dtype": "complex64"}, "expected integers, floats or bool"),
        ({"channels": ["a", "b"]}, "2 channel names for 1 channels"),
        ({"ome_zarr_version": "0.6"}, "expected 0.4 or 0.5"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    plan: dict[str, Any] = {"axes": "yx", "shape": (2, 2), "dtype": "u1", "voxel_size_um": None} | change
    with pytest.raises(ValueError, match=message):
        create_image(tmp_path / "a", **plan)
    assert not (tmp_path / "a").exists()


def test_a_volume_of_another_type_or_shape_is_refused(tmp_path: Path) -> None:
    writer = create_image(tmp_path / "a", axes="tyx", shape=(2, 2, 3), dtype="u1", voxel_size_um=None)
    for wrong in (np.zeros((2, 2), np.uint8), np.zeros((2, 3), np.uint16)):
        with pytest.raises(ValueError, match=r"for a store of uint8 \(2, 3\)"):
            writer.write(wrong)
    with pytest.raises(IndexError, match="t=2, c=0 is not in tyx"):
        writer.write(np.zeros((2, 3), np.uint8), t=2)
