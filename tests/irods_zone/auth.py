"""Native authentication, in the flow of the 4.3 plug-ins and in the older one, and how passwords travel.

No TLS, so no PAM: any other scheme is refused.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import struct
from typing import Any

from irods import password_obfuscation

from irods_zone.catalogue import Actor, Catalogue
from irods_zone.errors import Code, IrodsError, refuse

CHALLENGE_LENGTH = 64
PASSWORD_LENGTH = 50
PADDING = "1gCBizHWbwIYyWLoysGzTe6SyzqFKMniZX05faZHWAwQKXf6Fs"
SCRAMBLE_MARK = "A.ObfV2"


def new_challenge() -> str:
    """Random text that the client mixes with its password."""
    return secrets.token_hex(CHALLENGE_LENGTH // 2)


def signature(challenge: str) -> str:
    """What both sides derive from the challenge to scramble passwords later in the same connection."""
    return challenge.encode()[:16].hex()


def expected_digest(challenge: str, password: str) -> bytes:
    """What a client that knows the password answers to the challenge."""
    padded = struct.pack(f"{PASSWORD_LENGTH}s", password.encode())
    digest = hashlib.md5(challenge.encode() + padded, usedforsecurity=False).digest()
    return digest.replace(b"\0", b"\1")


def password_of(catalogue: Catalogue, actor: Actor) -> str | None:
    found = catalogue.value("select rcat_password from r_user_password where user_id = ?", actor.user_id)
    return None if found is None else str(found)


def log_in(catalogue: Catalogue, challenge: str, user: tuple[str, str], digest: bytes) -> Actor:
    """The user who gave that answer to the challenge; `user` is name and zone."""
    actor = catalogue.user(*user)
    if actor is None:
        raise IrodsError(Code.CAT_INVALID_USER, f"user {'#'.join(user)} does not exist")
    password = password_of(catalogue, actor)
    if not challenge or password is None or digest != expected_digest(challenge, password):
        raise IrodsError(Code.CAT_INVALID_AUTHENTICATION, f"wrong password of {actor.name}")
    return actor


def plugin_step(request: dict[str, Any]) -> str:
    """Next operation of the plug-in flow that the client asks for."""
    if request.get("scheme") != "native":
        raise refuse(f"the authentication scheme {request.get('scheme')!r}")
    return str(request.get("next_operation"))


def digest_of(request: dict[str, Any]) -> bytes:
    return base64.b64decode(str(request.get("digest", "")))


def read_password(scrambled: str, own_password: str, client_signature: str) -> str:
    """A new password as the client scrambles it with its own one."""
    key = f"{own_password[:90]}{client_signature[:100]}".ljust(100, "\0")
    key = hashlib.md5(key.encode(), usedforsecurity=False).hexdigest()
    clear = str(password_obfuscation.unscramble(scrambled, key=key, scramble_prefix="", block_chaining=True))
    if clear[1 : len(SCRAMBLE_MARK)] != SCRAMBLE_MARK[1:]:
        raise IrodsError(Code.CAT_INVALID_AUTHENTICATION, "new password is not scrambled with the current one")
    clear = clear[len(SCRAMBLE_MARK) :]
    end = clear.find(PADDING[:15])
    return clear if end < 0 else clear[:end]
