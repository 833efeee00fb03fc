"""Which steps share an allocation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from cluster_helpers import STEPS, TOOLS, rows_of, study, write_record
from snakescope.cluster.estimate import Need, estimate
from snakescope.cluster.pending import find_pending
from snakescope.cluster.site import Partition, Site, SiteFile
from snakescope.cluster.stages import Stage, Together, asked_min, choose_stages
from snakescope.errors import InputError
from snakescope.workflow import Plan

CPU = Partition(max_runtime_min=600, max_mem_mb=64_000, max_cpus=8, nodes=4)
GPU = Partition(max_runtime_min=600, max_mem_mb=64_000, max_cpus=8, gpus=2)


def site(**partitions: Partition) -> Site:
    return Site(partitions=partitions or {"cpu": CPU})


def stages_with(
    folder: Path, resources: Mapping[str, Mapping[str, Any]], steps: Mapping[str, Any] = STEPS, rows: int = 60,
    where: Site | None = None, series: int = 3,
) -> list[Stage]:  # fmt: skip
    tools = {name: {**tool, "resources": resources.get(name, tool["resources"])} for name, tool in TOOLS.items()}
    plan = study(folder, rows_of(rows, series), steps, tools)
    needs = estimate(plan, find_pending(plan, folder)).needs
    return choose_stages(plan, needs, where or site(), Together(plan))


def parts(stages: list[Stage]) -> list[tuple[str, ...]]:
    return [stage.steps for stage in stages]


ALIKE = {name: {"mem_mb": 500, "runtime_min": 1} for name in TOOLS}


def test_steps_of_like_need_are_one_stage(tmp_path: Path) -> None:
    (stage,) = stages_with(tmp_path, ALIKE)
    assert (stage.name, stage.steps, stage.why) == ("s1", ("shear", "look", "link", "judge"), None)
    assert stage.room.cores == 8
    assert stage.room.slots == dict.fromkeys(stage.steps, 8)


def test_a_gpu_step_is_a_stage_of_its_own(tmp_path: Path) -> None:
    steps = {
        "shear": STEPS["shear"],
        "train": {"tool": "train", "inputs": {"image": "shear.image"}},
        "look": {"tool": "look", "inputs": {"image": "train.image"}},
    }
    alike = {**ALIKE, "train": TOOLS["train"]["resources"]}
    found = stages_with(tmp_path, alike, steps, where=site(gpu=GPU, cpu=CPU))
    assert parts(found) == [("shear",), ("train",), ("look",)]
    assert [stage.room.gpus for stage in found] == [0, 1, 0]
    assert [stage.room.partition for stage in found] == ["cpu", "gpu", "cpu"]
    assert (found[1].room.cores, found[1].room.slots["train"]) == (2, 1)
    assert found[1].why == "a GPU is held by no other step"
    assert found[2].why == "train holds a GPU"


def test_a_step_that_leaves_cores_idle_stands_apart(tmp_path: Path) -> None:
    hungry = {**ALIKE, "look": {"mem_mb": 30_000, "runtime_min": 30}}
    found = stages_with(tmp_path, hungry)
    assert parts(found) == [("shear",), ("look",), ("link", "judge")]
    assert found[1].room.slots["look"] == 2
    assert found[1].room.cores == 2
    assert "look" in (found[1].why or "")


def test_idle_cores_for_a_short_time_part_nothing(tmp_path: Path) -> None:
    resources = {
        **ALIKE,
        "shear": {"mem_mb": 500, "runtime_min": 100},
        "look": {"threads": 5, "mem_mb": 500, "runtime_min": 1},
    }
    assert parts(stages_with(tmp_path / "a", resources))[0][:2] == ("shear", "look")
    resources["shear"] = {"mem_mb": 500, "runtime_min": 1}
    assert parts(stages_with(tmp_path / "b", resources))[0] == ("shear",)


def test_a_step_of_much_more_memory_stands_apart(tmp_path: Path) -> None:
    resources = {**ALIKE, "look": {"mem_mb": 6000, "runtime_min": 1}}
    found = stages_with(tmp_path, resources)
    assert parts(found)[0] == ("shear",)
    assert found[1].why == "look needs 12.0 times the memory of shear"


def test_groups_that_would_make_jobs_too_long_stand_apart(tmp_path: Path) -> None:
    found = stages_with(tmp_path, ALIKE, rows=600, series=300)
    assert parts(found) == [("shear", "look"), ("link", "judge")]
    assert "whole groups of link would make jobs of" in (found[1].why or "")


def test_groups_that_may_last_too_long_stand_apart(tmp_path: Path) -> None:
    generous = {**ALIKE, "look": {"mem_mb": 500, "runtime_min": 100}}
    tools = {name: {**tool, "resources": generous[name]} for name, tool in TOOLS.items()}
    plan = study(tmp_path, rows_of(120, 60), STEPS, tools)
    for unit in list(plan.units("shear"))[:3]:
        for step in ("shear", "look"):
            write_record(tmp_path, plan, step, unit, wall_s=0.6)
    needs = estimate(plan, find_pending(plan, tmp_path)).needs
    found = choose_stages(plan, needs, site(), Together(plan))
    assert parts(found)[0] == ("shear", "look")
    assert "whole groups of link may last 7" in (found[1].why or "")


def test_a_short_step_of_much_memory_does_with_what_the_others_have(tmp_path: Path) -> None:
    resources = {**ALIKE, "shear": {"mem_mb": 500, "runtime_min": 100}, "look": {"mem_mb": 3000, "runtime_min": 1}}
    first = stages_with(tmp_path, resources, {name: STEPS[name] for name in ("shear", "look")})[0]
    assert first.steps == ("shear", "look")
    assert (first.room.mem_mb, first.room.slots) == (4000, {"shear": 8, "look": 1})


def test_steps_that_are_too_long_one_after_the_other_are_parted(tmp_path: Path) -> None:
    resources = {**ALIKE, "shear": {"mem_mb": 500, "runtime_min": 400}, "look": {"mem_mb": 500, "runtime_min": 400}}
    found = stages_with(tmp_path, resources)
    assert parts(found)[0] == ("shear",)
    assert found[1].why == "one after the other they may last longer than 600 min"


def test_a_step_that_needs_another_partition_is_parted(tmp_path: Path) -> None:
    resources = {**ALIKE, "look": {"mem_mb": 100_000, "runtime_min": 1}}
    big = Partition(max_runtime_min=600, max_mem_mb=500_000, max_cpus=8)
    found = stages_with(tmp_path, resources, where=site(cpu=CPU, big=big))
    assert [(stage.steps, stage.room.partition) for stage in found][:2] == [(("shear",), "cpu"), (("look",), "big")]


def test_cores_are_at_least_the_largest_threads_and_at_most_the_nodes(tmp_path: Path) -> None:
    wide = {**ALIKE, "look": {"threads": 6, "mem_mb": 500, "runtime_min": 1}}
    steps = {"look": {"tool": "look", "inputs": {"image": "sheet.path"}}}
    four = Site(file=SiteFile(cores_per_job=4), partitions={"cpu": CPU})
    assert stages_with(tmp_path / "a", wide, steps, where=four)[0].room.cores == 6
    many = Site(file=SiteFile(cores_per_job=64), partitions={"cpu": CPU})
    assert stages_with(tmp_path / "b", ALIKE, steps, where=many)[0].room.cores == 8
    assert stages_with(tmp_path / "c", wide, steps, where=many)[0].room.cores == 6


def test_every_step_that_fits_nowhere_is_told(tmp_path: Path) -> None:
    resources = {
        **ALIKE,
        "shear": {"mem_mb": 70_000, "runtime_min": 1},
        "look": {"threads": 9, "mem_mb": 1, "runtime_min": 1},
        "link": {"mem_mb": 1, "runtime_min": 601},
    }
    with pytest.raises(InputError) as told:
        stages_with(tmp_path, resources)
    assert [problem.where for problem in told.value.problems] == ["step 'shear'", "step 'look'", "step 'link'"]
    text = str(told.value)
    assert "needs 1 core, 70400 MB and 1 min for 'r000'; no partition gives that" in text
    assert "(cpu: 8 cores, 64000 MB, 600 min, no GPU)" in text
    assert "Name a larger partition in profiles/slurm/site.yaml" in text


def test_a_gpu_step_without_a_gpu_partition_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="and 1 GPU for 'r000'; no partition gives that"):
        stages_with(tmp_path, {}, {"train": {"tool": "train", "inputs": {"image": "sheet.path"}}})


def test_on_an_unknown_cluster_nothing_is_refused(tmp_path: Path) -> None:
    large = {"train": {**TOOLS["train"]["resources"], "mem_mb": 10**6}}
    steps = {"train": {"tool": "train", "inputs": {"image": "sheet.path"}}}
    found = stages_with(tmp_path, large, steps, where=Site(partition="p"))
    assert [(stage.room.partition, stage.room.gpus) for stage in found] == [("p", 1)]


def plan_over(folder: Path, cells: list[tuple[str, str]]) -> Plan:
    rows = [{**row, "series": s, "word": w, "t": ""} for row, (s, w) in zip(rows_of(len(cells)), cells, strict=True)]
    steps = {
        "look": {"tool": "look", "inputs": {"image": "sheet.path"}},
        "a": {"tool": "link", "over": "series", "inputs": {"points": "look.points"}},
        "b": {"tool": "link", "over": "word", "inputs": {"points": "look.points"}},
        "c": {"tool": "judge", "inputs": {"table": "a.table", "image": "sheet.path"}},
    }
    return study(folder, rows, steps)


def test_rows_stay_together_by_the_groups_of_a_step_and_of_those_before_it(tmp_path: Path) -> None:
    plan = plan_over(tmp_path, [("s", "x"), ("u", "y"), ("s", "y"), ("v", "z")])
    together = Together(plan)
    assert together.atoms(["look"]) == [[0], [1], [2], [3]]
    assert together.atoms(["a"]) == [[0, 2], [1], [3]]
    assert together.atoms(["c"]) == [[0, 2], [1], [3]]
    assert together.atoms(["b"]) == [[0], [1, 2], [3]]
    assert together.atoms(["a", "b"]) == [[0, 1, 2], [3]]


def test_what_is_asked_for_has_a_margin_within_the_limit() -> None:
    assert asked_min(100, None) == 115
    assert asked_min(100, 110) == 110


def test_a_need_may_be_a_fraction_of_a_minute() -> None:
    assert Need(0.01, 1, 1, 1).minutes == 0.01
