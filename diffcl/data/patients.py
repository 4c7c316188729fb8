"""Whose scan it is, so that several scans of one patient never stand on both sides of a comparison."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from diffcl.errors import DataError
from diffcl.files import read_bytes

FILE: Final = "patients.csv"
"""Name of the file in a folder of scans that has a line of `scan,patient` for each of them."""

PLACE: Final = "{patient}"
"""The part of a pattern that stands for the patient in the name of a scan."""


def patient_in(name: str, pattern: str) -> str | None:
    """The patient by a scan's name; None where the name is not of that form.

    >>> patient_in("p07_week2", "{patient}_*")
    'p07'
    >>> patient_in("p07", "{patient}_*") is None
    True

    Args:
        name: Of the scan.
        pattern: Holds `{patient}` once; `*` stands for any text.
    """
    form = re.escape(pattern).replace(re.escape(PLACE), "(.+?)").replace(re.escape("*"), ".*")
    found = re.fullmatch(form, name, re.DOTALL)
    return found[1] if found else None


def patients_by_name(names: Iterable[str], pattern: str) -> dict[str, str]:
    """The patients of those scans whose names tell them.

    >>> patients_by_name(["p07_1", "p07_2", "x"], "{patient}_*")
    {'p07_1': 'p07', 'p07_2': 'p07'}
    """
    found = {name: patient_in(name, pattern) for name in names} if pattern else {}
    return {name: patient for name, patient in found.items() if patient is not None}


def patients_in_file(folder: Path) -> dict[str, str]:
    """The patients of the scans that `patients.csv` names; none where there is no such file.

    Raises:
        DataError: If a line is none.
    """
    file = folder / FILE
    try:
        text = read_bytes(file).decode("utf-8-sig")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            file, "cannot be read as text", "Write a line of scan,patient for each scan"
        ) from error
    found: dict[str, str] = {}
    for number, line in enumerate(csv.reader(text.splitlines()), start=1):
        parts = [part.strip() for part in line]
        if not any(parts) or (number == 1 and parts == ["scan", "patient"]):
            continue
        if len(parts) != 2 or not all(parts):
            raise DataError(file, f"line {number} is not a scan and its patient", "Write it as scan,patient")
        found[parts[0]] = parts[1]
    return found


def of_same_patients(names: Iterable[str], others: Iterable[str], patients: Mapping[str, str]) -> set[str]:
    """Those scans whose patient has a scan among others.

    >>> of_same_patients(["a1", "b1", "c"], ["a2", "c2"], {"a1": "a", "a2": "a", "b1": "b"})
    {'a1'}

    Args:
        names: Of scans.
        others: Names of scans.
        patients: Whose they are; one that is not among them is nobody else's.
    """
    taken = {patients[name] for name in others if name in patients}
    return {name for name in names if patients.get(name) in taken}


def check_sides(teaching: Iterable[str], validating: Iterable[str], patients: Mapping[str, str]) -> None:
    """Refuse a patient of whom one scan teaches with its label and another one validates.

    Args:
        teaching: Names of scans.
        validating: Names of scans.
        patients: Whose they are; one that is not among them is nobody else's.

    Raises:
        DataError: Naming both.
    """
    known = {patients[name]: name for name in teaching if name in patients}
    for name in validating:
        other = known.get(patients.get(name, ""))
        if other is not None:
            raise DataError(
                name,
                f"validates, and {other} of the same patient teaches",
                "Put both on one side, by lists of names",
            )
