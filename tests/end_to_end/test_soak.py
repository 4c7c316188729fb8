"""A short soak; `make soak` is the long one."""

from __future__ import annotations

from pathlib import Path

from soak import GROWTH, growth, soak


def test_a_mix_of_requests_breaks_no_promise(tmp_path: Path) -> None:
    outcome = soak(tmp_path, count=150, seconds=300)
    assert outcome.faults == []
    assert sum(outcome.acknowledged.values()) > 0
    assert growth(outcome)["bytes"] < GROWTH
