"""One scan in every form in which a program may hold it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from untrained import GRIDS, make_scan

from diffcl.geometry import Geometry, voxels

LEFT_HANDED = replace(GRIDS["oblique, anisotropic, odd"], direction=(
    *(number * sign for row in np.reshape(GRIDS["oblique, anisotropic, odd"].direction, (3, 3))
      for number, sign in zip(row, (-1, 1, 1), strict=True)),
))  # fmt: skip
ALL_GRIDS = GRIDS | {"left-handed": LEFT_HANDED}


def ras_affine(grid: Geometry) -> np.ndarray:
    """By definition: where the first voxel and its three neighbours lie, with left and back turned about."""
    first, *neighbours = grid.points([(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]) * (-1, -1, 1)
    affine = np.eye(4)
    affine[:3, 3] = first
    affine[:3, :3] = np.stack([neighbour - first for neighbour in neighbours], axis=1)
    return affine


def forms_of(grid: Geometry, folder: Path) -> dict[str, Any]:
    """The same scan in every form."""
    image = make_scan(grid).image
    values, affine = voxels(image), ras_affine(grid)
    sitk.WriteImage(image, folder / "scan.nii.gz")
    sitk.WriteImage(image, folder / "scan.mha")
    nib.save(nib.Nifti1Image(values, affine), folder / "by-nibabel.nii.gz")  # type: ignore[attr-defined]
    return {
        "str": str(folder / "scan.nii.gz"),
        "Path": folder / "scan.mha",
        "written by nibabel": folder / "by-nibabel.nii.gz",
        "SimpleITK": image,
        "nibabel": nib.Nifti1Image(values, affine),  # type: ignore[attr-defined]
        "nibabel, from a file": nib.load(folder / "scan.nii.gz"),  # type: ignore[attr-defined]
        "array": (values, affine),
        "lists": (values.tolist(), affine.tolist()),
    }
