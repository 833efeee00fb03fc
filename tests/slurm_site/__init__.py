"""A real Slurm of one's own for tests: brought up in a folder, broken on purpose, stopped without a trace.

Knows nothing of snakescope. The shell scripts beside this file do the same by hand.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROGRAMS = ("slurmctld", "slurmd", "sbatch", "munged", "slurmdbd", "mariadbd")
READY = {"idle", "mixed", "allocated", "completing"}
ENDED = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "BOOT_FAIL"}


def why_not() -> str | None:
    """Why no Slurm can be brought up on this machine; None when it can."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        return (
            f"not here: {', '.join(missing)} (on Debian: slurmctld slurmd slurm-client munge slurmdbd mariadb-server)"
        )
    return None if os.geteuid() == 0 else "a Slurm can be brought up by root only"


def wait_until(condition: Callable[[], object], seconds: float = 30, what: str = "") -> None:
    """Wait until a condition holds; an assertion fails when it never does."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds} s in vain {what}"
        time.sleep(0.1)


@dataclass(frozen=True)
class Job:
    """A job as ``squeue`` tells it; `node` is None while it waits."""

    id: str
    name: str
    state: str
    node: str | None
    comment: str


class SlurmSite:
    """A Slurm in a folder.

    Parameters
    ----------
    root
        Its folder: configuration, state, logs.
    settings
        Settings of ``up.sh`` without their prefix, such as ``NODES`` and ``ACCOUNTING``.
    """

    def __init__(self, root: Path, settings: Mapping[str, object] | None = None) -> None:
        self.root = root.resolve()
        self.settings = {f"SLURM_SITE_{name}": str(value) for name, value in (settings or {}).items()}

    @property
    def conf(self) -> Path:
        """Its configuration."""
        return self.root / "etc/slurm.conf"

    @property
    def env(self) -> dict[str, str]:
        """The environment of this process with the site in it, for whatever is to use it."""
        ours = {key: value for key, value in os.environ.items() if not key.startswith(("SLURM_", "SBATCH_"))}
        return {**ours, "SLURM_CONF": str(self.conf)}

    def start(self, owner: int | None = None) -> None:
        """Bring it up, or what of it is down; when process `owner` is gone, it stops itself."""
        settings = self.settings | ({"SLURM_SITE_OWNER": str(owner)} if owner else {})
        self._script("up.sh", settings=settings)

    def stop(self, *, now: bool = False) -> None:
        """End its jobs and daemons; `now` kills them, and what they had not saved is lost."""
        self._script("down.sh", *(["--now"] if now else []))

    def _script(self, name: str, *arguments: str, settings: Mapping[str, str] | None = None) -> None:
        command = [str(HERE / name), str(self.root), *arguments]
        # Daemons keep what they are given: pipes of ours would never end.
        with (self.root.parent / f"{self.root.name}.{name}.log").open("a+", encoding="utf-8") as log:
            log.seek(0, os.SEEK_END)
            start = log.tell()
            environment = {**self.env, **(settings or {})}
            done = subprocess.run(
                command, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL, check=False
            )
            log.seek(start)
            assert done.returncode == 0, f"{name} failed ({done.returncode}): {log.read()}"

    def run(self, *command: str | Path, check: bool = True, **options: object) -> str:
        """Run a command of Slurm (or any other) on the site and return what it printed."""
        words = [str(word) for word in command]
        done = subprocess.run(words, env=self.env, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]
        assert not check or done.returncode == 0, f"{words}: {done.stderr}{done.stdout}"
        return str(done.stdout)

    def submit(self, script: str, *options: str, cwd: Path | None = None) -> str:
        """Submit a shell command; returns the job's id. Its output goes to ``log/job-<id>.txt`` of the site."""
        output = f"--output={self.root}/log/job-%j.txt"
        said = self.run("sbatch", "--parsable", output, *options, f"--wrap={script}", cwd=cwd or self.root)
        return said.strip().split(";")[0]

    def output(self, job: str) -> str:
        """What a job of `submit` printed."""
        return (self.root / f"log/job-{job}.txt").read_text(encoding="utf-8")

    def queue(self, *options: str) -> list[Job]:
        """The jobs that wait or run; more with options of ``squeue``, such as ``--states=all``."""
        lines = self.run("squeue", "--noheader", "--format=%A\x1f%j\x1f%T\x1f%N\x1f%k", *options).splitlines()
        fields = (line.split("\x1f", 4) for line in lines)
        return [Job(job, name, state, node or None, comment) for job, name, state, node, comment in fields]

    def state(self, job: str) -> str:
        """State of a job as slurmctld tells it: one word."""
        said = self.run("scontrol", "show", "job", job)
        return said.partition("JobState=")[2].split()[0]

    def wait(self, job: str, seconds: float = 60) -> str:
        """Wait until a job has ended; returns its state."""
        wait_until(lambda: self.state(job) in ENDED, seconds, f"for job {job}")
        return self.state(job)

    def let_time_run_out(self, job: str) -> None:
        """Move the end of a running job's time to now; slurmctld looks at it every 30 s."""
        self.run("scontrol", "update", f"JobId={job}", "EndTime=now+1")

    def accounts(self, job: str) -> dict[str, dict[str, str]]:
        """What ``sacct`` knows of a job: its fields by the name of its step (``""`` is the job itself)."""
        names = ("JobID", "State", "ExitCode", "ElapsedRaw", "TotalCPU", "MaxRSS", "ReqMem", "NodeList", "Comment")
        said = self.run("sacct", "--noheader", "--parsable2", f"--jobs={job}", f"--format={','.join(names)}")
        rows = (dict(zip(names, line.split("|"), strict=True)) for line in said.splitlines())
        return {row["JobID"].partition(".")[2]: row for row in rows}

    def nodes(self) -> dict[str, str]:
        """State of each node, such as ``idle``; ``*`` at its end means that it does not answer."""
        lines = self.run("sinfo", "--noheader", "--Node", "--partition=cpu", "--format=%N %T").splitlines()
        return dict(sorted(line.split() for line in lines))

    def _pid(self, daemon: str) -> int | None:
        with suppress(OSError, ValueError):
            return int((self.root / f"run/{daemon}.pid").read_text())
        return None

    def _kill(self, daemon: str, number: signal.Signals = signal.SIGKILL) -> None:
        pid = self._pid(daemon)
        if pid is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
            wait_until(lambda: not alive(pid), 20, f"for the end of {daemon}")

    def kill_slurmd(self, node: str) -> None:
        """Kill the daemon of a node and nothing else: its jobs go on, unknown to the rest (a network cut)."""
        self._kill(f"slurmd.{node}")

    def kill_node(self, node: str) -> None:
        """Kill all of a node at once: daemon, jobs and what watches over them (a power cut)."""
        self._kill(f"slurmd.{node}")
        log = self.root / f"log/slurmd.{node}.log"
        # slurmstepd first, or it tells of the job's end
        kill(pid for pid, _ in processes() if command_line(pid).startswith("slurmstepd:") and log in open_files(pid))
        kill(pid for pid, words in self.job_processes() if words.get("SLURMD_NODENAME") == node)

    def start_slurmd(self, node: str) -> None:
        """Start the daemon of a node again and wait until the node is back."""
        self._script("up.sh", f"slurmd.{node}")
        wait_until(lambda: self.nodes()[node] in READY, 60, f"for node {node}: {self.nodes()}")

    def stop_controller(self, *, crash: bool = False) -> None:
        """Stop slurmctld; what runs goes on. In a crash it may forget what was submitted in the last seconds."""
        self._kill("slurmctld", signal.SIGKILL if crash else signal.SIGTERM)

    def start_controller(self) -> None:
        """Start slurmctld again, with what it had saved."""
        self._script("up.sh", "slurmctld")
        wait_until(lambda: "UP" in self.run("scontrol", "ping", check=False), 30, "for slurmctld")

    def restart_controller(self, down_s: float = 0) -> None:
        """Stop slurmctld and start it again after a while, as an update does."""
        self.stop_controller()
        time.sleep(down_s)
        self.start_controller()

    def resume(self) -> None:
        """Let nodes that Slurm drained serve again, as an administrator would."""
        for node, state in self.nodes().items():
            if state.startswith("drain"):
                self.run("scontrol", "update", f"NodeName={node}", "State=RESUME", check=False)

    def mend(self) -> None:
        """Cancel all jobs, start whatever is down, wait until every node is free."""
        if "UP" not in self.run("scontrol", "ping", check=False):
            self._script("up.sh", "slurmctld")
        self.resume()
        self._script("up.sh")
        jobs = [job.id for job in self.queue()]
        if jobs:
            self.run("scancel", "--quiet", *jobs, check=False)
        wait_until(lambda: not self.queue("--states=R,CG,PD") and set(self.nodes().values()) == {"idle"}, 60)

    def job_processes(self) -> Iterator[tuple[int, dict[str, str]]]:
        """Processes of jobs on this site, with their environment."""
        for pid, words in processes():
            if words.get("SLURM_CONF") == str(self.conf) and "SLURM_JOB_ID" in words:
                yield pid, words

    def processes(self) -> list[str]:
        """Command lines of all processes that belong to the site: daemons and jobs."""
        mine = str(self.root)
        found = []
        for pid, words in processes():
            line = command_line(pid)
            if pid != os.getpid() and (mine in line or words.get("SLURM_CONF") == str(self.conf)):
                found.append(f"{pid} {line}")
        return found


def kill(pids: Iterable[int]) -> None:
    """Kill processes, those at least that are still there."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def open_files(pid: int) -> set[Path]:
    """The files that a process has open."""
    found = set()
    for link in Path(f"/proc/{pid}/fd").glob("*"):
        with suppress(OSError):
            found.add(link.readlink())
    return found


def alive(pid: int) -> bool:
    """Whether a process is there and has not ended (one that nobody has waited for has)."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def processes() -> Iterator[tuple[int, dict[str, str]]]:
    """Every process whose environment may be read."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (folder / "environ").read_bytes().decode(errors="replace").split("\0")
            yield int(folder.name), dict(word.split("=", 1) for word in words if "=" in word)


def command_line(pid: int) -> str:
    """Command line of a process; empty when it is gone."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").replace("\0", " ").strip()
    return ""
