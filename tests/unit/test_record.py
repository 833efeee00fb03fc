"""Reading records, and the digests that check them."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from snakescope import layout
from snakescope.errors import InputError
from snakescope.record import FileFacts, digest, read_record, read_records, reason, size

RECORD: dict[str, Any] = {
    "schema": 1, "status": "done", "unit": "s1", "samples": ["a", "b"], "step": "blur", "snakemake": "9.27.1",
    "started_at": "2026-01-02T03:04:05Z", "ended_at": "2026-01-02T03:04:06Z", "wall_s": 1.25, "cpu_s": None,
    "exit_code": 0, "host": "h", "scheduler": None, "environment": {"kind": "host"}, "tool_version_observed": None,
    "argv": ["p", "x"], "row_parameters": {"width_um": "0.5"},
    "inputs": [{"port": "image", "path": "raw/a.tif", "bytes": 3, "sha256": None, "record": "records/a/first.json"}],
    "outputs": [{
        "port": "image", "path": "results/s1/blur/i.ome.zarr", "bytes": 9, "sha256": "ab", "axes": "tzyx",
        "shape": [1, 2, 3, 4], "dtype": "uint16", "scale": [2.5, 0.3, 0.1, 0.1],
    }],
    "compiled": {"parameters": [
        {"name": "width_um", "value": None, "unit": "um", "column": "w"}, {"name": "n", "value": 3, "unit": None},
    ]},
}  # fmt: skip


def write(study: Path, **changes: Any) -> Path:
    path = study / layout.record("s1", "blur")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**RECORD, **changes}))
    return path


def refused(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_record(path)
    return str(caught.value).replace(f"{path}", "FILE")


def test_a_record_is_read_with_its_files_and_their_geometry(tmp_path: Path) -> None:
    record = read_record(write(tmp_path))
    assert (record.samples, record.argv, record.wall_s, record.cpu_s) == (("a", "b"), ("p", "x"), 1.25, None)
    assert record.inputs == (FileFacts("image", "raw/a.tif", 3, None, record="records/a/first.json"),)
    (output,) = record.outputs
    assert (output.shape, output.scale, output.voxel_size_um) == ((1, 2, 3, 4), (2.5, 0.3, 0.1, 0.1), (0.3, 0.1, 0.1))
    assert record.inputs[0].voxel_size_um is None


def test_parameters_are_told_with_the_values_of_the_row(tmp_path: Path) -> None:
    assert [(p["name"], p["value"], p["unit"]) for p in read_record(write(tmp_path)).parameters] == [
        ("width_um", "0.5", "um"), ("n", 3, None),
    ]  # fmt: skip


def test_the_files_of_a_folder_are_known_from_its_listing(tmp_path: Path) -> None:
    listing = f"{'a' * 64}  0/c/0  b\n{'b' * 64}  zarr.json"
    output = {"port": "o", "path": "p", "bytes": 9, "sha256": "ab", "listing": listing}
    (folder,) = read_record(write(tmp_path, outputs=[output])).outputs
    assert folder.listing == listing
    assert folder.files == {"0/c/0  b": "a" * 64, "zarr.json": "b" * 64}
    assert FileFacts("o", "p").listing is None
    assert FileFacts("o", "p").files == {}


def test_a_flat_image_has_no_voxel_size_in_z() -> None:
    facts = FileFacts("image", "p", axes="cyx", scale=(1, 0.2, 0.1))
    assert facts.voxel_size_um == (None, 0.2, 0.1)


@pytest.mark.parametrize(
    ("text", "peak"),
    [
        ("s\th:m:s\tmax_rss\n1.0\t0:00:01\t12.5\n", 12.5),
        ("s\th:m:s\tmax_rss\n1.0\t0:00:01\t12.5\n1.0\t0:00:01\t80\n", 80.0),
        ("s\th:m:s\tmax_rss\n1.0\t0:00:01\tNA\n", None),
        ("s\th:m:s\tmax_rss\n", None),
        ("", None),
        ("s\n1\n", None),
        ("s\th:m:s\tmax_rss\n1.0\t0:0", None),
    ],
)
def test_peak_memory_comes_from_the_benchmark_where_it_was_taken(tmp_path: Path, text: str, peak: float | None) -> None:
    path = tmp_path / layout.benchmark("s1", "blur")
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert read_record(write(tmp_path), tmp_path).peak_memory_mb == peak
    assert read_record(write(tmp_path)).peak_memory_mb is None


def test_a_missing_benchmark_is_no_error(tmp_path: Path) -> None:
    assert read_record(write(tmp_path), tmp_path).peak_memory_mb is None


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "1", "null", '{"status": "done"}', '{"schema": 1}', '{"schema": 1, "x": 2}']
)
def test_a_file_that_is_no_record_is_refused(tmp_path: Path, text: str) -> None:
    path = write(tmp_path)
    path.write_text(text)
    assert refused(path).startswith("FILE: not a record of a job (")
    assert refused(path).endswith(").\n    Delete it; the job will run again.")


@pytest.mark.parametrize(
    "changes",
    [
        {"argv": 5},
        {"inputs": [{"path": "x"}]},
        {"outputs": [1]},
        {"more": 1},
        {"inputs": [{"port": "a", "path": "b", "q": 1}]},
    ],
)
def test_a_record_with_other_keys_or_kinds_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    assert refused(write(tmp_path, **changes)).startswith("FILE: not a record of a job (")


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path)
    path.write_bytes(b'{"schema": 1, "a": "\xff"}')
    assert refused(path).startswith("FILE: not a record of a job (")


def test_a_record_of_another_schema_is_for_another_version(tmp_path: Path) -> None:
    message = "FILE: found a record of schema 2; expected 1.\n    Use the snakescope that wrote it."
    assert refused(write(tmp_path, schema=2)) == message


def test_a_missing_record_is_told(tmp_path: Path) -> None:
    assert refused(tmp_path / "none.json") == "FILE: there is no such record."


def test_all_records_of_a_study_come_in_order_without_what_else_lies_there(tmp_path: Path) -> None:
    for unit in ("b", "a"):
        for step in ("y", "x"):
            path = tmp_path / layout.record(unit, step)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps({**RECORD, "unit": unit, "step": step}))
    (tmp_path / "records/a/x.json.host.77").write_text("half")
    (tmp_path / "records/inputs").mkdir()
    (tmp_path / "records/inputs/0123").write_text('"ab" 3\n')
    assert [(r.unit, r.step) for r in read_records(tmp_path)] == [("a", "x"), ("a", "y"), ("b", "x"), ("b", "y")]


def test_the_digest_of_a_file_is_that_of_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc")
    assert digest(tmp_path / "f") == hashlib.sha256(b"abc").hexdigest()
    assert size(tmp_path / "f") == 3


def test_the_digest_of_a_folder_changes_with_any_name_or_byte_and_nothing_else(tmp_path: Path) -> None:
    for name in ("a/b", "c"):
        (tmp_path / "d" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "d" / name).write_bytes(b"1")
    first = digest(tmp_path / "d")
    listing = b"".join(hashlib.sha256(b"1").hexdigest().encode() + b"  " + name + b"\n" for name in (b"a/b", b"c"))
    assert first == hashlib.sha256(listing).hexdigest()
    os.utime(tmp_path / "d/c", (1, 1))
    (tmp_path / "d/empty").mkdir()
    (tmp_path / "d/.snakemake_timestamp").touch()
    assert digest(tmp_path / "d") == first
    (tmp_path / "d/c").rename(tmp_path / "d/e")
    second = digest(tmp_path / "d")
    (tmp_path / "d/e").write_bytes(b"2")
    assert len({first, second, digest(tmp_path / "d")}) == 3


def test_links_within_a_folder_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d/a").write_bytes(b"12")
    before = digest(tmp_path / "d")
    (tmp_path / "d/link").symlink_to("a")
    (tmp_path / "d/up").symlink_to("..")
    assert (digest(tmp_path / "d"), size(tmp_path / "d")) == (before, 2)


def test_what_is_not_there_has_no_digest(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        digest(tmp_path / "none")
    with pytest.raises(FileNotFoundError):
        size(tmp_path / "none")


ITK = """ERROR: error occurred while registering.
itk::ExceptionObject (0x55f21fb20d00)
Location: "unknown"
Description: ITK ERROR: Metric(0x55f21fb254f0): Too many samples map outside moving image buffer: 0 / 2048

Error occurred during actual registration.

Errors occurred!
"""
JAVA = """Reading
Exception in thread "main" loci.formats.FormatException: cannot write
\tat loci.formats.tools.ImageConverter.main(ImageConverter.java:1318)
Caused by: java.io.IOException: no space left
\tat java.base/java.io.RandomAccessFile.<init>(RandomAccessFile.java:344)
\t... 2 more
"""


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("start\nerror: first\nmore\nError: second\nend\n", "Error: second"),
        ("one\n  last  \n\n", "last"),
        ("", "it said nothing"),
        ("\n\n", "it said nothing"),
        ("ERROR:\nOne could not be made.\nmore\n", "ERROR: One could not be made."),
        ("x\nERROR:\n", "ERROR:"),
        (ITK, "ITK ERROR: Metric: Too many samples map outside moving image buffer: 0 / 2048"),
        (ITK + "error: ended after 40 s\n", "error: ended after 40 s"),
        (JAVA, "java.io.IOException: no space left"),
        (JAVA + "error: did not write x\n", "error: did not write x"),
        ("ValueError: x\nat the end\n", "at the end"),
    ],
)
def test_the_reason_of_a_failure_is_the_last_error_or_the_last_line(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "log").write_text(text)
    assert reason(tmp_path / "log") == told


def test_a_log_that_is_missing_or_no_text_still_gives_a_reason(tmp_path: Path) -> None:
    assert reason(tmp_path / "none") == "it left no log"
    (tmp_path / "log").write_bytes(b"error: \xff\n")
    assert reason(tmp_path / "log") == "error: \ufffd"


def test_the_reason_changes_no_terminal_and_stays_short_however_much_was_printed(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    log.write_bytes(b"error: an old one\n" + b"y\n" * 3_000_000 + b"error: \x1b[31mred\x1b[0m\x07 caf\xe9\n")
    assert reason(log) == "error: red  caf\ufffd"
    log.write_bytes(b"x" * 10_000_000)
    assert len(reason(log)) < 1100


def test_a_program_that_says_nothing_is_told_by_its_exit_status(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    log.write_text("")
    assert reason(log) == "it said nothing"
    (tmp_path / "x.failed.json").write_text('{"exit_code": 7}')
    assert reason(log) == "it said nothing and ended with the exit status 7"
