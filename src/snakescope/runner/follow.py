"""Starting Snakemake in a study, following its events, and passing on what reaches us: signals, and why it failed."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from snakescope import layout
from snakescope.environments.check import CHECKED, NotUsableError
from snakescope.environments.conda import explain
from snakescope.errors import EnvironmentUnusableError, problem
from snakescope.runner.lock import RunLock
from snakescope.runner.progress import Display, Events, RunState

POLL_S = 0.2
# How a command line that Snakemake does not understand ends, after a page of usage.
_REFUSED_OPTION = re.compile(r"\S+: error: (.*?)\.?$")


class InterruptedRunError(EnvironmentUnusableError):
    """The run was stopped from outside; what is done stays done."""

    exit_code = 1


def follow(
    root: Path, arguments: Sequence[str], lock: RunLock, display: Display, *, snakefile: str = layout.SNAKEFILE
) -> RunState:
    """Run Snakemake in a study folder until it ends.

    Parameters
    ----------
    root
        The study folder.
    arguments
        For Snakemake, besides the Snakefile.
    lock
        The run's lock; it is held for as long as Snakemake lives.
    display
        Shows the run.
    snakefile
        What to run, relative to the study folder.

    Raises
    ------
    EnvironmentUnusableError
        If Snakemake could not read or plan the workflow, or ended with an error that no job had.
    InterruptedRunError
        If it was stopped from outside.
    InputError
        If it does not know an option of the profile or of the command line.
    """
    state_folder = root / layout.STATE
    events_path, log_path = state_folder / "events.jsonl", state_folder / "snakemake.log"
    events_path.unlink(missing_ok=True)
    events, state = Events(events_path), RunState()
    command = [sys.executable, "-m", "snakemake", "--snakefile", snakefile, "--logger", "snakescope", *arguments]
    environment = {**os.environ, "SNAKESCOPE_EVENTS": str(events_path.resolve()), CHECKED: "yes"}
    with log_path.open("w", encoding="utf-8") as log:
        process = subprocess.Popen(
            command, cwd=root, env=environment, stdout=log, stderr=log, pass_fds=[lock.descriptor],
            stdin=subprocess.DEVNULL, preexec_fn=_end_with_parent,
        )  # fmt: skip
        with _passing_signals_to(process) as received:
            code = _wait(process, events, state, display)
    display.close()
    if code != 0 and (received or not state.failures):
        _explain(code, state, log_path, stopped=bool(received))
    return state


def _wait(process: subprocess.Popen[bytes], events: Events, state: RunState, display: Display) -> int:
    while True:
        code = process.poll()
        for event in events.new():
            state.take(event)
        display.show(state)
        if code is not None:
            return code
        time.sleep(POLL_S)


def _end_with_parent() -> None:
    """Let Snakemake end its jobs and itself when we are killed (Linux only; elsewhere the lock protects).

    SIGINT, since a SIGTERM makes Snakemake wait for jobs whose end it may never hear of. A shell that started us in
    the background may have told us to ignore SIGINT, which Snakemake must not inherit.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGINT)


@contextmanager
def _passing_signals_to(process: subprocess.Popen[bytes]) -> Iterator[list[int]]:
    """Ctrl-C reaches Snakemake through the terminal; a SIGTERM to us is passed on. Both are waited for and told."""
    received: list[int] = []

    def terminate(number: int, _: object) -> None:
        received.append(number)
        process.send_signal(signal.SIGINT)

    old_int = signal.signal(signal.SIGINT, lambda number, _: received.append(number))
    old_term = signal.signal(signal.SIGTERM, terminate)
    try:
        yield received
    finally:
        signal.signal(signal.SIGINT, old_int)
        signal.signal(signal.SIGTERM, old_term)


def _explain(code: int, state: RunState, log_path: Path, *, stopped: bool) -> None:
    """Snakemake was stopped, or ended with an error that no job had."""
    killed = code in (-signal.SIGINT, -signal.SIGTERM, -signal.SIGKILL, 130, 143)
    if stopped or killed or (state.planned and not state.messages):
        raise InterruptedRunError(f"the run was stopped after {state.done.total()} jobs; run it again to go on")
    text = log_path.read_text(encoding="utf-8", errors="replace")
    if found := explain(text):
        raise NotUsableError([found])
    lines = text.strip().splitlines()
    if state.planned:
        told = f"Snakemake ended with an error after {state.done.total()} jobs (whole log: {log_path})"
        raise EnvironmentUnusableError(f"{told}:\n    {lines[-1] if lines else state.messages[-1]}")
    if lines and (refused := _REFUSED_OPTION.match(lines[-1])):
        fix = "Options stand in config.yaml of the profile, and after `--` on the command line."
        raise problem("Snakemake's options", refused[1], fix)
    tail = "\n".join(lines[-15:])
    raise EnvironmentUnusableError(f"Snakemake could not run the workflow (whole log: {log_path}):\n{tail}")
