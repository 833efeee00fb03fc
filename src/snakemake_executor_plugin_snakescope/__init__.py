"""A Snakemake executor that gives each job to Slurm with one ``sbatch`` and follows all of them with one ``squeue``.

Snakemake finds it by the name of this package. It starts Snakemake once in a job (or not at all, where a rule says
``params: plain=True``), takes over jobs of its own that are still in the queue, and tells apart why one was ended.
Little is imported here, since Snakemake imports every plugin at every start, in every job, too.
"""

from dataclasses import dataclass, field

from snakemake_interface_executor_plugins.settings import CommonSettings, ExecutorSettingsBase

from snakemake_executor_plugin_snakescope.executor import Executor

__all__ = ["Executor", "ExecutorSettings", "common_settings"]


# Snakemake makes options of these fields and needs their types as such, not as text.
@dataclass
class ExecutorSettings(ExecutorSettingsBase):  # type: ignore[misc]
    """What a profile may set, as ``snakescope-poll-s`` and so on."""

    poll_s: int = field(
        default=10,
        metadata={"help": "Seconds between two questions to Slurm at first; up to 60 when nothing changes for long."},
    )
    margin_mb: int = field(
        default=400,
        metadata={"help": "Memory in MB that a job gets beside the rule's mem_mb: for the Snakemake around the tool."},
    )


common_settings = CommonSettings(
    non_local_exec=True,
    implies_no_shared_fs=False,
    job_deploy_sources=False,
    # the environment travels with sbatch; a job script would show it
    pass_envvar_declarations_to_cmd=False,
    auto_deploy_default_storage_provider=False,
    init_seconds_before_status_checks=0,
)
