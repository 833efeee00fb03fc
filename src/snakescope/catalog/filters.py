"""Which images of a zone are wanted: conditions on AVUs, and a date."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from snakescope.errors import problem

_LIKE = re.compile(r"\s*(?P<name>.+?)\s+like\s+(?P<value>.+?)\s*", re.IGNORECASE | re.DOTALL)
_EQUAL = re.compile(r"\s*(?P<name>[^=]+?)\s*=\s*(?P<value>.*?)\s*", re.DOTALL)


@dataclass(frozen=True)
class Where:
    """One condition: some AVU of that name has that value.

    Parameters
    ----------
    text
        As it was given.
    name
        Name of the AVU.
    value
        What its value must be, or the pattern that it must be like.
    """

    text: str
    name: str
    value: str
    regex: re.Pattern[str] | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, text: str) -> Where:
        """Read ``name=value`` or ``name like text``; quotes around the value are left out."""
        like = _LIKE.fullmatch(text) if "=" not in text.lower().partition(" like ")[0] else None
        match = like or _EQUAL.fullmatch(text)
        if match is None:
            raise problem(f"--where {text!r}", "found no condition; expected 'name=value' or 'name like text%'")
        value = match["value"]
        if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        return cls(text, match["name"], value, _like_regex(value) if like else None)

    def holds(self, sets: Iterable[Iterable[tuple[str, str, str]]]) -> bool:
        """Whether some AVU of any of the sets fits."""
        return any(name == self.name and self._fits(value) for avus in sets for name, value, _ in avus)

    def _fits(self, value: str) -> bool:
        return value == self.value if self.regex is None else self.regex.fullmatch(value) is not None


def _like_regex(text: str) -> re.Pattern[str]:
    r"""``%`` is any text, ``_`` one character, a backslash takes the next character as it is."""
    parts = re.findall(r"\\.|.", text, re.DOTALL)
    made = {"%": ".*", "_": "."}
    return re.compile("".join(made.get(part) or re.escape(part[-1]) for part in parts), re.DOTALL)


@dataclass(frozen=True)
class Since:
    """A time before which nothing is wanted."""

    text: str
    time: datetime

    @classmethod
    def parse(cls, text: str) -> Since:
        """Read a date or a time; without a zone it is UTC."""
        try:
            time = datetime.fromisoformat(text.strip())
        except ValueError:
            message = "found no date; expected one such as 2026-11-21 or 2026-11-21T08:30"
            raise problem(f"--since {text!r}", message) from None
        return cls(text, time if time.tzinfo else time.replace(tzinfo=UTC))
