"""What the command line makes of errors."""

from __future__ import annotations

import argparse
import errno
import os

import pytest

from snakescope import cli


def full(code: int) -> argparse.ArgumentParser:
    """A command line whose only command meets an error of the system."""

    def handler(_: argparse.Namespace) -> int:
        raise OSError(code, os.strerror(code), "records/r1/blur.json")

    parser = argparse.ArgumentParser()
    parser.set_defaults(handler=handler)
    return parser


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_or_quota_is_told_without_a_traceback(
    code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "build_parser", lambda: full(code))
    assert cli.main([]) == 3
    told = capsys.readouterr().err
    assert told.startswith(f"snakescope: records/r1/blur.json cannot be written ({os.strerror(code)}).\n    Make room")


def test_other_errors_of_the_system_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "build_parser", lambda: full(errno.EIO))
    with pytest.raises(OSError, match="Input/output error"):
        cli.main([])
