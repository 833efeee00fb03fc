"""Validators that others wrote, each behind one function that returns its findings; no finding means valid.

Nothing here knows what this project writes or how. No function touches the network.
"""

from __future__ import annotations

import atexit
import functools
import io
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ome_types
import requests
import rocrate
import rocrate_validator.utils.log
import tifffile
import yaml
import yaozarrs
from geff.core_io import read_to_memory
from geff.validate.data import ValidationConfig
from ome_zarr_models import open_ome_zarr
from ome_zarr_models.exceptions import ValidationWarning
from pydantic import BaseModel, ValidationError
from rembi_mifa.rembi import RembiStudy
from requests.adapters import BaseAdapter, HTTPAdapter
from requests_cache import CachedSession
from rocrate_validator.models import Validator
from urllib3 import HTTPResponse
from yaozarrs._storage import StorageValidationWarning

RUN_CRATE_PROFILE = "provenance-run-crate-0.5"
# It wants an absolute URI for every application, which a Snakefile inside the crate cannot have.
RUN_CRATE_SKIPPED = ("process-run-crate-0.5_5.1",)
CRATE_CONTEXT = "https://w3id.org/ro/crate/1.1/context"
ZARR_FILES = ("zarr.json", ".zgroup", ".zarray", ".zattrs")


def rembi(path: Path) -> list[str]:
    """Judge a REMBI study (YAML) with rembi-mifa, and name every key that its model reads over in silence."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        study = RembiStudy.model_validate(document)
    except yaml.YAMLError as error:
        return [f"not YAML: {error}"]
    except ValidationError as error:
        return [f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()]
    return [f"{key}: ignored key" for key in _ignored(study, document)]


def _ignored(model: object, document: object, prefix: str = "") -> Iterator[str]:
    """Dotted names of the keys of a document that have no field in the model made from it."""
    if isinstance(document, dict) and isinstance(model, BaseModel):
        for key, value in document.items():
            if key in type(model).model_fields:
                yield from _ignored(getattr(model, key), value, f"{prefix}{key}.")
            else:
                yield f"{prefix}{key}"
    elif isinstance(document, list) and isinstance(model, list):
        for index, (made, value) in enumerate(zip(model, document, strict=True)):
            yield from _ignored(made, value, f"{prefix}{index}.")


def run_crate(folder: Path) -> list[str]:
    """Judge a crate with roc-validator as a Provenance Run Crate 0.5: all that is required and recommended."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "ConjunctiveGraph is deprecated", DeprecationWarning)
        result = _crate_validator().validate(folder)
    findings = [f"{i.identifier} {i.severity.name}: {i.message} [{i.violatingEntity}]" for i in result.get_issues()]
    skipped = {check.identifier for check in result.skipped_checks} - set(RUN_CRATE_SKIPPED)
    return sorted(findings) + [f"{check}: not checked" for check in sorted(skipped)]


@functools.cache
def _crate_validator() -> Validator:
    """Return one validator for all crates: it reads its profiles once, and never leaves its cache for the network."""
    return Validator(
        {
            "rocrate_uri": None,
            "profile_identifier": RUN_CRATE_PROFILE,
            "requirement_severity": "RECOMMENDED",
            "skip_checks": list(RUN_CRATE_SKIPPED),
            "offline": True,
            "cache_path": _context_cache(),
        }
    )


def _context_cache() -> Path:
    """Return an HTTP cache that holds the RO-Crate 1.1 context alone, as the rocrate package carries it."""
    folder = tempfile.TemporaryDirectory(prefix="crate-context-")
    atexit.register(folder.cleanup)
    atexit.register(_forget_log)
    path = Path(folder.name) / "http"
    with CachedSession(cache_name=str(path), backend="sqlite", expire_after=-1) as session:
        session.mount(CRATE_CONTEXT, _LocalContext())
        session.get(CRATE_CONTEXT)
    return path


def _forget_log() -> None:
    """Keep roc-validator from printing at exit what it logged of crates that are wrong on purpose."""
    stream: io.StringIO = vars(rocrate_validator.utils.log)["__log_stream__"]
    stream.seek(0)
    stream.truncate()


class _LocalContext(BaseAdapter):
    """Answers every request with the context in the rocrate package."""

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        body = (Path(rocrate.__file__).parent / "data/ro-crate.jsonld").read_bytes()
        raw = HTTPResponse(
            io.BytesIO(body),
            headers={"Content-Type": "application/ld+json"},
            status=200,
            reason="OK",
            preload_content=False,
            request_url=request.url,
            request_method="GET",
        )
        return HTTPAdapter().build_response(request, raw)

    def close(self) -> None: ...


def ome_zarr(store: Path) -> list[str]:
    """Judge an OME-Zarr store with yaozarrs and with ome-zarr-models; what they warn of is a finding too."""
    return [
        *_raised("yaozarrs", lambda: yaozarrs.validate_zarr_store(store), StorageValidationWarning),
        *_raised("ome-zarr-models", lambda: open_ome_zarr(store), ValidationWarning),
    ]


def ome_tiff(path: Path) -> list[str]:
    """Judge the OME-XML of a TIFF file with the schema in ome-types."""
    return _raised("ome-types", lambda: ome_types.validate_xml(_description(path), warn_on_schema_update=False))


def geff(store: Path) -> list[str]:
    """Judge a graph of tracks with geff: its structure, and that edges, tracks and trees agree with the nodes."""
    every = ValidationConfig(graph=True, sphere=True, ellipsoid=True, lineage=True, tracklet=True)
    return _raised("geff", lambda: read_to_memory(store, data_validation=every))


def _description(path: Path) -> str:
    """Text that a TIFF file carries with its first image."""
    with tifffile.TiffFile(path) as tiff:
        return tiff.pages.first.description


def _raised(name: str, judge: Callable[[], object], warning: type[Warning] | None = None) -> list[str]:
    """Call a validator that says what is wrong by raising (or by a warning of its own class)."""
    with warnings.catch_warnings():
        if warning:
            warnings.simplefilter("error", warning)
        try:
            judge()
        except Exception as error:  # what they raise ranges from ValueError over KeyError to classes of their own
            return [f"{name}: {type(error).__name__}: {error}"]
    return []


def every_image(root: Path) -> tuple[list[str], Counter[str]]:
    """Judge every image and every graph below a folder, by the validators of its format.

    Symbolic links are followed; nothing is judged twice. A Zarr store is judged as GEFF where it says that it is
    one (or is named so) and as OME-Zarr otherwise.

    Returns
    -------
    Findings, each with the path below `root`, and how many of each kind were judged: `ome_zarr`, `geff`,
    `ome_tiff`; `plain_tiff` counts the TIFF files without OME-XML, which nobody judges.
    """
    judges: dict[str, Callable[[Path], list[str]]] = {"ome_zarr": ome_zarr, "geff": geff, "ome_tiff": ome_tiff}
    findings, judged = [], Counter[str]()
    for kind, path in _images(root, set()):
        judged[kind] += 1
        if kind in judges:
            findings += [f"{path.relative_to(root)}: {finding}" for finding in judges[kind](path)]
    return findings, judged


def _images(path: Path, seen: set[Path]) -> Iterator[tuple[str, Path]]:
    """Kind and path of each store and TIFF file at or below a path; what lies inside a store belongs to it."""
    if path.exists():
        if path.resolve() in seen:
            return
        seen.add(path.resolve())
    if kind := _kind(path):
        yield kind, path
    elif path.is_dir():
        for entry in sorted(path.iterdir()):
            yield from _images(entry, seen)


def _kind(path: Path) -> str | None:
    """What a path is or is named to be; a broken file counts as the format that would have been judged."""
    metadata = [path / name for name in ZARR_FILES if (path / name).is_file()]
    if metadata or path.suffix in (".zarr", ".geff"):
        says = any('"geff"' in file.read_text(encoding="utf-8", errors="replace") for file in metadata)
        return "geff" if says or path.suffix == ".geff" else "ome_zarr"
    if path.suffix.lower() not in (".tif", ".tiff"):
        return None
    try:
        plain = "http://www.openmicroscopy.org/Schemas/OME" not in _description(path)
    except (OSError, tifffile.TiffFileError):
        plain = False
    return "plain_tiff" if plain and not path.stem.lower().endswith(".ome") else "ome_tiff"
