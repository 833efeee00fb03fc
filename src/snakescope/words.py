"""Numbers with their unit, for people."""

from __future__ import annotations


def many(count: int, noun: str) -> str:
    """A count with its noun: ``1 job``, ``2,000 jobs``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def duration(minutes: float) -> str:
    """A time in the unit that suits it."""
    if minutes < 1:
        return f"{minutes * 60:.0f} s" if minutes * 60 >= 1 else f"{minutes * 60:.1f} s"
    if minutes < 120:
        return f"{minutes:.0f} min"
    return f"{minutes / 60:.1f} h" if minutes < 48 * 60 else f"{minutes / 1440:.1f} d"


def size_text(number: float) -> str:
    """Bytes in the unit that suits them: ``3 bytes``, ``1.5 MB``."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "bytes" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"
