"""Image files written whole or not at all, with the geometry of the image."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import SimpleITK as sitk

from diffcl.errors import FullDiskError, OutputError, ScanError
from diffcl.files import replace_file
from diffcl.io.formats import IMAGE_FORMATS, image_suffix
from diffcl.io.images.volume import CHECKS


def write_image(image: sitk.Image, path: Path, *, compress: bool = True) -> None:
    """Write an image in the format of the suffix, whole or not at all, with its geometry.

    NIfTI keeps position and orientation as 32-bit numbers, the other formats exactly.

    Args:
        image: What is written.
        path: Where to.
        compress: Whether the formats that may be compressed inside are.

    Raises:
        OutputError: If the suffix is none of .nii, .nii.gz, .nrrd, .mha, or the file cannot be written.
    """
    suffix = image_suffix(path)
    if suffix is None or suffix in {".mhd", ".nhdr"}:
        raise OutputError(path, "not a format that is written", "Use .nii.gz, .nii, .nrrd or .mha")
    with replace_file(path) as temporary:
        temporary.touch()  # says what is wrong with the folder better than ITK does
        if suffix != ".nii.gz":
            _write_by_itk(image, temporary, path, compress=compress and suffix != ".nii")
            return
        plain = temporary.with_suffix("")
        try:
            _write_by_itk(image, plain, path, compress=False)
            _compress(plain, temporary)
        finally:
            plain.unlink(missing_ok=True)


def _write_by_itk(image: sitk.Image, file: Path, path: Path, *, compress: bool) -> None:
    writer = sitk.ImageFileWriter()
    writer.SetFileName(str(file))
    writer.SetImageIO(IMAGE_FORMATS[image_suffix(path) or ""])
    writer.SetUseCompression(compress)
    try:
        writer.Execute(image)
        _check_written(file)
    except (RuntimeError, ScanError) as error:
        raise FullDiskError(path, "cannot be written", "Is the disk full?") from error


def _compress(plain: Path, file: Path) -> None:
    """Compress in a third of ITK's time, which allows no choice; the same content gives the same file."""
    with (
        plain.open("rb") as content,
        file.open("wb") as stream,
        gzip.GzipFile("", "wb", compresslevel=1, fileobj=stream, mtime=0) as compressed,
    ):
        shutil.copyfileobj(content, compressed, 1 << 20)


def _check_written(path: Path) -> None:
    """Look whether a file that ITK wrote is whole: with NIfTI it does not notice a disk that is full.

    Raises:
        ScanError: If it is not.
    """
    if (check := CHECKS.get(IMAGE_FORMATS.get(image_suffix(path) or "", ""))) is not None:
        check(path)
