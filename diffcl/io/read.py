"""The two ways in: a scan, and a label map of a scan. A program that reads files of others lets a child read them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from diffcl.errors import ScanError, UsageError
from diffcl.io.dicom.seg_read import read_seg
from diffcl.io.dicom.series import read_series
from diffcl.io.formats import DICOM_SUFFIX, is_dicom, is_segmentation, scan_name
from diffcl.io.images.integrity import check_finite
from diffcl.io.images.segmentation import by_names, in_layers, merged
from diffcl.io.images.volume import placed, read_volume, read_volumes
from diffcl.io.in_memory import ImageInMemory, scan_in_memory
from diffcl.io.scan import Scan
from diffcl.labels import LEAST_SOURCE, MOST_SOURCE, LabelClass

NEARLY: Final = 1e-3
"""Programs that scale what they store keep labels as 1.000001; what lies farther from a whole number is no label."""

MOST: Final = 255
"""The largest value of a label map."""

LONGEST_TOLD: Final = 1e12
"""Numbers from here on are told with an exponent."""


class FileReader(Protocol):
    """Who reads files for this process; see `diffcl.io.isolated`."""

    def scan(self, path: Path, series_uid: str | None = None) -> Scan:
        """What `scan_of_file` gives."""
        ...

    def scans(self, path: Path) -> list[Scan]:
        """What `scans_of_file` gives."""
        ...

    def label(self, path: Path, reference: Scan | None, labels: Sequence[LabelClass] | None) -> sitk.Image:
        """What `label_of_file` gives."""
        ...


_other: Callable[[], FileReader] | None = None
"""Gives who reads files for this process; None where it reads them itself."""


def let_another_read(reader: Callable[[], FileReader]) -> None:
    """From now on, whatever file this process is to read is read by somebody else."""
    global _other
    _other = reader


def read_scan(
    source: str | os.PathLike[str] | ImageInMemory, *, name: str | None = None, series_uid: str | None = None
) -> Scan:
    """A scan from a file, a DICOM series, or an image that is in memory already.

    Args:
        source: A NIfTI, NRRD or MetaImage file, the folder of a DICOM series, a SimpleITK image, a nibabel image, or
            a pair of an array `(X, Y, Z)` and its affine `(4, 4)` from voxel indices to RAS millimetres, as nibabel
            has it.
        name: Of the case; by default that of its file or folder, else `scan`.
        series_uid: SeriesInstanceUID of the series to take from a DICOM folder that holds several.

    Raises:
        ScanError: If there is no scan, or one that cannot be used: damaged, not 3D, sheared, thinner than two
            voxels, without contrast, or with voxels that are not numbers.
        UsageError: If `series_uid` is given for what is not DICOM, or the source is none of these.
    """
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        check_present(path)
        scan = _other().scan(path, series_uid) if _other else scan_of_file(path, series_uid)
        return scan if name is None else replace(scan, name=name)
    scan = scan_in_memory(source, name)
    if series_uid is not None:
        raise UsageError(scan.path, "not DICOM, so it has no series to choose", "Leave the series out")
    check_voxels(scan.path, scan.image)
    return scan


def scan_of_file(path: Path, series_uid: str | None = None) -> Scan:
    """What `read_scan` gives of a path that is there, read by this process."""
    if path.is_dir() or holds_dicom(path):
        image, series, remarks = read_series(path, series_uid)
        check_voxels(path, image)
        return Scan(image, scan_name(path), path, series.modality or None, series, remarks)
    if series_uid is not None:
        raise UsageError(path, "not DICOM, so it has no series to choose", "Leave the series out")
    volume, remarks = read_volume(path)
    image = sitk.Cast(volume, sitk.sitkFloat32)
    check_voxels(path, image)
    return Scan(image, scan_name(path), path, remarks=remarks)


def read_scans(path: Path) -> list[Scan]:
    """The volumes of a 4D NIfTI file as scans, or the only scan that is there.

    Raises:
        ScanError: As `read_scan`.
    """
    check_present(path)
    return _other().scans(path) if _other else scans_of_file(path)


def scans_of_file(path: Path) -> list[Scan]:
    """What `read_scans` gives of a path that is there, read by this process."""
    if path.is_dir() or holds_dicom(path):
        return [scan_of_file(path)]
    volumes, remarks = read_volumes(path)
    images = [sitk.Cast(volume, sitk.sitkFloat32) for volume in volumes]
    for image in images:
        check_voxels(path, image)
    return [Scan(image, scan_name(path), path, remarks=remarks) for image in images]


def read_label(
    source: str | os.PathLike[str] | ImageInMemory,
    *,
    reference: Scan | None = None,
    labels: Sequence[LabelClass] | None = None,
    sources: bool = False,
) -> sitk.Image:
    """A label map as uint8; one without a structure is valid.

    Values that stand within `NEARLY` of a whole number mean it. The layers of a segmentation of 3D Slicer are merged.

    Args:
        source: An image file, a segmentation of 3D Slicer, a DICOM segmentation, or an image in memory as `read_scan`
            takes it.
        reference: The scan it belongs to. A DICOM segmentation is put on its grid: some leave out slices.
        labels: Classes of the task, by whose names the segments of a DICOM segmentation, or of one of 3D Slicer, get
            their values.
        sources: Whether its values are what a recipe calls `sources`, which may be any whole numbers; where one of them
            is none of 0..255, all are int64.

    Raises:
        ScanError: If it cannot be read, is not 3D, or has values that are not whole numbers of 0..255.
        UsageError: If the source is none of these.
    """
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        check_present(path)
        image = (_other().label if _other else label_of_file)(path, reference, labels)
        if labels is not None:
            image = _by_names(path, image, labels, sources=sources)
    else:
        held = scan_in_memory(source, "label")
        path, image = held.path, _label(held.image, held.path)
    if image.GetPixelID() != sitk.sitkUInt8 and not sources:
        values = sitk.GetArrayViewFromImage(image)
        raise _no_label(path, values[(values < 0) | (values > MOST)][0])
    return image


def _by_names(path: Path, image: sitk.Image, labels: Sequence[LabelClass], *, sources: bool) -> sitk.Image:
    """A label map with the values of classes where its file names them; those of their sources if that is asked."""
    small = image.GetPixelID() == sitk.sitkUInt8
    found = by_names(path, image, labels) if small and is_segmentation(path) else image
    if not sources or (found is image and not holds_dicom(path)):
        return found
    table = np.arange(MOST + 1, dtype=np.int64)
    for one in labels:
        table[one.value] = one.source_values[0]
    label = sitk.GetImageFromArray(whole_numbers(table[sitk.GetArrayViewFromImage(found)], path))
    label.CopyInformation(found)
    return label


def label_of_file(
    path: Path, reference: Scan | None = None, labels: Sequence[LabelClass] | None = None
) -> sitk.Image:
    """What `read_label` gives of a path that is there, read by this process; int64 where uint8 does not hold it."""
    if holds_dicom(path):
        return read_seg(path, reference, labels)
    if is_segmentation(path) and in_layers(path):
        image, _ = placed(path, merged(path))
    else:
        image, _ = read_volume(path)
    return image if image.GetPixelID() == sitk.sitkUInt8 else _label(image, path)


def _label(image: sitk.Image, path: Path) -> sitk.Image:
    label = sitk.GetImageFromArray(whole_numbers(sitk.GetArrayViewFromImage(image), path))
    label.CopyInformation(image)
    return label


def whole_numbers(voxels: NDArray[Any], path: Path) -> NDArray[np.uint8] | NDArray[np.int64]:
    """The values of a label as uint8, or int64 where that does not hold them.

    Raises:
        ScanError: If one is no whole number, see `NEARLY`, or needs more than 32 bits.
    """
    if voxels.dtype == np.uint8:
        return voxels
    near = np.rint(voxels)
    wrong = voxels[~((near >= LEAST_SOURCE) & (near <= MOST_SOURCE) & (np.abs(voxels - near) <= NEARLY))]
    if wrong.size:
        raise _no_label(path, wrong[0])
    fits = near.size == 0 or (near.min() >= 0 and near.max() <= MOST)
    label: NDArray[np.uint8] | NDArray[np.int64] = near.astype(np.uint8 if fits else np.int64)
    return label


def _no_label(path: Path, value: Any) -> ScanError:
    return ScanError(path, f"value {_in_full(value)} is not a label (0-255)",
                     "Give a label map, not a scan, or name its values as sources in the recipe")  # fmt: skip


def _in_full(value: Any) -> str:
    """A number with all of its digits."""
    return np.format_float_positional(value, trim="-") if abs(value) < LONGEST_TOLD else str(value)


def check_voxels(path: Path, image: sitk.Image) -> None:
    """Refuse a float32 scan that is too thin, has voxels that are not finite, or shows nothing.

    Raises:
        ScanError: Naming the axis, the count or the only value.
    """
    check_thickness(path, image.GetSize())
    voxels = sitk.GetArrayViewFromImage(image)
    check_finite(path, voxels)
    check_contrast(path, float(voxels.min()), float(voxels.max()))


def check_thickness(path: Path, size: Sequence[int]) -> None:
    """Refuse a scan of this size if it is too thin.

    Raises:
        ScanError: With the size.
    """
    if min(size) < 2:
        shape = " x ".join(str(length) for length in size)
        raise ScanError(path, f"only one voxel thin ({shape})", "Give a scan of at least two slices")


def check_contrast(path: Path, low: float, high: float) -> None:
    """Refuse a scan with this lowest and highest value if it shows nothing.

    Raises:
        ScanError: With the only value.
    """
    if low == high:
        raise ScanError(path, f"every voxel is {low:g}", "Give a scan that shows something")


def check_present(path: Path) -> None:
    """Refuse what is neither a file nor a folder; whoever opens a pipe or a device may wait for ever.

    Raises:
        ScanError: With the name.
    """
    try:
        if path.is_file() or path.is_dir():
            return
        there = path.exists()
    except OSError as error:
        raise ScanError(
            path, f"cannot be read ({error.strerror})", "Check the file and its permissions"
        ) from error
    if there:
        raise ScanError(path, "neither a file nor a folder", "Give a scan as a file")
    raise ScanError(path, "no such file or folder", "Correct the name")


def holds_dicom(path: Path) -> bool:
    """Whether a file is DICOM by its name or its content."""
    return path.suffix.lower() == DICOM_SUFFIX or is_dicom(path)
