"""How jobs are followed, what a failure means for the next attempt, and what is taken over. Slurm is played."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from snakemake_executor_plugin_snakescope import task, watch
from snakemake_executor_plugin_snakescope.executor import Executor, Submission
from snakemake_executor_plugin_snakescope.watch import Watch, Watched
from snakescope import layout
from snakescope.cluster import accounting, slurm
from snakescope.cluster.accounting import JobFacts
from snakescope.cluster.slurm import Label, QueuedJob, SlurmAwayError, SlurmRefusedError
from snakescope.record import reason, slurm_facts
from snakescope.workflow import growth


@dataclass
class Played:
    """A Slurm whose answers are set; an exception is raised."""

    queue: dict[str, QueuedJob] | Exception = field(default_factory=dict)
    ended: dict[str, JobFacts] | Exception = field(default_factory=dict)
    remembered: dict[str, JobFacts] | Exception = field(default_factory=dict)
    known: dict[str, QueuedJob] | Exception = field(default_factory=dict)
    remembers_s: float = 300.0
    asked: list[list[str]] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    now: float = 0.0


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Played:
    site = Played()

    def told(answer: Any) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    def ended(ids: Sequence[str]) -> Any:
        site.asked.append(list(ids))
        return told(site.ended)

    monkeypatch.setattr(slurm, "queue", lambda name, folder: told(site.queue))
    monkeypatch.setattr(slurm, "known", lambda name, folder: told(site.known))
    monkeypatch.setattr(slurm, "remembers_s", lambda: site.remembers_s)
    monkeypatch.setattr(slurm, "cancel", lambda ids: site.cancelled.extend(ids))
    monkeypatch.setattr(accounting, "ended", ended)
    monkeypatch.setattr(accounting, "remembered", lambda name, ids: told(site.remembered))
    return site


@pytest.fixture
def words() -> list[str]:
    return []


@pytest.fixture
def seen(tmp_path: Path, site: Played, words: list[str]) -> Watch:
    return Watch("snk-1", tmp_path, words.append, clock=lambda: site.now)


def queued(job: str, key: str, state: str = "RUNNING", digest: str = "d", reason: str = "None") -> QueuedJob:
    return QueuedJob(job, state, reason, Label("study", key, digest, "t"))


def watched(job: str = "7", key: str = "a/r1") -> Watched:
    return Watched(job, key, 2, None)


def test_one_question_for_all_and_one_for_those_that_ended(seen: Watch, site: Played, tmp_path: Path) -> None:
    jobs = [watched(str(number), f"a/r{number}") for number in range(10)]
    site.queue = {str(number): queued(str(number), f"a/r{number}") for number in range(7)}
    site.ended = {"7": JobFacts("7", kind="done"), "8": JobFacts("8", kind="failed")}
    found = {job.id: facts for job, facts in seen.round(jobs)}
    assert {job: facts.kind for job, facts in found.items()} == {"7": "done", "8": "failed"}
    assert site.asked == [["7", "8", "9"]]
    assert slurm_facts(tmp_path)["8"]["key"] == "a/r8"
    assert slurm_facts(tmp_path)["8"]["attempt"] == 2
    assert seen.calls == 2


def test_a_controller_that_is_away_ends_no_job(seen: Watch, site: Played, words: list[str]) -> None:
    job = watched()
    for error in (SlurmAwayError("connect failure"), SlurmRefusedError("strange")):
        site.queue = error
        for _ in range(50):
            site.now += 100
            assert seen.round([job]) == []
    site.queue = {"7": queued("7", "a/r1")}
    assert seen.round([job]) == []
    assert [text.split(" (")[0] for text in words] == ["Slurm does not answer", "Slurm answers again after 9900 s."]


def test_accounting_that_is_behind_is_waited_for(seen: Watch, site: Played) -> None:
    job = watched()
    assert seen.round([job]) == []
    site.now = watch.BEHIND_S / 2
    site.remembered = {"7": JobFacts("7", kind="failed")}
    assert seen.round([job]) == []
    site.now = watch.BEHIND_S
    assert [facts.kind for _, facts in seen.round([job])] == ["failed"]


def test_without_accounting_the_controller_is_asked_at_once(seen: Watch, site: Played, words: list[str]) -> None:
    site.ended, site.remembered = SlurmRefusedError("accounting storage is disabled"), {"7": JobFacts("7", kind="done")}
    assert [facts.kind for _, facts in seen.round([watched()])] == ["done"]
    assert seen.round([watched("8")]) == []
    assert site.asked == [["7"]]
    assert "There is no accounting here" in words[0]


@pytest.mark.parametrize(
    ("log", "kind"), [("snakescope: exit 0\n", "done"), ("snakescope: exit 4\n", "failed"), ("", "node")]
)
def test_of_a_job_that_nobody_knows_its_own_exit_code_decides(
    seen: Watch, site: Played, tmp_path: Path, log: str, kind: str
) -> None:
    path = accounting.log_of(tmp_path, "a/r1", "7")
    path.parent.mkdir(parents=True)
    path.write_text(log)
    job = watched()
    assert seen.round([job]) == []
    site.now = watch.PATIENCE_S
    [(_, facts)] = seen.round([job])
    assert (facts.kind, facts.state, facts.max_rss_mb) == (kind, None, None)


def rounds_until_lost(seen: Watch, site: Played, job: Watched) -> float:
    """Seconds until a job that has left the queue is given up; asked every five."""
    seen.round([job])
    while not (ended := seen.round([job])):
        site.now += 5
        assert site.now < 1000
    assert [facts.kind for _, facts in ended] == ["node"]
    return site.now


def test_a_job_that_the_controller_forgot_before_it_began_is_given_up_early(seen: Watch, site: Played) -> None:
    assert rounds_until_lost(seen, site, replace(watched(), seen=0.0)) == watch.FORGOTTEN_S + 5
    assert slurm_facts(seen.folder) == {}  # another job may have its id now


def test_a_job_that_the_controller_denies_is_not_given_up_early_where_it_may_have_been(
    seen: Watch, site: Played, tmp_path: Path
) -> None:
    begun = accounting.log_of(tmp_path, "a/r1", "8")
    begun.parent.mkdir(parents=True)
    begun.touch()
    assert rounds_until_lost(seen, site, Watched("8", "a/r1", 1, None, seen=0.0)) == watch.PATIENCE_S
    for changes in (
        {"known": {"7": queued("7", "a/r1", "FAILED")}},
        {"known": SlurmAwayError("?")},
        {"remembers_s": 30},
    ):
        other = Played(**{"remembers_s": 300.0, **changes})  # type: ignore[arg-type]
        site.now, site.known, site.remembers_s = 0.0, other.known, other.remembers_s
        fresh = Watch("snk-1", tmp_path, seen.say, clock=lambda: site.now)
        assert rounds_until_lost(fresh, site, replace(watched(), seen=0.0)) == watch.PATIENCE_S


def test_an_id_that_was_given_again_is_another_job(seen: Watch, site: Played) -> None:
    site.queue = site.known = {"7": queued("7", "b/r9")}
    assert rounds_until_lost(seen, site, replace(watched(), seen=0.0)) == watch.FORGOTTEN_S + 5


def test_a_kill_for_memory_is_known_from_the_log_alone(seen: Watch, site: Played, tmp_path: Path) -> None:
    path = accounting.log_of(tmp_path, "a/r1", "7")
    path.parent.mkdir(parents=True)
    path.write_text("slurmstepd: error: Detected 1 oom_kill event in StepId=7.batch\n")
    site.ended = {"7": JobFacts("7", state="FAILED", kind="failed", exit_code=137)}
    assert [facts.kind for _, facts in seen.round([watched()])] == ["oom"]


def test_a_job_that_yielded_is_followed_in_the_one_that_does_the_work(seen: Watch, site: Played) -> None:
    site.queue = {"9": queued("9", "a/r1")}
    site.ended = {"7": JobFacts("7", kind="failed", exit_code=76)}
    job = watched()
    assert seen.round([job]) == []
    assert job.id == "9"
    site.queue, site.ended = {}, {"9": JobFacts("9", kind="done")}
    assert [(one.id, facts.kind) for one, facts in seen.round([job])] == [("9", "done")]


def test_jobs_that_cannot_start_are_told_once_with_a_line_for_each_reason(
    seen: Watch, site: Played, words: list[str]
) -> None:
    reasons = ("BadConstraints", "AssocMaxWallDurationPerJobLimit", "Priority", "AssocMaxWallDurationPerJobLimit")
    waits = {str(n): queued(str(n), f"a/r{n}", "PENDING", reason=reason) for n, reason in enumerate(reasons)}
    site.queue = {**waits, "4": queued("4", "a/r4", "PENDING", reason="ReqNodeNotAvail, UnavailableNodes:n[1-3]")}
    for _ in range(2):
        seen.round([watched(job, waiting.label.key) for job, waiting in site.queue.items()])
    assert words == [
        "Slurm job 0 (a/r0) waits and will not start without help: BadConstraints",
        "Slurm job 1 (a/r1) and 1 more wait and will not start without help: AssocMaxWallDurationPerJobLimit",
    ]


def test_questions_become_rarer_while_nothing_happens(seen: Watch, site: Played) -> None:
    assert seen.pause_s(10) == 10
    site.now = 400
    assert seen.pause_s(10) == 20
    site.now = 1e6
    assert seen.pause_s(10) == 60
    seen.changed()
    assert seen.pause_s(10) == 10


@dataclass
class Job:
    """As much of Snakemake's job as is looked at."""

    log: list[str]
    output: list[str] = field(default_factory=lambda: ["results/r1/a/x"])
    attempt: int = 1
    restart_times: int = 2
    resources: dict[str, Any] = field(default_factory=lambda: {"mem_mb": 100, "runtime": 5})


def grown(path: Path, attempt: int) -> tuple[int, int, int]:
    memory, time, disk = (growth(path, name, attempt) for name in ("mem_mb", "runtime_min", "disk_mb"))
    return memory, time, disk


def test_the_next_attempt_gets_more_of_what_was_missing(tmp_path: Path) -> None:
    job = Job([str(tmp_path / "logs/r1/a.log")])
    failure = task.Failure.of(job)
    assert failure is not None
    assert failure.path == tmp_path / layout.slurm_failure("r1", "a")
    assert grown(failure.path, 3) == (3, 3, 3)  # another executor leaves no such file
    for kind, times in (
        ("oom", (2, 1, 1)),
        ("node", (2, 1, 1)),
        ("timeout", (2, 2, 1)),
        ("oom", (3, 2, 1)),
        ("cancelled", (3, 2, 1)),
    ):
        failure.write(JobFacts("7", kind=kind), job, again=job.attempt > 1)  # type: ignore[arg-type]
        job.attempt += 1
        assert grown(failure.path, job.attempt) == times
    failure.write(JobFacts("7", kind="oom"), job, again=False)  # another run has begun anew
    assert grown(failure.path, 2) == (2, 1, 1)
    assert json.loads(failure.path.read_text())["mem_mb"] == 100
    failure.remove()
    assert list(failure.path.parent.iterdir()) == []


def test_the_failure_of_a_shard_lies_beside_its_done_file() -> None:
    job = Job(["x/s1-1.log"], [layout.done_file("d", "s1", "1")])
    assert task.Failure.of(job) == task.Failure(Path(layout.cluster_failure("d", "s1", "1")))


@pytest.mark.parametrize(
    ("told", "itself"),
    [
        ({"scheduler": {"job_id": "7"}, "exit_code": 3}, True),
        ({"scheduler": {"job_id": "7"}, "exit_code": 143}, False),
        ({"scheduler": {"job_id": "6"}, "exit_code": 3}, False),
        ({"scheduler": None, "exit_code": 3}, False),
        ([], False),
    ],
)
def test_a_tool_that_failed_by_itself_is_known_by_its_own_words(tmp_path: Path, told: object, itself: bool) -> None:
    (tmp_path / "a.failed.json").write_text(json.dumps(told))
    assert task.failed_by_itself(Job([str(tmp_path / "a.log")]), "7") is itself


def test_why_a_job_ended_stands_in_the_log_where_people_look(tmp_path: Path) -> None:
    log = tmp_path / "logs/r1/a.log"
    facts = JobFacts("7", state="FAILED", kind="oom", node="n2", mem_mb=400, max_rss_mb=399.6, elapsed_s=12)
    task.tell_in_log(Job([str(log)]), facts, Path("logs/slurm/a/r1-7.log"))
    story = "Slurm job 7 on n2: it needed more memory than it was given (FAILED, memory 400 MB, 400 MB seen, 12 s run)"
    assert log.read_text() == f"error: {story}\n    see logs/slurm/a/r1-7.log\n"


def test_why_a_job_was_refused_stands_in_the_log_where_people_look(tmp_path: Path) -> None:
    log = tmp_path / "logs/r1/stamp.log"
    task.add_to_log(Job([str(log)]), "error: no node has it\n    Choose another.\n")
    assert reason(log) == "error: no node has it Choose another."
    task.add_to_log(Job([]), "nowhere")


def executor(queue: list[QueuedJob]) -> Executor:
    """An executor that has seen a queue."""
    found = Executor.__new__(Executor)
    found._earlier = {}
    for job in queue:
        found._earlier.setdefault(job.label.key, []).append(job)
    return found


@pytest.fixture
def submitter(seen: Watch, monkeypatch: pytest.MonkeyPatch, words: list[str]) -> Executor:
    """An executor that can submit; it waits no time, and what it tells goes to `words`."""
    found = executor([])
    found.watch, found.root, found._live, found._told = seen, seen.folder, {}, set()
    found._live_lock, found._folders, found._told_ended = threading.Lock(), set(), 0
    found._stop = SimpleNamespace(is_set=lambda: False, wait=lambda _: None)  # type: ignore[assignment]
    found.logger = SimpleNamespace(info=lambda text, extra=None: words.append(text) if extra else None)
    found.envvars = lambda: []
    monkeypatch.chdir(seen.folder)
    return found


def submission(key: str = "a/r1") -> Submission:
    return Submission(None, Label("study", key, "d", "t"), "", [])


def refusing(monkeypatch: pytest.MonkeyPatch, *errors: Exception) -> None:
    """Let Slurm refuse so often, then take jobs."""
    left = list(errors)

    def submit(*_: object, **__: object) -> str:
        if left:
            raise left.pop(0)
        return "7"

    monkeypatch.setattr(slurm, "submit", submit)


def test_where_no_more_jobs_may_be_in_the_queue_it_is_waited_for_and_said_once(
    submitter: Executor, site: Played, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    full = SlurmRefusedError("AssocMaxSubmitJobLimit Batch job submission failed: Job violates accounting/QOS policy")
    refusing(monkeypatch, full, full, full)
    assert submitter._submitted(submission()) == "7"  # though no job of this run is in the queue
    refusing(monkeypatch, full)
    assert submitter._submitted(submission("a/r2")) == "7"
    assert words == ["Slurm takes no more jobs of yours for now (AssocMaxSubmitJobLimit); the rest goes as others end."]


def test_a_slurm_that_takes_no_job_for_a_while_is_said_once(
    submitter: Executor, site: Played, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing(monkeypatch, *[SlurmAwayError("Slurm temporarily unable to accept job")] * 5)
    assert submitter._submitted(submission()) == "7"
    assert words == ["Slurm takes no job at the moment (Slurm temporarily unable to accept job); trying again."]


def test_a_limit_that_no_waiting_lifts_is_a_refusal(
    submitter: Executor, site: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing(monkeypatch, SlurmRefusedError("QOSMaxCpuPerJobLimit Job violates accounting/QOS policy"))
    with pytest.raises(SlurmRefusedError):
        submitter._submitted(submission())


def test_of_many_jobs_that_the_system_ended_a_few_are_told(submitter: Executor, words: list[str]) -> None:
    for number in range(20):
        submitter._tell_ended(f"a/r{number}: gone")
    assert words == [
        *(f"a/r{number}: gone" for number in range(10)),
        "More jobs that end like this are told of in .snakescope/snakemake.log alone.",
    ]


def claim(queue: list[QueuedJob]) -> tuple[str | None, tuple[str, ...]]:
    same, after = executor(queue)._claim(Label("study", "a/r1", "d", "t"))
    return (same.id if same else None), after


def test_what_is_in_the_queue_is_taken_over_or_ended_first(site: Played) -> None:
    runs, waits = queued("7", "a/r1"), queued("8", "a/r1", "PENDING")
    assert claim([]) == (None, ())
    assert claim([queued("9", "a/r2")]) == (None, ())
    assert claim([runs]) == ("7", ())
    assert claim([waits]) == ("8", ())
    assert site.cancelled == []
    assert claim([runs, waits, replace(waits, id="9")]) == ("7", ())
    assert site.cancelled == ["8", "9"]


def test_what_does_something_else_is_cancelled_or_waited_for(site: Played) -> None:
    assert claim([queued("7", "a/r1", digest="old"), queued("8", "a/r1", "PENDING", digest="old")]) == (
        None,
        ("7", "8"),
    )
    assert site.cancelled == ["8"]


def test_the_plugin_is_light_for_jobs_that_do_not_use_it() -> None:
    names = "print(*(name for name in sys.modules if name.startswith('snakescope')))"
    code = f"import sys, snakemake_executor_plugin_snakescope; {names}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
