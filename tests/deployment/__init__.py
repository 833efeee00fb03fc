"""Real deployments to test against: Apptainer, images made of local files, conda environments, a cut network."""

from deployment.apptainer import Apptainer, missing

__all__ = ["Apptainer", "missing"]
