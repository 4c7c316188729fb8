"""Refuses image files that end early, lean on files elsewhere or are not what their suffix says.

ITK fills the missing end of a truncated NIfTI file with zeros without a word, and its readers of NIfTI and
MetaImage print to the standard error. What they would stumble over is found here first.
"""

from __future__ import annotations

import gzip
import math
import re
import zlib
from pathlib import Path
from typing import IO, Final

import nibabel as nib
from nibabel.spatialimages import HeaderDataError

from diffcl.errors import ScanError

CHUNK: Final = 1 << 20
LONGEST_HEADER: Final = 1 << 16
BYTES_OF_ELEMENT: Final = {"CHAR": 1, "SHORT": 2, "INT": 4, "LONG": 4, "LONG_LONG": 8, "FLOAT": 4, "DOUBLE": 8}
"""Bytes of a MetaImage element type, without `MET_` and `U`."""

EXPORT_AGAIN: Final = "Export or copy the file again"


def check_nifti(path: Path) -> None:
    """Refuse a file that is not single-file NIfTI-1 or NIfTI-2, or holds less than its header promises.

    Raises:
        ScanError: Naming the file and what is wrong.
        OSError: If the file cannot be opened.
    """
    compressed = path.name.lower().endswith(".gz")
    try:
        with gzip.open(path) if compressed else path.open("rb") as stream:
            start = stream.read(540)
            promised = _nifti_bytes(path, start)
            present = len(start) + _rest(stream)
    except (EOFError, zlib.error) as error:
        raise ScanError(path, "the compressed file is damaged or ends early", EXPORT_AGAIN) from error
    except gzip.BadGzipFile as error:
        raise ScanError(path, "not a gzip file, or a damaged one", EXPORT_AGAIN) from error
    if present < promised:
        raise _ends_early(path, present, promised)


def check_metaimage(path: Path) -> None:
    """Refuse a file that is not MetaImage, or holds less than its header promises.

    Raises:
        ScanError: Naming the file and what is wrong.
        OSError: If the file cannot be opened.
    """
    with path.open("rb") as stream:
        start = stream.read(LONGEST_HEADER)
    header = re.match(rb"(?s)(.*?^ElementDataFile[ \t]*=[^\n]*)\n?", start, re.MULTILINE)
    fields = dict(re.findall(r"(?m)^(\w+)[ \t]*=[ \t]*(.*?)[ \t\r]*$", header[1].decode("latin-1"))) if header else {}
    if header is None or not {"NDims", "DimSize", "ElementType"} <= fields.keys():
        raise ScanError(path, "not a MetaImage file", "Give a NIfTI, NRRD or MetaImage file")
    data = fields["ElementDataFile"]
    if data == "LOCAL":
        _check_element_data(path, path, header.end(), fields)
    elif Path(data).name != data or "%" in data or data.startswith("LIST"):
        raise _scattered(path)
    else:
        _check_element_data(path, path.with_name(data), 0, fields)


def check_nrrd(path: Path) -> None:
    """Refuse a file that is not NRRD, or keeps its voxels elsewhere than in itself or in one file beside it.

    Raises:
        ScanError: Naming the file and what is wrong.
        OSError: If the file cannot be opened.
    """
    with path.open("rb") as stream:
        start = stream.read(LONGEST_HEADER)
    if not start.startswith(b"NRRD000"):
        raise ScanError(path, "not an NRRD file", "Give a NIfTI, NRRD or MetaImage file")
    header = re.split(rb"\r?\n\r?\n", start, maxsplit=1)[0].decode("latin-1")
    elsewhere = re.search(r"(?mi)^data ?file:[ \t]*(.*?)[ \t\r]*$", header)
    if elsewhere and (Path(elsewhere[1]).name != elsewhere[1] or "%" in elsewhere[1] or elsewhere[1] == "LIST"):
        raise _scattered(path)


def _nifti_bytes(path: Path, start: bytes) -> int:
    """Bytes that a NIfTI file of this header has at least."""
    magic = {b"n+1\0": (nib.Nifti1Header, 348), b"n+2\0": (nib.Nifti2Header, 540)}
    kind = magic.get(start[344:348]) or magic.get(start[4:8])
    if kind is None or len(start) < kind[1]:
        raise ScanError(path, "not a NIfTI file", "Give a NIfTI, NRRD or MetaImage file")
    try:
        header = kind[0](start[: kind[1]], check=False)
        shape, width = header.get_data_shape(), header.get_data_dtype().itemsize
    except (HeaderDataError, ValueError) as error:
        raise ScanError(path, "its NIfTI header is damaged", EXPORT_AGAIN) from error
    offset = float(header["vox_offset"])
    dims = int(header["dim"][0])
    if not (1 <= dims <= 7 and all(size > 0 for size in shape) and 0 <= offset < 2**40):
        raise ScanError(path, "its NIfTI header is damaged", EXPORT_AGAIN)
    return int(offset) + math.prod(int(size) for size in shape) * width


def _check_element_data(path: Path, data: Path, offset: int, fields: dict[str, str]) -> None:
    element = fields["ElementType"].removeprefix("MET_").removesuffix("_ARRAY").replace("UNSIGNED_", "")
    try:
        dims, sizes = int(fields["NDims"]), [int(size) for size in fields["DimSize"].split()]
        width = BYTES_OF_ELEMENT[element.removeprefix("U")] * int(fields.get("ElementNumberOfChannels", 1))
    except (ValueError, KeyError) as error:
        raise ScanError(path, "its MetaImage header is damaged", EXPORT_AGAIN) from error
    if len(sizes) != dims or any(size < 1 for size in sizes):
        raise ScanError(path, "its MetaImage header is damaged", EXPORT_AGAIN)
    promised = math.prod(sizes) * width
    with data.open("rb") as stream:
        stream.seek(offset)
        if fields.get("CompressedData", "False").lower() in {"true", "1"}:
            present = _inflated(path, stream)
        else:
            present = _rest(stream)
    if present < promised:
        raise _ends_early(path, present, promised)


def _rest(stream: IO[bytes] | gzip.GzipFile) -> int:
    """Bytes from here to the end."""
    return sum(len(chunk) for chunk in iter(lambda: stream.read(CHUNK), b""))


def _inflated(path: Path, stream: IO[bytes]) -> int:
    """Bytes that the zlib data from here on give."""
    inflate = zlib.decompressobj(wbits=47)  # 47: zlib or gzip, whichever it is
    try:
        return sum(len(inflate.decompress(chunk)) for chunk in iter(lambda: stream.read(CHUNK), b""))
    except zlib.error as error:
        raise ScanError(path, "the compressed voxels are damaged", EXPORT_AGAIN) from error


def _scattered(path: Path) -> ScanError:
    return ScanError(path, "its voxels are not in one file beside it", "Convert it to .mha or .nii.gz")


def _ends_early(path: Path, present: int, promised: int) -> ScanError:
    return ScanError(path, f"ends early: {present} of {promised} bytes are there", EXPORT_AGAIN)
