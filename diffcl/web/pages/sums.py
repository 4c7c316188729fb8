"""What is counted and said of a project on several pages and in the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from diffcl.recipe import Recipe
from diffcl.studies.index import IndexContent
from diffcl.studies.overview import LabelEvent, Overview
from diffcl.web.pages.project import Moment
from diffcl.web.pages.words import plural

WEAKEST: Final = 10
"""Per cent of the labels of a version that lie below its weakest tenth."""

UNNAMED: Final = IndexContent().name
"""What a folder of studies is called before somebody names it."""

MOST_TITLES: Final = 3
"""Tasks that a heading names."""

DAYS: Final = 30
"""Days with labels that are shown, the last ones."""


def heading(overview: Overview | None, tasks: Sequence[Recipe]) -> str:
    """What people call a project: by the name that somebody gave it, else what is segmented; no address of an archive.

    Args:
        overview: Of the project; None where that is not known.
        tasks: Recipes of its tasks.
    """
    if overview is not None and overview.name not in ("", UNNAMED) and "://" not in overview.name:
        return overview.name
    return " · ".join(task.title or task.name for task in tasks[:MOST_TITLES]) or "Where the study stands"


def sentence(overview: Overview, moment: Moment) -> str:
    """Where a project stands in a few short sentences."""
    counts, total = overview.counts, len(overview.scans)
    told = [
        f"{plural(overview.labelled, 'scan')} of {total} {'has' if overview.labelled == 1 else 'have'} a label."
    ]
    reviewed = counts["approved"] + counts["flagged"]
    if reviewed:
        kinds = [f"{counts[state]} {state}" for state in ("approved", "flagged") if counts[state]]
        told.append(f"{reviewed} of them {'was' if reviewed == 1 else 'were'} reviewed: {', '.join(kinds)}.")
    elif overview.labelled:
        told.append("None was reviewed yet.")
    if overview.partly_drawn:
        verb = "is" if overview.partly_drawn == 1 else "are"
        told.append(f"{plural(overview.partly_drawn, 'label')} {verb} partly drawn.")
    if counts["unusable"]:
        told.append(f"{plural(counts['unusable'], 'scan')} cannot be used.")
    told += [f"{one.task} is being trained." for one in moment.trainings.values() if one.runs]
    return " ".join(told)


def last_days(overview: Overview) -> dict[str, dict[str, int]]:
    """The labels of the last days with labels, the newest day first."""
    return dict(list(overview.per_day().items())[:DAYS])


def days_in_words(days: dict[str, dict[str, int]]) -> str:
    """What the chart of the days shows, for those who cannot see it.

    >>> days_in_words({"2026-02-01": {"ann": 2, "bob": 1}, "2026-01-31": {"ann": 1}})
    'Bars: 4 labels on 2 days from 2026-01-31 to 2026-02-01, at most 3 a day. The table has the numbers.'
    """
    if not days:
        return ""
    totals = [sum(people.values()) for people in days.values()]
    order = sorted(days)
    return (
        f"Bars: {plural(sum(totals), 'label')} on {plural(len(days), 'day')} from {order[0]} to {order[-1]}, "
        f"at most {max(totals)} a day. The table has the numbers."
    )


@dataclass(frozen=True)
class Corrected:
    """How good the proposals of one version, or of one month, were by what people made of them.

    Attributes:
        name: Of the version or month; of a version its number alone where there is one model.
        dice: Of each proposal with the label that was submitted for it, 0..1.
        first: Day of the first of these labels.
        last: Day of the last one.
    """

    name: str
    dice: tuple[float, ...]
    first: str
    last: str

    @property
    def median(self) -> float:
        """The Dice that half of them reach."""
        return float(np.median(self.dice))

    @property
    def weakest(self) -> float:
        """The Dice that nine of ten reach."""
        return float(np.percentile(self.dice, WEAKEST))


def by_version(overview: Overview) -> list[Corrected]:
    """The proposals of each version, by model and number. A label tests a proposal before it teaches."""
    found: dict[tuple[str, int], list[LabelEvent]] = {}
    for event in overview.events:
        if event.dice is not None:
            found.setdefault((event.model, event.model_version), []).append(event)
    one = len({model for model, _ in found}) == 1
    return [
        _corrected(f"{number}" if one else f"{model} {number}", found[model, number])
        for model, number in sorted(found)
    ]


def by_class(overview: Overview) -> list[Corrected]:
    """The proposals of the newest version that people corrected, by class; none where nobody did."""
    events = [event for event in overview.events if event.dice is not None]
    newest = max(((event.model, event.model_version) for event in events), default=None)
    found: dict[str, list[float]] = {}
    of_it = [event for event in events if (event.model, event.model_version) == newest]
    for event in of_it:
        for name, dice in event.classes.items():
            found.setdefault(name, []).append(round(dice, 4))
    days = sorted(event.day for event in of_it)
    return [Corrected(name, tuple(dice), days[0], days[-1]) for name, dice in found.items()]


def by_month(overview: Overview) -> list[Corrected]:
    """The proposals of each month of which labels were submitted, the newest month first."""
    found: dict[str, list[LabelEvent]] = {}
    for event in overview.events:
        if event.dice is not None and event.day:
            found.setdefault(event.day[:7], []).append(event)
    return [_corrected(month, found[month]) for month in sorted(found, reverse=True)]


def _corrected(name: str, events: Sequence[LabelEvent]) -> Corrected:
    days = sorted(event.day for event in events)
    return Corrected(name, tuple(round(event.dice or 0.0, 4) for event in events), days[0], days[-1])
