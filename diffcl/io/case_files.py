"""Which files belong to a case that has several images: `CASE_0000.nii.gz`, `CASE_0001.nii.gz` and so on.

A case goes by its first file. Without `_0000`, a path is all of a case: a 4D file, the folder of a DICOM study, or the
only image that there is.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from diffcl.errors import ScanError
from diffcl.io.formats import is_scan, scan_name
from diffcl.recipe import ImageSequence

FIRST = "_0000"
"""End of the name of the first image of a case."""

_NUMBERED = re.compile(r"(.+)_(00\d\d)")


def case_name(path: Path, sequences: Sequence[ImageSequence]) -> str:
    """The name of a case: that of its file or folder, without the number of its first image.

    >>> case_name(Path("p07_0000.nii.gz"), ()), case_name(Path("p07_0000.nii.gz"), [ImageSequence(name="T1")])
    ('p07_0000', 'p07')
    """
    name = scan_name(path)
    return name.removesuffix(FIRST) if sequences else name


def first_of(path: Path) -> Path:
    """The first image of the case that a path means: of `CASE`, where there is no such file, `CASE_0000.nii.gz`."""
    if path.exists() or not path.name:
        return path
    return next(iter(_numbered(path.parent, path.name).get(0, [path])))


def first_files(paths: Iterable[Path]) -> list[Path]:
    """Paths without the further images of cases whose first image is among them."""
    paths = list(paths)
    known = {(path.parent, scan_name(path)) for path in paths}

    def follows(path: Path) -> bool:
        found = _NUMBERED.fullmatch(scan_name(path))
        return bool(found and found[2] != FIRST[1:] and (path.parent, f"{found[1]}{FIRST}") in known)

    return [path for path in paths if not follows(path)]


def is_case(path: Path) -> bool:
    """Whether a path may be a case of several images: what may be a scan, or a folder of folders that may."""
    return is_scan(path) or (path.is_dir() and any(one.is_dir() and is_scan(one) for one in path.iterdir()))


def case_files(path: Path, sequences: Sequence[ImageSequence]) -> list[Path | None]:
    """The file of each sequence of a case, None for one that is absent; the path alone where it is all of the case.

    Args:
        path: The first image of the case, or all of it.
        sequences: Of the task; none for one whose cases are one image.

    Raises:
        ScanError: If there are two files for a sequence, or one more than the task has sequences.
    """
    name = scan_name(path)
    if not (sequences and name.endswith(FIRST)):
        return [path]
    case = name.removesuffix(FIRST)
    found = _numbered(path.parent, case)
    for number, files in sorted(found.items()):
        others = " and ".join(file.name for file in files)
        if len(files) > 1:
            raise ScanError(path.parent / case, f"has {others} for one sequence", "Keep one of them")
        if number >= len(sequences):
            names = ", ".join(one.name for one in sequences)
            raise ScanError(
                path.parent / case,
                f"has {others}, and the task takes {len(sequences)} sequences ({names})",
                "Take it away, or name its sequence in the recipe",
            )
    return [path, *(next(iter(found.get(number, [None]))) for number in range(1, len(sequences)))]


def check_first(path: Path, sequences: Sequence[ImageSequence]) -> None:
    """Refuse an only image that is a further one of a case by its name, and would be taken for the first.

    Raises:
        ScanError: Naming the sequence and the file that is needed.
    """
    found = _NUMBERED.fullmatch(scan_name(path))
    if found and 0 < int(found[2]) < len(sequences):
        own, first = sequences[int(found[2])].name, sequences[0].name
        raise ScanError(
            path, f"is {own} of {found[1]} by its name, without {first}, which the task needs",
            f"Give {found[1]}{FIRST}, or another name to what is all of a case",
        )  # fmt: skip


def present_files(path: Path, sequences: Sequence[ImageSequence]) -> list[Path]:
    """The files of a case that are there, see `case_files`."""
    return [file for file in case_files(path, sequences) if file is not None]


def siblings(path: Path) -> list[Path]:
    """All images of the case whose first image a path is, however many a task takes."""
    found = _numbered(path.parent, scan_name(path).removesuffix(FIRST))
    return [file for _, files in sorted(found.items()) for file in files]


def _numbered(folder: Path, case: str) -> dict[int, list[Path]]:
    """The images of a case in a folder by number."""
    found: dict[int, list[Path]] = {}
    for path in sorted(folder.glob(f"{glob.escape(case)}_00[0-9][0-9]*")):
        matched = _NUMBERED.fullmatch(scan_name(path))
        if matched and matched[1] == case and is_scan(path):
            found.setdefault(int(matched[2]), []).append(path)
    return found
