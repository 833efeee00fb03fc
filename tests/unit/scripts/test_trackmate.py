"""TrackMate's XML, read and written."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from snakescope.errors import InputError
from tables import TRACK_COLUMNS
from trackmate import Geometry, read_trackmate, write_trackmate

SPOT = '<Spot ID="{id}" name="s" QUALITY="2.5" POSITION_T="{t}" POSITION_X="4.0" POSITION_Y="6.0" POSITION_Z="9.0" '
SPOT += 'FRAME="{t}" RADIUS="2.0" VISIBILITY="{seen}" MEAN_INTENSITY="77" />'


def session(folder: Path, *, units: str = "micron", time: str = "sec", planes: int = 4, body: str = "") -> Path:
    """A file of three spots (the third hidden), a shown link 1-2 written backwards, and a filtered-out track."""
    spots = "".join(SPOT.format(id=number, t=t, seen=seen) for number, t, seen in ((1, 0, 1), (2, 1, 1), (3, 2, 0)))
    path = folder / "session.xml"
    path.write_text(
        f'<TrackMate version="7.11.1"><Model spatialunits="{units}" timeunits="{time}">'
        f'<AllSpots nspots="3"><SpotsInFrame frame="0">{body or spots}</SpotsInFrame></AllSpots><AllTracks>'
        '<Track TRACK_ID="5"><Edge SPOT_SOURCE_ID="2" SPOT_TARGET_ID="1" /></Track>'
        '<Track TRACK_ID="6"><Edge SPOT_SOURCE_ID="1" SPOT_TARGET_ID="3" /></Track>'
        '</AllTracks><FilteredTracks><TrackID TRACK_ID="5" /></FilteredTracks></Model>'
        f'<Settings><ImageData nslices="{planes}" pixelwidth="2.0" pixelheight="2.0" voxeldepth="3.0" /></Settings>'
        "</TrackMate>"
    )
    return path


def family() -> tuple[pd.DataFrame, np.ndarray]:
    """A track that divides, one of its daughters over a gap, and a lone spot; 3D."""
    frame = [0, 1, 2, 3, 3]
    rows = {"tree_id": [0, 0, 0, 0, 1], "track_id": [0, 0, 1, 2, 3], "spot_id": [10, 11, 12, 13, 99], "frame": frame}
    places = {"z_um": 1.0, "y_um": [1.0, 2.0, 3.0, 1 / 3, 5.0], "x_um": 7.5, "t_s": np.array(frame) * 0.5}
    other = {"parent_track_ids": ["", "", "0", "0", ""], "radius_um": 0.5, "quality": [1.0, 2, 3, 4, np.nan]}
    table = pd.DataFrame(rows | places | other).reindex(columns=list(TRACK_COLUMNS))
    return table, np.array([[10, 11], [11, 12], [11, 13]])


def test_a_written_file_reads_back_the_same(tmp_path: Path) -> None:
    table, edges = family()
    write_trackmate(tmp_path / "t.xml", table, edges, Geometry((1.0, 0.5, 0.5), 0.5))
    found = read_trackmate(tmp_path / "t.xml")
    assert found.spots["spot_id"].tolist() == [10, 11, 12, 13, 99]
    for name in ("frame", "t_s", "z_um", "y_um", "x_um", "radius_um"):
        assert found.spots[name].tolist() == table[name].tolist()
    assert found.spots["quality"].tolist() == [1, 2, 3, 4, -1]  # TrackMate's own word for no quality
    assert found.edges.tolist() == edges.tolist()


def test_the_file_says_what_trackmate_asks_for(tmp_path: Path) -> None:
    table, edges = family()
    write_trackmate(tmp_path / "t.xml", table, edges, Geometry((1.0, 0.5, 0.25), 0.5))
    root = ElementTree.parse(tmp_path / "t.xml").getroot()
    assert root.attrib["version"].startswith("7.")
    model = root.find("Model")
    assert model is not None
    assert model.attrib == {"spatialunits": "micron", "timeunits": "sec"}
    assert [item.get("TRACK_ID") for item in model.iterfind("FilteredTracks/TrackID")] == ["0"]
    track = model.find("AllTracks/Track")
    assert track is not None
    counted = ("NUMBER_SPOTS", "NUMBER_GAPS", "NUMBER_SPLITS", "NUMBER_MERGES")
    assert [track.get(name) for name in counted] == ["4", "1", "1", "0"]
    image = root.find("Settings/ImageData")
    assert image is not None
    names = ("pixelwidth", "pixelheight", "voxeldepth", "timeinterval", "nframes", "height", "width")
    assert [float(image.attrib[name]) for name in names] == [0.25, 0.5, 1, 0.5, 4, 11, 31]


def test_every_feature_written_is_declared(tmp_path: Path) -> None:
    table, edges = family()
    write_trackmate(tmp_path / "t.xml", table, edges, Geometry())
    root = ElementTree.parse(tmp_path / "t.xml").getroot()
    declared = {item.get("feature") for item in root.iter("Feature")}
    written = {name for tag in ("Spot", "Edge", "Track") for item in root.iter(tag) for name in item.attrib}
    assert written - declared == {"ID", "name"}


@pytest.mark.filterwarnings("ignore::UserWarning")  # it knows no "micron", and looks for the image
def test_geffs_own_reader_understands_the_file(tmp_path: Path) -> None:
    """An independent reader of TrackMate files."""
    from geff.convert._trackmate_xml import from_trackmate_xml_to_geff
    from geff.core_io import read_to_memory

    table, edges = family()
    write_trackmate(tmp_path / "t.xml", table, edges, Geometry((1.0, 0.5, 0.5), 0.5))
    from_trackmate_xml_to_geff(tmp_path / "t.xml", tmp_path / "t.geff")
    found = read_to_memory(tmp_path / "t.geff")
    assert sorted(found["node_ids"].tolist()) == [10, 11, 12, 13, 99]
    assert sorted(map(tuple, found["edge_ids"].tolist())) == [(10, 11), (11, 12), (11, 13)]


def test_nothing_is_a_valid_file_too(tmp_path: Path) -> None:
    table, edges = family()
    write_trackmate(tmp_path / "t.xml", table[:0], edges[:0], Geometry())
    found = read_trackmate(tmp_path / "t.xml")
    assert len(found.spots) == 0
    assert found.edges.shape == (0, 2)


def test_hidden_spots_and_filtered_tracks_are_left_out_and_links_run_forward(tmp_path: Path) -> None:
    found = read_trackmate(session(tmp_path))
    assert found.spots["spot_id"].tolist() == [1, 2]
    assert found.edges.tolist() == [[1, 2]]
    assert found.spots["intensity"].tolist() == [77, 77]


@pytest.mark.parametrize(("unit", "factor"), [("micron", 1.0), ("µm", 1.0), ("nm", 1e-3), ("mm", 1e3)])
def test_lengths_become_micrometres(tmp_path: Path, unit: str, factor: float) -> None:
    spot = read_trackmate(session(tmp_path, units=unit)).spots.iloc[0]
    assert spot[["z_um", "y_um", "x_um", "radius_um"]].tolist() == pytest.approx([v * factor for v in (9, 6, 4, 2)])


@pytest.mark.parametrize(("unit", "second"), [("sec", 1.0), ("min", 60.0), ("msec", 1e-3), ("frame", np.nan)])
def test_times_become_seconds_or_unknown(tmp_path: Path, unit: str, second: float) -> None:
    assert read_trackmate(session(tmp_path, time=unit)).spots["t_s"].iloc[1] == pytest.approx(second, nan_ok=True)


def test_a_file_in_pixels_takes_the_voxel_size_and_its_own_scale(tmp_path: Path) -> None:
    spot = read_trackmate(session(tmp_path, units="pixel"), (0.6, 0.2, 0.1)).spots.iloc[0]
    assert spot[["z_um", "y_um", "x_um"]].tolist() == pytest.approx([1.8, 0.6, 0.2])


def test_a_file_in_pixels_without_a_voxel_size_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"spatialunits: found pixels and no pixel size(.|\n)*voxel_size_um"):
        read_trackmate(session(tmp_path, units="pixel"))


def test_a_stack_in_pixels_needs_the_voxel_size_along_z(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="found 4 planes and no voxel size along z"):
        read_trackmate(session(tmp_path, units="pixel"), (np.nan, 0.2, 0.1))
    flat = read_trackmate(session(tmp_path, units="pixel", planes=1), (np.nan, 0.2, 0.1)).spots
    assert flat[["y_um", "x_um"]].iloc[0].tolist() == pytest.approx([0.6, 0.2])


def test_an_image_of_one_plane_has_no_z(tmp_path: Path) -> None:
    assert read_trackmate(session(tmp_path, planes=1)).spots["z_um"].isna().all()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("<Tracks nTracks='2'></Tracks>", "found the element <Tracks>; expected <TrackMate>"),
        ("no xml", "not an XML file"),
    ],
)
def test_other_files_are_rejected(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "other.xml").write_text(content)
    with pytest.raises(InputError, match=re.escape(message)):
        read_trackmate(tmp_path / "other.xml")


def test_a_spot_without_a_position_is_named(tmp_path: Path) -> None:
    broken = SPOT.format(id=42, t=0, seen=1).replace('POSITION_X="4.0" ', "")
    with pytest.raises(InputError, match="spot 42: lacks a finite POSITION_X"):
        read_trackmate(session(tmp_path, body=broken))


def test_a_real_file_is_read_whole(shared_data: Path) -> None:
    found = read_trackmate(shared_data / "faketracks_trackmate/FakeTracks_example1.xml", (1, 1, 1))
    assert (len(found.spots), len(found.edges)) == (243, 230)
    assert found.spots["frame"].max() == 49
    assert found.spots["z_um"].isna().all()
