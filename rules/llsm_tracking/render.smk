# GENERATED from config/pipelines/llsm_tracking.yaml and tools/render/tool.yaml -- do not edit.
# To change it, edit those files and run: snakescope compile llsm_tracking


rule render:
    input:
        image=lambda wildcards: plan.inputs("render", "image", wildcards.series),
        table="results/{series}/track/tracks.csv",
    output:
        montage="results/{series}/render/montage.png",
        overlay="results/{series}/render/overlay.png",
        movie="results/{series}/render/movie.gif",
        record="records/{series}/render.json",
    log:
        "logs/{series}/render.log",
    benchmark:
        "benchmarks/{series}/render.tsv"
    conda:
        None if plan.mode == "apptainer" else "../../envs/render.yaml"
    container:
        plan.image("render")
    threads: 1
    resources:
        **plan.shell("render"),
        mem_mb=lambda wildcards, attempt: plan.resource(
            "render", "mem_mb", wildcards.series, attempt
        ),
        runtime=lambda wildcards, attempt: plan.resource(
            "render", "runtime_min", wildcards.series, attempt
        ),
    params:
        samples=lambda wildcards: plan.samples("render", wildcards.series),
        channel=0,
        title=lambda wildcards: plan.value("render", "title", wildcards.series),
        contrast_percentiles="1.0,99.8",
        color_by="time",
        panels=8,
        max_frames=120,
        tail_frames=10,
        rate_hz=6,
        image_facts=lambda wildcards: plan.facts("render", "image", wildcards.series),
        environment=lambda wildcards, output: plan.environment("render"),
    message:
        "render {wildcards.series}: Render"
    shell:
        """
        . workflow/job.sh
        job_begin render {wildcards.series:q} {output.record:q} {log:q} rules/llsm_tracking/render.json
        job_environment {threads} {resources.tmpdir:q} {params.environment:q}
        job_samples {params.samples:q}
        job_upstream image image {input.image:q}
        job_upstream table table {input.table:q}
        job_row title {params.title:q}
        job_output montage {output.montage:q}
        job_output overlay {output.overlay:q}
        job_output movie {output.movie:q}
        job_run python -m snakescope.program render \\
        --image {input.image:q} {params.image_facts:q} \\
        --table {input.table:q} \\
        --channel={params.channel:q} \\
        --title={params.title:q} \\
        --contrast-percentiles={params.contrast_percentiles:q} \\
        --color-by={params.color_by:q} \\
        --panels={params.panels:q} \\
        --max-frames={params.max_frames:q} \\
        --tail-frames={params.tail_frames:q} \\
        --rate-hz={params.rate_hz:q} \\
        --out-montage "$out_montage" \\
        --out-overlay "$out_overlay" \\
        --out-movie "$out_movie" \\
        --threads {threads}
        """
