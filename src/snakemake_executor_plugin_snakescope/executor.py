"""The executor: what Snakemake asks of it, and what it tells Snakemake."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.real import RealExecutor
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor
from snakemake_interface_executor_plugins.settings import SharedFSUsage
from snakemake_interface_executor_plugins.utils import format_cli_arg

if TYPE_CHECKING:
    from snakemake_executor_plugin_snakescope.watch import Watch, Watched
    from snakescope.cluster.accounting import JobFacts
    from snakescope.cluster.slurm import Label, QueuedJob

SUBMITTERS = 4
SLOWEST_RETRY_S = 60.0
# How long a run waits at its start for a controller that does not answer.
START_PATIENCE_S = 600.0
# Of jobs that the system has ended, so many are told of on the screen; the rest stands in the log.
TOLD = 10


@dataclass(frozen=True)
class Submission:
    """A job on its way to Slurm."""

    job: Any
    label: Label
    script: str
    needs: list[str]
    after: tuple[str, ...] = ()


class Executor(RemoteExecutor):  # type: ignore[misc]
    """Runs jobs through Slurm; see the package."""

    watch: Watch | None = None

    def __post_init__(self) -> None:
        """Look at what is in the queue already."""
        from snakemake_executor_plugin_snakescope.watch import Watch
        from snakescope.cluster import accounting, slurm
        from snakescope.errors import SnakescopeError

        self.root = Path.cwd()
        self._live: dict[str, Watched] = {}
        self._live_lock = threading.Lock()
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(SUBMITTERS, "submit")
        self._folders: set[Path] = set()
        self._starter = os.getppid()
        self._told: set[str] = set()
        self._told_ended = 0
        try:
            self.watch = Watch(slurm.run_id(self.root), self.root, self._tell)
            self._earlier = self._jobs_in_queue()
            accounting.catch_up(self.root)
        except SnakescopeError as error:
            raise WorkflowError(str(error)) from error

    def _jobs_in_queue(self) -> dict[str, list[QueuedJob]]:
        """The jobs of this study that an earlier run has left in the queue, by key, those that run first."""
        assert self.watch is not None
        end, pause = time.monotonic() + START_PATIENCE_S, 1.0
        while (found := self.watch.queue()) is None:
            if time.monotonic() >= end:
                raise WorkflowError("Slurm does not answer; nothing was submitted. Try again later.")
            time.sleep(pause)
            pause = min(SLOWEST_RETRY_S, pause * 2)
        jobs: dict[str, list[QueuedJob]] = {}
        for job in sorted(found.values(), key=lambda job: (job.waits, int(job.id.split("_")[0]))):
            jobs.setdefault(job.label.key, []).append(job)
        if found:
            self.logger.info(f"Found {len(found)} jobs of this study in Slurm's queue; they are taken over.")
        return jobs

    def _tell(self, text: str) -> None:
        """Say something to whoever watches the run, and to its log."""
        self.logger.info(text, extra={"said": True})

    # ------------------------------------------------------------------ submitting

    def run_job(self, job: Any) -> None:
        """Take over the job that is in the queue, or hand this one to the threads that submit."""
        from snakemake_executor_plugin_snakescope.task import is_plain, label_of, needs_of
        from snakescope.cluster import slurm
        from snakescope.errors import SnakescopeError

        if job.is_group():
            raise WorkflowError(
                "groups of jobs cannot be given to Slurm by this executor; take them out of the profile"
            )
        label = label_of(job, self.root.name)
        same, after = self._claim(label)
        if same is not None:
            self.logger.info(f"Slurm job {same.id} ({label.key}) is {same.state.lower()}; it is taken over.")
            self._follow(job, label, same.id, adopted=True)
            return
        try:
            needs = needs_of(job, int(self.executor_settings.margin_mb or 0))
        except SnakescopeError as error:
            self._refused(job, f"{label.key}: {error}")
            return
        if is_plain(job):
            self._prepare(job)
        body = job.shellcmd if is_plain(job) else self.format_job_exec(job)
        script = slurm.script(body, f"{label.study} {label.key}")
        self._pool.submit(self._submit, Submission(job, label, script, needs, after))

    def _prepare(self, job: Any) -> None:
        """What the Snakemake in a job does else: folders for what it writes, and nothing there that is not its own."""
        for path in map(Path, (*job.output, *job.log)):
            self._make_folder(path.parent)
        for path in map(Path, job.output):
            path.unlink(missing_ok=True)

    def _claim(self, label: Label) -> tuple[QueuedJob | None, tuple[str, ...]]:
        """The job in the queue that does just this; and those that do something else under the same key.

        Of several that do the same the one that runs, or else the oldest, is kept. What waits besides is cancelled;
        what runs is left to end first.
        """
        from snakescope.cluster import slurm
        from snakescope.errors import SnakescopeError

        found = self._earlier.pop(label.key, [])
        same = next((job for job in found if job.label.digest == label.digest), None)
        others = [job for job in found if job is not same]
        waiting = [job.id for job in others if job.waits]
        try:
            if waiting:
                slurm.cancel(waiting)
        except SnakescopeError as error:
            self.logger.warning(f"Slurm jobs {', '.join(waiting)} could not be cancelled: {error}")
        return same, tuple(job.id for job in others if same is None)

    def _submit(self, task: Submission) -> None:
        """In a thread: give one job to Slurm, however long that takes."""
        from snakescope.errors import SnakescopeError

        try:
            job_id = self._submitted(task)
            if job_id is not None:
                self._follow(task.job, task.label, job_id)
        except SnakescopeError as error:
            self._refused(task.job, self._explained(task, error))
        except Exception as error:
            self.workflow.scheduler.executor_error_callback(error)

    def _submitted(self, task: Submission) -> str | None:
        """Submit; while Slurm does not answer, is full or misses its nodes, wait. None when stopped."""
        from snakescope.cluster import slurm

        assert self.watch is not None
        log, pause, back_by = self._log_for(task.label.key), 2.0, time.monotonic() + slurm.NODES_BACK_S
        environment = slurm.job_environment(self.envvars())
        while not self._stop.is_set():
            try:
                return slurm.submit(
                    task.script,
                    task.needs,
                    name=self.watch.name,
                    comment=task.label.comment(),
                    log=log,
                    after=task.after,
                    environment=environment,
                )
            except slurm.SlurmAwayError as error:
                self._tell_once(f"Slurm takes no job at the moment ({error}); trying again.")
            except slurm.SlurmRefusedError as error:
                if slurm.is_full(str(error)):
                    why = slurm.limit_in(str(error)) or str(error)
                    self._tell_once(f"Slurm takes no more jobs of yours for now ({why}); the rest goes as others end.")
                elif not slurm.is_unready(str(error)) or time.monotonic() >= back_by:
                    raise
            self._stop.wait(pause)
            pause = min(SLOWEST_RETRY_S, pause * 2)
            if (taken := self._taken_after_all(task.label)) is not None:
                return taken
        return None

    def _tell_once(self, why: str) -> None:
        """Say why jobs wait to be submitted, whatever their number."""
        if why not in self._told:
            self._told.add(why)
            self._tell(why)

    def _taken_after_all(self, label: Label) -> str | None:
        """The job of a submission whose answer was lost."""
        assert self.watch is not None
        with self._live_lock:
            known = {job.id for job in self._live.values()}
        found = (self.watch.queue() or {}).values()
        return next((job.id for job in found if job.label == label and job.id not in known), None)

    def _log_for(self, key: str) -> str:
        from snakescope.cluster import accounting

        path = accounting.log_path(key)
        self._make_folder(Path(path).parent)  # Slurm makes none
        return path

    def _make_folder(self, folder: Path) -> None:
        if folder not in self._folders:
            folder.mkdir(parents=True, exist_ok=True)
            self._folders.add(folder)

    def _follow(self, job: Any, label: Label, job_id: str, *, adopted: bool = False) -> None:
        from snakemake_executor_plugin_snakescope.watch import Watched

        assert self.watch is not None
        watched = Watched(job_id, label.key, job.attempt, job, adopted, seen=self.watch.clock())
        with self._live_lock:
            self._live[label.key] = watched
        self.watch.changed()
        self.report_job_submission(SubmittedJobInfo(job, external_jobid=job_id, aux={"watched": watched}))

    def _explained(self, task: Submission, error: Exception) -> str:
        from snakemake_executor_plugin_snakescope.task import is_plain
        from snakescope.cluster.refusal import SHARD_JOB, explain

        return str(explain(str(error), task.needs, f"{SHARD_JOB if is_plain(task.job) else ''}{task.label.key}"))

    def _refused(self, job: Any, message: str) -> None:
        """Slurm will not have the job, now or later."""
        from snakemake_executor_plugin_snakescope.task import add_to_log

        self.logger.error(message)
        add_to_log(job, f"error: {message}\n")
        self._give_up(job)
        self.report_job_error(SubmittedJobInfo(job), msg=message)

    # ------------------------------------------------------------------ following

    async def check_active_jobs(self, active_jobs: list[SubmittedJobInfo]) -> AsyncGenerator[SubmittedJobInfo, None]:
        """Ask Slurm about all jobs; tell Snakemake of those that have ended."""
        # not in this thread's event loop, in which Snakemake evaluates resources otherwise
        for info in await asyncio.to_thread(self._still_active, active_jobs):
            yield info

    def _still_active(self, jobs: list[SubmittedJobInfo]) -> list[SubmittedJobInfo]:
        if not jobs or self.watch is None:
            return jobs
        infos = {id(info.aux["watched"]): info for info in jobs if info.aux}
        for watched, facts in self.watch.round([info.aux["watched"] for info in jobs if info.aux]):
            info = infos.pop(id(watched))
            info.external_jobid = watched.id
            with self._live_lock:
                self._live.pop(watched.key, None)
            if facts.kind == "done":
                self._done(info, watched)
            else:
                self._failed(info, watched, facts)
        return list(infos.values())

    def _done(self, info: SubmittedJobInfo, watched: Watched) -> None:
        from snakemake_executor_plugin_snakescope.task import Failure, forget_log

        if (failure := Failure.of(info.job)) is not None:
            failure.remove()
        if list(info.job.log):
            forget_log(self.root, watched.key, watched.id)
        self.report_job_success(info)

    def _failed(self, info: SubmittedJobInfo, watched: Watched, facts: JobFacts) -> None:
        from snakemake_executor_plugin_snakescope.task import Failure, failed_by_itself, story, tell_in_log
        from snakescope.cluster import accounting

        log = Path(accounting.log_path(watched.key, watched.id))
        by_itself = facts.kind == "failed" and failed_by_itself(info.job, watched.id)
        if (failure := Failure.of(info.job)) is not None:
            failure.write(facts, info.job, again=watched.adopted or info.job.attempt > 1)
        if by_itself:
            self._give_up(info.job)
        else:
            tell_in_log(info.job, facts, log)
            self._tell_ended(f"{watched.key}: {story(facts)}{self._what_next(info.job)}")
        self.report_job_error(info, msg=f"{story(facts)}. ", aux_logs=[str(log)])

    @staticmethod
    def _what_next(job: Any) -> str:
        return "; it is tried again" if job.attempt <= job.restart_times else ""

    def _tell_ended(self, text: str) -> None:
        """Say that the system ended a job; when a whole rack went, a few of its jobs tell enough."""
        self._told_ended += 1
        if self._told_ended <= TOLD:
            self._tell(text)
        else:
            self.logger.info(text)
        if self._told_ended == TOLD:
            self._tell("More jobs that end like this are told of in .snakescope/snakemake.log alone.")

    @staticmethod
    def _give_up(job: Any) -> None:
        """Let this be the job's last attempt."""
        job.attempt = max(job.attempt, job.restart_times + 1)

    async def sleep(self) -> None:
        """Wait for the next round, or for the end of the run."""
        poll_s = float(self.executor_settings.poll_s or 10)
        end = time.monotonic() + (self.watch.pause_s(poll_s) if self.watch else 0.5)
        while self.wait and time.monotonic() < end:
            await asyncio.sleep(min(0.5, poll_s))

    # ------------------------------------------------------------------ ending

    def cancel_jobs(self, _: list[SubmittedJobInfo]) -> None:
        """Cancel the jobs of this run in one call; after the loss of who started us they are left to be taken over."""
        from snakescope.cluster import slurm
        from snakescope.errors import SnakescopeError

        self._stop.set()
        self._pool.shutdown(wait=True, cancel_futures=True)
        with self._live_lock:
            ids = [job.id for job in self._live.values()]
        if not ids or self.watch is None:
            return
        if os.environ.get("SNAKESCOPE_EVENTS") and os.getppid() != self._starter:
            self.logger.info(f"Left {len(ids)} jobs to Slurm; the next run takes them over.")
            return
        try:
            _try_thrice(lambda: slurm.cancel(ids))
        except SnakescopeError as error:
            way = f"scancel --name={self.watch.name}"
            self.logger.error(f"{len(ids)} jobs could not be cancelled ({error}). To do it later: {way}")

    def shutdown(self) -> None:
        """Wait for what is being submitted, and for the thread that follows."""
        self._stop.set()
        self._pool.shutdown(wait=True, cancel_futures=True)
        left = sum(map(len, self._earlier.values()))
        if left and self.watch is not None:
            self.logger.info(f"{left} earlier jobs are still in the queue: squeue --name={self.watch.name}")
        super().shutdown()

    # ------------------------------------------------------------------ the command in a job

    def get_job_args(self, job: Any, **kwargs: Any) -> str:
        """As every remote executor does, but without files of its own that a job would wait for."""
        words = [RealExecutor.get_job_args(self, job, **kwargs)]
        if SharedFSUsage.INPUT_OUTPUT in self.workflow.storage_settings.shared_fs_usage:
            files = list(job.get_wait_for_files())
            words.append(format_cli_arg("--wait-for-files", files, skip=not files))
        return " ".join(words)


def _try_thrice(act: Callable[[], None]) -> None:
    from snakescope.cluster.slurm import SlurmAwayError

    for attempt in range(3):
        try:
            return act()
        except SlurmAwayError:
            if attempt == 2:
                raise
            time.sleep(2)
