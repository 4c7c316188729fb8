from __future__ import annotations

import doctest
from importlib import import_module

import pytest

from diffcl.resources import app_folder

WITH_EXAMPLES = sorted(
    ".".join(file.relative_to(app_folder()).with_suffix("").parts)
    for file in app_folder().glob("lib/**/*.py")
    if ">>>" in file.read_text()
)


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_the_examples_in_the_text_hold(name: str) -> None:
    found = doctest.testmod(import_module(name))
    assert found.attempted
    assert not found.failed
