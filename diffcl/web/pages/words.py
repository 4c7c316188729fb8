"""Numbers and times as people read and write them."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Final

STATUS_NAMES: Final = {
    "preparing": "Prepares",
    "training": "Trains",
    "judging": "Validates",
    "done": "Done",
    "failed": "Failed",
    "stopped": "Stopped",
}
"""What people read of the state of a training."""


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
