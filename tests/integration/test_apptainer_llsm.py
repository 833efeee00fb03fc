"""The shipped pipeline with its tools in an image makes what they make on the host, without a network."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployment.studies import make_outside
from integration_helpers import snakescope
from snakescope import __version__

ROOT = Path(__file__).resolve().parents[2]
SERIES = "cell1"
STEPS = {"deskew": 8, "deconvolve": 8, "detect": 8, "track": 1, "measure": 1, "render": 1}
OWN = {"environment", "started_at", "ended_at", "wall_s", "cpu_s"}

pytestmark = [pytest.mark.container, pytest.mark.network_off, pytest.mark.slow]


@pytest.fixture(scope="module")
def in_image(
    demo_study: Path, python_image: Path, network_off: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """One series of the demonstration, run anew in the image; its raw data lie where no image looks by itself."""
    folder = tmp_path_factory.mktemp("llsm") / "study"
    assert snakescope("init", folder, cwd=folder.parent).returncode == 0
    with make_outside() as outside:
        shutil.copytree(demo_study / "data/raw", outside / "raw")
        shutil.copyfile(demo_study / "config/psf.tif", folder / "config/psf.tif")
        sheet = (demo_study / "config/samples.tsv").read_text()
        (folder / "config/samples.tsv").write_text(sheet.replace("\tdata/raw/", f"\t{outside}/raw/"))
        tools = sorted(path.parent.name for path in ROOT.glob("tools/*/tool.yaml"))
        (folder / "config/images.yaml").write_text(yaml.safe_dump(dict.fromkeys(tools, str(python_image))))
        done = snakescope("run", "--sdm", "apptainer", "--only", SERIES, cwd=folder, before=network_off)
        assert done.returncode == 0, done.stdout + done.stderr
        yield folder


def records(folder: Path) -> dict[str, dict[str, Any]]:
    """Records of the series by unit and step."""
    paths = sorted(folder.glob(f"records/{SERIES}*/*.json"))
    return {f"{path.parent.name}/{path.stem}": json.loads(path.read_text()) for path in paths}


def test_every_result_is_the_same_bytes_as_on_the_host(demo_study: Path, in_image: Path) -> None:
    host, image = records(demo_study), records(in_image)
    assert {step: sum(name.endswith(f"/{step}") for name in image) for step in STEPS} == STEPS
    assert image.keys() == host.keys()
    for name, record in image.items():
        assert record["outputs"] == host[name]["outputs"], name


def test_records_differ_in_nothing_but_where_and_when(demo_study: Path, in_image: Path) -> None:
    host = records(demo_study)
    for name, record in records(in_image).items():
        differ = {key for key in record if record[key] != host[name][key]}
        raw = {"inputs", "argv"} if name.endswith("/deskew") else set()
        assert differ - raw <= OWN, name


def test_records_tell_the_image_and_the_version_in_it(python_image: Path, in_image: Path) -> None:
    digest = hashlib.sha256(python_image.read_bytes()).hexdigest()
    for record in records(in_image).values():
        assert record["environment"] == {"kind": "apptainer", "image": str(python_image), "sha256": digest}
        assert record["tool_version_observed"] == __version__
