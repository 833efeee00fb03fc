"""What of the workflow is handed on."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

from snakescope.study.tree import workflow_files
from snakescope.workflow import Plan

STEP = {"tool": "blur", "environment": {"conda": "envs/blur.yaml", "apptainer_def": "envs/blur.def"}}


def names(root: Path, *files: str) -> set[str]:
    """What is handed on of a study that holds these files."""
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x")
    plan = SimpleNamespace(compiled={"pipeline": "p"}, steps={"first": STEP, "second": STEP})
    return set(workflow_files(root, cast(Plan, plan)))


def test_environments_of_the_tools_that_ran_are_handed_on_and_no_images_of_containers(tmp_path: Path) -> None:
    own = ["envs/blur.yaml", "envs/blur.def", "envs/blur.post-deploy.sh", "envs/blur.linux-64.pin.txt"]
    others = ["envs/blur.sif", "envs/cellpose.yaml", "envs/cellpose.sif"]
    assert names(tmp_path, *own, *others) == set(own)


def test_every_file_of_a_tool_that_ran_is_handed_on_but_its_tests(tmp_path: Path) -> None:
    own = ["tools/blur/tool.yaml", "tools/blur/blur.ijm", "tools/blur/lib/more.R"]
    others = ["tools/blur/cases/a.yaml", "tools/blur/__pycache__/a.pyc", "tools/blur/.b.swp", "tools/other/tool.yaml"]
    assert names(tmp_path, *own, *others) == set(own)


def test_workflow_and_rules_of_this_pipeline_are_handed_on(tmp_path: Path) -> None:
    own = ["workflow/Snakefile", "rules/p/blur.smk", "config/config.yaml", "config/pipelines/p.yaml"]
    others = ["rules/other/blur.smk", "config/pipelines/other.yaml", "workflow/.Snakefile.swp", "config/study.yaml"]
    assert names(tmp_path, *own, *others) == set(own)
