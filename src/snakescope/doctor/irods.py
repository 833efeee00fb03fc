"""Whether iRODS is set up for this user; asked of the server only where that is wished. Holds no password."""

from __future__ import annotations

from collections.abc import Iterator

from snakescope.doctor.ask import NoAnswerError, within
from snakescope.doctor.facts import Fact, fact
from snakescope.errors import InputError, SnakescopeError
from snakescope.zone.address import Address, Environment, environment, environment_file

LOGIN_S = 8.0


def irods_facts(*, connect: bool) -> Iterator[Fact]:
    """What the client's environment file says, and with `connect` whether a login works."""
    file = environment_file()
    if not file.is_file():
        yield fact("irods", "settings", "note", f"not configured: there is no {file}", "Log in once with: iinit")
        return
    try:
        found = environment(Address("/"))
    except InputError as error:
        (problem,) = error.problems[:1]
        yield fact("irods", "settings", "missing", f"{problem.where}: {problem.message}", "Write them anew with: iinit")
        return
    yield fact("irods", "settings", "ok", str(file))
    yield fact("irods", "server", "ok", f"{found.host}:{found.port}, {found.scheme} login")
    yield fact("irods", "user", "ok", f"{found.user}#{found.user_zone or '(no zone)'}")
    if not found.password_file.is_file() and found.user != "anonymous":
        told = f"there is no {found.password_file}"
        yield fact("irods", "password", "missing", told, "Log in once with: iinit")
    elif connect:
        yield _login(found)
    else:
        yield fact("irods", "login", "note", "not tried; ask with: snakescope doctor --connect")


def _login(found: Environment) -> Fact:
    try:
        version = within(LOGIN_S, lambda: _server_version(found))
    except NoAnswerError as error:
        fix = "Check host and port, the network, and whether a VPN is needed."
        return fact("irods", "login", "missing", f"the server {error}", fix)
    except SnakescopeError as error:
        message, _, fix = str(error).partition("\n    ")
        return fact("irods", "login", "missing", message, fix)
    return fact("irods", "login", "ok", f"works; the server is iRODS {version}")


def _server_version(found: Environment) -> str:
    from snakescope.zone.session import connect as connected  # a large library, needed here only

    with connected(Address(f"/{found.user_zone}")) as session:
        return ".".join(map(str, session.server_version))
