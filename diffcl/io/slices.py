"""Scans and labels slice by slice, for what needs no more than that at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from diffcl.errors import ScanError
from diffcl.geometry import Geometry
from diffcl.io.formats import IMAGE_FORMATS, image_suffix
from diffcl.io.images.integrity import check_all_finite
from diffcl.io.images.nifti_slices import nifti_slices
from diffcl.io.images.volume import check_width, read_volume, read_volumes
from diffcl.io.read import (
    check_contrast,
    check_present,
    check_thickness,
    holds_dicom,
    read_label,
    read_scan,
    whole_numbers,
)


@dataclass(frozen=True)
class Slices:
    """A scan or label of which the slices along the last axis are read one after the other.

    Attributes:
        grid: Where all of it lies.
        arrays: Its slices, `(Y, X)`; float32 of a scan, uint8 of a label. What of the voxels cannot be used is refused
            at the end of them, so they are read to the end.
    """

    grid: Geometry
    arrays: Iterator[NDArray[Any]]


def scan_slices(path: Path, *, first: bool = False) -> Slices:
    """The slices of what `read_scan` reads of a file or folder; NIfTI files are not read as a whole for it.

    Args:
        path: The file or folder.
        first: Whether the file may have several volumes, of which the first one counts.

    Raises:
        ScanError: As `read_scan`, some only from the iterator.
    """
    check_present(path)
    if path.is_dir() or holds_dicom(path):
        image = read_scan(path).image
        return Slices(Geometry.of(image), _of(image))
    found = _unread(path)
    if found is None:
        image = read_volumes(path)[0][0] if first else read_volume(path)[0]
        found = Slices(Geometry.of(image), _of(image))
    check_thickness(path, found.grid.size)
    return Slices(found.grid, _checked(path, found.arrays))


def label_slices(path: Path) -> Slices:
    """The slices of what `read_label` reads of a file or folder; NIfTI files are not read as a whole for it.

    Raises:
        ScanError: As `read_label`, some only from the iterator.
    """
    check_present(path)
    found = None if path.is_dir() or holds_dicom(path) else _unread(path)
    if found is None:
        image = read_label(path)
        return Slices(Geometry.of(image), _of(image))
    return Slices(found.grid, (whole_numbers(array, path) for array in found.arrays))


def _unread(path: Path) -> Slices | None:
    """The slices of a file that can be read one after the other; None of others."""
    suffix = image_suffix(path)
    if suffix is None or IMAGE_FORMATS[suffix] != "NiftiImageIO":
        return None
    try:
        found = nifti_slices(path)
    except OSError as error:
        raise _unreadable(path, error) from error
    if found is None:
        return None
    check_width(path, found[0])
    return Slices(found[0], _told(path, found[1]))


def _told(path: Path, arrays: Iterator[NDArray[Any]]) -> Iterator[NDArray[Any]]:
    try:
        yield from arrays
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> ScanError:
    return ScanError(path, f"cannot be read ({error.strerror or type(error).__name__})")


def _of(image: sitk.Image) -> Iterator[NDArray[Any]]:
    """Copies of the slices of an image, of which a view would not outlive it."""
    for array in sitk.GetArrayViewFromImage(image):
        yield np.array(array)


def _checked(path: Path, arrays: Iterator[NDArray[Any]]) -> Iterator[NDArray[np.float32]]:
    """Slices as float32; at the end, whether all are numbers that show something."""
    low, high, bad, count = np.inf, -np.inf, 0, 0
    for array in arrays:
        with np.errstate(over="ignore"):  # what becomes infinite is counted
            values = array.astype(np.float32)
        count += values.size
        ends = float(values.min()), float(values.max())
        if np.isfinite(ends).all():
            low, high = min(low, ends[0]), max(high, ends[1])
        else:
            bad += values.size - np.count_nonzero(np.isfinite(values))
        yield values
    check_all_finite(path, bad, count)
    check_contrast(path, low, high)
