"""Which series of a study is which sequence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_forms import describe_series
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset

from diffcl.errors import ScanError
from diffcl.geometry import Geometry
from diffcl.io.dicom.choice import choose_sequences, fits
from diffcl.io.dicom.series_write import write_series
from diffcl.recipe import ImageSequence

GRID = Geometry((6, 5, 4), (1.0, 1.0, 2.0), (0.0, 0.0, 0.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
FLAIR, T1 = ImageSequence(name="FLAIR"), ImageSequence(name="T1", pattern=r"\bt1(?!.*gd)", required=False)


def study(folder: Path, *descriptions: str) -> dict[str, str]:
    """A study of series with these descriptions; gives their UIDs."""
    found = {}
    for number, text in enumerate(descriptions):
        values = np.random.default_rng(number).integers(0, 99, GRID.size).astype(np.float32)
        write_series(GRID.place(values), folder / f"s{number}", name=f"s{number}")
        found[text] = describe_series(folder / f"s{number}", SeriesDescription=text)
    return found


def test_series_are_chosen_by_their_descriptions(tmp_path: Path) -> None:
    uids = study(tmp_path, "AX T1 Gd", "AX T1 SE", "AX T2 FLAIR")
    assert choose_sequences(tmp_path, (FLAIR, T1)) == [uids["AX T2 FLAIR"], uids["AX T1 SE"]]


def test_an_absent_series_is_none(tmp_path: Path) -> None:
    uids = study(tmp_path, "flair cor", "dwi")
    assert choose_sequences(tmp_path, (FLAIR, T1)) == [uids["flair cor"], None]


def test_two_series_of_one_sequence_are_refused(tmp_path: Path) -> None:
    study(tmp_path, "FLAIR", "T1 AX", "T1 SAG")
    with pytest.raises(ScanError, match=r"2 series fit T1: .*Narrow the pattern of T1 in the recipe"):
        choose_sequences(tmp_path, (FLAIR, T1))


def test_one_series_of_two_sequences_is_refused(tmp_path: Path) -> None:
    study(tmp_path, "T1 FLAIR")
    with pytest.raises(ScanError, match=r"fits FLAIR and T1\. Narrow their patterns"):
        choose_sequences(tmp_path, (FLAIR, T1))


def test_a_study_without_the_first_sequence_is_refused(tmp_path: Path) -> None:
    study(tmp_path, "T1 AX")
    with pytest.raises(ScanError, match="no series is FLAIR by its description"):
        choose_sequences(tmp_path, (FLAIR, T1))


def test_the_modality_decides_where_it_is_given(tmp_path: Path) -> None:
    study(tmp_path, "FLAIR", "T1 AX")
    pet = ImageSequence(name="T1", modality="PT", required=False)
    assert choose_sequences(tmp_path, (FLAIR, pet))[1] is None


def test_a_damaged_description_fits_nothing_and_stops_nothing() -> None:
    header, tag = Dataset(), pydicom.tag.Tag("SeriesDescription")
    header.ProtocolName = "FLAIR"
    header[tag] = RawDataElement(tag, "??", 4, b"T1 A", 0, False, True)
    assert fits(FLAIR, header)
    assert not fits(T1, header)
