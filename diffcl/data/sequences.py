"""A case of several images: the first sequence as the scan, and the others on its grid.

The others are put there by where they lie in the patient, linearly; what they do not show has their lowest value.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import SimpleITK as sitk

from diffcl.data.resample import resample
from diffcl.errors import ScanError, UsageError
from diffcl.geometry import Geometry
from diffcl.io.case_files import case_files, case_name, check_first, first_of
from diffcl.io.dicom.choice import choose_sequences
from diffcl.io.formats import is_scan
from diffcl.io.in_memory import ImageInMemory, volumes_in_memory
from diffcl.io.read import read_scan, read_scans
from diffcl.io.scan import Scan
from diffcl.recipe import ImageSequence

Image: TypeAlias = "Scan | str | os.PathLike[str] | ImageInMemory"
"""What one image can be given as."""

Case: TypeAlias = "Image | Sequence[Image | None] | Mapping[str, Image]"
"""What a case can be given as: an image, all images in their order, None for an absent one, or some by name."""

LEAST_COVERED = 0.5
"""Share of the first sequence that another one must cover, or a remark says so."""

_NAMES = "Give the files of a case as CASE_0000, CASE_0001 and so on, or its images by name"


def read_case(
    source: Case,
    sequences: Sequence[ImageSequence],
    *,
    name: str | None = None,
    series_uid: str | None = None,
) -> Scan:
    """A case as a task sees it; without a list of sequences it is `read_scan` of one image.

    Args:
        source: A path: the first of files `CASE_0000`, `CASE_0001`, ..., or `CASE` for all of them, a 4D NIfTI file, or
            the folder of a DICOM study whose series are told by their descriptions. Or an image in memory with a
            fourth axis, a list of images or paths, or a mapping of them by the names of the sequences.
        sequences: Of the task.
        name: Of the case.
        series_uid: Of the only series to take from a DICOM folder.

    Raises:
        ScanError: If an image cannot be used, a required sequence is missing, there are two for one, or one does not
            overlap the first.
        UsageError: If the images given are not those of the task.
    """
    if isinstance(source, list | Mapping) and not sequences:
        raise UsageError("several images", "the task takes one sequence", "Give one scan")
    if not sequences:
        return source if isinstance(source, Scan) else read_scan(source, name=name, series_uid=series_uid)  # type: ignore[arg-type]
    if isinstance(source, Scan) and source.others:
        return source
    if series_uid is not None:
        raise UsageError(
            "a series", "the task takes several by their descriptions", "Leave out which one is meant"
        )
    found = _images(source, sequences)
    case = _joined(found, sequences)
    return case if name is None else replace(case, name=name)


def _images(source: Any, sequences: Sequence[ImageSequence]) -> list[Scan | None]:
    """The images that are given, in the order of the sequences, None for one that is absent."""
    names = [one.name for one in sequences]
    if isinstance(source, Mapping):
        unknown = [str(key) for key in source if key not in names]
        if unknown:
            raise UsageError(unknown[0], "is no sequence of the task", f"Known are {', '.join(names)}")
        source = [source.get(one) for one in names]
    if isinstance(source, list):
        if len(source) > len(names):
            raise UsageError(f"{len(source)} images", f"the task takes {len(names)} ({', '.join(names)})",
                             "Give one for each, in this order")  # fmt: skip
        return [None if one is None else _image(one) for one in source]
    if isinstance(source, Scan):
        return [source]
    if isinstance(source, str | os.PathLike):
        return _of_path(first_of(Path(source)), sequences)
    volumes = [read_scan(one) for one in volumes_in_memory(source)]
    return _counted(volumes, volumes[0].path, sequences)


def _image(source: Any) -> Scan:
    return source if isinstance(source, Scan) else read_scan(source)


def _of_path(path: Path, sequences: Sequence[ImageSequence]) -> list[Scan | None]:
    files = case_files(path, sequences)
    if len(files) > 1:
        found = [None if file is None else read_scan(file) for file in files]
        assert found[0] is not None
        found[0] = replace(found[0], name=case_name(path, sequences))
        return found
    if path.is_dir() and (is_scan(path) or any(is_scan(one) for one in path.iterdir() if one.is_dir())):
        series = choose_sequences(path, sequences)
        return [None if uid is None else read_scan(path, series_uid=uid) for uid in series]
    scans = read_scans(path)
    if len(scans) == 1:
        check_first(path, sequences)
    named = [replace(one, name=case_name(path, sequences)) for one in scans]
    return _counted(named, path, sequences)


def _counted(volumes: list[Scan], path: Path, sequences: Sequence[ImageSequence]) -> list[Scan | None]:
    """The volumes of one image, of which there is one, or one for each sequence."""
    if len(volumes) not in (1, len(sequences)):
        names = ", ".join(one.name for one in sequences)
        what = f"has {len(volumes)} volumes, and the task takes {len(sequences)} ({names})"
        step = "Give those; points in time are no sequences: of them, choose one"
        raise ScanError(path, what, step)
    return [*volumes]


def _joined(found: Sequence[Scan | None], sequences: Sequence[ImageSequence]) -> Scan:
    """The first image as the scan, with the others on its grid."""
    first = found[0] if found else None
    known = [*found, *[None] * (len(sequences) - len(found))]
    where = next(one.path for one in known if one is not None) if any(known) else Path("case")
    missing = [one.name for one, scan in zip(sequences, known, strict=True) if one.required and scan is None]
    if missing or first is None:
        raise ScanError(where, f"without {', '.join(missing)}, which the task needs", _NAMES)
    grid = Geometry.of(first.image)
    others: list[sitk.Image | None] = []
    remarks = [*first.remarks]
    for sequence, scan in zip(sequences[1:], known[1:], strict=True):
        if scan is None:
            others.append(None)
            remarks.append(f"{sequence.name} is absent, so the label was made without it.")
            continue
        remarks += [f"{sequence.name}: {remark}" for remark in scan.remarks if remark not in first.remarks]
        others.append(on_grid(scan, grid, sequence.name))
        remarks += _odd(first, scan, grid, sequences[0].name, sequence.name)
    return replace(first, others=tuple(others), remarks=tuple(remarks))


def on_grid(scan: Scan, grid: Geometry, name: str = "") -> sitk.Image:
    """An image on the grid of another one of the same patient; outside it has its own lowest value.

    Raises:
        ScanError: If it shows nothing of what the other one does.
    """
    if _covered(scan, grid) == 0:
        raise ScanError(
            scan.path,
            f"{name or scan.name} shows no part of the first sequence",
            "Give images of one patient and one place",
        )
    lowest = float(sitk.GetArrayViewFromImage(scan.image).min())
    return resample(scan.image, grid, outside=lowest)


def _covered(scan: Scan, grid: Geometry) -> float:
    """Share of a grid that an image shows, told on at most 32 voxels along each axis."""
    own = Geometry.of(scan.image)
    axes = [np.unique(np.linspace(0, count - 1, min(count, 32)).round()) for count in grid.size]
    points = grid.points(np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1))
    at = own.indices(points)
    return float(((at > -0.5) & (at < np.array(own.size) - 0.5)).all(axis=-1).mean())


def _odd(first: Scan, scan: Scan, grid: Geometry, of: str, name: str) -> list[str]:
    """What a person should know of how another sequence lies."""
    remarks = []
    share = _covered(scan, grid)
    if share < LEAST_COVERED:
        remarks.append(f"{name} shows {100 * share:.0f} % of {of} only.")
    frames = [
        "" if one.series is None else str(one.series.headers[0].get("FrameOfReferenceUID", ""))
        for one in (first, scan)
    ]
    if all(frames) and frames[0] != frames[1]:
        remarks.append(
            f"{name} has another frame of reference than {of}; the patient may have moved in between."
        )
    return remarks
