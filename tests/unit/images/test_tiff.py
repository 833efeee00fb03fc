"""TIFF files of every making: axes, facts that are truly stated, single volumes, damage."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import ome_types
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from snakescope.errors import InputError
from snakescope.images import open_image, read_headers

T, C, Z, Y, X = 2, 3, 4, 15, 16


def ramp(*shape: int) -> NDArray[np.uint16]:
    return np.arange(np.prod(shape), dtype=np.uint16).reshape(shape)


def volumes(path: Path, scene: int = 0) -> NDArray[Any]:
    with open_image(path, scene=scene) as image:
        header = image.header
        return np.array([[image.volume(t, c) for c in range(header.size("c"))] for t in range(header.size("t"))])


def write_ome(path: Path, metadata: dict[str, Any] | None = None, **options: Any) -> NDArray[np.uint16]:
    """Write t, z, c, y, x as OME-TIFF; return t, c, z, y, x."""
    array = ramp(T, Z, C, Y, X)
    tifffile.imwrite(path, array, ome=True, metadata={"axes": "TZCYX", **(metadata or {})}, **options)
    return np.asarray(array.transpose(0, 2, 1, 3, 4))


@pytest.mark.parametrize(
    "options",
    [{}, {"compression": "zlib"}, {"tile": (16, 16)}, {"bigtiff": True, "compression": "lzw"}, {"byteorder": ">"}],
    ids=["plain", "zlib", "tiled", "big", "big-endian"],
)
def test_ome_tiff_gives_each_volume(options: dict[str, Any], tmp_path: Path) -> None:
    truth = write_ome(tmp_path / "a.ome.tif", **options)
    (header,) = read_headers(tmp_path / "a.ome.tif")
    assert (header.format, header.axes, header.shape, header.dtype) == ("ome-tiff", "tczyx", truth.shape, "uint16")
    found = volumes(tmp_path / "a.ome.tif")
    assert found.dtype == np.dtype("=u2")
    assert np.array_equal(found, truth)


def test_ome_tiff_facts_are_read_as_ome_types_does(tmp_path: Path) -> None:
    sizes = {"PhysicalSizeX": 1040.0, "PhysicalSizeXUnit": "Å", "PhysicalSizeY": 104.0, "PhysicalSizeYUnit": "nm"}
    sizes |= {"PhysicalSizeZ": 0.0003, "PhysicalSizeZUnit": "mm", "TimeIncrement": 0.05, "TimeIncrementUnit": "min"}
    write_ome(tmp_path / "a.ome.tif", {**sizes, "Channel": {"Name": ["a", "b é", "c"]}, "Name": "one"})
    pixels = ome_types.from_tiff(tmp_path / "a.ome.tif").images[0].pixels
    assert (pixels.physical_size_x, pixels.physical_size_x_unit.value) == (1040.0, "Å")
    assert (pixels.time_increment, pixels.time_increment_unit.value) == (0.05, "min")
    (header,) = read_headers(tmp_path / "a.ome.tif")
    assert header.voxel_size_um == pytest.approx((0.3, 0.104, 0.104), rel=1e-9)
    assert header.time_step_s == pytest.approx(3)
    assert (header.channels, header.scene_name) == (("a", "b é", "c"), "one")


@pytest.mark.parametrize(
    ("stated", "x_um"),
    [
        ({}, None),
        ({"PhysicalSizeX": 1.0}, None),
        ({"PhysicalSizeX": 1.0, "PhysicalSizeXUnit": "pixel"}, None),
        ({"PhysicalSizeX": 0.0}, None),
        ({"PhysicalSizeX": 3.0, "PhysicalSizeXUnit": "reference frame"}, None),
        ({"PhysicalSizeX": 0.2}, 0.2),
        ({"PhysicalSizeX": 1.0, "PhysicalSizeXUnit": "µm"}, 1.0),
        ({"PhysicalSizeX": 0.001, "PhysicalSizeXUnit": "in"}, 25.4),
        ({"PhysicalSizeX": 0.001, "PhysicalSizeXUnit": "cm"}, 10.0),
    ],
    ids=str,
)
def test_ome_sizes_are_unknown_unless_measured(stated: dict[str, Any], x_um: float | None, tmp_path: Path) -> None:
    write_ome(tmp_path / "a.ome.tif", stated)
    assert read_headers(tmp_path / "a.ome.tif")[0].voxel_size_um == (None, None, x_um)


@pytest.mark.parametrize(("times", "step"), [([0.0, 1.5], 1.5), ([0.0, 0.0], None)])
def test_time_step_follows_from_the_planes_where_regular(
    times: list[float], step: float | None, tmp_path: Path
) -> None:
    delta = [times[t] for t in range(T) for _ in range(Z * C)]
    write_ome(tmp_path / "a.ome.tif", {"Plane": {"DeltaT": delta}})
    assert read_headers(tmp_path / "a.ome.tif")[0].time_step_s == step


def test_irregular_planes_have_no_time_step(tmp_path: Path) -> None:
    plane = {"DeltaT": [0.0, 1.0, 5.0]}
    tifffile.imwrite(tmp_path / "a.ome.tif", ramp(3, Y, X), metadata={"axes": "TYX", "Plane": plane})
    assert read_headers(tmp_path / "a.ome.tif")[0].time_step_s is None


def test_images_of_an_ome_tiff_are_scenes_with_their_own_facts(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as tif:
        for n in (1, 2):
            facts = {"axes": "ZYX", "PhysicalSizeX": 0.1 * n, "Name": f"field {n}"}
            tif.write(ramp(n + 1, Y, X) + n, metadata=facts)
    headers = read_headers(tmp_path / "a.ome.tif")
    assert [(h.scene, h.scene_name, h.shape) for h in headers] == [
        (0, "field 1", (2, Y, X)),
        (1, "field 2", (3, Y, X)),
    ]
    assert [h.voxel_size_um[2] for h in headers] == [0.1, 0.2]
    assert np.array_equal(volumes(tmp_path / "a.ome.tif", 1)[0, 0], ramp(3, Y, X) + 2)


def test_pyramid_levels_are_not_scenes(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as tif:
        tif.write(ramp(64, 64), subifds=1, tile=(16, 16), metadata={"axes": "YX"})
        tif.write(ramp(64, 64)[::2, ::2], subfiletype=1, tile=(16, 16))
    (header,) = read_headers(tmp_path / "a.ome.tif")
    assert header.shape == (64, 64)
    assert np.array_equal(volumes(tmp_path / "a.ome.tif")[0, 0], ramp(64, 64))


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_colour_samples_are_channels(compression: str | None, tmp_path: Path) -> None:
    colour = ramp(Y, X, 3).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", colour, photometric="rgb", compression=compression)
    (header,) = read_headers(tmp_path / "a.tif")
    assert (header.axes, header.shape) == ("cyx", (3, Y, X))
    assert np.array_equal(volumes(tmp_path / "a.tif")[0], colour.transpose(2, 0, 1))


def write_imagej(path: Path, metadata: dict[str, Any], **options: Any) -> None:
    array = ramp(T, Z, C, Y, X)
    tifffile.imwrite(path, array, imagej=True, metadata={"axes": "TZCYX", **metadata}, **options)


@pytest.mark.parametrize(
    ("metadata", "resolution", "expected"),
    [
        ({"unit": "um", "spacing": 0.5, "finterval": 2.5}, (10, 5), (0.5, 0.2, 0.1, 2.5)),
        ({"unit": "micron", "spacing": 0.5}, (10, 10), (0.5, 0.1, 0.1, None)),
        ({"unit": "\\u00B5m", "spacing": 0.5}, (10, 10), (0.5, 0.1, 0.1, None)),
        ({"unit": "nm", "spacing": 300}, (0.01, 0.01), (0.3, 0.1, 0.1, None)),
        ({"unit": "pixel", "spacing": 1}, (1, 1), (None, None, None, None)),
        ({"spacing": 1.0}, (1, 1), (None, None, None, None)),
        ({"unit": "um", "fps": 4.0}, (10, 10), (None, 0.1, 0.1, 0.25)),
        ({"unit": "um", "finterval": 0.0}, (10, 10), (None, 0.1, 0.1, None)),
        ({"unit": "um", "finterval": 500, "tunit": "ms"}, (10, 10), (None, 0.1, 0.1, 0.5)),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else None,
)
def test_imagej_facts(
    metadata: dict[str, Any],
    resolution: tuple[float, float],
    expected: tuple[float | None, ...],
    tmp_path: Path,
) -> None:
    write_imagej(tmp_path / "a.tif", metadata, resolution=resolution)
    (header,) = read_headers(tmp_path / "a.tif")
    assert (header.format, header.axes, header.shape) == ("tiff", "tczyx", (T, C, Z, Y, X))
    found = (*header.voxel_size_um, header.time_step_s)
    for value, wanted in zip(found, expected, strict=True):
        assert value == (wanted if wanted is None else pytest.approx(wanted, rel=1e-6))
    assert np.array_equal(volumes(tmp_path / "a.tif"), ramp(T, Z, C, Y, X).transpose(0, 2, 1, 3, 4))


@pytest.mark.parametrize(
    ("resolution", "unit", "x_um"),
    [
        ((72, 72), "INCH", None),
        ((300, 300), "INCH", None),
        ((118.11, 118.11), "CENTIMETER", None),
        ((1, 1), "CENTIMETER", None),
        ((10, 10), "NONE", None),
        ((100000, 50000), "CENTIMETER", 0.1),
        ((254000, 127000), "INCH", 0.1),
    ],
)
def test_resolution_tags_count_only_as_a_measured_size(
    resolution: tuple[float, float], unit: str, x_um: float | None, tmp_path: Path
) -> None:
    tifffile.imwrite(tmp_path / "a.tif", ramp(Y, X), resolution=resolution, resolutionunit=unit, metadata=None)
    z, y, x = read_headers(tmp_path / "a.tif")[0].voxel_size_um
    assert (z, y) == (None, None if x_um is None else pytest.approx(2 * x_um))
    assert x == (None if x_um is None else pytest.approx(x_um))


def test_a_plain_stack_is_z(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        for plane in ramp(Z, Y, X):
            tif.write(plane, metadata=None)
    (header,) = read_headers(tmp_path / "a.tif")
    assert (header.axes, header.shape) == ("zyx", (Z, Y, X))
    assert np.array_equal(volumes(tmp_path / "a.tif")[0, 0], ramp(Z, Y, X))


def test_a_plain_stack_is_frames_when_told(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", ramp(9, Y, X))
    assert read_headers(tmp_path / "a.tif", stack_axis="t")[0].axes == "tyx"
    with open_image(tmp_path / "a.tif", stack_axis="t", time_step_s=2) as image:
        assert (image.header.axes, image.header.time_step_s) == ("tyx", 2)
        assert np.array_equal(image.volume(t=5), ramp(9, Y, X)[5])


def test_named_axes_are_never_renamed(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", ramp(9, Y, X), imagej=True, metadata={"axes": "ZYX"})
    assert read_headers(tmp_path / "a.tif", stack_axis="t")[0].axes == "zyx"


def test_two_unnamed_axes_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", ramp(2, 5, Y, X))
    with pytest.raises(InputError, match=r"has the axes Q=2, Q=5, Y=15, X=16; expected only t, c, z, y and x"):
        read_headers(tmp_path / "a.tif")


def test_volumes_can_be_written_to_and_outlive_the_file(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", ramp(Z, Y, X), photometric="minisblack", metadata=None)
    with open_image(tmp_path / "a.tif") as image:
        volume = image.volume()
    volume += 1
    assert np.array_equal(volumes(tmp_path / "a.tif")[0, 0], ramp(Z, Y, X))


MAKERS: dict[str, dict[str, Any]] = {
    "contiguous": {"metadata": None},
    "zlib": {"metadata": None, "compression": "zlib"},
    "shaped": {},
    "imagej": {"imagej": True, "metadata": {"axes": "ZYX"}},
    "ome": {"ome": True, "metadata": {"axes": "ZYX"}},
    "ome zlib": {"ome": True, "metadata": {"axes": "ZYX"}, "compression": "zlib"},
    "tiled": {"tile": (16, 16), "metadata": None},
    "big": {"bigtiff": True, "metadata": None},
}


@pytest.mark.parametrize("kept", [0.05, 0.3, 0.6, 0.9, 0.98])
@pytest.mark.parametrize("maker", MAKERS)
def test_a_tiff_that_is_cut_short_is_noticed_in_its_header(maker: str, kept: float, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 60000, (20, 32, 50), dtype=np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", noise, **MAKERS[maker])
    content = (tmp_path / "a.tif").read_bytes()
    cut = tmp_path / "cut '$(x)' {a}.tif"
    cut.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(InputError) as caught:
        read_headers(cut)
    (found,) = caught.value.problems
    assert found.where == str(cut)
    assert "copy it again" in (found.fix or "").lower()


def test_pages_written_one_by_one_and_cut_are_noticed(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        for plane in ramp(20, Y, X):
            tif.write(plane, contiguous=False, metadata=None)
    content = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"a\.tif: is (cut short|a damaged TIFF)"):
        read_headers(tmp_path / "a.tif")


def test_a_set_of_ome_files_lacks_no_file(tmp_path: Path) -> None:
    files = [tmp_path / f"t{t}.ome.tif" for t in range(2)]
    pixels = "".join(
        f'<TiffData FirstT="{t}" IFD="0" PlaneCount="1"><UUID FileName="{f.name}">urn:uuid:{t}</UUID></TiffData>'
        for t, f in enumerate(files)
    )
    for t, file in enumerate(files):
        xml = (
            '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
            f'UUID="urn:uuid:{t}"><Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint16" '
            f'SizeX="{X}" SizeY="{Y}" SizeC="1" SizeZ="1" SizeT="2" PhysicalSizeX="0.3" PhysicalSizeY="0.3">'
            f'<Channel ID="Channel:0:0" SamplesPerPixel="1"/>{pixels}</Pixels></Image></OME>'
        )
        tifffile.imwrite(file, ramp(Y, X) + t, description=xml, metadata=None)
    (header,) = read_headers(files[0])
    assert (header.axes, header.shape, header.voxel_size_um) == ("tyx", (2, Y, X), (None, 0.3, 0.3))
    assert np.array_equal(volumes(files[0])[:, 0], [ramp(Y, X), ramp(Y, X) + 1])
    files[1].unlink()
    with pytest.raises(InputError, match="lacks 1 of the 2 planes its metadata lists"):
        read_headers(files[0])


@settings(max_examples=60, deadline=None)
@given(places=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=8))
def test_a_damaged_tiff_is_read_or_reported(
    places: list[tuple[int, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    write_ome(folder / "a.ome.tif", compression="zlib")
    content = bytearray((folder / "a.ome.tif").read_bytes())
    for place, value in places:
        content[place % len(content)] = value
    (folder / "a.ome.tif").write_bytes(content)
    with contextlib.suppress(InputError):  # any other error, or a warning, fails the test
        volumes(folder / "a.ome.tif")
