"""The review of a label: whether somebody approved or flagged it, who and why.

It is kept in the form that 3D Slicer's module MONAILabelReviewer reads and writes: `segmentationMeta` among the notes
on a label, with the fields `status`, `approvedBy`, `level`, `comment` and `editTime`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from diffcl.errors import UsageError

FIELD: Final = "segmentationMeta"
"""Name of the review among the notes on a label."""

Status = Literal["submitted", "approved", "flagged"]

_Word = Annotated[str, Field(max_length=200)]


class Review(BaseModel):
    """What somebody said of a label.

    Attributes:
        status: `submitted` as long as nobody has reviewed it.
        approved_by: Who reviewed it, as the viewer says.
        level: How hard the scan was to outline: easy, medium, hard, or empty.
        comment: Why.
        edit_time: When, as the viewer says: seconds since 1970, or a text.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    status: Status = "submitted"
    approved_by: _Word = Field(default="", alias="approvedBy")
    level: Literal["", "easy", "medium", "hard"] = ""
    comment: Annotated[str, Field(max_length=4000)] = ""
    edit_time: int | _Word = Field(default="", alias="editTime")

    def notes(self) -> dict[str, Any]:
        """The review in the form in which it stands among the notes on a label."""
        return {FIELD: self.model_dump(by_alias=True)}


def parse_review(content: Any, where: str) -> Review:
    """The review that a client sent.

    Words of Slicer that say nothing, as an empty status or `segmented`, mean that the label waits for a review.

    >>> parse_review({"status": "approved", "approvedBy": "ann", "level": "easy"}, "label of case1").approved_by
    'ann'

    Args:
        content: The value of `segmentationMeta`.
        where: Named in errors.

    Raises:
        UsageError: If it is none.
    """
    if not isinstance(content, dict):
        raise UsageError(
            where, f"{FIELD} is not an object", "Send status, approvedBy, level, comment, editTime"
        )
    plain = {name: value for name, value in content.items() if value is not None}
    if plain.get("status") in ("", "segmented"):
        plain["status"] = "submitted"
    try:
        return Review.model_validate(plain)
    except ValidationError as error:
        first = error.errors()[0]
        what = f"{FIELD}.{first['loc'][0]} is {str(first['input'])[:40]!r}: {first['msg']}"
        raise UsageError(where, what, "Use submitted, approved or flagged; easy, medium or hard") from error


def review_of(notes: Mapping[str, Any]) -> Review:
    """The review among the notes on a label; one that cannot be understood counts as none."""
    try:
        return Review.model_validate(notes.get(FIELD) or {})
    except ValidationError:
        return Review()


def with_review(notes: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Notes of a client in which a review, if there is one, has been checked; see `parse_review`."""
    return {**notes, **parse_review(notes[FIELD], where).notes()} if FIELD in notes else dict(notes)


def may_teach(review: Review, *, only_approved: bool) -> bool:
    """Whether a label may teach or validate: never a flagged one, and where that is asked only approved ones.

    >>> may_teach(Review(status="flagged"), only_approved=False)
    False
    """
    return review.status == "approved" or (review.status == "submitted" and not only_approved)


def teaching_version(reviews: Sequence[Review], *, only_approved: bool) -> int | None:
    """Which of the versions of a label teaches: the newest approved one, else the newest, if it may.

    An approved label stays the truth until another one is approved.

    >>> teaching_version([Review(status="approved"), Review()], only_approved=False)
    0
    >>> teaching_version([Review(), Review(status="flagged")], only_approved=False) is None
    True

    Args:
        reviews: Of the versions, oldest first.
        only_approved: Whether only approved labels teach.

    Returns:
        Its place among the versions; None where none teaches.
    """
    approved = [place for place, review in enumerate(reviews) if review.status == "approved"]
    if approved:
        return approved[-1]
    return len(reviews) - 1 if reviews and may_teach(reviews[-1], only_approved=only_approved) else None
