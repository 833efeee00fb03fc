"""Run one module of the client's own tests and write each test's outcome as JSON: ``client_runner.py MODULE FILE``."""

from __future__ import annotations

import json
import sys
import unittest
from pathlib import Path
from typing import Any


class Outcomes(unittest.TextTestResult):
    """Notes what became of every test."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.seen: dict[str, list[str]] = {}

    def startTest(self, test: unittest.TestCase) -> None:
        super().startTest(test)
        self.seen[name_of(test)] = ["passed", ""]

    def addError(self, test: unittest.TestCase, err: Any) -> None:
        super().addError(test, err)
        self.seen[name_of(test)] = ["failed", f"{err[0].__name__}: {err[1]}"]

    def addFailure(self, test: unittest.TestCase, err: Any) -> None:
        super().addFailure(test, err)
        self.seen[name_of(test)] = ["failed", f"{err[0].__name__}: {err[1]}"]

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        super().addSkip(test, reason)
        self.seen[name_of(test)] = ["skipped", reason]

    def addSubTest(self, test: unittest.TestCase, subtest: unittest.TestCase, err: Any) -> None:
        super().addSubTest(test, subtest, err)
        if err is not None:
            self.seen[name_of(test)] = ["failed", f"{err[0].__name__}: {err[1]}"]


def name_of(test: unittest.TestCase) -> str:
    """Class and method; the whole name for what is no method, such as a class that cannot be set up."""
    return ".".join(test.id().split(".")[-2:])


def main(module: str, output: str) -> int:
    suite = unittest.defaultTestLoader.loadTestsFromName(module)
    result = unittest.TextTestRunner(resultclass=Outcomes, verbosity=2).run(suite)
    assert isinstance(result, Outcomes)
    Path(output).write_text(json.dumps(result.seen), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
