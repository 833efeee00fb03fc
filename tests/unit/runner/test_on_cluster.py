"""What a run on a cluster does before any cluster is asked."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from integration_helpers import TinyStudy
from snakescope.runner.folder import open_study
from snakescope.runner.run import run
from snakescope.samples import Sheet, files


@pytest.mark.parametrize(("words", "jobs"), [({}, 10), ({"first": 2}, 5)])
def test_planning_reads_the_sheet_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: dict[str, int], jobs: int
) -> None:
    study = open_study(TinyStudy(tmp_path / "study", 4).root)
    read, original = [], files.read_sheet

    def counted(path: Path) -> Sheet:
        read.append(path)
        return original(path)

    for module in [module for name, module in sys.modules.items() if name.startswith("snakescope.")]:
        if getattr(module, "read_sheet", None) is original:
            monkeypatch.setattr(module, "read_sheet", counted)
    result = run(study, profile="slurm", plan=True, quiet=True, **words)  # type: ignore[arg-type]
    assert result.planned == jobs
    assert read == [study.root / "config/samples.tsv"]
    where = "config/samples.tsv" if not words else ".snakescope/samples.tsv"
    assert f"tiny over {where}: {words.get('first', 4)} rows" in (result.plan or "")


@pytest.mark.parametrize(
    ("sinfo", "cores", "told"),
    [
        ("echo 'cpu*|1-00:00:00|3000|2|3|up|(null)'", 2, "3 nodes there"),
        ("echo 'Unable to contact slurm controller' >&2; exit 1", 8, "Slurm was not asked what nodes have (Slurm does"),
    ],
)
def test_a_plan_is_made_for_the_nodes_that_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sinfo: str, cores: int, told: str
) -> None:
    for name, script in {"sinfo": sinfo, "sbatch": "exit 9", "squeue": "exit 9", "scancel": "exit 9"}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    study = open_study(TinyStudy(tmp_path / "study", 40).root)
    shown = run(study, profile="slurm", plan=True, quiet=True).plan or ""
    assert f"asks for {cores} cores" in shown
    assert told in shown
