"""The record of the run: a Provenance Run Crate, written while the jobs go by."""
