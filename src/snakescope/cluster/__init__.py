"""A pipeline on a cluster in few fat jobs: rows in shards, steps in stages, and what came of each job.

Knows Slurm and the compiled plan; knows nothing of the command line or of how Snakemake is started for a run. Modules
that a cluster job imports (`shard`) stay light; what only the planning needs is imported by nobody else.
"""
