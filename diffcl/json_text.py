"""JSON that every reader can read back: what clients and models write is bounded before it goes anywhere."""

from __future__ import annotations

import json
from typing import Any, Final

from diffcl.errors import UsageError
from diffcl.files import finite

LONGEST: Final = 1 << 18
"""Bytes of the longest text; a list of segments with names stays far below."""

DEEPEST: Final = 16
"""How deep lists and objects may lie in one another."""

GREATEST: Final = 1 << 63
"""Whole numbers stay below, as in most other programs that read JSON."""


def parse_json(text: str | bytes, where: str) -> Any:
    """The value of a JSON text. Unlike `json.loads`, it refuses what other readers cannot read or hold.

    >>> parse_json('{"steps": 3}', "params")
    {'steps': 3}
    >>> parse_json("[NaN]", "params")
    Traceback (most recent call last):
    diffcl.errors.UsageError: params: NaN is no number of JSON

    Args:
        text: UTF-8 or a string.
        where: What it is, for errors.

    Raises:
        UsageError: If it is no JSON, longer than `LONGEST`, deeper than `DEEPEST`, or holds a number that is not
            finite or does not fit 64 bits, or half a character.
    """
    if len(text) > LONGEST:
        raise UsageError(where, f"longer than {LONGEST} bytes")

    def refuse(name: str) -> None:
        raise UsageError(where, f"{name} is no number of JSON")

    try:
        value = json.loads(text, parse_constant=refuse)
    except RecursionError as error:
        raise UsageError(where, f"nested deeper than {DEEPEST}") from error
    except ValueError as error:  # not JSON, not UTF-8, or a number of thousands of digits
        reason = (
            error.msg if isinstance(error, json.JSONDecodeError) else "a character or number that is none"
        )
        raise UsageError(where, f"not JSON ({reason})") from error
    if what := unreadable(value):
        raise UsageError(where, what)
    if finite(value) != value:
        raise UsageError(where, "holds a number that is not finite")
    return value


def parse_object(text: str | bytes, where: str) -> dict[str, Any]:
    """The object of a JSON text; an empty text is an empty object. See `parse_json`.

    Raises:
        UsageError: Also for a value that is no object.
    """
    value = parse_json(text, where) if text.strip() else {}
    if not isinstance(value, dict):
        raise UsageError(where, "not an object of JSON", 'Send it as {"name": value}')
    return value


def unreadable(value: Any, depth: int = 0) -> str:
    r"""Why a value could not be read back from JSON by every reader; empty where it could.

    >>> unreadable({"name": ["\ud800"]})
    'holds half of a character, or a zero byte'

    Args:
        value: Of objects, lists, strings and numbers; whether these are finite is not looked at, see `finite`.
        depth: Of how many objects and lists it is inside.
    """
    if isinstance(value, str):
        return "" if _is_text(value) else "holds half of a character, or a zero byte"
    if isinstance(value, int):
        return "" if -GREATEST <= value < GREATEST else "holds a number that needs more than 64 bits"
    if not isinstance(value, dict | list | tuple):
        return ""
    if depth >= DEEPEST:
        return f"nested deeper than {DEEPEST}"
    if isinstance(value, dict):
        value = [part for pair in value.items() for part in pair]
    return next((what for part in value if (what := unreadable(part, depth + 1))), "")


def _is_text(text: str) -> bool:
    """Whether a string can be written as UTF-8 and holds no zero byte."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text
