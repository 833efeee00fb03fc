# Brings the images of rows that lie in iRODS here, checked against the catalogue, for the first step that reads them.
# Runs where Snakemake runs, unless the profile gives it a partition: set-resources: stage_in: slurm_partition: NAME
from snakescope.window import DEFAULT_SIZE, hold_window

stage_window = int(config.get("stage_window", DEFAULT_SIZE))
keep_staged = config.get("keep_staged", False) or workflow.storage_settings.notemp
stage_cap = getattr(workflow.global_resources.get("irods"), "value", None)
plan.require_window(stage_window)
hold_window(
    JobScheduler, stage_window, plan.remote_rows, plan.raw_steps, keep=keep_staged
)
stage_where = workflow.resource_settings.overwrite_resources.get("stage_in", {})


rule stage_in:
    output:
        (lambda folder: folder if keep_staged else temp(folder))(
            directory("staged/{sample}")
        ),
    log:
        "logs/{sample}/stage_in.log",
    benchmark:
        "benchmarks/{sample}/stage_in.tsv"
    wildcard_constraints:
        sample="[^/]+",
    priority: 50
    localrule: "slurm_partition" not in stage_where
    resources:
        irods=lambda wildcards: plan.stage_connections(wildcards.sample, stage_cap),
        disk_mb=lambda wildcards: plan.stage_disk_mb(wildcards.sample),
    params:
        words=lambda wildcards: plan.stage_words(wildcards.sample),
    message:
        "stage_in {wildcards.sample}"
    shell:
        """
        exec python -m snakescope.zone.stage {params.words:q} --to={output:q} --connections={resources.irods} >{log:q} 2>&1
        """
