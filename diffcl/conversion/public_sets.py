"""Public sets as people hold them, turned into a folder with `images/` and `labels/`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from diffcl.conversion.alignment import (
    AXES,
    Flip,
    View,
    best_flip,
    best_shift,
    spacing_for,
    unlike_the_rest,
    view,
)
from diffcl.errors import DataError, DiffclError, UsageError
from diffcl.files import replace_folder, write_text
from diffcl.geometry import Geometry, difference, voxels
from diffcl.io import read_label, read_scan, write_image
from diffcl.io.images.hdf5 import read_h5

Spacing = tuple[float, float, float]


@dataclass(frozen=True)
class Pair:
    """Where a case and its label are.

    Attributes:
        name: Of the case.
        image: Scan, or a file with both.
        label: Label; the same file as `image` for one with both.
    """

    name: str
    image: Path
    label: Path


@dataclass(frozen=True)
class Form:
    """A form in which a public set is held.

    Attributes:
        pairs: Finds the pairs in a folder and, by name, the scans that lack a label.
        spacing: Voxel size of files that do not hold theirs, mm.
        placed: Whether a label's own position and orientation mean something; if not, it is put on the grid of
            its scan in the orientation that fits best.
    """

    pairs: Callable[[Path], Iterator[Pair]]
    spacing: Spacing = (1.0, 1.0, 1.0)
    placed: bool = True


def convert(
    source: Path,
    form: str,
    out: Path,
    *,
    spacing: Spacing | None = None,
    order: Sequence[str] | None = None,
    on_case: Callable[[int, int], None] = lambda done, total: None,
) -> list[str]:
    """Write the cases of a public set as `OUT/images/NAME.nii.gz` and `OUT/labels/NAME.nii.gz`.

    All files are read and checked, and what is wrong is named at once, before the first is written.

    Args:
        source: Folder of the set.
        form: A key of `FORMS`.
        out: New folder.
        spacing: Voxel size in mm of files that do not hold theirs; the form's by default.
        order: Names of the cases wanted, in the order to be kept as `OUT/train.txt`; by default all, in
            alphabetical order, without that file.
        on_case: Told how many of how many readings are done; each case is read twice.

    Returns:
        One sentence for everything that a person should look at: labels that look mirrored or shifted.

    Raises:
        UsageError: If `out` exists already.
        DataError: Naming every file that is missing or cannot be used; nothing is written then.
    """
    if out.exists():
        raise UsageError(out, "exists already", "Name a new folder")
    kind = FORMS[form]
    size = spacing or kind.spacing
    pairs, absent = _wanted(source, form, list(kind.pairs(source)), order)
    views = _views(source, pairs, absent, size, kind, lambda done: on_case(done, 2 * len(pairs)))
    flip = best_flip(list(views.values()))
    remarks = []
    if any(flip):
        along = ", ".join(axis for axis, mirrored in zip(AXES, flip, strict=True) if mirrored)
        done = "Look at some" if kind.placed else "So they were mirrored; look at some"
        remarks.append(
            f"{source}: the labels follow the edges of the scans best when mirrored {along}. {done}"
        )
    if shifted := best_shift([one.mirrored(flip) for one in views.values()]):
        remarks.append(f"{source}: the labels follow the edges of the scans best when shifted {shifted}. "
                       "Look at some")  # fmt: skip
    if kind.placed:
        flip = (False, False, False)
    with replace_folder(out) as folder:
        for name in ("images", "labels"):
            (folder / name).mkdir()
        for number, pair in enumerate(pairs, start=1):
            image, label = read_pair(pair, size, placed=kind.placed)
            write_image(image, folder / "images" / f"{pair.name}.nii.gz")
            write_image(_mirrored(label, flip), folder / "labels" / f"{pair.name}.nii.gz")
            on_case(len(pairs) + number, 2 * len(pairs))
        if order is not None:
            write_text(folder / "train.txt", "".join(f"{pair.name}\n" for pair in pairs))
    found = unlike_the_rest({name: one.mirrored(flip) for name, one in views.items()})
    return remarks + [f"{name}: {what}. Look at it" for name, what in found.items()]


def _views(
    source: Path,
    pairs: Sequence[Pair],
    absent: Sequence[str],
    size: Spacing,
    kind: Form,
    on_case: Callable[[int], None],
) -> dict[str, View]:
    """Views of all pairs; refuses what is absent or cannot be used, all of it at once."""
    views: dict[str, View] = {}
    faults = [f"case {name} is missing" for name in absent]
    spacing = None
    for number, pair in enumerate(pairs, start=1):
        try:
            image, label = read_pair(pair, size, placed=kind.placed)
        except DiffclError as error:
            faults.append(str(error))
        else:
            spacing = spacing or spacing_for(image)
            views[pair.name] = view(image, label, spacing)
        on_case(number)
    if faults:
        where = f"{source}: {len(faults)} of {len(pairs) + len(absent)} cases"
        raise DataError(where, " | ".join(faults), "Mend them or leave them out")
    return views


def read_pair(pair: Pair, spacing: Spacing, *, placed: bool = True) -> tuple[sitk.Image, sitk.Image]:
    """A scan and its label on the same grid.

    Args:
        pair: Where they are.
        spacing: Voxel size in mm, for a file that does not hold it.
        placed: Whether the label's own position counts; if not, its voxels are put on the scan's grid.

    Raises:
        ScanError: If one of them cannot be read.
        DataError: If one is missing, or the label does not lie on the scan's grid.
    """
    for path in (pair.image, pair.label):
        if not path.exists():
            raise DataError(path, "is missing", "Complete the set")
    if pair.image == pair.label:
        return read_h5(pair.image, spacing)
    image, label = read_scan(pair.image).image, read_label(pair.label)
    grid = Geometry.of(image)
    if image.GetSize() != label.GetSize():
        raise DataError(
            pair.label, f"has {label.GetSize()} voxels, its scan {image.GetSize()}", "Leave it out"
        )
    if not placed:
        label.CopyInformation(image)
    elif differs := difference(Geometry.of(label), grid):
        raise DataError(pair.label, f"does not lie on the grid of its scan: {differs}", "Leave it out")
    return image, label


def _mirrored(label: sitk.Image, flip: Flip) -> sitk.Image:
    """A label mirrored along axes of the world, on the same grid."""
    if not any(flip):
        return label
    grid = Geometry.of(label)
    directions = np.abs(grid.axes)
    axes = [int(directions[world].argmax()) for world in range(3) if flip[world]]
    return grid.place(np.flip(voxels(label), axes))


def _wanted(
    source: Path, form: str, pairs: list[Pair], order: Sequence[str] | None
) -> tuple[list[Pair], list[str]]:
    """The pairs to convert, in their order, and the names of those that are not there."""
    known = {pair.name: pair for pair in pairs}
    if not pairs:
        raise DataError(source, f"nothing in the form {form}", f"Forms: {', '.join(FORMS)}")
    if len(known) < len(pairs):
        twice = sorted({pair.name for pair in pairs if known[pair.name] != pair})
        raise DataError(source, f"several cases are called {', '.join(twice)}", "Leave one of each")
    names = sorted(known) if order is None else order
    return [known[name] for name in names if name in known], [name for name in names if name not in known]


def _left_atrium(source: Path) -> Iterator[Pair]:
    for file in sorted(source.glob("*/mri_norm2.h5")):
        yield Pair(file.parent.name, file, file)


def _h5(source: Path) -> Iterator[Pair]:
    for file in sorted(source.rglob("*.h5")):
        yield Pair(file.stem.removesuffix("_norm"), file, file)


def _brats(source: Path) -> Iterator[Pair]:
    for scan in sorted([*source.rglob("*_flair.nii.gz"), *source.rglob("*_flair.nii")]):
        name, ending = scan.name.split("_flair.")
        yield Pair(name, scan, scan.with_name(f"{name}_seg.{ending}"))


def _pancreas_ct(source: Path) -> Iterator[Pair]:
    labels = {file.name.split(".")[0]: file for file in sorted(source.rglob("label*.nii*"))}
    for folder in sorted(source.rglob("PANCREAS_*")):
        number = re.fullmatch(r"PANCREAS_(\d{4})", folder.name)
        series = sorted({file.parent for file in folder.rglob("*.dcm")}) if number else []
        for one in series:
            label = f"label{number.group(1)}" if number else ""
            yield Pair(folder.name, one, labels.get(label, source / f"{label}.nii.gz"))


FORMS = {
    "left-atrium-h5": Form(_left_atrium, spacing=(0.625, 0.625, 0.625)),
    "h5": Form(_h5),
    "brats": Form(_brats),
    "pancreas-ct": Form(_pancreas_ct, placed=False),
}
"""`left-atrium-h5`: NAME/mri_norm2.h5, as in UA-MT. `h5`: NAME_norm.h5 or NAME.h5. `brats`: NAME_flair.nii.gz beside
NAME_seg.nii.gz. `pancreas-ct`: PANCREAS_0001/.../*.dcm and label0001.nii.gz, whose headers do not agree."""
