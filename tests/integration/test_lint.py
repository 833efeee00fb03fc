"""What Snakemake's own linter says of the workflows that are shipped."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from integration_helpers import TinyStudy, snakescope
from snakescope import layout
from snakescope.cluster.plan import make_plan, write_plan
from snakescope.cluster.site import Site
from snakescope.workflow import Plan
from tiny_tools import write_rows


def lint(root: Path, snakefile: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "snakemake", "--lint", "--snakefile", snakefile]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)


def test_the_workflow_of_a_study_is_clean(tmp_path: Path) -> None:
    assert snakescope("init", "study", cwd=tmp_path).returncode == 0
    root = tmp_path / "study"
    write_rows(root, [{"id": "r1", "path": "r1.tif", "series": "s", "t": "0"}])
    assert snakescope("compile", cwd=root).returncode == 0
    done = lint(root, layout.SNAKEFILE)
    assert done.returncode == 0, done.stderr
    assert "in a good condition" in done.stderr


def test_of_the_outer_workflow_it_says_what_the_design_admits(tmp_path: Path) -> None:
    study = TinyStudy(tmp_path / "study", 4)
    assert study.snakescope("compile").returncode == 0
    plan = Plan.read("tiny", layout.SHEET, study.root)
    write_plan(study.root, make_plan(plan, Site(), study.root, grain="fanout"))
    said = lint(study.root, "workflow/fanout.smk").stderr
    assert (
        re.findall(r"^ *\* (.*)$", said, re.MULTILINE)
        == ["Specify a conda environment or container for each rule.:"] * 2
    )
    assert re.findall(r"^Lints for rule (\w+)", said, re.MULTILINE) == ["stage_in", "s1"]
    assert "Lints for snakefile" not in said
