"""The zone answers as the measured server does, also where that is a trap; and its faults happen when asked."""

from __future__ import annotations

import hashlib
import logging
import os
import time
import xml.etree.ElementTree as ET
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import irods.exception as ex
import irods.keywords as kw
import pytest
from irods.access import iRODSAccess
from irods.column import Between, Criterion, In, Like
from irods.data_object import iRODSDataObject
from irods.helpers import xml_mode
from irods.message import GenQueryResponse, iRODSMessage
from irods.meta import AVUOperation, iRODSMeta
from irods.models import Collection, DataObject, DataObjectMeta, TicketQuery
from irods.query import SpecificQuery
from irods.session import iRODSSession

from irods_zone import Code, Zone
from irods_zone.conftest import Connect
from irods_zone.genquery1 import alternatives, condition
from irods_zone.wire import escape, parse, unescape

# A connection that the client loses it also leaves unclosed.
pytestmark = [pytest.mark.irods, pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")]
GENERAL_QUERY, SECOND_QUERY, ATOMIC, OPEN, READ = 702, 10221, 20002, 602, 675
ODD_NAMES = [
    "two  blanks",
    "it's",
    "' and '",
    '"quoted"',
    "back`tick",
    "a&b<c>d",
    "100%_done",
    "tab\there",
    "line\nbreak",
    "..hidden..",
    "réprouvé ☭",
]


def rows(query: Any) -> list[list[Any]]:
    return [list(row.values()) for row in query]


def add(avu: tuple[str, ...]) -> AVUOperation:
    return AVUOperation(operation="add", avu=iRODSMeta(*avu))


def remove(avu: tuple[str, ...]) -> AVUOperation:
    return AVUOperation(operation="remove", avu=iRODSMeta(*avu))


def test_the_client_knows_every_error_code_by_the_same_name() -> None:
    for code in Code:
        assert ex.get_exception_class_by_code(code, name_only=True) == code.name


# Connections and pages


def test_a_wrong_password_is_refused(connect: Connect) -> None:
    with pytest.raises(ex.CAT_INVALID_AUTHENTICATION):
        _ = connect("rods", "guess").server_version


def test_the_announced_version_has_the_second_query(session: iRODSSession) -> None:
    assert session.server_version == (5, 0, 2)


def test_a_call_before_the_login_is_refused(connect: Connect) -> None:
    session = connect()
    with session.pool.no_auto_authenticate(), session.pool.get_connection() as connection:
        connection.send(iRODSMessage("RODS_API_REQ", int_info=GENERAL_QUERY))
        with pytest.raises(ex.SYS_NO_API_PRIV):
            connection.recv()


@pytest.mark.parametrize(
    ("call", "error", "named"),
    [
        (lambda session: list(session.query(TicketQuery.Ticket)), ex.CAT_UNKNOWN_TABLE, "column 2200"),
        (lambda session: list(SpecificQuery(session, alias="ls")), ex.SYS_NOT_SUPPORTED, "number 722"),
        (lambda session: session.resources.create("r", "replication"), ex.SYS_INVALID_RESC_TYPE, "replication"),
        (lambda session: session.genquery2("select coalesce(DATA_ID)"), ex.SYS_LIBRARY_ERROR, "coalesce"),
    ],
)
def test_what_the_zone_does_not_do_is_refused_and_named(
    session: iRODSSession,
    caplog: pytest.LogCaptureFixture,
    call: Callable[[iRODSSession], object],
    error: type[Exception],
    named: str,
) -> None:
    with caplog.at_level(logging.WARNING, "irods_zone"), pytest.raises(error):
        call(session)
    assert named in caplog.text


@pytest.mark.parametrize(("page", "calls"), [(500, 3), (300, 4), (999, 2), (1000, 2), (5000, 1)])
def test_a_query_comes_in_pages_of_the_size_asked_for(zone: Zone, session: iRODSSession, page: int, calls: int) -> None:
    plan = zone.populate(f"{zone.home}/many", n_objects=1000, n_avus=1, n_collections=1)
    zone.calls.clear()
    found = [row[DataObject.id] for row in session.query(DataObject.id).limit(page)]
    assert sorted(found) == [plan.first_id + index for index in range(1000)]
    assert zone.count()[GENERAL_QUERY] == calls


def test_a_page_asked_of_another_connection_is_lost(zone: Zone, session: iRODSSession) -> None:
    zone.populate(f"{zone.home}/many", n_objects=1200, n_avus=1, n_collections=1)
    zone.put(f"{zone.home}/other.txt", b"something")
    listing = iter(session.query(DataObject.id))
    assert next(listing)
    with session.data_objects.open(f"{zone.home}/other.txt", "r"), pytest.raises(ex.NetworkException):
        list(listing)


def test_a_page_asked_of_a_connection_with_its_own_query_brings_that_query_s_rows(
    zone: Zone, session: iRODSSession
) -> None:
    zone.populate(f"{zone.home}/many", n_objects=20, n_avus=1, n_collections=1)
    first, second = session.pool.get_connection(), session.pool.get_connection()
    name, size = session.query(DataObject.name).limit(10), session.query(DataObject.size).limit(10)
    place = ask(first, name).continueInx
    assert ask(second, size).continueInx == place
    mixed = ask(second, name.continue_index(place)).SqlResult_PI[0].value
    assert all(value.isdigit() for value in mixed)
    for each in (first, second):
        each.release()


def ask(connection: Any, query: Any) -> Any:
    connection.send(iRODSMessage("RODS_API_REQ", msg=query._message(), int_info=GENERAL_QUERY))
    return connection.recv().get_main_message(GenQueryResponse)


def test_queries_left_open_fill_the_table_of_their_agent(zone: Zone, session: iRODSSession) -> None:
    zone.populate(f"{zone.home}/many", n_objects=3, n_avus=1, n_collections=1)
    for _ in range(50):
        session.query(DataObject.id).limit(1).execute()
    with pytest.raises(ex.CAT_STATEMENT_TABLE_FULL):
        session.query(DataObject.id).limit(1).execute()


def test_a_closed_query_leaves_its_place(zone: Zone, session: iRODSSession) -> None:
    zone.populate(f"{zone.home}/many", n_objects=3, n_avus=1, n_collections=1)
    for _ in range(120):
        assert session.query(DataObject.id).first()


def test_rows_written_while_a_listing_is_open_are_seen_by_new_queries_only(zone: Zone, session: iRODSSession) -> None:
    zone.populate(f"{zone.home}/many", n_objects=30, n_avus=1, n_collections=1)
    listing = session.query(DataObject.name).limit(10)
    first = listing.execute()
    zone.put(f"{zone.home}/many/zz_later.tif")
    assert len(rows(session.query(DataObject.name).filter(DataObject.name == "zz_later.tif"))) == 1
    rest = list(listing.continue_index(first.continue_index))
    assert len(first) + len(rest) == 30


# What queries say


def test_the_first_query_drops_objects_without_avus_and_the_second_keeps_them(
    zone: Zone, session: iRODSSession
) -> None:
    zone.put(f"{zone.home}/with.tif", avus=[("stain", "DAPI", "")])
    zone.put(f"{zone.home}/without.tif")
    assert rows(session.query(DataObject.name, DataObjectMeta.value)) == [["with.tif", "DAPI"]]
    found = session.genquery2("select DATA_NAME, META_DATA_ATTR_VALUE order by DATA_NAME")
    assert found == [["with.tif", "DAPI"], ["without.tif", ""]]


def test_the_second_query_ends_at_256_rows_without_a_word(zone: Zone, session: iRODSSession) -> None:
    plan = zone.populate(f"{zone.home}/many", n_objects=300, n_avus=1, n_collections=3)
    assert len(session.genquery2("select DATA_ID")) == 256
    assert len(session.genquery2("select DATA_ID limit 300")) == 300
    page = session.genquery2(f"select DATA_ID where DATA_ID >= '{plan.first_id + 290}' order by DATA_ID limit 1000")
    assert page == [[str(plan.first_id + index)] for index in range(290, 300)]


def test_the_second_query_repeats_rows_for_every_permission_unless_distinct(zone: Zone, session: iRODSSession) -> None:
    zone.put(f"{zone.home}/image.tif")
    for user in ("ann", "bert"):
        zone.make_user(user, user, groups=("lab",))
    zone.grant(f"{zone.home}/image.tif", "lab", "read")
    # The owner, the group itself, and its two members.
    assert session.genquery2("select DATA_NAME") == [["image.tif"]] * 4
    assert session.genquery2("select distinct DATA_NAME") == [["image.tif"]]
    assert session.genquery2("select count(DATA_ID)") == [["4"]]
    assert session.genquery2("select count(distinct DATA_ID)") == [["1"]]


def test_the_second_query_reads_two_quotes_as_one(zone: Zone, session: iRODSSession) -> None:
    zone.put(f"{zone.home}/it's.tif")
    assert session.genquery2("select DATA_NAME where DATA_NAME = 'it''s.tif'") == [["it's.tif"]]


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ("DATA_NAME like 'a%' or DATA_NAME = 'c'", ["a1", "a2", "c"]),
        ("not DATA_NAME like 'a%' and DATA_SIZE >= '0'", ["b", "c"]),
        ("DATA_NAME in ('b', 'c') and not (DATA_NAME = 'b')", ["c"]),
        ("DATA_NAME not in ('b', 'c', 'a1')", ["a2"]),
        ("DATA_NAME between 'a2' and 'b'", ["a2", "b"]),
        ("META_DATA_ATTR_NAME is null", ["a2", "b", "c"]),
        ("upper(DATA_NAME) = 'A1'", ["a1"]),
        ("cast(META_DATA_ATTR_VALUE as int) > '5'", ["a1"]),
    ],
)
def test_conditions_of_the_second_query(zone: Zone, session: iRODSSession, where: str, found: list[str]) -> None:
    for name in ("a1", "a2", "b", "c"):
        zone.put(f"{zone.home}/{name}")
    zone.add_avu(f"{zone.home}/a1", "plane", "10")
    assert [row[0] for row in session.genquery2(f"select distinct DATA_NAME where {where} order by DATA_NAME")] == found


@pytest.mark.parametrize("text", ["select", "select DATA_NAME where", "select NOPE", "select DATA_NAME limit x", "§"])
def test_a_second_query_that_is_not_understood_fails(session: iRODSSession, text: str) -> None:
    with pytest.raises(ex.SYS_LIBRARY_ERROR):
        session.genquery2(text)


def test_every_replica_is_a_row_and_is_counted(zone: Zone, session: iRODSSession) -> None:
    zone.add_resource("second")
    zone.put(f"{zone.home}/image.tif", b"bytes")
    zone.add_replica(f"{zone.home}/image.tif", "second")
    assert rows(session.query(DataObject.name, DataObject.replica_number)) == [["image.tif", 0], ["image.tif", 1]]
    assert rows(session.query(DataObject.name)) == [["image.tif"]]
    assert rows(session.query().count(DataObject.id)) == [[2]]


def test_like_takes_underscore_and_percent_in_names_as_wildcards(zone: Zone, session: iRODSSession) -> None:
    for name in ("run_1", "run-1", "run%1"):
        zone.make_collection(f"{zone.home}/{name}/in")
    found = {row[Collection.name] for row in session.query(Collection.name).filter(Like(Collection.name, "%run_1/%"))}
    assert found == {f"{zone.home}/{name}/in" for name in ("run_1", "run-1", "run%1")}
    escaped = session.query(Collection.name).filter(Like(Collection.name, "%run\\_1/%"))
    assert rows(escaped) == [[f"{zone.home}/run_1/in"]]


def test_like_minds_case_unless_the_query_says_otherwise(zone: Zone, session: iRODSSession) -> None:
    for name in ("Image.tif", "image.tif"):
        zone.put(f"{zone.home}/{name}")
    pattern = Like(DataObject.name, "image%")
    assert rows(session.query(DataObject.name).filter(pattern)) == [["image.tif"]]
    assert session.genquery2("select DATA_NAME where DATA_NAME like 'image%'") == [["image.tif"]]
    assert len(rows(session.query(DataObject.name, case_sensitive=False).filter(pattern))) == 2


def test_one_condition_reaches_a_collection_and_all_below(zone: Zone, session: iRODSSession) -> None:
    for name in ("a", "a/b", "a/b/c", "ab"):
        zone.make_collection(f"{zone.home}/{name}")
    root = f"{zone.home}/a"
    query = session.query(Collection.name).filter(Criterion(f"= '{root}' || like", Collection.name, f"{root}/%"))
    assert rows(query) == [[root], [f"{root}/b"], [f"{root}/b/c"]]


def test_conditions_in_pairs_ask_for_several_avus(zone: Zone, session: iRODSSession) -> None:
    zone.put(f"{zone.home}/right", avus=[("A", "1", ""), ("B", "2", "")])
    zone.put(f"{zone.home}/crossed", avus=[("A", "2", ""), ("B", "1", "")])
    zone.put(f"{zone.home}/half", avus=[("A", "1", "")])
    query = session.query(DataObject.name).filter(
        DataObjectMeta.name == "A", DataObjectMeta.value == "1", DataObjectMeta.name == "B", DataObjectMeta.value == "2"
    )
    assert rows(query) == [["right"]]


def test_conditions_orders_and_aggregates_of_the_first_query(zone: Zone, session: iRODSSession) -> None:
    for size in (1, 20, 300):
        zone.put(f"{zone.home}/{size}.tif", b"x" * size)
    big = session.query(DataObject.size).filter(DataObject.size > 5).order_by(DataObject.size, order="desc")
    assert rows(big) == [[300], [20]]
    assert rows(session.query(DataObject.name).filter(In(DataObject.size, [1, 300]))) == [["1.tif"], ["300.tif"]]
    assert rows(session.query(DataObject.name).filter(Between(DataObject.size, (2, 30)))) == [["20.tif"]]
    assert rows(session.query().sum(DataObject.size)) == [[321]]
    assert rows(session.query(Collection.name).max(DataObject.size)) == [[zone.home, 300]]


def test_a_condition_s_value_goes_from_the_first_quote_to_the_last() -> None:
    assert condition("c.name", "= 'it's'", 0) == ("c.name = ?", ["it's"])
    assert condition("c.name", "in ('it's','b')", 0)[1] == ["it", ","]
    assert alternatives("= 'a||b'") == [("", "= 'a||b'")]
    assert alternatives("= 'a||b' || = 'c'") == [("", "= 'a"), ("or", "b' "), ("or", " = 'c'")]


def test_rows_in_no_order_come_in_another_when_asked_for(zone: Zone, session: iRODSSession) -> None:
    zone.populate(f"{zone.home}/many", n_objects=200, n_avus=1, n_collections=1)
    first = rows(session.query(DataObject.id))
    zone.faults.unordered = True
    second = rows(session.query(DataObject.id))
    assert first != second
    assert sorted(first) == sorted(second)
    assert rows(session.query(DataObject.id).order_by(DataObject.id)) == first


# AVUs


@pytest.mark.parametrize(("avu", "fits"), [
    (("n" * 2700, "v", ""), True), (("n" * 2701, "v", ""), False),
    (("n", "v" * 2700, ""), True), (("n", "v" * 2701, ""), False),
    (("n", "v", "u" * 250), True), (("n", "v", "u" * 251), False),
])  # fmt: skip
def test_avu_lengths_are_counted_in_characters(
    zone: Zone, session: iRODSSession, avu: tuple[str, str, str], fits: bool
) -> None:
    zone.put(f"{zone.home}/image.tif")
    metadata = session.data_objects.get(f"{zone.home}/image.tif").metadata
    if fits:
        metadata.add(*avu)
        assert zone.avus(f"{zone.home}/image.tif") == [avu]
    else:
        with pytest.raises(ex.CAT_SQL_ERR):
            metadata.add(*avu)


def test_a_value_of_too_many_bytes_is_stored_and_then_unreadable_by_the_first_query(
    zone: Zone, session: iRODSSession
) -> None:
    zone.put(f"{zone.home}/image.tif")
    metadata = session.data_objects.get(f"{zone.home}/image.tif").metadata(reload=False)
    metadata.add("note", "é" * 1351)
    with pytest.raises(ex.CAT_GET_ROW_ERR):
        session.data_objects.get(f"{zone.home}/image.tif").metadata.items()
    assert session.genquery2("select META_DATA_ATTR_VALUE") == [["é" * 1351]]


def test_a_control_character_is_stored_and_then_breaks_the_default_parser(zone: Zone, session: iRODSSession) -> None:
    path = f"{zone.home}/image.tif"
    zone.put(path)
    session.data_objects.get(path).metadata(reload=False).add("note", "a\x01b")
    with pytest.raises(ET.ParseError):
        session.data_objects.get(path).metadata.items()
    with xml_mode("QUASI_XML"):
        assert session.data_objects.get(path).metadata["note"].value == "a\x01b"


def test_adding_twice_and_removing_nothing_are_errors_alone_and_nothing_together(
    zone: Zone, session: iRODSSession
) -> None:
    path, avu = f"{zone.home}/image.tif", ("stain", "DAPI", "nm")
    zone.put(path, avus=[avu])
    metadata = session.data_objects.get(path).metadata
    with pytest.raises(ex.CATALOG_ALREADY_HAS_ITEM_BY_THAT_NAME):
        metadata.add(*avu)
    with pytest.raises(ex.CAT_SUCCESS_BUT_WITH_NO_INFO):
        metadata.remove("absent", "value")
    for _ in range(2):
        metadata.apply_atomic_operations(add(avu), remove(("absent", "value")), add(("new", "1")))
    assert zone.avus(path) == [("new", "1", ""), avu]


def test_the_atomic_call_does_all_or_nothing(zone: Zone, session: iRODSSession) -> None:
    path = f"{zone.home}/image.tif"
    zone.put(path, avus=[("old", "1", "")])
    metadata = session.data_objects.get(path).metadata
    with pytest.raises(ex.SYS_LIBRARY_ERROR):
        metadata.apply_atomic_operations(remove(("old", "1")), add(("a", "1")), add(("b", "x" * 2701)))
    assert zone.avus(path) == [("old", "1", "")]


def test_set_replaces_every_value_of_the_name_and_no_other(zone: Zone, session: iRODSSession) -> None:
    path = f"{zone.home}/image.tif"
    zone.put(path, avus=[("n", "1", ""), ("n", "2", ""), ("other", "3", "")])
    session.data_objects.get(path).metadata.set("n", "4")
    assert zone.avus(path) == [("n", "4", ""), ("other", "3", "")]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names_survive(zone: Zone, session: iRODSSession, tmp_path: Path, name: str) -> None:
    path, local = f"{zone.home}/{name}/{name}", tmp_path / "local"
    local.write_bytes(name.encode())
    session.collections.create(f"{zone.home}/{name}")
    session.data_objects.put(str(local), path)
    found = session.data_objects.get(path)
    found.metadata.add(name, name, name)
    found.metadata.apply_atomic_operations(add((name, f"{name} 2")))
    session.data_objects.get(path, str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == name.encode()
    assert zone.avus(path) == [(name, name, name), (name, f"{name} 2", "")]
    assert {each.name for each in session.collections.get(f"{zone.home}/{name}").data_objects} == {name}
    literal = name.replace("'", "''")
    assert session.genquery2(f"select DATA_NAME where DATA_NAME = '{literal}'") == [[name]]


def test_the_five_entities_go_both_ways() -> None:
    text = "<a href='x'>&amp; \"quoted\"\x01</a>"
    assert unescape(escape(text)) == text
    assert parse(f"<STR_PI><myStr>{escape(text)}</myStr></STR_PI>".encode()).string("myStr") == text


# Bytes and replicas


def test_a_put_registers_the_checksum_that_it_is_asked_for(zone: Zone, session: iRODSSession, tmp_path: Path) -> None:
    local = tmp_path / "image.tif"
    local.write_bytes(b"pixels")
    for name, options in (("with", {kw.REG_CHKSUM_KW: ""}), ("without", {})):
        session.data_objects.put(str(local), f"{zone.home}/{name}", **options)
    expected = f"sha2:{b64encode(hashlib.sha256(b'pixels').digest()).decode()}"
    assert session.data_objects.get(f"{zone.home}/with").checksum == expected
    assert session.data_objects.get(f"{zone.home}/without").checksum is None
    assert session.data_objects.chksum(f"{zone.home}/without") == expected


def test_a_put_with_a_wrong_checksum_fails_and_leaves_no_good_replica(
    zone: Zone, session: iRODSSession, tmp_path: Path
) -> None:
    local = tmp_path / "image.tif"
    local.write_bytes(b"pixels")
    with pytest.raises(ex.USER_CHKSUM_MISMATCH):
        session.data_objects.put(str(local), f"{zone.home}/image.tif", **{kw.VERIFY_CHKSUM_KW: "sha2:wrong"})
    assert [each.status for each in zone.replicas(f"{zone.home}/image.tif")] == ["0"]


def test_bytes_changed_in_the_vault_are_found_by_verifying_only(zone: Zone, session: iRODSSession) -> None:
    path = f"{zone.home}/image.tif"
    before = zone.put(path, b"pixels").checksum
    zone.corrupt(path)
    assert session.data_objects.chksum(path) == before
    assert session.data_objects.chksum(path, **{kw.FORCE_CHKSUM_KW: ""}) != before
    assert zone.read(path) != b"pixels"


def test_a_writer_that_goes_away_leaves_a_stale_replica(zone: Zone, session: iRODSSession) -> None:
    path = f"{zone.home}/image.tif"
    handle = session.data_objects.open(path, "w")
    handle.raw.write(b"x" * 100_000)
    assert [each.status for each in zone.replicas(path)] == ["2"]
    zone.drop_connections()
    (replica,) = zone.replicas(path)
    assert (replica.status, replica.size) == ("0", 100_000)
    handle.raw.conn.release(True)
    abandon(handle)


def abandon(handle: Any) -> None:
    """Let go of a handle whose connection is gone."""
    with pytest.raises(ex.NetworkException):
        handle.raw.close()
    handle.do_close = False


def test_a_crash_leaves_what_was_being_written_locked(zone: Zone, connect: Connect) -> None:
    path, session = f"{zone.home}/image.tif", connect()
    handle = session.data_objects.open(path, "w")
    handle.raw.write(b"x" * 1000)
    port = zone.port
    zone.restart(crash=True)
    assert zone.port == port
    assert [each.status for each in zone.replicas(path)] == ["2"]
    for mode in ("r", "a"):
        with pytest.raises(ex.HIERARCHY_ERROR):
            connect().data_objects.open(path, mode)
    abandon(handle)


def test_an_object_that_is_being_written_is_locked(zone: Zone, connect: Connect) -> None:
    path = f"{zone.home}/image.tif"
    zone.put(path, b"old")
    with connect().data_objects.open(path, "a") as handle:
        handle.raw.write(b"new")
        with pytest.raises(ex.HIERARCHY_ERROR):
            connect().data_objects.open(path, "a")
    assert zone.read(path) == b"oldnew"


def test_a_write_makes_other_replicas_stale_and_reads_take_the_good_one(zone: Zone, session: iRODSSession) -> None:
    path = f"{zone.home}/image.tif"
    zone.add_resource("second")
    zone.put(path, b"old")
    zone.add_replica(path, "second")
    with session.data_objects.open(path, "w", **{kw.RESC_NAME_KW: "second"}) as handle:
        handle.write(b"newer")
    assert [(each.status, each.size) for each in zone.replicas(path)] == [("0", 3), ("1", 5)]
    with session.data_objects.open(path, "r") as handle:
        assert handle.read() == b"newer"


def test_a_replica_made_stale_on_request_is_not_read(zone: Zone, session: iRODSSession) -> None:
    path = f"{zone.home}/image.tif"
    zone.add_resource("second")
    zone.put(path, b"right")
    zone.add_replica(path, "second")
    zone.replicas(path)[0].file.write_bytes(b"wrong")
    zone.set_replica(path, 0, status="0")
    with session.data_objects.open(path, "r") as handle:
        assert handle.read() == b"right"


def test_big_objects_travel_over_several_connections(zone: Zone, session: iRODSSession, tmp_path: Path) -> None:
    content = os.urandom(1 << 20) * 40
    (tmp_path / "big").write_bytes(content)
    session.data_objects.put(str(tmp_path / "big"), f"{zone.home}/big", num_threads=2, **{kw.REG_CHKSUM_KW: ""})
    session.data_objects.get(f"{zone.home}/big", str(tmp_path / "back"), num_threads=2)
    assert (tmp_path / "back").read_bytes() == content
    (replica,) = zone.replicas(f"{zone.home}/big")
    assert (replica.status, replica.size) == ("1", len(content))
    assert replica.checksum == f"sha2:{b64encode(hashlib.sha256(content).digest()).decode()}"
    assert zone.most_connections >= min(2, os.cpu_count() or 1)


def test_removed_objects_go_to_the_trash_unless_forced(zone: Zone, session: iRODSSession) -> None:
    for name in ("kept", "gone"):
        zone.put(f"{zone.home}/{name}", name.encode())
    file = zone.replicas(f"{zone.home}/gone")[0].file
    session.data_objects.unlink(f"{zone.home}/kept")
    session.data_objects.unlink(f"{zone.home}/gone", force=True)
    assert zone.read(f"/{zone.zone}/trash/home/rods/kept") == b"kept"
    assert not file.exists()
    assert rows(session.query(DataObject.name)) == [["kept"]]


def test_removed_collections_go_to_the_trash_with_all_in_them_unless_forced(zone: Zone, session: iRODSSession) -> None:
    for name in ("kept", "gone"):
        zone.put(f"{zone.home}/{name}/sub/image.tif", b"x", avus=[("k", "v", "")])
    session.collections.remove(f"{zone.home}/kept")
    session.collections.remove(f"{zone.home}/gone", force=True)
    assert zone.avus(f"/{zone.zone}/trash/home/rods/kept/sub/image.tif") == [("k", "v", "")]
    assert rows(session.query(Collection.name).filter(Like(Collection.name, "%/gone%"))) == []
    assert rows(session.query(Collection.name, DataObject.name)) == [
        [f"/{zone.zone}/trash/home/rods/kept/sub", "image.tif"]
    ]
    with pytest.raises(ex.CAT_COLLECTION_NOT_EMPTY):
        session.collections.remove(f"/{zone.zone}/trash/home/rods/kept", recurse=False, force=True)


def test_an_object_moves_with_its_avus_and_copies_without(zone: Zone, session: iRODSSession) -> None:
    zone.put(f"{zone.home}/a", b"x", avus=[("k", "v", "")])
    session.data_objects.move(f"{zone.home}/a", f"{zone.home}/b")
    session.data_objects.copy(f"{zone.home}/b", f"{zone.home}/c")
    assert zone.avus(f"{zone.home}/b") == [("k", "v", "")]
    assert zone.avus(f"{zone.home}/c") == []
    assert zone.read(f"{zone.home}/c") == b"x"
    with pytest.raises(ex.CAT_NAME_EXISTS_AS_DATAOBJ):
        session.data_objects.move(f"{zone.home}/b", f"{zone.home}/c")


# Permissions

STEPS: dict[str, Callable[[iRODSDataObject], object]] = {
    "read AVUs": lambda found: found.metadata.items()[0],
    "read": lambda found: found.open("r").close(),
    "add": lambda found: found.metadata.add("new", "1"),
    "set": lambda found: found.metadata.set("set", "1"),
    "remove": lambda found: found.metadata.remove("k", "v"),
    "atomic": lambda found: found.metadata.apply_atomic_operations(add(("atomic", "1"))),
    "write": lambda found: found.open("a").close(),
}


@pytest.mark.parametrize(("level", "allowed"), [
    ("read_metadata", {"read AVUs"}),
    ("read_object", {"read AVUs", "read"}),
    ("create_metadata", {"read AVUs", "read", "add", "set"}),
    ("delete_metadata", {"read AVUs", "read", "add", "set", "remove"}),
    ("modify_object", {"read AVUs", "read", "add", "set", "remove", "atomic", "write"}),
    ("own", set(STEPS)),
])  # fmt: skip
def test_what_each_permission_allows(zone: Zone, connect: Connect, level: str, allowed: set[str]) -> None:
    path = f"{zone.home}/image.tif"
    zone.put(path, b"x", avus=[("k", "v", "")])
    zone.make_user("ann", "ann")
    zone.grant(zone.home, "ann", "read")
    zone.grant(path, "ann", level)
    found = set()
    for name, step in STEPS.items():
        ann = connect("ann")
        target = connect().data_objects.get(path)
        target.manager, target._meta = ann.data_objects, None
        try:
            step(target)
            found.add(name)
        except (ex.CAT_NO_ACCESS_PERMISSION, IndexError):
            continue
    assert found == allowed


def test_what_may_not_be_seen_is_not_there(zone: Zone, connect: Connect) -> None:
    zone.put(f"{zone.home}/shared/open.tif", avus=[("k", "v", "")])
    zone.put(f"{zone.home}/shared/secret.tif", avus=[("k", "v", "")])
    zone.make_user("ann", "ann", groups=("lab",))
    zone.grant(f"{zone.home}/shared/open.tif", "lab", "read")
    ann, names = connect("ann"), "select distinct COLL_NAME, DATA_NAME"
    with pytest.raises(ex.CollectionDoesNotExist):
        ann.collections.get(f"{zone.home}/shared")
    assert rows(ann.query(Collection.name, DataObject.name)) == []
    assert ann.genquery2(names) == []
    zone.grant(f"{zone.home}/shared", "lab", "read")
    assert [each.name for each in ann.collections.get(f"{zone.home}/shared").data_objects] == ["open.tif"]
    assert ann.genquery2(f"{names} where DATA_NAME = 'secret.tif' or COLL_NAME like '%'") == [
        [f"{zone.home}/shared", "open.tif"]
    ]
    assert rows(ann.query(DataObject.name, DataObjectMeta.value)) == [["open.tif", "v"]]
    with pytest.raises(ex.DataObjectDoesNotExist):
        ann.data_objects.get(f"{zone.home}/shared/secret.tif")
    with pytest.raises(ex.CAT_NO_ACCESS_PERMISSION):
        ann.data_objects.open(f"{zone.home}/shared/secret.tif", "r")


def test_a_level_below_reading_shows_metadata_to_the_first_query_only(zone: Zone, connect: Connect) -> None:
    zone.put(f"{zone.home}/image.tif", avus=[("k", "v", "")])
    zone.make_user("ann", "ann")
    zone.grant(zone.home, "ann", "read")
    zone.grant(f"{zone.home}/image.tif", "ann", "read_metadata")
    ann = connect("ann")
    assert rows(ann.query(DataObjectMeta.value)) == [["v"]]
    assert rows(ann.query(DataObject.name)) == []
    assert ann.genquery2("select distinct DATA_NAME, META_DATA_ATTR_VALUE") == []


def test_what_is_made_in_an_inheriting_collection_takes_its_permissions(zone: Zone, connect: Connect) -> None:
    zone.make_collection(f"{zone.home}/shared")
    zone.make_user("ann", "ann")
    zone.put(f"{zone.home}/shared/before.tif")
    zone.grant(f"{zone.home}/shared", "ann", "read")
    zone.grant(f"{zone.home}/shared", "ann", "inherit")
    zone.put(f"{zone.home}/shared/after.tif")
    assert rows(connect("ann").query(DataObject.name)) == [["after.tif"]]


def test_creating_takes_modify_object_on_the_collection(zone: Zone, connect: Connect) -> None:
    zone.make_collection(f"{zone.home}/shared")
    zone.make_user("ann", "ann")
    ann = connect("ann")
    for level, works in (("read", False), ("create_object", False), ("modify_object", True)):
        zone.grant(f"{zone.home}/shared", "ann", level)
        if works:
            ann.data_objects.open(f"{zone.home}/shared/{level}", "w").close()
        else:
            with pytest.raises(ex.CAT_NO_ACCESS_PERMISSION):
                ann.data_objects.open(f"{zone.home}/shared/{level}", "w")


def test_only_the_owner_passes_permissions_on(zone: Zone, connect: Connect) -> None:
    zone.put(f"{zone.home}/image.tif")
    zone.make_user("ann", "ann")
    zone.grant(f"{zone.home}/image.tif", "ann", "modify_object")
    with pytest.raises(ex.CAT_NO_ACCESS_PERMISSION):
        connect("ann").acls.set(iRODSAccess("read", f"{zone.home}/image.tif", "public", zone.zone))


# Faults and the zone itself


@pytest.mark.parametrize("n_bytes", [0, 1, 100, 5_000, 60_000, 200_000])
def test_a_connection_is_cut_after_so_many_bytes_and_only_once(
    zone: Zone, connect: Connect, tmp_path: Path, n_bytes: int
) -> None:
    local, path = tmp_path / "image.tif", f"{zone.home}/image.tif"
    local.write_bytes(os.urandom(250_000))
    session = connect()
    zone.faults.drop_after(n_bytes)
    with pytest.raises(ex.NetworkException):
        session.data_objects.put(str(local), path)
    assert zone.faults.dropped == 1
    assert "1" not in [each.status for each in zone.replicas(path)]
    connect().data_objects.put(str(local), path)
    assert zone.read(path) == local.read_bytes()


@pytest.mark.parametrize("n_bytes", [50_000, 150_000])
def test_a_download_is_cut_after_so_many_bytes(zone: Zone, session: iRODSSession, tmp_path: Path, n_bytes: int) -> None:
    zone.put(f"{zone.home}/image.tif", os.urandom(200_000))
    session.data_objects.get(f"{zone.home}/image.tif")
    zone.faults.drop_after(n_bytes)
    start = time.monotonic()
    with pytest.raises(ex.NetworkException):
        session.data_objects.get(f"{zone.home}/image.tif", str(tmp_path / "back"))
    assert time.monotonic() - start < 60, "the line is cut; the client does not wait for its time to run out"
    assert zone.faults.dropped == 1


def test_latency_is_added_to_every_reply(zone: Zone, session: iRODSSession) -> None:
    zone.put(f"{zone.home}/image.tif")
    assert session.server_version
    zone.calls.clear()
    zone.faults.latency_s = 0.03
    start = time.monotonic()
    session.data_objects.get(f"{zone.home}/image.tif")
    assert time.monotonic() - start >= 0.03 * len(zone.calls) > 0


def test_one_call_can_be_late(zone: Zone, session: iRODSSession) -> None:
    assert session.server_version
    session.connection_timeout = 0.2
    zone.faults.delay(SECOND_QUERY, 3)
    with pytest.raises(ex.NetworkException):
        session.genquery2("select COLL_NAME")
    session.connection_timeout = 60
    assert session.genquery2("select ZONE_NAME") == [[zone.zone]], "late, and yet in time"


def test_the_atomic_call_can_be_refused_while_single_ones_work(zone: Zone, session: iRODSSession) -> None:
    path = f"{zone.home}/image.tif"
    zone.put(path)
    zone.faults.refuse_atomic()
    metadata = session.data_objects.get(path).metadata
    with pytest.raises(ex.CAT_NO_ACCESS_PERMISSION):
        metadata.apply_atomic_operations(add(("k", "v")))
    metadata.add("k", "v")
    zone.faults.clear()
    metadata.apply_atomic_operations(add(("k", "w")))
    assert zone.avus(path) == [("k", "v", ""), ("k", "w", "")]


def test_a_call_can_be_refused_a_number_of_times(zone: Zone, session: iRODSSession) -> None:
    zone.faults.refuse(SECOND_QUERY, Code.SYS_LIBRARY_ERROR, times=2)
    for _ in range(2):
        with pytest.raises(ex.SYS_LIBRARY_ERROR):
            session.genquery2("select ZONE_NAME")
    assert session.genquery2("select ZONE_NAME") == [[zone.zone]]


def test_only_connections_that_their_client_holds_are_open(zone: Zone, connect: Connect) -> None:
    for _ in range(20):  # each agent notices a moment after its client that it is gone
        session = connect()
        assert session.server_version
        assert zone.open_connections == 1
        session.cleanup()
        assert zone.open_connections == 0
    assert zone.most_connections == 1


def test_calls_are_counted_with_their_user_and_status(zone: Zone, connect: Connect) -> None:
    zone.make_user("ann", "ann")
    ann = connect("ann")
    with pytest.raises(ex.CollectionDoesNotExist):
        ann.collections.get(f"{zone.home}/nothing")
    last = zone.calls[-1]
    assert (last.api, last.user, last.status) == (GENERAL_QUERY, "ann", Code.CAT_NO_ROWS_FOUND)
    assert zone.open_connections == 1


def test_a_folder_is_the_same_zone_again(tmp_path: Path) -> None:
    with Zone(tmp_path) as zone:
        zone.put(f"{zone.home}/image.tif", b"pixels", avus=[("k", "v", "")])
    with Zone(tmp_path) as again:
        assert again.read(f"{again.home}/image.tif") == b"pixels"
        assert again.avus(f"{again.home}/image.tif") == [("k", "v", "")]


def test_the_environment_file_leads_a_user_in(zone: Zone, monkeypatch: pytest.MonkeyPatch) -> None:
    zone.make_user("ann", "secret phrase")
    for name, value in zone.environment("ann").items():
        monkeypatch.setenv(name, value)
    with iRODSSession(irods_env_file=str(zone.environment_file("ann")), auto_cleanup=False) as session:
        assert session.collections.get(f"/{zone.zone}/home/ann").owner_name == "ann"


def test_a_population_is_in_the_catalogue_as_it_says(zone: Zone, session: iRODSSession) -> None:
    plan = zone.populate(f"{zone.home}/many", n_objects=500, n_avus=3, n_collections=23)
    listed: dict[int, tuple[str, int, dict[str, str]]] = {}
    columns = "COLL_NAME, DATA_NAME, DATA_ID, DATA_SIZE, META_DATA_ATTR_NAME, META_DATA_ATTR_VALUE"
    for coll, name, number, size, key, value in session.genquery2(f"select {columns} limit 10000"):
        listed.setdefault(int(number), (f"{coll}/{name}", int(size), {}))[2][key] = value
    assert listed == {number: (path, size, avus) for path, number, size, avus in plan.truth()}
    colls = session.query(Collection.name).filter(Like(Collection.name, f"{plan.root}%"))
    assert len(rows(colls)) == plan.collections
    assert len(rows(session.query(DataObject.id, DataObjectMeta.name))) == 1500
