"""Every path of a study, in one place: what lies where, from (unit, step, file).

A *unit* is what a step runs over: a row of the sheet, or a group of rows. Its id is a folder name.
Patterns are relative to the study folder; they hold ``{unit}`` where the unit's id belongs.
"""

from __future__ import annotations

from pathlib import Path

SHEET = "config/samples.tsv"
CONFIG = "config/config.yaml"
STUDY_YAML = "config/study.yaml"
JOB_SH = "workflow/job.sh"
SNAKEFILE = "workflow/Snakefile"
RESULTS, RECORDS, LOGS, BENCHMARKS, RULES = "results", "records", "logs", "benchmarks", "rules"
STAGED = "staged"
FETCHED = "fetched"
STAGE_RULE = "stage_in"

SLURM_LOGS = f"{LOGS}/slurm"

STATE = ".snakescope"
CLUSTER = f"{STATE}/cluster"


def assets() -> Path:
    """Folder with the shipped tools, scripts, workflow, profiles and pipelines.

    Inside an installed package these travel with it; in a source checkout they are its top-level folders.
    """
    inside = Path(__file__).parent / "assets"
    return inside if inside.is_dir() else Path(__file__).parents[2]


def result(unit: str, step: str, file: str) -> str:
    """Path of an output of a step."""
    return f"{RESULTS}/{unit}/{step}/{file}"


def record(unit: str, step: str) -> str:
    """Path of the record of a job."""
    return f"{RECORDS}/{unit}/{step}.json"


def log(unit: str, step: str) -> str:
    """Path of a job's log."""
    return f"{LOGS}/{unit}/{step}.log"


def failure(unit: str, step: str) -> str:
    """Path of the facts of a failed job; it lies beside the log, which survives a failure."""
    return f"{LOGS}/{unit}/{step}.failed.json"


def slurm_failure(unit: str, step: str) -> str:
    """Path of what is known of a job that Slurm ended, until it is done: how the next attempt's resources grow."""
    return f"{LOGS}/{unit}/{step}.slurm.json"


def slurm_facts() -> str:
    """Path of what Slurm says of each of its jobs that has ended, one line of JSON each."""
    return f"{RECORDS}/slurm.jsonl"


def benchmark(unit: str, step: str) -> str:
    """Path of Snakemake's benchmark of a job."""
    return f"{BENCHMARKS}/{unit}/{step}.tsv"


def staged(row_id: str) -> str:
    """Path of the folder that holds the local copy of a row's image, where that lies in iRODS."""
    return f"{STAGED}/{row_id}"


def staged_part(row_id: str) -> str:
    """Path of the folder that holds what is here of a copy on its way."""
    return f"{STAGED}/.part/{row_id}"


def fetched(row_id: str) -> str:
    """Path of the folder that holds the copy of a row's image that was fetched for an upload."""
    return f"{FETCHED}/{row_id}"


def rule_file(pipeline: str, step: str) -> str:
    """Path of the compiled rule of a step."""
    return f"{RULES}/{pipeline}/{step}.smk"


def plan_file(pipeline: str) -> str:
    """Path of the compiled plan: what the rules look up while Snakemake runs."""
    return f"{RULES}/{pipeline}/plan.json"


def step_facts_file(pipeline: str, step: str) -> str:
    """Path of the part of a step's records that is the same for every job."""
    return f"{RULES}/{pipeline}/{step}.json"


def cluster_plan() -> str:
    """Path of the plan of a run on a cluster: its stages, shards and jobs."""
    return f"{CLUSTER}/plan.json"


def cluster_run_id() -> str:
    """Path of the file with the name that all cluster jobs of the study folder have."""
    return f"{CLUSTER}/run-id"


def cluster_folder(digest: str) -> str:
    """Path of the folder of one plan: manifests, lists of what is to do, and what came of each job."""
    return f"{CLUSTER}/{digest}"


def manifest(digest: str, shard: str) -> str:
    """Path of a shard's slice of the sheet."""
    return f"{CLUSTER}/{digest}/{shard}.tsv"


def todo_file(digest: str, stage: str, shard: str) -> str:
    """Path of the list of pairs of step and unit that a cluster job is to make."""
    return f"{CLUSTER}/{digest}/{stage}-{shard}.todo"


def shard_log(digest: str, stage: str, shard: str) -> str:
    """What a job over a shard said itself; its rows' tools have logs of their own."""
    return f"{cluster_folder(digest)}/{stage}-{shard}.log"


def done_file(digest: str, stage: str, shard: str) -> str:
    """Path of what a cluster job leaves when all that it was to make is done or has failed by itself."""
    return f"{CLUSTER}/{digest}/{stage}-{shard}.done.json"


def staging_list(digest: str, stage: str, shard: str) -> str:
    """Path of the list of rows in iRODS that a cluster job reads; there is none for a job that reads none."""
    return f"{CLUSTER}/{digest}/{stage}-{shard}.staging"


def staged_mark(digest: str, stage: str, shard: str) -> str:
    """Path of the mark that a cluster job's images are here, as far as they can be had."""
    return f"{CLUSTER}/{digest}/{stage}-{shard}.staged"


def lease_file(digest: str, stage: str, shard: str) -> str:
    """Path of the file that keeps two cluster jobs from doing the same at the same time."""
    return f"{CLUSTER}/{digest}/{stage}-{shard}.lease"


def cluster_failure(digest: str, stage: str, shard: str) -> str:
    """Path of what is known of a cluster job that the cluster ended."""
    return f"{CLUSTER}/{digest}/{stage}-{shard}.failed.json"


def macro_file(pipeline: str, step: str) -> str:
    """Path of the ImageJ macro of a step, as compiled."""
    return f"{RULES}/{pipeline}/{step}.ijm"


def pipeline_file(name: str) -> str:
    """Path of a pipeline."""
    return f"config/pipelines/{name}.yaml"


def tool_roots(study: Path) -> list[Path]:
    """Folders with tools: the study's own first, then the shipped ones."""
    roots = [study / "tools", assets() / "tools"]
    return list(dict.fromkeys(root.resolve() for root in roots if root.is_dir()))
