"""What is counted and said of a project on several pages and in the report."""

from __future__ import annotations

from typing import Final

from diffcl.studies.overview import Overview
from diffcl.web.pages.project import Moment
from diffcl.web.pages.words import plural

DAYS: Final = 30
"""Days with labels that are shown, the last ones."""


def sentence(overview: Overview, moment: Moment) -> str:
    """Where a project stands in one sentence."""
    counts, total = overview.counts, len(overview.scans)
    told = [
        f"{plural(overview.labelled, 'scan')} of {total} {'has' if overview.labelled == 1 else 'have'} a label"
    ]
    if counts["approved"]:
        told.append(f"{counts['approved']} of them approved")
    if counts["flagged"]:
        told.append(f"{counts['flagged']} flagged")
    if counts["unusable"]:
        told.append(f"{counts['unusable']} cannot be used")
    working = [one.task for one in moment.trainings.values() if one.runs]
    if working:
        told.append(f"{working[0]} is being trained")
    return f"{', '.join(told)}."


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
