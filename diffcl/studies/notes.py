"""Notes on scans and labels: what clients and models write down about them, as JSON that can always be read back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from diffcl.errors import UsageError
from diffcl.files import finite
from diffcl.json_text import unreadable

LARGEST: Final = 65_536
"""Bytes of all notes on one scan or label; they travel with every answer about the studies."""

OF_LABELS: Final = frozenset({
    "agreement", "changed_voxels", "classes", "drawn", "label_info", "remark", "removed", "restored_from", "shows",
    "started_from", "stored", "task", "version",
})  # fmt: skip
"""What the server itself notes of a label, and relies on; nobody else's word counts."""

STRATEGY: Final = "strategy"
"""Note of MONAI Label on who was given a scan by which strategy: an object of objects."""


def checked(notes: object, where: str) -> dict[str, Any]:
    """Notes as they are kept: a copy in which numbers that are not finite are null.

    >>> checked({"score": float("nan"), "seen": True}, "image p07")
    {'score': None, 'seen': True}

    Args:
        notes: As a client sent them.
        where: Named in errors.

    Raises:
        UsageError: If they are no object, hold what cannot be read back from JSON, or are larger than `LARGEST`.
    """
    if not isinstance(notes, Mapping):
        raise UsageError(where, "not an object of JSON", 'Send notes as {"name": value}')
    what = unreadable(dict(notes))
    if what:
        raise UsageError(where, what, "Send notes that any reader of JSON understands")
    if not isinstance(notes.get(STRATEGY, {}), dict):
        raise UsageError(where, f"{STRATEGY} is not an object of JSON", "Leave it to the server")
    found: dict[str, Any] = finite(dict(notes))
    _check_size(found, where)
    return found


def added(known: Mapping[str, Any], notes: object, where: str) -> dict[str, Any]:
    """Known notes and further ones, which replace those of the same name.

    >>> added({"seen": False, "by": "ann"}, {"seen": True}, "image p07")
    {'seen': True, 'by': 'ann'}

    Raises:
        UsageError: As `checked`, also where both together are too large.
    """
    found = {**known, **checked(notes, where)}
    _check_size(found, where)
    return found


def of_a_client(notes: Mapping[str, Any]) -> dict[str, Any]:
    """Notes of a client on a label without what the server itself notes.

    >>> of_a_client({"model": "organ", "shows": 7, "version": 99})
    {'model': 'organ'}
    """
    return {name: value for name, value in notes.items() if name not in OF_LABELS}


def readable(notes: Any) -> dict[str, Any]:
    r"""What is left of notes on a disk, which anybody may have changed: those that can be answered to a viewer.

    >>> readable({"seen": True, "strategy": "x", "name": "\ud800"})
    {'seen': True}
    >>> readable(["no", "notes"])
    {}
    """
    if not isinstance(notes, dict):
        return {}
    kept = {key: value for key, value in notes.items() if not unreadable({key: value})}
    if not isinstance(kept.get(STRATEGY, {}), dict):
        del kept[STRATEGY]
    found: dict[str, Any] = finite(kept)
    return found


def _check_size(notes: Mapping[str, Any], where: str) -> None:
    size = len(json.dumps(notes, default=str, ensure_ascii=False).encode("utf-8"))
    if size > LARGEST:
        raise UsageError(where, f"{size} bytes of notes, more than {LARGEST}", "Keep longer texts elsewhere")
