"""Where tools run: on this machine, in conda environments, in Apptainer images; and whether they can run there."""
