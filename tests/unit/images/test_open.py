"""What opens which file, what is no image, what is given over what is known, and OME-Zarr by others."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from snakescope.errors import InputError
from snakescope.images import create_image, disagreements, open_image, read_headers, store_image
from snakescope.images.header import micrometres, named, regular_step, seconds

VENDOR = ["cluster.nd2", "xz-example.lif", "LLS7_small.czi", "CellDivision_T3_Z5_CH2_X240_Y170.czi"]
ARRAY = np.arange(2 * 6 * 4 * 5, dtype=np.uint16).reshape(2, 6, 4, 5)


def store(path: Path, **options: Any) -> Path:
    store_image(path, ARRAY, axes="tzyx", **({"voxel_size_um": (0.3, 0.1, 0.1)} | options))
    return path


def edit(path: Path, change: dict[str, Any], **multiscale: Any) -> None:
    """Change the JSON of a store as other writers would have written it."""
    content = json.loads((path / "zarr.json").read_text())
    content["attributes"]["ome"] |= change
    if multiscale:
        content["attributes"]["ome"]["multiscales"][0].update(multiscale)
    (path / "zarr.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"is empty \(0 bytes\)"),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "is not an image of a known format; expected OME-Zarr, OME-TIFF, TIFF, ND2"),
        (b"II*\0", "cannot be read"),
        (b"II*\0\x08\0\0\0\0\0", "cannot be read|damaged|without any image"),
        (b"\xda\xce\xbe\x0a" + bytes(500), "cannot be read"),
        (b"ZISRAWFILE" + bytes(600), "cannot be read|without any image"),
        (b"\x70\0\0\0" + bytes(100), "cannot be read"),
    ],
)
@pytest.mark.parametrize("name", ["a.tif", "b c {x} '$(id)' \"é\".tif"])
def test_what_is_no_image_is_named(content: bytes, message: str, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read_headers(tmp_path / name)
    assert [problem.where for problem in caught.value.problems] == [str(tmp_path / name)]


@pytest.mark.parametrize("name", VENDOR)
@pytest.mark.parametrize("kept", [0.01, 0.1, 0.5, 0.9, 0.99, 0.998])
def test_a_vendor_file_that_is_cut_short_is_noticed(name: str, kept: float, shared_data: Path, tmp_path: Path) -> None:
    content = (shared_data / "vendor_formats" / name).read_bytes()
    cut = tmp_path / f"cut {{1}} '$(x)' {name}"
    cut.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(InputError, match=r"(?s)cut \{1\} .*(cut short|cannot be read|lacks).*copy it again"):
        read_headers(cut)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.tif: does not exist"):
        read_headers(tmp_path / "none.tif")


def test_a_file_is_known_by_its_content_not_its_name(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", ARRAY[0], metadata=None)
    (tmp_path / "a.tif").rename(tmp_path / "a.czi")
    assert read_headers(tmp_path / "a.czi")[0].format == "tiff"


@pytest.mark.parametrize("name", ["a b", "quote'\"s", "$(touch x)", "{brace}", "größe µ", "-dash", "semi;colon", "*"])
def test_hostile_names_are_only_names(name: str, tmp_path: Path) -> None:
    store(tmp_path / f"{name}.ome.zarr")
    tifffile.imwrite(tmp_path / f"{name}.tif", ARRAY[0], metadata=None)
    for path in (tmp_path / f"{name}.ome.zarr", tmp_path / f"{name}.tif"):
        with open_image(path) as image:
            assert np.array_equal(image.volume(), ARRAY[0])
            assert image.header.path == path
    assert len(list(tmp_path.iterdir())) == 2


def test_given_facts_go_before_those_of_the_file(tmp_path: Path) -> None:
    path = store(tmp_path / "a.ome.zarr", time_step_s=3)
    with open_image(path) as image:
        assert (image.voxel_size(), image.pixel_size(), image.header.time_step_s) == ((0.3, 0.1, 0.1), (0.1, 0.1), 3)
    with open_image(path, voxel_size_um=(1, 2, 3), time_step_s=4) as image:
        assert (image.voxel_size(), image.pixel_size(), image.header.time_step_s) == ((1, 2, 3), (2, 3), 4)


def test_given_facts_do_not_make_up_axes(tmp_path: Path) -> None:
    store_image(tmp_path / "a", ARRAY[0, 0], axes="yx", voxel_size_um=None)
    with open_image(tmp_path / "a", voxel_size_um=(1, 2, 3), time_step_s=4) as image:
        assert (image.header.voxel_size_um, image.header.time_step_s) == ((None, 2, 3), None)
        with pytest.raises(InputError, match="has the axes yx; expected a z axis"):
            image.voxel_size()


def test_an_unknown_size_says_how_to_give_it(tmp_path: Path) -> None:
    store(tmp_path / "a", voxel_size_um=(None, 0.1, 0.1))
    with open_image(tmp_path / "a") as image:
        assert image.pixel_size() == (0.1, 0.1)
        with pytest.raises(InputError, match=r"voxel size along z\.\n.*column voxel_size_um.*--voxel-size-um Z,Y,X"):
            image.voxel_size()


def test_a_frame_or_scene_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with open_image(store(tmp_path / "a")) as image, pytest.raises(IndexError, match="t=2 is not in an image with 2"):
        image.volume(t=2)
    with pytest.raises(InputError, match=r"has no scene 1; it has: 0 \(a\)"):
        open_image(tmp_path / "a", scene=1)


def test_disagreements_name_both_values(tmp_path: Path) -> None:
    (header,) = read_headers(store(tmp_path / "a", time_step_s=2))
    assert disagreements(header, (0.3, 0.2, 0.10001), 3) == [
        "voxel size y: the file says 0.1 µm, 0.2 µm was given",
        "time step: the file says 2 s, 3 s was given",
    ]
    assert disagreements(header, None, None) == []


def test_a_store_without_units_has_no_known_size(tmp_path: Path) -> None:
    store(tmp_path / "a")
    edit(tmp_path / "a", {}, axes=[{"name": a, "type": "time" if a == "t" else "space"} for a in "tzyx"])
    assert read_headers(tmp_path / "a")[0].voxel_size_um == (None, None, None)


def test_units_of_a_store_convert_and_both_scales_count(tmp_path: Path) -> None:
    store(tmp_path / "a")
    units = {"t": "millisecond", "z": "nanometer", "y": "millimeter", "x": "angstrom"}
    axes = [{"name": a, "type": "time" if a == "t" else "space", "unit": unit} for a, unit in units.items()]
    dataset = {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [500, 300, 0.0001, 1000]}]}
    scale = [{"type": "scale", "scale": [2, 1, 1, 3]}]
    edit(tmp_path / "a", {}, axes=axes, datasets=[dataset], coordinateTransformations=scale)
    (header,) = read_headers(tmp_path / "a")
    assert header.voxel_size_um == pytest.approx((0.3, 0.1, 0.3))
    assert header.time_step_s == pytest.approx(1.0)


def test_a_scale_of_0_is_unknown(tmp_path: Path) -> None:
    store(tmp_path / "a")
    dataset = {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1, 0.0, 0.1, 0.1]}]}
    edit(tmp_path / "a", {}, datasets=[dataset])
    assert read_headers(tmp_path / "a")[0].voxel_size_um == (None, 0.1, 0.1)


def test_a_series_store_gives_scenes(tmp_path: Path) -> None:
    import zarr

    zarr.open_group(tmp_path / "a", mode="w", attributes={"ome": {"version": "0.5", "bioformats2raw.layout": 3}})
    for scene in range(11):
        store_image(tmp_path / "a" / str(scene), ARRAY[0] + scene, axes="zyx", voxel_size_um=None, name=f"s{scene}")
    headers = read_headers(tmp_path / "a")
    assert [h.scene_name for h in headers] == [f"s{n}" for n in range(11)]
    with open_image(tmp_path / "a", scene=10) as image:
        assert np.array_equal(image.volume(), ARRAY[0] + 10)


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda p: shutil.rmtree(p / "0" / "c" / "1"), "lacks 1 of its 2 pixel files"),
        (lambda p: (p / "zarr.json").write_text("{"), r"has a zarr\.json that cannot be read"),
        (lambda p: (p / "zarr.json").write_text("[]"), r"has a zarr\.json that is no JSON object"),
        (lambda p: (p / "zarr.json").unlink(), r"is a folder without zarr\.json"),
        (lambda p: (p / "0" / "zarr.json").unlink(), r"lacks 0/zarr\.json"),
        (lambda p: edit(p, {"multiscales": []}), "has no usable multiscales"),
        (lambda p: edit(p, {}, axes=[{"name": "x"}]), "has 1 axes but an array of 4"),
        (lambda p: edit(p, {}, datasets=[{"path": "7"}]), r"lacks 7/zarr\.json"),
    ],
)
def test_a_damaged_store_is_named(break_it: Any, message: str, tmp_path: Path) -> None:
    break_it(store(tmp_path / "a.ome.zarr"))
    with pytest.raises(InputError, match=rf"a\.ome\.zarr: {message}"):
        read_headers(tmp_path / "a.ome.zarr")


def test_a_store_whose_pixels_are_cut_short_is_named(tmp_path: Path) -> None:
    shard = next(p for p in (store(tmp_path / "a") / "0" / "c" / "1").rglob("*") if p.is_file())
    shard.write_bytes(shard.read_bytes()[:20])
    with open_image(tmp_path / "a") as image:
        assert np.array_equal(image.volume(0), ARRAY[0])
        with pytest.raises(InputError, match=r"cannot be read at t=1, c=0"):
            image.volume(1)


@pytest.mark.parametrize(("key", "message"), [("plate", "is a plate or well"), ("else", "no multiscales")])
def test_what_is_a_group_but_no_image_is_named(key: str, message: str, tmp_path: Path) -> None:
    import zarr

    zarr.open_group(tmp_path / "a", mode="w", attributes={"ome": {"version": "0.5", key: {}}})
    with pytest.raises(InputError, match=message):
        read_headers(tmp_path / "a")


@pytest.mark.parametrize(
    ("value", "unit", "um"),
    [
        (100, "nm", 0.1), (0.1, "µm", 0.1), (0.1, "μm", 0.1), (1, "micron", 1), (1e-7, "m", 0.1), (1, "mm", 1000),
        (1000, "Å", 0.1), (1000, "\u212b", 0.1), (1, "inch", 25400), (1, "cm", 10000), (1, "pixel", None),
        (1, "", None), (1, None, None), (0, "um", None), (-1, "um", None), ("nan", "um", None), ("inf", "um", None),
        ("x", "um", None),
    ],
)  # fmt: skip
def test_lengths_convert_or_are_unknown(value: Any, unit: str | None, um: float | None) -> None:
    assert micrometres(value, unit) == um


def test_durations_convert_or_are_unknown() -> None:
    assert [seconds(2, unit) for unit in ("s", "ms", "min", "h", "frame", None)] == [2, 0.002, 120, 7200, None, None]


def test_a_step_is_regular_within_a_tenth_or_none() -> None:
    assert regular_step([0, 1, 2.05, 3]) == 1
    assert [regular_step(times) for times in ([], [1.0], [0, 1, 3], [3, 2, 1], [0, 0, 0])] == [None] * 5


def test_names_are_none_or_one_a_channel() -> None:
    assert (named([None, ""]), named(["a", None, " "])) == ((), ("a", "channel 1", "channel 2"))


def test_import_is_light() -> None:
    code = (
        "import sys, snakescope.images; heavy = {'pandas', 'dask', 'scipy', 'zarr', 'tifffile', 'nd2', 'pydantic'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_headers_of_stores_do_not_load_zarr(tmp_path: Path) -> None:
    code = (
        f"import sys, pathlib, snakescope.images as i; i.read_headers(pathlib.Path({str(store(tmp_path / 'a'))!r}));"
        "print('zarr' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_create_refuses_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="file: exists already"):
        create_image(tmp_path / "file", axes="yx", shape=(2, 2), dtype="u1", voxel_size_um=None)
    assert (tmp_path / "file").read_text() == "mine"
