"""Of which modality scans are: by what their series say, else by their values; a task learns from one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import SimpleITK as sitk

from diffcl.data.cases import in_words
from diffcl.io.scan import Scan

CT = "CT"

HOUNSFIELD = -100.0
"""A lowest value below this one is of Hounsfield units: air is at -1000, fat at -100; MR has none below 0."""

NO_CT = "no CT"
"""What is told of a file with other values, which may be of anything but CT."""


def modality_of(scan: Scan) -> str:
    """The DICOM modality of a scan; of one that states none, CT where its values are Hounsfield units, else empty."""
    return scan.modality or modality_of_values(float(sitk.GetArrayViewFromImage(scan.image).min()))


def modality_of_values(lowest: float) -> str:
    """CT for a scan whose lowest value only Hounsfield units have, else empty.

    >>> modality_of_values(-1000.0), modality_of_values(0.0)
    ('CT', '')
    """
    return CT if lowest < HOUNSFIELD else ""


def modality_remark(found: Mapping[str, str], wanted: str) -> str:
    """A sentence where scans are of several modalities, or all of another one than their task; empty where not.

    >>> modality_remark({"p1": "", "p2": "MR", "p3": "CT"}, "MR")
    'CT (p3) and MR (2 scans) are mixed. Their values cannot be compared: keep one kind.'
    >>> modality_remark({"p1": "CT", "p2": "CT"}, "MR")
    'The values look like Hounsfield units: for CT, say modality = "CT".'
    >>> modality_remark({"p1": "MR", "p2": ""}, "MR")
    ''

    Args:
        found: The modality of each scan by its name, see `modality_of`.
        wanted: That of the task.
    """
    kinds = _kinds(found)
    if len(kinds) > 1:
        *few, (most, names) = sorted(kinds.items(), key=lambda kind: len(kind[1]))
        told = ", ".join(f"{kind} ({in_words(scans)})" for kind, scans in few)
        count = f"{len(names)} scan" if len(names) == 1 else f"{len(names)} scans"
        told = f"{told[0].upper()}{told[1:]} and {most} ({count})"
        return f"{told} are mixed. Their values cannot be compared: keep one kind."
    if CT in kinds and wanted != CT:
        return 'The values look like Hounsfield units: for CT, say modality = "CT".'
    if found and CT not in kinds and wanted == CT:
        return f'No scan has values below {HOUNSFIELD:g}, as a CT has: for MR, say modality = "MR".'
    return ""


def _kinds(found: Mapping[str, str]) -> dict[str, Sequence[str]]:
    """Names of the scans of each modality; of unknown ones, with those of the most frequent modality beside CT."""
    kinds: dict[str, list[str]] = {}
    for name, modality in found.items():
        kinds.setdefault(modality, []).append(name)
    unknown = kinds.pop("", [])
    if unknown:
        others = sorted((kind for kind in kinds if kind != CT), key=lambda kind: -len(kinds[kind]))
        kinds.setdefault(others[0] if others else NO_CT, []).extend(unknown)
    return {kind: sorted(names) for kind, names in kinds.items()}
