"""Read and write TrackMate's XML files: spots, the links between them, and the geometry they live in.

Lengths are micrometres and times seconds on this side. The layout is that of TrackMate 7 (Ershov et al. 2022,
doi:10.1038/s41592-022-01507-1); files since version 2 read the same. This module knows nothing about how
spots are found or linked.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, cast
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import NDArray

from snakescope.errors import problem
from tables import POINT_COLUMNS

if TYPE_CHECKING:
    import pandas as pd

_MICROMETRES = {
    **dict.fromkeys(("micron", "microns", "micrometer", "micrometre", "um", "µm", "μm", r"\u00b5m"), 1.0),
    **dict.fromkeys(("nm", "nanometer", "nanometre"), 1e-3),
    **dict.fromkeys(("mm", "millimeter", "millimetre"), 1e3),
}
_SECONDS = {
    **dict.fromkeys(("sec", "s", "second", "seconds"), 1.0),
    **dict.fromkeys(("ms", "msec", "millisecond"), 1e-3),
    **dict.fromkeys(("min", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hour", "hours"), 3600.0),
}


@dataclass(frozen=True)
class Geometry:
    """What TrackMate wants to know about the image: voxel size and time step, None where unknown."""

    voxel_size_um: tuple[float | None, float, float] | None = None
    time_step_s: float | None = None


@dataclass(frozen=True)
class TrackMateFile:
    """The content of a TrackMate file.

    Parameters
    ----------
    spots
        The visible spots as a points table (see `tables.read_points`), ordered by frame, then id; `z_um` is
        empty when the image has one plane, the `_px` columns are, as the file does not give them.
    edges
        Pairs of spot ids (earlier, later) of the tracks that passed the file's filters, shape (edges, 2).
    """

    spots: pd.DataFrame
    edges: NDArray[np.int64]


def read_trackmate(path: Path, voxel_size_um: tuple[float, float, float] | None = None) -> TrackMateFile:
    """Read a TrackMate file.

    Parameters
    ----------
    voxel_size_um
        z, y, x (z is NaN in 2D), for a file whose spatial unit is the pixel, which cannot be read without it; a
        file in a unit of length is taken at its word.

    Raises
    ------
    InputError
        If the file is not TrackMate XML, a spot lacks its position or id, or the unit is unknown.
    """
    model, image = _parse(path)
    lengths = _lengths(path, model.get("spatialunits", "pixel"), image, voxel_size_um)
    planes = int(image["nslices"]) if "nslices" in image else None
    spots = _spots(path, model, lengths, _SECONDS.get(model.get("timeunits", "").lower()), planes)
    order = {spot: row for row, spot in enumerate(spots["spot_id"].tolist())}
    edges = sorted(
        {_directed(path, edge, order) for edge in _shown_edges(model)},
        key=lambda pair: (order[pair[0]], order[pair[1]]),
    )
    return TrackMateFile(spots, np.array(edges, np.int64).reshape(-1, 2))


def _parse(path: Path) -> tuple[ElementTree.Element, dict[str, str]]:
    """Return the file's Model element and what it says of the image (empty where it says nothing)."""
    try:
        root = ElementTree.parse(path).getroot()  # noqa: S314 (expat limits entity expansion itself)
    except FileNotFoundError:
        raise problem(path, "the file does not exist") from None
    except ElementTree.ParseError as error:
        raise problem(path, f"not an XML file: {error}") from error
    model = root.find("Model")
    if root.tag != "TrackMate" or model is None:
        raise problem(
            path,
            f"found the element <{root.tag}>; expected <TrackMate> with a <Model>",
            "Save the whole TrackMate session ('Save' in TrackMate), not an export of its tracks.",
        )
    image = root.find("Settings/ImageData")
    return model, {} if image is None else dict(image.attrib)


def _lengths(
    path: Path, unit: str, image: dict[str, str], voxel_size_um: tuple[float, float, float] | None
) -> tuple[float, ...]:
    """Return what the file's positions along z, y, x are to be multiplied with to be micrometres."""
    if unit.lower() in _MICROMETRES:
        return (_MICROMETRES[unit.lower()],) * 3
    if unit.lower() not in ("pixel", "pixels", "px", ""):
        raise problem(f"{path}: Model.spatialunits", f"found {unit!r}; expected micron, nm, mm or pixel")
    if voxel_size_um is None:
        raise problem(
            f"{path}: Model.spatialunits",
            "found pixels and no pixel size; expected micrometres",
            "Give the voxel size (voxel_size_um in the sheet, or --voxel-size-um Z,Y,X).",
        )
    if np.isnan(voxel_size_um[0]) and image.get("nslices", "1") != "1":
        raise problem(
            f"{path}: Settings.ImageData.nslices",
            f"found {image['nslices']} planes and no voxel size along z",
            "Give the voxel size as z,y,x.",
        )
    written = [float(image.get(name, "1")) for name in ("voxeldepth", "pixelheight", "pixelwidth")]
    return tuple(size / step for size, step in zip(voxel_size_um, written, strict=True))


def _spots(
    path: Path,
    model: ElementTree.Element,
    lengths: tuple[float, ...],
    second: float | None,
    planes: int | None,
) -> pd.DataFrame:
    import pandas as pd

    shown = [spot for spot in model.iterfind("AllSpots/SpotsInFrame/Spot") if spot.get("VISIBILITY") != "0"]
    columns = {
        "spot_id": _numbers(path, shown, "ID", needed=True).astype(np.int64),
        "frame": _numbers(path, shown, "FRAME", needed=True).astype(np.int64),
        "t_s": _numbers(path, shown, "POSITION_T") * (second or np.nan),
        "radius_um": _numbers(path, shown, "RADIUS") * lengths[2],
        "quality": _numbers(path, shown, "QUALITY"),
        "intensity": _numbers(path, shown, "MEAN_INTENSITY_CH1", "MEAN_INTENSITY"),
    }
    for axis, length in zip("zyx", lengths, strict=True):
        columns[f"{axis}_um"] = _numbers(path, shown, f"POSITION_{axis.upper()}", needed=True) * length
    if planes == 1 or (planes is None and not columns["z_um"].any()):
        columns["z_um"] = np.full(len(shown), np.nan)
    table = pd.DataFrame(columns).reindex(columns=list(POINT_COLUMNS))
    table[["z_px", "y_px", "x_px"]] = np.nan
    return table.sort_values(["frame", "spot_id"], ignore_index=True)


def _numbers(path: Path, spots: list[ElementTree.Element], *names: str, needed: bool = False) -> NDArray[np.float64]:
    """Return the first of the attributes `names` that a spot has, as numbers; NaN where it has none."""
    texts = [next((text for name in names if (text := spot.get(name)) is not None), "nan") for spot in spots]
    try:
        values = np.array(texts, dtype=np.float64)
    except ValueError as error:
        raise problem(f"{path}: Spot.{names[0]}", f"not a number: {error}") from error
    if needed and not np.isfinite(values).all():
        spot = spots[int(np.flatnonzero(~np.isfinite(values))[0])]
        raise problem(f"{path}: spot {spot.get('ID', '?')}", f"lacks a finite {names[0]}")
    return values


def _shown_edges(model: ElementTree.Element) -> Iterator[ElementTree.Element]:
    """Yield the edges of the tracks that passed the filters (of all tracks when the file does not say)."""
    filtered = model.find("FilteredTracks")
    passed = None if filtered is None else {item.get("TRACK_ID") for item in filtered}
    for track in model.iterfind("AllTracks/Track"):
        if passed is None or track.get("TRACK_ID") in passed:
            yield from track.iterfind("Edge")


def _directed(path: Path, edge: ElementTree.Element, order: dict[int, int]) -> tuple[int, int]:
    """Return an edge's spot ids, the earlier first; TrackMate writes them in either order."""
    ends = (edge.get("SPOT_SOURCE_ID", ""), edge.get("SPOT_TARGET_ID", ""))
    try:
        one, two = sorted((int(end) for end in ends), key=order.__getitem__)
    except (ValueError, KeyError):
        raise problem(f"{path}: Edge {ends[0]} -> {ends[1]}", "names a spot that the file lacks or hides") from None
    return one, two


def write_trackmate(path: Path, tracks: pd.DataFrame, edges: NDArray[np.int64], geometry: Geometry) -> None:
    """Write a TrackMate 7 file.

    Parameters
    ----------
    tracks
        A tracks table (see `tables.read_tracks`). Each tree becomes a TrackMate track; spots without an edge
        are in the file but in no track, as in TrackMate.
    edges
        Pairs of spot ids (earlier, later), shape (edges, 2).
    geometry
        Of the image. TrackMate cannot do without numbers: an unknown voxel size becomes 1, an unknown time
        step 1 frame; positions are in micrometres all the same.
    """
    from snakescope import __version__

    frames = tracks.sort_values(["frame", "spot_id"], kind="stable", ignore_index=True)
    seconds = bool(len(frames)) and bool(frames["t_s"].notna().all())
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write('<?xml version="1.0" encoding="UTF-8"?>\n<TrackMate version="7.11.1">\n')
        file.write(f"  <Log>Tracks written by snakescope {__version__}.</Log>\n")
        file.write(f'  <Model spatialunits="micron" timeunits="{"sec" if seconds else "frame"}">\n')
        file.writelines(f"{line}\n" for line in _FEATURES)
        file.writelines(f"{line}\n" for line in _spot_lines(frames, seconds))
        file.writelines(f"{line}\n" for line in _track_lines(frames, edges, seconds))
        file.write("  </Model>\n")
        file.writelines(f"{line}\n" for line in _settings_lines(frames, geometry))
        file.write("</TrackMate>\n")


def _element(indent: int, tag: str, attributes: dict[str, object], *, closed: bool = True) -> str:
    text = " ".join(f"{name}={quoteattr(_text(value))}" for name, value in attributes.items())
    return f"{' ' * indent}<{tag} {text}{' />' if closed else '>'}"


def _text(value: object) -> str:
    return repr(float(value)) if isinstance(value, float) else str(value)


def _features() -> Iterator[str]:
    """Yield the declarations of the features that `_spot_lines` and `_track_lines` write."""
    declared = {
        "SpotFeatures": [
            ("QUALITY", "Quality", "QUALITY", False),
            ("POSITION_X", "X", "POSITION", False),
            ("POSITION_Y", "Y", "POSITION", False),
            ("POSITION_Z", "Z", "POSITION", False),
            ("POSITION_T", "T", "TIME", False),
            ("FRAME", "Frame", "NONE", True),
            ("RADIUS", "Radius", "LENGTH", False),
            ("VISIBILITY", "Visibility", "NONE", True),
            ("MEAN_INTENSITY_CH1", "Mean intensity ch1", "INTENSITY", False),
        ],
        "EdgeFeatures": [
            ("SPOT_SOURCE_ID", "Source spot ID", "NONE", True),
            ("SPOT_TARGET_ID", "Target spot ID", "NONE", True),
            ("LINK_COST", "Edge cost", "COST", False),
            ("EDGE_TIME", "Edge time", "TIME", False),
        ],
        "TrackFeatures": [
            ("TRACK_ID", "Track ID", "NONE", True),
            ("TRACK_INDEX", "Track index", "NONE", True),
            ("NUMBER_SPOTS", "Number of spots in track", "NONE", True),
            ("NUMBER_GAPS", "Number of gaps", "NONE", True),
            ("NUMBER_SPLITS", "Number of split events", "NONE", True),
            ("NUMBER_MERGES", "Number of merge events", "NONE", True),
        ],
    }
    yield "    <FeatureDeclarations>"
    for group, features in declared.items():
        yield f"      <{group}>"
        for key, name, dimension, whole in features:
            attributes = {"feature": key, "name": name, "shortname": name, "dimension": dimension}
            yield _element(8, "Feature", {**attributes, "isint": str(whole).lower()})
        yield f"      </{group}>"
    yield "    </FeatureDeclarations>"


_FEATURES = tuple(_features())


def _spot_lines(frames: pd.DataFrame, seconds: bool) -> Iterator[str]:
    optional = {"QUALITY": "quality", "RADIUS": "radius_um", "MEAN_INTENSITY_CH1": "intensity"}
    yield _element(4, "AllSpots", {"nspots": len(frames)}, closed=False)
    rows = cast("list[dict[str, float]]", frames.drop(columns="parent_track_ids").to_dict("records"))
    for frame, spots in groupby(rows, key=lambda row: int(row["frame"])):
        yield _element(6, "SpotsInFrame", {"frame": frame}, closed=False)
        for spot in spots:
            number = int(spot["spot_id"])
            attributes: dict[str, object] = {"ID": number, "name": f"ID{number}"}
            attributes |= {key: float(spot[name]) for key, name in optional.items() if not np.isnan(spot[name])}
            attributes.setdefault("QUALITY", -1.0)
            attributes.setdefault("RADIUS", 1.0)
            attributes["POSITION_T"] = float(spot["t_s"]) if seconds else float(frame)
            for axis in "xyz":
                place = float(spot[f"{axis}_um"])
                attributes[f"POSITION_{axis.upper()}"] = 0.0 if np.isnan(place) else place
            yield _element(8, "Spot", {**attributes, "FRAME": frame, "VISIBILITY": 1})
        yield "      </SpotsInFrame>"
    yield "    </AllSpots>"


def _track_lines(frames: pd.DataFrame, edges: NDArray[np.int64], seconds: bool) -> Iterator[str]:
    row = {spot: index for index, spot in enumerate(frames["spot_id"].tolist())}
    ends = np.array([[row[one], row[two]] for one, two in edges.tolist()], np.intp).reshape(-1, 2)
    places = np.nan_to_num(frames[["z_um", "y_um", "x_um"]].to_numpy(float))
    cost = ((places[ends[:, 0]] - places[ends[:, 1]]) ** 2).sum(axis=1)
    frame = frames["frame"].to_numpy()
    times = (frames["t_s"] if seconds else frames["frame"]).to_numpy(float)[ends].mean(axis=1)
    owner = frames["tree_id"].to_numpy()[ends[:, 0]]
    order = np.argsort(owner, kind="stable")
    shown, first = np.unique(owner[order], return_index=True)
    yield "    <AllTracks>"
    for index, mine in enumerate(np.split(order, first[1:]) if len(order) else []):
        yield _element(6, "Track", _track_features(index, int(shown[index]), ends[mine], frame), closed=False)
        for edge in mine.tolist():
            ids = {"SPOT_SOURCE_ID": int(edges[edge, 0]), "SPOT_TARGET_ID": int(edges[edge, 1])}
            numbers = {"LINK_COST": float(cost[edge]), "EDGE_TIME": float(times[edge])}
            yield _element(8, "Edge", {**ids, **numbers})
        yield "      </Track>"
    yield "    </AllTracks>"
    yield "    <FilteredTracks>"
    yield from (_element(6, "TrackID", {"TRACK_ID": tree}) for tree in shown.tolist())
    yield "    </FilteredTracks>"


def _track_features(index: int, tree: int, ends: NDArray[np.intp], frame: NDArray[np.int64]) -> dict[str, object]:
    """Count a track's spots and events; a gap is a link over more than one frame, as in TrackMate."""
    spots, out_degree = np.unique(ends[:, 0], return_counts=True)
    targets, in_degree = np.unique(ends[:, 1], return_counts=True)
    return {
        "name": f"Track_{tree}",
        "TRACK_ID": tree,
        "TRACK_INDEX": index,
        "NUMBER_SPOTS": len(np.union1d(spots, targets)),
        "NUMBER_GAPS": int((np.diff(frame[ends], axis=1) > 1).sum()),
        "NUMBER_SPLITS": int((out_degree > 1).sum()),
        "NUMBER_MERGES": int((in_degree > 1).sum()),
    }


def _settings_lines(frames: pd.DataFrame, geometry: Geometry) -> Iterator[str]:
    """Yield the sections without which TrackMate does not open a file."""
    depth, height, width = (1.0 if size is None else size for size in geometry.voxel_size_um or (None,) * 3)
    reach = np.nan_to_num(frames[["z_um", "y_um", "x_um"]].max().to_numpy(float)) / [depth, height, width]
    planes, rows, columns = (int(last + 0.5) + 1 for last in reach)
    if frames["z_um"].notna().any():
        planes = max(planes, 2)  # one plane would say that z means nothing
    times = int(frames["frame"].max()) + 1 if len(frames) else 1
    image = {"filename": "", "folder": "", "width": columns, "height": rows, "nslices": planes}
    scale = {"pixelwidth": width, "pixelheight": height, "voxeldepth": depth}
    limits = {"x": columns, "y": rows, "z": planes, "t": times}
    span = {f"{axis}{end}": last * (n - 1) for axis, n in limits.items() for end, last in _ENDS}
    yield "  <Settings>"
    yield _element(4, "ImageData", image | {"nframes": times} | scale | _interval(geometry))
    yield _element(4, "BasicSettings", dict(span))
    yield _element(4, "DetectorSettings", {"DETECTOR_NAME": "MANUAL_DETECTOR", "RADIUS": 1.0})
    yield _element(4, "InitialSpotFilter", {"feature": "QUALITY", "value": -1.0, "isabove": "true"})
    yield "    <SpotFilterCollection />"
    yield _element(4, "TrackerSettings", {"TRACKER_NAME": "MANUAL_TRACKER"})
    yield "    <TrackFilterCollection />"
    yield "    <AnalyzerCollection>"
    yield from (f"      <{kind}Analyzers />" for kind in ("Spot", "Edge", "Track"))
    yield "    </AnalyzerCollection>"
    yield "  </Settings>"
    yield '  <GUIState state="ConfigureViews" />'


_ENDS = (("start", 0), ("end", 1))


def _interval(geometry: Geometry) -> dict[str, object]:
    return {"timeinterval": 1.0 if geometry.time_step_s is None else float(geometry.time_step_s)}
