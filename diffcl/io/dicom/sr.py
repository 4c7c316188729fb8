"""DICOM structured reports: the volume of every class, with the model and its doubt, as a PACS keeps them.

Source:
    DICOM PS3.16, template TID 1500 Measurement Report.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import highdicom as hd
import pydicom
from highdicom.coding_schemes import CodingSchemeIdentificationItem
from pydicom.sr.coding import Code as DicomCode
from pydicom.uid import SegmentationStorage

from diffcl.errors import OutputError, ScanError
from diffcl.io.dicom.derived import coded, identity, save_derived, type_code
from diffcl.io.dicom.headers import read_header
from diffcl.io.dicom.series import DicomSeries
from diffcl.io.dicom.source import made_from, source_images
from diffcl.labels import LabelClass

MILLILITRE: Final = DicomCode("ml", "UCUM", "milliliter")
NO_UNITS: Final = DicomCode("1", "UCUM", "no units")
VOLUME: Final = DicomCode("118565006", "SCT", "Volume")
DEVICE: Final = hd.sr.CodedConcept("121007", "DCM", "Device")
REPORT: Final = DicomCode("126000", "DCM", "Imaging Measurement Report")
PROCEDURES: Final = {
    "CT": DicomCode("25045-6", "LN", "CT unspecified body region"),
    "MR": DicomCode("25056-3", "LN", "MRI unspecified body region"),
}
"""Procedure reported, by modality: DICOM CID 100."""

SCHEME: Final = "99DIFFCL"
DOUBT: Final = DicomCode("doubt", SCHEME, "Share of the segmentation expected to be wrong")
"""The standard has no code for doubt that does not claim a probability."""

SERIES_NUMBER: Final = 2000
"""Added to the number of the source series, so that reports stand after the segmentations."""


def write_sr(
    volumes_ml: Mapping[str, float],
    doubt: float,
    seg: Path,
    series: DicomSeries,
    labels: Sequence[LabelClass],
    path: Path,
    *,
    model_name: str,
    model_version: int,
) -> None:
    """Write the measurements on a segmentation as a structured report, whole or not at all.

    Args:
        volumes_ml: Volume of every class in ml, by its name.
        doubt: Share of the segmentation that is expected to be wrong, 0..1.
        seg: The DICOM segmentation on which they were measured.
        series: The series that was segmented.
        labels: Classes with values 1..N in order.
        path: Where to, usually `.dcm`.
        model_name: Name of the model.
        model_version: Its version.

    Raises:
        OutputError: If a class has no DICOM code, the modality is neither CT nor MR, or the file cannot be
            written.
        ScanError: If `seg` is no DICOM segmentation.
        ValueError: If a class has no volume.
    """
    segmentation = read_header(seg).header
    if segmentation.SOPClassUID != SegmentationStorage:
        raise ScanError(seg, "not a DICOM segmentation", "Give a DICOM SEG file")
    if series.modality not in PROCEDURES:
        raise OutputError(path, f"no report is defined for modality {series.modality}", "Report on CT or MR")
    missing = [one.name for one in labels if one.name not in volumes_ml]
    if missing:
        raise ValueError(f"no volume for {', '.join(missing)}")
    algorithm = hd.sr.AlgorithmIdentification(name=model_name, version=str(model_version))
    with made_from(series, path):
        images = {image.SOPInstanceUID: image for image in source_images(series, path)}
        groups = [_volume(one, volumes_ml[one.name], segmentation, series, path, algorithm) for one in labels]
        content = hd.sr.MeasurementReport(
            observation_context=_observer(model_name, model_version),
            procedure_reported=PROCEDURES[series.modality],
            imaging_measurements=[*groups, _doubt(doubt, algorithm)],
            title=REPORT,
        )
        report = hd.sr.Comprehensive3DSR(
            evidence=[*images.values(), segmentation],
            content=content[0],
            **identity(series, SERIES_NUMBER, model_name, f"Measurements by {model_name}"),
            is_complete=True,
            coding_schemes=[CodingSchemeIdentificationItem(SCHEME, "Codes of diffcl")],
        )
        save_derived(report, series, path)


def _observer(model_name: str, model_version: int) -> hd.sr.ObservationContext:
    device = hd.sr.DeviceObserverIdentifyingAttributes(
        uid=hd.UID(),
        name="diffcl",
        manufacturer_name="diffcl",
        model_name=f"{model_name} version {model_version}",
    )
    return hd.sr.ObservationContext(observer_device_context=hd.sr.ObserverContext(DEVICE, device))


def _volume(
    one: LabelClass,
    volume_ml: float,
    segmentation: pydicom.Dataset,
    series: DicomSeries,
    path: Path,
    algorithm: hd.sr.AlgorithmIdentification,
) -> hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations:
    kind = type_code(one, path)
    site = hd.sr.FindingSite(
        coded(one.region) if one.region else kind,
        topographical_modifier=coded(one.modifier) if one.modifier else None,
    )
    return hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(uid=hd.UID(), identifier=one.name),
        referenced_segment=hd.sr.ReferencedSegment(
            sop_class_uid=segmentation.SOPClassUID,
            sop_instance_uid=segmentation.SOPInstanceUID,
            segment_number=one.value,
            source_series=hd.sr.SourceSeriesForSegmentation(series.uid),
        ),
        finding_type=kind,
        finding_category=coded(one.category),
        finding_sites=[site],
        algorithm_id=algorithm,
        measurements=[hd.sr.Measurement(name=VOLUME, value=round(volume_ml, 4), unit=MILLILITRE)],
    )


def _doubt(
    doubt: float, algorithm: hd.sr.AlgorithmIdentification
) -> hd.sr.MeasurementsAndQualitativeEvaluations:
    return hd.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(uid=hd.UID(), identifier="doubt"),
        algorithm_id=algorithm,
        measurements=[hd.sr.Measurement(name=DOUBT, value=round(doubt, 4), unit=NO_UNITS)],
    )
