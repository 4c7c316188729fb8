"""What the stored bits of an image mean: its values, and which of its pixels are padding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from diffcl.io.dicom.damage import number

Values = npt.NDArray[Any]

FLOATS: Final = {"FloatPixelData": "FloatPixelPadding", "DoubleFloatPixelData": "DoubleFloatPixelPadding"}
"""Pixels that are no whole numbers, and how the attributes of their padding begin."""

OVERLAYS: Final = range(0x6000, 0x6020, 2)
"""Groups of the overlays of an image."""

SMOOTHER: Final = 0.5
"""Bits above the stored ones belong to the values if neighbours then differ by less than this share of what they
differ by without them."""


@dataclass(frozen=True)
class StoredValues:
    """The values of an image before rescaling.

    Attributes:
        values: `(rows, columns)` or `(frames, rows, columns)`.
        padding: Where there is nothing but padding, of the same shape; None where there is none.
        whole: The values with all allocated bits, where more of them are set than the header says are stored
            and no overlay is declared in them; else None.
        remark: What of the header cannot be meant as it stands, or empty.
    """

    values: Values
    padding: npt.NDArray[np.bool_] | None = None
    whole: Values | None = None
    remark: str = ""

    @property
    def is_rather_whole(self) -> bool:
        """Whether the bits above the stored ones look like a part of the values and not like drawings.

        Where these bits change from one pixel to the next, values that go on smoothly are the right ones.
        """
        if self.whole is None:
            return False
        whole, values = self.whole.astype(np.float64), self.values.astype(np.float64)
        jumps = np.diff(whole - values, axis=-1) != 0
        with_them, without = (np.abs(np.diff(one, axis=-1))[jumps].sum() for one in (whole, values))
        return bool(with_them < SMOOTHER * without)


def stored_values(image: Dataset, pixels: Values, *, decompressed: bool) -> StoredValues:
    """What the pixels of an image mean by its header.

    The stored bits of a pixel end at HighBit, and the others are not part of the value. Padding is told by all
    allocated bits, or by the stored ones.

    Args:
        image: The header with the pixel data.
        pixels: As pydicom gives them, `(rows, columns)` or `(frames, rows, columns)`.
        decompressed: Whether they were compressed, so that the decoder has put their bits in place.

    Source:
        DICOM PS3.5 section 8.1.1; PS3.3 section C.7.5.1.1.2 for the padding.
    """
    for keyword, prefix in FLOATS.items():
        if keyword in image:
            return StoredValues(pixels, _padding(image, prefix, pixels))
    allocated, stored = int(number(image.BitsAllocated)), int(number(image.BitsStored))
    high = stored - 1 if decompressed else int(number(image.get("HighBit", stored - 1)))
    remark = ""
    if not stored - 1 <= high < allocated:
        remark = f"HighBit {high} cannot be that of {stored} bits and was taken as {stored - 1}"
        high = stored - 1
    elif high >= stored and _fits(pixels, high + 1 - stored, stored):
        remark = f"HighBit {high} does not fit the values and was taken as {stored - 1}"
        high = stored - 1
    values = (pixels << (allocated - 1 - high)) >> (allocated - stored) if allocated > stored else pixels
    padding = _padding(image, "PixelPadding", pixels, values)
    whole = None
    if high == stored - 1 and not _has_overlay(image, high):
        beyond = pixels != values
        whole = pixels if (beyond if padding is None else beyond & ~padding).any() else None
    return StoredValues(values, padding, whole, remark)


def _fits(pixels: Values, below: int, stored: int) -> bool:
    """Whether pixels use bits below those that are stored, and none above as many bits as are stored."""
    used = int(np.bitwise_or.reduce(pixels, axis=None)) & ((1 << 8 * pixels.itemsize) - 1)
    return used & ((1 << below) - 1) != 0 and used < 1 << stored


def _has_overlay(image: Dataset, high: int) -> bool:
    """Whether an overlay is declared in the bits above the stored ones."""
    return any(
        number(image[group, 0x0102].value or 0) > high for group in OVERLAYS if (group, 0x0102) in image
    )


def _padding(image: Dataset, keyword: str, *readings: Values) -> npt.NDArray[np.bool_] | None:
    """Where one of the readings of the pixels lies in the range of padding."""
    value, limit = (_number(image.get(f"{keyword}{end}")) for end in ("Value", "RangeLimit"))
    if value is None:
        return None
    ends = np.array([value, value if limit is None else limit])
    found: npt.NDArray[np.bool_] = np.zeros(readings[0].shape, bool)
    for values in readings:  # a negative number may stand as a positive one, and the other way round
        low, high = sorted(ends.astype(values.dtype))
        found |= (low <= values) & (values <= high)
    return found if found.any() else None


def _number(value: Any) -> float | None:
    """A value of padding; pydicom leaves it as bytes where the header does not say whether it has a sign."""
    if value is None or value == "":
        return None
    return int.from_bytes(value[:2], "little") if isinstance(value, bytes) else number(value)
