"""What a pipeline needs of this machine, and in which ways it can run here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from snakescope import layout
from snakescope.cluster.site import read_site
from snakescope.cluster.stages import Load
from snakescope.doctor import cluster
from snakescope.doctor.facts import Fact, clean_problem, fact
from snakescope.doctor.machine import data_of
from snakescope.environments.check import look, said
from snakescope.environments.images import State
from snakescope.errors import InputError, Problem, SnakescopeError, problem
from snakescope.pipeline import Pipeline
from snakescope.runner.deployment import Deployment, deployment_methods
from snakescope.runner.folder import Study, plan_of
from snakescope.samples import Sheet, build_sheet
from snakescope.tool.base import near_miss
from snakescope.tool.image_names import is_address
from snakescope.words import many
from snakescope.workflow import Mode, Plan, mode_of

# An image may lie on a disk that many share, and be started for the first time.
IMAGE_S = 20.0
SDM: dict[Mode, Deployment] = {"host": "none", "conda": "conda", "apptainer": "apptainer"}
# Executors of Snakemake that this command knows: none stands for this machine.
_PLANNED, _LOCAL = "snakescope", (None, "local")


@dataclass(frozen=True)
class Way:
    """A way of running a pipeline.

    Parameters
    ----------
    name
        As it is asked for: ``--sdm conda``, ``profile slurm``.
    problems
        Why it cannot be gone; none when it can.
    remarks
        What is worth knowing of it.
    asked
        Whether it is the one that a run from here would go.
    """

    name: str
    problems: tuple[Problem, ...] = ()
    remarks: tuple[str, ...] = ()
    asked: bool = False


@dataclass(frozen=True)
class Needs:
    """What a pipeline needs, and the ways of running it."""

    pipeline: str
    facts: tuple[Fact, ...]
    ways: tuple[Way, ...]

    @property
    def asked(self) -> Way:
        """The way that was asked for."""
        return next(way for way in self.ways if way.asked)


@dataclass(frozen=True)
class Asked:
    """What the user asks about: which pipeline (None: the study's), with which profile, where its tools run."""

    pipeline: str | None = None
    profile: str = "local"
    sdm: Deployment | None = None


def needs_of(study: Study, asked: Asked, machine: Sequence[Fact]) -> Needs:
    """What the pipeline of a study needs, and in which ways it can run.

    Parameters
    ----------
    study
        The study; of the shipped pipelines, a folder with all that is shipped.
    asked
        What the user asks about.
    machine
        What is known of this machine.

    Raises
    ------
    InputError
        If there is no such pipeline or profile.
    """
    name = asked.pipeline or study.config.pipeline
    _require_named(study.root, asked)
    try:
        pipeline = study.pipeline(name)
        sheet, remark = _sheet(study, pipeline)
        plans: dict[Mode, Plan] = {mode: plan_of(pipeline, sheet, study.root, mode) for mode in SDM}
        plans["host"].images  # noqa: B018 - reads config/images.yaml and the lock, which may be wrong
    except SnakescopeError as error:
        found = error.problems if isinstance(error, InputError) else [Problem(name, str(error))]
        way = Way(f"profile {asked.profile}", tuple(map(clean_problem, found)), asked=True)
        return Needs(name, (), (way,))
    state, gpus = State.read(study.root), [*_gpu_problems(plans["host"], machine)]
    base = {mode: (*_deployment_problems(plan, state, machine), *gpus) for mode, plan in plans.items()}
    ways = [Way(f"--sdm {SDM[mode]}", base[mode], (_where(plan),)) for mode, plan in plans.items()]
    for profile in _profiles(study.root):
        ways.append(_profile_way(study, profile, asked, plans, base, gpus))
    ways = [_shown(way) for way in ways]
    facts = [*remark, *_facts(pipeline, plans["host"], next(way for way in ways if way.asked), machine)]
    return Needs(name, tuple(facts), tuple(ways))


def _require_named(root: Path, asked: Asked) -> None:
    """Refuse names that were given and are not there; what is wrong inside is told beside the rest."""
    profiles = _profiles(root)
    if asked.profile not in profiles:
        fix = near_miss(asked.profile, profiles) or f"There are: {', '.join(profiles) or 'none'}."
        raise problem(f"--profile {asked.profile}", "there is no such profile", fix)
    known = sorted(path.stem for path in (root / "config/pipelines").glob("*.yaml"))
    if asked.pipeline and asked.pipeline not in known:
        fix = near_miss(asked.pipeline, known) or f"There are: {', '.join(known) or 'none'}."
        raise problem(f"--pipeline {asked.pipeline}", "there is no such pipeline", fix)


def _profiles(root: Path) -> list[str]:
    return sorted(path.name for path in (root / "profiles").glob("*/"))


def _sheet(study: Study, pipeline: Pipeline) -> tuple[Sheet, list[Fact]]:
    """The sheet, or one without rows and a word on it."""
    if study.sheet_path.is_file():
        return study.sheet(), []
    columns = dict.fromkeys(["id", "path", *(column for step in pipeline.steps.values() for column in step.over)])
    sheet, told = build_sheet([*columns], []), "so the size of the jobs is not known"
    if study.root == layout.assets():
        return sheet, [fact("needs", "sample sheet", "note", f"none outside a study, {told}")]
    told = f"there is no {study.config.samples} yet, {told}"
    return sheet, [fact("needs", "sample sheet", "note", told, "snakescope collect FOLDER")]


# ---------------------------------------------------------------------------- ways


def _deployment_problems(plan: Plan, state: State, machine: Sequence[Fact]) -> Iterator[Problem]:
    yield from look(plan, state, IMAGE_S)
    if plan.mode == "conda" and any(plan.needs(step).get("conda") for step in plan.steps):
        for item in machine:
            if (item.group, item.name, item.mark) == ("conda", "conda", "missing") and "no conda" not in item.text:
                yield Problem("conda", item.text, item.fix)


def _gpu_problems(plan: Plan, machine: Sequence[Fact]) -> Iterator[Problem]:
    here = data_of(machine, "gpus")
    for step, compiled in plan.steps.items():
        wanted = compiled.get("gpus", 0)
        if wanted > here:
            message = f"it needs {wanted} GPU, and this machine shows {here}"
            fix = "Run it where there is one, such as a cluster's partition: --profile slurm"
            yield Problem(f"step {step!r} (tool {compiled['tool']})", message, fix)


def _profile_way(
    study: Study,
    profile: str,
    asked: Asked,
    plans: dict[Mode, Plan],
    base: dict[Mode, tuple[Problem, ...]],
    gpus: Sequence[Problem],
) -> Way:
    way = Way(f"profile {profile}", asked=profile == asked.profile)
    try:
        site = read_site(study.root, profile)
        mode = mode_of(deployment_methods(study.root / "profiles" / profile, asked.sdm, ()))
    except InputError as error:
        return replace(way, problems=tuple(error.problems))
    way = replace(way, remarks=(_where(plans[mode]),))
    if site.executor in _LOCAL:
        return replace(way, problems=base[mode])
    here = tuple(item for item in base[mode] if item not in gpus)  # the cluster is asked for those
    if site.executor != _PLANNED:
        told = f"its executor {site.executor!r} is not asked"
        return replace(way, problems=here, remarks=(*way.remarks, told))
    try:
        problems, remarks = cluster.cluster_problems(plans[mode], site)
    except InputError as error:
        problems, remarks = list(error.problems), []
    return replace(way, problems=(*here, *problems), remarks=(*way.remarks, *remarks))


def _where(plan: Plan) -> str:
    """Where the tools would run, in one line."""
    away = plan.images if plan.mode == "apptainer" else [step for step in plan.steps if plan.needs(step).get("conda")]
    if plan.mode == "host" or away:
        return said(plan)
    kind = "image" if plan.mode == "apptainer" else "conda environment"
    return f"No tool has a{'n' if kind == 'image' else ''} {kind}: all run from this machine's own programs"


def _shown(way: Way) -> Way:
    problems = tuple(dict.fromkeys(map(clean_problem, way.problems)))
    return replace(way, problems=problems, remarks=tuple(fact("", "", "note", text).text for text in way.remarks))


# ---------------------------------------------------------------------------- what each step needs


def _facts(pipeline: Pipeline, plan: Plan, asked: Way, machine: Sequence[Fact]) -> Iterator[Fact]:
    loads = {load.step: load for load in cluster.loads_of(plan)}
    for name, step in pipeline.steps.items():
        needs, spec = plan.needs(name), step.tool.spec
        load = loads.get(name)
        parts = [f"tool {spec.id} {spec.version} ({needs['program']})"]
        parts += [f"programs {', '.join(needs['programs'])}"] if needs.get("programs") else []
        parts += [f"image {plan.images[name]}"] if name in plan.images else []
        parts += [needs["conda"]] if needs.get("conda") else []
        parts += ["GPU" if plan.steps[name].get("gpus") else "GPU if there is one"] if needs.get("gpu") else []
        parts += [f"{many(load.cores, 'core')}, {load.mem_mb} MB, {load.limit_min:g} min at most"] if load else []
        stopped = any(item.where.startswith(f"step {name!r}") for item in asked.problems)
        yield fact("needs", f"step {name}", "missing" if stopped else "ok", "; ".join(parts), spec.homepage)
        yield from _model_facts(pipeline, name, asked)
    yield from _image_facts(plan)
    yield from _largest(loads.values(), machine)


def _model_facts(pipeline: Pipeline, step: str, asked: Way) -> Iterator[Fact]:
    spec = pipeline.steps[step].tool.spec
    for model in spec.environment.models:
        path = spec.model_paths[model.name]
        stopped = any(item.where == f"step {step!r}: model {model.name}" for item in asked.problems)
        told = f"{path}; licence {model.licence}; sha256 {model.sha256}"
        fix = f"Get it from {model.url}" if model.url else None
        yield fact("needs", f"model {model.name}", "missing" if stopped else "ok", told, fix)


def _image_facts(plan: Plan) -> Iterator[Fact]:
    for image in dict.fromkeys(plan.images.values()):
        if is_address(image):
            told = f"{image} is pulled at the first run with --sdm apptainer; nothing was asked of the registry"
            yield fact("needs", "image", "note", told)


def _largest(loads: Iterable[Load], machine: Sequence[Fact]) -> Iterator[Fact]:
    """The largest job of all against this machine: it may run slower, or be ended for want of memory."""
    found = [*loads]
    if not found:
        return
    memory, cores = data_of(machine, "memory_mb"), data_of(machine, "cores")
    most, widest = max(found, key=lambda load: load.mem_mb), max(found, key=lambda load: load.cores)
    told = f"step {most.step}: up to {most.mem_mb} MB; this machine has {memory or '?'} MB"
    small = bool(memory) and most.mem_mb > memory
    fix = "Run it on a larger machine or a cluster; here it may be ended for want of memory." if small else None
    yield fact("needs", "most memory", "note" if small else "ok", told, fix)
    told = f"step {widest.step}: {widest.cores}; this machine has {cores}"
    few = widest.cores > cores
    fix = "It runs with fewer, slower." if few else None
    yield fact("needs", "most cores", "note" if few else "ok", told, fix)


def shipped() -> Study:
    """What is shipped, as a study: for a pipeline that is asked about outside any."""
    from snakescope.runner.folder import open_study

    opened = open_study(layout.assets())
    return replace(opened, config=opened.config.model_copy(update={"samples": "config/no-sheet"}))
