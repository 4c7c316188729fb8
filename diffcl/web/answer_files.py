"""Images that a server answers with, as temporary files of its process."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Final
from uuid import uuid4

import SimpleITK as sitk

from diffcl.errors import OutputError
from diffcl.io import write_image

PIXELS: Final = {
    "uint8": sitk.sitkUInt8,
    "int16": sitk.sitkInt16,
    "uint16": sitk.sitkUInt16,
    "int32": sitk.sitkInt32,
    "uint32": sitk.sitkUInt32,
    "float32": sitk.sitkFloat32,
    "float64": sitk.sitkFloat64,
}
"""Types of voxels by the names that clients give them."""


@cache
def answers_folder() -> Path:
    """A folder of this process alone.

    MONAI Label's client keeps an answer under its name in the common temporary folder, where the server's
    own file must not be: it is removed once it is sent.
    """
    folder = Path(tempfile.mkdtemp(prefix="diffcl-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def write_answer(image: sitk.Image, extension: str, dtype: str, *, compress: bool) -> Path:
    """Write an answer into a temporary file, which whoever sends it removes.

    Args:
        image: The answer.
        extension: Of the file, which says its format.
        dtype: Type of its voxels, one of `PIXELS`.
        compress: Whether its voxels are compressed.

    Raises:
        OutputError: If there is no space for it.
    """
    folder = answers_folder()
    folder.mkdir(mode=0o700, exist_ok=True)  # a machine that runs for long may tidy its temporary folder
    path = folder / f"{uuid4().hex}{extension}"
    try:
        write_image(sitk.Cast(image, PIXELS[dtype]), path, compress=compress)
    except OutputError as error:
        raise type(error)(folder, "the answer cannot be written", "Make space for temporary files") from error
    return path
