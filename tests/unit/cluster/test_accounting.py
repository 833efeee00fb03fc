"""What Slurm says of jobs that have ended, and the file that keeps it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from snakescope import layout
from snakescope.cluster import accounting, slurm
from snakescope.cluster.accounting import JobFacts, Ledger
from snakescope.record import read_record, slurm_facts

FIELDS = (
    *("JobID", "State", "ExitCode", "NodeList", "Partition", "Submit", "Start", "End", "ElapsedRaw", "TotalCPU"),
    *("MaxRSS", "AllocCPUS", "ReqMem"),
)


def line(job: str, **told: str) -> str:
    """A line of ``sacct``."""
    usual = {"State": "COMPLETED", "ExitCode": "0:0", "NodeList": "n1", "AllocCPUS": "2", "Partition": "cpu"}
    return "|".join((usual | told).get(name, "") for name in FIELDS[1:]).join([f"{job}|", ""])


@pytest.fixture
def said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What commands of Slurm print: a file for each, by its name."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sacct", "squeue", "scontrol"):
        (folder / name).write_text(f'#!/bin/sh\ncat "{folder}/{name}.txt" || {{ echo disabled >&2; exit 1; }}\n')
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


def tell(said: Path, name: str, *lines: str) -> None:
    (said / f"{name}.txt").write_text("\n".join(lines) + "\n")


def test_numbers_of_job_and_steps_are_put_together(said: Path) -> None:
    times = {"Submit": "1000", "Start": "1060", "End": "1160", "ElapsedRaw": "100", "TotalCPU": "1-00:01:40.500"}
    tell(
        said, "sacct", line("7", ReqMem="2Gc", **times), line("7.batch", MaxRSS="512000K"),
        line("7.0", MaxRSS="1.5G"),
    )  # fmt: skip
    assert accounting.ended(["7"])["7"] == JobFacts(
        job_id="7", state="COMPLETED", exit_code=0, node="n1", partition="cpu", submitted_at="1970-01-01T00:16:40Z",
        started_at="1970-01-01T00:17:40Z", ended_at="1970-01-01T00:19:20Z", queue_s=60, elapsed_s=100, cpu_s=86500.5,
        max_rss_mb=1536.0, cpus=2, mem_mb=4096.0, kind="done",
    )  # fmt: skip


def test_what_was_not_measured_is_none_and_not_zero(said: Path) -> None:
    times = {"Submit": "1000", "Start": "Unknown", "End": "1100", "ElapsedRaw": "0", "TotalCPU": "00:00:00"}
    nothing = {"State": "CANCELLED by 0", "NodeList": "None assigned", "AllocCPUS": "0", "ReqMem": "0", **times}
    tell(said, "sacct", line("7", **nothing), line("7.batch", MaxRSS="0"))
    facts = accounting.ended(["7"])["7"].as_dict()
    told = {"job_id": "7", "state": "CANCELLED", "kind": "cancelled", "partition": "cpu"}
    ended = {"submitted_at": "1970-01-01T00:16:40Z", "ended_at": "1970-01-01T00:18:20Z"}
    assert {key: value for key, value in facts.items() if value is not None} == told | ended


@pytest.mark.parametrize(
    ("job", "batch", "kind"),
    [
        ({}, {}, "done"),
        ({"State": "FAILED", "ExitCode": "1:0"}, {"State": "OUT_OF_MEMORY", "ExitCode": "0:125"}, "oom"),
        ({"State": "OUT_OF_MEMORY", "ExitCode": "0:125"}, {}, "oom"),
        ({"State": "FAILED", "ExitCode": "0:125"}, {}, "oom"),
        ({"State": "FAILED", "ExitCode": "0:9"}, {"MaxRSS": "98M"}, "oom"),
        ({"State": "FAILED", "ExitCode": "137:0"}, {"MaxRSS": "120M"}, "oom"),
        ({"State": "FAILED", "ExitCode": "0:9"}, {"MaxRSS": "50M"}, "failed"),
        ({"State": "FAILED", "ExitCode": "3:0"}, {"MaxRSS": "99M"}, "failed"),
        ({"State": "TIMEOUT", "ExitCode": "0:0"}, {"State": "CANCELLED"}, "timeout"),
        ({"State": "DEADLINE"}, {}, "timeout"),
        ({"State": "NODE_FAIL"}, {}, "node"),
        ({"State": "PREEMPTED"}, {}, "node"),
        ({"State": "BOOT_FAIL"}, {}, "node"),
        ({"State": "CANCELLED by 1000"}, {}, "cancelled"),
    ],
)
def test_states_and_codes_tell_why_a_job_ended(
    said: Path, job: dict[str, str], batch: dict[str, str], kind: str
) -> None:
    tell(said, "sacct", line("7", ReqMem="100M", **job), line("7.batch", **batch))
    assert accounting.ended(["7"])["7"].kind == kind


@pytest.mark.parametrize("state", ["RUNNING", "PENDING", "COMPLETING", "REQUEUED", ""])
def test_a_job_that_accounting_thinks_is_at_work_has_not_ended(said: Path, state: str) -> None:
    tell(said, "sacct", line("7", State=state), line("8"))
    assert list(accounting.ended(["7", "8"])) == ["8"]


def test_a_job_that_accounting_knows_in_part_only_is_asked_for_again(said: Path) -> None:
    tell(said, "sacct", line("7", Partition="", ReqMem="16?"), line("7.batch"))
    assert accounting.ended(["7"]) == {}


def test_many_jobs_are_asked_for_in_few_calls(said: Path, tmp_path: Path) -> None:
    (said / "sacct").write_text(f'#!/bin/sh\necho call >>"{tmp_path}/calls"\n')
    accounting.ended([str(number) for number in range(1001)])
    assert (tmp_path / "calls").read_text().count("call") == 3


def test_the_controller_remembers_without_accounting(said: Path) -> None:
    row = "7|FAILED|768|n1|cpu|1000|1001|1031|2|100M|NonZeroExitCode|"
    tell(said, "squeue", row, "8|RUNNING|0|n1|cpu|1000|1001|N/A|2|100M|None|", row.replace("7|", "9|", 1))
    [facts] = accounting.remembered("snk-1", ["7", "8"]).values()
    assert (facts.kind, facts.exit_code, facts.queue_s, facts.elapsed_s, facts.mem_mb) == ("failed", 3, 1, 30, 100)
    assert (facts.cpu_s, facts.max_rss_mb) == (None, None)


@pytest.mark.parametrize(
    ("text", "code", "memory"),
    [
        ("snakescope: exit 0\n", 0, False),
        ("snakescope: exit 0\nsnakescope: exit 75\nslurmstepd: error: late\n", 75, False),
        ("the tool said snakescope: exit 0\n", None, False),
        ("slurmstepd-n2: error: Detected 1 oom-kill event(s) in StepId=7.batch.\n", None, True),
        ("slurmstepd: error: StepId=5.batch exceeded memory limit (2 > 1), being killed\n", None, True),
        ("my tool ran out of memory\n", None, False),
        ("", None, False),
    ],
)
def test_a_log_tells_the_exit_code_and_whether_memory_was_the_reason(
    tmp_path: Path, text: str, code: int | None, memory: bool
) -> None:
    log = tmp_path / "a.log"
    log.write_text("x\n" * 5000 + text)
    assert accounting.exit_in_log(log) == code
    assert accounting.killed_for_memory(log) is memory
    assert accounting.exit_in_log(tmp_path / "none.log") is None


def test_the_ledger_takes_each_job_once_and_mends_a_line_that_was_cut_off(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    assert ledger.add([JobFacts("1", kind="done"), JobFacts("1", kind="failed")]) == 1
    assert ledger.add([JobFacts("1")]) == 0
    path = tmp_path / layout.slurm_facts()
    whole = path.read_text()
    path.write_text(whole + whole.replace('"1"', '"2"')[:30])
    again = Ledger(tmp_path)
    assert "1" in again
    assert "2" not in again
    assert again.add([JobFacts("2", node="n3"), JobFacts("1")]) == 1
    assert {job: facts["node"] for job, facts in slurm_facts(tmp_path).items()} == {"1": None, "2": "n3"}
    assert path.read_text().startswith(whole)
    assert path.read_text().endswith("}\n")


def test_what_was_missed_is_caught_up_with_by_the_names_of_logs(
    tmp_path: Path, said: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert accounting.catch_up(tmp_path) == 0
    name = slurm.run_id(tmp_path)
    calls = tmp_path / "calls"
    (said / "sacct").write_text(
        f'#!/bin/sh\necho "$*" >>"{calls}"\n'
        f'case $* in *WorkDir*) printf "7|{tmp_path}\\n8|/other\\n9|{tmp_path}\\n";;\n'
        f'*jobs=7,9*) cat "{said}/sacct.txt";; *) exit 1;; esac\n'
    )
    tell(said, "sacct", line("7"), line("9", State="RUNNING"))
    log = tmp_path / accounting.log_path("s1/0001-a", "7")
    log.parent.mkdir(parents=True)
    log.touch()
    assert accounting.catch_up(tmp_path) == 1
    assert slurm_facts(tmp_path)["7"]["key"] == "s1/0001-a"
    assert f"--name={name}" in calls.read_text()
    assert accounting.catch_up(tmp_path) == 0


def test_a_hostile_key_names_a_log_in_its_place() -> None:
    assert accounting.log_path("a/../../b c/%j\n") == "logs/slurm/a/.._.._b_c__j_-%j.log"
    assert len(Path(accounting.log_path("a/" + "x" * 500, "7")).name) < 200


RECORD = {
    "schema": 1, "status": "done", "unit": "r1", "samples": ["r1"], "step": "a", "snakemake": None, "started_at": "",
    "ended_at": "", "wall_s": 1.0, "cpu_s": 1.0, "exit_code": 0, "host": "n1",
    "environment": {}, "tool_version_observed": None, "argv": [], "row_parameters": {}, "inputs": [], "outputs": [],
    "compiled": {},
}  # fmt: skip


def write_record(root: Path, scheduler: object) -> Path:
    path = root / "records/r1/a.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**RECORD, "scheduler": scheduler}))
    return path


def test_records_take_over_what_slurm_says_and_null_where_it_says_nothing(tmp_path: Path) -> None:
    path = write_record(tmp_path, {"kind": "slurm", "job_id": "7", "partition": "cpu"})
    unknown = read_record(path, tmp_path).scheduler
    assert unknown is not None
    assert (unknown["partition"], unknown["queue_s"], unknown["max_rss_mb"]) == ("cpu", None, None)
    Ledger(tmp_path).add([JobFacts("8", queue_s=9), JobFacts("7", queue_s=5, max_rss_mb=98.5, node="n2", kind="done")])
    known = read_record(path, tmp_path).scheduler
    assert known is not None
    assert (known["queue_s"], known["max_rss_mb"], known["node"], known["cpu_s"]) == (5, 98.5, "n2", None)
    assert read_record(path).scheduler == {"kind": "slurm", "job_id": "7", "partition": "cpu"}


@pytest.mark.parametrize("scheduler", [None, {"kind": "other", "job_id": "7"}])
def test_records_of_other_schedulers_stay_as_they_are(tmp_path: Path, scheduler: object) -> None:
    Ledger(tmp_path).add([JobFacts("7", queue_s=5)])
    assert read_record(write_record(tmp_path, scheduler), tmp_path).scheduler == scheduler
