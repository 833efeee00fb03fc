# ruff: noqa: E501 - tables of whole messages
"""The prose of a method: what it reads as, and what is wrong with it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snakescope.tool.prose import Value, fill, finish, mistakes, with_unit

VALUES: dict[str, Value] = {
    "radius_um": (0.3, "um"),
    "angle_deg": (31.5, "deg"),
    "n": (0, "1"),
    "split": (True, None),
    "merge": (False, None),
    "method": ("log", None),
    "none": (None, "um"),
    "empty": ("", None),
}


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (1.0, "um", "1.0 µm"),
        (31.5, "deg", "31.5°"),
        (2, "s", "2 s"),
        (15, "px", "15 px"),
        ([1, 99.8], "%", "1 and 99.8%"),
        ([1, 2, 3], None, "1, 2 and 3"),
        ([4], "um", "4 µm"),
        (7, "1", "7"),
        ("0.5", "um", "0.5 µm"),
        (False, None, "false"),
        ("-.5", "um", "-.5 µm"),
        ("as in column 'w'", "um", "as in column 'w'"),
    ],
)
def test_a_value_is_printed_with_its_unit(value: Any, unit: str | None, text: str) -> None:
    assert with_unit(value, unit) == text


@pytest.mark.parametrize(
    ("prose", "text"),
    [
        ("At {angle_deg}, {radius_um} apart, {n} times.", "At 31.5°, 0.3 µm apart, 0 times."),
        ("{split|true=with|false=without} splits", "with splits"),
        ("{merge|true=with|false=without} merges", "without merges"),
        ("a{merge|true= with merges}.", "a."),
        ("{method|log=Laplacian (a=b)|dog=difference}", "Laplacian (a=b)"),
        ("{none|null=as is}{radius_um|null=never}", "as is"),
        ("by {radius_um}[, {none} wide][, {n} deep].", "by 0.3 µm, 0 deep."),
        ("x[, {radius_um} of {none}]", "x"),
        ("x[, called {empty}]", "x"),
        ("x[{split|true=, far} {radius_um}][{merge|true=, near} {radius_um}]", "x, far 0.3 µm"),
        ("{{n}} [[{n}]] }} ]]", "{n} [0] } ]"),
        ("[{n} [[in]] {{it}}]", "0 [in] {it}"),
    ],
)
def test_prose_reads_as_a_sentence(prose: str, text: str) -> None:
    assert finish(prose, VALUES) == text


def test_what_is_not_known_yet_stays_open_and_the_rest_is_filled_in() -> None:
    prose = "{n} {width_um}{way|a=A|b=B}[, {width_um} or {radius_um}][, {n}][, {none} {width_um}]."
    half = "0 {width_um}{way|a=A|b=B}[, {width_um} or 0.3 µm], 0."
    assert fill(prose, VALUES) == half
    assert finish(half, {"width_um": ("5", "um"), "way": ("b", None)}) == "0 5 µmB, 5 µm or 0.3 µm, 0."
    assert finish(half, {"width_um": (None, "um"), "way": ("c", None)}) == "0 , 0."


ANYTHING = st.text(alphabet="{}[]|=n ab", max_size=12)


@given(ANYTHING, ANYTHING)
def test_a_value_is_never_read_as_prose(first: str, second: str) -> None:
    prose = "<{a}> [<{a}> <{b}>] <{b}>"
    once = fill(prose, {"a": (first, None)})
    expected = f"<{first}> <{first}> <{second}> <{second}>" if first and second else f"<{first}>  <{second}>"
    assert finish(once, {"b": (second, None), "n": ("WRONG", None)}) == expected


WORDS = {"radius_um": [], "none": [], "split": ["true", "false"], "method": ["log", "dog"], "gone": ["x"]}


@pytest.mark.parametrize(
    ("prose", "message"),
    [
        ("a {radius} b", "{radius} is not a parameter / Did you mean 'radius_um'?"),
        ("a {radius|x=y} b", "{radius} is not a parameter / Did you mean 'radius_um'?"),
        ("a {} b", "{} is not a parameter / None"),
        ("a [{radius}] b", "{radius} is not a parameter / Did you mean 'radius_um'?"),
        ("{radius_um", "found a single brace in '{radius_um'; expected pairs / Double it to have it in the text."),
        ("[{radius_um} }]", "found a single brace in '[{radius_um} }]'; expected pairs / Double it to have it in the text."),
        (
            "[{radius_um}", "found a single bracket in '[{radius_um}'; expected pairs / Double it to have it in the text."
            " Parts in brackets do not nest.",
        ),
        (
            "[{radius_um} [{split}] ]", "found a single bracket in '[{radius_um} [{split}] ]'; expected pairs / "
            "Double it to have it in the text. Parts in brackets do not nest.",
        ),
        ("by [0, 1]", "found [0, 1] without a parameter in it / Double the brackets to have them in the text."),
        ("by {none}", "{none} may have no value / Put it into square brackets with its words: [, with {none}]."),
        ("{method|lgo=a}", "the parameter 'method' is never 'lgo' / Did you mean 'log'?"),
        ("{method|null=a}", "the parameter 'method' is never 'null' / There are: log, dog."),
        ("{split|yes=a}", "the parameter 'split' is never 'yes' / There are: true, false."),
        ("{radius_um|3=a}", "the parameter 'radius_um' is never '3' / Write {radius_um} only."),
        ("{gone|nul=a}", "the parameter 'gone' is never 'nul' / Did you mean 'null'?"),
        ("{method|log}", "found 'log' in '{method|log}'; expected value=text / None"),
    ],
)  # fmt: skip
def test_one_mistake_in_prose_is_one_clear_problem(prose: str, message: str) -> None:
    assert [f"{text} / {fix}" for text, fix in mistakes(prose, WORDS, {"none", "gone"})] == [message]


@pytest.mark.parametrize(
    "prose",
    ["", "plain", "{radius_um} {{x}} [[y]]", "[{none}]{none|null=a}{gone|x=1|null=2}", "{split|true=}[{method} [[{gone}]]]"],
)  # fmt: skip
def test_good_prose_has_no_mistake(prose: str) -> None:
    assert list(mistakes(prose, WORDS, {"none", "gone"})) == []
