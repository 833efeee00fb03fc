"""Environments from a channel in a folder, without a network: real packages, really solved, by a stand-in for conda."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

STAND_IN = Path(__file__).with_name("conda_stand_in.py")
ACTIVATE = """\
export CONDA_PREFIX="$1" CONDA_SHLVL=1 PATH="$1/bin:$PATH"
for _script in "$1"/etc/conda/activate.d/*.sh; do
    if [ -e "$_script" ]; then . "$_script"; fi
done
"""


@dataclass(frozen=True)
class CondaSite:
    """A stand-in for conda (it says so), a channel in a folder, and the environment in which both are found."""

    root: Path
    channel: Path
    environment: Mapping[str, str]

    @property
    def url(self) -> str:
        """Address of the channel."""
        return self.channel.as_uri()

    def add_package(self, name: str, version: str, files: Mapping[str, str], needs: Sequence[str] = ()) -> None:
        """Build a package of text files, executable below ``bin/``, into the channel."""
        from rattler_build import Stage0Recipe, VariantConfig

        work = self.root / "recipes" / f"{name}-{version}"
        for place, text in files.items():
            path = work / "src" / place
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            path.chmod(0o755 if place.startswith("bin/") else 0o644)
        folders = sorted({place.split("/")[0] for place in files})
        recipe = {
            "package": {"name": name, "version": version},
            "source": {"path": "src"},
            "build": {"noarch": "generic", "script": [f"cp -R {folder} $PREFIX/" for folder in folders]},
            "requirements": {"run": list(needs)},
        }
        (work / "recipe.yaml").write_text(yaml.safe_dump(recipe))
        for variant in Stage0Recipe.from_file(work / "recipe.yaml").render(VariantConfig()):
            variant.run_build(output_dir=self.channel, channels=[])

    def write_environment(self, path: Path, *specs: str) -> Path:
        """Write an environment file that takes packages from the channel alone."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump({"channels": [self.url], "dependencies": list(specs)}))
        return path

    def pin(self, environment: Path, *packages: str) -> Path:
        """Write the pin file beside an environment file; packages are told as ``name-version``."""
        repodata = json.loads((self.channel / "noarch/repodata.json").read_text())
        known = {**repodata["packages"], **repodata["packages.conda"]}
        lines = ["# platform: linux-64", "@EXPLICIT"]
        for file, facts in sorted(known.items()):
            if f"{facts['name']}-{facts['version']}" in packages:
                lines.append(f"{self.url}/noarch/{file}#{facts['sha256']}")
        path = environment.with_suffix(".linux-64.pin.txt")
        path.write_text("\n".join(lines) + "\n")
        return path


def make_conda_site(root: Path) -> CondaSite:
    """A site with an empty channel."""
    (root / "bin").mkdir(parents=True)
    (root / "bin/conda").write_text(f"#!{sys.executable}\n{STAND_IN.read_text()}")
    (root / "bin/conda").chmod(0o755)
    (root / "bin/activate").write_text(ACTIVATE)
    path = os.pathsep.join([str(root / "bin"), os.environ["PATH"]])
    return CondaSite(root, root / "channel", {**os.environ, "PATH": path})


@pytest.fixture(scope="session")
def conda_site(tmp_path_factory: pytest.TempPathFactory) -> CondaSite:
    """One site for all tests; each adds packages of its own."""
    return make_conda_site(tmp_path_factory.mktemp("site") / "conda")
