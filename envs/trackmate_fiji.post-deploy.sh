# Snakemake runs it in the new environment; the Apptainer definition, too. The package calls Fiji's launcher ImageJ.
launcher=$(command -v ImageJ)
ln -sf ImageJ "${launcher%/*}/ImageJ-linux64"
