"""The shipped pipeline on a real lattice light-sheet stack, and on one series stored in two ways."""

from __future__ import annotations

import csv
import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from integration_helpers import snakescope
from snakescope import layout
from snakescope.images import open_image, read_headers
from snakescope.record import digest, read_records, size
from snakescope.synthetic import Microscope, Vesicles, generate_llsm
from snakescope.workflow import Plan

PIPELINE = "llsm_tracking"
STEP_UM = 0.3 * math.sin(math.radians(31.5))


def make_study(root: Path, raw: Path, psf: Path, cells: dict[str, str], *flags: str) -> Path:
    """Make a study as the README tells, fill cells of the sheet, and run it."""
    assert snakescope("init", root, cwd=root.parent).returncode == 0
    shutil.copyfile(psf, root / "config/psf.tif")
    collected = snakescope("collect", raw, *flags, cwd=root)
    assert collected.returncode == 0, collected.stderr
    with (root / layout.SHEET).open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    with (root / layout.SHEET).open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows({**row, **cells} for row in rows)
    return root


def run(root: Path) -> Path:
    done = snakescope("run", "--quiet", cwd=root)
    assert done.returncode == 0, done.stdout + done.stderr
    return root


@pytest.fixture(scope="module")
def real(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Study of the real stack; the voxel size is typed in, since the file does not say it."""
    source = shared_data / "llsm_cudadecon"
    root = tmp_path_factory.mktemp("real") / "study"
    cells = {"voxel_size_um": "0.3,0.1,0.1"}
    make_study(root, source, source / "otf.tif", cells, "--include", "im_raw.tif")
    path = root / layout.pipeline_file(PIPELINE)
    text = path.read_text(encoding="utf-8")
    assert "      background: 98\n" in text
    psf = "      background: 98\n      psf_z_um: 0.1\n      psf_xy_um: 0.1\n"
    path.write_text(text.replace("      background: 98\n", psf), encoding="utf-8")
    return run(root)


@pytest.fixture(scope="module")
def two_layouts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same series as one file a time point, and as one file for all."""
    folder = tmp_path_factory.mktemp("layouts")
    scope, few = Microscope(shape=(24, 64, 64)), Vesicles(count=6)
    studies = {}
    for name in ("files", "single"):
        made = generate_llsm(
            folder / f"data_{name}",
            series=1,
            frames=4,
            microscope=scope,
            vesicles=few,
            layout="files" if name == "files" else "single",
        )
        cells = {"time_step_s": "1"} if name == "files" else {}
        make_study(folder / name, made.folder / "raw", made.psf, cells, "--yes")
        studies[name] = run(folder / name)
    return studies


STUDIES = ("real", "files", "single")


@pytest.fixture(params=STUDIES)
def study(request: pytest.FixtureRequest) -> Path:
    if request.param == "real":
        return Path(request.getfixturevalue("real"))
    return Path(request.getfixturevalue("two_layouts")[request.param])


@pytest.mark.slow
def test_the_real_stack_is_deskewed_within_a_grey_level(real: Path, shared_data: Path) -> None:
    with open_image(real / "results/im_raw/deskew/image.ome.zarr") as image:
        found = image.volume().astype(int)
    expected = tifffile.imread(shared_data / "llsm_cudadecon/im_deskewed.tif").astype(int)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1


@pytest.mark.slow
def test_the_real_stack_is_deconvolved_as_cudadecon_does(real: Path, shared_data: Path) -> None:
    """Edges are treated otherwise, so the middle is compared."""
    with open_image(real / "results/im_raw/deconvolve/image.ome.zarr") as image:
        found = image.volume()[20:64, 60:260, 140:340]
    expected = tifffile.imread(shared_data / "llsm_cudadecon/im_decon.tif")[20:64, 60:260, 140:340]
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.95


@pytest.mark.slow
def test_voxel_sizes_are_true_in_every_image(study: Path) -> None:
    stores = sorted(study.glob("results/*/*/*.ome.zarr"))
    assert len(stores) == 2 * len(list(study.glob("results/*/deskew")))
    for store in stores:
        (header,) = read_headers(store)
        assert header.voxel_size_um == pytest.approx((STEP_UM, 0.1, 0.1))
        assert header.time_step_s == (1.0 if "t" in header.axes else None)


@pytest.mark.slow
def test_images_and_tracks_pass_the_validators_of_their_formats(study: Path) -> None:
    import geff
    import yaozarrs
    from ome_zarr_models import open_ome_zarr

    for store in study.glob("results/*/*/*.ome.zarr"):
        yaozarrs.validate_zarr_store(store)
        open_ome_zarr(store)
    graphs = sorted(study.glob("results/*/*/*.geff"))
    assert len(graphs) == 1
    for graph in graphs:
        geff.validate_structure(graph)


@pytest.mark.slow
def test_records_hold_the_digests_of_the_files(study: Path) -> None:
    records = list(read_records(study))
    assert {record.step for record in records} == set(Plan.read(PIPELINE, layout.SHEET, study).steps)
    digests: dict[str, str] = {}
    for record in records:
        for file in (*record.inputs, *record.outputs):
            if file.record is None:
                assert file.sha256 == digests.setdefault(file.path, digest(study / file.path)), file.path
                assert file.bytes == size(study / file.path), file.path
    assert len(digests) >= 10


@pytest.mark.slow
def test_what_was_predicted_of_every_image_is_what_it_is(study: Path) -> None:
    plan = Plan.read(PIPELINE, layout.SHEET, study)
    compared = 0
    for step, unit, _ in plan.walk_units():
        for port, output in plan.steps[step]["outputs"].items():
            path = study / layout.result(unit, step, "image.ome.zarr")
            if output.get("like"):
                (header,), predicted = read_headers(path), plan.geometry(step, port, unit)
                assert (predicted.axes, predicted.shape, predicted.dtype) == (header.axes, header.shape, header.dtype)
                assert predicted.voxel_size_um == pytest.approx(header.voxel_size_um)
                compared += 1
    assert compared == len(list(study.glob("results/*/*/*.ome.zarr"))) >= 2


@pytest.mark.slow
def test_the_run_stayed_within_the_memory_it_asked_for(real: Path) -> None:
    plan = Plan.read(PIPELINE, layout.SHEET, real)
    for record in read_records(real):
        if record.peak_memory_mb is not None and (record.wall_s or 0) > 5:
            asked = plan.resource(record.step, "mem_mb", record.unit, 1)
            assert record.peak_memory_mb <= asked, record.step


def tracks(study: Path) -> list[dict[str, str]]:
    (path,) = study.glob("results/*/track/tracks.csv")
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_one_file_for_a_series_gives_the_tracks_of_one_file_a_time_point(two_layouts: dict[str, Path]) -> None:
    files, single = (tracks(two_layouts[name]) for name in ("files", "single"))
    assert len(files) >= 20
    assert {row["frame"] for row in files} == {"0", "1", "2", "3"}
    assert files == single


@pytest.mark.slow
def test_a_series_in_one_file_goes_through_the_pipeline_as_it_is(two_layouts: dict[str, Path]) -> None:
    pipelines = {(study / layout.pipeline_file(PIPELINE)).read_bytes() for study in two_layouts.values()}
    assert len(pipelines) == 1
    (header,) = read_headers(next(two_layouts["single"].glob("results/*/deskew/image.ome.zarr")))
    assert (header.axes, header.shape) == ("tzyx", (4, *Microscope(shape=(24, 64, 64)).deskewed_shape))
    record = json.loads(next(two_layouts["single"].glob("records/*/deskew.json")).read_text())
    assert record["outputs"][0]["scale"] == pytest.approx([1.0, STEP_UM, 0.1, 0.1])


@pytest.mark.slow
def test_plain_snakemake_agrees_that_the_real_study_is_done(real: Path) -> None:
    command = [sys.executable, "-m", "snakemake", "--profile", "profiles/local", "--dry-run"]
    done = subprocess.run(command, cwd=real, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Nothing to be done" in done.stdout + done.stderr
