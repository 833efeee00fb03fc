"""Which module may import which, and where outside libraries are allowed to appear."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import snakescope

PACKAGE = Path(snakescope.__file__).parent
ROOT = PACKAGE.parents[1]
# From the top down: a module imports from layers below its own.
LAYERS = [
    {"cli", "generate"},
    {"api"},
    {"bundle"},
    {"catalog", "runner", "study", "publish", "doctor"},
    {"cluster"},
    {"check", "compiler", "record", "images", "program", "workflow", "synthetic", "evaluate", "zone", "window"}
    | {"environments"},
    {"pipeline", "samples", "layout"},
    {"tool"},
    {"errors", "words"},
]
# Within a layer only these: the runner's `collect` is the command around the catalog, its `lint` and `demo` show the
# study, too. The plan names the images of its steps. The doctor asks what a run
# would ask.
SAME_LAYER = {("runner", "catalog"), ("runner", "study"), ("publish", "study"), ("workflow", "environments")} | {
    ("doctor", "runner")
}
# One library, one module.
BEHIND = {
    "zarr": {"images"},
    "yaozarrs": {"images"},
    "tifffile": {"images", "synthetic"},
    "nd2": {"images"},
    "liffile": {"images"},
    "czifile": {"images"},
    "rich": {"runner"},
    "yaml": {"tool"},
    "pydantic": {"tool", "pipeline", "runner", "study", "catalog", "cluster", "bundle"},
    "irods": {"zone"},
    "openpyxl": {"catalog"},
    "snakemake": {"cluster"},
    "pandas": set(),
    "skimage": set(),
    "matplotlib": set(),
    "obonet": {"study"},
    "rattler": {"environments"},
}
LIGHT = (
    *("snakescope.samples", "snakescope.layout", "snakescope.workflow", "snakescope.tool.expressions"),
    "snakescope.environments.check",
)
HEAVY = {
    "numpy",
    "pandas",
    "scipy",
    "zarr",
    "tifffile",
    "yaml",
    "pydantic",
    "snakemake",
    "rich",
    "skimage",
    "matplotlib",
}


def modules() -> Iterator[tuple[str, Path]]:
    """Every module with the part of the package that it belongs to."""
    for path in sorted(PACKAGE.rglob("*.py")):
        part = path.relative_to(PACKAGE).with_suffix("").parts[0]
        if part not in ("__init__", "assets"):
            yield part, path


def imported(path: Path) -> Iterator[tuple[str, int]]:
    """Full names that a module imports anywhere, also inside functions and for types only."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            base = node.module or ""
            yield from ((f"{base}.{alias.name}", node.lineno) for alias in node.names)


def layer(part: str) -> int:
    return next(index for index, parts in enumerate(LAYERS) if part in parts)


def edges() -> Iterator[tuple[str, str, str]]:
    """Importing part, imported part, place."""
    for part, path in modules():
        for name, line in imported(path):
            words = name.split(".")
            if words[0] == "snakescope" and len(words) > 1 and words[1] != "__version__" and words[1] != part:
                yield part, words[1], f"{path.relative_to(ROOT)}:{line}"


def test_every_module_has_its_layer() -> None:
    known = set().union(*LAYERS)
    assert {part for part, _ in modules()} <= known
    assert {target for _, target, _ in edges()} <= known


def test_imports_point_downwards_only() -> None:
    upwards = [f"{where}: {part} imports {target}" for part, target, where in edges() if layer(part) > layer(target)]
    assert upwards == []


def test_imports_within_a_layer_are_the_few_that_are_stated() -> None:
    found = {(part, target) for part, target, _ in edges() if layer(part) == layer(target)}
    assert found == SAME_LAYER


def test_parts_of_a_layer_do_not_import_each_other_in_a_ring() -> None:
    assert not {(b, a) for a, b in SAME_LAYER} & SAME_LAYER


@pytest.mark.parametrize("library", sorted(BEHIND))
def test_an_outside_library_stands_behind_its_module(library: str) -> None:
    found = {part for part, path in modules() for name, _ in imported(path) if name.split(".")[0] == library}
    assert found <= BEHIND[library]


def test_programs_import_images_program_and_errors_of_the_package_only() -> None:
    allowed = {"images", "program", "errors", "__version__"}
    for path in sorted((ROOT / "scripts").glob("*.py")):
        found = {name.split(".")[1] for name, _ in imported(path) if name.startswith("snakescope.")}
        assert found <= allowed, path.name


def test_the_logger_plugin_imports_nothing_of_the_package() -> None:
    plugin = PACKAGE.parent / "snakemake_logger_plugin_snakescope/__init__.py"
    assert not [name for name, _ in imported(plugin) if name.split(".")[0] == "snakescope"]


@pytest.mark.parametrize("module", LIGHT)
def test_what_every_job_imports_is_light(module: str) -> None:
    code = f"import sys, {module}; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not HEAVY & set(done.stdout.split())
