"""Batch bioimage analysis on Snakemake: tools wrapped once, records and metadata written by themselves."""

__version__ = "0.1.0"
