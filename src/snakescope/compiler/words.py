"""Values as words of a command line, of Python text and of Snakemake's shell text: where data becomes code."""

from __future__ import annotations

import json
from typing import Any


def word(value: Any) -> str | int | float:
    """A parameter's value as one word of a command line: true/false for booleans, commas in a list."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ",".join(str(word(item)) for item in value)
    return value  # type: ignore[no-any-return]


def flag(name: str) -> str:
    """Name of a port or parameter as it stands in a flag."""
    return name.replace("_", "-")


def brace(text: str) -> str:
    """Text in which Snakemake sees no placeholder."""
    return text.replace("{", "{{").replace("}", "}}")


def unbrace(text: str) -> str:
    """Undo the doubling of braces in a descriptor."""
    return text.replace("{{", "{").replace("}}", "}")


def quote_literal(value: Any, lookup_prefix: str = "lambda wildcards: ") -> str:
    """A value as Python text in a rule. The one place where data becomes code.

    A text with braces goes behind a function, since Snakemake would look for wildcards in it.
    """
    if not isinstance(value, str):
        return repr(value)
    text = json.dumps(value, ensure_ascii=False)
    if value.count('"') > value.count("'"):  # as snakefmt has it: the quotes that need fewer backslashes
        body = text[1:-1].replace('\\"', '"').replace("'", "\\'")
        text = f"'{body}'"
    text = text.encode("ascii", "backslashreplace").decode()
    return f"{lookup_prefix}{text}" if "{" in value or "}" in value else text
