"""What pydicom 2 and pydicom 3 do differently: files, encodings and decoders, each asked for in one way."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

IS_NEW: Final = int(pydicom.__version__.split(".")[0]) >= 3
"""Whether this is pydicom 3 or newer."""


def save_dicom(dataset: Dataset, file: Path) -> None:
    """Write a data set as a DICOM file with a preamble and all that its meta information must hold."""
    dataset.save_as(file, **({"enforce_file_format": True} if IS_NEW else {"write_like_original": False}))


def make_explicit_little_endian(dataset: Dataset) -> None:
    """Have a new data set written with stated types, the least significant byte first."""
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    if not IS_NEW:  # pydicom 3 goes by the transfer syntax
        dataset.is_little_endian, dataset.is_implicit_VR = True, False


def has_decoder(syntax: UID) -> bool | None:
    """Whether images encoded in this way can be decoded here; None if no plug-in of pydicom decodes them."""
    if not IS_NEW:
        from pydicom.config import pixel_data_handlers

        handlers = [one for one in pixel_data_handlers if one.supports_transfer_syntax(syntax)]
        return any(one.is_available() for one in handlers) if handlers else None
    from pydicom.pixels import get_decoder  # type: ignore[import-not-found]

    try:
        return bool(get_decoder(syntax).is_available)
    except NotImplementedError:
        return None
