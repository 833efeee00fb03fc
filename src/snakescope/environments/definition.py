"""The Apptainer definition of a tool's image, written from the tool's conda environment. Pure: names in, text out."""

from __future__ import annotations

from collections.abc import Iterable

# Has a shell, certificates and micromamba, which makes conda environments.
BASE = "mambaorg/micromamba:2.3-debian12-slim"
# Programs that no conda channel has, and the packages of Debian with them.
DEBIAN = {"xvfb-run": "xvfb", "xauth": "xauth"}


def definition(name: str, tool: str, programs: Iterable[str] = (), *, pinned: bool, after: bool) -> str:
    """Text of ``envs/<name>.def``.

    Parameters
    ----------
    name
        Stem of the environment's files under ``envs/``.
    tool
        Id of the tool.
    programs
        Programs that it starts; of these, what shows windows where there is no display comes from Debian.
    pinned
        Whether there is a file with exact packages, which is then used.
    after
        Whether there is a script for the environment when it is made.
    """
    packages = f"envs/{name}.linux-64.pin.txt" if pinned else f"envs/{name}.yaml"
    kept = "/opt/environment.txt" if pinned else "/opt/environment.yaml"
    script = [f"    envs/{name}.post-deploy.sh /opt/post-deploy.sh"] if after else []
    run = ["    PATH=/opt/environment/bin:$PATH sh -eu /opt/post-deploy.sh"] if after else []
    packages_of_debian = [DEBIAN[program] for program in programs if program in DEBIAN]
    display = [
        "    apt-get update -qq",
        f"    apt-get install -y --no-install-recommends {' '.join(packages_of_debian)}",
        "    rm -rf /var/lib/apt/lists/*",
    ]
    lines = [
        f"# GENERATED from {packages} -- do not edit.",
        "# To change it, edit that file and run: make compile",
        f"# To build it: apptainer build envs/{name}.sif envs/{name}.def",
        "Bootstrap: docker",
        f"From: {BASE}",
        "",
        "%files",
        f"    {packages} {kept}",
        *script,
        "",
        "%post",
        *(display if packages_of_debian else []),
        f"    micromamba create --yes --quiet --prefix /opt/environment --file {kept}",
        *run,
        "    micromamba clean --yes --all",
        "",
        "%environment",
        "    export PATH=/opt/environment/bin:$PATH LC_ALL=C.UTF-8",
        "",
        "%labels",
        f"    snakescope.tool {tool}",
        f"    snakescope.environment {packages}",
    ]
    return "\n".join(lines) + "\n"
