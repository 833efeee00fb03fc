"""Raw images that lie in iRODS: what they are called outside, where copies of them lie here, and fetching them.

Opens no connection but in `fetch`.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path

from snakescope import layout
from snakescope.errors import InputError, Problem
from snakescope.samples import Row
from snakescope.workflow import staged_path
from snakescope.zone.address import Address
from snakescope.zone.checksums import algorithm_of, hexadecimal, same

Progress = Callable[[str, int, int], None]

FETCH = "snakescope export --fetch-raw"
CONNECTIONS = 4
_SOURCE = ".source"
_SHOWN = 3


@dataclass(frozen=True)
class Copy:
    """A copy of an image that lies in iRODS.

    Parameters
    ----------
    path
        Relative to the study folder.
    sha256
        Digest of the object that it is a copy of; None for a collection, and where nobody says.
    """

    path: str
    sha256: str | None = None


def told_address(path: str) -> str:
    """The address of an image as it is handed on: percent-encoded, and without a user.

    Raises
    ------
    InputError
        If it is no address.
    """
    return str(replace(Address.parse(path), user=None))


def is_packed(row: Row) -> bool:
    """Whether an OME-Zarr lies in iRODS as one packed object: jobs read, and an archive gets, the folder in it."""
    here = staged_path(row).lower()
    return here.endswith(".zarr") and Address.parse(row.path).name.lower().endswith((".zip", ".tar", ".gz", ".tgz"))


def kept_copy(root: Path, row: Row, *, keep_staged: bool) -> Copy | None:
    """The copy of a row's image that lies here to stay: fetched for an upload, or staged where that is kept."""
    staged = staged_path(row)
    found = _source(root, row, layout.fetched(row.id) + staged.removeprefix(layout.staged(row.id)))
    if found is None and keep_staged:
        found = _source(root, row, staged)
    return found


def _source(root: Path, row: Row, path: str) -> Copy | None:
    """A copy that says of itself that it is one of this row's image, as the sheet tells of it."""
    if not os.path.exists(f"{root}/{path}"):  # noqa: PTH110 - a hundred thousand of them
        return None
    try:
        address, checksum, sha256 = (root / path).with_name(_SOURCE).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return None
    if address != row.path or differs(checksum, row.cell("checksum")):
        return None
    return Copy(path, sha256 if sha256 != "-" else None)


def differs(one: str | None, other: str | None) -> bool:
    """Whether two checksums of one algorithm say different things; unknown, or of two algorithms, they do not."""
    if not one or not other:
        return False
    algorithm = algorithm_of(one)
    return algorithm is not None and algorithm == algorithm_of(other) and not same(one, other)


def sha256_of(checksum: str | None) -> str | None:
    """The sha256 in hexadecimal that a catalogue's checksum says; None for one of another algorithm."""
    if not checksum or algorithm_of(checksum) != "sha256":
        return None
    found = hexadecimal(checksum)
    return found if len(found) == 64 else None


def in_words(addresses: Iterable[str], of: int) -> str:
    """Where images lie in iRODS, as a sentence: the deepest collection that holds those of each server and zone.

    Parameters
    ----------
    addresses
        Of the images; one at least.
    of
        How many raw images there are in all.
    """
    common: dict[Address, str] = {}
    count = 0
    for text in addresses:
        address, count = Address.parse(text), count + 1
        above = address.parent.path
        common[address.server] = posixpath.commonpath([common.get(address.server, above), above])
    places = [str(server.at(path)) for server, path in common.items()]
    shown = ", ".join(places[:_SHOWN]) + (f" and {len(places) - _SHOWN} more zones" if len(places) > _SHOWN else "")
    who = "They lie" if count == of else f"{count} of them lie"
    return f"{who} in iRODS, below {shown}; the file list says where each."


# ---------------------------------------------------------------------------- fetching


def fetch(root: Path, rows: Sequence[Row], progress: Progress | None = None) -> None:
    """Bring the images of rows that lie in iRODS into ``fetched/``, checked as staging checks; done again, it goes on.

    Raises
    ------
    InputError
        With every image that is not what the catalogue or the sheet says; the others have been fetched.
    EnvironmentUnusableError
        If the zone cannot be reached any more, or the disk is full; what was fetched is kept.
    """
    connections = max(1, CONNECTIONS // max(1, len(rows)))
    problems: list[Problem] = []
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        waiting = [pool.submit(_fetch, root, row, connections) for row in rows]
        try:
            for done, each in enumerate(as_completed(waiting), 1):
                try:
                    each.result()
                except InputError as error:
                    problems += error.problems
                if progress:
                    progress("fetching raw images", done, len(rows))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    if problems:
        raise InputError(sorted(problems, key=lambda item: item.where))


def _fetch(root: Path, row: Row, connections: int) -> None:
    from snakescope.zone.stage import stage

    name = Path(staged_path(row)).name
    stage(row.path, root / layout.fetched(row.id), name, expected=row.cell("checksum") or None, connections=connections)
