"""What was proposed for a scan, kept in a folder: the label as it is, and the doubt coarsely."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import SimpleITK as sitk

from diffcl.files import is_own, remove
from diffcl.io import read_label, write_image
from diffcl.studies.label_history import LABEL_SUFFIX

DOUBT_SUFFIX: Final = ".doubt.nii.gz"

LONGEST: Final = 96
"""Voxels of the kept doubt along an axis, at most; enough for a picture, and some hundred kilobytes."""

SCALE: Final = 255
"""Value that stands for a doubt of 1."""


@dataclass(frozen=True)
class Proposed:
    """What was last proposed for a scan.

    Attributes:
        label: File of class values on the grid of the scan; None where it was not kept.
        doubt: 0..1 on a coarser grid of the same space; None where it was not kept.
    """

    label: Path | None = None
    doubt: sitk.Image | None = None


def keep_proposed(folder: Path, name: str, label: sitk.Image, doubt: sitk.Image | None) -> None:
    """Keep what was proposed for a scan in place of what was proposed before.

    Args:
        folder: Where; it is there.
        name: Id of the scan.
        label: Class values on its grid.
        doubt: 0..1 on its grid; None where it is not known.

    Raises:
        OutputError: If it cannot be written.
    """
    write_image(label, folder / f"{name}{LABEL_SUFFIX}")
    if doubt is None:
        remove(folder / f"{name}{DOUBT_SUFFIX}")
    else:
        write_image(coarse(doubt), folder / f"{name}{DOUBT_SUFFIX}")


def read_proposed(folder: Path, name: str) -> Proposed:
    """What was last proposed for a scan.

    Raises:
        ScanError: If the doubt cannot be used.
    """
    label, doubt = folder / f"{name}{LABEL_SUFFIX}", folder / f"{name}{DOUBT_SUFFIX}"
    return Proposed(
        label if is_own(label) else None,
        sitk.Cast(read_label(doubt), sitk.sitkFloat32) / SCALE if is_own(doubt) else None,
    )


def coarse(doubt: sitk.Image) -> sitk.Image:
    """A map of doubt with at most `LONGEST` voxels along each axis, the mean of those it had, as whole numbers."""
    factors = [-(-length // LONGEST) for length in doubt.GetSize()]
    image: sitk.Image = sitk.Cast(sitk.Round(sitk.BinShrink(doubt, factors) * SCALE), sitk.sitkUInt8)
    return image
