"""What a problem looks like to the person who has to act on it."""

from __future__ import annotations

import pytest

from snakescope.errors import EnvironmentUnusableError, InputError, Problem, SnakescopeError, problem


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (Problem("a.yaml: key", "found 1; expected 2"), "a.yaml: key: found 1; expected 2."),
        (Problem("a.yaml", "is missing."), "a.yaml: is missing."),
        (Problem("a", "odd", "Mend it."), "a: odd.\n    Mend it."),
    ],
)
def test_a_problem_is_its_place_a_sentence_and_what_to_do(found: Problem, text: str) -> None:
    assert str(found) == text


def test_an_error_holds_all_problems_in_their_order() -> None:
    error = InputError(Problem(str(n), "odd") for n in range(3))
    assert [item.where for item in error.problems] == ["0", "1", "2"]
    assert str(error) == "0: odd.\n1: odd.\n2: odd."


def test_one_problem_is_an_error_too() -> None:
    error = problem(7, "odd", "Mend it.")
    assert error.problems == [Problem("7", "odd", "Mend it.")]


def test_errors_also_are_the_builtin_ones_they_stand_for_and_know_their_exit_code() -> None:
    assert issubclass(InputError, ValueError)
    assert issubclass(EnvironmentUnusableError, RuntimeError)
    assert (SnakescopeError.exit_code, InputError.exit_code, EnvironmentUnusableError.exit_code) == (2, 2, 3)
