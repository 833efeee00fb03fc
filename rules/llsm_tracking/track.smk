# GENERATED from config/pipelines/llsm_tracking.yaml and tools/track/tool.yaml -- do not edit.
# To change it, edit those files and run: snakescope compile llsm_tracking


rule track:
    input:
        points=lambda wildcards: plan.inputs("track", "points", wildcards.series),
    output:
        tracks=directory("results/{series}/track/tracks.geff"),
        table="results/{series}/track/tracks.csv",
        trackmate="results/{series}/track/tracks.xml",
        record="records/{series}/track.json",
    log:
        "logs/{series}/track.log",
    benchmark:
        "benchmarks/{series}/track.tsv"
    conda:
        None if plan.mode == "apptainer" else "../../envs/track.yaml"
    container:
        plan.image("track")
    threads: 1
    resources:
        **plan.shell("track"),
        mem_mb=lambda wildcards, attempt: plan.resource(
            "track", "mem_mb", wildcards.series, attempt
        ),
        runtime=lambda wildcards, attempt: plan.resource(
            "track", "runtime_min", wildcards.series, attempt
        ),
    params:
        samples=lambda wildcards: plan.samples("track", wildcards.series),
        max_distance_um=1.0,
        method="laptrack",
        gap_frames=1,
        splitting="false",
        merging="false",
        min_length=1,
        points_facts=lambda wildcards: plan.facts("track", "points", wildcards.series),
        environment=lambda wildcards, output: plan.environment("track"),
    message:
        "track {wildcards.series}: Track"
    shell:
        """
        . workflow/job.sh
        job_begin track {wildcards.series:q} {output.record:q} {log:q} rules/llsm_tracking/track.json
        job_environment {threads} {resources.tmpdir:q} {params.environment:q}
        job_samples {params.samples:q}
        job_upstream points points {input.points:q}
        job_output tracks {output.tracks:q} folder
        job_output table {output.table:q}
        job_output trackmate {output.trackmate:q}
        job_run python -m snakescope.program track \\
        --points {input.points:q} {params.points_facts:q} \\
        --max-distance-um={params.max_distance_um:q} \\
        --method={params.method:q} \\
        --gap-frames={params.gap_frames:q} \\
        --splitting={params.splitting:q} \\
        --merging={params.merging:q} \\
        --min-length={params.min_length:q} \\
        --out-tracks "$out_tracks" \\
        --out-table "$out_table" \\
        --out-trackmate "$out_trackmate" \\
        --threads {threads}
        """
