"""A Snakemake logger that writes one line of JSON for each event that a progress display needs.

Snakemake finds it by the name of this package. Where the lines go is told by ``SNAKESCOPE_EVENTS``, a file.
It imports nothing of snakescope, since Snakemake imports every plugin at every start.
"""

from __future__ import annotations

import json
import os
from logging import LogRecord
from typing import Any

from snakemake_interface_logger_plugins.base import LogHandlerBase

KEPT = ("job_info", "job_started", "job_finished", "job_error", "progress", "run_info", "error", "said")


class LogHandler(LogHandlerBase):
    """Appends events to a file; a handler that fails must never stop a run."""

    def __post_init__(self) -> None:
        """Open the file, if one was named."""
        path = os.environ.get("SNAKESCOPE_EVENTS")
        self._file = open(path, "a", encoding="utf-8", buffering=1) if path else None  # noqa: SIM115, PTH123

    def emit(self, record: LogRecord) -> None:
        """Write one event as a line."""
        event = getattr(record, "event", None)
        # our executor marks what a person should read while the run lasts
        name = "said" if getattr(record, "said", False) else str(getattr(event, "value", event)).lower()
        if self._file is None or name not in KEPT:
            return
        try:
            self._file.write(json.dumps({"event": name, **_fields(name, record)}) + "\n")
        except (OSError, ValueError, TypeError):
            self.handleError(record)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None
        super().close()

    @property
    def writes_to_stream(self) -> bool:
        """Nothing goes to the terminal."""
        return False

    @property
    def writes_to_file(self) -> bool:
        """The file is our own, not a log that Snakemake should name."""
        return False

    @property
    def has_filter(self) -> bool:
        """Events are chosen here."""
        return True

    @property
    def has_formatter(self) -> bool:
        """Lines are formatted here."""
        return True

    @property
    def needs_rulegraph(self) -> bool:
        """No graph is drawn."""
        return False


def _fields(name: str, record: LogRecord) -> dict[str, Any]:
    if name == "job_info":
        return {
            "job": getattr(record, "jobid", None),
            "rule": getattr(record, "rule_name", None),
            "unit": next(iter(dict(getattr(record, "wildcards", None) or {}).values()), None),
        }
    if name == "job_error":
        return {"job": getattr(record, "jobid", None)}
    if name == "job_finished":
        return {"job": getattr(record, "job_id", None)}
    if name == "job_started":
        return {"jobs": list(getattr(record, "job_ids", None) or getattr(record, "jobs", None) or [])}
    if name == "progress":
        return {"done": getattr(record, "done", None), "total": getattr(record, "total", None)}
    if name == "run_info":
        stats = getattr(record, "per_rule_job_counts", None) or getattr(record, "stats", None) or {}
        return {"rules": {str(rule): count for rule, count in dict(stats).items()}}
    return {"message": str(getattr(record, "exception", None) or record.getMessage())}
