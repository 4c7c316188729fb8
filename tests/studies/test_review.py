from __future__ import annotations

from typing import Any

import pytest

from diffcl.errors import UsageError
from diffcl.studies.review import FIELD, Review, may_teach, parse_review, review_of

SLICER = {
    "status": "flagged",
    "approvedBy": "bob",
    "level": "hard",
    "comment": "apex is missing",
    "editTime": 1764300000,
}


def test_a_review_of_slicer_comes_back_as_it_was_sent() -> None:
    assert parse_review(SLICER, "label").notes() == {FIELD: SLICER}
    assert review_of({FIELD: SLICER}).comment == "apex is missing"


@pytest.mark.parametrize("status", ["", "segmented", None])
def test_a_label_without_a_word_waits_for_review(status: str | None) -> None:
    assert parse_review({**SLICER, "status": status}, "label").status == "submitted"


@pytest.mark.parametrize(
    "content",
    [
        7,
        [],
        "approved",
        {"status": "good"},
        {"level": "impossible"},
        {"comment": "x" * 5000},
        {"approvedBy": {}},
    ],
    ids=["number", "list", "text", "status", "level", "long", "object"],
)
def test_what_is_no_review_is_refused(content: Any) -> None:
    with pytest.raises(UsageError, match=FIELD):
        parse_review(content, "label of case1")


@pytest.mark.parametrize(
    "notes", [{}, {FIELD: None}, {FIELD: {"status": "good"}}], ids=["none", "null", "odd"]
)
def test_notes_without_a_review_count_as_submitted(notes: dict[str, Any]) -> None:
    assert review_of(notes) == Review()


@pytest.mark.parametrize(
    ("status", "always", "only_approved"),
    [("submitted", True, False), ("approved", True, True), ("flagged", False, False)],
)
def test_who_may_teach(status: Any, always: bool, only_approved: bool) -> None:
    assert may_teach(Review(status=status), only_approved=False) == always
    assert may_teach(Review(status=status), only_approved=True) == only_approved
