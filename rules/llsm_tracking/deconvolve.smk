# GENERATED from config/pipelines/llsm_tracking.yaml and tools/deconvolve/tool.yaml -- do not edit.
# To change it, edit those files and run: snakescope compile llsm_tracking


rule deconvolve:
    input:
        image="results/{sample}/deskew/image.ome.zarr",
        psf=lambda wildcards: plan.declared("deconvolve", "psf", wildcards.sample),
    output:
        image=directory("results/{sample}/deconvolve/image.ome.zarr"),
        record="records/{sample}/deconvolve.json",
    log:
        "logs/{sample}/deconvolve.log",
    benchmark:
        "benchmarks/{sample}/deconvolve.tsv"
    conda:
        None if plan.mode == "apptainer" else "../../envs/deconvolve.yaml"
    container:
        plan.image("deconvolve")
    threads: 2
    resources:
        **plan.shell("deconvolve"),
        mem_mb=lambda wildcards, attempt: plan.resource(
            "deconvolve", "mem_mb", wildcards.sample, attempt
        ),
        runtime=lambda wildcards, attempt: plan.resource(
            "deconvolve", "runtime_min", wildcards.sample, attempt
        ),
    params:
        iterations=10,
        acceleration="biggs_andrews",
        background=98,
        edges="padded",
        psf_kind="auto",
        psf=lambda wildcards: plan.inputs("deconvolve", "psf", wildcards.sample),
        psf_key=lambda wildcards: plan.shared_key("deconvolve", "psf", wildcards.sample),
        image_facts=lambda wildcards: plan.facts(
            "deconvolve", "image", wildcards.sample
        ),
        environment=lambda wildcards, output: plan.environment("deconvolve"),
    message:
        "deconvolve {wildcards.sample}: Deconvolve"
    shell:
        """
        . workflow/job.sh
        job_begin deconvolve {wildcards.sample:q} {output.record:q} {log:q} rules/llsm_tracking/deconvolve.json
        job_environment {threads} {resources.tmpdir:q} {params.environment:q}
        job_upstream image image {input.image:q}
        job_shared psf {params.psf_key:q} {params.psf:q}
        job_output image {output.image:q} folder
        job_run python -m snakescope.program deconvolve \\
        --image {input.image:q} {params.image_facts:q} \\
        --psf {params.psf:q} \\
        --iterations={params.iterations:q} \\
        --acceleration={params.acceleration:q} \\
        --background={params.background:q} \\
        --edges={params.edges:q} \\
        --psf-kind={params.psf_kind:q} \\
        --out-image "$out_image" \\
        --threads {threads}
        """
