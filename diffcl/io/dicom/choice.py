"""Which series of a study is which sequence of a task, by their descriptions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydicom.dataset import Dataset

from diffcl.errors import ScanError
from diffcl.io.dicom.headers import DicomFile, find_dicom, listed_series, not_a_scan, text_of
from diffcl.recipe import ImageSequence


def choose_sequences(folder: Path, sequences: Sequence[ImageSequence]) -> list[str | None]:
    """SeriesInstanceUID of each sequence of a study in a folder and below it; None for one that is not there.

    Raises:
        ScanError: If two series fit one sequence, or one series fits two; they are named by UID.
    """
    series: dict[str, list[DicomFile]] = {}
    for file in find_dicom(folder):
        if not_a_scan(file.header) is None:
            series.setdefault(str(file.header.get("SeriesInstanceUID", "")), []).append(file)
    headers = {uid: members[0].header for uid, members in series.items()}
    fitting = [[uid for uid, header in headers.items() if fits(one, header)] for one in sequences]
    for one, found in zip(sequences, fitting, strict=True):
        if len(found) > 1:
            told = listed_series({uid: series[uid] for uid in found})
            raise ScanError(folder, f"{len(found)} series fit {one.name}: {told}",
                            f"Narrow the pattern of {one.name} in the recipe, or take one away")  # fmt: skip
    chosen = [found[0] if found else None for found in fitting]
    for uid in {uid for uid in chosen if uid is not None and chosen.count(uid) > 1}:
        names = " and ".join(one.name for one, mine in zip(sequences, chosen, strict=True) if mine == uid)
        raise ScanError(folder, f"series {uid} fits {names}", "Narrow their patterns in the recipe")
    if chosen[0] is None:
        told = listed_series(series) if series else "none"
        raise ScanError(folder, f"no series is {sequences[0].name} by its description; there is {told}",
                        f"Give {sequences[0].name} a pattern in the recipe that fits")  # fmt: skip
    return chosen


def fits(sequence: ImageSequence, header: Dataset) -> bool:
    """Whether an image of a series is of a sequence, by its descriptions and modality."""
    told = [text_of(header, keyword) for keyword in ("SeriesDescription", "ProtocolName")]
    modality = str(header.get("Modality", ""))
    return sequence.modality in (None, modality) and sequence.matches(*told)
