"""How an Apptainer image is named: an address in a registry, or a path. Light: every job imports it."""

from __future__ import annotations

import re

# Snakemake puts the name into a shell command as it stands.
_PATH = re.compile(r"[A-Za-z0-9._/+=][A-Za-z0-9._/+=-]*")
_ADDRESS = re.compile(
    r"(docker|oras)://[a-z0-9._-]+(:[0-9]+)?(/[a-z0-9._-]+)*(:[A-Za-z0-9._-]+)?(@sha256:(?P<digest>[0-9a-f]{64}))?"
)


def is_address(image: str) -> bool:
    """Whether an image lies in a registry and not on this machine."""
    return "://" in image


def unfit_image(text: str) -> str | None:
    """Say why a text names no image; None when it does."""
    shown = repr(text) if len(text) <= 60 else repr(text)[:57] + "..."
    if is_address(text):
        form = "docker://NAME@sha256:DIGEST or oras://NAME@sha256:DIGEST"
        return None if _ADDRESS.fullmatch(text) else f"found {shown}; expected {form}"
    if _PATH.fullmatch(text):
        return None
    return f"found {shown}; expected a path of plain letters, digits and ._/+=- only, or docker:// or oras://"


def digest_in(image: str) -> str | None:
    """The sha256 in an image's address, bare; None without one."""
    found = _ADDRESS.fullmatch(image)
    return found["digest"] if found else None


def with_digest(image: str, digest: str | None) -> str:
    """An address with a digest, which takes the place of its tag: Apptainer takes no address with both."""
    own = digest_in(image)
    if not is_address(image) or (own is None and digest is None):
        return image
    name = image.partition("@")[0]
    slash = name.rfind("/")
    colon = name.find(":", slash)
    bare = name if colon < 0 else name[:colon]
    return f"{bare}@sha256:{own or str(digest).removeprefix('sha256:')}"
