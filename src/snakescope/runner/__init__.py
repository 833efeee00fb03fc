"""Running things: studies through Snakemake, single tools, and the tools' own test cases.

Snakemake is only ever a process started from here.
"""
