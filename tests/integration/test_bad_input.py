"""Bad input, through the command line: one clear message, exit code 2, no traceback, nothing written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

from integration_helpers import TinyStudy, snakescope
from snakescope.runner.folder import init
from snakescope.synthetic import Microscope, Vesicles, generate_llsm

Make = Callable[[int], TinyStudy]
SCOPE, FEW = Microscope(shape=(24, 48, 48)), Vesicles(count=3)
STACK = "raw/cell1_ch0_stack0000.tif"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sound stacks in `raw`, and next to them what is wrong in one way each."""
    folder = tmp_path_factory.mktemp("data")
    generate_llsm(folder, series=1, frames=2, microscope=SCOPE, vesicles=FEW)
    generate_llsm(folder / "bare", series=1, frames=1, microscope=SCOPE, vesicles=FEW, metadata="bare")
    sound = (folder / STACK).read_bytes()
    (folder / "cut.tif").write_bytes(sound[: len(sound) // 2])
    (folder / "text.tif").write_text("hello\n")
    about = {"axes": "ZYX", "spacing": 0.1, "unit": "um"}
    wide = np.ones((61, 128, 128), np.uint16)
    tifffile.imwrite(folder / "wide_psf.tif", wide, imagej=True, resolution=(10, 10), metadata=about)
    flat = np.ones((32, 32), np.uint16)
    tifffile.imwrite(folder / "flat.tif", flat, imagej=True, resolution=(10, 10), metadata={**about, "axes": "YX"})
    return folder


@pytest.fixture(scope="module")
def template(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound study over the two sound stacks."""
    root = tmp_path_factory.mktemp("template") / "study"
    init(root)
    shutil.copyfile(data / "psf.tif", root / "config/psf.tif")
    assert snakescope("collect", data / "raw", "--yes", cwd=root).returncode == 0
    assert snakescope("lint", cwd=root).returncode == 0
    return root


@pytest.fixture
def study(template: Path, tmp_path: Path) -> Path:
    """A copy of the sound study, to be spoiled."""
    return Path(shutil.copytree(template, tmp_path / "study"))


def tree(root: Path) -> dict[str, tuple[int, int]]:
    """Every file and folder with its size and time."""
    return {str(p): (p.lstat().st_size, p.lstat().st_mtime_ns) for p in sorted(root.rglob("*")) if not p.is_dir()}


def refused(*arguments: str | Path, cwd: Path, problems: int = 1, told: tuple[str, ...] = ()) -> str:
    """Run a command that must be refused; returns what it said. A problem is a line that is not indented."""
    before = tree(cwd)
    done = snakescope(*arguments, cwd=cwd)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert "Traceback" not in done.stderr
    assert tree(cwd) == before
    for text in told:
        assert text in done.stderr
    assert len([line for line in done.stderr.splitlines() if not line.startswith(" ")]) == problems, done.stderr
    return done.stderr


def spoil(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8", newline="")


# ---------------------------------------------------------------------------- one tool on one image

DESKEW = ("tool", "run", "deskew", "--out", "out")
TOOL_RUNS = {
    "cut image": (["image=cut.tif"], [], ("cut.tif: is a damaged TIFF", "copy it again from its source")),
    "no image": (["image=text.tif"], [], ("text.tif: is not an image of a known format; expected OME-Zarr",)),
    "folder": (["image=raw"], [], ("raw: is a folder without zarr.json", "Give the path of the store itself")),
    "no such file": (["image=none.tif"], [], ("--in image: there is no file 'none.tif'",)),
    "no voxel size": (
        ["image=bare/" + STACK],
        [],
        ("the voxel size is not known: neither the image nor the command line", "--voxel-size-um 0.3,0.1,0.1 (z,y,x)"),
    ),
    "flat image": (["image=flat.tif"], [], ("axes: found yx; the tool needs t?c?zyx",)),
    "no such input": (["image=" + STACK, "imag=x"], [], ("--in imag: the tool has no such input", "Did you mean")),
    "input left out": ([], [], ("--in image: is missing (Raw stack",)),
    "two files": (["image=" + STACK, "image=flat.tif"], [], ("found 2 files; the tool takes one",)),
    "no path": (["image"], [], ("--in image: expected PORT=PATH",)),
    "unknown parameter": (
        ["image=" + STACK],
        ["--set", "angel_deg=3"],
        ("the tool 'deskew' has no parameter 'angel_deg'", "Did you mean 'angle_deg'?"),
    ),
    "out of range": (
        ["image=" + STACK],
        ["--set", "angle_deg=90"],
        ("params.angle_deg: found 90; expected a number above -90 and below 90 in deg",),
    ),
    "not a number": (["image=" + STACK], ["--set", "fill=abc"], ("params.fill: found 'abc'; expected a number",)),
    "NaN": (["image=" + STACK], ["--set", "fill=NaN"], ("params.fill: found nan; expected a number",)),
    "set twice": (["image=" + STACK], ["--set", "fill=1", "--set", "fill=2"], ("--set fill=2: 'fill' is set twice",)),
    "set nothing": (["image=" + STACK], ["--set", "fill"], ("--set fill: expected NAME=VALUE",)),
    "voxel size in nm": (
        ["image=" + STACK],
        ["--voxel-size-um", "100 nm"],
        ("--voxel-size-um: found '100 nm'; expected a number without a unit (µm)", "Write 0.1."),
    ),
    "time step below 0": (
        ["image=" + STACK],
        ["--time-step-s", "-1"],
        ("--time-step-s: found -1; expected a number above 0 (s)",),
    ),
    "no such scene": (["image=" + STACK], ["--scene", "4"], ("--scene: found 4;", "holds 1 images")),
}


@pytest.mark.parametrize("case", TOOL_RUNS)
def test_tool_run_refuses(data: Path, case: str) -> None:
    inputs, further, told = TOOL_RUNS[case]
    flags = [word for text in inputs for word in ("--in", text)]
    refused(*DESKEW, *flags, *further, cwd=data, told=told)


def test_tool_run_names_the_unit_that_it_wants(data: Path) -> None:
    spots = ("tool", "run", "detect_spots", "--out", "out", "--in", f"image={STACK}")
    told = ("params.radius_um: found '3 px' with the unit 'px'; expected a bare number in um",)
    refused(*spots, "--set", "radius_um=3 px", cwd=data, told=told)


def test_tool_run_tells_all_problems_at_once(data: Path) -> None:
    deconvolve = ("tool", "run", "deconvolve", "--out", "out", "--in", f"image={STACK}", "--in", "psf=none.tif")
    settings = ("--set", "iterations=0", "--set", "iteration=3", "--set", "edges=soft")
    told = ("there is no file 'none.tif'", "found 0; expected a whole number", "found 'soft'", "'iteration'")
    refused(*deconvolve, *settings, cwd=data, problems=4, told=told)


def test_tool_run_refuses_a_tool_that_is_not_there(data: Path) -> None:
    told = ("tool 'deskw': there is no such tool", "Did you mean 'deskew'?")
    refused("tool", "run", "deskw", "--out", "out", cwd=data, told=told)


def test_tool_run_refuses_a_folder_that_cannot_be_written(data: Path) -> None:
    told = ("text.tif/out: cannot be written (Not a directory)", "Choose a folder of your own")
    refused("tool", "run", "deskew", "--in", f"image={STACK}", "--out", "text.tif/out", cwd=data, told=told)


def test_tool_run_never_replaces_its_input(data: Path, tmp_path: Path) -> None:
    first = snakescope("tool", "run", "deskew", "--in", f"image={data / STACK}", "--out", "a", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    again = ("tool", "run", "deskew", "--out", "b/../a")
    told = ("--out b/../a: an output would replace the input", "Choose another folder")
    refused(*again, "--in", "image=a/image.ome.zarr", cwd=tmp_path, told=told)


def test_bad_input_found_by_the_program_is_exit_2_as_well(data: Path, tmp_path: Path) -> None:
    deconvolve = ("tool", "run", "deconvolve", "--in", f"image={data / STACK}", "--in", f"psf={data / 'wide_psf.tif'}")
    done = snakescope(*deconvolve, "--out", "out", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "wide_psf.tif: the PSF is larger than the image" in done.stderr
    assert "Whole log: out/log.txt" in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["log.failed.json", "log.txt"]
    assert json.loads((tmp_path / "out/log.failed.json").read_text())["exit_code"] == 2


def test_a_program_that_fails_otherwise_is_exit_1(tiny_study: Make, data: Path) -> None:
    study = tiny_study(1)
    spoil(study.root / "tools/stamp/tool.yaml", "grep -q broken", "true")
    done = study.snakescope("tool", "run", "stamp", "--in", f"image={data / STACK}", "--out", "out")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"stamp: {data / STACK} is broken" in done.stderr


# ---------------------------------------------------------------------------- the sheet

ROW = "cell1_ch0_stack0001\t"
GROUP = "\tcell1\t1\t0"
SHEETS = {
    "no id": (ROW, "\t", ("line 3: id: found an empty cell; expected a value",)),
    "id twice": (ROW, "cell1_ch0_stack0000\t", ("line 3: id: 'cell1_ch0_stack0000' is there already on line 2",)),
    "id in other capitals": (ROW, "Cell1_ch0_stack0000\t", ("line 3: id:", "differs from", "in capitals only")),
    "id with a tab": (ROW, "a\tb\t", ("line 3: found 15 cells; expected 14", "must not hold a tab")),
    "id with a line end": (ROW, "a\nb\t", ("line 3: path: found an empty cell",)),
    "id with a quote": (ROW, "it's\t", ('line 3: id: found "it\'s"; expected letters, digits and . _ -', "rename it")),
    "id with a double quote": (ROW, 'a"b\t', ("line 3: id: found 'a\"b'; expected letters, digits",)),
    "id that is a command": (ROW, "$(touch x)\t", ("line 3: id: found '$(touch x)'; expected letters, digits",)),
    "id that climbs": (ROW, "../../x\t", ("line 3: id: found '../../x'; expected letters, digits",)),
    "id with dots": (ROW, "a..b\t", ("line 3: id: found 'a..b'; expected letters, digits", "and no '..'")),
    "id with braces": (ROW, "{sample}\t", ("line 3: id: found '{sample}'; expected letters, digits",)),
    "group that climbs": (GROUP, "\t../c\t1\t0", ("line 3: series: found '../c'; expected letters, digits",)),
    "group that is a command": (GROUP, "\t$(x)\t1\t0", ("line 3: series: found '$(x)'; expected letters, digits",)),
    "group with a quote": (GROUP, "\ta'b\t1\t0", ('line 3: series: found "a\'b"; expected letters, digits',)),
    "group with a blank": (GROUP, "\ta b\t1\t0", ("line 3: series: found 'a b'; expected letters, digits",)),
    "group open": (GROUP, '\t"a\t1\t0', ("line 3: found '\"a'; a cell that begins with a double quote",)),
    "group empty": (GROUP, "\t\t1\t0", ("line 3: series: found an empty cell",)),
    "time point twice": (GROUP, "\tcell1\t0\t0", ("line 3: t:", "are both time point 0", "track, measure, render")),
    "path with a tab": ("_stack0001.tif", "_\t.tif", ("line 3: found 15 cells",)),
    "path with a bell": ("_stack0001.tif", "_\a.tif", ("line 3", "'\\x07'")),
    "no such file": ("_stack0001.tif", "_stack9.tif", ("line 3: path: there is no file", "stack9.tif'")),
    "no voxel size": ("0.3,0.1,0.1", "", ("line 2: voxel_size_um: the voxel size is not known", "Write z,y,x in µm")),
    "voxel size in nm": ("0.3,0.1,0.1", "100 nm", ("line 2: voxel_size_um: found '100 nm'", "Write 0.1.")),
    "voxel size of 0": ("0.3,0.1,0.1", "0.3,0,0.1", ("line 2: voxel_size_um: found 0; expected a number above 0",)),
    "decimal commas": ("0.3,0.1,0.1", "0,3;0,1;0,1", ("line 2: voxel_size_um: found '0,3;0,1;0,1'", "decimal points")),
    "flat": ("zyx\t24,48,48", "yx\t48,48", ("line 2: axes: found yx; the tool needs t?c?zyx", "Take these rows out")),
    "another format": ("\ttiff\t", "\tjpeg\t", ("line 2: format: found jpeg; the tool reads ome-zarr",)),
    "another type": ("uint16", "float64", ("line 2: dtype: found float64; the tool takes uint8, uint16",)),
    "no column path": ("id\tpath", "id\tpaths", ("line 1: the column 'path' is missing",)),
    "no column series": ("\tseries\t", "\tserie\t", ("reads the column 'series'", "Did you mean 'serie'?")),
}


@pytest.mark.parametrize("case", SHEETS)
def test_lint_refuses_a_sheet(study: Path, case: str) -> None:
    old, new, told = SHEETS[case]
    spoil(study / "config/samples.tsv", old, new)
    refused("lint", cwd=study, told=("config/samples.tsv", *told))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "the sheet is empty; expected a header line and a row for each image"),
        ("id\tpath\n", "found a header and no rows; expected a row for each image"),
        (None, "there is no sample sheet"),
    ],
)
def test_lint_refuses_an_empty_sheet(study: Path, text: str | None, told: str) -> None:
    sheet = study / "config/samples.tsv"
    sheet.unlink() if text is None else sheet.write_text(text)
    refused("lint", cwd=study, told=(told, "Make one with: snakescope collect FOLDER"))


def test_run_refuses_what_lint_refuses_and_writes_nothing(study: Path) -> None:
    spoil(study / "config/samples.tsv", "0.3,0.1,0.1", "100 nm")
    shutil.rmtree(study / "rules")
    assert refused("run", cwd=study) == refused("lint", cwd=study)


def test_all_problems_of_sheet_pipeline_and_tools_are_told_at_once(tiny_study: Make) -> None:
    study = tiny_study(3)
    spoil(study.root / "config/samples.tsv", "r1\t", "a b\t")
    spoil(study.root / "config/samples.tsv", "r2\tdata/2.txt", "r0\t")
    study.set_pipeline({"stamp": {"wort": "x"}, "count": {"sleep_s": -1}})
    tool = study.root / "tools/gather/tool.yaml"
    spoil(tool, "license: MIT", "licence: MIT")
    told = (
        "tools/gather/tool.yaml: licence: unknown key.\n    Did you mean 'license'?",
        "tools/gather/tool.yaml: license: is missing",
        "steps.stamp.params.wort: the tool 'stamp' has no parameter 'wort'.\n    Did you mean 'word'?",
        "steps.count.params.sleep_s: found -1; expected a number",
        "line 3: id: found 'a b'",
        "line 4: id: 'r0' is there already on line 2",
        "line 4: path: found an empty cell",
    )
    refused("lint", cwd=study.root, problems=7, told=told)
    spoil(tool, "licence: MIT", "license: MIT")
    refused("run", cwd=study.root, problems=5, told=told[2:])


NAMES = [
    "two words.txt", "it's.txt", 'a "quoted" one.txt', '"all".txt', "$(touch pwned).txt", "`touch pwned`.txt",
    "a;touch pwned;.txt", "{sample}.txt", "{braces,[0-9]+}.txt", "{{double}}.txt", "}{.txt", "µ→Ω 細胞.txt",
    "back\\slash.txt", "star*?[a].txt", "-dash.txt", "#hash.txt", "100%s.txt", "~tilde.txt", "a|b&c>d.txt",
]  # fmt: skip


def test_paths_may_hold_anything_but_tabs_and_line_ends(tiny_study: Make) -> None:
    study = tiny_study(len(NAMES))
    lines = ["id\tpath\tseries\tt"]
    for index, name in enumerate(NAMES):
        (study.root / "data" / name).write_text(f"file {index}\n")
        cell = f"data/{name}"
        lines.append(f"r{index}\t{cell}\ts{index // 2}\t{index % 2}")
    study.write("config/samples.tsv", "\n".join(lines) + "\n")
    done = study.snakescope("run")
    assert done.returncode == 0, done.stdout + done.stderr
    for index, name in enumerate(NAMES):
        assert study.read(f"results/r{index}/stamp/stamped.txt") == f"one\nfile {index}\n"
        record = json.loads(study.read(f"records/r{index}/stamp.json"))
        assert [item["path"] for item in record["inputs"]] == [f"data/{name}"]
    assert study.read("results/s1/gather/all.txt") == "one\nfile 2\none\nfile 3\n"
    assert not list(study.root.rglob("pwned*"))
    assert "nothing to do" in study.snakescope("run").stdout


def test_images_of_any_name_are_collected_and_read(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / 'it\'s $(touch pwned) {x} "q"'
    folder.mkdir()
    shutil.copyfile(data / STACK, folder / "µ {t} 'a' \"b\" $(touch pwned).tif")
    assert snakescope("collect", folder, "--study", "study", cwd=tmp_path).returncode == 0
    cells = (tmp_path / "study/config/samples.tsv").read_text().splitlines()[1].split("\t")
    assert cells[1] == str(next(folder.iterdir()))
    flags = ("--in", f"image={next(folder.iterdir())}", "--out", folder / "out {y}")
    done = snakescope("tool", "run", "deskew", *flags, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["outputs"]["image"] == str(folder / "out {y}/image.ome.zarr")
    assert json.loads(Path(told["record"]).read_text())["outputs"][0]["shape"] == [24, 48, 48 + 61]
    assert not list(tmp_path.rglob("pwned"))


@pytest.mark.parametrize("name", ["a\tb.tif", "a\nb.tif"])
def test_a_path_with_a_tab_or_line_end_is_refused(data: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "in").mkdir()
    shutil.copyfile(data / STACK, tmp_path / "in" / name)
    run = ("tool", "run", "deskew", "--in", f"image=in/{name}", "--out", "out")
    refused(*run, cwd=tmp_path, told=(f"found {name[1]!r} in",))
    done = snakescope("collect", "in", cwd=tmp_path)
    assert done.returncode == 2
    assert repr(name)[1:-1] in done.stdout
    assert not (tmp_path / "config").exists()


# ---------------------------------------------------------------------------- collect


def test_collect_of_nothing_but_unreadable_images_writes_nothing(data: Path, tmp_path: Path) -> None:
    for name in ("cut.tif", "text.tif"):
        shutil.copyfile(data / name, tmp_path / name)
    done = snakescope("collect", ".", cwd=tmp_path)
    assert done.returncode == 2
    assert "could not be read (2):" in done.stdout
    assert "cut.tif: is a damaged TIFF" in done.stdout
    assert "text.tif: is not an image of a known format" in done.stdout
    assert "no image that can be read was found; nothing was written" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cut.tif", "text.tif"]


def test_collect_takes_what_it_can_read_and_tells_the_rest(data: Path, tmp_path: Path) -> None:
    for name in (STACK, "cut.tif"):
        shutil.copyfile(data / name, tmp_path / Path(name).name)
    done = snakescope("collect", ".", "--json", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (1, "")
    told = json.loads(done.stdout)
    assert [row["path"] for row in told["rows"]] == [Path(STACK).name]
    assert [item["path"] for item in told["unreadable"]] == ["cut.tif"]


COLLECTS = {
    "no such folder": (["none"], ("none: there is no such folder",)),
    "unfit pattern": (["raw", "--pattern", "a{"], ("pattern 'a{': found '{'", "Write braces twice")),
    "study below a file": (["raw", "--study", "text.tif/study"], ("cannot be written", "Not a directory")),
}


@pytest.mark.parametrize("case", COLLECTS)
def test_collect_refuses(data: Path, case: str) -> None:
    arguments, told = COLLECTS[case]
    before = tree(data)
    done = snakescope("collect", *arguments, cwd=data)
    assert (done.returncode, done.stdout) == (2, "")
    for text in told:
        assert text in done.stderr
    assert tree(data) == before


def test_collect_refuses_a_folder_without_images(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    done = snakescope("collect", ".", cwd=tmp_path)
    assert done.returncode == 2
    assert "no image that can be read was found; nothing was written" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


# ---------------------------------------------------------------------------- study, pipeline, tools


@pytest.mark.parametrize("command", ["lint", "run", "status", "compile"])
def test_a_folder_that_is_no_study_is_refused(tmp_path: Path, command: str) -> None:
    told = (".: not a study folder: there is no config/config.yaml", "Make one with: snakescope init .")
    refused(command, cwd=tmp_path, told=told)


REFUSED = {
    "pipeline of init": (["init", "x", "--pipeline", "llsm_trackin"], ("Did you mean 'llsm_tracking'?",)),
    "pipeline of compile": (["compile", "llsm"], ("llsm.yaml: there is no such pipeline", "There are: llsm_tracking")),
    "profile": (["run", "--profile", "locale"], ("profiles/locale: there is no such profile", "There are: local")),
    "row": (["run", "--only", "cell9"], ("there is no row with the id 'cell9'",)),
    "tool of show": (["tool", "show", "trak"], ("tool 'trak': there is no such tool", "Did you mean 'track'?")),
    "tool of test": (["tool", "test", "trak"], ("tool 'trak': there is no such tool", "Did you mean 'track'?")),
    "name of a tool": (["tool", "new", "My-Tool"], ("expected lower-case letters, digits and '_'",)),
    "init below a file": (["init", "config/psf.tif/x"], ("config/psf.tif/x: cannot be written (Not a directory)",)),
    "demo below a file": (["demo", "config/psf.tif/x"], ("config/psf.tif/x: cannot be written (Not a directory)",)),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_there_is_refused(study: Path, case: str) -> None:
    arguments, told = REFUSED[case]
    refused(*arguments, cwd=study, told=told)


@pytest.mark.parametrize(
    "arguments", [["run", "--cores", "0"], ["run", "--first", "-1"], ["run", "--first", "many"], ["frobnicate"], []]
)
def test_wrong_usage_is_exit_2(study: Path, arguments: list[str]) -> None:
    before = tree(study)
    done = snakescope(*arguments, cwd=study)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: snakescope")
    assert "error: " in done.stderr.splitlines()[-1]
    assert tree(study) == before


@pytest.mark.parametrize(
    ("command", "blocked"), [("run", ".snakescope"), ("compile", "rules"), ("tool new x", "tools")]
)
def test_a_study_that_cannot_be_written_is_refused(study: Path, command: str, blocked: str) -> None:
    shutil.rmtree(study / blocked, ignore_errors=True)
    (study / blocked).write_text("a file where a folder belongs")
    refused(*command.split(), cwd=study, told=("cannot be written (",))


def test_a_missing_file_of_the_pipeline_is_refused(study: Path) -> None:
    (study / "config/psf.tif").unlink()
    told = ("steps.deconvolve.inputs.psf: there is no file 'config/psf.tif' in the study", "Put it there")
    refused("run", cwd=study, told=told)


PIPELINE = "config/pipelines/llsm_tracking.yaml"
FILES = {
    "YAML of the configuration": ("config/config.yaml", "pipeline:", "pipeline: [", ("config.yaml:", "not valid YAML")),
    "YAML of the pipeline": (PIPELINE, "params:", "params: }", (f"{PIPELINE}:13:13: not valid YAML",)),
    "tab in YAML": (PIPELINE, "      fill", "\tfill", (f"{PIPELINE}:15:1: not valid YAML",)),
    "key twice": (PIPELINE, "fill: 98", "angle_deg: 3", (f"{PIPELINE}:15:7: not", "the key 'angle_deg' stands twice")),
    "key of the configuration": (
        "config/config.yaml",
        "pipeline:",
        "pipelines: x\npipeline:",
        ("config/config.yaml: pipelines: unknown key", "Did you mean 'pipeline'?"),
    ),
    "key of a step": (
        PIPELINE,
        "inputs: {image: sheet.path}",
        "inputs: {image: sheet.path}\n    parms: {}",
        ("steps.deskew.parms: unknown key", "Did you mean 'params'?"),
    ),
    "name of a tool": (PIPELINE, "tool: deskew", "tool: deskw", ("there is no tool 'deskw'", "Did you mean 'deskew'?")),
    "name of a step": (
        PIPELINE,
        "deskew.image",
        "deskow.image",
        ("steps.deconvolve.inputs.image: there is no step 'deskow'", "Did you mean 'deskew'?"),
    ),
    "name of an output": (
        PIPELINE,
        "deskew.image",
        "deskew.images",
        ("step 'deskew' has no output 'images' (it has: image)", "Did you mean 'image'?"),
    ),
    "name of an input": (
        PIPELINE,
        "psf: {file",
        "pfs: {file",
        ("the tool 'deconvolve' has no input 'pfs' (it has: image, psf)", "inputs.psf: is missing"),
    ),
    "value out of range": (
        PIPELINE,
        "iterations: 10",
        "iterations: 0",
        ("steps.deconvolve.params.iterations: found 0",),
    ),
    "value with a unit": (
        PIPELINE,
        "radius_um: 0.3",
        "radius_um: 3 px",
        ("steps.detect.params.radius_um: found '3 px' with the unit 'px'; expected a bare number in um",),
    ),
    "wrong type of output": (
        PIPELINE,
        "points: detect.points",
        "points: deskew.image",
        ("steps.track.inputs.points: found image (deskew.image); expected points",),
    ),
}


@pytest.mark.parametrize("case", FILES)
def test_lint_refuses_a_file(study: Path, case: str) -> None:
    path, old, new, told = FILES[case]
    spoil(study / path, old, new)
    refused("lint", cwd=study, told=told, problems=2 if case == "name of an input" else 1)


def test_results_that_cannot_be_written_fail_with_a_reason(tiny_study: Make) -> None:
    study = tiny_study(1)
    study.write("results", "a file where a folder belongs")
    done = study.snakescope("run")
    assert done.returncode == 3
    assert "Traceback" not in done.stdout + done.stderr
    assert "Snakemake ended with an error after 0 jobs" in done.stderr
    assert "Not a directory: 'results/r0/stamp/stamped.txt'" in done.stderr
