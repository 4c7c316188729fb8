"""Numbers, times and names as people read and write them."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from typing import Final

from markupsafe import Markup, escape

STATE_NAMES: Final = {
    "waiting": "without label",
    "proposed": "proposed",
    "submitted": "submitted",
    "approved": "approved",
    "flagged": "flagged",
    "unusable": "unusable",
}
"""What people read of each of `diffcl.studies.overview.STATES`."""

STATUS_NAMES: Final = {
    "preparing": "Prepares",
    "training": "Trains",
    "judging": "Validates",
    "done": "Done",
    "failed": "Failed",
    "stopped": "Stopped",
}
"""What people read of the state of a training."""

_RIGHT_TO_LEFT = "[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff\U00010800-\U00010fff\U0001e800-\U0001efff]"
_RUN = re.compile(f"{_RIGHT_TO_LEFT}(?:[^A-Za-z<>&]*{_RIGHT_TO_LEFT})*")


def name(text: str) -> Markup:
    """A name from outside for a sentence, which it does not turn around where it is written from right to left.

    >>> name("ann <1>"), name("דנה 2")
    (Markup('ann &lt;1&gt;'), Markup('<bdi>דנה 2</bdi>'))
    """
    return Markup("<bdi>{}</bdi>").format(text) if _RUN.search(text) else escape(text)


def said(text: str) -> Markup:
    """A sentence that may hold such names anywhere.

    >>> said("3 labels by דנה, 2 by bob")
    Markup('3 labels by <bdi>דנה</bdi>, 2 by bob')
    """
    return Markup(_RUN.sub(lambda found: f"<bdi>{found[0]}</bdi>", str(escape(text))))


def without_name(sentence: str, image: str) -> str:
    """What is said of a scan, for a place that names it already.

    >>> without_name("scans/p07.nii.gz: is empty. Export it again", "p07")
    'is empty. Export it again'

    Args:
        sentence: May begin with the scan, its file or its path, and a colon.
        image: Id of the scan.
    """
    return re.sub(rf"^(?:.*/)?{re.escape(image)}(?:\.[A-Za-z.]+)?: ", "", sentence, count=1)


def percent(value: float | None) -> str:
    """A share for people.

    >>> percent(0.123), percent(0.004), percent(None)
    ('12 %', '0.4 %', 'not known')
    """
    if value is None:
        return "not known"
    return f"{value:.0%}".replace("%", " %") if value >= 0.01 or value == 0 else f"{100 * value:.1f} %"


def dice(value: float | None) -> str:
    """A Dice for people.

    >>> dice(0.85123), dice(None)
    ('0.851', 'not measured')
    """
    return "not measured" if value is None else f"{value:.3f}"


def moment(value: str) -> str:
    """A time of a record for people, in UTC.

    >>> moment("2026-01-31T09:30:12+00:00"), moment("")
    ('2026-01-31 09:30', 'not known')
    """
    return value[:16].replace("T", " ") if value else "not known"


def clock(seconds: float) -> str:
    """A time for people, in UTC.

    >>> clock(1_769_851_812)
    '2026-01-31 09:30'

    Args:
        seconds: Since 1970.
    """
    return moment(datetime.fromtimestamp(seconds, timezone.utc).isoformat())


def plural(count: int, word: str) -> str:
    """A number of things.

    >>> plural(1, "scan"), plural(0, "label"), plural(3, "label")
    ('1 scan', '0 labels', '3 labels')
    """
    return f"{count} {word}" if count == 1 else f"{count:,} {word}s".replace(",", " ")


def minutes(value: float) -> str:
    """A time for people.

    >>> minutes(0.4), minutes(1.0), minutes(42.4), minutes(200)
    ('less than a minute', '1 minute', '42 minutes', '3.3 hours')
    """
    if value < 0.75:
        return "less than a minute"
    return plural(round(value), "minute") if value < 90 else f"{value / 60:.1f} hours"


def millimetres(value: float | None) -> str:
    """A distance for people; one that is infinite was kept as none.

    >>> millimetres(2.345), millimetres(None)
    ('2.35', 'infinite')
    """
    return "infinite" if value is None else f"{value:.2f}"


def whole_number(text: str | None, otherwise: int) -> int:
    """A number that somebody types or that stands in an address, up to nine digits.

    >>> whole_number("30", 0), whole_number("9" * 5000, 0), whole_number("²", 0), whole_number(None, 1)
    (30, 0, 0, 1)
    """
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 10 else otherwise
