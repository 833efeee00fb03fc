"""The tool descriptor: one strict model of ``tools/<tool>/tool.yaml``.

The field descriptions are the documentation and the text of the JSON Schema. Knows nothing of pipelines,
sheets or Snakemake.
"""

from __future__ import annotations

import keyword
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from snakescope.tool.base import SAFE_NAME, Fault, FaultsError, Model, near_miss, short
from snakescope.tool.expressions import FUNCTIONS, ExpressionError, compile_expression, names_in
from snakescope.tool.geometry import ITEMSIZE, Geometry, axes_choices
from snakescope.tool.image_names import unfit_image
from snakescope.tool.prose import mistakes

Name = Annotated[str, StringConstraints(pattern=SAFE_NAME, max_length=40)]
PortType = Literal[
    "image", "labels", "mask", "points", "tracks", "table", "transform", "psf", "model", "file", "directory"
]
Format = Literal[
    "ome-zarr", "ome-tiff", "tiff", "nd2", "lif", "czi", "csv", "tsv", "json", "trackmate-xml", "geff",
    "png", "gif", "mp4", "txt", "other",
]  # fmt: skip
Fact = Literal["voxel_size_um", "time_step_s", "scene", "t_index", "stack_axis"]
_FACTS: tuple[Fact, ...] = get_args(Fact)
AnnotationType = Literal[
    "class_labels", "bounding_boxes", "counts", "derived_annotations", "geometrical_annotations", "graphs",
    "point_annotations", "segmentation_mask", "tracks", "weak_annotations", "other",
]  # fmt: skip
Scalar = float | int | bool | str
DIRECTORY_FORMATS = frozenset({"ome-zarr", "geff"})
IMAGE_TYPES = frozenset({"image", "labels", "mask"})
GEOMETRY = Geometry().names()
# Snakemake's lists of files and wildcards cannot hold these names, nor can Python's keyword arguments.
UNFIT_FOR_RULES = frozenset(
    {"append", "clear", "copy", "count", "extend", "get", "insert", "items", "keys", "pop", "remove", "reverse"}
    | {"update", "size", "size_gb", "size_kb", "size_mb", "size_files", "size_files_gb", "size_files_kb"}
    | {"size_files_mb", "size_tempfiles", "temp_size_mb", *keyword.kwlist}
)
# What a compiled rule or an expression already means by a name.
RESERVED = UNFIT_FOR_RULES | frozenset(
    {"record", "threads", "log", "out", "python", "script", "row", "sample", "plan", "wildcards", "program", "samples"}
    | {"environment", "inputs", "rows", "attempt", "scene", "t_index", *GEOMETRY, *FUNCTIONS}
)


# What `tool run` puts beside the outputs.
FILES_OF_TOOL_RUN = frozenset({"record.json", "log.txt", "log.failed.json"})
_UNIT_IN_NAME = re.compile(r"_(um|nm|px|deg|ms|s)$")


def unit_in(name: str) -> str | None:
    """The unit that the name of a parameter ends with; None when it ends with none."""
    match = _UNIT_IN_NAME.search(name)
    return match[1] if match else None


def _is_expression(text: str | int | float) -> str | int | float:
    if isinstance(text, str):
        try:
            compile_expression(text)
        except ExpressionError as error:
            raise ValueError(str(error)) from None
    elif not math.isfinite(text):
        raise ValueError(f"found {text}; expected a finite number or an expression")
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
    observe: list[str] = []
    """Command that prints the version of the program as it is where the job runs; it is run in every job, and the first
    line with a digit in it goes into the record. Empty = not observed, unless the program tells it by itself."""


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
    tolerance: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """Largest difference between two runs of the same job on equal inputs: of pixel values or numeric cells, relative
    to the range of that image or column. Absent = bit-identical."""

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

    @property
    def may_be_absent(self) -> bool:
        """Whether a job may go without a value: none is needed, or it is passed under a condition only."""
        return self.when is not None or (self.default is None and not self.required)

    @property
    def range_text(self) -> str:
        """Its bounds in words; empty where there are none."""
        words = {"min": "at least", "max": "at most", "above": "above", "below": "below"}
        return " and ".join(f"{words[name]} {bound:g}" for name, bound in self._bounds())

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        faults = [*self._misplaced(), *self._empty_range()]
        message = self.reject(self.default) if self.default is not None and not faults else None
        if message:
            faults.append(("default", message, None))
        if faults:
            raise FaultsError(faults)
        return self

    def _misplaced(self) -> Iterator[Fault]:
        if self.type == "choice" and not self.choices:
            yield "choices", "is missing; type is choice", None
        if self.type != "choice" and self.choices:
            yield "choices", f"has no meaning for type {self.type}", "Set type to choice, or remove it."
        if self.type not in ("number", "integer", "numbers"):
            for name, bound in self._bounds():
                yield name, f"found {bound:g}; type {self.type} has no range", "Remove it."

    def _bounds(self) -> list[tuple[str, float]]:
        bounds = (("min", self.min), ("max", self.max), ("above", self.above), ("below", self.below))
        return [(name, bound) for name, bound in bounds if bound is not None]

    def _empty_range(self) -> Iterator[Fault]:
        bounds = dict(self._bounds())
        yield from (
            (name, f"found {bound}; expected a number", None) for name, bound in bounds.items() if bound != bound
        )
        for low in ("min", "above"):
            for high in ("max", "below"):
                if low in bounds and high in bounds:
                    lowest, highest = bounds[low], bounds[high]
                    if lowest > highest or (lowest == highest and (low, high) != ("min", "max")):
                        yield low, f"found {lowest:g} with {high} {highest:g}; no number lies between", None

    def reject(self, value: Any) -> str | None:
        """Say why a value is not acceptable; None when it is."""
        if value is None:
            return "found null; expected a value" if self.required or self.default is not None else None
        if self.type == "numbers":
            values = value if isinstance(value, list) else [value]
            if not values:
                return "found an empty list; expected a number or more"
            return next((text for text in map(self._reject_number, values) if text), None)
        if self.type == "boolean":
            return None if isinstance(value, bool) else f"found {short(value)}; expected true or false"
        if self.type == "choice":
            return (
                None if value in self.choices else f"found {short(value)}; expected one of: {', '.join(self.choices)}"
            )
        if self.type == "text":
            return self._reject_text(value)
        return self._reject_number(value)

    def _reject_text(self, value: Any) -> str | None:
        if not isinstance(value, str):
            return f"found {short(value)}; expected text"
        return unfit_text(value)

    def _reject_number(self, value: Any) -> str | None:
        wanted = "a whole number" if self.type == "integer" else "a number"
        unit = f" in {self.unit}" if self.unit and self.unit != "1" else ""
        if isinstance(value, str):
            match = re.fullmatch(r"\s*[-+0-9.eE]+\s*([^\W\d_].*|[µ°%].*)", value)
            if match and self.unit:
                return f"found {value!r} with the unit {match[1]!r}; expected a bare number{unit}"
        if isinstance(value, bool) or not isinstance(value, int | float) or not _is_finite(value):
            return f"found {short(value)}; expected {wanted}{unit}"
        if self.type == "integer" and not isinstance(value, int):
            point = ", without a decimal point" if value == int(value) else ""
            return f"found {value!r}; expected a whole number{point}{unit}"
        return self._reject_range(value, unit)

    def _reject_range(self, value: float, unit: str) -> str | None:
        bounds = (
            (self.min, value >= (self.min or 0)),
            (self.max, value <= (self.max or 0)),
            (self.above, value > (self.above or 0)),
            (self.below, value < (self.below or 0)),
        )
        if all(fits for bound, fits in bounds if bound is not None):
            return None
        wanted = "a whole number" if self.type == "integer" else "a number"
        return f"found {value!r}; expected {wanted} {self.range_text}{unit}"


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond what a float holds
        return False


def unfit_text(text: str) -> str | None:
    """Say why a text cannot be one word of a command line: it holds a line end or another control character."""
    bad = sorted({char for char in text if ord(char) < 32 or ord(char) == 127})
    return f"found the control character {bad[0]!r}; expected one line of text" if bad else None


def _is_image(text: str) -> str:
    message = unfit_image(text)
    if message:
        raise ValueError(message)
    return text


Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
# Variables that decide how a job itself runs.
_TAKEN_VARIABLES = frozenset({"PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "LD_PRELOAD", "IFS", "ENV", "BASH_ENV"})


class ModelFile(Model):
    """A file that the program needs beside its code, such as the weights of a network."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=80)]
    """Name of the model."""
    path: str | None = None
    """Where it lies, relative to the study; by default ``models/<tool>/<name>``."""
    url: Annotated[str, StringConstraints(pattern=r"^(https?|ftp|doi|irods)://?\S+$")] | None = None
    """Where people get it; nothing is fetched by itself."""
    sha256: Sha256
    """Digest of the file, checked before a run."""
    licence: str
    """SPDX identifier of the model's licence, or its name."""
    env: Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Z0-9_]*$", max_length=60)]
    """Variable in which the program is told the path."""

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        faults: list[Fault] = []
        if self.path is None and self.url is None:
            faults.append(("", "has neither path nor url; expected where it lies or where people get it", None))
        if self.path is not None and (not self.path or unfit_text(self.path)):
            faults.append(("path", unfit_text(self.path) or "found an empty path; expected a file name", None))
        if self.env in _TAKEN_VARIABLES:
            faults.append(("env", f"the variable {self.env} is taken", "Use one of the program's own."))
        if faults:
            raise FaultsError(faults)
        return self


ProgramName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$", max_length=80)]


class Environment(Model):
    """Where the program runs when Snakemake deploys software; otherwise, on the machine itself."""

    conda: Annotated[str, StringConstraints(pattern=r"^envs/[A-Za-z0-9_-]+\.yaml$")] | None = None
    """Conda environment file under ``envs/``; a ``.linux-64.pin.txt`` beside it is used instead where it is there."""
    container: Annotated[str, AfterValidator(_is_image)] | None = None
    """Apptainer image: ``docker://`` or ``oras://`` with ``@sha256:`` and its digest, or the path of a .sif file or
    image folder relative to the study. A site may name its own in ``config/images.yaml``."""
    apptainer_def: Annotated[str, StringConstraints(pattern=r"^envs/[A-Za-z0-9_-]+\.def$")] | None = None
    """Apptainer definition that the image is built from."""
    gpu: bool = False
    """Whether the program uses a GPU: its image is then started with ``--nv``."""
    writable_home: bool = False
    """Whether the program writes to its home folder: each job then has an empty one of its own."""
    models: list[ModelFile] = []
    """Files that the program needs beside its code."""
    programs: list[ProgramName] = []
    """Programs that must be on the PATH; by default the first word of the command. They also say how a macro is
    started: by the one that is none of ``xvfb-run``, ``xauth``, ``timeout`` and ``java``. ``imagej`` stands for
    ``ij.jar`` (in ``/usr/share/java``, or what ``IMAGEJ_JAR`` says), which needs a display and so ``xvfb-run``."""

    @model_validator(mode="after")
    def _names_once(self) -> Self:
        faults: list[Fault] = []
        for key in ("name", "env"):
            values = [getattr(model, key) for model in self.models]
            twice = [value for value in dict.fromkeys(values) if values.count(value) > 1]
            faults += [("models", f"the {key} {value!r} stands twice", None) for value in twice]
        if faults:
            raise FaultsError(faults)
        return self


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
    annotation_type: AnnotationType | None = None
    """What an annotation consists of, in MIFA's words."""
    title: str
    """Title of the method."""
    prose: str
    """What was done, in a sentence or two: ``{name}`` for the value and unit of a parameter, ``{name|value=text|...}``
    for a text by its value (``null`` = not given), ``[text with {name}]`` for a part that goes when it is not given."""

    @model_validator(mode="after")
    def _has_its_type(self) -> Self:
        if self.kind == "annotation" and self.annotation_type is None:
            there_are = f"There are: {', '.join(get_args(AnnotationType))}."
            raise FaultsError([("annotation_type", "is missing; kind is annotation", there_are)])
        if self.kind == "analysis" and self.annotation_type is not None:
            raise FaultsError([("annotation_type", "has no meaning for kind analysis", "Remove it, or set the kind.")])
        return self


Argument = str | int | float | list[str | int | float]
ArgumentName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=80)]
ArgumentStyle = Literal["list", "script", ",", ";", "|", "#"]
# How a macro is started where `environment.programs` does not say it.
IMAGEJ = ("xvfb-run", "xauth", "timeout", "java", "imagej")
FIJI = ("timeout", "ImageJ-linux64")


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
    ``{python}``, ``{script}``. A nested list is left out when a value in it is not given."""
    script: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$", max_length=80)] | None = None
    """A program beside this file: without `command` a Python one (``NAME.py``), called with one flag a port and
    parameter; with `command` one of any kind, which that command names as ``{script}``."""
    macro: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*\.ijm$", max_length=80)] | None = None
    """An ImageJ macro beside this file, run without a window, for as long as ``resources.runtime_min`` says."""
    arguments: dict[ArgumentName, str | int | float] = {}
    """What the macro is told, by the names that it knows, as in a command; what has no value is left out. By default
    every input, its facts as ``PORT_FACT``, every parameter, and every output as ``out_PORT``. ``{version}`` is a file
    into which the macro may write the version of ImageJ, for the record."""
    argument_style: ArgumentStyle = "list"
    """How the macro reads it: ``list`` for ``List.setList(getArgument())``, ``script`` for script parameters (``#@``,
    Fiji only), or the sign between values, for ``split(getArgument(), ",")``, in the order of `arguments`."""
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

    @property
    def programs(self) -> list[str]:
        """Programs that must be on the PATH where the tool runs: those declared, else what it starts with."""
        if self.macro and not self.environment.programs:
            return list(FIJI if self.argument_style == "script" else IMAGEJ)
        first = str(self.command[0]) if self.command else "python"
        plain = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]*", first)
        return self.environment.programs or (["python"] if first == "{python}" else [first] if plain else [])

    @property
    def told(self) -> dict[str, str]:
        """What a macro is told, by name: `arguments`, or everything there is."""
        if self.arguments:
            return {name: str(text) for name, text in self.arguments.items()}
        facts = [(port, fact) for port, spec in self.inputs.items() for fact in spec.facts]
        return {
            **{port: f"{{in.{port}}}" for port in self.inputs},
            **{f"{port}_{fact}": f"{{in.{port}.{fact}}}" for port, fact in facts},
            **{name: f"{{param.{name}}}" for name in self.params},
            **{f"out_{port}": f"{{out.{port}}}" for port in self.outputs},
            "version": "{version}",
        }

    @property
    def starter(self) -> str:
        """The program that runs a macro: ``imagej`` for ``ij.jar``, else Fiji by the name it has."""
        around = {"xvfb-run", "xauth", "timeout", "java"}
        return next((name for name in self.programs if name not in around), "imagej")

    @property
    def model_paths(self) -> dict[str, str]:
        """Where each of the models lies, relative to the study, by its name."""
        return {model.name: model.path or f"models/{self.id}/{model.name}" for model in self.environment.models}

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        faults = [*self._bad_names(), *self._bad_execution(), *self._bad_references(), *self._bad_expressions()]
        if faults:
            raise FaultsError(faults)
        return self

    def _bad_names(self) -> Iterator[Fault]:
        places: dict[str, Iterable[str]] = {"inputs": self.inputs, "outputs": self.outputs, "params": self.params}
        for place, names in places.items():
            for name in sorted(RESERVED.intersection(names)):
                yield f"{place}.{name}", f"the name {name!r} is reserved", f"Call it otherwise, such as {name}_1."
        for name in sorted(set(self.inputs) & set(self.params)):
            yield f"params.{name}", f"the name {name!r} is used for an input and a parameter", None
        for name in sorted({*self.inputs, *self.params} & self._names_of_rule()):
            place = "inputs" if name in self.inputs else "params"
            yield f"{place}.{name}", f"the compiled rule uses the name {name!r} itself", "Call it otherwise."
        seen: dict[str, str] = {}
        for port, output in self.outputs.items():
            first = seen.setdefault(output.file, port)
            if first != port:
                yield f"outputs.{port}.file", f"found {output.file!r}, which the output {first!r} writes too", None
            if output.file in FILES_OF_TOOL_RUN:
                message = f"found {output.file!r}, which `snakescope tool run` writes itself"
                yield f"outputs.{port}.file", message, "Call it otherwise."
        yield from self._bad_units()

    def _bad_units(self) -> Iterator[Fault]:
        """Parameters whose name says another unit than they have."""
        for name, param in self.params.items():
            told = unit_in(name)
            if told and param.unit != told and param.type in ("number", "integer", "numbers"):
                found = f"found {param.unit!r}" if param.unit else "is missing"
                yield f"params.{name}.unit", f"{found}; the name says {told}", "Let both say the same."

    def _names_of_rule(self) -> set[str]:
        suffixes = ("key", "known", "facts", *_FACTS)
        facts = {f"{port}_{suffix}" for port in self.inputs for suffix in suffixes}
        return facts | {f"out_{port}" for port in self.outputs}

    def _bad_execution(self) -> Iterator[Fault]:
        yield from self._bad_start()
        if self.command is not None and not self.command:
            yield "command", "found an empty list; expected the program and its arguments", None
        for word in self.tool.observe:
            if message := unfit_text(word):
                yield "tool.observe", message, None
        yield from (("command", message, None) for word in _words(self.command or []) for message in self._bad(word))
        yield from self._bad_macro() if self.macro else self._bad_arguments()

    def _bad_start(self) -> Iterator[Fault]:
        own = None if self.command is not None and "script" in self._named(self.command) else self.script
        if [self.command, own, self.macro].count(None) != 2:
            fix = "To let a command run the script, name it there as {script}." if self.command and own else None
            yield "", "expected exactly one of `command`, `script` and `macro`", fix
        elif own and not re.fullmatch(r"[A-Za-z0-9_]+\.py", own):
            fix = f"Say how it is called: command: [PROGRAM, {{script}}, ...]; or name a file NAME.py, not {own!r}."
            yield "script", "without a `command`, only Python programs are called", fix

    def untold(self) -> Iterator[Fault]:
        """Inputs and parameters that a command or macro is never told: records would tell of what had no effect."""
        if self.script and not self.command:  # a flag for each of them
            return
        words: list[Argument] = [*(self.told.values() if self.macro else self.command or [])]
        named = self._named(words)
        named |= {name for param in self.params.values() for name in _names_of(param.when, "param.")}
        where = "command" if self.command is not None else "arguments"
        for place, kind, names in (("inputs", "in", self.inputs), ("params", "param", self.params)):
            for name in names:
                if not any(item == f"{kind}.{name}" or item.startswith(f"{kind}.{name}.") for item in named):
                    fix = (
                        f"Put {{{kind}.{name}}} there, in a list of its own if it may go without a value, or remove it."
                    )
                    yield f"{place}.{name}", f"the `{where}` does not name it, so the program is never told", fix

    @staticmethod
    def _named(words: list[Argument]) -> set[str]:
        """What the words of a command name in braces."""
        return {name for word in _words(words) for name in placeholders(word)}

    def _bad(self, word: str) -> Iterator[str]:
        """What is wrong with one word of a command, or with what a macro is told."""
        messages = [self._bad_placeholder(name) for name in placeholders(word)]
        if set("{}") & set(re.sub(r"\{[^{}]*\}", "", _without_plain_braces(word))):
            messages.append(f"found a single brace in {short(word)}; expected a pair, or a doubled one for itself")
        yield from filter(None, [*messages, unfit_text(word)])

    def _bad_macro(self) -> Iterator[Fault]:
        for name, text in self.told.items():
            yield from ((f"arguments.{name}", message, None) for message in self._bad(text))
        for name, port in self.inputs.items():
            if port.many:
                yield (
                    f"inputs.{name}.many",
                    "a macro is told of one file",
                    "Let a step before it put the files together.",
                )
        if self.argument_style == "script" and self.starter == "imagej":
            message = "script parameters (#@) are understood by Fiji only"
            yield "environment.programs", message, f"Name its program: {', '.join(FIJI)}."
        if self.starter == "imagej" and "xvfb-run" not in self.programs:
            yield "environment.programs", "ImageJ needs a display", f"Give it one: {', '.join(IMAGEJ)}."

    def _bad_arguments(self) -> Iterator[Fault]:
        for key in sorted({"arguments", "argument_style"} & self.model_fields_set):
            yield key, "has no meaning without a macro", "Remove it, or name the `macro`."

    def _bad_placeholder(self, placeholder: str) -> str | None:
        kind, _, name = placeholder.partition(".")
        name, _, fact = name.partition(".")
        known: dict[str, Any] = {"in": self.inputs, "out": self.outputs, "param": self.params}
        if placeholder in ("threads", "python") or (placeholder == "version" and self.macro):
            return None
        if placeholder == "script" and not self.macro:
            return None if self.script else "{script} names no file; expected its name in `script`"
        if kind not in known or not name:
            wanted = "in.PORT, out.PORT, param.NAME, threads, python or script"
            return f"found {{{placeholder}}}; expected {wanted} in the braces{self._meant(placeholder)}"
        if name not in known[kind]:
            noun = {"in": "input", "out": "output", "param": "parameter"}[kind]
            return f"{{{placeholder}}} names no {noun} (there are: {', '.join(known[kind]) or 'none'})"
        if fact and (kind != "in" or fact not in self.inputs[name].facts):
            return f"{{{placeholder}}} needs {fact!r} among the `facts` of that input"
        return None

    def _meant(self, placeholder: str) -> str:
        """What a placeholder that there is not may have been meant for."""
        name = placeholder.rpartition(".")[2]
        places: dict[str, Iterable[str]] = {"in": self.inputs, "out": self.outputs, "param": self.params}
        near = [f"{{{kind}.{name}}}" for kind, names in places.items() if name in names]
        return f" ({' or '.join(near)}?)" if near else f", or {{{{{placeholder}}}}} for a brace that the program needs"

    def _bad_references(self) -> Iterator[Fault]:
        for name, port in self.outputs.items():
            if port.like and port.like not in self.inputs:
                yield f"outputs.{name}.like", f"there is no input {port.like!r}", near_miss(port.like, self.inputs)
        for group in self.one_of:
            for name in group:
                if name not in self.inputs:
                    yield "one_of", f"there is no input {name!r}", near_miss(name, self.inputs)
                elif not self.inputs[name].optional:
                    yield "one_of", f"the input {name!r} must be `optional: true`", None
        if self.rembi:
            yield from (("rembi.prose", *mistake) for mistake in self._mistakes_in(self.rembi.prose))
        for fact, a, b in self._twice():
            yield f"inputs.{b}.facts", f"the fact {fact!r} is asked for by {a!r} too", "Give it to one of them."

    def _mistakes_in(self, prose: str) -> Iterator[tuple[str, str | None]]:
        words = {"boolean": ["true", "false"]}
        values = {name: param.choices or words.get(param.type, []) for name, param in self.params.items()}
        optional = {name for name, param in self.params.items() if param.may_be_absent}
        return mistakes(prose, values, optional)

    def _twice(self) -> list[tuple[str, str, str]]:
        """Facts that two inputs ask for which can be wired together: their flags would collide."""
        pairs = ((a, b) for a in self.inputs for b in self.inputs if a < b)
        together = ((a, b) for a, b in pairs if not any({a, b} <= set(group) for group in self.one_of))
        return [
            (fact, a, b) for a, b in together for fact in sorted(set(self.inputs[a].facts) & set(self.inputs[b].facts))
        ]

    def _bad_expressions(self) -> Iterator[Fault]:
        inputs = dict.fromkeys(self.inputs, GEOMETRY)
        names = {**GEOMETRY, **inputs, **dict.fromkeys(self.params), "inputs": inputs, "rows": None, "threads": None}
        for key in ("mem_mb", "runtime_min", "disk_mb"):
            yield from _unknown_names(f"resources.{key}", getattr(self.resources, key), {**names, "attempt": None})
        for port, output in self.outputs.items():
            for axis, text in output.shape.items():
                yield from _unknown_names(f"outputs.{port}.shape.{axis}", text, names)
            for axis, text in output.voxel_size_um.items():
                yield from _unknown_names(f"outputs.{port}.voxel_size_um.{axis}", text, names)
        for name, param in self.params.items():
            yield from _unknown_names(f"params.{name}.when", param.when, dict.fromkeys(self.params))


def _names_of(source: Expression | None, before: str) -> Iterator[str]:
    """The names in an expression, with what stands before them elsewhere."""
    if isinstance(source, str):
        yield from (f"{before}{name}" for name in names_in(compile_expression(source)))


def _unknown_names(where: str, source: Expression | None, names: Mapping[str, Any]) -> Iterator[Fault]:
    """Names of an expression that will never have a value; `names` is nested as when it is evaluated."""
    found = sorted(names_in(compile_expression(source))) if isinstance(source, str) else []
    for name in found:
        here: Any = names
        for part in name.split("."):
            if not isinstance(here, Mapping) or part not in here:
                known = here if isinstance(here, Mapping) else names
                yield where, f"unknown name {_as_written(name)!r}", near_miss(part, known) or _there_are(known)
                break
            here = here[part]
        else:
            if isinstance(here, Mapping):
                yield where, f"{_as_written(name)!r} is not a value", _there_are(here)


def _as_written(name: str) -> str:
    return f"in.{name.removeprefix('inputs.')}" if name.startswith("inputs.") else name


def _there_are(names: Iterable[str]) -> str:
    return f"There are: {', '.join(names) or 'none'}."


def _words(command: list[Argument]) -> list[str]:
    flat = [word for item in command for word in (item if isinstance(item, list) else [item])]
    return [str(word) for word in flat]


def _without_plain_braces(word: str) -> str:
    return word.replace("{{", "").replace("}}", "")


def placeholders(word: str) -> list[str]:
    """The names in braces in one word of a command; ``{{`` and ``}}`` stand for plain braces."""
    return re.findall(r"\{([^{}]*)\}", _without_plain_braces(word))
