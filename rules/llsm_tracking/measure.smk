# GENERATED from config/pipelines/llsm_tracking.yaml and tools/measure/tool.yaml -- do not edit.
# To change it, edit those files and run: snakescope compile llsm_tracking


rule measure:
    input:
        table="results/{series}/track/tracks.csv",
        image=lambda wildcards: plan.inputs("measure", "image", wildcards.series),
    output:
        tracks="results/{series}/measure/tracks_measured.csv",
        spots="results/{series}/measure/spots_measured.csv",
        record="records/{series}/measure.json",
    log:
        "logs/{series}/measure.log",
    benchmark:
        "benchmarks/{series}/measure.tsv"
    conda:
        None if plan.mode == "apptainer" else "../../envs/measure.yaml"
    container:
        plan.image("measure")
    threads: 1
    resources:
        **plan.shell("measure"),
        mem_mb=lambda wildcards, attempt: plan.resource(
            "measure", "mem_mb", wildcards.series, attempt
        ),
        runtime=lambda wildcards, attempt: plan.resource(
            "measure", "runtime_min", wildcards.series, attempt
        ),
    params:
        samples=lambda wildcards: plan.samples("measure", wildcards.series),
        channel=0,
        msd_lags=4,
        least_spots=5,
        least_spots_alpha=8,
        image_facts=lambda wildcards: plan.facts("measure", "image", wildcards.series),
        environment=lambda wildcards, output: plan.environment("measure"),
    message:
        "measure {wildcards.series}: Measure tracks"
    shell:
        """
        . workflow/job.sh
        job_begin measure {wildcards.series:q} {output.record:q} {log:q} rules/llsm_tracking/measure.json
        job_environment {threads} {resources.tmpdir:q} {params.environment:q}
        job_samples {params.samples:q}
        job_upstream table table {input.table:q}
        job_upstream image image {input.image:q}
        job_output tracks {output.tracks:q}
        job_output spots {output.spots:q}
        job_run python -m snakescope.program measure \\
        --table {input.table:q} \\
        --image {input.image:q} {params.image_facts:q} \\
        --channel={params.channel:q} \\
        --msd-lags={params.msd_lags:q} \\
        --least-spots={params.least_spots:q} \\
        --least-spots-alpha={params.least_spots_alpha:q} \\
        --out-tracks "$out_tracks" \\
        --out-spots "$out_spots" \\
        --threads {threads}
        """
