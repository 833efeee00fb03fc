"""Read OME-Zarr 0.4 and 0.5: a single image, or a bioformats2raw series whose images are the scenes.

Headers come from the JSON files alone; zarr is imported only when pixels are wanted.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from snakescope.errors import SnakescopeError, problem
from snakescope.images.acquisition import Acquisition, ChannelFacts, known, word
from snakescope.images.header import AXES, ImageHeader, micrometres, named, positive, round_off, seconds
from snakescope.images.ome_xml import read_ome_xml
from snakescope.images.source import Layout, Source, layout

_WRITE_AGAIN = "Write the store again, or copy all of it from its source."
# The units that OME-Zarr 0.4 and 0.5 allow for an axis of space or time: names of UDUNITS-2.
_PREFIXES = (
    "", "atto", "centi", "deci", "exa", "femto", "giga", "hecto", "kilo", "mega", "micro", "milli", "nano", "peta",
    "pico", "tera", "yocto", "yotta", "zepto", "zetta",
)  # fmt: skip
_LENGTHS = {"angstrom", "foot", "inch", "mile", "parsec", "yard"} | {f"{prefix}meter" for prefix in _PREFIXES}
_DURATIONS = {"day", "hour", "minute"} | {f"{prefix}second" for prefix in _PREFIXES}


def read_headers(path: Path, *, whole: bool = True) -> list[ImageHeader]:
    """Return one header for each image of the store; with only the JSON of it there, it is not `whole`."""
    size = _bytes(path)
    headers = [_header(path, group, scene, size) for scene, group in enumerate(_images(path))]
    if whole:
        _check_complete(path)
    return headers


def read_acquisitions(path: Path) -> list[Acquisition]:
    """Return how each image was taken: from ``OME/METADATA.ome.xml``, or else only the names of its channels."""
    groups = _images(path)
    companion = path / "OME" / "METADATA.ome.xml"
    stated = read_ome_xml(companion, companion.read_text("utf-8")) if companion.is_file() else []
    if len(stated) == len(groups):
        return [image.acquisition() for image in stated]
    return [Acquisition(channels=known(_labels(path, group))) for group in groups]


def _labels(path: Path, group: Path) -> Iterator[ChannelFacts]:
    for channel in (_attributes(path, group).get("omero") or {}).get("channels", []):
        yield ChannelFacts(name=word(channel.get("label")))


@dataclass(frozen=True)
class StoreAxis:
    """What a store says of an axis: unit, and scale in that unit at full resolution; None where it says none."""

    unit: str | None
    scale: float | None


def store_axes(path: Path, scene: int = 0) -> dict[str, StoreAxis]:
    """Return what a store says of each of its axes.

    Parameters
    ----------
    path
        OME-Zarr store of version 0.4 or 0.5; only its JSON is read.
    scene
        Which image of the store, from 0.

    Raises
    ------
    InputError
        If it is no store with a multiscale image.
    """
    with _odd_store(path):
        multiscale = _scene(path, scene)
        axes = _axes(path, multiscale)
        scale = _full_scale(multiscale, list(axes))
        units = {name: None if axis.get("unit") is None else str(axis["unit"]) for name, axis in axes.items()}
        return {name: StoreAxis(units[name], scale.get(name)) for name in axes}


def _full_scale(multiscale: dict[str, Any], names: list[str]) -> dict[str, float]:
    found: dict[str, float] = {}
    for owner in (multiscale["datasets"][0], multiscale):
        for transform in owner.get("coordinateTransformations") or ():
            if transform.get("type") == "scale" and len(transform.get("scale") or ()) == len(names):
                scale = zip(names, transform["scale"], strict=True)
                found.update({name: found.get(name, 1.0) * float(factor) for name, factor in scale})
    return {name: round_off(factor) for name, factor in found.items() if math.isfinite(factor)}


def unit_problem(axis: str, unit: str | None) -> str | None:
    """Say what is wrong with the unit of an axis; None when it is one that OME-Zarr allows.

    Axes of space (x, y, z) and time (t) need a unit, since OME-Zarr has no default; others may have any.
    """
    name = axis.lower()
    if name not in ("t", "time", "x", "y", "z"):
        return None
    is_time = name[0] == "t"
    if unit in (_DURATIONS if is_time else _LENGTHS):
        return None
    kind, example = ("time", "second") if is_time else ("length", "micrometer")
    found = f"the unit {unit!r}" if unit else "no unit"
    return f"the {axis} axis has {found}; expected a unit of {kind} such as {example}"


@contextmanager
def _odd_store(path: Path) -> Iterator[None]:
    """Whatever is not where OME-Zarr has it becomes our error."""
    try:
        yield
    except SnakescopeError:
        raise
    except (AttributeError, IndexError, KeyError, OSError, RecursionError, TypeError, ValueError) as error:
        found = f"has OME-Zarr metadata that cannot be read ({type(error).__name__}: {error})"
        raise problem(path, found, _WRITE_AGAIN) from error


def _scene(path: Path, scene: int) -> dict[str, Any]:
    if not path.is_dir():
        found = "is a file; expected the folder of an OME-Zarr store" if path.exists() else "does not exist"
        raise problem(path, found, "Give the path of the store itself.")
    groups = _images(path)
    if not 0 <= scene < len(groups):
        raise problem(path, f"has no scene {scene}; it has {len(groups)}, counted from 0", "Give one of these.")
    return _multiscale(path, groups[scene])


def _axes(path: Path, multiscale: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what is said of each axis by its name; versions before 0.4 say the name alone, or nothing."""
    axes = multiscale.get("axes", AXES)
    if not axes:
        raise problem(path, "names no axes in its multiscales metadata", _WRITE_AGAIN)
    return dict((str(axis["name"]), axis) if isinstance(axis, dict) else (str(axis), {}) for axis in axes)


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
