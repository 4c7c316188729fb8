from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import BaseModel

from diffcl.errors import UsageError
from diffcl.json_text import DEEPEST
from diffcl.studies.notes import LARGEST, added, checked, readable


class Answer(BaseModel):
    """Reads JSON as strictly as the index does."""

    notes: dict[str, Any]


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = {"in": value}
    return value


@pytest.mark.parametrize(
    "notes",
    [
        {},
        {"ünï": "💡", "list": [1, 2.5, None, True, "x" * 1000]},
        nested(DEEPEST),
        {"strategy": {"first": {"ts": 1}}},
    ],
    ids=["none", "all kinds", "deep", "strategy"],
)
def test_what_is_kept_can_be_read_back(notes: dict[str, Any]) -> None:
    kept = checked(notes, "image p07")
    assert kept == notes == readable(notes)
    assert Answer.model_validate_json(json.dumps({"notes": kept})).notes == notes


@pytest.mark.parametrize(
    ("notes", "why"),
    [
        ({"a": "\ud800"}, "half of a character"),
        ({"a": ["ok", {"b\udfff": 1}]}, "half of a character"),
        ({"a": "\0"}, "zero byte"),
        (nested(DEEPEST + 1), "nested"),
        (nested(250), "nested"),
        ({"a": 10**4300}, "64 bits"),
        ({"a": "x" * LARGEST}, "bytes of notes"),
        ({"a": "é" * (LARGEST // 2)}, "bytes of notes"),
        ({"strategy": "x"}, "strategy is not an object"),
        ({"strategy": None}, "strategy is not an object"),
        (["a"], "not an object"),
        (None, "not an object"),
    ],
)
def test_what_could_not_be_read_back_or_is_too_large_is_refused(notes: dict[str, Any], why: str) -> None:
    with pytest.raises(UsageError, match=f"image p07: .*{why}"):
        checked(notes, "image p07")


def test_many_small_notes_do_not_add_up_to_more_than_the_largest() -> None:
    known: dict[str, Any] = {}
    for number in range(6):
        known = added(known, {f"n{number}": "x" * 10_000}, "image p07")
    with pytest.raises(UsageError, match="bytes of notes"):
        added(known, {"n6": "x" * 10_000}, "image p07")
    assert len(added(known, {"n5": ""}, "image p07")) == 6


def test_what_was_poisoned_by_hand_is_left_out_when_it_is_read() -> None:
    notes = {"good": 1, "bad": ["\ud800"], "deep": nested(250), "nan": float("nan"), "strategy": "x"}
    assert readable(notes) == {"good": 1, "nan": None}
