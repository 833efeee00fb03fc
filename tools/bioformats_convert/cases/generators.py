"""Files in formats that only Bio-Formats reads here, written by hand, and what to read back from the OME-TIFF."""

# ruff: noqa: ARG001 - every check takes outputs and inputs
from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

Paths = dict[str, Path]
SIZE = {"micrometer": 1.0, "µm": 1.0, "nm": 0.001, "mm": 1000.0, "cm": 10000.0}


def _stack() -> NDArray[np.uint16]:
    """Every sample differs from its neighbours: z, y, x in its decimal digits."""
    z, y, x = np.indices((4, 12, 20))
    return np.asarray(1000 * z + 20 * y + x, np.uint16)


def nrrd(folder: Path, *, name: str = "stack.nrrd") -> Paths:
    """A raw NRRD stack."""
    head = (
        "NRRD0004\ntype: uint16\ndimension: 3\nsizes: 20 12 4\nspacings: 0.2 0.2 0.5\nencoding: raw\nendian: little\n\n"
    )
    path = folder / name
    path.write_bytes(head.encode() + _stack().astype("<u2").tobytes())
    return {"image": path}


def ics(folder: Path) -> Paths:
    """An Image Cytometry Standard 2.0 stack with voxels of 0.2 x 0.2 x 0.5 um."""
    head = (
        "\t\nics_version\t2.0\nfilename\tstack\nlayout\tparameters\t4\nlayout\torder\tbits\tx\ty\tz\n"
        "layout\tsizes\t16\t20\t12\t4\nlayout\tcoordinates\tvideo\nlayout\tsignificant_bits\t16\n"
        "representation\tbyte_order\t1\t2\nrepresentation\tformat\tinteger\nrepresentation\tsign\tunsigned\n"
        "representation\tcompression\tuncompressed\nparameter\torigin\t0\t0\t0\t0\nparameter\tscale\t1\t0.2\t0.2\t0.5\n"
        "parameter\tunits\tbits\tmicrometers\tmicrometers\tmicrometers\nend\n"
    )
    path = folder / "stack.ics"
    path.write_bytes(head.encode() + _stack().astype("<u2").tobytes())
    return {"image": path}


def samples_changed(outputs: Paths, inputs: Paths) -> float:
    """How many samples differ from the generated ones; all of them when the shape does."""
    found = np.squeeze(tifffile.imread(outputs["image"]))
    return float(np.sum(found != _stack())) if found.shape == _stack().shape else float(_stack().size)


def physical_size_um(outputs: Paths, inputs: Paths, *, axis: str) -> float:
    """Voxel size along an axis in the OME-XML, in um; -1 where it says none."""
    with tifffile.TiffFile(outputs["image"]) as tif:
        text = tif.ome_metadata or ""
    size = re.search(rf'PhysicalSize{axis.upper()}="([^"]+)"', text)
    unit = re.search(rf'PhysicalSize{axis.upper()}Unit="([^"]+)"', text)
    return float(size[1]) * (SIZE[unit[1]] if unit else 1.0) if size else -1.0


def compressed(outputs: Paths, inputs: Paths) -> float:
    """TIFF's number of the compression of the first page."""
    with tifffile.TiffFile(outputs["image"]) as tif:
        return float(tif.pages.first.compression)
