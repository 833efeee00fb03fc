# Snakemake runs it in the new environment; the Apptainer definition, too.
python -m pip install --no-deps --no-input snakescope==0.1.0
