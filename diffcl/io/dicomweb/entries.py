"""What a search in an archive answers about a series, read from DICOM JSON."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydicom.datadict import tag_for_keyword

from diffcl.io.dicom.damage import OddValueError, number


@dataclass(frozen=True)
class SeriesEntry:
    """A series as a search answers it, without a word about the patient.

    Attributes:
        uid: SeriesInstanceUID.
        study: StudyInstanceUID.
        modality: For example `MR`.
        images: How many objects it has; None where the archive does not say.
        date: StudyDate, `YYYYMMDD`, or empty.
        time: StudyTime, or empty.
        description: SeriesDescription, or empty; never told, for it may name the patient.
    """

    uid: str
    study: str
    modality: str
    images: int | None
    date: str
    time: str
    description: str = field(default="", repr=False)


def is_uid(text: str) -> bool:
    """Whether a text can be an identifier of DICOM; one that can is also safe as a file's name.

    >>> is_uid("1.2.840.10008"), is_uid("../1.2"), is_uid("")
    (True, False, False)
    """
    return re.fullmatch(r"[0-9][0-9.]{0,63}", text) is not None


def attribute_key(keyword: str) -> str:
    """The key of an attribute in DICOM JSON.

    >>> attribute_key("Modality")
    '00080060'
    """
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise ValueError(f"{keyword} is no attribute")
    return f"{tag:08X}"


def series_entry(found: Any) -> SeriesEntry:
    """A series of an answer.

    Raises:
        OddValueError: If the answer is none of DICOM JSON, or does not say which series.
    """
    if not isinstance(found, Mapping):
        raise OddValueError

    def first(keyword: str) -> Any:
        element = found.get(attribute_key(keyword), {})
        values = element.get("Value", ()) if isinstance(element, Mapping) else ()
        return values[0] if isinstance(values, list | tuple) and values else ""

    if not (first("SeriesInstanceUID") and first("StudyInstanceUID")):
        raise OddValueError
    images = first("NumberOfSeriesRelatedInstances")
    return SeriesEntry(
        uid=str(first("SeriesInstanceUID")),
        study=str(first("StudyInstanceUID")),
        modality=str(first("Modality")),
        images=int(number(images)) if images != "" else None,
        date=str(first("StudyDate")),
        time=str(first("StudyTime")),
        description=str(first("SeriesDescription")),
    )
