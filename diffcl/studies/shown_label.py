"""What is told of the label that viewers are shown: the record of its version, or what those of several tasks say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from diffcl.studies.label_changes import DRAWN
from diffcl.studies.label_parts import classes_of
from diffcl.studies.review import FIELD, Status, review_of

LEAST_FIRST: tuple[Status, ...] = ("flagged", "submitted", "approved")
"""Of several labels the review that asks for most counts for all of them."""


def about_shown(newest: Mapping[str, Any], labels: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What is known of the label of a scan; of several, the record of the newest, and what concerns all of them.

    >>> heart = {"version": 1, "task": "heart", "removed": False, "drawn": "12 % of it is unknown"}
    >>> spleen = {"version": 2, "task": "spleen", "removed": False, "shows": {"heart": 1, "spleen": 2}}
    >>> about_shown(spleen, [heart, spleen])["drawn"]
    '12 % of it is unknown (heart)'
    >>> removal = {"version": 3, "task": "spleen", "removed": True, "shows": {"heart": 1}}
    >>> about_shown(removal, [heart])["task"], about_shown(removal, [heart])["removed"]
    ('heart', False)

    Args:
        newest: Record of the newest version, which may be of a removal.
        labels: Records of the labels that the scan has, one of each task, the oldest first.
    """
    if not labels:
        return {}
    if len(labels) == 1 and not newest["removed"]:
        return dict(newest)
    last = labels[-1]
    names = newest.get("label_info", classes_of(last))
    found = {**last, "label_info": names, "classes": classes_of(last)}
    found["shows"] = {label["task"]: label["version"] for label in labels}
    return with_all(found, labels)


def with_all(found: Mapping[str, Any], labels: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Notes on a map of several labels with what concerns each of them: what is not drawn, and what asks for a review.

    Args:
        found: The notes.
        labels: What is known of each label, and its `task`.
    """
    drawn = [f"{label[DRAWN]} ({label['task']})" for label in labels if label.get(DRAWN)]
    told = {key: value for key, value in found.items() if key not in (FIELD, DRAWN)}
    if drawn:
        told[DRAWN] = ", ".join(drawn) if len(labels) > 1 else labels[0][DRAWN]
    least = min(labels, key=lambda label: LEAST_FIRST.index(review_of(label).status))
    return {**told, **({FIELD: least[FIELD]} if FIELD in least else {})}
