"""Data sets from DICOM files, those that are packed as a whole too, which may unpack to far more than they are."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any, BinaryIO, Final

import pydicom
from pydicom.dataset import FileDataset
from pydicom.uid import DeflatedExplicitVRLittleEndian

from diffcl.errors import ScanError
from diffcl.io.images.integrity import LARGEST_VOXELS

META_START: Final = 132
"""Bytes before the first element of a file."""

LONG: Final = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
"""Kinds of values whose length takes four bytes."""

SYNTAX: Final = struct.pack("<HH", 0x0002, 0x0010)
"""The element that says how the file is encoded."""

CHUNK: Final = 1 << 20

RATIO: Final = 200
"""A data set may be so many times as large as its file; that of a mask is a hundred times, of a bomb a thousand."""

ALWAYS: Final = 64 << 20
"""Bytes that a data set may have whatever the size of its file."""

MOST: Final = 2 * LARGEST_VOXELS + ALWAYS
"""Bytes that no data set may exceed: the largest scan as 16-bit numbers, and its header."""


def read_data_set(file: Path, **how: Any) -> FileDataset:
    """What `pydicom.dcmread` gives of a file.

    Args:
        file: The file.
        how: Passed on.

    Raises:
        ScanError: If it would unpack to more than any scan of its size can be.
        Exception: Whatever pydicom raises.
    """
    with file.open("rb") as content:
        check_unpacked(content, file)
    return pydicom.dcmread(file, **how)


def check_unpacked(content: BinaryIO, where: object) -> None:
    """Refuse a file that is packed as a whole (Deflated Explicit VR Little Endian) and unpacks to too much.

    It is unpacked piece by piece, of which none is kept. What is damaged is left to whoever reads the file.

    Args:
        content: Of the file.
        where: Named in errors.

    Raises:
        ScanError: In one line.
    """
    if not _is_deflated(content):
        return
    start = content.tell()
    left = min(MOST, max(ALWAYS, RATIO * content.seek(0, 2)))
    content.seek(start)
    unpack = zlib.decompressobj(-zlib.MAX_WBITS)
    packed = content.read(CHUNK)
    while packed and not unpack.eof:
        try:
            left -= len(unpack.decompress(packed, CHUNK))
        except zlib.error:
            return
        if left < 0:
            raise ScanError(where, "unpacks to far more than it is", "Export it uncompressed")
        packed = unpack.unconsumed_tail or content.read(CHUNK)


def _is_deflated(stream: BinaryIO) -> bool:
    """Whether the elements at the beginning of a file say so; the stream then stands behind them."""
    stream.seek(META_START - 4)
    if stream.read(4) != b"DICM":
        return False
    found = False
    while (head := stream.read(8))[:2] == b"\x02\x00" and len(head) == 8:
        size = int.from_bytes(head[6:8], "little")
        if head[4:6] in LONG:
            size = int.from_bytes(stream.read(4), "little")
        if head[:4] == SYNTAX:
            found = stream.read(size).rstrip(b"\0 ").decode("latin-1") == DeflatedExplicitVRLittleEndian
        else:
            stream.seek(size, 1)
    stream.seek(-len(head), 1)
    return found
