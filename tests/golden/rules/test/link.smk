# GENERATED from config/pipelines/test.yaml and tools/link/tool.yaml -- do not edit.
# To change it, edit those files and run: snakescope compile test


rule link:
    input:
        points=lambda wildcards: plan.inputs("link", "points", wildcards.series_c),
    output:
        tracks=directory("results/{series_c}/link/tracks.geff"),
        record="records/{series_c}/link.json",
    log:
        "logs/{series_c}/link.log",
    benchmark:
        "benchmarks/{series_c}/link.tsv"
    container:
        plan.image("link")
    threads: 1
    resources:
        **plan.shell("link"),
        mem_mb=lambda wildcards, attempt: plan.resource(
            "link", "mem_mb", wildcards.series_c, attempt
        ),
        runtime=lambda wildcards, attempt: plan.resource(
            "link", "runtime_min", wildcards.series_c, attempt
        ),
    params:
        samples=lambda wildcards: plan.samples("link", wildcards.series_c),
        points_t_index=lambda wildcards: plan.fact(
            "link", "points", "t_index", wildcards.series_c
        ),
        environment=lambda wildcards, output: plan.environment("link"),
    message:
        "link {wildcards.series_c}: Link"
    shell:
        """
        . workflow/job.sh
        job_begin link {wildcards.series_c:q} {output.record:q} {log:q} rules/test/link.json
        job_environment {threads} {resources.tmpdir:q} {params.environment:q}
        job_samples {params.samples:q}
        job_upstream points points {input.points:q}
        job_output tracks {output.tracks:q} folder
        job_home
        job_model NET 'models/my {{net}}.pt' aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
        job_version link '--version {{x}}'
        job_run link {input.points:q} --t {params.points_t_index:q} "$out_tracks"
        """
