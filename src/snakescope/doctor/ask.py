"""Asking other programs without being held up by them: each has a little time and a little room for its answer."""

from __future__ import annotations

import os
import selectors
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from snakescope.environments.apptainer import LEAVE_NOTHING

LIMIT_S = 5.0
MOST_BYTES = 1 << 18
T = TypeVar("T")


@dataclass(frozen=True)
class Answer:
    """What a program printed, and why that is not to be relied on; None when it is."""

    said: str
    fault: str | None = None

    @property
    def first_line(self) -> str:
        """The first line that is not empty."""
        return next((line.strip() for line in self.said.splitlines() if line.strip()), "")


def ask(*words: str, limit_s: float = LIMIT_S) -> Answer:
    """Run a program and return what it printed; one that hangs is ended with all that it has started."""
    environ = {**os.environ, **LEAVE_NOTHING, "LC_ALL": "C"}
    if shutil.which(words[0]) is None:
        return Answer("", "is not on the PATH")
    try:
        process = subprocess.Popen(
            words, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        return Answer("", f"cannot be started ({error.strerror})")
    until = time.monotonic() + limit_s
    ended = False
    try:
        said, errors, fault = _read(process, until, limit_s)
        if fault is None:
            process.wait(max(0.1, until - time.monotonic()))
            ended = True
    except subprocess.TimeoutExpired:
        fault = f"gave no answer within {limit_s:g} s"
    finally:
        if not ended:
            with suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
            with suppress(subprocess.TimeoutExpired):
                process.wait(1)
        for pipe in (process.stdout, process.stderr):
            if pipe:
                pipe.close()
    if fault is None and process.returncode:
        why = (errors.strip() or said.strip()).splitlines()
        fault = f"ended with {process.returncode}" + (f": {why[-1].strip()}" if why else "")
    return Answer(said, fault)


def _read(process: subprocess.Popen[bytes], until: float, limit_s: float) -> tuple[str, str, str | None]:
    """What is printed until both pipes are closed, and why that took too long or was too much."""
    texts = {process.stdout: b"", process.stderr: b""}
    fault = None
    with selectors.DefaultSelector() as waiting:
        for pipe in texts:
            waiting.register(pipe, selectors.EVENT_READ)  # type: ignore[arg-type]
        while waiting.get_map() and fault is None:
            for key, _ in waiting.select(max(0.0, until - time.monotonic())):
                part = os.read(key.fd, 1 << 16)
                texts[key.fileobj] += part  # type: ignore[index]
                if not part:
                    waiting.unregister(key.fileobj)
            if waiting.get_map() and time.monotonic() >= until:
                fault = f"gave no answer within {limit_s:g} s"
            elif max(map(len, texts.values())) > MOST_BYTES:
                fault = "prints without end"
    said, errors = (text.decode("utf-8", errors="replace") for text in texts.values())
    return said, errors, fault


class NoAnswerError(Exception):
    """Something took too long."""


def within(limit_s: float, function: Callable[[], T]) -> T:
    """Call a function that may hang (a disk that is away, a server); one that does is left behind.

    Raises
    ------
    NoAnswerError
        If it took too long.
    """
    came: list[Any] = []

    def call() -> None:
        try:
            came.append((function(), None))
        except BaseException as error:  # it is raised below, in the thread that asked
            came.append((None, error))

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(limit_s)
    if not came:
        raise NoAnswerError(f"gave no answer within {limit_s:g} s")
    result, error = came[0]
    if error is not None:
        raise error
    return result  # type: ignore[no-any-return]
