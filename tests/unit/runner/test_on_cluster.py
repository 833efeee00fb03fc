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
