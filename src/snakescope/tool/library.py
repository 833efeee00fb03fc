"""Finding and reading tool descriptors in folders of tools.

Knows where a descriptor and its program lie; knows nothing of pipelines.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from snakescope.errors import InputError, Problem, problem
from snakescope.tool.base import near_miss, parse, read_yaml
from snakescope.tool.spec import ToolSpec

SCRIPT_PARAMETER = re.compile(r"^\s*(?://\s*@|#@)\s*[A-Za-z]", re.MULTILINE)


@dataclass(frozen=True)
class Tool:
    """A descriptor with the place it was read from.

    Parameters
    ----------
    spec
        The checked descriptor.
    folder
        The tool's folder; it holds ``tool.yaml`` and ``cases/``.
    sha256
        Digest of ``tool.yaml`` as read.
    script_sha256
        Digest of the tool's own program when that lies beside ``tool.yaml``; None when it lies elsewhere.
    macro
        Text of the macro that the tool runs; None for any other program.
    """

    spec: ToolSpec
    folder: Path
    sha256: str
    script_sha256: str | None = None
    macro: str | None = None

    @property
    def cases(self) -> list[Path]:
        """The tool's test cases, in order of name."""
        return sorted((self.folder / "cases").glob("*.yaml"))


def read_tool(folder: Path) -> Tool:
    """Read and check ``tool.yaml`` in a tool's folder.

    Raises
    ------
    InputError
        With every problem of the file.
    """
    path = folder / "tool.yaml"
    spec = parse(ToolSpec, read_yaml(path), path)
    if spec.id != folder.name:
        raise problem(f"{path}: id", f"found {spec.id!r}; expected the name of its folder, {folder.name!r}")
    own = spec.script or spec.macro
    script = folder / own if own else None
    script_sha256 = _sha256(script) if script and script.is_file() else None
    if spec.script and spec.command and script_sha256 is None:
        raise problem(f"{path}: script", f"there is no file {spec.script} beside it")
    macro = _read_macro(folder / spec.macro, spec) if spec.macro else None
    return Tool(spec, folder, _sha256(path), script_sha256, macro)


def _read_macro(path: Path, spec: ToolSpec) -> str:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise problem(path, f"the macro cannot be read ({reason})") from error
    if bool(SCRIPT_PARAMETER.search(text)) != (spec.argument_style == "script"):
        found = "has script parameters (#@)" if spec.argument_style != "script" else "has no script parameters (#@)"
        where = f"{path.parent / 'tool.yaml'}: argument_style"
        raise problem(where, f"found {spec.argument_style!r}; the macro {path.name} {found}")
    return text


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def tool_folders(roots: Sequence[Path]) -> dict[str, Path]:
    """All tool folders by id; a folder in an earlier root hides one of the same name in a later root."""
    found: dict[str, Path] = {}
    for root in roots:
        for path in sorted(root.glob("*/tool.yaml")):
            found.setdefault(path.parent.name, path.parent)
    return dict(sorted(found.items()))


def find_tool(name: str, roots: Sequence[Path]) -> Tool:
    """Read the tool of that id, or of that folder when `name` is a path.

    Raises
    ------
    InputError
        If there is no such tool, or its descriptor is wrong.
    """
    folders = tool_folders(roots)
    if name in folders:
        return read_tool(folders[name])
    if "/" in name and (Path(name) / "tool.yaml").is_file():
        return read_tool(Path(name).resolve())
    fix = near_miss(name, folders) or f"There are: {', '.join(folders) or 'none'}."
    raise problem(f"tool {name!r}", "there is no such tool", fix)


def read_library(roots: Sequence[Path], names: Iterable[str] | None = None) -> Mapping[str, Tool]:
    """Read several tools (all by default); the problems of all of them are reported at once.

    Names that are not there are left out: who asked for them knows best how to say so.

    Raises
    ------
    InputError
        If a descriptor is wrong.
    """
    folders = tool_folders(roots)
    wanted = list(folders) if names is None else [name for name in dict.fromkeys(names) if name in folders]
    tools: dict[str, Tool] = {}
    problems: list[Problem] = []
    for name in wanted:
        try:
            tools[name] = read_tool(folders[name])
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(problems)
    return tools
