"""What an annotator is told after submitting a label."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from diffcl.studies import agreement, drawn_part, label_changes

TOLD: Final = ("version", "changed_voxels", "started_from", "agreement", "drawn", "remark", "stored")
"""What of a label's record is told; `stored` has the version of each task where it was taken apart."""


def told_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """What was changed, also in the proposal, how far two people agree, how much is drawn, and what the check did.

    >>> told_of({"version": 3, "remark": "", "address": "10.0.0.7"})
    {'version': 3}

    Args:
        record: Of the label.
    """
    sentences = (
        label_changes.in_words(record.get("started_from")),
        agreement.in_words(record.get("agreement")),
        drawn_part.in_words(record.get("drawn")),
    )
    told = {**{key: record.get(key) for key in TOLD}, "summary": ". ".join(filter(None, sentences))}
    return {key: value for key, value in told.items() if value not in (None, "")}
