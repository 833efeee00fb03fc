"""Read headers where they lie, in iRODS: of TIFF a few blocks, of OME-Zarr its JSON. No pixel is fetched."""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snakescope.catalog.folder import facts_of
from snakescope.catalog.irods_found import Item
from snakescope.catalog.names import shown
from snakescope.catalog.walk import ZARR_MARKS
from snakescope.errors import InputError, SnakescopeError, problem
from snakescope.zone.address import Address
from snakescope.zone.reading import BLOCK, RemoteFile, in_sessions, read_object
from snakescope.zone.session import Session

if TYPE_CHECKING:
    from snakescope.images import ImageHeader

Progress = Callable[[int, int], None]
Fetch = Callable[[str], bytes | None]

# More than this is no metadata of an image.
MOST_JSON = 16 * 2**20


def read_all(
    address: Address, items: Mapping[str, Item], sessions: int, progress: Progress | None
) -> dict[str, list[dict[str, str]] | str]:
    """Read the headers of images, a few at a time.

    Returns
    -------
    For each key the facts of each image in it, as cells, or why they are not known.
    """
    tasks = {key: partial(_read, item=item) for key, item in items.items()}
    done = in_sessions(address, tasks, sessions=sessions, progress=progress)
    return {key: _reason(result) if isinstance(result, Exception) else result for key, result in done.items()}


def _reason(error: Exception) -> str:
    if isinstance(error, InputError):
        return shown(" ".join(item.message for item in error.problems))
    if isinstance(error, SnakescopeError):
        return shown(str(error).partition("\n")[0])
    return shown(f"its header cannot be read ({type(error).__name__}: {error})")


def _read(session: Session, item: Item) -> list[dict[str, str]]:
    headers = _store_headers(session, item) if item.format == "ome-zarr" else _tiff_headers(session, item)
    cells = [facts_of(header) | {"bytes": str(item.bytes)} for header in headers]
    if len(headers) > 1:
        cells = [
            {**each, "scene_name": shown(header.scene_name or "")} for each, header in zip(cells, headers, strict=True)
        ]
    return cells


def _tiff_headers(session: Session, item: Item) -> list[ImageHeader]:
    from snakescope.images import read_stream_headers

    with RemoteFile(session, item.path, item.bytes) as file:
        return read_stream_headers(shown(item.relative), io.BufferedReader(file, BLOCK))


def _store_headers(session: Session, item: Item) -> list[ImageHeader]:
    from snakescope.images import read_json_headers

    with tempfile.TemporaryDirectory(prefix="snakescope-") as folder:
        if item.packed:
            with RemoteFile(session, item.path, item.bytes) as file, _opened(file) as archive:
                _copy_json(_from_archive(archive), Path(folder))
        else:
            _copy_json(_from_collection(session, item), Path(folder))
        return read_json_headers(Path(folder))


def _opened(file: RemoteFile) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(io.BufferedReader(file, BLOCK))
    except zipfile.BadZipFile as error:
        raise problem(file.name, f"is no zip archive ({error})") from error


def _from_collection(session: Session, item: Item) -> Fetch:
    sizes = {each.path[len(item.path) + 1 :]: (each.path, each.good.size) for each in item.members if each.good}

    def fetch(name: str) -> bytes | None:
        if name not in sizes:
            return None
        path, size = sizes[name]
        if size > MOST_JSON:
            raise problem(name, f"has {size:,} bytes; expected a few of JSON")
        return read_object(session, path, size)

    return fetch


def _from_archive(archive: zipfile.ZipFile) -> Fetch:
    """The store may stand at the top of the archive or in one folder there."""
    names = {name for name in archive.namelist() if name.rpartition("/")[2] in ZARR_MARKS}
    top = min(names, key=lambda name: name.count("/"), default="")
    prefix = top[: len(top) - len(top.rpartition("/")[2])]

    def fetch(name: str) -> bytes | None:
        full = prefix + name
        if full not in names:
            return None
        if archive.getinfo(full).file_size > MOST_JSON:
            raise problem(name, f"has {archive.getinfo(full).file_size:,} bytes; expected a few of JSON")
        return archive.read(full)

    return fetch


def _copy_json(fetch: Fetch, folder: Path) -> None:
    """Copy what says what the images of a store are: of the store, its series, and the first array of each."""
    attributes = _copy_marks(fetch, folder, "")
    groups = {"": attributes}
    if "multiscales" not in attributes and attributes.get("bioformats2raw.layout") == 3:
        names = _copy_marks(fetch, folder, "OME/").get("series")
        names = names if isinstance(names, list) else _counted(fetch, folder)
        groups = {f"{name}/": _copy_marks(fetch, folder, f"{name}/") for name in names}
    for prefix, found in groups.items():
        try:
            first = str(found["multiscales"][0]["datasets"][0]["path"])
        except (KeyError, IndexError, TypeError):
            continue  # the reader will say what is wrong with it
        _copy_marks(fetch, folder, f"{prefix}{first.strip('/')}/")


def _counted(fetch: Fetch, folder: Path) -> list[str]:
    """Series 0, 1, ... as far as they go."""
    names: list[str] = []
    while _copy_marks(fetch, folder, f"{len(names)}/"):
        names.append(str(len(names)))
    return names


def _copy_marks(fetch: Fetch, folder: Path, prefix: str) -> dict[str, Any]:
    """Copy the JSON of one group or array; returns its OME attributes, empty when it says none."""
    found: dict[str, Any] = {}
    if ".." in prefix.split("/"):
        return found
    for name in sorted(ZARR_MARKS):
        data = fetch(prefix + name)
        if data is None:
            continue
        target = folder / prefix / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        found |= _attributes(name, data)
    return found


def _attributes(name: str, data: bytes) -> dict[str, Any]:
    try:
        content = json.loads(data)
        content = content.get("attributes", {}) if name == "zarr.json" else content if name == ".zattrs" else {}
        found = content.get("ome", content)
    except (ValueError, AttributeError):
        return {}  # the reader will say what is wrong with it
    return found if isinstance(found, dict) else {}
