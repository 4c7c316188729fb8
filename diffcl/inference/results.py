"""What comes of a scan, in memory and as files: the one writer of labels, segmentations, reports and pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from diffcl.errors import OutputError, UsageError
from diffcl.files import make_folder, write_text
from diffcl.geometry import Geometry, voxels
from diffcl.inference.outputs import Outputs, Place, plan
from diffcl.inference.predictor import Prediction, Report
from diffcl.io.formats import DICOM_SUFFIX
from diffcl.io.images.write import write_image
from diffcl.io.scan import Scan
from diffcl.models.metadata import ModelInfo

if TYPE_CHECKING:
    from diffcl.io.dicom.series import DicomSeries


@dataclass(frozen=True)
class Result:
    """What a model says of a scan. All images lie exactly on the scan's grid.

    Attributes:
        scan: The scan.
        model: Description of the model.
        prediction: What the Predictor gave.
    """

    scan: Scan
    model: ModelInfo
    prediction: Prediction

    @property
    def label(self) -> sitk.Image:
        """Class values, uint8; 0 is background, and the model's labels count from 1."""
        return self.prediction.label

    @property
    def uncertainty(self) -> sitk.Image:
        """Of each voxel, 0 (sure) .. 1 (all classes alike), float32."""
        return self.prediction.uncertainty

    @property
    def probabilities(self) -> dict[str, sitk.Image]:
        """Of each class by name, 0..1, float32; empty unless they were asked for."""
        return dict(zip(self.volumes_ml, self.prediction.probabilities, strict=False))

    @property
    def report(self) -> Report:
        """Volumes, doubt, times, warnings, model and version."""
        return self.prediction.report

    @property
    def volumes_ml(self) -> dict[str, float]:
        """Millilitres of each class by name."""
        return self.report.volumes_ml

    @property
    def doubt(self) -> float:
        """Share of the label that is expected to be wrong, 0..1."""
        return self.report.doubt

    @property
    def warnings(self) -> list[str]:
        """What speaks against the label, one sentence each."""
        return self.report.warnings

    @property
    def affine(self) -> NDArray[np.float64]:
        """Of every array of this result: `(4, 4)`, voxel indices to RAS millimetres, as nibabel has it."""
        return Geometry.of(self.label).affine

    def label_array(self) -> NDArray[np.uint8]:
        """Class values `(X, Y, Z)`, in the order of the voxels of the scan: of the array that was given, if one was."""
        array: NDArray[np.uint8] = voxels(self.label)
        return array

    def uncertainty_array(self) -> NDArray[np.float32]:
        """Uncertainty `(X, Y, Z)`, 0..1, in the order of `label_array`."""
        array: NDArray[np.float32] = voxels(self.uncertainty)
        return array

    def save(
        self,
        label: Place | None = None,
        *,
        uncertainty: Place | None = None,
        report: Place | None = None,
        picture: Place | None = None,
        probabilities: Place | None = None,
    ) -> list[Path]:
        """Write files, each whole or not at all; folders are made. The ending of a name says what is written.

        A name without a known ending is a folder, in which the file is called like the scan.

        Args:
            label: The label map, `.nii.gz`, `.nii`, `.nrrd` or `.mha`; or `.dcm`, a DICOM segmentation of the series
                that the scan was read from.
            uncertainty: The uncertainty, `.nii.gz`, `.nii`, `.nrrd` or `.mha`.
            report: `.json`, all of the report; or `.dcm`, a DICOM structured report with volumes and doubt, which
                refers to a segmentation, so the label must be saved as `.dcm` in the same call.
            picture: `.png`, the scan with its outline.
            probabilities: `.dcm`, a fractional DICOM segmentation; needs `predict(..., probabilities=True)`.

        Returns:
            The files, in this order.

        Raises:
            UsageError: If nothing is named, a name ends in what its kind cannot be, a file would replace the scan, or
                the probabilities were not kept.
            OutputError: If a file cannot be written, or is to be DICOM and the scan is no DICOM series.
        """
        wanted = Outputs.named(
            label=label,
            uncertainty=uncertainty,
            report=report,
            picture=picture,
            probabilities=probabilities,
        )
        [outputs] = plan([self.scan.path], wanted, self.model.recipe.sequences)
        if not outputs.paths():
            raise UsageError(self.scan.name, "no file is named", 'Name one, as in save("label.nii.gz")')
        check_series(self.scan, outputs)
        if outputs.probabilities is not None and not self.prediction.probabilities:
            raise UsageError(
                outputs.probabilities, "the probabilities were not kept", "Predict with probabilities=True"
            )
        write_results(self.scan, self.prediction, self.model, outputs)
        return outputs.paths()


def check_series(scan: Scan, outputs: Outputs) -> None:
    """Refuse DICOM results of what is no DICOM series.

    Raises:
        OutputError: Naming the result.
    """
    if scan.series is None and (wanted := outputs.dicom()):
        raise OutputError(wanted, "a DICOM segmentation needs a DICOM series as its scan",
                          "Write an image file, for example .nii.gz")  # fmt: skip


def write_results(scan: Scan, prediction: Prediction, info: ModelInfo, outputs: Outputs) -> None:
    """Write what is wanted of one prediction, each file whole or not at all; folders are made.

    Args:
        scan: The scan; a DICOM series where a result is DICOM, see `check_series`.
        prediction: Its prediction.
        info: Of the model that made it.
        outputs: Where to.

    Raises:
        OutputError: If a file cannot be written.
    """
    for path in outputs.paths():
        make_folder(path.parent)
    if scan.series is not None and outputs.dicom() is not None:
        _write_dicom(scan.series, prediction, info, outputs)
    if outputs.label is not None and not _is_dicom(outputs.label):
        write_image(prediction.label, outputs.label)
    if outputs.uncertainty is not None:
        write_image(prediction.uncertainty, outputs.uncertainty)
    if outputs.report is not None and not _is_dicom(outputs.report):
        write_text(outputs.report, prediction.report.model_dump_json(indent=2) + "\n")
    if outputs.picture is not None:
        from diffcl.evaluation.figures import draw_prediction

        found = prediction.report
        title = f"{found.case}, by {found.model} {found.version}, doubt {found.doubt:.2f}"
        draw_prediction(scan.image, prediction.label, prediction.uncertainty, info.recipe.labels,
                        outputs.picture, title=title)  # fmt: skip


def _write_dicom(series: DicomSeries, prediction: Prediction, info: ModelInfo, outputs: Outputs) -> None:
    """Write what goes back to the archive of a series."""
    from diffcl.io.dicom.seg_write import write_probability_seg, write_seg
    from diffcl.io.dicom.sr import write_sr

    labels, found = info.recipe.labels, prediction.report
    model: dict[str, Any] = {"model_name": info.name, "model_version": info.version}
    if outputs.label is not None and _is_dicom(outputs.label):
        write_seg(prediction.label, series, labels, outputs.label, **model)
        if outputs.report is not None and _is_dicom(outputs.report):
            write_sr(found.volumes_ml, found.doubt, outputs.label, series, labels, outputs.report, **model)
    if outputs.probabilities is not None:
        write_probability_seg(prediction.probabilities, series, labels, outputs.probabilities, **model)


def _is_dicom(path: Path) -> bool:
    return path.suffix.lower() == DICOM_SUFFIX
