"""From file names to ids: safe as folder names, unique, and the same on every run.

An id depends on the image's own path, and on others only where two would share it.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Mapping

from snakescope.samples.cells import MAX_ID

SUFFIXES = (".ome.tiff", ".ome.tif", ".ome.zarr", ".tiff", ".tif", ".zarr", ".nd2", ".lif", ".czi")
_HASH = 8


def split_suffix(name: str) -> tuple[str, str]:
    """Split a file name at the suffix of an image format, in any capitals; no such suffix is an empty one."""
    lower = name.lower()
    for suffix in SUFFIXES:
        if lower.endswith(suffix):
            return name[: -len(suffix)], name[-len(suffix) :]
    return name, ""


def safe_id(text: str) -> str:
    """Make a name fit for a folder: letters, digits and ``. _ -``; may be empty when nothing is left.

    Accents are dropped and every other run of characters becomes ``_``. Two texts may give the same name.
    """
    plain = unicodedata.normalize("NFKD", text.replace("µ", "u").replace("μ", "u"))
    plain = "".join(character for character in plain if not unicodedata.combining(character))
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", plain)
    return re.sub(r"\.{2,}", ".", plain).strip("._-")


def unique_ids(labels: Mapping[str, str], taken: Iterable[str] = ()) -> dict[str, str]:
    """Give each key an id made from its label.

    Parameters
    ----------
    labels
        What each id is made of, by a key that tells the images apart (its path).
    taken
        Ids that are in use.

    Returns
    -------
    The id of each key. Where labels give the same id, in capitals or not, all of them get a part of the digest
    of their key at the end, so that none depends on the order of the files.
    """
    made = {key: safe_id(label) for key, label in labels.items()}
    used: dict[str, int] = {name.lower(): 1 for name in taken}
    for name in made.values():
        used[name.lower()] = used.get(name.lower(), 0) + 1
    return {
        key: name if name and used[name.lower()] == 1 and len(name) <= MAX_ID else _with_digest(name, key)
        for key, name in made.items()
    }


def _with_digest(name: str, key: str) -> str:
    digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()[:_HASH]
    return f"{name[: MAX_ID - _HASH - 1].rstrip('._-') or 'image'}-{digest}"


def shown(text: str) -> str:
    """Write a file name so that any terminal and JSON can show it: control and undecodable characters escaped."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape", "surrogatepass").decode()
        for character in text
    )
