"""The tool descriptor: one strict model of ``tools/<tool>/tool.yaml``.

The field descriptions are the documentation and the text of the JSON Schema. Knows nothing of pipelines,
sheets or Snakemake.
"""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from snakescope.tool.base import SAFE_NAME, Model
from snakescope.tool.expressions import ExpressionError, compile_expression, names_in
from snakescope.tool.geometry import ITEMSIZE, axes_choices

Name = Annotated[str, StringConstraints(pattern=SAFE_NAME, max_length=40)]
PortType = Literal[
    "image", "labels", "mask", "points", "tracks", "table", "transform", "psf", "model", "file", "directory"
]
Format = Literal[
    "ome-zarr", "ome-tiff", "tiff", "nd2", "lif", "czi", "csv", "tsv", "json", "trackmate-xml", "geff",
    "png", "gif", "mp4", "txt", "other",
]  # fmt: skip
Fact = Literal["voxel_size_um", "time_step_s", "scene", "t_index"]
Scalar = float | int | bool | str
DIRECTORY_FORMATS = frozenset({"ome-zarr", "geff"})
IMAGE_TYPES = frozenset({"image", "labels", "mask"})
GEOMETRY_NAMES = frozenset({"voxels", "volume", "shape", "voxel_size_um", "time_step_s", "itemsize"})
RESERVED = frozenset({"record", "threads", "log", "out", "python", "script", "row", "sample", "plan", "wildcards"})


def _is_expression(text: str | int | float) -> str | int | float:
    if isinstance(text, str):
        try:
            compile_expression(text)
        except ExpressionError as error:
            raise ValueError(str(error)) from None
    return text


def _is_axes(pattern: str) -> str:
    axes_choices(pattern)
    return pattern


def _is_dtype(name: str) -> str:
    if name not in ITEMSIZE:
        raise ValueError(f"found {name!r}; expected one of {', '.join(sorted(ITEMSIZE))}")
    return name


Expression = Annotated[str | int | float, AfterValidator(_is_expression)]
Axes = Annotated[str, AfterValidator(_is_axes)]
DType = Annotated[str, AfterValidator(_is_dtype)]


class Program(Model):
    """The program that a tool wraps."""

    name: str
    """Name of the program or package."""
    version: str
    """Version the wrapper was written and tested for."""


class Edam(Model):
    """EDAM terms."""

    operations: list[Annotated[str, StringConstraints(pattern=r"^operation_\d{4}$")]] = []
    """EDAM operations, for example ``operation_3443`` (image analysis)."""


class InputPort(Model):
    """One thing that a tool reads."""

    type: PortType
    """What it is."""
    description: str
    """One sentence for people."""
    formats: list[Format] = []
    """Formats the program reads; empty = any."""
    axes: Axes | None = None
    """Axes the program understands, in the order tczyx; ``?`` marks one that may be absent."""
    dtype: list[DType] = []
    """numpy names of the sample types it accepts; empty = any."""
    requires: list[Literal["pixel_size", "time_step"]] = []
    """Facts without which the program cannot work."""
    facts: list[Fact] = []
    """Facts of the sample sheet that the program takes as flags when the file comes straight from the sheet."""
    optional: bool = False
    """May be left unwired."""
    many: bool = False
    """Takes several files: one for each member of a group, in the order of their time points."""


class OutputPort(Model):
    """One thing that a tool writes."""

    type: PortType
    """What it is."""
    description: str
    """One sentence for people."""
    file: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=80)]
    """File name under ``results/<unit>/<step>/``."""
    format: Format
    """Format the program writes."""
    like: Name | None = None
    """Input whose axes, shape, sample type, voxel size and time step this output keeps, unless said below."""
    axes: Axes | None = None
    """Axes, where they do not follow an input."""
    dtype: DType | None = None
    """numpy name of the sample type, where it differs from the input's."""
    shape: dict[Literal["t", "c", "z", "y", "x"], Expression] = {}
    """Size along an axis where it differs from the input's, as expressions."""
    voxel_size_um: dict[Literal["z", "y", "x"], Expression] = {}
    """Voxel size in µm along an axis where it differs from the input's, as expressions."""

    @property
    def is_directory(self) -> bool:
        """Whether the output is a folder (an OME-Zarr store, a GEFF graph)."""
        return self.format in DIRECTORY_FORMATS or self.type == "directory"


class Param(Model):
    """One parameter: its type, bounds, unit and meaning."""

    type: Literal["number", "integer", "text", "boolean", "choice", "numbers"]
    """Kind of value; ``numbers`` is a list."""
    help: str
    """One line for people."""
    default: Scalar | list[float] | None = None
    """Value when the pipeline gives none. Without this key the parameter is required; null = not given."""
    unit: str | None = None
    """Unit of the value (um, s, deg, px, ...)."""
    min: float | None = None
    """Smallest value allowed."""
    max: float | None = None
    """Largest value allowed."""
    above: float | None = None
    """Values must be above this."""
    below: float | None = None
    """Values must be below this."""
    choices: list[str] = []
    """Words allowed, for type ``choice``."""
    when: Expression | None = None
    """Condition on other parameters; the value is passed only where it is true."""

    @property
    def required(self) -> bool:
        """Whether a pipeline must give a value."""
        return "default" not in self.model_fields_set

    @model_validator(mode="after")
    def _default_fits(self) -> Self:
        if self.type == "choice" and not self.choices:
            raise ValueError("type is choice; expected a list under `choices`")
        if self.default is not None:
            message = self.reject(self.default)
            if message:
                raise ValueError(f"default: {message}")
        return self

    def reject(self, value: Any) -> str | None:
        """Say why a value is not acceptable; None when it is."""
        if value is None:
            return "found null; expected a value" if self.required or self.default is not None else None
        if self.type == "numbers":
            values = value if isinstance(value, list) else [value]
            return next((text for text in map(self._reject_number, values) if text), None)
        if self.type == "boolean":
            return None if isinstance(value, bool) else f"found {value!r}; expected true or false"
        if self.type == "choice":
            return None if value in self.choices else f"found {value!r}; expected one of: {', '.join(self.choices)}"
        if self.type == "text":
            return self._reject_text(value)
        return self._reject_number(value)

    def _reject_text(self, value: Any) -> str | None:
        if not isinstance(value, str):
            return f"found {value!r}; expected text"
        bad = sorted({char for char in value if ord(char) < 32 or ord(char) == 127})
        return f"found the control character {bad[0]!r}; expected one line of text" if bad else None

    def _reject_number(self, value: Any) -> str | None:
        wanted = "a whole number" if self.type == "integer" else "a number"
        unit = f" in {self.unit}" if self.unit and self.unit != "1" else ""
        if isinstance(value, str):
            match = re.fullmatch(r"\s*[-+0-9.eE]+\s*([^\W\d].*|[µ°%].*)", value)
            if match and self.unit:
                return f"found {value!r} with the unit {match[1]!r}; expected a bare number{unit}"
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            return f"found {value!r}; expected {wanted}{unit}"
        if self.type == "integer" and value != int(value):
            return f"found {value!r}; expected a whole number{unit}"
        return self._reject_range(value, unit)

    def _reject_range(self, value: float, unit: str) -> str | None:
        bounds = (
            (self.min, value >= (self.min or 0), "at least"),
            (self.max, value <= (self.max or 0), "at most"),
            (self.above, value > (self.above or 0), "above"),
            (self.below, value < (self.below or 0), "below"),
        )
        if all(fits for bound, fits, _ in bounds if bound is not None):
            return None
        range_text = " and ".join(f"{word} {bound:g}" for bound, _, word in bounds if bound is not None)
        return f"found {value!r}; expected a number {range_text}{unit}"


class Environment(Model):
    """Where the program runs when Snakemake deploys software; otherwise, where snakescope itself runs."""

    conda: Annotated[str, StringConstraints(pattern=r"^envs/[A-Za-z0-9_-]+\.yaml$")] | None = None
    """Conda environment file under ``envs/``."""


class Resources(Model):
    """What one job needs; numbers or expressions over the geometry of the inputs and the parameters."""

    threads: int = Field(default=1, ge=1, le=256)
    """Threads the program can use."""
    mem_mb: Expression = 1000
    """Peak memory in MB."""
    runtime_min: Expression = 10
    """Wall time in minutes, generously."""
    disk_mb: Expression | None = None
    """Scratch space in MB."""
    gpus: int = Field(default=0, ge=0)
    """Number of GPUs."""


class Rembi(Model):
    """How the step reads as a REMBI image analysis or a MIFA annotation."""

    kind: Literal["analysis", "annotation"] = "analysis"
    """REMBI image analysis, or MIFA annotation."""
    title: str
    """Title of the method."""
    prose: str
    """What was done, in a sentence or two, with ``{parameter}`` where a value belongs."""


Argument = str | int | float | list[str | int | float]


class ToolSpec(Model):
    """A wrapped tool (``tools/<tool>/tool.yaml``)."""

    schema_: Literal[1] = Field(alias="schema")
    """Version of this format."""
    id: Name
    """Name of the folder, and the name by which pipelines use the tool."""
    name: str
    """Name for people."""
    version: Annotated[str, StringConstraints(pattern=r"^\d+\.\d+(\.\d+)?$")]
    """Version of this wrapper."""
    tool: Program
    """The program that is wrapped."""
    description: str
    """What it does, in a sentence or two."""
    license: str
    """SPDX identifier of the program's licence."""
    citations: list[Annotated[str, StringConstraints(pattern=r"^10\.\d{4,9}/\S+$")]] = []
    """DOIs, bare."""
    homepage: str | None = None
    """Where to read more."""
    edam: Edam = Edam()
    """EDAM terms."""
    keywords: list[str] = []
    """Words to find the tool by."""
    owns: list[str] = []
    """Flags that the wrapper itself sets and nobody else may."""
    inputs: dict[Name, InputPort]
    """What it reads."""
    outputs: dict[Name, OutputPort] = Field(min_length=1)
    """What it writes."""
    params: dict[Name, Param] = {}
    """What can be set."""
    one_of: list[list[Name]] = []
    """Groups of optional inputs of which exactly one must be wired."""
    command: list[Argument] | None = None
    """The program and its arguments, one by one, with ``{in.PORT}``, ``{out.PORT}``, ``{param.NAME}``, ``{threads}``,
    ``{python}``. A nested list is left out when a value in it is not given."""
    script: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_]+\.py$")] | None = None
    """A Python program beside this file or in ``scripts/``, called with one flag a port and parameter."""
    environment: Environment = Environment()
    """Where the program runs."""
    resources: Resources = Resources()
    """What one job needs."""
    qc: str | None = None
    """What to look at to judge the result."""
    rembi: Rembi | None = None
    """How the step reads as REMBI metadata."""

    @property
    def primary(self) -> str | None:
        """The input that plain ``voxels``, ``shape``, ... speak of: the first image, else the first input."""
        images = (name for name, port in self.inputs.items() if port.type in IMAGE_TYPES)
        return next(images, next(iter(self.inputs), None))

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        problems = [*self._bad_names(), *self._bad_execution(), *self._bad_references(), *self._bad_expressions()]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _bad_names(self) -> list[str]:
        used = [*self.inputs, *self.params]
        twice = sorted({name for name in used if used.count(name) > 1})
        reserved = sorted(RESERVED.intersection([*used, *self.outputs]))
        files = [port.file for port in self.outputs.values()]
        return [
            *(f"the name {name!r} is used for an input and a parameter" for name in twice),
            *(f"the name {name!r} is reserved" for name in reserved),
            *(f"two outputs write {file!r}" for file in sorted({file for file in files if files.count(file) > 1})),
        ]

    def _bad_execution(self) -> list[str]:
        if (self.command is None) == (self.script is None):
            return ["expected exactly one of `command` and `script`"]
        problems = []
        for word in _words(self.command or []):
            for placeholder in placeholders(word):
                message = self._bad_placeholder(placeholder)
                if message:
                    problems.append(f"command: {message}")
        return problems

    def _bad_placeholder(self, placeholder: str) -> str | None:
        kind, _, name = placeholder.partition(".")
        name, _, fact = name.partition(".")
        known: dict[str, Any] = {"in": self.inputs, "out": self.outputs, "param": self.params}
        if placeholder in ("threads", "python"):
            return None
        if kind not in known or not name:
            return f"found {{{placeholder}}}; expected in.PORT, out.PORT, param.NAME, threads or python in the braces"
        if name not in known[kind]:
            return f"{{{placeholder}}} names no {kind} (there are: {', '.join(known[kind]) or 'none'})"
        if fact and (kind != "in" or fact not in self.inputs[name].facts):
            return f"{{{placeholder}}} needs {fact!r} among the `facts` of that input"
        return None

    def _bad_references(self) -> list[str]:
        problems = [
            f"outputs.{name}.like: there is no input {port.like!r}"
            for name, port in self.outputs.items()
            if port.like and port.like not in self.inputs
        ]
        for group in self.one_of:
            unknown = [name for name in group if name not in self.inputs]
            fixed = [name for name in group if name in self.inputs and not self.inputs[name].optional]
            problems += [f"one_of: there is no input {name!r}" for name in unknown]
            problems += [f"one_of: the input {name!r} must be `optional: true`" for name in fixed]
        if self.rembi:
            unknown_names = sorted(set(re.findall(r"\{(\w+)\}", self.rembi.prose)) - set(self.params))
            problems += [f"rembi.prose: {{{name}}} is not a parameter" for name in unknown_names]
        problems += [f"facts: {fact!r} is asked for by {a!r} and {b!r}; give it to one" for fact, a, b in self._twice()]
        return problems

    def _twice(self) -> list[tuple[str, str, str]]:
        """Facts that two inputs ask for which can be wired together: their flags would collide."""
        pairs = ((a, b) for a in self.inputs for b in self.inputs if a < b)
        together = ((a, b) for a, b in pairs if not any({a, b} <= set(group) for group in self.one_of))
        return [
            (fact, a, b) for a, b in together for fact in sorted(set(self.inputs[a].facts) & set(self.inputs[b].facts))
        ]

    def _bad_expressions(self) -> list[str]:
        known = {*GEOMETRY_NAMES, *self.params, *self.inputs, "inputs", "rows", "threads", "attempt"}
        expressions: dict[str, Expression | None] = {
            "resources.mem_mb": self.resources.mem_mb,
            "resources.runtime_min": self.resources.runtime_min,
            "resources.disk_mb": self.resources.disk_mb,
        }
        for name, port in self.outputs.items():
            expressions |= {f"outputs.{name}.shape.{axis}": text for axis, text in port.shape.items()}
            expressions |= {f"outputs.{name}.voxel_size_um.{axis}": text for axis, text in port.voxel_size_um.items()}
        expressions |= {f"params.{name}.when": param.when for name, param in self.params.items()}
        return [
            f"{where}: unknown name {name!r}"
            for where, text in expressions.items()
            if isinstance(text, str)
            for name in sorted(names_in(compile_expression(text)))
            if name.split(".")[0] not in known
        ]


def _words(command: list[Argument]) -> list[str]:
    flat = [word for item in command for word in (item if isinstance(item, list) else [item])]
    return [str(word) for word in flat]


def placeholders(word: str) -> list[str]:
    """The names in braces in one word of a command; ``{{`` and ``}}`` stand for plain braces."""
    return re.findall(r"\{([^{}]*)\}", word.replace("{{", "").replace("}}", ""))
