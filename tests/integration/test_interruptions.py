"""A run that is killed, stopped or started twice loses nothing and takes nothing half-written for good."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from integration_helpers import TinyStudy

Make = Callable[[int], TinyStudy]
ROUNDS = 40 if os.environ.get("SNAKESCOPE_SOAK") else 3
SLOW: dict[str, dict[str, object]] = {"stamp": {"sleep_s": 0.4}, "count": {"sleep_s": 0.3}}


def start(study: TinyStudy, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "snakescope.cli", "run", *arguments]
    return subprocess.Popen(
        command, cwd=study.root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def snakemake_of(process: subprocess.Popen[str]) -> int | None:
    """Process id of the Snakemake that a run has started."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return int(children[0]) if children else None


def kill(process: subprocess.Popen[str], who: str) -> None:
    if who == "all":
        os.killpg(process.pid, signal.SIGKILL)
    elif who == "runner":
        os.kill(process.pid, signal.SIGKILL)
    else:
        child = snakemake_of(process)
        if child is not None:
            os.kill(child, signal.SIGKILL)
    process.communicate()


def finish(study: TinyStudy) -> None:
    """Run until the study is done; a Snakemake that outlived its runner must end first."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        done = study.snakescope("run", "--quiet")
        if done.returncode == 0:
            return
        assert "another run is at work here" in done.stderr, done.stderr + done.stdout
        time.sleep(0.3)
    raise AssertionError("the study was not done in a minute")


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(ROUNDS))
def test_killing_a_run_at_any_moment_loses_nothing(tiny_study: Make, seed: int) -> None:
    study = tiny_study(4)
    study.set_pipeline(SLOW)
    dice = random.Random(seed)
    process = start(study, "--quiet")
    time.sleep(dice.uniform(0.3, 6.0))
    kill(process, ("all", "runner", "snakemake")[seed % 3])
    finish(study)
    expected = {f"results/r{i}/stamp/stamped.txt": f"one\nfile {i}\n" for i in range(4)}
    expected |= {f"results/s{i}/gather/all.txt": f"one\nfile {2 * i}\none\nfile {2 * i + 1}\n" for i in range(2)}
    found = {path: text for path, text in study.results().items() if not path.endswith("number.txt")}
    assert found == expected
    assert {text.strip() for path, text in study.results().items() if path.endswith("number.txt")} == {"2"}
    records = [path.name for path in (study.root / "records").glob("*/*")]
    assert sorted(records) == sorted(["stamp.json", "count.json"] * 4 + ["gather.json"] * 2)


def test_what_stands_under_a_final_name_is_whole_at_every_moment(tiny_study: Make) -> None:
    study = tiny_study(2)
    study.set_pipeline({"stamp": {"sleep_s": 1}})
    process = start(study, "--quiet")
    half = study.root / "results/r0/stamp"
    wait_until(lambda: any(half.glob(".stage-*/stamped.txt")))
    assert not (half / "stamped.txt").exists()
    kill(process, "all")
    assert not (half / "stamped.txt").exists()
    finish(study)
    assert sorted(path.name for path in half.iterdir()) == ["stamped.txt"]


def test_two_runs_at_once_are_refused(tiny_study: Make) -> None:
    study = tiny_study(2)
    study.set_pipeline(SLOW)
    process = start(study, "--quiet")
    wait_until(lambda: (study.root / ".snakescope/events.jsonl").exists())
    second = study.snakescope("run")
    assert second.returncode == 2
    assert f"another run is at work here (process {process.pid} on " in second.stderr
    process.communicate()
    assert process.returncode == 0


def test_a_lock_that_is_not_ours_is_left_alone(tiny_study: Make) -> None:
    study = tiny_study(2)
    study.write(".snakemake/locks/0.output.lock", "results/r0/stamp/stamped.txt\n")
    done = study.snakescope("run")
    assert done.returncode == 2
    assert "Snakemake has locked the folder, but not through snakescope" in done.stderr
    assert (study.root / ".snakemake/locks/0.output.lock").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopping_a_run_says_how_to_go_on(tiny_study: Make, number: signal.Signals) -> None:
    study = tiny_study(4)
    study.set_pipeline({"stamp": {"sleep_s": 12}})
    process = start(study, "--quiet", "--cores", "2")
    wait_until(lambda: any(study.root.glob("results/*/stamp/.stage-*")))
    if number == signal.SIGINT:  # as a terminal does it
        os.killpg(process.pid, number)
    else:
        os.kill(process.pid, number)
    _, told = process.communicate(timeout=90)
    assert process.returncode == 1
    assert "the run was stopped after 0 jobs; run it again to go on" in told
    assert not list(study.root.glob("logs/*/*.failed.json")) or number == signal.SIGTERM
    study.set_pipeline({})
    finish(study)
