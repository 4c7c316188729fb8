"""Cases of a training: labelled, unlabelled and validation scans.

An unlabelled case is a type without a label, so that no code can open what it must not see.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from diffcl.errors import DataError, UsageError
from diffcl.io import is_label, is_scan, scan_name
from diffcl.io.case_files import case_name, first_files, is_case
from diffcl.io.formats import IMAGE_FORMATS
from diffcl.recipe import Recipe

TOLD = 5
"""Names in a sentence before it says how many more there are."""


@dataclass(frozen=True)
class UnlabelledCase:
    """A scan without an outline."""

    name: str
    image: Path


@dataclass(frozen=True)
class LabelledCase:
    """A scan and its outline, a label map on the scan's grid.

    Attributes:
        not_outlined: Names of classes that the label says nothing of, beside those that the recipe takes for such.
    """

    name: str
    image: Path
    label: Path
    not_outlined: tuple[str, ...] = ()


@dataclass(frozen=True)
class Cases:
    """What a training may use.

    Attributes:
        labelled: Scans with outlines to learn from.
        unlabelled: Scans without outlines to learn from.
        validation: Scans with outlines on which settings and checkpoints are chosen.
    """

    labelled: tuple[LabelledCase, ...]
    unlabelled: tuple[UnlabelledCase, ...]
    validation: tuple[LabelledCase, ...]

    def __post_init__(self) -> None:
        every: tuple[LabelledCase | UnlabelledCase, ...]
        every = (*self.labelled, *self.unlabelled, *self.validation)
        names = [case.name for case in every]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise DataError(twice[0], "listed twice", "Name every case in one list only")
        if not self.labelled:
            raise DataError("cases", "no labelled scan", "Outline at least one scan")


def outlined(data: Path, recipe: Recipe | None = None) -> list[str]:
    """The names of all scans of a folder that have a label, in the order of `find_cases`.

    Raises:
        DataError: If there is none.
    """
    names = _listed(data, _images(data / "images", recipe))
    labels = _named(data / "labels", is_label)
    found = [name for name in names if name in labels]
    if not found:
        told = "holds no label of a scan in images/"
        raise DataError(data / "labels", told, "Outline one, and give its label the name of its scan")
    return found


def find_cases(
    data: Path,
    *,
    labelled: int | Path | Sequence[str],
    validation: int | Path = 0,
    recipe: Recipe | None = None,
) -> Cases:
    """Split a folder with `images/` and `labels/` into labelled, unlabelled and validation cases.

    The order is that of `train.txt` where the folder has one, a name a line, else alphabetical. Labelled
    are the first `labelled` names, validation the last `validation`; either may be a text file of names
    instead. All other scans are unlabelled: whether `labels/` has a file for them is not even asked.

    Args:
        data: The folder.
        labelled: How many, or which, in a file or by name.
        validation: How many, or which, in a file.
        recipe: Says whether a case has several sequences: then `CASE_0000.nii.gz`, `CASE_0001.nii.gz` and so on are the
            images of `CASE`.

    Raises:
        DataError: If a folder, scan or label is missing, all that is missing being named at once; if a list of
            names is empty, names a scan twice or one that the other list has; if two files have one name.
        UsageError: If there are fewer scans than asked for.
    """
    images = _images(data / "images", recipe)
    names = _listed(data, images)
    counts = [count for count in (labelled, validation) if isinstance(count, int)]
    if min(counts, default=0) < 0 or sum(counts) > len(names) or labelled == 0:
        wanted = " and ".join(
            f"{asked if isinstance(asked, int) else 'those of a list'} {purpose}"
            for asked, purpose in ((labelled, "labelled"), (validation, "for validation"))
        )
        raise UsageError(data, f"{len(names)} scans cannot give {wanted}",
                         "Ask for fewer, and for one labelled scan at least")  # fmt: skip
    first = _chosen(labelled, names[:labelled] if isinstance(labelled, int) else ())
    last = _chosen(validation, names[len(names) - validation :] if isinstance(validation, int) else ())
    both = sorted(set(first) & set(last))
    if both:
        raise DataError(data, f"{', '.join(both)} would be labelled and validate",
                        "Let no scan do both: what a model has learned cannot judge it")  # fmt: skip
    known = {*first, *last}
    labels = _named(data / "labels", is_label, known)
    missing = {
        "scan": sorted({*names, *known} - images.keys()),
        "label": sorted(known - labels.keys()),
    }
    if any(missing.values()):
        told = [f"no {kind} for {', '.join(absent)}" for kind, absent in missing.items() if absent]
        step = "Add what is missing, or list in a file the names of the scans that have labels"
        raise DataError(data, "; ".join(told), step)
    return Cases(
        tuple(LabelledCase(name, images[name], labels[name]) for name in first),
        tuple(UnlabelledCase(name, images[name]) for name in names if name not in known),
        tuple(LabelledCase(name, images[name], labels[name]) for name in last),
    )


def _listed(data: Path, images: Mapping[str, Path]) -> list[str]:
    """All names, in their order."""
    return _names(data / "train.txt") if (data / "train.txt").exists() else sorted(images)


def _chosen(asked: int | Path | Sequence[str], counted: Sequence[str]) -> Sequence[str]:
    """The names of a list that somebody asks for; where he gives their number, those that were counted."""
    if isinstance(asked, int):
        return counted
    return _names(asked) if isinstance(asked, Path) else asked


def in_words(names: Sequence[str]) -> str:
    """Names with commas between them.

    >>> in_words(["a", "b", "c", "d", "e", "f", "g"])
    'a, b, c, d, e and 2 more'
    """
    more = f" and {len(names) - TOLD} more" if len(names) > TOLD else ""
    return ", ".join(names[:TOLD]) + more


def _images(folder: Path, recipe: Recipe | None) -> dict[str, Path]:
    """The scans of a folder by the name of their case; of several images, the first."""
    several = recipe is not None and bool(recipe.sequences)
    every = _named(folder, is_case if several else is_scan)
    if not every:
        known = ", ".join(IMAGE_FORMATS)
        raise DataError(folder, "holds no scan", f"Put there folders of DICOM, or files that end on {known}")
    if recipe is None or not several:
        return every
    found: dict[str, Path] = {}
    for path in first_files(every.values()):
        other = found.setdefault(case_name(path, recipe.sequences), path)
        if other != path:
            raise DataError(folder, f"{other.name} and {path.name} are both one case",
                            "Keep one of them, or rename one")  # fmt: skip
    return found


def _named(
    folder: Path, fits: Callable[[Path], bool], wanted: Container[str] | None = None
) -> dict[str, Path]:
    """The scans or labels of a folder by name; files of other names than the wanted ones are not opened."""
    if not folder.is_dir():
        raise DataError(
            folder, "no such folder", "Put the scans into images/ and their outlines into labels/"
        )
    files = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    asked = [path for path in files if wanted is None or scan_name(path) in wanted]
    found: dict[str, Path] = {}
    for path in asked:
        if fits(path):
            other = found.setdefault(scan_name(path), path)
            if other != path:
                raise DataError(folder, f"{other.name} and {path.name} are both {scan_name(path)}",
                                "Keep one of them, or rename one")  # fmt: skip
    return found


def _names(file: Path) -> list[str]:
    """The names in a text file, one a line."""
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(file, "cannot be read", "Give a text file with one case name a line") from error
    names = [line.strip() for line in lines if line.strip()]
    if not names:
        raise DataError(file, "names no scan", "Write one case name a line")
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise DataError(file, f"names {', '.join(twice)} twice", "Name every scan once")
    return names
