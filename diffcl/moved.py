"""Where the modules of version 0.1.0 are now: an import of an old path says so in one line."""

from __future__ import annotations

import sys
from typing import Final

MOVED: Final = {
    "active": "active_learning",
    "cli.outputs": "inference.outputs",
    "cli.scan_list": "io.scan_list",
    "cli.segment": "inference.pipeline",
    "cli.workers": "inference.workers",
    "data.alignment": "conversion.alignment",
    "data.grid": "geometry",
    "data.prepare": "data.preprocess",
    "data.public": "conversion.public_sets",
    "evaluation.picture": "evaluation.figures",
    "evaluation.table": "evaluation.report",
    "inference.doubt": "inference.expected_error",
    "inference.info": "models.metadata",
    "inference.model": "models.weights",
    "inference.onnx_export": "models.onnx.export",
    "inference.onnx_network": "models.onnx.network",
    "inference.onnx_scan": "models.onnx.scan",
    "inference.package": "models.archive",
    "inference.profile": "models.profile",
    "inference.store": "models.registry",
    "io.atomic": "files",
    "io.dicom_decode": "io.dicom.decoder",
    "io.dicom_files": "io.dicom.headers",
    "io.dicom_pixels": "io.dicom.pixels",
    "io.dicom_seg": "io.dicom.seg_write",
    "io.dicom_seg_read": "io.dicom.seg_read",
    "io.dicom_slices": "io.dicom.slices",
    "io.dicom_source": "io.dicom.source",
    "io.dicom_sr": "io.dicom.sr",
    "io.dicom_write": "io.dicom.series_write",
    "io.h5": "io.images.hdf5",
    "io.history": "studies.label_history",
    "io.metaimage": "io.images.metaimage",
    "io.volume": "io.images.volume",
    "io.wholeness": "io.images.integrity",
    "listening": "listener",
    "networks.detail": "networks.high_bands",
    "networks.detail_kernel": "networks.kernels.high_bands",
    "networks.graph": "networks.tracing",
    "networks.lanes": "networks.kernels.simd",
    "networks.norm_kernel": "networks.kernels.norm",
    "networks.rows": "networks.kernels.memory",
    "networks.scan_kernel": "networks.kernels.selective_scan",
    "networks.threads": "networks.kernels.threads",
    "networks.wavelet": "networks.haar",
    "shipped": "resources",
    "training.budget": "training.time_limit",
    "training.card": "publishing.card",
    "training.comparison": "publishing.comparison",
    "training.doubt_picture": "publishing.calibration_figure",
    "training.fitting": "planning.crop",
    "training.gate": "publishing.gate",
    "training.learner": "training.state",
    "training.publishing": "publishing.candidate",
    "training.weighing": "publishing.ensemble_weight",
    "training.world": "training.distributed",
}
"""Former and present place of each module that moved, below `diffcl`."""


class MovedModules:
    """Finds no module, but tells of one that has moved; asked after Python's own finders."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> None:  # noqa: ARG004
        """Called by an import of what nothing else has found.

        Raises:
            ImportError: If it is a former module of this package.
        """
        package, _, place = name.partition(".")
        if package == "diffcl" and place in MOVED:
            raise ImportError(f"{name}: has moved. Use diffcl.{MOVED[place]}")


def tell_of_moved_modules() -> None:
    """Have imports of former modules say where these are now."""
    if MovedModules not in sys.meta_path:
        sys.meta_path.append(MovedModules)
