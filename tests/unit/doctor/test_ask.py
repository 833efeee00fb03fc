"""Other programs are asked, and can neither hold us up nor break us. The programs are stand-ins made here."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from snakescope.doctor.ask import NoAnswerError, ask, within


def program(folder: Path, script: str, first: str = "#!/bin/sh\n") -> str:
    path = folder / "stand-in"
    path.write_bytes((first + script + "\n").encode("utf-8", "surrogateescape"))
    path.chmod(0o755)
    return str(path)


def test_what_a_program_prints_is_its_answer(tmp_path: Path) -> None:
    answer = ask(program(tmp_path, 'echo; echo "  $1 1.2  "; echo more'), "version")
    assert (answer.fault, answer.first_line) == (None, "version 1.2")


def test_one_that_hangs_is_ended_in_time_with_what_it_has_started(tmp_path: Path) -> None:
    began = time.monotonic()
    answer = ask(program(tmp_path, f"sleep 61.7 & echo $! >{tmp_path}/child; wait"), limit_s=0.5)
    assert time.monotonic() - began < 5
    assert answer.fault == "gave no answer within 0.5 s"
    child = Path(f"/proc/{(tmp_path / 'child').read_text().strip()}/stat")
    until = time.monotonic() + 5
    while child.exists() and child.read_text().split()[2] != "Z" and time.monotonic() < until:
        time.sleep(0.05)
    assert not child.exists() or child.read_text().split()[2] == "Z"


def test_one_that_ends_but_leaves_its_output_open_holds_nobody_up(tmp_path: Path) -> None:
    began = time.monotonic()
    assert ask(program(tmp_path, "echo here; sleep 60 & exit 0"), limit_s=0.5).fault
    assert time.monotonic() - began < 5


def test_one_that_closes_its_output_and_stays_is_ended(tmp_path: Path) -> None:
    began = time.monotonic()
    answer = ask(program(tmp_path, "exec >&- 2>&-; sleep 60"), limit_s=0.5)
    assert answer.fault == "gave no answer within 0.5 s"
    assert time.monotonic() - began < 5


def test_one_that_prints_without_end_is_stopped(tmp_path: Path) -> None:
    answer = ask(program(tmp_path, "yes"))
    assert answer.fault == "prints without end"
    assert len(answer.said) < 10**6


def test_one_that_fails_tells_its_last_line(tmp_path: Path) -> None:
    assert ask(program(tmp_path, "echo first >&2; echo no licence >&2; exit 7")).fault == "ended with 7: no licence"
    assert ask(program(tmp_path, "exit 1")).fault == "ended with 1"


def test_bytes_that_are_no_text_are_told_as_such(tmp_path: Path) -> None:
    answer = ask(program(tmp_path, "printf 'v\\377\\376'"))
    assert (answer.fault, answer.said) == (None, "v\ufffd\ufffd")


def test_what_is_no_program_is_one_line(tmp_path: Path) -> None:
    assert ask("no-such-program-at-all").fault == "is not on the PATH"
    assert "cannot be started" in str(ask(program(tmp_path, "", first="#!/no/such/interpreter\n")).fault)


def test_a_call_that_hangs_is_left_behind() -> None:
    with pytest.raises(NoAnswerError, match=r"within 0\.1 s"):
        within(0.1, lambda: time.sleep(3))
    with pytest.raises(ZeroDivisionError):
        within(5, lambda: 1 // 0)
    assert within(5, lambda: 3) == 3
