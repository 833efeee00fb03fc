"""Names and values that would do something if a shell, Snakemake, conda or Apptainer read them as its own."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

# Whatever got out of its quotes makes a file of this name, somewhere.
OWNED = "owned"
PAYLOADS = [
    *("$(touch owned)", "`touch owned`", ";touch owned;", "|touch owned", "&&touch owned", "\\;touch owned"),
    *("&touch owned&", "';touch owned;'", '";touch owned;"', "$(touch${IFS}owned)", "'$(touch owned)'"),
    *("\"'$(touch owned)'\"", "%(touch owned)"),
]  # fmt: skip
SIGNS = [
    *("'", '"', "\\", "\\\\", "\\'", "$", "${HOME}", "$1", "$@", "`", ";", "&", "|", ">", "<", "*", "?", "~", "#", "!"),
    *("%s", "%", ",", ":", "=", "@", "-", "--", "--bind", "-x", "(", ")", "[", "]", "{", "}", "{{", "}}", "{sample}"),
    *("{input}", "{params.a:q}", "{0}", "{}", "...", "results/{sample}/x", "\\n", "\\0", "'''", '"""', " ", "  "),
    *("é", "日本", "😀", "\u00a0"),
]  # fmt: skip
# A cell or a value is one line; the sheet refuses what editors take for a line end.
CHARACTERS = st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"])
TEXTS = st.lists(
    st.one_of(st.sampled_from(PAYLOADS), st.sampled_from(SIGNS), st.text(CHARACTERS, max_size=5)),
    min_size=1,
    max_size=5,
).map("".join)
VALUES = TEXTS.filter(bool)
NAMES = TEXTS.map(lambda text: text.replace("/", "_").encode()[:120].decode(errors="ignore")).filter(
    lambda name: name not in ("", ".", "..", "~")
)

T = TypeVar("T")


def draw(strategy: st.SearchStrategy[T], count: int) -> list[T]:
    """So many different examples of a strategy: the same ones each time, but others each time in a soak."""
    found: list[T] = []
    keep: Callable[[T], None] = lambda value: None if value in found else found.append(value)  # noqa: E731
    several = settings(
        max_examples=4 * count + 50,
        database=None,
        deadline=None,
        derandomize="SNAKESCOPE_SOAK" not in os.environ,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    several(given(strategy)(keep))()
    assert len(found) >= count, f"{len(found)} different examples"
    return found[-count:]
