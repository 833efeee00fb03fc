"""Raw images that lie in iRODS only, against what the catalogue says of them: there, whole, and with the same bytes.

Nothing is read but the catalogue, one listing for each collection that images lie in.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from snakescope import layout
from snakescope.errors import InputError, Problem
from snakescope.record import folder_digest
from snakescope.samples import read_sheet
from snakescope.study.verify.files import CRATE, Elsewhere, Files
from snakescope.tool.base import read_yaml
from snakescope.words import many
from snakescope.zone import checksums
from snakescope.zone.address import Address
from snakescope.zone.listing import Listed, list_tree
from snakescope.zone.session import connect

_FIX = "Collect and run again, or have it brought back as it was; then export again."


def check_remote(root: Path, files: Files) -> tuple[list[Problem], list[str]]:
    """Compare the images of `Files.elsewhere` with the catalogue.

    Returns
    -------
    Problems, and notes on what was compared.

    Raises
    ------
    EnvironmentUnusableError
        If a zone cannot be reached.
    """
    logins = _logins(root)
    by_server: dict[Address, dict[str, tuple[str, Elsewhere]]] = defaultdict(dict)
    for name, told in files.elsewhere.items():
        address = Address.parse(told.address)
        user = logins.get(address, address)
        by_server[user.server][address.path] = name.removeprefix(f"{CRATE}/"), told
    found = _Found()
    done = 0
    for server, images in by_server.items():
        with connect(server) as session:
            for top, paths in _by_tree(images).items():
                try:
                    listed = {each.path: each for each in list_tree(session, top).objects}
                except InputError as error:
                    found.problems += [_problem(images[path], error.problems[0].message) for path in paths]
                    continue
                for path, objects in _objects_of(paths, listed):
                    found.compare(*images[path], objects)
                done += len(paths)
                files.progress("asking the catalogue", done, len(files.elsewhere))
    return found.problems, list(found.notes())


def _logins(root: Path) -> dict[Address, Address]:
    """Addresses of the sheet, which may name a user, by the same without one; none where the sheet cannot be read."""
    try:
        sheet = read_sheet(root / str(read_yaml(root / layout.CONFIG).get("samples", layout.SHEET)))
        addresses = [Address.parse(row.path) for row in sheet.rows if row.remote]
    except (InputError, OSError):
        return {}
    return {replace(address, user=None): address for address in addresses}


def _by_tree(paths: Iterable[str]) -> dict[str, list[str]]:
    """The paths by the collection to list for them: that which one lies in, unless one above it is listed anyway."""
    found: dict[str, list[str]] = {}
    for path in sorted(paths, key=lambda path: (path.count("/"), path)):
        parents = [path[:end] for end, sign in enumerate(path) if sign == "/" and end]
        top = next((parent for parent in parents if parent in found), parents[-1])
        found.setdefault(top, []).append(path)
    return found


def _objects_of(paths: Iterable[str], listed: dict[str, Listed]) -> Iterator[tuple[str, dict[str, Listed]]]:
    """Objects of each image by their path in it; of one that is a single object, by an empty one."""
    wanted: dict[str, dict[str, Listed]] = {path: {} for path in paths}
    for path, each in listed.items():
        ends = [end for end, sign in enumerate(path) if sign == "/"] + [len(path)]
        image = next((path[:end] for end in ends if path[:end] in wanted), None)
        if image is not None:
            wanted[image][path[len(image) + 1 :]] = each
    return iter(wanted.items())


class _Found:
    """What came of comparing, image by image."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.digests = self.sizes = self.presence = 0

    def notes(self) -> Iterator[str]:
        """How much could be compared."""
        total = self.digests + self.sizes + self.presence
        if total:
            how = f"{self.digests} by checksum, {self.sizes} by size, {self.presence} by name only"
            yield f"{many(total, 'raw image')} in iRODS, there as told: {how}"

    def compare(self, name: str, told: Elsewhere, objects: dict[str, Listed]) -> None:
        """Compare one image."""
        bad = next((each.unusable for each in objects.values() if each.unusable), None)
        packed = name.endswith(".zarr") and "" in objects
        size = sum(each.good.size for each in objects.values() if each.good)
        same = _same_digest(told, objects, packed=packed)
        if not objects or bad:
            why = bad or "is not there, or you have no permission to see it"
        elif not packed and told.bytes is not None and told.bytes != size:
            why = f"has {size} bytes; {told.bytes} are told"
        elif same is False:
            why = "has another checksum than is told"
        else:
            self.digests += same is True
            self.sizes += same is None and told.bytes is not None and not packed
            self.presence += same is None and (told.bytes is None or packed)
            return
        self.problems.append(_problem((name, told), why))


def _same_digest(told: Elsewhere, objects: dict[str, Listed], *, packed: bool) -> bool | None:
    """Whether the catalogue's checksums are those that are told; None where the two cannot be compared."""
    sums = {name: each.good.checksum or "" for name, each in objects.items() if each.good}
    algorithms = {checksums.algorithm_of(text) for text in sums.values()}
    if told.sha256 and not packed and algorithms == {"sha256"}:
        digests = {name: checksums.hexadecimal(text) for name, text in sums.items()}
        return (digests[""] if "" in digests else folder_digest(digests)) == told.sha256
    if told.checksum and algorithms == {checksums.algorithm_of(told.checksum)} and "" in sums:
        return checksums.same(sums[""], told.checksum)
    return None


def _problem(image: tuple[str, Elsewhere], message: str) -> Problem:
    name, told = image
    return Problem(name, f"{told.address} {message}", _FIX)
