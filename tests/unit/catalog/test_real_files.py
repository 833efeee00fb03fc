"""Collecting files of real formats through the real readers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from snakescope.catalog import collect_folder
from snakescope.images import create_image
from snakescope.samples import Row, read_sheet, write_sheet


@pytest.fixture
def sheet(tmp_path: Path) -> Path:
    (tmp_path / "config").mkdir()
    return tmp_path / "config" / "samples.tsv"


def test_a_time_lapse_in_files_beside_a_store_and_a_damaged_file(tmp_path: Path, sheet: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    volume = np.zeros((5, 16, 12), dtype=np.uint16)
    for t in range(3):
        tifffile.imwrite(
            raw / f"cell_t{t:03d}.ome.tif",
            volume,
            metadata={
                "axes": "ZYX",
                **{f"PhysicalSize{axis}": size for axis, size in (("Z", 0.3), ("Y", 0.1), ("X", 0.1))},
                **{f"PhysicalSize{axis}Unit": "µm" for axis in "ZYX"},
            },
        )
    (raw / "cell_t003.ome.tif").write_bytes((raw / "cell_t002.ome.tif").read_bytes()[:200])
    with create_image(
        raw / "fixed.ome.zarr", axes="zyx", shape=(5, 16, 12), dtype="uint8", voxel_size_um=(0.5, 0.2, 0.2)
    ) as writer:
        writer.write(np.ones((5, 16, 12), dtype=np.uint8))
    report = collect_folder(raw, sheet=sheet, accept=True)
    write_sheet(sheet, report.sheet)
    rows = read_sheet(sheet).rows
    assert [(row.id, row.format, row.t) for row in rows] == [
        ("cell_t000", "ome-tiff", 0),
        ("cell_t001", "ome-tiff", 1),
        ("cell_t002", "ome-tiff", 2),
        ("fixed", "ome-zarr", None),
    ]
    assert {(row.axes, row.shape, row.dtype, row.voxel_size_um) for row in rows[:3]} == {
        ("zyx", (5, 16, 12), "uint16", (0.3, 0.1, 0.1))
    }
    assert rows[3].voxel_size_um == (0.5, 0.2, 0.2)
    assert [row.bytes for row in rows[:3]] == [(tmp_path / row.path).stat().st_size for row in rows[:3]]
    assert [path for path, _ in report.unreadable] == ["cell_t003.ome.tif"]
    assert [problem.where.rpartition(": ")[2] for problem in report.problems] == ["time_step_s"]


def test_the_shared_sets_are_described(shared_data: Path, sheet: Path) -> None:
    report = collect_folder(shared_data, sheet=sheet)
    assert (report.images, report.files, report.unreadable) == (22, 20, [])
    rows: dict[str, Row] = {row.id: row for row in report.sheet.rows}
    raw = rows["llsm_cudadecon_im_raw"]
    assert (raw.axes, raw.shape, raw.dtype, raw.bytes) == ("zyx", (88, 320, 256), "uint16", 6326316)
    assert raw.voxel_size_um == (None, None, None)
    czi = rows["vendor_formats_LLS7_small"]
    assert (czi.axes, czi.shape) == ("tczyx", (2, 2, 3, 64, 64))
    assert czi.voxel_size_um == pytest.approx((0.145, 0.145, 0.145), abs=1e-4)
    nd2 = rows["vendor_formats_cluster"]
    assert (nd2.axes, nd2.shape) == ("tczyx", (3, 2, 10, 31, 38))
    assert nd2.voxel_size_um == pytest.approx((0.5, 0.1678, 0.1678), abs=1e-4)
    lif = [rows[f"vendor_formats_xz-example_s{scene}"] for scene in range(3)]
    assert [(row.scene, row.cell("scene_name")) for row in lif] == [(0, "xzt"), (1, "xzy"), (2, "xz")]
    assert "the voxel size of 18 of 22 rows is not fully known" in str(report.problems[0])
