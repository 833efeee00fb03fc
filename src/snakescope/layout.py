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
STAGE_RULE = "stage_in"

STATE = ".snakescope"


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


def benchmark(unit: str, step: str) -> str:
    """Path of Snakemake's benchmark of a job."""
    return f"{BENCHMARKS}/{unit}/{step}.tsv"


def staged(row_id: str) -> str:
    """Path of the folder that holds the local copy of a row's image, where that lies in iRODS."""
    return f"{STAGED}/{row_id}"


def staged_part(row_id: str) -> str:
    """Path of the folder that holds what is here of a copy on its way."""
    return f"{STAGED}/.part/{row_id}"


def rule_file(pipeline: str, step: str) -> str:
    """Path of the compiled rule of a step."""
    return f"{RULES}/{pipeline}/{step}.smk"


def plan_file(pipeline: str) -> str:
    """Path of the compiled plan: what the rules look up while Snakemake runs."""
    return f"{RULES}/{pipeline}/plan.json"


def step_facts_file(pipeline: str, step: str) -> str:
    """Path of the part of a step's records that is the same for every job."""
    return f"{RULES}/{pipeline}/{step}.json"


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
