"""Exporting whole studies: what other people's validators say, what is refused, what a crash leaves."""

from __future__ import annotations

import csv
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import third_party
from integration_helpers import snakescope
from snakescope import api, layout
from snakescope.errors import InputError
from snakescope.record import files_of
from snakescope.runner.demo import STUDY
from snakescope.samples import build_sheet, read_sheet, write_sheet
from snakescope.study.export import FOLDER
from snakescope.synthetic import Microscope, Vesicles, generate_llsm

pytestmark = pytest.mark.slow
SOAK = bool(os.environ.get("SNAKESCOPE_SOAK"))


def state(folder: Path) -> dict[str, bytes]:
    """Every file and link below a folder with its content or target."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            found[name] = b"-> " + os.fsencode(path.readlink())
        elif path.is_file():
            found[name] = path.read_bytes()
    return found


def set_cells(root: Path, change: Callable[[int, dict[str, str]], dict[str, str]], *more: str) -> None:
    """Change cells of the sheet, row by row."""
    sheet = read_sheet(root / layout.SHEET)
    columns = list(dict.fromkeys([*sheet.columns, *more]))
    rows = [{**row.cells, **change(index, dict(row.cells))} for index, row in enumerate(sheet.rows)]
    write_sheet(root / layout.SHEET, build_sheet(columns, rows))


def messages(root: Path, **options: bool) -> list[str]:
    """What export refuses, a message each."""
    before = state(root / FOLDER)
    with pytest.raises(InputError) as caught:
        api.export(study=root, quiet=True, **options)  # type: ignore[arg-type]
    assert state(root / FOLDER) == before, "a refused export changes nothing"
    assert not list(root.glob(f".{FOLDER}.*")), "and leaves nothing behind"
    return [str(item).replace(f"{root}/", "") for item in caught.value.problems]


def graph(root: Path) -> list[dict[str, object]]:
    """Entities of the crate."""
    text = (root / FOLDER / "run-crate/ro-crate-metadata.json").read_text(encoding="utf-8")
    found: list[dict[str, object]] = json.loads(text)["@graph"]
    return found


def assert_valid(root: Path) -> None:
    """All third parties and our own check accept the export."""
    assert third_party.rembi(root / FOLDER / "rembi.yaml") == []
    assert third_party.run_crate(root / FOLDER / "run-crate") == []
    found = api.verify(study=root, quiet=True)[0]
    assert found.sound, "\n".join(map(str, found.problems))


# ---------------------------------------------------------------------------- what comes out


def test_other_peoples_validators_accept_the_demonstration(demo_study: Path) -> None:
    assert_valid(demo_study)
    findings, judged = third_party.every_image(demo_study / FOLDER / "run-crate")
    assert findings == []
    assert judged["ome_zarr"] == 32
    assert judged["geff"] == 2


def test_the_usual_program_checks_the_checksums(demo_study: Path) -> None:
    done = subprocess.run(
        ["sha256sum", "--check", "--strict", "--quiet", "checksums.sha256"],
        cwd=demo_study / FOLDER,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_every_file_is_in_one_list_and_every_listed_file_is_there(demo_study: Path) -> None:
    crate = demo_study / FOLDER / "run-crate"
    listed: list[str] = []
    for path in sorted((demo_study / FOLDER).glob("file_list_*.tsv")):
        with path.open(encoding="utf-8", newline="") as file:
            listed += [row["Files"] for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)]
    assert len(listed) == len(set(listed))
    assert all((crate / name).exists() for name in listed)
    links = {path.relative_to(crate).as_posix() for path in crate.rglob("*") if path.is_symlink() or path.is_file()}
    assert links == set(listed)
    assert len(listed) == 16 * 4 + 6 + 4 + 6 + len([name for name in listed if not name.startswith(("raw", "results"))])


def test_what_was_derived_names_the_images_it_was_made_from(demo_study: Path) -> None:
    def sources(name: str) -> dict[str, str]:
        path = demo_study / FOLDER / f"file_list_{name}.tsv"
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
        return {row["Files"]: row["source_image"] for row in rows}

    unit = "cell1_ch0_stack0003"
    assert sources("deskew")[f"results/{unit}/deskew/image.ome.zarr"] == f"raw/{unit}.tif"
    assert sources("detect")[f"results/{unit}/detect/points.csv"] == f"results/{unit}/deconvolve/image.ome.zarr"
    tracked = sources("track")["results/cell2/track/tracks.csv"].split("; ")
    assert tracked == [f"results/cell2_ch0_stack{n:04}/deconvolve/image.ome.zarr" for n in range(8)]


@pytest.mark.parametrize("bia_crate", [False, True])
def test_exporting_twice_gives_the_same_bytes(demo_copy: Path, bia_crate: bool) -> None:
    if bia_crate:
        api.export(study=demo_copy, quiet=True, bia_crate=True)
        assert_valid(demo_copy)
    before = state(demo_copy / FOLDER)
    assert ("bia-crate/file_list.tsv" in before) == bia_crate
    api.export(study=demo_copy, quiet=True, bia_crate=bia_crate)
    assert state(demo_copy / FOLDER) == before


def test_an_upload_is_made_by_following_the_links(demo_copy: Path, tmp_path: Path) -> None:
    upload = shutil.copytree(demo_copy / FOLDER, tmp_path / "upload")
    done = subprocess.run(["sha256sum", "-c", "--quiet", "checksums.sha256"], cwd=upload, check=False)
    assert done.returncode == 0
    assert third_party.run_crate(Path(upload) / "run-crate") == []


def test_what_is_left_out_is_in_no_list_and_sources_go_past_it(demo_copy: Path) -> None:
    (demo_copy / layout.STUDY_YAML).write_text(STUDY + "leave_out: [deskew]\n", encoding="utf-8")
    api.export(study=demo_copy, quiet=True)
    assert not (demo_copy / FOLDER / "file_list_deskew.tsv").exists()
    assert not list((demo_copy / FOLDER / "run-crate/results").glob("*/deskew"))
    with (demo_copy / FOLDER / "file_list_deconvolve.tsv").open(encoding="utf-8", newline="") as file:
        found = {row["source_image"] for row in csv.DictReader(file, delimiter="\t")}
    assert found == {f"raw/cell{series}_ch0_stack{n:04}.tif" for series in (1, 2) for n in range(8)}
    assert_valid(demo_copy)


# ---------------------------------------------------------------------------- part of a run, and a failed one


@pytest.fixture(scope="module")
def with_failures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in which one stack is broken, so that its series cannot be tracked."""
    root = tmp_path_factory.mktemp("failures") / "study"
    api.init(root)
    made = generate_llsm(
        root / "data", series=2, frames=2, microscope=Microscope(shape=(16, 48, 48)), vesicles=Vesicles(count=4)
    )
    shutil.copyfile(made.psf, root / "config/psf.tif")
    api.collect(made.folder / "raw", study=root, yes=True)
    broken = sorted((root / "data/raw").glob("cell1*"))[1]
    broken.write_bytes(broken.read_bytes()[:2000])
    size = {broken.stem: "2000"}
    set_cells(root, lambda _index, cells: {"time_step_s": "1", "bytes": size.get(cells["id"], cells["bytes"])})
    (root / layout.STUDY_YAML).write_text(STUDY, encoding="utf-8")
    assert snakescope("run", "--quiet", cwd=root).returncode == 1
    return root


def test_a_run_with_failures_is_exported_and_valid(with_failures: Path) -> None:
    report = api.export(study=with_failures, quiet=True)
    assert (report.done, report.failed) == (12, 1)
    assert report.pending > 0
    jobs = [item for item in graph(with_failures) if str(item["@id"]).startswith("#job/") and "error" in item]
    assert [item["name"] for item in jobs] == ["deskew cell1_ch0_stack0001"]
    assert str(jobs[0]["actionStatus"]).endswith("FailedActionStatus")
    assert jobs[0]["@type"] == "ActivateAction", "an action without a result"
    assert_valid(with_failures)


def test_before_anything_has_run_there_is_nothing_to_export(demo_copy: Path) -> None:
    for folder in (layout.RESULTS, layout.RECORDS, layout.LOGS, layout.BENCHMARKS):
        shutil.rmtree(demo_copy / folder)
    assert messages(demo_copy) == [
        f"{demo_copy}: no job has run yet, so that there is nothing to tell.\n    Run: snakescope run"
    ]


# ---------------------------------------------------------------------------- what is refused


def test_all_that_is_wrong_with_the_data_is_told_at_once(demo_copy: Path) -> None:
    sheet = read_sheet(demo_copy / layout.SHEET)
    paths = dict.fromkeys((1,), sheet.rows[0].path)
    sizes = {2: "1,1,1", 3: "", 4: "1,1,1"}

    def change(index: int, cells: dict[str, str]) -> dict[str, str]:
        return {"path": paths.get(index, cells["path"]), "voxel_size_um": sizes.get(index, cells["voxel_size_um"])}

    set_cells(demo_copy, change)
    unit = "cell2_ch0_stack0000"
    (demo_copy / layout.record(unit, "deskew")).unlink()
    store = demo_copy / layout.result("cell2_ch0_stack0001", "deskew", "image.ome.zarr") / "zarr.json"
    store.write_text(store.read_text().replace('"micrometer"', '"parsnip"'), encoding="utf-8")
    ones = demo_copy / layout.result("cell2_ch0_stack0002", "deskew", "image.ome.zarr") / "zarr.json"
    text = json.loads(ones.read_text())
    for dataset in text["attributes"]["ome"]["multiscales"][0]["datasets"]:
        dataset["coordinateTransformations"][0]["scale"] = [1.0, 1.0, 1.0]
    ones.write_text(json.dumps(text), encoding="utf-8")
    (demo_copy / layout.result("cell2_ch0_stack0003", "detect", "points.csv")).unlink()
    told = "\n".join(messages(demo_copy))
    expected = [
        r"config/samples.tsv: line 3: path: .*stands in an earlier row too",
        r"line 4: voxel_size_um: found 1 µm along every axis",
        r"line 5: voxel_size_um: the voxel size is not known",
        rf"records/{unit}/deconvolve.json: it was made from 'results/{unit}/deskew/image.ome.zarr', which is not part",
        r"cell2_ch0_stack0001/deskew/image.ome.zarr: .*'parsnip'",
        r"cell2_ch0_stack0002/deskew/image.ome.zarr: its voxel size is 1 µm",
        r"records/cell2_ch0_stack0003/detect.json: the file .* is not there",
        r"records/cell1_ch0_stack0001/deskew.json: it was made from",
    ]
    for pattern in expected:
        assert re.search(pattern, told), f"{pattern}\nnot in\n{told}"


def test_lint_says_what_is_missing_and_what_fills_itself(demo_copy: Path) -> None:
    complete = snakescope("lint", cwd=demo_copy)
    assert (complete.returncode, complete.stderr) == (0, "")
    assert "REMBI: 39 (76 %) of 51 fields fill themselves, 12 are typed, none is missing" in complete.stdout
    shutil.copyfile(layout.assets() / layout.STUDY_YAML, demo_copy / layout.STUDY_YAML)
    empty = snakescope("lint", cwd=demo_copy)
    assert empty.returncode == 0, "a run needs none of it"
    assert re.search(r"10 are missing:\n  title +the principal investigator should know\n", empty.stdout)


def test_what_would_tell_of_other_results_than_these_is_doubtful(demo_copy: Path) -> None:
    def doubts() -> str:
        return "\n".join(map(str, api.export(study=demo_copy, quiet=True, dry_run=True).warnings))

    assert doubts() == ""
    set_cells(demo_copy, lambda index, cells: {"voxel_size_um": "0.3,0.1,0.2"} if index == 0 else {})
    assert "records, such as deskew cell1_ch0_stack0000: 6 jobs ran with other" in doubts()
    pipeline = demo_copy / layout.pipeline_file("llsm_tracking")
    pipeline.write_text(pipeline.read_text().replace("radius_um: 0.3", "radius_um: 0.4"))
    assert "has changed since it was compiled for the last run" in doubts()
    pipeline.write_text("schema: 1\n")
    assert "cannot be compiled any more" in doubts()


def test_missing_metadata_are_named_with_who_should_know(demo_copy: Path) -> None:
    shutil.copyfile(layout.assets() / layout.STUDY_YAML, demo_copy / layout.STUDY_YAML)
    told = messages(demo_copy)
    assert len(told) == 10
    assert all("is missing; " in text and " should know" in text for text in told)


def test_sensitive_rows_block_the_export(demo_copy: Path) -> None:
    set_cells(demo_copy, lambda index, _cells: {"sensitive": "true" if index == 3 else ""}, "sensitive")
    assert len(messages(demo_copy)) == 1
    assert "1 rows are marked sensitive" in messages(demo_copy)[0]


def test_nothing_of_a_sensitive_row_is_told(demo_copy: Path) -> None:
    set_cells(demo_copy, lambda index, _cells: {"sensitive": "true" if index == 3 else ""}, "sensitive")
    report = api.export(study=demo_copy, quiet=True, leave_out_sensitive=True, bia_crate=True)
    assert (report.sensitive_rows, report.left_out) == (1, 3)
    needle = b"cell1_ch0_stack0003"
    for path in (demo_copy / FOLDER).rglob("*"):
        assert needle not in os.fsencode(path), path
        if path.is_symlink():
            assert needle not in os.fsencode(path.readlink())
        elif path.is_file():
            assert needle not in path.read_bytes(), path
    for path in files_of(demo_copy / FOLDER / "run-crate/"):
        assert needle not in path.read_bytes(), path
    assert not (demo_copy / FOLDER / "run-crate/results/cell1").exists(), "its tracks come from the sensitive row, too"
    assert_valid(demo_copy)


def test_files_of_somebody_else_are_not_replaced(demo_copy: Path) -> None:
    (demo_copy / FOLDER / "my notes.txt").write_text("precious", encoding="utf-8")
    assert "holds what an export did not write ('my notes.txt')" in messages(demo_copy)[0]


@pytest.mark.parametrize("command", ["export", "verify"])
@pytest.mark.parametrize("trouble", ["no study", "no sheet", "no rules", "broken record", "no study.yaml"])
def test_bad_input_is_one_message_and_no_traceback(demo_copy: Path, command: str, trouble: str) -> None:
    change: dict[str, Callable[[], object]] = {
        "no study": lambda: shutil.rmtree(demo_copy / "config"),
        "no sheet": lambda: (demo_copy / layout.SHEET).unlink(),
        "no rules": lambda: shutil.rmtree(demo_copy / "rules"),
        "broken record": lambda: (demo_copy / layout.record("cell1", "track")).write_text("{"),
        "no study.yaml": lambda: (demo_copy / layout.STUDY_YAML).unlink(),
    }
    change[trouble]()
    done = snakescope(command, cwd=demo_copy)
    assert "Traceback" not in done.stderr
    if command == "export" or trouble == "no study":
        assert done.returncode == 2, done.stdout + done.stderr
        assert done.stderr.strip()


# ---------------------------------------------------------------------------- crashes


@pytest.mark.soak
def test_a_killed_export_leaves_the_old_one_or_the_new_one(demo_copy: Path) -> None:
    texts = [STUDY, STUDY.replace("Simulated vesicles under", "Vesicles simulated under")]
    exports: list[dict[str, bytes]] = []
    seconds = 0.0
    for text in (texts[1], texts[0]):
        (demo_copy / layout.STUDY_YAML).write_text(text, encoding="utf-8")
        started = time.monotonic()
        assert snakescope("export", "--quiet", cwd=demo_copy).returncode == 0
        seconds = time.monotonic() - started
        exports.insert(0, state(demo_copy / FOLDER))
    seeds, now, replaced = random.Random(7), 0, 0
    rounds = 60 if SOAK else 6
    for _ in range(rounds):
        (demo_copy / layout.STUDY_YAML).write_text(texts[1 - now], encoding="utf-8")
        process = subprocess.Popen(
            [sys.executable, "-m", "snakescope.cli", "export", "--quiet"],
            cwd=demo_copy,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(seeds.uniform(0.3, 1.1) * seconds)
        process.send_signal(signal.SIGKILL)
        process.wait()
        found = state(demo_copy / FOLDER)
        assert found in exports
        if found != exports[now]:
            now, replaced = 1 - now, replaced + 1
    print(f"killed exports: {rounds}, of which {replaced} had put the new one in place")
    api.export(study=demo_copy, quiet=True)
    wanted = texts.index((demo_copy / layout.STUDY_YAML).read_text(encoding="utf-8"))
    assert state(demo_copy / FOLDER) == exports[wanted]
    assert not list(demo_copy.glob(f".{FOLDER}.*")), "what the killed ones left is cleared away"


# ---------------------------------------------------------------------------- real data


def test_the_export_of_a_real_stack_is_valid(shared_data: Path, tmp_path: Path) -> None:
    root, source = tmp_path / "study", shared_data / "llsm_cudadecon"
    api.init(root)
    shutil.copyfile(source / "otf.tif", root / "config/psf.tif")
    api.collect(source, study=root, include=["im_raw.tif"])
    set_cells(root, lambda _index, _cells: {"voxel_size_um": "0.3,0.1,0.1"})
    (root / layout.STUDY_YAML).write_text(STUDY, encoding="utf-8")
    path = root / layout.pipeline_file("llsm_tracking")
    text = path.read_text(encoding="utf-8")
    more = "      background: 98\n      psf_z_um: 0.1\n      psf_xy_um: 0.1\n"
    path.write_text(text.replace("      background: 98\n", more), encoding="utf-8")
    assert snakescope("run", "--quiet", cwd=root).returncode == 0
    api.export(study=root, quiet=True)
    assert_valid(root)
    findings, judged = third_party.every_image(root / FOLDER / "run-crate")
    assert findings == []
    assert judged["ome_zarr"] == 2
    assert judged["geff"] == 1
    assert np.all([str(source) not in line for line in (root / FOLDER / "rembi.yaml").read_text().splitlines()])
