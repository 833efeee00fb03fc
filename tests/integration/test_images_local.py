"""The images that other tests run tools in are what they say: nothing of this machine is seen in them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from deployment import Apptainer

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = sorted(
    path.parent.name for path in ROOT.glob("tools/*/tool.yaml") if (ROOT / f"scripts/{path.parent.name}.py").is_file()
)
MODULES = """
import json, sys
import imagecodecs, laptrack, matplotlib.pyplot, scipy.ndimage, skimage.measure, snakescope, tifffile, trackpy, zarr
files = [module.__file__ for module in sys.modules.values() if getattr(module, "__file__", None)]
print(json.dumps({"files": files, "path": sys.path}))
"""

pytestmark = pytest.mark.container


def test_busybox_image_has_neither_bash_nor_python(apptainer: Apptainer, busybox_image: Path) -> None:
    said = apptainer.run("exec", busybox_image, "sh", "-c", "command -v bash python python3 perl; command -v sh")
    assert said.split() == ["sh"]


def test_python_image_imports_nothing_of_the_host(apptainer: Apptainer, python_image: Path) -> None:
    arguments: list[str | Path] = [
        "exec",
        "--cleanenv",
        "--bind",
        ROOT,
        "--pwd",
        ROOT,
        python_image,
        "python",
        "-c",
        MODULES,
    ]
    found = json.loads(apptainer.run(*arguments))
    assert len(found["files"]) > 1000
    assert [path for path in found["files"] if not path.startswith("/usr/local/lib/python3")] == []
    assert [path for path in found["path"] if path and not path.startswith("/usr/local/lib/python3")] == []


@pytest.mark.parametrize("image", ["python_image", "python_root"])
def test_shipped_programs_start_in_the_python_image(
    apptainer: Apptainer, image: str, request: pytest.FixtureRequest
) -> None:
    script = 'for name; do python -m snakescope.program "$name" --help | head -n 1; done'
    said = apptainer.run("exec", "--cleanenv", request.getfixturevalue(image), "sh", "-c", script, "sh", *PROGRAMS)
    assert [line.split()[1] for line in said.splitlines()] == [f"{name}.py" for name in PROGRAMS]


def test_images_are_the_same_bytes_while_they_are_used(apptainer: Apptainer, busybox_image: Path) -> None:
    before = busybox_image.stat().st_mtime_ns
    apptainer.run("exec", busybox_image, "true")
    assert busybox_image.stat().st_mtime_ns == before
    done = subprocess.run(
        [apptainer.program, "exec", busybox_image, "touch", "/bin/new"], capture_output=True, check=False
    )
    assert b"Read-only file system" in done.stderr
