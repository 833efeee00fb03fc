"""Plain ``snakemake --profile profiles/slurm`` on a real Slurm: submitted, retried, taken over, written down."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from integration_helpers import STAMP, TinyStudy
from slurm_site import SlurmSite, wait_until
from snakescope.cluster import accounting, slurm
from snakescope.cluster.preflight import offered, preflight
from snakescope.errors import InputError
from snakescope.record import read_record, slurm_facts

pytestmark = pytest.mark.slurm

Make = Callable[[int], TinyStudy]
WORDS = ("--profile", "profiles/slurm", "--snakescope-poll-s", "1", "--latency-wait", "5", "--nocolor")


@pytest.fixture
def study(tiny_study: Make, slurm_cluster: SlurmSite) -> TinyStudy:
    """Two rows and one step: four of the tools' seconds are enough to see much."""
    study = tiny_study(2)
    study.write("config/pipelines/tiny.yaml", yaml.safe_dump(pipeline("stamp")))
    return study


def pipeline(tool: str) -> dict[str, object]:
    step = {"tool": tool, "inputs": {"image": "sheet.path"}}
    return {"schema": 1, "name": "tiny", "title": "Tiny", "steps": {"stamp": step}}


def use_tool(study: TinyStudy, script: str, name: str = "special.py", **resources: object) -> None:
    """Let the step be a Python program."""
    study.write(name, f"import os, sys, time\n{script}\nopen(sys.argv[1], 'w').write('done')\n")
    tool = {**STAMP, "id": "special", "params": {}, "resources": resources}
    tool["command"] = ["python", name, "{out.stamped}", "{in.image}"]
    study.write("tools/special/tool.yaml", yaml.safe_dump(tool))
    study.write("config/pipelines/tiny.yaml", yaml.safe_dump(pipeline("special")))


def compiled(study: TinyStudy) -> TinyStudy:
    done = study.snakescope("compile")
    assert done.returncode == 0, done.stderr
    return study


def snakemake(study: TinyStudy, *more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "snakemake", *WORDS, *more]
    return subprocess.run(command, cwd=study.root, capture_output=True, text=True, check=False)


def start(study: TinyStudy, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "snakemake", *WORDS, *more]
    with (study.root / "head.log").open("a") as log:
        return subprocess.Popen(command, cwd=study.root, stdout=log, stderr=log, text=True, start_new_session=True)


def attempts(study: TinyStudy, key: str) -> list[tuple[str, float]]:
    """Kind and memory of each attempt at a job, in order."""
    found = [facts for facts in slurm_facts(study.root).values() if facts["key"] == key]
    return [(facts["kind"], facts["mem_mb"]) for facts in sorted(found, key=lambda facts: int(facts["job_id"]))]


def running(site: SlurmSite) -> list[str]:
    return [job.id for job in site.queue() if job.state == "RUNNING"]


def test_rows_run_alone_and_what_slurm_says_of_them_is_in_their_records(
    tiny_study: Make, slurm_cluster: SlurmSite
) -> None:
    study = compiled(tiny_study(2))
    study.write("data/1.txt", "broken\n")
    done = snakemake(study)
    assert done.returncode == 1
    assert study.read("results/r0/stamp/stamped.txt") == "one\nfile 0\n"
    record = read_record(study.root / "records/r0/count.json", study.root)
    assert record.scheduler is not None
    assert record.scheduler["kind"] == "slurm"
    assert record.scheduler["state"] == "COMPLETED"
    assert record.scheduler["node"] == record.scheduler["node"].strip()
    assert record.scheduler["node"] in {"n1", "n2", "n3"}
    assert record.scheduler["elapsed_s"] >= 1
    assert record.scheduler["queue_s"] >= 0
    assert record.scheduler["cpu_s"] > 0.3
    assert 20 < record.scheduler["max_rss_mb"] < record.scheduler["mem_mb"] == 1400
    # the broken row failed by itself: once, alone, and its log is where the message says
    assert attempts(study, "stamp/r1") == [("failed", 1400)]
    failed = read_record(study.root / "logs/r1/stamp.failed.json", study.root)
    assert failed.scheduler is not None
    assert failed.scheduler["state"] == "FAILED"
    [log] = (study.root / "logs/slurm").rglob("*.log")
    assert str(log.relative_to(study.root)) in done.stdout + done.stderr
    assert log.read_text().splitlines()[-1] == "snakescope: exit 1"
    assert not slurm_cluster.queue()


def test_jobs_carry_the_name_of_the_run_and_say_what_they_make(study: TinyStudy, slurm_cluster: SlurmSite) -> None:
    use_tool(study, "time.sleep(30)")
    compiled(study)
    head = start(study)
    wait_until(lambda: len(slurm_cluster.queue()) == 2, 30)
    queue = slurm_cluster.queue()
    assert {job.name for job in queue} == {slurm.run_id(study.root)}
    labels = sorted((slurm.Label.parse(job.comment) for job in queue), key=str)
    assert [label.key for label in labels if label] == ["stamp/r0", "stamp/r1"]
    assert all(label and label.study == "study" and label.text.startswith("stamp r") for label in labels)
    # Ctrl-C cancels what this run has submitted
    wait_until(lambda: len(running(slurm_cluster)) == 2)
    head.send_signal(signal.SIGINT)
    assert head.wait(30) == 1
    wait_until(lambda: not slurm_cluster.queue(), 20)


def test_more_memory_after_out_of_memory_and_nothing_else(study: TinyStudy) -> None:
    use_tool(study, "x = b'1' * 350_000_000\ntime.sleep(5)", mem_mb=100, runtime_min=7)
    done = snakemake(compiled(study), "--snakescope-margin-mb", "300", "records/r0/stamp.json")
    assert done.returncode == 0, done.stderr
    assert attempts(study, "stamp/r0") == [("oom", 400), ("done", 500)]
    assert "it needed more memory than it was given" in done.stdout + done.stderr
    assert not list((study.root / "logs").glob("*/*.slurm.json"))
    record = read_record(study.root / "records/r0/stamp.json", study.root)
    assert record.scheduler is not None
    assert (record.scheduler["attempt"], record.scheduler["mem_mb"]) == (2, 500)


@pytest.mark.slow
def test_more_time_after_a_time_out_and_nothing_else(study: TinyStudy) -> None:
    use_tool(
        study, "first = not os.path.exists('tried')\nopen('tried', 'w')\ntime.sleep(300 if first else 0)", runtime_min=1
    )
    done = snakemake(compiled(study), "records/r0/stamp.json")
    assert done.returncode == 0, done.stderr
    assert attempts(study, "stamp/r0") == [("timeout", 1400), ("done", 1400)]


def test_a_lost_node_costs_one_attempt(study: TinyStudy, slurm_cluster: SlurmSite) -> None:
    use_tool(study, "first = not os.path.exists('tried')\nopen('tried', 'w')\ntime.sleep(300 if first else 0)")
    head = start(compiled(study), "records/r0/stamp.json")
    wait_until(lambda: (study.root / "tried").exists(), 30)
    [job] = slurm_cluster.queue()
    assert job.node is not None
    slurm_cluster.kill_node(job.node)
    assert head.wait(90) == 0
    assert attempts(study, "stamp/r0") == [("node", 1400), ("done", 1400)]


def test_jobs_of_a_killed_head_are_taken_over_and_none_runs_twice(study: TinyStudy, slurm_cluster: SlurmSite) -> None:
    use_tool(study, "open('starts', 'a').write('x\\n')\ntime.sleep(8)")
    head = start(compiled(study))
    wait_until(lambda: len(running(slurm_cluster)) == 2, 30)
    before = {job.id for job in slurm_cluster.queue()}
    os.killpg(head.pid, signal.SIGKILL)
    head.wait()
    done = snakemake(study, "--nolock")
    assert done.returncode == 0, done.stderr
    assert (done.stdout + done.stderr).count("it is taken over") == 2
    assert set(slurm_facts(study.root)) == before
    assert study.read("starts") == "x\nx\n"


def test_jobs_go_on_when_the_runner_is_killed(study: TinyStudy, slurm_cluster: SlurmSite) -> None:
    use_tool(study, "open('starts', 'a').write('x\\n')\ntime.sleep(8)")
    command = [sys.executable, "-m", "snakescope.cli", "run", "--profile", "slurm", "--quiet"]
    runner = subprocess.Popen(command, cwd=study.root, start_new_session=True)
    wait_until(lambda: len(running(slurm_cluster)) == 2, 40)
    runner.kill()
    runner.wait()
    log = study.root / ".snakescope/snakemake.log"
    wait_until(lambda: "Left 2 jobs to Slurm" in log.read_text(), 30)
    wait_until(lambda: study.snakescope("run", "--profile", "slurm", "--quiet").returncode == 0, 60)
    assert study.read("starts") == "x\nx\n"


def test_what_ended_while_nobody_looked_is_written_down_later(study: TinyStudy, slurm_cluster: SlurmSite) -> None:
    use_tool(study, "time.sleep(3)")
    head = start(compiled(study))
    wait_until(lambda: len(running(slurm_cluster)) == 2, 30)
    os.killpg(head.pid, signal.SIGKILL)
    head.wait()
    wait_until(lambda: not slurm_cluster.queue(), 30)
    assert not slurm_facts(study.root)
    assert snakemake(study, "--nolock").returncode == 0
    wait_until(lambda: accounting.catch_up(study.root) + len(slurm_facts(study.root)) >= 2)
    assert {facts["key"] for facts in slurm_facts(study.root).values()} == {"stamp/r0", "stamp/r1"}
    assert accounting.catch_up(study.root) == 0


def test_a_job_that_does_something_else_now_is_not_taken_over(study: TinyStudy, slurm_cluster: SlurmSite) -> None:
    use_tool(study, "time.sleep(6)\nprint('old')")
    head = start(compiled(study), "records/r0/stamp.json")
    wait_until(lambda: len(running(slurm_cluster)) == 1, 30)
    os.killpg(head.pid, signal.SIGKILL)
    head.wait()
    use_tool(study, "print('new')", "other.py")
    done = snakemake(compiled(study), "--nolock", "records/r0/stamp.json")
    assert done.returncode == 0, done.stderr
    assert "it is taken over" not in done.stdout + done.stderr
    assert study.read("logs/r0/stamp.log") == "new\n"


def test_a_controller_that_is_away_costs_nothing_but_time(study: TinyStudy, slurm_cluster: SlurmSite) -> None:
    use_tool(study, "open('starts', 'a').write('x\\n')\ntime.sleep(6)")
    head = start(compiled(study))
    wait_until(lambda: len(running(slurm_cluster)) == 2, 30)
    slurm_cluster.restart_controller(down_s=15)  # a question under way waits some seconds for an answer
    assert head.wait(90) == 0, study.read("head.log")
    assert study.read("starts") == "x\nx\n"
    assert "Slurm answers again" in study.read("head.log")
    assert {facts["kind"] for facts in slurm_facts(study.root).values()} == {"done"}


def test_without_accounting_jobs_run_and_what_nobody_knows_is_null(
    tiny_study: Make, slurm_cluster: SlurmSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = tiny_study(1)
    use_tool(study, "x = b'1' * 350_000_000\ntime.sleep(5)", mem_mb=100)
    fake = study.root / "bin/sacct"
    study.write("bin/sacct", "#!/bin/sh\necho 'Slurm accounting storage is disabled' >&2; exit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
    done = snakemake(compiled(study), "--snakescope-margin-mb", "300")
    assert done.returncode == 0, done.stderr
    facts = list(slurm_facts(study.root).values())
    assert [one["kind"] for one in facts] == ["oom", "done"]
    assert [(one["max_rss_mb"], one["cpu_s"]) for one in facts] == [(None, None)] * 2
    assert all(one["elapsed_s"] >= 1 and one["node"] for one in facts)


def test_a_refusal_is_said_in_words_and_ends_the_row_alone(study: TinyStudy) -> None:
    done = snakemake(compiled(study), "--set-resources", "stamp:mem_mb=999000")
    told = done.stdout + done.stderr
    assert done.returncode == 1
    assert "stamp/r0: no node has 1 cores, 999400M of memory" in told
    assert "error: stamp/r0: no node has 1 cores" in study.read("logs/r0/stamp.log")
    assert "Traceback" not in told


def test_preflight_finds_all_that_would_be_refused_and_submits_nothing(
    study: TinyStudy, slurm_cluster: SlurmSite
) -> None:
    jobs = [
        {"name": "deskew/r1", "threads": 1, "mem_mb": 500, "runtime": 10},
        {"name": "deskew/r2", "threads": 2, "mem_mb": 99_000, "runtime": 10},
        {"name": "track/r1", "threads": 1, "mem_mb": 500, "runtime": 90, "slurm_partition": "gpu"},
        {"name": "render/r1", "threads": 1, "mem_mb": 500, "runtime": 9, "slurm_partition": "cpus"},
        {"name": "segment/r1", "threads": 1, "mem_mb": 500, "runtime": 9, "gpu": 9},
    ]
    with pytest.raises(InputError) as caught:
        preflight(study.root, jobs)
    told = str(caught.value)
    assert (
        "deskew/r2: no node has 2 cores, 99000M of memory, 10 minutes; the largest there has 2 cores, 3000 MB" in told
    )
    assert "track/r1: asks for 90 minutes; partition gpu allows 60" in told
    assert "the cluster has no partition 'cpus' that is up.\n    Did you mean 'cpu'? There are: cpu, gpu." in told
    assert "segment/r1: no node has 1 cores, 500M of memory, 9 GPUs" in told
    assert len(caught.value.problems) == 4
    assert preflight(study.root, jobs[:1]) == []
    assert not slurm_cluster.queue("--states=all", f"--name={slurm.run_id(study.root)}")


def test_partitions_are_what_the_cluster_says(slurm_cluster: SlurmSite) -> None:
    found, default = offered()
    assert default == "cpu"
    assert found["gpu"].model_dump(exclude={"resources"}) == {
        "max_runtime_min": 60, "max_mem_mb": 3000, "max_cpus": 2, "gpus": 1, "nodes": 1,
    }  # fmt: skip
    assert found["cpu"].nodes == 3


def test_secrets_reach_neither_the_job_nor_a_file(
    study: TinyStudy, slurm_cluster: SlurmSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_tool(study, "print(os.environ.get('MY_TOKEN'), os.environ.get('MY_WORD'))\ntime.sleep(4)")
    monkeypatch.setenv("MY_TOKEN", "hush-hush")
    monkeypatch.setenv("MY_WORD", "hello-there")
    head = start(compiled(study), "records/r0/stamp.json")
    wait_until(lambda: (study.root / "logs/r0/stamp.log").exists(), 30)
    files = [_bytes(path) for path in slurm_cluster.root.rglob("*") if path.is_file()]
    assert any(b"hello-there" in file for file in files)
    assert not any(b"hush-hush" in file for file in files)
    assert head.wait(60) == 0
    assert study.read("logs/r0/stamp.log") == "None hello-there\n"


PLAIN = """
rule all:
    input: expand("out/{shard}.done.json", shard=["0001", "0002"])

rule s1:
    output: "out/{shard}.done.json"
    log: "out/{shard}.log"
    params: plain=True
    resources: mem_mb=50, runtime=1
    shell: "exec python shard.py {wildcards.shard} {output} >{log} 2>&1"
"""


def plain(study: TinyStudy, program: str) -> tuple[str, str]:
    """A workflow of plain jobs and the words to run it with."""
    study.write("Plain", PLAIN)
    study.write("shard.py", f"import os, sys, time\nshard, out = sys.argv[1:]\n{program}\n")
    return "--snakefile", "Plain"


def test_a_plain_job_runs_its_command_and_no_snakemake(study: TinyStudy) -> None:
    words = plain(study, "parent = open(f'/proc/{os.getppid()}/cmdline').read()\nopen(out, 'w').write(parent)")
    done = snakemake(study, *words)
    assert done.returncode == 0, done.stderr
    assert "snakemake" not in study.read("out/0001.done.json")
    assert {facts["mem_mb"] for facts in slurm_facts(study.root).values()} == {50}
    assert not list((study.root / "logs").rglob("*.log"))


def test_an_exit_code_of_0_without_what_should_be_there_is_no_success(study: TinyStudy) -> None:
    program = "if shard == '0001' or os.path.exists('tried'): open(out, 'w')\nif shard == '0002': open('tried', 'w')"
    words = plain(study, program)
    study.write("out/0002.done.json", "of an earlier run")
    done = snakemake(study, *words, "--forceall")
    assert done.returncode == 0, done.stderr
    assert sorted(facts["key"] for facts in slurm_facts(study.root).values()) == ["s1/0001", "s1/0002", "s1/0002"]
    assert study.read("out/0002.done.json") == ""


def test_a_job_that_yields_is_no_failure_while_another_does_the_work(
    study: TinyStudy, slurm_cluster: SlurmSite
) -> None:
    words = plain(study, "time.sleep(6)\nsys.exit(76) if shard == '0001' else open(out, 'w')")
    head = start(study, *words)
    wait_until(lambda: len(running(slurm_cluster)) == 2, 30)
    label = slurm.Label("study", "s1/0001", "other", "of another head")
    options = (f"--job-name={slurm.run_id(study.root)}", f"--comment={label.comment()}", "--mem=50")
    other = slurm_cluster.submit("sleep 15; touch out/0001.done.json", *options, cwd=study.root)
    assert head.wait(60) == 0, study.read("head.log")
    facts = slurm_facts(study.root)
    assert facts[other]["kind"] == "done"
    assert attempts(study, "s1/0001") == [("failed", 50), ("done", 50)]
    assert "which is followed now" in study.read("head.log")


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_the_ledger_holds_each_job_once(study: TinyStudy) -> None:
    snakemake(compiled(study))
    lines = [json.loads(line) for line in study.read("records/slurm.jsonl").splitlines()]
    assert len(lines) == len({line["job_id"] for line in lines}) == 2
