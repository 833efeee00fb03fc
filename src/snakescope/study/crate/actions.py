"""The retrospective half of the run crate: what ran, when, with what, on which files, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snakescope.record import JobRecord
from snakescope.study.crate import terms
from snakescope.study.crate.files import Files
from snakescope.study.crate.graph import Graph, Ids, one_or_many, refs
from snakescope.study.crate.plan import Prospect, examples
from snakescope.study.crate.words import (
    Scrub,
    container,
    counted,
    local_id,
    nested_id,
    short_digest,
    time,
    unit_code,
    value,
    value_type,
)
from snakescope.study.inventory import Inventory, Job, made_by

RUN_ID, ENGINE_RUN_ID = "#workflow-run", "#engine-run"


@dataclass
class _StepRun:
    """The jobs of a step so far."""

    jobs: Ids
    done: int = 0
    failed: int = 0
    started_at: str | None = None
    ended_at: str | None = None

    def add(self, name: str, job: Job) -> None:
        self.jobs.add(name)
        self.failed += job.error is not None
        self.done += job.error is None
        self.started_at = min(filter(None, (self.started_at, job.record.started_at)), default=None)
        self.ended_at = max(filter(None, (self.ended_at, job.record.ended_at)), default=None)


class Actions:
    """Writes an action for each job, and at the end those that stand above them.

    Parameters
    ----------
    graph, files, prospect
        Of the same crate.
    folder
        For lists too long for memory.
    agent
        Id of the person who ran the analysis.
    """

    def __init__(
        self, graph: Graph, files: Files, prospect: Prospect, folder: Path, inventory: Inventory, agent: str
    ) -> None:
        self._graph, self._files, self._prospect, self._folder = graph, files, prospect, folder
        self._inventory, self._agent = inventory, {"@id": agent}
        self._scrub = Scrub(inventory.root)
        self._steps: dict[str, _StepRun] = {}
        self._objects, self._results = Ids(folder, "objects"), Ids(folder, "results")
        self._read: set[str] = set()
        self._values: dict[tuple[str, str, str, str | None], str] = {}
        self.all = Ids(folder, "actions")

    def job(self, job: Job) -> None:
        """Write the action of a job with its files and values."""
        record = job.record
        values = [self._value(record.step, item) for item in record.parameters if item["value"] is not None]
        results = [self._result(job, index) for index in range(len(job.outputs))]
        names = {
            path: used.path
            for item, used in zip(record.inputs, job.inputs, strict=False)
            for path in (item.path, item.here)
            if path != used.path
        }
        properties = {
            "name": f"{record.step} {record.unit}",
            "description": self._scrub.command(record.argv, names) or f"{record.step} of {record.unit}",
            "agent": self._agent,
            "instrument": {"@id": self._prospect.tool(record)},
            "startTime": time(record.started_at),
            "endTime": time(record.ended_at),
            **_status(job.error is not None, None if job.error is None else self._scrub.text(job.error, names)),
            "object": refs([*self._inputs(job), *values]),
            "result": refs(results),
            "resourceUsage": refs(self._usage(record)),
            **self._environment(record.environment),
        }
        name = nested_id("job", record.step, record.unit)
        self._graph.add(name, terms.MADE if results else terms.MADE_NOTHING, properties)
        self.all.add(name)
        if record.step not in self._steps:
            self._steps[record.step] = _StepRun(Ids(self._folder, f"step-{record.step}"))
        self._steps[record.step].add(name, job)

    def _inputs(self, job: Job) -> list[str]:
        found = []
        for used in job.inputs:
            name = self._files.used(used)
            found.append(name)
            if made_by(used.path) is None:
                self._run_read(name)
        return found

    def _run_read(self, name: str) -> None:
        if name not in self._read:
            self._read.add(name)
            self._objects.add(name)

    def configured_by(self, name: str) -> None:
        """Count a configuration file among what the run as a whole read."""
        self._run_read(name)

    def _result(self, job: Job, index: int) -> str:
        file = job.outputs[index]
        if not self._inventory.steps[job.record.step].submitted:
            return self._files.left_out(file)
        name = self._files.add(file, self._prospect.output_slots(job.record.step, file.port or file.path))
        self._results.add(name)
        return name

    def _value(self, step: str, item: dict[str, Any]) -> str:
        key = step, item["name"], repr(item["value"]), item.get("unit")
        if key not in self._values:
            self._values[key] = self._write_value(step, item)
        return self._values[key]

    def _write_value(self, step: str, item: dict[str, Any]) -> str:
        given, unit = value(item["value"]), item.get("unit")
        name = local_id("param", step, item["name"], short_digest([given, unit]))
        if not self._graph.has(name):
            slots = self._prospect.value_slots(step, item["name"])
            properties = {
                "name": item["name"],
                "value": given,
                "unitText": unit,
                "unitCode": unit_code(unit),
                "exampleOfWork": examples(slots, value_type(given)),
            }
            self._graph.add_once(name, "PropertyValue", properties)
            self._objects.add(name)
        return name

    def _usage(self, record: JobRecord) -> list[str]:
        scheduler = record.scheduler or {}
        slurm = scheduler if scheduler.get("kind") == "slurm" else {}
        found = (
            (terms.WALL, record.wall_s),
            (terms.CPU, record.cpu_s),
            (terms.MEMORY, record.peak_memory_mb),
            (terms.SLURM_JOB, slurm.get("job_id") or None),
            (terms.SLURM_PARTITION, slurm.get("partition") or None),
        )
        own = [self._measured(record, measure, amount) for measure, amount in found if amount is not None]
        return own + self._slurm_facts(slurm)

    def _measured(self, record: JobRecord, measure: terms.Measure, amount: Any) -> str:
        name = nested_id("usage", record.step, record.unit, measure.key)
        return self._graph.add(name, "PropertyValue", self._amount(measure, amount))

    def _slurm_facts(self, slurm: dict[str, Any]) -> list[str]:
        """What Slurm says of its job, once for all the rows and steps in it."""
        return [
            self._graph.add_once(
                local_id("slurm", slurm["job_id"], measure.key), "PropertyValue", self._amount(measure, slurm[key])
            )
            for key, measure in terms.SLURM_FACTS.items()
            if slurm.get(key) is not None and slurm.get("job_id")
        ]

    def _amount(self, measure: terms.Measure, amount: Any) -> dict[str, Any]:
        return {
            "name": measure.name,
            "propertyID": {"@id": self._meaning(measure.key)},
            "value": amount,
            "unitCode": {"@id": terms.QUDT + measure.unit},
        }

    def _meaning(self, key: str) -> str:
        name, meaning = terms.MEANINGS[key]
        return self._graph.add_once(terms.OWN + key, "DefinedTerm", {"name": name, "description": meaning})

    def _environment(self, environment: dict[str, Any]) -> dict[str, Any]:
        """Container image of a job, or what else held its program."""
        kind, image = environment.get("kind") or None, environment.get("image") or ""
        if kind == "apptainer" and image:
            name = local_id("container", short_digest(environment))
            facts = container(image)
            facts["sha256"] = facts.get("sha256") or environment.get("sha256")
            return {"containerImage": {"@id": self._graph.add_once(name, "ContainerImage", facts)}}
        if kind is None:
            return {}
        key, text = (
            (terms.CONDA, environment["name"]) if kind == "conda" and environment.get("name") else (terms.HOST, kind)
        )
        properties = {
            "name": terms.MEANINGS[key][0],
            "propertyID": {"@id": self._meaning(key)},
            "value": text,
        }
        name = self._graph.add_once(local_id("environment", *dict.fromkeys((kind, text))), "PropertyValue", properties)
        return {"environment": {"@id": name}}

    # ------------------------------------------------------------------ above the jobs

    @property
    def any(self) -> bool:
        """Whether anything has run."""
        return bool(self._steps)

    def finish(self, workflow: str, title: str) -> None:
        """Write the actions of steps, workflow and engine; none when no job was shown."""
        if self._steps:
            controls = [self._write_control(step, run) for step, run in self._steps.items()]
            self._write_run(workflow, title)
            self._write_engine(controls)
        for ids in (self._objects, self._results, *(run.jobs for run in self._steps.values())):
            ids.close()

    def _write_control(self, step: str, run: _StepRun) -> str:
        pending = self._inventory.steps[step].pending
        properties = {
            "name": f"Jobs of the step {step}",
            "description": _counts(run.done, run.failed, pending),
            "instrument": {"@id": local_id("step", step)},
            "startTime": time(run.started_at),
            "endTime": time(run.ended_at),
            **_status(bool(run.failed), f"{run.failed} failed"),
        }
        name = self._graph.add_long(local_id("control", step), "ControlAction", properties, {"object": run.jobs})
        self.all.add(name)
        return name

    def _totals(self) -> tuple[int, int, int]:
        runs = self._steps.values()
        return sum(run.done for run in runs), sum(run.failed for run in runs), self._inventory.jobs_pending

    def _span(self) -> dict[str, Any]:
        done, failed, pending = self._totals()
        return {
            "description": _counts(done, failed, pending),
            "agent": self._agent,
            "startTime": time(self._inventory.started_at),
            "endTime": time(self._inventory.ended_at),
            **_status(bool(failed), f"{failed} failed"),
        }

    def _write_run(self, workflow: str, title: str) -> None:
        properties = {"name": f"Run of: {title}", "instrument": {"@id": workflow}, **self._span()}
        type_ = terms.MADE if self._results.count else terms.MADE_NOTHING
        lists = {"object": self._objects, "result": self._results}
        self.all.add(self._graph.add_long(RUN_ID, type_, properties, lists))

    def _write_engine(self, controls: list[str]) -> None:
        versions = sorted(self._inventory.snakemake)
        engine = {
            "name": "Snakemake",
            "softwareVersion": one_or_many(versions),
            "url": terms.SNAKEMAKE,
            "description": "The engine that ran the workflow.",
        }
        instrument = self._graph.add(terms.SNAKEMAKE, "SoftwareApplication", engine)
        properties = {
            "name": " ".join(["Run of Snakemake", ", ".join(versions)]).strip(),
            "instrument": {"@id": instrument},
            **self._span(),
            "object": refs(controls),
            "result": {"@id": RUN_ID},
        }
        self.all.add(self._graph.add(ENGINE_RUN_ID, "OrganizeAction", properties))


def _status(failed: bool, error: str | None) -> dict[str, Any]:
    return {"actionStatus": terms.FAILED, "error": error} if failed else {"actionStatus": terms.COMPLETED}


def _counts(done: int, failed: int, pending: int) -> str:
    return "Jobs: " + counted([(done, "done"), (failed, "failed"), (pending, "not run yet")]) + "."
