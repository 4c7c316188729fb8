"""The charts of the pages, drawn when somebody looks and kept until their numbers change."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from threading import Lock
from typing import Any, Final

from diffcl.evaluation import charts
from diffcl.evaluation.charts import Theme
from diffcl.web.pages import sums
from diffcl.web.pages.project import Moment

KEPT: Final = 64
"""Charts that are kept; each has some ten thousand characters."""


class Drawings:
    """The charts that were drawn last. Safe in threads."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, ...], str] = OrderedDict()
        self._lock = Lock()

    @staticmethod
    def mark(data: object) -> str:
        """Another text for other numbers, for the address of a chart."""
        return hashlib.sha256(repr(data).encode()).hexdigest()[:12]

    def draw(self, name: str, about: str, moment: Moment, theme: Theme) -> str | None:
        """A chart as SVG; None where there is none of that name, or nothing to draw.

        Args:
            name: Of the chart.
            about: Task or model that it is about.
            moment: What is known.
            theme: Colours.
        """
        found = _chart(name, about, moment)
        if found is None:
            return None
        data, paint = found
        key = (name, about, theme.ink, self.mark(data))
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        drawn = paint(theme)
        with self._lock:
            self._kept[key] = drawn
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return drawn


def _chart(name: str, about: str, moment: Moment) -> tuple[Any, Callable[[Theme], str]] | None:
    """The numbers of a chart, and what draws it in the colours of a theme."""
    overview = moment.overview
    if name == "days" and overview is not None and (days := sums.last_days(overview)):
        return days, partial(charts.labels_per_day, days)
    if name == "proposals" and overview is not None and (found := sums.by_version(overview)):
        groups = {one.name: one.dice for one in found}
        return groups, partial(charts.proposals, groups)
    if name == "versions" and about in moment.versions:
        dice = {
            str(one.number): (one.dice, one.margin or 0.0)
            for one in moment.versions[about]
            if one.dice is not None
        }
        return (dice, partial(charts.versions, dice)) if dice else None
    if name == "learning" and about in moment.learning:
        learning = moment.learning[about]
        curve = learning.points, learning.labels, learning.ranges
        return curve, partial(charts.learning_curve, *curve)
    if name == "training" and about in moment.trainings:
        training = moment.trainings[about]
        curves = training.losses, training.validation
        return (curves, partial(charts.training, *curves)) if training.losses or training.validation else None
    return None
