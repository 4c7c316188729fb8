"""The voxels of a DICOM series."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import UID

from diffcl.errors import ScanError
from diffcl.io.dicom.decoder import Decoder
from diffcl.io.dicom.headers import DAMAGED
from diffcl.io.dicom.releases import has_decoder
from diffcl.io.dicom.slices import Slice

PLUGIN: Final = "python-gdcm"
"""Decodes JPEG, JPEG Lossless, JPEG-LS, JPEG 2000 and RLE for pydicom 2."""

PIXELS: Final = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


def read_voxels(path: Path, slices: tuple[Slice, ...]) -> npt.NDArray[np.float32]:
    """Values of the slices after rescaling, each with its own slope and intercept: `(Z, Y, X)`.

    Raises:
        ScanError: If pixels are missing, end early or cannot be decoded.
    """
    columns, rows = slices[0].size
    voxels = np.empty((0, rows, columns), np.float32)
    stored: npt.NDArray[Any] = np.empty(0)
    decoded: Path | None = None
    with Decoder() as decode:
        for index, one in enumerate(slices):
            if one.file.path != decoded:
                decoded, stored = one.file.path, _stored(path, one.file.path, decode)
            image = stored if one.frame is None else stored[one.frame]
            if image.shape != (rows, columns):
                raise ScanError(path, f"{decoded.name}: its pixels do not fit its header", "Export it again")
            if index == 0:  # only now: a damaged header can promise any number of pixels
                voxels = np.empty((len(slices), rows, columns), np.float32)
            np.multiply(image, np.float32(one.slope), out=voxels[index], casting="unsafe")
            voxels[index] += np.float32(one.intercept)
    return voxels


def _stored(path: Path, file: Path, decode: Decoder) -> npt.NDArray[Any]:
    """Stored values of a file, `(rows, columns)` or `(frames, rows, columns)`."""
    try:
        image = pydicom.dcmread(file)
        if not any(keyword in image for keyword in PIXELS):
            raise ScanError(
                path, f"{file.name}: the image has no pixel data", "Export the series with its images"
            )
        syntax = UID(str(image.file_meta.TransferSyntaxUID))
        _check_decoder(path, file, syntax)
        return _meant_bits(image, decode(file) if syntax.is_encapsulated else image.pixel_array)
    except OSError as error:
        raise ScanError(
            path, f"{file.name}: cannot be read ({error.strerror or type(error).__name__})"
        ) from error
    except (*DAMAGED, RuntimeError) as error:
        raise ScanError(
            path, f"{file.name}: its pixels are damaged or end early", "Export it again"
        ) from error


def _meant_bits(image: Dataset, pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Pixels without what stands in the bits above the stored ones, with their sign."""
    spare = int(image.BitsAllocated) - int(image.BitsStored) if "PixelData" in image else 0
    if spare > 0:
        pixels = (pixels << spare) >> spare
    return pixels


def _check_decoder(path: Path, file: Path, syntax: UID) -> None:
    decoder = has_decoder(syntax)
    if decoder:
        return
    if decoder is not None:
        raise ScanError(
            path,
            f"{file.name}: compressed as {syntax.name}, which needs the plug-in {PLUGIN}",
            f"Install it (pip install {PLUGIN})",
        )
    raise ScanError(
        path,
        f"{file.name}: compressed as {syntax.name}, which no plug-in of pydicom decodes",
        "Export the series uncompressed",
    )
