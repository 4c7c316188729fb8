"""What every DICOM object that is made from a series has in common: who made it, whose it is, and how it is kept."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import highdicom as hd

from diffcl.errors import OutputError
from diffcl.files import replace_file
from diffcl.io.dicom.damage import OddValueError, number
from diffcl.io.dicom.releases import save_dicom
from diffcl.io.dicom.series import DicomSeries
from diffcl.io.dicom.texts import with_texts
from diffcl.labels import Code, LabelClass
from diffcl.version import version

LARGEST: Final = (1 << 31) - 1
"""Number of the kind that DICOM writes as digits (IS)."""


def identity(series: DicomSeries, after: int, model_name: str, title: str) -> dict[str, Any]:
    """What highdicom asks of every object: new identifiers, its place in the study, and who made it.

    Args:
        series: The series that it is made from.
        after: Added to the number of that series.
        model_name: Name of the model.
        title: Description of the series of the object, of which 64 characters are kept.
    """
    return {
        "series_instance_uid": hd.UID(),
        "series_number": _series_number(series, after),
        "sop_instance_uid": hd.UID(),
        "instance_number": 1,
        "manufacturer": "diffcl",
        "manufacturer_model_name": model_name,
        "software_versions": version(),
        "series_description": title[:64],
    }


def save_derived(target: hd.base.SOPClass, series: DicomSeries, path: Path) -> None:
    """Give an object the patient and study of its series, as they stand there, and write it, whole or not at all.

    Raises:
        OutputError: If the file cannot be written.
    """
    target.SpecificCharacterSet = "ISO_IR 192"
    target.copy_patient_and_study_information(with_texts(series.headers[0]))
    with replace_file(path) as temporary:
        save_dicom(target, temporary)


def coded(code: Code) -> hd.sr.CodedConcept:
    """A code as highdicom writes it."""
    return hd.sr.CodedConcept(code.value, code.scheme, code.meaning)


def type_code(one: LabelClass, path: Path) -> hd.sr.CodedConcept:
    """What a class is.

    Args:
        one: The class.
        path: What is to be written, for the error.

    Raises:
        OutputError: If the recipe does not say.
    """
    if one.type is None:
        raise OutputError(path, f"class {one.name} has no DICOM code", "Add its type to the recipe")
    return coded(one.type)


def _series_number(series: DicomSeries, offset: int) -> int:
    """Number for a series of results: that of the source, or 0 where it has none that can be, plus an offset."""
    with suppress(OddValueError):
        found = int(number(series.headers[0].get("SeriesNumber")))
        if 0 <= found <= LARGEST - offset:
            return found + offset
    return offset
