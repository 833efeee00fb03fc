"""What a fact is: one line with a mark. No secret gets into one, nor a character that would break the line."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import unquote

from snakescope.errors import Problem

Mark = Literal["ok", "missing", "note"]
_SECRET = re.compile(
    r"PASSWORD|PASSWD|PASSPHRASE|SECRET|TOKEN|API_?KEY|PRIVATE_?KEY|ACCESS_?KEY|CREDENTIAL", re.IGNORECASE
)
_LOGIN = re.compile(r"(?<=://)[^\s/]*@")
# Shorter values are words such as "true", which would be blanked wherever they stand.
_SHORT = 6
HIDDEN = "***"


@dataclass(frozen=True)
class Fact:
    """One thing that is known.

    Parameters
    ----------
    group, name
        What it is about.
    mark
        ``ok``, ``missing``, or ``note`` for what may matter.
    text
        What is known.
    fix
        How to get what is missing; None where nothing is to be done.
    data
        Numbers for scripts.
    """

    group: str
    name: str
    mark: Mark
    text: str
    fix: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)

    def json(self) -> dict[str, Any]:
        """For scripts."""
        told = {"group": self.group, "name": self.name, "mark": self.mark, "text": self.text, "fix": self.fix}
        return told | ({"data": dict(self.data)} if self.data else {})


def fact(group: str, name: str, mark: Mark, text: str, fix: str | None = None, **data: Any) -> Fact:
    """A fact whose words can be shown."""
    return Fact(group, clean(name), mark, clean(text), clean(fix) if fix else None, data)


def clean_problem(problem: Problem) -> Problem:
    """A problem whose words can be shown."""
    fix = "\n".join(clean(line.strip()) for line in problem.fix.splitlines()) if problem.fix else None
    return Problem(clean(problem.where), clean(problem.message), fix)


def clean(text: str) -> str:
    """A text on one line, without what the environment keeps secret and without logins in addresses."""
    for secret in secrets(os.environ):
        text = text.replace(secret, HIDDEN)
    text = _LOGIN.sub(f"{HIDDEN}@", text)
    return "".join(sign if sign.isprintable() else _escaped(sign) for sign in text)


def _escaped(sign: str) -> str:
    return sign.encode("unicode_escape").decode("ascii")


def secrets(environ: Mapping[str, str]) -> list[str]:
    """Values that are never to be shown, the longest first."""
    found = {value for name, value in environ.items() if _SECRET.search(name) and len(value) >= _SHORT}
    for name, value in environ.items():
        if name.lower().endswith("_proxy"):
            found |= set(_login_words(value))
    return sorted(found - {""}, key=len, reverse=True)


def _login_words(address: str) -> Iterator[str]:
    login, at, _ = address.rpartition("@")
    password = login.rpartition("://")[2].partition(":")[2]
    if at and password:
        yield from (password, unquote(password))
