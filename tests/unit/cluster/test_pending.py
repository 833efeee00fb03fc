"""Which jobs are not done, told by the records."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from cluster_helpers import STEPS, TOOLS, rows_of, study, write_all, write_record
from snakescope import layout
from snakescope.cluster import pending as pending_module
from snakescope.cluster.pending import Pending, find_pending, in_order, keep_failed
from snakescope.errors import InputError
from snakescope.samples import build_sheet, read_sheet, write_sheet
from snakescope.workflow import Plan
from tiny_tools import write_pipeline, write_rows, write_rules, write_tools


def pairs(found: Pending) -> set[tuple[str, str, str]]:
    return {(step, unit, state) for step, units in found.pairs.items() for unit, state in units.items()}


def change_row(folder: Path, row: str, **cells: str) -> Plan:
    sheet = read_sheet(folder / layout.SHEET)
    rows = [{**item.cells, **(cells if item.id == row else {})} for item in sheet.rows]
    write_sheet(folder / layout.SHEET, build_sheet(sheet.columns, rows))
    return Plan.read("test", layout.SHEET, folder)


def test_without_records_everything_is_new(tmp_path: Path) -> None:
    plan = study(tmp_path)
    found = find_pending(plan, tmp_path)
    assert {step: len(units) for step, units in found.pairs.items()} == {"shear": 6, "look": 6, "link": 2, "judge": 6}
    assert (found.total, found.stale) == (20, 0)
    assert list(found.pairs["shear"]) == [row.id for row in plan.sheet.rows]


def test_with_all_records_nothing_is_pending_and_times_are_told(tmp_path: Path) -> None:
    plan = study(tmp_path)
    write_all(tmp_path, plan)
    found = find_pending(plan, tmp_path)
    assert pairs(found) == set()
    assert found.done == {"shear": 6, "look": 6, "link": 2, "judge": 6}
    assert found.wall_s["link"] == [("c0", 6.0), ("c1", 6.0)]


def test_what_takes_from_a_pending_job_is_stale(tmp_path: Path) -> None:
    plan = study(tmp_path)
    write_all(tmp_path, plan)
    (tmp_path / layout.record("r004", "look")).unlink()
    assert pairs(find_pending(plan, tmp_path)) == {
        ("look", "r004", "new"), ("link", "c1", "stale"),
        ("judge", "r003", "stale"), ("judge", "r004", "stale"), ("judge", "r005", "stale"),
    }  # fmt: skip


def test_an_input_that_was_made_anew_with_other_bytes_makes_stale(tmp_path: Path) -> None:
    plan = study(tmp_path)
    write_all(tmp_path, plan)
    write_record(tmp_path, plan, "look", "r000")
    assert pairs(find_pending(plan, tmp_path)) == set()
    write_record(tmp_path, plan, "look", "r000", made="otherwise")
    assert {("link", "c0", "stale")} <= pairs(find_pending(plan, tmp_path))
    assert ("look", "r000", "stale") not in pairs(find_pending(plan, tmp_path))


def test_another_parameter_makes_the_step_and_what_follows_stale(tmp_path: Path) -> None:
    write_all(tmp_path, study(tmp_path))
    plan = study(tmp_path, steps={**STEPS, "look": {**STEPS["look"], "params": {"word": "b"}}})
    found = find_pending(plan, tmp_path)
    assert {step: set(units.values()) for step, units in found.pairs.items()} == {
        "shear": set(), "look": {"stale"}, "link": {"stale"}, "judge": {"stale"},
    }  # fmt: skip


def test_another_descriptor_makes_stale(tmp_path: Path) -> None:
    write_all(tmp_path, study(tmp_path))
    plan = study(tmp_path, tools={**TOOLS, "judge": {**TOOLS["judge"], "version": "1.0.1"}})
    found = find_pending(plan, tmp_path)
    assert {step for step, units in found.pairs.items() if units} == {"judge"}


def test_words_that_change_nothing_of_the_step_keep_records(tmp_path: Path) -> None:
    plan = study(tmp_path)
    write_all(tmp_path, plan)
    for step in plan.steps:
        path = tmp_path / layout.step_facts_file("test", step)
        facts = json.loads(path.read_text())
        path.write_text(json.dumps({**facts, "pipeline_title": "Another title", "snakescope": "9.9"}))
    assert find_pending(plan, tmp_path).total == 0


def test_another_path_in_the_sheet_makes_what_reads_it_stale(tmp_path: Path) -> None:
    write_all(tmp_path, study(tmp_path))
    plan = change_row(tmp_path, "r001", path="raw/better.tif")
    found = find_pending(plan, tmp_path)
    assert {("shear", "r001", "stale"), ("judge", "r001", "stale"), ("link", "c0", "stale")} <= pairs(found)
    assert not {("shear", "r000", "stale"), ("look", "r005", "stale")} & pairs(found)


def test_an_input_that_was_wired_since_makes_stale(tmp_path: Path) -> None:
    write_all(tmp_path, study(tmp_path, steps={**STEPS, "shear": {"tool": "shear", "inputs": {"image": "sheet.path"}}}))
    found = find_pending(study(tmp_path), tmp_path)
    assert set(found.pairs["shear"].values()) == {"stale"}


def test_a_staged_image_whose_checksum_changed_is_stale(tmp_path: Path) -> None:
    rows = [{**rows_of(1)[0], "path": "irods:///z/a.tif", "checksum": "sha2:y"}]
    write_tools(tmp_path, TOOLS)
    write_rules(tmp_path, write_pipeline(tmp_path, {"shear": STEPS["shear"]}))
    write_rows(tmp_path, rows, ("word", "checksum"))
    plan = Plan.read("test", layout.SHEET, tmp_path)
    path = write_record(tmp_path, plan, "shear", "r000")
    staged = plan.inputs("shear", "image", "r000")[0]
    text = path.read_text()
    start = text.index(f'"path": "{staged}"')
    for checksum, total in (("sha2:y", 0), ("sha2:x", 1)):
        told = f'"path": "irods:///z/a.tif", "bytes": 7, "sha256": null, "checksum": "{checksum}", "staged": "{staged}"'
        path.write_text(text[:start] + told + text[text.index("}", start) :])
        assert find_pending(plan, tmp_path).total == total


def test_a_row_parameter_that_changed_makes_stale(tmp_path: Path) -> None:
    steps = {**STEPS, "look": {**STEPS["look"], "params": {"word": {"column": "word"}}}}
    rows = [{**row, "word": "a"} for row in rows_of(6)]
    plan = study(tmp_path, rows, steps)
    write_all(tmp_path, plan)
    assert find_pending(plan, tmp_path).total == 0
    plan = change_row(tmp_path, "r002", word="b")
    assert ("look", "r002", "stale") in pairs(find_pending(plan, tmp_path))
    assert ("look", "r001", "stale") not in pairs(find_pending(plan, tmp_path))


def test_a_voxel_size_that_was_corrected_in_the_sheet_makes_stale_what_was_told_the_old_one(tmp_path: Path) -> None:
    image = TOOLS["shear"]["inputs"]["image"] | {"facts": ["voxel_size_um", "time_step_s"]}
    shear = TOOLS["shear"] | {"inputs": TOOLS["shear"]["inputs"] | {"image": image}}
    plan = study(tmp_path, tools=TOOLS | {"shear": shear})
    write_all(tmp_path, plan)
    for unit in ("r000", "r001"):
        path = tmp_path / layout.record(unit, "shear")
        told = '"argv": ["shear", "--voxel-size-um", "0.4,0.1,0.1", "--angle", "30"]'
        path.write_text(path.read_text().replace('"argv": ["odd \\"words\\"", "[]"]', told))
    assert find_pending(plan, tmp_path).total == 0
    plan = change_row(tmp_path, "r001", voxel_size_um="0.4,0.1,0.104")
    found = pairs(find_pending(plan, tmp_path))
    assert {("shear", "r001", "stale"), ("look", "r001", "stale"), ("link", "c0", "stale")} <= found
    assert ("shear", "r000", "stale") not in found


def test_a_row_that_joins_a_group_makes_it_stale(tmp_path: Path) -> None:
    write_all(tmp_path, study(tmp_path))
    plan = study(tmp_path, [*rows_of(6), {**rows_of(1)[0], "id": "x", "path": "raw/x.tif", "series": "c0", "t": "9"}])
    found = pairs(find_pending(plan, tmp_path))
    assert {("shear", "x", "new"), ("look", "x", "new"), ("link", "c0", "stale"), ("judge", "r000", "stale")} <= found
    assert ("link", "c1", "stale") not in found


@pytest.mark.parametrize("text", ["", "{", '{"schema": 1}\n', "null\n", '{\n  "inputs": [\n  "outputs": [}\n'])
def test_a_record_that_is_none_is_stale(tmp_path: Path, text: str) -> None:
    plan = study(tmp_path)
    write_all(tmp_path, plan)
    (tmp_path / layout.record("r005", "judge")).write_text(text)
    assert pairs(find_pending(plan, tmp_path)) == {("judge", "r005", "stale")}


def test_a_record_of_a_failure_is_not_done(tmp_path: Path) -> None:
    plan = study(tmp_path)
    write_all(tmp_path, plan)
    write_record(tmp_path, plan, "judge", "r005", status="failed")
    assert pairs(find_pending(plan, tmp_path)) == {("judge", "r005", "stale")}


def test_a_record_that_was_formatted_anew_reads_the_same(tmp_path: Path) -> None:
    plan = study(tmp_path)
    write_all(tmp_path, plan)
    for path in tmp_path.glob("records/*/*.json"):
        path.write_text(json.dumps(json.loads(path.read_text()), indent=1))
    assert find_pending(plan, tmp_path).total == 0
    write_record(tmp_path, plan, "look", "r000", made="otherwise")
    assert ("link", "c0", "stale") in pairs(find_pending(plan, tmp_path))


def test_the_home_folder_may_stand_as_a_tilde(tmp_path: Path) -> None:
    rows = rows_of(3)
    rows[0]["path"] = "/home/anna/raw/r000.tif"
    plan = study(tmp_path, rows)
    write_all(tmp_path, plan)
    path = tmp_path / layout.record("r000", "shear")
    path.write_text(path.read_text().replace("/home/anna/", "~/"))
    assert find_pending(plan, tmp_path).total == 0
    path.write_text(path.read_text().replace("~/raw", "~/other"))
    assert ("shear", "r000", "stale") in pairs(find_pending(plan, tmp_path))


def test_another_digest_in_the_sheet_makes_stale(tmp_path: Path) -> None:
    rows = rows_of(3)
    plan = study(tmp_path, rows)
    write_all(tmp_path, plan)
    plan = change_row(tmp_path, "r001", sha256="0" * 64)
    assert ("shear", "r001", "stale") in pairs(find_pending(plan, tmp_path))


def test_a_staged_image_is_told_by_its_address_and_checksum(tmp_path: Path) -> None:
    rows = [{**rows_of(1)[0], "path": "irods:///z/a b.tif"}]
    plan = study(tmp_path, rows, {"shear": STEPS["shear"]})
    path = write_record(tmp_path, plan, "shear", "r000")
    assert find_pending(plan, tmp_path).total == 1
    staged = plan.inputs("shear", "image", "r000")[0]
    told = f'"path": "irods:///z/a b.tif", "bytes": 7, "sha256": null, "checksum": "sha2:x", "staged": "{staged}"'
    text = path.read_text()
    start = text.index(f'"path": "{staged}"')
    path.write_text(text[:start] + told + text[text.index("}", start) :])
    assert find_pending(plan, tmp_path).total == 0
    kept = path.read_text()
    path.write_text(kept.replace(f'"staged": "{staged}"', '"staged": "staged/other/other.tif"'))
    assert find_pending(plan, tmp_path).total == 1
    plan = change_row(tmp_path, "r000", path="irods:///z/c.tif")
    path.write_text(kept)
    assert find_pending(plan, tmp_path).total == 1


def test_a_record_that_job_sh_wrote_is_read(tmp_path: Path) -> None:
    plan = study(tmp_path, steps={"shear": STEPS["shear"]})
    shutil.copytree(layout.assets() / "workflow", tmp_path / "workflow")
    for name in ("raw/r000.tif", "config/p.tif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    for folder in ("records/r000", "logs/r000"):
        (tmp_path / folder).mkdir(parents=True)
    script = """
    . workflow/job.sh
    job_begin shear r000 records/r000/shear.json logs/r000/shear.log rules/test/shear.json
    job_source image - -- raw/r000.tif
    job_shared psf k config/p.tif
    job_output image results/r000/shear/i.ome.zarr folder
    job_run mkdir -p "$out_image/0"
    """
    subprocess.run(["sh", "-ec", script], cwd=tmp_path, check=True)
    found = find_pending(plan, tmp_path)
    assert found.done["shear"] == 1
    assert [unit for unit, _ in found.wall_s["shear"]] == ["r000"]


def test_only_what_failed_and_what_waits_for_it_is_kept(tmp_path: Path) -> None:
    plan = study(tmp_path, rows_of(9))
    write_all(tmp_path, plan, ["shear"])
    for unit, step in (("r001", "look"), ("r008", "shear")):
        path = tmp_path / layout.failure(unit, step)
        path.parent.mkdir(parents=True)
        path.write_text("{}")
    kept = keep_failed(find_pending(plan, tmp_path), plan, tmp_path)
    assert pairs(kept) == {
        ("look", "r001", "new"), ("link", "c0", "new"),
        ("judge", "r000", "new"), ("judge", "r001", "new"), ("judge", "r002", "new"),
    }  # fmt: skip


def test_steps_are_read_after_those_they_take_from(tmp_path: Path) -> None:
    plan = study(tmp_path, steps=dict(reversed(STEPS.items())))
    assert in_order(plan) == ["shear", "look", "link", "judge"]
    write_all(tmp_path, plan, ["shear", "look", "link", "judge"])
    assert find_pending(plan, tmp_path).total == 0


def test_many_chunks_of_readers_keep_the_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pending_module, "CHUNK", 8)
    plan = study(tmp_path, rows_of(50))
    write_all(tmp_path, plan, ["shear"])
    for unit in ("r007", "r031"):
        (tmp_path / layout.record(unit, "shear")).unlink()
    assert list(find_pending(plan, tmp_path).pairs["shear"]) == ["r007", "r031"]


def test_a_pipeline_that_was_not_compiled_is_said(tmp_path: Path) -> None:
    plan = study(tmp_path)
    (tmp_path / layout.step_facts_file("test", "look")).unlink()
    with pytest.raises(InputError, match="has not been compiled"):
        find_pending(plan, tmp_path)
