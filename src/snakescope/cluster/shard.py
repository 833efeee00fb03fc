"""The program inside a cluster job: one stage of the pipeline over one shard of the rows.

    python -m snakescope.cluster.shard --plan DIGEST --stage s1 --shard 0001 --pipeline NAME --cores 4 --mem-mb 8000

It starts Snakemake once, in this process, for all that is not done, and then looks at the records. Rows that fail by
themselves are counted. What the system has killed is no failure of its row: it is left for another try.

Exit codes: 0 all is done or has failed by itself, and the done-file says how much; 75 try again; 76 another job is at
work on the same. Knows nothing of Slurm but the id of the job that it runs in.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from snakescope import layout
from snakescope.cluster import lease, processes, staging
from snakescope.cluster.pending import in_order
from snakescope.errors import InputError
from snakescope.record import reason
from snakescope.workflow import Plan

DONE, AGAIN, YIELDED = 0, 75, 76
LISTED = 1000
# What each process of a job is started with, so that those of a killed job can be told.
LEASE_VARIABLE = "SNAKESCOPE_LEASE"
# Seconds from being told to end until what has not ended is killed, and until we end whatever is left.
GRACE_S, LAST_S = 5.0, 12.0
# Exit codes that say: a signal from outside ended it (HUP, INT, KILL, TERM).
_FROM_OUTSIDE = {129, 130, 137, 143}

Pair = tuple[str, str]


@dataclass(frozen=True)
class Task:
    """What one cluster job is told to do; all paths are relative to the study folder, which is the current one."""

    digest: str
    stage: str
    shard: str
    pipeline: str
    cores: int
    mem_mb: int
    gpus: int = 0
    growth: int = 1
    final: int = 0
    patience_s: float = 30.0
    later: Sequence[str] = ()
    extra: Sequence[str] = ()

    @property
    def manifest(self) -> str:
        """The shard's slice of the sheet."""
        return layout.manifest(self.digest, self.shard)

    @property
    def todo(self) -> Path:
        """The pairs of step and unit that are to be made."""
        return Path(layout.todo_file(self.digest, self.stage, self.shard))

    @property
    def done(self) -> Path:
        """What is left when all is done."""
        return Path(layout.done_file(self.digest, self.stage, self.shard))

    @property
    def begun(self) -> Path:
        """Which list of pairs has been begun with."""
        return self.todo.with_suffix(".begun")

    @property
    def lease(self) -> Path:
        """The first lease on this work."""
        return Path(layout.lease_file(self.digest, self.stage, self.shard))


@dataclass(frozen=True)
class Outcome:
    """What became of the pairs.

    Parameters
    ----------
    done, failed, blocked
        Done; failed by themselves; waiting for one that has failed.
    killed, untouched
        Ended by the system; not begun, or cut off without a trace. Another try may do them.
    """

    done: Sequence[Pair] = ()
    failed: Sequence[Pair] = ()
    blocked: Sequence[Pair] = ()
    killed: Sequence[Pair] = ()
    untouched: Sequence[Pair] = ()

    @property
    def is_final(self) -> bool:
        """Whether another try would change nothing."""
        return not (self.killed or self.untouched)


class Stop:
    """Ends everything that this process has started, once, when a signal says so."""

    def __init__(self) -> None:
        self.asked = False
        self._ended = threading.Event()

    def listen(self) -> None:
        """Take the signals that ask for an end."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self)

    def __call__(self, *_: object) -> None:
        """End; what a signal calls."""
        if not self.asked:
            self.end_all()
            raise KeyboardInterrupt

    def end_all(self) -> None:
        """End all children, gently at first; whatever happens, this process is gone soon."""
        self.asked = True
        threading.Thread(target=self._end_all, daemon=True).start()

    def wait(self) -> None:
        """Wait until all that was started has ended, or been killed."""
        if self.asked:
            self._ended.wait(LAST_S)

    def _end_all(self) -> None:
        # not SIGINT, which what was started in the background of a shell ignores; what a job's shell starts when it has
        # been told is its tidying up, but what is there after a while has not heard
        me, told, begun, again = os.getpid(), set[int](), time.monotonic(), False
        while (left := set(processes.children(me))) and (passed := time.monotonic() - begun) < GRACE_S:
            for child in left - told:
                processes.end([child, *processes.descendants(child)], signal.SIGTERM)
            told |= left
            if passed > GRACE_S / 3 and not again:
                again = True
                processes.end(set(processes.descendants(me)) - left, signal.SIGTERM)
            time.sleep(0.1)
        processes.end(processes.descendants(me), signal.SIGKILL)
        self._ended.set()
        time.sleep(LAST_S - GRACE_S)
        os._exit(AGAIN)


# ---------------------------------------------------------------------- what is there


class Shelf:
    """Which records and failures there are, by one look at each unit's folder."""

    def __init__(self) -> None:
        self._names: dict[str, set[str]] = {}

    def has_record(self, step: str, unit: str) -> bool:
        """Whether a job is done."""
        return self._has(layout.record(unit, step))

    def failure(self, step: str, unit: str) -> int | None:
        """The exit code of a job that failed; None when there is no word of a failure."""
        path = layout.failure(unit, step)
        if not self._has(path):
            return None
        try:
            return int(json.loads(Path(path).read_text(encoding="utf-8"))["exit_code"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def cut_off(self, step: str, unit: str) -> list[str]:
        """Records and facts of failures that were being written when their job was killed."""
        found = []
        for path in (layout.record(unit, step), layout.failure(unit, step)):
            folder, _, name = path.rpartition("/")
            found += [f"{folder}/{other}" for other in self._in(folder) if other.startswith(f"{name}.")]
        return found

    def _has(self, path: str) -> bool:
        folder, _, name = path.rpartition("/")
        return name in self._in(folder)

    def _in(self, folder: str) -> set[str]:
        if folder not in self._names:
            try:
                self._names[folder] = set(os.listdir(folder))  # noqa: PTH208 - names only
            except OSError:
                self._names[folder] = set()
        return self._names[folder]


def read_todo(path: Path) -> dict[Pair, str]:
    """The pairs of step and unit that a job is to make, with ``new`` or ``stale``."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return {(step, unit): state for step, unit, state in (line.split("\t") for line in lines if line)}


def upstream(plan: Plan, step: str, unit: str) -> Iterator[Pair]:
    """The pairs whose outputs a job takes."""
    wires = plan.steps[step]["inputs"]
    for port in [port for port, wire in wires.items() if wire["from"] == "step"]:
        for path in plan.inputs(step, port, unit):
            yield _maker(path)


# ---------------------------------------------------------------------- the work


def run(task: Task, stop: Stop) -> int:
    """Do what a cluster job is to do, and return its exit code."""
    held = lease.take(task.lease, patience_s=task.patience_s)
    if isinstance(held, lease.Holder):
        print(f"{held} is at work on {task.stage}/{task.shard}; this job yields", flush=True)
        return YIELDED
    orphans = processes.with_variable(LEASE_VARIABLE, [other.token for other in held.before])
    processes.end(orphans, signal.SIGKILL)
    os.environ[LEASE_VARIABLE] = held.holder.token
    try:
        with _beating(held):
            return DONE if task.done.exists() else _work(task, stop)
    finally:
        held.release()


@contextlib.contextmanager
def _beating(held: lease.Lease) -> Iterator[None]:
    over = threading.Event()

    def beat() -> None:
        while not over.wait(lease.BEAT_S):
            if not held.beat():
                print("another job took over; this one ends", flush=True)
                os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()


def _work(task: Task, stop: Stop) -> int:
    todo = read_todo(task.todo)
    _begin(task, todo)
    plan = Plan.read(task.pipeline, task.manifest)
    targets = _targets(plan, todo)
    if targets:
        _run_inner(task, plan, targets, stop)
    if stop.asked:
        stop.wait()
        _forget_ended(targets)
        return AGAIN
    outcome = assess(plan, todo, Shelf())
    if task.final and not outcome.is_final:
        outcome = _give_up(plan, todo, outcome)
    told = _tell(task, outcome)
    if told == DONE:
        staging.release(Path(layout.staging_list(task.digest, task.stage, task.shard)))
    return told


def _begin(task: Task, todo: dict[Pair, str]) -> None:
    """Remove what earlier runs have left of the pairs; once for a list of pairs, so that no try undoes another."""
    facts = task.todo.stat()
    mark = f"{facts.st_mtime_ns} {facts.st_size}\n"
    shelf = Shelf()
    if task.begun.exists() and task.begun.read_text(encoding="utf-8") == mark:
        _sweep((pair for pair in todo if shelf.has_record(*pair)), shelf)
        return
    for (step, unit), state in todo.items():
        if state == "stale" and shelf.has_record(step, unit):
            Path(layout.record(unit, step)).unlink(missing_ok=True)
        if shelf.failure(step, unit) is not None:
            Path(layout.failure(unit, step)).unlink(missing_ok=True)
    task.begun.write_text(mark, encoding="utf-8")


def _sweep(done: Iterable[Pair], shelf: Shelf) -> None:
    """Remove what is left of jobs that were killed between their record and their end, or that lost to another.

    Of a job that is done nobody writes anything that counts. What a job without a record has left is removed by its
    next run, once no other can take it for its own: one on a node of which nothing is heard may still be writing it.
    """
    for step, unit in done:
        folder = Path(layout.result(unit, step, ""))
        for stage in folder.glob(".stage-*"):
            shutil.rmtree(stage, ignore_errors=True)
        (folder / ".owner").unlink(missing_ok=True)
        for path in [layout.failure(unit, step), *shelf.cut_off(step, unit)]:
            Path(path).unlink(missing_ok=True)


def _targets(plan: Plan, todo: dict[Pair, str]) -> list[Pair]:
    """The pairs that can be made now, upstream first. What cannot be read is told as a failure of its row."""
    shelf = Shelf()
    possible: dict[Pair, None] = {}
    for step, unit in _ordered(plan, todo):
        if shelf.has_record(step, unit) or _own_failure(shelf, step, unit):
            continue
        needed = [pair for pair in upstream(plan, step, unit) if pair not in possible]
        if not all(shelf.has_record(*pair) for pair in needed):
            continue
        missing = _missing_source(plan, step, unit)
        if missing:
            fail(plan, step, unit, missing)
        else:
            possible[step, unit] = None
    return list(possible)


def _ordered(plan: Plan, todo: Iterable[Pair]) -> list[Pair]:
    rank = {step: index for index, step in enumerate(in_order(plan))}
    return sorted(todo, key=lambda pair: rank[pair[0]])


def _own_failure(shelf: Shelf, step: str, unit: str) -> bool:
    code = shelf.failure(step, unit)
    return code is not None and code not in _FROM_OUTSIDE and code >= 0


def _missing_source(plan: Plan, step: str, unit: str) -> str | None:
    """What is wrong with the files that a job takes from outside; Snakemake would start no job at all."""
    for port, wire in plan.steps[step]["inputs"].items():
        for path in plan.declared(step, port, unit) if wire["from"] != "step" else ():
            if not os.path.exists(path):  # noqa: PTH110 - many
                if not path.startswith(f"{layout.STAGED}/"):
                    return f"{path}: there is no such file"
                log = layout.log(Path(path).name, layout.STAGE_RULE)
                return f"its image was not brought here: {reason(Path(log)).removeprefix('error: ')} (log: {log})"
    return None


def fail(plan: Plan, step: str, unit: str, reason: str) -> None:
    """Leave the facts of a failure without running anything, as a job leaves them."""
    log, facts = layout.log(unit, step), layout.step_facts_file(plan.compiled["pipeline"], step)
    Path(log).parent.mkdir(parents=True, exist_ok=True)
    Path(log).write_text(f"error: {reason}\n", encoding="utf-8")
    begin = shlex.join(["job_begin", step, unit, layout.record(unit, step), log, facts])
    samples = shlex.join(["job_samples", *plan.samples(step, unit)])
    subprocess.run(["sh", "-c", f". {layout.JOB_SH}\n{begin}\n{samples}\nexit 1"], check=False)


def _run_inner(task: Task, plan: Plan, targets: Sequence[Pair], stop: Stop) -> None:
    from snakescope.cluster import inner  # Snakemake is not started where all is done

    with tempfile.TemporaryDirectory(prefix="snakescope-", ignore_cleanup_errors=True) as books:
        work = inner.Work(
            targets=[*(layout.record(unit, step) for step, unit in targets), *_kept_for_later(task, plan, targets)],
            sheet=task.manifest,
            cores=task.cores,
            resources={"mem_mb": task.mem_mb} | ({"gpu": task.gpus} if task.gpus else {}),
            attempt=task.growth,
            books=Path(books),
            extra=task.extra,
        )
        inner.run_rules(work, in_order(plan), stop)
        if not stop.asked:
            units = {unit for step in plan.steps for unit in plan.units(step)}
            inner.forget_incomplete(lambda path: _is_whole(path, units))


def _kept_for_later(task: Task, plan: Plan, targets: Sequence[Pair]) -> list[str]:
    """Temporary files that are made or read here, and that a later job reads: Snakemake keeps what it is asked for."""
    temporary = {step for step in plan.steps if _makes_temporary(plan, step)}
    made = {pair for pair in targets if pair[0] in temporary}
    read = {pair for target in targets for pair in upstream(plan, *target) if pair[0] in temporary}
    kept: dict[str, None] = {}
    for step, unit in _later(task, plan) if made or read else ():
        for port, wire in plan.steps[step]["inputs"].items():
            if wire.get("step") in temporary:
                paths = plan.inputs(step, port, unit)
                kept |= dict.fromkeys(path for path in paths if _maker(path) in made | read)
    return list(kept)


def _makes_temporary(plan: Plan, step: str) -> bool:
    return "temp(" in Path(layout.rule_file(plan.compiled["pipeline"], step)).read_text(encoding="utf-8")


def _later(task: Task, plan: Plan) -> Iterator[Pair]:
    """The pairs over rows of this shard that jobs after this one are to make."""
    for key in task.later:
        stage, _, shard = key.partition("/")
        for step, unit in read_todo(Path(layout.todo_file(task.digest, stage, shard))):
            if unit in plan.units(step):
                yield step, unit


def _maker(path: str) -> Pair:
    """The pair that makes a result."""
    _, unit, step, _ = path.split("/", 3)
    return step, unit


def _is_whole(path: str, units: set[str]) -> bool:
    """Whether a result or record of this shard belongs to a job that is done."""
    parts = Path(path).parts
    if len(parts) < 3 or parts[1] not in units:
        return False
    return Path(layout.record(parts[1], Path(parts[2]).stem if parts[0] == layout.RECORDS else parts[2])).exists()


def _forget_ended(targets: Sequence[Pair]) -> None:
    """Ended with us is not failed."""
    shelf = Shelf()
    for step, unit in targets:
        if shelf.failure(step, unit) in _FROM_OUTSIDE:
            Path(layout.failure(unit, step)).unlink(missing_ok=True)


# ---------------------------------------------------------------------- what came of it


def assess(plan: Plan, todo: Iterable[Pair], shelf: Shelf) -> Outcome:
    """Tell by records and failures what became of each pair.

    A pair without a trace is blocked when one that it needs has failed; else the allocation ended before its time.
    """
    found: dict[str, list[Pair]] = {name: [] for name in ("done", "failed", "blocked", "killed", "untouched")}
    state: dict[Pair, str] = {}
    for pair in _ordered(plan, todo):
        state[pair] = _state(plan, pair, shelf, state)
        found[state[pair]].append(pair)
    return Outcome(**found)


def _state(plan: Plan, pair: Pair, shelf: Shelf, known: Mapping[Pair, str]) -> str:
    if shelf.has_record(*pair):
        return "done"
    if shelf.failure(*pair) is not None:
        return "failed" if _own_failure(shelf, *pair) else "killed"
    needed = {known.get(need) or ("done" if shelf.has_record(*need) else "failed") for need in upstream(plan, *pair)}
    if needed & {"killed", "untouched"}:
        return "untouched"
    return "blocked" if needed & {"failed", "blocked"} else "untouched"


def _give_up(plan: Plan, todo: Iterable[Pair], outcome: Outcome) -> Outcome:
    """There is no further try: what the system has killed each time has failed, and what waits for it is blocked."""
    shelf = Shelf()
    for pair in outcome.untouched:
        if all(shelf.has_record(*need) for need in upstream(plan, *pair)):
            fail(plan, *pair, "the job was ended from outside, again and again, and left no trace")
    again = assess(plan, todo, Shelf())
    return Outcome(again.done, [*again.failed, *again.killed], [*again.blocked, *again.untouched])


def _tell(task: Task, outcome: Outcome) -> int:
    counts = f"{len(outcome.done)} done, {len(outcome.failed)} failed, {len(outcome.blocked)} blocked"
    if not outcome.is_final:
        left = f"{len(outcome.killed)} killed by the system, {len(outcome.untouched)} not begun or cut off"
        print(f"{task.stage}/{task.shard}: {counts}; {left}: to be tried again", flush=True)
        return AGAIN
    told = {
        "done": len(outcome.done),
        "failed": [list(pair) for pair in outcome.failed[:LISTED]],
        "failed_count": len(outcome.failed),
        "blocked": len(outcome.blocked),
        "job_id": os.environ.get("SLURM_JOB_ID") or None,
    }
    temporary = task.done.with_name(f".{task.done.name}.{os.getpid()}")
    temporary.write_text(json.dumps(told, ensure_ascii=False) + "\n", encoding="utf-8")
    temporary.replace(task.done)
    print(f"{task.stage}/{task.shard}: {counts}", flush=True)
    return DONE


# ---------------------------------------------------------------------- the program


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; see the module."""
    task = _task(argv)
    stop = Stop()
    stop.listen()
    try:
        return run(task, stop)
    except KeyboardInterrupt:
        stop.wait()
        return AGAIN
    except InputError as error:
        print(error, file=sys.stderr, flush=True)
        return AGAIN


def _task(argv: Sequence[str] | None) -> Task:
    parser = argparse.ArgumentParser(prog="python -m snakescope.cluster.shard", description="One cluster job.")
    parser.add_argument("--plan", dest="digest", required=True, metavar="DIGEST", help="digest of the plan")
    parser.add_argument("--stage", required=True)
    parser.add_argument("--shard", required=True)
    parser.add_argument("--pipeline", required=True, help="name of the pipeline")
    parser.add_argument("--cores", type=int, required=True)
    parser.add_argument("--mem-mb", type=int, required=True, help="memory that all tools may use together")
    parser.add_argument("--gpus", type=int, default=0)
    parser.add_argument("--growth", type=int, default=1, help="how many times the planned memory that is")
    parser.add_argument("--final", type=int, default=0, help="1 when there will be no further try")
    parser.add_argument("--patience-s", type=float, default=30.0, help="how long to wait for a job that is ending")
    parser.add_argument("--later", nargs="*", default=(), metavar="STAGE/SHARD", help="jobs that run after this one")
    parser.add_argument("--extra", nargs=argparse.REMAINDER, default=(), help="more arguments for Snakemake")
    return Task(**vars(parser.parse_args(argv)))


if __name__ == "__main__":
    sys.exit(main())
