# Snakemake runs it in the new environment; the Apptainer definition, too.
# With pip alone, in this order: python-javabridge is built against the numpy that is there. Neither wxPython (windows)
# nor mysqlclient (databases) is needed without a display.
python -m pip install --no-input 'cython<3' numpy==1.26.4 'setuptools<70' wheel
python -m pip install --no-input --no-build-isolation python-javabridge
python -m pip install --no-input 'numpy<2' cellprofiler-core==4.2.8.1
python -m pip install --no-input --no-deps cellprofiler==4.2.8.1
python - <<'END' | xargs python -m pip install --no-input 'numpy<2'
import importlib.metadata as metadata

left_out = ("wxpython", "mysqlclient", "cellprofiler-core")
for line in metadata.requires("cellprofiler"):
    requirement = line.partition(";")[0].replace(" ", "").replace("(", "").replace(")", "")
    if "extra" not in line and not requirement.lower().startswith(left_out):
        print(requirement)
END
