"""Errors of the library as answers that reach the person: a status with one sentence.

4xx says that the request cannot be answered, 502 and 503 that the archive behind the server does not play its part, 507
that its disk is full, and 503 as well that its disk takes nothing now.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from fastapi import HTTPException

from diffcl.errors import (
    ArchiveDownError,
    ArchiveError,
    DiffclError,
    FullDiskError,
    GoneError,
    NotFoundError,
    ReadOnlyError,
    UnwritableError,
    UsageError,
    unknown_name,
)

logger = logging.getLogger(__name__)

STATUSES: tuple[tuple[type[DiffclError], int], ...] = (
    (UsageError, 400),
    (NotFoundError, 404),
    (GoneError, 404),
    (ReadOnlyError, 405),
    (ArchiveDownError, 503),
    (ArchiveError, 502),
    (FullDiskError, 507),
    (UnwritableError, 503),
    (DiffclError, 422),
)
"""The status of each error; the first that fits counts."""


def status_of(error: DiffclError) -> int:
    """The status with which an error is answered.

    >>> status_of(GoneError("series 1.2", "is not there any more")), status_of(ArchiveError("archive", "refuses"))
    (404, 502)
    """
    return next(status for kind, status in STATUSES if isinstance(error, kind))


def sentence_of(error: DiffclError) -> str:
    """What the client is told; of a disk of the server not the place, which the log has.

    >>> sentence_of(UnwritableError("/srv/scans", "cannot be written (Read-only file system)", "Choose another"))
    'server: cannot be written (Read-only file system). What was asked is not done; tell who runs it'
    """
    if not isinstance(error, FullDiskError | UnwritableError):
        return str(error)
    logger.error(str(error))
    return f"server: {error.what}. What was asked is not done; tell who runs it"


@contextmanager
def refusals() -> Iterator[None]:
    """Turn every `DiffclError` of the block into an `HTTPException` with the same sentence.

    MONAI Label lets an `HTTPException` through to the client; anything else becomes a bare 500.
    """
    try:
        yield
    except DiffclError as error:
        raise HTTPException(status_of(error), sentence_of(error)) from error


def unknown(kind: str, name: object, known: Collection[str]) -> HTTPException:
    """A 404 that says what there is instead.

    >>> unknown("model", "heart", ["hippocampus"]).detail
    'model heart: there is none of that name. Known: hippocampus'
    """
    return HTTPException(404, str(unknown_name(kind, name, known)))
