# GENERATED from config/pipelines/test.yaml and tools/blur/tool.yaml -- do not edit.
# To change it, edit those files and run: snakescope compile test


rule blur:
    input:
        image=lambda wildcards: plan.declared("blur", "image", wildcards.sample),
        psf=lambda wildcards: plan.declared("blur", "psf", wildcards.sample),
        program="tools/blur/blur.py",
    output:
        image=temp(directory("results/{sample}/blur/image.ome.zarr")),
        record="records/{sample}/blur.json",
    log:
        "logs/{sample}/blur.log",
    benchmark:
        "benchmarks/{sample}/blur.tsv"
    conda:
        None if plan.mode == "apptainer" else "../../envs/blur.yaml"
    container:
        plan.image("blur")
    threads: 4
    resources:
        **plan.shell("blur"),
        mem_mb=lambda wildcards, attempt: plan.resource(
            "blur", "mem_mb", wildcards.sample, attempt
        ),
        runtime=lambda wildcards, attempt: plan.resource(
            "blur", "runtime_min", wildcards.sample, attempt
        ),
        disk_mb=lambda wildcards, attempt: plan.resource(
            "blur", "disk_mb", wildcards.sample, attempt
        ),
        gpu=1,
    params:
        sigma_um=lambda wildcards: plan.value("blur", "sigma_um", wildcards.sample),
        method="fast",
        range="1.0,99.5",
        clip="true",
        note=lambda wildcards: 'it\'s "this" {and} that, 5 \xb5m \U0001f600',
        image=lambda wildcards: plan.inputs("blur", "image", wildcards.sample),
        image_known=lambda wildcards: plan.known("blur", "image", wildcards.sample),
        psf=lambda wildcards: plan.inputs("blur", "psf", wildcards.sample),
        psf_key=lambda wildcards: plan.shared_key("blur", "psf", wildcards.sample),
        image_facts=lambda wildcards: plan.facts("blur", "image", wildcards.sample),
        environment=lambda wildcards, output: plan.environment("blur"),
    message:
        'blur {wildcards.sample}: Blur {{fast}} "x"'
    shell:
        """
        . workflow/job.sh
        job_begin blur {wildcards.sample:q} {output.record:q} {log:q} rules/test/blur.json
        job_environment {threads} {resources.tmpdir:q} {params.environment:q}
        job_source image {params.image_known:q} -- {params.image:q}
        job_shared psf {params.psf_key:q} {params.psf:q}
        job_row sigma_um {params.sigma_um:q}
        job_output image {output.image:q} folder
        job_run python {input.program:q} \\
        --image {params.image:q} {params.image_facts:q} \\
        --psf {params.psf:q} \\
        --sigma-um={params.sigma_um:q} \\
        --method={params.method:q} \\
        --range={params.range:q} \\
        --clip={params.clip:q} \\
        --note={params.note:q} \\
        --out-image "$out_image" \\
        --threads {threads}
        """
