"""Convert real files of four vendors' formats, and what stops a conversion."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from convert import main
from snakescope.errors import InputError
from snakescope.images import read_headers

Sizes = dict[str, float | None]


@dataclass(frozen=True)
class Expected:
    """What the README of the data and the vendor's library say of one image."""

    file: str
    scene: int
    sizes: str
    scale: Sizes  # µm and s; None = unknown
    tolerance: float


CELLS = "CellDivision_T3_Z5_CH2_X240_Y170.czi"
LIF = "xz-example.lif"
IMAGES = [
    Expected("LLS7_small.czi", 0, "t2 c2 z3 y64 x64", {"z": 0.145, "y": 0.145, "x": 0.145}, 1e-4),
    Expected(CELLS, 0, "t3 c2 z5 y170 x240", {"z": 0.32, "y": 0.0906, "x": 0.0906}, 1e-4),
    Expected("cluster.nd2", 0, "t3 c2 z10 y31 x38", {"z": 0.5, "y": 0.1678, "x": 0.1678}, 1e-4),
    # Leica's Length over (samples - 1): 17.8154 µm / 127, 17.81554 µm / 127, 10.07 s / 19
    Expected(LIF, 0, "t20 c2 z128 y1 x128", {"z": 0.140279, "y": None, "x": 0.14028, "t": 0.53}, 1e-5),
    Expected(LIF, 1, "c2 z128 y23 x128", {"z": 0.140279, "y": 0.229062, "x": 0.14028}, 1e-5),
    Expected(LIF, 2, "c2 z512 y1 x512", {"z": 0.102697, "y": None, "x": 0.102697}, 1e-5),
]
IDS = [f"{image.file}-{image.scene}" for image in IMAGES]
TIME_STEPS = {"LLS7_small.czi": 90.038, CELLS: 59.995, "cluster.nd2": 10.6475}  # time stamps of the files, s


def vendor_pixels(path: Path, scene: int) -> NDArray[Any]:
    """Read one image by the vendor library alone, as (t, c, z, y, x)."""
    if path.suffix == ".nd2":
        import nd2

        return np.asarray(nd2.imread(path)).transpose(0, 2, 1, 3, 4)
    if path.suffix == ".czi":
        import czifile

        pixels = czifile.imread(str(path))
        return np.asarray(pixels.reshape(pixels.shape[-6:-1]))
    import liffile

    with liffile.LifFile(path) as file:
        array = file.images[scene].asarray()
    if scene == 1:  # scanned as y, c, z, x
        return np.asarray(array.transpose(1, 2, 0, 3)[None])
    return np.asarray(array.reshape(-1, 2, array.shape[-2], 1, array.shape[-1]))


def stored(store: Path) -> tuple[dict[str, Any], NDArray[Any]]:
    """Return the OME attributes of a store from its JSON, and its pixels from zarr alone."""
    import zarr

    attributes: dict[str, Any] = json.loads((store / "zarr.json").read_text())["attributes"]["ome"]
    return attributes, np.asarray(zarr.open_array(store / "0", mode="r")[:])


def validate(store: Path) -> None:
    for validator in ("ome-zarr-models", "yaozarrs"):
        done = subprocess.run(
            [Path(sys.executable).with_name(validator), "validate", store], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("expected", IMAGES, ids=IDS)
def test_vendor_file_keeps_samples_and_geometry(expected: Expected, shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "vendor_formats" / expected.file
    store = tmp_path / "out {1} $(x).ome.zarr"
    main(["--image", str(source), "--scene", str(expected.scene), "--out-image", str(store), "--threads", "1"])
    attributes, pixels = stored(store)
    axes = attributes["multiscales"][0]["axes"]
    scale = attributes["multiscales"][0]["datasets"][0]["coordinateTransformations"][0]["scale"]
    assert " ".join(f"{axis['name']}{n}" for axis, n in zip(axes, pixels.shape, strict=True)) == expected.sizes
    for axis, value in zip(axes, scale, strict=True):
        if axis["type"] == "channel":
            continue
        known = expected.scale.get(axis["name"], TIME_STEPS.get(expected.file))
        unit = {"space": "micrometer", "time": "second"}[axis["type"]]
        assert axis.get("unit") == (unit if known is not None else None)
        tolerance = 1e-3 if unit == "second" else expected.tolerance
        assert value == pytest.approx(1.0 if known is None else known, abs=tolerance)
    truth = vendor_pixels(source, expected.scene)
    assert pixels.dtype == truth.dtype.newbyteorder("=")
    assert np.array_equal(pixels.reshape(truth.shape), truth)
    validate(store)


def test_channel_names_of_the_vendor_are_kept(shared_data: Path, tmp_path: Path) -> None:
    main(["--image", str(shared_data / "vendor_formats" / CELLS), "--out-image", str(tmp_path / "a.ome.zarr")])
    attributes, _ = stored(tmp_path / "a.ome.zarr")
    assert [channel["label"] for channel in attributes["omero"]["channels"]] == ["LED555", "LED470"]


def test_lattice_light_sheet_stack_needs_its_voxel_size(shared_data: Path, tmp_path: Path) -> None:
    raw = next(p for p in sorted((shared_data / "llsm_cudadecon").iterdir()) if "raw" in p.name and "tif" in p.suffix)
    with pytest.raises(InputError, match=r"voxel size along .*\n.*--voxel-size-um"):
        main(["--image", str(raw), "--out-image", str(tmp_path / "a.ome.zarr")])
    assert not (tmp_path / "a.ome.zarr").exists()
    main(["--image", str(raw), "--voxel-size-um", "0.3,0.1,0.1", "--out-image", str(tmp_path / "a.ome.zarr")])
    (header,) = read_headers(tmp_path / "a.ome.zarr")
    assert (header.axes, header.shape, header.dtype) == ("zyx", (88, 320, 256), "uint16")
    assert header.voxel_size_um == (0.3, 0.1, 0.1)


def test_given_values_win_and_the_disagreement_is_in_the_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    metadata = {"axes": "TYX", "PhysicalSizeX": 0.1, "PhysicalSizeY": 0.1, "TimeIncrement": 2.0}
    tifffile.imwrite(tmp_path / "a.ome.tif", np.zeros((3, 8, 9), np.uint8), metadata=metadata)
    flags = ["--voxel-size-um", "1,0.2,0.1", "--time-step-s", "2", "--out-image", str(tmp_path / "a.ome.zarr")]
    main(["--image", str(tmp_path / "a.ome.tif"), *flags])
    warnings = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning")]
    assert warnings == ["warning: voxel size y: the file says 0.1 µm, 0.2 µm was given; the given value is used"]
    assert read_headers(tmp_path / "a.ome.zarr")[0].voxel_size_um == (None, 0.2, 0.1)


def test_an_existing_store_is_never_touched(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((8, 9), np.uint8), metadata=None)
    (tmp_path / "a.ome.zarr").mkdir()
    with pytest.raises(InputError, match=r"a\.ome\.zarr: exists already"):
        main(
            [
                "--image",
                str(tmp_path / "a.tif"),
                "--voxel-size-um",
                "1,1,1",
                "--out-image",
                str(tmp_path / "a.ome.zarr"),
            ]
        )
    assert list((tmp_path / "a.ome.zarr").iterdir()) == []


def test_a_scene_that_is_not_there_is_named_with_those_that_are(shared_data: Path, tmp_path: Path) -> None:
    flags = ["--scene", "7", "--out-image", str(tmp_path / "a.ome.zarr")]
    with pytest.raises(InputError, match=r"has no scene 7; it has: 0 \(xzt\), 1 \(xzy\), 2 \(xz\)"):
        main(["--image", str(shared_data / "vendor_formats" / "xz-example.lif"), *flags])


def test_complex_samples_and_an_unknown_size_are_both_reported(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "otf.tif", np.zeros((8, 9), np.complex64), metadata=None)
    with pytest.raises(InputError, match=r"(?s)voxel size along y, x.*holds complex64 samples"):
        main(["--image", str(tmp_path / "otf.tif"), "--out-image", str(tmp_path / "a.ome.zarr")])
