"""Read OME-Zarr 0.4 and 0.5: a single image, or a bioformats2raw series whose images are the scenes.

Headers come from the JSON files alone; zarr is imported only when pixels are wanted.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from snakescope.errors import problem
from snakescope.images.header import AXES, ImageHeader, micrometres, named, positive, round_off, seconds
from snakescope.images.source import Layout, Source, layout

_WRITE_AGAIN = "Write the store again, or copy all of it from its source."


def read_headers(path: Path) -> list[ImageHeader]:
    """Return one header for each image of the store."""
    size = _bytes(path)
    headers = [_header(path, group, scene, size) for scene, group in enumerate(_images(path))]
    _check_complete(path)
    return headers


def open_source(path: Path, scene: int) -> Source:
    """Open the full-resolution array of one image."""
    import zarr

    group = _images(path)[scene]
    multiscale = _multiscale(path, group)
    folder = group / str(multiscale["datasets"][0]["path"])
    array = zarr.open_array(folder, mode="r")
    return Source(_layout(path, multiscale, tuple(array.shape)), array, lambda: None)


def _check_complete(path: Path) -> None:
    """Count the pixel files of a store that says how many it has, as ours do (see `write`); others do not say."""
    file = next((path / name for name in ("zarr.json", ".zattrs") if (path / name).is_file()), path)
    content = _json(path, file)
    own = content.get("attributes", content).get("snakescope")
    expected = own.get("pixel_files") if isinstance(own, dict) else None
    if not isinstance(expected, int):
        return
    found = 0
    for level in _multiscale(path, path)["datasets"]:
        for _, _, names in os.walk(path / str(level["path"])):
            found += sum(not name.startswith(".") and name != "zarr.json" for name in names)
    if found < expected:
        raise problem(path, f"lacks {expected - found} of its {expected} pixel files", _WRITE_AGAIN)


def _bytes(path: Path) -> int:
    total = 0
    for folder, _, files in os.walk(path):
        total += sum((Path(folder) / name).stat().st_size for name in files)
    return total


def _images(path: Path) -> list[Path]:
    """Return the groups that hold images: the store itself, or the members of a series."""
    attributes = _attributes(path, path)
    if "multiscales" in attributes:
        return [path]
    if attributes.get("bioformats2raw.layout") == 3:
        names = _attributes(path, path / "OME").get("series") if (path / "OME").is_dir() else None
        if names is None:
            names = sorted((p.name for p in path.iterdir() if p.name.isdigit()), key=int)
        return [path / str(name) for name in names]
    if not attributes:
        raise problem(path, "is a Zarr group without any metadata: its writing was stopped", _WRITE_AGAIN)
    if "plate" in attributes or "well" in attributes:
        raise problem(path, "is a plate or well, not an image", "Give the path of a field in it, such as PLATE/A/1/0.")
    raise problem(path, "is a Zarr group without OME-Zarr image metadata (no multiscales)", _WRITE_AGAIN)


def _attributes(path: Path, group: Path) -> dict[str, Any]:
    """Return the OME attributes of a group, of version 0.5 (Zarr 3) or 0.4 (Zarr 2)."""
    if (group / "zarr.json").is_file():
        found = _json(path, group / "zarr.json").get("attributes", {})
        return dict(found.get("ome", found))
    if (group / ".zattrs").is_file():
        return _json(path, group / ".zattrs")
    if group != path:
        return {}
    found = "is an empty folder" if not any(group.iterdir()) else "is a folder without zarr.json or .zattrs"
    raise problem(path, f"{found}; expected an OME-Zarr store", "Give the path of the store itself.")


def _json(path: Path, file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        raise problem(path, f"lacks {file.relative_to(path)}", _WRITE_AGAIN) from None
    except (ValueError, OSError) as error:
        raise problem(path, f"has a {file.relative_to(path)} that cannot be read ({error})", _WRITE_AGAIN) from error
    if not isinstance(found, dict):
        raise problem(path, f"has a {file.relative_to(path)} that is no JSON object", _WRITE_AGAIN)
    return found


def _multiscale(path: Path, group: Path) -> dict[str, Any]:
    found = _attributes(path, group).get("multiscales")
    if not (isinstance(found, list) and found and isinstance(found[0], dict) and found[0].get("datasets")):
        raise problem(path, "has no usable multiscales metadata", _WRITE_AGAIN)
    multiscale: dict[str, Any] = found[0]
    return multiscale


def _array(path: Path, folder: Path) -> tuple[tuple[int, ...], str]:
    """Return shape and dtype name of an array of either Zarr version."""
    if (folder / ".zarray").is_file():
        found = _json(path, folder / ".zarray")
        dtype = np.dtype(found["dtype"]).newbyteorder("=").name
    else:
        found = _json(path, folder / "zarr.json")
        dtype = str(found["data_type"])
    return tuple(int(n) for n in found["shape"]), dtype


def _layout(path: Path, multiscale: dict[str, Any], shape: tuple[int, ...]) -> Layout:
    names = [axis["name"] if isinstance(axis, dict) else str(axis) for axis in multiscale.get("axes", AXES)]
    if len(names) != len(shape):
        raise problem(path, f"has {len(names)} axes but an array of {len(shape)}", _WRITE_AGAIN)
    kinds = {"time": "t", "channel": "c"}
    kind = [axis.get("type") if isinstance(axis, dict) else None for axis in multiscale.get("axes", AXES)]
    letters = [n if n in list(AXES) else kinds.get(k or "", "?") for n, k in zip(names, kind, strict=True)]
    return layout(path, "".join(letters), shape)


def _header(path: Path, group: Path, scene: int, size: int) -> ImageHeader:
    attributes = _attributes(path, group)
    multiscale = _multiscale(path, group)
    shape, dtype = _array(path, group / str(multiscale["datasets"][0]["path"]))
    where = _layout(path, multiscale, shape)
    scale = _scale(multiscale, where)
    channels = named(str(c.get("label") or "") for c in (attributes.get("omero") or {}).get("channels", []))
    return ImageHeader(
        path=path,
        format="ome-zarr",
        axes=where.axes,
        shape=where.shape,
        dtype=dtype,
        voxel_size_um=(scale.get("z"), scale.get("y"), scale.get("x")),
        time_step_s=scale.get("t"),
        channels=channels if len(channels) == where.count("c") else (),
        bytes=size,
        scene=scene,
        scene_name=str(multiscale["name"]) if multiscale.get("name") else None,
    )


def _scale(multiscale: dict[str, Any], where: Layout) -> dict[str, float | None]:
    """Return µm or s for each axis that has a unit; OME-Zarr has no default unit, so without one it is unknown."""
    factors = [1.0] * len(where.source)
    given = [*multiscale["datasets"][0].get("coordinateTransformations", ())]
    for transform in [*given, *multiscale.get("coordinateTransformations", ())]:
        if transform.get("type") == "scale" and len(transform.get("scale", ())) == len(factors):
            factors = [f * (positive(s) or 0.0) for f, s in zip(factors, transform["scale"], strict=True)]
    found: dict[str, float | None] = {}
    for letter, axis, factor in zip(where.source, multiscale.get("axes", ()), factors, strict=False):
        unit = axis.get("unit") if isinstance(axis, dict) else None
        value = seconds(factor, unit) if letter == "t" else micrometres(factor, unit)
        found[letter] = round_off(value) if value is not None else None
    return found
