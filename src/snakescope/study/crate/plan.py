"""The prospective half of the run crate: the workflow, its steps, the tools, their parameters and how they are wired.

A parameter of a tool or of the workflow is written only once something in the crate is an example of it, and a tool
is part of the workflow only once it has run: the profile asks for both.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from snakescope import layout
from snakescope.record import JobRecord
from snakescope.study.crate import terms
from snakescope.study.crate.graph import Graph, one_or_many, refs
from snakescope.study.crate.words import local_id, media_type, path_id, short_digest
from snakescope.study.inventory import Inventory, StudyFile

# Of tools that this package implements, the homepage tells of the method, and of somebody else's program.
OWN = "snakescope"
_CONDA = re.compile(r'^    conda:\s*(?:None if .* else )?"(?:\.\./)*([^"]+)"', re.MULTILINE)
_SPDX_ID = re.compile(r"[A-Za-z0-9.+-]+")


@dataclass
class Slot:
    """An input, output or parameter of a tool or of the workflow; `types` are those of its examples so far."""

    id: str
    name: str
    description: str
    types: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Tool:
    """A tool as a step ran it; `version` is the one that the program told, else the one that the descriptor names."""

    id: str
    step: str
    facts: Mapping[str, Any]
    version: str


def examples(slots: Iterable[Slot], type_: str) -> Any:
    """References to parameters that something of this type is an example of.

    To the profile a parameter is for files or for folders. Of one that takes both, those of the first kind met are it.
    """
    other = {"File": "Dataset", "Dataset": "File"}.get(type_)
    ids = []
    for slot in slots:
        if other not in slot.types:
            slot.types.add(type_)
            ids.append(slot.id)
    return refs(ids)


class Prospect:
    """Steps, tools and parameters; fed while jobs go by, written at the end.

    Parameters
    ----------
    inventory
        Of the study; its plan says how steps are wired.
    """

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory
        self._steps = inventory.plan.steps
        self._slots: dict[tuple[str, str, str], Slot] = {}
        self._tools: dict[tuple[str, str, str], Tool] = {}
        self._uses = Counter(step["tool"] for step in self._steps.values())
        self._files: dict[str, str | None] = {}
        self._snakefile: StudyFile | None = None
        self._environments = dict(self._rule_environments())
        self._readers: dict[tuple[str, str], list[Slot]] = {}
        self.raw_slots: list[Slot] = []
        self._shared_slots: dict[str, list[Slot]] = {}
        for step, port, wire in self._wires():
            self._note_reader(step, port, wire)

    # ------------------------------------------------------------------ what files and values are examples of

    def _wires(self) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
        for step, compiled in self._steps.items():
            for port, wire in compiled["inputs"].items():
                yield step, port, wire

    def _note_reader(self, step: str, port: str, wire: Mapping[str, Any]) -> None:
        survey = self._inventory.steps[step]
        ran = [self._slot("input", step, port)] if survey.done + survey.failed else []
        if wire["from"] == "step":
            self._readers.setdefault((wire["step"], wire["port"]), []).extend(ran)
            return
        slots = [self._slot("workflow-input", *self._outside(wire)), *ran]
        if wire["from"] == "file":
            self._share(wire["path"], slots)
        elif wire["column"] == "path":
            self._add_new(self.raw_slots, slots)
        else:
            for unit in self._inventory.plan.units(step):
                for path in self._inventory.plan.inputs(step, port, unit):
                    self._share(path, slots)

    def _outside(self, wire: Mapping[str, Any]) -> tuple[str, str]:
        if wire["from"] == "sheet":
            return "sheet", wire["column"]
        return "file", self._inventory.name(wire["path"])

    def _share(self, path: str, slots: Sequence[Slot]) -> None:
        self._add_new(self._shared_slots.setdefault(path, []), slots)

    @staticmethod
    def _add_new(known: list[Slot], slots: Sequence[Slot]) -> None:
        known.extend(slot for slot in slots if all(slot is not other for other in known))

    def _slot(self, kind: str, owner: str, name: str) -> Slot:
        key = (kind, owner, name)
        if key not in self._slots:
            names = [part for part in (owner, name) if part]
            self._slots[key] = Slot(local_id(kind, *names), name, _say(kind, owner, name))
        return self._slots[key]

    def shared_slots(self, file: StudyFile) -> list[Slot]:
        """Parameters that a file from outside is an example of."""
        return self._shared_slots.get(file.here, [])

    def output_slots(self, step: str, port: str) -> list[Slot]:
        """Parameters that an output is an example of: where it comes from, and where it goes."""
        made = [self._slot("output", step, port), self._slot("workflow-output", step, port)]
        return made + self._readers.get((step, port), [])

    def value_slots(self, step: str, name: str) -> list[Slot]:
        """Parameters that a value is an example of."""
        return [self._slot("parameter", step, name), self._slot("workflow-parameter", step, name)]

    # ------------------------------------------------------------------ what ran

    def run_file(self, file: StudyFile) -> None:
        """Take a file of the run's own record, so that tools and steps can refer to it."""
        if file.path == layout.SNAKEFILE:
            self._snakefile = file
        if file.path.startswith("tools/") or file.path in self._environments.values():
            self._files[file.path] = file.sha256

    def is_environment(self, path: str) -> bool:
        """Whether a file describes the environment of a step."""
        return path in self._environments.values()

    def tool(self, record: JobRecord) -> str:
        """Id of the tool that a job ran."""
        return self._tool(record.step, record.compiled["tool"], record.tool_version_observed).id

    def _tool(self, step: str, facts: Mapping[str, Any], observed: str | None) -> Tool:
        version = observed or facts["program"]["version"]
        key = (step, json.dumps(facts, sort_keys=True), version)
        if key not in self._tools:
            own = [step] if self._uses[facts["id"]] > 1 else []
            name = local_id("tool", facts["id"], facts["version"], *own)
            if any(tool.id == name for tool in self._tools.values()):
                name += "-" + short_digest(key)
            self._tools[key] = Tool(name, step, facts, version)
        return self._tools[key]

    def _rule_environments(self) -> Iterator[tuple[str, str]]:
        """The conda file that the rule of each step names."""
        pipeline = self._inventory.plan.compiled["pipeline"]
        for step in self._steps:
            rule = self._inventory.root / layout.rule_file(pipeline, step)
            found = _CONDA.search(rule.read_text(encoding="utf-8")) if rule.is_file() else None
            if found:
                yield step, found[1]

    # ------------------------------------------------------------------ writing

    def write(self, graph: Graph, title: str) -> None:
        """Write workflow, steps, tools, parameters and connections; every example must have been shown before."""
        ran = list(self._tools.values())
        for step in self._steps:
            self._write_step(graph, step)
        for tool in self._tools.values():
            self._write_tool(graph, tool)
        for slot in self._slots.values():
            if slot.types:
                _write_slot(graph, slot)
        connections = list(self._write_connections(graph, self._output_wires()))
        self._write_workflow(graph, title, ran, connections)

    def _write_step(self, graph: Graph, step: str) -> None:
        survey = self._inventory.steps[step]
        tools = [tool.id for tool in self._tools.values() if tool.step == step]
        planned = survey.compiled["tool"]
        properties = {
            "name": step,
            "description": f"{planned['name']}: {_over(self._steps[step]['over'])}.",
            "position": str(list(self._steps).index(step)),
            "workExample": refs(tools or [self._tool(step, planned, None).id]),
            "buildInstructions": refs(path_id(p) for p in [self._environments.get(step)] if p in self._files and p),
            "connection": refs(self._write_connections(graph, self._input_wires(step))),
        }
        graph.add(local_id("step", step), "HowToStep", properties)

    def _input_wires(self, step: str) -> Iterator[tuple[Slot, Slot]]:
        for port, wire in self._steps[step]["inputs"].items():
            made = wire["from"] == "step"
            source = ("output", wire["step"], wire["port"]) if made else ("workflow-input", *self._outside(wire))
            yield self._slot(*source), self._slot("input", step, port)
        for kind, owner, name in list(self._slots):
            if kind == "parameter" and owner == step:
                yield self._slot("workflow-parameter", step, name), self._slot("parameter", step, name)

    def _output_wires(self) -> Iterator[tuple[Slot, Slot]]:
        for kind, owner, name in list(self._slots):
            if kind == "workflow-output":
                yield self._slot("output", owner, name), self._slot(kind, owner, name)

    def _write_connections(self, graph: Graph, wires: Iterable[tuple[Slot, Slot]]) -> Iterator[str]:
        for source, target in wires:
            if source.types and target.types:
                ends = {"sourceParameter": {"@id": source.id}, "targetParameter": {"@id": target.id}}
                yield graph.add("#connection-to-" + target.id[1:], "ParameterConnection", ends)

    def _used(self, kind: str, owner: str | None = None) -> list[str]:
        return [
            slot.id
            for (of_kind, of, _), slot in self._slots.items()
            if of_kind == kind and slot.types and owner in (None, of)
        ]

    def _write_tool(self, graph: Graph, tool: Tool) -> None:
        facts, program = tool.facts, tool.facts["program"]
        descriptor = f"tools/{facts['id']}/tool.yaml"
        same = self._files.get(descriptor) == facts["descriptor_sha256"]
        here = {"@id": path_id(descriptor)} if descriptor in self._files else None
        url = _url(facts) or here
        wrapped = graph.add_once(
            local_id("program", facts["id"], program["name"], tool.version),
            "SoftwareApplication",
            {
                "name": program["name"],
                "version": tool.version,
                "description": f"The program that the tool {facts['name']} runs.",
                "url": here if program["name"] == OWN else url,
            },
        )
        properties = {
            "name": facts["name"],
            "version": facts["version"],
            "description": f"Runs {program['name']} {tool.version} in the step {tool.step}.",
            "url": url,
            "license": _licence(graph, facts.get("license")),
            "citation": refs(_citations(graph, facts.get("citations") or ())),
            "featureList": one_or_many(terms.EDAM + name for name in facts.get("edam_operations") or ()),
            "identifier": f"sha256:{facts['descriptor_sha256']}",
            "isBasedOn": {"@id": path_id(descriptor)} if same else None,
            "mainEntity": {"@id": wrapped},
            "softwareRequirements": {"@id": wrapped},
            "input": refs([*self._used("input", tool.step), *self._used("parameter", tool.step)]),
            "output": refs(self._used("output", tool.step)),
        }
        graph.add(tool.id, "SoftwareApplication", properties)

    def _write_workflow(self, graph: Graph, title: str, ran: Sequence[Tool], connections: Sequence[str]) -> None:
        file, plan = self._snakefile, self._inventory.plan.compiled
        environments = sorted({path for path in self._environments.values() if path in self._files})
        versions = sorted(self._inventory.snakemake)
        language = {
            "name": "Snakemake",
            "identifier": terms.SNAKEMAKE_LANGUAGE,
            "url": terms.SNAKEMAKE,
            "version": one_or_many(versions),
        }
        graph.add(terms.SNAKEMAKE_LANGUAGE, "ComputerLanguage", language)
        _write_profile(graph, terms.WORKFLOW_PROFILE)
        _write_profile(graph, terms.PARAMETER_PROFILE)
        properties = {
            "name": title,
            "description": f"Pipeline {plan['pipeline']}: {', '.join(self._steps)}.",
            "url": {"@id": layout.SNAKEFILE},
            # What the rules were compiled from, by its content: pipelines and tools have no version in common.
            "version": f"sha256:{short_digest(plan['sources'])}",
            "encodingFormat": media_type("a.smk", None),
            "contentSize": str(file.bytes) if file and file.bytes is not None else None,
            "sha256": file.sha256 if file else None,
            "conformsTo": {"@id": terms.WORKFLOW_PROFILE.id},
            "programmingLanguage": {"@id": terms.SNAKEMAKE_LANGUAGE},
            "hasPart": refs(tool.id for tool in ran),
            "step": refs(local_id("step", step) for step in self._steps),
            "input": refs([*self._used("workflow-input"), *self._used("workflow-parameter")]),
            "output": refs(self._used("workflow-output")),
            "connection": refs(connections),
            "buildInstructions": refs(map(path_id, environments)),
        }
        types = ["File", "SoftwareSourceCode", "ComputationalWorkflow", "HowTo"]
        graph.add(layout.SNAKEFILE, types, properties)


def _say(kind: str, owner: str, name: str) -> str:
    if kind == "workflow-input":
        return f"Files in the column {name} of the sample sheet" if owner == "sheet" else "A file for all rows"
    what = kind.removeprefix("workflow-")
    return f"{what.capitalize()} {name} of the step {owner}" + ("" if what == kind else ", as the workflow has it")


def _over(columns: Sequence[str]) -> str:
    return f"one job for each {', '.join(columns)}" if columns else "one job for each row of the sample sheet"


def _url(facts: Mapping[str, Any]) -> str | None:
    homepage, citations = facts.get("homepage") or "", facts.get("citations") or ()
    return homepage if homepage.startswith("http") else terms.DOI + citations[0] if citations else None


def _licence(graph: Graph, name: str | None) -> Any:
    if not name or not _SPDX_ID.fullmatch(name):
        return name or None
    licence = graph.add_once(terms.SPDX + name, "CreativeWork", {"name": name, "identifier": name})
    return {"@id": licence}


def _citations(graph: Graph, dois: Iterable[str]) -> Iterator[str]:
    for doi in dois:
        name = terms.DOI + path_id(doi)
        yield graph.add_once(name, "ScholarlyArticle", {"name": f"doi:{doi}", "identifier": name})


def _write_slot(graph: Graph, slot: Slot) -> None:
    properties = {
        "name": slot.name,
        "description": slot.description,
        "additionalType": one_or_many(sorted(slot.types)),
        "conformsTo": {"@id": terms.PARAMETER_PROFILE.id},
    }
    graph.add(slot.id, "FormalParameter", properties)


def _write_profile(graph: Graph, profile: terms.Profile) -> None:
    graph.add(profile.id, "CreativeWork", {"name": profile.name, "version": profile.version})
