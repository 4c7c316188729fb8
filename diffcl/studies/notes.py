"""Notes on scans and labels: what clients and models write down about them, as JSON that can always be read back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from diffcl.errors import UsageError
from diffcl.files import finite

LARGEST: Final = 65_536
"""Bytes of all notes on one scan or label; they travel with every answer about the studies."""

DEEPEST: Final = 32
"""Levels of lists and objects inside each other. Readers of JSON give up between 100 and 1000."""

LONGEST_NUMBER: Final = 1024
"""Bits of the largest whole number, as large as those that a floating-point number reaches."""

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


def unreadable(value: Any, depth: int = 0) -> str:
    r"""Why a value could not be read back from JSON; empty where it could.

    >>> unreadable({"name": ["\ud800"]})
    'holds half of a character (a lone surrogate)'
    """
    if isinstance(value, str):
        return "" if value.isascii() or _encodes(value) else "holds half of a character (a lone surrogate)"
    if isinstance(value, int):
        return "" if value.bit_length() <= LONGEST_NUMBER else "holds a number with too many digits"
    if not isinstance(value, dict | list | tuple):
        return ""
    if depth >= DEEPEST:
        return f"is nested more than {DEEPEST} deep"
    if isinstance(value, dict):
        value = [part for pair in value.items() for part in pair]
    return next((what for part in value if (what := unreadable(part, depth + 1))), "")


def _encodes(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _check_size(notes: Mapping[str, Any], where: str) -> None:
    size = len(json.dumps(notes, default=str, ensure_ascii=False).encode("utf-8"))
    if size > LARGEST:
        raise UsageError(where, f"{size} bytes of notes, more than {LARGEST}", "Keep longer texts elsewhere")
