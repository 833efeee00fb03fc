"""Make, or check, every generated file of the project: schemas, the tools page, definitions of images, rules.

For people who work on snakescope itself; run as ``python -m snakescope.generate [--check]`` in a source checkout.
"""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from snakescope import layout
from snakescope.compiler import compile_pipeline, json_text
from snakescope.environments.definition import definition
from snakescope.environments.images import pin_file
from snakescope.pipeline import PipelineSpec, read_pipeline
from snakescope.runner.cases import Case
from snakescope.runner.folder import StudyConfig
from snakescope.tool.base import Model, read_yaml
from snakescope.tool.library import Tool, read_library
from snakescope.tool.spec import ToolSpec

COMMAND = "make compile"
SCHEMAS: dict[str, type[Model]] = {
    "config/tool.schema.json": ToolSpec,
    "config/case.schema.json": Case,
    "config/pipeline.schema.json": PipelineSpec,
    "config/config.schema.json": StudyConfig,
}


def generated_files(root: Path) -> dict[str, str]:
    """Text of every generated file of a source checkout by its path."""
    texts = {path: json_text(_schema(model)) for path, model in SCHEMAS.items()}
    tools = list(read_library([root / "tools"]).values())
    texts["docs/tools.md"] = tools_page(tools, read_yaml(root / "tools/ran.yaml"))
    texts |= dict(_definitions(root, tools))
    for path in sorted((root / "config/pipelines").glob("*.yaml")):
        texts |= compile_pipeline(read_pipeline(path, [root / "tools"]), root)
    return {path: _relative(text, root) for path, text in texts.items()}


def _definitions(root: Path, tools: Sequence[Tool]) -> Iterator[tuple[str, str]]:
    """Apptainer definitions of the tools that have one of the same name as their conda environment."""
    for tool in tools:
        environment = tool.spec.environment
        if environment.conda and environment.apptainer_def == environment.conda.replace(".yaml", ".def"):
            file = root / environment.conda
            after = file.with_suffix(".post-deploy.sh").is_file()
            pinned = pin_file(file).is_file()
            yield (
                environment.apptainer_def,
                definition(file.stem, tool.spec.id, tool.spec.programs, pinned=pinned, after=after),
            )


def _relative(text: str, root: Path) -> str:
    assert str(root) not in text, "a generated file names a path of this machine"
    return text


def _schema(model: type[Model]) -> dict[str, object]:
    schema = model.model_json_schema(by_alias=True)
    note = f"GENERATED from the model {model.__name__}; do not edit. Made by: {COMMAND}"
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$comment": note, **schema}


def tools_page(tools: Sequence[Tool], ran: Mapping[str, Any] = MappingProxyType({})) -> str:
    """The reference of all tools, in Markdown; `ran` says where their cases have run (``tools/ran.yaml``)."""
    lines = [f"<!-- GENERATED from tools/*/tool.yaml; do not edit. Made by: {COMMAND} -->", "", "# Tools", ""]
    lines += [f"- [{tool.spec.name}](#{tool.spec.id}): {_cell(tool.spec.description)}" for tool in tools]
    for tool in tools:
        lines += ["", *_tool_section(tool, where_run(tool.spec.id, ran))]
    return "\n".join(lines) + "\n"


def where_run(tool: str, ran: Mapping[str, Any]) -> str:
    """Where the cases of a tool have run, as a sentence."""
    if tool in ran.get("never", {}):
        return f"The cases were never run: what is wanting is {ran['never'][tool]}."
    if tool in ran.get("by_hand", {}):
        return f"The cases were run by hand, with {ran['by_hand'][tool]}; the automatic tests do not have it."
    if tool in ran.get("automatic", ()):
        return "The automatic tests run the cases on the machine itself and, with the same numbers, in an image."
    return ""


def _tool_section(tool: Tool, where: str = "") -> list[str]:
    spec = tool.spec
    lines = [
        f'<a id="{spec.id}"></a>',
        f"## {spec.name}",
        "",
        f"`{spec.id}` {spec.version}. {_cell(spec.description)}",
        "",
    ]
    lines += ["| input | type | axes | what |", "|---|---|---|---|"]
    for name, port in spec.inputs.items():
        kind = port.type + (", many" if port.many else "") + (", optional" if port.optional else "")
        lines.append(f"| `{name}` | {kind} | {f'`{port.axes}`' if port.axes else ''} | {_cell(port.description)} |")
    lines += ["", "| output | type | file | what |", "|---|---|---|---|"]
    lines += [f"| `{n}` | {o.type} | `{o.file}` | {_cell(o.description)} |" for n, o in spec.outputs.items()]
    lines += ["", "| parameter | default | unit | what |", "|---|---|---|---|"]
    for name, param in spec.params.items():
        default = "required" if param.required else "not set" if param.default is None else f"`{param.default}`"
        choices = f" One of: {', '.join(param.choices)}." if param.choices else ""
        lines.append(f"| `{name}` | {default} | {param.unit or ''} | {_cell(param.help)}{choices} |")
    if spec.qc:
        lines += ["", f"What to look at: {_cell(spec.qc)}"]
    lines += ["", f"Licence {spec.license}; cases: {', '.join(path.stem for path in tool.cases)}."]
    lines += [where] if where else []
    lines += _needs(spec)
    lines += [f"Cite <https://doi.org/{doi}>." for doi in spec.citations]
    return lines


def _needs(spec: ToolSpec) -> list[str]:
    """What has to be there for a tool that is not of this package."""
    if spec.script:
        return []
    gpu = ["an NVIDIA GPU"] if spec.environment.gpu else []
    models = [f"the model {model.name} ({model.licence})" for model in spec.environment.models]
    return [f"Needs {', '.join([*(f'`{name}`' for name in spec.programs), *gpu, *models])}."]


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def main(argv: Sequence[str] | None = None) -> int:
    """Write what is stale, or with ``--check`` show it and return 1."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; show a diff of what is stale")
    check: bool = parser.parse_args(argv).check
    root = layout.assets()
    stale = 0
    texts = generated_files(root)
    for path, text in texts.items():
        stale += _bring_up_to_date(root / path, path, text, check=check)
    rules = {f"{p.relative_to(root)}": p for p in (root / layout.RULES).glob("*/*")}
    for path in sorted(set(rules) - set(texts)):
        print(f"{path}: no pipeline makes it any more" + ("" if check else "; removed"))
        stale += 1
        if not check:
            rules[path].unlink()
    if check and stale:
        print(f"{stale} generated files are stale. Run: {COMMAND}", file=sys.stderr)
    return 1 if check and stale else 0


def _bring_up_to_date(target: Path, path: str, text: str, *, check: bool) -> int:
    old = target.read_text(encoding="utf-8") if target.is_file() else ""
    if old == text:
        return 0
    if check:
        print("\n".join(difflib.unified_diff(old.splitlines(), text.splitlines(), path, "made now", lineterm="")))
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
        print(f"wrote {path}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
