"""Connect to a zone: one session, one thread, one clear message when it does not work.

The client library's own traps are dealt with here: policies that it does not know, certificates that it would not
check, passwords in its debug log, its parser that stops at control characters.
"""

from __future__ import annotations

import logging
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from irods import exception as failures
from irods import pool
from irods.connection import Connection
from irods.message import ET, XML_Parser_Type
from irods.password_obfuscation import decode
from irods.session import iRODSSession

from snakescope.errors import EnvironmentUnusableError, Problem
from snakescope.zone.address import Address, Environment, environment

TIMEOUT_S = 120.0
LOGIN_TIMEOUT_S = 30.0
SLOWEST_BYTES_PER_S = 10_000_000
PAM = ("pam", "pam_password", "pam_interactive")
LOGIN = "Log in again with: iinit"
REFUSED = tuple(
    getattr(failures, name)
    for name in (
        "CAT_INVALID_AUTHENTICATION",
        "CAT_INVALID_USER",
        "CAT_PASSWORD_EXPIRED",
        "PAM_AUTH_PASSWORD_FAILED",
        "AUTHENTICATION_ERROR",
    )
    if hasattr(failures, name)
)
UNKNOWN = getattr(failures, "CAT_INVALID_USER", ())

# The client logs what it sends, passwords included, as debug messages.
logging.getLogger("irods").setLevel(logging.WARNING)


class _Connection(Connection):  # type: ignore[misc]
    """Closes its socket when the login fails; the client's own only forgets it."""

    socket: Any

    def __init__(self, *arguments: Any) -> None:
        try:
            super().__init__(*arguments)
        except BaseException:
            held, self.socket = getattr(self, "socket", None), None
            if held is not None:
                held.close()
            raise


pool.Connection = _Connection


class Session:
    """A session of one thread.

    Attributes
    ----------
    address, environment
        What was connected to.
    server_version
        Such as ``(5, 0, 2)``.
    """

    def __init__(self, address: Address, found: Environment, raw: iRODSSession) -> None:
        self.address, self.environment = address, found
        self._raw, self._thread = raw, threading.get_ident()
        self.server_version: tuple[int, ...] = tuple(raw.server_version)

    @property
    def raw(self) -> iRODSSession:
        """The client library's session; raises in any thread but the one that connected."""
        if threading.get_ident() != self._thread:
            raise RuntimeError("a session of iRODS is used in another thread than its own; connect there anew")
        return self._raw

    def hint(self, path: str) -> str:
        """What to look at where a path is not there: its zone, if it is not the user's own."""
        zone, own = path.split("/")[1], self.environment.user_zone
        if zone != own:
            return f"Check the zone: the path begins with /{zone}, {self.environment.user} is at home in /{own}."
        return f"Check the path; {self.environment} may see less than others."

    @contextmanager
    def tolerant(self) -> Iterator[None]:
        """Read replies with the parser that takes control characters; slower."""
        ET(XML_Parser_Type.QUASI_XML, self.server_version)
        try:
            yield
        finally:
            ET(None)

    @contextmanager
    def expecting(self, size: int) -> Iterator[None]:
        """Wait longer for a reply, as for the checksum of an object of `size` bytes."""
        raw, usual = self.raw, self.raw.connection_timeout
        raw.connection_timeout = timeout_s(size)
        try:
            yield
        finally:
            raw.connection_timeout = usual


def timeout_s(size: int) -> float:
    """How long a server may take over `size` bytes in one call before it counts as lost."""
    return TIMEOUT_S + size / SLOWEST_BYTES_PER_S


@contextmanager
def connect(address: Address) -> Iterator[Session]:
    """Log in, and close the connection at the end. For the calling thread only.

    Raises
    ------
    EnvironmentUnusableError
        If the server cannot be reached or refuses the login; also if the connection is lost while it is used.
    InputError
        If neither address nor environment file says where to go.
    """
    found = environment(address)
    session = Session(address, found, _open(address, found))
    try:
        yield session
    except failures.NetworkException as error:
        where, fix = f"{address.server} ({found})", "Run the command again; what was finished is kept."
        raise EnvironmentUnusableError(str(Problem(where, f"the connection was lost: {error}", fix))) from error
    finally:
        _close(session.raw)


def _open(address: Address, found: Environment) -> iRODSSession:
    settings = _arguments(found)
    policies = _policies(found)
    for policy in policies:
        raw = iRODSSession(auto_cleanup=False, connection_timeout=LOGIN_TIMEOUT_S, **settings | policy)
        try:
            _ = raw.server_version
        except Exception as error:
            _close(raw)
            if "negotiation failure" in str(error) and policy is not policies[-1]:
                continue
            raise _explain(error, address, found) from error
        raw.connection_timeout = TIMEOUT_S
        _note_sockets(raw)
        return raw
    raise AssertionError("there is always a policy to try")


def _note_sockets(raw: iRODSSession) -> None:
    """Remember every socket in use: the client forgets that of a lost connection without closing it."""
    usual, raw.sockets = raw.pool.get_connection, set()

    def get_connection() -> Any:
        connection = usual()
        raw.sockets.add(connection.socket)
        return connection

    raw.pool.get_connection = get_connection


def _close(raw: iRODSSession) -> None:
    raw.do_configure = {}  # or closing would prepare the next login
    raw.cleanup()
    for each in getattr(raw, "sockets", ()):
        each.close()


def _arguments(found: Environment) -> dict[str, Any]:
    """What the client library is given: the environment's settings, with those that it would get wrong put right."""
    own = ("irods_host", "irods_port", "irods_user_name", "irods_zone_name", "irods_authentication_scheme")
    given = {key: value for key, value in found.settings.items() if key.startswith("irods_") and key not in own}
    given.pop("irods_connection_refresh_time", None)
    given.setdefault("irods_encryption_algorithm", "AES-256-CBC")
    given.setdefault("irods_encryption_key_size", 32)
    given.setdefault("irods_encryption_num_hash_rounds", 16)
    given.setdefault("irods_encryption_salt_size", 8)
    return given | {
        "host": found.host,
        "port": found.port,
        "user": found.user,
        "zone": found.user_zone,
        "password": _password(found),
        "ssl_context": _tls(found),
        "application_name": "snakescope",
    }


def _policies(found: Environment) -> list[dict[str, str]]:
    """Policies of encryption to try in turn; the library knows no "don't care", which means: encrypted if possible."""
    if found.settings.get("irods_client_server_policy") != "CS_NEG_DONT_CARE":
        return [{}]
    return [{"irods_client_server_policy": policy} for policy in ("CS_NEG_REQUIRE", "CS_NEG_REFUSE")]


def _password(found: Environment) -> str:
    """The password that iinit left; what PAM left is one for the native login, too."""
    if found.scheme not in ("native", *PAM):
        where, message = f"{found.file}: irods_authentication_scheme", f"found {found.scheme!r}; expected native or PAM"
        raise EnvironmentUnusableError(str(Problem(where, message)))
    try:
        return str(decode(found.password_file.read_text(encoding="utf-8").rstrip("\n"), _uid(found)))
    except FileNotFoundError:
        if found.user == "anonymous":
            return ""
        fix = "Log in once with: iinit"
        raise EnvironmentUnusableError(str(Problem(str(found.password_file), "there is no password", fix))) from None
    except Exception:  # the cause may hold parts of the secret
        raise EnvironmentUnusableError(
            str(Problem(str(found.password_file), "the password in it cannot be read", LOGIN))
        ) from None


def _uid(found: Environment) -> int | None:
    uid = found.settings.get("irods_authentication_uid")
    return int(uid) if uid is not None else None


def _tls(found: Environment) -> ssl.SSLContext:
    """Check the server as the environment says; the library alone would not check it where no CA is named."""
    settings, verify = found.settings, found.settings.get("irods_ssl_verify_server", "hostname")
    file, folder = settings.get("irods_ssl_ca_certificate_file"), settings.get("irods_ssl_ca_certificate_path")
    try:
        context = ssl.create_default_context(cafile=file, capath=folder)
    except OSError as error:
        where = f"{found.file}: irods_ssl_ca_certificate_{'file' if file else 'path'}"
        raise EnvironmentUnusableError(str(Problem(where, f"{file or folder} cannot be read: {error}"))) from error
    context.check_hostname = verify == "hostname"
    context.verify_mode = ssl.CERT_NONE if verify == "none" else ssl.CERT_REQUIRED
    return context


def _explain(error: Exception, address: Address, found: Environment) -> EnvironmentUnusableError:
    """One message for what went wrong at the login."""
    if isinstance(error, UNKNOWN):
        message = f"the server knows no user {found.user!r} of the zone {found.user_zone!r}"
        fix = f"Check the name in the address, or irods_user_name and irods_zone_name in {found.file}."
    elif isinstance(error, REFUSED):
        message = f"the login was refused ({type(error).__name__}): the password is wrong or has expired"
        fix = f"{LOGIN} (its password lies in {found.password_file})"
    elif isinstance(error, ssl.SSLError):
        message, fix = f"no encrypted connection: {error}", f"See irods_ssl_* in {found.file}, or ask the site."
    elif "negotiation failure" in str(error):
        message = "client and server want different encryption"
        fix = f"See irods_client_server_policy in {found.file}, or ask the site."
    elif isinstance(error, (failures.NetworkException, OSError)):
        message, fix = "the server gives no answer", "Check host and port, the network, and whether a VPN is needed."
    else:
        message, fix = f"the login failed: {type(error).__name__}: {error}", f"See {found.file}, or ask the site."
    return EnvironmentUnusableError(str(Problem(f"{address.server} ({found})", message, fix)))
