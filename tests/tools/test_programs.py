"""Tools that wrap programs of others: run for real where the program is here, else checked as text.

Their numeric cases are run with those of all tools. Here: what ImageJ does when it fails without a word, any letters
through a real ImageJ, equal bytes from equal inputs, and what is compiled of the tools whose program no test has.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import yaml
from hypothesis import strategies as st

from deployment.apptainer import missing
from deployment.hostile import NAMES, OWNED, VALUES, draw
from integration_helpers import snakescope
from snakescope.compiler import Places, build_rule
from snakescope.generate import where_run
from snakescope.pipeline import FileWire, Pipeline, PipelineSpec, SheetWire, Step, StepSpec, Wire
from snakescope.runner.scaffold import new_tool
from snakescope.runner.tools import ToolFailedError, run_tool
from snakescope.tool.library import Tool, read_library, read_tool
from snakescope.tool.spec import IMAGE_TYPES

ROOT = Path(__file__).resolve().parents[2]
TOOLS = read_library([ROOT / "tools"])
RAN = yaml.safe_load((ROOT / "tools/ran.yaml").read_text())
WRAPPED = sorted(name for name, tool in TOOLS.items() if tool.spec.script is None)
COUNT = 60  # names and as many values; one argument of a program holds 128 kB


def need(*programs: str) -> None:
    """Skip where a program is not here; fail where it must be."""
    absent = [name for name in programs if shutil.which(name) is None]
    if absent:
        missing(f"{', '.join(absent)} not on the PATH (as root: PATH=$(tests/deployment/programs.sh PREFIX):$PATH)")


@pytest.fixture
def imagej() -> None:
    """ImageJ and a display to hide it in."""
    need("xvfb-run", "xauth", "timeout", "java", "imagej")


def macro_tool(folder: Path, text: str, **more: Any) -> Tool:
    """A tool of a macro that is told an image, a word and an output."""
    place = folder / "tools/try"
    place.mkdir(parents=True)
    (place / "try.ijm").write_text(text, encoding="utf-8")
    descriptor = {
        "schema": 1,
        "id": "try",
        "name": "Try",
        "version": "1.0.0",
        "tool": {"name": "ImageJ", "version": "1.53"},
        "description": "d",
        "license": "MIT",
        "inputs": {"image": {"type": "file", "description": "d"}},
        "outputs": {"text": {"type": "file", "description": "d", "file": "x.txt", "format": "txt"}},
        "macro": "try.ijm",
        "resources": {"mem_mb": 500, "runtime_min": 1},
        **more,
    }
    (place / "tool.yaml").write_text(yaml.safe_dump(descriptor, allow_unicode=True))
    return read_tool(place)


def failure(folder: Path, tool: Tool) -> str:
    """What a tool says that fails."""
    (folder / "image").write_text("x")
    with pytest.raises(ToolFailedError) as error:
        run_tool(tool, {"image": [folder / "image"]}, folder / "out")
    assert not (folder / "out/x.txt").exists()
    return str(error.value)


def test_elastix_is_not_given_a_plane_and_a_stack(tmp_path: Path) -> None:
    if shutil.which("elastix") is None:
        missing("elastix is not here (on Debian: apt-get install elastix)")
    stack = np.random.default_rng(0).integers(0, 1000, (4, 32, 32)).astype(np.uint16)
    for name, image in (("stack", stack), ("plane", stack[0])):
        tifffile.imwrite(tmp_path / f"{name}.tif", image, photometric="minisblack")
    inputs = {"fixed": [tmp_path / "stack.tif"], "image": [tmp_path / "plane.tif"]}
    with pytest.raises(ToolFailedError, match="one image is a plane and the other a stack; they need as many axes"):
        run_tool(TOOLS["elastix"], inputs, tmp_path / "out")


# ---------------------------------------------------------------------------- ImageJ's silent failures


@pytest.mark.usefixtures("imagej")
def test_imagej_that_ends_well_without_a_result_fails_with_its_last_words(tmp_path: Path) -> None:
    told = failure(tmp_path, macro_tool(tmp_path, 'exit("there are no cells");'))
    assert "did not write x.txt (output text); its last words: there are no cells" in told


@pytest.mark.usefixtures("imagej")
@pytest.mark.slow
def test_a_dialog_that_nobody_sees_is_ended_and_nothing_is_left_running(tmp_path: Path) -> None:
    tool = macro_tool(tmp_path, 'x = getNumber("How many?", 3);')
    told = failure(tmp_path, tool)
    assert "try: ended after 40 s. A window that nobody sees may have waited for an answer" in told
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(tmp_path) not in running


@pytest.mark.usefixtures("imagej")
def test_a_display_that_is_missing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "bin/xvfb-run"
    fake.parent.mkdir()
    fake.write_text('#!/bin/sh\nshift\nunset DISPLAY\nexec "$@"\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
    own = Path(shutil.which("python") or "").parent
    monkeypatch.setattr("sys.executable", str(fake.parent / "python"))
    monkeypatch.setenv("PATH", f"{fake.parent}:{own}:{os.environ['PATH']}")
    told = failure(tmp_path, macro_tool(tmp_path, 'newImage("x", "8-bit black", 9, 9, 1); run("Add...");'))
    assert "it found no display (HeadlessException)" in told


@pytest.mark.usefixtures("imagej")
def test_what_somebody_set_up_in_imagej_is_not_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".imagej").mkdir()
    (tmp_path / ".imagej/IJ_Prefs.txt").write_text(".options=0\n.measurements=1\n.mark=there\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    macro = 'List.setList(getArgument());\nFile.saveString(getDirectory("home"), List.get("out_text"));\n'
    (tmp_path / "image").write_text("x")
    done = run_tool(macro_tool(tmp_path, macro), {"image": [tmp_path / "image"]}, tmp_path / "out")
    assert done.outputs["text"].read_text().endswith("/.home/")


# ---------------------------------------------------------------------------- any letters


@pytest.mark.usefixtures("imagej")
def test_names_and_values_of_any_letters_arrive_in_imagej(tmp_path: Path) -> None:
    """Each file is opened by its name and each value written down again, by one ImageJ."""
    drawn = draw(st.tuples(NAMES, VALUES), COUNT)
    folder = tmp_path / "d é"
    folder.mkdir()
    names = {f"p{i}": folder / f"{i}{name}" for i, (name, _) in enumerate(drawn)}
    for key, path in names.items():
        path.write_text(key)
    macro = """List.setList(getArgument());
    out = List.get("out_text");
    for (i = 0; i < COUNT; i++) {
        File.append(File.openAsString(List.get("p" + i)), out);
        File.append(List.get("v" + i), out);
    }
    """.replace("COUNT", str(COUNT))
    params = {f"v{i}": {"type": "text", "help": "h"} for i in range(COUNT)}
    params |= {key: {"type": "text", "help": "h"} for key in names}
    tool = macro_tool(tmp_path, macro, params=params)
    (tmp_path / "image").write_text("x")
    values = {f"v{i}": value for i, (_, value) in enumerate(drawn)} | {key: str(path) for key, path in names.items()}
    done = run_tool(tool, {"image": [tmp_path / "image"]}, tmp_path / "out", params=values)
    lines = [line for line in done.outputs["text"].read_text(encoding="utf-8").split("\n") if line]
    meant = [text for i, (_, value) in enumerate(drawn) for text in (f"p{i}", value)]
    assert lines == meant
    assert [path for path in (*tmp_path.rglob("*"), *Path.cwd().iterdir()) if path.name == OWNED] == []


@pytest.mark.usefixtures("imagej")
def test_a_tool_made_of_a_macro_in_one_command_passes(tmp_path: Path) -> None:
    macro = tmp_path / "my count.ijm"
    macro.write_text(
        'a = split(getArgument(), ",");\ninput = a[0]; output = a[1]; least = parseFloat(a[2]);\nsetBatchMode(true);\n'
        'open(input);\nsetAutoThreshold("Otsu dark");\n'
        'run("Analyze Particles...", "size=" + least + "-Infinity display clear");\nsaveAs("Results", output);\n'
    )
    assert snakescope("tool", "new", "count", "--macro", str(macro), cwd=tmp_path).returncode == 0
    lint = snakescope("lint", cwd=tmp_path)
    assert (lint.returncode, lint.stdout) == (0, "1 tool of its own is sound\n")
    tested = snakescope("tool", "test", "count", cwd=tmp_path)
    assert (tested.returncode, tested.stderr) == (0, "")
    assert tested.stdout.endswith("1 passed, 0 failed\n")


# ---------------------------------------------------------------------------- equal inputs, equal bytes


def inputs_of(name: str, folder: Path) -> dict[str, list[Path]]:
    """Small inputs for each of the programs."""
    texture = np.random.default_rng(1).integers(0, 4000, (64, 64)).astype(np.uint16)
    texture = np.repeat(np.repeat(texture[:8, :8], 8, 0), 8, 1)
    for file, image in (("a.tif", texture), ("b.tif", np.roll(texture, 3, 1))):
        tifffile.imwrite(
            folder / file, image, ome=True, metadata={"axes": "YX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
        )
    a, b = folder / "a.tif", folder / "b.tif"
    return {"elastix": {"image": [b], "fixed": [a]}, "graphicsmagick": {"image": [a, b]}}.get(name, {"image": [a]})


@pytest.mark.parametrize("name", [name for name in WRAPPED if name in RAN["automatic"]])
def test_two_runs_give_the_same_bytes(name: str, tmp_path: Path) -> None:
    tool = TOOLS[name]
    need(*tool.spec.programs)
    found = []
    for run in ("one", "two"):
        outputs = run_tool(tool, inputs_of(name, tmp_path), tmp_path / run).outputs
        found.append({port: path.read_bytes() for port, path in outputs.items()})
    texts = [re.sub(rb'UUID="[^"]*"|urn:uuid:[-0-9a-f]*', b"", b"".join(files.values())) for files in found]
    assert texts[0] == texts[1]


# ---------------------------------------------------------------------------- what no test can run


def command(tool: Tool) -> list[str]:
    """The lines of the compiled rule from the tool's own things on, with required parameters set."""
    spec = tool.spec
    wires: Mapping[str, Wire] = {
        name: SheetWire("path") if port.type in IMAGE_TYPES else FileWire(f"models/{name}")
        for name, port in spec.inputs.items()
        if not port.optional
    }
    params = {name: 0.5 if param.required else param.default for name, param in spec.params.items()}
    step = Step(spec.id, tool, (), wires, params, keep=True)
    shape = PipelineSpec(schema_=1, name="test", title="t", steps={spec.id: StepSpec(tool=spec.id)})
    calls = build_rule(Pipeline(shape, ROOT, "", {spec.id: step}), step, Places(ROOT)).calls
    return calls[next(i for i, call in enumerate(calls) if call.startswith(("job_home", "job_version", "job_run"))) :]


def test_cellpose_is_called_with_the_weights_and_the_gpu() -> None:
    run = command(TOOLS["cellpose"])[-1]
    assert '"$out_labels" --image_path {params.image:q} --pretrained_model {params.model:q} --flow_threshold' in run
    assert "--use_gpu" in run
    assert "--diameter" not in run


def test_stardist_is_called_with_the_model_and_the_percentiles() -> None:
    run = command(TOOLS["stardist"])[-1]
    assert "--model {params.model:q} --axes YX --pnorm {params.percentiles_low:q} {params.percentiles_high:q}" in run
    assert "stardist-predict2d" in run


def test_pycudadecon_is_told_the_voxel_size_and_its_program_is_python_that_compiles() -> None:
    run = command(TOOLS["pycudadecon"])[-1]
    assert '{params.image:q} {params.psf:q} "$out_image" {params.image_voxel_size_um:q} {params.iterations:q}' in run
    source = (TOOLS["pycudadecon"].spec.command or [])[2]
    compile(str(source).replace("{{", "{").replace("}}", "}"), "pycudadecon", "exec")


def test_trackmate_runs_in_fiji_with_a_display() -> None:
    calls = command(TOOLS["trackmate_fiji"])
    assert calls[0] == "job_home"
    assert 'job_path out_tracks "$out_tracks"' in calls
    assert calls[-1] == (
        'job_run xvfb-run -a timeout --foreground -k 10 "$job_limit" ImageJ-linux64 --console -batch '
        '"$job_macro" "$job_told"'
    )


def test_cellprofiler_gets_its_images_as_a_list() -> None:
    run = command(TOOLS["cellprofiler"])[-1]
    assert 'cellprofiler -c -r -p "$pipeline" --file-list' in run
    assert run.endswith('cellprofiler {params.pipeline:q} "$out_tables" {params.image:q}')


@pytest.mark.parametrize("name", WRAPPED)
def test_shell_programs_of_descriptors_are_sound(name: str) -> None:
    words = TOOLS[name].spec.command or []
    if words[:2] != ["sh", "-c"]:
        return
    text = str(words[2]).replace("{{", "{").replace("}}", "}")
    done = subprocess.run(["sh", "-n", "-c", text], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    if shutil.which("shellcheck"):
        told = subprocess.run(["shellcheck", "-s", "sh", "-"], input=text, capture_output=True, text=True, check=False)
        assert told.stdout == ""


@pytest.mark.parametrize("name", WRAPPED)
def test_descriptors_say_what_they_owe(name: str) -> None:
    spec = TOOLS[name].spec
    assert spec.rembi is not None
    assert spec.edam.operations
    assert spec.homepage
    assert spec.qc
    assert spec.citations or name == "graphicsmagick"
    numbers = {key: param for key, param in spec.params.items() if param.type in ("number", "integer")}
    assert [key for key, param in numbers.items() if param.unit is None] == []
    assert [key for key, param in numbers.items() if param.min is None and param.above is None] == []
    assert spec.environment.container == f"envs/{name}.sif"
    assert (ROOT / f"envs/{name}.def").is_file()


def test_it_is_told_of_every_tool_where_its_cases_have_run() -> None:
    lists = [RAN["automatic"], RAN["by_hand"], RAN["never"]]
    assert sorted(name for names in lists for name in names) == sorted(TOOLS)
    page = (ROOT / "docs/tools.md").read_text()
    for name in TOOLS:
        assert f"{where_run(name, RAN)}\n" in page
    for name in RAN["never"]:
        assert "never run here" in TOOLS[name].spec.description.lower()


def test_a_missing_program_is_neither_passed_nor_failed(tmp_path: Path) -> None:
    new_tool("smooth", tmp_path)
    descriptor = tmp_path / "tools/smooth/tool.yaml"
    descriptor.write_text(descriptor.read_text() + "environment: {programs: [nothing-of-this-name]}\n")
    tested = snakescope("tool", "test", "smooth", cwd=tmp_path)
    assert tested.returncode == 3
    assert "program missing  smooth/works: " in tested.stdout
    assert "the program 'nothing-of-this-name' is not on the PATH" in tested.stdout
    assert tested.stdout.endswith("0 passed, 0 failed, 1 not run: their program is missing\n")
