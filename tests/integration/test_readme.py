"""The README's commands, in order, as somebody who reads it would type them; and its links."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


class Reader:
    """Runs blocks one after another; each begins in the folder where the one before ended."""

    def __init__(self, home: Path) -> None:
        self.home, self.folder = home, home
        self.told: dict[str, str] = {}
        self.seconds: dict[str, float] = {}

    def run(self, block: str) -> None:
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        script = f"set -e\n{block}\npwd >{self.home}/.pwd\n"
        started = time.monotonic()
        done = subprocess.run(
            ["sh", "-c", script],
            cwd=self.folder,
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        self.seconds[block] = time.monotonic() - started
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
        self.told[block] = done.stdout
        self.folder = Path((self.home / ".pwd").read_text().strip())


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    """Somebody who has run all blocks."""
    reader = Reader(tmp_path_factory.mktemp("readme"))
    for block in BLOCKS:
        reader.run(block)
    print(*(f"{seconds:6.1f} s  {block.strip()!r}" for block, seconds in reader.seconds.items()), sep="\n")
    return reader


def demo_text(reader: Reader) -> str:
    return next(told for block, told in reader.told.items() if block.startswith("snakescope demo"))


def percent(text: str, line: str) -> list[float]:
    """Recall and precision on the line that begins so."""
    (found,) = re.findall(rf"^ *{re.escape(line)}.*$", text, re.MULTILINE)
    return [float(number) for number in re.findall(r"([0-9.]+)%", found)]


@pytest.mark.slow
def test_every_block_runs_and_the_demo_finds_what_is_there(reader: Reader) -> None:
    text = demo_text(reader)
    assert min(percent(text, "spots (within 0.4 µm)")) >= 98.0
    assert percent(text, "links between frames")[0] >= 97.0
    (error,) = re.findall(r"RMS error of the positions: ([0-9.]+) µm", text)
    assert float(error) <= 0.05
    assert "54 of 54 jobs done" in text


@pytest.mark.slow
def test_the_pictures_that_the_demo_names_show_something(reader: Reader) -> None:
    named = [Path(line.strip()) for line in demo_text(reader).partition("pictures to open:\n")[2].splitlines()]
    assert {path.suffix for path in named} == {".png", ".gif"}
    assert {path.parts[2] for path in named} == {"cell1", "cell2"}
    for path in named:
        assert (reader.home / path).stat().st_size > 5000
        if path.suffix == ".png":
            pixels = imread(reader.home / path)[..., :3]
            assert min(pixels.shape[:2]) >= 100
            assert pixels.std() > 0.02
            assert len(np.unique(pixels[::3, ::3].reshape(-1, 3), axis=0)) > 50


@pytest.mark.slow
def test_the_study_gives_the_tracks_of_the_demo(reader: Reader) -> None:
    """Up to the time, which the demo's sheet tells and this one's does not."""
    for series in ("cell1", "cell2"):
        demo, study = (
            read_table(reader.home / name / "results" / series / "track/tracks.csv") for name in ("demo", "mystudy")
        )
        assert len(demo) > 150
        assert [{**row, "t_s": ""} for row in demo] == study


def read_table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_the_first_rows_are_not_made_again_and_then_all_is_done(reader: Reader) -> None:
    text = next(told for block, told in reader.told.items() if "--first 3" in block)
    assert "12 of 12 jobs done" in text
    assert text.count(" jobs done in ") == 2
    plain = next(told for block, told in reader.told.items() if block.startswith("snakemake"))
    assert plain == ""


@pytest.mark.slow
def test_the_single_tool_leaves_output_record_and_log(reader: Reader) -> None:
    out = reader.home / "deskewed"
    assert {path.name for path in out.iterdir()} == {"image.ome.zarr", "record.json", "log.txt"}


def test_every_command_of_the_readme_is_in_a_block_that_is_run() -> None:
    told = set(re.findall(r"^snakescope (?:tool )?[a-z]+", "\n".join(BLOCKS), re.MULTILINE))
    assert told >= {
        *("snakescope demo", "snakescope init", "snakescope collect", "snakescope lint", "snakescope run"),
        *("snakescope status", "snakescope tool list", "snakescope tool show", "snakescope tool run"),
        *("snakescope tool new", "snakescope tool test"),
    }


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))], ids=lambda page: page.name
)
def test_links_within_the_project_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []
