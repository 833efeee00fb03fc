"""The cases of the tools that are programs of snakescope, in an image that it is installed in.

The image is made of this machine's files, so the numbers are those of the same program outside it.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from deployment.cases import make_image_site, run_inside_and_outside
from snakescope.tool.library import read_library

ROOT = Path(__file__).resolve().parents[2]
TOOLS = read_library([ROOT / "tools"])
RAN = yaml.safe_load((ROOT / "tools/ran.yaml").read_text())
SHIPPED = [name for name in RAN["automatic"] if TOOLS[name].spec.script is not None]
CASES = [path for name in SHIPPED for path in sorted(TOOLS[name].folder.glob("cases/*.yaml"))]

pytestmark = [pytest.mark.container, pytest.mark.slow]


@pytest.fixture(scope="module")
def study(python_image: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose tools run in the image."""
    return make_image_site(tmp_path_factory.mktemp("site"), SHIPPED, python_image)


@pytest.mark.parametrize("case", CASES, ids=lambda path: f"{path.parents[1].name}-{path.stem}")
def test_a_case_gives_the_same_numbers_in_the_image_as_on_the_host(case: Path, study: Path, tmp_path: Path) -> None:
    tool = TOOLS[case.parents[1].name]
    inside, host = run_inside_and_outside(tool, case, study, tmp_path)
    assert (inside.problems, inside.missing, inside.environment["kind"]) == ([], [], "apptainer")
    assert (inside.found, host.problems) == (host.found, [])
