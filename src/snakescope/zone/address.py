"""Where something lies in iRODS, as one text, and what the client's environment file says about reaching it.

``irods:///zone/collection/object`` is reached as the environment file says; ``irods://user@host:port/zone/...`` says it
itself. Text after the server is percent-encoded. Opens no connection.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from snakescope.errors import InputError, Problem, problem

SCHEME = "irods://"
DEFAULT_PORT = 1247
EXAMPLE = "irods:///zone/home/collection"

_BAD_ESCAPE = re.compile("%(?![0-9a-fA-F]{2})")
_SERVER = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^:\[\]]+)(?::(?P<port>[0-9]{1,5}))?")


@dataclass(frozen=True)
class Address:
    """A collection or data object of a zone.

    Parameters
    ----------
    path
        Logical path, decoded, from ``/zone`` on, without a slash at its end.
    user, host, port
        What the address itself says of the server; None is left to the environment file.
    """

    path: str
    user: str | None = None
    host: str | None = None
    port: int | None = None

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read an address; raises `InputError` for what is not one, without repeating a password in it."""
        if not is_address(text):
            raise problem(repr(text), f"is no iRODS address; expected {EXAMPLE} or irods://user@host:1247/zone/...")
        server, slash, path = text[len(SCHEME) :].partition("/")
        if not slash or not path.strip("/"):
            raise problem(_shown(text), f"names no zone; expected {EXAMPLE}", "Write the path from its zone on.")
        login, at, place = server.rpartition("@")
        if at and ":" in login:
            fix = "Leave it out, and log in once with: iinit"
            raise problem(_shown(text), "holds a password, which is never written into an address", fix)
        host, port = _host(place, text) if place else (None, None)
        user = _decode(login, text) or None
        if user and not host:
            raise problem(_shown(text), "names a user without a host", f"Write irods://{login}@host/zone/...")
        return cls(_check_path("/" + _decode(path, text), text), user, host, port)

    def __str__(self) -> str:
        host = f"{self.host}:{self.port}" if self.host and self.port else self.host or ""
        return f"{SCHEME}{quote(self.user) + '@' if self.user else ''}{host}{quote(self.path)}"

    @property
    def zone(self) -> str:
        """Name of the zone."""
        return self.path.split("/")[1]

    @property
    def name(self) -> str:
        """Last part of the path."""
        return self.path.rpartition("/")[2]

    @property
    def parent(self) -> Address:
        """The collection that it lies in."""
        return self.at(self.path.rpartition("/")[0] or self.path)

    @property
    def server(self) -> Address:
        """The zone itself on the same server: what rows of one session have in common."""
        return self.at(f"/{self.zone}")

    def at(self, path: str) -> Address:
        """Another logical path, not encoded, on the same server."""
        return replace(self, path=path)

    def __truediv__(self, name: str) -> Address:
        return self.at(f"{self.path}/{name}")


def is_address(text: str) -> bool:
    """Whether a text is meant as an iRODS address."""
    return text.startswith(SCHEME)


def _shown(text: str) -> str:
    """An address for a message: what may be a password is left out."""
    server, slash, path = text[len(SCHEME) :].partition("/")
    login, at, place = server.rpartition("@")
    return f"{SCHEME}{login.partition(':')[0]}{at}{place}{slash}{path}"


def _decode(text: str, whole: str) -> str:
    bad = _BAD_ESCAPE.search(text)
    if bad:
        raise problem(
            _shown(whole), f"has a % that starts no code ({text[bad.start() : bad.start() + 3]!r})", "Write %25."
        )
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError as error:
        raise problem(_shown(whole), "has %-codes that are not UTF-8") from error


def _host(text: str, whole: str) -> tuple[str, int | None]:
    match = _SERVER.fullmatch(text)
    port = int(match["port"]) if match and match["port"] else None
    if match is None or (port is not None and not 0 < port < 65536):
        raise problem(_shown(whole), f"found {text!r}; expected a host, or host:port with a port up to 65535")
    return match["host"], port


def _check_path(path: str, whole: str) -> str:
    path = path.rstrip("/")
    parts = path.split("/")[1:]
    if "" in parts or "." in parts or ".." in parts or "\0" in path:
        raise problem(_shown(whole), "has an empty part, '.', '..' or a zero byte in its path; expected plain names")
    return path


# ---------------------------------------------------------------------------- how the zone is reached


@dataclass(frozen=True)
class Environment:
    """How a zone is reached and as whom. Holds no password, only where it lies.

    Attributes
    ----------
    user_zone
        Zone of the user, which may differ from that of the address.
    scheme
        ``native`` or one of the PAM schemes.
    settings
        All other keys of the environment file, as they stand there.
    password_file
        Where the client keeps the scrambled password.
    """

    host: str
    port: int
    user: str
    user_zone: str
    scheme: str
    password_file: Path
    file: Path
    settings: Mapping[str, Any] = field(repr=False, default_factory=dict)

    def __str__(self) -> str:
        return f"{self.user}#{self.user_zone} at {self.host}:{self.port}"


def environment_file() -> Path:
    """The client's environment file: what IRODS_ENVIRONMENT_FILE says, or the one in the home folder."""
    named = os.environ.get("IRODS_ENVIRONMENT_FILE")
    return Path(named) if named else Path.home() / ".irods/irods_environment.json"


def environment(address: Address) -> Environment:
    """Merge an address with the environment file; what the address says wins.

    Raises
    ------
    InputError
        If the file is broken, or the server or the user is named nowhere.
    """
    file = environment_file()
    settings = _read(file)
    host, user = address.host or settings.get("irods_host"), address.user or settings.get("irods_user_name")
    fix = f"Log in once with iinit, or write irods://user@host:{DEFAULT_PORT}{quote(address.path)}"
    missing = [what for what, value in (("server", host), ("user", user)) if not isinstance(value, str) or not value]
    if missing:
        state = "does not say" if file.is_file() else "is not there to say"
        raise InputError(Problem(str(address), f"{file} {state} which {' and '.join(missing)} to use", fix))
    name, _, user_zone = str(user).partition("#")
    port = _port(settings.get("irods_port"), file) if address.host is None else None
    named = os.environ.get("IRODS_AUTHENTICATION_FILE") or settings.get("irods_authentication_file")
    return Environment(
        host=str(host).strip("[]"),
        port=address.port or port or DEFAULT_PORT,
        user=name,
        user_zone=user_zone or str(settings.get("irods_zone_name") or address.zone),
        scheme=str(settings.get("irods_authentication_scheme") or "native").lower(),
        password_file=Path(named).expanduser() if named else Path.home() / ".irods/.irodsA",
        file=file,
        settings=settings,
    )


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise problem(file, f"cannot be read: {error}", "It is the iRODS client's; iinit writes it anew.") from error
    if not isinstance(found, dict):
        raise problem(file, "found no JSON object; expected one with irods_host and the like")
    return found


def _port(value: object, file: Path) -> int | None:
    if value is None:
        return None
    if not str(value).isdigit() or not 0 < int(str(value)) < 65536:
        raise problem(f"{file}: irods_port", f"found {value!r}; expected a whole number up to 65535")
    return int(str(value))
