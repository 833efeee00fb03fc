# GENERATED from config/pipelines/test.yaml and tools/spot/tool.yaml -- do not edit.
# To change it, edit those files and run: snakescope compile test


rule spot:
    input:
        image="results/{sample}/blur/image.ome.zarr",
    output:
        points="results/{sample}/spot/points.csv",
        report="results/{sample}/spot/report.txt",
        record="records/{sample}/spot.json",
    log:
        "logs/{sample}/spot.log",
    benchmark:
        "benchmarks/{sample}/spot.tsv"
    container:
        plan.image("spot")
    threads: 1
    resources:
        **plan.shell("spot"),
        mem_mb=lambda wildcards, attempt: plan.resource(
            "spot", "mem_mb", wildcards.sample, attempt
        ),
        runtime=lambda wildcards, attempt: plan.resource(
            "spot", "runtime_min", wildcards.sample, attempt
        ),
    params:
        radius_um=0.25,
        label='say "hi"',
        tag="",
        optional_0=lambda wildcards: plan.optional_words("spot", 0, wildcards.sample),
        optional_1=lambda wildcards: plan.optional_words("spot", 1, wildcards.sample),
        environment=lambda wildcards, output: plan.environment("spot"),
    message:
        "spot {wildcards.sample}: Spot"
    shell:
        """
        . workflow/job.sh
        job_begin spot {wildcards.sample:q} {output.record:q} {log:q} rules/test/spot.json
        job_environment {threads} {resources.tmpdir:q} {params.environment:q}
        job_upstream image image {input.image:q}
        job_output points {output.points:q}
        job_output report {output.report:q}
        job_run spot {input.image:q} \\
        --radius={params.radius_um:q}um \\
        --label {params.label:q} \\
        --tag {params.tag:q} {params.optional_0:q} {params.optional_1:q} -o "$out_points" \\
        --report="$out_report" '{{'braces'}}'' and '"'"'quotes'"'"' and "more" and \\ and a --flag in the middle of a long text' -j{threads} 3 python ''
        """
