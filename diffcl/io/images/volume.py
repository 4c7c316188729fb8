"""Three-dimensional image files: NIfTI, NRRD and MetaImage, read with every doubt checked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import SimpleITK as sitk

from diffcl.errors import ScanError
from diffcl.geometry import Geometry, GeometryError
from diffcl.io.formats import IMAGE_FORMATS, image_suffix
from diffcl.io.images.integrity import misplaced, one_volume, straightened_remark
from diffcl.io.images.metaimage import check_metaimage, read_metaimage
from diffcl.io.images.nifti import check_nifti, read_nifti, read_nifti_volumes
from diffcl.io.images.nrrd import check_nrrd, read_nrrd

CHECKS: Final[dict[str, Callable[[Path], None]]] = {
    "NiftiImageIO": check_nifti,
    "NrrdImageIO": check_nrrd,
    "MetaImageIO": check_metaimage,
}
"""What tells whether a file is whole, by the name of ITK for its format."""

READERS: Final[dict[str, Callable[[Path], tuple[sitk.Image, tuple[str, ...]]]]] = {
    "NiftiImageIO": read_nifti,
    "NrrdImageIO": read_nrrd,
    "MetaImageIO": read_metaimage,
}

NARROWEST_MM: Final = 1.0
"""A scan whose longest side is shorter has its voxel size in another unit."""

sitk.ProcessObject.SetGlobalWarningDisplay(False)  # ITK prints; what matters is an error or a remark of ours


def read_volume(path: Path) -> tuple[sitk.Image, tuple[str, ...]]:
    """Read a scalar image of three dimensions with its own voxel type, and what is odd about its header.

    Raises:
        ScanError: If it is missing, damaged, not an image, not 3D, has several values a voxel, or has a
            geometry that makes no sense.
    """
    suffix = image_suffix(path)
    if suffix is None:
        known = ", ".join(IMAGE_FORMATS)
        raise ScanError(path, "not a format that is read", f"Give a DICOM folder or one of {known}")
    try:
        image, remarks = READERS[IMAGE_FORMATS[suffix]](path)
    except OSError as error:
        raise ScanError(path, f"cannot be read ({error.strerror or type(error).__name__})") from error
    image, more = placed(path, _scalar(path, image))
    return image, (*remarks, *more)


def read_volumes(path: Path) -> tuple[list[sitk.Image], tuple[str, ...]]:
    """The volumes of an image file along its fourth axis, which NIfTI alone may have, and what is odd about its header.

    Raises:
        ScanError: As `read_volume`.
    """
    suffix = image_suffix(path)
    if suffix is None or IMAGE_FORMATS[suffix] != "NiftiImageIO":
        image, remarks = read_volume(path)
        return [image], remarks
    try:
        images, remarks = read_nifti_volumes(path)
    except OSError as error:
        raise ScanError(path, f"cannot be read ({error.strerror or type(error).__name__})") from error
    put = [placed(path, _scalar(path, image)) for image in images]
    return [image for image, _ in put], (*remarks, *put[0][1])


def _scalar(path: Path, image: sitk.Image) -> sitk.Image:
    """The one volume of an image; further axes, and values a voxel, of which there is one do not count.

    Raises:
        ScanError: If there are several.
    """
    size = image.GetSize()
    if len(size) < 3 or any(length != 1 for length in size[3:]):
        shape = " x ".join(str(length) for length in size)
        raise ScanError(path, f"a {len(size)}D image ({shape})", one_volume(len(size)))
    while image.GetDimension() > 3:
        image = sitk.Extract(image, [*image.GetSize()[:-1], 0])
    kind = image.GetPixelIDTypeAsString()
    if image.GetNumberOfComponentsPerPixel() != 1 or "complex" in kind:
        raise ScanError(
            path, f"holds several values a voxel ({kind})", "Give a scan with one grey value a voxel"
        )
    return sitk.VectorIndexSelectionCast(image, 0) if "vector" in kind else image


def placed(path: Path, image: sitk.Image) -> tuple[sitk.Image, tuple[str, ...]]:
    """An image whose grid can be, and a remark where its axes had to be straightened for that.

    Raises:
        ScanError: Naming what of the grid cannot be.
    """
    try:
        axes = np.reshape(image.GetDirection(), (3, 3))
        grid, moved = Geometry.straightened(image.GetSize(), image.GetSpacing(), image.GetOrigin(), axes)
    except GeometryError as error:
        raise misplaced(path, error) from error
    check_width(path, grid)
    if moved:
        image.SetOrigin(grid.origin)
        image.SetDirection(grid.direction)
    return image, (straightened_remark(moved),) if moved else ()


def check_width(path: Path, grid: Geometry) -> None:
    """Refuse a grid so narrow that its voxel size is in another unit.

    Raises:
        ScanError: With the width.
    """
    if grid.extent.max() < NARROWEST_MM:
        what = f"it would be {grid.extent.max():.2g} mm wide, so its voxel size is not in millimetres"
        raise ScanError(path, what, "Save it in millimetres")
