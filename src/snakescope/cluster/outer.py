"""What the outer workflow (``workflow/fanout.smk``) looks up: which jobs there are, and what each asks for.

Reads the plan of the cluster run once, and looks at what came of a job's attempt before only when there was one. So
parsing and scheduling cost the same for each of thousands of jobs, whatever they hold. Knows no rows.
"""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from snakescope import layout
from snakescope.errors import problem
from snakescope.window import DEFAULT_SIZE
from snakescope.words import many

_PRIORITY_STEP = 10
# Connections to iRODS that bringing the images of one job opens at most.
STAGE_CONNECTIONS = 4
# Of the jobs before it, so many must be through before a job's images are brought here.
_STAGED_AFTER = 16


class OuterPlan:
    """The plan of a cluster run.

    Parameters
    ----------
    content
        Content of ``plan.json``.
    """

    def __init__(self, content: Mapping[str, Any]) -> None:
        self.digest: str = content["digest"]
        self.pipeline: str = content["pipeline"]
        self.content = content
        jobs: dict[str, dict[str, Any]] = {}
        for job in content["jobs"]:
            jobs.setdefault(job["stage"], {})[job["shard"]] = job
        self._jobs = jobs
        self.shards: dict[str, dict[str, Any]] = {shard["id"]: shard for shard in content.get("shards", ())}
        self.stages = [
            Stage(self, stage, rank, jobs[stage["name"]])
            for rank, stage in enumerate(content["stages"])
            if stage["name"] in jobs
        ]

    @classmethod
    def read(cls, root: Path = Path()) -> OuterPlan:
        """Read the plan of the study folder `root`."""
        path = root / layout.cluster_plan()
        try:
            return cls(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            fix = "Start it with: snakescope run --profile slurm --grain fanout"
            raise problem(path, "there is no plan of a cluster run", fix) from None
        except (ValueError, KeyError) as error:
            raise problem(
                path, f"not a plan of a cluster run ({error})", "Delete it and start the run anew."
            ) from error

    def targets(self) -> list[str]:
        """What all jobs leave when they are done."""
        return [layout.done_file(self.digest, stage.name, shard) for stage in self.stages for shard in stage.jobs]

    @cached_property
    def staged_after(self) -> dict[str, tuple[str, ...]]:
        """By the key of each job with images in iRODS, the jobs that must be through before they are brought here.

        So many copies are here at once as the window allows, or as one job has. A job that is through has left
        something also where rows failed, so none of them keeps the others from going on.
        """
        window = int(self.content.get("stage_window") or DEFAULT_SIZE)
        found: dict[str, tuple[str, ...]] = {}
        through: deque[str] = deque(maxlen=_STAGED_AFTER)
        here: deque[tuple[str, int]] = deque()
        for job in (job for stage in self.stages for job in stage.jobs.values() if job.get("staged")):
            while here and sum(rows for _, rows in here) + job["staged"] > window:
                through.append(here.popleft()[0])
            key = f"{job['stage']}/{job['shard']}"
            found[key] = tuple(through)
            here.append((key, job["staged"]))
        return found

    def staging_inputs(self, wildcards: Any) -> list[str]:
        """What must be there before the images of a job are brought here."""
        before = (key.partition("/") for key in self.staged_after[f"{wildcards.stage}/{wildcards.shard}"])
        return [layout.done_file(self.digest, stage, shard) for stage, _, shard in before]

    def staging_words(self, wildcards: Any) -> list[str]:
        """What the staging program is told."""
        told = {"plan": self.digest, "stage": wildcards.stage, "shard": wildcards.shard, "pipeline": self.pipeline}
        return [word for name, value in told.items() for word in (f"--{name}", value)]

    def staging_connections(self, wildcards: Any, cap: int | None = None) -> int:
        """How many connections bringing the images of a job opens."""
        wanted = min(STAGE_CONNECTIONS, int(self._jobs[wildcards.stage][wildcards.shard]["staged"]) * 2)
        return max(1, min(wanted, cap or wanted))

    @cached_property
    def later(self) -> dict[str, list[str]]:
        """By each job's key, those that come after it, at any distance."""
        found: dict[str, dict[str, None]] = {}
        for stage in reversed(self.stages):
            for shard, job in stage.jobs.items():
                key = f"{stage.name}/{shard}"
                for before in job.get("after_jobs", ()):
                    found.setdefault(before, {}).update({key: None, **found.get(key, {})})
        return {key: list(keys) for key, keys in found.items()}

    @cached_property
    def failed_before(self) -> set[str]:
        """The files that tell of attempts which an earlier run has seen fail."""
        try:
            names = os.listdir(layout.cluster_folder(self.digest))  # noqa: PTH208 - names only
        except OSError:
            return set()
        return {f"{layout.cluster_folder(self.digest)}/{name}" for name in names if name.endswith(".failed.json")}


class Stage:
    """One stage: a rule of the outer workflow. Its methods are what the rule looks up for each job.

    Parameters
    ----------
    plan
        The plan that it belongs to.
    stage
        Its entry there.
    rank
        Which of the stages it is.
    jobs
        Its jobs, by shard.
    """

    def __init__(self, plan: OuterPlan, stage: Mapping[str, Any], rank: int, jobs: Mapping[str, Any]) -> None:
        self.plan, self.jobs = plan, jobs
        self.name: str = stage["name"]
        self.steps: list[str] = stage["steps"]
        self.gpus: int = stage.get("gpus", 0)
        # a shard that has been begun is carried on with before another is begun
        self.priority = _PRIORITY_STEP * (rank + 1)

    @property
    def shards(self) -> str:
        """What the wildcard of the rule may be."""
        return "[^/]+"

    @property
    def done(self) -> str:
        """The rule's output."""
        return layout.done_file(self.plan.digest, self.name, "{shard}")

    @property
    def log(self) -> str:
        """The rule's log."""
        return layout.shard_log(self.plan.digest, self.name, "{shard}")

    def inputs(self, wildcards: Any) -> list[str]:
        """The shard's slice of the sheet, and what the jobs before this one leave."""
        before = (key.partition("/") for key in self.jobs[wildcards.shard].get("after_jobs", ()))
        done = [layout.done_file(self.plan.digest, stage, shard) for stage, _, shard in before]
        staged = [layout.staged_mark(self.plan.digest, self.name, wildcards.shard)]
        remote = self.jobs[wildcards.shard].get("staged")
        return [layout.manifest(self.plan.digest, wildcards.shard), *done, *(staged if remote else [])]

    def about(self, wildcards: Any) -> str:
        """What a job does, for people who look at the queue: its steps and its rows."""
        steps, shard = ", ".join(self.steps), self.plan.shards.get(wildcards.shard)
        if shard is None:
            return steps
        rows = shard["first"] if shard["rows"] == 1 else f"{shard['first']} to {shard['last']}"
        return f"{steps} of {many(shard['rows'], 'row')}, {rows}"

    def cores(self, wildcards: Any) -> int:
        """Cores of a job."""
        return int(self.jobs[wildcards.shard]["cores"])

    def mem_mb(self, wildcards: Any, attempt: int) -> int:
        """Memory of a job: twice what it was when that was not enough."""
        return self._grown(wildcards.shard, attempt, "mem_mb")

    def runtime(self, wildcards: Any, attempt: int) -> int:
        """Minutes of a job: twice what they were when they were not enough."""
        return self._grown(wildcards.shard, attempt, "runtime_min")

    def tools_mb(self, wildcards: Any, attempt: int) -> int:
        """The part of a job's memory that its tools may use together."""
        memory = self.mem_mb(wildcards, attempt)
        return max(memory - int(self.plan.content.get("mem_margin_mb", 0)), memory // 2)

    def growth(self, wildcards: Any, attempt: int) -> int:
        """How many times the planned memory a job has; its tools may use so many times what they are expected to."""
        return max(1, self.mem_mb(wildcards, attempt) // int(self.jobs[wildcards.shard]["mem_mb"]))

    def resources(self) -> dict[str, Any]:
        """More resources, by name: a GPU, and whatever the planner says (partition, account, ...)."""
        names = dict.fromkeys(name for job in self.jobs.values() for name in job.get("resources", {}))
        found: dict[str, Any] = {name: self._look_up(name) for name in names}
        if any(job.get("partition") for job in self.jobs.values()):
            found["slurm_partition"] = lambda wildcards: self.jobs[wildcards.shard].get("partition")
        return ({"gpu": self.gpus} if self.gpus else {}) | found

    def _look_up(self, name: str) -> Any:
        return lambda wildcards: self.jobs[wildcards.shard].get("resources", {}).get(name)

    def words(self, wildcards: Any) -> list[str]:
        """What the shard program is told besides what a job has been given."""
        plan, later = self.plan, self.plan.later.get(f"{self.name}/{wildcards.shard}", [])
        words = ["--plan", plan.digest, "--stage", self.name, "--shard", wildcards.shard, "--pipeline", plan.pipeline]
        words += ["--gpus", str(self.gpus)] if self.gpus else []
        return words + (["--later", *later] if later else [])

    def _grown(self, shard: str, attempt: int, name: str) -> int:
        """What was planned, doubled for each attempt that ended for want of it, up to what the partition has."""
        job = self.jobs[shard]
        planned = int(job[name])
        path = layout.cluster_failure(self.plan.digest, self.name, shard)
        if attempt == 1 and path not in self.plan.failed_before:
            return planned
        wanted = planned << max(0, _times(path, name) - 1)
        cap = job.get(f"max_{name}")
        return max(planned, min(wanted, int(cap)) if cap else wanted)


def _times(path: str, name: str) -> int:
    """One more than the attempts that ended for want of a resource, as the executor has counted them."""
    try:
        told: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
        return int(told["times"][name])
    except (OSError, ValueError, KeyError, TypeError):
        return 1


def extra_words(deployment: Any) -> Sequence[str]:
    """How the jobs' Snakemake finds the tools: as that of the run, from its settings (conda, Apptainer, modules)."""
    names = (str(getattr(method, "name", method)) for method in deployment.deployment_method)
    methods = sorted(name.lower().replace("_", "-") for name in names)
    words = ["--software-deployment-method", *methods] if methods else []
    for option, value in (
        ("--conda-prefix", deployment.conda_prefix),
        ("--apptainer-prefix", deployment.apptainer_prefix),
        ("--apptainer-args", deployment.apptainer_args),
    ):
        words += [f"{option}={value}"] if value else []
    return words
