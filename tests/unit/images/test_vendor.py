"""Vendor formats: real files against the vendor's library, and CZI written here for what no real file at hand has."""

from __future__ import annotations

import struct
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray

from snakescope.errors import InputError
from snakescope.images import open_image, read_headers

GRAY16, BGR24 = 1, 3
XML = """<ImageDocument><Metadata><Information><Image><Dimensions>
<Channels><Channel Id="Channel:0" Name="GFP"/><Channel Id="Channel:1" Name="RFP"/></Channels>
<S><Scenes><Scene Index="0" Name="A1"/><Scene Index="1" Name="B2"/></Scenes></S>
<T><Positions><Interval><Start>0</Start><Increment>2.5</Increment></Interval></Positions></T>
</Dimensions></Image></Information><Scaling><Items>
<Distance Id="X"><Value>1.04E-07</Value></Distance><Distance Id="Y"><Value>2E-07</Value></Distance>
<Distance Id="Z"><Value>0</Value></Distance></Items></Scaling></Metadata></ImageDocument>"""


@dataclass
class Czi:
    """Just enough of the CZI layout: header, sub-blocks, XML, directory."""

    content: bytearray = field(default_factory=lambda: bytearray(32 + 512))
    entries: list[bytes] = field(default_factory=list)

    def segment(self, name: bytes, body: bytes) -> int:
        at = len(self.content)
        body += bytes(-len(body) % 32)
        self.content += struct.pack("<16sqq", name, len(body), len(body)) + body
        return at

    def block(
        self, pixels: NDArray[Any], place: dict[str, int], *, kind: int = GRAY16, compression: int = 0, pyramid: int = 0
    ) -> None:
        """Add one plane at its place; y and x are where it lies in the mosaic, M which tile it is."""
        size = {"X": pixels.shape[1], "Y": pixels.shape[0]}
        dims = {"X": 0, "Y": 0, **place}
        stored = {axis: (size[axis] // 2 if pyramid else size[axis]) for axis in "XY"}
        entry = struct.pack(
            "<2siqiiBB4si", b"DV", kind, len(self.content), 0, compression, pyramid, 0, b"", len(dims)
        ) + b"".join(
            struct.pack("<4siifi", a.encode(), at, size.get(a, 1), 0.0, stored.get(a, 1)) for a, at in dims.items()
        )
        data = pixels[: stored["Y"], : stored["X"]].tobytes()
        if compression == 5:
            data = bytes(imagecodecs.zstd_encode(data))
        if compression == 6:
            halves = np.frombuffer(data, np.uint8).reshape(-1, 2).T.tobytes()
            data = bytes([3, 1, 1]) + bytes(imagecodecs.zstd_encode(halves))
        head = struct.pack("<iiq", 0, 0, len(data)) + entry
        self.segment(b"ZISRAWSUBBLOCK", head + bytes(256 - len(head)) + data)
        self.entries.append(entry)

    def save(self, path: Path) -> Path:
        xml = XML.encode()
        metadata = self.segment(b"ZISRAWMETADATA", struct.pack("<ii248x", len(xml), 0) + xml)
        directory = self.segment(b"ZISRAWDIRECTORY", struct.pack("<i124x", len(self.entries)) + b"".join(self.entries))
        guid = uuid.UUID(int=1).bytes
        head = struct.pack("<ii8x16s16siqqiq", 1, 0, guid, guid, 0, directory, metadata, 0, 0)
        self.content[: 32 + len(head)] = struct.pack("<16sqq", b"ZISRAWFILE", 512, 512) + head
        path.write_bytes(self.content)
        return path


def plane(seed: int, y: int = 6, x: int = 8) -> NDArray[np.uint16]:
    return np.random.default_rng(seed).integers(0, 60000, (y, x), dtype=np.uint16)


@pytest.mark.parametrize("compression", [0, 5, 6])
def test_czi_planes_of_each_compression(compression: int, tmp_path: Path) -> None:
    czi = Czi()
    for t in range(2):
        for c in range(2):
            for z in range(3):
                czi.block(plane(9 * t + 3 * c + z), {"C": c, "Z": z, "T": t}, compression=compression)
    path = czi.save(tmp_path / "a.czi")
    (header,) = read_headers(path)
    assert (header.axes, header.shape, header.dtype) == ("tczyx", (2, 2, 3, 6, 8), "uint16")
    assert (header.voxel_size_um, header.time_step_s) == ((None, 0.2, 0.104), 2.5)
    assert header.channels == ("GFP", "RFP")
    with open_image(path) as image:
        for t in range(2):
            for c in range(2):
                assert np.array_equal(image.volume(t, c), [plane(9 * t + 3 * c + z) for z in range(3)])


def test_czi_scenes_have_their_own_size_and_place(tmp_path: Path) -> None:
    czi = Czi()
    czi.block(plane(0, 6, 8), {"X": -50, "Y": 7, "C": 0, "S": 0, "B": 0})
    czi.block(plane(1, 4, 5), {"X": 900, "Y": 7, "C": 0, "S": 1, "B": 0})
    path = czi.save(tmp_path / "a.czi")
    headers = read_headers(path)
    assert [(h.scene_name, h.axes, h.shape) for h in headers] == [("A1", "yx", (6, 8)), ("B2", "yx", (4, 5))]
    for scene, expected in enumerate([plane(0, 6, 8), plane(1, 4, 5)]):
        with open_image(path, scene=scene) as image:
            assert np.array_equal(image.volume(), expected)


def test_czi_mosaic_tiles_lie_where_the_stage_says_and_pyramids_do_not_count(tmp_path: Path) -> None:
    czi = Czi()
    czi.block(plane(0), {"X": 10, "Y": 20, "C": 0, "M": 0})
    czi.block(plane(1), {"X": 16, "Y": 22, "C": 0, "M": 1})
    czi.block(plane(2), {"X": 10, "Y": 20, "C": 0}, pyramid=2)
    path = czi.save(tmp_path / "a.czi")
    expected = np.zeros((8, 14), np.uint16)
    expected[:6, :8] = plane(0)
    expected[2:, 6:] = plane(1)
    with open_image(path) as image:
        assert image.header.shape == (8, 14)
        assert np.array_equal(image.volume(), expected)


def test_czi_colour_samples_are_channels_red_first(tmp_path: Path) -> None:
    bgr = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)
    czi = Czi()
    czi.block(bgr, {"C": 0}, kind=BGR24)
    with open_image(czi.save(tmp_path / "a.czi")) as image:
        assert (image.header.axes, image.header.shape, image.header.dtype) == ("cyx", (3, 6, 8), "uint8")
        assert np.array_equal([image.volume(c=c) for c in range(3)], bgr[..., ::-1].transpose(2, 0, 1))


def test_czi_with_planes_missing_is_refused(tmp_path: Path) -> None:
    czi = Czi()
    for t, z in [(0, 0), (0, 1), (1, 0)]:
        czi.block(plane(0), {"C": 0, "Z": z, "T": t})
    with pytest.raises(InputError, match="lacks 1 planes of its time points, channels and slices"):
        read_headers(czi.save(tmp_path / "a.czi"))


def test_czi_with_an_axis_that_has_no_place_is_refused(tmp_path: Path) -> None:
    czi = Czi()
    for phase in range(3):
        czi.block(plane(0), {"C": 0, "H": phase})
    with pytest.raises(InputError, match=r"has the axes H=3, C=1, Y=6, X=8; expected only t, c, z, y and x"):
        read_headers(czi.save(tmp_path / "a.czi"))


def test_nd2_header_says_what_the_file_says(shared_data: Path) -> None:
    (header,) = read_headers(shared_data / "vendor_formats" / "cluster.nd2")
    assert (header.format, header.axes, header.shape) == ("nd2", "tczyx", (3, 2, 10, 31, 38))
    assert header.voxel_size_um == pytest.approx((0.5, 0.167809, 0.167809), abs=1e-6)
    assert header.time_step_s == pytest.approx((21740.178 - 445.083) / 2000, abs=1e-4)  # time stamps of the frames, ms
    assert header.channels == ("5-FAM/pH 9.0", "FM 4-64/2% CHAPS")
    assert header.bytes == 557056


def test_lif_header_says_what_the_file_says(shared_data: Path) -> None:
    headers = read_headers(shared_data / "vendor_formats" / "xz-example.lif")
    assert [(h.scene_name, h.axes, h.shape) for h in headers] == [
        ("xzt", "tczyx", (20, 2, 128, 1, 128)),
        ("xzy", "czyx", (2, 128, 23, 128)),
        ("xz", "czyx", (2, 512, 1, 512)),
    ]
    assert headers[0].time_step_s == pytest.approx(10.07 / 19, abs=1e-3)
    assert headers[1].voxel_size_um == pytest.approx((17.8154 / 127, 5.0393540 / 22, 17.81554 / 127), abs=1e-4)
    assert [h.channels for h in headers] == [()] * 3


def test_czi_header_takes_the_measured_time_stamps(shared_data: Path) -> None:
    (header,) = read_headers(shared_data / "vendor_formats" / "CellDivision_T3_Z5_CH2_X240_Y170.czi")
    assert header.time_step_s == pytest.approx((480.4104779 - 360.4196148) / 2, abs=1e-6)  # planned: 60.075
    assert header.voxel_size_um == pytest.approx((0.32, 0.0905767, 0.0905767), abs=1e-6)


def test_vendor_volumes_are_read_one_at_a_time(shared_data: Path) -> None:
    for name in ("cluster.nd2", "xz-example.lif", "LLS7_small.czi"):
        with open_image(shared_data / "vendor_formats" / name) as image:
            volume = image.volume(1, 1)
            assert volume.shape == tuple(image.header.size(axis) for axis in "zyx")
            assert volume.flags.writeable
            assert volume.flags.c_contiguous
