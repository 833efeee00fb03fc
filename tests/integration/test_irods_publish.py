"""Publishing into a zone: what comes there, what is done twice, what is left alone, and what a fault leaves."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from urllib.parse import quote

import pytest

from integration_helpers import snakescope
from irods_zone import Code, Zone
from irods_zone import objects as served
from publish_helpers import (
    HOSTILE,
    ODD_FILES,
    Export,
    assert_published,
    avus_below,
    catalogue,
    changes,
    objects,
    publish,
    root_of,
    sha256,
    target,
)
from snakescope import api
from snakescope.catalog.omero_quay import read_assays
from snakescope.errors import InputError
from snakescope.publish import plan as planning
from snakescope.samples import build_sheet, sheet_text
from snakescope.zone import store

pytestmark = pytest.mark.irods
PREFIX = "snakescope."


@pytest.fixture
def zone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Zone]:
    """A zone that the environment leads to, in which nothing of its own may fail."""
    with Zone(tmp_path / "zone") as running:
        running.make_collection(f"{running.home}/lab")
        for name, value in running.environment().items():
            monkeypatch.setenv(name, value)
        yield running
    assert running.failures == []


@pytest.fixture
def export(tmp_path: Path) -> Export:
    """An exported study with two rows."""
    return Export(tmp_path / "tiny")


# ---------------------------------------------------------------------------- what comes there


def test_everything_is_put_checked_and_annotated(zone: Zone, export: Export) -> None:
    report = publish(zone, export)
    assert report.failed == []
    assert_published(zone, export, root_of(zone))
    assert report.put == len(export.files()) + 1
    assert (report.replaced, report.same, report.one_by_one) == (0, 0, 0)
    marked = dict(avu[:2] for avu in zone.avus(root_of(zone)))
    assert marked[f"{PREFIX}title"] == export.title
    assert {each.checksum.partition(":")[0] for each in zone.replicas(f"{root_of(zone)}/README.md")} == {"sha2"}


def test_publishing_again_changes_nothing(zone: Zone, export: Export) -> None:
    publish(zone, export)
    before = catalogue(zone)
    zone.calls.clear()
    report = publish(zone, export)
    assert changes(zone) == []
    assert catalogue(zone) == before
    assert (report.put, report.replaced, report.annotated, report.sources) == (0, 0, 0, 0)
    assert report.same == len(export.files()) + 1


def test_a_dry_run_tells_what_publishing_does_and_changes_nothing(zone: Zone, export: Export) -> None:
    before = catalogue(zone)
    zone.calls.clear()
    told = publish(zone, export, dry_run=True)
    assert changes(zone) == []
    assert catalogue(zone) == before
    done = publish(zone, export)
    assert (told.put, told.put_bytes, told.annotated) == (done.put, done.put_bytes, done.annotated)
    again = publish(zone, export, dry_run=True)
    assert (again.put, again.replaced, again.same, again.annotated) == (0, 0, done.put, 0)


def test_the_dry_run_prints_a_table(zone: Zone, export: Export) -> None:
    done = snakescope("publish", target(zone), "--dry-run", cwd=export.root)
    assert done.returncode == 0, done.stderr
    rows = {words[0]: words[1:] for line in done.stdout.splitlines() if (words := line.split())}
    assert rows["segment"][:5] == ["2", "8", "0", "0", "2"]
    assert rows["measure"][:5] == ["2", "2", "0", "0", "2"]
    assert "would publish to irods:///tempZone/home/rods/lab/tiny" in done.stdout


def test_json_tells_every_item(zone: Zone, export: Export) -> None:
    done = snakescope("publish", target(zone), "--json", cwd=export.root)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    paths = {row["path"]: row["files"] for row in told["rows"]}
    assert paths[f"{root_of(zone)}/results/r0/segment/labels.ome.zarr"] == {"put": 4}
    assert told["failed"] == []


def test_few_sessions_are_open_at_once(zone: Zone, tmp_path: Path) -> None:
    publish(zone, Export(tmp_path / "tiny", rows=8))
    assert zone.most_connections <= 4


def test_a_changed_study_updates_what_changed_and_tells_what_went(zone: Zone, export: Export) -> None:
    publish(zone, export)
    old = avus_below(zone, root_of(zone))
    gone = export.ids.pop()
    export.tables["r0"] = "n\nanother\n"
    export.make()
    zone.calls.clear()
    report = publish(zone, export)
    assert (report.put, report.failed) == (0, [])
    root = root_of(zone)
    assert report.gone == [
        f"{root}/raw/{gone}.tif",
        f"{root}/results/{gone}/measure/table.csv",
        f"{root}/results/{gone}/segment/labels.ome.zarr/",
    ]
    assert objects(zone, root)["results/r0/measure/table.csv"] == b"n\nanother\n"
    assert objects(zone, root)[f"raw/{gone}.tif"], "it is left as it is"
    new = avus_below(zone, root)
    table = "/results/r0/measure/table.csv"
    assert len(new[table]) == len(old[table])
    assert dict(avu[:2] for avu in new[table])[f"{PREFIX}sha256"] == sha256(b"n\nanother\n")
    assert new[f"/raw/{gone}.tif"] == old[f"/raw/{gone}.tif"]
    # The image of the other row is not put again.
    assert report.same > 6


def test_packed_images_are_one_object_each_and_the_same_each_time(zone: Zone, export: Export) -> None:
    report = publish(zone, export, pack=True)
    found = objects(zone, root_of(zone))
    content = found["results/r0/segment/labels.ome.zarr.zip"]
    with zipfile.ZipFile(BytesIO(content)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["zarr.json", "0/zarr.json", "0/c/0/0", "0/c/0/1"]
        assert archive.read("0/c/0/0") == b"r0 0/c/0/0"
    assert f"{sha256(content)}  results/r0/segment/labels.ome.zarr.zip\n" in found["checksums.sha256"].decode()
    assert report.put == len(found)
    before = catalogue(zone)
    zone.calls.clear()
    assert publish(zone, export, pack=True).same == len(found)
    assert changes(zone) == []
    assert catalogue(zone) == before


def test_a_packed_image_that_changed_is_put_again(zone: Zone, export: Export) -> None:
    publish(zone, export, pack=True)
    export.odd = ("a new chunk",)
    export.make()
    report = publish(zone, export, pack=True)
    content = objects(zone, root_of(zone))["results/r0/segment/labels.ome.zarr.zip"]
    with zipfile.ZipFile(BytesIO(content)) as archive:
        assert "odd/a new chunk" in archive.namelist()
    told = dict(avu[:2] for avu in zone.avus(f"{root_of(zone)}/results/r0/segment/labels.ome.zarr.zip"))
    assert told[f"{PREFIX}packed_sha256"] == sha256(content)
    assert report.failed == []
    assert publish(zone, export, pack=True).replaced == 0


def test_a_packed_image_that_lost_its_avus_is_not_put_again(zone: Zone, export: Export) -> None:
    publish(zone, export, pack=True)
    path = f"{root_of(zone)}/results/r0/segment/labels.ome.zarr.zip"
    before = zone.avus(path)
    zone.catalogue.execute(
        "delete from r_objt_metamap where object_id in (select data_id from r_data_main where data_name like '%.zip')"
    )
    report = publish(zone, export, pack=True)
    assert (report.put, report.replaced, report.annotated) == (0, 0, 2)
    assert zone.avus(path) == before


# ---------------------------------------------------------------------------- what is left alone


def test_foreign_avus_and_objects_are_never_touched(zone: Zone, export: Export) -> None:
    publish(zone, export)
    path = f"{root_of(zone)}/results/r0/measure/table.csv"
    foreign = [("project", "P1", ""), ("snakescopeXstudy", "other", ""), (f"{PREFIX}reviewed", "yes", "by hand")]
    for avu in foreign:
        zone.add_avu(path, *avu)
    zone.add_avu(path, f"{PREFIX}step", "void", "unit")
    zone.put(f"{root_of(zone)}/notes.txt", b"mine")
    export.tables["r0"] = "n\nnew\n"
    export.make()
    report = publish(zone, export)
    assert set(foreign) <= set(zone.avus(path))
    assert (f"{PREFIX}step", "void", "unit") not in zone.avus(path)
    assert (report.others, report.gone) == (1, [])
    assert zone.read(f"{root_of(zone)}/notes.txt") == b"mine"


def test_the_prefix_is_configured(zone: Zone, export: Export) -> None:
    export.write("config/config.yaml", "pipeline: tiny\navu_prefix: 'lab_x:'\n")
    zone.calls.clear()
    publish(zone, export)
    told = [name for avus in avus_below(zone, root_of(zone)).values() for name, _, _ in avus]
    assert told
    assert {name[:6] for name in told} == {"lab_x:"}
    for bad in ("''", "'a%'", f"'{'x' * 300}'"):
        export.write("config/config.yaml", f"pipeline: tiny\navu_prefix: {bad}\n")
        with pytest.raises(InputError, match=r"config/config.yaml: avu_prefix: found"):
            publish(zone, export)


def test_unreadable_foreign_avus_do_no_harm(zone: Zone, export: Export) -> None:
    publish(zone, export)
    for name, value in (("note", "bell \x07"), ("long", "ü" * 2000)):
        zone.add_avu(f"{root_of(zone)}/README.md", name, value)
    assert publish(zone, export).annotated == 0


def test_files_of_somebody_else_are_not_replaced(zone: Zone, export: Export) -> None:
    zone.put(f"{root_of(zone)}/README.md", b"somebody wrote this")
    before = catalogue(zone)
    with pytest.raises(InputError, match=r"tiny/README.md: is no part of the study or has other content"):
        publish(zone, export)
    assert catalogue(zone) == before


def test_another_study_of_that_name_is_refused(zone: Zone, export: Export, tmp_path: Path) -> None:
    publish(zone, export)
    before = catalogue(zone)
    with pytest.raises(InputError, match="holds the study 'Vesicles, tracked'; this one is 'Nuclei'"):
        publish(zone, Export(tmp_path / "other/tiny", title="Nuclei"))
    assert catalogue(zone) == before


@pytest.mark.parametrize("collection", ["missing", "lab/none/at/all"])
def test_a_target_that_is_not_there_is_told(zone: Zone, export: Export, collection: str) -> None:
    with pytest.raises(InputError, match="there is no such collection, or you have no permission to see it"):
        publish(zone, export, collection)


def test_a_target_that_may_not_be_written_is_told(zone: Zone, export: Export, monkeypatch: pytest.MonkeyPatch) -> None:
    zone.make_user("ann", "ann")
    zone.grant(zone.home, "ann", "read")
    zone.grant(f"{zone.home}/lab", "ann", "read")
    for name, value in zone.environment("ann").items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=r"cannot be made: you may not change it"):
        publish(zone, export)


def test_without_an_export_there_is_nothing_to_publish(zone: Zone, export: Export) -> None:
    (export.root / "study/checksums.sha256").unlink()
    with pytest.raises(InputError, match="there is no export to publish"):
        publish(zone, export)


def test_a_file_that_changed_after_the_export_is_not_published(zone: Zone, export: Export) -> None:
    for row, text in (("r0", "x" * 4), ("r1", "longer than before")):
        export.write(f"results/{row}/measure/table.csv", text)
    report = publish(zone, export)
    assert [item.where.rpartition("/")[0][-10:] for item in report.failed] == ["r0/measure", "r1/measure"]
    assert {item.message for item in report.failed} == {store.CHANGED}
    statuses = [each.status for each in zone.replicas(f"{root_of(zone)}/results/r0/measure/table.csv")]
    assert statuses == ["0"]
    assert zone.replicas(f"{root_of(zone)}/ro-crate-metadata.json") == [], "what tells of all comes last"
    export.tables = {"r0": "x" * 4, "r1": "longer than before"}
    export.make()
    assert publish(zone, export).failed == []
    assert_published(zone, export, root_of(zone))


# ---------------------------------------------------------------------------- names, and sources in the zone


def test_hostile_names_survive(zone: Zone, export: Export) -> None:
    export.odd, export.title = ODD_FILES, f"{HOSTILE}\u2028and more \x07"
    export.make()
    zone.make_collection(f"{zone.home}/{HOSTILE}")
    for decoy in (HOSTILE.replace("_", "x"), f"{HOSTILE} 2"):
        zone.put(f"{zone.home}/{decoy}/tiny/README.md", b"decoy")
    report = publish(zone, export, HOSTILE)
    assert report.failed == []
    assert_published(zone, export, root_of(zone, HOSTILE))
    zone.calls.clear()
    assert publish(zone, export, HOSTILE).same == report.put
    assert changes(zone) == []


@pytest.fixture
def remote(zone: Zone, export: Export) -> Export:
    """The study, whose images lie in the zone."""
    for row, name in zip(export.ids, (HOSTILE, "plain"), strict=True):
        path = f"{zone.home}/data/{name}/{name}.tif"
        zone.put(path, (export.root / export.paths[row]).read_bytes(), [("project", "P1", "")])
        export.paths[row] = f"irods://{quote(path)}"
    export.write_sheet()
    return export


def test_sources_in_the_zone_are_named_and_told_where_their_results_lie(zone: Zone, remote: Export) -> None:
    report = publish(zone, remote)
    assert_published(zone, remote, root_of(zone))
    assert "raw/r0.tif" not in objects(zone, root_of(zone)), "it lies in the zone already"
    path = f"{zone.home}/data/{HOSTILE}/{HOSTILE}.tif"
    assert zone.avus(path) == [("project", "P1", ""), (f"{PREFIX}results", root_of(zone), "")]
    for name in ("segment/labels.ome.zarr", "measure/table.csv"):
        assert (f"{PREFIX}source", path, "") in zone.avus(f"{root_of(zone)}/results/r0/{name}")
    assert report.sources == 2
    before = catalogue(zone)
    zone.calls.clear()
    assert publish(zone, remote).sources == 0
    assert changes(zone) == []
    assert catalogue(zone) == before


def test_sources_keep_what_other_studies_told_them(zone: Zone, remote: Export) -> None:
    path = f"{zone.home}/data/plain/plain.tif"
    zone.add_avu(path, f"{PREFIX}results", "/tempZone/elsewhere")
    publish(zone, remote)
    told = [value for name, value, _ in zone.avus(path) if name == f"{PREFIX}results"]
    assert sorted(told) == sorted(["/tempZone/elsewhere", root_of(zone)])


def test_beside_publishes_where_all_sources_lie(zone: Zone, remote: Export) -> None:
    api.publish(study=remote.root, beside=True, quiet=True)
    assert_published(zone, remote, f"{zone.home}/data/tiny")


def test_beside_wants_sources_that_have_a_collection_in_common(zone: Zone, export: Export, remote: Export) -> None:
    remote.paths["r0"] = "irods:///tempZone/home/other/x.tif"
    remote.write_sheet()
    with pytest.raises(InputError, match="no collection in common but /tempZone/home"):
        api.publish(study=remote.root, beside=True, quiet=True)
    remote.paths = {row: f"data/{row}.tif" for row in remote.ids}
    remote.write_sheet()
    with pytest.raises(InputError, match="no row of the study comes from iRODS"):
        api.publish(study=remote.root, beside=True, quiet=True)
    with pytest.raises(InputError, match="expected either an address or --beside"):
        api.publish(study=remote.root, quiet=True)


def test_an_ordinary_user_publishes_and_sources_that_are_closed_are_counted(
    zone: Zone, remote: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    zone.make_user("ann", "ann")
    for collection in ("", "/data", f"/data/{HOSTILE}", "/data/plain"):
        zone.grant(f"{zone.home}{collection}", "ann", "read")
    zone.grant(f"{zone.home}/lab", "ann", "modify_object")
    opened, closed = f"{zone.home}/data/plain/plain.tif", f"{zone.home}/data/{HOSTILE}/{HOSTILE}.tif"
    zone.grant(opened, "ann", "create_metadata")
    zone.grant(closed, "ann", "read")
    for name, value in zone.environment("ann").items():
        monkeypatch.setenv(name, value)
    report = publish(zone, remote)
    assert (report.failed, report.sources) == ([], 1)
    assert report.sources_refused == [f"{closed}: you may not change it: that takes modify_object or own"]
    assert (f"{PREFIX}results", root_of(zone), "") in zone.avus(opened)
    assert zone.avus(closed) == [("project", "P1", "")]
    assert_published(zone, remote, root_of(zone))


def test_a_long_list_of_sources_is_cut_with_its_number(zone: Zone, tmp_path: Path) -> None:
    export = Export(tmp_path / "tiny", rows=1)
    path = export.root / "study/file_list_measure.tsv"
    names = [f"raw/{'ü' * 20}{index:04d}.tif" for index in range(500)]
    path.write_text(path.read_text().replace("results/r0/segment/labels.ome.zarr\t", "; ".join(names) + "\t"))
    publish(zone, export)
    told = dict(avu[:2] for avu in zone.avus(f"{root_of(zone)}/results/r0/measure/table.csv"))
    value = told[f"{PREFIX}source"]
    assert value.endswith("; ... (500 in all)")
    assert value.startswith(f"{names[0]}; {names[1]}; ")
    assert 2600 < len(value.encode()) <= 2700


# ---------------------------------------------------------------------------- faults


def test_where_the_atomic_call_is_refused_avus_are_written_one_by_one(zone: Zone, export: Export) -> None:
    publish(zone, export)
    whole = avus_below(zone, root_of(zone))
    zone.faults.refuse_atomic()
    zone.make_collection(f"{zone.home}/lab2")
    report = publish(zone, export, "lab2")
    assert report.one_by_one >= len(export.ids) * 2
    found = avus_below(zone, root_of(zone, "lab2"))
    assert {path: [avu[0] for avu in avus] for path, avus in found.items()} == {
        path: [avu[0] for avu in avus] for path, avus in whole.items()
    }
    export.tables["r0"] = "n\nnew\n"
    export.make()
    publish(zone, export, "lab2")
    assert_published(zone, export, root_of(zone, "lab2"))
    table = zone.avus(f"{root_of(zone, 'lab2')}/results/r0/measure/table.csv")
    assert len({name for name, _, _ in table}) == len(table), "void values are gone"
    zone.calls.clear()
    publish(zone, export, "lab2")
    assert changes(zone) == []


def test_a_stale_replica_is_no_replica(zone: Zone, export: Export) -> None:
    publish(zone, export)
    path = f"{root_of(zone)}/results/r0/segment/labels.ome.zarr/0/c/0/0"
    zone.set_replica(path, status="0")
    report = publish(zone, export)
    assert (report.put, report.replaced) == (0, 1)
    assert_published(zone, export, root_of(zone))


def test_a_good_replica_beside_a_stale_one_is_enough(zone: Zone, export: Export) -> None:
    publish(zone, export)
    path = f"{root_of(zone)}/README.md"
    zone.add_resource("second")
    zone.add_replica(path, "second")
    zone.set_replica(path, 0, status="0")
    zone.calls.clear()
    assert publish(zone, export).replaced == 0
    assert changes(zone) == []


def test_a_checksum_that_is_missing_is_asked_for(zone: Zone, export: Export) -> None:
    publish(zone, export)
    path = f"{root_of(zone)}/README.md"
    zone.catalogue.execute("update r_data_main set data_checksum = '' where data_name = 'README.md'")
    assert publish(zone, export, dry_run=True).replaced == 1
    zone.calls.clear()
    report = publish(zone, export)
    assert (report.put, report.replaced, set(changes(zone))) == (0, 0, {629})
    assert zone.replicas(path)[0].checksum.startswith("sha2:")


@pytest.mark.parametrize(("name", "form"), [("md5", "{hex}"), ("sha512", "sha512:{base64}")])
def test_zones_with_other_checksums_are_understood(zone: Zone, export: Export, name: str, form: str) -> None:
    publish(zone, export)
    for path, content in objects(zone, root_of(zone)).items():
        digest = hashlib.new(name, content).digest()
        text = form.format(hex=digest.hex(), base64=base64.b64encode(digest).decode())
        zone.set_replica(f"{root_of(zone)}/{path}", checksum=text)
    zone.calls.clear()
    report = publish(zone, export)
    assert (report.put, report.replaced) == (0, 0)
    assert changes(zone) == []
    zone.set_replica(f"{root_of(zone)}/README.md", checksum=text)
    assert publish(zone, export).replaced == 1


def test_a_wrong_checksum_on_the_server_is_told(zone: Zone, export: Export, monkeypatch: pytest.MonkeyPatch) -> None:
    right = served.checksum_of
    wrong = "sha2:" + "A" * 43 + "="
    monkeypatch.setattr(served, "checksum_of", lambda file: wrong if b"# V" in file.read_bytes() else right(file))
    report = publish(zone, export)
    assert [(item.where[-9:], item.message) for item in report.failed] == [
        ("README.md", "the checksum on the server is not that of the file")
    ]
    assert zone.avus(f"{root_of(zone)}/README.md") == []
    monkeypatch.undo()
    for name, value in zone.environment().items():
        monkeypatch.setenv(name, value)
    assert publish(zone, export).failed == []
    assert_published(zone, export, root_of(zone))


def test_what_is_refused_is_told_and_the_rest_is_done(zone: Zone, export: Export) -> None:
    publish(zone, export)
    export.tables = {"r0": "n\nnew\n", "r1": "n\nnewer\n"}
    export.make()
    zone.set_replica(f"{root_of(zone)}/results/r0/measure/table.csv", status="2")
    done = snakescope("publish", target(zone), cwd=export.root)
    assert done.returncode == 1
    assert "results/r0/measure/table.csv: is locked" in done.stdout
    assert "iadmin modrepl" in done.stdout
    assert zone.read(f"{root_of(zone)}/results/r1/measure/table.csv") == b"n\nnewer\n"
    zone.set_replica(f"{root_of(zone)}/results/r0/measure/table.csv", status="0")
    assert publish(zone, export).failed == []
    assert_published(zone, export, root_of(zone))


def test_a_query_that_is_refused_is_told(zone: Zone, export: Export) -> None:
    publish(zone, export)
    zone.faults.refuse(702, Code.CAT_SQL_ERR)
    with pytest.raises(InputError, match=r"lab/tiny: the server refuses it \(CAT_SQL_ERR\)"):
        publish(zone, export)


def test_a_server_that_is_gone_is_told(zone: Zone, export: Export) -> None:
    zone.stop()
    done = snakescope("publish", target(zone), cwd=export.root)
    assert done.returncode == 3
    assert "the server gives no answer" in done.stderr
    assert "rods" not in done.stdout


def test_the_atomic_call_that_fails_otherwise_is_tried_one_by_one(zone: Zone, export: Export) -> None:
    zone.faults.refuse(20002, Code.SYS_NOT_SUPPORTED)
    report = publish(zone, export)
    assert report.one_by_one
    assert_published(zone, export, root_of(zone))


def test_the_names_of_all_avus_are_documented() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs/irods-publish.md").read_text(encoding="utf-8")
    for name in (*planning.NAMES, planning.RESULTS):
        assert f"`{PREFIX}{name}`" in page


def test_the_analysis_becomes_an_assay_of_the_studies_of_omero_quay(zone: Zone, export: Export) -> None:
    told = {"quay_investigation": "lab", "quay_study": "mitosis", "quay_assay": "day 1", "quay_owner": "ann"}
    columns = ["id", "path", "voxel_size_um", *told]
    rows = [{"id": row, "path": export.paths[row], "voxel_size_um": "1,1,1", **told} for row in export.ids]
    export.write("config/samples.tsv", sheet_text(build_sheet(columns, rows)))
    export.write("study/rembi.yaml", "image_analysis:\n  analysis_overview: Nuclei were counted.\n")
    checksums = export.root / "study/checksums.sha256"
    lines = [text for text in checksums.read_text().splitlines(True) if "rembi" not in text]
    checksums.write_text("".join(lines))
    publish(zone, export)
    text = zone.read(f"{root_of(zone)}/omero-quay.json")
    (export.root / "manifest.json").write_bytes(text)
    (assay,) = read_assays(export.root / "manifest.json")
    assert (assay.investigation, assay.study, assay.name, assay.owner) == ("lab", "mitosis", "tiny_analysis", "ann")
    assert assay.paths == (f"irods://{root_of(zone)}/results",)
    assert assay.pairs["Image Analysis Overview"] == "Nuclei were counted."
    assert sha256(text) in zone.read(f"{root_of(zone)}/checksums.sha256").decode()
    zone.calls.clear()
    publish(zone, export)
    assert changes(zone) == []


@pytest.mark.slow
def test_a_real_export_comes_back_whole(zone: Zone, demo_study: Path, tmp_path: Path) -> None:
    """Published, fetched again, and checked with the list of checksums alone, in the terminal's way."""
    report = api.publish(target(zone), study=demo_study, quiet=True)
    assert report.failed == []
    root = f"{zone.home}/lab/{demo_study.name}"
    for name, content in objects(zone, root).items():
        (tmp_path / "back" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "back" / name).write_bytes(content)
    done = subprocess.run(
        ["sha256sum", "--check", "--strict", "--quiet", "checksums.sha256"], cwd=tmp_path / "back", capture_output=True
    )
    assert done.returncode == 0, done.stderr
    told = dict(avu[:2] for avu in zone.avus(f"{root}/results/cell1_ch0_stack0000/deconvolve/image.ome.zarr"))
    assert told[f"{PREFIX}source"] == "raw/cell1_ch0_stack0000.tif", "not the image between"
    assert told[f"{PREFIX}voxel_size_um"].endswith(",0.1,0.1")
    zone.calls.clear()
    again = api.publish(target(zone), study=demo_study, quiet=True)
    assert (again.put, again.replaced, again.annotated) == (0, 0, 0)
    assert changes(zone) == []
