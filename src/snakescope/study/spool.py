"""A text file that is written line by line and kept open no longer than a moment."""

from __future__ import annotations

from pathlib import Path

LINES = 2000


class LineFile:
    """Lines gathered and appended in portions, so that what is stopped half-way leaves no file open.

    Parameters
    ----------
    path
        Made anew; UTF-8, lines end with a line feed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lines: list[str] = []
        path.write_bytes(b"")

    def write(self, line: str) -> None:
        """Add one line, without its end."""
        self._lines.append(line)
        if len(self._lines) >= LINES:
            self.flush()

    def flush(self) -> None:
        """Append what was gathered to the file."""
        if self._lines:
            with self.path.open("a", encoding="utf-8", newline="\n") as out:
                out.write("\n".join(self._lines) + "\n")
            self._lines.clear()
