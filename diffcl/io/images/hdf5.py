"""HDF5 files with a scan and its label, as papers on semi-supervised segmentation exchange them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from diffcl.errors import ScanError


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
    try:
        with h5py.File(path, "r") as file:
            image, label = (_volume(path, file, name) for name in ("image", "label"))
    except OSError as error:
        raise ScanError(path, "damaged, or not an HDF5 file", "Download it again") from error
    if image.shape != label.shape:
        raise ScanError(path, f"its image has {image.shape} voxels, its label {label.shape}", "Leave it out")
    if not np.isfinite(image).all():
        raise ScanError(path, "its image has voxels that are not numbers", "Leave it out")
    if not np.isin(label, np.arange(256)).all():
        raise ScanError(path, "its label has values that are not whole numbers of 0..255", "Leave it out")
    return _placed(image.astype(np.float32), spacing), _placed(label.astype(np.uint8), spacing)


def _volume(path: Path, file: h5py.File, name: str) -> NDArray[Any]:
    if not isinstance(file.get(name), h5py.Dataset):
        raise ScanError(path, f"has no dataset {name}", f"It has {', '.join(file) or 'none'}")
    volume: NDArray[Any] = file[name][()]
    if volume.ndim != 3:
        raise ScanError(path, f"its {name} is {volume.ndim}D", "Give a file of one 3D scan")
    return volume


def _placed(array: NDArray[Any], spacing: tuple[float, float, float]) -> sitk.Image:
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
    image.SetSpacing(spacing)
    return image
