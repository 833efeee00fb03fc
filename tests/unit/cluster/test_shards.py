"""Rows into shards: every pair once, groups whole, balanced, within limits."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snakescope.cluster import shards as shards_module
from snakescope.cluster.estimate import Need
from snakescope.cluster.shards import Packer, Shard, makespan
from snakescope.cluster.site import Partition, Site, SiteFile
from snakescope.cluster.stages import Stage, Together, choose_stages
from snakescope.errors import InputError
from snakescope.samples import build_sheet
from snakescope.workflow import Plan

Needs = dict[str, dict[str, Need]]


def step(over: tuple[str, ...] = (), *before: str) -> dict[str, Any]:
    wires = {f"p{n}": {"from": "step", "step": name} for n, name in enumerate(before)}
    return {"over": list(over), "inputs": wires, "params": {}, "resources": {}, "outputs": {}, "threads": 1}


STEPS = {
    "a": step(),
    "b": step((), "a"),
    "g": step(("series",), "b"),
    "h": step((), "g"),
    "k": step(("plate",), "b"),
}


def plan_of(groups: list[tuple[int, int]], steps: dict[str, Any] = STEPS) -> Plan:
    rows = [
        {"id": f"r{n}", "path": f"r{n}.tif", "series": f"s{series}", "plate": f"p{plate}"}
        for n, (series, plate) in enumerate(groups)
    ]
    return Plan({"pipeline": "p", "steps": steps}, build_sheet(("id", "path", "series", "plate"), rows))


def alike(plan: Plan, need: Need) -> Needs:
    return {name: dict.fromkeys(plan.units(name), need) for name in plan.steps}


def packed(plan: Plan, needs: Needs, site: Site) -> list[tuple[Stage, list[Shard]]]:
    together = Together(plan)
    packer = Packer(plan, needs, site, together)
    return [(stage, packer.shards(stage)) for stage in choose_stages(plan, needs, site, together)]


CPU = Partition(max_runtime_min=600, max_mem_mb=16_000, max_cpus=16, nodes=4)
SITE = Site(partitions={"cpu": CPU}, jobs=100)
MINUTES = st.one_of(st.floats(0.01, 3), st.floats(1, 30))


@st.composite
def situations(draw: st.DrawFn) -> tuple[Plan, Needs]:
    count = draw(st.integers(1, 60))
    series, plates = draw(st.integers(1, 20)), draw(st.integers(1, 8))
    groups = draw(st.lists(st.tuples(st.integers(0, series), st.integers(0, plates)), min_size=count, max_size=count))
    chosen = {name: STEPS[name] for name in STEPS if name != "k" or draw(st.booleans())}
    plan = plan_of(groups, chosen)
    needs: Needs = {}
    for name in plan.steps:
        threads, base, mem_mb = draw(st.integers(1, 4)), draw(MINUTES), draw(st.integers(100, 8000))
        pool = [Need(base * x, max(1, math.ceil(base * x)), math.ceil(mem_mb * x), threads) for x in (1, 1.5, 0.2)]
        units = [unit for unit in plan.units(name) if draw(st.integers(0, 9))]
        needs[name] = {unit: draw(st.sampled_from(pool)) for unit in units}
    return plan, needs


@settings(max_examples=150, deadline=None)
@given(situations())
def test_every_pair_is_in_one_job_and_groups_are_whole(situation: tuple[Plan, Needs]) -> None:
    plan, needs = situation
    found = packed(plan, needs, SITE)
    pairs = Counter(pair for _, shards in found for shard in shards for pair in shard.pairs)
    assert pairs == Counter((name, unit) for name, units in needs.items() for unit in units)
    place = {row.id: index for index, row in enumerate(plan.sheet.rows)}
    for stage, shards in found:
        held = Counter(row for shard in shards for row in shard.rows)
        assert set(held.values()) <= {1}
        for shard in shards:
            rows = set(shard.rows)
            assert list(shard.rows) == sorted(rows)
            assert {name for name, _ in shard.pairs} <= set(stage.steps)
            grouped = {"g": {"g", "h"}, "k": {"k"}}
            for name in (name for name, users in grouped.items() if name in plan.steps and users & set(stage.steps)):
                for members in plan.units(name).values():
                    inside = {place[row.id] for row in members}
                    assert inside <= rows or not inside & rows
            assert all({place[row.id] for row in plan.units(name)[unit]} <= rows for name, unit in shard.pairs)


@settings(max_examples=150, deadline=None)
@given(situations())
def test_every_job_keeps_the_limits_and_holds_its_largest(situation: tuple[Plan, Needs]) -> None:
    plan, needs = situation
    for _, shards in packed(plan, needs, SITE):
        for shard in shards:
            inside = [needs[name][unit] for name, unit in shard.pairs]
            assert max(need.cores for need in inside) <= shard.cores <= 16
            assert max(need.mem_mb for need in inside) <= shard.mem_mb <= 16_000 - 400
            assert max(need.limit_min for need in inside) <= shard.runtime_min <= 600
            work = sum(need.minutes * need.cores for need in inside) / shard.cores
            assert shard.minutes >= max(work, *(need.minutes for need in inside), 0) * (1 - 1e-9)


@settings(max_examples=100, deadline=None)
@given(situations(), st.floats(0.5, 10))
def test_jobs_last_as_long_as_they_should_and_no_longer_than_they_must(
    situation: tuple[Plan, Needs], target: float
) -> None:
    plan, needs = situation
    plan = plan_of([(int(row.cell("series")[1:]), 0) for row in plan.sheet.rows], {"a": STEPS["a"]})
    needs = {"a": needs["a"]}
    site = Site(file=SiteFile(target_minutes=target), partitions={"cpu": Partition(max_cpus=8)})
    for stage, shards in packed(plan, needs, site):
        weight = stage.room.weight("a")
        costs = [sum(needs[name][unit].minutes * weight for name, unit in shard.pairs) for shard in shards]
        mean = sum(need.minutes for need in needs["a"].values()) / len(needs["a"])
        full, largest = stage.room.cores * max(target, mean), max(need.minutes for need in needs["a"].values()) * weight
        if sum(costs) >= full:
            assert min(costs) >= full * (1 - 1e-6)
            assert max(costs) <= sum(costs) / math.floor(sum(costs) / full) + full * 1.5 + 2 * largest
        else:
            assert min(costs) >= min(sum(costs), stage.room.cores * target / 4) * (1 - 1e-6)


def test_equal_rows_make_equal_jobs() -> None:
    plan = plan_of([(n // 4, 0) for n in range(1000)], {"a": STEPS["a"], "b": STEPS["b"]})
    ((stage, shards),) = packed(plan, alike(plan, Need(1, 2, 100, 1)), SITE)
    assert stage.room.cores == 8
    sizes = Counter(len(shard.rows) for shard in shards)
    assert (sum(sizes.values()), min(sizes), max(sizes)) == (12, 83, 84)
    assert all(20 <= shard.minutes <= 22 for shard in shards)
    assert {(shard.cores, shard.mem_mb) for shard in shards} == {(8, 800)}
    assert {shard.runtime_min for shard in shards} <= {math.ceil(minutes * 1.1) + 5 for minutes in (40, 42)}


@pytest.mark.parametrize("plates", [1, 50])
def test_rows_of_one_later_group_stay_together_where_they_are_few(plates: int) -> None:
    plan = plan_of([(n % 100, n % plates) for n in range(1000)])
    needs = alike(plan, Need(1, 2, 100, 1)) | {"g": {}, "h": {}, "k": {}}
    ((_, shards),) = packed(plan, needs, SITE)
    assert len(shards) > 5
    for shard in shards:
        series = Counter(plan.sheet.rows[row].cell("series") for row in shard.rows)
        assert set(series.values()) == {10}


def test_less_than_one_full_job_is_spread_over_the_nodes() -> None:
    plan = plan_of([(n, 0) for n in range(140)], {"a": STEPS["a"]})
    needs = alike(plan, Need(1, 1, 100, 1))
    assert len(packed(plan, needs, SITE)[0][1]) == 3
    assert len(packed(plan, needs, replace(SITE, jobs=2))[0][1]) == 2
    few = {"a": dict(list(needs["a"].items())[:4])}
    ((_, (shard,)),) = packed(plan, few, SITE)
    assert (shard.cores, shard.minutes, len(shard.rows)) == (1, 4, 4)


def test_few_long_jobs_get_the_cores_that_they_keep_busy() -> None:
    plan = plan_of([(n, 0) for n in range(3)], {"a": STEPS["a"]})
    ((_, (shard,)),) = packed(plan, alike(plan, Need(60, 60, 1000, 1)), SITE)
    assert (shard.cores, shard.mem_mb, shard.minutes, shard.runtime_min) == (3, 3000, 60, 71)


def test_memory_of_the_partition_bounds_what_runs_side_by_side() -> None:
    plan = plan_of([(n, 0) for n in range(100)], {"a": STEPS["a"]})
    ((stage, shards),) = packed(plan, alike(plan, Need(10, 10, 7000, 2)), SITE)
    assert (stage.room.slots["a"], stage.room.cores) == (2, 4)
    assert {(shard.cores, shard.mem_mb) for shard in shards} == {(4, 14_000)}


def test_jobs_are_shorter_where_the_partition_wants_it() -> None:
    plan = plan_of([(n, 0) for n in range(1000)], {"a": STEPS["a"]})
    needs = alike(plan, Need(1, 8, 100, 1))
    short = Site(partitions={"cpu": CPU.model_copy(update={"max_runtime_min": 60})})
    ((_, shards),) = packed(plan, needs, short)
    assert max(shard.runtime_min for shard in shards) <= 60
    assert max(len(shard.rows) for shard in shards) <= 48
    assert min(len(shard.rows) for shard in shards) >= 20


def test_measured_jobs_ask_for_some_times_what_was_measured_but_leave_room_for_a_slow_one() -> None:
    plan = plan_of([(n, 0) for n in range(1000)], {"a": STEPS["a"]})
    told = alike(plan, Need(0.1, 10, 100, 1))
    measured = alike(plan, Need(0.1, 10, 100, 1, measured=True))
    ((_, by_limit),), ((_, by_measure),) = packed(plan, told, SITE), packed(plan, measured, SITE)
    longest = [max(shard.runtime_min for shard in shards) for shards in (by_limit, by_measure)]
    assert longest[0] > 300
    assert 12 < longest[1] < 90
    few = plan_of([(n, 0) for n in range(3)], {"a": STEPS["a"]})
    one = {"a": dict.fromkeys(few.units("a"), Need(0.1, 10, 100, 1, measured=True)), "g": {}, "h": {}, "k": {}}
    ((_, (shard,)),) = packed(few, {step: one[step] for step in one if step in few.steps}, SITE)
    assert shard.runtime_min > 10


def test_short_jobs_with_long_limits_keep_the_cores_that_hold_them_in_time() -> None:
    plan = plan_of([(n, 0) for n in range(1000)], {"a": STEPS["a"]})
    short = Site(partitions={"cpu": CPU.model_copy(update={"max_runtime_min": 120})})
    ((_, shards),) = packed(plan, alike(plan, Need(0.05, 10, 100, 1)), short)
    assert len(shards) <= 14
    assert {shard.cores for shard in shards} == {8}


def test_a_group_that_lasts_too_long_is_told() -> None:
    plan = plan_of([(n // 3, 0) for n in range(60)])
    needs = alike(plan, Need(1, 1, 100, 1)) | {"k": {}}
    needs["h"] = dict.fromkeys(needs["h"], Need(30, 30, 100, 8))
    short = Site(partitions={"cpu": CPU.model_copy(update={"max_runtime_min": 40})})
    with pytest.raises(InputError) as told:
        packed(plan, needs, short)
    assert len(told.value.problems) == 20
    assert "step 'h': what must be done together for 'r0' may last 90 min; no job lasts over 40 min" in str(told.value)


def test_one_job_is_not_given_too_many_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards_module, "MOST_PAIRS", 50)
    plan = plan_of([(n, 0) for n in range(500)], {"a": STEPS["a"], "b": STEPS["b"]})
    ((_, shards),) = packed(plan, alike(plan, Need(0.001, 1, 100, 1)), SITE)
    assert {len(shard.pairs) for shard in shards} == {50}


def test_outliers_do_not_make_all_jobs_long() -> None:
    plan = plan_of([(n, 0) for n in range(2000)], {"a": STEPS["a"]})
    needs = alike(plan, Need(1, 1, 100, 1))
    needs["a"]["r7"] = Need(500, 500, 100, 1)
    ((_, shards),) = packed(plan, needs, SITE)
    assert sorted(shard.minutes for shard in shards)[-2] < 30


@pytest.mark.parametrize(
    ("jobs", "after", "cores", "mem_mb", "expected"),
    [
        ([(5, 1, 1, 0)] * 4, [()] * 4, 2, 9, 10),
        ([(5, 1, 1, 0)] * 4, [(1,), (2,), (3,), ()], 4, 9, 20),
        ([(5, 1, 5, 0)] * 4, [()] * 4, 4, 9, 20),
        ([(5, 2, 1, 0), (3, 1, 1, 0), (3, 1, 1, 0)], [()] * 3, 2, 9, 8),
        ([(4, 1, 1, 0), (1, 1, 1, 0), (1, 1, 1, 0)], [(2,), (2,), ()], 2, 9, 5),
    ],
)
def test_time_of_jobs_together(
    jobs: list[tuple[float, int, int, int]], after: list[tuple[int, ...]], cores: int, mem_mb: int, expected: float
) -> None:
    assert makespan(jobs, after, cores, mem_mb) == expected


def test_jobs_take_turns_on_a_gpu() -> None:
    assert makespan([(5, 1, 1, 1)] * 3, [()] * 3, 8, 99, gpus=1) == 15


def test_a_job_that_does_not_fit_is_no_endless_loop() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        makespan([(5, 3, 1, 0)], [()], 2, 9)
