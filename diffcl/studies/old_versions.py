"""The versions of a label before the newest one: which are shown as tags of their own, and which may be forgotten."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from diffcl.studies.agreement import author
from diffcl.studies.review import review_of

TAG: Final = re.compile(r"version_([1-9][0-9]{0,8})")
"""The tags by which 3D Slicer's module MONAILabelReviewer asks for an older version of a final label."""


def tag_of(record: Mapping[str, Any]) -> str:
    """The tag under which an older version is shown.

    >>> tag_of({"version": 3})
    'version_3'
    """
    return f"version_{record['version']}"


def number_of(tag: str) -> int:
    """The version that a tag means; 0 for any other tag.

    >>> number_of("version_3"), number_of("final"), number_of("version_03")
    (3, 0, 0)
    """
    found = TAG.fullmatch(tag)
    return int(found[1]) if found else 0


def older(records: Sequence[dict[str, Any]], shown: int) -> list[dict[str, Any]]:
    """The records of the labels beside the one that is told of as the final one, oldest first; not those of removals.

    Args:
        records: Of all versions of a scan, oldest first.
        shown: Version of the final label; 0 for none.
    """
    return [record for record in records if not record["removed"] and record["version"] != shown]


def forgettable(records: Sequence[Mapping[str, Any]], most: int) -> list[int]:
    """The versions that need not be kept, so that no more than `most` remain, the oldest first.

    Never the newest, an approved or flagged one, and the newest of each person for each task; nor the record of a
    removal, without which what was removed would come back.

    >>> labels = [{"version": n, "removed": False, "client_id": "ann"} for n in (1, 2, 3, 4)]
    >>> forgettable(labels, 2)
    [1, 2]

    Args:
        records: Of all versions of a scan, oldest first.
        most: At least 1.
    """
    labels = [record for record in records if not record["removed"]]
    last = {(author(record), record.get("task")): record["version"] for record in labels}
    kept = {*last.values(), *(record["version"] for record in records[-1:])}
    free = [
        record["version"]
        for record in labels
        if record["version"] not in kept and review_of(record).status == "submitted"
    ]
    return free[: max(0, len(labels) - most)]
