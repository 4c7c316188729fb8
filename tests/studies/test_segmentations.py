from __future__ import annotations

from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import SegmentationStorage

from diffcl.studies.segmentations import read


def header() -> dict[str, Any]:
    """Of a segmentation as an archive lists it."""
    segment, series, whole = Dataset(), Dataset(), Dataset()
    segment.SegmentAlgorithmType = "MANUAL"
    series.SeriesInstanceUID = "1.2.4"
    whole.SOPClassUID, whole.SOPInstanceUID = SegmentationStorage, "1.2.3"
    whole.SeriesInstanceUID, whole.StudyInstanceUID = "1.2.5", "1.2.6"
    whole.SegmentationType = "BINARY"
    whole.SegmentSequence, whole.ReferencedSeriesSequence = [segment], [series]
    found: dict[str, Any] = whole.to_json_dict()
    return found


def test_a_segmentation_tells_its_series_and_who_made_it() -> None:
    found = read(header())
    assert found is not None
    assert (found.uid, found.image, found.by_model, len(found.segments)) == ("1.2.3", "1.2.4", False, 1)


@pytest.mark.parametrize("tag", ["00620002", "00081115"], ids=["segments", "series"])
@pytest.mark.parametrize("value", [{"vr": "LO", "Value": ["GARBAGE"]}, {"vr": "US", "Value": [5]}], ids=str)
def test_what_an_archive_lists_with_a_sequence_that_is_none_is_no_segmentation(
    tag: str, value: dict[str, Any]
) -> None:
    assert read({**header(), tag: value}) is None


def test_what_names_no_series_is_no_segmentation() -> None:
    odd = header()
    del odd["00081115"]
    assert read(odd) is None
