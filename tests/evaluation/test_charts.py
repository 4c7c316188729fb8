from __future__ import annotations

import re
from collections.abc import Callable
from xml.etree import ElementTree

import pytest

from diffcl.evaluation import charts
from diffcl.evaluation.charts import THEMES, Theme
from diffcl.evaluation.forecast import Forecast, Point

FORECAST = Forecast([Point(2, 0.7), Point(4, 0.8)])

CHARTS: dict[str, Callable[[Theme], str]] = {
    "days": lambda theme: charts.labels_per_day(
        {"2026-02-01": {"ann": 2, "bob": 1}, "2026-01-31": {"ann": 3}}, theme
    ),
    "proposals": lambda theme: charts.proposals(
        {"1": (0.7, 0.8), "2": tuple(0.01 * n for n in range(60))}, theme
    ),
    "versions": lambda theme: charts.versions({"1": (0.7, 0.02), "2": (0.8, 0.01)}, theme),
    "learning": lambda theme: charts.learning_curve(
        FORECAST.points, [2, 4, 8], [FORECAST.dice(n) for n in (2, 4, 8)], theme
    ),
    "training": lambda theme: charts.training({"L_c": [(1, 2.0), (2, 1.0)]}, [(2, 0.5)], theme),
    "a training that was not validated": lambda theme: charts.training({}, [], theme),
}


@pytest.mark.parametrize("name", CHARTS)
def test_a_chart_is_a_small_svg_in_the_colours_of_its_theme_and_the_same_each_time(name: str) -> None:
    drawn = {title: CHARTS[name](theme) for title, theme in THEMES.items()}
    for title, text in drawn.items():
        assert ElementTree.fromstring(text).tag.endswith("svg")
        assert len(text) < 60_000
        assert THEMES[title].ink in text
        assert "<script" not in text
        assert not re.search(r"""href="(?!#)""", text)
        assert CHARTS[name](THEMES[title]) == text
    assert drawn["light"] != drawn["dark"]


def test_a_training_that_was_not_validated_shows_no_scale_of_a_dice() -> None:
    text = charts.training({"L_c": [(1, 2.0), (2, 1.0)]}, [], THEMES["light"])
    assert "not validated" in text
    assert ">0.8<" not in text


def luminance(color: str) -> float:
    """Relative luminance of a colour such as #0b62a8, 0..1. Source: WCAG 2.2."""
    channels = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize(("title", "paper"), [("light", "#ffffff"), ("dark", "#12171f")])
def test_colours_stand_out_from_the_page(title: str, paper: str) -> None:
    theme = THEMES[title]
    for color, least in ((theme.ink, 7.0), *((one, 3.0) for one in theme.series)):
        lighter, darker = sorted((luminance(color), luminance(paper)), reverse=True)
        assert (lighter + 0.05) / (darker + 0.05) >= least, color


def test_names_of_any_kind_are_drawn() -> None:
    names = ("山田太郎", "דנה", "a $x_1$ b", "x" * 100, "<b>")
    text = charts.labels_per_day({"2026-01-31": dict.fromkeys(names, 1)}, THEMES["light"])
    shown = "".join(ElementTree.fromstring(text).itertext())
    assert "山田太郎" in shown
    assert "דנה" in shown
    assert "a x_1 b" in shown
    assert "x" * 17 + "…" in shown
    shown = charts.labels_per_day({"2026-01-31": {"": 1, "𓀀⠁": 2}}, THEMES["light"])
    assert "unknown" in shown
    assert "□□" in shown


def test_more_people_than_colours_are_told_together() -> None:
    days = {"2026-01-31": {f"person {number}": 20 - number for number in range(9)}}
    text = charts.labels_per_day(days, THEMES["light"])
    for told in ("person 0", "person 4", "4 others"):
        assert f">{told}</text>" in text
    assert "person 5" not in text
