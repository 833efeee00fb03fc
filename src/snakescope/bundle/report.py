"""What was packed and unpacked, for people and for programs."""

from __future__ import annotations

from collections import Counter
from typing import Any

from snakescope.bundle.manifest import PackedTool
from snakescope.bundle.pack import PackReport
from snakescope.bundle.unpack import UnpackReport
from snakescope.runner.cases import cases_text
from snakescope.words import size_text

_WAYS = {"apptainer": "in an image", "conda": "in a conda environment", "none": "from the machine's own programs"}


def pack_text(report: PackReport) -> str:
    """What goes in, by kind, and what to know of it."""
    sizes: Counter[str] = Counter()
    counts = Counter(role for _, role, _ in report.files)
    fetched = Counter(role for _, role, size in report.files if size is None)
    for _, role, size in report.files:
        sizes[role] += size or 0
    lines = [f"pipeline {report.pipeline}: {len(report.files)} files, {size_text(report.size)}"]
    for role in sorted(counts):
        more = f", {fetched[role]} to be fetched" if fetched[role] else ""
        lines.append(f"  {role:<12} {counts[role]:>5}  {size_text(sizes[role])}{more}")
    lines += ["tools:", *(f"  {_tool_text(tool)}" for tool in report.tools)]
    lines += [f"model {item.path}: {item.name}, licence {item.licence}" for item in report.models]
    lines += [f"warning: {text}" for text in report.warnings]
    if report.sha256:
        lines += [f"wrote {report.out}, sha256 {report.sha256}"]
    return "\n".join(lines)


def _tool_text(tool: PackedTool) -> str:
    place = f" ({tool.environment})" if tool.environment else ""
    cases = f"{tool.cases} test case{'' if tool.cases == 1 else 's'}"
    return f"{tool.id} {tool.version}, {cases}: runs {_WAYS[tool.runs_in]}{place}"


def pack_to_dict(report: PackReport) -> dict[str, Any]:
    """The report as JSON holds it."""
    return {
        "out": str(report.out),
        "sha256": report.sha256,
        "pipeline": report.pipeline,
        "bytes": report.size,
        "files": [{"path": path, "role": role, "size": size} for path, role, size in report.files],
        "tools": [tool.model_dump() for tool in report.tools],
        "images": [image.model_dump() for image in report.images],
        "models": [model.model_dump() for model in report.models],
        "warnings": report.warnings,
    }


def unpack_text(report: UnpackReport) -> str:
    """What is there now, and how many cases passed; the cases themselves are told by the caller."""
    manifest = report.manifest
    told = f"{len(manifest.files)} files, {size_text(manifest.size)}, every digest is right"
    lines = [f"unpacked {report.folder}: pipeline {manifest.pipeline}, {told}"]
    lines += [f"warning: {text}" for text in report.warnings]
    if report.results is None:
        return "\n".join([*lines, "the tools' test cases were not run"])
    return "\n".join([*lines, cases_text(report.results, "what they need is")])


def unpack_to_dict(report: UnpackReport) -> dict[str, Any]:
    """The report as JSON holds it."""
    results = report.results
    return {
        "folder": str(report.folder),
        "pipeline": report.manifest.pipeline,
        "files": len(report.manifest.files),
        "bytes": report.manifest.size,
        "warnings": report.warnings,
        "cases": None if results is None else [found.to_dict() for found in results],
    }
