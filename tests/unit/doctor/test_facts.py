"""What is shown holds no secret and stays on its line."""

from __future__ import annotations

import pytest

from snakescope.doctor.facts import clean, clean_problem, fact, secrets
from snakescope.errors import Problem


def test_a_fact_is_one_line_whatever_is_in_it() -> None:
    item = fact("g", "n", "ok", "a\nb\tc\x1b[31m\u2028d\udcffe µ", "do\nthis")
    assert item.text == "a\\nb\\tc\\x1b[31m\\u2028d\\udcffe µ"
    assert item.fix == "do\\nthis"
    item.text.encode("utf-8")


def test_values_of_secret_variables_are_blanked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_API_TOKEN", "tok-12345")
    monkeypatch.setenv("USE_TOKEN", "true")
    assert clean("said tok-12345 and true") == "said *** and true"


@pytest.mark.parametrize(
    "value", ["http://joe:p@ss/w0rd@proxy.lab:3128", "joe:p@ss/w0rd@proxy.lab:3128", "http://joe:p%40ss@proxy:1/"]
)
def test_the_password_of_a_proxy_is_a_secret(value: str) -> None:
    found = secrets({"HTTPS_proxy": value})
    assert "p@ss/w0rd" in found or "p@ss" in found
    assert not [secret for secret in found if "proxy" in secret]


def test_logins_in_addresses_are_blanked_but_not_digests(monkeypatch: pytest.MonkeyPatch) -> None:
    assert clean("see https://joe:pw@x.org/a@b") == "see https://***@x.org/a@b"
    assert clean("docker://registry:5000/gm@sha256:00") == "docker://registry:5000/gm@sha256:00"


def test_the_lines_of_a_fix_stay_lines() -> None:
    found = clean_problem(Problem("a\nb", "c\rd", "one\n    two\x07"))
    assert found == Problem("a\\nb", "c\\rd", "one\ntwo\\x07")
