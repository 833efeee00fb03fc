"""Putting a study back into iRODS: what is put where, what it is annotated with, and what was there already."""
