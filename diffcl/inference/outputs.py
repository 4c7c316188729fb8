"""Where the results of each scan go, decided and checked before any work is done."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Final

from diffcl.errors import OutputError, UsageError
from diffcl.io.case_files import case_name, present_files
from diffcl.io.formats import DICOM_SUFFIX, image_suffix
from diffcl.recipe import ImageSequence

IMAGES: Final = (".nii.gz", ".nii", ".nrrd", ".mha")
KINDS: Final = {
    "label": (*IMAGES, DICOM_SUFFIX),
    "uncertainty": IMAGES,
    "report": (".json", DICOM_SUFFIX),
    "picture": (".png",),
    "probabilities": (DICOM_SUFFIX,),
}
"""What the name of one file ends in, for each kind of result; any other name is a folder's."""

_OTHER_FILES: Final = (".mhd", ".nhdr", ".gz", ".jpg", ".jpeg", ".pdf", ".txt", ".csv", ".zip")


Place = str | os.PathLike[str]
"""Name of a file or folder."""


@dataclass(frozen=True)
class Outputs:
    """Where results go: files for one scan, or what people name, files or folders. None for what is not wanted."""

    label: Path | None = None
    uncertainty: Path | None = None
    report: Path | None = None
    picture: Path | None = None
    probabilities: Path | None = None

    @classmethod
    def named(cls, **places: Place | None) -> Outputs:
        """Those that people name, by kind.

        >>> Outputs.named(label="labels", report=None).paths()
        [...Path('labels')]
        """
        return cls(**{kind: None if place is None else Path(place) for kind, place in places.items()})

    def dicom(self) -> Path | None:
        """A result that only a DICOM series can have; None for none."""
        return next((path for path in self.paths() if _is_dicom(path)), None)

    def paths(self) -> list[Path]:
        """All files."""
        return [path for path in astuple(self) if path is not None]


def plan(
    scans: Sequence[Path],
    wanted: Outputs,
    sequences: Sequence[ImageSequence] = (),
    others: Sequence[Path] = (),
    labels: Sequence[Path] = (),
) -> list[Outputs]:
    """Where the results of each scan go.

    A name that ends as a file of its kind does is that file, for one scan only. Any other name is a folder,
    in which each result is called like its scan.

    Args:
        scans: The scans.
        wanted: What people named.
        sequences: Of the task, where a case has several.
        others: Further images of the scans, which no result may replace.
        labels: Label maps that are read, likewise.

    Raises:
        UsageError: If a result would replace a scan, a label map that is read or another result, or lie among the
            images of a series, or a name ends in what cannot be written, or a structured report has no segmentation
            to refer to.
        OutputError: If a folder can neither be made nor written into.
    """
    places = {
        kind: _places(scans, kind, place, sequences)
        for kind, place in vars(wanted).items()
        if place is not None
    }
    outputs = [
        Outputs(**{kind: files[index] for kind, files in places.items()}) for index in range(len(scans))
    ]
    inputs = [file for scan in scans for file in present_files(scan, sequences)] if sequences else scans
    _check_collisions([*inputs, *others], labels, outputs)
    for output in outputs:
        if _is_dicom(output.report) and not _is_dicom(output.label):
            raise UsageError(output.report, "a structured report refers to a DICOM segmentation",
                             "Name the label NAME.dcm, or the report NAME.json")  # fmt: skip
    for folder in folders_of(outputs):
        _check_writable(folder)
    return outputs


def folders_of(outputs: Iterable[Outputs]) -> list[Path]:
    """The folders in which results lie, each once."""
    return sorted({path.parent for output in outputs for path in output.paths()})


def _is_dicom(path: Path | None) -> bool:
    return path is not None and path.suffix.lower() == DICOM_SUFFIX


def _places(scans: Sequence[Path], kind: str, place: Path, sequences: Sequence[ImageSequence]) -> list[Path]:
    name = place.name.lower()
    known = {suffix for suffixes in KINDS.values() for suffix in suffixes}
    if place.is_dir():
        return [place / f"{case_name(scan, sequences)}{_suffix(scan, kind)}" for scan in scans]
    if name.endswith(KINDS[kind]):
        if len(scans) > 1:
            raise UsageError(place, f"is one file for {len(scans)} scans", "Name a folder")
        return [place]
    if name.endswith((*known, *_OTHER_FILES)) or place.is_file():
        endings = ", ".join(KINDS[kind])
        raise UsageError(place, f"cannot hold the {kind}", f"Name a folder, or a file that ends in {endings}")
    return [place / f"{case_name(scan, sequences)}{_suffix(scan, kind)}" for scan in scans]


def _suffix(scan: Path, kind: str) -> str:
    """Ending of a result in a folder: that of the scan for images, where it can be written."""
    if KINDS[kind][0] not in IMAGES:
        return KINDS[kind][0]
    suffix = None if scan.is_dir() else image_suffix(scan)
    return suffix if suffix in IMAGES else IMAGES[0]


def _check_collisions(scans: Sequence[Path], labels: Sequence[Path], outputs: Sequence[Outputs]) -> None:
    inputs, read = ({path.resolve() for path in paths} for paths in (scans, labels))
    seen: set[Path] = set()
    for path in (path for output in outputs for path in output.paths()):
        place = path.resolve()
        if place in inputs:
            raise UsageError(path, "is a scan itself", "Write the result elsewhere")
        if place in read:
            raise UsageError(path, "is a label that is read", "Write the result elsewhere")
        if place.parent in inputs:
            raise UsageError(path, "would lie among the images of a scan", "Write the result elsewhere")
        if place in seen:
            raise UsageError(path, "would be written twice", "Give scans of different names, or more folders")
        seen.add(place)


def _check_writable(folder: Path) -> None:
    """Refuse a folder in which nothing could be written, without making it."""
    first = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    if not first.is_dir() or not os.access(first, os.W_OK | os.X_OK):
        what = "is not writable" if first.is_dir() else "is a file"
        raise OutputError(first, what, "Choose another folder for the results")
