"""ImageJ macros: the rule that is compiled, the one text in which a macro is told things, and what is refused."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from deployment.hostile import NAMES, OWNED, VALUES, draw
from snakescope import layout
from snakescope.errors import InputError
from snakescope.runner.tools import RESOURCES
from snakescope.tool.library import read_tool
from tiny_tools import write_pipeline, write_rules, write_tools

JOB_SH = Path(__file__).parents[2] / "workflow/job.sh"
COUNT = 84  # names and as many values, in each of three shells
MACRO = "List.setList(getArgument());\nFile.saveString(List.get('word'), List.get('out_text'));\n"
IMAGE = {"type": "image", "description": "d", "facts": ["voxel_size_um", "time_step_s"]}
TOOL: dict[str, Any] = {
    "inputs": {"image": IMAGE},
    "outputs": {"text": {"type": "file", "description": "d", "file": "x.txt", "format": "txt"}},
    "params": {
        "word": {"type": "text", "default": "a 'b", "help": "h"},
        "none": {"type": "number", "default": None, "help": "h"},
    },
    "macro": "say.ijm",
}
SIGNS = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}  # after a backslash, in Java
FIJI = {"macro": "say.ijm", "argument_style": "script"}


def write(folder: Path, text: str = MACRO, **parts: Any) -> dict[str, str]:
    """Compile a pipeline of one macro."""
    write_tools(folder, {"say": {**TOOL, **parts}})
    (folder / "tools/say/say.ijm").write_text(text)
    return write_rules(folder, write_pipeline(folder, {"say": {"tool": "say", "inputs": {"image": "sheet.path"}}}))


def called(texts: dict[str, str]) -> list[str]:
    """The lines of the rule from the macro on."""
    text = texts["rules/test/say.smk"].replace("\\\\\n        ", "")
    return [line.strip() for line in text[text.index("job_macro") :].splitlines()][:-1]


# ---------------------------------------------------------------------------- the compiled rule


def test_the_rule_runs_imagej_and_nothing_of_ours(tmp_path: Path) -> None:
    texts = write(tmp_path)
    assert called(texts) == [
        "job_macro list {input.program:q} {resources.runtime}",
        "job_path image {params.image:q}",
        "job_value image_voxel_size_um {params.image_voxel_size_um:q}",
        "job_value image_time_step_s {params.image_time_step_s:q}",
        "job_value word {params.word:q}",
        "job_value none",
        'job_path out_text "$out_text"',
        'job_path version "$job_stage/.version"',
        'job_run xvfb-run -a timeout --foreground -k 10 "$job_limit" java -Xmx{resources.mem_mb}m '
        '-jar "${{IMAGEJ_JAR:-/usr/share/java/ij.jar}}" -batch "$job_macro" "$job_told"',
    ]
    assert 'program="rules/test/say.ijm"' in texts["rules/test/say.smk"]
    assert "        job_home\n" in texts["rules/test/say.smk"]
    assert texts["rules/test/say.ijm"] == (
        "// GENERATED from tools/say/say.ijm -- do not edit.\n"
        f"// To change it, edit that file and run: snakescope compile test\n{MACRO}"
    )


def test_fiji_is_started_without_a_display_by_the_name_it_has(tmp_path: Path) -> None:
    started = called(write(tmp_path, "#@ File image\n", **FIJI))[-1]
    assert started == (
        'job_run timeout --foreground -k 10 "$job_limit" ImageJ-linux64 --headless --console --run '
        '"$job_macro" "$job_told"'
    )
    started = called(write(tmp_path, environment={"programs": ["timeout", "fiji"]}))[-1]
    assert started == (
        'job_run timeout --foreground -k 10 "$job_limit" fiji --headless --console -macro "$job_macro" "$job_told"'
    )


def test_a_macro_that_splits_is_told_values_in_its_order(tmp_path: Path) -> None:
    arguments = {"in": "{in.image}", "w": "<{param.word}>", "n": "{param.none}", "out": "{out.text}", "k": 3}
    lines = called(write(tmp_path, argument_style=",", arguments=arguments))
    assert lines[:-1] == [
        "job_macro , {input.program:q} {resources.runtime}",
        "job_path in {params.image:q}",
        "job_value w '<'{params.word:q}'>'",
        "job_value n",
        'job_path out "$out_text"',
        "job_value k 3",
    ]


def test_another_macro_is_another_digest_and_another_rule_file(tmp_path: Path) -> None:
    first, second = write(tmp_path), write(tmp_path, MACRO + "// more\n")
    changed = {path for path in first if first[path] != second[path]}
    assert changed == {"rules/test/say.ijm", "rules/test/say.json"}


def test_a_single_run_is_granted_what_a_rule_is() -> None:
    assert set(RESOURCES) == {"mem_mb", "runtime"}
    assert layout.macro_file("test", "say") == "rules/test/say.ijm"


# ---------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("parts", "text", "message"),
    [
        ({"argument_style": "script"}, "#@ File image\n", None),
        ({}, "#@ File image\n", "argument_style: found 'list'; the macro say.ijm has script parameters"),
        ({"argument_style": "script"}, MACRO, "argument_style: found 'script'; the macro say.ijm has no script param"),
        ({"arguments": {"a": "{in.picture}"}}, MACRO, "arguments.a: {in.picture} names no input (there are: image)"),
        ({"arguments": {"a": "{b"}}, MACRO, "arguments.a: found a single brace in '{b'"),
        ({"inputs": {"image": {**IMAGE, "many": True}}}, MACRO, "inputs.image.many: a macro is told of one file"),
        ({"environment": {"programs": ["imagej"]}}, MACRO, "environment.programs: ImageJ needs a display"),
        (
            {"argument_style": "script", "environment": {"programs": ["xvfb-run", "imagej"]}},
            "#@ File image\n",
            "environment.programs: script parameters (#@) are understood by Fiji only",
        ),
        ({"command": ["say"]}, MACRO, "expected exactly one of `command`, `script` and `macro`"),
        ({"macro": None, "command": ["say"], "arguments": {"a": 1}}, MACRO, "arguments: has no meaning without a mac"),
        ({"macro": "../say.ijm"}, MACRO, "macro: found '../say.ijm'"),
        ({"macro": "gone.ijm"}, MACRO, "gone.ijm: the macro cannot be read (No such file"),
    ],
)
def test_one_mistake_is_one_problem(tmp_path: Path, parts: dict[str, Any], text: str, message: str | None) -> None:
    write_tools(tmp_path, {"say": {**TOOL, **parts}})
    (tmp_path / "tools/say/say.ijm").write_text(text)
    if message is None:
        assert read_tool(tmp_path / "tools/say").macro == text
        return
    with pytest.raises(InputError, match=re.escape(message)) as error:
        read_tool(tmp_path / "tools/say")
    assert len(error.value.problems) == 1


# ---------------------------------------------------------------------------- what a macro is told


def run_shell(shell: str, folder: Path, *calls: str, ok: bool = True) -> str:
    """Run the lines of a job whose program prints its last word into the output; the log of the job."""
    lines = [
        f". {JOB_SH}",
        "job_begin step u1 records/u1/step.json logs/u1/step.log facts.json",
        "job_output text results/u1/step/x.txt",
        *calls,
    ]
    for name in ("records/u1", "logs/u1"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "facts.json").write_text("{}\n")
    job = folder / "job.sh"
    job.write_text("\n".join(lines) + "\n")
    argv = [shell, "sh", str(job)] if shell.endswith("busybox") else [shell, str(job)]
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False)
    log = folder / "logs/u1/step.log"
    assert (done.returncode == 0) is ok, done.stderr + (log.read_text() if log.exists() else "")
    return log.read_text() if log.exists() else ""


SHOW = """job_run sh -c 'printf %s "$2" >"$1"' sh "$out_text" "$job_told" """


@pytest.fixture(params=["bash", "dash", "busybox"])
def shell(request: pytest.FixtureRequest) -> str:
    """One shell after the other."""
    found = shutil.which(request.param)
    if found is None:
        pytest.skip(f"there is no {request.param} here")
    return str(found)


def quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def read_properties(text: str) -> dict[str, str]:
    """What ``java.util.Properties`` reads from Latin-1 text, without comments and continued lines."""
    found = {}
    for line in text.split("\n"):
        key, _, value = line.partition("=")
        value = re.sub(r"^[ \t\f]+", "", value)
        plain = re.sub(
            r"\\u([0-9a-f]{4})|\\(.)", lambda m: chr(int(m[1], 16)) if m[1] else SIGNS.get(m[2], m[2]), value
        )
        found[key] = plain.encode("utf-16", "surrogatepass").decode("utf-16")
    assert text.isascii()
    return found


def read_script_parameters(text: str) -> dict[str, str]:
    """What Fiji reads from ``name="text",...``: in double quotes, with Java's escapes."""
    found, rest = {}, text
    while rest:
        match = re.match(r'(\w+)="((?:[^"\\]|\\["\\tn])*)"(?:,|$)', rest)
        assert match, rest[:80]
        found[match[1]] = re.sub(r"\\(.)", r"\1", match[2])
        rest = rest[match.end() :]
    return found


@pytest.mark.parametrize("style", ["list", "script"])
def test_names_and_values_of_any_letters_arrive_as_they_are(style: str, shell: str, tmp_path: Path) -> None:
    folder = tmp_path / "my study é"
    folder.mkdir()
    drawn = draw(st.tuples(NAMES, VALUES), COUNT)
    calls = [f"job_path p{i} {quoted('data/' + name)}" for i, (name, _) in enumerate(drawn)]
    calls += [f"job_value v{i} {quoted(value)}" for i, (_, value) in enumerate(drawn)]
    run_shell(shell, folder, f"job_macro {style} rules/x.ijm 5", *calls, SHOW)
    told = (folder / "results/u1/step/x.txt").read_text(encoding="utf-8")
    found = read_properties(told) if style == "list" else read_script_parameters(told)
    meant = {f"p{i}": f"{folder}/data/{name}" for i, (name, _) in enumerate(drawn)}
    meant |= {f"v{i}": value for i, (_, value) in enumerate(drawn)}
    assert {key: value for key, value in meant.items() if found.get(key) != value} == {}
    assert found.keys() == meant.keys()
    assert [path for path in folder.rglob("*") if path.name == OWNED] == []


def test_what_has_no_value_is_left_out_of_a_list_and_empty_between_signs(shell: str, tmp_path: Path) -> None:
    calls = ["job_value a", "job_value b ''", "job_value c 1", "job_value d"]
    run_shell(shell, tmp_path, "job_macro list rules/x.ijm 5", *calls, SHOW)
    assert (tmp_path / "results/u1/step/x.txt").read_text() == "c=1"
    run_shell(shell, tmp_path, "job_macro '|' rules/x.ijm 5", *calls, SHOW)
    assert (tmp_path / "results/u1/step/x.txt").read_text() == "||1|"


def test_a_value_that_would_end_early_is_refused_and_not_passed(shell: str, tmp_path: Path) -> None:
    log = run_shell(shell, tmp_path, "job_macro , rules/x.ijm 5", "job_path image 'a,b.tif'", SHOW, ok=False)
    assert "/a,b.tif; the macro takes ',' for the end of a value. Give the file or value another name." in log
    assert not (tmp_path / "results/u1/step/x.txt").exists()


def test_the_record_tells_names_relative_to_the_study(shell: str, tmp_path: Path) -> None:
    calls = ["job_macro list rules/x.ijm 5", "job_path image 'é.tif'", 'job_path out "$out_text"']
    program = """job_run sh -c 'printf %s "$2" >"$1"' sh "$out_text" "$job_told" "$job_macro" """
    run_shell(shell, tmp_path, *calls, program)
    record = (tmp_path / "records/u1/step.json").read_text(encoding="utf-8")
    assert '"image=é.tif out=results/u1/step/x.txt", "rules/x.ijm"]' in record
    assert str(tmp_path) not in record


# ---------------------------------------------------------------------------- silent failures


def test_a_program_that_ends_well_and_wrote_nothing_fails_with_its_last_words(shell: str, tmp_path: Path) -> None:
    log = run_shell(shell, tmp_path, "job_macro list rules/x.ijm 5", "job_run echo no particles", ok=False)
    assert log.endswith("but did not write x.txt (output text); its last words: no particles\n")


def test_a_missing_display_is_told(shell: str, tmp_path: Path) -> None:
    program = "job_run sh -c 'echo java.awt.HeadlessException; echo more'"
    log = run_shell(shell, tmp_path, program, ok=False)
    assert "did not write x.txt (output text); it found no display (HeadlessException): it needs xvfb-run" in log


def test_a_program_that_hangs_is_ended_and_told(shell: str, tmp_path: Path) -> None:
    calls = ["job_macro list rules/x.ijm 1", 'job_limit=1; job_run timeout -k 1 "$job_limit" sleep 30']
    log = run_shell(shell, tmp_path, *calls, ok=False)
    assert "error: ended after 1 s. A window that nobody sees may have waited for an answer" in log
    failed = (tmp_path / "logs/u1/step.failed.json").read_text()
    assert re.search(r'"exit_code": (124|143),', failed)  # an older busybox says 143
