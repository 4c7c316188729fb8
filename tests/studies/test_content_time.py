from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from pydicom.dataset import Dataset

from diffcl.studies.content_time import UNDATED, date_content, moment


def header(date: object = None, time: object = None, offset: object = None) -> Dataset:
    """A header with what is not None."""
    made = Dataset()
    given = {"ContentDate": date, "ContentTime": time, "TimezoneOffsetFromUTC": offset}
    for keyword, value in given.items():
        if value is not None:
            setattr(made, keyword, value)
    return made


def test_moments_of_two_time_zones_are_compared_as_they_were() -> None:
    tokyo, boston = header("20260102", "080000", "+0900"), header("20260101", "190000", "-0500")
    assert moment(tokyo) < moment(boston)
    assert moment(boston) - moment(tokyo) == timedelta(hours=1)


def test_without_an_offset_it_is_the_local_time_of_this_machine() -> None:
    assert moment(header("20260102", "030405.06")) == datetime(2026, 1, 2, 3, 4, 5, 60_000).astimezone()


@pytest.mark.parametrize("time", ["", None])
def test_a_date_without_a_time_is_its_midnight(time: str | None) -> None:
    assert moment(header("20260102", time, "+0000")) == datetime(2026, 1, 2, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("date", "time", "offset"),
    [
        (None, None, None), ("", "", ""), (None, "030405", None), ("00010101", "000000", "+1400"),
        ("99991231", "235959", "-1200"),
    ],
)  # fmt: skip
def test_what_cannot_be_a_date_comes_before_all_others(date: object, time: object, offset: object) -> None:
    assert moment(header(date, time, offset)) == UNDATED


@pytest.mark.parametrize("offset", ["x", "+99", ""])
def test_an_offset_that_is_none_is_left_out(offset: str) -> None:
    assert moment(header("20260102", "03", offset)) == datetime(2026, 1, 2, 3).astimezone()


@pytest.mark.parametrize("offset", ["+0530", None])
def test_what_is_made_now_says_so_in_the_zone_of_its_source(offset: str | None) -> None:
    made = header()
    before = datetime.now(timezone.utc)
    date_content(made, header(offset=offset))
    assert before <= moment(made) <= datetime.now(timezone.utc)
    assert made.TimezoneOffsetFromUTC == offset or offset is None


@pytest.mark.parametrize("ahead", [timedelta(hours=2), timedelta(days=4000)])
def test_what_replaces_one_from_the_future_is_newer(ahead: timedelta) -> None:
    made, former = header(), datetime.now(timezone.utc) + ahead
    date_content(made, header(), former)
    assert moment(made) == former + timedelta(seconds=1)
