"""Following a run: the events that Snakemake tells, and how a person sees them."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn


@dataclass
class RunState:
    """What is known of a run so far, from its events.

    Parameters
    ----------
    planned, done, failed
        Jobs by step: to run, finished, failed (for good; an attempt that is tried again counts once).
    failures
        (unit, step) of each failed job, in the order in which they failed.
    messages
        Errors that belong to no job: the workflow itself could not be read or planned.
    said
        What a person should know while the run lasts, such as that the cluster does not answer.
    """

    planned: Counter[str] = field(default_factory=Counter)
    done: Counter[str] = field(default_factory=Counter)
    failures: dict[tuple[str, str], None] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    _jobs: dict[Any, tuple[str, str]] = field(default_factory=dict)

    def take(self, event: dict[str, Any]) -> None:
        """Take one event into account."""
        kind, job = event.get("event"), self._jobs.get(event.get("job"))
        if kind == "run_info":
            self.planned = Counter({rule: n for rule, n in event["rules"].items() if rule not in ("all", "total")})
        elif kind == "job_info" and event["unit"] is not None:
            self._jobs[event["job"]] = (event["unit"], event["rule"])
            self.failures.pop(self._jobs[event["job"]], None)  # it is tried again
        elif kind == "job_finished" and job:
            self.done[job[1]] += 1
            self.failures.pop(job, None)
        elif kind == "job_error" and job:
            self.failures[job] = None
        elif kind == "error":
            self.messages.append(event["message"])
        elif kind == "said":
            self.said.append(event["message"])

    @property
    def failed(self) -> Counter[str]:
        """Failed jobs by step."""
        return Counter(step for _, step in self.failures)


class Events:
    """Reads events as they are written to a file. A line that is none, as after a full disk, is passed over."""

    def __init__(self, path: Path) -> None:
        self.path, self._offset, self._rest = path, 0, b""

    def new(self) -> Iterable[dict[str, Any]]:
        """The events written since the last call; a line without its end waits for the next."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self._offset)
            data = self._rest + file.read()
            self._offset = file.tell()
        *lines, self._rest = data.split(b"\n")
        for line in lines:
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if isinstance(event, dict):
                yield event


class Display(Protocol):
    """Shows a run to somebody."""

    def show(self, state: RunState) -> None:
        """Show the state as it is now."""

    def close(self) -> None:
        """Leave the screen tidy."""


def _bars() -> Progress:
    return Progress(
        TextColumn("{task.description:<14}"),
        BarColumn(bar_width=40),
        MofNCompleteColumn(),
        TextColumn("{task.fields[failed]}", style="red"),
        TimeRemainingColumn(),
        console=Console(file=sys.stderr),
    )


class Bars:
    """One bar a step, on a terminal."""

    def __init__(self, steps: Iterable[str]) -> None:
        self.steps = list(steps)
        self._tasks: dict[str, TaskID] = {}
        self._told = 0
        self._progress = _bars()
        self._progress.start()

    def show(self, state: RunState) -> None:
        """Move the bars; what is said stands above them."""
        for text in state.said[self._told :]:
            self._progress.console.print(text, markup=False, highlight=False, soft_wrap=True)
        self._told = len(state.said)
        for step in self.steps:
            if state.planned[step] and step not in self._tasks:
                self._tasks[step] = self._progress.add_task(step, total=state.planned[step], failed="")
        for step, task in self._tasks.items():
            failed = state.failed[step]
            text = f"{failed} failed" if failed else ""
            self._progress.update(task, completed=state.done[step], total=state.planned[step], failed=text)

    def close(self) -> None:
        """Stop drawing."""
        self._progress.stop()


class Lines:
    """A line now and then, for logs: at most one in `every_s` seconds, and at once what is said."""

    def __init__(self, steps: Iterable[str], every_s: float = 15) -> None:
        self.steps, self.every_s = list(steps), every_s
        self._last, self._text, self._told = time.monotonic(), "", 0

    def show(self, state: RunState) -> None:
        """Print when it is time and something has changed."""
        for text in state.said[self._told :]:
            print(text, file=sys.stderr, flush=True)
        self._told = len(state.said)
        if time.monotonic() - self._last >= self.every_s:
            self._print(state)

    def _print(self, state: RunState) -> None:
        parts = [f"{step} {state.done[step]}/{state.planned[step]}" for step in self.steps if state.planned[step]]
        text = ", ".join(parts) + (f", {len(state.failures)} failed" if state.failures else "")
        if parts and text != self._text:
            print(text, file=sys.stderr, flush=True)
            self._last, self._text = time.monotonic(), text

    def close(self) -> None:
        """Nothing to tidy."""


class Silent:
    """Shows nothing."""

    def show(self, state: RunState) -> None:
        """Show nothing."""

    def close(self) -> None:
        """Nothing to tidy."""


@contextmanager
def counting(*, quiet: bool) -> Iterator[Callable[[str, int, int], None] | None]:
    """Show passes over many things: a function to tell the name of the pass, what is done and how much there is."""
    if quiet:
        yield None
    elif sys.stderr.isatty():
        with _bars() as bars:
            tasks: dict[str, TaskID] = {}

            def show(name: str, done: int, total: int) -> None:
                if name not in tasks:
                    tasks[name] = bars.add_task(name, total=total, failed="")
                bars.update(tasks[name], completed=done, total=total)

            yield show
    else:
        yield _Said().say


class _Said:
    """A line on a pass now and then, for logs."""

    def __init__(self, every_s: float = 15) -> None:
        self.every_s, self._last = every_s, time.monotonic()

    def say(self, name: str, done: int, total: int) -> None:
        if time.monotonic() - self._last >= self.every_s:
            print(f"{name}: {done}/{total}", file=sys.stderr, flush=True)
            self._last = time.monotonic()


def display_for(steps: Iterable[str], *, quiet: bool) -> Display:
    """Bars on a terminal, lines in a log, nothing when asked to be quiet."""
    if quiet:
        return Silent()
    return Bars(steps) if sys.stderr.isatty() else Lines(steps)
