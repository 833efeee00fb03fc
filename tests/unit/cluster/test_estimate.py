"""What pending jobs need."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from cluster_helpers import STEPS, TOOLS, rows_of, study, write_all, write_record
from snakescope.cluster.estimate import ENGINE_MIN, Need, Source, estimate
from snakescope.cluster.pending import Pending, find_pending
from snakescope.workflow import Plan


def every_pair(plan: Plan) -> Pending:
    pairs = {step: dict.fromkeys(plan.units(step), "new") for step in plan.steps}
    return Pending(pairs, dict.fromkeys(plan.steps, 0))  # type: ignore[arg-type]


def test_limits_are_those_of_the_tools(tmp_path: Path) -> None:
    rows = [*rows_of(3), {**rows_of(4)[3], "shape": "1,10,2000,1000"}]
    plan = study(tmp_path, rows)
    needs = estimate(plan, every_pair(plan)).needs
    assert (needs["shear"]["r000"].limit_min, needs["shear"]["r003"].limit_min) == (11, 21)
    assert (needs["shear"]["r000"].mem_mb, needs["shear"]["r003"].mem_mb) == (110, 120)
    assert (needs["look"]["r000"].cores, needs["look"]["r000"].minutes) == (2, 3 + ENGINE_MIN)
    assert (needs["link"]["c0"].mem_mb, needs["link"]["c1"].mem_mb) == (300, 100)


def test_gpus_are_known(tmp_path: Path) -> None:
    plan = study(tmp_path, steps={"train": {"tool": "train", "inputs": {"image": "sheet.path"}}})
    assert {need.gpus for need in estimate(plan, every_pair(plan)).needs["train"].values()} == {1}


RESOURCES = ["100 + bytes(in.image) / 1e6", "voxels / 1e6 * voxel_size_um.z", "width * 10", "rows", "time_step_s", "7"]


@pytest.mark.parametrize("expression", RESOURCES)
def test_every_kind_of_expression_is_evaluated_as_for_the_job_itself(tmp_path: Path, expression: str) -> None:
    rows: list[dict[str, str]] = []
    for n, row in enumerate(rows_of(30)):
        shape, z = f"1,{10 + n // 3 % 2},1000,1000", f"0.{1 + n // 4 % 2},0.1,0.1"
        rows.append(
            {**row, "bytes": str(10**6 * n), "shape": shape, "voxel_size_um": z, "time_step_s": str(1 + n // 5 % 2)}
        )
        rows[-1]["word"] = str(1 + n // 7 % 2)
    shear = {**TOOLS["shear"], "resources": {"mem_mb": expression, "runtime_min": expression}}
    shear["outputs"] = {"image": {**shear["outputs"]["image"], "shape": {"x": "shape.x * width"}}}
    link = {**TOOLS["link"], "resources": {"mem_mb": "rows", "runtime_min": 1}}
    look = {**TOOLS["look"], "resources": {"mem_mb": "voxels / 1e6", "runtime_min": 1}}
    steps: dict[str, Any] = {**STEPS, "shear": {**STEPS["shear"], "params": {"width": {"column": "word"}}}}
    plan = study(tmp_path, rows, steps, {**TOOLS, "shear": shear, "link": link, "look": look})
    needs = estimate(plan, every_pair(plan)).needs
    for step, unit, _ in plan.walk_units():
        assert needs[step][unit].mem_mb == plan.resource(step, "mem_mb", unit, 1), (step, unit)
        # of many jobs in one, none is rounded up to a minute; one that is sent alone is
        assert needs[step][unit].limit_min == plan.amount(step, "runtime_min", unit, 1), (step, unit)
        assert plan.resource(step, "runtime_min", unit, 1) == max(1, math.ceil(needs[step][unit].limit_min))


def test_measured_times_scale_what_is_expected_and_not_the_limit(tmp_path: Path) -> None:
    plan = study(tmp_path, rows_of(9))
    for unit, wall_s in (("r000", 33.0), ("r001", 66.0), ("r002", 6600.0)):
        write_record(tmp_path, plan, "shear", unit, wall_s=wall_s)
    found = estimate(plan, find_pending(plan, tmp_path))
    assert found.sources["shear"].ratio == pytest.approx(0.1)
    assert found.sources["shear"].records == 3
    assert found.sources["look"] == Source(None, 0)
    need = found.needs["shear"]["r003"]
    assert need.minutes == pytest.approx(1.1 + ENGINE_MIN)
    assert need.limit_min == 11
    assert list(found.needs["shear"]) == [f"r{n:03}" for n in range(3, 9)]


def test_a_limit_that_was_measured_to_be_too_low_is_raised(tmp_path: Path) -> None:
    plan = study(tmp_path)
    write_record(tmp_path, plan, "shear", "r000", wall_s=20 * 60)
    need = estimate(plan, find_pending(plan, tmp_path)).needs["shear"]["r001"]
    assert need.minutes == pytest.approx(20 + ENGINE_MIN)
    assert need.limit_min == 40


def test_short_jobs_are_counted_in_parts_of_a_minute(tmp_path: Path) -> None:
    quick = {**TOOLS["shear"], "resources": {"mem_mb": 100, "runtime_min": 0.2}}
    idle = {**TOOLS["look"], "resources": {"mem_mb": 100, "runtime_min": "0 * voxels"}}
    plan = study(tmp_path, tools={**TOOLS, "shear": quick, "look": idle})
    write_record(tmp_path, plan, "shear", "r000", wall_s=3)
    needs = estimate(plan, find_pending(plan, tmp_path)).needs
    assert needs["shear"]["r001"].minutes == pytest.approx(0.05 + ENGINE_MIN)
    assert needs["shear"]["r001"].limit_min == 0.2
    assert 0 < needs["look"]["r000"].limit_min < 0.001
    assert plan.resource("shear", "runtime_min", "r001", 1) == plan.resource("look", "runtime_min", "r001", 1) == 1


def test_an_unknown_time_is_no_time(tmp_path: Path) -> None:
    plan = study(tmp_path)
    write_record(tmp_path, plan, "shear", "r000", wall_s=None)
    assert estimate(plan, find_pending(plan, tmp_path)).sources["shear"] == Source(None, 0)


def test_nothing_is_estimated_of_what_is_done(tmp_path: Path) -> None:
    plan = study(tmp_path)
    write_all(tmp_path, plan)
    assert all(not needs for needs in estimate(plan, find_pending(plan, tmp_path)).needs.values())


def test_rows_that_are_alike_are_evaluated_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = study(tmp_path, [{**row, "bytes": str(n)} for n, row in enumerate(rows_of(60))])
    asked: list[tuple[str, str]] = []
    amount = plan.amount

    def counted(step: str, name: str, unit: str, attempt: int) -> float:
        asked.append((step, name))
        return amount(step, name, unit, attempt)

    monkeypatch.setattr(plan, "amount", counted)
    estimate(plan, every_pair(plan))
    assert len(asked) == 2 * len(plan.steps)


def test_what_was_measured_often_is_counted_on() -> None:
    assert Need(1, 100, 10, 1).among_many_min == 100
    assert Need(1, 100, 10, 1, measured=True).among_many_min == 4
    assert Need(50, 100, 10, 1, measured=True).among_many_min == 100
