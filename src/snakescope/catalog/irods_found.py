"""Tell the images of a listing, and account for everything else that lies there. Reads nothing.

A data object is an image by its suffix; a collection is one when it holds the marks of a Zarr store, or when it is a
store packed into one object.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import PurePosixPath

from snakescope.catalog.names import shown, split_suffix
from snakescope.catalog.walk import NO_SUFFIX, ZARR_MARKS, Leftovers, matches
from snakescope.zone.listing import Avu, Listed, Listing

IsResult = Callable[[str, Sequence[Avu]], bool]

_PACKED = re.compile(r"(.*)((?:\.ome)?\.zarr)\.(zip|tar|tar\.gz|tgz)", re.IGNORECASE | re.DOTALL)
_FORMATS = {
    ".ome.tif": "ome-tiff", ".ome.tiff": "ome-tiff", ".nd2": "nd2", ".lif": "lif", ".czi": "czi",
    ".zarr": "ome-zarr", ".ome.zarr": "ome-zarr",
}  # fmt: skip
_TIFF = (".ome.tiff", ".ome.tif", ".tiff", ".tif")


@dataclass(frozen=True)
class Item:
    """One image file or store of the zone.

    Attributes
    ----------
    path, relative
        Logical path, and its part below what was collected.
    members
        Data objects that it consists of; one, unless it is a collection.
    single
        That one.
    """

    path: str
    relative: str
    members: tuple[Listed, ...]
    single: Listed | None

    @property
    def label(self) -> str:
        """What its id is made of."""
        packed = _PACKED.fullmatch(self.relative) if self.single else None
        return packed[1] + packed[2] if packed else self.relative

    @property
    def packed(self) -> str | None:
        """How a store is packed: zip, tar, ...; None for everything else."""
        match = _PACKED.fullmatch(self.relative) if self.single else None
        return match[3].lower() if match else None

    @property
    def suffix(self) -> str:
        """Suffix of the image format, in small letters."""
        return f".zarr.{self.packed}" if self.packed else split_suffix(self.relative)[1].lower()

    @property
    def format(self) -> str | None:
        """Format, as far as the name says it: a .tif may be an OME-TIFF."""
        return "ome-zarr" if self.packed or not self.single else _FORMATS.get(self.suffix)

    @property
    def readable(self) -> bool:
        """Whether its header can be read without fetching all of it."""
        return not self.single or self.packed == "zip" or self.suffix in _TIFF

    @property
    def bytes(self) -> int:
        """Size of all its good replicas, one a member."""
        return sum(each.good.size for each in self.members if each.good)

    @property
    def checksum(self) -> str | None:
        """As the catalogue writes it; None for a collection, which has none."""
        return self.single.good.checksum if self.single and self.single.good else None

    @property
    def modified(self) -> datetime:
        """When its content, or the newest part of it, was changed."""
        return max(each.good.modified for each in self.members if each.good)


@dataclass
class Found(Leftovers):
    """What a tree of the zone holds."""

    items: list[Item] = field(default_factory=list)
    unusable: list[tuple[str, str]] = field(default_factory=list)
    unknown: list[tuple[str, str]] = field(default_factory=list)
    filtered: Counter[str] = field(default_factory=Counter)


def find_items(listing: Listing, *, include: Sequence[str], exclude: Sequence[str], is_result: IsResult) -> Found:
    """Sort out a listing.

    Parameters
    ----------
    listing
        What lies there.
    include, exclude
        Globs. One without ``/`` is held against every part of a path, one with ``/`` against the whole.
    is_result
        Tells of a path and its own AVUs whether it was put there as a result.
    """
    finder = _Finder(listing, include, exclude, is_result)
    finder.run()
    return finder.found


class _Finder:
    def __init__(self, listing: Listing, include: Sequence[str], exclude: Sequence[str], is_result: IsResult) -> None:
        self.found = Found(excluded=Counter(dict.fromkeys(exclude, 0)))
        self._listing, self._include, self._exclude, self._is_result = listing, include, exclude, is_result
        self._hidden: set[str] = set()
        single = len(listing.objects) == 1 and listing.objects[0].path == listing.root
        stores = _stores(listing)
        whole = single or listing.root in stores
        self._root = listing.root.rpartition("/")[0] if whole else listing.root
        self._stores = {path: _within(path, listing) for path in stores} if not single else {}

    def run(self) -> None:
        """Every data object is an image, a part of one, or counted as something else."""
        members: dict[str, list[Listed]] = {path: [] for path in self._stores}
        for listed in self._listing.objects:
            store = self._store_of(listed.collection)
            if store is not None:
                members[store].append(listed)
            else:
                self._add(listed)
        for path, parts in members.items():
            self._add_store(path, parts)
        self._add_empty_stores()

    def _store_of(self, collection: str) -> str | None:
        while len(collection) > len(self._root):
            if collection in self._stores:
                return collection
            collection = collection.rpartition("/")[0]
        return None

    def _add(self, listed: Listed) -> None:
        relative = self._relative(listed.path)
        if not self._is_visible(relative):
            return
        if not split_suffix(listed.name)[1] and not _PACKED.fullmatch(listed.name):
            self.found.other[PurePosixPath(listed.name).suffix.lower() or NO_SUFFIX] += 1
        elif self._is_wanted(relative, listed.path, listed.avus):
            if listed.unusable:
                self.found.unusable.append((shown(relative), listed.unusable))
            elif listed.good and not listed.good.size:
                self.found.unreadable.append((shown(relative), "is empty (0 bytes)"))
            else:
                self.found.items.append(Item(listed.path, relative, (listed,), listed))

    def _add_store(self, path: str, parts: list[Listed]) -> None:
        relative = self._relative(path)
        avus = self._listing.collections.get(path, ())
        if not self._is_visible(relative) or not self._is_wanted(relative, path, avus):
            return
        bad = [each for each in parts if each.unusable]
        if bad:
            first = f"first {shown(bad[0].path[len(path) + 1 :])}: {bad[0].unusable}"
            self.found.unusable.append((shown(relative), f"{len(bad)} of its {len(parts)} objects, {first}"))
        else:
            self.found.items.append(Item(path, relative, tuple(parts), None))

    def _add_empty_stores(self) -> None:
        """Collections called .zarr that hold no mark of a store: its writing was stopped, or parts may not be seen."""
        for path in self._listing.collections:
            inside = path.startswith(f"{self._root}/") and self._store_of(path) is None
            if inside and path.lower().endswith(".zarr"):
                relative = self._relative(path)
                if self._is_visible(relative) and self._is_wanted(relative, path, self._listing.collections[path]):
                    reason = "has no zarr.json or .zattrs: its writing was stopped, or you may not see them"
                    self.found.unreadable.append((shown(relative), reason))

    def _relative(self, path: str) -> str:
        return path[len(self._root) + 1 :]

    def _is_visible(self, relative: str) -> bool:
        """Neither hidden nor excluded; a hidden collection counts once, as a folder does."""
        parts = relative.split("/")
        hidden = next((index for index, part in enumerate(parts) if part.startswith(".")), None)
        if hidden is not None:
            self._hidden.add("/".join(parts[: hidden + 1]))
            self.found.hidden = len(self._hidden)
            return False
        glob = next((glob for glob in self._exclude if _matches_above(glob, relative)), None)
        if glob is not None:
            self.found.excluded[glob] += 1
        return glob is None

    def _is_wanted(self, relative: str, path: str, avus: Sequence[Avu]) -> bool:
        if self._include and not any(matches(glob, relative) for glob in self._include):
            self.found.not_included += 1
            return False
        if self._is_result(path, avus):
            self.found.skipped.append((shown(relative), "a result that was published there"))
            return False
        return True


def _matches_above(glob: str, relative: str) -> bool:
    """Whether a glob fits a path or a collection that it lies in."""
    parts = relative.split("/")
    return any(matches(glob, "/".join(parts[:end])) for end in range(1, len(parts) + 1))


def _stores(listing: Listing) -> list[str]:
    """Topmost collections that hold a mark of a Zarr store."""
    marked = sorted({each.collection for each in listing.objects if each.name in ZARR_MARKS})
    found: list[str] = []
    for path in marked:
        if not found or not f"{path}/".startswith(f"{found[-1]}/"):
            found.append(path)
    return found


def _within(path: str, listing: Listing) -> bool:
    return path == listing.root or path.startswith(f"{listing.root}/")
