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
from diffcl.io.isolated import CutKind, IsolatedReader
from diffcl.io.planes import Cut, planes_of_scan
from diffcl.io.reduced import cut_of_label, cut_of_scan, reduced_label, reduced_scan
from diffcl.io.slices import Slices

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


def in_slices(image: sitk.Image) -> Slices:
    return Slices(Geometry.of(image), iter(sitk.GetArrayFromImage(image)))


def test_a_large_scan_keeps_its_place_and_its_means() -> None:
    found = reduced_scan(in_slices(ramp()), 20)
    assert found.image.GetSize() == (20, 12, 9)
    assert found.grid == GRID
    for index in ((0, 0, 0), (7, 5, 4), (19, 11, 8)):
        place = found.image.TransformIndexToPhysicalPoint(index)
        x, y, z = ramp().TransformPhysicalPointToContinuousIndex(place)
        assert found.image.GetPixel(index) == pytest.approx(x + 2 * y - z, abs=1e-3)


def test_a_large_label_keeps_its_classes_its_place_and_the_volumes_of_all_of_it() -> None:
    found = reduced_label(in_slices(box()), 20)
    assert Geometry.of(found.image) == Geometry.of(reduced_scan(in_slices(ramp()), 20).image)
    assert found.counts[:3] == (40 * 25 * 9 - 24 * 15 * 5 - 1, 24 * 15 * 5 - 8 * 5 * 2, 8 * 5 * 2)
    assert found.counts[255] == 1
    assert found.image[0, 0, 0] == 0  # the only unknown voxel is not the one that is kept
    for index in np.ndindex(found.image.GetSize()):
        place = found.image.TransformIndexToPhysicalPoint(tuple(map(int, index)))
        x, y, z = box().TransformPhysicalPointToContinuousIndex(place)
        near = int(np.ceil(x - 1e-6)), int(np.ceil(y - 1e-6)), round(z)
        assert found.image[tuple(map(int, index))] == box()[near]


def test_the_means_are_those_of_itk() -> None:
    image = GRID.place(np.random.default_rng(0).normal(0, 9, GRID.size).astype(np.float32))
    want = sitk.BinShrink(image, [4, 3, 1])
    found = reduced_scan(in_slices(image), 10).image
    assert Geometry.of(found).size == want.GetSize()
    np.testing.assert_allclose(Geometry.of(found).corners(), Geometry.of(want).corners(), atol=1e-9)
    np.testing.assert_allclose(sitk.GetArrayViewFromImage(found), sitk.GetArrayViewFromImage(want), atol=1e-5)


def test_what_is_unknown_is_shown_as_background() -> None:
    values = np.array(sitk.GetArrayFromImage(box()))
    values[4, 11:14, 19:21] = 255
    found = cut_of_label(in_slices(GRID.place(values.T)), 40, planes_of_scan(GRID))
    assert {value for one in found.slices for value in np.unique(one)} == {0, 1, 2}
    assert found.counts[255] == 7


def same(found: Cut, want: Cut) -> None:
    assert found.planes.positions == want.planes.positions
    assert found.counts == want.counts
    assert found.window == pytest.approx(want.window, abs=1e-4)
    assert np.allclose(found.planes.grid.corners(), want.planes.grid.corners(), atol=1e-4)
    assert np.allclose(found.grid.corners(), want.grid.corners(), atol=1e-4)
    for one, other in zip(found.slices, want.slices, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_a_child_cuts_as_it_is_done_here(reader: IsolatedReader, tmp_path: Path) -> None:
    write_image(ramp(), tmp_path / "scan.nii.gz")
    write_image(box(), tmp_path / "label.nii.gz")
    label = reader.cut(tmp_path / "label.nii.gz", 20, "label")
    same(label, cut_of_label(in_slices(box()), 20))
    kinds: tuple[CutKind, ...] = ("scan", "first")
    for kind in kinds:
        for planes in (None, label.planes):
            found = reader.cut(tmp_path / "scan.nii.gz", 20, kind, planes)
            same(found, cut_of_scan(in_slices(ramp()), 20, planes))


def test_a_series_is_cut_by_the_child_alone(reader: IsolatedReader, series: Path) -> None:
    found, whole = reader.cut(series, 8, "first"), read_scan(series).image
    assert found.grid == Geometry.of(whole)
    same(found, cut_of_scan(in_slices(whole), 8))
    assert max(found.planes.grid.size) <= max(planes_of_scan(Geometry.of(whole)).grid.size)


def test_what_cannot_be_read_is_refused_in_one_line(reader: IsolatedReader, tmp_path: Path) -> None:
    (tmp_path / "scan.nii.gz").write_bytes(b"text")
    with pytest.raises(ScanError, match=r"scan\.nii\.gz"):
        reader.cut(tmp_path / "scan.nii.gz", 20, "scan")
