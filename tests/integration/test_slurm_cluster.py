"""The Slurm that tests bring up is a real one: it runs, counts, limits, breaks and mends, and leaves nothing behind."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from slurm_site import SlurmSite, wait_until

pytestmark = pytest.mark.slurm
# Takes 8 MB more every 0.05 s until it has 800 MB, then rests.
GREEDY = (
    "exec python3 -c \"import time; a = [];\nfor _ in range(100): a.append(bytearray(b'x') * 2**23); time.sleep(.05)\""
)


@pytest.fixture(scope="module")
def small_site(tmp_path_factory: pytest.TempPathFactory, slurm_site_of_session: SlurmSite) -> Iterator[SlurmSite]:
    """One node, no accounting."""
    site = SlurmSite(tmp_path_factory.mktemp("small") / "site", {"NODES": 1, "ACCOUNTING": 0, "CPUS": 1})
    site.start()
    yield site
    site.stop(now=True)


def test_a_job_runs_and_is_accounted_for(slurm_cluster: SlurmSite) -> None:
    assert slurm_cluster.nodes() == {"n1": "idle", "n2": "idle", "n3": "idle"}
    job = slurm_cluster.submit("echo on $SLURMD_NODENAME; sleep 2; exit 3", "--nodelist=n2", "--comment=a b")
    wait_until(lambda: slurm_cluster.queue() and slurm_cluster.queue()[0].state == "RUNNING")
    [seen] = slurm_cluster.queue()
    assert (seen.id, seen.name, seen.node, seen.comment) == (job, "wrap", "n2", "a b")
    assert slurm_cluster.wait(job) == "FAILED"
    assert slurm_cluster.output(job) == "on n2\n"
    wait_until(lambda: slurm_cluster.accounts(job).get("batch", {}).get("State") == "FAILED")
    whole = slurm_cluster.accounts(job)[""]
    assert (whole["ExitCode"], whole["NodeList"], whole["Comment"]) == ("3:0", "n2", "a b")
    assert int(whole["ElapsedRaw"]) >= 2
    assert slurm_cluster.accounts(job)["batch"]["MaxRSS"].endswith("K")


def test_one_job_at_a_time_has_the_gpu(slurm_cluster: SlurmSite) -> None:
    jobs = [slurm_cluster.submit("sleep 60", "--gres=gpu:1", "--partition=gpu") for _ in range(2)]
    wait_until(lambda: {job.state for job in slurm_cluster.queue()} == {"RUNNING", "PENDING"})
    [runs] = [job for job in slurm_cluster.queue() if job.state == "RUNNING"]
    assert runs.node == "n1"
    assert runs.id in jobs


def test_a_job_that_takes_more_memory_than_it_asked_for_is_killed(slurm_cluster: SlurmSite) -> None:
    greedy = slurm_cluster.submit(GREEDY, "--mem=200")
    modest = slurm_cluster.submit(GREEDY, "--mem=1500")
    assert slurm_cluster.wait(greedy) in {"FAILED", "OUT_OF_MEMORY"}
    assert slurm_cluster.wait(modest) == "COMPLETED"


def test_jobs_outlive_the_controller(slurm_cluster: SlurmSite) -> None:
    job = slurm_cluster.submit("sleep 3; echo done")
    waiting = slurm_cluster.submit("echo later", f"--dependency=afterok:{job}")
    wait_until(lambda: slurm_cluster.state(job) == "RUNNING")
    slurm_cluster.restart_controller(down_s=1)
    assert slurm_cluster.wait(waiting) == "COMPLETED"
    assert slurm_cluster.state(job) == "COMPLETED"
    assert slurm_cluster.output(job) == "done\n"


def test_time_runs_out_and_nodes_lose_power(slurm_cluster: SlurmSite) -> None:
    late = slurm_cluster.submit("sleep 300", "--time=5", "--nodelist=n2")
    lost = slurm_cluster.submit("sleep 300", "--nodelist=n3", "--no-requeue")
    wait_until(lambda: [slurm_cluster.state(job) for job in (late, lost)] == ["RUNNING"] * 2)
    wait_until(lambda: {words["SLURM_JOB_ID"] for _, words in slurm_cluster.job_processes()} == {late, lost})
    slurm_cluster.let_time_run_out(late)
    slurm_cluster.kill_node("n3")
    assert [words["SLURM_JOB_ID"] for _, words in slurm_cluster.job_processes()] == [late] * 2
    assert slurm_cluster.wait(lost) == "NODE_FAIL"
    assert slurm_cluster.nodes()["n3"].startswith("down")
    slurm_cluster.start_slurmd("n3")
    assert slurm_cluster.wait(slurm_cluster.submit("true", "--nodelist=n3")) == "COMPLETED"
    assert slurm_cluster.wait(late) == "TIMEOUT"
    wait_until(lambda: not list(slurm_cluster.job_processes()), 10, "for the late job's processes")


def test_jobs_outlive_the_daemon_of_their_node(slurm_cluster: SlurmSite) -> None:
    job = slurm_cluster.submit("sleep 3; echo done", "--nodelist=n2")
    wait_until(lambda: list(slurm_cluster.job_processes()))
    slurm_cluster.kill_slurmd("n2")
    wait_until(lambda: slurm_cluster.output(job) == "done\n")
    slurm_cluster.start_slurmd("n2")
    assert slurm_cluster.wait(job) == "COMPLETED"


def test_without_accounting_the_queue_still_knows(small_site: SlurmSite) -> None:
    job = small_site.submit("exit 4")
    assert small_site.wait(job) == "FAILED"
    assert small_site.run("sacct", "--jobs", job, check=False) == ""
    assert [seen.state for seen in small_site.queue("--states=all", f"--jobs={job}")] == ["FAILED"]


def test_stopping_ends_running_jobs_and_leaves_no_process(small_site: SlurmSite) -> None:
    stubborn = "trap '' TERM; sleep 301 & wait; sleep 302"
    job = small_site.submit(stubborn)
    waiting = small_site.submit("sleep 1")
    wait_until(lambda: len(list(small_site.job_processes())) >= 2)
    small_site.stop()
    assert small_site.processes() == []
    small_site.start()
    assert small_site.wait(small_site.submit("true")) == "COMPLETED"
    assert {small_site.state(job), small_site.state(waiting)} == {"CANCELLED"}


def test_starting_twice_starts_nothing_twice(small_site: SlurmSite) -> None:
    small_site.start()
    before = small_site.processes()
    small_site.start()
    assert small_site.processes() == before


def test_a_site_stops_itself_when_its_owner_was_killed(tmp_path: Path, small_site: SlurmSite) -> None:
    site = SlurmSite(tmp_path / "site", {"NODES": 1, "ACCOUNTING": 0})
    owner = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
    site.start(owner=owner.pid)
    site.submit("sleep 300")
    wait_until(lambda: list(site.job_processes()))
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    wait_until(lambda: not site.processes(), 30, "for the site to stop")


def test_the_scripts_say_what_they_need(tmp_path: Path) -> None:
    script = Path(__file__).parents[1] / "slurm_site/up.sh"
    bare = {"PATH": str(tmp_path / "bin")}
    (tmp_path / "bin").mkdir()
    for name in ("bash", "dirname", "mkdir", "id"):
        (tmp_path / "bin" / name).symlink_to(shutil.which(name) or name)
    done = subprocess.run([script, tmp_path / "site"], env=bare, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "not here: slurmctld slurmd slurm-client munge slurmdbd mariadb-server. On Debian" in done.stderr
    long = subprocess.run([script, tmp_path / ("x" * 80)], capture_output=True, text=True, check=False)
    assert "too long a path for the sockets in it" in long.stderr
