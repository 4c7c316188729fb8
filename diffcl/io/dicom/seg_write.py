"""DICOM segmentations: label maps and probabilities as a PACS keeps them, beside the series they belong to.

Source:
    DICOM PS3.3 section A.51, Segmentation IOD.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import highdicom as hd
import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
from pydicom.sr.coding import Code as DicomCode

from diffcl.geometry import Geometry, same_grid
from diffcl.geometry import voxels as voxels_of
from diffcl.io.dicom.derived import coded, identity, save_derived, type_code
from diffcl.io.dicom.series import DicomSeries
from diffcl.io.dicom.source import made_from, refer, source_images, told_apart
from diffcl.labels import UNKNOWN, UNKNOWN_NAME, Code, LabelClass
from diffcl.version import version

ARTIFICIAL_INTELLIGENCE: Final = DicomCode("123110", "DCM", "Artificial Intelligence")
"""DICOM CID 7162, surface processing algorithm families."""

SERIES_NUMBER: Final = 1000
"""Added to the number of the source series, so that results stand after the series of the scanner."""

_UNKNOWN: Final[dict[str, Any]] = {
    "name": UNKNOWN_NAME,
    "color": (128, 128, 128),
    "category": Code(value="309825002", meaning="Spatial and Relational Concept"),
    "type": Code(value="261665006", meaning="Unknown"),
}
"""Segment of what nobody has decided; its category is of DICOM CID 7150, its type of SNOMED CT."""


def write_seg(
    label: sitk.Image,
    series: DicomSeries,
    labels: Sequence[LabelClass],
    path: Path,
    *,
    model_name: str,
    model_version: int,
) -> None:
    """Write a label map as a binary DICOM segmentation of its series, whole or not at all.

    Every class has its segment and every slice its frame in each segment, empty or not: an empty label map
    is a valid answer, and what is read back covers the series.

    Args:
        label: Label map on the grid of the series; values are those of the classes, 0 is background.
        series: The series it was made from.
        labels: Classes with values 1..N in order.
        path: Where to, usually `.dcm`.
        model_name: Name of the model, stated as the algorithm.
        model_version: Its version.

    Raises:
        OutputError: If a class has no DICOM code, the series cannot be referred to, or the file cannot be
            written.
        ValueError: If the label map is not on the grid of the series, or has a value without a class.
    """
    maker = _Maker("AUTOMATIC", model_name, model_version, f"Segmentation by {model_name}")
    _write(_values(label, series, labels), "BINARY", series, labels, path, maker)


def write_annotation(
    label: sitk.Image,
    series: DicomSeries,
    labels: Sequence[LabelClass],
    path: Path,
    *,
    proposed_by: tuple[str, int] | None = None,
    title: str = "Label",
) -> None:
    """Write what a person outlined as a binary DICOM segmentation of its series; see `write_seg`.

    Its segments count as made by hand, or semi-automatically if they began as a model's proposal; so it can
    be told from what a model made alone. Voxels that are `UNKNOWN` get a segment of their own, after the classes.

    Args:
        label: See `write_seg`; may hold `UNKNOWN`.
        series: See `write_seg`.
        labels: See `write_seg`.
        path: See `write_seg`.
        proposed_by: Name and version of the model whose proposal was corrected, if there was one.
        title: Description of the series of the segmentation, up to 64 characters.

    Raises:
        OutputError: See `write_seg`.
        ValueError: See `write_seg`.
    """
    kind: Literal["SEMIAUTOMATIC", "MANUAL"] = "SEMIAUTOMATIC" if proposed_by else "MANUAL"
    model, number = proposed_by or ("diffcl", 0)
    grid, values = Geometry.of(label), voxels_of(label)
    if (values == UNKNOWN).any():
        last = len(labels) + 1
        label = grid.place(np.where(values == UNKNOWN, last, values).astype(np.uint8))
        labels = [*labels, LabelClass(value=last, **_UNKNOWN)]
    _write(_values(label, series, labels), "BINARY", series, labels, path, _Maker(kind, model, number, title))


def write_probability_seg(
    probabilities: Sequence[sitk.Image],
    series: DicomSeries,
    labels: Sequence[LabelClass],
    path: Path,
    *,
    model_name: str,
    model_version: int,
) -> None:
    """Write the probability of every class as a fractional DICOM segmentation, in steps of 1/255.

    Args:
        probabilities: One image a class, 0..1, on the grid of the series.
        series: See `write_seg`.
        labels: See `write_seg`.
        path: See `write_seg`.
        model_name: See `write_seg`.
        model_version: See `write_seg`.

    Raises:
        OutputError: See `write_seg`.
        ValueError: If there is not one image a class on the grid of the series.
    """
    if len(probabilities) != len(labels):
        raise ValueError(f"{len(probabilities)} probabilities for {len(labels)} classes")
    for probability in probabilities:
        _check_grid(probability, series)
    voxels = np.stack([sitk.GetArrayViewFromImage(one) for one in probabilities], axis=-1)
    maker = _Maker("AUTOMATIC", model_name, model_version, f"Segmentation by {model_name}")
    _write(np.clip(voxels, 0, 1), "FRACTIONAL", series, labels, path, maker)


def algorithm(model_name: str, model_version: int) -> hd.AlgorithmIdentificationSequence:
    """The model as DICOM identifies an algorithm, with its version and that of this package."""
    return hd.AlgorithmIdentificationSequence(
        name=model_name,
        family=ARTIFICIAL_INTELLIGENCE,
        version=str(model_version),
        source="diffcl",
        parameters={"diffcl": version()},
    )


@dataclass(frozen=True)
class _Maker:
    """Who made a segmentation.

    Attributes:
        kind: A model alone, a person on a model's proposal, or a person alone.
        model: Name of the model, or of this package.
        version: Of the model.
        title: Describes the series.
    """

    kind: Literal["AUTOMATIC", "SEMIAUTOMATIC", "MANUAL"]
    model: str
    version: int
    title: str


def _values(label: sitk.Image, series: DicomSeries, labels: Sequence[LabelClass]) -> npt.NDArray[Any]:
    _check_grid(label, series)
    voxels = sitk.GetArrayViewFromImage(label)
    if voxels.max() > len(labels):
        raise ValueError(f"value {voxels.max()} has no class")
    return voxels.astype(np.uint8)


def _write(
    voxels: npt.NDArray[Any],
    kind: str,
    series: DicomSeries,
    labels: Sequence[LabelClass],
    path: Path,
    maker: _Maker,
) -> None:
    if len(series.headers) == 1:
        voxels = voxels[np.argsort(series.frames)]  # highdicom wants the order of the frames
    segments = [_segment(one, path, maker) for one in labels]
    with made_from(series, path):
        images = source_images(series, path)
        apart = told_apart(images, series)
        segmentation = hd.seg.Segmentation(
            source_images=apart,
            pixel_array=voxels,
            segmentation_type=kind,
            segment_descriptions=segments,
            **identity(series, SERIES_NUMBER, maker.model, maker.title),
            device_serial_number=str(maker.version),
            content_description=(
                maker.title if maker.kind == "MANUAL" else f"{maker.model} version {maker.version}"
            )[:64],
            omit_empty_frames=False,
        )
        refer(segmentation, apart, images, series)
        save_derived(segmentation, series, path)


def _segment(one: LabelClass, path: Path, maker: _Maker) -> hd.seg.SegmentDescription:
    segment = hd.seg.SegmentDescription(
        segment_number=one.value,
        segment_label=one.name,
        segmented_property_category=coded(one.category),
        segmented_property_type=type_code(one, path),
        algorithm_type=maker.kind,
        algorithm_identification=None if maker.kind == "MANUAL" else algorithm(maker.model, maker.version),
        anatomic_regions=[coded(one.region)] if one.region else None,
    )
    if one.modifier:
        segment.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [
            coded(one.modifier)
        ]
    segment.RecommendedDisplayCIELabValue = list(cielab(one.color))
    return segment


def cielab(color: tuple[int, int, int]) -> tuple[int, int, int]:
    """A red, green, blue colour, 0..255, as the unsigned 16-bit CIELab values of DICOM.

    >>> cielab((255, 255, 255))
    (65535, 32896, 32896)

    Source:
        DICOM PS3.3 section C.10.7.1.1; IEC 61966-2-1 for sRGB, with its white point D65, as viewers read it.
    """
    share = np.array(color) / 255
    linear = np.where(share > 0.04045, ((share + 0.055) / 1.055) ** 2.4, share / 12.92)
    matrix = np.array(
        [
            [0.4124564, 0.3575761, 0.1804375],
            [0.2126729, 0.7151522, 0.0721750],
            [0.0193339, 0.1191920, 0.9503041],
        ]
    )
    x, y, z = matrix @ linear / matrix.sum(axis=1)
    fx, fy, fz = (
        np.cbrt(one) if one > (6 / 29) ** 3 else one / (3 * (6 / 29) ** 2) + 4 / 29 for one in (x, y, z)
    )
    lightness, a, b = 116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)
    return round(lightness / 100 * 65535), round((a + 128) / 255 * 65535), round((b + 128) / 255 * 65535)


def _check_grid(image: sitk.Image, series: DicomSeries) -> None:
    if not same_grid(Geometry.of(image), series.geometry):
        raise ValueError("the image is not on the grid of the series")
