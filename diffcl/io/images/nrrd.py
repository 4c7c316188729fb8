"""Refuses NRRD files that are none, or keep their voxels elsewhere than in themselves or in one file beside them."""

from __future__ import annotations

import re
from pathlib import Path

from diffcl.errors import ScanError
from diffcl.io.images.integrity import data_beside, inflated


def check_nrrd(path: Path) -> None:
    """Refuse a file that is not NRRD, or keeps its voxels elsewhere than in itself or in one file beside it.

    Raises:
        ScanError: Naming the file and what is wrong.
        OSError: If the file cannot be opened.
    """
    content = path.read_bytes()
    if not content.startswith(b"NRRD000"):
        raise ScanError(path, "not an NRRD file", "Give a NIfTI, NRRD or MetaImage file")
    end = re.search(rb"\r?\n\r?\n", content)
    header = content[: end.start() if end else None].decode("latin-1")
    file = re.search(r"(?mi)^data ?file:[ \t]*(.*?)[ \t\r]*$", header)
    data = data_beside(path, file[1]).read_bytes() if file else content[end.end() if end else 0 :]
    if re.search(r"(?mi)^encoding:[ \t]*gz", header):
        inflated(path, data)
