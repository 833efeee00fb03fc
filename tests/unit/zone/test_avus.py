"""AVUs: values that every server gives back, and changes that touch nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from irods import exception as failures

from irods_zone import Zone
from snakescope.zone.address import Address
from snakescope.zone.avus import (
    LIMIT_BYTES,
    Avu,
    Change,
    Kind,
    addition,
    annotate,
    difference,
    fit,
    fit_list,
    path_value,
    read_avus,
)
from snakescope.zone.query import wild
from snakescope.zone.session import Session, connect

TEXT = st.text(st.characters(min_codepoint=1, exclude_categories=()), max_size=200)


# ---------------------------------------------------------------------------- values


@given(TEXT, st.integers(10, 300))
def test_a_value_fits_and_can_be_read_back(text: str, limit: int) -> None:
    value = fit(text, limit)
    assert len(value.encode("utf-8")) <= limit
    assert not [c for c in value if ord(c) < 32 or 127 <= ord(c) < 160 or 0xD800 <= ord(c) < 0xE000]
    assert fit(value, limit) == value


@pytest.mark.parametrize("size", [LIMIT_BYTES - 1, LIMIT_BYTES, LIMIT_BYTES + 1])
def test_the_limit_is_counted_in_bytes(size: int) -> None:
    assert fit("a" * size) == ("a" * size if size <= LIMIT_BYTES else "a" * (LIMIT_BYTES - 3) + "...")
    assert len(fit("ü" * 2000).encode()) == LIMIT_BYTES - 1
    assert fit("ü" * 1350) == "ü" * 1350


def test_control_characters_become_blanks() -> None:
    assert fit("a\tb\r\nc\x07d\u2028e\x00") == "a b c d e"
    assert fit(" \x01 ") == ""


@given(st.lists(st.text("aü,; ", min_size=1, max_size=30), min_size=1, max_size=60), st.integers(60, 300))
def test_a_list_is_cut_between_its_parts(items: list[str], limit: int) -> None:
    value = fit_list(items, limit)
    assert len(value.encode()) <= limit
    whole = "; ".join(fit(item) for item in items)
    if value != whole:
        head, _, tail = value.rpartition("; ")
        assert tail == f"... ({len(items)} in all)"
        assert whole.startswith(head)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ('/z/it\'s 50% "q" ü {x}', '/z/it\'s 50% "q" ü {x}'),
        ("/z/a\tb", "irods:///z/a%09b"),
        ("/z/a\nü 50%", "irods:///z/a%0A%C3%BC%2050%25"),
        ("/z/ends in a blank ", "irods:///z/ends%20in%20a%20blank%20"),
        ("/z/a; b", "irods:///z/a%3B%20b"),
    ],
)
def test_a_path_as_a_value_can_be_told_from_every_other(path: str, value: str) -> None:
    assert path_value(path) == value == fit(value)
    assert path in (value, Address.parse(value).path if value.startswith("irods:") else value)


def test_even_one_part_that_is_too_long_leaves_the_number() -> None:
    value = fit_list(["x" * 500, "y"], 60)
    assert value.endswith("...; ... (2 in all)")
    assert len(value) == 60


# ---------------------------------------------------------------------------- changes


def test_only_wanted_names_change() -> None:
    have = [Avu("p.a", "1"), Avu("p.b", "2"), Avu("p.b", "3", "unit"), Avu("p.d", "4"), Avu("q", "5")]
    change = difference(have, {"p.a": "1", "p.b": "2", "p.c": "new", "p.d": None, "p.e": "\x07"})
    assert change == Change(add=(Avu("p.c", "new"),), remove=(Avu("p.b", "3", "unit"), Avu("p.d", "4")))
    after = (set(have) - set(change.remove)) | set(change.add)
    assert not difference(after, {"p.a": "1", "p.b": "2", "p.c": "new", "p.d": None})


def test_an_addition_keeps_other_values() -> None:
    assert addition([Avu("n", "1")], "n", "2") == Change(add=(Avu("n", "2"),))
    assert not addition([Avu("n", "1"), Avu("n", "2")], "n", "2")


@given(TEXT)
def test_a_pattern_has_nothing_that_servers_read_in_different_ways(text: str) -> None:
    assert not set("'\"`\\|&") & set(wild(text))
    assert len(wild(text)) == len(text)


# ---------------------------------------------------------------------------- on a zone


@pytest.fixture
def zone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Zone]:
    with Zone(tmp_path / "zone") as running:
        for name, value in running.environment().items():
            monkeypatch.setenv(name, value)
        yield running
    assert running.failures == []


@pytest.fixture
def session(zone: Zone) -> Iterator[Session]:
    with connect(Address.parse(f"irods://{zone.home}")) as opened:
        yield opened


CHANGE = Change(add=(Avu("p.new", "1"), Avu("p.unit", "2", "µm")), remove=(Avu("p.old", "void"),))
AFTER = [("p.new", "1", ""), ("p.unit", "2", "µm"), ("q", "foreign", "")]


@pytest.fixture(params=list(Kind), ids=lambda kind: kind.value)
def place(request: pytest.FixtureRequest, zone: Zone) -> tuple[str, Kind]:
    """An object and a collection with an AVU that is to go, and one of somebody else."""
    path = f"{zone.home}/it's 50%_ \\ ü"
    if request.param is Kind.OBJECT:
        zone.put(path, b"x")
    else:
        zone.make_collection(path)
    for name, value in (("p.old", "void"), ("q", "foreign")):
        zone.add_avu(path, name, value)
    return path, request.param


@pytest.mark.irods
def test_a_change_is_one_call(zone: Zone, session: Session, place: tuple[str, Kind]) -> None:
    zone.calls.clear()
    done = annotate(session, *place, CHANGE)
    assert [call.api for call in zone.calls] == [20002]
    assert (done.atomic, done.kept) == (True, ())
    assert zone.avus(place[0]) == AFTER


@pytest.mark.irods
def test_a_refused_change_is_made_one_by_one(zone: Zone, session: Session, place: tuple[str, Kind]) -> None:
    zone.faults.refuse_atomic()
    assert not annotate(session, *place, CHANGE).atomic
    assert zone.avus(place[0]) == AFTER
    assert not annotate(session, *place, CHANGE).atomic, "what is so already is no error"
    assert zone.avus(place[0]) == AFTER


@pytest.mark.irods
def test_no_change_is_no_call(zone: Zone, session: Session, place: tuple[str, Kind]) -> None:
    zone.calls.clear()
    annotate(session, *place, Change())
    assert zone.calls == []


@pytest.mark.irods
@pytest.mark.parametrize(("level", "kept"), [("create_metadata", 1), ("delete_metadata", 0)])
def test_what_may_not_be_removed_is_told(zone: Zone, monkeypatch: pytest.MonkeyPatch, level: str, kept: int) -> None:
    path = f"{zone.home}/image.tif"
    zone.put(path, b"x", [("p.old", "void", "")])
    zone.make_user("ann", "ann")
    zone.grant(zone.home, "ann", "read")
    zone.grant(path, "ann", level)
    for name, value in zone.environment("ann").items():
        monkeypatch.setenv(name, value)
    with connect(Address.parse(f"irods://{zone.home}")) as ann:
        done = annotate(ann, path, Kind.OBJECT, CHANGE)
    assert done.kept == (Avu("p.old", "void"),) * kept
    assert ("p.new", "1", "") in zone.avus(path)


@pytest.mark.irods
def test_without_permission_nothing_changes(zone: Zone, monkeypatch: pytest.MonkeyPatch) -> None:
    path = f"{zone.home}/image.tif"
    zone.put(path, b"x", [("p.old", "void", "")])
    zone.make_user("ann", "ann")
    zone.grant(zone.home, "ann", "read")
    zone.grant(path, "ann", "read")
    for name, value in zone.environment("ann").items():
        monkeypatch.setenv(name, value)
    with connect(Address.parse(f"irods://{zone.home}")) as ann, pytest.raises(failures.CAT_NO_ACCESS_PERMISSION):
        annotate(ann, path, Kind.OBJECT, CHANGE)
    assert zone.avus(path) == [("p.old", "void", "")]


@pytest.mark.irods
def test_the_longest_values_are_read_back_by_every_query(zone: Zone, session: Session) -> None:
    path = f"{zone.home}/image.tif"
    zone.put(path, b"x")
    wanted = {f"p.{index}": text for index, text in enumerate(("ü" * 3000, "細" * 3000, "🧬" * 3000, "a" * 3000))}
    annotate(session, path, Kind.OBJECT, difference([], wanted))
    read = {avu.name: avu.value for name in wanted for avu in read_avus(session, zone.home, name)[path]}
    assert read == {name: fit(text) for name, text in wanted.items()}
    assert not difference([Avu(*item) for item in read.items()], wanted)


@pytest.mark.irods
def test_avus_are_read_of_one_name_and_of_one_tree(zone: Zone, session: Session) -> None:
    root = f"{zone.home}/it's_50% \\"
    for path in (f"{root}/a/x", f"{zone.home}/it's_50% \\2/x", f"{zone.home}/it'sx50% \\/x"):
        zone.put(path, b"", [("p.name", "1", ""), ("pxname", "2", ""), ("p.name2", "3", "")])
    zone.add_avu(f"{root}/a/x", "note", "bell \x07")
    zone.add_avu(root, "p.name", "4", "unit")
    assert read_avus(session, root, "p.name") == {
        f"{root}/a/x": [Avu("p.name", "1")],
        root: [Avu("p.name", "4", "unit")],
    }


@pytest.mark.irods
def test_values_that_need_the_other_parser_are_read(zone: Zone, session: Session) -> None:
    zone.put(f"{zone.home}/x", b"", [("p", "bell \x07", "")])
    assert read_avus(session, zone.home, "p") == {f"{zone.home}/x": [Avu("p", "bell \x07")]}


@pytest.mark.irods
def test_a_carriage_return_in_a_name_is_none_of_the_others(zone: Zone, session: Session) -> None:
    for name in ("a\rb", "a\nb"):
        zone.put(f"{zone.home}/{name}", name.encode(), [("p", name, "")])
    assert read_avus(session, zone.home, "p") == {
        f"{zone.home}/a\rb": [Avu("p", "a\rb")],
        f"{zone.home}/a\nb": [Avu("p", "a\nb")],
    }


@pytest.mark.irods
def test_more_avus_than_a_page_are_all_read(zone: Zone, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("snakescope.zone.query.PAGE", 7)
    zone.put(f"{zone.home}/x", b"", [("p", str(index), "") for index in range(50)])
    assert len(read_avus(session, zone.home, "p")[f"{zone.home}/x"]) == 50
