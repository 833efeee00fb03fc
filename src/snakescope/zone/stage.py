"""Bring the image of one row here from iRODS: ``python -m snakescope.zone.stage ADDRESS --to FOLDER --name NAME``.

The rule `stage_in` calls it. The folder appears at once and whole, or not at all; beside the image it holds
``.source``, from which the records of jobs tell where the image is from: address, checksum of the catalogue, sha256.
"""

from __future__ import annotations

import argparse
import errno
import fcntl
import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from snakescope import layout
from snakescope.errors import SnakescopeError, problem
from snakescope.zone.address import Address
from snakescope.zone.listing import NOT_SHOWN, Listed, list_tree
from snakescope.zone.packed import unpack
from snakescope.zone.patience import PATIENCE_S, patient
from snakescope.zone.transfer import Fetched, fetch, fetch_collection

SOURCE = ".source"
PACKED = (".zip", ".tar", ".tar.gz", ".tgz")


def stage(
    text: str,
    folder: Path,
    name: str,
    *,
    expected: str | None = None,
    connections: int = 1,
    patience_s: float = PATIENCE_S,
) -> Fetched:
    """Bring an object or collection here.

    Parameters
    ----------
    text
        Its address, as the sheet writes it.
    folder
        Folder that holds the copy in the end; must not be there, or is replaced.
    name
        Name of the copy in it.
    expected
        Checksum that the sheet gives.
    connections, patience_s
        See `transfer.fetch`.
    """
    address = Address.parse(text)
    with _slot(folder) as slot:
        if _is_there(text, folder, name, expected):
            shutil.rmtree(slot)
            return Fetched(folder / name, 0, 0)
        begun, whole = slot / "begun", slot / "whole"
        for each in (begun, whole):
            each.mkdir(exist_ok=True)
        if (whole / name).exists() and not (begun / name).exists():  # an earlier run came that far
            (whole / name).replace(begun / name)
        fetched = _fetch(address, begun / name, expected, connections, patience_s)
        shutil.rmtree(whole)
        whole.mkdir()
        (begun / name).replace(whole / name)
        (whole / SOURCE).write_text(_source(text, fetched), encoding="utf-8")
        if folder.exists():
            shutil.rmtree(folder)
        whole.replace(folder)
        shutil.rmtree(slot)
    return replace(fetched, path=folder / name)


def _fetch(address: Address, place: Path, expected: str | None, connections: int, patience_s: float) -> Fetched:
    listed = _object(address, patience_s)
    if listed is None:
        if place.is_dir():  # an earlier run came this far: all of it is compared again
            part = place.with_name(f"{place.name}.part")
            shutil.rmtree(part, ignore_errors=True)
            place.replace(part)
        return fetch_collection(address, place, connections=connections, patience_s=patience_s)
    is_packed = place.suffix.lower() == ".zarr" and address.name.lower().endswith(PACKED)
    file = place.with_name(f"{place.name}.packed") if is_packed else place
    fetched = fetch(address, file, connections=connections, expected=expected, listed=listed, patience_s=patience_s)
    if not is_packed:
        return fetched
    unpack(file, place, address)
    file.unlink()
    # The digest in a record is that of what the job reads, the folder.
    return Fetched(place, fetched.bytes, checksum=fetched.checksum, kept=fetched.kept, unverified=fetched.unverified)


def _object(address: Address, patience_s: float) -> Listed | None:
    """The object of that address; None when it is a collection."""
    listing = patient(address, patience_s, lambda session: list_tree(session, address.path))
    found = next((each for each in listing.objects if each.path == address.path), None)
    if found is None and not listing.objects:
        raise problem(address, f"the collection is {NOT_SHOWN}")
    return found


def _is_there(text: str, folder: Path, name: str, expected: str | None) -> bool:
    """Whether a process that outlived its run has just done it; Snakemake removes older copies before it asks."""
    try:
        address, checksum, _ = (folder / SOURCE).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return False
    return address == text and (expected is None or checksum == expected) and (folder / name).exists()


def _source(text: str, fetched: Fetched) -> str:
    return f"{text}\n{fetched.checksum or '-'}\n{fetched.sha256 or '-'}\n"


@contextmanager
def _slot(folder: Path) -> Iterator[Path]:
    """A folder for what is on its way, for this process alone: one that outlived its run may still be writing there."""
    slot = folder.parent / Path(layout.staged_part(folder.name)).relative_to(layout.STAGED)
    told = False
    while True:
        slot.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(slot, os.O_RDONLY)
        try:
            if _lock(descriptor) and _is_at(descriptor, slot):
                try:
                    yield slot
                finally:
                    _tidy(slot)
                return
        finally:
            os.close(descriptor)
        if not told:
            print("another process is staging this row; waiting for it", flush=True)
            told = True
        time.sleep(0.2)


def _tidy(slot: Path) -> None:
    """Leave no empty folders behind."""
    for folder in (*slot.glob("*/"), slot):
        with suppress(OSError):
            folder.rmdir()


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.EINVAL, errno.EBADF):
            raise
        print("this disk knows no locks; a second process staging this row would go unnoticed", flush=True)
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m snakescope.zone.stage", description=__doc__)
    parser.add_argument("address", help="irods:///zone/path of a data object or collection")
    parser.add_argument("--to", type=Path, required=True, help="folder that will hold the copy")
    parser.add_argument("--name", required=True, help="name of the copy in it")
    parser.add_argument("--checksum", help="what the object must have, as the catalogue writes it")
    parser.add_argument("--connections", type=int, default=1, help="connections to open at most")
    parser.add_argument("--patience-s", type=float, default=PATIENCE_S, help="how long to try while nothing works")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Stage one row; 0 when its copy is there."""
    told = _parser().parse_args(argv)
    started = time.monotonic()
    try:
        fetched = stage(
            told.address, told.to, told.name,
            expected=told.checksum, connections=told.connections, patience_s=told.patience_s,
        )  # fmt: skip
    except SnakescopeError as error:
        print(f"error: {error}", flush=True)
        return error.exit_code
    seconds = max(time.monotonic() - started, 1e-3)
    new = fetched.bytes - fetched.kept
    print(f"{fetched.bytes} bytes in {fetched.files} files; {new} fetched in {seconds:.1f} s, {fetched.kept} kept")
    if fetched.unverified:
        print(f"{fetched.unverified} files without a checksum of a known form in the catalogue: only sizes compared")
    return 0


if __name__ == "__main__":
    sys.exit(main())
