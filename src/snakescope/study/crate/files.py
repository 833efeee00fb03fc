"""Files and folders of the run crate, and those that it only tells of."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from snakescope.study.crate.graph import Graph, Ids, refs
from snakescope.study.crate.plan import Slot, examples
from snakescope.study.crate.words import local_id, media_type, path_id, time
from snakescope.study.inventory import StudyFile, Used

_FOLDER = "A folder that is one {}; its sha256 is that of the list that sha256sum prints of its files, sorted by path."
_REFERENCE = "Lies in iRODS and is not part of this crate."
_ELSEWHERE = "Not part of this crate; what is known of it."


class Files:
    """Writes each file once and knows its id afterwards.

    Parameters
    ----------
    graph
        The crate.
    folder
        For lists too long for memory.
    """

    def __init__(self, graph: Graph, folder: Path) -> None:
        self._graph = graph
        self._ids: dict[str, str] = {}
        self.parts = Ids(folder, "parts")

    def add(self, file: StudyFile, slots: Iterable[Slot], more: Mapping[str, Any] | None = None) -> str:
        """Write a file or folder that is in the crate, or told of by its address; none is written again."""
        if file.path in self._ids:
            return self._ids[file.path]
        type_ = "Dataset" if file.folder else "File"
        properties = {
            "name": file.path,
            "description": _FOLDER.format("graph" if file.format == "geff" else "image") if file.folder else None,
            "encodingFormat": media_type(file.path, file.format),
            "contentSize": _size(file.bytes),
            "sha256": file.sha256,
            "contentUrl": file.address,
            "dateModified": time(file.created_at),
            "exampleOfWork": examples(slots, type_),
            "isBasedOn": self._sources(file),
        }
        if file.by_reference:
            told = " ".join(filter(None, [_REFERENCE, properties["description"]]))
            name = local_id("raw", file.path.removeprefix("raw/"))
            self._graph.add(name, type_, {**properties, "description": told})
            self._ids[file.path] = name
            return name
        name = path_id(file.path, folder=file.folder)
        self._graph.add(name, type_, {**properties, **(more or {})})
        self.note(file.path, name)
        return name

    def note(self, path: str, name: str) -> None:
        """Count something as part of the crate that is written elsewhere."""
        self._ids[path] = name
        self.parts.add(name)

    def contains(self, path: str) -> bool:
        """Whether it is part of the crate."""
        return path in self._ids

    def used(self, file: Used) -> str:
        """Id of a file that a job read, in the crate or not."""
        known = self._ids.get(file.path)
        return known if known is not None else self._elsewhere(file.path, file.bytes, file.sha256, None)

    def left_out(self, file: StudyFile) -> str:
        """Tell of a file that a job made and that is not handed on."""
        return self._elsewhere(file.path, file.bytes, file.sha256, self._sources(file))

    def _sources(self, file: StudyFile) -> Any:
        return refs(self._ids.get(path) or self._elsewhere(path, None, None, None) for path in file.sources)

    def _elsewhere(self, path: str, size: int | None, sha256: str | None, sources: Any) -> str:
        plain = _without_machine(path)
        properties = {
            "name": plain,
            "description": _ELSEWHERE,
            "contentSize": _size(size),
            "sha256": sha256,
            "isBasedOn": sources,
        }
        return self._graph.add_once("#not-included/" + quote(plain), "CreativeWork", properties)


def _size(size: int | None) -> str | None:
    return None if size is None else str(size)


def _without_machine(path: str) -> str:
    """A path inside the study as it is; of another one only the name, told apart by a digest of the rest."""
    parts = PurePosixPath(path).parts
    if parts and parts[0] not in ("/", "~", "..") and ".." not in parts:
        return path
    digest = hashlib.sha256(path.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return f"{digest}/{parts[-1] if parts else ''}"
