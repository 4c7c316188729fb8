from __future__ import annotations

import json

import pytest

from diffcl.errors import UsageError
from diffcl.json_text import DEEPEST, LONGEST, parse_json, parse_object


@pytest.mark.parametrize(
    "text",
    ["{", "", "[NaN]", "[-Infinity]", "1e999", "9" * 5000, str(1 << 63), '"\\ud800"', '{"\\udfff": 1}', '"\\u0000"',
     "[" * 250 + "]" * 250, "[" * 100_000, f'"{"a" * LONGEST}"', b"\xff"],
    ids=["cut", "empty", "nan", "infinite", "overflow", "digits", "65 bits", "half", "half key", "zero", "deep",
         "very deep", "long", "bytes"],
)  # fmt: skip
def test_what_could_not_be_read_back_is_refused_in_one_line(text: str | bytes) -> None:
    with pytest.raises(UsageError) as caught:
        parse_json(text, "params")
    assert str(caught.value).startswith("params: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [{}, {"a": [1, 2.5, None, True, "ü\n"]}, -(1 << 63), [[[]]], "한"], ids=str)
def test_anything_else_is_read_as_json_reads_it(value: object) -> None:
    assert parse_json(json.dumps(value), "params") == value


def test_depth_ends_where_it_says() -> None:
    parse_json("[" * DEEPEST + "]" * DEEPEST, "params")
    with pytest.raises(UsageError, match="nested deeper"):
        parse_json("[" * (DEEPEST + 1) + "]" * (DEEPEST + 1), "params")


@pytest.mark.parametrize("text", ["[1]", "1", "null", '"a"'])
def test_a_value_that_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="not an object"):
        parse_object(text, "params")


def test_nothing_is_an_empty_object() -> None:
    assert parse_object(" ", "params") == {}
