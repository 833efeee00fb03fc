"""How a record reads as an entry of REMBI."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from snakescope.compiler.facts import step_facts
from snakescope.record import JobRecord, read_record
from snakescope.study.entries import Entry, rembi_entry
from tiny_tools import IMAGE, write_pipeline, write_tools

BLUR: dict[str, Any] = {
    "name": "Blur",
    "description": "Blurs an\n  image.",
    "citations": ["10.1038/nmeth.1237", "10.1086/111605"],
    "tool": {"name": "blurrer", "version": "2.1"},
    "inputs": {"image": IMAGE},
    "outputs": {"image": {**IMAGE, "file": "image.ome.zarr", "format": "ome-zarr", "like": "image"}},
    "params": {
        "sigma_um": {"type": "number", "unit": "um", "help": "h"},
        "passes": {"type": "integer", "unit": "1", "default": None, "help": "h"},
        "range": {"type": "numbers", "unit": "%", "default": [1, 99.5], "help": "h"},
        "way": {"type": "choice", "choices": ["fast", "slow"], "default": "fast", "help": "h"},
        "note": {"type": "text", "default": None, "help": "h"},
    },
    "script": "blur.py",
    "rembi": {
        "title": "Blurring",
        "prose": "Images were {way|fast=quickly|slow=slowly} blurred by {sigma_um}[, {passes} times][ ({note})].",
    },
}


def record(folder: Path, values: dict[str, Any], *, row: dict[str, str] | None = None, **tool: Any) -> JobRecord:
    """The record of a job of one step with these parameters."""
    data = {key: value for key, value in {**BLUR, **tool}.items() if value is not None}
    (write_tools(folder, {"blur": data}) / "blur/blur.py").write_text("print(1)\n")
    step = {"tool": "blur", "inputs": {"image": "sheet.path"}, "params": values}
    pipeline = write_pipeline(folder, {"smooth": step})
    facts = step_facts(pipeline, pipeline.steps["smooth"])
    told = {
        "schema": 1, "status": "done", "unit": "s1", "samples": ["s1"], "step": "smooth", "snakemake": None,
        "started_at": "", "ended_at": "", "wall_s": None, "cpu_s": None, "exit_code": 0, "host": "h", "scheduler": None,
        "environment": {}, "tool_version_observed": None, "argv": [], "row_parameters": row or {}, "inputs": [],
        "outputs": [], "compiled": facts,
    }  # fmt: skip
    path = folder / "record.json"
    path.write_text(json.dumps(told))
    return read_record(path)


def entry(folder: Path, values: dict[str, Any], **more: Any) -> Entry:
    found = rembi_entry(record(folder, values, **more))
    assert found is not None
    return found


def test_a_record_reads_as_an_analysis(tmp_path: Path) -> None:
    assert entry(tmp_path, {"sigma_um": 0.5, "passes": 3}) == Entry(
        kind="analysis",
        annotation_type=None,
        title="Blurring",
        overview="Images were quickly blurred by 0.5 µm, 3 times, with blurrer 2.1 (tool blur 1.0.0).",
        tool="blur",
        wrapper_version="1.0.0",
        program="blurrer",
        tool_version="2.1",
        citations=("10.1038/nmeth.1237", "10.1086/111605"),
        parameters=(
            ("sigma_um", 0.5, "um"), ("passes", 3, "1"), ("range", (1.0, 99.5), "%"), ("way", "fast", None),
            ("note", None, None),
        ),
    )  # fmt: skip


def test_entries_of_jobs_that_did_the_same_are_counted_as_one(tmp_path: Path) -> None:
    entries = {entry(tmp_path / str(i), {"sigma_um": width}) for i, width in enumerate((0.5, 0.5, 0.7))}
    assert len(entries) == 2


def test_an_annotation_tells_its_type(tmp_path: Path) -> None:
    rembi = {"kind": "annotation", "annotation_type": "point_annotations", "title": "Spots", "prose": "Found."}
    found = entry(tmp_path, {"sigma_um": 1}, rembi=rembi)
    assert (found.kind, found.annotation_type, found.title) == ("annotation", "point_annotations", "Spots")
    assert found.overview == "Found, with blurrer 2.1 (tool blur 1.0.0)."


def test_the_version_that_the_program_told_is_the_one_that_counts(tmp_path: Path) -> None:
    path = record(tmp_path, {"sigma_um": 1}).path
    path.write_text(json.dumps({**json.loads(path.read_text()), "tool_version_observed": "2.2b"}))
    found = rembi_entry(read_record(path))
    assert found is not None
    assert found.tool_version == "2.2b"
    assert found.overview.endswith(", with blurrer 2.2b (tool blur 1.0.0).")


def test_values_of_the_row_are_filled_in(tmp_path: Path) -> None:
    params = {name: {"column": f"{name}_c"} for name in ("sigma_um", "way", "note")}
    found = entry(tmp_path, params, row={"sigma_um": "0.25", "way": "slow", "note": "a [b] {c}"})
    assert found.overview.startswith("Images were slowly blurred by 0.25 µm (a [b] {c}), with")
    assert ("sigma_um", "0.25", "um") in found.parameters


@pytest.mark.parametrize(
    "note", ["{sigma_um}", "{{sigma_um}}", "[{sigma_um}]", "]", "{way|fast=x}", "} {", "[[", "%s \\1"]
)
def test_a_value_with_braces_and_brackets_is_told_as_it_is(tmp_path: Path, note: str) -> None:
    of_step = entry(tmp_path / "a", {"sigma_um": {"column": "w"}, "note": note}, row={"sigma_um": "1"})
    of_row = entry(tmp_path / "b", {"sigma_um": 1, "note": {"column": "n"}}, row={"note": note})
    told = f"Images were quickly blurred by 1 µm ({note}), with blurrer 2.1 (tool blur 1.0.0)."
    assert (of_step.overview, of_row.overview) == (told, told)


def test_a_job_that_failed_before_it_told_a_value_still_reads(tmp_path: Path) -> None:
    found = entry(tmp_path, {"sigma_um": {"column": "w"}})
    assert found.overview.startswith("Images were quickly blurred by (not recorded), with")
    assert ("sigma_um", None, "um") in found.parameters


def test_a_tool_without_prose_reads_as_its_name_and_parameters(tmp_path: Path) -> None:
    found = entry(tmp_path, {"sigma_um": 1}, rembi=None)
    assert (found.kind, found.annotation_type, found.title) == ("analysis", None, "Blur")
    assert found.overview == (
        "Blur: sigma_um = 1 µm, range = 1.0 and 99.5%, way = fast, with blurrer 2.1 (tool blur 1.0.0)."
    )
    assert entry(tmp_path, {}, rembi=None, params={}).overview == "Blur, with blurrer 2.1 (tool blur 1.0.0)."


def test_a_record_without_what_was_compiled_has_no_entry(tmp_path: Path) -> None:
    path = record(tmp_path, {"sigma_um": 1}).path
    path.write_text(json.dumps({**json.loads(path.read_text()), "compiled": None}))
    assert rembi_entry(read_record(path)) is None


def test_what_the_tool_does_stands_in_the_record_on_one_line(tmp_path: Path) -> None:
    assert record(tmp_path, {"sigma_um": 1}).compiled["tool"]["description"] == "Blurs an image."
