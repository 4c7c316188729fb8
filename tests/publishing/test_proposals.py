from __future__ import annotations

import pytest

from diffcl.publishing.proposals import proposals_in_words


def test_labels_of_scans_that_taught_the_version_are_no_test_of_it() -> None:
    told = proposals_in_words({3: {"taught": 1.0, "new": 0.5}}, 3, {"taught"})
    assert told.startswith(
        "Proposals of version 3 agree with the labels submitted for them to a Dice of 0.500 (1 scan);"
    )
    assert proposals_in_words({3: {"taught": 1.0}}, 3, {"taught"}) == ""


def test_nothing_is_said_where_nothing_is_known() -> None:
    assert proposals_in_words({}, 3) == ""
    assert proposals_in_words({2: {"a": 0.5}}, 3) == ""


def test_the_version_before_is_the_last_one_whose_proposals_were_tested() -> None:
    told = proposals_in_words({1: {"a": 0.4}, 3: {"b": 0.6}, 5: {"c": 0.7}}, 5)
    assert "For version 3 it was 0.600 on 1 other scan: too few to compare." in told


@pytest.mark.parametrize(("new", "sure"), [(0.9, True), (0.52, False)])
def test_a_difference_says_whether_it_may_be_chance(new: float, sure: bool) -> None:
    tested = {1: dict(zip("abcd", (0.45, 0.5, 0.55, 0.5), strict=True)),
              2: dict(zip("efgh", (new, new - 0.02, new + 0.02, new), strict=True))}  # fmt: skip
    assert ("it may be chance" in proposals_in_words(tested, 2)) is not sure
