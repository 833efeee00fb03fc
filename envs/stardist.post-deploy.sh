# Snakemake runs it in the new environment; the Apptainer definition, too.
python -m pip install --no-input stardist==0.9.2 'tensorflow[and-cuda]>=2.16,<3'
