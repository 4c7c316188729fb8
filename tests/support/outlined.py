"""Studies in a folder of synthetic scans that tests outline."""

from __future__ import annotations

from pathlib import Path

import SimpleITK as sitk
from synthetic import ORGAN, make_label

from diffcl.labels import LabelClass
from diffcl.studies.folder import FolderStudies

HEART = ORGAN.model_copy(
    update={"name": "heart", "labels": (LabelClass(value=1, name="wall"), LabelClass(value=2, name="blood"))}
)
"""A task with the values of `ORGAN`."""


class Outlined(FolderStudies):
    """The scans of a folder, of which some have labels.

    Args:
        folder: With the scans.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, lambda: [ORGAN, HEART])
        self.folder = folder

    def outline(self, name: str, task: str = "organ", label: sitk.Image | None = None) -> Path:
        """Give a scan a new version of its final label; the version's file."""
        file = self.folder.parent / f"{name}.nii.gz"
        sitk.WriteImage(make_label(name) if label is None else label, file)
        record = self.save_label(name, file, "final", {"model": task})
        return self.history.label(name, record["version"])
