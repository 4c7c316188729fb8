"""Import paths of version 0.1.0 say where their modules are now."""

from __future__ import annotations

import importlib
import subprocess
import sys
from importlib.util import find_spec

import pytest

from diffcl.moved import MOVED


@pytest.mark.parametrize("former", MOVED)
def test_a_former_module_says_where_it_is_now_and_it_is_there(former: str) -> None:
    with pytest.raises(ImportError) as caught:
        importlib.import_module(f"diffcl.{former}")
    assert str(caught.value) == f"diffcl.{former}: has moved. Use diffcl.{MOVED[former]}"
    assert find_spec(f"diffcl.{MOVED[former]}") is not None


@pytest.mark.parametrize(
    "statement",
    ["import diffcl.active", "from diffcl import active", "from diffcl.active.selection import choose"],
)
def test_every_form_of_import_says_so_in_a_fresh_process(statement: str) -> None:
    done = subprocess.run([sys.executable, "-c", statement], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1] == "ImportError: diffcl.active: has moved. Use diffcl.active_learning"


def test_a_module_that_never_was_is_missing_as_any_other() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'diffcl\.nothing'"):
        importlib.import_module("diffcl.nothing")
