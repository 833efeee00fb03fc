# ruff: noqa: E501 - tables of whole descriptors
"""What compiled rules look up for each job: its files, its facts, its resources."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from enum import Enum
from pathlib import Path
from typing import Any

import pytest

from snakescope.environments.images import State
from snakescope.errors import InputError
from snakescope.workflow import UNKNOWN_RESOURCE, Plan, mode_of
from tiny_tools import IMAGE, write_pipeline, write_rows, write_rules, write_tools

FACTS = ["voxel_size_um", "time_step_s", "scene", "t_index"]
TOOLS: dict[str, dict[str, Any]] = {
    "shear": {
        "inputs": {
            "image": {**IMAGE, "facts": FACTS},
            "psf": {"type": "psf", "description": "d", "optional": True},
        },
        "outputs": {
            "image": {
                **IMAGE, "file": "i.ome.zarr", "format": "ome-zarr", "like": "image", "dtype": "float32",
                "shape": {"x": "shape.x + ceil(shape.z * width)"}, "voxel_size_um": {"z": "voxel_size_um.z / 2"},
            },
            "flat": {**IMAGE, "file": "f.ome.zarr", "format": "ome-zarr", "like": "image", "axes": "t?yx"},
            "mask": {"type": "mask", "description": "d", "file": "m.ome.zarr", "format": "ome-zarr", "axes": "yx", "dtype": "uint8"},
        },
        "params": {
            "width": {"type": "number", "default": 2, "help": "h"},
            "deep": {"type": "boolean", "default": False, "help": "h"},
            "word": {"type": "text", "default": None, "help": "h"},
        },
        "command": ["shear", "{in.image}", ["--voxels", "{in.image.voxel_size_um}"], ["--t", "{in.image.t_index}"]],
        "resources": {
            "threads": 2,
            "mem_mb": "100 + 4 * voxels / 1000",
            "runtime_min": "10 * attempt if deep else 1",
            "disk_mb": "bytes(in.image) / 1e6 + bytes(in.psf)",
        },
    },
    "look": {
        "inputs": {"image": {**IMAGE, "facts": ["voxel_size_um", "time_step_s"]}},
        "outputs": {"points": {"type": "points", "description": "d", "file": "p.csv", "format": "csv"}},
        "command": ["look"],
        "resources": {"mem_mb": "shape.x * voxel_size_um.z", "runtime_min": 0.2, "threads": 3},
    },
    "link": {
        "inputs": {"points": {"type": "points", "description": "d", "many": True, "facts": ["time_step_s", "t_index"]}},
        "outputs": {"tracks": {"type": "tracks", "description": "d", "file": "k.csv", "format": "csv"}},
        "command": ["link"],
        "resources": {"mem_mb": "1000 * rows", "runtime_min": 5},
    },
    "gather": {
        "inputs": {"image": {**IMAGE, "many": True}, "mask": {"type": "mask", "description": "d", "many": True, "optional": True}},
        "outputs": {"table": {"type": "table", "description": "d", "file": "t.csv", "format": "csv"}},
        "command": ["gather"],
        "resources": {"mem_mb": "voxels", "runtime_min": 1},
    },
    "judge": {
        "inputs": {"tracks": {"type": "tracks", "description": "d"}, "image": IMAGE},
        "outputs": {"table": {"type": "table", "description": "d", "file": "t.csv", "format": "csv"}},
        "command": ["judge"],
        "resources": {"mem_mb": "in.image.voxels"},
    },
}  # fmt: skip
STEPS: dict[str, Any] = {
    "shear": {"tool": "shear", "inputs": {"image": "sheet.path", "psf": {"file": "config/p.tif"}}},
    "look": {"tool": "look", "inputs": {"image": "shear.image"}},
    "link": {"tool": "link", "over": "series", "inputs": {"points": "look.points"}},
    "judge": {"tool": "judge", "inputs": {"tracks": "link.tracks", "image": "sheet.path"}},
}
KNOWN = {
    "axes": "tzyx", "shape": "2,10,20,30", "dtype": "uint16", "voxel_size_um": "0.4,0.1,0.1", "time_step_s": "2.50",
    "bytes": "24000000",
}  # fmt: skip
ROWS: list[dict[str, str]] = [
    {"id": "b", "path": "raw/b.tif", "series": "s1", "t": "10", **KNOWN},
    {"id": "a", "path": "raw/a.tif", "series": "s1", "t": "9", "scene": "2", **KNOWN},
    {"id": "c", "path": "raw/c.tif", "series": "s2", **KNOWN},
]


def plan_of(
    folder: Path, steps: dict[str, Any] = STEPS, rows: list[dict[str, str]] = ROWS, more: tuple[str, ...] = ()
) -> Plan:
    write_tools(folder, TOOLS)
    write_rules(folder, write_pipeline(folder, steps))
    write_rows(folder, rows, more)
    return Plan.read("test", "config/samples.tsv", folder)


def test_units_are_rows_or_groups_in_the_order_of_the_sheet(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    assert list(plan.units("shear")) == ["b", "a", "c"]
    assert {unit: [row.id for row in rows] for unit, rows in plan.units("link").items()} == {
        "s1": ["a", "b"],
        "s2": ["c"],
    }
    assert plan.samples("link", "s1") == ["a", "b"]
    assert plan.wildcards == ["sample", "series"]
    assert [(step, unit, len(rows)) for step, unit, rows in plan.walk_units()][5:9] == [
        ("look", "c", 1), ("link", "s1", 2), ("link", "s2", 1), ("judge", "b", 1),
    ]  # fmt: skip


def test_targets_are_the_records_of_all_jobs(tmp_path: Path) -> None:
    targets = plan_of(tmp_path).targets()
    assert len(targets) == 11
    assert targets[0] == "records/b/shear.json"
    assert targets[6:8] == ["records/s1/link.json", "records/s2/link.json"]


def test_rule_files_follow_the_order_of_the_steps(tmp_path: Path) -> None:
    assert plan_of(tmp_path).rule_files == [f"rules/test/{step}.smk" for step in ("shear", "look", "link", "judge")]


def test_files_of_a_group_come_in_the_order_of_time(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    assert plan.inputs("link", "points", "s1") == ["results/a/look/p.csv", "results/b/look/p.csv"]


def test_a_row_reads_what_its_group_made(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    assert [plan.inputs("judge", "tracks", unit) for unit in ("a", "b", "c")] == [
        ["results/s1/link/k.csv"], ["results/s1/link/k.csv"], ["results/s2/link/k.csv"],
    ]  # fmt: skip


def test_a_group_of_two_columns_has_both_in_its_name(tmp_path: Path) -> None:
    steps = {**STEPS, "link": {**STEPS["link"], "over": ["series", "c"]}}
    steps.pop("judge")
    plan = plan_of(tmp_path, steps, [{**row, "c": "1"} for row in ROWS])
    assert list(plan.units("link")) == ["s1_1", "s2_1"]
    assert plan.wildcards == ["sample", "series_c"]


def test_a_shared_file_is_the_same_for_every_job(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    assert [plan.inputs("shear", "psf", unit) for unit in ("a", "c")] == [["config/p.tif"]] * 2
    assert plan.shared_key("shear", "psf", "a") == [hashlib.sha256(b"config/p.tif").hexdigest()[:16]]


def test_files_of_another_column_each_have_their_key(tmp_path: Path) -> None:
    steps = {"g": {"tool": "gather", "over": "series", "inputs": {"image": "sheet.path", "mask": "sheet.mask_path"}}}
    plan = plan_of(tmp_path, steps, [{**row, "mask_path": f"raw/{row['id']}_m.tif"} for row in ROWS], ("mask_path",))
    assert plan.inputs("g", "mask", "s1") == ["raw/a_m.tif", "raw/b_m.tif"]
    keys = [hashlib.sha256(f"raw/{name}_m.tif".encode()).hexdigest()[:16] for name in "ab"]
    assert plan.shared_key("g", "mask", "s1") == keys


@pytest.mark.parametrize(
    ("path", "declared"),
    [
        ("raw/a b (1) 'x' \"y\".tif", True),
        ("raw/}.tif", True),
        ("raw/{sample}.tif", False),
        ("raw/{wildcards.sample}.tif", False),
        ("raw/{x,a{2}}.tif", False),
        ("raw/{{.tif", False),
    ],
)
def test_a_file_name_that_snakemake_may_take_for_a_wildcard_is_read_but_not_declared(
    tmp_path: Path, path: str, declared: bool
) -> None:
    plan = plan_of(tmp_path, rows=[{**ROWS[0], "path": path}])
    assert plan.inputs("shear", "image", "b") == [path]
    assert plan.declared("shear", "image", "b") == ([path] if declared else [])


def test_a_file_name_that_looks_like_a_flag_is_given_as_a_path(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, rows=[{**ROWS[0], "path": "-o.tif"}])
    assert plan.inputs("shear", "image", "b") == ["./-o.tif"]
    assert plan.declared("shear", "image", "b") == ["-o.tif"]


def test_facts_of_a_raw_image_are_those_of_the_sheet(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    assert plan.facts("shear", "image", "a") == [
        "--voxel-size-um", "0.4,0.1,0.1", "--time-step-s", "2.5", "--scene", "2", "--t-index", "9",
    ]  # fmt: skip


def test_unknown_facts_are_left_out(tmp_path: Path) -> None:
    bare = {**ROWS[0], "voxel_size_um": "", "time_step_s": "", "t": ""}
    assert plan_of(tmp_path, rows=[bare]).facts("shear", "image", "b") == []


@pytest.mark.parametrize(
    ("cell", "words"),
    [(",0.1,0.2", ["0.1,0.2"]), ("0.3,,0.2", []), ("1e-7,12,0.5", ["1e-07,12,0.5"])],
)
def test_a_voxel_size_without_z_has_two_numbers_and_half_of_one_is_none(
    tmp_path: Path, cell: str, words: list[str]
) -> None:
    plan = plan_of(tmp_path, rows=[{**ROWS[0], "voxel_size_um": cell}])
    assert plan.fact("shear", "image", "voxel_size_um", "b") == words


def test_an_image_that_a_step_made_tells_its_own_voxel_size(tmp_path: Path) -> None:
    assert plan_of(tmp_path).facts("look", "image", "a") == ["--time-step-s", "2.5"]


def test_time_points_of_a_group_are_told_in_order_or_not_at_all(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    assert plan.facts("link", "points", "s1") == ["--time-step-s", "2.5", "--t-index", "9", "10"]
    assert plan.facts("link", "points", "s2") == ["--time-step-s", "2.5"]


def test_a_fact_on_which_the_rows_of_a_group_differ_is_not_told(tmp_path: Path) -> None:
    rows = [ROWS[0], {**ROWS[1], "time_step_s": "3"}, ROWS[2]]
    assert plan_of(tmp_path, rows=rows).facts("link", "points", "s1") == ["--t-index", "9", "10"]


def test_an_optional_part_of_a_command_appears_only_with_its_fact(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, rows=[ROWS[0], {**ROWS[2], "voxel_size_um": ""}])
    assert plan.optional_words("shear", 0, "b") == ["--voxels", "0.4,0.1,0.1"]
    assert plan.optional_words("shear", 0, "c") == []
    assert plan.optional_words("shear", 1, "b") == ["--t", "10"]


def test_geometry_follows_the_descriptor_through_the_steps(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    found = plan.input_geometry("look", "image", "a")
    assert (found.axes, found.shape, found.dtype) == ("tzyx", (2, 10, 20, 50), "float32")
    assert found.voxel_size_um == (0.2, 0.1, 0.1)
    assert (found.time_step_s, found.bytes) == (2.5, None)
    assert plan.geometry("shear", "flat", "a").shape == (2, 20, 30)
    mask = plan.geometry("shear", "mask", "a")
    assert (mask.axes, mask.shape, mask.dtype) == ("yx", None, "uint8")


def test_geometry_depends_on_a_rows_own_parameter(tmp_path: Path) -> None:
    steps = {**STEPS, "shear": {**STEPS["shear"], "params": {"width": {"column": "w"}}}}
    plan = plan_of(tmp_path, steps, [{**ROWS[0], "w": "0.55"}, {**ROWS[1], "w": "1"}], ("w",))
    assert [plan.geometry("shear", "image", unit).size("x") for unit in ("b", "a")] == [36, 40]


def test_resources_are_computed_from_the_geometry_and_rounded_up(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    assert plan.resource("shear", "mem_mb", "a", 1) == 148
    assert plan.resource("look", "mem_mb", "a", 1) == 10
    assert plan.resource("look", "runtime_min", "a", 1) == 1
    assert plan.resource("link", "mem_mb", "s1", 1) == 2000
    assert plan.resource("judge", "mem_mb", "a", 1) == 12000


def test_resources_grow_with_the_attempt_unless_the_expression_says_how(tmp_path: Path) -> None:
    steps = {**STEPS, "shear": {**STEPS["shear"], "params": {"deep": True}}}
    plan = plan_of(tmp_path, steps)
    assert [plan.resource("shear", "mem_mb", "a", attempt) for attempt in (1, 2, 3)] == [148, 296, 444]
    assert [plan.resource("shear", "runtime_min", "a", attempt) for attempt in (1, 2, 3)] == [10, 20, 30]


@pytest.mark.parametrize(("cell", "minutes"), [("true", 20), ("false", 1)])
def test_a_boolean_of_a_row_is_a_boolean_in_expressions(tmp_path: Path, cell: str, minutes: int) -> None:
    steps = {**STEPS, "shear": {**STEPS["shear"], "params": {"deep": {"column": "deep"}}}}
    plan = plan_of(tmp_path, steps, [{**ROWS[0], "deep": cell}], ("deep",))
    assert plan.resource("shear", "runtime_min", "b", 2) == minutes


def test_an_unknown_geometry_gives_a_default_that_grows_too(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, rows=[{"id": "x", "path": "raw/x.tif", "series": "s"}])
    assert [plan.resource("shear", "mem_mb", "x", attempt) for attempt in (1, 2)] == [4000, 8000]
    assert plan.resource("shear", "disk_mb", "x", 1) == UNKNOWN_RESOURCE["disk_mb"]
    assert plan.resource("judge", "mem_mb", "x", 3) == 12000


def test_the_first_step_that_reads_a_raw_file_takes_its_digest_and_others_name_that_record(tmp_path: Path) -> None:
    digest = "AB" * 32
    plan = plan_of(tmp_path, rows=[{**ROWS[0], "sha256": digest}, *ROWS[1:]])
    assert plan.known("shear", "image", "b") == [digest.lower()]
    assert plan.known("shear", "image", "a") == ["-"]
    assert plan.known("judge", "image", "a") == ["records/a/shear.json"]


def test_a_group_that_reads_raw_files_first_takes_all_their_digests(tmp_path: Path) -> None:
    steps = {
        "g": {"tool": "gather", "over": "series", "inputs": {"image": "sheet.path"}},
        "look": {"tool": "look", "inputs": {"image": "sheet.path"}},
    }
    plan = plan_of(tmp_path, steps)
    assert plan.known("g", "image", "s1") == ["-", "-"]
    assert plan.known("look", "image", "b") == ["records/s1/g.json"]
    assert plan.inputs("g", "image", "s1") == ["raw/a.tif", "raw/b.tif"]


def test_a_parameter_of_a_group_is_one_value(tmp_path: Path) -> None:
    write_tools(tmp_path, {"link": {**TOOLS["link"], "params": {"n": {"type": "integer", "help": "h"}}}})
    steps = {
        "link": {"tool": "link", "over": "series", "inputs": {"points": "sheet.path"}, "params": {"n": {"column": "n"}}}
    }
    write_rules(tmp_path, write_pipeline(tmp_path, steps))
    write_rows(tmp_path, [{**row, "n": n} for row, n in zip(ROWS, ("3", "4", "5"), strict=True)], ["n"])
    plan = Plan.read("test", "config/samples.tsv", tmp_path)
    assert plan.value("link", "n", "s2") == "5"
    with pytest.raises(InputError, match=r"samples\.tsv: n: the rows of 's1' disagree \(3, 4\)\.$"):
        plan.value("link", "n", "s1")


def test_an_empty_cell_that_a_job_needs_is_told_with_its_line(tmp_path: Path) -> None:
    steps = {"g": {"tool": "gather", "over": "series", "inputs": {"image": "sheet.path", "mask": "sheet.mask_path"}}}
    plan = plan_of(tmp_path, steps, [{**ROWS[0], "mask_path": ""}], ("mask_path",))
    with pytest.raises(
        InputError, match=r"samples\.tsv: line 2: mask_path: found an empty cell; the pipeline needs it\.\n"
    ):
        plan.inputs("g", "mask", "s1")


def test_two_rows_at_one_time_point_of_a_group_stop_the_plan(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, rows=[ROWS[0], {**ROWS[1], "t": "10"}])
    with pytest.raises(InputError, match="rows 'b' and 'a' are both time point 10"):
        plan.units("link")


def test_a_pipeline_that_was_not_compiled_is_told_with_the_command(tmp_path: Path) -> None:
    with pytest.raises(
        InputError,
        match=r"rules/none/plan\.json: the pipeline has not been compiled\.\n    Run: snakescope compile none",
    ):
        Plan.read("none", "config/samples.tsv", tmp_path)


# ---------------------------------------------------------------------------- rows that lie in iRODS

REMOTE: list[dict[str, str]] = [
    {
        "id": "a",
        "path": "irods:///z/in/a%20b.ome.tif",
        "series": "s1",
        "t": "1",
        "sha256": "AB" * 32,
        "checksum": "sha2:x",
    },
    {"id": "b", "path": "irods:///z/in/b.tif", "series": "s1", "t": "2", "checksum": "0" * 32, "bytes": "70000000"},
    {"id": "c", "path": "irods:///z/in/c.ome.zarr.zip", "series": "s2", "sha256": "CD" * 32, "bytes": "10"},
    {"id": "d", "path": "raw/d.tif", "series": "s2"},
]


def remote_plan(folder: Path) -> Plan:
    return plan_of(folder, rows=REMOTE, more=("checksum",))


def test_a_row_in_a_zone_is_read_from_its_staged_copy(tmp_path: Path) -> None:
    plan = remote_plan(tmp_path)
    assert [plan.inputs("shear", "image", unit) for unit in "abcd"] == [
        ["staged/a/a.ome.tif"], ["staged/b/b.tif"], ["staged/c/c.ome.zarr"], ["raw/d.tif"],
    ]  # fmt: skip
    assert [plan.declared("judge", "image", unit) for unit in "acd"] == [["staged/a"], ["staged/c"], ["raw/d.tif"]]


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        ("x.tif", ".tif"), ("x.OME.TIFF", ".OME.TIFF"), ("x.zarr/", ".zarr"), ("x.zarr.tar", ".zarr"), ("x.zip", ".zip"),
        ("x.ome.zarr.tgz", ".ome.zarr"), ("x%2Etif", ".tif"), ("x.a b", ""), ("x.$(y)", ""), ("no", ""), ("x.{w}", ""),
        ("x.%C3%BC", ""), ("a.tif%0A", ".tif"), ("x.zarr.tar.gz", ".zarr"),
    ],
)  # fmt: skip
def test_a_staged_copy_keeps_the_suffix_and_nothing_that_is_odd(tmp_path: Path, name: str, suffix: str) -> None:
    plan = plan_of(tmp_path, rows=[{**REMOTE[0], "path": f"irods:///z/{name}"}], more=("checksum",))
    assert plan.inputs("shear", "image", "a") == [f"staged/a/a{suffix}"]


def test_facts_and_resources_of_a_row_in_a_zone_are_those_of_the_sheet(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, rows=[{**ROWS[1], "path": "irods:///z/a.tif"}])
    assert plan.facts("shear", "image", "a")[:2] == ["--voxel-size-um", "0.4,0.1,0.1"]
    assert plan.resource("shear", "disk_mb", "a", 1) == plan_of(tmp_path).resource("shear", "disk_mb", "a", 1)


def test_the_catalogues_checksum_stands_for_a_digest_that_is_not_known(tmp_path: Path) -> None:
    plan = remote_plan(tmp_path)
    assert [plan.known("shear", "image", unit) for unit in "abcd"] == [["ab" * 32], ["0" * 32], ["-"], ["-"]]
    assert plan.known("judge", "image", "a") == ["records/a/shear.json"]


def test_the_staging_program_is_told_address_name_and_checksum(tmp_path: Path) -> None:
    plan = remote_plan(tmp_path)
    assert list(plan.remote_rows) == ["a", "b", "c"]
    assert plan.stage_words("a") == ["irods:///z/in/a%20b.ome.tif", "--name=a.ome.tif", "--checksum=sha2:x"]
    assert plan.stage_words("c") == ["irods:///z/in/c.ome.zarr.zip", "--name=c.ome.zarr"]


def test_a_large_object_or_one_of_unknown_size_is_staged_over_more_connections(tmp_path: Path) -> None:
    plan = remote_plan(tmp_path)
    assert [plan.stage_connections(row) for row in "abc"] == [4, 3, 4]
    assert [plan.stage_connections(row, 2) for row in "abc"] == [2, 2, 2]
    assert [plan.stage_disk_mb(row) for row in "abc"] == [UNKNOWN_RESOURCE["disk_mb"], 71, 3]


def test_a_group_that_is_larger_than_the_window_is_told(tmp_path: Path) -> None:
    steps = {"g": {"tool": "gather", "over": "series", "inputs": {"image": "sheet.path"}}}
    plan = plan_of(tmp_path, steps, REMOTE, ("checksum",))
    plan.require_window(2)
    with pytest.raises(
        InputError, match=r"step 'g' reads 2 images of 's1' at once; at most 1 are staged.\n.*2 or more"
    ):
        plan.require_window(1)


def test_reading_a_plan_over_rows_in_a_zone_makes_no_folder_and_needs_no_client(tmp_path: Path) -> None:
    remote_plan(tmp_path)
    code = "import sys; from snakescope.workflow import Plan; p = Plan.read('test', 'config/samples.tsv'); "
    code += "p.targets(); [p.inputs('shear', 'image', u) for u in 'abcd']; print('irods' in sys.modules)"
    before = sorted(tmp_path.rglob("*"))
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
    assert sorted(tmp_path.rglob("*")) == before


# ---------------------------------------------------------------------------- where the tools run

DIGEST = "a" * 64


def environment_plan(folder: Path, *methods: object, **environments: dict[str, Any]) -> Plan:
    """A plan of steps named as their tools, each with an environment."""
    look = TOOLS["look"]
    write_tools(folder, {name: {**look, "environment": environment} for name, environment in environments.items()})
    steps = {name: {"tool": name, "inputs": {"image": "sheet.path"}} for name in environments}
    write_rules(folder, write_pipeline(folder, steps))
    write_rows(folder, ROWS)
    return Plan.read("test", "config/samples.tsv", folder, methods=methods)


class Method(Enum):
    """As Snakemake has them."""

    CONDA = 0
    APPTAINER = 1
    ENV_MODULES = 2


@pytest.mark.parametrize(
    ("methods", "mode"),
    [
        ((), "host"),
        ((Method.CONDA,), "conda"),
        ((Method.APPTAINER,), "apptainer"),
        ((Method.CONDA, Method.APPTAINER), "apptainer"),
        ((Method.ENV_MODULES,), "host"),
        (("conda",), "conda"),
        (("env-modules",), "host"),
    ],
)
def test_an_image_goes_before_an_environment(methods: tuple[object, ...], mode: str) -> None:
    assert mode_of(methods) == mode


def test_images_are_for_apptainer_only(tmp_path: Path) -> None:
    both = {"conda": "envs/x.yaml", "container": "x.sif"}
    for methods, image, told in (
        ((), None, ["host"]),
        ((Method.CONDA,), None, ["conda", "envs/x.yaml"]),
        ((Method.APPTAINER,), "x.sif", ["apptainer", "x.sif", "-"]),
    ):
        plan = environment_plan(tmp_path, *methods, a=both, b={})
        assert (plan.image("a"), plan.environment("a"), plan.image("b"), plan.shell("b")) == (image, told, None, {})
        assert plan.environment("b") == ["host"]
        assert plan.shell("a") == ({"shell_exec": "sh"} if image else {})


def test_a_tool_with_a_gpu_has_a_shell_of_its_own_in_an_image(tmp_path: Path) -> None:
    plan = environment_plan(tmp_path, Method.APPTAINER, a={"container": "x.sif", "gpu": True})
    assert plan.shell("a") == {"shell_exec": "workflow/nv/sh"}
    shell = Path(__file__).parents[2] / "workflow/nv/sh"
    assert os.access(shell, os.X_OK)
    done = subprocess.run([shell, "-c", "echo $APPTAINER_NV $0"], capture_output=True, text=True, check=True)
    assert done.stdout.split()[0] == "1"


def test_a_site_names_its_own_images(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config/images.yaml").write_text(
        f"a: /site/a.sif\nc: docker://q.example/c:2@sha256:{DIGEST}\nz: /z.sif\n"
    )
    plan = environment_plan(tmp_path, Method.APPTAINER, a={"container": "a.sif"}, b={"container": "b.sif"}, c={})
    images = [plan.image(step) for step in "abc"]
    assert images == ["/site/a.sif", "b.sif", f"docker://q.example/c@sha256:{DIGEST}"]
    assert plan.environment("c")[2] == DIGEST


def test_a_locked_digest_goes_with_the_address(tmp_path: Path) -> None:
    (tmp_path / "envs").mkdir()
    (tmp_path / "envs/images.lock.yaml").write_text(f"docker://q.example/a:1: {{digest: 'sha256:{DIGEST}'}}\n")
    plan = environment_plan(tmp_path, Method.APPTAINER, a={"container": "docker://q.example/a:1"})
    assert plan.image("a") == f"docker://q.example/a@sha256:{DIGEST}"
    assert plan.environment("a") == ["apptainer", f"docker://q.example/a@sha256:{DIGEST}", DIGEST]


def test_a_job_is_told_the_digest_that_was_found_before_the_run(tmp_path: Path) -> None:
    plan = environment_plan(tmp_path, Method.APPTAINER, a={"container": "x.sif"})
    (tmp_path / "x.sif").write_text("image")
    state = State()
    digest = state.sha256(tmp_path / "x.sif")
    assert plan.environment("a") == ["apptainer", "x.sif", "-"]
    state.write(tmp_path)
    assert plan.environment("a") == ["apptainer", "x.sif", digest]


def test_a_plan_compiled_before_there_were_environments_still_reads(tmp_path: Path) -> None:
    plan = environment_plan(tmp_path, Method.APPTAINER, a={"container": "x.sif"})
    for step in plan.steps.values():
        del step["environment"]
    assert (plan.image("a"), plan.shell("a"), plan.environment("a")) == (None, {}, ["host"])
