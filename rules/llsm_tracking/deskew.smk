# GENERATED from config/pipelines/llsm_tracking.yaml and tools/deskew/tool.yaml -- do not edit.
# To change it, edit those files and run: snakescope compile llsm_tracking


rule deskew:
    input:
        image=lambda wildcards: plan.declared("deskew", "image", wildcards.sample),
    output:
        image=directory("results/{sample}/deskew/image.ome.zarr"),
        record="records/{sample}/deskew.json",
    log:
        "logs/{sample}/deskew.log",
    benchmark:
        "benchmarks/{sample}/deskew.tsv"
    conda:
        None if plan.mode == "apptainer" else "../../envs/deskew.yaml"
    container:
        plan.image("deskew")
    threads: 1
    resources:
        **plan.shell("deskew"),
        mem_mb=lambda wildcards, attempt: plan.resource(
            "deskew", "mem_mb", wildcards.sample, attempt
        ),
        runtime=lambda wildcards, attempt: plan.resource(
            "deskew", "runtime_min", wildcards.sample, attempt
        ),
    params:
        angle_deg=31.5,
        fill=98,
        image=lambda wildcards: plan.inputs("deskew", "image", wildcards.sample),
        image_known=lambda wildcards: plan.known("deskew", "image", wildcards.sample),
        image_facts=lambda wildcards: plan.facts("deskew", "image", wildcards.sample),
        environment=lambda wildcards, output: plan.environment("deskew"),
    message:
        "deskew {wildcards.sample}: Deskew"
    shell:
        """
        . workflow/job.sh
        job_begin deskew {wildcards.sample:q} {output.record:q} {log:q} rules/llsm_tracking/deskew.json
        job_environment {threads} {resources.tmpdir:q} {params.environment:q}
        job_source image {params.image_known:q} -- {params.image:q}
        job_output image {output.image:q} folder
        job_run python -m snakescope.program deskew \\
        --image {params.image:q} {params.image_facts:q} \\
        --angle-deg={params.angle_deg:q} \\
        --fill={params.fill:q} \\
        --out-image "$out_image" \\
        --threads {threads}
        """
