"""Errors of the library as answers that reach the person: a status with one sentence.

4xx says that the request cannot be answered, 502 and 503 that the archive behind the server does not play its part.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager

from fastapi import HTTPException

from diffcl.errors import (
    ArchiveDownError,
    ArchiveError,
    DiffclError,
    GoneError,
    NotFoundError,
    ReadOnlyError,
    UsageError,
    unknown_name,
)

STATUSES: tuple[tuple[type[DiffclError], int], ...] = (
    (UsageError, 400),
    (NotFoundError, 404),
    (GoneError, 404),
    (ReadOnlyError, 405),
    (ArchiveDownError, 503),
    (ArchiveError, 502),
    (DiffclError, 422),
)
"""The status of each error; the first that fits counts."""


def status_of(error: DiffclError) -> int:
    """The status with which an error is answered.

    >>> status_of(GoneError("series 1.2", "is not there any more")), status_of(ArchiveError("archive", "refuses"))
    (404, 502)
    """
    return next(status for kind, status in STATUSES if isinstance(error, kind))


@contextmanager
def refusals() -> Iterator[None]:
    """Turn every `DiffclError` of the block into an `HTTPException` with the same sentence.

    MONAI Label lets an `HTTPException` through to the client; anything else becomes a bare 500.
    """
    try:
        yield
    except DiffclError as error:
        raise HTTPException(status_of(error), str(error)) from error


def unknown(kind: str, name: object, known: Collection[str]) -> HTTPException:
    """A 404 that says what there is instead.

    >>> unknown("model", "heart", ["hippocampus"]).detail
    'model heart: there is none of that name. Known: hippocampus'
    """
    return HTTPException(404, str(unknown_name(kind, name, known)))
