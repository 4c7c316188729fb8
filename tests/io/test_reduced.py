"""What is kept of a large file for a picture: fewer voxels in the same place, and how many of each class there were."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from diffcl.errors import ScanError
from diffcl.geometry import Geometry
from diffcl.io import read_scan, write_image
from diffcl.io.isolated import IsolatedReader
from diffcl.io.reduced import reduced_label, reduced_scan

GRID = Geometry((40, 25, 9), (0.5, 1.0, 3.0), (10.0, -20.0, 30.0), (0, 1, 0, 1, 0, 0, 0, 0, -1))


@pytest.fixture(scope="module")
def reader() -> Iterator[IsolatedReader]:
    one = IsolatedReader(seconds=60)
    yield one
    one.close()


def ramp() -> sitk.Image:
    """A scan of which each value is a plane in space."""
    x, y, z = np.indices(GRID.size)
    return GRID.place((x + 2.0 * y - z).astype(np.float32))


def box() -> sitk.Image:
    """A label of a box in a box, in which some voxels are unknown."""
    values = np.zeros(GRID.size, dtype=np.uint8)
    values[8:32, 5:20, 2:7], values[16:24, 10:15, 3:5], values[0, 0, 0] = 1, 2, 255
    return GRID.place(values)


def test_a_large_scan_keeps_its_place_and_its_means() -> None:
    found = reduced_scan(ramp(), 20)
    assert found.image.GetSize() == (20, 12, 9)
    assert found.grid == GRID
    for index in ((0, 0, 0), (7, 5, 4), (19, 11, 8)):
        place = found.image.TransformIndexToPhysicalPoint(index)
        x, y, z = ramp().TransformPhysicalPointToContinuousIndex(place)
        assert found.image.GetPixel(index) == pytest.approx(x + 2 * y - z, abs=1e-3)


def test_a_large_label_keeps_its_classes_its_place_and_the_volumes_of_all_of_it() -> None:
    found = reduced_label(box(), 20)
    assert Geometry.of(found.image) == Geometry.of(reduced_scan(ramp(), 20).image)
    assert found.counts[:3] == (40 * 25 * 9 - 24 * 15 * 5 - 1, 24 * 15 * 5 - 8 * 5 * 2, 8 * 5 * 2)
    assert found.counts[255] == 1
    assert set(np.unique(sitk.GetArrayViewFromImage(found.image))) <= {0, 1, 2, 255}
    for index in ((0, 11, 8), (10, 6, 4), (12, 6, 4), (5, 6, 4)):
        place = found.image.TransformIndexToPhysicalPoint(index)
        near = [round(one - 1e-6) for one in box().TransformPhysicalPointToContinuousIndex(place)]
        assert found.image.GetPixel(index) == box().GetPixel(near)


def test_what_is_small_stays_as_it_is() -> None:
    for image, found in ((ramp(), reduced_scan(ramp(), 40)), (box(), reduced_label(box(), 40))):
        assert Geometry.of(found.image) == GRID
        np.testing.assert_array_equal(sitk.GetArrayFromImage(found.image), sitk.GetArrayFromImage(image))


def test_a_child_reduces_as_it_is_done_here(reader: IsolatedReader, tmp_path: Path) -> None:
    write_image(ramp(), tmp_path / "scan.nii.gz")
    write_image(box(), tmp_path / "label.nii.gz")
    for kind, want in (("scan", reduced_scan(ramp(), 20)), ("first", reduced_scan(ramp(), 20)),
                       ("label", reduced_label(box(), 20))):  # fmt: skip
        file = tmp_path / ("label.nii.gz" if kind == "label" else "scan.nii.gz")
        found = reader.reduced(file, 20, kind)
        np.testing.assert_allclose(
            sitk.GetArrayFromImage(found.image), sitk.GetArrayFromImage(want.image), atol=1e-4
        )
        assert found.counts == want.counts
        assert np.allclose(found.grid.corners(), want.grid.corners(), atol=1e-4)


def test_a_series_comes_reduced_from_the_child_alone(reader: IsolatedReader, series: Path) -> None:
    found, whole = reader.reduced(series, 8, "first"), read_scan(series).image
    assert max(found.image.GetSize()) <= 8
    assert found.grid == Geometry.of(whole)


def test_what_cannot_be_read_is_refused_in_one_line(reader: IsolatedReader, tmp_path: Path) -> None:
    (tmp_path / "scan.nii.gz").write_bytes(b"text")
    with pytest.raises(ScanError, match=r"scan\.nii\.gz"):
        reader.reduced(tmp_path / "scan.nii.gz", 20, "scan")
