"""The labelled scans of studies and their final labels as one file."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from zipfile import ZipFile

from diffcl.errors import NotFoundError
from diffcl.files import make_folder, replace_file


def write_dataset(
    folder: Path,
    labelled: Iterable[tuple[Sequence[Path], Path, str]],
    limit: int | None = None,
    notes: Mapping[str, str] | None = None,
) -> Path:
    """Write FOLDER/dataset.zip: the scans in `image/`, the labels in `label/`.

    Args:
        folder: Made if missing.
        labelled: The images of each scan, its label, and the name of the label in the file; looked at one by one.
        limit: At most so many scans; None or less than one for all.
        notes: Text files that are put beside them, by their names.

    Raises:
        NotFoundError: If there is no labelled scan.
        OutputError: If it cannot be written.
    """
    path = folder / "dataset.zip"
    make_folder(folder)
    with replace_file(path) as temporary, ZipFile(temporary, "w") as packed:
        for images, label, name in islice(labelled, min(limit, sys.maxsize) if limit and limit > 0 else None):
            for image in images:
                packed.write(image, f"image/{image.name}")
            packed.write(label, f"label/{name}")
        if not packed.namelist():
            raise NotFoundError("studies", "no scan has a final label yet")
        for name, text in (notes or {}).items():
            packed.writestr(name, text)
    return path
