"""What only a collection of iRODS has to tell, beside what a folder has: for people and for scripts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

Pairs = list[tuple[str, str]]


@dataclass
class ZoneFindings:
    """Findings of one collection.

    Attributes
    ----------
    objects, collections
        How many were listed.
    unusable
        Images without a good replica, with what replicas there are. A row of an earlier time is kept.
    unknown
        Images whose axes, shape and type are not known, with the reason. They have a row.
    several, refused
        AVUs with several values, and AVUs whose value no sheet can hold, by image.
    foreign
        AVUs that the mapping does not know, by name, with the number of images.
    unread
        Objects and collections whose AVUs the server could not send.
    filtered
        Images that conditions left out.
    """

    objects: int = 0
    collections: int = 0
    unusable: Pairs = field(default_factory=list)
    unknown: Pairs = field(default_factory=list)
    several: Pairs = field(default_factory=list)
    refused: Pairs = field(default_factory=list)
    foreign: Counter[str] = field(default_factory=Counter)
    unread: Pairs = field(default_factory=list)
    filtered: Counter[str] = field(default_factory=Counter)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, nothing left out."""
        pairs = {
            name: [{"path": path, "reason": reason} for path, reason in getattr(self, name)]
            for name in ("unusable", "unknown", "several", "refused", "unread")
        }
        counts = {"foreign": dict(sorted(self.foreign.items())), "filtered": dict(self.filtered)}
        return {"objects": self.objects, "collections": self.collections, **pairs, **counts}

    def listings(self) -> list[tuple[str, list[str]]]:
        """Titles and lines for the report."""
        return [
            ("not usable, and not collected", _lines(self.unusable)),
            ("axes, shape and type are not known", _lines(self.unknown)),
            ("AVUs whose value does not fit, left out", _lines(self.refused)),
            ("AVUs that the server could not send", _lines(self.unread)),
            ("AVUs with several values", _lines(self.several)),
        ]

    def summary(self) -> str:
        """What was left out, in a line each."""
        lines = [f"left out by {text}: {count}" for text, count in self.filtered.items()]
        if self.foreign:
            names = ", ".join(f"{name} {count}" for name, count in sorted(self.foreign.items())[:10])
            more = f" and {len(self.foreign) - 10} more" if len(self.foreign) > 10 else ""
            lines.append(f"AVUs left out that the mapping does not know: {names}{more} (--all-avus takes them)")
        return "\n".join(lines)


def _lines(pairs: Pairs) -> list[str]:
    return [f"{path}: {reason}" for path, reason in pairs]
