"""The program inside a cluster job: one stage of the pipeline over one shard of the rows.

    python -m snakescope.cluster.shard --plan DIGEST --stage s1 --shard 0001 --pipeline NAME --cores 4 --mem-mb 8000

It starts Snakemake once, in this process, for all that is not done, and then looks at the records. Rows that fail by
themselves are counted. What the system has killed is no failure of its row: it is left for another try.

Exit codes: 0 all is done or has failed by itself, and the done-file says how much; 75 try again; 76 another job is at
work on the same. Knows nothing of Slurm but the id of the job that it runs in.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from snakescope import layout
from snakescope.cluster import lease, processes, staging
from snakescope.cluster.outcome import FROM_OUTSIDE, Outcome, Shelf, assess, failed_by_itself, maker, ordered, upstream
from snakescope.cluster.pending import in_order
from snakescope.cluster.stop import Stop
from snakescope.cluster.task import AGAIN, DONE, YIELDED, Pair, Task, read_task, read_todo
from snakescope.errors import InputError
from snakescope.record import reason
from snakescope.workflow import Plan

LISTED = 1000
# What each process of a job is started with, so that those of a killed job can be told.
LEASE_VARIABLE = "SNAKESCOPE_LEASE"


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
    if lacking := _lacks(task.extra):
        print(lacking, flush=True)
    elif targets:
        _run_inner(task, plan, targets, stop)
    if stop.asked:
        stop.wait()
        _forget_ended(targets)
        return AGAIN
    outcome = assess(plan, todo, Shelf())
    if task.final and not outcome.is_final:
        outcome = _give_up(task, plan, todo, outcome)
    told = _tell(task, outcome)
    if told == DONE:
        staging.release(Path(layout.staging_list(task.digest, task.stage, task.shard)))
    return told


def _lacks(extra: Sequence[str]) -> str | None:
    """What this node lacks that the one that sent the job has; Snakemake would fail in each row, in its own words."""
    if "apptainer" in extra and not (shutil.which("apptainer") or shutil.which("singularity")):
        return f"node {platform.node()} has no apptainer on the PATH of its jobs"
    return None


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
    for step, unit in ordered(plan, todo):
        if shelf.has_record(step, unit) or failed_by_itself(shelf, step, unit):
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
                kept |= dict.fromkeys(path for path in paths if maker(path) in made | read)
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
        if shelf.failure(step, unit) in FROM_OUTSIDE:
            Path(layout.failure(unit, step)).unlink(missing_ok=True)


# ---------------------------------------------------------------------- what came of it


def _give_up(task: Task, plan: Plan, todo: Iterable[Pair], outcome: Outcome) -> Outcome:
    """There is no further try: what the system has killed each time has failed, and what waits for it is blocked."""
    shelf = Shelf()
    why = _lacks(task.extra) or f"ended from outside, or not begun, at each try; see {task.log}"
    for pair in outcome.untouched:
        if all(shelf.has_record(*need) for need in upstream(plan, *pair)):
            fail(plan, *pair, why)
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
    task = read_task(argv)
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


if __name__ == "__main__":
    sys.exit(main())
