# ruff: noqa: E501 - tables of whole descriptors
"""Compiled rules: the same bytes everywhere, clean in snakefmt's eyes, and data that never becomes code."""

from __future__ import annotations

import ast
import difflib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from snakescope import layout
from snakescope.compiler import compile_pipeline
from snakescope.compiler.words import brace, quote_literal, unbrace, word
from snakescope.errors import InputError
from snakescope.pipeline import read_pipeline
from snakescope.record import read_record
from tiny_tools import IMAGE, write_pipeline, write_rows, write_rules, write_tools

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests/golden"
FACTS = ["voxel_size_um", "time_step_s", "scene"]
TOOLS: dict[str, dict[str, Any]] = {
    "blur": {
        "name": 'Blur {fast} "x"',
        "inputs": {"image": {**IMAGE, "facts": FACTS}, "psf": {"type": "psf", "description": "d", "optional": True}},
        "outputs": {
            "image": {**IMAGE, "file": "image.ome.zarr", "format": "ome-zarr", "like": "image", "shape": {"x": "shape.x * 2"}}
        },
        "params": {
            "sigma_um": {"type": "number", "unit": "um", "help": "h"},
            "method": {"type": "choice", "choices": ["fast", "slow"], "default": "fast", "help": "h"},
            "passes": {"type": "integer", "default": 3, "when": "method == 'slow'", "help": "h"},
            "range": {"type": "numbers", "default": [1, 99.5], "help": "h"},
            "clip": {"type": "boolean", "default": True, "help": "h"},
            "note": {"type": "text", "default": None, "help": "h"},
        },
        "script": "blur.py",
        "environment": {"conda": "envs/blur.yaml", "container": "docker://q.example/blur:1.0"},
        "resources": {"threads": 4, "mem_mb": "400 + 12 * voxels / 1e6", "disk_mb": 100, "gpus": 1},
        "rembi": {"title": "Blurring", "prose": "Blurred by {sigma_um}, {method|fast=fast}[, {passes} times][; note: {note}]{clip|true=, clipped}."},
    },
    "spot": {
        "inputs": {"image": {**IMAGE, "facts": FACTS}},
        "outputs": {
            "points": {"type": "points", "description": "d", "file": "points.csv", "format": "csv"},
            "report": {"type": "file", "description": "d", "file": "report.txt", "format": "txt"},
        },
        "params": {
            "radius_um": {"type": "number", "unit": "um", "help": "h"},
            "label": {"type": "text", "default": None, "help": "h"},
            "tag": {"type": "text", "default": "", "help": "h"},
        },
        "command": [
            "spot", "{in.image}", "--radius={param.radius_um}um", ["--label", "{param.label}"], ["--tag", "{param.tag}"],
            ["--voxels", "{in.image.voxel_size_um}"], ["--t", "{in.image.time_step_s}", "s"], "-o", "{out.points}",
            "--report={out.report}", "{{braces}} and 'quotes' and \"more\" and \\ and a --flag in the middle of a long text",
            "-j{threads}", 3, "{python}", "",
        ],
    },
    "link": {
        "tool": {"name": "Link it", "version": "2.0", "observe": ["link", "--version {x}"]},
        "homepage": "https://link.example",
        "environment": {
            "container": "envs/link.sif", "apptainer_def": "envs/link.def", "writable_home": True, "programs": ["link", "java"],
            "models": [{"name": "net.pt", "path": "models/my {net}.pt", "url": "https://m.example/net", "sha256": "a" * 64, "licence": "MIT", "env": "NET"}],
        },
        "inputs": {"points": {"type": "points", "description": "d", "many": True, "facts": ["t_index"]}},
        "outputs": {"tracks": {"type": "tracks", "description": "d", "file": "tracks.geff", "format": "geff"}},
        "command": ["link", "{in.points}", "--t", "{in.points.t_index}", "{out.tracks}"],
    },
}  # fmt: skip
STEPS: dict[str, Any] = {
    "blur": {
        "tool": "blur",
        "inputs": {"image": "sheet.path", "psf": {"file": "config/my psf.tif"}},
        "params": {"sigma_um": {"column": "width_um"}, "note": 'it\'s "this" {and} that, 5 µm 😀'},
        "keep": False,
    },
    "spot": {"tool": "spot", "inputs": {"image": "blur.image"}, "params": {"radius_um": 0.25, "label": 'say "hi"'}},
    "link": {"tool": "link", "over": ["series", "c"], "inputs": {"points": "spot.points"}},
}


def compiled(folder: Path) -> dict[str, str]:
    tools = write_tools(folder, TOOLS)
    (tools / "blur/blur.py").write_text("print(1)\n")
    return write_rules(folder, write_pipeline(folder, STEPS))


# ---------------------------------------------------------------------------- the text


def test_the_rules_are_those_in_the_golden_files(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    texts = compiled(tmp_path)
    if request.config.getoption("--fix"):
        shutil.rmtree(GOLDEN / "rules", ignore_errors=True)
        for path, text in texts.items():
            (GOLDEN / path).parent.mkdir(parents=True, exist_ok=True)
            (GOLDEN / path).write_text(text, encoding="utf-8")
    golden = {str(p.relative_to(GOLDEN)): p.read_text(encoding="utf-8") for p in (GOLDEN / "rules").rglob("*.*")}
    lines = [
        line
        for path in sorted({*golden, *texts})
        for line in difflib.unified_diff(
            golden.get(path, "").splitlines(), texts.get(path, "").splitlines(), path, "compiled now", lineterm=""
        )
    ]
    assert not lines, "\n".join([*lines, "To accept: pytest tests/unit/test_compiler.py --fix"])


def test_snakefmt_leaves_the_golden_rules_and_the_shipped_ones_alone() -> None:
    files = sorted([*(GOLDEN / "rules").rglob("*.smk"), *(ROOT / "rules").rglob("*.smk")])
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    snakefmt = shutil.which("snakefmt", path=path)
    if snakefmt is None:
        pytest.skip("snakefmt is not installed")
    done = subprocess.run(
        [snakefmt, "--check", *files], capture_output=True, text=True, env={**os.environ, "PATH": path}, check=False
    )
    assert done.returncode == 0, done.stderr
    assert f"{len(files)} file(s) would be left unchanged" in done.stderr


def test_no_path_of_this_machine_stands_in_the_text(tmp_path: Path) -> None:
    for path, text in compiled(tmp_path).items():
        assert str(tmp_path) not in text, path
        assert str(ROOT) not in text, path
        assert str(Path.home()) not in text, path


def test_each_rule_names_its_sources_and_the_command_that_remakes_it(tmp_path: Path) -> None:
    for path, text in compiled(tmp_path).items():
        if path.endswith(".smk"):
            tool = Path(path).stem
            assert text.splitlines()[:2] == [
                f"# GENERATED from config/pipelines/test.yaml and tools/{tool}/tool.yaml -- do not edit.",
                "# To change it, edit those files and run: snakescope compile test",
            ]


COMPILE = """
import sys
from pathlib import Path
from snakescope.compiler import compile_pipeline
from snakescope.pipeline import read_pipeline
study = Path(sys.argv[1])
texts = compile_pipeline(read_pipeline(study / "config/pipelines/test.yaml", [study / "tools"]), study)
sys.stdout.buffer.write("\\0".join(f"{path}\\0{text}" for path, text in texts.items()).encode())
"""


def test_the_bytes_depend_on_no_folder_language_clock_or_hash_seed(tmp_path: Path) -> None:
    texts = compiled(tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "an other, ä")
    expected = "\0".join(f"{path}\0{text}" for path, text in texts.items()).encode()
    settings_ = [("0", "C", "one", tmp_path), ("1", "C.UTF-8", "an other, ä", Path("/"))]
    for seed, language, study, cwd in settings_:
        environment = {"PYTHONHASHSEED": seed, "LC_ALL": language, "TZ": f"UTC{seed}", "PATH": os.environ["PATH"]}
        command = [sys.executable, "-c", COMPILE, str(tmp_path / study)]
        done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, check=True)
        assert done.stdout == expected


def test_the_order_of_keys_in_a_pipeline_file_is_the_order_of_its_steps_only(tmp_path: Path) -> None:
    assert list(compiled(tmp_path)) == [
        "rules/test/blur.smk", "rules/test/spot.smk", "rules/test/link.smk",
        "rules/test/blur.json", "rules/test/spot.json", "rules/test/link.json", "rules/test/plan.json",
    ]  # fmt: skip


def test_the_shipped_rules_are_compiled_from_the_shipped_pipelines() -> None:
    for path in sorted((ROOT / "config/pipelines").glob("*.yaml")):
        texts = compile_pipeline(read_pipeline(path, [ROOT / "tools"]), ROOT)
        for file, text in texts.items():
            diff = difflib.unified_diff((ROOT / file).read_text().splitlines(), text.splitlines(), file, lineterm="")
            assert not (lines := list(diff)), "\n".join([*lines, "To remake it: make compile"])


def test_a_parameter_whose_condition_is_false_is_not_passed_but_recorded(tmp_path: Path) -> None:
    texts = compiled(tmp_path)
    assert "passes" not in texts["rules/test/blur.smk"]
    parameters = {p["name"]: p for p in json.loads(texts["rules/test/blur.json"])["parameters"]}
    assert parameters["passes"] == {"name": "passes", "value": 3, "unit": None}
    assert parameters["sigma_um"] == {"name": "sigma_um", "value": None, "unit": "um", "column": "width_um"}


def test_the_method_is_told_with_its_values(tmp_path: Path) -> None:
    facts = json.loads(compiled(tmp_path)["rules/test/blur.json"])
    assert facts["rembi"] == {
        "kind": "analysis",
        "title": "Blurring",
        "prose": 'Blurred by {sigma_um}, fast; note: it\'s "this" {{and}} that, 5 µm 😀, clipped.',
    }


def test_the_tolerance_of_an_output_is_told_where_it_has_one(tmp_path: Path) -> None:
    outputs = {
        "image": {**TOOLS["blur"]["outputs"]["image"], "tolerance": 1e-6},
        "text": TOOLS["spot"]["outputs"]["report"],
    }
    tool = {"inputs": {"image": IMAGE}, "outputs": outputs, "command": ["x"]}
    write_tools(tmp_path, {"a_tool": tool})
    pipeline = write_pipeline(tmp_path, {"a": {"tool": "a_tool", "inputs": {"image": "sheet.path"}}})
    facts = json.loads(compile_pipeline(pipeline, tmp_path)["rules/test/a.json"])
    assert facts["outputs"] == {
        "image": {"type": "image", "format": "ome-zarr", "tolerance": 1e-6},
        "text": {"type": "file", "format": "txt"},
    }


def test_the_plan_names_the_digests_of_its_sources(tmp_path: Path) -> None:
    sources = json.loads(compiled(tmp_path)["rules/test/plan.json"])["sources"]
    assert list(sources) == ["config/pipelines/test.yaml", *(f"tools/{t}/tool.yaml" for t in ("blur", "link", "spot"))]
    assert {len(digest) for digest in sources.values()} == {64}


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["p", "{param.n}"], "{param.n} has no value in step 'a'"),
        (["p", "{in.other}"], "{in.other} has no value in step 'a'"),
        (["p", "{in.other.scene}"], "{in.other.scene} has no value in step 'a'"),
    ],
)
def test_a_word_of_a_command_without_a_value_is_refused(tmp_path: Path, command: list[str], message: str) -> None:
    tool = {
        "inputs": {"image": IMAGE, "other": {**IMAGE, "optional": True, "facts": ["scene"]}},
        "outputs": {"o": {"type": "file", "description": "d", "file": "o", "format": "other"}},
        "params": {"n": {"type": "integer", "default": None, "help": "h"}},
        "command": command,
    }
    write_tools(tmp_path, {"tool_a": tool})
    pipeline = write_pipeline(tmp_path, {"a": {"tool": "tool_a", "inputs": {"image": "sheet.path"}}})
    with pytest.raises(InputError) as caught:
        compile_pipeline(pipeline, tmp_path)
    assert str(caught.value) == f"tools/tool_a/tool.yaml: command: {message}.\n    Put it into a nested list."


def test_nested_parts_without_a_value_are_left_out(tmp_path: Path) -> None:
    tool = {
        "inputs": {"image": IMAGE, "other": {**IMAGE, "optional": True, "facts": ["scene"]}},
        "outputs": {"o": {"type": "file", "description": "d", "file": "o", "format": "other"}},
        "params": {"n": {"type": "integer", "default": None, "help": "h"}},
        "command": ["p", ["-n", "{param.n}"], ["-i", "{in.other}"], ["-s", "{in.other.scene}"], ["-t", "{threads}"]],
    }
    write_tools(tmp_path, {"tool_a": tool})
    texts = write_rules(
        tmp_path, write_pipeline(tmp_path, {"a": {"tool": "tool_a", "inputs": {"image": "sheet.path"}}})
    )
    assert "        job_run p -t {threads}\n" in texts["rules/test/a.smk"]


# ---------------------------------------------------------------------------- quoting


@settings(max_examples=500, deadline=None)
@given(st.text())
@example("\"'\\\"'\n\t\x00\x7f\x85\u2028😀\ud800{}")
@example('\\"')
@example('""\\')
def test_a_quoted_text_is_read_back_by_python_as_it_was(text: str) -> None:
    literal = quote_literal(text)
    assert literal.isascii()
    assert "\n" not in literal
    if literal.startswith("lambda wildcards: "):
        assert eval(literal)(None) == text
    else:
        assert ast.literal_eval(literal) == text
        assert not {"{", "}"} & set(text)


@given(st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.booleans(), st.none()))
def test_other_values_are_read_back_as_they_were(value: Any) -> None:
    assert ast.literal_eval(quote_literal(value)) == value


@given(st.text())
def test_braces_are_doubled_and_undone(text: str) -> None:
    assert unbrace(brace(text)) == text
    assert brace(text).format() == text


@pytest.mark.parametrize(
    ("value", "expected"),
    [(True, "true"), (False, "false"), ([1, 2.5, -3], "1,2.5,-3"), (1e-7, 1e-7), ("a b", "a b"), (3, 3), ([1], "1")],
)
def test_a_value_is_one_word(value: Any, expected: Any) -> None:
    assert word(value) == expected


# ---------------------------------------------------------------------------- through Snakemake

SHOW = 'out=$1; shift; printf "%s\\0" "$@" >"$out"'
LITERAL = '{{sample}} \'one\' "two" $HOME `id` \\ ; * ~ é😀 --flag  """ \'\' !'
TEXT = {"type": "text", "default": "", "help": "h"}
HOSTILE_TOOLS: dict[str, dict[str, Any]] = {
    "say": {
        "inputs": {"image": IMAGE},
        "outputs": {"argv": {"type": "file", "description": "d", "file": "argv.bin", "format": "other"}},
        "params": {"a": TEXT, "b": TEXT, "c": TEXT, "row_text": TEXT},
        "command": [
            "sh", "-c", SHOW.replace("{", "{{").replace("}", "}}"), "say", "{out.argv}", "{in.image}", "{param.a}",
            "<{param.b}>", ["--c", "{param.c}"], LITERAL, "--row={param.row_text}", "",
        ],
    },
    "tell": {
        "inputs": {"image": IMAGE},
        "outputs": {"argv": {"type": "file", "description": "d", "file": "argv.bin", "format": "other"}},
        "params": {"a": TEXT, "b_c": TEXT, "row_text": TEXT},
        "script": "tell.py",
    },
}  # fmt: skip
TELL = """\
import sys
out = sys.argv.index("--out-argv") + 1
with open(sys.argv[out], "wb") as file:
    sys.argv[out] = "HERE"
    file.write(b"".join(text.encode() + b"\\0" for text in sys.argv[1:]))
"""
NASTY = """' " \\ \\n $(touch_owned) `touch_owned` ${HOME} $1 ; & && | > < * ? ~ ~root # ! %s %(a)s ^ ( ) [ ] , = : @ - -- --out
{ } {sample} {{ }} {} {0} {input} {wildcards.sample} {params.a:q} {{sample}} results/{sample}/x 'a'"b" \"\"\" ''' -x é 日本 😀""".split()  # noqa: SIM905
# A cell or a value is one line; the sheet also refuses what editors take for a line end.
CHARACTERS = st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"])
HOSTILE = st.lists(
    st.one_of(st.sampled_from([*NASTY, " ", "  "]), st.text(CHARACTERS, max_size=4)), min_size=1, max_size=5
)
HOSTILE_TEXT = HOSTILE.map("".join).filter(bool)
FILE_NAME = HOSTILE_TEXT.map(lambda text: text.replace("/", "_")[:40]).filter(
    lambda name: name not in ("", ".", "..", "~", "raw", "config", "workflow", "profiles", "rules", "tools")
)


def spoken(folder: Path, unit: str, step: str) -> list[str]:
    data = (folder / layout.result(unit, step, "argv.bin")).read_bytes()
    return data.decode().split("\0")[:-1]


def through_snakemake(folder: Path, fixed: list[str], names: list[str], cells: list[str]) -> Iterator[tuple[Any, Any]]:
    """Run both tools over a row for each name; pairs of what they were given and what was meant."""
    tools = write_tools(folder, HOSTILE_TOOLS)
    (tools / "tell/tell.py").write_text(TELL)
    say = {"a": fixed[0], "b": fixed[1], "c": fixed[2], "row_text": {"column": "text"}}
    tell = {"a": fixed[3], "b_c": fixed[4], "row_text": {"column": "text"}}
    steps = {
        "say": {"tool": "say", "inputs": {"image": "sheet.path"}, "params": say},
        "tell": {"tool": "tell", "inputs": {"image": "sheet.path"}, "params": tell},
    }
    write_rules(folder, write_pipeline(folder, steps))
    paths = [name if index % 2 else f"raw/{name}" for index, name in enumerate(names)]
    (folder / "raw").mkdir()
    for path in paths:
        (folder / path).write_text("image")
    rows = [
        {"id": f"r{i}", "path": path, "text": cell} for i, (path, cell) in enumerate(zip(paths, cells, strict=True))
    ]
    write_rows(folder, rows, ["text"])
    for name in ("workflow", "profiles"):
        shutil.copytree(ROOT / name, folder / name)
    (folder / "config/config.yaml").write_text("pipeline: test\n")
    command = [sys.executable, "-m", "snakemake", "--snakefile", "workflow/Snakefile", "--profile", "profiles/local"]
    environment = {**os.environ, "HOME": "/home/nobody here"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    logs = "\n".join(path.read_text() for path in folder.glob("logs/*/*.log"))
    assert done.returncode == 0, done.stderr[-3000:] + logs
    for i, (path, cell) in enumerate(zip(paths, cells, strict=True)):
        file = f"./{path}" if path.startswith("-") else path
        meant = [file, fixed[0], f"<{fixed[1]}>", "--c", fixed[2], unbrace(LITERAL), f"--row={cell}", ""]
        yield spoken(folder, f"r{i}", "say"), meant
        flags = ["--image", file, f"--a={fixed[3]}", f"--b-c={fixed[4]}", f"--row-text={cell}"]
        yield spoken(folder, f"r{i}", "tell"), [*flags, "--out-argv", "HERE", "--threads", "1"]
        record = read_record(folder / layout.record(f"r{i}", "say"))
        out = layout.result(f"r{i}", "say", "argv.bin")
        yield list(record.argv), ["sh", "-c", SHOW, "say", out, *meant]
        yield [item.path for item in record.inputs], [file]
        yield record.row_parameters, {"row_text": cell}
    owned = [path for path in folder.rglob("*owned*") if path.name not in names]
    yield owned, []


ROWS = 8
EXAMPLES = 60 if os.environ.get("SNAKESCOPE_SOAK") else 3


def check_hostile(factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    fixed = data.draw(st.lists(HOSTILE_TEXT, min_size=5, max_size=5))
    unique = st.lists(FILE_NAME, min_size=ROWS, max_size=ROWS, unique=True)
    names = data.draw(unique)
    cells = data.draw(st.lists(HOSTILE_TEXT, min_size=ROWS, max_size=ROWS))
    reserved = {"raw", "config", "workflow", "profiles", "rules", "tools"}
    names = [f"x{name}" if name in reserved else name for name in names]
    for found, meant in through_snakemake(factory.mktemp("hostile"), fixed, names, cells):
        assert found == meant


@pytest.mark.soak
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
    phases=[Phase.explicit, Phase.generate],
)  # fmt: skip - an example takes seconds: no shrinking
@given(st.data())
def test_a_tool_is_given_exactly_the_words_that_were_meant(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    fixed = data.draw(st.lists(HOSTILE_TEXT, min_size=5, max_size=5))
    names = data.draw(st.lists(FILE_NAME, min_size=ROWS, max_size=ROWS, unique=True))
    cells = data.draw(st.lists(HOSTILE_TEXT, min_size=ROWS, max_size=ROWS))
    for found, meant in through_snakemake(tmp_path_factory.mktemp("hostile"), fixed, names, cells):
        assert found == meant


def test_every_nasty_word_reaches_the_tool_as_it_is(tmp_path: Path) -> None:
    words = [text.replace("/", "_") for text in NASTY]
    fixed = [" ".join(NASTY), "".join(NASTY), "results/{sample}/say/argv.bin", "{sample}", "-"]
    for found, meant in through_snakemake(tmp_path, fixed, [f"{w} {i}.tif" for i, w in enumerate(words)], NASTY):
        assert found == meant
