"""What goes into a pack: the files of a pipeline, its tools, where they run, and what they read.

Looks at a study and collects; everything that is missing is a problem, and all of them are told at once. Nothing is
fetched and nothing is written here.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from snakescope import layout
from snakescope.bundle.manifest import PackedImage, PackedModel, PackedTool, Role, is_inside
from snakescope.compiler import compile_pipeline
from snakescope.environments.images import State, environment_files
from snakescope.errors import Problem
from snakescope.pipeline import FileWire, Pipeline
from snakescope.runner.folder import Study
from snakescope.tool.library import Tool

_SECRET_KEY = re.compile(
    r"^[^#\n]*\b[\w-]*(?:passw(?:or)?d|secret|token|api[-_]?key|access[-_]?key|credential)[\w-]*[\"']?\s*[:=]\s*[^\s#]",
    re.IGNORECASE | re.MULTILINE,
)
_SECRET_ADDRESS = re.compile(r"://[^/\s:@]+:[^/\s@]+@|/t/[A-Za-z0-9_-]{6,}/")


@dataclass(frozen=True)
class Remote:
    """A file that has to be fetched; `digest` is ``md5:...`` or ``sha256:...``, None for an image."""

    address: str
    digest: str | None = None


@dataclass(frozen=True)
class Entry:
    """A file of the pack and where it comes from."""

    path: str
    role: Role
    source: Path | bytes | Remote
    executable: bool = False

    @property
    def size(self) -> int | None:
        """Bytes; None for what has not been fetched."""
        if isinstance(self.source, Remote):
            return None
        return len(self.source) if isinstance(self.source, bytes) else self.source.stat().st_size


@dataclass
class Contents:
    """What goes in, and what keeps it from going in; of packages the digest that a pin file tells, too."""

    entries: dict[str, Entry] = field(default_factory=dict)
    tools: list[PackedTool] = field(default_factory=list)
    images: dict[str, PackedImage] = field(default_factory=dict)
    models: dict[str, PackedModel] = field(default_factory=dict)
    packages: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def add(self, path: str, role: Role, source: Path | bytes | Remote) -> None:
        """Put a file in, in place of another of that path; a name that no archive should hold is a problem."""
        if not is_inside(path):
            self.problems.append(Problem(path, "this name cannot go into a pack", "Rename it."))
            return
        executable = isinstance(source, Path) and bool(source.stat().st_mode & 0o100)
        self.entries[path] = Entry(path, role, source, executable)


def find_secrets(contents: Contents) -> None:
    """Add what reads like a password or a key to the problems: such a thing is not handed on unseen."""
    kinds = {"profile": (_SECRET_KEY, _SECRET_ADDRESS), "environment": (_SECRET_ADDRESS,)}
    for entry in contents.entries.values():
        if isinstance(entry.source, Path) and entry.role in kinds:
            contents.problems += _secrets(entry.source, kinds[entry.role])


def _secrets(file: Path, patterns: Sequence[re.Pattern[str]]) -> Iterator[Problem]:
    text = file.read_text(encoding="utf-8", errors="replace")
    for found in filter(None, (pattern.search(text) for pattern in patterns)):
        line = text.count("\n", 0, found.end()) + 1
        fix = "Take it out of the file; a pack is handed on as it is."
        yield Problem(f"{file}: line {line}", "this reads like a password or key", fix)


def collect_texts(contents: Contents, study: Study, pipeline: Pipeline) -> None:
    """Everything but images, packages and models: tools, pipeline, rules, workflow, profiles, configuration."""
    name, root = pipeline.spec.name, study.root.resolve()
    # not the file itself: another pipeline may be meant, and a sheet elsewhere stays where it is
    config = study.config.model_copy(update={"pipeline": name})
    if not is_inside(config.samples):
        config = config.model_copy(update={"samples": layout.SHEET})
    lines = "".join(f"{key}: {json.dumps(value)}\n" for key, value in config.model_dump().items())
    contents.add(layout.CONFIG, "config", lines.encode())
    contents.add(layout.pipeline_file(name), "pipeline", pipeline.path)
    if (root / "config/avu_map.yaml").is_file():
        contents.add("config/avu_map.yaml", "config", root / "config/avu_map.yaml")
    moved = {step: replace(found, tool=_at_home(found.tool, root)) for step, found in pipeline.steps.items()}
    for path, text in compile_pipeline(replace(pipeline, steps=moved), root).items():
        contents.add(path, "rules", text.encode())
    parts: tuple[tuple[str, Role], ...] = (("workflow", "workflow"), ("profiles", "profile"))
    for part, role in parts:
        _add_folder(contents, root / part, part, role)
    for tool in tools_of(pipeline):
        _add_folder(contents, tool.folder, f"tools/{tool.spec.id}", "tool")


def tools_of(pipeline: Pipeline) -> list[Tool]:
    """The tools of a pipeline, each once, by id."""
    found = {step.tool.spec.id: step.tool for step in pipeline.steps.values()}
    return [found[name] for name in sorted(found)]


def _at_home(tool: Tool, root: Path) -> Tool:
    """The tool as it will lie where the pack is unpacked: in the study."""
    return replace(tool, folder=root / "tools" / tool.spec.id)


def _add_folder(contents: Contents, folder: Path, place: str, role: Role) -> None:
    """All files of a folder but hidden ones and what Python has compiled."""
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != "__pycache__")
        for name in [item for item in folders if Path(parent, item).is_symlink()]:
            told = "is a link to a folder, which does not go into a pack"
            contents.problems.append(Problem(str(Path(parent, name)), told, "Put the folder itself there."))
        for name in sorted(item for item in files if not item.startswith(".")):
            file = Path(parent, name)
            contents.add((Path(place) / file.relative_to(folder)).as_posix(), role, file)


def collect_environment_files(contents: Contents, root: Path, pipeline: Pipeline) -> None:
    """Environment files, scripts and definitions of the tools, with their pin files."""
    for tool in tools_of(pipeline):
        spec = tool.spec.environment
        for path, file in environment_files(root, spec.conda, spec.apptainer_def).items():
            contents.add(path, "environment", file)


def collect_models(contents: Contents, root: Path, pipeline: Pipeline, state: State) -> None:
    """The models of the tools, which must be there and be the right ones."""
    for tool in tools_of(pipeline):
        for model in tool.spec.environment.models:
            path = tool.spec.model_paths[model.name]
            where, file = f"tool {tool.spec.id!r}: model {model.name}", root / path
            source = f" from {model.url}" if model.url else ""
            if not is_inside(path):
                fix = "Put it into the study, and name it from there."
                contents.problems.append(Problem(where, f"{path} is no place inside the study folder", fix))
            elif not file.is_file():
                fix = f"Get it{source} and put it there; sha256 {model.sha256}."
                contents.problems.append(Problem(where, f"there is no file {path}", fix))
            elif (found := state.sha256(file)) != model.sha256:
                message = f"{path} has the sha256 {found}; the tool's descriptor says {model.sha256}"
                contents.problems.append(Problem(where, message, f"Get it again{source}."))
            else:
                contents.add(path, "model", file)
                users = [*contents.models[path].tools, tool.spec.id] if path in contents.models else [tool.spec.id]
                contents.models[path] = PackedModel(
                    path=path, name=model.name, licence=model.licence, sha256=found, tools=users
                )


def collect_shared_files(contents: Contents, root: Path, pipeline: Pipeline) -> None:
    """Files that all rows share, such as a PSF; without one the pipeline waits for one at the other place."""
    wires = [wire for step in pipeline.steps.values() for wire in step.wires.values()]
    for path in sorted({wire.path for wire in wires if isinstance(wire, FileWire)}):
        if is_inside(path) and (root / path).is_dir():
            _add_folder(contents, root / path, path, "shared")
        elif is_inside(path) and (root / path).is_file():
            contents.add(path, "shared", root / path)
        else:
            told = "is not there" if is_inside(path) else "lies outside the study folder"
            contents.warnings.append(f"{path}, which the pipeline reads, {told} and is not packed: bring it along.")
