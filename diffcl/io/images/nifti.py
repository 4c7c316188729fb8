"""NIfTI files, read by ITK, or by nibabel where ITK does not read them rightly, after a look at their header.

A header may place its voxels twice, by a quaternion (qform) and by a matrix (sform). As the standard and nibabel have
it, the sform counts where its code is above 0, else the qform; ITK, and so 3D Slicer, choose otherwise.

Source:
    https://nifti.nimh.nih.gov/pub/dist/src/niftilib/nifti1.h, "3D IMAGE (VOLUME) ORIENTATION AND LOCATION IN SPACE"
"""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path
from typing import Any, Final

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from nibabel.spatialimages import HeaderDataError
from nibabel.volumeutils import apply_read_scaling
from numpy.typing import NDArray

from diffcl.errors import ScanError
from diffcl.geometry import FARTHEST_MM, Geometry, GeometryError, difference, same_grid
from diffcl.io.formats import scan_name
from diffcl.io.images.integrity import (
    EXPORT_AGAIN,
    NO_ORIENTATION,
    NO_VOXEL_SIZE,
    SLACK_BYTES,
    check_finite,
    check_length,
    check_one_volume,
    check_size,
    misplaced,
    straightened_remark,
)

Header = nib.Nifti1Header
"""A NIfTI-2 header of nibabel is one of these, too."""

KINDS: Final[dict[bytes, tuple[type[Header], int]]] = {
    b"n+1\0": (nib.Nifti1Header, 348),
    b"n+2\0": (nib.Nifti2Header, 540),
}
"""The mark of each version, its header and the bytes of that."""

GZIP: Final = b"\x1f\x8b"

GEOMETRY: Final = (
    "pixdim", "srow_x", "srow_y", "srow_z", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y",
    "qoffset_z",
)  # fmt: skip
"""Fields of a header that say where its voxels lie."""

LARGEST_OFFSET: Final = 1 << 26
"""Bytes before the first voxel, with all extensions of the header, are fewer."""

SMALLEST: Final = 1e-30
"""No number of a geometry, mm, is as small and not 0."""

MILLIMETRES: Final = {1: 1000.0, 3: 0.001}
"""Codes of units of length other than millimetres, and how many mm they are."""

Where = tuple[Geometry | None, str]


def read_nifti(path: Path) -> tuple[sitk.Image, tuple[str, ...]]:
    """Read a NIfTI-1 or -2 file of one volume with its own type, and what is odd about it.

    Raises:
        ScanError: If it is none, is damaged, ends early, or its voxels cannot be placed.
        OSError: If it cannot be read.
    """
    content, header = _whole(path)
    wanted, remark = stated_place(path, header)
    image = None
    if (
        content[344:348] == b"n+1\0"
        and _named_as_it_is(path)
        and _is_tame(header)
        and not _is_scaled_oddly(header)
    ):
        image = _read_by_itk(path, content, header)
    if image is None:
        image = _by_nibabel(path, content, header)
    if wanted is not None and not _lies_on(image, wanted):
        image.SetSpacing(wanted.spacing)
        image.SetOrigin(wanted.origin)
        image.SetDirection(wanted.direction)
    return image, (remark,) if remark else ()


def read_nifti_volumes(path: Path) -> tuple[list[sitk.Image], tuple[str, ...]]:
    """The volumes of a NIfTI-1 or -2 file along its fourth axis, or the only one, and what is odd about it.

    Raises:
        ScanError: As `read_nifti`.
        OSError: If it cannot be read.
    """
    content, header = _whole(path, several=True)
    wanted, remark = stated_place(path, header)
    values, spacing = _values(path, content, header)
    x, y, z = values.shape[:3]
    images = []
    for volume in np.moveaxis(values.reshape(x, y, z, -1), 3, 0):
        image = sitk.GetImageFromArray(np.ascontiguousarray(volume.T))
        image.SetSpacing(spacing)
        if wanted is not None:
            image.SetSpacing(wanted.spacing)
            image.SetOrigin(wanted.origin)
            image.SetDirection(wanted.direction)
        images.append(image)
    return images, (remark,) if remark else ()


def check_nifti(path: Path) -> None:
    """Refuse what is not single-file NIfTI-1 or -2, ends early, or has voxels that are NaN or infinite.

    Raises:
        ScanError: Naming the file and what is wrong.
        OSError: If the file cannot be opened.
    """
    _whole(path)


def _whole(path: Path, *, several: bool = False) -> tuple[bytes, Header]:
    """What stands in a file, unpacked no further than its header promises, and the header.

    Args:
        path: The file.
        several: Whether it may have several volumes along its fourth axis.
    """
    with unpacked(path) as stream:
        start = stream.read(KINDS[b"n+2\0"][1])
        header, promised = stated_header(path, start, several=several)
        stream.seek(0)
        content = stream.read(promised + SLACK_BYTES + 1)
    check_length(path, len(content), promised)
    dtype = header.get_data_dtype()
    if dtype.kind in "fc":
        offset = int(header["vox_offset"])
        check_finite(path, np.frombuffer(content, dtype, (promised - offset) // dtype.itemsize, offset))
    return content, header


@contextmanager
def unpacked(path: Path) -> Iterator[BufferedIOBase]:
    """The content of a file, unpacked as it is read where gzip has packed it.

    Raises:
        ScanError: If what is read in the block is damaged.
        OSError: If it cannot be read.
    """
    with path.open("rb") as file:
        packed = file.read(2) == GZIP
        file.seek(0)
        try:
            yield gzip.GzipFile(fileobj=file) if packed else file
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ScanError(path, "the compressed file is damaged or ends early", EXPORT_AGAIN) from error


def stated_header(path: Path, start: bytes, *, several: bool) -> tuple[Header, int]:
    """The header at the start of a file, and how many bytes the file has by it."""
    kind = KINDS.get(start[344:348]) or KINDS.get(start[4:8])
    if kind is None or len(start) < kind[1]:
        raise ScanError(path, "not a NIfTI file", "Give a NIfTI, NRRD or MetaImage file")
    damaged = ScanError(path, "its NIfTI header is damaged", EXPORT_AGAIN)
    try:
        header = kind[0](start[: kind[1]], check=False)
        size, dtype = [int(length) for length in header.get_data_shape()], header.get_data_dtype()
    except (HeaderDataError, KeyError, ValueError) as error:
        raise damaged from error
    offset = float(header["vox_offset"])
    if not (1 <= header["dim"][0] <= 7 and min(size) > 0 and kind[1] <= offset < LARGEST_OFFSET):
        raise damaged
    if not header["bitpix"] == 8 * dtype.itemsize > 0:
        raise damaged
    if len(size) > 4 and set(size[3:]) == {1, size[4]} != {1}:  # the fifth axis is for vectors
        raise ScanError(path, f"holds {size[4]} values a voxel", "Give a scan with one grey value a voxel")
    if not (several and len(size) == 4):
        check_one_volume(path, size)
    check_size(path, size)
    if dtype.kind not in "iuf":
        what = "complex numbers" if dtype.kind == "c" else "colours"
        raise ScanError(
            path, f"holds several values a voxel ({what})", "Give a scan with one grey value a voxel"
        )
    if not np.isfinite([_number(header, "scl_slope"), _number(header, "scl_inter")]).all():
        raise damaged
    return header, int(offset) + math.prod(size) * dtype.itemsize


def _number(header: Header, field: str) -> float:
    """A number of a header; NaN in the scale means none, as nibabel writes it."""
    number = float(header[field])
    return 0.0 if field.startswith("scl_") and math.isnan(number) else number


def stated_place(path: Path, header: Header) -> Where:
    """The grid that counts by the standard, None where the header states none, and a remark about it."""
    x, y, z = (int(length) for length in header.get_data_shape()[:3])
    size = x, y, z
    unit = MILLIMETRES.get(int(header["xyzt_units"]) & 7, 1.0)
    forms = [name for name in ("sform", "qform") if header[f"{name}_code"] > 0]
    if not forms:
        if not all(step == 0 or SMALLEST < step < FARTHEST_MM for step in np.abs(header["pixdim"][1:4])):
            raise ScanError(path, "its voxel size, position or orientation is not a number", EXPORT_AGAIN)
        unsized = not np.all(header["pixdim"][1:4])
        return None, f"{NO_VOXEL_SIZE}; {NO_ORIENTATION}" if unsized else NO_ORIENTATION
    try:
        grid, moved = _grid(header, forms[0], size, unit)
    except GeometryError as error:
        raise misplaced(path, error) from error
    remarks = [straightened_remark(moved)] if moved else []
    for other in forms[1:]:
        try:
            differs = difference(grid, _grid(header, other, size, unit)[0])
        except GeometryError as error:
            differs = f"that of {other}, of which {error}"
        if differs:
            remarks.append(f"the header places the voxels twice, {forms[0]} against {other}: {differs}; "
                           f"{forms[0]} counts, some programs take {other}")  # fmt: skip
    return grid, "; ".join(remarks)


def _grid(header: Header, name: str, size: tuple[int, int, int], unit: float) -> tuple[Geometry, float]:
    """The grid that a form of a header states, and by how many voxels it was straightened."""
    try:
        affine = np.array(header.get_sform() if name == "sform" else header.get_qform(), float)
    except (HeaderDataError, ValueError) as error:  # a quaternion that is none, a factor that is not 1 or -1
        raise GeometryError("its voxel size, position or orientation is not a number") from error
    with np.errstate(all="ignore"):  # what is not finite is refused next
        lps = np.diag([-1.0, -1.0, 1.0]) @ affine[:3] * unit
        spacing = np.linalg.norm(lps[:, :3], axis=0)
    if not (np.isfinite([*lps.flat, *spacing]).all() and spacing.all()):
        raise GeometryError("its voxel size, position or orientation is not a number")
    stated = np.abs(header["pixdim"][1:4].astype(float)) * unit  # rounded less often than the columns
    spacing = stated if np.allclose(spacing, stated, rtol=1e-6, atol=0) else spacing
    return Geometry.straightened(size, spacing, lps[:, 3], lps[:, :3] / spacing)


def _is_tame(header: Header) -> bool:
    """Whether every number about space is one, the unused ones too, over which ITK prints or computes nonsense."""
    numbers = np.abs(np.concatenate([np.atleast_1d(header[field]) for field in GEOMETRY]))
    return bool(((numbers == 0) | ((numbers > SMALLEST) & (numbers < FARTHEST_MM))).all())


def _is_scaled_oddly(header: Header) -> bool:
    """Whether the header has no factor and nevertheless a number to add, which ITK adds and the standard does not."""
    return _number(header, "scl_slope") == 0 != _number(header, "scl_inter")


def _named_as_it_is(path: Path) -> bool:
    """Whether a file that is compressed has the name of one; ITK decides by the name."""
    with path.open("rb") as file:
        return path.name.lower().endswith(".gz") or file.read(2) != GZIP


def _read_by_itk(path: Path, content: bytes, header: Header) -> sitk.Image | None:
    """The image where ITK places it, None where ITK does not read it.

    Voxels that are stored as they are meant come from what is unpacked already: unpacking takes half of the time.
    """
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.SetImageIO("NiftiImageIO")
    try:
        reader.ReadImageInformation()
        if reader.GetDimension() != 3:
            return None
        image = _stored(content, header)
        if image is None or image.GetSize() != reader.GetSize() or image.GetPixelID() != reader.GetPixelID():
            return None if _is_shadowed(path) else reader.Execute()
        spacing = np.array(reader.GetSpacing())
        image.SetSpacing(np.abs(spacing).tolist())
        image.SetOrigin(reader.GetOrigin())
        # Along an axis whose voxel size is negative, ITK turns the axis round.
        image.SetDirection((np.reshape(reader.GetDirection(), (3, 3)) * np.sign(spacing)).ravel().tolist())
    except RuntimeError:  # it refuses a shear of 0.0003, for one
        return None
    return image


def _is_shadowed(path: Path) -> bool:
    """Whether ITK would take the voxels of another file: of two of one name the one that is not compressed."""
    return any(
        path.with_name(f"{scan_name(path)}{suffix}").exists()
        for suffix in (".nii", ".NII")
        if path.suffix != suffix
    )


def _stored(content: bytes, header: Header) -> sitk.Image | None:
    """The voxels as they are stored; None where the header scales them."""
    if (_number(header, "scl_slope"), _number(header, "scl_inter")) not in ((0.0, 0.0), (1.0, 0.0)):
        return None
    size, dtype = [int(length) for length in header.get_data_shape()[:3]], header.get_data_dtype()
    stored = np.frombuffer(content, dtype, math.prod(size), int(header["vox_offset"]))
    native = stored.astype(dtype.newbyteorder("="), copy=False)
    return sitk.GetImageFromArray(native.reshape(size[::-1]))


def _by_nibabel(path: Path, content: bytes, header: Header) -> sitk.Image:
    """The voxels as nibabel reads them; the image has the header's voxel size, and no place."""
    voxels, spacing = _values(path, content, header)
    image = sitk.GetImageFromArray(np.ascontiguousarray(voxels.reshape(voxels.shape[:3]).T))
    image.SetSpacing(spacing)
    return image


def _values(path: Path, content: bytes, header: Header) -> tuple[NDArray[Any], list[float]]:
    """The voxels as nibabel reads them, of the shape of the header, and the voxel size that it states."""
    size, dtype = header.get_data_shape(), header.get_data_dtype()
    stored = np.frombuffer(content, dtype, math.prod(map(int, size)), int(header["vox_offset"]))
    try:
        slope, intercept = header.get_slope_inter()
    except HeaderDataError as error:
        raise ScanError(path, "its NIfTI header is damaged", EXPORT_AGAIN) from error
    voxels: NDArray[Any] = stored.astype(dtype.newbyteorder("=")).reshape(size, order="F")
    if slope is not None:
        with np.errstate(all="ignore"):  # voxels that become infinite are refused afterwards
            voxels = apply_read_scaling(voxels, slope, intercept)
    if voxels.dtype.kind == "f" and voxels.itemsize not in {4, 8}:
        voxels = voxels.astype(np.float64)
    steps = [float(abs(step)) for step in header["pixdim"][1:4]]
    return voxels, [step if SMALLEST < step < FARTHEST_MM else 1.0 for step in steps]


def _lies_on(image: sitk.Image, wanted: Geometry) -> bool:
    """Whether an image has a grid that can be, and it is the wanted one."""
    try:
        return same_grid(Geometry.of(image), wanted)
    except GeometryError:
        return False
