"""The cases of tools that wrap programs, in an image of these programs: no Python and nothing of ours is in it.

The image is made of this machine's files, so the numbers are those of the same program outside it.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import yaml

from deployment import Apptainer
from deployment.cases import make_image_site, run_inside_and_outside
from snakescope.tool.library import read_library

ROOT = Path(__file__).resolve().parents[2]
TOOLS = read_library([ROOT / "tools"])
RAN = yaml.safe_load((ROOT / "tools/ran.yaml").read_text())
WRAPPED = [name for name in RAN["automatic"] if TOOLS[name].spec.script is None]
CASES = [path for name in WRAPPED for path in sorted(TOOLS[name].folder.glob("cases/*.yaml"))]

pytestmark = [pytest.mark.container, pytest.mark.slow]


@pytest.fixture(scope="module")
def study(programs_image: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose tools run in the image."""
    return make_image_site(tmp_path_factory.mktemp("site"), WRAPPED, programs_image)


@pytest.mark.parametrize("case", CASES, ids=lambda path: f"{path.parents[1].name}-{path.stem}")
def test_a_case_gives_the_same_numbers_in_the_image_as_on_the_host(
    case: Path, study: Path, programs_image: Path, tmp_path: Path
) -> None:
    tool = TOOLS[case.parents[1].name]
    inside, host = run_inside_and_outside(tool, case, study, tmp_path)
    assert (inside.problems, inside.missing) == (host.problems, host.missing) == ([], [])
    assert (inside.found, host.problems) == (host.found, [])
    digest = hashlib.sha256(programs_image.read_bytes()).hexdigest()
    assert inside.environment == {"kind": "apptainer", "image": str(programs_image), "sha256": digest}


def test_the_image_holds_no_python_and_nothing_of_ours(apptainer: Apptainer, programs_image: Path) -> None:
    look = "command -v python python3 perl snakescope; find / -xdev -name '*.py' -o -xdev -name snakescope"
    said = apptainer.run("exec", "--containall", programs_image, "sh", "-c", f"{look}; true")
    assert said == ""
