"""`snakescope collect irods:///...` on the test zone: complete sheets, whatever the names, nothing silently wrong."""

from __future__ import annotations

import io
import json
import os
import random
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from irods_sites import ODD_NAMES, act_as, put_store, running_zone, store_files, tiff_bytes
from irods_zone import Zone
from snakescope import api
from snakescope.catalog import CollectReport, irods_headers, irods_tree
from snakescope.cli import main
from snakescope.errors import EnvironmentUnusableError, InputError
from snakescope.samples import Row, build_sheet, read_sheet, write_sheet
from snakescope.zone.address import Address

# A connection that is lost at its login is left unclosed by the client.
pytestmark = [pytest.mark.irods, pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")]
READ, QUERY1, QUERY2 = 675, 702, 10221


@pytest.fixture
def zone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Zone]:
    with running_zone(tmp_path, monkeypatch) as running:
        yield running


@pytest.fixture
def root(zone: Zone) -> str:
    zone.make_collection(f"{zone.home}/proj")
    return f"{zone.home}/proj"


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return tmp_path / "study"


def collect(root: str, study: Path, **options: Any) -> CollectReport:
    return api.collect(str(Address(root)), study=study, **options)


def rows(study: Path) -> dict[str, Row]:
    return {row.id: row for row in read_sheet(study / "config/samples.tsv").rows}


def findings(report: CollectReport, name: str) -> Any:
    assert report.zone is not None
    return getattr(report.zone, name)


def test_every_image_has_a_row_with_what_is_known_of_it(zone: Zone, root: str, study: Path) -> None:
    zone.put(f"{root}/cell/a_t0.tif", tiff_bytes(), [("snakescope.organism", "yeast", "")])
    put_store(zone, f"{root}/b.ome.zarr")
    zone.put(f"{root}/c.czi", b"ZISRAWFILE")
    zone.put(f"{root}/notes.txt", b"x")
    zone.put(f"{root}/.hidden/d.tif", tiff_bytes())
    zone.add_avu(root, "sample_common_name", "Homo sapiens")
    zone.add_avu(f"{root}/b.ome.zarr", "study_title", "Zarrs")
    report = collect(root, study)
    found = rows(study)
    assert [row.path for row in found.values()] == [
        f"irods://{root}/b.ome.zarr",
        f"irods://{root}/c.czi",
        f"irods://{root}/cell/a_t0.tif",
    ]
    b, c, a = found.values()
    assert (a.axes, a.shape, a.dtype, a.voxel_size_um, a.format) == (
        "zyx",
        (3, 8, 16),
        "uint16",
        (0.3, 0.1, 0.1),
        "tiff",
    )
    assert (b.axes, b.shape, b.format, b.cell("study_title")) == ("zyx", (2, 8, 16), "ome-zarr", "Zarrs")
    assert b.bytes == sum(map(len, store_files().values()))
    assert (c.format, c.axes) == ("czi", None)
    assert [row.cell("organism") for row in (a, b, c)] == ["yeast", "Homo sapiens", "Homo sapiens"]
    assert a.cell("checksum").startswith("sha2:")
    assert len(a.cell("sha256")) == 64
    assert a.cell("modified_at").endswith("Z")
    assert findings(report, "unknown") == [
        ("c.czi", ".czi is not read in iRODS; what its header says is unknown until it is staged")
    ]
    assert (report.hidden, dict(report.other)) == (1, {".txt": 1})


def test_no_whole_image_is_fetched_for_its_header(zone: Zone, root: str, study: Path) -> None:
    zone.put(f"{root}/big.tif", tiff_bytes((100, 256, 256)))
    zone.calls.clear()
    collect(root, study)
    assert zone.count()[READ] <= 2  # of 200 blocks
    assert rows(study)["big"].shape == (100, 256, 256)


def test_headers_are_read_in_few_sessions_and_only_once(zone: Zone, root: str, study: Path) -> None:
    for n in range(20):
        zone.put(f"{root}/i{n}.tif", tiff_bytes(seed=n))
    collect(root, study)
    assert zone.most_connections <= 5
    zone.calls.clear()
    report = collect(root, study)
    assert zone.count()[READ] == 0
    assert len(report.unchanged) == 20


@pytest.mark.parametrize("old_server", [False, True])
def test_the_listing_has_a_connection_that_nothing_else_uses(
    zone: Zone, root: str, study: Path, old_server: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if old_server:
        monkeypatch.setenv("PYTHON_IRODSCLIENT_REPORTED_SERVER_VERSION", "(4, 3, 1)")
    for n in range(12):
        zone.put(f"{root}/i{n}.tif", tiff_bytes(seed=n))
    zone.calls.clear()
    collect(root, study)
    listing = {call.connection for call in zone.calls if call.api in (QUERY1, QUERY2)}
    reading = {call.connection for call in zone.calls if call.api == READ}
    assert len(listing) == 1
    assert reading
    assert not listing & reading
    first_read = next(index for index, call in enumerate(zone.calls) if call.api == READ)
    assert not [call for call in zone.calls[first_read:] if call.connection in listing], "it was read to its end"


def test_no_headers_leaves_them_unknown_and_says_so(zone: Zone, root: str, study: Path) -> None:
    zone.put(f"{root}/a.tif", tiff_bytes())
    zone.calls.clear()
    report = collect(root, study, no_headers=True)
    assert zone.count()[READ] == 0
    assert rows(study)["a"].axes is None
    assert findings(report, "unknown") == [("a.tif", "its header was not read (--no-headers)")]


def test_avus_that_say_everything_save_the_header(zone: Zone, root: str, study: Path) -> None:
    facts = {"axes": "zyx", "shape": "3,8,16", "dtype": "uint16", "voxel_size_um": "0.5,0.2,0.2"}
    zone.put(f"{root}/a.tif", tiff_bytes(), [(f"snakescope.{name}", value, "") for name, value in facts.items()])
    zone.calls.clear()
    collect(root, study)
    assert zone.count()[READ] == 0
    assert rows(study)["a"].shape == (3, 8, 16)
    assert rows(study)["a"].voxel_size_um == (0.5, 0.2, 0.2)


def test_a_store_packed_as_zip_is_one_image(zone: Zone, root: str, study: Path) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in store_files().items():
            archive.writestr(f"b.ome.zarr/{name}", content)
    zone.put(f"{root}/b.ome.zarr.zip", stream.getvalue())
    collect(root, study)
    row = rows(study)["b"]
    assert (row.axes, row.shape, row.format) == ("zyx", (2, 8, 16), "ome-zarr")


def test_damaged_images_are_told_and_their_facts_unknown(zone: Zone, root: str, study: Path) -> None:
    zone.put(f"{root}/cut.tif", tiff_bytes((20, 64, 64))[:9000])
    zone.put(f"{root}/text.tif", b"no image at all")
    zone.put(f"{root}/empty.tif", b"")
    zone.put(f"{root}/plain.zarr/zarr.json", b"{}")
    zone.make_collection(f"{root}/stopped.zarr")
    report = collect(root, study)
    reasons = dict(findings(report, "unknown"))
    assert "is a damaged TIFF" in reasons["cut.tif"]
    assert "expected a TIFF" in reasons["text.tif"]
    assert "without any metadata" in reasons["plain.zarr"]
    assert [path for path, _ in report.unreadable] == ["empty.tif", "stopped.zarr"]
    assert {row.axes for row in rows(study).values()} == {None}


def test_odd_names_survive(zone: Zone, root: str, study: Path) -> None:
    for n, name in enumerate(ODD_NAMES):
        zone.put(f"{root}/{name[:-4]}/{name}", tiff_bytes(seed=n))
    collect(root, study)
    found = rows(study).values()
    assert {Address.parse(row.path).path for row in found} == {f"{root}/{name[:-4]}/{name}" for name in ODD_NAMES}
    assert {row.axes for row in found} == {"zyx"}
    report = collect(root, study)
    assert len(report.unchanged) == len(ODD_NAMES)


def test_one_object_and_one_store_can_be_collected(zone: Zone, root: str, study: Path) -> None:
    zone.put(f"{root}/a.tif", tiff_bytes())
    zone.put(f"{root}/b.tif", tiff_bytes())
    put_store(zone, f"{root}/c.zarr")
    collect(f"{root}/a.tif", study)
    collect(f"{root}/c.zarr", study)
    assert list(rows(study)) == ["a", "c"]


def test_series_time_and_channel_come_from_names(zone: Zone, root: str, study: Path) -> None:
    for t in range(2):
        for c in range(2):
            zone.put(f"{root}/cell_ch{c}_stack{t:04d}.tif", tiff_bytes())
    proposed = collect(root, study).proposal
    assert proposed is not None
    assert (proposed.pattern, proposed.accepted) == ("{series}_ch{c}_stack{t}", False)
    collect(root, study, yes=True)
    assert [(row.cell("series"), row.t, row.cell("c")) for row in rows(study).values()] == [
        ("cell", 0, "0"), ("cell", 1, "0"), ("cell", 0, "1"), ("cell", 1, "1"),
    ]  # fmt: skip


def test_the_time_between_stacks_comes_from_names(zone: Zone, root: str, study: Path) -> None:
    for t in range(3):
        zone.put(f"{root}/cell_ch0_stack{t:04d}_488nm_0000000msec_{t * 2500:010d}msecAbs.tif", tiff_bytes())
    collect(root, study, yes=True)
    assert [row.time_step_s for row in rows(study).values()] == [2.5, 2.5, 2.5]
    again = collect(root, study, yes=True)
    assert (again.changes, again.disagreements) == ([], [])


def test_include_and_exclude_count_what_they_leave_out(zone: Zone, root: str, study: Path) -> None:
    for name in ("a.tif", "b.tif", "raw/c.tif", "raw/d.tif"):
        zone.put(f"{root}/{name}", tiff_bytes())
    report = collect(root, study, include=["*.tif"], exclude=["raw"])
    assert list(rows(study)) == ["a", "b"]
    assert report.excluded == {"raw": 2}
    report = collect(root, study, include=["raw/*"], dry_run=True)
    assert (len(report.added), report.not_included) == (2, 2)


def test_conditions_look_at_the_object_and_the_collections_above(zone: Zone, root: str, study: Path) -> None:
    zone.put(f"{root}/one/a.tif", tiff_bytes(), [("quality", "good", "")])
    zone.put(f"{root}/one/b.tif", tiff_bytes(), [("quality", "bad", "")])
    zone.put(f"{root}/two/c.tif", tiff_bytes(), [("quality", "good enough", "")])
    zone.add_avu(f"{root}/one", "treatment", "heat")
    report = collect(root, study, where=["treatment=heat", "quality like good%"])
    assert list(rows(study)) == ["one_a"]
    assert findings(report, "filtered") == {"--where 'quality like good%'": 1, "--where 'treatment=heat'": 1}


def test_since_leaves_out_what_is_older(zone: Zone, root: str, study: Path) -> None:
    zone.put(f"{root}/old.tif", tiff_bytes())
    zone.put(f"{root}/new.tif", tiff_bytes())
    zone.catalogue.execute("update r_data_main set modify_ts = '01600000000' where data_name = 'old.tif'")
    report = collect(root, study, since="2021-01-01")
    assert list(rows(study)) == ["new"]
    assert findings(report, "filtered") == {"--since 2021-01-01": 1}


def test_results_that_were_published_are_not_collected(zone: Zone, root: str, study: Path) -> None:
    zone.put(f"{root}/a.tif", tiff_bytes())
    zone.put(f"{root}/results/a/deskewed.tif", tiff_bytes(), [("snakescope.step", "deskew", "")])
    put_store(zone, f"{root}/results/a/labels.zarr")
    zone.add_avu(f"{root}/results/a/labels.zarr", "snakescope.run", "r1")
    report = collect(root, study)
    assert list(rows(study)) == ["a"]
    assert sorted(path for path, _ in report.skipped) == ["results/a/deskewed.tif", "results/a/labels.zarr"]


def test_objects_without_a_good_replica_are_not_used(zone: Zone, root: str, study: Path) -> None:
    zone.put(f"{root}/a.tif", tiff_bytes())
    zone.put(f"{root}/b.tif", tiff_bytes())
    put_store(zone, f"{root}/c.zarr")
    assert len(collect(root, study).added) == 3
    zone.set_replica(f"{root}/a.tif", status="0")
    zone.set_replica(f"{root}/c.zarr/0/c/0/0/0", status="2")
    report = collect(root, study)
    assert findings(report, "unusable") == [
        ("a.tif", "no replica is good (0: stale)"),
        ("c.zarr", "1 of its 3 objects, first 0/c/0/0/0: no replica is good (0: being written)"),
    ]
    assert (report.unchanged, report.vanished) == (["b"], [])
    assert sorted(name for name, _ in report.not_collected) == ["a", "c"]
    assert main(["collect", str(Address(root)), "--study", str(study)]) == 1


def test_new_changed_and_vanished_rows_are_told_and_hand_made_cells_kept(zone: Zone, root: str, study: Path) -> None:
    zone.put(f"{root}/same.tif", tiff_bytes(), [("snakescope.organism", "yeast", "")])
    zone.put(f"{root}/changed.tif", tiff_bytes(seed=1))
    zone.put(f"{root}/gone.tif", tiff_bytes())
    collect(root, study)
    sheet = study / "config/samples.tsv"
    header, *lines = sheet.read_text().splitlines()
    sheet.write_text("\n".join([f"{header}\tmine", *(f"{line}\tby hand" for line in lines)]) + "\n")
    zone.put(f"{root}/changed.tif", tiff_bytes((5, 8, 16), seed=2))
    zone.put(f"{root}/new.tif", tiff_bytes())
    zone.add_avu(f"{root}/changed.tif", "snakescope.organism", "fly")
    with_session = zone.catalogue
    with_session.execute("delete from r_data_main where data_name = 'gone.tif'")
    before = rows(study)["changed"]
    report = collect(root, study)
    found = rows(study)
    assert (report.added, report.updated, report.unchanged) == (["new"], ["changed"], ["same"])
    assert [name for name, _ in report.vanished] == ["gone"]
    assert {change.column for change in report.changes} >= {"bytes", "checksum", "sha256", "shape", "organism"}
    assert found["changed"].shape == (5, 8, 16)
    assert found["changed"].cell("sha256") not in ("", before.cell("sha256"))
    assert [found[name].cell("mine") for name in ("same", "changed", "gone", "new")] == ["by hand"] * 3 + [""]


def test_facts_of_a_changed_object_that_were_not_read_are_not_kept(zone: Zone, root: str, study: Path) -> None:
    zone.put(f"{root}/a.tif", tiff_bytes())
    collect(root, study)
    zone.put(f"{root}/a.tif", tiff_bytes((4, 8, 16)))
    collect(root, study, no_headers=True)
    assert (rows(study)["a"].axes, rows(study)["a"].shape) == (None, None)


def test_an_avu_that_changed_changes_its_column(zone: Zone, root: str, study: Path) -> None:
    zone.put(f"{root}/a.tif", tiff_bytes(), [("sample", "one", "")])
    collect(root, study)
    zone.catalogue.execute("update r_meta_main set meta_attr_value = 'two' where meta_attr_name = 'sample'")
    report = collect(root, study)
    assert [(change.column, change.old, change.new) for change in report.changes] == [("sample", "one", "two")]


def remove_avu(zone: Zone, path: str, name: str) -> None:
    """Take an AVU away from one object or collection."""
    collection, _, own = path.rpartition("/")
    zone.catalogue.execute(
        "delete from r_objt_metamap where meta_id in (select meta_id from r_meta_main where meta_attr_name = ?) and "
        "object_id in (select data_id from r_data_main join r_coll_main using(coll_id) where coll_name = ? and "
        "data_name = ? union select coll_id from r_coll_main where coll_name = ?)",
        *(name, collection, own, path),
    )


def changes_of(report: CollectReport) -> list[tuple[str, str, str, str]]:
    return sorted((change.id, change.column, change.old, change.new) for change in report.changes)


def edit(study: Path, row: str, **cells: str) -> None:
    sheet = read_sheet(study / "config/samples.tsv")
    changed = [{**each.cells, **(cells if each.id == row else {})} for each in sheet.rows]
    write_sheet(study / "config/samples.tsv", build_sheet([*dict.fromkeys([*sheet.columns, *cells])], changed))


def test_an_avu_that_is_gone_empties_its_cell_and_is_told(zone: Zone, root: str, study: Path) -> None:
    for name in ("a", "b", "c"):
        zone.put(f"{root}/{name}.tif", tiff_bytes(), [("sample", name, "")] if name != "c" else [])
    zone.add_avu(root, "study_title", "of all")
    collect(root, study)
    edit(study, "c", sample="typed by hand", mine="x")
    assert rows(study)["a"].cell("from_avus") == "sample; study_title"
    remove_avu(zone, f"{root}/a.tif", "sample")
    assert changes_of(collect(root, study)) == [("a", "sample", "a", "")]
    assert {name: row.cell("sample") for name, row in rows(study).items()} == {"a": "", "b": "b", "c": "typed by hand"}
    remove_avu(zone, root, "study_title")
    remove_avu(zone, f"{root}/b.tif", "sample")
    told = [("a", "study_title", "of all", ""), ("b", "sample", "b", ""), ("b", "study_title", "of all", "")]
    assert changes_of(collect(root, study)) == [*told, ("c", "study_title", "of all", "")]
    assert {name: row.cell("sample") for name, row in rows(study).items()} == {"a": "", "b": "", "c": "typed by hand"}
    assert rows(study)["c"].cell("mine") == "x"
    report = collect(root, study)
    assert (changes_of(report), report.disagreements, len(report.unchanged)) == ([], [], 3)


def test_a_fact_whose_avu_is_gone_is_told_until_its_cell_is_emptied(zone: Zone, root: str, study: Path) -> None:
    zone.put(f"{root}/a.tif", tiff_bytes(), [("snakescope.voxel_size_um", "0.5,0.2,0.2", "")])
    collect(root, study)
    remove_avu(zone, f"{root}/a.tif", "snakescope.voxel_size_um")
    for _ in range(2):
        report = collect(root, study)
        assert rows(study)["a"].voxel_size_um == (0.5, 0.2, 0.2)
        assert "'0.5,0.2,0.2', as an AVU did that is not there any more" in report.disagreements[0].message
    edit(study, "a", voxel_size_um="")
    collect(root, study)
    assert rows(study)["a"].voxel_size_um == (0.3, 0.1, 0.1), "as the file says"
    assert collect(root, study).disagreements == []


def test_a_fact_corrected_by_hand_is_not_the_avu_s_any_more(zone: Zone, root: str, study: Path) -> None:
    zone.put(f"{root}/a.tif", tiff_bytes(), [("snakescope.voxel_size_um", "0.5,0.2,0.2", "")])
    collect(root, study)
    edit(study, "a", voxel_size_um="0.9,0.2,0.2")
    assert "its AVU says '0.5,0.2,0.2'" in collect(root, study).disagreements[0].message
    remove_avu(zone, f"{root}/a.tif", "snakescope.voxel_size_um")
    assert collect(root, study).disagreements == []
    assert rows(study)["a"].voxel_size_um == (0.9, 0.2, 0.2)


def test_an_avu_that_is_there_but_not_taken_or_sent_keeps_its_cell(
    zone: Zone, root: str, study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zone.put(f"{root}/a.tif", tiff_bytes(), [("sample", "one", ""), ("odd one", "x", "")])
    collect(root, study, all_avus=True)
    assert changes_of(collect(root, study)) == []
    monkeypatch.setenv("PYTHON_IRODSCLIENT_REPORTED_SERVER_VERSION", "(4, 2, 12)")
    zone.add_avu(f"{root}/a.tif", "long", "ä" * 2000)
    report = collect(root, study)
    assert (changes_of(report), len(findings(report, "unread"))) == ([], 1)
    assert (rows(study)["a"].cell("sample"), rows(study)["a"].cell("avu_odd_one")) == ("one", "x")
    remove_avu(zone, f"{root}/a.tif", "long")
    remove_avu(zone, f"{root}/a.tif", "odd one")
    assert changes_of(collect(root, study)) == [("a", "avu_odd_one", "x", "")]


def test_a_voxel_size_written_by_hand_stays(zone: Zone, root: str, study: Path) -> None:
    zone.put(f"{root}/a.tif", tiff_bytes())
    collect(root, study)
    sheet = study / "config/samples.tsv"
    sheet.write_text(sheet.read_text().replace("0.3,0.1,0.1", "0.9,0.1,0.1"))
    zone.put(f"{root}/a.tif", tiff_bytes(seed=3))
    report = collect(root, study)
    assert rows(study)["a"].voxel_size_um == (0.9, 0.1, 0.1)
    assert "the sheet says '0.9,0.1,0.1'" in report.disagreements[0].message


def test_an_avu_of_one_axis_leaves_the_others_to_the_header_and_contradictions_are_told(
    zone: Zone, root: str, study: Path
) -> None:
    zone.put(f"{root}/z.tif", tiff_bytes(), [("snakescope.voxel_size_z", "0.4", "um")])
    zone.put(f"{root}/same.tif", tiff_bytes(), [("snakescope.voxel_size_um", "0.3,0.1,0.1", "")])
    report = collect(root, study)
    assert rows(study)["z"].voxel_size_um == (0.4, 0.1, 0.1)
    (told,) = report.disagreements
    assert "its AVU says '0.4,0.1,0.1', the header of the file '0.3,0.1,0.1'; the AVU was taken" in str(told)


@pytest.mark.parametrize("path", ["empty", "hidden"])
def test_no_rows_means_empty_or_no_permission(
    zone: Zone, root: str, study: Path, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    zone.make_user("alice", "secret")
    zone.make_collection(f"{root}/empty")
    zone.put(f"{root}/hidden/a.tif", tiff_bytes())
    zone.grant(f"{root}/{path}", "alice", "read_object")
    act_as(zone, "alice", monkeypatch)
    with pytest.raises(InputError, match="it is empty, or you have no permission"):
        collect(f"{root}/{path}", study)
    assert not study.exists()


def test_a_sheet_survives_a_lost_connection(zone: Zone, root: str, study: Path) -> None:
    for n in range(5):
        zone.put(f"{root}/{n}.tif", tiff_bytes())
    collect(root, study)
    before = (study / "config/samples.tsv").read_bytes()
    zone.put(f"{root}/new.tif", tiff_bytes())
    zone.faults.drop_after(2500)
    with pytest.raises(EnvironmentUnusableError, match=r"connection was lost|gives no answer"):
        collect(root, study)
    assert (study / "config/samples.tsv").read_bytes() == before


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(20 if os.environ.get("SNAKESCOPE_SOAK") else 5))
def test_a_connection_lost_while_reading_headers_is_made_anew(
    zone: Zone, root: str, study: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(12):
        zone.put(f"{root}/{n}.tif", tiff_bytes(seed=n))
    usual = irods_headers.read_all

    def cut(*arguments: Any) -> Any:
        zone.faults.drop_after(random.Random(seed).randrange(40_000))
        return usual(*arguments)

    monkeypatch.setattr(irods_tree, "read_all", cut)
    report = collect(root, study)
    assert zone.faults.dropped == 1
    assert findings(report, "unknown") == []
    assert {row.axes for row in rows(study).values()} == {"zyx"}


@pytest.mark.parametrize("old_server", [False, True])
def test_a_large_tree_is_complete_and_takes_few_calls(
    zone: Zone, study: Path, old_server: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if old_server:
        monkeypatch.setenv("PYTHON_IRODSCLIENT_REPORTED_SERVER_VERSION", "(4, 3, 1)")
    plan = zone.populate(f"{zone.home}/tree", 10_000, 5)
    zone.calls.clear()
    collect(plan.root, study, no_headers=True, all_avus=True)
    n_login = 4
    assert len(zone.calls) - n_login <= 60_000 / (2000 if old_server else 5000)
    assert zone.count()[QUERY2] == 0 or not old_server
    found = {Address.parse(row.path).path: row for row in read_sheet(study / "config/samples.tsv").rows}
    truth = {path: (str(size), *avus.values()) for path, _, size, avus in plan.truth()}
    columns = ["bytes", *(f"avu_key_{n}" for n in range(5))]
    assert {path: tuple(row.cell(name) for name in columns) for path, row in found.items()} == truth


def test_a_server_that_goes_away_leaves_the_facts_unknown(
    zone: Zone, root: str, study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(6):
        zone.put(f"{root}/{n}.tif", tiff_bytes(seed=n))
    usual = irods_headers.read_all

    def stop(*arguments: Any) -> Any:
        zone.stop()
        return usual(*arguments)

    monkeypatch.setattr(irods_tree, "read_all", stop)
    report = collect(root, study)
    assert len(rows(study)) == 6
    assert len(findings(report, "unknown")) == 6
    assert "the server gives no answer" in findings(report, "unknown")[0][1]


def test_the_command_prints_a_report_and_json(zone: Zone, root: str, study: Path, capsys: Any) -> None:
    zone.put(f"{root}/a\tb.tif", tiff_bytes(), [("foreign", "x", "")])
    address = str(Address(root))
    assert main(["collect", address, "--study", str(study), "--dry-run"]) == 0
    text = capsys.readouterr().out
    assert f"{address}: 1 images in 1 files" in text
    assert "AVUs left out that the mapping does not know: foreign 1 (--all-avus takes them)" in text
    assert not study.exists()
    assert main(["collect", address, "--study", str(study), "--json", "--all-avus"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["rows"][0]["avu_foreign"] == "x"
    assert found["irods"]["objects"] == 1


def test_options_for_irods_are_refused_for_a_folder(tmp_path: Path, capsys: Any) -> None:
    assert main(["collect", str(tmp_path), "--study", str(tmp_path / "s"), "--where", "a=b"]) == 2
    assert "are for a collection of iRODS" in capsys.readouterr().err


def test_an_unusable_zone_is_exit_3(zone: Zone, root: str, study: Path, capsys: Any) -> None:
    zone.stop()
    assert main(["collect", str(Address(root)), "--study", str(study)]) == 3
    assert "the server gives no answer" in capsys.readouterr().err
