"""Labels, options, scripts and the calls of Slurm's commands; the commands here are small shell scripts."""

from __future__ import annotations

import os
import re
import subprocess
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snakescope.cluster import slurm
from snakescope.cluster.preflight import preflight
from snakescope.cluster.refusal import explain
from snakescope.cluster.site import Partition, Site, SiteFile
from snakescope.cluster.slurm import Label, SlurmAwayError, SlurmRefusedError
from snakescope.errors import EnvironmentUnusableError, InputError


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of commands that come first."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


def program(folder: Path, name: str, body: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{body}\n")
    (folder / name).chmod(0o755)


@given(st.text(), st.text(min_size=1), st.text(), st.text())
def test_any_label_comes_back_from_a_comment(study: str, key: str, digest: str, text: str) -> None:
    found = Label.parse(Label(study, key, digest, text).comment())
    assert found is not None
    assert (found.study, found.key) == (study or "-", key)
    assert found.text == " ".join(text.split())


@given(st.text())
def test_a_comment_breaks_neither_lines_nor_columns(text: str) -> None:
    assert not set("|\n\r\"'\\`$;\t") & set(Label(text, text + "x", text, text).comment())


@pytest.mark.parametrize("comment", ["", "(null)", "word"])
def test_other_peoples_comments_are_none_of_ours(comment: str) -> None:
    assert Label.parse(comment) is None


def test_the_run_id_is_made_once_whoever_asks(tmp_path: Path) -> None:
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(slurm.run_id(tmp_path))) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert slurm.run_id(tmp_path) == found[0]
    assert re.fullmatch("snk-test_the_run_id_is_made_[0-9a-z_]{0,20}-[0-9a-f]{10}", found[0])
    assert [path.name for path in (tmp_path / ".snakescope/cluster").iterdir()] == ["run-id"]


def test_resources_become_options() -> None:
    resources = {
        "mem_mb": 1000.2, "runtime": 90, "slurm_partition": "gpu", "slurm_account": "lab", "qos": "long",
        "constraint": "a100|h100", "gpu": 2, "gpu_model": "a100", "disk_mb": 77,
        "slurm_extra": "--nice=5 '--exclude=n 1'",
    }  # fmt: skip
    assert slurm.options(resources, 4, 300) == [
        "--partition=gpu", "--account=lab", "--qos=long", "--constraint=a100|h100", "--cpus-per-task=4", "--mem=1301M",
        "--time=90", "--gpus=a100:2", "--nice=5", "--exclude=n 1",
    ]  # fmt: skip


def test_what_is_not_given_is_left_to_the_cluster() -> None:
    assert slurm.options({"slurm_account": "", "gpu": 0, "qos": None}, 0) == ["--cpus-per-task=1"]
    assert slurm.options({"mem_mb_per_cpu": 500}, 2, 300) == ["--cpus-per-task=2", "--mem-per-cpu=500M"]


@pytest.mark.parametrize("extra", ["--job-name=x", "-J x", "--requeue", "--array=1-3"])
def test_extra_options_cannot_undo_ours(extra: str) -> None:
    with pytest.raises(SlurmRefusedError, match="which is set for each job already"):
        slurm.options({"slurm_extra": extra}, 1)


def test_the_environment_of_a_job_holds_no_secret_and_no_outer_job() -> None:
    given = {
        "PATH": "/bin", "MY_API_KEY": "x", "irods_password": "x", "GITHUB_TOKEN": "x", "SLURM_JOB_ID": "1",
        "SLURM_CONF": "/etc/s", "SBATCH_QOS": "q", "SLURM_MEM_PER_CPU": "5", "WANTED_SECRET": "y", "KEYBOARD": "us",
    }  # fmt: skip
    found = slurm.job_environment(["WANTED_SECRET"], given)
    assert found == {
        "PATH": "/bin", "SLURM_CONF": "/etc/s", "SBATCH_QOS": "q", "WANTED_SECRET": "y", "KEYBOARD": "us"
    }  # fmt: skip


@pytest.mark.parametrize(("body", "code"), [("exit 3", 3), ("true", 0), ("kill -9 $BASHPID", 137), ("exec false", 1)])
def test_a_script_ends_with_its_exit_code_and_says_it(body: str, code: int) -> None:
    done = subprocess.run(["bash"], input=slurm.script(body, "a\nb"), capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert done.stdout.splitlines()[-1] == f"snakescope: exit {code}"


def test_a_script_says_its_exit_code_after_a_term() -> None:
    process = subprocess.Popen(
        ["bash", "-c", slurm.script("echo on; exec sleep 60")],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "on\n"
    os.killpg(process.pid, 15)
    assert process.communicate()[0] == "snakescope: exit 143\n"


def test_a_job_is_submitted_through_a_pipe_with_all_that_it_needs(programs: Path, tmp_path: Path) -> None:
    program(programs, "sbatch", f'for w; do echo "$w"; done >{tmp_path}/words; cat >{tmp_path}/script; echo "77;lab"')
    job = slurm.submit("#!/bin/sh\n:\n", ["--mem=5M"], name="snk-1", comment="a b/c", log="l-%j", after=["3", "4"])
    assert job == "77"
    assert (tmp_path / "words").read_text().splitlines() == [
        "--parsable", "--no-requeue", "--export=ALL", "--job-name=snk-1", "--comment=a b/c", "--output=l-%j",
        "--mem=5M", "--dependency=afterany:3:4",
    ]  # fmt: skip
    assert (tmp_path / "script").read_text() == "#!/bin/sh\n:\n"


@pytest.mark.parametrize(
    "said",
    [
        "slurm_load_jobs error: Unable to contact slurm controller (connect failure)",
        "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation",
        "sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying",
    ],
)
def test_a_controller_that_is_away_is_no_refusal(programs: Path, said: str) -> None:
    program(programs, "squeue", f"echo '{said}' >&2; exit 1")
    with pytest.raises(SlurmAwayError):
        slurm.queue("snk-1", Path())


def test_how_long_ended_jobs_are_remembered_is_read_from_the_configuration(programs: Path) -> None:
    program(programs, "scontrol", "echo 'MinJobAge               = 240 sec'; echo 'MinJobAgeX = 1'")
    assert slurm.remembers_s() == 240
    program(programs, "scontrol", "echo nothing")
    assert slurm.remembers_s() == 0


def test_a_refusal_comes_in_slurms_words(programs: Path) -> None:
    program(
        programs, "sbatch", "echo 'sbatch: error: Batch job submission failed: Invalid qos specification' >&2; exit 1"
    )
    with pytest.raises(SlurmRefusedError, match=r"^Batch job submission failed: Invalid qos specification$"):
        slurm.submit("", [], name="n", comment="c", log="l")


def test_no_slurm_here_is_one_clear_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EnvironmentUnusableError, match="there is no 'sbatch' here") as caught:
        preflight(tmp_path, [])
    assert caught.value.exit_code == 3


def test_the_queue_holds_the_jobs_of_this_folder_only(programs: Path, tmp_path: Path) -> None:
    mine, label = tmp_path / "a|b", Label("a", "s1/0001", "d", "t")
    mine.mkdir()
    lines = [
        f"7|RUNNING|None|{label.comment()}|{mine}",
        f"8|PENDING|Priority|{label.comment()}|/else",
        "9|RUNNING|None",
    ]
    (tmp_path / "lines").write_text("\n".join(lines))
    program(programs, "squeue", f"cat {tmp_path}/lines")
    assert slurm.queue("snk-1", mine) == {"7": slurm.QueuedJob("7", "RUNNING", "None", label)}


def cluster(folder: Path, refusal: str = "") -> None:
    """A cluster of one partition that refuses everything with some words."""
    for name in ("squeue", "scancel"):
        program(folder, name, ":")
    program(folder, "sinfo", "echo 'cpu*|1-00:00:00|4000+|8|2|up|gpu:a100:2(S:0),gpu:4'")
    program(folder, "sacctmgr", "echo labs; echo other")
    program(folder, "sbatch", f"echo 'sbatch: error: {refusal}' >&2; exit 1" if refusal else "exit 0")


@pytest.mark.parametrize(
    ("refusal", "job", "told"),
    [
        (
            "Invalid account or account/partition combination specified",
            {"slurm_account": "lab"},
            "slurm_account: Slurm refuses the account 'lab'.\n    Did you mean 'labs'? Yours are: labs, other.",
        ),
        ("Invalid qos specification", {"qos": "x"}, "qos: Slurm refuses the QOS 'x'"),
        ("Invalid feature specification", {"constraint": "x"}, "no node has what the constraint asks for (x)"),
        (
            "Memory specification can not be satisfied",
            {"mem_mb": 9000},
            "deskew/r1: no node has 1 cores, 9000M of memory; the largest there has 8 cores, 4000 MB and 6 GPUs.\n"
            "    Choose another partition, or set it in profiles/slurm/config.yaml: set-resources: deskew: mem_mb: ...",
        ),
        ("Something new", {}, "deskew/r1: Slurm does not take the job: Something new.\n    It was asked for 1 cores."),
    ],
)
def test_refusals_say_what_to_change(
    programs: Path, tmp_path: Path, refusal: str, job: dict[str, object], told: str
) -> None:
    cluster(programs, refusal)
    with pytest.raises(InputError) as caught:
        preflight(tmp_path, [{"name": "deskew/r1", **job, "threads": 1}])
    assert told in str(caught.value)
    assert caught.value.exit_code == 2


def test_nodes_that_are_busy_keep_no_run_from_starting(programs: Path, tmp_path: Path) -> None:
    cluster(programs, "allocation failure: Nodes required for job are DOWN, DRAINED or reserved")
    assert "such jobs will wait" in preflight(tmp_path, [{"name": "a/b", "threads": 1}])[0]


NOT_THERE = "Batch job submission failed: Requested node configuration is not available"


def test_nodes_that_have_not_reported_yet_are_waited_for(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster(programs)
    tries = f"echo x >>{tmp_path}/tries; [ $(wc -l <{tmp_path}/tries) -ge 3 ]"
    program(programs, "sbatch", f"{tries} || {{ echo 'sbatch: error: {NOT_THERE}' >&2; exit 1; }}")
    monkeypatch.setattr("snakescope.cluster.preflight.time.sleep", lambda _: None)
    assert preflight(tmp_path, [{"name": "a/b", "threads": 8, "mem_mb": 3000, "gpu": 4}]) == []


def test_jobs_for_nodes_that_do_not_come_back_wait_and_those_for_nodes_that_are_not_there_are_refused(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster(programs, NOT_THERE)
    monkeypatch.setattr("snakescope.cluster.preflight.NODES_BACK_S", 0.0)
    [remark] = preflight(tmp_path, [{"name": "a/b", "threads": 8}])
    assert "no node for 8 cores at the moment, though there are nodes so large; such jobs will wait" in remark
    with pytest.raises(InputError, match="no node has"):
        preflight(tmp_path, [{"name": "a/b", "threads": 9}])


POLICY = "allocation failure: Job violates accounting/QOS policy (job submit limit, size and/or time limits)"


@pytest.mark.parametrize("limit", ["AssocMaxSubmitJobLimit", "AssocGrpSubmitJobsLimit", "QOSMaxSubmitJobPerUserLimit"])
def test_a_queue_that_is_full_of_ones_own_jobs_keeps_no_run_from_starting(
    programs: Path, tmp_path: Path, limit: str
) -> None:
    cluster(programs, f"{limit}\n{POLICY}")
    [remark] = preflight(tmp_path, [{"name": "a/b", "threads": 1, "runtime": 30}])
    assert remark == f"Slurm takes no more jobs of yours for now ({limit}); they are sent as others end."


def test_a_limit_of_account_or_qos_is_told_by_its_name_once_for_all_shards(programs: Path, tmp_path: Path) -> None:
    cluster(programs, f"QOSMaxWallDurationPerJobLimit\n{POLICY}")
    jobs = [{"name": f"job s1/000{n}", "threads": n, "runtime": 40 - n} for n in (1, 2)]
    with pytest.raises(InputError) as caught:
        preflight(tmp_path, jobs)
    [told] = caught.value.problems
    assert told.message == "a limit of your account or QOS does not allow it (QOSMaxWallDurationPerJobLimit)"
    assert "38 minutes. See: sacctmgr show qos" in str(told)


def test_a_partition_is_told_where_it_is_named(programs: Path, tmp_path: Path) -> None:
    cluster(programs)
    site = Site(name="hpc", file=SiteFile(partitions={"cppu": Partition()}))
    for name, where in (("cppu", "site.yaml: partitions"), ("gpuu", "config.yaml: default-resources: slurm_partition")):
        with pytest.raises(InputError) as caught:
            preflight(tmp_path, [{"name": "a/b", "threads": 1, "slurm_partition": name}], site=site)
        assert caught.value.problems[0].where == f"profiles/hpc/{where}"


def test_of_a_job_over_a_shard_the_file_of_the_site_is_to_be_mended() -> None:
    told = explain("More processors requested than permitted", ["--cpus-per-task=9"], "job s1/0001", profile="hpc")
    assert told.fix == (
        "Say in profiles/hpc/site.yaml what the partition has (max_cpus, max_mem_mb, max_runtime_min, gpus)."
    )


def test_only_the_largest_jobs_of_a_kind_are_tried(programs: Path, tmp_path: Path) -> None:
    cluster(programs)
    program(programs, "sbatch", f'echo "$*" >>{tmp_path}/tried')
    jobs = [{"name": f"a/{n}", "threads": 1, "mem_mb": n, "runtime": 1000 - n} for n in range(1, 1000)]
    preflight(tmp_path, [*jobs, {"name": "b/1", "threads": 2, "mem_mb": 1, "slurm_partition": "cpu"}])
    assert len((tmp_path / "tried").read_text().splitlines()) == 3


def test_a_full_disk_is_found_before_anything_is_submitted(programs: Path, tmp_path: Path) -> None:
    cluster(programs)
    (tmp_path / ".snakescope/cluster").mkdir(parents=True)
    (tmp_path / f".snakescope/cluster/.room.{os.getpid()}").symlink_to("/dev/full")
    with pytest.raises(EnvironmentUnusableError, match=r"cannot be written \(No space left on device\)"):
        preflight(tmp_path, [])
    assert not list((tmp_path / ".snakescope/cluster").iterdir())


def test_a_cluster_that_does_not_answer_is_said_so(programs: Path, tmp_path: Path) -> None:
    cluster(programs)
    program(programs, "sinfo", "echo 'Unable to contact slurm controller (connect failure)' >&2; exit 1")
    with pytest.raises(EnvironmentUnusableError, match="Slurm does not answer"):
        preflight(tmp_path, [])


def test_an_unknown_partition_is_told_with_those_that_are_known() -> None:
    found = {"short": Partition(), "long": Partition()}
    told = str(explain("Invalid partition name specified", ["--partition=shrt"], "a/b", found))
    assert "no partition 'shrt'" in told
    assert "Did you mean 'short'? There are: short, long." in told
