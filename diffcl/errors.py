"""Errors meant for people: one line that says what is wrong, where, and what to do next.

A fault of the program itself stays a `ValueError` or whatever Python raises. The command line turns
`UsageError` into exit code 2 and every other `DiffclError` into exit code 1; the server turns them into
a 4xx answer with the same sentence.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from contextlib import contextmanager

logger = logging.getLogger(__name__)


class DiffclError(Exception):
    """Base of every error that a person can act on. `str(error)` is one line.

    >>> str(ScanError("a.nii.gz", "not an image", "Give a NIfTI, NRRD or MetaImage file"))
    'a.nii.gz: not an image. Give a NIfTI, NRRD or MetaImage file'
    """

    def __init__(self, where: object, what: str, next_step: str = "") -> None:
        self.where = str(where)
        self.what = what
        self.next_step = next_step
        sentence = f"{self.where}: {what}" + (f". {next_step}" if next_step else "")
        super().__init__(" ".join(sentence.split()))

    def __reduce__(self) -> tuple[type[DiffclError], tuple[str, str, str]]:
        return type(self), (self.where, self.what, self.next_step)


class ScanError(DiffclError):
    """A scan, label or DICOM series that cannot be used."""


class ModelError(DiffclError):
    """A model folder that is missing, damaged or does not fit its recipe."""


class RecipeError(DiffclError):
    """A recipe with an unknown, missing or impossible setting."""


class DataError(DiffclError):
    """A data folder or datalist that does not hold what training or evaluation needs."""


class TooShortError(DataError):
    """A time in which a training can learn nothing."""


class UsageError(DiffclError):
    """A request that contradicts itself or names something that does not exist."""


class OutputError(DiffclError):
    """A result that could not be written; nothing of it stays behind."""


class FullDiskError(OutputError):
    """A result for which the disk has no space left."""


class UnwritableError(OutputError):
    """A result that the system does not let be written: the disk has become read-only, or failed."""


class NotFoundError(DiffclError):
    """Something of a name that is not there."""


class ReadOnlyError(DiffclError):
    """Something that is kept elsewhere and cannot be changed from here."""


class ArchiveError(DiffclError):
    """A DICOM archive that refuses, does not have what is asked for, or answers what makes no sense."""


class ArchiveDownError(ArchiveError):
    """A DICOM archive that does not answer now; it may later."""


class GoneError(ArchiveError):
    """What is asked for is not in the archive, or not any more."""


def short(given: object, length: int = 40) -> str:
    """The begin of what a person gave, to be told in a sentence.

    >>> short("a long story", 6), short(10**9999)
    ('a long', 'a number without end')
    """
    try:
        return str(given)[:length]
    except ValueError:  # Python writes no whole number of thousands of digits
        return "a number without end"


LISTED = 10
"""Names listed in a sentence before it says how many more there are."""


def unknown_name(kind: str, name: object, known: Collection[str]) -> NotFoundError:
    """The error that says what there is instead.

    >>> str(unknown_name("model", "heart", ["hippocampus"]))
    'model heart: there is none of that name. Known: hippocampus'
    """
    names = sorted(known)
    listed = ", ".join(names[:LISTED]) or "none yet"
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return NotFoundError(f"{kind} {str(name)[:80]}", "there is none of that name", f"Known: {listed}{more}")


@contextmanager
def named(where: str) -> Iterator[None]:
    """Let a `ScanError` of the block name what a person calls the file, not the program's copy of it."""
    try:
        yield
    except ScanError as error:
        raise ScanError(where, error.what, error.next_step) from error


def failure_sentence(where: object, error: Exception) -> str:
    """What a person is told of one scan among several that failed, so that the others can go on.

    An expected error says its own sentence, and an `OSError` what the system says. Anything else is a fault of the
    program or of a library: the log gets its traceback, the person its name.

    >>> failure_sentence("a.nii.gz", ScanError("a.nii.gz", "not an image"))
    'a.nii.gz: not an image'
    >>> failure_sentence("a.nii.gz", PermissionError(13, "Permission denied"))
    'a.nii.gz: could not be used (Permission denied)'

    Args:
        where: Name of the scan.
        error: Whatever was raised while it was read, prepared or predicted.
    """
    if isinstance(error, DiffclError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return str(DiffclError(where, f"could not be used ({error.strerror})"))
    logger.error(f"{where} could not be used", exc_info=error)
    return str(DiffclError(where, f"could not be used ({type(error).__name__}); see the log"))
