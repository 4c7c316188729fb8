"""What pydicom and its kin raise over damaged bytes, told from mistakes of our own."""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.sequence import Sequence as Items

from diffcl.errors import DiffclError
from diffcl.io.origin import raised_in

DAMAGED: Final = (
    BytesLengthException, InvalidDicomError, ArithmeticError, AssertionError, AttributeError, EOFError,
    LookupError, NotImplementedError, RecursionError, RuntimeError, TypeError, ValueError, struct.error, zlib.error,
)  # fmt: skip
"""What pydicom raises over damaged bytes, now here, now there. Where a sequence ends early it is an OSError, too."""

LIBRARIES: Final = ("pydicom", "highdicom", "dicomweb_client")
"""The packages that may raise it."""


class OddValueError(ValueError):
    """An attribute with other values than the standard has for it."""


def number(value: Any) -> float:
    """The only value of an attribute, as a number.

    Raises:
        OddValueError: If it has none, several, or one that is no finite number.
    """
    try:
        found = float(value)
    except (TypeError, ValueError) as error:
        raise OddValueError from error
    if not math.isfinite(found):
        raise OddValueError
    return found


def numbers(value: Any, count: int) -> npt.NDArray[np.float64]:
    """The values of an attribute, as numbers.

    Raises:
        OddValueError: If it has not as many, or one that is no finite number.
    """
    several = list(value) if isinstance(value, Sequence) and not isinstance(value, str | bytes) else []
    if len(several) != count:
        raise OddValueError
    return np.array([number(one) for one in several])


def items(data_set: Dataset, keyword: str) -> Items | list[Dataset]:
    """The items of a sequence of a data set; none where it has no such sequence.

    Raises:
        OddValueError: If it is none, as where a damaged file gives it another kind.
    """
    value = data_set.get(keyword)
    if value is None:
        return []
    if not isinstance(value, Items):
        raise OddValueError
    return value


@contextmanager
def damage_as(error: DiffclError) -> Iterator[None]:
    """Turn what a DICOM library raises over damaged bytes into an error for people.

    Args:
        error: Says what is damaged and what to do. The text of what was raised is not shown, for it may hold
            values of the header.

    Raises:
        DiffclError: The one given; or one of its kind that names the memory, where there is too little.
    """
    try:
        yield
    except (*DAMAGED, OSError) as raised:
        if not is_damage(raised):
            raise
        raise error from raised
    except MemoryError as raised:
        what = "needs more memory than there is, or promises more than it holds"
        raise type(error)(error.where, what, "Export it again, or use a machine with more memory") from raised


def is_damage(error: Exception) -> bool:
    """Whether an exception is an `OddValueError`, or a DICOM library raised it over damaged bytes.

    What was raised by the code that called the library is a mistake in the program.
    """
    told = isinstance(error, DAMAGED) or (
        isinstance(error, OSError) and error.errno is None
    )  # not by the system
    return isinstance(error, OddValueError) or (told and raised_in(error, LIBRARIES))
