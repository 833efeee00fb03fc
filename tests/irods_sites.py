"""What tests of iRODS share: a zone that the environment leads to, images to put there, sessions on it."""

from __future__ import annotations

import gc
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import tifffile

from irods_zone import Zone
from snakescope.zone.address import Address
from snakescope.zone.session import Session, connect

ODD_NAMES = [
    "with blank.tif",
    "it's.tif",
    'say "hi".tif',
    "tab\there.tif",
    "new\nline.tif",
    "100%.tif",
    "50%25.tif",
    "a_b.tif",
    "a..b.tif",
    "Zürich_µm_日本.tif",
    "back`tick & co.tif",
    "back\\slash.tif",
    "carriage\rreturn.tif",
    "q?#a;b=c.tif",
    "or || and && x.tif",
    "it's || 'q' && \"z\".tif",
]


@contextmanager
def running_zone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Zone]:
    """A zone that the client finds by itself."""
    with Zone(folder / "zone") as zone:
        act_as(zone, zone.user, monkeypatch)
        yield zone
        zone.faults.clear()
    gc.collect()
    assert zone.failures == []


def act_as(zone: Zone, user: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the environment say that user."""
    for name, value in zone.environment(user).items():
        monkeypatch.setenv(name, value)


@contextmanager
def session_on(zone: Zone) -> Iterator[Session]:
    with connect(Address(f"/{zone.zone}")) as session:
        yield session


def tiff_bytes(shape: tuple[int, int, int] = (3, 8, 16), seed: int = 0) -> bytes:
    """A small stack with voxels of 0.3, 0.1, 0.1 µm."""
    stream = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 100, shape, "uint16")
    metadata = {"axes": "ZYX", "spacing": 0.3, "unit": "um"}
    tifffile.imwrite(stream, pixels, imagej=True, resolution=(10, 10), metadata=metadata)
    return stream.getvalue()


def store_files(shape: tuple[int, int, int] = (2, 8, 16)) -> dict[str, bytes]:
    """Files of an OME-Zarr 0.5 store of one chunk, by their path in it."""
    axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"]
    scale = [{"type": "scale", "scale": [0.3, 0.1, 0.1]}]
    multiscales = [{"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": scale}]}]
    group = {
        "zarr_format": 3,
        "node_type": "group",
        "attributes": {"ome": {"version": "0.5", "multiscales": multiscales}},
    }
    array = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(shape),
        "data_type": "uint16",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(shape)}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0,
        "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
        "attributes": {},
    }
    pixels = np.ones(shape, "<u2").tobytes()
    return {"zarr.json": json.dumps(group).encode(), "0/zarr.json": json.dumps(array).encode(), "0/c/0/0/0": pixels}


def put_store(zone: Zone, path: str) -> None:
    """Put an OME-Zarr collection."""
    for name, content in store_files().items():
        zone.put(f"{path}/{name}", content)
