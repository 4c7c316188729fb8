"""DICOM series: read from a folder or an enhanced multi-frame file, with nothing repaired in silence."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import SimpleITK as sitk
from pydicom.dataset import Dataset

from diffcl.errors import ScanError
from diffcl.geometry import Geometry
from diffcl.io.dicom.arrangement import Grid, arrange
from diffcl.io.dicom.copies import without_copies
from diffcl.io.dicom.headers import choose_series, find_dicom, not_a_scan, read_header
from diffcl.io.dicom.pixels import read_voxels
from diffcl.io.dicom.slices import is_localiser, slices_of
from diffcl.io.images.integrity import check_size


@dataclass(frozen=True)
class DicomSeries:
    """Where a scan came from: the images of one series in the order of its slices, and their grid.

    Attributes:
        path: The folder, or the multi-frame file.
        uid: SeriesInstanceUID.
        modality: As the header states it, for example `MR`.
        files: The file of each slice, or the one multi-frame file.
        headers: Their headers without pixels. They hold the patient's name, so they are not in `repr`.
        frames: Frame of each slice in its multi-frame file, from 0; empty for single-frame files.
        geometry: Where the voxels lie; its axes are row, column and normal.
    """

    path: Path
    uid: str
    modality: str
    files: tuple[Path, ...] = field(repr=False)
    headers: tuple[Dataset, ...] = field(repr=False)
    frames: tuple[int, ...] = field(repr=False)
    geometry: Geometry


def read_series(path: Path, series_uid: str | None = None) -> tuple[sitk.Image, DicomSeries, tuple[str, ...]]:
    """Read one series: its float32 image, itself, and remarks about what was left out.

    The slices are put in order by their position along the normal of the images; file names and instance
    numbers play no part. A localiser among them, or a copy of an image, is left out with a remark. A
    tilted gantry is refused and not straightened, because a label made on a straightened grid would have
    to be resampled to be stored with the images.

    Args:
        path: Folder with the images, or an enhanced multi-frame file.
        series_uid: SeriesInstanceUID, needed where a folder holds several series.

    Raises:
        ScanError: If there is no series that can be used; it says why in one line without the patient's
            name or number.
    """
    files = find_dicom(path) if path.is_dir() else [read_header(path)]
    files, remarks = without_copies(choose_series(path, files, series_uid))
    for file in files:
        if odd := not_a_scan(file.header):
            raise ScanError(path, f"{file.path.name}: {odd} among the images", "Export the series again")
    images = [file for file in files if not is_localiser(file)]
    if not images:
        raise ScanError(path, "holds a localiser only", "Give the series that was planned on it")
    if len(images) < len(files):
        remarks = (
            *remarks,
            f"{len(files) - len(images)} of {len(files)} images are localisers, left out",
        )
    slices = [one for file in images for one in slices_of(path, file)]
    if path.is_file() and len(slices) == 1:
        raise ScanError(path, "one image of a series", "Give the folder that holds the whole series")
    try:
        grid = arrange(path, slices)
    except ScanError as error:
        if 1 < len(images) < len(slices):
            what = f"{len(images)} multi-frame images in one series: {error.what}"
            raise ScanError(path, what, "Give the file of one of them") from error
        raise
    check_size(path, grid.geometry.size)
    voxels, odd_values = read_voxels(path, grid.slices)
    return grid.geometry.place(voxels.T), _series(path, grid), (*remarks, *odd_values)


def _series(path: Path, grid: Grid) -> DicomSeries:
    frames = tuple(one.frame for one in grid.slices if one.frame is not None)
    files = [one.file for one in grid.slices]
    different = len({file.path for file in files})
    if different == 1:
        files = files[:1]
    elif different == len(files):
        frames = ()
    return DicomSeries(
        path=path,
        uid=str(files[0].header.get("SeriesInstanceUID", "")),
        modality=str(files[0].header.get("Modality", "")),
        files=tuple(file.path for file in files),
        headers=tuple(file.header for file in files),
        frames=frames,
        geometry=grid.geometry,
    )
