"""What a finished label is made from, and where it may therefore be written."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffcl.errors import UsageError
from diffcl.inference.outputs import IMAGES, Outputs, Place, plan
from diffcl.recipe import ImageSequence


@dataclass(frozen=True)
class MadeFrom:
    """The files of a finished label, none of which its results may replace.

    Attributes:
        scan: The scan, or the first image of a case; for one in memory, a name that is no file's.
        sequences: Of the model, where a case has several.
        labels: Label maps that were drawn or started from.
    """

    scan: Path
    sequences: Sequence[ImageSequence] = ()
    labels: tuple[Path, ...] = ()

    def outputs(self, label: Place, uncertainty: Place | None = None) -> Outputs:
        """The files to write; a folder holds each called like the scan.

        Args:
            label: `.nii.gz`, `.nii`, `.nrrd`, `.mha` or a folder.
            uncertainty: Likewise.

        Raises:
            UsageError: If a file is one of these, both are the same, or one cannot be written by its name.
            OutputError: If a folder can neither be made nor written into.
        """
        wanted = Outputs.named(label=label, uncertainty=uncertainty)
        [found] = plan([self.scan], wanted, self.sequences, labels=self.labels)
        if dicom := found.dicom():
            raise UsageError(dicom, "a finished label is not written as DICOM",
                             f"Name a folder, or a file that ends in {', '.join(IMAGES)}")  # fmt: skip
        return found


def file_of(label: Any) -> Path | None:
    """The file of a label map, also of a nibabel image that was loaded; None for one that is in memory alone."""
    if isinstance(label, str | os.PathLike):
        return Path(label)
    name = label.get_filename() if hasattr(label, "get_filename") else None
    return Path(name) if name else None
