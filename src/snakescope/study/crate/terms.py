"""Every upstream name of the run crate in one place, with the version of the profile it comes from.

Process, Workflow and Provenance Run Crate 0.5 stand on RO-Crate 1.1, whose context has no workflow-run terms; these
are spelt out in the crate itself, so that one published context is all that a reader has to know.
"""

from __future__ import annotations

from typing import Any, NamedTuple

METADATA, README = "ro-crate-metadata.json", "README.md"
RO_CRATE = "https://w3id.org/ro/crate/1.1"
CONTEXT_URL = "https://w3id.org/ro/crate/1.1/context"
WFRUN = "https://w3id.org/ro/terms/workflow-run#"
CODEMETA = "https://codemeta.github.io/terms/"
# Workflow-run terms, draft of 2023-2026, as the 0.5 profiles use them.
_WFRUN_TERMS = (
    *("ParameterConnection", "connection", "sourceParameter", "targetParameter"),
    *("environment", "containerImage", "ContainerImage", "registry", "tag", "sha256", "resourceUsage"),
)
CONTEXT: list[Any] = [
    CONTEXT_URL,
    {term: WFRUN + term for term in _WFRUN_TERMS} | {"buildInstructions": CODEMETA + "buildInstructions"},
]


class Profile(NamedTuple):
    """Something to conform to."""

    id: str
    name: str
    version: str


WORKFLOW_CRATE = Profile("https://w3id.org/workflowhub/workflow-ro-crate/1.0", "Workflow RO-Crate", "1.0")
RUN_PROFILES = (
    Profile("https://w3id.org/ro/wfrun/process/0.5", "Process Run Crate", "0.5"),
    Profile("https://w3id.org/ro/wfrun/workflow/0.5", "Workflow Run Crate", "0.5"),
    Profile("https://w3id.org/ro/wfrun/provenance/0.5", "Provenance Run Crate", "0.5"),
)
WORKFLOW_PROFILE = Profile(
    "https://bioschemas.org/profiles/ComputationalWorkflow/1.0-RELEASE", "ComputationalWorkflow profile", "1.0-RELEASE"
)
PARAMETER_PROFILE = Profile(
    "https://bioschemas.org/profiles/FormalParameter/1.0-RELEASE", "FormalParameter profile", "1.0-RELEASE"
)
CONDA_FILE = "https://docs.conda.io/projects/conda/en/stable/user-guide/tasks/manage-environments.html"

SNAKEMAKE = "https://snakemake.github.io"
SNAKEMAKE_LANGUAGE = "https://w3id.org/workflowhub/workflow-ro-crate#snakemake"
SNAKEMAKE_PAPER = "https://doi.org/10.12688/f1000research.29032.2"
EDAM = "http://edamontology.org/"
SPDX = "https://spdx.org/licenses/"
DOI = "https://doi.org/"

LICENCES = {
    "CC0-1.0": "May be used for anything, without conditions.",
    "CC-BY-4.0": "May be shared and adapted, as long as the authors are named.",
}

# Process Run Crate 0.5: plain strings, not references.
COMPLETED = "http://schema.org/CompletedActionStatus"
FAILED = "http://schema.org/FailedActionStatus"
# Process Run Crate 0.5 has CreateAction for what made the result, ActivateAction where there is no result.
MADE, MADE_NOTHING = "CreateAction", "ActivateAction"
SIF_IMAGE, DOCKER_IMAGE = WFRUN + "SIFImage", WFRUN + "DockerImage"
DOCKER_HUB = "docker.io"

# No vocabulary of resource use is registered; this name space is this project's, and each crate says what it means.
OWN = "urn:uuid:5a3c6f0e-8f5b-4b0e-9c1d-6d2f7c1e9a54#"
QUDT = "https://qudt.org/vocab/unit/"


class Measure(NamedTuple):
    """What is known of a job's use of the machine; `unit` is a QUDT unit."""

    key: str
    name: str
    unit: str
    meaning: str


WALL, CPU, MEMORY, SLURM_JOB, SLURM_PARTITION = MEASURES = (
    Measure("wall_s", "wall time", "SEC", "Time from the start of the job to its end, in seconds."),
    Measure("cpu_s", "CPU time", "SEC", "User and system time of all processes of the job, in seconds."),
    Measure(
        "peak_memory_mb",
        "peak memory",
        "MebiBYTE",
        "Largest resident memory of the processes of the job as Snakemake's benchmark samples it (max_rss), in MiB.",
    ),
    Measure("slurm_job_id", "Slurm job id", "UNITLESS", "Number that Slurm gave the job (SLURM_JOB_ID)."),
    Measure("slurm_partition", "Slurm partition", "UNITLESS", "Partition it ran in (SLURM_JOB_PARTITION)."),
)
# What Slurm says of one of its jobs, by the key in the record; that job may have done other rows and steps, too.
_OF_SLURM = "of the Slurm job, in which other rows and steps may have run, too"
SLURM_FACTS = {
    "state": Measure("slurm_state", "Slurm state", "UNITLESS", f"How it ended, in Slurm's word: {_OF_SLURM}."),
    "node": Measure("slurm_node", "Slurm node", "UNITLESS", f"Machine or machines {_OF_SLURM}."),
    "queue_s": Measure("slurm_queue_s", "Slurm queue time", "SEC", f"Time from submission to start {_OF_SLURM}."),
    "elapsed_s": Measure("slurm_elapsed_s", "Slurm elapsed time", "SEC", f"Time from start to end {_OF_SLURM}."),
    "cpu_s": Measure("slurm_cpu_s", "Slurm CPU time", "SEC", f"User and system time (TotalCPU) {_OF_SLURM}."),
    "max_rss_mb": Measure(
        "slurm_max_rss_mb", "Slurm peak memory", "MebiBYTE", f"Largest resident memory (MaxRSS) {_OF_SLURM}."
    ),
}
# Where a job ran; `environment` is the profile's nearest term, and must refer to a PropertyValue.
HOST, CONDA = "execution_environment", "conda_environment"
MEANINGS = {measure.key: (measure.name, measure.meaning) for measure in (*MEASURES, *SLURM_FACTS.values())} | {
    HOST: ("execution environment", "What held the program of the job: `host` is the machine's own software."),
    CONDA: ("conda environment", "Name of the conda environment that was active while the job ran."),
}

# Units of parameters, as descriptors write them, by their QUDT name; others stay text.
UNITS = {
    "1": "UNITLESS",
    "%": "PERCENT",
    "nm": "NanoM",
    "um": "MicroM",
    "µm": "MicroM",
    "mm": "MilliM",
    "ms": "MilliSEC",
    "s": "SEC",
    "min": "MIN",
    "h": "HR",
    "Hz": "HZ",
    "deg": "DEG",
    "rad": "RAD",
}

UNKNOWN_MEDIA = "application/octet-stream"
# By the format that a descriptor or the sheet names, then by suffix.
MEDIA_TYPES = {
    "ome-zarr": "application/vnd.zarr",
    "geff": "application/vnd.zarr",
    "ome-tiff": "image/tiff",
    "tiff": "image/tiff",
    "csv": "text/csv",
    "tsv": "text/tab-separated-values",
    "json": "application/json",
    "trackmate-xml": "application/xml",
    "png": "image/png",
    "gif": "image/gif",
    "mp4": "video/mp4",
    "txt": "text/plain",
}
SUFFIX_TYPES = {
    "": "text/plain",
    ".cff": "application/yaml",
    ".csv": "text/csv",
    ".gif": "image/gif",
    ".json": "application/json",
    ".md": "text/markdown",
    ".mp4": "video/mp4",
    ".png": "image/png",
    ".py": "text/x-python",
    ".sh": "application/x-sh",
    ".smk": "text/x-snakemake",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".toml": "application/toml",
    ".tsv": "text/tab-separated-values",
    ".txt": "text/plain",
    ".xml": "application/xml",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
    ".zarr": "application/vnd.zarr",
}
