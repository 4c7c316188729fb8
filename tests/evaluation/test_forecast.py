from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from diffcl.errors import DataError
from diffcl.evaluation.forecast import FURTHEST, Forecast, Point

MEASURED = Path(__file__).parents[2] / "docs" / "benchmarks.md"

COUNTS = (2, 4, 8, 16)


def simulated_curves() -> list[tuple[float, ...]]:
    """The Dice of every simulated annotation project of the benchmarks after 2, 4, 8 and 16 labels."""
    rows = re.findall(
        r"^\| `\w+`, seeds 0 to 4 \|(.*)\|$", MEASURED.read_text(encoding="utf-8"), re.MULTILINE
    )
    return [
        curve
        for row in rows
        for curve in zip(*([float(dice) for dice in cell.split(",")] for cell in row.split("|")), strict=True)
    ]


def first(curve: tuple[float, ...], count: int) -> Forecast:
    return Forecast([Point(*one) for one in zip(COUNTS[:count], curve[:count], strict=True)])


@pytest.mark.parametrize(("known", "asked"), [(2, 2), (2, 3), (3, 3)], ids=["4 to 8", "4 to 16", "8 to 16"])
def test_the_range_holds_the_truth_in_8_of_10_real_curves_and_is_narrow(known: int, asked: int) -> None:
    curves = simulated_curves()
    assert len(curves) == 10
    ranges = [first(curve, known).dice(COUNTS[asked]) for curve in curves]
    held = [one.low <= curve[asked] <= one.high for one, curve in zip(ranges, curves, strict=True)]
    assert sum(held) >= 8
    assert np.mean([one.high - one.low for one in ranges]) < 0.08
    errors = [one.middle - curve[asked] for one, curve in zip(ranges, curves, strict=True)]
    assert abs(np.mean(errors)) < 0.01


def test_the_range_holds_the_truth_of_curves_of_other_floors_and_rates() -> None:
    draw = np.random.default_rng(0)
    held = 0
    for _ in range(30):
        floor, scale, rate = draw.uniform(0.02, 0.15), draw.uniform(0.2, 0.5), draw.uniform(0.3, 1.0)

        def dice(labels: int, f: float = floor, s: float = scale, r: float = rate) -> float:
            return float(1 - f - s * labels**-r + draw.normal(0, 0.008))

        found = Forecast([Point(labels, dice(labels)) for labels in (3, 6, 12)]).dice(24)
        held += found.low <= dice(24) <= found.high
    assert 21 <= held <= 29


def test_more_labels_are_needed_for_more_dice() -> None:
    forecast = first(simulated_curves()[0], 4)
    now, later = forecast.needed(0.86), forecast.needed(0.885)
    assert now.in_words() == "0.86 is about reached"
    assert later.low is not None
    assert later.middle is not None
    assert 0 == now.middle <= later.low < later.middle
    assert f"about {later.middle} more labels for 0.8" in later.in_words()


def test_what_no_label_brings_is_not_promised() -> None:
    flat = Forecast([Point(4, 0.80), Point(8, 0.801), Point(16, 0.80)])
    needed = flat.needed(0.95)
    assert (needed.middle, needed.high, needed.horizon) == (None, None, 16 * (FURTHEST - 1))
    assert needed.in_words() == "0.95 is probably not reached even with 112 more labels"


def test_a_model_that_got_worse_is_not_said_to_get_worse_for_ever() -> None:
    falling = Forecast([Point(2, 0.75), Point(4, 0.72)])
    later = falling.dice(16)
    assert 0.72 < later.middle < 0.80
    assert later.high - later.low > 0.05


def test_the_range_of_a_measured_version_is_wider_than_that_of_the_mean() -> None:
    forecast = first(simulated_curves()[3], 4)
    measured, mean = forecast.dice(32), forecast.dice(32, measured=False)
    assert measured.low < mean.low < mean.middle < mean.high < measured.high


@pytest.mark.parametrize(
    "points",
    [[], [Point(4, 0.8)], [Point(4, 0.8), Point(4, 0.82)], [Point(0, 0.8), Point(4, 0.82)]],
    ids=["nothing", "one version", "one number of labels", "one of no labels"],
)
def test_nothing_is_forecast_from_one_number_of_labels(points: list[Point]) -> None:
    with pytest.raises(DataError, match="needs versions of 2 different numbers of labels"):
        Forecast(points)
