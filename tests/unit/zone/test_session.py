"""Connecting to a zone: what goes wrong is said once and clearly, and secrets stay where they are."""

from __future__ import annotations

import json
import logging
import threading
from pathlib import Path
from typing import Any

import pytest
from irods import password_obfuscation

from irods_zone import Zone
from snakescope.errors import EnvironmentUnusableError
from snakescope.zone.address import Address
from snakescope.zone.session import TIMEOUT_S, Session, connect

# A connection that is lost at its login is left unclosed by the client.
pytestmark = [pytest.mark.irods, pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")]
HERE = Address("/tempZone/home/rods")


def change(zone: Zone, **settings: Any) -> None:
    """Write other settings into the environment file."""
    file = zone.environment_file()
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))


def test_a_session_belongs_to_its_thread(session: Session) -> None:
    caught: list[BaseException] = []

    def use() -> None:
        try:
            _ = session.raw
        except RuntimeError as error:
            caught.append(error)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert "another thread" in str(caught[0])
    assert session.raw.collections.get(HERE.path).path == HERE.path


def test_the_connection_is_closed_at_the_end(zone: Zone) -> None:
    with connect(HERE):
        assert zone.open_connections == 1
    assert zone.open_connections == 0


def test_a_wrong_password_ends_with_one_message(zone: Zone) -> None:
    zone.environment_file().with_name(".irodsA").write_text(password_obfuscation.encode("not it"))
    with pytest.raises(EnvironmentUnusableError, match="the login was refused") as caught, connect(HERE):
        pass
    assert caught.value.exit_code == 3
    assert "iinit" in str(caught.value)
    assert "not it" not in str(caught.value)


def test_no_password_ends_with_one_message(zone: Zone) -> None:
    zone.environment_file().with_name(".irodsA").unlink()
    with pytest.raises(EnvironmentUnusableError, match="there is no password"), connect(HERE):
        pass


def test_a_server_that_is_away_ends_with_one_message(zone: Zone) -> None:
    zone.stop()
    with pytest.raises(EnvironmentUnusableError, match="the server gives no answer"), connect(HERE):
        pass


def test_a_connection_lost_in_use_ends_with_one_message(zone: Zone) -> None:
    def work() -> None:
        with connect(HERE) as session:
            zone.drop_connections()
            session.raw.collections.get(HERE.path)

    with pytest.raises(EnvironmentUnusableError, match="the connection was lost"):
        work()


def test_dont_care_is_tried_encrypted_and_then_plain(zone: Zone) -> None:
    negotiation = "request_server_negotiation"
    change(zone, irods_client_server_policy="CS_NEG_DONT_CARE", irods_client_server_negotiation=negotiation)
    with connect(HERE) as session:
        assert session.raw.collections.get(HERE.path).path == HERE.path


def test_a_policy_that_the_server_refuses_is_named(zone: Zone) -> None:
    negotiation = "request_server_negotiation"
    change(zone, irods_client_server_policy="CS_NEG_REQUIRE", irods_client_server_negotiation=negotiation)
    with pytest.raises(EnvironmentUnusableError, match="want different encryption"), connect(HERE):
        pass


@pytest.mark.parametrize("scheme", ["pam", "PAM_password"])
def test_what_pam_left_is_used_for_the_native_login(zone: Zone, scheme: str) -> None:
    change(zone, irods_authentication_scheme=scheme)
    with connect(HERE) as session:
        assert session.raw.username == "rods"


def test_another_scheme_is_refused(zone: Zone) -> None:
    change(zone, irods_authentication_scheme="gsi")
    with pytest.raises(EnvironmentUnusableError, match="found 'gsi'; expected native or PAM"), connect(HERE):
        pass


def test_a_certificate_file_that_is_not_there_is_named(zone: Zone, tmp_path: Path) -> None:
    change(zone, irods_ssl_ca_certificate_file=str(tmp_path / "none.pem"))
    with pytest.raises(EnvironmentUnusableError, match="irods_ssl_ca_certificate_file"), connect(HERE):
        pass


@pytest.mark.parametrize(("verify", "checked"), [(None, True), ("cert", True), ("none", False)])
def test_the_server_is_checked_unless_told_otherwise(zone: Zone, verify: str | None, checked: bool) -> None:
    change(zone, **({} if verify is None else {"irods_ssl_verify_server": verify}))
    with connect(HERE) as session:
        context = session.raw.pool.account.ssl_context
        assert bool(context.verify_mode) is checked
        assert context.check_hostname is (verify is None)


def test_no_secret_is_logged(zone: Zone, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with connect(HERE) as session:
        assert session.raw.collections.get(HERE.path)
        assert "rods" not in repr(session.environment.settings.get("password", ""))
    assert [record for record in caplog.records if record.name.startswith("irods.") and record.levelno < 30] == []


def test_the_time_to_wait_grows_with_the_size(session: Session) -> None:
    with session.expecting(50_000_000_000):
        assert session.raw.connection_timeout > 1000
    assert session.raw.connection_timeout == TIMEOUT_S
