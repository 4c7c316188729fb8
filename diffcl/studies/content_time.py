"""When a DICOM object was made, as a moment in UTC that can be compared with others.

Source:
    DICOM PS3.3, C.12.1.1.1: TimezoneOffsetFromUTC, which holds for all dates and times of an object.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone, tzinfo
from typing import Any, Final

from pydicom.dataset import Dataset
from pydicom.valuerep import DA, TM

UNDATED: Final = datetime.min.replace(tzinfo=timezone.utc)
"""The moment of an object whose date cannot be understood: before all others."""

YEARS: Final = range(1900, 9000)
"""Years that can be meant; beyond them arithmetic has no room."""


def moment(header: Dataset) -> datetime:
    """When an object was made: its ContentDate and ContentTime, midnight without a time.

    Without an offset it is taken for the local time of this machine, daylight saving included.

    >>> header = Dataset()
    >>> header.ContentDate, header.ContentTime, header.TimezoneOffsetFromUTC = "20260102", "0304", "+0130"
    >>> moment(header).isoformat()
    '2026-01-02T01:34:00+00:00'
    """
    try:
        date: Any = DA(_text(header, "ContentDate"))
        time: Any = TM(_text(header, "ContentTime") or "000000")
        if date is None or time is None or date.year not in YEARS:
            return UNDATED
        return datetime.combine(date, time, zone_of(header)).astimezone(timezone.utc)
    except (ValueError, OverflowError):
        return UNDATED


def zone_of(header: Dataset) -> tzinfo | None:
    """The time zone of an object's dates and times; None where it does not say.

    >>> header = Dataset()
    >>> print(zone_of(header))
    None
    """
    try:
        return datetime.strptime(_text(header, "TimezoneOffsetFromUTC"), "%z").tzinfo
    except ValueError:
        return None


def date_content(header: Dataset, source: Dataset, after: datetime | None = None) -> None:
    """Say when an object is made: now, in the time zone of its source or else of this machine, with the offset.

    Args:
        header: The object.
        source: An image that it was made from, whose study's date it carries.
        after: The moment of one that it replaces. Where that lies ahead, because its maker's clock does, the object
            is dated a second after it: the newest one counts.
    """
    now = datetime.now(timezone.utc)
    if after is not None and after >= now:
        now = after + timedelta(seconds=1)
    local = now.astimezone(zone_of(source))
    header.ContentDate, header.ContentTime = f"{local:%Y%m%d}", f"{local:%H%M%S.%f}"
    header.TimezoneOffsetFromUTC = f"{local:%z}"


def _text(header: Dataset, keyword: str) -> str:
    value: Any = header.get(keyword)
    return "" if value is None else str(value).strip()
