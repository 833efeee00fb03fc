"""The analysis as an assay of omero-quay: a manifest that names the results, beside the studies they were made from.

Only for rows that say which study of omero-quay they belong to (columns ``quay_*``). The manifest is JSON, which
omero-quay reads as it reads YAML. Ids are made from names, so that the same study gives the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from snakescope.errors import InputError
from snakescope.samples import Row
from snakescope.study.export import FOLDER
from snakescope.tool.base import read_yaml
from snakescope.zone.address import Address

NAME = "omero-quay.json"
OVERVIEW = "Image Analysis Overview"


def quay_studies(rows: Iterable[Row]) -> dict[tuple[str, str], str]:
    """Investigation and study of omero-quay that rows belong to, with the owner."""
    found: dict[tuple[str, str], str] = {}
    for row in rows:
        key = row.cell("quay_investigation"), row.cell("quay_study")
        if all(key):
            found.setdefault(key, row.cell("quay_owner"))
    return found


def analysis_overview(root: Path) -> str:
    """How the analysis reads in REMBI; empty where the export does not tell."""
    try:
        told = read_yaml(root / FOLDER / "rembi.yaml").get("image_analysis")
    except InputError:
        return ""
    parts = told if isinstance(told, list) else [told]
    texts = [str(part.get("analysis_overview") or "") for part in parts if isinstance(part, dict)]
    return " ".join(" ".join(texts).split())


def manifest(root: Address, title: str, overview: str, studies: dict[tuple[str, str], str]) -> bytes:
    """An analysis assay for each study that the rows belong to.

    Parameters
    ----------
    root
        Collection of the published study.
    title, overview
        Of the published study, and what was done.
    studies
        See `quay_studies`.
    """
    told: dict[str, Any] = {"id": _id("man", root.path), "name": f"{root.name} analysis", "schema_version": "1.1"}
    told |= {"investigations": [], "studies": [], "assays": [], "quay_annotations": []}
    investigations: dict[str, dict[str, Any]] = {}
    for (investigation, study), owner in sorted(studies.items()):
        if investigation not in investigations:
            above = {"id": _id("inv", investigation), "name": investigation, "children": []}
            investigations[investigation] = above
            told["investigations"].append(above)
        assay_id, study_id = _id("ass", investigation, study, root.path), _id("stu", investigation, study)
        investigations[investigation]["children"].append(study_id)
        parent = {"id": study_id, "name": study, "parents": [_id("inv", investigation)], "children": [assay_id]}
        pairs = [{"key": OVERVIEW, "value": overview}] if overview else []
        pairs.append({"key": "snakescope crate", "value": f"{root.path}/ro-crate-metadata.json"})
        annotation = {"id": _id("ann", assay_id), "ann_type": "map_annotation", "namespace": "quay", "kv_pairs": pairs}
        told["quay_annotations"].append(annotation)
        owned = {"owner": owner} if owner else {}
        told["studies"].append(parent | owned)
        link = {"id": _id("imp", assay_id), "srce_url": str(Address(root.path) / "results"), **owned}
        assay = {"id": assay_id, "name": f"{root.name}_analysis", "description": title, "parents": [study_id]}
        told["assays"].append(assay | owned | {"importlinks": [link], "quay_annotations": [annotation["id"]]})
    return (json.dumps(told, indent=1, ensure_ascii=False) + "\n").encode("utf-8", errors="replace")


def _id(kind: str, *names: str) -> str:
    return f"{kind}_{hashlib.sha256(chr(0).join(names).encode('utf-8', errors='replace')).hexdigest()[:32]}"
