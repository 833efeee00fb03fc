"""Progress is shown when a pass takes longer than a moment, and not before."""

from __future__ import annotations

import pytest

from snakescope.bundle.pack import Meter


def test_a_short_pass_says_nothing_and_a_long_one_counts_mb(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("snakescope.bundle.pack.time.monotonic", lambda: now[0])
    said: list[tuple[str, int, int]] = []
    meter = Meter(lambda *told: said.append(told), "writing", 20_000_000)
    now[0] += 1.9
    meter(5_000_000)
    assert said == []
    now[0] += 0.2
    meter(7_000_000)
    assert said == [("writing", 12, 20)]
    Meter(None, "quiet", 1)(1)
