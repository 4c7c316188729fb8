"""The ramp of the unlabelled weights."""

from __future__ import annotations

import math

import pytest

from diffcl.losses.ramp import ramp


@pytest.mark.parametrize(
    ("step", "expected"),
    [(0, 0.0), (10, 0.0), (15, math.exp(-5 * 0.25)), (20, 1.0), (1000, 1.0)],
    ids=["before", "start", "middle", "end", "after"],
)
def test_ramp_at(step: int, expected: float) -> None:
    assert ramp(step, start=10, length=10) == pytest.approx(expected)


def test_a_ramp_without_length_is_a_step() -> None:
    assert [ramp(step, start=3, length=0) for step in (3, 4)] == [0.0, 1.0]
