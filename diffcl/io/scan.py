"""A scan as the rest of the library sees it: a 3D image with its geometry, and where it came from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import SimpleITK as sitk

from diffcl.io.images.integrity import NO_ORIENTATION, NO_VOXEL_SIZE

if TYPE_CHECKING:
    from diffcl.io.dicom.series import DicomSeries


@dataclass(frozen=True)
class Scan:
    """One readable, finite, three-dimensional scan, or the first sequence of a case and the others with it.

    Attributes:
        image: Scalar float32 image in millimetres, LPS directions as in ITK and DICOM.
        name: Name of the case, without folder and extension; never a patient's name.
        path: The file or the DICOM folder; for a scan that has neither, a name that is no file's.
        modality: DICOM modality when the source states one, else None.
        series: The DICOM series it came from, else None.
        others: The further sequences of a case that has several, in the order of its task, each on the grid of `image`;
            None for one that is absent.
        remarks: What the reader repaired or found odd, one sentence each.
    """

    image: sitk.Image
    name: str
    path: Path
    modality: str | None = None
    series: DicomSeries | None = None
    remarks: tuple[str, ...] = ()
    others: tuple[sitk.Image | None, ...] = ()

    @property
    def guesses(self) -> tuple[str, ...]:
        """What of its place the header leaves to guess; for learning, that is a fault of the file."""
        every = (NO_VOXEL_SIZE, NO_ORIENTATION)
        return tuple(guess for guess in every if any(guess in remark for remark in self.remarks))
