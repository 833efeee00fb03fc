"""Ids from paths: safe, unique, stable."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from snakescope.catalog.names import safe_id, shown, split_suffix, unique_ids
from snakescope.samples import check_id


def test_names_become_safe() -> None:
    cases = {
        "plate 1/well A1/img": "plate_1_well_A1_img",
        "Zürich 5µm": "Zurich_5um",
        "../../etc/passwd": "etc_passwd",
        "-rf $(x)": "rf_x",
        "a..b...c": "a.b.c",
        "日本": "",
        ".x._": "x",
        "{a}'\"`b": "a_b",
    }
    assert {text: safe_id(text) for text in cases} == cases


def test_ids_that_would_be_shared_get_a_digest_each() -> None:
    ids = unique_ids({"a b.tif": "a b", "a_b.tif": "a_b", "c.tif": "c", "C.tif": "C", "日本.tif": "日本", "d.tif": "d"})
    assert ids["d.tif"] == "d"
    assert ids["a b.tif"].startswith("a_b-")
    assert len({name.lower() for name in ids.values()}) == 6
    assert ids["日本.tif"].startswith("image-")
    # Another file beside them, or another order, changes none of them.
    again = unique_ids({"new.tif": "new", "C.tif": "C", "a_b.tif": "a_b", "c.tif": "c", "a b.tif": "a b"})
    assert again["a b.tif"] == ids["a b.tif"]
    assert again["C.tif"] == ids["C.tif"]


def test_taken_ids_are_left_alone() -> None:
    assert unique_ids({"x": "cell"}, taken=["CELL"])["x"].startswith("cell-")
    assert unique_ids({"x": "cell"}, taken=["other"])["x"] == "cell"


def test_long_names_are_cut_and_stay_apart() -> None:
    ids = unique_ids({"k1": "x" * 300 + "1", "k2": "x" * 300 + "2"})
    assert [len(name) for name in ids.values()] == [120, 120]
    assert ids["k1"] != ids["k2"]


def test_suffixes_are_known_in_any_capitals() -> None:
    assert split_suffix("a.b.OME.TIF") == ("a.b", ".OME.TIF")
    assert split_suffix("x.ome.zarr") == ("x", ".ome.zarr")
    assert split_suffix("x.txt") == ("x.txt", "")


def test_names_are_shown_without_control_characters() -> None:
    assert shown("a\tb\x1b[31m\udce4ü") == "a\\tb\\x1b[31m\\udce4ü"


@settings(deadline=None)
@given(st.lists(st.text(max_size=150), unique=True, max_size=8))
def test_any_names_give_valid_different_ids(names: list[str]) -> None:
    keys = [name for name in names if name.encode("utf-8", "ignore").decode() == name]
    ids = unique_ids({key: key for key in keys})
    assert len({check_id(name).lower() for name in ids.values()}) == len(keys)
