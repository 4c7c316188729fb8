"""Public sets become images and labels; what is missing, unusable, mirrored or shifted is found before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray

from diffcl.conversion.public_sets import convert
from diffcl.errors import DataError, UsageError
from diffcl.geometry import Geometry, voxels
from diffcl.io.dicom.series_write import write_series

SIZE = (30, 34, 26)
FLIPS = [(False, False, False), (True, False, False), (False, True, False), (False, True, True)]


def organ(seed: int) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """A bright organ without any symmetry in a noisy scan, slightly different for each seed."""
    random = np.random.default_rng(seed)
    x, y, z = np.indices(SIZE)
    size = random.uniform(0.9, 1.1)
    centre = np.array([12.0, 19.0, 11.0]) + random.uniform(-1, 1, 3)
    inside = (((x - centre[0]) / 8) ** 2 + ((y - centre[1]) / 5) ** 2 + ((z - centre[2]) / 4) ** 2) < size
    inside |= (abs(x - centre[0] - 5) < 3) & (abs(y - centre[1] + 6) < 4) & (abs(z - centre[2] - 3) < 5)
    image = random.normal(0, 0.2, SIZE) + inside + 0.02 * x
    return image.astype(np.float32), inside.astype(np.uint8)


def write_h5(path: Path, image: NDArray[np.float32], label: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["image"], file["label"] = image, label


def left_atrium_set(
    folder: Path,
    count: int,
    change: Callable[[int, NDArray[np.uint8]], NDArray[np.uint8]] = lambda _, label: label,
) -> Path:
    for seed in range(count):
        image, label = organ(seed)
        write_h5(folder / f"CASE{seed}" / "mri_norm2.h5", image, change(seed, label))
    return folder


def test_h5_files_become_scans_with_the_spacing_of_the_set(tmp_path: Path) -> None:
    source = left_atrium_set(tmp_path / "set", 2)
    assert convert(source, "left-atrium-h5", tmp_path / "out") == []
    scan = sitk.ReadImage(tmp_path / "out" / "images" / "CASE1.nii.gz")
    label = sitk.ReadImage(tmp_path / "out" / "labels" / "CASE1.nii.gz")
    assert scan.GetSpacing() == label.GetSpacing() == (0.625, 0.625, 0.625)
    image, truth = organ(1)
    assert np.array_equal(voxels(label), truth)
    assert np.allclose(voxels(scan), image)


def test_names_and_spacing_of_plain_h5_files(tmp_path: Path) -> None:
    write_h5(tmp_path / "set" / "image0003_norm.h5", *organ(3))
    convert(tmp_path / "set", "h5", tmp_path / "out", spacing=(1.0, 2.0, 3.0))
    assert sitk.ReadImage(tmp_path / "out" / "labels" / "image0003.nii.gz").GetSpacing() == (1.0, 2.0, 3.0)


def test_the_order_wanted_is_kept_and_chooses(tmp_path: Path) -> None:
    source = left_atrium_set(tmp_path / "set", 3)
    convert(source, "left-atrium-h5", tmp_path / "out", order=["CASE2", "CASE0"])
    assert (tmp_path / "out" / "train.txt").read_text().split() == ["CASE2", "CASE0"]
    assert len(list((tmp_path / "out" / "images").iterdir())) == 2


def test_brats_folders_keep_their_geometry(tmp_path: Path) -> None:
    geometry = Geometry(SIZE, (1.0, 1.0, 2.5), (-10.0, 30.0, 5.0), (-1.0, 0, 0, 0, -1.0, 0, 0, 0, 1.0))
    image, label = organ(0)
    folder = tmp_path / "set" / "HGG" / "BraTS19_1"
    folder.mkdir(parents=True)
    sitk.WriteImage(geometry.place(image), folder / "BraTS19_1_flair.nii.gz")
    sitk.WriteImage(geometry.place(label * 4), folder / "BraTS19_1_seg.nii.gz")
    convert(tmp_path / "set", "brats", tmp_path / "out")
    found = sitk.ReadImage(tmp_path / "out" / "labels" / "BraTS19_1.nii.gz")
    assert np.allclose(found.GetOrigin(), geometry.origin)
    assert np.allclose(found.GetDirection(), geometry.direction)
    assert np.array_equal(voxels(found), label * 4)


@pytest.mark.parametrize(
    "flip", FLIPS, ids=lambda flip: "".join("xyz"[i] for i in range(3) if flip[i]) or "none"
)
def test_pancreas_labels_are_put_into_the_orientation_of_their_scans(
    tmp_path: Path, flip: tuple[bool, bool, bool]
) -> None:
    """Their headers do not agree with those of the DICOM series."""
    axes = [axis for axis in range(3) if flip[axis]]
    for number in (1, 2):
        image, label = organ(number)
        scan = Geometry(SIZE, (0.9, 0.9, 1.5), (5.0, -8.0, 2.0), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0)).place(
            image * 100
        )
        series = tmp_path / "set" / f"PANCREAS_{number:04d}" / "study" / "series"
        series.parent.mkdir(parents=True)
        write_series(sitk.Cast(scan, sitk.sitkInt16), series, name=f"case{number}")
        (tmp_path / "set" / "labels").mkdir(exist_ok=True)
        written = sitk.GetImageFromArray(np.flip(label, axes).T.copy())
        sitk.WriteImage(written, tmp_path / "set" / "labels" / f"label{number:04d}.nii.gz")
    remarks = convert(tmp_path / "set", "pancreas-ct", tmp_path / "out")
    assert len(remarks) == (1 if axes else 0)
    found = sitk.ReadImage(tmp_path / "out" / "labels" / "PANCREAS_0002.nii.gz")
    assert np.array_equal(voxels(found), organ(2)[1])
    assert np.allclose(found.GetSpacing(), (0.9, 0.9, 1.5))


def test_one_mirrored_and_one_shifted_label_are_pointed_at(tmp_path: Path) -> None:
    def change(seed: int, label: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if seed == 3:
            return label[:, ::-1]
        return np.roll(label, 6, axis=2) if seed == 5 else label

    remarks = convert(left_atrium_set(tmp_path / "set", 10, change), "left-atrium-h5", tmp_path / "out")
    assert [remark.split(". ")[0] for remark in remarks] == [
        "CASE3: its label looks mirrored front-back",
        "CASE5: its label looks shifted head-foot",
    ]


def test_a_set_that_is_mirrored_as_a_whole_is_pointed_at(tmp_path: Path) -> None:
    source = left_atrium_set(tmp_path / "set", 3, lambda _, label: label[::-1])
    [remark] = convert(source, "left-atrium-h5", tmp_path / "out")
    assert "best when mirrored left-right" in remark
    label = sitk.ReadImage(tmp_path / "out" / "labels" / "CASE0.nii.gz")
    assert np.array_equal(voxels(label), organ(0)[1][::-1]), "it is for a person to decide"


@pytest.mark.parametrize(("axis", "along"), [(0, "left-right"), (1, "front-back"), (2, "head-foot")])
def test_a_set_that_is_shifted_as_a_whole_is_pointed_at(axis: int, along: str, tmp_path: Path) -> None:
    source = left_atrium_set(tmp_path / "set", 3, lambda _, label: np.roll(label, 3, axis))
    remarks = convert(source, "left-atrium-h5", tmp_path / "out")
    assert any(f"best when shifted {along}" in remark for remark in remarks)


def test_everything_unusable_is_named_at_once_and_nothing_is_written(tmp_path: Path) -> None:
    source = left_atrium_set(tmp_path / "set", 4)
    (source / "CASE0" / "mri_norm2.h5").write_bytes(b"not a file of this kind")
    write_h5(source / "CASE1" / "mri_norm2.h5", organ(1)[0], organ(1)[1][:-1])
    with h5py.File(source / "CASE2" / "mri_norm2.h5", "a") as file:
        del file["label"]
    with pytest.raises(DataError) as caught:
        convert(source, "left-atrium-h5", tmp_path / "out")
    message = str(caught.value)
    assert "3 of 4 cases" in message
    assert "CASE0/mri_norm2.h5: damaged, or not an HDF5 file" in message
    assert "CASE1/mri_norm2.h5: its image has (30, 34, 26) voxels, its label (29, 34, 26)" in message
    assert "CASE2/mri_norm2.h5: has no dataset label" in message
    assert list(tmp_path.iterdir()) == [source]


def test_what_is_missing_is_named_with_what_cannot_be_used(tmp_path: Path) -> None:
    image, label = organ(0)
    for name, scan in (("a", image), ("b", image), ("c", image[:-1])):
        folder = tmp_path / "set" / name
        folder.mkdir(parents=True)
        sitk.WriteImage(sitk.GetImageFromArray(scan), folder / f"{name}_flair.nii.gz")
        if name != "a":
            sitk.WriteImage(sitk.GetImageFromArray(label), folder / f"{name}_seg.nii.gz")
    with pytest.raises(DataError) as caught:
        convert(tmp_path / "set", "brats", tmp_path / "out", order=["a", "b", "c", "d"])
    message = str(caught.value)
    assert "3 of 4 cases" in message
    assert "case d is missing" in message
    assert "a_seg.nii.gz: is missing" in message
    assert "c_seg.nii.gz: has (26, 34, 30) voxels, its scan (26, 34, 29)" in message
    with pytest.raises(DataError, match="nothing in the form h5"):
        convert(tmp_path / "set", "h5", tmp_path / "out")


def test_a_folder_that_exists_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(UsageError, match="exists already"):
        convert(left_atrium_set(tmp_path / "set", 1), "left-atrium-h5", tmp_path / "out")
