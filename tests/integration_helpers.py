"""A tiny study whose tools are shell commands, for everything that is about running and not about images."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from snakescope.runner.folder import init

STAMP = {
    "schema": 1,
    "id": "stamp",
    "name": "Stamp",
    "version": "1.0.0",
    "tool": {"name": "sh", "version": "1"},
    "description": "Writes a word and the file after it; fails on a file that says broken.",
    "license": "MIT",
    "inputs": {"image": {"type": "image", "description": "Any file."}},
    "outputs": {"stamped": {"type": "file", "description": "Word and file.", "file": "stamped.txt", "format": "txt"}},
    "params": {
        "word": {"type": "text", "default": "one", "help": "A word."},
        "sleep_s": {"type": "number", "default": 0, "min": 0, "unit": "s", "help": "Time to take."},
    },
    "command": [
        "sh",
        "-c",
        'echo "$3" >"$2"; if grep -q broken "$1"; then echo "error: $1 is broken"; exit 3; fi; '
        'sleep "$4"; cat "$1" >>"$2"',
        "stamp",
        "{in.image}",
        "{out.stamped}",
        "{param.word}",
        "{param.sleep_s}",
    ],
}
COUNT = {
    **STAMP,
    "id": "count",
    "name": "Count",
    "description": "Counts lines.",
    "inputs": {"text": {"type": "file", "description": "Any text."}},
    "outputs": {"number": {"type": "file", "description": "Number.", "file": "number.txt", "format": "txt"}},
    "params": {"sleep_s": STAMP["params"]["sleep_s"]},  # type: ignore[index]
    "command": ["sh", "-c", 'sleep "$3"; wc -l <"$1" >"$2"', "count", "{in.text}", "{out.number}", "{param.sleep_s}"],
}
GATHER = {
    **COUNT,
    "id": "gather",
    "name": "Gather",
    "description": "Puts files together.",
    "inputs": {"texts": {"type": "file", "description": "Texts.", "many": True}},
    "outputs": {"all": {"type": "file", "description": "All.", "file": "all.txt", "format": "txt"}},
    "params": {},
    "command": ["sh", "-c", 'out=$1; shift; cat "$@" >"$out"', "gather", "{out.all}", "{in.texts}"],
}
PIPELINE = {
    "schema": 1,
    "name": "tiny",
    "title": "Tiny",
    "steps": {
        "stamp": {"tool": "stamp", "inputs": {"image": "sheet.path"}},
        "count": {"tool": "count", "inputs": {"text": "stamp.stamped"}},
        "gather": {"tool": "gather", "over": "series", "inputs": {"texts": "stamp.stamped"}},
    },
}


class TinyStudy:
    """A study folder with `rows` rows in series of two."""

    def __init__(self, root: Path, rows: int) -> None:
        self.root = root
        init(root)
        for tool in (STAMP, COUNT, GATHER):
            self.write(f"tools/{tool['id']}/tool.yaml", yaml.safe_dump(tool))
        self.write("config/config.yaml", "pipeline: tiny\n")
        self.set_pipeline({})
        lines = ["id\tpath\tseries\tt"]
        for index in range(rows):
            self.write(f"data/{index}.txt", f"file {index}\n")
            lines.append(f"r{index}\tdata/{index}.txt\ts{index // 2}\t{index % 2}")
        self.write("config/samples.tsv", "\n".join(lines) + "\n")

    def write(self, path: str, text: str) -> None:
        """Write a text file of the study."""
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text, encoding="utf-8")

    def read(self, path: str) -> str:
        """Read a text file of the study."""
        return (self.root / path).read_text(encoding="utf-8")

    def set_pipeline(self, params: dict[str, dict[str, object]]) -> None:
        """Write the pipeline with parameters by step."""
        steps = {name: {**step, "params": params.get(name, {})} for name, step in PIPELINE["steps"].items()}  # type: ignore[attr-defined]
        self.write("config/pipelines/tiny.yaml", yaml.safe_dump({**PIPELINE, "steps": steps}, sort_keys=False))

    def snakescope(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the command line in the study."""
        return snakescope(*arguments, cwd=self.root)

    def results(self) -> dict[str, str]:
        """Text of every result by path."""
        paths = sorted((self.root / "results").rglob("*"))
        return {str(path.relative_to(self.root)): path.read_text() for path in paths if path.is_file()}

    def times(self, pattern: str) -> dict[str, float]:
        """Modification times of the files that match."""
        return {str(path.relative_to(self.root)): path.stat().st_mtime for path in self.root.glob(pattern)}


def snakescope(
    *arguments: str | Path, cwd: Path, env: dict[str, str] | None = None, before: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    """Run the command line as a user does; `before` is a command that starts it."""
    command: Sequence[str] = [*before, sys.executable, "-m", "snakescope.cli", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, env=env)
