"""Three-dimensional image files: NIfTI, NRRD and MetaImage, read with every doubt checked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import SimpleITK as sitk

from diffcl.errors import ScanError
from diffcl.io.formats import IMAGE_FORMATS, image_suffix
from diffcl.io.images.metaimage import read_metaimage
from diffcl.io.images.nifti import check_nifti
from diffcl.io.images.nrrd import check_nrrd

CHECKS: Final[dict[str, Callable[[Path], None]]] = {
    "NiftiImageIO": check_nifti,
    "NrrdImageIO": check_nrrd,
}
METAIMAGE: Final = (".mha", ".mhd")
PERPENDICULAR: Final = 1e-4
"""Largest cosine between two axes of an image, and largest error of their length."""

sitk.ProcessObject.SetGlobalWarningDisplay(False)  # ITK prints; what matters is an error or a remark of ours


def read_volume(path: Path) -> sitk.Image:
    """Read a scalar image of three dimensions with its own voxel type.

    Raises:
        ScanError: If it is missing, damaged, not an image, not 3D, has several values a voxel, or has a
            geometry that makes no sense.
    """
    suffix = image_suffix(path)
    if suffix is None:
        known = ", ".join(IMAGE_FORMATS)
        raise ScanError(path, "not a format that is read", f"Give a DICOM folder or one of {known}")
    try:
        image = read_metaimage(path) if suffix in METAIMAGE else _read_by_itk(path, suffix)
    except OSError as error:
        raise ScanError(path, f"cannot be read ({error.strerror or type(error).__name__})") from error
    check_geometry(path, image)
    return image


def remarks_of(image: sitk.Image) -> tuple[str, ...]:
    """What is odd about the header of an image that was read."""
    codes = [image.GetMetaData(key) for key in ("qform_code", "sform_code") if image.HasMetaDataKey(key)]
    if codes and all(code.strip() == "0" for code in codes):
        return ("the header states no orientation (qform and sform code 0); left and right are a guess",)
    return ()


def check_geometry(path: Path, image: sitk.Image) -> None:
    """Refuse a geometry that is not finite, has no extent or is sheared.

    Raises:
        ScanError: Naming what is wrong.
    """
    axes = np.reshape(image.GetDirection(), (3, 3))
    if (
        not np.isfinite([*image.GetSpacing(), *image.GetOrigin(), *axes.flat]).all()
        or min(image.GetSpacing()) <= 0
    ):
        raise ScanError(path, "its voxel size, position or orientation is not a number", "Export it again")
    if np.abs(axes.T @ axes - np.eye(3)).max() > PERPENDICULAR:
        raise sheared(path)


def sheared(path: Path) -> ScanError:
    """The error for axes that are not perpendicular."""
    return ScanError(path, "its axes are not perpendicular", "Resample it to a straight grid")


def _read_by_itk(path: Path, suffix: str) -> sitk.Image:
    CHECKS[IMAGE_FORMATS[suffix]](path)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.SetImageIO(IMAGE_FORMATS[suffix])
    try:
        reader.ReadImageInformation()
        _check_kind(path, reader)
        image: sitk.Image = reader.Execute()
    except RuntimeError as error:
        if "orthonormal" in str(error):
            raise sheared(path) from error
        raise ScanError(path, "damaged, or not the format that its name says", "Export it again") from error
    return image


def _check_kind(path: Path, reader: sitk.ImageFileReader) -> None:
    size = reader.GetSize()
    shape = " x ".join(str(length) for length in size)
    if len(size) != 3:
        raise ScanError(path, f"a {len(size)}D image ({shape})", "Give a scan of one 3D volume")
    kind = sitk.GetPixelIDValueAsString(reader.GetPixelID())
    if reader.GetNumberOfComponents() != 1 or "complex" in kind:
        raise ScanError(
            path, f"holds several values a voxel ({kind})", "Give a scan with one grey value a voxel"
        )
