from __future__ import annotations

import doctest
from importlib import import_module

import pytest


@pytest.mark.parametrize("name", ["index", "names", "options", "refusals"])
def test_the_examples_in_the_text_hold(name: str) -> None:
    found = doctest.testmod(import_module(f"lib.{name}"))
    assert found.attempted
    assert not found.failed
