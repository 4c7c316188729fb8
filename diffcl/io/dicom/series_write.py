"""Writes an image as a DICOM series of an invented patient: phantoms, and series for trying things."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, MRImageStorage, generate_uid
from pydicom.valuerep import format_number_as_ds

from diffcl.files import replace_folder
from diffcl.io.dicom.releases import make_explicit_little_endian, save_dicom

Modality = Literal["MR", "CT"]

STORAGE: Final = {"MR": MRImageStorage, "CT": CTImageStorage}
DAY: Final = "20200101"
TIME: Final = "120000"


def write_series(
    image: sitk.Image,
    folder: Path,
    *,
    modality: Modality = "MR",
    name: str = "phantom",
    slope: float = 1.0,
    intercept: float = 0.0,
) -> tuple[Path, ...]:
    """Write one MR or CT image a slice into a new folder, `0001.dcm` the lowest along the third axis.

    The same image and name give the same bytes: all identifiers are derived from the name, all dates are
    made up.

    Args:
        image: 3D image with right-handed axes.
        folder: Where to; a folder that is there is replaced.
        modality: Kind of the images.
        name: Names the invented patient, study and series.
        slope: Voxel values are stored as the whole number nearest to (value - intercept) / slope. MR images
            have no place for it, so there it must be 1.
        intercept: See `slope`; 0 for MR.

    Returns:
        The files, in the order of their slices.

    Raises:
        ValueError: If the axes are left-handed, or a value does not fit 16 bits.
        OutputError: If the folder cannot be written.
    """
    axes = np.reshape(image.GetDirection(), (3, 3))
    if np.linalg.det(axes) < 0:
        raise ValueError("the axes must be right-handed")
    if modality == "MR" and (slope, intercept) != (1.0, 0.0):
        raise ValueError("MR images have no rescale slope and intercept")
    stored = np.rint((sitk.GetArrayViewFromImage(image) - intercept) / slope)
    if stored.min() < -(2**15) or stored.max() >= 2**15:
        raise ValueError(f"values {stored.min():g} to {stored.max():g} do not fit 16 bits; choose a slope")
    with replace_folder(folder) as temporary:
        for index, plane in enumerate(stored.astype(np.int16)):
            one = _dataset(modality, name, index)
            _describe_plane(one, image, axes, index)
            if modality == "CT":
                one.RescaleSlope, one.RescaleIntercept, one.RescaleType = _ds(slope), _ds(intercept), "HU"
            _add_pixels(one, plane)
            save_dicom(one, temporary / _file_name(index))
    return tuple(folder / _file_name(index) for index in range(len(stored)))


def _file_name(index: int) -> str:
    return f"{index + 1:04d}.dcm"


def _uid(*parts: object) -> str:
    return str(generate_uid(entropy_srcs=["diffcl", *(str(part) for part in parts)]))


def _ds(number: float) -> str:
    """A number as DICOM writes it, in at most 16 characters."""
    return str(format_number_as_ds(float(number)))


def _dataset(modality: Modality, name: str, index: int) -> Dataset:
    """An image of an invented patient without place and pixels."""
    one = Dataset()
    make_explicit_little_endian(one)
    one.SpecificCharacterSet = "ISO_IR 192"
    one.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL" if modality == "CT" else "OTHER"]
    one.SOPClassUID = STORAGE[modality]
    one.SOPInstanceUID = _uid(name, modality, index)
    one.StudyDate = one.SeriesDate = one.AcquisitionDate = one.ContentDate = DAY
    one.StudyTime = one.SeriesTime = one.AcquisitionTime = one.ContentTime = TIME
    one.AccessionNumber = ""
    one.Modality = modality
    one.Manufacturer = "diffcl"
    one.ReferringPhysicianName = ""
    one.StudyDescription = "Synthetic"
    one.SeriesDescription = name[:64]
    one.PatientName = "Phantom^Synthetic"
    one.PatientID = name[:64]
    one.PatientBirthDate = ""
    one.PatientSex = "O"
    one.Laterality = ""
    one.PatientPosition = "HFS"
    one.StudyInstanceUID = _uid(name)
    one.SeriesInstanceUID = _uid(name, modality)
    one.StudyID = "1"
    one.SeriesNumber = 1
    one.AcquisitionNumber = 1
    one.InstanceNumber = index + 1
    one.FrameOfReferenceUID = _uid(name, "place")
    one.PositionReferenceIndicator = ""
    if modality == "MR":
        one.ScanningSequence, one.SequenceVariant, one.ScanOptions = "RM", "NONE", ""
        one.MRAcquisitionType = "3D"
        one.RepetitionTime = one.EchoTime = one.EchoTrainLength = None
    else:
        one.KVP = None
    return one


def _describe_plane(one: Dataset, image: sitk.Image, axes: npt.NDArray[np.float64], index: int) -> None:
    spacing = image.GetSpacing()
    place = image.TransformIndexToPhysicalPoint((0, 0, index))
    one.ImagePositionPatient = [_ds(number) for number in place]
    one.ImageOrientationPatient = [_ds(number) for number in (*axes[:, 0], *axes[:, 1])]
    one.PixelSpacing = [_ds(spacing[1]), _ds(spacing[0])]
    one.SliceThickness = _ds(spacing[2])


def _add_pixels(one: Dataset, plane: npt.NDArray[np.int16]) -> None:
    one.SamplesPerPixel = 1
    one.PhotometricInterpretation = "MONOCHROME2"
    one.Rows, one.Columns = plane.shape
    one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 16, 15, 1
    one.PixelData = plane.astype("<i2").tobytes()
