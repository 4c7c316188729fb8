from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from diffcl.data.modality import modality_of, modality_remark
from diffcl.io import Scan


def scan(lowest: float, modality: str | None = None) -> Scan:
    values = np.full((4, 5, 6), 50.0, np.float32)
    values[0, 0, 0] = lowest
    return Scan(sitk.GetImageFromArray(values), "scan", Path("scan.nii.gz"), modality)


@pytest.mark.parametrize(
    ("lowest", "stated", "modality"),
    [
        (-1000, None, "CT"),
        (-125, None, "CT"),
        (-3, None, ""),
        (0, "MR", "MR"),
        (-1000, "MR", "MR"),
        (0, "CT", "CT"),
    ],
)
def test_a_series_says_its_modality_and_a_file_shows_it(
    lowest: float, stated: str | None, modality: str
) -> None:
    assert modality_of(scan(lowest, stated)) == modality


def test_scans_of_several_modalities_are_named_the_rarer_ones_by_name() -> None:
    mixed = {"a": "CT", "b": "", "c": "PT", "d": "MR", "e": "MR"}
    assert modality_remark(mixed, "MR").startswith("CT (a), PT (c) and MR (3 scans) are mixed.")
    assert modality_remark({"a": "", "b": "CT", "c": "CT"}, "CT").startswith(
        "No CT (a) and CT (2 scans) are mixed."
    )


def test_scans_of_another_modality_than_the_task_are_told() -> None:
    assert "for MR, say" in modality_remark({"a": "", "b": "MR"}, "CT")
    assert "for CT, say" in modality_remark({"a": "CT"}, "MR")
    for found, wanted in (({"a": "CT"}, "CT"), ({"a": "MR", "b": ""}, "MR"), ({}, "CT")):
        assert modality_remark(found, wanted) == ""
