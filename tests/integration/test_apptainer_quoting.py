"""Names and values of any letters reach a tool as they are, on the host, in conda's environment and in an image.

One Snakemake a mode runs a tool that prints its arguments over many rows. In a soak, more than 500 rows in all.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import strategies as st

from deployment.conda import CondaSite
from deployment.hostile import NAMES, OWNED, VALUES, draw
from deployment.studies import ToolStudy, make_outside, shell_tool
from tiny_tools import write_rows

ROWS = 170 if os.environ.get("SNAKESCOPE_SOAK") else 20
SHOW = 'out=$1; shift; printf "%s\\0" "$@" >"$out"'
TEXT = {"type": "text", "default": "", "help": "Any text."}
FIXED = "a'b\"c $HOME `touch owned`"
COMMAND = ["{in.image}", "{param.a}", "<{param.b}>", ["--c", "{param.c}"], "--cell={param.cell}", FIXED, ""]
STUDY = "my study; touch owned & co %s #1"

pytestmark = [pytest.mark.slow, pytest.mark.soak]


@dataclass(frozen=True)
class Case:
    """What one row says."""

    path: str
    cell: str


@dataclass(frozen=True)
class Hostile:
    """A study full of odd names, not run yet."""

    study: ToolStudy
    cases: dict[str, Case]
    values: dict[str, str]
    outside: Path

    def meant(self, case: Case) -> list[str]:
        """The words that the tool is to get."""
        path = f"./{case.path}" if case.path.startswith("-") else case.path
        a, b, c = self.values.values()
        return [path, a, f"<{b}>", "--c", c, f"--cell={case.cell}", FIXED, ""]


@pytest.fixture
def hostile(tmp_path: Path) -> Iterator[Hostile]:
    """Every other row lies in the study, the others in folders of odd names that no image sees by itself."""
    values = dict(zip("abc", draw(VALUES, 3), strict=True))
    drawn = draw(st.tuples(NAMES, NAMES, VALUES), ROWS)
    with make_outside() as outside:
        cases = {}
        for index, (folder, name, cell) in enumerate(drawn):
            place = f"data/{index}{name}" if index % 2 else f"{outside}/{index}{folder}/{name}"
            cases[f"r{index}"] = Case(place, cell)
        study = ToolStudy(tmp_path / STUDY, {"say": tool()}, {"none": "none"})
        for case in cases.values():
            path = study.root / case.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("image")
        rows = [{"id": name, "path": case.path, "text": case.cell} for name, case in cases.items()]
        write_rows(study.root, rows, ["text"])
        step = {"tool": "say", "inputs": {"image": "sheet.path"}, "params": {**values, "cell": {"column": "text"}}}
        pipeline = {"schema": 1, "name": "shell", "title": "Shell", "steps": {"say": step}}
        study.write("config/pipelines/shell.yaml", pipeline)
        yield Hostile(study, cases, values, outside)


def tool() -> dict[str, object]:
    parts = shell_tool(SHOW)
    return parts | {
        "params": dict.fromkeys(("a", "b", "c", "cell"), TEXT),
        "command": ["sh", "-c", SHOW, "say", "{out.text}", *COMMAND],
    }


def check(hostile: Hostile, kind: str) -> None:
    """Each row's words arrived, the record tells them, and nothing was run that nobody meant."""
    found, meant, told = {}, {}, {}
    for name, case in hostile.cases.items():
        found[name] = hostile.study.result(name, "say", "out.txt").decode().split("\0")[:-1]
        record = hostile.study.record(name, "say")
        told[name] = record["argv"][5:]
        meant[name] = hostile.meant(case)
        assert record["environment"]["kind"] == kind
        assert [item["path"] for item in record["inputs"]] == [meant[name][0]]
        assert record["row_parameters"] == {"cell": case.cell}
    assert {name: words for name, words in found.items() if words != meant[name]} == {}
    assert {name: words for name, words in told.items() if words != meant[name]} == {}
    for folder in (hostile.study.root, hostile.outside, Path.cwd(), Path.home()):
        assert [path for path in folder.glob("**/*" if folder != Path.home() else "*") if path.name == OWNED] == []


def test_on_the_host(hostile: Hostile) -> None:
    done = hostile.study.run("--sdm", "none")
    assert done.returncode == 0, done.stderr
    check(hostile, "host")


@pytest.mark.conda
def test_in_an_environment_of_conda(hostile: Hostile, conda_site: CondaSite) -> None:
    conda_site.add_package("quoting-marker", "1.0", {"share/marker": "here\n"})
    conda_site.write_environment(hostile.study.root / "envs/say.yaml", "quoting-marker")
    descriptor = tool() | {"environment": {"conda": "envs/say.yaml"}}
    hostile.study.write_tool("say", descriptor)
    done = hostile.study.run("--sdm", "conda", env=dict(conda_site.environment))
    assert done.returncode == 0, done.stderr
    check(hostile, "conda")


@pytest.mark.container
def test_in_an_image(hostile: Hostile, busybox_image: Path) -> None:
    hostile.study.use_image(busybox_image)
    done = hostile.study.run("--sdm", "apptainer")
    assert done.returncode == 0, done.stderr
    check(hostile, "apptainer")
