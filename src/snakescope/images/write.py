"""Write OME-Zarr, one volume at a time.

One (t, c) volume is one shard (several above `SHARD_BYTES`), because shared file systems count files: a store of
T x C volumes has T x C pixel files instead of thousands. Inside, whole planes are chunks of about `CHUNK_BYTES`, so
that a slab can still be read alone. Measured on 157 MB of lattice light-sheet counts (80 x 960 x 1024 uint16, 2 shared
cores, MB of pixels a second, size of the result):

    blosc zstd 1, byte shuffle    450 MB/s   0.40     <- what is written
    blosc zstd 1, bit shuffle     450 MB/s   0.46
    the same, one file a chunk    400 MB/s   0.46     (41 files instead of 2)
    blosc zstd 5, byte shuffle    330 MB/s   0.40
    blosc lz4 5, byte shuffle    1100 MB/s   0.51

Empty chunks are written too: a file that is not there has been lost, and reading says so, instead of giving zeros.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from snakescope.errors import problem
from snakescope.images.header import AXES, UNKNOWN, Triple

CHUNK_BYTES = 4 << 20
SHARD_BYTES = 256 << 20
CHUNK_BYTES_0_4 = 32 << 20  # Zarr 2 has no shards: larger chunks keep the number of files low
PYRAMID_ABOVE = 1024


def create_image(
    path: Path,
    *,
    axes: str,
    shape: tuple[int, ...],
    dtype: DTypeLike,
    voxel_size_um: Triple | None,
    time_step_s: float | None = None,
    channels: Sequence[str] = (),
    name: str | None = None,
    labels: bool = False,
    ome_zarr_version: str = "0.5",
) -> ImageWriter:
    """Begin a new OME-Zarr store; its volumes are then written one by one.

    Parameters
    ----------
    path
        Where the store will be; nothing may be there yet.
    axes, shape
        A subset of ``tczyx`` in that order, with y and x, and the samples along each.
    dtype
        Any integer or float type (bool is stored as such).
    voxel_size_um
        z, y, x in µm. None for one that is unknown: its axis is written without a unit, with scale 1.
        z is ignored without a z axis.
    time_step_s
        Seconds between frames, or None when unknown.
    channels
        One name for each channel, or none.
    name
        Name of the image.
    labels
        The samples are object ids: the pyramid takes every second sample instead of a mean.
    ome_zarr_version
        ``0.5`` (Zarr 3, sharded) or ``0.4`` (Zarr 2).

    Raises
    ------
    InputError
        If something is at `path` already.
    """
    path = Path(path)
    if path.exists():
        raise problem(path, "exists already", "Remove it first, or choose another name.")
    plan = _Plan(axes, tuple(int(n) for n in shape), np.dtype(dtype).newbyteorder("="), ome_zarr_version, labels)
    plan.check(channels)
    meta = _metadata(plan, voxel_size_um or UNKNOWN, time_step_s, tuple(channels), name or path.name.split(".")[0])
    return ImageWriter(path, plan, meta)


def store_image(
    path: Path,
    array: NDArray[Any],
    *,
    axes: str,
    voxel_size_um: Triple | None,
    time_step_s: float | None = None,
    channels: Sequence[str] = (),
    name: str | None = None,
    labels: bool = False,
    ome_zarr_version: str = "0.5",
) -> None:
    """Write an array that is in memory already as a store; see `create_image` for the arguments."""
    with create_image(
        path,
        axes=axes,
        shape=array.shape,
        dtype=array.dtype,
        voxel_size_um=voxel_size_um,
        time_step_s=time_step_s,
        channels=channels,
        name=name,
        labels=labels,
        ome_zarr_version=ome_zarr_version,
    ) as writer:
        for t in range(array.shape[0] if "t" in axes else 1):
            for c in range(array.shape[axes.index("c")] if "c" in axes else 1):
                index = tuple({"t": t, "c": c}.get(a, slice(None)) for a in axes)
                writer.write(array[index], t, c)


@dataclass(frozen=True)
class _Plan:
    """Shapes, chunks and levels of a store."""

    axes: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    version: str
    labels: bool

    def check(self, channels: Sequence[str]) -> None:
        if "".join(a for a in AXES if a in self.axes) != self.axes or "yx" not in self.axes:
            raise ValueError(f"axes {self.axes!r}: expected a subset of {AXES!r} in that order, with y and x")
        if len(self.axes) != len(self.shape) or min(self.shape) < 1:
            raise ValueError(f"shape {self.shape}: expected {len(self.axes)} numbers above 0 for axes {self.axes!r}")
        if self.dtype.kind not in "biuf":
            raise ValueError(f"dtype {self.dtype}: expected integers, floats or bool")
        if self.version not in ("0.4", "0.5"):
            raise ValueError(f"ome_zarr_version {self.version!r}: expected 0.4 or 0.5")
        if channels and len(channels) != self.size("c"):
            raise ValueError(f"{len(channels)} channel names for {self.size('c')} channels")

    def size(self, axis: str) -> int:
        return self.shape[self.axes.index(axis)] if axis in self.axes else 1

    @property
    def levels(self) -> list[tuple[int, ...]]:
        """Shape of each level: y and x halved, rounded up, until neither is above `PYRAMID_ABOVE`."""
        found = [self.shape]
        while max(found[-1][-2:]) > PYRAMID_ABOVE:
            *rest, y, x = found[-1]
            found.append((*rest, -(-y // 2), -(-x // 2)))
        return found

    def chunks(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return a chunk of whole planes up to `CHUNK_BYTES`, or a part of one plane."""
        y, x = (min(n, 1024) for n in shape[-2:])
        room = CHUNK_BYTES if self.version == "0.5" else CHUNK_BYTES_0_4
        planes = max(1, room // (y * x * self.dtype.itemsize))
        return tuple(
            {"t": 1, "c": 1, "y": y, "x": x}.get(a, min(n, planes)) for a, n in zip(self.axes, shape, strict=True)
        )

    def shards(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return a shard: one volume, or as many whole chunks of planes as `SHARD_BYTES` holds."""
        chunks = self.chunks(shape)
        y, x = (c * math.ceil(n / c) for c, n in zip(chunks[-2:], shape[-2:], strict=True))
        size = dict(zip(self.axes, chunks, strict=True)) | {"y": y, "x": x}
        if "z" in self.axes:
            z, nz = size["z"], self.size("z")
            fit = max(1, SHARD_BYTES // (z * y * x * self.dtype.itemsize))
            size["z"] = z * min(math.ceil(nz / z), fit)
        return tuple(size[a] for a in self.axes)


def _metadata(plan: _Plan, size: Triple, step: float | None, channels: tuple[str, ...], name: str) -> dict[str, Any]:
    """Return the OME attributes of the group, for version 0.4 or 0.5."""
    spacing = dict(zip("zyx", size, strict=True)) | {"t": step}
    axes: list[dict[str, str]] = []
    for axis in plan.axes:
        kind = {"t": "time", "c": "channel"}.get(axis, "space")
        unit = {"time": "second", "space": "micrometer"}.get(kind)
        known = unit is not None and spacing[axis] is not None
        axes.append({"name": axis, "type": kind} | ({"unit": str(unit)} if known else {}))
    datasets = []
    for level in range(len(plan.levels)):
        factor = 2.0**level
        scale = [float(spacing.get(a) or 1.0) * (factor if a in "yx" else 1.0) for a in plan.axes]
        transforms: list[dict[str, Any]] = [{"type": "scale", "scale": scale}]
        if level and not plan.labels:  # a mean of 2^level samples lies at their middle
            shift = [
                (s / factor) * (factor - 1) / 2 if a in "yx" else 0.0 for a, s in zip(plan.axes, scale, strict=True)
            ]
            transforms.append({"type": "translation", "translation": shift})
        datasets.append({"path": str(level), "coordinateTransformations": transforms})
    multiscale: dict[str, Any] = {"name": name, "axes": axes, "datasets": datasets}
    if plan.version == "0.4":
        multiscale["version"] = "0.4"
    if len(datasets) > 1:
        multiscale["type"] = "nearest" if plan.labels else "mean"
    ome: dict[str, Any] = {"multiscales": [multiscale]}
    if channels:
        ome["omero"] = {"channels": [_channel(label, i, plan.dtype) for i, label in enumerate(channels)]}
    return ome if plan.version == "0.4" else {"ome": {"version": "0.5", **ome}}


_COLOURS = ("00FF00", "FF00FF", "00FFFF", "FFFF00", "FF0000", "0000FF")


def _channel(label: str, number: int, dtype: np.dtype[Any]) -> dict[str, Any]:
    """Return one omero channel; the window spans the type, as 0.4 asks for one."""
    low, high = (0.0, 1.0) if dtype.kind in "fb" else (float(np.iinfo(dtype).min), float(np.iinfo(dtype).max))
    return {
        "label": label,
        "active": True,
        "color": _COLOURS[number % len(_COLOURS)],
        "window": {"min": low, "max": high, "start": low, "end": high},
    }


class ImageWriter:
    """An OME-Zarr store being written. Use it as a context manager.

    The group's metadata is written last: a store whose writing stopped half-way is no image to any reader.
    """

    def __init__(self, path: Path, plan: _Plan, metadata: dict[str, Any]) -> None:
        import zarr

        self.path = path
        self._plan = plan
        self._metadata = metadata
        self._missing = {(t, c) for t in range(plan.size("t")) for c in range(plan.size("c"))}
        self._format: Literal[2, 3] = 2 if plan.version == "0.4" else 3
        self._group = zarr.open_group(path, mode="w-", zarr_format=self._format)
        self._arrays = [self._create(str(n), shape) for n, shape in enumerate(plan.levels)]

    def _create(self, name: str, shape: tuple[int, ...]) -> Any:
        plan = self._plan
        common: dict[str, Any] = {"name": name, "shape": shape, "dtype": plan.dtype, "fill_value": 0}
        common["config"] = {"write_empty_chunks": True}
        if self._format == 2:
            from numcodecs import Blosc  # type: ignore[import-untyped]

            return self._group.create_array(
                **common,
                chunks=plan.chunks(shape),
                compressors=Blosc("zstd", clevel=1, shuffle=Blosc.SHUFFLE),
                chunk_key_encoding={"name": "v2", "separator": "/"},
            )
        from zarr.codecs import BloscCodec

        return self._group.create_array(
            **common,
            chunks=plan.chunks(shape),
            shards=plan.shards(shape),
            compressors=BloscCodec(cname="zstd", clevel=1, shuffle="shuffle", typesize=plan.dtype.itemsize),
            dimension_names=list(plan.axes),
        )

    def __enter__(self) -> ImageWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()

    def write(self, volume: NDArray[Any], t: int = 0, c: int = 0) -> None:
        """Write one volume, (z, y, x) or (y, x), of the store's shape and dtype.

        Raises
        ------
        ValueError
            If shape or dtype differ from those the store was made for.
        IndexError
            If the store has no such frame or channel.
        """
        plan = self._plan
        expected = tuple(n for a, n in zip(plan.axes, plan.shape, strict=True) if a in "zyx")
        if volume.shape != expected or volume.dtype.newbyteorder("=") != plan.dtype:
            found = f"{volume.dtype} {volume.shape}"
            raise ValueError(f"{self.path}: a volume of {found} for a store of {plan.dtype} {expected}")
        if not (0 <= t < plan.size("t") and 0 <= c < plan.size("c")):
            raise IndexError(f"{self.path}: t={t}, c={c} is not in {plan.axes} {plan.shape}")
        for level, array in enumerate(self._arrays):
            if level:
                volume = _half(volume, plan.labels)
            self._write_slabs(array, volume, t, c)
        self._missing.discard((t, c))

    def _write_slabs(self, array: Any, volume: NDArray[Any], t: int, c: int) -> None:
        """Write a volume shard by shard, which bounds the memory it takes beside itself."""
        index: dict[str, Any] = {"t": t, "c": c}
        step = (array.shards or array.chunks)[self._plan.axes.index("z")] if "z" in self._plan.axes else 1
        for z in range(0, volume.shape[0] if "z" in self._plan.axes else 1, step):
            if "z" in self._plan.axes:
                index["z"] = slice(z, z + step)
            slab = volume[z : z + step] if "z" in self._plan.axes else volume
            array[tuple(index.get(a, slice(None)) for a in self._plan.axes)] = slab

    def close(self) -> None:
        """Write the metadata, which makes the store an image.

        Raises
        ------
        ValueError
            If a volume was never written.
        """
        if self._missing:
            t, c = min(self._missing)
            raise ValueError(f"{self.path}: {len(self._missing)} volumes were not written, the first t={t}, c={c}")
        files = sum(
            math.prod(-(-n // k) for n, k in zip(a.shape, a.shards or a.chunks, strict=True)) for a in self._arrays
        )
        self._group.attrs.update({**self._metadata, "snakescope": {"pixel_files": files}})


def _half(volume: NDArray[Any], labels: bool) -> NDArray[Any]:
    """Halve y and x: the mean of 2 x 2 samples (an odd last row counts twice), or every second sample."""
    if labels or volume.dtype.kind == "b":
        return volume[..., ::2, ::2]
    y, x = volume.shape[-2:]
    padded = np.pad(volume, [(0, 0)] * (volume.ndim - 2) + [(0, y % 2), (0, x % 2)], mode="edge")
    four = (padded[..., i::2, j::2] for i in (0, 1) for j in (0, 1))
    total = sum(part.astype(np.float64 if volume.dtype.itemsize > 2 else np.float32) for part in four)
    mean = np.asarray(total) / 4
    return (mean if volume.dtype.kind == "f" else np.rint(mean)).astype(volume.dtype)
