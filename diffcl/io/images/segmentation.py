"""Segmentations of 3D Slicer, `.seg.nrrd`: label maps with the names of their segments, in one or several layers.

Source:
    https://slicer.readthedocs.io/en/latest/user_guide/modules/segmentations.html, "Segmentation file format"
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from diffcl.errors import ScanError
from diffcl.geometry import Geometry, voxels
from diffcl.io.images.nrrd import read_nrrd
from diffcl.io.images.nrrd_header import NrrdHeader, read_header
from diffcl.labels import UNKNOWN, LabelClass, meant_by_names


@dataclass(frozen=True)
class Segment:
    """A segment of a file.

    Attributes:
        name: As the file has it.
        value: Its value in the label map that is read.
        layer: Number of the layer that it is in, from 0.
        stored: Its value in that layer.
    """

    name: str
    value: int
    layer: int
    stored: int


def segments_of(path: Path) -> tuple[Segment, ...]:
    """The segments that a `.seg.nrrd` file names, in its order; none where it names none.

    A segment keeps its value where no other one, in any layer, has the same; else all are numbered from 1.

    Raises:
        ScanError: If its header is damaged.
    """
    header = _header(path)
    layered = len(header.size) > 3
    found = []
    named = (re.fullmatch(r"Segment(\d{1,6})_(?:ID|Name)", key, re.ASCII) for key in header.metadata)
    for order, key in enumerate(sorted({int(match[1]) for match in named if match})):
        stored = _number(header.metadata.get(f"Segment{key}_LabelValue", "1" if layered else str(order + 1)))
        layer = _number(header.metadata.get(f"Segment{key}_Layer", str(order if layered else 0)))
        if stored is None or layer is None:
            raise ScanError(path, f"segment {key} has no whole number as value or layer", "Save it again")
        name = header.metadata.get(f"Segment{key}_Name", header.metadata.get(f"Segment{key}_ID", ""))
        found.append((name.strip(), stored, layer))
    counts = Counter(stored for _, stored, _ in found)
    alone = all(count == 1 for count in counts.values())
    return tuple(
        Segment(name, stored if alone else order, layer, stored)
        for order, (name, stored, layer) in enumerate(found, start=1)
    )


def by_names(path: Path, label: sitk.Image, labels: Sequence[LabelClass]) -> sitk.Image:
    """The label map of a `.seg.nrrd` file with the values of the classes that its segments are named after.

    Names mean what they mean in a submitted label, see `meant_by_names`. Where no segment is named after a class,
    values stay.

    Args:
        path: The file.
        label: What it holds, uint8.
        labels: Classes of the task.

    Raises:
        ScanError: If some segments are named after classes and others are not.
    """
    segments = [one for one in segments_of(path) if one.value <= UNKNOWN]
    listed = {one.value: one.name for one in segments}
    meant = meant_by_names(listed, {one.name: one.value for one in labels}, "")
    if not {*meant.values()} - {UNKNOWN}:
        return label
    array = voxels(label)
    table = np.arange(UNKNOWN + 1, dtype=np.uint8)
    for one in segments:
        found = meant.get(one.value, 0)
        if not found and (array == one.value).any():
            raise ScanError(
                path, f"segment {one.name[:40]} is no class of this task",
                f"Name it one of: {', '.join(entry.name for entry in labels)}",
            )  # fmt: skip
        table[one.value] = found
    return Geometry.of(label).place(table[array])


def in_layers(path: Path) -> bool:
    """Whether a `.seg.nrrd` file keeps its segments in several layers.

    Raises:
        ScanError: If its header is damaged.
    """
    header = _header(path)
    others = [length for axis, length in enumerate(header.size) if axis not in header.spatial]
    return len(header.spatial) == 3 and len(others) == 1 and others[0] > 1


def merged(path: Path) -> sitk.Image:
    """The layers of a file as one label map, with its place and the values of its segments.

    Raises:
        ScanError: If segments overlap, or a layer has a value that is no segment.
    """
    try:
        image, _ = read_nrrd(path)
    except OSError as error:
        raise ScanError(path, f"cannot be read ({error.strerror or type(error).__name__})") from error
    layers = voxels(image)
    if layers.ndim != 4:
        raise ScanError(path, f"a {image.GetDimension()}D image, not layers of one volume", "Save it again")
    label: NDArray[np.uint16] = np.zeros(layers.shape[1:], np.uint16, order="F")
    segments = segments_of(path)
    for number, layer in enumerate(layers):
        here = [one for one in segments if one.layer == number]
        strange = sorted(set(np.unique(layer).tolist()) - {0, *(one.stored for one in here)})
        if strange:
            raise ScanError(path, f"value {strange[0]} of layer {number} is no segment", "Save it again")
        for one in here:
            inside = layer == one.stored
            if label[inside].any():
                other = next(two for two in segments if two.value == label[inside].max())
                raise ScanError(
                    path,
                    f"segments overlap ({other.name[:40]} and {one.name[:40]})",
                    "Let each voxel be in one",
                )
            label[inside] = one.value
    result = sitk.GetImageFromArray(np.ascontiguousarray(label.T))
    result.SetSpacing(image.GetSpacing())
    result.SetOrigin(image.GetOrigin())
    result.SetDirection(image.GetDirection())
    return result


def _header(path: Path) -> NrrdHeader:
    try:
        return read_header(path)
    except OSError as error:
        raise ScanError(path, f"cannot be read ({error.strerror or type(error).__name__})") from error


def _number(text: str) -> int | None:
    return int(text) if re.fullmatch(r"\d{1,9}", text.strip(), re.ASCII) else None
