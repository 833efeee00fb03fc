"""What a person sees of a run: on a terminal, and in a log."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import threading
from collections.abc import Callable

from integration_helpers import TinyStudy

Make = Callable[[int], TinyStudy]


def on_terminal(study: TinyStudy, *arguments: str) -> tuple[int, str]:
    """Run with standard error on a pseudo-terminal; returns the exit code and what was drawn, without colours."""
    ours, theirs = pty.openpty()
    drawn: list[bytes] = []

    def read() -> None:
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # the other end was closed
                return
            if not part:
                return
            drawn.append(part)

    reader = threading.Thread(target=read)
    reader.start()
    command = [sys.executable, "-m", "snakescope.cli", "run", *arguments]
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"}
    done = subprocess.run(command, cwd=study.root, stdout=subprocess.PIPE, stderr=theirs, env=environment, check=False)
    os.close(theirs)
    reader.join(timeout=10)
    os.close(ours)
    text = b"".join(drawn).decode(errors="replace")
    return done.returncode, re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def test_a_terminal_shows_a_bar_a_step_with_counts_and_failures(tiny_study: Make) -> None:
    study = tiny_study(4)
    study.write("data/1.txt", "broken\n")
    code, drawn = on_terminal(study)
    assert code == 1
    where, *lines = [line for line in re.split(r"[\r\n]+", drawn) if line.strip()]
    assert where.startswith("Tools run from this machine's own programs")
    last = {line.split()[0]: line for line in lines}
    assert set(last) == {"stamp", "count", "gather"}
    assert "3/4" in last["stamp"]
    assert "1 failed" in last["stamp"]
    assert "3/4" in last["count"]
    assert "1/2" in last["gather"]
    assert "failed" not in last["gather"]
    assert "━" in last["stamp"]


def test_a_quiet_run_draws_nothing(tiny_study: Make) -> None:
    assert on_terminal(tiny_study(1), "--quiet") == (0, "")


def test_a_log_gets_no_bars_and_no_colours(tiny_study: Make) -> None:
    done = tiny_study(2).snakescope("run")
    told = "Tools run from this machine's own programs (no --sdm): stamp, count, gather\n"
    assert (done.returncode, done.stderr) == (0, told)
    assert "\x1b" not in done.stdout
    assert "━" not in done.stdout
