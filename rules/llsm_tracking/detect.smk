# GENERATED from config/pipelines/llsm_tracking.yaml and tools/detect_spots/tool.yaml -- do not edit.
# To change it, edit those files and run: snakescope compile llsm_tracking


rule detect:
    input:
        image="results/{sample}/deconvolve/image.ome.zarr",
    output:
        points="results/{sample}/detect/points.csv",
        record="records/{sample}/detect.json",
    log:
        "logs/{sample}/detect.log",
    benchmark:
        "benchmarks/{sample}/detect.tsv"
    conda:
        None if plan.mode == "apptainer" else "../../envs/detect_spots.yaml"
    container:
        plan.image("detect")
    threads: 1
    resources:
        **plan.shell("detect"),
        mem_mb=lambda wildcards, attempt: plan.resource(
            "detect", "mem_mb", wildcards.sample, attempt
        ),
        runtime=lambda wildcards, attempt: plan.resource(
            "detect", "runtime_min", wildcards.sample, attempt
        ),
    params:
        radius_um=0.3,
        method="log",
        threshold=100,
        polarity="bright",
        channel=0,
        subpixel="true",
        image_facts=lambda wildcards: plan.facts("detect", "image", wildcards.sample),
        environment=lambda wildcards, output: plan.environment("detect"),
    message:
        "detect {wildcards.sample}: Detect spots"
    shell:
        """
        . workflow/job.sh
        job_begin detect {wildcards.sample:q} {output.record:q} {log:q} rules/llsm_tracking/detect.json
        job_environment {threads} {resources.tmpdir:q} {params.environment:q}
        job_upstream image image {input.image:q}
        job_output points {output.points:q}
        job_run python -m snakescope.program detect_spots \\
        --image {input.image:q} {params.image_facts:q} \\
        --radius-um={params.radius_um:q} \\
        --method={params.method:q} \\
        --threshold={params.threshold:q} \\
        --polarity={params.polarity:q} \\
        --channel={params.channel:q} \\
        --subpixel={params.subpixel:q} \\
        --out-points "$out_points" \\
        --threads {threads}
        """
