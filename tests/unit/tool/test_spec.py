# ruff: noqa: E501 - tables of whole messages
"""Tool descriptors: what is accepted, and what each mistake is called."""

from __future__ import annotations

import copy
import keyword
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snakescope import layout
from snakescope.errors import InputError
from snakescope.tool.base import parse
from snakescope.tool.library import read_library
from snakescope.tool.spec import RESERVED, AnnotationType, Param, ToolSpec, placeholders

GOOD: dict[str, Any] = {
    "schema": 1,
    "id": "blur",
    "name": "Blur",
    "version": "1.0.0",
    "tool": {"name": "blurrer", "version": "2.1"},
    "description": "Blurs.",
    "license": "MIT",
    "citations": ["10.1038/nmeth.1237"],
    "edam": {"operations": ["operation_3443"]},
    "inputs": {
        "image": {
            "type": "image", "description": "Raw.", "formats": ["ome-zarr"], "axes": "t?c?zyx", "dtype": ["uint16"],
            "requires": ["pixel_size"], "facts": ["voxel_size_um"],
        },
        "points": {"type": "points", "description": "Spots.", "optional": True},
        "labels": {"type": "labels", "description": "Cells.", "optional": True},
    },
    "outputs": {
        "image": {
            "type": "image", "description": "Blurred.", "file": "image.ome.zarr", "format": "ome-zarr", "like": "image",
            "dtype": "float32", "shape": {"x": "shape.x * 2"}, "voxel_size_um": {"x": "voxel_size_um.x / 2"},
        }
    },
    "params": {
        "sigma_um": {"type": "number", "default": 0.2, "above": 0, "max": 5, "unit": "um", "help": "Width."},
        "method": {"type": "choice", "choices": ["fast", "slow"], "default": "fast", "help": "Way."},
        "passes": {"type": "integer", "min": 1, "when": "method == 'slow'", "help": "Rounds."},
    },
    "one_of": [["points", "labels"]],
    "command": ["blur", "{in.image}", "--s={param.sigma_um}", ["--n", "{param.passes}"], "{out.image}", "{{x}}", 3],
    "resources": {"threads": 2, "mem_mb": "400 + 12 * in.image.volume / 1e6 * attempt", "runtime_min": 5},
    "rembi": {"title": "Blurring", "prose": "Blurred by {sigma_um}."},
}  # fmt: skip


MODEL = {"name": "net.pt", "path": "models/net.pt", "sha256": "a" * 64, "licence": "MIT", "env": "NET"}


def changed(**keys: Any) -> dict[str, Any]:
    """The good descriptor with some keys set; `a__b=1` sets key b of a, `None` as `...` removes."""
    data = copy.deepcopy(GOOD)
    for path, value in keys.items():
        *parents, last = path.split("__")
        here = data
        for part in parents:
            here = here.setdefault(part, {})
        if value is ...:
            del here[last]
        else:
            here[last] = value
    return data


def problems(data: dict[str, Any]) -> list[str]:
    with pytest.raises(InputError) as caught:
        parse(ToolSpec, data, "tool.yaml")
    return [str(found).removeprefix("tool.yaml: ") for found in caught.value.problems]


def param(**keys: Any) -> Param:
    return parse(Param, {"help": "h", **keys}, "p")


def bad_param(**keys: Any) -> list[str]:
    with pytest.raises(InputError) as caught:
        param(**keys)
    return [str(found).removeprefix("p: ") for found in caught.value.problems]


def test_a_full_descriptor_is_read() -> None:
    spec = parse(ToolSpec, GOOD, "tool.yaml")
    assert spec.primary == "image"
    assert spec.outputs["image"].is_directory
    assert [spec.params[name].required for name in spec.params] == [False, False, True]
    assert (spec.resources.threads, spec.resources.runtime_min, spec.resources.disk_mb) == (2, 5, None)


def test_the_shipped_descriptors_are_sound() -> None:
    assert {"deskew", "detect_spots", "track"} <= set(read_library(layout.tool_roots(Path())))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"schema": 2}, "schema: found 2; expected 1."),
        ({"schema": "1"}, "schema: found '1'; expected 1."),
        ({"license": ...}, "license: is missing."),
        ({"lisense": "MIT"}, "lisense: unknown key.\n    Did you mean 'license'?"),
        ({"id": "Blur"}, "id: found 'Blur'; expected lower-case letters, digits and '_', a letter first."),
        ({"id": "b" * 41}, f"id: found '{'b' * 41}'; expected at most 40 characters."),
        ({"version": 1.0}, "version: found 1.0; expected text."),
        ({"version": "one"}, r"version: found 'one'; expected text of the form ^\d+\.\d+(\.\d+)?$."),
        ({"citations": ["doi:10.1/x"]}, r"citations.0: found 'doi:10.1/x'; expected text of the form ^10\.\d{4,9}/\S+$."),
        ({"edam": {"operations": ["3443"]}}, r"edam.operations.0: found '3443'; expected text of the form ^operation_\d{4}$."),
        ({"tool": "blurrer"}, "tool: found 'blurrer'; expected `key: value` lines."),
        ({"tool__verson": "2"}, "tool.verson: unknown key.\n    Did you mean 'version'?"),
        ({"inputs__image__axes": "xyz"}, "inputs.image.axes: found 'xyz'; expected axes in the order tczyx, each with `?` if it may be absent."),
        ({"inputs__image__formats": ["zarr"]}, "inputs.image.formats.0: found 'zarr'; expected 'ome-zarr', 'ome-tiff', 'tiff', 'nd2', 'lif', 'czi', 'csv', 'tsv', 'json', 'trackmate-xml', 'geff', 'png', 'gif', 'mp4', 'txt' or 'other'."),
        ({"inputs__image__dtype": ["u2"]}, "inputs.image.dtype.0: found 'u2'; expected one of bool, complex64, float16, float32, float64, int16, int32, int64, int8, uint16, uint32, uint64, uint8."),
        ({"inputs__image__type": "images"}, "inputs.image.type: found 'images'; expected 'image', 'labels', 'mask', 'points', 'tracks', 'table', 'transform', 'psf', 'model', 'file' or 'directory'."),
        ({"inputs__image__optional": "yes"}, "inputs.image.optional: found 'yes'; expected true or false."),
        ({"outputs": {}}, "outputs: found {}; expected one or more."),
        ({"outputs__image__file": "../x"}, r"outputs.image.file: found '../x'; expected text of the form ^[A-Za-z0-9][A-Za-z0-9._-]*$."),
        ({"outputs__image__like": "imgae"}, "outputs.image.like: there is no input 'imgae'.\n    Did you mean 'image'?"),
        ({"outputs__image__shape": {"q": 1}}, "outputs.image.shape.q: found 'q'; expected 't', 'c', 'z', 'y' or 'x'."),
        ({"outputs__image__shape": {"x": "shape.q"}}, "outputs.image.shape.x: unknown name 'shape.q'.\n    There are: t, c, z, y, x."),
        ({"outputs__image__shape": {"x": "attempt"}}, "outputs.image.shape.x: unknown name 'attempt'.\n    There are: "),
        ({"outputs__two": {"type": "file", "description": "d", "file": "image.ome.zarr", "format": "other"}}, "outputs.two.file: found 'image.ome.zarr', which the output 'image' writes too."),
        ({"outputs__image__tolerance": -1e-6}, "outputs.image.tolerance: found -1e-06; expected greater than or equal to 0."),
        ({"outputs__image__tolerance": math.inf}, "outputs.image.tolerance: found inf; expected a finite number."),
        ({"outputs__image__tolerance": "1%"}, "outputs.image.tolerance: found '1%'; expected a number."),
        ({"inputs__sigma_um": {"type": "file", "description": "d"}}, "params.sigma_um: the name 'sigma_um' is used for an input and a parameter."),
        ({"params__image_facts": {"type": "text", "help": "h", "default": None}}, "params.image_facts: the compiled rule uses the name 'image_facts' itself.\n    Call it otherwise."),
        ({"inputs__out_image": {"type": "file", "description": "d"}}, "inputs.out_image: the compiled rule uses the name 'out_image' itself.\n    Call it otherwise."),
        ({"one_of": [["points", "lables"]]}, "one_of: there is no input 'lables'.\n    Did you mean 'labels'?"),
        ({"one_of": [["points", "image"]]}, "one_of: the input 'image' must be `optional: true`."),
        ({"command": ...}, "expected exactly one of `command`, `script` and `macro`."),
        ({"script": "blur.py"}, "expected exactly one of `command`, `script` and `macro`.\n    To let a command run the script, name it there as {script}."),
        ({"command": ..., "script": "blur.R"}, "script: without a `command`, only Python programs are called.\n    Say how it is called: command: [PROGRAM, {script}, ...]; or name a file NAME.py, not 'blur.R'."),
        ({"script": "../blur.py"}, r"script: found '../blur.py'; expected text of the form ^[A-Za-z0-9_][A-Za-z0-9_.-]*$."),
        ({"command": []}, "command: found an empty list; expected the program and its arguments."),
        ({"command": "blur {in.image}"}, "command: found 'blur {in.image}'; expected a list."),
        ({"command": ["blur", True]}, "command.1: found True; expected text, a number or a list."),
        ({"command": ["blur", {"a": 1}]}, "command.1: found {'a': 1}; expected text, a number or a list."),
        ({"command": ["blur", "{in.img}"]}, "command: {in.img} names no input (there are: image, points, labels)."),
        ({"command": ["blur", "{out.x}"]}, "command: {out.x} names no output (there are: image)."),
        ({"command": ["blur", ["{param.x}"]]}, "command: {param.x} names no parameter (there are: sigma_um, method, passes)."),
        ({"command": ["blur", "{image}"]}, "command: found {image}; expected in.PORT, out.PORT, param.NAME, threads, python or script in the braces ({in.image} or {out.image}?)."),
        ({"command": ["blur", "{input.sigma_um}"]}, "command: found {input.sigma_um}; expected in.PORT, out.PORT, param.NAME, threads, python or script in the braces ({param.sigma_um}?)."),
        ({"command": ["sh", "-c", "${i%.tif}"]}, "command: found {i%.tif}; expected in.PORT, out.PORT, param.NAME, threads, python or script in the braces, or {{i%.tif}} for a brace that the program needs."),
        ({"command": ["Rscript", "{script}"]}, "command: {script} names no file; expected its name in `script`."),
        ({"params__sigma_um__unit": "nm"}, "params.sigma_um.unit: found 'nm'; the name says um.\n    Let both say the same."),
        ({"params__sigma_um__unit": None}, "params.sigma_um.unit: is missing; the name says um.\n    Let both say the same."),
        ({"outputs__image__file": "record.json"}, "outputs.image.file: found 'record.json', which `snakescope tool run` writes itself.\n    Call it otherwise."),
        ({"command": ["blur", "{}"]}, "command: found {}; expected in.PORT, out.PORT, param.NAME, threads, python or script in the braces, or {{}} for a brace that the program needs."),
        ({"command": ["blur", "{in.image.scene}"]}, "command: {in.image.scene} needs 'scene' among the `facts` of that input."),
        ({"command": ["blur", "{out.image.scene}"]}, "command: {out.image.scene} needs 'scene' among the `facts` of that input."),
        ({"command": ["blur", "{in.image"]}, "command: found a single brace in '{in.image'; expected a pair, or a doubled one for itself."),
        ({"command": ["blur", "a}"]}, "command: found a single brace in 'a}'; expected a pair, or a doubled one for itself."),
        ({"command": ["blur", "a\nb"]}, "command: found the control character '\\n'; expected one line of text."),
        ({"resources__mem_mb": "400 + voxles"}, "resources.mem_mb: unknown name 'voxles'.\n    Did you mean 'voxels'?"),
        ({"resources__mem_mb": "bytes(in.imgae)"}, "resources.mem_mb: unknown name 'in.imgae.bytes'.\n    Did you mean 'image'?"),
        ({"resources__mem_mb": "in.image + 1"}, "resources.mem_mb: 'in.image' is not a value.\n    There are: shape, voxels, volume, voxel_size_um, time_step_s, itemsize, bytes."),
        ({"resources__mem_mb": "shape * 2"}, "resources.mem_mb: 'shape' is not a value.\n    There are: t, c, z, y, x."),
        ({"resources__mem_mb": "2 ** 9"}, "resources.mem_mb: '2 ** 9' in '2 ** 9' is not allowed; use numbers, names and + - * / only, and texts in comparisons."),
        ({"resources__mem_mb": math.inf}, "resources.mem_mb: found inf; expected a finite number or an expression."),
        ({"resources__mem_mb": True}, "resources.mem_mb: found True; expected text or a number."),
        ({"resources__mem_mb": None}, "resources.mem_mb: found None; expected text or a number."),
        ({"resources__threads": 0}, "resources.threads: found 0; expected greater than or equal to 1."),
        ({"resources__threads": 1.5}, "resources.threads: found 1.5; expected a whole number."),
        ({"resources__threads": "voxels"}, "resources.threads: found 'voxels'; expected a whole number."),
        ({"params__passes__when": "voxels > 3"}, "params.passes.when: unknown name 'voxels'.\n    There are: sigma_um, method, passes."),
        ({"rembi__prose": "By {sigma} um."}, "rembi.prose: {sigma} is not a parameter.\n    Did you mean 'sigma_um'?"),
        ({"rembi__prose": "By {passes}."}, "rembi.prose: {passes} may have no value.\n    Put it into square brackets with its words: [, with {passes}]."),
        ({"rembi__prose": "{method|fsat=Fast}"}, "rembi.prose: the parameter 'method' is never 'fsat'.\n    Did you mean 'fast'?"),
        ({"rembi__kind": "annotation"}, "rembi.annotation_type: is missing; kind is annotation.\n    There are: class_labels, bounding_boxes, counts, derived_annotations, geometrical_annotations, graphs, point_annotations, segmentation_mask, tracks, weak_annotations, other."),
        ({"rembi__annotation_type": "tracks"}, "rembi.annotation_type: has no meaning for kind analysis.\n    Remove it, or set the kind."),
        ({"environment": {"cnda": "x"}}, "environment.cnda: unknown key.\n    Did you mean 'conda'?"),
        ({"environment": {"container": "a b.sif"}}, "environment.container: found 'a b.sif'; expected a path of plain letters, digits and ._/+=- only, or docker:// or oras://."),
        ({"environment": {"container": "docker://x@sha256:12"}}, "environment.container: found 'docker://x@sha256:12'; expected docker://NAME@sha256:DIGEST or oras://NAME@sha256:DIGEST."),
        ({"environment": {"programs": ["a/b"]}}, "environment.programs.0: found 'a/b'; expected text of the form ^[A-Za-z0-9][A-Za-z0-9._+-]*$."),
        ({"environment": {"models": [MODEL | {"url": None, "path": None}]}}, "environment.models.0: has neither path nor url; expected where it lies or where people get it."),
        ({"environment": {"models": [MODEL | {"env": "PATH"}]}}, "environment.models.0.env: the variable PATH is taken.\n    Use one of the program's own."),
        ({"environment": {"models": [MODEL | {"sha256": "12"}]}}, "environment.models.0.sha256: found '12'; expected text of the form ^[0-9a-f]{64}$."),
        ({"environment": {"models": [MODEL, MODEL | {"name": "other"}]}}, "environment.models: the env 'NET' stands twice."),
        ({"tool__observe": ["gm", "a\nb"]}, "tool.observe: found the control character '\\n'; expected one line of text."),
    ],
)  # fmt: skip
def test_one_mistake_is_one_problem_with_its_key(keys: dict[str, Any], message: str) -> None:
    (found,) = problems(changed(**keys))
    assert found.startswith(message) if message.endswith("There are: ") else found == message


def test_faults_of_fields_are_all_told_at_once() -> None:
    data = changed(
        license=..., version=2, params__sigma_um__default=-1, inputs__image__axes="q", outputs__image__colour=1
    )
    assert [text.split(":")[0] for text in problems(data)] == [
        "version",
        "license",
        "inputs.image.axes",
        "outputs.image.colour",
        "params.sigma_um.default",
    ]


def test_faults_between_fields_are_all_told_at_once() -> None:
    data = changed(outputs__image__like="q", one_of=[["r"]], command=["{in.s}", "{", "{param.t}"], rembi__prose="{u}")
    data["resources"]["mem_mb"] = "w + nonsense.x"
    assert [text.split(":")[0] for text in problems(data)] == [
        "command", "command", "command", "outputs.image.like", "one_of", "rembi.prose", "resources.mem_mb",
        "resources.mem_mb",
    ]  # fmt: skip


def test_annotations_are_of_the_kinds_that_mifa_names() -> None:
    mifa = pytest.importorskip("rembi_mifa.mifa")
    assert set(get_args(AnnotationType)) == {str(kind) for kind in mifa.AnnotationType}
    spec = parse(ToolSpec, changed(rembi__kind="annotation", rembi__annotation_type="tracks"), "tool.yaml")
    assert spec.rembi is not None
    assert spec.rembi.annotation_type == "tracks"


def test_two_inputs_that_ask_for_the_same_fact_would_give_the_same_flag_twice() -> None:
    data = changed(inputs__other={"type": "image", "description": "d", "facts": ["voxel_size_um"]})
    assert problems(data) == [
        "inputs.other.facts: the fact 'voxel_size_um' is asked for by 'image' too.\n    Give it to one of them."
    ]


def test_alternative_inputs_may_ask_for_the_same_fact() -> None:
    data = changed(inputs__points__facts=["time_step_s"], inputs__labels__facts=["time_step_s"])
    assert parse(ToolSpec, data, "t").inputs["labels"].facts == ["time_step_s"]


@pytest.mark.parametrize("place", ["inputs", "outputs", "params"])
@pytest.mark.parametrize(
    "name", ["count", "size", "class", "in", "voxels", "threads", "max", "inputs", "samples", "scene"]
)
def test_a_name_that_snakemake_python_or_the_rule_uses_itself_is_reserved(place: str, name: str) -> None:
    entry = {
        "inputs": {"type": "file", "description": "d"},
        "outputs": {"type": "file", "description": "d", "file": "x", "format": "other"},
        "params": {"type": "text", "help": "h", "default": None},
    }[place]
    (found,) = problems(changed(**{f"{place}__{name}": entry}))
    assert found == f"{place}.{name}: the name '{name}' is reserved.\n    Call it otherwise, such as {name}_1."


def test_all_names_that_snakemake_lists_cannot_hold_are_reserved() -> None:
    from snakemake.iocontainers import InputFiles, OutputFiles, Params, Wildcards

    taken = {name for kind in (InputFiles, OutputFiles, Params, Wildcards) for name in dir(kind())}
    assert {name for name in taken if not name.startswith("_")} - {"index", "sort"} <= RESERVED
    assert set(keyword.kwlist) <= RESERVED


@pytest.mark.parametrize(
    ("word", "names"),
    [
        ("{in.a}", ["in.a"]),
        ("--x={param.a},{threads}", ["param.a", "threads"]),
        ("{{in.a}}", []),
        ("{{{in.a}}}", ["in.a"]),
        ("plain", []),
    ],
)
def test_placeholders_are_the_names_in_single_braces(word: str, names: list[str]) -> None:
    assert placeholders(word) == names


# ---------------------------------------------------------------------------- parameters

NUMBER = {"type": "number", "above": 0, "max": 90, "unit": "deg"}
RANGE = "expected a number at most 90 and above 0 in deg"


@pytest.mark.parametrize("value", [0.001, 90, 90.0, 31.5, 1])
def test_a_number_within_both_bounds_is_taken(value: float) -> None:
    assert param(**NUMBER).reject(value) is None


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (0, f"found 0; {RANGE}"),
        (-3, f"found -3; {RANGE}"),
        (90.1, f"found 90.1; {RANGE}"),
        (math.nan, "found nan; expected a number in deg"),
        (math.inf, "found inf; expected a number in deg"),
        (-math.inf, "found -inf; expected a number in deg"),
        (10**400, ""),
        (True, "found True; expected a number in deg"),
        (None, "found null; expected a value"),
        ("30", "found '30'; expected a number in deg"),
        ("30 deg", "found '30 deg' with the unit 'deg'; expected a bare number in deg"),
        ("0.5rad", "found '0.5rad' with the unit 'rad'; expected a bare number in deg"),
        ("-3.1e2 °", "found '-3.1e2 °' with the unit '°'; expected a bare number in deg"),
        ("three", "found 'three'; expected a number in deg"),
        ([1], "found [1]; expected a number in deg"),
        ({"column": 1}, "found {'column': 1}; expected a number in deg"),
    ],
)
def test_any_other_value_is_refused_with_what_was_found_and_expected(value: Any, message: str) -> None:
    found = param(**NUMBER).reject(value)
    assert found is not None
    if value == 10**400:
        assert found.startswith("found 1000000000")
        assert found.endswith("...; expected a number in deg")
        assert len(found) < 110
    else:
        assert found == message


@pytest.mark.parametrize(
    ("bounds", "inside", "outside", "text"),
    [
        ({"min": 0}, [0, 1], [-1e-9], "at least 0"),
        ({"max": 0}, [0, -1], [1e-9], "at most 0"),
        ({"above": -1}, [-0.999], [-1], "above -1"),
        ({"below": 0}, [-1e-9], [0], "below 0"),
        ({"min": 1, "below": 2}, [1, 1.99], [0.99, 2], "at least 1 and below 2"),
        ({"min": 3, "max": 3}, [3], [2, 4], "at least 3 and at most 3"),
    ],
)
def test_bounds_are_inclusive_or_exclusive_as_named(
    bounds: dict[str, float], inside: list[float], outside: list[float], text: str
) -> None:
    checked = param(type="number", **bounds)
    assert [checked.reject(value) for value in inside] == [None] * len(inside)
    assert [checked.reject(value) for value in outside] == [f"found {v!r}; expected a number {text}" for v in outside]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (3, None),
        (3.0, "found 3.0; expected a whole number, without a decimal point in px"),
        (3.5, "found 3.5; expected a whole number in px"),
        (False, "found False; expected a whole number in px"),
        ("3 px", "found '3 px' with the unit 'px'; expected a bare number in px"),
        (math.nan, "found nan; expected a whole number in px"),
        (0, "found 0; expected a whole number at least 1 in px"),
        (10**30, None),
    ],
)
def test_whole_numbers_are_written_without_a_point(value: Any, message: str | None) -> None:
    assert param(type="integer", unit="px", min=1).reject(value) == message


def test_a_unit_of_one_is_not_told() -> None:
    assert param(type="number", unit="1").reject("x") == "found 'x'; expected a number"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("", None),
        ("a b $(x) {y} 'z' \"q\" \\ ä 😀 \u2028", None),
        ("a\nb", "found the control character '\\n'; expected one line of text"),
        ("a\tb", "found the control character '\\t'; expected one line of text"),
        ("\x7f", "found the control character '\\x7f'; expected one line of text"),
        ("\x00", "found the control character '\\x00'; expected one line of text"),
        (5, "found 5; expected text"),
        (True, "found True; expected text"),
        (["a"], "found ['a']; expected text"),
    ],
)
def test_text_is_any_one_line(value: Any, message: str | None) -> None:
    assert param(type="text").reject(value) == message


@pytest.mark.parametrize("value", ["true", 1, 0, "yes", [], {}])
def test_a_boolean_is_true_or_false_only(value: Any) -> None:
    checked = param(type="boolean")
    assert (checked.reject(True), checked.reject(False)) == (None, None)
    assert checked.reject(value) == f"found {value!r}; expected true or false"


@pytest.mark.parametrize("value", ["Log", "", True, ["log"], {"a": 1}, 1])
def test_a_choice_is_one_of_its_words(value: Any) -> None:
    checked = param(type="choice", choices=["log", "dog"])
    assert checked.reject("log") is None
    assert checked.reject(value) == f"found {value!r}; expected one of: log, dog"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([1, 99.8], None),
        (5, None),
        ([], "found an empty list; expected a number or more"),
        ([1, 101, -1], "found 101; expected a number at least 0 and at most 100"),
        ([1, True], "found True; expected a number"),
        ([1, None], "found None; expected a number"),
        ([[1]], "found [1]; expected a number"),
        ("1,2", "found '1,2'; expected a number"),
    ],
)
def test_a_list_of_numbers_is_checked_one_by_one(value: Any, message: str | None) -> None:
    assert param(type="numbers", min=0, max=100).reject(value) == message


@pytest.mark.parametrize(
    ("keys", "message"),
    [({}, "found null; expected a value"), ({"default": 1}, "found null; expected a value"), ({"default": None}, None)],
)
def test_null_is_a_value_only_where_null_is_the_default(keys: dict[str, Any], message: str | None) -> None:
    assert param(type="number", **keys).reject(None) == message


@pytest.mark.parametrize(
    ("keys", "messages"),
    [
        ({"type": "choice"}, ["choices: is missing; type is choice."]),
        ({"type": "choice", "choices": ["a"], "default": "b"}, ["default: found 'b'; expected one of: a."]),
        ({"type": "number", "choices": ["a"]}, ["choices: has no meaning for type number.\n    Set type to choice, or remove it."]),
        ({"type": "text", "min": 1, "below": 2}, ["min: found 1; type text has no range.\n    Remove it.", "below: found 2; type text has no range.\n    Remove it."]),
        ({"type": "number", "min": 5, "max": 1}, ["min: found 5 with max 1; no number lies between."]),
        ({"type": "number", "above": 1, "max": 1}, ["above: found 1 with max 1; no number lies between."]),
        ({"type": "number", "min": math.nan}, ["min: found nan; expected a number."]),
        ({"type": "number", "min": "0"}, ["min: found '0'; expected a number."]),
        ({"type": "number", "default": "3 px", "unit": "px"}, ["default: found '3 px' with the unit 'px'; expected a bare number in px."]),
        ({"type": "number", "default": True}, ["default: found True; expected a number."]),
        ({"type": "integer", "default": 2.0}, ["default: found 2.0; expected a whole number, without a decimal point."]),
        ({"type": "number", "default": math.inf}, ["default: found inf; expected a number."]),
        ({"type": "boolean", "default": 1}, ["default: found 1; expected true or false."]),
        ({"type": "numbers", "default": [1, "2"]}, ["default.1: found '2'; expected a number."]),
        ({"type": "numbers", "default": {"a": 1}}, ["default: found {'a': 1}; expected a number, true or false, text or a list."]),
        ({"type": "float"}, ["type: found 'float'; expected 'number', 'integer', 'text', 'boolean', 'choice' or 'numbers'."]),
        ({"type": "text", "when": "1 +"}, ["when: found '1 +'; expected arithmetic such as '400 + 12 * voxels / 1e6'."]),
    ],
)  # fmt: skip
def test_a_parameter_that_contradicts_itself_is_refused(keys: dict[str, Any], messages: list[str]) -> None:
    assert bad_param(**keys) == messages


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=5,
)
KINDS: list[Callable[[], Param]] = [
    lambda: param(**NUMBER),
    lambda: param(type="integer", below=10),
    lambda: param(type="numbers", min=-1),
    lambda: param(type="text"),
    lambda: param(type="boolean"),
    lambda: param(type="choice", choices=["a", "b"]),
]


@given(VALUES, st.sampled_from(KINDS))
def test_any_value_is_taken_or_refused_in_one_short_line(value: Any, kind: Callable[[], Param]) -> None:
    message = kind().reject(value)
    if message is not None:
        assert message.startswith("found ")
        assert "; expected " in message
        assert len(message) < 250


@pytest.mark.parametrize(
    ("keys", "programs"),
    [
        ({"command": ..., "script": "x.py"}, ["python"]),
        ({"command": ["gm", "convert"]}, ["gm"]),
        ({"command": ["{python}", "-m", "x"]}, ["python"]),
        ({"command": ["/opt/x/gm"]}, []),
        ({"command": ["{param.method}"]}, []),
        ({"environment": {"programs": ["xvfb-run", "java"]}}, ["xvfb-run", "java"]),
    ],
)
def test_programs_are_those_declared_or_the_first_word(keys: dict[str, Any], programs: list[str]) -> None:
    assert parse(ToolSpec, changed(**keys), "t").programs == programs


def test_a_model_without_a_path_lies_where_models_of_the_tool_lie() -> None:
    given = {"models": [MODEL | {"path": None, "url": "https://models.example/net"}]}
    spec = parse(ToolSpec, changed(environment=given), "t")
    assert spec.model_paths == {"net.pt": f"models/{spec.id}/net.pt"}
