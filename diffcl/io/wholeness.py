"""Refuses image files that end early, lean on files elsewhere or are not what their suffix says.

ITK puts zeros in place of the missing end of a NIfTI file, and of NaN in it, without a word, and its readers
of NIfTI and MetaImage print to the standard error. What they would stumble over is found here first.
"""

from __future__ import annotations

import gzip
import math
import re
import zlib
from pathlib import Path
from typing import IO, Any, Final

import nibabel as nib
import numpy as np
import numpy.typing as npt
from nibabel.spatialimages import HeaderDataError

from diffcl.errors import ScanError

CHUNK: Final = 1 << 20
LONGEST_HEADER: Final = 1 << 16
BYTES_OF_ELEMENT: Final = {
    "CHAR": 1,
    "SHORT": 2,
    "INT": 4,
    "LONG": 4,
    "LONG_LONG": 8,
    "FLOAT": 4,
    "DOUBLE": 8,
}
"""Bytes of a MetaImage element type, without `MET_` and `U`."""

EXPORT_AGAIN: Final = "Export or copy the file again"


def check_nifti(path: Path) -> None:
    """Refuse what is not single-file NIfTI-1 or -2, ends early, or has voxels that are NaN or infinite.

    Raises:
        ScanError: Naming the file and what is wrong.
        OSError: If the file cannot be opened.
    """
    compressed = path.name.lower().endswith(".gz")
    try:
        with gzip.open(path) if compressed else path.open("rb") as stream:
            content = stream.read()
    except (EOFError, zlib.error) as error:
        raise ScanError(path, "the compressed file is damaged or ends early", EXPORT_AGAIN) from error
    except gzip.BadGzipFile as error:
        raise ScanError(path, "not a gzip file, or a damaged one", EXPORT_AGAIN) from error
    count, dtype, offset = _nifti_layout(path, content)
    if len(content) < offset + count * dtype.itemsize:
        raise _ends_early(path, len(content), offset + count * dtype.itemsize)
    if dtype.kind == "f":
        check_finite(path, np.frombuffer(content, dtype, count, offset))


def check_finite(path: Path, voxels: npt.NDArray[Any]) -> None:
    """Refuse voxels that are not numbers.

    Raises:
        ScanError: With their count.
    """
    bad = voxels.size - np.count_nonzero(np.isfinite(voxels))
    if bad:
        raise ScanError(path, f"{bad} of {voxels.size} voxels are NaN or infinite", "Repair the scan")


def check_metaimage(path: Path) -> None:
    """Refuse a file that is not MetaImage, or holds less than its header promises.

    Raises:
        ScanError: Naming the file and what is wrong.
        OSError: If the file cannot be opened.
    """
    with path.open("rb") as stream:
        start = stream.read(LONGEST_HEADER)
    header = re.match(rb"(?s)(.*?^ElementDataFile[ \t]*=[^\n]*)\n?", start, re.MULTILINE)
    fields = (
        dict(re.findall(r"(?m)^(\w+)[ \t]*=[ \t]*(.*?)[ \t\r]*$", header[1].decode("latin-1")))
        if header
        else {}
    )
    if header is None or not {"NDims", "DimSize", "ElementType"} <= fields.keys():
        raise ScanError(path, "not a MetaImage file", "Give a NIfTI, NRRD or MetaImage file")
    data = fields["ElementDataFile"]
    if data == "LOCAL":
        _check_element_data(path, path, header.end(), fields)
    elif not _is_beside(data):
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
    end = re.search(rb"\r?\n\r?\n", start)
    header = start[: end.start() if end else None].decode("latin-1")
    file = re.search(r"(?mi)^data ?file:[ \t]*(.*?)[ \t\r]*$", header)
    if file and not _is_beside(file[1]):
        raise _scattered(path)
    if re.search(r"(?mi)^encoding:[ \t]*gz", header):
        with (path.with_name(file[1]) if file else path).open("rb") as stream:
            stream.seek(0 if file or end is None else end.end())
            _inflated(path, stream)


def _nifti_layout(path: Path, content: bytes) -> tuple[int, np.dtype[Any], int]:
    """Number and type of the voxels that a NIfTI file of this header has, and where the first one stands."""
    kinds: dict[bytes, tuple[Any, int]] = {
        b"n+1\0": (nib.Nifti1Header, 348),
        b"n+2\0": (nib.Nifti2Header, 540),
    }
    kind = kinds.get(content[344:348]) or kinds.get(content[4:8])
    if kind is None or len(content) < kind[1]:
        raise ScanError(path, "not a NIfTI file", "Give a NIfTI, NRRD or MetaImage file")
    try:
        header = kind[0](content[: kind[1]], check=False)
        shape, dtype = header.get_data_shape(), header.get_data_dtype()
    except (HeaderDataError, ValueError) as error:
        raise ScanError(path, "its NIfTI header is damaged", EXPORT_AGAIN) from error
    offset = float(header["vox_offset"])
    if not (1 <= header["dim"][0] <= 7 and all(size > 0 for size in shape) and kind[1] <= offset < 2**40):
        raise ScanError(path, "its NIfTI header is damaged", EXPORT_AGAIN)
    return math.prod(int(size) for size in shape), dtype, int(offset)


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
            present = len(stream.read())
    if present < promised:
        raise _ends_early(path, present, promised)


def _inflated(path: Path, stream: IO[bytes]) -> int:
    """Bytes that the compressed data from here on give."""
    inflate = zlib.decompressobj(wbits=47)  # 47: zlib or gzip, whichever it is
    try:
        count = sum(len(inflate.decompress(chunk)) for chunk in iter(lambda: stream.read(CHUNK), b""))
    except zlib.error as error:
        raise ScanError(path, "its compressed voxels are damaged", EXPORT_AGAIN) from error
    if not inflate.eof:
        raise ScanError(path, "its compressed voxels end early", EXPORT_AGAIN)
    return count


def _is_beside(name: str) -> bool:
    """Whether a data file named in a header is one file in the header's own folder."""
    return Path(name).name == name and "%" not in name and not name.startswith("LIST")


def _scattered(path: Path) -> ScanError:
    return ScanError(path, "its voxels are not in one file beside it", "Convert it to .mha or .nii.gz")


def _ends_early(path: Path, present: int, promised: int) -> ScanError:
    return ScanError(path, f"ends early: {present} of {promised} bytes are there", EXPORT_AGAIN)
