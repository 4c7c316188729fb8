"""The voxels of a DICOM series."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.uid import UID

from diffcl.errors import ScanError
from diffcl.io.dicom.damage import damage_as, number
from diffcl.io.dicom.data_set import read_data_set
from diffcl.io.dicom.decoder import Decoder, DecodingError
from diffcl.io.dicom.headers import transfer_syntax
from diffcl.io.dicom.releases import has_decoder
from diffcl.io.dicom.slices import Slice
from diffcl.io.dicom.stored_values import StoredValues, stored_values

PLUGIN: Final = "python-gdcm"
"""Decodes JPEG, JPEG Lossless, JPEG-LS, JPEG 2000 and RLE for pydicom 2."""

PIXELS: Final = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")

NEAR_LOWEST: Final = 0.01
"""Padding that lies this near to the lowest value, as a share of the range of the values, is background."""

DENSE: Final = 500
"""Hounsfield units which the middle voxel of a scan cannot reach: it lies in air or in soft tissue."""


@dataclass
class _Voxels:
    """Voxels `(Z, Y, X)` after rescaling, and what their files say of them.

    Attributes:
        values: The voxels.
        padding: Where there is nothing but padding; None where there is none.
        remarks: What of the headers cannot be meant as it stands.
        beyond: Images with bits above those that are stored.
        rather_whole: How many of these look like values that are larger than the header says.
    """

    values: npt.NDArray[np.float32]
    padding: npt.NDArray[np.bool_] | None = None
    remarks: list[str] = field(default_factory=list)
    beyond: int = 0
    rather_whole: int = 0


def read_voxels(path: Path, slices: tuple[Slice, ...]) -> tuple[npt.NDArray[np.float32], tuple[str, ...]]:
    """Values of the slices after rescaling, each with its own slope and intercept, `(Z, Y, X)`; and remarks.

    Padding gets the lowest of the other values. Where low values are meant to be white (MONOCHROME1), values
    are inverted within their range; but Hounsfield units mean the same, however they are shown.

    Raises:
        ScanError: If pixels are missing, end early or cannot be decoded, or it is not clear what is dark.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # what is no number afterwards is refused as such
        found = _read(path, slices, whole=False)
        larger = found.rather_whole > found.beyond / 2
        found = _read(path, slices, whole=True) if larger else found
    if found.beyond:
        taken = "taken as part of the values" if larger else "left out"
        found.remarks.append(f"bits above the stored ones are set in {found.beyond} images and were {taken}")
    voxels, padding = found.values, found.padding
    if padding is not None and padding.all():
        raise ScanError(path, "every voxel is padding", "Give a scan that shows something")
    low, high = _ends(voxels, padding)
    inverse = _is_inverse(path, slices)
    if inverse and slices[0].file.header.get("Modality") == "CT":
        if np.median(voxels[::2, ::4, ::4]) > DENSE:
            raise ScanError(
                path,
                "MONOCHROME1, and most voxels are denser than bone",
                "Export it with its Hounsfield units",
            )
        found.remarks.append(
            "low values are meant to be white (MONOCHROME1); Hounsfield units stay as they are"
        )
    elif inverse:
        np.subtract(np.float32(low + high), voxels, out=voxels)
        found.remarks.append("low values are meant to be white (MONOCHROME1), so the scan was inverted")
    if padding is not None and np.abs(voxels[padding] - low).max() > NEAR_LOWEST * (high - low):
        voxels[padding] = low
        found.remarks.append(f"{padding.mean():.1%} of the voxels are padding, taken as {low:g}")
    return voxels, tuple(found.remarks)


def _read(path: Path, slices: tuple[Slice, ...], *, whole: bool) -> _Voxels:
    """Read the slices, with all allocated bits or with those that are stored."""
    columns, rows = slices[0].size
    found = _Voxels(np.empty((0, rows, columns), np.float32))
    stored = StoredValues(np.empty(0))
    decoded: Path | None = None
    with Decoder() as decode:
        for index, one in enumerate(slices):
            if one.file.path != decoded:
                decoded, stored = one.file.path, read_stored(path, one.file.path, decode)
                if stored.remark and stored.remark not in found.remarks:
                    found.remarks.append(stored.remark)
                found.beyond += stored.whole is not None
                found.rather_whole += stored.is_rather_whole
            values = stored.values if stored.whole is None or not whole else stored.whole
            image = _plane(values, one)
            if image.shape != (rows, columns):
                raise ScanError(path, f"{decoded.name}: its pixels do not fit its header", "Export it again")
            if index == 0:  # only now: a damaged header can promise any number of pixels
                found.values = np.empty((len(slices), rows, columns), np.float32)
            np.multiply(image, np.float32(one.slope), out=found.values[index], casting="unsafe")
            found.values[index] += np.float32(one.intercept)
            if stored.padding is not None and (padded := _plane(stored.padding, one)).any():
                if found.padding is None:
                    found.padding = np.zeros(found.values.shape, bool)
                found.padding[index] = padded
    return found


def _plane(image: npt.NDArray[Any], one: Slice) -> npt.NDArray[Any]:
    """The plane of a slice in the pixels of its file; those of a single frame may have no axis of frames."""
    return image if one.frame is None or image.ndim == 2 else image[one.frame]


def _ends(voxels: npt.NDArray[np.float32], padding: npt.NDArray[np.bool_] | None) -> tuple[float, float]:
    """The lowest and the highest value of what is no padding."""
    if padding is None:
        return float(voxels.min()), float(voxels.max())
    inside = ~padding
    return (
        float(voxels.min(where=inside, initial=np.inf)),
        float(voxels.max(where=inside, initial=-np.inf)),
    )


def _is_inverse(path: Path, slices: tuple[Slice, ...]) -> bool:
    """Whether low values are meant to be white."""
    kinds = {str(one.file.header.get("PhotometricInterpretation") or "MONOCHROME2") for one in slices}
    if len(kinds) > 1:
        raise ScanError(path, f"images of {' and '.join(sorted(kinds))}", "Export each kind as a series")
    return kinds == {"MONOCHROME1"}


def read_stored(path: Path, file: Path, decode: Decoder) -> StoredValues:
    """Stored values of a file.

    Raises:
        ScanError: If there are none, or they end early or cannot be decoded.
    """
    damaged = ScanError(path, f"{file.name}: its pixels are damaged or end early", "Export it again")
    try:
        with damage_as(damaged):
            image = read_data_set(file, force=True)
            syntax = transfer_syntax(image)
    except OSError as error:
        raise ScanError(
            path, f"{file.name}: cannot be read ({error.strerror or type(error).__name__})"
        ) from error
    if not any(keyword in image for keyword in PIXELS):
        raise ScanError(
            path, f"{file.name}: the image has no pixel data", "Export the series with its images"
        )
    if syntax is None:
        raise ScanError(
            path,
            f"{file.name}: compressed, but it does not say how (no TransferSyntaxUID)",
            "Export the series uncompressed",
        )
    _check_decoder(path, file, syntax)
    image.file_meta.TransferSyntaxUID = syntax
    with damage_as(damaged):
        signed = _complete(path, file, image)
    if syntax.is_encapsulated:
        try:
            pixels = decode(file)
        except DecodingError as error:
            raise ScanError(path, f"{file.name}: {error}", "Export it again") from error
    else:
        with damage_as(damaged):
            pixels = _all_bits(image)
    with damage_as(damaged):
        found = stored_values(image, pixels, decompressed=syntax.is_encapsulated)
        whole = signed is None and "PixelData" in image  # others are no whole numbers, and have a sign
        unsure = whole and (found.values >> (int(number(image.BitsStored)) - 1)).any()
    if unsure:
        raise ScanError(
            path,
            f"{file.name}: its header does not say whether its values have a sign (PixelRepresentation)",
            "Export it with a whole header",
        )
    return found


def _complete(path: Path, file: Path, image: Dataset) -> int | None:
    """Give an image what its header may leave out, since it can have but one value; its PixelRepresentation, if any.

    Raises:
        ScanError: If its header lacks what nobody can know.
    """
    for keyword in (
        "Rows",
        "Columns",
        *(() if any(one in image for one in PIXELS[1:]) else ("BitsAllocated",)),
    ):
        if image.get(keyword) is None:
            raise ScanError(path, f"{file.name}: its header lacks {keyword}", "Export it with a whole header")
    signed: int | None = image.get("PixelRepresentation")
    usual = {
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "PixelRepresentation": 0,
        "BitsStored": image.get("BitsAllocated"),
    }
    for keyword, value in usual.items():
        if image.get(keyword) in (None, "") and value is not None:
            setattr(image, keyword, value)
    if "HighBit" in image and image.HighBit is None:
        del image.HighBit
    return signed


def _all_bits(image: Dataset) -> npt.NDArray[Any]:
    """Pixels that are not compressed, with all allocated bits; pydicom 3 leaves out those that are not stored."""
    if "PixelData" not in image:
        return image.pixel_array
    bits = {keyword: image[keyword].value for keyword in ("BitsStored", "HighBit") if keyword in image}
    image.BitsStored, image.HighBit = image.BitsAllocated, int(number(image.BitsAllocated)) - 1
    try:
        return image.pixel_array
    finally:
        del image.BitsStored, image.HighBit
        for keyword, value in bits.items():
            setattr(image, keyword, value)


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
