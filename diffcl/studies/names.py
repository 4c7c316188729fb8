"""Ids and tags that clients choose and that become file names."""

from __future__ import annotations

from diffcl.errors import UsageError

LONGEST = 128
"""Bytes of the longest id or tag; with extensions it stays below what file systems allow."""


def check_name(name: str, kind: str) -> str:
    """A name that is safe as a file's, unchanged.

    >>> check_name("case 1.v2", "image id")
    'case 1.v2'

    Raises:
        UsageError: If it is empty, too long, begins with a dot, or holds a separator, `..` or a character
            that cannot be printed.
    """
    where = f"{kind} {name[:40]!r}"
    if not name or len(name.encode("utf-8", "surrogatepass")) > LONGEST:
        raise UsageError(where, f"is {'empty' if not name else 'too long'}", f"Use 1 to {LONGEST} bytes")
    if name.startswith((".", " ")) or ".." in name or "/" in name or "\\" in name or not name.isprintable():
        raise UsageError(where, "cannot be a file's name", "Use letters, digits, dashes and single dots")
    return name
