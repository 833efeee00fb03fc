"""How a record reads as an entry of REMBI: an image analysis, or a MIFA annotation. Knows one record at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from snakescope.record import JobRecord
from snakescope.tool.prose import Value, finish, with_unit

Parameter = tuple[str, Any, str | None]
"""Name, value and unit; the value of a row is text as in its cell, None is not given, a list is a tuple."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What a job did, in REMBI's terms; hashable, and equal for jobs that did the same.

    Parameters
    ----------
    kind
        REMBI image analysis or MIFA annotation.
    annotation_type
        One of MIFA's words; None for an analysis.
    title, overview
        Of the method; the overview is sentences for a reader, with all values and the program in them.
    tool, wrapper_version
        The wrapped tool's id and the version of its descriptor.
    program, tool_version
        The program inside and its version as it told the job, or else as it was wrapped.
    citations
        Bare DOIs.
    parameters
        All of them, also those not given.
    """

    kind: str
    annotation_type: str | None
    title: str
    overview: str
    tool: str
    wrapper_version: str
    program: str
    tool_version: str
    citations: tuple[str, ...]
    parameters: tuple[Parameter, ...]


def rembi_entry(record: JobRecord) -> Entry | None:
    """Tell a job as REMBI does; None for a record that does not hold what its rule was compiled with."""
    if not record.compiled:
        return None
    tool, rembi = record.compiled["tool"], record.compiled.get("rembi")
    version = record.tool_version_observed or tool["program"]["version"]
    told = _method(record) if rembi else _plain_method(tool["name"], record)
    made_with = f", with {tool['program']['name']} {version} (tool {tool['id']} {tool['version']})."
    return Entry(
        kind=rembi["kind"] if rembi else "analysis",
        annotation_type=rembi.get("annotation_type") if rembi else None,
        title=rembi["title"] if rembi else tool["name"],
        overview=told.rstrip().removesuffix(".") + made_with,
        tool=tool["id"],
        wrapper_version=tool["version"],
        program=tool["program"]["name"],
        tool_version=version,
        citations=tuple(tool["citations"]),
        parameters=tuple((item["name"], _fixed(item["value"]), item["unit"]) for item in record.parameters),
    )


def _fixed(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _method(record: JobRecord) -> str:
    """The method's prose, in which only the values of the row are still open."""
    return finish(record.compiled["rembi"]["prose"], {item["name"]: _value(item) for item in record.parameters})


def _value(parameter: dict[str, Any]) -> Value:
    """A job that failed early may not have said what its row brought along."""
    if parameter["value"] is None and "column" in parameter:
        return "(not recorded)", None
    return parameter["value"], parameter["unit"]


def _plain_method(name: str, record: JobRecord) -> str:
    values = {item["name"]: _value(item) for item in record.parameters}
    told = [f"{key} = {with_unit(*value)}" for key, value in values.items() if value[0] is not None]
    return f"{name}: {', '.join(told)}" if told else name
