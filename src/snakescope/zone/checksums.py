"""Checksums as catalogues write them: ``sha2:`` and ``sha512:`` with base64, bare hexadecimal MD5.

Knows nothing of connections.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Collection
from pathlib import Path

BLOCK = 1 << 22
_SCHEMES = {"sha1": "sha1", "sha2": "sha256", "sha512": "sha512"}


def algorithm_of(checksum: str) -> str | None:
    """Name of the algorithm for `hashlib`; None for a form that is not known."""
    if re.fullmatch("[0-9a-fA-F]{32}", checksum):
        return "md5"
    return _SCHEMES.get(checksum.partition(":")[0])


def written(algorithm: str, digest: bytes) -> str:
    """A digest as a catalogue writes it."""
    if algorithm == "md5":
        return digest.hex()
    scheme = next(scheme for scheme, name in _SCHEMES.items() if name == algorithm)
    return f"{scheme}:{base64.b64encode(digest).decode()}"


def same(one: str, other: str) -> bool:
    """Whether two checksums of one form say the same."""
    return _digest(one) == _digest(other)


def hexadecimal(checksum: str) -> str:
    """The digest that a checksum says; one of no known form as it is."""
    found = _digest(checksum)
    return found.hex() if isinstance(found, bytes) else found


def _digest(checksum: str) -> bytes | str:
    scheme, colon, text = checksum.partition(":")
    try:
        return base64.b64decode(text, validate=True) if colon else bytes.fromhex(scheme)
    except (ValueError, binascii.Error):
        return checksum


def digests(path: Path, algorithms: Collection[str]) -> dict[str, bytes]:
    """Digests of a file by algorithm; it is read once."""
    found = {name: hashlib.new(name, usedforsecurity=False) for name in algorithms}
    block = memoryview(bytearray(BLOCK))
    with path.open("rb", buffering=0) as file:
        while size := file.readinto(block):
            for each in found.values():
                each.update(block[:size])
    return {name: each.digest() for name, each in found.items()}
