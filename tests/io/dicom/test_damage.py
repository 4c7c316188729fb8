from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset

from diffcl.errors import OutputError, ScanError
from diffcl.io.dicom import damage
from diffcl.io.dicom.damage import OddValueError, damage_as, items, number, numbers

ERROR = ScanError("series", "damaged", "Export it again")


def test_what_pydicom_raises_over_bytes_is_damage() -> None:
    with pytest.raises(ScanError, match="series: damaged"), damage_as(ERROR):
        pydicom.dcmread(BytesIO(b"nonsense" * 50))
    with pytest.raises(ScanError, match="series: damaged"), damage_as(ERROR):
        _ = Dataset().Rows


def test_what_is_raised_by_the_caller_of_pydicom_is_not() -> None:
    for kind in damage.DAMAGED:
        with pytest.raises(kind), damage_as(ERROR):
            raise kind


def test_too_little_memory_is_not_called_damage() -> None:
    error = OutputError("seg.dcm", "damaged")
    with pytest.raises(OutputError, match=r"seg\.dcm: needs more memory than there is"), damage_as(error):
        raise MemoryError


@pytest.mark.parametrize("value", [None, "", "x", "nan", "inf", [1, 2], b"\0\0"], ids=str)
@pytest.mark.parametrize("read", [number, lambda value: numbers(value, 3)], ids=["one", "three"])
def test_values_of_another_kind_are_damage(read: Callable[[object], object], value: object) -> None:
    with pytest.raises(OddValueError):
        read(value)
    with pytest.raises(ScanError), damage_as(ERROR):
        read(value)


def test_the_items_of_what_is_no_sequence_are_damage() -> None:
    header = Dataset()
    header.SegmentSequence = [Dataset(), Dataset()]
    header.PixelMeasuresSequence = []
    for kind, value in (("LO", "GARBAGE"), ("OB", b"\0\0"), ("US", 5)):
        header.add_new("PlanePositionSequence", kind, value)
        with pytest.raises(ScanError), damage_as(ERROR):
            items(header, "PlanePositionSequence")
    found = [len(items(header, name)) for name in ("SegmentSequence", "PixelMeasuresSequence", "Absent")]
    assert found == [2, 0, 0]


def test_a_sequence_that_ends_early_is_damage_and_what_the_system_says_is_not(tmp_path: Path) -> None:
    header, tag = Dataset(), pydicom.tag.Tag("SegmentSequence")
    content = b"\xfe\xff\x00"
    header[tag] = RawDataElement(tag, "SQ", len(content), content, 0, False, True)
    with pytest.raises(ScanError), damage_as(ERROR):
        _ = header.SegmentSequence
    with pytest.raises(FileNotFoundError), damage_as(ERROR):
        pydicom.dcmread(tmp_path / "absent.dcm")
