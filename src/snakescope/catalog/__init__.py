"""Find images and describe them: from a folder or a collection of iRODS to rows of the sample sheet."""

from snakescope.catalog.folder import collect_folder
from snakescope.catalog.merge import Change
from snakescope.catalog.patterns import Pattern, compile_pattern
from snakescope.catalog.proposal import Proposal
from snakescope.catalog.report import CollectReport, render_report

__all__ = [
    "Change",
    "CollectReport",
    "Pattern",
    "Proposal",
    "collect_folder",
    "compile_pattern",
    "render_report",
]
