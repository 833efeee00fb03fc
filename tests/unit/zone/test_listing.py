"""Listing a tree: complete, each thing once, in few calls, whatever the names and whatever happens meanwhile."""

from __future__ import annotations

from itertools import pairwise

import pytest

from irods_sites import ODD_NAMES, act_as, session_on
from irods_zone import Zone
from snakescope.errors import EnvironmentUnusableError, InputError
from snakescope.zone import listing as module
from snakescope.zone import query
from snakescope.zone.address import Address
from snakescope.zone.listing import Listing, list_tree
from snakescope.zone.session import Session, connect

# A connection that is lost at its login is left unclosed by the client.
pytestmark = [pytest.mark.irods, pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")]
BOTH = pytest.mark.parametrize("genquery2", [True, False], ids=["genquery2", "genquery1"])
GENQUERY1, GENQUERY2 = 702, 10221
SYS_UNMATCHED_API_NUM, SYS_LIBRARY_ERROR = -12000, -167000


def names(listing: Listing) -> list[str]:
    return [each.path[len(listing.root) + 1 :] for each in listing.objects]


@BOTH
def test_everything_below_is_listed_with_what_is_known_of_it(zone: Zone, session: Session, genquery2: bool) -> None:
    root = f"{zone.home}/root"
    zone.put(f"{root}/a.tif", b"abc", [("n", "v", "u"), ("n", "w", "")])
    zone.put(f"{root}/sub/deep/b.tif", b"", checksum=False)
    zone.add_avu(f"{root}/sub", "organism", "yeast")
    zone.add_avu(zone.home, "lab", "here")
    found = list_tree(session, root, genquery2=genquery2)
    a, b = found.objects
    assert (a.path, a.avus, b.avus) == (f"{root}/a.tif", (("n", "v", "u"), ("n", "w", "")), ())
    assert a.good is not None
    assert (a.good.size, a.good.checksum) == (3, "sha2:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=")
    assert a.good.modified.utcoffset() is not None
    assert b.good is not None
    assert b.good.checksum is None
    assert found.collections == {
        f"/{zone.zone}": (),
        f"/{zone.zone}/home": (),
        zone.home: (("lab", "here", ""),),
        root: (),
        f"{root}/sub": (("organism", "yeast", ""),),
        f"{root}/sub/deep": (),
    }


@BOTH
@pytest.mark.parametrize("page", [1, 3, 7])
def test_pages_lose_and_repeat_nothing(
    zone: Zone, session: Session, genquery2: bool, page: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAGE", page)
    monkeypatch.setattr(query, "PAGE", page)
    zone.faults.unordered = True
    plan = zone.populate(f"{zone.home}/tree", 40, 3, 7)
    zone.put(f"{zone.home}/tree/many.tif", avus=[("k", str(n), "") for n in range(20)])
    found = list_tree(session, plan.root, genquery2=genquery2)
    listed = {
        each.path: {name: value for name, value, _ in each.avus} for each in found.objects if each.name != "many.tif"
    }
    assert listed == {path: avus for path, _, _, avus in plan.truth()}
    assert len(found.objects) == 41
    assert len(next(each for each in found.objects if each.name == "many.tif").avus) == 20


@pytest.mark.parametrize(("genquery2", "rows_per_call"), [(True, 5000), (False, 2000)])
def test_calls_are_few(zone: Zone, session: Session, genquery2: bool, rows_per_call: int) -> None:
    plan = zone.populate(f"{zone.home}/tree", 8000, 5)
    zone.calls.clear()
    found = list_tree(session, plan.root, genquery2=genquery2)
    rows = 8000 + 8000 * 5
    assert len(zone.calls) <= rows / rows_per_call
    assert {each.path: (each.id, each.replicas[0].size) for each in found.objects} == {
        path: (number, size) for path, number, size, _ in plan.truth()
    }


def test_pages_of_the_older_query_stay_on_one_connection(
    zone: Zone, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(query, "PAGE", 5)
    zone.populate(f"{zone.home}/tree", 60, 1, 3)
    with session.raw.pool.get_connection(), session.raw.pool.get_connection():
        pass  # two idle connections, as after a parallel transfer
    zone.calls.clear()
    assert len(list_tree(session, f"{zone.home}/tree", genquery2=False).objects) == 60
    pages = [call.connection for call in zone.calls if call.api == GENQUERY1]
    assert len(pages) > 20
    assert len({*pages}) <= 2
    changes = sum(one != other for one, other in pairwise(pages))
    assert changes <= 10  # between the 11 queries, never within one


@BOTH
def test_odd_names_are_listed_as_they_are(zone: Zone, session: Session, genquery2: bool) -> None:
    root = f"{zone.home}/od'd \"_%"
    for name in ODD_NAMES:
        zone.put(f"{root}/{name}", avus=[("of", name, "")])
    found = list_tree(session, root, genquery2=genquery2)
    assert sorted(names(found)) == sorted(ODD_NAMES)
    assert [each.avus for each in found.objects] == [(("of", each.name, ""),) for each in found.objects]


@BOTH
@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_collection_or_object_of_an_odd_name_can_be_asked_for(
    zone: Zone, session: Session, genquery2: bool, name: str
) -> None:
    zone.put(f"{zone.home}/{name}/sub/x.tif")
    zone.put(f"{zone.home}/objects/{name}")
    assert names(list_tree(session, f"{zone.home}/{name}", genquery2=genquery2)) == ["sub/x.tif"]
    found = list_tree(session, f"{zone.home}/objects/{name}", genquery2=genquery2)
    assert [each.name for each in found.objects] == [name]


@BOTH
def test_wildcards_in_a_name_are_letters(zone: Zone, session: Session, genquery2: bool) -> None:
    for name in ("a_b", "axb", "a%b", "a123b"):
        zone.put(f"{zone.home}/{name}/sub/x.tif")
    assert names(list_tree(session, f"{zone.home}/a_b", genquery2=genquery2)) == ["sub/x.tif"]
    found = list_tree(session, f"{zone.home}/a%b", genquery2=genquery2)
    assert [each.path for each in found.objects] == [f"{zone.home}/a%b/sub/x.tif"]
    assert f"{zone.home}/axb/sub" not in found.collections


@BOTH
@pytest.mark.parametrize("name", ["it's || x", "a && b's", "'||'", "a' || = 'b", 'q" || \\', "it's % _ && x"])
def test_quotes_beside_bars_are_letters_too_and_look_alikes_are_left_out(
    zone: Zone, session: Session, genquery2: bool, name: str
) -> None:
    alike = name.replace("'", "x").replace("|", "y").replace("&", "z").replace('"', "w").replace("\\", "v")
    for each in (name, alike, f"{name}2"):
        zone.put(f"{zone.home}/{each}/sub/{each}", each.encode(), [("of", each, "")])
        zone.add_avu(f"{zone.home}/{each}", "of", each)
    tree = list_tree(session, f"{zone.home}/{name}", genquery2=genquery2)
    single = list_tree(session, f"{zone.home}/{name}/sub/{name}", genquery2=genquery2)
    for found in (tree, single):
        assert [(each.path, each.avus) for each in found.objects] == [
            (f"{zone.home}/{name}/sub/{name}", (("of", name, ""),))
        ]
        assert found.collections[f"{zone.home}/{name}"] == (("of", name, ""),)
        assert not {f"{zone.home}/{alike}", f"{zone.home}/{name}2"} & found.collections.keys()


@BOTH
def test_control_characters_in_avus_are_read(zone: Zone, session: Session, genquery2: bool) -> None:
    zone.put(f"{zone.home}/r/a.tif", avus=[("note", "bell\x07 and \x1b esc", "")])
    found = list_tree(session, f"{zone.home}/r", genquery2=genquery2)
    assert found.objects[0].avus == (("note", "bell\x07 and \x1b esc", ""),)
    assert session.raw.collections.get(zone.home).path == zone.home  # and the usual parser is back


def test_avus_that_an_old_server_cannot_send_are_told(zone: Zone, session: Session) -> None:
    for n in range(9):
        zone.put(f"{zone.home}/r/{n}.tif", avus=[("name", str(n), "")])
    zone.add_avu(f"{zone.home}/r/4.tif", "long", "ä" * 2000)
    old = list_tree(session, f"{zone.home}/r", genquery2=False)
    assert [path for path, _ in old.unread] == [f"{zone.home}/r/4.tif"]
    assert "2,700 bytes" in old.unread[0][1]
    assert [each.avus[0][1] for each in old.objects if each.avus] == list("01235678")
    new = list_tree(session, f"{zone.home}/r", genquery2=True)
    assert new.unread == []
    assert len(new.objects[4].avus) == 2


@BOTH
def test_only_good_replicas_count(zone: Zone, session: Session, genquery2: bool) -> None:
    zone.add_resource("other")
    for name in ("stale.tif", "one_good.tif", "differ.tif"):
        zone.put(f"{zone.home}/r/{name}", b"abc")
        zone.add_replica(f"{zone.home}/r/{name}", "other")
    zone.set_replica(f"{zone.home}/r/stale.tif", 0, status="0")
    zone.set_replica(f"{zone.home}/r/stale.tif", 1, status="2")
    zone.set_replica(f"{zone.home}/r/one_good.tif", 0, status="0")
    zone.set_replica(f"{zone.home}/r/differ.tif", 1, checksum="sha2:AAAA")
    found = {each.name: each for each in list_tree(session, f"{zone.home}/r", genquery2=genquery2).objects}
    assert found["stale.tif"].good is None
    assert found["stale.tif"].unusable == "no replica is good (0: stale, 1: being written)"
    good = found["one_good.tif"].good
    assert good is not None
    assert good.number == 1
    assert found["differ.tif"].unusable == "its good replicas differ in their checksums"


@BOTH
def test_what_may_not_be_seen_is_not_there(zone: Zone, genquery2: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    zone.make_user("alice", "secret", groups=("lab", "all"))
    root = f"{zone.home}/r"
    zone.put(f"{root}/seen.tif", avus=[("k", "v", "")])
    zone.put(f"{root}/hidden.tif")
    zone.put(f"{root}/sub/x.tif")
    for path in (root, f"{root}/seen.tif"):
        for who in ("alice", "lab", "all"):
            zone.grant(path, who, "read_object")
    act_as(zone, "alice", monkeypatch)
    with connect(Address(root)) as session:
        found = list_tree(session, root, genquery2=genquery2)
        assert names(found) == ["seen.tif"]
        assert found.objects[0].avus == (("k", "v", ""),)
        assert len(found.objects[0].replicas) == 1
        with pytest.raises(InputError, match="is not there, or you have no permission to see it"):
            list_tree(session, f"{root}/sub", genquery2=genquery2)


@BOTH
def test_a_catalogue_that_changes_is_listed_again(
    zone: Zone, session: Session, genquery2: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    zone.put(f"{zone.home}/r/0.tif")
    usual, seen = module._Asked.objects, []

    def slow(self: module._Asked) -> dict[int, module.Listed]:
        found = usual(self)
        seen.append(len(found))
        if len(seen) == 1:
            zone.put(f"{zone.home}/r/new.tif")
        return found

    monkeypatch.setattr(module._Asked, "objects", slow)
    assert names(list_tree(session, f"{zone.home}/r", genquery2=genquery2)) == ["0.tif", "new.tif"]
    assert seen == [1, 2]


def test_a_count_that_never_fits_is_an_error(zone: Zone, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    zone.put(f"{zone.home}/r/0.tif")
    usual = module._Asked.objects
    monkeypatch.setattr(module._Asked, "objects", lambda self: dict(list(usual(self).items())[1:]))
    with pytest.raises(EnvironmentUnusableError, match="0 replicas were listed, the server counts 1"):
        list_tree(session, f"{zone.home}/r")


@pytest.mark.parametrize("code", [SYS_UNMATCHED_API_NUM, SYS_LIBRARY_ERROR])
def test_where_the_newer_query_does_not_work_the_older_is_asked(zone: Zone, session: Session, code: int) -> None:
    zone.put(f"{zone.home}/r/0.tif", avus=[("k", "v", "")])
    zone.faults.refuse(GENQUERY2, code)
    found = list_tree(session, f"{zone.home}/r")
    assert found.objects[0].avus == (("k", "v", ""),)


def test_a_server_that_refuses_all_queries_is_told(zone: Zone, session: Session) -> None:
    for api in (GENQUERY1, GENQUERY2):
        zone.faults.refuse(api, SYS_LIBRARY_ERROR)
    with pytest.raises(EnvironmentUnusableError, match="refuses to list it: SYS_LIBRARY_ERROR"):
        list_tree(session, zone.home)


def test_an_older_server_is_asked_the_older_query(zone: Zone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHON_IRODSCLIENT_REPORTED_SERVER_VERSION", "(4, 2, 12)")
    zone.put(f"{zone.home}/r/0.tif")
    with session_on(zone) as session:
        zone.calls.clear()
        assert len(list_tree(session, f"{zone.home}/r").objects) == 1
    assert zone.count()[GENQUERY2] == 0


@pytest.mark.parametrize("n_bytes", [10, 700, 3000, 9000])
def test_a_lost_connection_is_an_error_and_never_a_short_list(zone: Zone, n_bytes: int) -> None:
    zone.populate(f"{zone.home}/tree", 300, 2, 5)

    def work() -> None:
        with session_on(zone) as session:
            zone.faults.drop_after(n_bytes)
            list_tree(session, f"{zone.home}/tree")

    with pytest.raises(EnvironmentUnusableError, match="connection was lost"):
        work()
