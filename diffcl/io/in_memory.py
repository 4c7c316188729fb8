"""Scans that a program holds already: SimpleITK and nibabel images, and arrays with their matrix.

ITK and DICOM count millimetres to the left, back and up (LPS), NIfTI and nibabel to the right, front and up (RAS). The
order of the voxels is never changed: index `(i, j, k)` of what was given is index `(i, j, k)` of the scan.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
import SimpleITK as sitk
from numpy.typing import ArrayLike, NDArray

from diffcl.errors import ScanError, UsageError
from diffcl.geometry import Geometry, GeometryError
from diffcl.io.formats import scan_name
from diffcl.io.images.integrity import one_volume
from diffcl.io.scan import Scan

if TYPE_CHECKING:
    from nibabel.filebasedimages import FileBasedImage
    from nibabel.spatialimages import SpatialImage

ImageInMemory: TypeAlias = "sitk.Image | FileBasedImage | tuple[ArrayLike, ArrayLike]"
"""A SimpleITK image, a nibabel image, or an array `(X, Y, Z)` and its affine `(4, 4)`, RAS millimetres.

What nibabel loads is typed as a `FileBasedImage`; of those, a `SpatialImage` is a scan.
"""

NOWHERE: Final = Path("(in memory)")
"""Folder that a scan without a file is said to lie in; no file is ever looked for there."""

_FORMS: Final = "Give a path, a SimpleITK image, a nibabel image, or (array, affine)"

_MILLIMETRES: Final = {"meter": 1000.0, "micron": 0.001}
"""Of the units that a NIfTI header may state; one that states none means millimetres."""


def scan_in_memory(source: object, name: str | None = None) -> Scan:
    """A scan from an image that is in memory, with float32 values of its own.

    Args:
        source: The image.
        name: Of the case; by default that of the file from which nibabel read it, else `scan`.

    Raises:
        ScanError: If it is not 3D, has several values a voxel, or its grid is sheared or otherwise impossible.
        UsageError: If it is none of the known forms.
    """
    if isinstance(source, sitk.Image):
        place = _nowhere(name)
        return Scan(_of_simpleitk(source, place), name or place.name, place)
    if isinstance(source, tuple) and len(source) == 2:
        place = _nowhere(name)
        values, affine = (_array(one, place) for one in source)
        return Scan(_placed(values, affine, place), name or place.name, place)
    from nibabel.spatialimages import SpatialImage

    if isinstance(source, SpatialImage):
        file = source.get_filename()
        place = Path(file) if file else _nowhere(name)
        image = _placed(_voxels_of_nibabel(source, place), _affine_mm(source), place)
        return Scan(image, name or scan_name(place), place)
    kind = type(source).__name__
    if isinstance(source, np.ndarray):
        raise UsageError(
            kind,
            "does not say where its voxels lie",
            "Give (array, affine), with the affine as nibabel has it",
        )
    raise UsageError(kind, "is no scan", _FORMS)


def volumes_in_memory(source: object) -> list[Any]:
    """The volumes of an image in memory with a fourth axis or several values a voxel, as `scan_in_memory` takes them.

    What has only one, or is no image, comes back as it is.
    """
    if isinstance(source, sitk.Image):
        count = source.GetNumberOfComponentsPerPixel()
        if source.GetDimension() == 4:
            size = source.GetSize()
            return [sitk.Extract(source, [*size[:3], 0], [0, 0, 0, index]) for index in range(size[3])]
        if source.GetDimension() == 3 and count > 1 and "vector" in source.GetPixelIDTypeAsString():
            return [sitk.VectorIndexSelectionCast(source, index) for index in range(count)]
        return [source]
    if isinstance(source, tuple) and len(source) == 2:
        values = _array(source[0], _nowhere(None))
        return [(part, source[1]) for part in np.moveaxis(values, 3, 0)] if values.ndim == 4 else [source]
    from nibabel.spatialimages import SpatialImage

    if isinstance(source, SpatialImage) and len(source.shape) == 4:
        file = source.get_filename()
        values = _voxels_of_nibabel(source, Path(file) if file else _nowhere(None))
        return [(part, _affine_mm(source)) for part in np.moveaxis(values, 3, 0)]
    return [source]


def _nowhere(name: str | None) -> Path:
    return NOWHERE / (Path(name or "").name or "scan")


def _array(content: ArrayLike, place: Path) -> NDArray[Any]:
    try:
        return np.asarray(content)
    except ValueError as error:  # lists of different lengths
        raise ScanError(place, "is no regular array of numbers", "Give (array, affine)") from error


def _voxels_of_nibabel(image: SpatialImage, place: Path) -> NDArray[Any]:
    """The voxels, which nibabel reads from the file only now, where it has one."""
    try:
        return np.asanyarray(image.dataobj)
    except (OSError, EOFError, zlib.error) as error:
        raise ScanError(
            place, "its voxels cannot be read, or end early", "Export or copy the file again"
        ) from error


def _of_simpleitk(image: sitk.Image, place: Path) -> sitk.Image:
    if image.GetDimension() != 3:
        raise _not_3d(image.GetSize(), place)
    kind = image.GetPixelIDTypeAsString()
    if image.GetNumberOfComponentsPerPixel() != 1 or "complex" in kind or "label" in kind:
        raise _several_values(kind, place)
    try:
        Geometry.of(image)
    except GeometryError as error:
        raise _impossible(error, place) from error
    plain: sitk.Image = sitk.Cast(image, sitk.sitkFloat32)
    for key in plain.GetMetaDataKeys():  # of a file, perhaps of a patient
        plain.EraseMetaData(key)
    return plain


def _placed(values: NDArray[Any], affine: NDArray[Any], place: Path) -> sitk.Image:
    """An image of an array `(X, Y, Z)` and its RAS affine."""
    if values.dtype.kind not in "biuf":
        raise _several_values(values.dtype, place)
    if values.ndim != 3:
        raise _not_3d(values.shape, place)
    if affine.shape != (4, 4) or affine.dtype.kind not in "iuf":
        raise ScanError(
            place, f"its affine is not a matrix of 4 x 4 numbers {affine.shape}", "Give it as nibabel has it"
        )
    if not np.allclose(affine[3], (0, 0, 0, 1)):
        raise ScanError(place, "the last row of its affine is not 0 0 0 1", "Give it as nibabel has it")
    x, y, z = values.shape
    try:
        grid = Geometry.from_affine(affine, (x, y, z))
    except GeometryError as error:
        raise _impossible(error, place) from error
    with np.errstate(over="ignore"):  # what becomes infinite is refused afterwards
        return grid.place(values.astype(np.float32))


def _affine_mm(image: SpatialImage) -> NDArray[Any]:
    """The affine of a nibabel image in millimetres, whatever unit its header states, as ITK reads the file."""
    affine = np.array(image.affine if image.affine is not None else np.full((4, 4), np.nan), float)
    units = getattr(image.header, "get_xyzt_units", None)
    affine[:3] *= _MILLIMETRES.get(units()[0], 1.0) if units else 1.0
    return affine


def _not_3d(size: tuple[int, ...], place: Path) -> ScanError:
    shape = " x ".join(str(length) for length in size)
    return ScanError(place, f"a {len(size)}D image ({shape})", one_volume(len(size)))


def _several_values(kind: object, place: Path) -> ScanError:
    return ScanError(
        place, f"does not hold one number a voxel ({kind})", "Give a scan with one grey value a voxel"
    )


def _impossible(error: GeometryError, place: Path) -> ScanError:
    step = (
        "Resample it to a straight grid" if "perpendicular" in str(error) else "Correct its affine or spacing"
    )
    return ScanError(place, str(error), step)
