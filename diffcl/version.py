"""The version of the installed package."""

from __future__ import annotations


def version() -> str:
    """Version of diffcl, as its distribution says."""
    from importlib import metadata

    return metadata.version("diffcl")
