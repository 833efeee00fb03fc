"""Files that stand for images: JSON with the facts a header would give, and a reader of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from snakescope.errors import problem


@dataclass(frozen=True)
class FakeHeader:
    path: Path
    format: str
    axes: str
    shape: tuple[int, ...]
    dtype: str
    voxel_size_um: tuple[float | None, float | None, float | None]
    time_step_s: float | None
    channels: tuple[str, ...]
    bytes: int
    scene: int = 0
    scene_name: str | None = None


def read_fake(path: Path) -> list[FakeHeader]:
    """Read what `make_image` wrote; anything else is damaged."""
    source = path / "zarr.json" if path.is_dir() else path
    try:
        scenes = json.loads(source.read_text())
    except ValueError as error:
        raise problem(path, "found no image; expected a TIFF file") from error
    headers = []
    for number, facts in enumerate(scenes):
        facts["shape"], facts["voxel_size_um"] = tuple(facts["shape"]), tuple(facts["voxel_size_um"])
        facts["channels"] = tuple(facts["channels"])
        headers.append(FakeHeader(path=path, scene=number, **facts))
    return headers


@pytest.fixture
def fake_reader() -> Callable[[Path], list[FakeHeader]]:
    return read_fake


@pytest.fixture
def make_image() -> Callable[..., Path]:
    def make(path: Path, *, scenes: list[dict[str, Any]] | None = None, **facts: Any) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        usual = {
            "format": "tiff",
            "axes": "zyx",
            "shape": [10, 32, 24],
            "dtype": "uint16",
            "voxel_size_um": [0.3, 0.1, 0.1],
            "time_step_s": None,
            "channels": [],
            "bytes": 15360,
        }
        text = json.dumps([{**usual, **facts, **scene} for scene in (scenes or [{}])])
        if path.name.endswith(".zarr"):
            path.mkdir(exist_ok=True)
            path = path / "zarr.json"
        path.write_text(text)
        return path

    return make
