"""The version of the installed package."""

from __future__ import annotations

from importlib import metadata


def version() -> str:
    """Version of diffcl, as its distribution says."""
    return metadata.version("diffcl")
