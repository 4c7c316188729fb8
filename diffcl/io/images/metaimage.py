"""Reads MetaImage files, .mha and .mhd.

ITK reads them too, but prints several lines to the standard error over a damaged one.

Source:
    The MetaIO documentation of ITK, https://docs.itk.org/en/latest/learn/metaio.html
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from diffcl.errors import ScanError
from diffcl.io.formats import LONGEST_HEADER
from diffcl.io.images.integrity import EXPORT_AGAIN, data_beside, ends_early, inflated

ELEMENTS: Final = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4",
    "MET_UINT": "u4", "MET_LONG": "i4", "MET_ULONG": "u4", "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4", "MET_DOUBLE": "f8",
}  # fmt: skip
"""Element types and what numpy calls them, without the order of bytes."""


def read_metaimage(path: Path) -> sitk.Image:
    """Read a MetaImage file of three dimensions and one value a voxel, with its own type.

    Raises:
        ScanError: If it is not one, is damaged, ends early, or keeps its voxels in other folders.
        OSError: If it cannot be read.
    """
    content = path.read_bytes()
    header = re.match(rb"(?s).*?^ElementDataFile[ \t]*=[^\n]*\n?", content[:LONGEST_HEADER], re.MULTILINE)
    lines = header[0].decode("latin-1") if header else ""
    fields = dict(re.findall(r"(?m)^(\w+)[ \t]*=[ \t]*(.*?)[ \t\r]*$", lines))
    if header is None or not {"NDims", "DimSize", "ElementType"} <= fields.keys():
        raise ScanError(path, "not a MetaImage file", "Give a NIfTI, NRRD or MetaImage file")
    name = fields["ElementDataFile"]
    data = content[header.end() :] if name == "LOCAL" else data_beside(path, name).read_bytes()
    try:
        image = sitk.GetImageFromArray(_voxels(path, fields, data))
        image.SetSpacing(_numbers(fields, ("ElementSpacing", "ElementSize"), (1, 1, 1)))
        image.SetOrigin(_numbers(fields, ("Offset", "Position", "Origin"), (0, 0, 0)))
        axes = _numbers(fields, ("TransformMatrix", "Rotation", "Orientation"), (1, 0, 0, 0, 1, 0, 0, 0, 1))
        image.SetDirection(np.reshape(axes, (3, 3)).T.ravel().tolist())
    except (KeyError, ValueError, RuntimeError) as error:
        raise ScanError(path, "its MetaImage header is damaged", EXPORT_AGAIN) from error
    return image


def _voxels(path: Path, fields: dict[str, str], data: bytes) -> npt.NDArray[Any]:
    """The voxels as `(Z, Y, X)`."""
    size = [int(length) for length in fields["DimSize"].split()]
    channels = int(fields.get("ElementNumberOfChannels", 1))
    big = "True" in (fields.get("BinaryDataByteOrderMSB"), fields.get("ElementByteOrderMSB"))
    dtype = np.dtype((">" if big else "<") + ELEMENTS[fields["ElementType"].removesuffix("_ARRAY")])
    if len(size) != int(fields["NDims"]) or min(size) < 1 or fields.get("BinaryData", "True") != "True":
        raise ValueError("not binary data of the stated size")
    if len(size) != 3:
        shape = " x ".join(str(length) for length in size)
        raise ScanError(path, f"a {len(size)}D image ({shape})", "Give a scan of one 3D volume")
    if channels != 1:
        raise ScanError(path, f"holds {channels} values a voxel", "Give a scan with one grey value a voxel")
    promised = math.prod(size) * dtype.itemsize
    if fields.get("CompressedData", "False") == "True":
        data = inflated(path, data)
    offset = int(fields.get("HeaderSize", 0))
    if offset == -1:  # the voxels are what stands at the end
        offset = len(data) - promised
    if not 0 <= offset <= len(data) - promised:
        raise ends_early(path, len(data), promised)
    voxels = np.frombuffer(data, dtype, math.prod(size), offset)
    return voxels.astype(dtype.newbyteorder("=")).reshape(size[::-1])


def _numbers(fields: dict[str, str], keys: tuple[str, ...], usual: tuple[float, ...]) -> list[float]:
    """The numbers of the first of several synonymous fields."""
    text = next((fields[key] for key in keys if key in fields), None)
    numbers = [float(number) for number in (usual if text is None else text.split())]
    if len(numbers) != len(usual):
        raise ValueError(f"{len(usual)} numbers expected")
    return numbers
