"""Open any image by what it is, not by its name: headers, one volume at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from snakescope.errors import SnakescopeError, problem
from snakescope.images.header import ImageHeader
from snakescope.images.source import Source

StackAxis = Literal["z", "t"]
_TELL_SIZE = "Give it in the sample sheet (column voxel_size_um, as z,y,x in µm) or by --voxel-size-um Z,Y,X."
_MAGIC = {
    b"II*\0": "tiff",
    b"MM\0*": "tiff",
    b"II+\0": "tiff",
    b"MM\0+": "tiff",
    b"\xda\xce\xbe\x0a": "nd2",
    b"ZISR": "czi",
    b"\x70\0\0\0": "lif",
}
_KNOWN = "OME-Zarr, OME-TIFF, TIFF, ND2, LIF or CZI"


def read_headers(path: Path, *, stack_axis: StackAxis = "z") -> list[ImageHeader]:
    """Return the header of each image in a file or store; no pixels are read.

    Parameters
    ----------
    path
        File or OME-Zarr store.
    stack_axis
        What the planes of a plain TIFF are, which does not name their axis: slices (z) or frames (t).

    Raises
    ------
    InputError
        If it does not exist, is empty, cut short, damaged, or no image of a known format.
    """
    path = Path(path)
    reader = reader_of(path)
    return _guarded(path, lambda: reader.read_headers(path, **_options(reader, stack_axis)))


def read_stream_headers(name: str, file: BinaryIO) -> list[ImageHeader]:
    """Return the header of each image in a TIFF that is not on this machine.

    Parameters
    ----------
    name
        What to call it.
    file
        Where to read it; only what a header needs is read.

    Raises
    ------
    InputError
        If it is empty, cut short, damaged, or no TIFF.
    """
    path = Path(name)
    start = file.read(16)
    file.seek(0)
    if _MAGIC.get(start[:4]) != "tiff":
        raise problem(path, f"starts with {start!r}; expected a TIFF" if start else "is empty (0 bytes)")
    from snakescope.images import tiff

    return _guarded(path, lambda: tiff.read_headers(path, file=file))


def read_json_headers(folder: Path) -> list[ImageHeader]:
    """Return the header of each image of an OME-Zarr store of which only the JSON files are in `folder`.

    Raises
    ------
    InputError
        If they are no OME-Zarr image.
    """
    from snakescope.images import ome_zarr

    return _guarded(folder, lambda: ome_zarr.read_headers(folder, whole=False))


def _guarded(path: Path, read: Callable[[], list[ImageHeader]]) -> list[ImageHeader]:
    try:
        headers = read()
    except SnakescopeError:
        raise
    except Exception as error:  # a damaged file makes the libraries fail in any way
        raise unreadable(path, error) from error
    if not headers:
        raise problem(path, "holds no image")
    return headers


def open_image(
    path: Path,
    *,
    scene: int = 0,
    voxel_size_um: tuple[float, float, float] | None = None,
    time_step_s: float | None = None,
    stack_axis: StackAxis = "z",
) -> Image:
    """Open one image of a file; given values go before what the file says.

    Parameters
    ----------
    path
        File or OME-Zarr store.
    scene
        Which image of the file, from 0.
    voxel_size_um, time_step_s
        z, y, x in µm and s between frames; None to take the file's own.
    stack_axis
        What the planes of a plain TIFF are, which does not name their axis: slices (z) or frames (t).

    Raises
    ------
    InputError
        If the file cannot be read or has no such scene.
    """
    path = Path(path)
    headers = read_headers(path, stack_axis=stack_axis)
    if not 0 <= scene < len(headers):
        names = ", ".join(f"{h.scene}{f' ({h.scene_name})' if h.scene_name else ''}" for h in headers)
        raise problem(path, f"has no scene {scene}; it has: {names}", "Give one of these as the scene.")
    header = headers[scene]
    if voxel_size_um is not None:
        z, y, x = voxel_size_um
        header = replace(header, voxel_size_um=(z if "z" in header.axes else None, y, x))
    if time_step_s is not None and "t" in header.axes:
        header = replace(header, time_step_s=time_step_s)
    try:
        reader = reader_of(path)
        source: Source = reader.open_source(path, scene, **_options(reader, stack_axis))
    except SnakescopeError:
        raise
    except Exception as error:
        raise unreadable(path, error) from error
    return Image(header, source)


class Image:
    """An open image: its header, and its volumes one at a time. Use it as a context manager."""

    def __init__(self, header: ImageHeader, source: Source) -> None:
        self.header = header
        self._source = source

    def __enter__(self) -> Image:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._source.close()

    def volume(self, t: int = 0, c: int = 0) -> NDArray[Any]:
        """Read one volume: (z, y, x), or (y, x) without a z axis; the file's dtype in native byte order.

        Raises
        ------
        IndexError
            If there is no such frame or channel.
        InputError
            If the samples cannot be read.
        """
        for axis, at in (("t", t), ("c", c)):
            if not 0 <= at < self.header.size(axis):
                raise IndexError(f"{axis}={at} is not in an image with {self.header.size(axis)} along {axis}")
        try:
            return np.asarray(self._source.volume(t, c))
        except SnakescopeError:
            raise
        except Exception as error:
            raise unreadable(self.header.path, error, f"at t={t}, c={c} ") from error

    def voxel_size(self) -> tuple[float, float, float]:
        """Return z, y, x in µm of an image with a z axis.

        Raises
        ------
        InputError
            If one of them is unknown, or there is no z axis (see `pixel_size`).
        """
        if "z" not in self.header.axes:
            raise problem(
                self.header.path, f"has the axes {self.header.axes}; expected a z axis", "Give an image stack instead."
            )
        z, y, x = self._known("zyx")
        return z, y, x

    def pixel_size(self) -> tuple[float, float]:
        """Return y, x in µm.

        Raises
        ------
        InputError
            If one of them is unknown.
        """
        y, x = self._known("yx")
        return y, x

    def _known(self, axes: str) -> list[float]:
        sizes = dict(zip("zyx", self.header.voxel_size_um, strict=True))
        unknown = [axis for axis in axes if sizes[axis] is None]
        if unknown:
            found = f"does not say its voxel size along {', '.join(unknown)}"
            raise problem(self.header.path, found, _TELL_SIZE)
        return [float(sizes[axis] or 0) for axis in axes]


def reader_of(path: Path) -> ModuleType:
    """Choose the reader by what the file starts with; import only that one."""
    if path.is_dir():
        from snakescope.images import ome_zarr

        return ome_zarr
    kind = _kind(path)
    if kind == "tiff":
        from snakescope.images import tiff

        return tiff
    if kind == "nd2":
        from snakescope.images import vendor_nd2

        return vendor_nd2
    if kind == "lif":
        from snakescope.images import vendor_lif

        return vendor_lif
    from snakescope.images import vendor_czi

    return vendor_czi


def _options(reader: ModuleType, stack_axis: StackAxis) -> dict[str, str]:
    """Only plain TIFF leaves an axis without a name."""
    return {"stack_axis": stack_axis} if reader.__name__ == "snakescope.images.tiff" else {}


def _kind(path: Path) -> str:
    try:
        with path.open("rb") as file:
            start = file.read(16)
    except FileNotFoundError:
        raise problem(path, "does not exist", "Check the path in the sheet or command.") from None
    except OSError as error:
        raise problem(path, f"cannot be opened ({error.strerror or error})") from error
    if not start:
        raise problem(path, "is empty (0 bytes)", "Copy it again from its source.")
    kind = _MAGIC.get(start[:4])
    if kind is None:
        raise problem(path, f"is not an image of a known format; expected {_KNOWN}; it starts with {start!r}")
    return kind


def unreadable(path: Path, error: Exception, where: str = "") -> SnakescopeError:
    """Return the error for a file at which a reader's library failed, in whatever way."""
    what = " ".join(str(error).split())[:200] or type(error).__name__
    return problem(
        path,
        f"cannot be read {where}({type(error).__name__}: {what})",
        "The copy is incomplete or the file is damaged: copy it again from its source.",
    )
