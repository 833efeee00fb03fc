"""What people get wrong about iRODS: one clear message, exit code 2 or 3, no traceback, no secret, nothing written."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from irods import password_obfuscation

from integration_helpers import snakescope
from irods_sites import act_as, running_zone, tiff_bytes
from irods_zone import Zone
from publish_helpers import ASKING, Export, catalogue
from snakescope.cli import main

# A connection that is lost at its login is left unclosed by the client.
pytestmark = [pytest.mark.irods, pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")]
USER, SECRET = "ann", "a secret phrase"


@pytest.fixture
def zone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Zone]:
    """A zone with a user who may see one collection, and write none."""
    with running_zone(tmp_path, monkeypatch) as running:
        running.make_user(USER, SECRET)
        for name in ("open", "closed", "empty"):
            running.put(f"{running.home}/{name}/a.tif", tiff_bytes())
        for path in (running.home, f"{running.home}/open", f"{running.home}/open/a.tif", f"{running.home}/empty"):
            running.grant(path, USER, "read")
        act_as(running, USER, monkeypatch)
        yield running


@pytest.fixture
def export(tmp_path: Path) -> Export:
    return Export(tmp_path / "tiny")


def edit(zone: Zone, change: Callable[[dict[str, object]], object]) -> None:
    """Change the environment file."""
    file = zone.environment_file(USER)
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def secret(zone: Zone) -> Path:
    return zone.environment_file(USER).with_name(".irodsA")


Spoil = Callable[[Zone], object]
# Of both commands: address (None: one that is right), what is spoilt before, exit code, and what is said.
BOTH: dict[str, tuple[str | None, Spoil, int, tuple[str, ...]]] = {
    "another zone": (
        "irods:///otherZone/home/rods/open",
        lambda zone: None,
        2,
        (
            "you have no permission to see it",
            "Check the zone: the path begins with /otherZone, ann is at home in /temp",
        ),
    ),
    "no permission": (
        "irods:///tempZone/home/rods/closed",
        lambda zone: None,
        2,
        ("rods/closed:", "you have no permission to see it", "ann#tempZone at localhost"),
    ),
    "not there": ("irods:///tempZone/home/rods/opened", lambda zone: None, 2, ("rods/opened:", "no permission")),
    "a password in the address": (
        f"irods://ann:{SECRET.replace(' ', '-')}@localhost/tempZone/home",
        lambda zone: None,
        2,
        ("irods://ann@localhost/tempZone/home: holds a password", "iinit"),
    ),
    "no zone": ("irods://", lambda zone: None, 2, ("names no zone",)),
    "a wrong password": (
        None,
        lambda zone: secret(zone).write_text(password_obfuscation.encode("another phrase")),
        3,
        ("the login was refused", "the password is wrong or has expired", "Log in again with: iinit"),
    ),
    "no password": (None, lambda zone: secret(zone).unlink(), 3, (".irodsA: there is no password", "iinit")),
    "an unreadable password": (
        None,
        lambda zone: secret(zone).write_text("x"),
        3,
        (".irodsA: the password in it cannot be read",),
    ),
    "an unknown user": (
        None,
        lambda zone: edit(zone, lambda content: content.update(irods_user_name="nobody")),
        3,
        ("the server knows no user 'nobody' of the zone 'tempZone'", "irods_user_name"),
    ),
    "no environment file": (
        None,
        lambda zone: zone.environment_file(USER).unlink(),
        2,
        ("irods_environment.json is not there to say which server and user to use", "iinit"),
    ),
    "a broken environment file": (
        None,
        lambda zone: zone.environment_file(USER).write_text("{"),
        2,
        ("irods_environment.json: cannot be read", "iinit writes it anew"),
    ),
    "a wrong port": (
        None,
        lambda zone: edit(zone, lambda content: content.update(irods_port="many")),
        2,
        ("irods_port: found 'many'; expected a whole number",),
    ),
    "a server that is away": (None, lambda zone: zone.stop(), 3, ("the server gives no answer", "VPN")),
}


@pytest.mark.parametrize("command", ["collect", "publish"])
@pytest.mark.parametrize("case", BOTH)
def test_what_is_wrong_is_told_once(
    zone: Zone,
    export: Export,
    case: str,
    command: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    address, spoil, code, told = BOTH[case]
    monkeypatch.chdir(export.root)
    sheet, before = (export.root / "config/samples.tsv").read_bytes(), catalogue(zone)
    spoil(zone)
    assert main([command, address or f"irods://{zone.home}/open"]) == code
    said = capsys.readouterr()
    for text in told:
        assert text in said.err
    assert said.out == ""
    assert len([line for line in said.err.splitlines() if not line.startswith(" ")]) == 1, said.err
    assert SECRET not in said.err
    assert SECRET.replace(" ", "-") not in said.err
    assert (export.root / "config/samples.tsv").read_bytes() == sheet
    assert catalogue(zone) == before


def test_an_empty_collection_is_empty_or_closed(zone: Zone, export: Export, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["collect", f"irods://{zone.home}/empty", "--study", str(export.root)]) == 2
    assert "it is empty, or you have no permission to see what is in it" in capsys.readouterr().err


def test_a_collection_that_may_only_be_read_is_not_published_into(
    zone: Zone, export: Export, capsys: pytest.CaptureFixture[str]
) -> None:
    zone.calls.clear()
    assert main(["publish", f"irods://{zone.home}/open", "--study", str(export.root), "--quiet"]) == 2
    told = "open/tiny: cannot be made: you may not change it: that takes modify_object or own"
    assert told in capsys.readouterr().err
    assert [call.status for call in zone.calls if call.api not in ASKING] == [-818000]


def test_a_dry_run_writes_nothing_where_publishing_would_be_refused(
    zone: Zone, export: Export, capsys: pytest.CaptureFixture[str]
) -> None:
    before = catalogue(zone)
    assert main(["publish", f"irods://{zone.home}/open", "--study", str(export.root), "--quiet", "--dry-run"]) == 0
    assert "would publish to" in capsys.readouterr().out
    assert catalogue(zone) == before


def test_lint_and_run_tell_that_nobody_has_logged_in(zone: Zone, tmp_path: Path) -> None:
    study = tmp_path / "study"
    assert snakescope("init", study, cwd=tmp_path).returncode == 0
    (study / "config/psf.tif").write_bytes(tiff_bytes())
    assert main(["collect", f"irods://{zone.home}/open", "--study", str(study)]) == 0
    zone.environment_file(USER).unlink()
    for command in ("lint", "run"):
        done = snakescope(command, cwd=study)
        assert done.returncode == 2
        assert "1 rows lie in iRODS" in done.stderr
        assert "iinit" in done.stderr
        assert "Traceback" not in done.stderr + done.stdout
