"""`workflow/job.sh`, run by bash, dash and busybox: what a job leaves behind, whatever happens to it."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from snakescope.images import create_image
from snakescope.record import FileFacts, JobRecord, digest, read_record, size

JOB_SH = Path(__file__).parents[2] / "workflow/job.sh"
RECORD, LOG, FAILED = "records/u1/step.json", "logs/u1/step.log", "logs/u1/step.failed.json"
OUT = "results/u1/step"
COMPILED = {"parameters": [{"name": "a", "value": 1, "unit": "um"}], "note": 'q " \\ {x} é'}


@dataclass(frozen=True)
class Shell:
    """A shell and the folders with the programs that it finds."""

    argv: tuple[str, ...]
    path: str
    variables: Mapping[str, str] = field(default_factory=dict)

    def start(
        self, folder: Path, *calls: str, env: Mapping[str, str] | None = None, facts: str = "facts.json"
    ) -> subprocess.Popen[bytes]:
        """Start a job in a study folder; `calls` are the lines between ``job_begin`` and the end."""
        for path in (RECORD, LOG, f"{OUT}/x"):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / "facts.json").write_text(json.dumps(COMPILED, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        script = [f". {JOB_SH}", f"job_begin step u1 {RECORD} {LOG} {facts}", *calls]
        prefix = "set -euo pipefail; " if self.argv[0].endswith("bash") else ""
        return subprocess.Popen(
            [*self.argv, "-c", "\n".join([prefix, *script]) + "\n"],
            cwd=folder,
            env={"PATH": self.path, "LC_ALL": "C.UTF-8", **self.variables, **(env or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def run(self, folder: Path, *calls: str, ok: bool = True, **more: Any) -> str:
        """Run a job to its end; what it said beside its log."""
        process = self.start(folder, *calls, **more)
        out, err = process.communicate(timeout=60)
        said = (out + err).decode(errors="replace")
        log = (folder / LOG).read_text(errors="replace") if (folder / LOG).exists() else ""
        assert (process.returncode == 0) is ok, said + log
        return said


# With this function bash keeps a job to itself.
MODULE = {"BASH_FUNC_module%%": '() {  echo "module $*"\n}'}


@pytest.fixture(params=["bash", "bash alone", "dash", "busybox"])
def shell(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """One shell after the other, bash with and without the help of dash; busybox with its own programs only."""
    name = request.param.partition(" ")[0]
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"there is no {name} here")
    path = os.defpath + ":/usr/local/bin"
    if request.param == "bash alone":
        return Shell((found,), path, MODULE)
    if name != "busybox":
        return Shell((found,), path)
    applets = tmp_path_factory.mktemp("applets")
    subprocess.run([found, "--install", "-s", str(applets)], check=True)
    return Shell((found, "sh"), str(applets))


def q(*words: object) -> str:
    return shlex.join(map(str, words))


def writing(*texts: str, ports: Sequence[str] = ("out",)) -> list[str]:
    """Calls of a job that writes a text to each output."""
    declared = [f"job_output {port} {OUT}/{port}.txt" for port in ports]
    words = " ".join(f'"$out_{port}" {q(text)}' for port, text in zip(ports, texts, strict=True))
    program = 'while [ $# -gt 0 ]; do printf %s "$2" >"$1"; shift 2; done'
    return [*declared, f"job_run sh -c {q(program)} sh {words}"]


def done(folder: Path) -> JobRecord:
    return read_record(folder / RECORD)


def failed(folder: Path) -> JobRecord:
    return read_record(folder / FAILED)


def left_over(folder: Path) -> list[str]:
    """What no job may leave behind: staging folders and half-written files."""
    names = {"step.json", "step.log", "step.failed.json", "facts.json", "out.txt", "two.txt"}
    found = [path for part in ("results", "records", "logs") for path in (folder / part).rglob("*") if path.is_file()]
    stages = list(folder.rglob(".stage-*"))
    return sorted(str(path.relative_to(folder)) for path in [*found, *stages] if path.name not in names)


# ---------------------------------------------------------------------------- the record


def test_a_record_holds_the_true_digests_sizes_times_and_the_command(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "raw.tif").write_bytes(b"raw" * 1000)
    before = datetime.now(UTC) - timedelta(seconds=1)
    shell.run(tmp_path, "job_source image - -- raw.tif", *writing("hello", "two", ports=("out", "two")))
    after = datetime.now(UTC)
    record = done(tmp_path)
    assert (record.status, record.exit_code, record.unit, record.step, record.samples) == (
        "done",
        0,
        "u1",
        "step",
        ("u1",),
    )
    (image,) = record.inputs
    assert (image.port, image.path, image.bytes) == ("image", "raw.tif", 3000)
    assert image.sha256 == hashlib.sha256(b"raw" * 1000).hexdigest()
    assert [(o.port, o.path, o.bytes, o.sha256) for o in record.outputs] == [
        ("out", f"{OUT}/out.txt", 5, hashlib.sha256(b"hello").hexdigest()),
        ("two", f"{OUT}/two.txt", 3, hashlib.sha256(b"two").hexdigest()),
    ]
    started, ended = (datetime.fromisoformat(text) for text in (record.started_at, record.ended_at))
    assert before.replace(microsecond=0) <= started <= ended <= after
    assert started.utcoffset() == timedelta(0)
    assert record.argv[-4:] == (f"{OUT}/out.txt", "hello", f"{OUT}/two.txt", "two")
    assert record.compiled == COMPILED
    assert record.environment == {"kind": "host"}
    assert record.scheduler is None
    assert record.host
    assert left_over(tmp_path) == []


def test_times_are_utc_wherever_the_job_runs(shell: Shell, tmp_path: Path) -> None:
    shell.run(tmp_path, *writing("x"), env={"TZ": "Asia/Tokyo"})
    started = datetime.fromisoformat(done(tmp_path).started_at)
    assert abs(datetime.now(UTC) - started) < timedelta(seconds=30)


def test_wall_and_cpu_seconds_are_those_of_the_tool(shell: Shell, tmp_path: Path) -> None:
    busy = "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; sleep 0.4; echo x >$1"
    shell.run(tmp_path, f"job_output out {OUT}/out.txt", f'job_run sh -c {q(busy)} sh "$out_out"')
    record = done(tmp_path)
    assert record.wall_s is not None
    assert record.cpu_s is not None
    assert 0.4 <= record.wall_s < 20
    assert 0.01 <= record.cpu_s <= record.wall_s - 0.35


def test_what_the_program_says_goes_to_the_log_and_it_reads_nothing(shell: Shell, tmp_path: Path) -> None:
    program = 'echo said; echo loud >&2; cat; echo x >"$1"'
    said = shell.run(tmp_path, f"job_output out {OUT}/out.txt", f'job_run sh -c {q(program)} sh "$out_out"')
    assert (tmp_path / LOG).read_text() == "said\nloud\n"
    assert said == ""


def test_the_rows_of_a_group_and_their_own_values_are_told(shell: Shell, tmp_path: Path) -> None:
    calls = [f"job_samples {q('a', 'b-2', 'c.3')}", f"job_row width_um {q('0.5')}", f"job_row label {q(NASTY)}"]
    shell.run(tmp_path, *calls, *writing("x"))
    record = done(tmp_path)
    assert record.samples == ("a", "b-2", "c.3")
    assert record.row_parameters == {"width_um": "0.5", "label": NASTY}


def test_a_value_of_the_row_takes_the_place_of_the_compiled_one(shell: Shell, tmp_path: Path) -> None:
    shell.run(tmp_path, "job_row a 2.5", *writing("x"))
    assert done(tmp_path).parameters == [{"name": "a", "value": "2.5", "unit": "um"}]


def test_missing_facts_are_null_and_no_failure(shell: Shell, tmp_path: Path) -> None:
    shell.run(tmp_path, *writing("x"), facts="nowhere.json")
    assert json.loads((tmp_path / RECORD).read_text())["compiled"] is None


def test_the_version_that_a_program_tells_is_recorded(shell: Shell, tmp_path: Path) -> None:
    program = 'echo "2.1 \\"beta\\"" >"$SNAKESCOPE_VERSION_FILE"; echo x >"$1"'
    shell.run(tmp_path, f"job_output out {OUT}/out.txt", f'job_run sh -c {q(program)} sh "$out_out"')
    assert done(tmp_path).tool_version_observed == '2.1 "beta"'


def test_a_cluster_job_and_an_image_are_named(shell: Shell, tmp_path: Path) -> None:
    env = {
        "SLURM_JOB_ID": "77", "SLURM_JOB_PARTITION": "fat", "APPTAINER_CONTAINER": "/home/u/images/a b.sif",
        "HOME": "/home/u", "SNAKESCOPE_SNAKEMAKE": "9.9",
    }  # fmt: skip
    shell.run(tmp_path, *writing("x"), env=env)
    record = done(tmp_path)
    assert record.scheduler == {"kind": "slurm", "job_id": "77", "partition": "fat"}
    assert record.environment == {"kind": "apptainer", "image": "~/images/a b.sif"}
    assert record.snakemake == "9.9"


# ---------------------------------------------------------------------------- where it runs

TOLD = "a" * 64
SHOW = 'job_run sh -c \'env >"$1"\' sh "$out_out"'


def environment_of(shell: Shell, folder: Path, *calls: str, env: Mapping[str, str] | None = None) -> dict[str, str]:
    """Run a job that writes its variables down; them."""
    shell.run(folder, *calls, f"job_output out {OUT}/out.txt", SHOW, env=env)
    lines = (folder / OUT / "out.txt").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def test_a_job_is_told_its_threads_and_where_to_put_what_is_temporary(shell: Shell, tmp_path: Path) -> None:
    found = environment_of(
        shell, tmp_path, f"job_environment 3 {q('/scratch/a b')} host", env={"OMP_NUM_THREADS": "99"}
    )
    threads = ("OMP", "OPENBLAS", "GOTO", "MKL", "NUMEXPR", "NUMBA")
    assert {found[f"{name}_NUM_THREADS"] for name in threads} == {"3"}
    assert (found["VECLIB_MAXIMUM_THREADS"], found["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"]) == ("3", "3")
    assert {found[name] for name in ("TMPDIR", "TMP", "TEMP", "TEMPDIR")} == {"/scratch/a b"}
    assert done(tmp_path).environment == {"kind": "host"}


def test_the_image_is_named_as_the_site_names_it_with_its_digest(shell: Shell, tmp_path: Path) -> None:
    env = {"APPTAINER_CONTAINER": "/study/.snakemake/singularity/0a1b.simg"}
    shell.run(tmp_path, f"job_environment 1 /tmp apptainer docker://q.example/x {TOLD}", *writing("x"), env=env)
    assert done(tmp_path).environment == {"kind": "apptainer", "image": "docker://q.example/x", "sha256": TOLD}
    shell.run(tmp_path, "job_environment 1 /tmp apptainer folder -", *writing("x"), env=env)
    assert done(tmp_path).environment == {"kind": "apptainer", "image": "folder", "sha256": None}


def test_a_job_that_ran_in_no_image_does_not_say_that_it_did(shell: Shell, tmp_path: Path) -> None:
    shell.run(tmp_path, f"job_environment 1 /tmp apptainer x.sif {TOLD}", *writing("x"))
    assert done(tmp_path).environment == {"kind": "host"}


def test_a_conda_environment_is_told_by_the_packages_that_are_in_it(shell: Shell, tmp_path: Path) -> None:
    prefix = tmp_path / "conda/0a1b_"
    names = ["b-1.0-0.json", "A-2-0.json", "a b-3-0.json"]
    for name in [*names, "history"]:
        (prefix / "conda-meta").mkdir(parents=True, exist_ok=True)
        (prefix / "conda-meta" / name).write_text("{}")
    env = {"CONDA_PREFIX": str(prefix), "LC_ALL": "C.UTF-8"}
    shell.run(tmp_path, "job_environment 1 /tmp conda envs/x.yaml", *writing("x"), env=env)
    listed = "".join(f"{name}\n" for name in sorted(names))
    assert done(tmp_path).environment == {
        "kind": "conda",
        "name": "0a1b_",
        "file": "envs/x.yaml",
        "sha256": hashlib.sha256(listed.encode()).hexdigest(),
    }


def test_the_packages_of_an_environment_are_listed_again_only_when_they_have_changed(
    shell: Shell, tmp_path: Path
) -> None:
    meta = tmp_path / "conda/0a1b_/conda-meta"
    meta.mkdir(parents=True)
    env = {"CONDA_PREFIX": str(meta.parent)}

    def told(package: str, *, seconds_ago: int) -> object:
        """The digest after a package has been added so long ago."""
        (meta / package).write_text("{}")
        then = time.time() - seconds_ago
        os.utime(meta, (then, then))
        shell.run(tmp_path, "job_environment 1 /tmp conda envs/x.yaml", *writing("x"), env=env)
        return done(tmp_path).environment["sha256"]

    def sha256(*packages: str) -> str:
        return hashlib.sha256("".join(f"{name}\n" for name in packages).encode()).hexdigest()

    kept = tmp_path / ".snakescope/conda/0a1b_"
    assert told("a.json", seconds_ago=100) == sha256("a.json")
    assert kept.read_text() == f"{sha256('a.json')}\n{meta.parent}\n"
    assert told("b.json", seconds_ago=50) == sha256("a.json")  # as if nothing had been added since
    assert told("b.json", seconds_ago=-50) == sha256("a.json", "b.json")
    kept.write_text(f"{'0' * 64}\n/another/0a1b_\n")
    assert told("b.json", seconds_ago=100) == sha256("a.json", "b.json")
    kept.write_text("0" * 64)  # cut off
    assert told("b.json", seconds_ago=100) == sha256("a.json", "b.json")
    assert [path.name for path in kept.parent.iterdir()] == ["0a1b_"]


def test_an_environment_without_a_list_of_packages_has_no_digest(shell: Shell, tmp_path: Path) -> None:
    env = {"CONDA_PREFIX": str(tmp_path / "none")}
    shell.run(tmp_path, "job_environment 1 /tmp conda envs/x.yaml", *writing("x"), env=env)
    assert done(tmp_path).environment == {"kind": "conda", "name": "none", "file": "envs/x.yaml", "sha256": None}


def test_a_conda_that_is_active_on_the_host_is_named(shell: Shell, tmp_path: Path) -> None:
    shell.run(tmp_path, "job_environment 1 /tmp host", *writing("x"), env={"CONDA_PREFIX": "/opt/conda/base"})
    assert done(tmp_path).environment == {"kind": "conda", "name": "base"}


def test_the_address_of_a_proxy_with_a_password_does_not_reach_a_tool_in_an_image(shell: Shell, tmp_path: Path) -> None:
    env = {"http_proxy": "http://u:hunter2@p:1", "HTTPS_PROXY": "http://p:1", "APPTAINER_CONTAINER": "x"}
    found = environment_of(shell, tmp_path, f"job_environment 1 /tmp apptainer x.sif {TOLD}", env=env)
    assert "http_proxy" not in found
    assert found["HTTPS_PROXY"] == "http://p:1"


def test_the_home_folder_of_the_host_is_a_tilde_also_in_an_image(shell: Shell, tmp_path: Path) -> None:
    run = f'job_run sh -c \'echo x >"$1"\' sh "$out_out" {q("/home/u/data/a")} {q(str(tmp_path / "b"))}'
    env = {"HOME": str(tmp_path), "SNAKESCOPE_HOME": "/home/u"}
    shell.run(tmp_path, f"job_output out {OUT}/out.txt", run, env=env)
    assert done(tmp_path).argv[-2:] == ("~/data/a", str(tmp_path / "b"))


def test_a_home_of_its_own_is_empty_writable_and_gone_afterwards(shell: Shell, tmp_path: Path) -> None:
    look = 'ls -A "$HOME" | wc -l >"$1"; echo x >"$HOME/.prefs"; echo "$HOME $XDG_CACHE_HOME $JAVA_TOOL_OPTIONS" >>"$1"'
    call = f'job_run sh -c {q(look)} sh "$out_out"'
    shell.run(tmp_path, f"job_output out {OUT}/out.txt", "job_home", call, env={"HOME": "/home/u"})
    count, told = (tmp_path / OUT / "out.txt").read_text().splitlines()
    home = told.split()[0]
    assert (count.strip(), told) == ("0", f'{home} {home}/.cache -Duser.home="{home}"')
    assert home.startswith(str(tmp_path / OUT))
    assert left_over(tmp_path) == []


def test_a_tool_is_told_where_its_model_is(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models/a b.pt").write_text("weights")
    found = environment_of(
        shell, tmp_path, f"job_model NET {q('models/a b.pt')} {TOLD}", f"job_model ABS /bin/sh {TOLD}"
    )
    assert (found["NET"], found["ABS"]) == (f"{tmp_path}/models/a b.pt", "/bin/sh")


def test_a_model_that_is_gone_fails_the_job(shell: Shell, tmp_path: Path) -> None:
    shell.run(tmp_path, f"job_model NET models/none.pt {TOLD}", *writing("x"), ok=False)
    assert (tmp_path / LOG).read_text() == "error: there is no model file models/none.pt\n"
    assert failed(tmp_path).exit_code == 1


@pytest.mark.parametrize(
    ("program", "version"),
    [
        ("echo 'gm 1.3.40 \"x\"'; echo 2", 'gm 1.3.40 "x"'),
        ("echo 'hello'; echo 'version 2' >&2", "version 2"),
        ("echo 3; i=0; while [ $i -lt 9000 ]; do i=$((i+1)); echo a long tail of it; done", "3"),
        ("echo none", None),
        ("echo 'error 2'; exit 3", None),
        ("no-such-program-gm --version", None),
    ],
)
def test_the_version_is_seen_where_the_job_runs(shell: Shell, tmp_path: Path, program: str, version: str) -> None:
    shell.run(tmp_path, f"job_version sh -c {q(program)}", *writing("x"))
    assert done(tmp_path).tool_version_observed == version


def test_what_the_program_says_of_its_version_goes_first(shell: Shell, tmp_path: Path) -> None:
    program = 'echo 9 >"$SNAKESCOPE_VERSION_FILE"; echo x >"$1"'
    run = f'job_run sh -c {q(program)} sh "$out_out"'
    shell.run(tmp_path, "job_version echo 8", f"job_output out {OUT}/out.txt", run)
    assert done(tmp_path).tool_version_observed == "9"


# ---------------------------------------------------------------------------- hostile names

NASTY = "a b  c'd\"e\\f\\n$(x)`y`{z}*?[!]~;&|<>#%s é 日本 😀 \u00a0-"


@pytest.mark.parametrize("language", ["C", "C.UTF-8", "POSIX"])
def test_words_come_back_from_the_record_as_they_were(shell: Shell, tmp_path: Path, language: str) -> None:
    words = [
        NASTY,
        "",
        " ",
        "\\",
        '"',
        "\t",
        "a\tb\n\nc\\\n",
        "\n",
        "trailing\n",
        "\\t\\n",
        "-n",
        "-",
        "--",
        "'",
        "é\n😀",
    ]
    shell.run(
        tmp_path,
        f"job_output out {OUT}/out.txt",
        f'job_run sh -c \'echo x >"$1"\' sh "$out_out" {q(*words)}',
        env={"LC_ALL": language},
    )
    assert list(done(tmp_path).argv[5:]) == words


def test_other_control_characters_stay_valid_json(shell: Shell, tmp_path: Path) -> None:
    everything = "".join(map(chr, [*range(1, 32), 127]))
    shell.run(tmp_path, f"job_row a {q(everything)}", *writing("x"))
    (found,) = done(tmp_path).row_parameters.values()
    assert found == "".join(c if c in "\t\n" else " " for c in everything)


def test_random_words_come_back_from_the_record(shell: Shell, tmp_path: Path) -> None:
    dice = random.Random(7)
    alphabet = '\\\\""\'\t\n ab$`{}é😀'
    words = ["".join(dice.choices(alphabet, k=dice.randrange(12))) for _ in range(150)]
    shell.run(tmp_path, f"job_output out {OUT}/out.txt", f'job_run sh -c \'echo x >"$1"\' sh "$out_out" {q(*words)}')
    assert list(done(tmp_path).argv[5:]) == words


@pytest.mark.parametrize("name", [NASTY, "x\\y", "-x", " lead", "trail ", "{sample}", "*", "~", "total"])
def test_inputs_of_any_name_are_measured(shell: Shell, tmp_path: Path, name: str) -> None:
    path = f"./{name}" if name.startswith("-") else name
    (tmp_path / name).write_bytes(b"12345")
    (tmp_path / "other").write_bytes(b"1")
    (tmp_path / f"{name}.d").mkdir()
    (tmp_path / f"{name}.d" / "f").write_bytes(b"123")
    shell.run(tmp_path, f"job_source image - - - -- {q('other', path, path + '.d')}", *writing("x"))
    assert [(item.path, item.bytes, item.sha256) for item in done(tmp_path).inputs] == [
        ("other", 1, digest(tmp_path / "other")),
        (path, 5, digest(tmp_path / name)),
        (f"{path}.d", 3, digest(tmp_path / f"{name}.d")),
    ]


# ---------------------------------------------------------------------------- digests


def tree(folder: Path, files: Mapping[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


FILES = {
    "zarr.json": b"{}",
    "0/c/0/0": b"1",
    "0/c/0/10": b"22",
    "0/c/1/0": b"",
    "a b/é": b"x",
    "a-b": b"y",
    "a/b": b"z",
    "B": b"w",
}


def test_the_digest_of_a_folder_is_that_of_its_sorted_list(shell: Shell, tmp_path: Path) -> None:
    tree(tmp_path / "in.zarr", {**FILES, ".snakemake_timestamp": b"not part of it"})
    copy = 'job_run cp -r in.zarr "$out_out"'
    shell.run(tmp_path, "job_source image - -- in.zarr", f"job_output out {OUT}/out.zarr folder", copy)
    record = done(tmp_path)
    lines = sorted((name.encode(), data) for name, data in FILES.items())
    listing = b"".join(hashlib.sha256(data).hexdigest().encode() + b"  " + name + b"\n" for name, data in lines)
    expected = hashlib.sha256(listing).hexdigest()
    assert digest(tmp_path / "in.zarr") == expected
    for item in (*record.inputs, *record.outputs):
        assert (item.sha256, item.bytes) == (expected, 9)
    assert size(tmp_path / OUT / "out.zarr") == 9


def check_listing(item: FileFacts, folder: Path) -> None:
    """A listing is the very list that the digest was taken of, and it names each file with its digest."""
    assert item.listing is not None
    assert hashlib.sha256(f"{item.listing}\n".encode()).hexdigest() == item.sha256 == digest(folder)
    found = (path for path in folder.rglob("*") if path.is_file())
    assert item.files == {path.relative_to(folder).as_posix(): digest(path) for path in found}


def test_the_list_of_a_folder_is_kept_in_the_record_that_took_its_digest(shell: Shell, tmp_path: Path) -> None:
    names = ["zarr.json", "0/c/0/0/0", "0/c/1/0/0", "0/zarr.json", "a  b/{x} [y @(1)", "~,;$x|&-"]
    tree(tmp_path / "in.zarr", {name: name.encode() for name in names})
    calls = ["job_source image - -- in.zarr", "job_shared psf key in.zarr", f"job_output out {OUT}/out.zarr folder"]
    shell.run(tmp_path, *calls, 'job_run cp -r in.zarr "$out_out"')
    record = done(tmp_path)
    for item in (*record.inputs, *record.outputs):
        assert sorted(item.files) == sorted(names)
        check_listing(item, tmp_path / "in.zarr")
    entries = json.loads((tmp_path / RECORD).read_text())
    assert [list(entry)[-1] for entry in (*entries["inputs"], *entries["outputs"])] == ["listing"] * 3


def test_an_image_is_told_with_its_geometry_and_its_list(shell: Shell, tmp_path: Path) -> None:
    store(tmp_path / "made.ome.zarr")
    output = recorded(shell, tmp_path, tmp_path / "made.ome.zarr")
    assert (output.axes, output.shape) == ("tczyx", (2, 1, 3, 4, 5))
    check_listing(output, tmp_path / "made.ome.zarr")


@pytest.mark.parametrize(("length", "kept"), [(20000, True), (20001, False)])
def test_a_list_of_up_to_20000_characters_is_kept(shell: Shell, tmp_path: Path, length: int, kept: bool) -> None:
    # a line holds 67 characters more than its name does: digest, two blanks, line end (the last has none)
    names = [f"{i:033}" for i in range(199)]
    tree(tmp_path / "in.zarr", dict.fromkeys([*names, "y" * (length - 199 * 100 - 66)], b"x"))
    shell.run(tmp_path, "job_source image - -- in.zarr", *writing("x"))
    (item,) = done(tmp_path).inputs
    assert item.sha256 == digest(tmp_path / "in.zarr")
    if kept:
        assert len(item.listing or "") == length
        check_listing(item, tmp_path / "in.zarr")
    else:
        assert item.listing is None


@pytest.mark.parametrize(
    "name", [b"a\\b", b"a\nb", b"a\rb", b"a\tb", b'a"b', "é 日本".encode(), b"\xff", b"\x01", b"a]b", b"\n", b"5 x\n7"]
)
@pytest.mark.parametrize("language", ["C", "C.UTF-8"])
def test_a_folder_with_an_odd_name_in_it_has_a_digest_but_no_list(
    shell: Shell, tmp_path: Path, name: bytes, language: str
) -> None:
    (tmp_path / "in.zarr").mkdir()
    (tmp_path / "in.zarr/a0").write_bytes(b"12")
    Path(os.fsdecode(os.fsencode(tmp_path / "in.zarr/") + b"/" + name)).write_bytes(b"345")
    shell.run(tmp_path, "job_source image - -- in.zarr", *writing("x"), env={"LC_ALL": language})
    (item,) = done(tmp_path).inputs
    assert item.listing is None
    if "busybox" in shell.argv[0]:  # its programs write a backslash and a line end as they are
        assert item.bytes == (None if b"\n" in name.strip() else 5)
    else:
        assert (item.bytes, item.sha256) == (5, digest(tmp_path / "in.zarr"))


def test_a_folder_whose_digest_was_not_taken_has_no_list(shell: Shell, tmp_path: Path) -> None:
    tree(tmp_path / "in.zarr", {"a": b"1"})
    (tmp_path / "empty.zarr").mkdir()
    calls = f"job_source image {'ab' * 32} records/u1/first.json - -- in.zarr in.zarr empty.zarr"
    shell.run(tmp_path, calls, *writing("x"))
    assert [item.listing for item in (*done(tmp_path).inputs, *done(tmp_path).outputs)] == [None] * 4


def test_a_job_does_not_copy_the_lists_of_the_folders_it_reads(shell: Shell, tmp_path: Path) -> None:
    tree(tmp_path / "in.zarr", {"a/b": b"12", "c": b"3"})
    outputs = [
        f"job_output out {OUT}/out.zarr folder\njob_output more {OUT}/more.zarr folder\njob_output two {OUT}/two.txt"
    ]
    program = 'cp -r in.zarr "$1"; cp -r in.zarr "$2"; echo x >"$3"'
    shell.run(tmp_path, *outputs, f'job_run sh -c {q(program)} sh "$out_out" "$out_more" "$out_two"')
    assert all(item.listing for item in done(tmp_path).outputs[:2])
    made = {item.port: item for item in done(tmp_path).outputs}
    shutil.move(tmp_path / "records/u1/step.json", tmp_path / "records/u1/before.json")
    ports = [("out", "out.zarr"), ("more", "more.zarr"), ("two", "two.txt")]
    shell.run(
        tmp_path, *(f"job_upstream in_{port} {port} results/u1/before/{file}" for port, file in ports), *writing("x")
    )
    assert "listing" not in (tmp_path / RECORD).read_text()
    for item, (port, _) in zip(done(tmp_path).inputs, ports, strict=True):
        assert item.port == f"in_{port}"
        assert (item.path, item.bytes, item.sha256) == (made[port].path, made[port].bytes, made[port].sha256)


def test_a_folder_of_many_files_is_measured_in_all(shell: Shell, tmp_path: Path) -> None:
    tree(tmp_path / "in.zarr", {f"{'long_name_' * 8}{i}": b"x" * (i % 7) for i in range(3000)})
    shell.run(tmp_path, "job_source image - -- in.zarr", *writing("x"))
    (item,) = done(tmp_path).inputs
    assert item.bytes == sum(i % 7 for i in range(3000))
    assert item.sha256 == digest(tmp_path / "in.zarr")


def test_an_empty_folder_and_an_empty_file_have_digests_too(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "empty.zarr").mkdir()
    (tmp_path / "empty").touch()
    shell.run(tmp_path, "job_source image - - -- empty.zarr empty", *writing("x"))
    nothing = hashlib.sha256(b"").hexdigest()
    assert [(item.bytes, item.sha256) for item in done(tmp_path).inputs] == [(0, nothing)] * 2
    assert digest(tmp_path / "empty.zarr") == nothing


def test_a_link_to_a_raw_file_or_folder_is_measured_as_what_it_leads_to(shell: Shell, tmp_path: Path) -> None:
    tree(tmp_path / "far", {"in.zarr/a": b"123", "f": b"12"})
    (tmp_path / "d").symlink_to("far/in.zarr")
    (tmp_path / "f").symlink_to("far/f")
    shell.run(tmp_path, "job_source image - - -- d f", *writing("x"))
    assert [(item.bytes, item.sha256) for item in done(tmp_path).inputs] == [
        (3, digest(tmp_path / "far/in.zarr")), (2, digest(tmp_path / "far/f")),
    ]  # fmt: skip
    assert (digest(tmp_path / "d"), size(tmp_path / "d")) == (digest(tmp_path / "far/in.zarr"), 3)


def counting(shell: Shell, folder: Path) -> tuple[Shell, Path]:
    """The shell with a sha256sum that writes down what it was asked for."""
    if "busybox" in shell.argv[0]:
        pytest.skip("busybox runs its own sha256sum, whatever lies in the path")
    tools = folder / "tools"
    tools.mkdir()
    log = folder / "hashed.log"
    log.touch()
    real = shutil.which("sha256sum", path=shell.path)
    (tools / "sha256sum").write_text(f'#!/bin/sh\necho "$* $(readlink /proc/self/fd/0)" >>{log}\nexec {real} "$@"\n')
    (tools / "sha256sum").chmod(0o755)
    return Shell(shell.argv, f"{tools}:{shell.path}"), log


def test_a_digest_that_is_known_is_not_taken_again(shell: Shell, tmp_path: Path) -> None:
    shell, log = counting(shell, tmp_path)
    (tmp_path / "known.tif").write_bytes(b"1234")
    (tmp_path / "other.tif").write_bytes(b"12345")
    tree(tmp_path / "known.zarr", {"a": b"123456"})
    known = "ab" * 32
    calls = f"job_source image {known} records/u1/first.json {known} -- known.tif other.tif known.zarr"
    shell.run(tmp_path, calls, *writing("x"))
    assert [(i.path, i.bytes, i.sha256, i.record) for i in done(tmp_path).inputs] == [
        ("known.tif", 4, known, None),
        ("other.tif", 5, None, "records/u1/first.json"),
        ("known.zarr", 6, known, None),
    ]
    assert "known" not in log.read_text()
    assert "other" not in log.read_text()


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_shared_input_is_hashed_once_and_again_when_it_changed(shell: Shell, tmp_path: Path, kind: str) -> None:
    shared, inside = tmp_path / "psf", tmp_path / ("psf" if kind == "file" else "psf/0/c")
    inside.parent.mkdir(parents=True, exist_ok=True)
    inside.write_bytes(b"one")
    early = time.time() - 100
    for path in (inside, shared):
        os.utime(path, (early, early))
    calls = ["job_shared psf 0123456789abcdef psf", *writing("x")]
    kept = tmp_path / "records/inputs/0123456789abcdef"
    shell.run(tmp_path, *calls)
    assert done(tmp_path).inputs[0].sha256 == digest(shared)
    assert kept.read_text() == f'"{digest(shared)}" 3\n'
    kept.write_text(f'"{"ab" * 32}" 3\n')
    shell.run(tmp_path, *calls)
    assert done(tmp_path).inputs[0].sha256 == "ab" * 32, "it was hashed a second time"
    inside.write_bytes(b"two")
    os.utime(inside, (time.time() + 5, time.time() + 5))
    shell.run(tmp_path, *calls)
    assert done(tmp_path).inputs[0].sha256 == digest(shared)
    inside.write_bytes(b"older but larger")
    os.utime(inside, (early, early))
    shell.run(tmp_path, *calls)
    (item,) = done(tmp_path).inputs
    assert (item.port, item.bytes, item.sha256) == ("psf", 16, digest(shared))


def test_several_shared_inputs_are_all_recorded(shell: Shell, tmp_path: Path) -> None:
    for name in ("m1", "m2", "m3"):
        (tmp_path / name).write_text(name)
    shell.run(tmp_path, "job_shared mask k1 k2 k1 m1 m2 m3", *writing("x"))
    items = done(tmp_path).inputs
    assert [(i.port, i.path) for i in items] == [("mask", "m1"), ("mask", "m2"), ("mask", "m3")]
    assert [i.sha256 for i in items[:2]] == [digest(tmp_path / name) for name in ("m1", "m2")]


def test_digests_of_upstream_outputs_are_copied_from_their_records(shell: Shell, tmp_path: Path) -> None:
    units = ["a", "b"]
    for number, unit in enumerate(units):
        record = tmp_path / f"records/{unit}/first.json"
        record.parent.mkdir(parents=True)
        outputs = ["points", "image", "points_2"]
        lines = ",\n".join(
            f'    {{"port": "{port}", "path": "results/{unit}/first/{port}.x", "bytes": {number}, "sha256": "{port}"}}'
            for port in outputs
        )
        record.write_text(
            f'{{\n  "inputs": [\n    {{"port": "image", "path": "no"}}\n  ],\n  "outputs": [\n{lines}\n  ]\n}}\n'
        )
    paths = [f"results/{unit}/first/image.x" for unit in units]
    shell.run(tmp_path, f"job_upstream pictures image {q(*paths)}", *writing("x"))
    assert [(i.port, i.path, i.bytes, i.sha256) for i in done(tmp_path).inputs] == [
        ("pictures", paths[0], 0, "image"), ("pictures", paths[1], 1, "image"),
    ]  # fmt: skip


def test_a_record_can_be_read_upstream_by_the_next_job(shell: Shell, tmp_path: Path) -> None:
    shell.run(tmp_path, *writing("hello"))
    shutil.move(tmp_path / "records/u1/step.json", tmp_path / "records/u1/before.json")
    shell.run(tmp_path, "job_upstream text out results/u1/before/out.txt", *writing("x"))
    (item,) = done(tmp_path).inputs
    assert (item.port, item.bytes, item.sha256) == ("text", 5, hashlib.sha256(b"hello").hexdigest())


def test_a_group_of_a_thousand_files_is_recorded_in_seconds(shell: Shell, tmp_path: Path) -> None:
    for i in range(1000):
        record = tmp_path / f"records/r{i}/first.json"
        record.parent.mkdir(parents=True)
        record.write_text(
            f'{{\n  "outputs": [\n    {{"port": "p", "path": "{i}", "bytes": 1, "sha256": "x"}}\n  ]\n}}\n'
        )
    paths = q(*(f"results/r{i}/first/p.csv" for i in range(1000)))
    start = time.monotonic()
    shell.run(tmp_path, f"job_upstream p p {paths}", *writing("x"))
    assert time.monotonic() - start < 20
    assert [item.path for item in done(tmp_path).inputs] == [str(i) for i in range(1000)]


def test_a_group_of_a_thousand_raw_files_is_measured_in_seconds(shell: Shell, tmp_path: Path) -> None:
    tree(tmp_path / "raw", {f"f{i:04}.tif": b"x" * (i % 10) for i in range(1000)})
    start = time.monotonic()
    shell.run(tmp_path, f"job_source image {'- ' * 1000} -- raw/f*", *writing("x"))
    assert time.monotonic() - start < 20
    items = done(tmp_path).inputs
    assert [(item.path, item.bytes) for item in items] == [(f"raw/f{i:04}.tif", i % 10) for i in range(1000)]
    assert [item.sha256 for item in items[:20]] == [hashlib.sha256(b"x" * (i % 10)).hexdigest() for i in range(20)]


def test_without_sha256sum_digests_are_null_and_the_job_goes_on(shell: Shell, tmp_path: Path) -> None:
    if "busybox" in shell.argv[0]:
        pytest.skip("busybox has its programs inside")
    tools = tmp_path / "few"
    tools.mkdir()
    for name in ("sh", "mkdir", "mv", "rm", "sed", "wc", "find", "cat", "sort", "date"):
        (tools / name).symlink_to(Path(str(shutil.which(name, path=shell.path))).absolute())
    tree(tmp_path / "d.zarr", {"a": b"123"})
    (tmp_path / "f").write_bytes(b"12")
    few = Shell(shell.argv, str(tools))
    few.run(
        tmp_path, "job_source image - - -- d.zarr f", "job_shared psf k1 f", "job_shared all k2 d.zarr", *writing("x")
    )
    record = done(tmp_path)
    assert [(i.bytes, i.sha256) for i in (*record.inputs, *record.outputs)] == [
        (3, None), (2, None), (2, None), (3, None), (1, None),
    ]  # fmt: skip
    assert not (tmp_path / "records/inputs").exists()


def test_a_bare_image_with_only_the_few_programs_needed_still_makes_a_record(shell: Shell, tmp_path: Path) -> None:
    if "busybox" in shell.argv[0]:
        pytest.skip("busybox has its programs inside")
    tools = tmp_path / "few"
    tools.mkdir()
    for name in ("sh", "mkdir", "mv", "rm", "sed"):
        (tools / name).symlink_to(Path(str(shutil.which(name, path=shell.path))).absolute())
    tree(tmp_path / "d.zarr", {"a": b"123"})
    (tmp_path / "f").write_bytes(b"12")
    few = Shell(shell.argv, str(tools))
    few.run(tmp_path, "job_source image - - -- d.zarr f", "job_shared psf k1 f", f"job_row t {q(NASTY)}", *writing("x"))
    record = json.loads((tmp_path / RECORD).read_text())
    assert record["status"] == "done"
    assert record["row_parameters"] == {"t": NASTY}
    assert {item["sha256"] for item in [*record["inputs"], *record["outputs"]]} == {None}


# ---------------------------------------------------------------------------- failures


def test_a_failure_leaves_its_facts_beside_the_log_and_nothing_else(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "raw.tif").write_bytes(b"12")
    program = 'echo half >"$1"; echo "error: it broke"; exit 7'
    run = f'job_run sh -c {q(program)} sh "$out_out"'
    shell.run(tmp_path, "job_source image - -- raw.tif", f"job_output out {OUT}/out.txt", run, ok=False)
    record = failed(tmp_path)
    assert (record.status, record.exit_code, record.outputs) == ("failed", 7, ())
    assert record.argv[0] == "sh"
    assert record.inputs[0].path == "raw.tif"
    assert (tmp_path / LOG).read_text() == "error: it broke\n"
    assert not (tmp_path / RECORD).exists()
    assert list((tmp_path / OUT).iterdir()) == []
    assert left_over(tmp_path) == []


def test_a_program_that_is_not_there_is_a_failure(shell: Shell, tmp_path: Path) -> None:
    shell.run(tmp_path, f"job_output out {OUT}/out.txt", "job_run no_such_program", ok=False)
    assert failed(tmp_path).exit_code == 127


def test_success_without_the_output_is_a_failure_that_says_so(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / OUT).mkdir(parents=True)
    shell.run(tmp_path, *writing("old", "older", ports=("out", "two")))
    old = (tmp_path / RECORD).read_bytes()
    only_one = [
        f"job_output out {OUT}/out.txt",
        f"job_output two {OUT}/two.txt",
        'job_run sh -c \'echo new >"$1"\' sh "$out_out"',
    ]
    shell.run(tmp_path, *only_one, ok=False)
    assert (
        tmp_path / LOG
    ).read_text() == "error: the program ended without an error but did not write two.txt (output two)\n"
    assert failed(tmp_path).exit_code == 1
    assert (tmp_path / RECORD).read_bytes() == old
    assert [(tmp_path / OUT / name).read_text() for name in ("out.txt", "two.txt")] == ["old", "older"]
    assert left_over(tmp_path) == []


def test_facts_of_an_old_failure_go_away_when_the_job_runs_again(shell: Shell, tmp_path: Path) -> None:
    shell.run(tmp_path, f"job_output out {OUT}/out.txt", "job_run false", ok=False)
    assert failed(tmp_path).exit_code == 1
    shell.run(tmp_path, *writing("x"))
    assert not (tmp_path / FAILED).exists()


def test_an_older_benchmark_is_gone_when_the_job_is_done_and_stays_when_it_fails(shell: Shell, tmp_path: Path) -> None:
    older, another = tmp_path / "benchmarks/u1/step.tsv", tmp_path / "benchmarks/u2/step.tsv"
    for path in (older, another):
        path.parent.mkdir(parents=True)
        path.touch()
    shell.run(tmp_path, f"job_output out {OUT}/out.txt", "job_run false", ok=False)
    assert older.exists()
    shell.run(tmp_path, *writing("x"))
    assert (older.exists(), another.exists()) == (False, True)


def test_an_older_output_is_replaced_whole(shell: Shell, tmp_path: Path) -> None:
    tree(tmp_path / OUT / "out.zarr", {"old/chunk": b"1"})
    shell.run(
        tmp_path,
        f"job_output out {OUT}/out.zarr folder",
        'job_run sh -c \'mkdir "$1"; echo 1 >"$1/new"\' sh "$out_out"',
    )
    assert [path.name for path in (tmp_path / OUT / "out.zarr").iterdir()] == ["new"]


def test_the_staging_folder_of_a_killed_run_is_removed_by_the_next(shell: Shell, tmp_path: Path) -> None:
    process = shell.start(
        tmp_path, f"job_output out {OUT}/out.txt", 'job_run sh -c \'echo half >"$1"; sleep 60\' sh "$out_out"'
    )
    wait_for(lambda: any((tmp_path / OUT).glob(".stage-*/out.txt")))
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert len(list((tmp_path / OUT).glob(".stage-*"))) == 1
    shell.run(tmp_path, *writing("x"))
    assert left_over(tmp_path) == []


def cut_off(folder: Path) -> list[Path]:
    """What is left of a run that was killed while it wrote a record, and the facts of a failure."""
    paths = [folder / f"{name}.n1.cluster.77" for name in (RECORD, FAILED)]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('{"schema": 1,')
    return paths


@pytest.mark.parametrize("ok", [True, False])
def test_what_a_killed_run_was_writing_is_removed_by_the_next(shell: Shell, tmp_path: Path, ok: bool) -> None:
    cut_off(tmp_path)
    shell.run(tmp_path, *(writing("x") if ok else [f"job_output out {OUT}/out.txt", "job_run false"]), ok=ok)
    assert left_over(tmp_path) == []


def test_a_run_that_has_not_claimed_the_job_leaves_alone_what_others_write(shell: Shell, tmp_path: Path) -> None:
    paths = cut_off(tmp_path)
    shell.run(tmp_path, "job_model MODEL no/such/file", ok=False)
    assert failed(tmp_path).exit_code == 1
    assert all(path.exists() for path in paths)


def test_a_job_that_is_told_to_end_when_its_record_is_written_is_done(shell: Shell, tmp_path: Path) -> None:
    if "busybox" in shell.argv[0]:
        pytest.skip("busybox has its programs inside")
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin/mv"
    program.write_text(
        f'#!/bin/sh\ncase $* in *step.json) kill -s TERM "$PPID" ;; esac\nexec {shutil.which("mv")} "$@"\n'
    )
    program.chmod(0o755)
    told = Shell(shell.argv, f"{tmp_path}/bin:{shell.path}")
    told.run(tmp_path, *writing("x"))
    assert done(tmp_path).status == "done"
    assert not (tmp_path / FAILED).exists()
    assert left_over(tmp_path) == []


def wait_for(condition: Any, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


@pytest.mark.parametrize("whom", ["group", "shell"])
def test_a_job_that_is_told_to_end_leaves_its_facts(shell: Shell, tmp_path: Path, whom: str) -> None:
    run = 'job_run sh -c \'echo half >"$1"; sleep 1.5\' sh "$out_out"'
    process = shell.start(tmp_path, f"job_output out {OUT}/out.txt", run)
    wait_for(lambda: any((tmp_path / OUT).glob(".stage-*/out.txt")))
    if whom == "group":
        os.killpg(process.pid, signal.SIGTERM)
    else:
        process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 143
    record = failed(tmp_path)
    assert (record.status, record.exit_code, record.outputs) == ("failed", 143, ())
    assert not (tmp_path / RECORD).exists()
    assert list((tmp_path / OUT).iterdir()) == []


def test_ctrl_c_is_no_failure_and_leaves_nothing(shell: Shell, tmp_path: Path) -> None:
    run = 'job_run sh -c \'echo half >"$1"; sleep 30\' sh "$out_out"'
    process = shell.start(tmp_path, f"job_output out {OUT}/out.txt", run)
    wait_for(lambda: any((tmp_path / OUT).glob(".stage-*/out.txt")))
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130
    assert not (tmp_path / FAILED).exists()
    assert list((tmp_path / OUT).iterdir()) == []


def slow_writer(shell: Shell, folder: Path, word: str) -> subprocess.Popen[bytes]:
    """Start a job that writes a folder of 40 files and a file, all with the same word in them."""
    files = " ".join(f"{i:03}" for i in range(40))
    program = f'mkdir "$1"; for n in {files}; do echo $2 >"$1/$n"; done; sleep 0.5; echo $2 >"$3"'
    calls = [f"job_output out {OUT}/out.zarr folder", f"job_output two {OUT}/two.txt"]
    return shell.start(folder, *calls, f'job_run sh -c {q(program)} sh "$out_out" {word} "$out_two"')


def check_whole(folder: Path, word: str) -> None:
    out, two = folder / OUT / "out.zarr", folder / OUT / "two.txt"
    assert [path.read_text() for path in [*out.iterdir(), two]] == [f"{word}\n"] * 41
    assert [item.sha256 for item in done(folder).outputs] == [digest(out), digest(two)]
    assert sorted(path.name for path in (folder / OUT).iterdir()) == ["out.zarr", "two.txt"]


def test_of_two_runs_of_one_job_the_later_one_wins_whole(shell: Shell, tmp_path: Path) -> None:
    first = slow_writer(shell, tmp_path, "a")
    wait_for(lambda: any((tmp_path / OUT).glob(".stage-*/out.zarr/039")))
    second = slow_writer(shell, tmp_path, "b")
    first.communicate(timeout=60)
    second.communicate(timeout=60)
    assert (first.returncode != 0, second.returncode) == (True, 0)
    check_whole(tmp_path, "b")
    assert not (tmp_path / FAILED).exists()


def test_runs_of_one_job_at_the_same_moment_harm_no_later_run(shell: Shell, tmp_path: Path) -> None:
    for process in [slow_writer(shell, tmp_path, word) for word in "abc"]:
        process.communicate(timeout=60)
    slow_writer(shell, tmp_path, "d").communicate(timeout=60)
    check_whole(tmp_path, "d")


# ---------------------------------------------------------------------------- what must not be told


def test_secrets_of_the_environment_are_in_no_record(shell: Shell, tmp_path: Path) -> None:
    env = dict.fromkeys(("AWS_SECRET_ACCESS_KEY", "IRODS_PASSWORD", "MY_TOKEN"), "hunter2-secret")
    shell.run(tmp_path, *writing("x"), env=env)
    assert "hunter2" not in (tmp_path / RECORD).read_text()
    shell.run(tmp_path, f"job_output out {OUT}/out.txt", "job_run false", env=env, ok=False)
    assert "hunter2" not in (tmp_path / FAILED).read_text()


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("/home/me", "~"),
        ("/home/me/data/x.tif", "~/data/x.tif"),
        ("--in=/home/me/x", "--in=~/x"),
        ("-I/home/me/include", "-I~/include"),
        ("a=/home/me/x,b=/home/me/y;/home/me:/home/me/z", "a=~/x,b=~/y;~:~/z"),
        ("open('/home/me/x') \"/home/me\"", "open('~/x') \"~\""),
        ("/home/mexico/x", "/home/mexico/x"),
        ("/data/home/me/x", "/data/home/me/x"),
        ("/home", "/home"),
        ("relative/home/me/x", "relative/home/me/x"),
    ],
)
@pytest.mark.parametrize("home", ["/home/me", "/home/me/", "/home/me//"])
def test_the_home_folder_is_told_as_a_tilde(shell: Shell, tmp_path: Path, word: str, told: str, home: str) -> None:
    run = f'job_run sh -c \'echo x >"$1"\' sh "$out_out" {q(word)}'
    shell.run(tmp_path, f"job_output out {OUT}/out.txt", run, env={"HOME": home})
    assert done(tmp_path).argv[-1] == told


def test_inputs_below_the_home_folder_are_told_with_a_tilde(shell: Shell, tmp_path: Path) -> None:
    raw = tmp_path / "me/raw.tif"
    raw.parent.mkdir()
    raw.write_bytes(b"12")
    shell.run(tmp_path, f"job_source image - -- {raw}", *writing("x"), env={"HOME": str(tmp_path / "me")})
    record = done(tmp_path)
    assert (record.inputs[0].path, record.inputs[0].bytes, record.inputs[0].sha256) == ("~/raw.tif", 2, digest(raw))
    assert str(tmp_path) not in (tmp_path / RECORD).read_text()


@pytest.mark.parametrize("home", ["", "/", "relative", None])
def test_a_home_that_is_no_folder_of_a_person_changes_nothing(shell: Shell, tmp_path: Path, home: str | None) -> None:
    run = 'job_run sh -c \'echo x >"$1"\' sh "$out_out" /a/b'
    shell.run(tmp_path, f"job_output out {OUT}/out.txt", run, env={} if home is None else {"HOME": home})
    assert done(tmp_path).argv[-1] == "/a/b"


def test_the_staging_folder_is_told_as_the_final_place_also_within_a_word(shell: Shell, tmp_path: Path) -> None:
    run = 'job_run sh -c \'echo x >"${1#--out=}"\' sh --out="$out_out"'
    shell.run(tmp_path, f"job_output out {OUT}/out.txt", run)
    assert done(tmp_path).argv[-1] == f"--out={OUT}/out.txt"
    assert ".stage-" not in (tmp_path / RECORD).read_text()


# ---------------------------------------------------------------------------- what an OME-Zarr says of itself


def store(path: Path) -> None:
    size_um = (0.4, 0.108333, 0.1)
    with create_image(
        path, axes="tczyx", shape=(2, 1, 3, 4, 5), dtype=np.uint16, voxel_size_um=size_um, time_step_s=2.5
    ) as image:
        for t in range(2):
            image.write(np.full((3, 4, 5), t, np.uint16), t, 0)


def recorded(shell: Shell, folder: Path, source: Path) -> Any:
    shell.run(folder, f"job_output out {OUT}/out.ome.zarr folder", f'job_run cp -r {source} "$out_out"')
    (output,) = done(folder).outputs
    assert output.sha256 == digest(source)
    return output


@pytest.mark.parametrize("indent", [None, 0, 2, 4])
def test_an_ome_zarr_tells_axes_shape_type_and_scale_however_its_json_is_written(
    shell: Shell, tmp_path: Path, indent: int | None
) -> None:
    path = tmp_path / "made.ome.zarr"
    store(path)
    for file in path.rglob("zarr.json"):
        separators = (",", ":") if indent is None else None
        file.write_text(json.dumps(json.loads(file.read_text()), indent=indent, separators=separators))
    output = recorded(shell, tmp_path, path)
    assert (output.axes, output.shape, output.dtype) == ("tczyx", (2, 1, 3, 4, 5), "uint16")
    assert output.scale == (2.5, 1, 0.4, 0.108333, 0.1)
    assert output.voxel_size_um == (0.4, 0.108333, 0.1)


def test_a_store_written_by_zarr_alone_tells_its_facts_too(shell: Shell, tmp_path: Path) -> None:
    import zarr

    path = tmp_path / "other.zarr"
    group = zarr.open_group(path, mode="w", zarr_format=3)
    group.create_array("0", shape=(7, 64, 32), chunks=(1, 32, 32), shards=(7, 64, 32), dtype="float32")
    axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"]
    steps: list[dict[str, Any]] = [
        {"type": "scale", "scale": [1e-05, 0.5, 2]},
        {"type": "translation", "translation": [9, 9, 9]},
    ]
    scales: dict[str, Any] = {
        "axes": axes,
        "name": 'a ["scale": b',
        "datasets": [{"path": "0", "coordinateTransformations": steps}],
    }
    group.attrs["ome"] = {"version": "0.5", "multiscales": [scales]}
    output = recorded(shell, tmp_path, path)
    assert (output.axes, output.shape, output.dtype) == ("zyx", (7, 64, 32), "float32")
    assert output.voxel_size_um == (1e-05, 0.5, 2)


@pytest.mark.parametrize("text", ["", "{}", "not json", '{"attributes": {"ome": {"multiscales": []}}}'])
def test_a_folder_that_is_no_ome_zarr_has_no_such_facts(shell: Shell, tmp_path: Path, text: str) -> None:
    path = tree(tmp_path / "thing.zarr", {"zarr.json": text.encode(), "0/zarr.json": text.encode()})
    output = recorded(shell, tmp_path, path)
    assert (output.axes, output.shape, output.dtype, output.scale) == (None, None, None, None)


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_staged_copy_is_told_as_what_it_is_a_copy_of(shell: Shell, tmp_path: Path, kind: str) -> None:
    copy = tmp_path / "staged/u1/u1.zarr"
    copy.parent.mkdir(parents=True)
    if kind == "file":
        copy.write_text("pixels")
    else:
        (copy / "c").mkdir(parents=True)
        (copy / "c/0").write_text("pixels")
    address = 'irods:///z/it\'s "a" %25 \\ ü.zarr'
    checksum, digest_of = ("sha2:aB/+=", "cd" * 32) if kind == "file" else ("-", "-")
    (copy.parent / ".source").write_text(f"{address}\n{checksum}\n{digest_of}\n", encoding="utf-8")
    calls = f"job_source image {'ab' * 32} records/u1/first.json -- staged/u1/u1.zarr staged/u1/u1.zarr"
    shell.run(tmp_path, calls, *writing("x"))
    first, second = read_record(tmp_path / RECORD).inputs
    assert (first.path, first.staged, first.here) == (address, "staged/u1/u1.zarr", "staged/u1/u1.zarr")
    assert first.checksum == (checksum if kind == "file" else None)
    assert first.sha256 == ("cd" * 32 if kind == "file" else digest(copy))
    assert (first.bytes, bool(first.listing)) == (6, kind == "folder")
    assert (second.path, second.sha256, second.record) == (address, None, "records/u1/first.json")


def test_a_folder_that_happens_to_be_called_staged_is_as_any_other(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "staged/a").mkdir(parents=True)
    (tmp_path / "staged/a/b.tif").write_text("pixels")
    shell.run(tmp_path, "job_source image - -- staged/a/b.tif", *writing("x"))
    (item,) = read_record(tmp_path / RECORD).inputs
    assert (item.path, item.staged, item.checksum) == ("staged/a/b.tif", None, None)
    assert item.sha256 == hashlib.sha256(b"pixels").hexdigest()


@pytest.mark.skipif(not Path("/bin/dash").exists(), reason="there is no /bin/dash here")
def test_bash_leaves_a_job_to_dash_but_for_the_functions_of_a_cluster(tmp_path: Path) -> None:
    """Programs start faster from dash, which knows nothing of `module`; the job began when bash did."""
    calls = [
        f"job_output out {OUT}/out.txt",
        'job_run bash -c \'cat /proc/$PPID/comm; module avail || :; >"$1"\' x "$out_out"',
    ]
    bash = str(shutil.which("bash"))
    Shell((bash,), os.defpath).run(tmp_path / "shared", *calls)
    Shell((bash,), os.defpath, MODULE).run(tmp_path / "alone", *calls)
    shared = (tmp_path / "shared" / LOG).read_text().splitlines()
    assert shared[0] == "dash"
    assert "not found" in shared[1]
    assert (tmp_path / "alone" / LOG).read_text().splitlines() == ["bash", "module avail"]
    assert read_record(tmp_path / "shared" / RECORD).started_at.endswith("Z")


@pytest.mark.parametrize(
    ("flag", "program", "told"),
    [
        ("", 'mkdir "$1"', "error: the program wrote a folder in place of the file x.tif (output out)"),
        ("folder", 'echo >"$1"', "error: the program wrote a file in place of the folder x.tif (output out)"),
        ("", 'echo >"$1"', None),
        ("folder", 'mkdir "$1"', None),
    ],
)
def test_a_folder_in_place_of_a_file_fails(
    shell: Shell, tmp_path: Path, flag: str, program: str, told: str | None
) -> None:
    run = f'job_run sh -c {q(program)} sh "$out_out"'
    shell.run(tmp_path, f"job_output out {OUT}/x.tif {flag}", run, ok=told is None)
    assert (tmp_path / RECORD).exists() is (told is None)
    if told:
        assert (tmp_path / LOG).read_text().splitlines() == [told]
        assert not (tmp_path / OUT / "x.tif").exists()
