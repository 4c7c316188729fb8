"""Errors of the library as answers that reach the person: a status with one sentence.

4xx says that the request cannot be answered, 502 and 503 that the archive behind the server does not play its part.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager

from fastapi import HTTPException

from diffcl.errors import ArchiveDownError, ArchiveError, DiffclError, GoneError, ScanError, UsageError

LISTED = 10
"""Names listed in a sentence before it says how many more there are."""


@contextmanager
def refusals() -> Iterator[None]:
    """Turn every `DiffclError` of the block into an `HTTPException` with the same sentence.

    MONAI Label lets an `HTTPException` through to the client; anything else becomes a bare 500.
    """
    try:
        yield
    except UsageError as error:
        raise HTTPException(400, str(error)) from error
    except GoneError as error:
        raise HTTPException(404, str(error)) from error
    except ArchiveDownError as error:
        raise HTTPException(503, str(error)) from error
    except ArchiveError as error:
        raise HTTPException(502, str(error)) from error
    except DiffclError as error:
        raise HTTPException(422, str(error)) from error


@contextmanager
def named(where: str) -> Iterator[None]:
    """Let a `ScanError` of the block name what the client called the file, not the server's copy of it."""
    try:
        yield
    except ScanError as error:
        raise ScanError(where, error.what, error.next_step) from error


def unknown(kind: str, name: object, known: Collection[str]) -> HTTPException:
    """A 404 that says what there is instead.

    >>> unknown("model", "heart", ["hippocampus"]).detail
    'model heart: there is none of that name. Known: hippocampus'
    """
    names = sorted(known)
    listed = ", ".join(names[:LISTED]) or "none yet"
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return HTTPException(404, f"{kind} {str(name)[:80]}: there is none of that name. Known: {listed}{more}")
