"""Images and DICOM series for the tests of reading and writing; oblique and anisotropic by default."""

from __future__ import annotations

import shutil
import subprocess
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_forms import write_enhanced
from pydicom.dataset import Dataset

from diffcl.io.dicom.series_write import write_series

SIZE = (9, 11, 7)
SPACING = (0.7, 0.9, 2.5)
ORIGIN = (-31.5, 12.25, 101.125)


def turned(a: float, b: float, c: float) -> tuple[float, ...]:
    """A direction matrix after rotations by three angles, radians."""
    transform = sitk.Euler3DTransform()
    transform.SetRotation(a, b, c)
    return tuple(transform.GetMatrix())


@pytest.fixture
def image() -> sitk.Image:
    """An image of whole numbers -500..499 on an oblique, anisotropic grid."""
    values = np.random.default_rng(5).integers(-500, 500, SIZE[::-1])
    image = sitk.GetImageFromArray(values.astype(np.float32))
    image.SetSpacing(SPACING)
    image.SetOrigin(ORIGIN)
    image.SetDirection(turned(0.3, -0.2, 0.5))
    return image


@pytest.fixture
def label(image: sitk.Image) -> sitk.Image:
    """Two small structures on the grid of `image`."""
    values = np.zeros(SIZE[::-1], np.uint8)
    values[1:4, 2:6, 3:7] = 1
    values[3:6, 5:9, 1:4] = 2
    label = sitk.GetImageFromArray(values)
    label.CopyInformation(image)
    return label


@pytest.fixture
def series(image: sitk.Image, tmp_path: Path) -> Path:
    """The folder of `image` as an MR series of seven slices."""
    write_series(image, tmp_path / "series")
    return tmp_path / "series"


@pytest.fixture
def edit() -> Callable[[Path, Callable[[Dataset, int], None]], None]:
    """Changes every file of a folder: `change` gets the dataset and its number from 0."""

    def edit_folder(folder: Path, change: Callable[[Dataset, int], None]) -> None:
        for index, file in enumerate(sorted(folder.glob("*.dcm"))):
            dataset = pydicom.dcmread(file)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # some tests write values that pydicom doubts
                change(dataset, index)
                dataset.save_as(file)

    return edit_folder


@pytest.fixture(scope="session")
def dciodvfy() -> Callable[[Path], str]:
    """Gives the errors that the validator of dicom3tools finds in a DICOM file, one a line."""
    program = shutil.which("dciodvfy")
    if program is None:
        pytest.skip("dciodvfy is missing; install it with: apt-get install dicom3tools")

    def errors(path: Path) -> str:
        found = subprocess.run([program, "-new", path], check=False, capture_output=True, text=True).stderr
        return "\n".join(line for line in found.splitlines() if line.startswith("Error"))

    return errors


@pytest.fixture
def enhanced(series: Path, tmp_path: Path) -> Path:
    """`image` as an enhanced MR file; see `write_enhanced`."""
    return write_enhanced(series, tmp_path / "enhanced.dcm")


@pytest.fixture
def ct_series(image: sitk.Image, tmp_path: Path) -> Path:
    """The folder of `image` as a CT series of seven slices."""
    write_series(image, tmp_path / "ct", modality="CT", intercept=-1024.0)
    return tmp_path / "ct"


@pytest.fixture
def enhanced_ct(ct_series: Path, tmp_path: Path) -> Path:
    """`image` as an enhanced CT file; see `write_enhanced`."""
    return write_enhanced(ct_series, tmp_path / "enhanced-ct.dcm")
