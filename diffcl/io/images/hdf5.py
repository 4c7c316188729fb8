"""HDF5 files with a scan and its label, as papers on semi-supervised segmentation exchange them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from diffcl.errors import ScanError
from diffcl.io.images.integrity import check_size
from diffcl.io.origin import raised_in

DAMAGED: Final = (OSError, RuntimeError, KeyError, TypeError, ValueError)
"""What h5py raises over damaged bytes, now here, now there."""


def read_h5(path: Path, spacing: tuple[float, float, float]) -> tuple[sitk.Image, sitk.Image]:
    """The datasets `image` and `label` of a file, as a float32 scan and a uint8 label.

    Such files have lost position and orientation: the first axis is taken as x, and the axes as left, posterior
    and superior.

    Args:
        path: The file.
        spacing: Voxel size in mm, which such files do not hold.

    Raises:
        ScanError: If the file is damaged, or its datasets are missing, not 3D, of different sizes, not finite or
            no label.
    """
    with _damage_named(path), h5py.File(path, "r") as file:
        image, label = (_volume(path, file, name) for name in ("image", "label"))
    if image.shape != label.shape:
        raise ScanError(path, f"its image has {image.shape} voxels, its label {label.shape}", "Leave it out")
    if not np.isfinite(image).all():
        raise ScanError(path, "its image has voxels that are not numbers", "Leave it out")
    if not np.isin(label, np.arange(256)).all():
        raise ScanError(path, "its label has values that are not whole numbers of 0..255", "Leave it out")
    return _placed(image.astype(np.float32), spacing), _placed(label.astype(np.uint8), spacing)


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    """Turn what h5py raises over a file into an error for people; what we raise ourselves stays as it is.

    Raises:
        ScanError: That the file is damaged; or why the system does not read it, which h5py tells as a number, some
            as that of the exception and others in its text.
    """
    try:
        yield
    except DAMAGED as error:
        if not raised_in(error, ("h5py",)):
            raise
        told = re.search(r"errno = (\d+)", str(error))
        number = error.errno if isinstance(error, OSError) else None
        number = number or (int(told[1]) if told else None)
        if number:
            why = f"cannot be read ({os.strerror(number)})"
            raise ScanError(path, why, "Check the file and its permissions") from error
        raise ScanError(path, "damaged, or not an HDF5 file", "Download it again") from error


def _volume(path: Path, file: h5py.File, name: str) -> NDArray[Any]:
    found = file.get(name)
    if not isinstance(found, h5py.Dataset):
        raise ScanError(path, f"has no dataset {name}", f"It has {', '.join(file) or 'none'}")
    if found.ndim != 3:
        raise ScanError(path, f"its {name} is {found.ndim}D", "Give a file of one 3D scan")
    if found.dtype.kind not in "biuf":
        raise ScanError(path, f"its {name} is not of numbers", "Give a file of one 3D scan")
    check_size(path, found.shape)
    volume: NDArray[Any] = found[()]
    return volume


def _placed(array: NDArray[Any], spacing: tuple[float, float, float]) -> sitk.Image:
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
    image.SetSpacing(spacing)
    return image
