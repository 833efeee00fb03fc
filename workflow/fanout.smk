# The outer workflow of a run in shards: one rule for each stage of the plan, one job for each of its shards. A job runs
# the ordinary workflow over its rows inside one allocation. What there is to do stands in .snakescope/cluster/plan.json.
import snakemake
from snakemake.scheduling.job_scheduler import JobScheduler
from snakescope import layout
from snakescope.cluster.outer import OuterPlan, extra_words
from snakescope.workflow import prepare_jobs

prepare_jobs(snakemake.__version__, JobScheduler)
outer = OuterPlan.read()
extra = extra_words(workflow.deployment_settings)


wildcard_constraints:
    stage="[^/-]+",
    shard="[^/]+",


rule all:
    input:
        outer.targets(),


stage_cap = getattr(workflow.global_resources.get("irods"), "value", None)
stage_where = workflow.resource_settings.overwrite_resources.get("stage_in", {})


# Brings the images of a job that lie in iRODS here. Runs where Snakemake runs, unless the profile gives it a partition.
rule stage_in:
    input:
        outer.staging_inputs,
    output:
        layout.staged_mark(outer.digest, "{stage}", "{shard}"),
    log:
        f"{layout.cluster_folder(outer.digest)}/{{stage}}-{{shard}}.staging.log",
    priority: 5
    localrule: "slurm_partition" not in stage_where
    resources:
        irods=lambda wildcards: outer.staging_connections(wildcards, stage_cap),
    params:
        words=outer.staging_words,
    message:
        "stage_in {wildcards.stage}/{wildcards.shard}"
    shell:
        """
        exec python -m snakescope.cluster.staging {params.words:q} --connections {resources.irods} >{log:q} 2>&1
        """


for stage in outer.stages:

    rule:
        name:
            stage.name
        input:
            stage.inputs,
        output:
            stage.done,
        log:
            stage.log,
        priority: stage.priority
        threads: stage.cores
        resources:
            **stage.resources(),
            mem_mb=stage.mem_mb,
            runtime=stage.runtime,
            tools_mb=stage.tools_mb,
            growth=stage.growth,
            final=lambda wildcards, attempt: int(
                attempt > workflow.execution_settings.retries
            ),
        params:
            plain=True,
            words=stage.words,
            about=stage.about,
            extra=["--extra", *extra] if extra else [],
        message:
            "{params.about}"
        shell:
            """
            exec python -m snakescope.cluster.shard {params.words:q} --cores {threads} --mem-mb {resources.tools_mb} \\
            --growth {resources.growth} --final {resources.final} {params.extra:q} >{log:q} 2>&1
            """
