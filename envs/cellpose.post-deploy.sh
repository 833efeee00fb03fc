# Snakemake runs it in the new environment; the Apptainer definition, too.
python -m pip install --no-input cellpose==4.2.1.1
