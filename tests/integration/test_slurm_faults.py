"""What may go wrong on a cluster goes wrong, on a real one: nothing is lost, nothing runs twice, nothing stays half.

Each fault hits several studies (rounds), some at the same time, and each study must end up file by file as one that
nothing happened to.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from slurm_faults import CRASHES, ROUNDS, SOAK, FaultStudy, figures, fill, small_disk
from slurm_site import SlurmSite, wait_until

pytestmark = [pytest.mark.slurm, pytest.mark.soak]
AT_ONCE = 2
# for faults that hit two rounds at the same time
TURNS = ROUNDS // 2
Whole = dict[str, object]
Make = Callable[..., FaultStudy]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """What a study leaves that nothing happens to: run on this machine, without a cluster."""
    study = FaultStudy(tmp_path_factory.mktemp("undisturbed") / "study", seconds=0)
    done = study.snakescope("run", "--quiet")
    assert done.returncode == 0, done.stderr
    return study.whole()


@pytest.fixture
def make(slurm_cluster: SlurmSite, request: pytest.FixtureRequest) -> Iterator[Make]:
    """Make a study below a folder; what still runs of it when the test is over is killed, and the figures are told."""
    studies: list[FaultStudy] = []

    def in_folder(folder: Path, **options: Any) -> FaultStudy:
        folder.mkdir(exist_ok=True)
        studies.append(FaultStudy(folder / "study", **options))
        return studies[-1]

    yield in_folder
    for study in studies:
        study.close()
    print(f"\n{figures(request.node.name, studies)}")


def in_rounds(folder: Path, rounds: int, play: Callable[[int, Path], None]) -> None:
    """Play rounds, some at a time, each in a folder of its own; the first that fails is told."""

    def one(seed: int) -> None:
        play(seed, folder / f"round{seed}")

    with ThreadPoolExecutor(AT_ONCE) as pool:
        for done in [pool.submit(one, seed) for seed in range(rounds)]:
            done.result()


def jobs_of(site: SlurmSite, study: FaultStudy) -> list[str]:
    """Ids of the study's running jobs."""
    return [job.id for job in site.queue(f"--name={study.run_id}") if job.state == "RUNNING"] if study.run_id else []


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def kill_head(process: subprocess.Popen[str], who: str) -> None:
    """Kill the runner, the Snakemake that it has started, or both at once."""
    if who == "both":
        os.killpg(process.pid, signal.SIGKILL)
    for pid in children(process.pid) if who == "snakemake" else [process.pid]:
        os.kill(pid, signal.SIGKILL)
    process.wait()


def test_shards_leave_what_a_run_on_one_machine_leaves(
    make: Make, slurm_cluster: SlurmSite, undisturbed: Whole, tmp_path: Path
) -> None:
    study = make(tmp_path)
    study.finish()
    study.check(undisturbed)
    assert study.kinds() == {"done": 3}


def test_killing_the_head_at_any_moment_loses_nothing(
    make: Make, slurm_cluster: SlurmSite, undisturbed: Whole, tmp_path: Path
) -> None:
    def play(seed: int, folder: Path) -> None:
        study, dice = make(folder), random.Random(seed)
        for who in dice.sample(["both", "runner", "snakemake"], 2):
            process = study.start()
            time.sleep(dice.uniform(1, 12))
            kill_head(process, who)
        study.finish()
        study.check(undisturbed, once=True)

    in_rounds(tmp_path, ROUNDS, play)


def test_a_cancelled_shard_is_done_by_another_job(
    make: Make, slurm_cluster: SlurmSite, undisturbed: Whole, tmp_path: Path
) -> None:
    def play(seed: int, folder: Path) -> None:
        study, dice = make(folder), random.Random(seed)
        process = study.start()
        study.wait_for_starts(dice.randint(1, 12))
        slurm_cluster.run("scancel", *jobs_of(slurm_cluster, study)[:1], check=False)
        assert process.wait(timeout=240) in (0, 1), study.told()
        study.finish()
        study.check(undisturbed)

    in_rounds(tmp_path, ROUNDS, play)


def test_what_a_lost_node_did_is_done_by_another(
    make: Make, slurm_cluster: SlurmSite, undisturbed: Whole, tmp_path: Path
) -> None:
    """Two nodes at once, under a job each that would go on: one loses power, of the other nothing is heard any more."""
    for turn in range(TURNS):
        studies = [make(tmp_path / f"turn{turn}-{index}", stuck="r5+second") for index in (0, 1)]
        processes = [study.start() for study in studies]
        nodes = [study.wait_for_hang()[0] for study in studies]
        slurm_cluster.kill_node(nodes[0])
        slurm_cluster.kill_slurmd(nodes[1])
        wait_until(partial(down, slurm_cluster, nodes), 90, f"for {nodes} to be down")
        for node in nodes:
            slurm_cluster.start_slurmd(node)
        for study, process in zip(studies, processes, strict=True):
            assert process.wait(timeout=240) == 0, study.told()
            study.check(undisturbed)
            assert study.kinds()["node"] == 1


def test_a_job_without_enough_memory_gets_more(
    make: Make, slurm_cluster: SlurmSite, undisturbed: Whole, tmp_path: Path
) -> None:
    def play(seed: int, folder: Path) -> None:
        study = make(folder, hungry="r2+first")
        study.finish()
        assert study.kinds() == {"done": 3, "oom": 1}
        [killed] = [facts for facts in study.facts() if facts["kind"] == "oom"]
        [again] = [facts for facts in study.facts() if facts["key"] == killed["key"] and facts["kind"] == "done"]
        assert again["mem_mb"] == 2 * killed["mem_mb"]
        study.check(undisturbed)

    in_rounds(tmp_path, ROUNDS, play)


def test_a_job_that_runs_out_of_time_gets_more(
    make: Make, slurm_cluster: SlurmSite, undisturbed: Whole, tmp_path: Path
) -> None:
    def play(seed: int, folder: Path) -> None:
        study = make(folder, stuck="r5+second")
        process = study.start()
        slurm_cluster.let_time_run_out(study.wait_for_hang()[1])
        assert process.wait(timeout=240) == 0, study.told()
        assert study.kinds() == {"done": 3, "timeout": 1}
        study.check(undisturbed)

    in_rounds(tmp_path, ROUNDS, play)


def test_the_controller_is_away_for_a_while(
    make: Make, slurm_cluster: SlurmSite, undisturbed: Whole, tmp_path: Path
) -> None:
    for turn in range(TURNS):
        be_away(make, slurm_cluster, undisturbed, tmp_path / str(turn), crash=False)


@pytest.mark.skipif(not SOAK, reason="takes minutes, since jobs are forgotten: with SNAKESCOPE_SOAK=1")
def test_the_controller_crashes_and_forgets_jobs(
    make: Make, slurm_cluster: SlurmSite, undisturbed: Whole, tmp_path: Path
) -> None:
    turns, studies = CRASHES
    for turn in range(turns):
        be_away(make, slurm_cluster, undisturbed, tmp_path / str(turn), crash=True, count=studies)


def be_away(
    make: Make, site: SlurmSite, undisturbed: Whole, folder: Path, *, crash: bool, count: int = AT_ONCE
) -> None:
    folder.mkdir()
    dice = random.Random(folder.name)
    studies = [make(folder / str(number)) for number in range(count)]
    processes = [study.start() for study in studies]
    time.sleep(dice.uniform(3, 12))
    site.stop_controller(crash=crash)
    time.sleep(dice.uniform(0, 4))
    site.start_controller()
    # jobs that a crash made it forget get their ids a second time, and nodes that still know them drain
    end = time.monotonic() + 500
    while any(process.poll() is None for process in processes) and time.monotonic() < end:
        site.resume()
        time.sleep(1)
    for study, process in zip(studies, processes, strict=True):
        assert process.poll() == 0, study.told()
        study.check(undisturbed)


def test_a_full_disk_stops_a_run_and_costs_nothing_that_is_done(
    make: Make, slurm_cluster: SlurmSite, undisturbed: Whole, tmp_path: Path
) -> None:
    def play(seed: int, folder: Path) -> None:
        with small_disk(folder / "study") as disk:
            study, dice = make(folder), random.Random(seed)
            filler = disk / "filler"
            process = study.start()
            study.wait_for_starts(dice.randint(1, 10))
            fill(filler)
            assert process.wait(timeout=240) in (1, 3), study.told()
            assert not study.unsound()
            filler.unlink()
            study.finish(may_fail=1)  # a job that was under way may still find the disk full
            # sizes are measured by way of a file beside the outputs
            study.check(undisturbed, may_be_unknown="bytes")

    in_rounds(tmp_path, ROUNDS, play)


def test_a_second_head_is_refused(make: Make, slurm_cluster: SlurmSite, undisturbed: Whole, tmp_path: Path) -> None:
    def play(seed: int, folder: Path) -> None:
        study = make(folder)
        first = study.start()
        time.sleep(random.Random(seed).uniform(0.5, 8))
        wait_until((study.root / ".snakescope/run.lock").exists)
        second = study.start()
        assert second.wait(timeout=60) == 2, study.told()
        assert f"another run is at work here (process {first.pid} on " in study.told()
        assert first.wait(timeout=240) == 0, study.told()
        study.check(undisturbed, once=True)

    in_rounds(tmp_path, ROUNDS, play)


def down(site: SlurmSite, nodes: Iterable[str]) -> bool:
    return all(site.nodes()[node].startswith("down") for node in nodes)
