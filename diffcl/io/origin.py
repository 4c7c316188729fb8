"""Whose code raised an exception: a library over what it was given, or our own by mistake."""

from __future__ import annotations

from collections.abc import Collection
from traceback import walk_tb
from typing import Final

OURS: Final = ("diffcl", "lib")
"""This package and the app, where what a library raises over damaged bytes is a mistake in the program."""


def raised_in(error: Exception, libraries: Collection[str]) -> bool:
    """Whether an exception came out of one of these packages, or of what they called, and not of our own code."""
    inside = False
    for frame, _ in walk_tb(error.__traceback__):
        package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        inside = package in libraries or (inside and package not in OURS)
    return inside
