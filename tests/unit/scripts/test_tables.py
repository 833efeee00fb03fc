"""The points and tracks tables that tools hand to each other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from snakescope.errors import InputError
from tables import (
    POINT_COLUMNS,
    TRACK_COLUMNS,
    empty_points,
    parent_ids,
    read_points,
    read_tracks,
    write_points,
    write_tracks,
)

HEADER = "spot_id,frame,t_s,z_um,y_um,x_um,z_px,y_px,x_px,radius_um,quality,intensity"
TRACK_HEADER = "tree_id,track_id,parent_track_ids,spot_id,frame,t_s,z_um,y_um,x_um,radius_um,quality,intensity"


def text_file(folder: Path, *lines: str) -> Path:
    path = folder / "table.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_points_come_back_as_they_were(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    table = pd.DataFrame({name: rng.uniform(0, 1e5, 50) for name in POINT_COLUMNS})
    table["spot_id"], table["frame"] = np.arange(50), np.repeat(np.arange(5), 10)
    write_points(tmp_path / "points.csv", table)
    found = read_points(tmp_path / "points.csv")
    assert list(found.columns) == list(POINT_COLUMNS)
    np.testing.assert_allclose(found.to_numpy(float), table.to_numpy(float), rtol=1e-9)


def test_the_file_is_the_contract_to_the_byte(tmp_path: Path) -> None:
    table = pd.DataFrame({"spot_id": [0], "frame": [2], "y_um": [0.1], "x_um": [1 / 3], "quality": [np.nan]})
    write_points(tmp_path / "points.csv", table)
    expected = f"{HEADER}\n0,2,,,0.1,0.3333333333,,,,,,\n"
    assert (tmp_path / "points.csv").read_bytes() == expected.encode()


def test_unknown_cells_are_nan_and_columns_keep_their_types(tmp_path: Path) -> None:
    table = read_points(text_file(tmp_path, HEADER, "7,0,,,1.5,2.5,,3,5,,,"))
    assert table.loc[0, "spot_id"] == 7
    assert table["frame"].dtype == np.int64
    assert np.isnan(table.loc[0, ["t_s", "z_um", "quality"]].to_numpy(float)).all()


def test_tables_without_rows_have_a_header_and_types(tmp_path: Path) -> None:
    write_points(tmp_path / "points.csv", empty_points())
    (tmp_path / "none.csv").write_text(TRACK_HEADER + "\n")
    write_tracks(tmp_path / "tracks.csv", read_tracks(tmp_path / "none.csv"))
    assert (tmp_path / "points.csv").read_text() == HEADER + "\n"
    assert (tmp_path / "tracks.csv").read_text() == TRACK_HEADER + "\n"
    assert len(read_points(tmp_path / "points.csv")) == 0
    assert read_tracks(tmp_path / "tracks.csv")["track_id"].dtype == np.int64


def test_tracks_are_ordered_by_track_then_frame_and_keep_their_parents(tmp_path: Path) -> None:
    rows = {"tree_id": 0, "track_id": [2, 0, 1, 0], "parent_track_ids": ["0;1", "", "", ""]}
    table = pd.DataFrame(rows | {"spot_id": range(4), "frame": [2, 1, 0, 0], "y_um": 1.0, "x_um": 2.0})
    write_tracks(tmp_path / "tracks.csv", table)
    found = read_tracks(tmp_path / "tracks.csv")
    assert list(found.columns) == list(TRACK_COLUMNS)
    assert found["spot_id"].tolist() == [3, 1, 2, 0]
    assert [parent_ids(text) for text in found["parent_track_ids"]] == [(), (), (), (0, 1)]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("0,-1,,,1,2,,,,,,", "line 2: frame: found '-1'; expected a whole number from 0"),
        ("0.5,1,,,1,2,,,,,,", "line 2: spot_id: found '0.5'"),
        (",1,,,1,2,,,,,,", "line 2: spot_id: found ''"),
        ("0,1,,,one,2,,,,,,", "line 2: y_um: found 'one'; expected a number, or nothing"),
        ("0,1,,,inf,2,,,,,,", "line 2: y_um: found 'inf'"),
        ("0,1,,,1,,,,,,,", "line 2: x_um: the cell is empty; expected a position"),
    ],
)
def test_a_bad_cell_is_named_with_its_line(tmp_path: Path, row: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        read_points(text_file(tmp_path, HEADER, row))
    assert message in str(error.value)


def test_all_bad_columns_are_reported_at_once(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        read_points(text_file(tmp_path, HEADER, "a,b,,,1,c,,,,,,", "d,0,,,1,0,,,,,,"))
    assert len(error.value.problems) == 3
    assert "found 'a'; expected a whole number from 0 (and 1 more lines)" in str(error.value)


def test_missing_columns_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"lacks the columns spot_id, t_s.*found frame, y_um, x_um"):
        read_points(text_file(tmp_path, "frame,y_um,x_um", "0,1,2"))


def test_spots_with_the_same_id_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="spot_id: 4 comes more than once"):
        read_points(text_file(tmp_path, HEADER, "4,0,,,1,2,,,,,,", "4,1,,,1,2,,,,,,"))


def test_a_mixture_of_2d_and_3d_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="z_um: empty in 1 of 2 rows"):
        read_points(text_file(tmp_path, HEADER, "0,0,,,1,2,,,,,,", "1,1,,3,1,2,,,,,,"))


@pytest.mark.parametrize("parents", ["9", "x", "0;9"])
def test_an_unknown_parent_is_rejected(tmp_path: Path, parents: str) -> None:
    with pytest.raises(InputError, match=f"parent_track_ids: found '{parents}'"):
        read_tracks(text_file(tmp_path, TRACK_HEADER, f"0,0,{parents},0,0,,,1,2,,,"))


def test_a_missing_or_empty_file_is_a_plain_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_points(tmp_path / "none.csv")
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(InputError, match="not a CSV table"):
        read_points(tmp_path / "empty.csv")
