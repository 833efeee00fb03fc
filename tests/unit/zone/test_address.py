"""Addresses of iRODS as text, and what the environment file adds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snakescope.errors import InputError
from snakescope.zone.address import Address, environment

PART = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=12)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "irods_environment.json"
    monkeypatch.setenv("IRODS_ENVIRONMENT_FILE", str(file))
    monkeypatch.delenv("IRODS_AUTHENTICATION_FILE", raising=False)
    return file


@given(parts=st.lists(PART.filter(lambda part: part not in (".", "..")), min_size=1, max_size=4))
def test_any_path_survives_as_text(parts: list[str]) -> None:
    address = Address("/" + "/".join(parts))
    text = str(address)
    assert text.isascii()
    assert text.isprintable()
    assert " " not in text
    assert Address.parse(text) == address


def test_user_host_and_port_are_read_and_written() -> None:
    text = "irods://alice@data.example.org:1248/zone/home/a%20b"
    address = Address.parse(text)
    assert (address.user, address.host, address.port, address.path) == (
        "alice",
        "data.example.org",
        1248,
        "/zone/home/a b",
    )
    assert str(address) == text
    assert Address.parse("irods://u@[::1]:1247/z/a").host == "[::1]"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("irods:/zone/a", "is no iRODS address"),
        ("/zone/a", "is no iRODS address"),
        ("irods://host", "names no zone"),
        ("irods:///", "names no zone"),
        ("irods:///zone//a", "empty part"),
        ("irods:///zone/../a", "empty part"),
        ("irods:///zone/a%00b", "zero byte"),
        ("irods:///zone/50%_x", "has a % that starts no code ('%_x')"),
        ("irods:///zone/a%ff", "not UTF-8"),
        ("irods://alice@/zone/a", "a user without a host"),
        ("irods://host:99999/zone/a", "a port up to 65535"),
    ],
)
def test_what_is_no_address_is_refused(text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        Address.parse(text)
    assert message in str(caught.value)


def test_a_password_in_an_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(InputError, match="holds a password") as caught:
        Address.parse("irods://alice:hunter2@host/zone/a")
    assert "hunter2" not in str(caught.value)
    assert "irods://alice@host/zone/a" in str(caught.value)


def test_the_address_goes_before_the_environment_file(settings: Path) -> None:
    settings.write_text(
        json.dumps({"irods_host": "a.org", "irods_port": 1300, "irods_user_name": "bob", "irods_zone_name": "home"})
    )
    found = environment(Address.parse("irods:///zone/x"))
    assert (found.host, found.port, found.user, found.user_zone) == ("a.org", 1300, "bob", "home")
    found = environment(Address.parse("irods://eve#far@b.org/zone/x"))
    assert (found.host, found.port, found.user, found.user_zone) == ("b.org", 1247, "eve", "far")


def test_without_file_the_message_says_what_is_missing(settings: Path) -> None:
    with pytest.raises(InputError, match="which server and user to use") as caught:
        environment(Address.parse("irods:///zone/x"))
    assert "iinit" in str(caught.value)


@pytest.mark.parametrize(("text", "message"), [("{", "cannot be read"), ("[]", "no JSON object")])
def test_a_broken_environment_file_is_named(settings: Path, text: str, message: str) -> None:
    settings.write_text(text)
    with pytest.raises(InputError, match=message):
        environment(Address.parse("irods:///zone/x"))


def test_a_port_that_is_none_is_named(settings: Path) -> None:
    settings.write_text(json.dumps({"irods_host": "a.org", "irods_port": "soon", "irods_user_name": "bob"}))
    with pytest.raises(InputError, match="irods_port: found 'soon'"):
        environment(Address.parse("irods:///zone/x"))
