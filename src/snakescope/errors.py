"""What can go wrong, said so that a person can act on it.

A `Problem` is one finding with its place; an error carries all the problems of a file at once.
This module knows nothing about images, tools or workflows.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

MAKE_ROOM = "Make room, or ask for a larger quota; see `df`, `df -i` and `quota`."


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: where, what was found, what was expected, what to do.

    Parameters
    ----------
    where
        File and key, for example ``tools/deskew/tool.yaml: params.angle_deg``.
    message
        What was found and what was expected, as one sentence without a full stop.
    fix
        What to do about it; None when the message already says so.
    """

    where: str
    message: str
    fix: str | None = None

    def __str__(self) -> str:
        text = f"{self.where}: {self.message.rstrip('.')}."
        return f"{text}\n    {self.fix}" if self.fix else text


class SnakescopeError(Exception):
    """Base of every error that is the user's to solve; `exit_code` is what the command line returns."""

    exit_code = 2


class InputError(SnakescopeError, ValueError):
    """Bad input or usage; lists every problem found, not only the first.

    Parameters
    ----------
    problems
        One problem or several, in the order in which a reader meets them.
    """

    def __init__(self, problems: Problem | Iterable[Problem]) -> None:
        self.problems = [problems] if isinstance(problems, Problem) else list(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class EnvironmentUnusableError(SnakescopeError, RuntimeError):
    """The machine lacks what the command needs: no Snakemake, no Apptainer, no Slurm."""

    exit_code = 3


def problem(where: object, message: str, fix: str | None = None) -> InputError:
    """Build an error with a single problem, ready to be raised."""
    return InputError(Problem(str(where), message, fix))
